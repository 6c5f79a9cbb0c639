//! `follow/topics/TOPIC/PARTITION/`: `records.jsonl`, `values` and `keys` of the newest snapshot, which grow with the next one.
//!
//! A file here is the text of a partition across all snapshots to come, so a program that has it open reads on once a backup has
//! added to it. That holds as long as each snapshot only adds to the one before. Where one does not, because the repository was
//! compacted or old records were removed from it, what was read before is not the beginning of what is there now: the file is
//! stale then, and another file takes its name.

use std::sync::Arc;

use kbk_format::render::View as TextView;
use kbk_format::repo::TopicState;

use super::extended::{self, Extended};
use super::followed::{FollowedTopic, ITEM_BITS, Seen};
use super::inode::{Number, items};
use super::node::{Child, Family, Node, Window};
use super::part::Part;
use super::partition::text_attributes;
use super::{Tree, names, root};
use crate::attributes::{Attributes, Kind, Lifetime};
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::{LoadedSnapshot, Partition};
use crate::content::text_file::TextFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family. Topics and partitions are known by the numbers that
/// [`FollowedInodes`](super::followed::FollowedInodes) has given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowNode {
    /// The folder `follow`.
    Folder,
    /// The folder `follow/topics`.
    Topics,
    /// The folder of a topic.
    Topic(u64),
    /// The folder of a partition, or a file in it.
    Partition { number: u64, item: FollowedItem },
}

items!(
    /// The folder of a followed partition, and its files.
    FollowedItem { Folder, Records, Values, Keys }
);

const FOLDER_PLACE: u64 = 5;
const TOPICS_PLACE: u64 = 6;
const HASH_FAMILY: u64 = 2;
/// The item of a number that stands for a topic; the items of a partition follow.
const TOPIC_ITEM: u64 = 0;

const FILES: [(Part, FollowedItem); 3] = [
    (Part::Records, FollowedItem::Records),
    (Part::Values, FollowedItem::Values),
    (Part::Keys, FollowedItem::Keys),
];

/// The contents of an open file, whatever their length is at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowedFile {
    pub(crate) number: u64,
    pub(crate) view: TextView,
    /// When it was opened.
    pub(crate) size: u64,
}

