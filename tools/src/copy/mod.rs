//! `kbk copy`: copies snapshots of one repository to another, with what the other one does not have yet.
//!
//! ```text
//! origin   snapshot n -- plan --> segments that are new -- transfer --> destination
//!                          \                                              | all durable and checked
//!                           `---------- states, groups, ACLs -----------> commit: snapshot n
//! ```
//!
//! Snapshots are copied one after the other, the oldest first. The order of writes of each: segments, then groups, ACLs and tables, then
//! the snapshot ([`Repository::commit_copy`](kbk_format::repo::Repository::commit_copy)). A crash leaves what was committed, and segments
//! that the next run finds, checks and uses. What cannot be read in the origin ends the copy of its partition there, which says so; the
//! next run tries again.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the loop over snapshots, and the check of the result |
//! | `resume` | where the copies that were made before end, and whether the origin is still the same |
//! | `selection` | which snapshots are copied |
//! | `plan` | what of a snapshot is new |
//! | `repair` | what the copy has lost of what it had, and is sent again |
//! | `transfer` | the bytes of a segment, checked on both sides |
//! | `report` | what was copied, and what could not be |
//! | `error` | why nothing more can be copied |

mod error;
mod plan;
mod repair;
mod report;
mod resume;
mod run;
mod selection;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::BTreeSet;
use std::sync::Arc;

use kbk_format::repo::{Id, Snapshot, TopicName};

pub use self::error::CopyError;
pub use self::report::{Accounted, CopiedSnapshot, CopyFinding, CopyFindingKind, CopyReport};
pub use self::run::copy;

/// Which snapshots are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySelection {
    /// All that are newer than the last one that was copied.
    New,
    /// The newest alone.
    Latest,
    /// Those from one sequence to another, both included.
    Range(u64, u64),
}

/// Returns the topics of a snapshot that are copied.
pub type SelectTopics = Arc<dyn Fn(&Snapshot) -> BTreeSet<(TopicName, Id)> + Send + Sync>;

/// What is copied, and how.
#[derive(Clone)]
pub struct CopyOptions {
    /// The snapshots.
    pub snapshots: CopySelection,
    /// The topics of each.
    pub topics: SelectTopics,
    /// Whether what was written is read again and compared.
    pub read_back: bool,
    /// Whether findings in histories of topics that were replaced are accepted: the topic was read again in full, and that is copied.
    pub accept_replaced: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Program and version.
    pub writer: String,
}

/// Receives the progress of a copy, from several tasks.
pub trait CopyEvents: Send + Sync {
    /// Reports that a snapshot is copied next, with this many bytes of new segments.
    fn planned(&self, origin: u64, segments: u64, bytes: u64) {
        let _ = (origin, segments, bytes);
    }

    /// Reports that more bytes were read from the origin.
    fn received(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reports that a segment is durable, with its records and bytes.
    fn stored(&self, records: u64, bytes: u64) {
        let _ = (records, bytes);
    }

    /// Reports that a snapshot was committed.
    fn committed(&self, copied: &CopiedSnapshot) {
        let _ = copied;
    }

    /// Returns whether the copy is to end at the next segment.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Listens to nothing.
impl CopyEvents for () {}
