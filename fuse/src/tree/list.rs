//! Which names stand in a folder, in pages that do not depend on each other.

use std::sync::Arc;

use kbk_format::repo::{GroupState, TopicState};

use super::inode::{FollowedItem, Node, PartitionItem, RootItem, SnapshotItem, TopicItem};
use super::{Tree, names};
use crate::attributes::{Kind, Listed};
use crate::content::snapshot::{Loaded, Partition};
use crate::error::ViewError;

/// A name in a folder, where a listing goes on behind it, and what it names.
pub(super) type Child = (u64, String, Node);

pub(super) const CONFIG: &str = "config.json";

const PARTITION_NAMES: [(&str, PartitionItem); 7] = [
    ("meta.json", PartitionItem::Meta),
    ("records.jsonl", PartitionItem::Records),
    ("values", PartitionItem::Values),
    ("keys", PartitionItem::Keys),
    ("by-offset", PartitionItem::ByOffset),
    ("by-time", PartitionItem::ByTime),
    ("segments", PartitionItem::Segments),
];

impl Tree {
    pub(crate) async fn list(
        &self,
        parent: Node,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Listed>, ViewError> {
        let mut listed = Vec::new();
        for (cookie, name, node) in self.children(parent, from, at_most).await? {
            let attributes = self.attributes(node).await;
            listed.push(Listed {
                cookie,
                name,
                inode: node.inode(),
                kind: kind(node),
                attributes,
            });
        }
        Ok(listed)
    }

    /// Names of a folder behind the cookie `from`.
    pub(super) async fn children(
        &self,
        parent: Node,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        match parent {
            Node::Root(RootItem::Folder) => Ok(self.root_children(from, at_most).await?),
            Node::Root(RootItem::Snapshots) => {
                let snapshots = self.catalogue.snapshots(&self.library).await;
                let behind = snapshots
                    .iter()
                    .map(|snapshot| snapshot.sequence)
                    .filter(|sequence| *sequence > from);
                let child = |sequence: u64| {
                    (
                        sequence,
                        sequence.to_string(),
                        Node::Snapshot(sequence, SnapshotItem::Folder),
                    )
                };
                Ok(behind.take(at_most).map(child).collect())
            }
            Node::Root(RootItem::Follow) => {
                let topics = ("topics", Node::Root(RootItem::FollowedTopics));
                Ok(fixed(&[topics], |_| true, from, at_most))
            }
            Node::Root(RootItem::FollowedTopics)
            | Node::FollowedTopic(_)
            | Node::Followed { .. } => self.follow_children(parent, from, at_most).await,
            Node::Snapshot(sequence, SnapshotItem::Folder) => {
                let loaded = self.library.snapshot(sequence).await?;
                let has_groups = loaded.snapshot.groups.is_some();
                let named = [
                    ("snapshot.json", SnapshotItem::Json),
                    ("errors.jsonl", SnapshotItem::Errors),
                    ("groups", SnapshotItem::Groups),
                    ("topics", SnapshotItem::Topics),
                ];
                let named = named.map(|(name, item)| (name, Node::Snapshot(sequence, item)));
                let shown = |node: Node| {
                    has_groups || node != Node::Snapshot(sequence, SnapshotItem::Groups)
                };
                Ok(fixed(&named, shown, from, at_most))
            }
            Node::Snapshot(sequence, SnapshotItem::Groups) => {
                let loaded = self.library.snapshot(sequence).await?;
                let groups = loaded
                    .snapshot
                    .groups
                    .iter()
                    .flat_map(|groups| groups.groups.iter());
                let child = |(group, state): (u64, &GroupState)| {
                    (
                        group + 1,
                        names::group(&state.group),
                        Node::Group { sequence, group },
                    )
                };
                let skipped = usize::try_from(from).unwrap_or(usize::MAX);
                Ok((0..)
                    .zip(groups)
                    .skip(skipped)
                    .take(at_most)
                    .map(child)
                    .collect())
            }
            Node::Snapshot(sequence, SnapshotItem::Topics) => {
                let loaded = self.library.snapshot(sequence).await?;
                let topics = (0..).zip(&loaded.snapshot.topics);
                let shown = topics.filter(|(topic, state)| *topic >= from && self.shows(state));
                let child = |(topic, state): (u64, &TopicState)| {
                    (
                        topic + 1,
                        names::topic(state),
                        Node::Topic {
                            sequence,
                            topic,
                            item: TopicItem::Folder,
                        },
                    )
                };
                Ok(shown.take(at_most).map(child).collect())
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Folder,
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                topic_children(&loaded, topic, from, at_most)
            }
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.partition_children(&partition, item, from, at_most)
                    .await
            }
            Node::Part {
                sequence,
                partition,
                part,
            } => {
                let records = Node::PartRecords {
                    sequence,
                    partition,
                    part,
                };
                Ok(fixed(
                    &[("records.jsonl", records)],
                    |_| true,
                    from,
                    at_most,
                ))
            }
            _ => Err(ViewError::NotFolder),
        }
    }

    async fn root_children(&self, from: u64, at_most: usize) -> Result<Vec<Child>, ViewError> {
        let has_latest = self.latest().await.is_ok();
        let named = [
            ("README.txt", Node::Root(RootItem::Readme)),
            ("latest", Node::Root(RootItem::Latest)),
            ("snapshots", Node::Root(RootItem::Snapshots)),
            ("follow", Node::Root(RootItem::Follow)),
        ];
        let shown = |node: Node| match node {
            Node::Root(RootItem::Latest) => has_latest,
            Node::Root(RootItem::Follow) => self.catalogue.is_growing(),
            _ => true,
        };
        Ok(fixed(&named, shown, from, at_most))
    }

