//! Restores the ACLs of a snapshot. ACLs are only added, never changed or removed.
//!
//! An ACL that applied to a topic in the backup applies to its target, whatever its name. If every topic of the snapshot is restored, all
//! other ACLs are restored unchanged. If topics were selected, nothing else is: a pattern that covers a selected topic becomes an ACL
//! of that topic alone, so that restoring one topic grants no access to another, and a denial by pattern is not lost.
//!
//! ACLs are restored last, after records and groups: one that denies something to the restoring principal must not stop the restore.
//!
//! | file | job |
//! |---|---|
//! | `plan` | decides which ACLs are created, without side effects |
//! | `obstacle` | what keeps a plan from being applied |
//! | `apply` | creates them |

mod apply;
mod obstacle;
mod plan;
mod restore;

pub use apply::apply;
pub use obstacle::AclObstacle;
pub use plan::{AclPlan, AclsPlan, AclsPlanError, SavedAs, choose, compare};
pub use restore::{RestoredAcls, restore};
