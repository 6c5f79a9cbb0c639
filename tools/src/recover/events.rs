//! What a recovery in a repository reports while it runs.

use crate::verify::VerifyEvents;

/// Receives the progress of a recovery: of the verification that it begins with, and of what it writes.
pub trait RecoverEvents: VerifyEvents {
    /// Reports that a damaged segment was searched, with the bytes that were found of it.
    fn searched(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reports that a new segment is durable and proved.
    fn sealed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reports that a snapshot was committed.
    fn committed(&self, snapshot: u64) {
        let _ = snapshot;
    }

    /// Returns whether the run is to end before the next segment. Nothing is committed then.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Listens to the verification only.
impl<F: Fn(u64) + Send + Sync> RecoverEvents for F {}
