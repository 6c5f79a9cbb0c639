//! Backup: what the cluster holds now, stored as segments and committed as one snapshot.
//!
//! ```text
//! plan      what the cluster has - what the newest snapshot has = offsets to read, partition by partition
//! pipeline  sources -> builders -> jobs -> encoders -> partitions -> segments (durable one by one)
//! commit    pages, then the snapshot: only now do the segments count
//! ```
//!
//! | | |
//! |---|---|
//! | `plan` | decides, without touching anything |
//! | `survey` | asks the cluster what the plan is made from |
//! | `groups` | the consumer groups, a part of the survey |
//! | `acls` | the ACLs, another |
//! | `adopt` | takes over what an interrupted run left |
//! | `pipeline` | runs the plan on all cores with bounded memory |
//! | `feeder` | one source's records into blocks |
//! | `partition` | one partition's blocks, in order, into segments |
//! | `run` | all of it, and the report |

mod acls;
mod adopt;
mod feeder;
mod groups;
mod partition;
mod pipeline;
mod plan;
mod pool;
mod run;
mod survey;
#[cfg(test)]
mod tests;

pub use acls::SaveAcls;
pub use plan::Finding;
pub use run::{BackupError, BackupReport, Options, SavedAcls, run};
