//! `follow`: the files of the newest snapshot, which go on where the next one does.
//!
//! A file here is the text of a partition over all snapshots to come, so that who has it open reads on when a backup has added to
//! it. That holds as long as each snapshot only adds to the one before. Where one does not, because the repository was compacted
//! or what was old was removed from it, what was read before is not the beginning of what is there now: the file is stale then,
//! and another one has its name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kbk_format::render::{View as TextView, ViewSizes};
use kbk_format::repo::{Id, TopicName, TopicState};

use super::inode::{FollowedItem, Node, RootItem};
use super::list::Child;
use super::{Tree, names};
use crate::attributes::{Attributes, Lifetime};
use crate::cache::locked;
use crate::content::pages::Extent;
use crate::content::snapshot::{Loaded, Partition};
use crate::content::text::TextFile;
use crate::error::ViewError;

const FILE_NAMES: [(&str, FollowedItem); 3] = [
    ("records.jsonl", FollowedItem::Records),
    ("values", FollowedItem::Values),
    ("keys", FollowedItem::Keys),
];

/// Topics and partitions by the numbers that they were given when they were first seen. A kernel may know any of them for as long
/// as it is mounted, and there are no more than the repository names.
#[derive(Debug, Default)]
pub(crate) struct Followed(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    topics: Vec<TopicKey>,
    topic_numbers: HashMap<TopicKey, u64>,
    partitions: Vec<Line>,
    /// By the number of the topic.
    partition_numbers: HashMap<(u64, usize), u64>,
}

/// What tells one topic from all others. The id alone does not: it is zeros where the cluster gave none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TopicKey {
    name: TopicName,
    topic_id: Id,
}

/// A partition from snapshot to snapshot.
#[derive(Clone, Debug)]
struct Line {
    topic: u64,
    partition: usize,
    /// What the newest snapshot has of it that anybody asked about.
    seen: Option<Seen>,
    /// Whether a snapshot did not go on from there.
    is_cut: bool,
}

/// How far a partition's text goes.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sequence: u64,
    base_offset: i64,
    end_offset: i64,
    text: ViewSizes,
}

/// A file that is open, whatever length it has at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowedFile {
    pub(crate) number: u64,
    pub(crate) view: TextView,
    /// When it was opened.
    pub(crate) size: u64,
}

impl Followed {
    fn topic(&self, topic: &TopicState) -> u64 {
        let mut numbers = locked(&self.0);
        let Numbers {
            topics,
            topic_numbers,
            ..
        } = &mut *numbers;
        let key = TopicKey {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
        };
        *topic_numbers.entry(key).or_insert_with_key(|key| {
            topics.push(key.clone());
            topics.len() as u64 - 1
        })
    }

    fn partition(&self, topic: u64, partition: usize) -> u64 {
        let mut numbers = locked(&self.0);
        let known = numbers.partition_numbers.get(&(topic, partition));
        if let Some(number) = known.copied()
            && numbers.line(number).is_ok_and(|line| !line.is_cut)
        {
            return number;
        }
        let number = numbers.partitions.len() as u64;
        numbers.partitions.push(Line {
            topic,
            partition,
            seen: None,
            is_cut: false,
        });
        numbers.partition_numbers.insert((topic, partition), number);
        number
    }

    fn topic_key(&self, number: u64) -> Result<TopicKey, ViewError> {
        let numbers = locked(&self.0);
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        numbers.topics.get(at).cloned().ok_or(ViewError::Stale)
    }

    fn line(&self, number: u64) -> Result<Line, ViewError> {
        locked(&self.0).line(number).cloned()
    }

    fn saw(&self, number: u64, seen: Seen) {
        if let Ok(line) = locked(&self.0).line_mut(number)
            && line
                .seen
                .is_none_or(|before| before.sequence < seen.sequence)
        {
            line.seen = Some(seen);
        }
    }

    fn cut(&self, number: u64) {
        if let Ok(line) = locked(&self.0).line_mut(number) {
            line.is_cut = true;
        }
    }
}

impl Numbers {
    fn line(&self, number: u64) -> Result<&Line, ViewError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions.get(at).ok_or(ViewError::Stale)
    }

    fn line_mut(&mut self, number: u64) -> Result<&mut Line, ViewError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions.get_mut(at).ok_or(ViewError::Stale)
    }
}