impl Family for FollowNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Root {
                family: root::FAMILY,
                place: FOLDER_PLACE,
            } => Some(FollowNode::Folder),
            Number::Root {
                family: root::FAMILY,
                place: TOPICS_PLACE,
            } => Some(FollowNode::Topics),
            Number::Hashed {
                family: HASH_FAMILY,
                hash,
            } => {
                let number = hash >> ITEM_BITS;
                match hash & ((1 << ITEM_BITS) - 1) {
                    TOPIC_ITEM => Some(FollowNode::Topic(number)),
                    item => Some(FollowNode::Partition {
                        number,
                        item: FollowedItem::of(item - 1)?,
                    }),
                }
            }
            _ => None,
        }
    }

    fn number(self) -> Number {
        let root = |place| Number::Root {
            family: root::FAMILY,
            place,
        };
        let hashed = |number: u64, item: u64| Number::Hashed {
            family: HASH_FAMILY,
            hash: number << ITEM_BITS | item,
        };
        match self {
            FollowNode::Folder => root(FOLDER_PLACE),
            FollowNode::Topics => root(TOPICS_PLACE),
            FollowNode::Topic(number) => hashed(number, TOPIC_ITEM),
            FollowNode::Partition { number, item } => hashed(number, 1 + item as u64),
        }
    }

    fn kind(self) -> Kind {
        match self {
            FollowNode::Folder | FollowNode::Topics | FollowNode::Topic(_) => Kind::Folder,
            FollowNode::Partition { item, .. } => match item {
                FollowedItem::Folder => Kind::Folder,
                FollowedItem::Records | FollowedItem::Values | FollowedItem::Keys => Kind::File,
            },
        }
    }

    fn changes(self) -> bool {
        matches!(self, FollowNode::Partition { .. })
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let attributes = match self {
            FollowNode::Folder | FollowNode::Topics => return Ok(tree.root_folder().await),
            FollowNode::Topic(number) => {
                let newest = tree.newest().await?.ok_or(ViewError::Stale)?;
                tree.followed_topic(&newest, number)?;
                newest.folder()
            }
            FollowNode::Partition { number, item } => match item.view() {
                None => tree.followed_partition(number).await?.loaded.folder(),
                Some(view) => {
                    let (partition, _) = tree.continued_partition(number).await?;
                    text_attributes(tree, &partition, view).await?
                }
            },
        };
        Ok(Attributes {
            lifetime: Lifetime::Growing,
            ..attributes
        })
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        match self {
            FollowNode::Folder | FollowNode::Topics => Ok(Vec::new()),
            FollowNode::Topic(number) => {
                let newest = tree.newest().await?.ok_or(ViewError::Stale)?;
                let topic = tree.followed_topic(&newest, number)?;
                let topic = &newest.snapshot.topics[topic];
                Ok(extended::of_topic(newest.sequence(), topic))
            }
            FollowNode::Partition { number, .. } => {
                let partition = tree.followed_partition(number).await?;
                tree.extended_of_partition(&partition).await
            }
        }
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        match self {
            FollowNode::Folder => Ok(window.of_fixed(&[("topics", FollowNode::Topics)], |_| true)),
            FollowNode::Topics => topics(tree, window).await,
            FollowNode::Topic(number) => {
                let newest = tree.newest().await?.ok_or(ViewError::Stale)?;
                let topic = tree.followed_topic(&newest, number)?;
                let partitions = newest.snapshot.topics[topic].partitions.len();
                let child = |partition: usize| {
                    let node = tree.partition_to_follow(number, partition);
                    Child::new(partition as u64 + 1, partition.to_string(), node)
                };
                let rest = window.start()..partitions;
                Ok(rest.take(window.at_most).map(child).collect())
            }
            FollowNode::Partition {
                number,
                item: FollowedItem::Folder,
            } => {
                let (_, index) = tree.continued_partition(number).await?;
                let parts = FILES.map(|(part, item)| {
                    let node = FollowNode::Partition { number, item };
                    (part, node)
                });
                let names = parts.map(|(part, node)| (part.file_name(), node));
                let is_listed = |node| {
                    let mut parts = parts.iter();
                    parts.any(|(part, named)| *named == node && tree.lists(*part))
                };
                Ok(window.of_fixed(&names, |node| index.sized && is_listed(node)))
            }
            FollowNode::Partition { .. } => Err(ViewError::NotFolder),
        }
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        match self {
            FollowNode::Folder => return self.listed_child(tree, name).await,
            FollowNode::Partition { number, item } => {
                return followed_file(tree, number, item, name).await;
            }
            FollowNode::Topics | FollowNode::Topic(_) => {}
        }
        let Some(newest) = tree.newest().await? else {
            return Ok(None);
        };
        if let FollowNode::Topic(number) = self {
            let topic = tree.followed_topic(&newest, number)?;
            let partition = names::number(name)
                .filter(|partition| newest.partition_of(topic, *partition).is_some());
            return Ok(
                partition.map(|partition| tree.partition_to_follow(number, partition).into())
            );
        }
        let topic = tree.topic_named(&newest, name);
        let topic = topic.and_then(|topic| newest.topic(topic));
        let topic = topic.filter(|topic| tree.is_followed(topic));
        Ok(topic.map(|topic| FollowNode::Topic(tree.followed.number_of_topic(topic)).into()))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let FollowNode::Partition { number, item } = self else {
            return Err(ViewError::IsFolder);
        };
        let view = item.view().ok_or(ViewError::IsFolder)?;
        let size = tree.followed_text(number, view).await?.size();
        Ok(Body::Followed(FollowedFile { number, view, size }))
    }
}

impl FollowNode {
    #[cfg(test)]
    pub(super) fn partition_folder(number: u64) -> FollowNode {
        FollowNode::Partition {
            number,
            item: FollowedItem::Folder,
        }
    }
}

impl FollowedItem {
    fn view(self) -> Option<TextView> {
        match self {
            FollowedItem::Folder => None,
            FollowedItem::Records => Some(TextView::Records),
            FollowedItem::Values => Some(TextView::Values),
            FollowedItem::Keys => Some(TextView::Keys),
        }
    }
}

/// A file of a partition by its name, whether it is listed or not.
async fn followed_file(
    tree: &Tree,
    number: u64,
    folder: FollowedItem,
    name: &str,
) -> Result<Option<Node>, ViewError> {
    if folder != FollowedItem::Folder {
        return Err(ViewError::NotFolder);
    }
    let (_, index) = tree.continued_partition(number).await?;
    let mut files = FILES.into_iter();
    let found = files.find(|(part, _)| part.file_name() == name && index.sized);
    Ok(found.map(|(_, item)| FollowNode::Partition { number, item }.into()))
}

