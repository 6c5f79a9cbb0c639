//! Restore: a snapshot's records back into a cluster.
//!
//! ```text
//! plan    what the snapshot has + what the cluster has = topics to create, records to write, what is in the way
//! apply   create topics that keep everything -> write records -> read them back, if asked -> give the topics their own configuration
//! ```
//!
//! The plan is a value: a dry run prints it, and [`apply`] does what it says and nothing else.
//!
//! | | |
//! |---|---|
//! | `plan` | topics, partitions, counts |
//! | `preflight` | what would go wrong, all of it at once, before anything is written |
//! | `config` | which configuration a topic has while it is filled, and afterwards |
//! | `apply` | does it |
//! | `proof` | reads the targets back and compares |

mod apply;
mod config;
mod plan;
mod preflight;
mod proof;

pub use apply::{RestoreError, RestoreReport, apply};
pub use plan::{Options, PartitionPlan, PlanError, RestorePlan, Target, TopicPlan, plan};
pub use preflight::Obstacle;
pub use proof::{Difference, PartitionProof, ProofError, compare_live};
