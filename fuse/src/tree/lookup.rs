//! What a name in a folder names.

use super::inode::{Node, PartitionItem, RootItem, SnapshotItem, TopicItem};
use super::list::{CONFIG, folder_of};
use super::named::NamedRange;
use super::names::{self, Asked};
use super::{Tree, share};
use crate::attributes::Entry;
use crate::content::snapshot::Loaded;
use crate::error::ViewError;

impl Tree {
    pub(crate) async fn lookup(&self, parent: Node, name: &[u8]) -> Result<Entry, ViewError> {
        let Ok(name) = str::from_utf8(name) else {
            return Err(ViewError::NotFound);
        };
        let node = self.child(parent, name).await?.ok_or(ViewError::NotFound)?;
        Ok(Entry {
            inode: node.inode(),
            attributes: self.attributes(node).await?,
        })
    }

    /// What `name` names in a folder.
    async fn child(&self, parent: Node, name: &str) -> Result<Option<Node>, ViewError> {
        match parent {
            Node::Root(RootItem::Snapshots) => {
                let snapshots = self.catalogue.snapshots(&self.library).await;
                let sequence = names::number(name).filter(|sequence| {
                    snapshots
                        .binary_search_by_key(sequence, |snapshot| snapshot.sequence)
                        .is_ok()
                });
                Ok(sequence.map(|sequence| Node::Snapshot(sequence, SnapshotItem::Folder)))
            }
            Node::Root(RootItem::FollowedTopics) | Node::FollowedTopic(_) => {
                self.follow_child(parent, name).await
            }
            Node::Snapshot(sequence, SnapshotItem::Groups) => {
                let loaded = self.library.snapshot(sequence).await?;
                Ok(group_named(&loaded, name).map(|group| Node::Group { sequence, group }))
            }
            Node::Snapshot(sequence, SnapshotItem::Topics) => {
                let loaded = self.library.snapshot(sequence).await?;
                let topic = self.topic_named(&loaded, name);
                Ok(topic.map(|topic| Node::Topic {
                    sequence,
                    topic,
                    item: TopicItem::Folder,
                }))
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Folder,
            } => {
                if name == CONFIG {
                    let item = TopicItem::Config;
                    return Ok(Some(Node::Topic {
                        sequence,
                        topic,
                        item,
                    }));
                }
                let loaded = self.library.snapshot(sequence).await?;
                let at = usize::try_from(topic).ok().zip(names::number(name));
                let partition = at.and_then(|(topic, number)| loaded.partition_of(topic, number));
                Ok(partition.map(|partition| folder_of(&partition)))
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::ByTime,
            } => {
                let of = self.partition(sequence, partition).await?;
                let part = self.library.times(&of).await?.named(name);
                Ok(part.map(|part| Node::Part {
                    sequence,
                    partition,
                    part: part as u64,
                }))
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::ByOffset,
            } => self.by_offset_child(sequence, partition, name).await,
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::Segments,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let Some(base) = names::stored_base(name) else {
                    return Ok(None);
                };
                let found = self.library.segment_at(&partition, base).await?;
                let named = found.filter(|(_, entry)| names::stored(entry) == name);
                Ok(named.map(|(segment, _)| Node::Stored {
                    sequence,
                    segment: partition.segments_before() + segment,
                }))
            }
            // What is left are folders with few names.
            _ => {
                let children = self.children(parent, 0, usize::MAX).await?;
                let named = children.into_iter().find(|(_, found, _)| found == name);
                Ok(named.map(|(_, _, node)| node))
            }
        }
    }

    async fn by_offset_child(
        &self,
        sequence: u64,
        place: u64,
        name: &str,
    ) -> Result<Option<Node>, ViewError> {
        let partition = self.partition(sequence, place).await?;
        let extent = self.library.extent(&partition).await?;
        let Some(asked) = names::asked(name) else {
            return Ok(None);
        };
        if !extent.sized {
            return Ok(None);
        }
        if let Asked::Range(first, last) = asked
            && let Some((segment, entry)) = self.library.segment_at(&partition, first).await?
            && (entry.base_offset, entry.end_offset.saturating_sub(1)) == (first, last)
        {
            let segment = partition.segments_before() + segment;
            return Ok(Some(Node::ByOffset { sequence, segment }));
        }
        let Some(text) = self.library.asked(&partition, &extent, asked).await? else {
            return Ok(None);
        };
        let size = text.end - text.start;
        let newest = extent.times.map(|(_, max)| max);
        let attributes = partition
            .loaded
            .file(size, share(&partition, &extent, size), newest);
        let range = NamedRange {
            sequence,
            partition: place,
            asked,
            text,
            attributes,
        };
        Ok(Some(Node::Named(self.named.looked_up(range))))
    }

    /// The topic that stands under `name` in `topics`.
    pub(super) fn topic_named(&self, loaded: &Loaded, name: &str) -> Option<u64> {
        let begins = name.split(['@', '~']).next().unwrap_or_default();
        let topics = &loaded.snapshot.topics;
        let first = topics.partition_point(|topic| &*topic.name < begins);
        let candidates = topics.iter().enumerate().skip(first);
        let mut candidates = candidates.take_while(|(_, topic)| topic.name.starts_with(begins));
        let found = candidates.find(|(_, topic)| names::topic(topic) == name);
        found
            .filter(|(_, topic)| self.shows(topic))
            .map(|(topic, _)| topic as u64)
    }
}

/// The group that stands under `name` in `groups`.
fn group_named(loaded: &Loaded, name: &str) -> Option<u64> {
    let prefix = names::group_prefix(name)?;
    let groups = &loaded.snapshot.groups.as_ref()?.groups;
    let first = groups.partition_point(|group| group.group.as_bytes() < &prefix[..]);
    let candidates = groups.iter().enumerate().skip(first);
    let mut candidates =
        candidates.take_while(|(_, group)| group.group.as_bytes().starts_with(&prefix));
    let found = candidates.find(|(_, group)| names::group(&group.group) == name);
    found.map(|(group, _)| group as u64)
}
