//! How the records of a backup are paired with those of a partition in a cluster.

use std::ops::Range;

use kbk_format::repo::{DonePartition, LostRange, Repository, RestoreId};
use kbk_tools::read::GapReasons;
use kbk_tools::restores::MapReader;

/// How the records of a backup are paired with those of a partition in a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Pairing {
    /// In order, from this offset of the cluster on, where nothing else may be: what a restore has just written.
    Restored {
        /// The first offset that the restore could write to.
        from: i64,
    },
    /// In order: a copy of which nothing says where each record went. What follows the last record of the backup is newer.
    InOrder,
    /// By offset: the cluster has the partition that was backed up, or a copy that an offset map describes.
    ByOffset(Box<SharedOffsets>),
}

/// The offsets of a partition that both the cluster and the backup hold records for.
#[derive(Clone, Debug)]
pub(crate) struct SharedOffsets {
    /// Where each record of the backup is in the cluster; at its own offset if `None`.
    pub(crate) map: Option<OffsetMap>,
    /// The offsets in the cluster that the backup accounts for.
    pub(crate) covered: Range<i64>,
    /// Whether later offsets are newer than the backup; otherwise they were not selected.
    pub(crate) open_end: bool,
    /// Whether the cluster may have removed records with a key by compaction.
    pub(crate) compacted: bool,
    /// Which records the backup had.
    pub(crate) former: Former,
}

/// Which records the backup of a partition had, and has no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Former {
    /// Says which ones `kbk compact` has removed; `None` where it has removed none.
    pub(crate) removed: Option<GapReasons>,
    /// The offsets of those that were lost since their segments were damaged, in order.
    pub(crate) damaged: Vec<LostRange>,
}

impl Former {
    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_none() && self.damaged.is_empty()
    }

    /// Returns whether the record at this offset was lost to damage.
    pub(super) fn is_damaged(&self, offset: i64) -> bool {
        let next = self.damaged.partition_point(|lost| lost.to <= offset);
        let lost = self.damaged.get(next);
        lost.is_some_and(|lost| lost.from <= offset)
    }
}

/// The offset map of one partition, as a finished restore left it.
#[derive(Clone, Debug)]
pub(crate) struct OffsetMap {
    pub(crate) repository: Repository,
    pub(crate) restore: RestoreId,
    pub(crate) partition: DonePartition,
}

impl OffsetMap {
    /// Returns a reader of the map, to be used on a thread of a runtime.
    pub(crate) fn read(&self) -> MapReader {
        MapReader::new(&self.repository, &self.restore, &self.partition)
    }
}
