//! `PARTITION/` of a topic: `meta.json`, and all records as `records.jsonl`, `values` and `keys`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, stream};
use kbk_format::render::View as TextView;

use super::by_key::ByKeyNode;
use super::by_offset::ByOffsetNode;
use super::by_time::ByTimeNode;
use super::extended::Extended;
use super::inode::{Number, items};
use super::log::LogNode;
use super::node::{Child, Family, Node, Window};
use super::part::Part;
use super::segment_item::SegmentItem;
use super::segments::SegmentNode;
use super::{Tree, meta};
use crate::attributes::{Attributes, Kind, Lifetime};
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::content::text_file::TextFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// A partition's folder, or a file in it. Partitions are counted across all topics of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionNode {
    sequence: u64,
    partition: u64,
    item: PartitionItem,
}

items!(
    /// A partition's folder, and its files.
    PartitionItem { Folder, Meta, Records, Values, Keys }
);

const META: &str = "meta.json";
/// The number of partitions whose indexes are loaded ahead.
const AHEAD: u64 = 32;

const FAMILY: u64 = 3;
/// Room for the items of this module and for the folders of `by_offset`, `by_time` and `segments`.
const ITEM_BITS: u32 = 3;

/// The number of an item of a partition, for the families whose folders are in one.
pub(super) fn item_number(sequence: u64, partition: u64, item: u64) -> Number {
    Number::Snapshot {
        sequence,
        family: FAMILY,
        place: partition << ITEM_BITS | item,
    }
}

/// The sequence, partition and item of such a number.
pub(super) fn item_of(number: Number) -> Option<(u64, u64, u64)> {
    match number {
        Number::Snapshot {
            sequence,
            family: FAMILY,
            place,
        } => Some((sequence, place >> ITEM_BITS, place & ((1 << ITEM_BITS) - 1))),
        _ => None,
    }
}

/// Of what else a partition's folder contains: folders whose files are numbered within the partition.
const MORE_FAMILY: u64 = 7;
const MORE_BITS: u32 = 16;

/// The number of such a folder or file, for the families that have them; `inode` says whose which numbers are.
pub(super) fn more_number(sequence: u64, partition: u64, number: u64) -> Number {
    Number::Snapshot {
        sequence,
        family: MORE_FAMILY,
        place: partition << MORE_BITS | number,
    }
}

/// The sequence, the partition, and the number within it.
pub(super) fn more_of(number: Number) -> Option<(u64, u64, u64)> {
    match number {
        Number::Snapshot {
            sequence,
            family: MORE_FAMILY,
            place,
        } => Some((sequence, place >> MORE_BITS, place & ((1 << MORE_BITS) - 1))),
        _ => None,
    }
}

impl Family for PartitionNode {
    fn of(number: Number) -> Option<Self> {
        let (sequence, partition, item) = item_of(number)?;
        Some(PartitionNode {
            sequence,
            partition,
            item: PartitionItem::of(item)?,
        })
    }

    fn number(self) -> Number {
        item_number(self.sequence, self.partition, self.item as u64)
    }

    fn kind(self) -> Kind {
        match self.item {
            PartitionItem::Folder => Kind::Folder,
            PartitionItem::Meta
            | PartitionItem::Records
            | PartitionItem::Values
            | PartitionItem::Keys => Kind::File,
        }
    }

