//! Consumer groups back into a cluster: their committed offsets, translated by the offset map of a restore.
//!
//! ```text
//! plan      what the snapshot says of groups + where each offset went + what the cluster's groups have committed now
//! apply     what is replaced, durable in the repository -> the new offsets
//! rollback  the other way: what was replaced is committed again
//! ```
//!
//! | file | job |
//! |---|---|
//! | `plan` | decides everything |
//! | `merge` | what the offsets of many partitions become where their records met |
//! | `change` | does it, and takes it back |

mod change;
mod merge;
mod plan;

pub use change::{ChangeError, RollbackPlan, apply, last_change, plan_rollback, rollback};
pub use plan::{
    GroupPlan, GroupsPlan, GroupsPlanError, OffsetPlan, SourcePartition, plan, translate,
};
