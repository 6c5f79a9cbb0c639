//! Restores consumer groups: their committed offsets, translated by the offset map of a restore.
//!
//! ```text
//! plan      saved groups + where each offset went + what the cluster's groups have committed now
//! apply     the replaced offsets, durable in the repository -> the new offsets, committed
//! rollback  the replaced offsets, committed again where nothing was committed since
//! ```
//!
//! | file | job |
//! |---|---|
//! | `plan` | decides what is committed, without side effects |
//! | `merge` | merges the offsets of many partitions of a repartitioned topic |
//! | `without_offsets` | which groups nothing is committed of, and why |
//! | `change` | applies a plan |
//! | `rollback` | rolls a change back |

mod change;
mod merge;
mod plan;
mod restore;
mod rollback;
mod without_offsets;

pub use change::{ChangeError, apply};
pub use plan::{
    ExpiredUnread, GroupPlan, GroupsPlan, GroupsPlanError, OffsetPlan, SourcePartition, plan,
    snapshot_of, translate,
};
pub use restore::{GroupsRestoreError, RestoredGroups, restore};
pub use rollback::{
    OffsetRollback, RollbackAction, RollbackPlan, changes, find_change, plan_rollback, rollback,
};
pub use without_offsets::GroupWithoutOffsets;
