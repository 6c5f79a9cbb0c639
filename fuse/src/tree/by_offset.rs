//! `by-offset/` of a partition: `FIRST-LAST.jsonl` per segment, and any other `A-B.jsonl`, `N.json` and `N.value` that is looked up.
//!
//! Ranges that are not a segment's are in no listing. Each is remembered from its lookup until the kernel forgets it.

use std::ops::Range;
use std::sync::Arc;

use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::segment_item::{SegmentItem, SegmentNumbers, segment_of};
use super::{LocatedSegment, Tree, names, stored_share};
use crate::attributes::{Attributes, Kind};
use crate::content::offsets::OffsetQuery;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::content::text_file::TextFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByOffsetNode {
    /// The folder `by-offset`, or the records of one segment.
    Item(SegmentItem),
    /// A range that was looked up, by its number in [`EphemeralInodes`](super::ephemeral::EphemeralInodes).
    Ephemeral(u64),
}

/// A range that was looked up, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EphemeralRange {
    sequence: u64,
    /// Its ordinal among all partitions of the snapshot.
    partition: u64,
    query: OffsetQuery,
    /// Where its records are in the partition's text; of a value, its own bytes.
    text: Range<u64>,
    attributes: Attributes,
}

const NUMBERS: SegmentNumbers = SegmentNumbers {
    folder_item: 5,
    family: 4,
};
const HASH_FAMILY: u64 = 0;

impl Family for ByOffsetNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Hashed {
                family: HASH_FAMILY,
                hash,
            } => Some(ByOffsetNode::Ephemeral(hash)),
            _ => NUMBERS.item(number).map(ByOffsetNode::Item),
        }
    }

    fn number(self) -> Number {
        match self {
            ByOffsetNode::Item(item) => NUMBERS.number(item),
            ByOffsetNode::Ephemeral(hash) => Number::Hashed {
                family: HASH_FAMILY,
                hash,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByOffsetNode::Item(item) => item.kind(),
            ByOffsetNode::Ephemeral(_) => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            ByOffsetNode::Item(SegmentItem::Segment { sequence, segment }) => {
                let segment = tree.segment(sequence, segment).await?;
                let text = segment.text_range().ok_or(ViewError::NotFound)?;
                let loaded = &segment.partition.loaded;
                let (stored_bytes, newest) = (segment.entry().size, segment.newest());
                Ok(loaded.file(text.end - text.start, stored_bytes, newest))
            }
            ByOffsetNode::Item(folder) => Ok(folder.folder(tree).await?.loaded.folder()),
            ByOffsetNode::Ephemeral(number) => Ok(tree.offsets.get(number)?.attributes),
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        let number = match self {
            ByOffsetNode::Item(item) => return item.extended(tree).await,
            ByOffsetNode::Ephemeral(number) => number,
        };
        let range = tree.offsets.get(number)?;
        let partition = tree.partition(range.sequence, range.partition).await?;
        let (first, last) = match range.query {
            OffsetQuery::One(offset) | OffsetQuery::Value(offset) => (offset, offset),
            OffsetQuery::Range(first, last) => (first, last),
        };
        Ok(extended::of_offsets(
            &partition,
            first,
            last.saturating_add(1),
        ))
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let node = |item| ByOffsetNode::Item(item).into();
        let folder = self.item()?;
        folder.children(tree, window, names::by_offset, node).await
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let partition = self.item()?.folder(tree).await?;
        let index = tree.reader.partition_index(&partition).await?;
        let query = names::offset_query(name).filter(|_| index.sized);
        let Some(query) = query else {
            return Ok(None);
        };
        if let OffsetQuery::Range(first, last) = query
            && let Some((segment, entry)) = tree.reader.segment_at(&partition, first).await?
            && (entry.base_offset, entry.end_offset.saturating_sub(1)) == (first, last)
        {
            let item = segment_of(&partition, segment);
            return Ok(Some(ByOffsetNode::Item(item).into()));
        }
        let range = look_up(tree, &partition, &index, query).await?;
        Ok(range.map(|range| {
            let asked = (range.sequence, range.partition, range.query);
            ByOffsetNode::Ephemeral(tree.offsets.looked_up(asked, range)).into()
        }))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        match self {
            ByOffsetNode::Item(SegmentItem::Folder { .. }) => Err(ViewError::IsFolder),
            ByOffsetNode::Item(SegmentItem::Segment { sequence, segment }) => {
                let segment = tree.segment(sequence, segment).await?;
                let range = segment.text_range().ok_or(ViewError::NotFound)?;
                let LocatedSegment {
                    partition, index, ..
                } = segment;
                let file = TextFile::records(partition, index, range);
                Ok(Body::Text(file.into()))
            }
            ByOffsetNode::Ephemeral(number) => {
                let range = tree.offsets.get(number)?;
                let partition = tree.partition(range.sequence, range.partition).await?;
                let OffsetQuery::Value(offset) = range.query else {
                    return tree.open_records(partition, range.text).await;
                };
                let index = tree.reader.partition_index(&partition).await?;
                let value = tree.reader.value_at(&partition, &index, offset).await?;
                let (value, _) = value.ok_or(ViewError::Stale)?;
                Ok(Body::Whole(value))
            }
        }
    }

    fn forget(self, tree: &Tree, lookups: u64) {
        if let ByOffsetNode::Ephemeral(number) = self {
            tree.offsets.forget(number, lookups);
        }
    }
}

impl ByOffsetNode {
    fn item(self) -> Result<SegmentItem, ViewError> {
        match self {
            ByOffsetNode::Item(item) => Ok(item),
            ByOffsetNode::Ephemeral(_) => Err(ViewError::NotFolder),
        }
    }
}

/// The records that a name asks for, if there are any.
async fn look_up(
    tree: &Tree,
    partition: &Partition,
    index: &Arc<PartitionIndex>,
    query: OffsetQuery,
) -> Result<Option<EphemeralRange>, ViewError> {
    let range = tree.reader.offset_range(partition, index, query).await?;
    Ok(range.map(|found| {
        let size = found.range.end - found.range.start;
        let newest = found.timestamp.or(index.times.map(|(_, max)| max));
        let stored_bytes = stored_share(partition, index, size);
        EphemeralRange {
            sequence: partition.sequence(),
            partition: partition.ordinal(),
            query,
            text: found.range,
            attributes: partition.loaded.file(size, stored_bytes, newest),
        }
    }))
}