/// The followed topics in the order in which they were seen: what is new comes last, so a listing in progress stays valid.
async fn topics(tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
    let newest = tree.newest().await?;
    let topics = newest.iter().flat_map(|newest| &newest.snapshot.topics);
    let child = |topic| {
        let number = tree.followed.number_of_topic(topic);
        let cookie = tree.followed.cookie_of_topic(number);
        Child::new(cookie, names::topic(topic), FollowNode::Topic(number))
    };
    let mut children: Vec<Child> = topics
        .filter(|topic| tree.is_followed(topic))
        .map(child)
        .filter(|child| child.cookie > window.after)
        .collect();
    children.sort_unstable_by_key(|child| child.cookie);
    children.truncate(window.at_most);
    Ok(children)
}

impl Tree {
    /// Whether a topic may still grow.
    fn is_followed(&self, topic: &TopicState) -> bool {
        !topic.deleted && self.shows(topic)
    }

    /// The folder of a partition of the topic with this number.
    fn partition_to_follow(&self, topic: u64, partition: usize) -> FollowNode {
        FollowNode::Partition {
            number: self.followed.number_of_partition(topic, partition),
            item: FollowedItem::Folder,
        }
    }

    /// The position of a followed topic in a snapshot.
    fn followed_topic(&self, loaded: &LoadedSnapshot, number: u64) -> Result<usize, ViewError> {
        let FollowedTopic { name, topic_id } = self.followed.topic(number)?;
        let topics = &loaded.snapshot.topics;
        let first = topics.partition_point(|topic| topic.name < name);
        let of_name = topics.iter().enumerate().skip(first);
        let found = of_name
            .take_while(|(_, topic)| topic.name == name)
            .find(|(_, topic)| topic.topic_id == topic_id);
        found.map(|(at, _)| at).ok_or(ViewError::Stale)
    }

    /// A partition as the newest snapshot has it.
    async fn followed_partition(&self, number: u64) -> Result<Partition, ViewError> {
        let followed = self.followed.partition(number)?;
        if followed.is_stale {
            return Err(ViewError::Stale);
        }
        let mut newest = self.newest().await?.ok_or(ViewError::Stale)?;
        // A slow task may have listed the snapshots before another task saw a newer one. A file must not become shorter.
        let seen = followed.seen;
        if let Some(seen) = seen.filter(|seen| seen.sequence > newest.sequence()) {
            newest = self.reader.snapshot(seen.sequence).await?;
        }
        let topic = self.followed_topic(&newest, followed.topic)?;
        newest
            .partition_of(topic, followed.partition)
            .ok_or(ViewError::Stale)
    }

    /// The same and its index, provided that it continues what was seen before.
    async fn continued_partition(
        &self,
        number: u64,
    ) -> Result<(Partition, Arc<PartitionIndex>), ViewError> {
        let partition = self.followed_partition(number).await?;
        let index = self.reader.partition_index(&partition).await?;
        let seen = self.followed.partition(number)?.seen;
        if let Some(seen) = seen.filter(|seen| seen.sequence < partition.sequence())
            && !self.continues(&partition, &index, &seen).await?
        {
            self.followed.mark_stale(number);
            return Err(ViewError::Stale);
        }
        self.followed.saw(number, Seen::of(&partition, &index));
        Ok((partition, index))
    }

    /// Whether the text that was seen is the beginning of the present text. It is if both begin at the same offset and a segment
    /// begins exactly where the seen offsets and the seen text of every view end: fewer records before it would shift the text.
    async fn continues(
        &self,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        seen: &Seen,
    ) -> Result<bool, ViewError> {
        let state = partition.state();
        if state.base_offset != seen.base_offset || state.end_offset < seen.end_offset {
            return Ok(false);
        }
        if state.end_offset == seen.end_offset {
            return Ok(Seen::of(partition, index).text == seen.text);
        }
        let next = self.reader.segment_at(partition, seen.end_offset).await?;
        let Some((segment, entry)) = next else {
            return Ok(false);
        };
        let found = self.segment_of(partition.clone(), segment).await?;
        let at = found.location;
        let starts = TextView::ALL.map(|view| {
            let location = index.location(at.page, &found.table, at.segment, view);
            location.text_start
        });
        Ok(entry.base_offset == seen.end_offset && starts == seen.text)
    }

    /// The present text of a followed partition.
    pub(crate) async fn followed_text(
        &self,
        number: u64,
        view: TextView,
    ) -> Result<TextFile, ViewError> {
        let (partition, index) = self.continued_partition(number).await?;
        if !index.sized {
            return Err(ViewError::NotFound);
        }
        Ok(TextFile::whole(partition, index, view))
    }
}
