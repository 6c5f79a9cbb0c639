//! `kbk compact`: merges small segments of a partition into large ones, compresses them anew, and keeps the latest record per key.
//!
//! ```text
//! snapshot -- plan --> groups of segments -- merge --> new segments -- read back, prove --> one commit: these rows for those
//! ```
//!
//! What is read: the rows of the selected partitions, and every block of the segments that are merged; of a partition whose latest records
//! are kept, META and KEYS of every block before. Nothing is read from a cluster.
//!
//! The order of writes: the new segments of a group; then, once the store has returned each of them and every record in it was checked, a
//! table and a snapshot that name them in place of the old ones ([`Repository::replace`](kbk_format::repo::Repository::replace)). Old objects
//! are not touched: older snapshots name them, and a prune deletes them. A kill leaves the old snapshot or the new one, and before that
//! segments that nothing names: the next run finds those that hold a whole group, proves them again and uses them; a prune deletes the rest.
//!
//! What is proved of a group, before the commit and from the bytes that the store returns: the same offsets are covered; the sum of the
//! content digests (SPEC section 2.6), which have the timestamp type of each record, is that of the segments that go, less the records that
//! were removed by key; every gap has the reason that it had, or *compacted* where a record was removed. The commit compares the sums again.
//!
//! What can be missing from the result: a segment that is damaged stays as it is, with those that cannot be merged without it, and is a
//! finding. What another run expired or replaced meanwhile is left to that run.
//!
//! Memory: the blocks that are being encoded, a few ranges of sources, the buffers of one upload; of a segment with a key filter 8 bytes per key and
//! block, at most 64 MiB, at which the segment is cut; with `--keep latest-per-key` besides these
//! a table of keys of a fixed size ([`CompactOptions::key_memory`]), and one bit per record of the partition.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the loop over partitions, and the commit |
//! | `partition_result` | what became of a partition |
//! | `keep_all` | the groups of a partition, merged one after the other |
//! | `keep_latest` | the same of a partition of which the latest record per key is kept |
//! | `plan` | which segments are merged |
//! | `group` | one group: found, or merged, and proved |
//! | `source` | the blocks of segments, read ahead in order |
//! | `merge` | records from the blocks of sources into new segments |
//! | `gaps` | reasons of gaps, carried over |
//! | `expected` | what new segments must hold |
//! | `prove` | what they do hold, from the bytes that the store returns |
//! | `latest` | which records are not the latest of their key |
//! | `key_range` | where these are, segment by segment |
//! | `report` | what was merged, and what could not be |

mod expected;
mod gaps;
mod group;
mod keep_all;
mod keep_latest;
mod key_range;
mod latest;
mod merge;
mod partition_result;
mod plan;
mod prove;
mod report;
mod run;
mod source;
#[cfg(test)]
pub(crate) mod tests;

use kbk_format::{Compression, KeyFilterBits};

use crate::maintenance::MaintenanceOptions;

pub(crate) use self::partition_result::finding;
pub(crate) use self::prove::{Held, Keys, read_back};
pub use self::report::{CompactFinding, CompactFindingKind, CompactReport, CompactRow};
pub use self::run::compact;
pub(crate) use self::source::{Part, channel, runs, send};

/// What is merged, and how.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Stored bytes that segments are merged up to.
    pub segment_bytes: u64,
    /// Raw bytes per block.
    pub block_bytes: usize,
    /// How new segments are compressed. `None`: as those that they replace, or by default where these differ; no segment is written anew for this alone.
    pub compression: Option<Compression>,
    /// Which new segments have a key filter, and which are written anew for it.
    pub key_filters: KeyFilters,
    /// Only segments whose records are all older than this timestamp in milliseconds.
    pub older_than: Option<i64>,
    /// Keeps only the latest record per key.
    pub keep: Option<KeepLatest>,
    /// Bytes of the table of keys: more keys take more passes over the partition.
    pub key_memory: usize,
    /// How the run works.
    pub run: MaintenanceOptions,
}

/// Which segments have a key filter (SPEC section 2.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFilters {
    /// A new segment has one if one of those has that it replaces, and as selective a one.
    #[default]
    Kept,
    /// All have one; those without are written anew. `None`: as selective as those that are replaced, or by default.
    All(Option<KeyFilterBits>),
    /// None has one; those with one are written anew.
    Dropped,
}

/// Which records are kept of a partition: of each key, the one with the highest offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepLatest {
    /// Tombstones with an earlier timestamp in milliseconds are removed, too, where nothing is left that they delete. `None`: all are kept.
    pub tombstones_from: Option<i64>,
}
