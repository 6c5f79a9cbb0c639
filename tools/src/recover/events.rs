//! What a recovery in a repository reports while it runs.

use crate::maintenance::MaintenanceEvents;
use crate::verify::VerifyEvents;

/// Receives the progress of a recovery: of the verification that it begins with, and of what it writes. Where it is stopped, nothing is committed.
pub trait RecoverEvents: VerifyEvents + MaintenanceEvents {
    /// Reports that a damaged segment was searched, with the bytes that were found of it.
    fn searched(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Listens to the verification only.
impl<F: Fn(u64) + Send + Sync> RecoverEvents for F {}

impl<F: Fn(u64) + Send + Sync> MaintenanceEvents for F {}
