//! What is said of each file.

use std::ops::Range;

use kbk_format::render::View as TextView;

use super::inode::{Node, PartitionItem, RootItem, SnapshotItem, TopicItem};
use super::{Tree, documents, share};
use crate::attributes::{Attributes, Kind, Lifetime};
use crate::content::snapshot::Partition;
use crate::error::ViewError;

impl Tree {
    pub(crate) async fn attributes(&self, node: Node) -> Result<Attributes, ViewError> {
        match node {
            Node::Root(item) => self.root_attributes(item).await,
            Node::Snapshot(sequence, SnapshotItem::Folder) => self.snapshot_folder(sequence),
            Node::Snapshot(sequence, item) => self.snapshot_attributes(sequence, item).await,
            Node::Group { sequence, .. } => {
                let loaded = self.library.snapshot(sequence).await?;
                Ok(loaded.file(self.document(node).await?.len() as u64, 0, None))
            }
            Node::Topic { sequence, item, .. } => {
                let loaded = self.library.snapshot(sequence).await?;
                match item {
                    TopicItem::Folder => Ok(loaded.folder()),
                    TopicItem::Config => {
                        Ok(loaded.file(self.document(node).await?.len() as u64, 0, None))
                    }
                }
            }
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.partition_attributes(node, &partition, item).await
            }
            Node::ByOffset { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let text = segment.text_range().ok_or(ViewError::NotFound)?;
                let entry = segment.entry();
                let newest = (entry.records > 0).then_some(entry.max_timestamp);
                Ok(segment
                    .partition
                    .loaded
                    .file(text.end - text.start, entry.size, newest))
            }
            Node::Stored { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let entry = segment.entry();
                let newest = (entry.records > 0).then_some(entry.max_timestamp);
                Ok(segment
                    .partition
                    .loaded
                    .file(entry.size, entry.size, newest))
            }
            Node::Part {
                sequence,
                partition,
                ..
            } => Ok(self.partition(sequence, partition).await?.loaded.folder()),
            Node::PartRecords {
                sequence,
                partition,
                part,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.part_attributes(&partition, part).await
            }
            Node::Named(number) => Ok(self.named.get(number)?.attributes),
            Node::FollowedTopic(_) | Node::Followed { .. } => self.follow_attributes(node).await,
        }
    }

    async fn root_attributes(&self, item: RootItem) -> Result<Attributes, ViewError> {
        let growing = if self.catalogue.is_growing() {
            Lifetime::Growing
        } else {
            Lifetime::Sealed
        };
        let snapshots = self.catalogue.snapshots(&self.library).await;
        let newest = snapshots.last().map_or(0, |newest| newest.written_ms);
        let mut attributes = Attributes {
            kind: Kind::Folder,
            size: 0,
            stored_bytes: 0,
            modified_ms: u64::try_from(newest).unwrap_or(0),
            links: 1,
            lifetime: growing,
        };
        match item {
            RootItem::Folder
            | RootItem::Snapshots
            | RootItem::Follow
            | RootItem::FollowedTopics => {}
            RootItem::Readme => {
                attributes.kind = Kind::File;
                attributes.size = documents::README.len() as u64;
                attributes.lifetime = Lifetime::Sealed;
            }
            RootItem::Latest => {
                attributes.kind = Kind::Link;
                attributes.size = self.latest().await?.len() as u64;
            }
        }
        Ok(attributes)
    }

    /// Where `latest` leads to.
    pub(crate) async fn latest(&self) -> Result<String, ViewError> {
        let snapshots = self.catalogue.snapshots(&self.library).await;
        let newest = snapshots.last().filter(|_| self.catalogue.has_latest());
        newest
            .map(|newest| format!("snapshots/{}", newest.sequence))
            .ok_or(ViewError::NotFound)
    }

    /// By what the listing says: no snapshot has to be read to list them all.
    fn snapshot_folder(&self, sequence: u64) -> Result<Attributes, ViewError> {
        let known = self.catalogue.known();
        let at = known.binary_search_by_key(&sequence, |snapshot| snapshot.sequence);
        let listed = at
            .ok()
            .and_then(|at| known.get(at))
            .ok_or(ViewError::Stale)?;
        Ok(Attributes {
            kind: Kind::Folder,
            size: 0,
            stored_bytes: 0,
            modified_ms: u64::try_from(listed.written_ms).unwrap_or(0),
            links: 1,
            lifetime: Lifetime::Sealed,
        })
    }

    async fn snapshot_attributes(
        &self,
        sequence: u64,
        item: SnapshotItem,
    ) -> Result<Attributes, ViewError> {
        let loaded = self.library.snapshot(sequence).await?;
        let node = Node::Snapshot(sequence, item);
        match item {
            SnapshotItem::Folder | SnapshotItem::Groups | SnapshotItem::Topics => {
                Ok(loaded.folder())
            }
            SnapshotItem::Json => Ok(loaded.file(self.document(node).await?.len() as u64, 0, None)),
            SnapshotItem::Errors => {
                let size = self.document(node).await?.len() as u64;
                Ok(Attributes {
                    lifetime: Lifetime::Growing,
                    ..loaded.file(size, 0, None)
                })
            }
        }
    }

    async fn partition_attributes(
        &self,
        node: Node,
        partition: &Partition,
        item: PartitionItem,
    ) -> Result<Attributes, ViewError> {
        let loaded = &partition.loaded;
        let view = match item {
            PartitionItem::Folder
            | PartitionItem::ByOffset
            | PartitionItem::ByTime
            | PartitionItem::Segments => {
                return Ok(loaded.folder());
            }
            PartitionItem::Meta => {
                let size = self.document(node).await?.len() as u64;
                return Ok(Attributes {
                    lifetime: Lifetime::Growing,
                    ..loaded.file(size, 0, None)
                });
            }
            PartitionItem::Records => TextView::Records,
            PartitionItem::Values => TextView::Values,
            PartitionItem::Keys => TextView::Keys,
        };
        let extent = self.library.extent(partition).await?;
        if !extent.sized {
            return Err(ViewError::NotFound);
        }
        let newest = extent.times.map(|(_, max)| max);
        Ok(loaded.file(extent.size(view), partition.state().stored_bytes, newest))
    }

    async fn part_attributes(
        &self,
        partition: &Partition,
        part: u64,
    ) -> Result<Attributes, ViewError> {
        let (range, newest) = self.part(partition, part).await?;
        let extent = self.library.extent(partition).await?;
        let size = range.end - range.start;
        Ok(partition
            .loaded
            .file(size, share(partition, &extent, size), newest))
    }

    /// Where a part of `by-time` stands in the partition's text, and its largest timestamp.
    pub(super) async fn part(
        &self,
        partition: &Partition,
        part: u64,
    ) -> Result<(Range<u64>, Option<i64>), ViewError> {
        let library = &self.library;
        let (extent, times) = (
            library.extent(partition).await?,
            library.times(partition).await?,
        );
        let part = usize::try_from(part)
            .ok()
            .filter(|part| *part < times.len())
            .ok_or(ViewError::Stale)?;
        let start = library.part_start(partition, &extent, &times, part).await?;
        let end = library
            .part_start(partition, &extent, &times, part + 1)
            .await?;
        let range = start.position..end.position.max(start.position);
        Ok((range, end.before))
    }
}
