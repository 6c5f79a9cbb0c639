//! A folder with a file for each segment of a partition: `by-offset`, which shows their records, and `segments`, which shows their bytes.

use kbk_format::repo::SegmentEntry;

use super::Tree;
use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Node, Window};
use super::partition::{item_number, item_of};
use crate::attributes::Kind;
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// Such a folder, or a file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentItem {
    /// The folder.
    Folder { sequence: u64, partition: u64 },
    /// The file of one segment; segments are counted across all partitions of the snapshot.
    Segment { sequence: u64, segment: u64 },
}

/// The numbers of one of the two.
pub(super) struct SegmentNumbers {
    /// The item of the partition that is the folder.
    pub(super) folder_item: u64,
    /// The family of its files.
    pub(super) family: u64,
}

impl SegmentNumbers {
    pub(super) fn item(&self, number: Number) -> Option<SegmentItem> {
        match number {
            Number::Snapshot {
                sequence,
                family,
                place,
            } if family == self.family => Some(SegmentItem::Segment {
                sequence,
                segment: place,
            }),
            _ => {
                let (sequence, partition, item) = item_of(number)?;
                (item == self.folder_item).then_some(SegmentItem::Folder {
                    sequence,
                    partition,
                })
            }
        }
    }

    pub(super) fn number(&self, item: SegmentItem) -> Number {
        match item {
            SegmentItem::Folder {
                sequence,
                partition,
            } => item_number(sequence, partition, self.folder_item),
            SegmentItem::Segment { sequence, segment } => Number::Snapshot {
                sequence,
                family: self.family,
                place: segment,
            },
        }
    }
}

impl SegmentItem {
    pub(super) fn kind(self) -> Kind {
        match self {
            SegmentItem::Folder { .. } => Kind::Folder,
            SegmentItem::Segment { .. } => Kind::File,
        }
    }

    pub(super) async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        match self {
            SegmentItem::Folder {
                sequence,
                partition,
            } => {
                let partition = tree.partition(sequence, partition).await?;
                tree.extended_of_partition(&partition).await
            }
            SegmentItem::Segment { sequence, segment } => Ok(extended::of_segment(
                &tree.segment(sequence, segment).await?,
            )),
        }
    }

    /// The partition of the folder, for what only a folder can do.
    pub(super) async fn folder(self, tree: &Tree) -> Result<Partition, ViewError> {
        match self {
            SegmentItem::Folder {
                sequence,
                partition,
            } => tree.partition(sequence, partition).await,
            SegmentItem::Segment { .. } => Err(ViewError::NotFolder),
        }
    }

    /// The files of the folder.
    pub(super) async fn children(
        self,
        tree: &Tree,
        window: Window,
        name: impl Fn(&SegmentEntry) -> String,
        node: impl Fn(SegmentItem) -> Node,
    ) -> Result<Vec<Child>, ViewError> {
        let partition = self.folder(tree).await?;
        let sequence = partition.sequence();
        let child = |cookie, segment, entry: &_| {
            let item = SegmentItem::Segment { sequence, segment };
            Child::new(cookie, name(entry), node(item))
        };
        tree.segment_children(&partition, window, child).await
    }
}

/// The file of a segment of a partition, by its ordinal in the partition.
pub(super) fn segment_of(partition: &Partition, segment: u64) -> SegmentItem {
    SegmentItem::Segment {
        sequence: partition.sequence(),
        segment: partition.segments_before() + segment,
    }
}