impl Seen {
    fn of(partition: &Partition, extent: &Extent) -> Seen {
        let state = partition.state();
        Seen {
            sequence: partition.sequence(),
            base_offset: state.base_offset,
            end_offset: state.end_offset,
            text: TextView::ALL.map(|view| extent.size(view)),
        }
    }
}

impl Tree {
    /// The newest snapshot, if there is any.
    pub(crate) async fn newest(&self) -> Result<Option<Arc<Loaded>>, ViewError> {
        let snapshots = self.catalogue.snapshots(&self.library).await;
        match snapshots.last() {
            Some(newest) => self.library.snapshot(newest.sequence).await.map(Some),
            None => Ok(None),
        }
    }

    /// Topics that may still grow.
    pub(super) fn is_followed(&self, topic: &TopicState) -> bool {
        !topic.deleted && self.shows(topic)
    }

    pub(super) async fn follow_children(
        &self,
        parent: Node,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        match parent {
            Node::Root(RootItem::FollowedTopics) => {
                let newest = self.newest().await?;
                let topics = newest.iter().flat_map(|newest| &newest.snapshot.topics);
                let topics = topics.filter(|topic| self.is_followed(topic));
                let mut children: Vec<Child> = topics
                    .map(|topic| {
                        let number = self.followed.topic(topic);
                        (number + 1, names::topic(topic), Node::FollowedTopic(number))
                    })
                    .filter(|(cookie, ..)| *cookie > from)
                    .collect();
                children.sort_unstable_by_key(|(cookie, ..)| *cookie);
                children.truncate(at_most);
                Ok(children)
            }
            Node::FollowedTopic(number) => {
                let newest = self.newest().await?.ok_or(ViewError::Stale)?;
                let topic = self.followed_topic(&newest, number)?;
                let partitions = newest.snapshot.topics[topic].partitions.len();
                let first = usize::try_from(from).unwrap_or(usize::MAX);
                let child = |partition: usize| {
                    let number = self.followed.partition(number, partition);
                    let item = FollowedItem::Folder;
                    let node = Node::Followed { number, item };
                    (partition as u64 + 1, partition.to_string(), node)
                };
                Ok((first..partitions).take(at_most).map(child).collect())
            }
            Node::Followed {
                number,
                item: FollowedItem::Folder,
            } => {
                let (_, extent) = self.followed_partition(number).await?;
                let files = FILE_NAMES.iter().filter(|_| extent.sized).zip(1..);
                let behind = files.filter(|(_, cookie)| *cookie > from);
                let child = |((name, item), cookie): (&(&str, FollowedItem), u64)| {
                    let node = Node::Followed {
                        number,
                        item: *item,
                    };
                    (cookie, (*name).to_owned(), node)
                };
                Ok(behind.take(at_most).map(child).collect())
            }
            _ => Err(ViewError::NotFolder),
        }
    }

    /// What `name` names in a folder of many.
    pub(super) async fn follow_child(
        &self,
        parent: Node,
        name: &str,
    ) -> Result<Option<Node>, ViewError> {
        let Some(newest) = self.newest().await? else {
            return Ok(None);
        };
        match parent {
            Node::Root(RootItem::FollowedTopics) => {
                let topic = self.topic_named(&newest, name);
                let topic = topic.and_then(|topic| newest.topic(topic));
                let topic = topic.filter(|topic| self.is_followed(topic));
                Ok(topic.map(|topic| Node::FollowedTopic(self.followed.topic(topic))))
            }
            Node::FollowedTopic(number) => {
                let topic = self.followed_topic(&newest, number)?;
                let partition = names::number(name)
                    .filter(|partition| newest.partition_of(topic, *partition).is_some());
                Ok(partition.map(|partition| Node::Followed {
                    number: self.followed.partition(number, partition),
                    item: FollowedItem::Folder,
                }))
            }
            _ => Err(ViewError::NotFolder),
        }
    }

