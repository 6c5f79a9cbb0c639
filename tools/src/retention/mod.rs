//! Which snapshots are kept, and which are forgotten (`kbk forget`).
//!
//! | file | holds |
//! |---|---|
//! | `policy` | the policy: counts of the last hours, days, weeks, months and years, in a time zone |
//! | `plan` | what a policy, or a list of snapshots, keeps and forgets in a repository, and why |

mod plan;
mod policy;

pub use self::plan::{RetentionError, RetentionPlan, RetentionRow, plan_policy, plan_snapshots};
pub use self::policy::{Policy, Reason};