    fn changes(self) -> bool {
        // It lists damage as it is found.
        self.item == PartitionItem::Meta
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let partition = tree.partition(self.sequence, self.partition).await?;
        match self.item.view() {
            Some(view) => text_attributes(tree, &partition, view).await,
            None if self.item == PartitionItem::Folder => Ok(partition.loaded.folder()),
            None => {
                let size = meta_json(tree, &partition).await?.len() as u64;
                Ok(Attributes {
                    lifetime: Lifetime::Growing,
                    ..partition.loaded.file(size, 0, None)
                })
            }
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        let partition = tree.partition(self.sequence, self.partition).await?;
        tree.extended_of_partition(&partition).await
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let names = self.names()?;
        self.load_ahead(tree).await?;
        let index = self.index(tree).await?;
        let is_listed =
            |part: Option<Part>| part.is_none_or(|part| tree.lists(part) && is_shown(part, &index));
        let parts = names.map(|(part, _)| part);
        let names = names.map(|(part, node)| (part.map_or(META, Part::file_name), node));
        let listed = |node| {
            let at = names.iter().position(|(_, named)| *named == node);
            at.is_some_and(|at| is_listed(parts[at]))
        };
        Ok(window.of_fixed(&names, listed))
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let is_named = |part: Option<Part>| part.map_or(META, Part::file_name) == name;
        let mut names = self.names()?.into_iter();
        let Some((part, node)) = names.find(|(part, _)| is_named(*part)) else {
            return Ok(None);
        };
        // `by-key` is there in any case: what is looked up in a folder that is not there would be called absent. No text is needed for the others.
        let is_found = match part {
            None | Some(Part::ByKey | Part::Log | Part::Segments) => true,
            Some(part) => is_shown(part, &*self.index(tree).await?),
        };
        Ok(is_found.then_some(node))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        if self.item == PartitionItem::Folder {
            return Err(ViewError::IsFolder);
        }
        let partition = tree.partition(self.sequence, self.partition).await?;
        let Some(view) = self.item.view() else {
            return Ok(Body::Whole(meta_json(tree, &partition).await?.into()));
        };
        let index = tree.reader.partition_index(&partition).await?;
        if !index.sized {
            return Err(ViewError::NotFound);
        }
        Ok(Body::Text(TextFile::whole(partition, index, view).into()))
    }
}

/// Sizes must be exact, and without stated lengths those of text are unknown: then no text is shown. Nor are keys where a look-up would read everything.
fn is_shown(part: Part, index: &PartitionIndex) -> bool {
    match part {
        Part::Segments | Part::Log => true,
        Part::ByKey => index.has_key_filters(),
        _ => index.sized,
    }
}

impl PartitionNode {
    /// What a partition's folder contains: `meta.json`, and the parts that show its records.
    fn names(self) -> Result<[(Option<Part>, Node); 9], ViewError> {
        if self.item != PartitionItem::Folder {
            return Err(ViewError::NotFolder);
        }
        let (sequence, partition) = (self.sequence, self.partition);
        let file = |item| Node::from(PartitionNode { item, ..self });
        let by_segment = SegmentItem::Folder {
            sequence,
            partition,
        };
        let by_time = ByTimeNode::Folder {
            sequence,
            partition,
        };
        Ok([
            (None, file(PartitionItem::Meta)),
            (Some(Part::Records), file(PartitionItem::Records)),
            (Some(Part::Values), file(PartitionItem::Values)),
            (Some(Part::Keys), file(PartitionItem::Keys)),
            (Some(Part::ByOffset), ByOffsetNode::Item(by_segment).into()),
            (Some(Part::ByTime), by_time.into()),
            (Some(Part::Segments), SegmentNode(by_segment).into()),
            (
                Some(Part::Log),
                LogNode::folder_of(sequence, partition).into(),
            ),
            (
                Some(Part::ByKey),
                ByKeyNode::folder_of(sequence, partition).into(),
            ),
        ])
    }

    /// Loads the indexes of the partitions after this one if programs list one partition after another, as `find` and `du` do.
    async fn load_ahead(self, tree: &Tree) -> Result<(), ViewError> {
        let before = tree.last_listed.swap(self.partition, Ordering::Relaxed);
        let is_walk = before.checked_add(1) == Some(self.partition);
        if !is_walk || !self.partition.is_multiple_of(AHEAD / 2) {
            return Ok(());
        }
        let loaded = tree.reader.snapshot(self.sequence).await?;
        let next = self.partition + 1..self.partition + 1 + AHEAD;
        let next: Vec<_> = next.filter_map(|next| loaded.partition(next)).collect();
        let reader = Arc::clone(&tree.reader);
        // An error here is reported to the listing that needs the index.
        tokio::spawn(async move {
            let parallel = reader.source.parallel_requests();
            let indexes = next.into_iter().map(|next| {
                let reader = Arc::clone(&reader);
                async move { drop(reader.partition_index(&next).await) }
            });
            stream::iter(indexes)
                .buffered(parallel)
                .collect::<()>()
                .await;
        });
        Ok(())
    }

    async fn index(self, tree: &Tree) -> Result<Arc<PartitionIndex>, ViewError> {
        let partition = tree.partition(self.sequence, self.partition).await?;
        tree.reader.partition_index(&partition).await
    }

    pub(super) fn folder(sequence: u64, partition: u64) -> PartitionNode {
        PartitionNode {
            sequence,
            partition,
            item: PartitionItem::Folder,
        }
    }
}

impl PartitionItem {
    fn view(self) -> Option<TextView> {
        match self {
            PartitionItem::Folder | PartitionItem::Meta => None,
            PartitionItem::Records => Some(TextView::Records),
            PartitionItem::Values => Some(TextView::Values),
            PartitionItem::Keys => Some(TextView::Keys),
        }
    }
}

/// The attributes of a file with the text of all records of a partition.
pub(super) async fn text_attributes(
    tree: &Tree,
    partition: &Partition,
    view: TextView,
) -> Result<Attributes, ViewError> {
    let index = tree.reader.partition_index(partition).await?;
    if !index.sized {
        return Err(ViewError::NotFound);
    }
    let newest = index.times.map(|(_, max)| max);
    let stored_bytes = partition.state().stored_bytes;
    Ok(partition
        .loaded
        .file(index.size(view), stored_bytes, newest))
}

async fn meta_json(tree: &Tree, partition: &Partition) -> Result<Vec<u8>, ViewError> {
    let index = tree.reader.partition_index(partition).await?;
    let findings = &tree.reader.findings;
    let (damage, outages) = findings.of_partition(partition.sequence(), &partition.id());
    Ok(meta::meta_json(partition, &index, damage, outages))
}
