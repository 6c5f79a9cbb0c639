//! Which snapshots are kept, and which are forgotten (`kbk forget`); which records expire (`kbk expire`).
//!
//! | file | holds |
//! |---|---|
//! | `expiry` | which segments of which partitions are older than a moment, and why others are kept |
//! | `policy` | the policy: counts of the last hours, days, weeks, months and years, in a time zone |
//! | `plan` | what a policy, or a list of snapshots, keeps and forgets in a repository, and why |

mod expiry;
mod plan;
mod policy;

pub use self::expiry::{Ages, ExpiryPlan, ExpiryRow, KeptBecause, KeptSegment, plan_expiry};
pub use self::plan::{RetentionError, RetentionPlan, RetentionRow, plan_policy, plan_snapshots};
pub use self::policy::{Policy, Reason};
