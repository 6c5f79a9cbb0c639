//! Restores a snapshot into a cluster.
//!
//! ```text
//! plan      what the snapshot has + what the cluster has = a manifest, what is read for it, and what prevents it
//! run       records -> consumer groups -> ACLs
//! records   take over transactional ids -> begun.json -> create topics -> claim them -> empty them -> write -> check the targets ->
//!           compare, if asked -> saved topic configuration -> done.json
//! ```
//!
//! The plan is a value: a dry run prints it, and [`run`] does what it says and nothing else.
//!
//! | room | job |
//! |---|---|
//! | `plan` | decides everything, for a new restore and for one that is resumed |
//! | `run` | applies a plan, and what comes after the records |
//! | `records` | restores the records of a plan, in an order that a crash cannot harm |
//! | `write` | writes them, a transaction at a time, and maps their offsets |
//! | `verify` | checks before a restore resumes, and after it has written |
//! | `config` | topic configuration during and after a restore |
//! | `only_config` | restores topics without their records |
//! | `discard` | discards a restore that has not finished |
//! | `context`, `report` | what the steps share, and what they did |
//! | `error`, `target_error`, `held_up` | why they fail |
//!
//! Consumer groups and ACLs stay engine rooms of their own, [`groups`](crate::groups) and [`acls`](crate::acls): `kbk groups restore` and
//! `kbk acls restore` use them without a restore. Only their place in the order is decided here, in `run`. The comparison of records is
//! [`compare`](crate::compare), which `kbk diff` uses as well.

mod config;
mod context;
mod discard;
mod error;
mod held_up;
mod only_config;
mod plan;
mod records;
mod report;
mod run;
mod target_error;
mod verify;
mod write;

pub use discard::{DiscardError, DiscardReport, DiscardedTopic, FoundTopic, discard};
pub use error::RestoreError;
pub use held_up::HeldUp;
pub use only_config::{
    ConfigAction, ConfigChange, ConfigPlan, ConfigReport, TopicConfigPlan, apply_config,
    plan_config,
};
pub use plan::mapping::{PartitionMapping, PartitionMappingError};
pub use plan::obstacle::Obstacle;
pub use plan::options::{Purpose, RestoreOptions};
pub use plan::reading::PartitionReading;
pub use plan::restore_plan::{PartitionPlan, RestorePlan, TopicPlan};
pub use plan::resume::{ResumeError, plan_rest, unfinished};
pub use plan::retention::RetentionChoice;
pub use plan::selection::{RecordSelection, RecordSelectionError};
pub use plan::{PlanError, plan};
pub use report::{RestoreReport, UnexpectedRecords};
pub use run::{Afterwards, Finished, RunError, run};
pub use target_error::TargetError;
pub use verify::live::compare_live;
pub(crate) use write::rate::describe as describe_rate;
