//! Removal: snapshots are forgotten, segments expire by the age of their records, and what no snapshot needs any more is pruned (SPEC
//! section 11.10).
//!
//! All are commits, so that no writer and no reader misses them. A plan is made first, without a change; applying it decides nothing.
//!
//! | step | written | a crash after it leaves |
//! |---|---|---|
//! | forget 1 | a snapshot that names what was forgotten | objects of snapshots that readers do not see; whoever forgets or prunes next removes them |
//! | forget 2 | removes these objects | nothing |
//! | expire | the rows that remain, then a snapshot that names them | tables that nothing names |
//! | prune 1 | a list of the objects to delete, then a snapshot that names it | everything; whoever prunes next continues |
//! | prune 2, after the grace period | removes the objects of the list | some of them; whoever prunes next removes the others |
//! | prune 3 | a snapshot that says that it is done | nothing |
//!
//! | file | holds |
//! |---|---|
//! | `expire` | what is removed from the front of partitions, and the commit that does so |
//! | `forget` | what is forgotten, and the removal of its objects |
//! | `prune` | what is deleted, and the two phases of that |
//! | `reach` | the objects that snapshots need |

mod expire;
mod forget;
mod prune;
mod reach;
#[cfg(test)]
mod simulation;

use jiff::Timestamp;

pub use self::expire::PartitionExpiry;
pub use self::forget::{ForgetPlan, Forgotten};
pub use self::prune::{MarkedObjects, ObjectCount, PruneOptions, PrunePlan, Pruned};
pub use self::reach::Reach;

use super::id::Id;
use super::manifest::{Maintenance, Manifest, ParentRef};
use super::sealed::Digested;

/// Who commits a snapshot that is no backup, and why.
#[derive(Clone, Debug)]
pub struct Upkeep {
    /// The command, such as `forget`.
    pub command: String,
    /// What it was asked to do.
    pub detail: String,
    /// Program and version.
    pub writer: String,
    /// The present time.
    pub now: Timestamp,
}

impl Upkeep {
    /// Creates the snapshot that follows `newest` and holds the same. It is as old as the backup that it holds.
    pub(super) fn follow(&self, newest: &Digested<Manifest>) -> Manifest {
        Manifest {
            sequence: newest.following(),
            next: None,
            forgotten: newest.forgotten_by_next(),
            parent: Some(ParentRef {
                sequence: newest.sequence,
                sha256: newest.sha256,
            }),
            nonce: Id::random(),
            writer: self.writer.clone(),
            maintenance: Some(Maintenance {
                command: self.command.clone(),
                detail: self.detail.clone(),
                at: self.now,
                backup: newest.backup(),
            }),
            ..newest.value.clone()
        }
    }
}
