//! ACLs of a snapshot back into a cluster. They are only ever added.
//!
//! What applied to a topic in the backup applies to its target, under whatever name. Where every topic of the snapshot is restored,
//! all other ACLs come too, as they were. Where topics were chosen, nothing else does: a pattern that covers a chosen topic becomes
//! an ACL of that topic alone, so that a restore of one topic lets nobody into another, and a denial by pattern is not lost.
//!
//! ACLs come last, after records and groups: one that denies something to whoever restores must not stop the restore.
//!
//! | file | job |
//! |---|---|
//! | `plan` | decides everything |
//! | `obstacle` | what keeps a plan from being applied |
//! | `apply` | does it |

mod apply;
mod obstacle;
mod plan;

pub use apply::apply;
pub use obstacle::AclObstacle;
pub use plan::{AclPlan, AclsPlan, AclsPlanError, SavedAs, choose, compare};
