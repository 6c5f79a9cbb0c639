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
//! | `choice` | which partitions, offsets and times are meant |
//! | `shape` | which partition of the target each goes to |
//! | `plan` | decides everything |
//! | `preflight` | what would go wrong, all of it at once, before anything is written |
//! | `rights` | whether this principal may do it |
//! | `config` | which configuration a topic has while it is filled, and afterwards |
//! | `only_config` | topics without their records |
//! | `resume` | finds a restore that is unfinished, and plans the rest of it |
//! | `untouched` | that nothing is where nothing was committed |
//! | `apply` | does it |
//! | `rate` | how fast it may write |
//! | `partitioner` | which partition a record goes to by its key |
//! | `work` | the partitions, from waiting to done |
//! | `producers` | opens what they write with |
//! | `writer` | writes them, a transaction at a time |
//! | `map` | where each record went |
//! | `stable` | waits until they can be read |
//! | `proof` | reads the targets back and compares |
//! | `scattered` | the same where a topic was repartitioned, by the offset map |

mod apply;
mod choice;
mod config;
mod map;
mod only_config;
mod partitioner;
mod plan;
mod preflight;
mod producers;
mod proof;
mod rate;
mod resume;
mod rights;
mod scattered;
mod shape;
mod stable;
#[cfg(test)]
mod tests;
mod untouched;
mod work;
mod writer;

pub use apply::{RestoreError, RestoreReport, apply};
pub use choice::{Choice, ChoiceError};
pub use only_config::{
    ConfigAction, ConfigChange, ConfigPlan, ConfigReport, TopicConfigPlan, apply_config,
    plan_config,
};
pub use plan::{
    Options, PartitionPlan, PlanError, RestorePlan, Target, TargetPartitionPlan, TopicPlan, plan,
};
pub use preflight::Obstacle;
pub use proof::{Difference, PartitionProof, ProofError, compare_live};
pub(crate) use rate::in_words as rate_in_words;
pub use resume::{ResumeError, plan_rest, unfinished};
pub use shape::{Shape, ShapeError};
pub use stable::HeldUp;
