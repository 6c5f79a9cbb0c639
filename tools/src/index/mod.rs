//! `kbk index`: computes what the writers of segments of batches did not (SPEC 2.11), and keeps the batches as they are.
//!
//! ```text
//! snapshot -- rows that state no digest --> copies with all numbers -- read back, compare --> one commit: these rows for those
//! ```
//!
//! What is read: the rows of partitions whose own row states no smallest timestamp, and every block of the segments that are not computed. Nothing
//! is read from a cluster.
//!
//! The order of writes: a new segment; then, once the store has returned all of it and every record in it was checked, a table and a snapshot that
//! name it in place of the old one ([`Repository::replace`](kbk_format::repo::Repository::replace)). Old objects are not touched: older snapshots
//! name them, and a prune deletes them. A kill leaves the old snapshot or the new one, and before that segments that nothing names.
//!
//! What is proved of a segment before the commit, from the bytes that the store returns: the same offsets, records and gaps, and a content digest
//! that is the one of the records as they were read from the old one, whose batches have checksums of their own.
//!
//! What can be missing from the result: a segment that is damaged stays as it is, and is a finding. What another run expired or replaced meanwhile
//! is left to that run.
//!
//! Memory: two ranges of blocks and the buffers of one upload, for each of two partitions at a time.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the loop over partitions, and the commit |
//! | `segment` | one segment: copied, and proved |
//! | `report` | what was computed, and what could not be |

mod report;
mod run;
mod segment;
#[cfg(test)]
mod tests;

pub use self::report::{IndexReport, IndexRow};
pub use self::run::index;
