//! `by-offset/` of a partition: `FIRST-LAST.jsonl` per segment, and any other `A-B.jsonl`, `N.json` and `N.value` that is looked up.
//!
//! Ranges that are not a segment's are in no listing. Each is remembered from its lookup until the kernel forgets it.

use std::ops::Range;
use std::sync::Arc;

use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::{item_number, item_of};
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
    /// The folder `by-offset`.
    Folder { sequence: u64, partition: u64 },
    /// The records of one segment; segments are counted across all partitions of the snapshot.
    Segment { sequence: u64, segment: u64 },
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

const FOLDER_ITEM: u64 = 5;
const SEGMENT_FAMILY: u64 = 4;
const HASH_FAMILY: u64 = 0;

impl Family for ByOffsetNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Hashed {
                family: HASH_FAMILY,
                hash,
            } => Some(ByOffsetNode::Ephemeral(hash)),
            Number::Snapshot {
                sequence,
                family: SEGMENT_FAMILY,
                place,
            } => Some(ByOffsetNode::Segment {
                sequence,
                segment: place,
            }),
            _ => match item_of(number)? {
                (sequence, partition, FOLDER_ITEM) => Some(ByOffsetNode::Folder {
                    sequence,
                    partition,
                }),
                _ => None,
            },
        }
    }

    fn number(self) -> Number {
        match self {
            ByOffsetNode::Folder {
                sequence,
                partition,
            } => item_number(sequence, partition, FOLDER_ITEM),
            ByOffsetNode::Segment { sequence, segment } => Number::Snapshot {
                sequence,
                family: SEGMENT_FAMILY,
                place: segment,
            },
            ByOffsetNode::Ephemeral(hash) => Number::Hashed {
                family: HASH_FAMILY,
                hash,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByOffsetNode::Folder { .. } => Kind::Folder,
            ByOffsetNode::Segment { .. } | ByOffsetNode::Ephemeral(_) => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            ByOffsetNode::Folder {
                sequence,
                partition,
            } => Ok(tree.partition(sequence, partition).await?.loaded.folder()),
            ByOffsetNode::Segment { sequence, segment } => {
                let segment = tree.segment(sequence, segment).await?;
                let text = segment.text_range().ok_or(ViewError::NotFound)?;
                let loaded = &segment.partition.loaded;
                let (stored_bytes, newest) = (segment.entry().size, segment.newest());
                Ok(loaded.file(text.end - text.start, stored_bytes, newest))
            }
            ByOffsetNode::Ephemeral(number) => Ok(tree.offsets.get(number)?.attributes),
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        match self {
            ByOffsetNode::Folder {
                sequence,
                partition,
            } => {
                let partition = tree.partition(sequence, partition).await?;
                tree.extended_of_partition(&partition).await
            }
            ByOffsetNode::Segment { sequence, segment } => Ok(extended::of_segment(
                &tree.segment(sequence, segment).await?,
            )),
            ByOffsetNode::Ephemeral(number) => {
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
        }
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let ByOffsetNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let partition = tree.partition(sequence, partition).await?;
        let child = |cookie, segment, entry: &_| {
            let node = ByOffsetNode::Segment { sequence, segment };
            Child::new(cookie, names::by_offset(entry), node)
        };
        tree.segment_children(&partition, window, child).await
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let ByOffsetNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let partition = tree.partition(sequence, partition).await?;
        let index = tree.reader.partition_index(&partition).await?;
        let query = names::offset_query(name).filter(|_| index.sized);
        let Some(query) = query else {
            return Ok(None);
        };
        if let OffsetQuery::Range(first, last) = query
            && let Some((segment, entry)) = tree.reader.segment_at(&partition, first).await?
            && (entry.base_offset, entry.end_offset.saturating_sub(1)) == (first, last)
        {
            let segment = partition.segments_before() + segment;
            return Ok(Some(ByOffsetNode::Segment { sequence, segment }.into()));
        }
        let range = look_up(tree, &partition, &index, query).await?;
        Ok(range.map(|range| {
            let asked = (range.sequence, range.partition, range.query);
            ByOffsetNode::Ephemeral(tree.offsets.looked_up(asked, range)).into()
        }))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        match self {
            ByOffsetNode::Folder { .. } => Err(ViewError::IsFolder),
            ByOffsetNode::Segment { sequence, segment } => {
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
