//! Where a copy comes from: a snapshot of another repository (SPEC section 11.11).

use serde::{Deserialize, Serialize};

use super::id::{Digest, Id};

/// The snapshot that another one is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its repository.
    pub repository_id: Id,
    /// Its sequence there.
    pub sequence: u64,
    /// Sequence of its last backup, as its rows state it: in the repository that was backed up, which is another one where it is a copy
    /// itself.
    pub backup: u64,
    /// Its digest.
    pub sha256: Digest,
}