    async fn partition_children(
        &self,
        partition: &Partition,
        item: PartitionItem,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        match item {
            PartitionItem::Folder => {
                let extent = self.library.extent(partition).await?;
                let (sequence, place) = (partition.sequence(), partition.ordinal());
                let named = PARTITION_NAMES.map(|(name, item)| {
                    (
                        name,
                        Node::Partition {
                            sequence,
                            partition: place,
                            item,
                        },
                    )
                });
                let shown = |node: Node| {
                    let Node::Partition { item, .. } = node else {
                        return false;
                    };
                    extent.sized || matches!(item, PartitionItem::Meta | PartitionItem::Segments)
                };
                Ok(fixed(&named, shown, from, at_most))
            }
            PartitionItem::ByOffset | PartitionItem::Segments => {
                self.segment_children(partition, item, from, at_most).await
            }
            PartitionItem::ByTime => {
                let times = self.library.times(partition).await?;
                let (sequence, place) = (partition.sequence(), partition.ordinal());
                let first = usize::try_from(from).unwrap_or(usize::MAX);
                let children = (first..times.len()).take(at_most).filter_map(|part| {
                    let node = Node::Part {
                        sequence,
                        partition: place,
                        part: part as u64,
                    };
                    Some((part as u64 + 1, times.name(part)?, node))
                });
                Ok(children.collect())
            }
            PartitionItem::Meta
            | PartitionItem::Records
            | PartitionItem::Values
            | PartitionItem::Keys => Err(ViewError::NotFolder),
        }
    }

    async fn segment_children(
        &self,
        partition: &Partition,
        item: PartitionItem,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        let extent = self.library.extent(partition).await?;
        let (sequence, before) = (partition.sequence(), partition.segments_before());
        let mut children = Vec::new();
        let mut at = from;
        while children.len() < at_most
            && let Some((page, into)) = extent.page_of(at)
        {
            let table = self.library.table(partition, page).await?;
            for entry in table
                .page
                .segments
                .iter()
                .skip(into)
                .take(at_most - children.len())
            {
                let segment = before + at;
                at += 1;
                let (name, node) = match item {
                    PartitionItem::ByOffset => (
                        names::by_offset(entry),
                        Node::ByOffset { sequence, segment },
                    ),
                    _ => (
                        names::stored(entry).to_owned(),
                        Node::Stored { sequence, segment },
                    ),
                };
                children.push((at, name, node));
            }
        }
        Ok(children)
    }
}

fn kind(node: Node) -> Kind {
    match node {
        Node::Root(RootItem::Latest) => Kind::Link,
        Node::Root(
            RootItem::Folder | RootItem::Snapshots | RootItem::Follow | RootItem::FollowedTopics,
        )
        | Node::Snapshot(_, SnapshotItem::Folder | SnapshotItem::Groups | SnapshotItem::Topics)
        | Node::Topic {
            item: TopicItem::Folder,
            ..
        }
        | Node::Part { .. }
        | Node::FollowedTopic(_)
        | Node::Followed {
            item: FollowedItem::Folder,
            ..
        } => Kind::Folder,
        Node::Partition { item, .. } => match item {
            PartitionItem::Folder
            | PartitionItem::ByOffset
            | PartitionItem::ByTime
            | PartitionItem::Segments => Kind::Folder,
            PartitionItem::Meta
            | PartitionItem::Records
            | PartitionItem::Values
            | PartitionItem::Keys => Kind::File,
        },
        _ => Kind::File,
    }
}

pub(super) fn folder_of(partition: &Partition) -> Node {
    Node::Partition {
        sequence: partition.sequence(),
        partition: partition.ordinal(),
        item: PartitionItem::Folder,
    }
}

/// Names that every folder of a kind has, but for those that are not `shown`.
fn fixed(
    named: &[(&str, Node)],
    shown: impl Fn(Node) -> bool,
    from: u64,
    at_most: usize,
) -> Vec<Child> {
    let counted = (1..)
        .zip(named)
        .filter(|(cookie, (_, node))| *cookie > from && shown(*node));
    counted
        .take(at_most)
        .map(|(cookie, (name, node))| (cookie, (*name).to_owned(), *node))
        .collect()
}

fn topic_children(
    loaded: &Arc<Loaded>,
    topic: u64,
    from: u64,
    at_most: usize,
) -> Result<Vec<Child>, ViewError> {
    let state = loaded.topic(topic).ok_or(ViewError::Stale)?;
    let config = Node::Topic {
        sequence: loaded.sequence(),
        topic,
        item: TopicItem::Config,
    };
    let mut children = fixed(&[(CONFIG, config)], |_| true, from, at_most);
    let first = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
    let topic = usize::try_from(topic).unwrap_or(usize::MAX);
    let numbers = first..state.partitions.len();
    for number in numbers.take(at_most - children.len()) {
        let partition = loaded.partition_of(topic, number).ok_or(ViewError::Stale)?;
        children.push((number as u64 + 2, number.to_string(), folder_of(&partition)));
    }
    Ok(children)
}
