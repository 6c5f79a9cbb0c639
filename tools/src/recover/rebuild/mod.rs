//! A new snapshot that is built from the segments alone, where the index or the snapshots are damaged or gone (SPEC section 11.14).
//!
//! ```text
//! snapshots --newest readable--> base --+
//! data/ --read all bytes--> nodes --compare--> histories --arrange--> segments --write, prove--> one commit
//! ```
//!
//! The plan reads everything and writes nothing. Applying it writes, in this order:
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | `kbk.json`, if it is missing or damaged | the same repository, with a `kbk.json` that can be read: the next rebuild does the rest |
//! | new segments, of objects that are damaged, or of which others have a part, and of offsets that nothing has | segments that nothing names: the next rebuild finds in them what it finds in their sources |
//! | one commit, which passes over every damaged snapshot | the new snapshot |
//!
//! Nothing is edited or removed. What the base states stays as it is: of the segments that it names, those are read whose
//! offsets other objects have, too. Memory grows with the number of objects,
//! by some hundred bytes for each, and not with their size.
//!
//! | file | holds |
//! |---|---|
//! | `base` | the newest snapshot of which every row can be read |
//! | `found` | what one object proves |
//! | `histories` | which objects contradict each other |
//! | `doubt` | which objects are proved to be of one log although a compaction has removed what they had in common |
//! | `arrange` | which offsets are taken of which object |
//! | `judge` | what became of each object |
//! | `sources` | what a new segment is made of |
//! | `plan` | what is to be done |
//! | `run` | the writing |
//! | `report` | what is reported |
//! | `error` | why nothing was rebuilt |

mod arrange;
mod base;
mod doubt;
mod error;
mod found;
mod histories;
mod judge;
mod plan;
mod report;
mod run;
mod sources;
#[cfg(test)]
mod tests;

pub use self::base::DamagedSnapshot;
pub use self::error::RebuildError;
pub use self::plan::{RebuildPlan, plan_rebuild};
pub use self::report::{
    ClusterRow, EmptyTopic, Fate, IdentityRebuild, MissingTotals, ObjectRow, OtherFile,
    PartitionRebuild, RebuildReport,
};
pub use self::run::{REBUILD, RebuildOptions, rebuild};
