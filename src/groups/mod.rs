//! Restores consumer groups: their committed offsets, translated by the offset map of a restore.
//!
//! ```text
//! plan      saved groups + where each offset went + what the cluster's groups have committed now
//! apply     the replaced offsets, durable in the repository -> the new offsets, committed
//! rollback  the replaced offsets, committed again
//! ```
//!
//! | file | job |
//! |---|---|
//! | `plan` | decides what is committed, without side effects |
//! | `merge` | merges the offsets of many partitions of a repartitioned topic |
//! | `change` | applies a plan, and rolls it back |

mod change;
mod merge;
mod plan;
mod restore;

pub use change::{ChangeError, RollbackPlan, apply, last_change, plan_rollback, rollback};
pub use plan::{
    GroupPlan, GroupsPlan, GroupsPlanError, OffsetPlan, SourcePartition, plan, translate,
};
pub use restore::{GroupsRestoreError, RestoredGroups, restore};
