//! Checks of what a restore wrote, and of what it finds when it resumes.
//!
//! | file | job |
//! |---|---|
//! | `targets` | the targets are the topics that the restore began with, and hold what it wrote |
//! | `known` | waits until brokers know the topics that a restore has created |
//! | `unexpected` | records in the targets that the restore did not write |
//! | `head` | when a restore resumes: nothing was written where no position is committed |
//! | `quiescence` | waits until everything committed is readable |
//! | `live` | what a cluster should still hold of a snapshot, for `kbk diff --live` |
//! | `one_to_one` | what targets should hold, for [`compare`](crate::compare), where each source partition has one of its own |
//! | `repartitioned` | the comparison where records were distributed by key, by the offset map |
//! | `owned_record` | a record of the backup that waits for its counterpart |

pub(crate) mod head;
pub(crate) mod known;
pub(crate) mod live;
pub(crate) mod one_to_one;
mod owned_record;
pub(crate) mod quiescence;
pub(crate) mod repartitioned;
pub(crate) mod targets;
pub(crate) mod unexpected;
