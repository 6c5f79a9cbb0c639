//! `segments/` of a partition: `X.kseg`, the stored bytes of each segment.

use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::{item_number, item_of};
use super::{Tree, names};
use crate::attributes::{Attributes, Kind};
use crate::content::stored_file::StoredFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentNode {
    /// The folder `segments`.
    Folder { sequence: u64, partition: u64 },
    /// The bytes of one segment; segments are counted across all partitions of the snapshot.
    Segment { sequence: u64, segment: u64 },
}

const FOLDER_ITEM: u64 = 7;
const SEGMENT_FAMILY: u64 = 5;

impl Family for SegmentNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Snapshot {
                sequence,
                family: SEGMENT_FAMILY,
                place,
            } => Some(SegmentNode::Segment {
                sequence,
                segment: place,
            }),
            _ => match item_of(number)? {
                (sequence, partition, FOLDER_ITEM) => Some(SegmentNode::Folder {
                    sequence,
                    partition,
                }),
                _ => None,
            },
        }
    }

    fn number(self) -> Number {
        match self {
            SegmentNode::Folder {
                sequence,
                partition,
            } => item_number(sequence, partition, FOLDER_ITEM),
            SegmentNode::Segment { sequence, segment } => Number::Snapshot {
                sequence,
                family: SEGMENT_FAMILY,
                place: segment,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            SegmentNode::Folder { .. } => Kind::Folder,
            SegmentNode::Segment { .. } => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            SegmentNode::Folder {
                sequence,
                partition,
            } => Ok(tree.partition(sequence, partition).await?.loaded.folder()),
            SegmentNode::Segment { sequence, segment } => {
                let segment = tree.segment(sequence, segment).await?;
                let (size, newest) = (segment.entry().size, segment.newest());
                Ok(segment.partition.loaded.file(size, size, newest))
            }
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        match self {
            SegmentNode::Folder {
                sequence,
                partition,
            } => {
                let partition = tree.partition(sequence, partition).await?;
                tree.extended_of_partition(&partition).await
            }
            SegmentNode::Segment { sequence, segment } => Ok(extended::of_segment(
                &tree.segment(sequence, segment).await?,
            )),
        }
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let SegmentNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let partition = tree.partition(sequence, partition).await?;
        let child = |cookie, segment, entry: &_| {
            let node = SegmentNode::Segment { sequence, segment };
            Child::new(cookie, names::stored(entry).to_owned(), node)
        };
        tree.segment_children(&partition, window, child).await
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let SegmentNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let partition = tree.partition(sequence, partition).await?;
        // The name contains the offset, so no listing is needed.
        let Some(base) = names::stored_base(name) else {
            return Ok(None);
        };
        let found = tree.reader.segment_at(&partition, base).await?;
        let named = found.filter(|(_, entry)| names::stored(entry) == name);
        Ok(named.map(|(segment, _)| {
            let segment = partition.segments_before() + segment;
            SegmentNode::Segment { sequence, segment }.into()
        }))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let SegmentNode::Segment { sequence, segment } = self else {
            return Err(ViewError::IsFolder);
        };
        let segment = tree.segment(sequence, segment).await?;
        let entry = segment.entry().clone();
        Ok(Body::Stored(
            StoredFile::new(segment.partition, entry).into(),
        ))
    }
}
