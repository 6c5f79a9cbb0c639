//! Backup: stores what the cluster holds now as segments, and commits it as one snapshot.
//!
//! ```text
//! claim     the topics, so that no other run writes them meanwhile
//! plan      offsets in the cluster - offsets in the newest snapshot = offsets to read, per partition
//! pipeline  sources -> builders -> jobs -> encoders -> partitions -> segments (durable one by one)
//! commit    pages, then the snapshot: from then on the segments are part of the backup
//! ```
//!
//! | | |
//! |---|---|
//! | `claim` | claims the topics before anything is read |
//! | `base` | the snapshot that is continued, and damaged ones that are passed over |
//! | `plan` | decides what to read, without side effects |
//! | `notice` | what the user should know |
//! | `survey` | asks the cluster for everything that the plan needs |
//! | `config`, `groups`, `acls` | parts of the survey |
//! | `leaders` | which partitions can be read at all |
//! | `hidden` | asks by name for what the cluster did not list |
//! | `completeness` | whether everything is stored, and why not |
//! | `continuity` | proves that the logs continue what is stored, before anything is appended |
//! | `damaged` | what earlier backups stored and is missing or damaged, as far as listings show |
//! | `adopt` | adopts the segments that an interrupted run left |
//! | `pipeline` | reads and stores on all cores with bounded memory |
//! | `feeder` | fills blocks with one source's records |
//! | `block` | a block of records or of Kafka's own batches |
//! | `pool` | the block builders, which bound the memory |
//! | `gaps` | why offsets of a segment have no record |
//! | `partition` | writes one partition's blocks, in order, into segments |
//! | `refresh` | reads compacted topics again in full where an incremental reading could miss tombstones |
//! | `recheck` | asks again, before the commit, whether the logs are still those of the survey |
//! | `change` | what is committed |
//! | `run` | the whole run |
//! | `options`, `report`, `error` | what it is asked for, what it did, and why it failed |

mod acls;
mod adopt;
mod base;
mod block;
mod change;
mod claim;
mod completeness;
mod config;
mod continuity;
mod damaged;
mod error;
mod feeder;
mod gaps;
mod groups;
mod hidden;
mod leaders;
mod notice;
mod options;
mod partition;
mod pipeline;
mod plan;
mod pool;
mod recheck;
mod refresh;
mod report;
mod run;
mod survey;
#[cfg(test)]
mod tests;

pub use acls::SaveAcls;
pub use base::DamagedSnapshots;
pub use continuity::{ContinuityError, TruncatedEpoch};
pub use error::BackupError;
pub use notice::{BackupNotice, Unproved};
pub use options::{BackupOptions, Encoding};
pub use report::{BackupReport, SavedAcls};
pub use run::{committed, run};
