//! From a snapshot back into a cluster.
//!
//! ```text
//! plan    what the snapshot has + what the cluster has = topics to create, records to write, what is in the way
//! resume  the same of a restore that was begun: what it was asked for, and where the cluster says that it was left
//! apply   take over transactional ids -> begun.json -> empty or create topics, which keep everything -> write records
//!         -> read them back, if asked -> give the topics their own configuration -> done.json
//! ```
//!
//! The plan is a value: a dry run prints it, and [`apply`] does what it says and nothing else.
//!
//! | file | job |
//! |---|---|
//! | `plan::selection` | which partitions, offsets and times are meant |
//! | `plan::mapping` | which partition of the target each goes to |
//! | `plan` | decides everything |
//! | `plan::preflight` | what would go wrong, all of it at once, before anything is written |
//! | `plan::rights` | whether this principal may do it |
//! | `config` | which configuration a topic has while it is filled, and afterwards |
//! | `config::only_config` | topics without their records |
//! | `plan::resume` | finds a restore that is unfinished, and plans the rest of it |
//! | `verify::head` | that nothing is where nothing was committed |
//! | `apply` | does it |
//! | `write::rate` | how fast it may write |
//! | `write::partitioner` | which partition a record goes to by its key |
//! | `write::work` | the partitions, from waiting to done |
//! | `write::producers` | opens what they write with |
//! | `write::writer` | writes them, a transaction at a time |
//! | `write::offset_map` | where each record went |
//! | `verify::quiescence` | waits until they can be read |
//! | `verify::one_to_one` | reads the targets back and compares |
//! | `verify::repartitioned` | the same where a topic was repartitioned, by the offset map |

mod apply;
mod config;
mod plan;
mod verify;
mod write;

pub use apply::{RestoreError, RestoreReport, apply};
pub use config::only_config::{
    ConfigAction, ConfigChange, ConfigPlan, ConfigReport, TopicConfigPlan, apply_config,
    plan_config,
};
pub use plan::mapping::{Shape, ShapeError};
pub use plan::preflight::Obstacle;
pub use plan::resume::{ResumeError, plan_rest, unfinished};
pub use plan::selection::{Choice, ChoiceError};
pub use plan::{
    Options, PartitionPlan, PlanError, RestorePlan, Target, TargetPartitionPlan, TopicPlan, plan,
};
pub use verify::one_to_one::{Difference, PartitionProof, ProofError, compare_live};
pub use verify::quiescence::HeldUp;
pub(crate) use write::rate::in_words as rate_in_words;
