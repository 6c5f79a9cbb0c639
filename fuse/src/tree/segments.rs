//! `segments/` of a partition: `X.kseg`, the stored bytes of each segment.

use super::extended::Extended;
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::segment_item::{SegmentItem, SegmentNumbers, segment_of};
use super::{Tree, names};
use crate::attributes::{Attributes, Kind};
use crate::content::stored_file::StoredFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// The folder `segments`, or the bytes of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentNode(pub(super) SegmentItem);

const NUMBERS: SegmentNumbers = SegmentNumbers {
    folder_item: 7,
    family: 5,
};

impl Family for SegmentNode {
    fn of(number: Number) -> Option<Self> {
        NUMBERS.item(number).map(SegmentNode)
    }

    fn number(self) -> Number {
        NUMBERS.number(self.0)
    }

    fn kind(self) -> Kind {
        self.0.kind()
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let SegmentItem::Segment { sequence, segment } = self.0 else {
            return Ok(self.0.folder(tree).await?.loaded.folder());
        };
        let segment = tree.segment(sequence, segment).await?;
        let (size, newest) = (segment.entry().size, segment.newest());
        Ok(segment.partition.loaded.file(size, size, newest))
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        self.0.extended(tree).await
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let name = |entry: &_| names::stored(entry).to_owned();
        let node = |item| SegmentNode(item).into();
        self.0.children(tree, window, name, node).await
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let partition = self.0.folder(tree).await?;
        // The name contains the offset, so no listing is needed.
        let Some(base) = names::stored_base(name) else {
            return Ok(None);
        };
        let found = tree.reader.segment_at(&partition, base).await?;
        let named = found.filter(|(_, entry)| names::stored(entry) == name);
        Ok(named.map(|(segment, _)| SegmentNode(segment_of(&partition, segment)).into()))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let SegmentItem::Segment { sequence, segment } = self.0 else {
            return Err(ViewError::IsFolder);
        };
        let segment = tree.segment(sequence, segment).await?;
        let entry = segment.entry().clone();
        Ok(Body::Stored(
            StoredFile::new(segment.partition, entry).into(),
        ))
    }
}
