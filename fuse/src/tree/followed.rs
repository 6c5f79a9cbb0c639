//! The inode numbers of followed topics and partitions, and how far each partition was seen.

use std::collections::HashMap;
use std::sync::Mutex;

use kbk_format::render::{View as TextView, ViewSizes};
use kbk_format::repo::{Id, TopicName, TopicState};

use crate::cache::locked;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// Topics and partitions by the numbers that they were given when they were first seen. None is ever removed: the kernel may
/// know any of them for as long as it is mounted, and there are no more than the repository names.
#[derive(Debug, Default)]
pub(crate) struct FollowedInodes(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    topics: Vec<FollowedTopic>,
    topic_numbers: HashMap<FollowedTopic, u64>,
    partitions: Vec<FollowedPartition>,
    /// By the number of the topic, and the partition.
    partition_numbers: HashMap<(u64, usize), u64>,
}

/// The identity of a topic. The id alone does not suffice: it is zeros if the cluster reported none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FollowedTopic {
    pub(super) name: TopicName,
    pub(super) topic_id: Id,
}

/// A partition, across snapshots.
#[derive(Clone, Debug)]
pub(super) struct FollowedPartition {
    /// The number of its topic.
    pub(super) topic: u64,
    pub(super) partition: usize,
    /// In the newest snapshot that any request has read.
    pub(super) seen: Option<Seen>,
    /// A later snapshot did not continue what was seen. The number is stale for good.
    pub(super) is_stale: bool,
}

/// How far a partition's text reached in a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) sequence: u64,
    pub(super) base_offset: i64,
    pub(super) end_offset: i64,
    pub(super) text: ViewSizes,
}

impl FollowedInodes {
    /// The number of a topic, a new one if it was not seen before.
    pub(super) fn number_of_topic(&self, topic: &TopicState) -> u64 {
        let mut numbers = locked(&self.0);
        let Numbers {
            topics,
            topic_numbers,
            ..
        } = &mut *numbers;
        let topic = FollowedTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
        };
        *topic_numbers.entry(topic).or_insert_with_key(|topic| {
            topics.push(topic.clone());
            topics.len() as u64 - 1
        })
    }

    /// The number of a partition of a topic, a new one if it was not seen before or if its number is stale.
    pub(super) fn number_of_partition(&self, topic: u64, partition: usize) -> u64 {
        let mut numbers = locked(&self.0);
        let known = numbers.partition_numbers.get(&(topic, partition));
        if let Some(number) = known.copied()
            && numbers.partition(number).is_ok_and(|known| !known.is_stale)
        {
            return number;
        }
        let number = numbers.partitions.len() as u64;
        numbers.partitions.push(FollowedPartition {
            topic,
            partition,
            seen: None,
            is_stale: false,
        });
        numbers.partition_numbers.insert((topic, partition), number);
        number
    }

    pub(super) fn topic(&self, number: u64) -> Result<FollowedTopic, ViewError> {
        let numbers = locked(&self.0);
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        numbers.topics.get(at).cloned().ok_or(ViewError::Stale)
    }

    pub(super) fn partition(&self, number: u64) -> Result<FollowedPartition, ViewError> {
        locked(&self.0).partition(number).cloned()
    }

    /// Records what was seen. Requests finish in any order, so an older snapshot changes nothing.
    pub(super) fn saw(&self, number: u64, seen: Seen) {
        if let Ok(partition) = locked(&self.0).partition_mut(number)
            && partition
                .seen
                .is_none_or(|before| before.sequence < seen.sequence)
        {
            partition.seen = Some(seen);
        }
    }

    pub(super) fn mark_stale(&self, number: u64) {
        if let Ok(partition) = locked(&self.0).partition_mut(number) {
            partition.is_stale = true;
        }
    }
}

impl Numbers {
    fn partition(&self, number: u64) -> Result<&FollowedPartition, ViewError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions.get(at).ok_or(ViewError::Stale)
    }

    fn partition_mut(&mut self, number: u64) -> Result<&mut FollowedPartition, ViewError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions.get_mut(at).ok_or(ViewError::Stale)
    }
}

impl Seen {
    pub(super) fn of(partition: &Partition, index: &PartitionIndex) -> Seen {
        let state = partition.state();
        Seen {
            sequence: partition.sequence(),
            base_offset: state.base_offset,
            end_offset: state.end_offset,
            text: TextView::ALL.map(|view| index.size(view)),
        }
    }
}
