//! What a damaged segment still proves, as a new segment.
//!
//! [`Salvage`](kbk_format::Salvage) says what is proved: blocks of which header, streams, records and digests agree. Nothing else is written, and
//! no file or object is changed.
//!
//! Of files, in this order:
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | the files are mapped and searched; every block is decoded | nothing |
//! | the new segment is written to a temporary file beside its place, and flushed | that file, `.NAME.<random>.recovering`, which may be removed |
//! | it is opened and decoded again, and compared with what was proved | the same |
//! | it gets its name, which must be new, and the folder is flushed | the new segment, complete |
//!
//! What is missing in the result is in the report: losses, with their offsets, records, bytes and reasons, and whether more may have been before the
//! first block or after the last one. The new segment itself names lost offsets as gaps with the reason *damaged*.
//!
//! In a repository (SPEC section 11.13), in this order:
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | the newest snapshot is verified as `kbk verify --depth records` does | nothing |
//! | of each damaged segment, everything is searched that may have its blocks: its object, and what another repository has of it | nothing |
//! | new segments are written, read back from the store, and compared with what was proved | segments that nothing names: a prune deletes them |
//! | one commit names them in place of the damaged ones, and states which offsets are lost | the new snapshot |
//!
//! Damaged objects stay as they are, for as long as older snapshots name them.
//!
//! | file | holds |
//! |---|---|
//! | `file` | the recovery of files |
//! | `report`, `error` | what was recovered of them and what was not, and why nothing could be |
//! | `plan` | which segments of a snapshot are replaced |
//! | `donor` | another repository with the same history of a partition |
//! | `salvaged` | what is left of one segment, in all places |
//! | `displaced` | segments under the names of others |
//! | `older` | what older snapshots say of segments that are replaced |
//! | `object` | all bytes of an object |
//! | `ranges` | sets of offsets |
//! | `run` | new segments, and the commit |
//! | `written` | a new segment, and the proof of it |
//! | `recovery` | what was recovered in a repository, and what was not |
//! | `events` | progress |
//! | `rebuild` | a new snapshot of the segments alone, where the index is damaged or gone |

mod displaced;
mod donor;
mod error;
mod events;
mod file;
mod object;
mod older;
mod plan;
mod ranges;
mod rebuild;
mod recovery;
mod report;
mod run;
mod salvaged;
#[cfg(test)]
mod tests;
mod written;

pub use self::donor::Donor;
pub use self::error::RecoverError;
pub use self::events::RecoverEvents;
pub use self::file::{FileOptions, recover_files};
pub use self::plan::{RecoveryPlan, plan};
pub use self::rebuild::{
    ClusterRow, DamagedSnapshot, EmptyTopic, Fate, IdentityRebuild, MissingTotals, ObjectRow,
    OtherFile, PartitionRebuild, REBUILD, RebuildError, RebuildOptions, RebuildPlan, RebuildReport,
    plan_rebuild, rebuild,
};
pub use self::recovery::{LostRow, RecoveredRow, Recovery, RecoverySource};
pub use self::report::{FileRecovery, RecoveredSegment, SourceFile, UnusedBytes};
pub use self::run::recover;
