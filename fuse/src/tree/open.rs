//! What is in each file.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::render::View as TextView;

use super::follow::FollowedFile;
use super::inode::{Node, PartitionItem, RootItem, SnapshotItem, TopicItem};
use super::{NamedSegment, Tree, documents};
use crate::content::snapshot::Partition;
use crate::content::stored::StoredFile;
use crate::content::text::TextFile;
use crate::error::ViewError;
use crate::open_file::Body;

impl Tree {
    /// The bytes of a file that is made when it is asked for.
    pub(super) async fn document(&self, node: Node) -> Result<Vec<u8>, ViewError> {
        match node {
            Node::Root(RootItem::Readme) => Ok(documents::README.into()),
            Node::Snapshot(sequence, SnapshotItem::Json) => Ok(documents::snapshot(
                &*self.library.snapshot(sequence).await?,
            )),
            Node::Snapshot(sequence, SnapshotItem::Errors) => Ok(self.damage.lines(sequence)),
            Node::Group { sequence, group } => {
                let loaded = self.library.snapshot(sequence).await?;
                let groups = loaded.snapshot.groups.as_ref();
                let at = usize::try_from(group).unwrap_or(usize::MAX);
                let state = groups
                    .and_then(|groups| groups.groups.get(at))
                    .ok_or(ViewError::Stale)?;
                Ok(documents::group(&loaded, state))
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Config,
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                loaded
                    .topic(topic)
                    .map(documents::config)
                    .ok_or(ViewError::Stale)
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::Meta,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let extent = self.library.extent(&partition).await?;
                let damage = self.damage.of_partition(sequence, &partition.place());
                Ok(documents::meta(&partition, &extent, damage))
            }
            _ => Err(ViewError::IsFolder),
        }
    }

    pub(crate) async fn body(&self, node: Node) -> Result<Body, ViewError> {
        match node {
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let view = match item {
                    PartitionItem::Records => TextView::Records,
                    PartitionItem::Values => TextView::Values,
                    PartitionItem::Keys => TextView::Keys,
                    _ => {
                        return self
                            .document(node)
                            .await
                            .map(|bytes| Body::Whole(bytes.into()));
                    }
                };
                let partition = self.partition(sequence, partition).await?;
                let extent = self.library.extent(&partition).await?;
                if !extent.sized {
                    return Err(ViewError::NotFound);
                }
                Ok(Body::Text(TextFile::whole(partition, extent, view).into()))
            }
            Node::ByOffset { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let range = segment.text_range().ok_or(ViewError::NotFound)?;
                let NamedSegment {
                    partition, extent, ..
                } = segment;
                Ok(Body::Text(
                    TextFile {
                        partition,
                        extent,
                        view: TextView::Records,
                        range,
                    }
                    .into(),
                ))
            }
            Node::PartRecords {
                sequence,
                partition,
                part,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let (range, _) = self.part(&partition, part).await?;
                self.records_at(partition, range).await
            }
            Node::Named(number) => {
                let named = self.named.get(number)?;
                let partition = self.partition(named.sequence, named.partition).await?;
                self.records_at(partition, named.text).await
            }
            Node::Followed { number, item } => {
                let view = item.view().ok_or(ViewError::IsFolder)?;
                let size = self.followed_text(number, view).await?.size();
                Ok(Body::Followed(FollowedFile { number, view, size }))
            }
            Node::Stored { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let entry = segment.entry().clone();
                Ok(Body::Stored(
                    StoredFile::new(segment.partition, entry).into(),
                ))
            }
            _ => self
                .document(node)
                .await
                .map(|bytes| Body::Whole(Bytes::from(bytes))),
        }
    }

    async fn records_at(&self, partition: Partition, range: Range<u64>) -> Result<Body, ViewError> {
        let extent = self.library.extent(&partition).await?;
        Ok(Body::Text(
            TextFile {
                range,
                ..TextFile::whole(partition, extent, TextView::Records)
            }
            .into(),
        ))
    }
}