    /// What is said of a topic or a partition that is followed, or of a file in it.
    pub(super) async fn follow_attributes(&self, node: Node) -> Result<Attributes, ViewError> {
        let attributes = match node {
            Node::FollowedTopic(number) => {
                let newest = self.newest().await?.ok_or(ViewError::Stale)?;
                self.followed_topic(&newest, number)?;
                newest.folder()
            }
            Node::Followed { number, item } => match item.view() {
                None => self.follow(number).await?.loaded.folder(),
                Some(view) => {
                    let (partition, extent) = self.followed_partition(number).await?;
                    if !extent.sized {
                        return Err(ViewError::NotFound);
                    }
                    let newest = extent.times.map(|(_, max)| max);
                    let stored_bytes = partition.state().stored_bytes;
                    partition
                        .loaded
                        .file(extent.size(view), stored_bytes, newest)
                }
            },
            _ => return Err(ViewError::Stale),
        };
        Ok(Attributes {
            lifetime: Lifetime::Growing,
            ..attributes
        })
    }

    /// All that a file says at the moment.
    pub(crate) async fn followed_text(
        &self,
        number: u64,
        view: TextView,
    ) -> Result<TextFile, ViewError> {
        let (partition, extent) = self.followed_partition(number).await?;
        if !extent.sized {
            return Err(ViewError::NotFound);
        }
        Ok(TextFile::whole(partition, extent, view))
    }

    /// Where a topic stands in a snapshot.
    pub(super) fn followed_topic(&self, loaded: &Loaded, number: u64) -> Result<usize, ViewError> {
        let TopicKey { name, topic_id } = self.followed.topic_key(number)?;
        let topics = &loaded.snapshot.topics;
        let first = topics.partition_point(|topic| topic.name < name);
        let of_name = topics[first..]
            .iter()
            .take_while(|topic| topic.name == name);
        let place = of_name
            .zip(first..)
            .find(|(topic, _)| topic.topic_id == topic_id);
        place.map(|(_, place)| place).ok_or(ViewError::Stale)
    }

    /// A partition as the newest snapshot has it, or the newest that anybody has seen here.
    pub(super) async fn follow(&self, number: u64) -> Result<Partition, ViewError> {
        let line = self.followed.line(number)?;
        if line.is_cut {
            return Err(ViewError::Stale);
        }
        let mut newest = self.newest().await?.ok_or(ViewError::Stale)?;
        // A task may be slow, and a file must not become shorter for a moment.
        if let Some(seen) = line.seen.filter(|seen| seen.sequence > newest.sequence()) {
            newest = self.library.snapshot(seen.sequence).await?;
        }
        let topic = self.followed_topic(&newest, line.topic)?;
        newest
            .partition_of(topic, line.partition)
            .ok_or(ViewError::Stale)
    }

    /// The same with its extent, if it goes on from what was seen before.
    async fn followed_partition(&self, number: u64) -> Result<(Partition, Arc<Extent>), ViewError> {
        let partition = self.follow(number).await?;
        let extent = self.library.extent(&partition).await?;
        let seen = self.followed.line(number)?.seen;
        if let Some(seen) = seen.filter(|seen| seen.sequence < partition.sequence())
            && !self.goes_on(&partition, &extent, &seen).await?
        {
            self.followed.cut(number);
            return Err(ViewError::Stale);
        }
        self.followed.saw(number, Seen::of(&partition, &extent));
        Ok((partition, extent))
    }

    /// Whether the text that was seen is the beginning of what is there: it begins at the same offset, and the offset at which it
    /// ended stands where it ended.
    async fn goes_on(
        &self,
        partition: &Partition,
        extent: &Arc<Extent>,
        seen: &Seen,
    ) -> Result<bool, ViewError> {
        let state = partition.state();
        if state.base_offset != seen.base_offset || state.end_offset < seen.end_offset {
            return Ok(false);
        }
        if state.end_offset == seen.end_offset {
            return Ok(Seen::of(partition, extent).text == seen.text);
        }
        let next = self.library.segment_at(partition, seen.end_offset).await?;
        let Some((segment, entry)) = next else {
            return Ok(false);
        };
        let segment = self.segment_of(partition.clone(), segment).await?;
        let starts = TextView::ALL.map(|view| {
            extent
                .spot(
                    segment.spot.page,
                    &segment.table,
                    segment.spot.segment,
                    view,
                )
                .text_start
        });
        Ok(entry.base_offset == seen.end_offset && starts == seen.text)
    }
}

impl FollowedItem {
    pub(super) fn view(self) -> Option<TextView> {
        match self {
            FollowedItem::Folder => None,
            FollowedItem::Records => Some(TextView::Records),
            FollowedItem::Values => Some(TextView::Values),
            FollowedItem::Keys => Some(TextView::Keys),
        }
    }
}
