//! The inode numbers of followed topics and partitions, and how far each partition was seen.

use std::collections::HashMap;
use std::sync::Mutex;

use kbk_format::render::{View as TextView, ViewSizes};
use kbk_format::repo::{Id, TopicName, TopicState};
use sha2::{Digest, Sha256};

use super::inode::HASH_MASK;
use crate::cache::locked;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// The low bits of a hash number the files of one partition.
pub(super) const ITEM_BITS: u32 = 3;
const MASK: u64 = HASH_MASK >> ITEM_BITS;

/// Topics and partitions by the numbers that they were given when they were first seen. None is ever removed: the kernel may
/// know any of them for as long as it is mounted, and there are no more than the repository names.
///
/// A number is a hash of what it stands for, so it is the same after a remount; on a collision, which is all but impossible, it is
/// the next free one.
#[derive(Debug, Default)]
pub(crate) struct FollowedInodes(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    topics: HashMap<u64, (FollowedTopic, u64)>,
    partitions: HashMap<u64, FollowedPartition>,
    /// The numbers of partitions that are not stale, by the number of the topic, and the partition.
    fresh: HashMap<(u64, usize), u64>,
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
    /// The number of a topic.
    pub(super) fn number_of_topic(&self, topic: &TopicState) -> u64 {
        let topic = FollowedTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
        };
        let mut number = hash(&[topic.name.as_bytes(), &topic.topic_id.0]);
        let topics = &mut locked(&self.0).topics;
        loop {
            match topics.get(&number) {
                Some((known, _)) if *known == topic => return number,
                Some(_) => number = next(number),
                None => break,
            }
        }
        let cookie = topics.len() as u64 + 1;
        topics.insert(number, (topic, cookie));
        number
    }

    /// Where a listing resumes after a topic: topics that are seen later come later.
    pub(super) fn cookie_of_topic(&self, number: u64) -> u64 {
        let numbers = locked(&self.0);
        numbers.topics.get(&number).map_or(0, |(_, cookie)| *cookie)
    }

    /// The number of a partition of a topic, a new one if its number is stale.
    pub(super) fn number_of_partition(&self, topic: u64, partition: usize) -> u64 {
        let mut numbers = locked(&self.0);
        let known = numbers.fresh.get(&(topic, partition)).copied();
        let is_fresh = |number: &u64| {
            let partition = numbers.partitions.get(number);
            partition.is_some_and(|partition| !partition.is_stale)
        };
        if let Some(number) = known.filter(is_fresh) {
            return number;
        }
        // After the stale number, if there is one.
        let first = || hash(&[&topic.to_le_bytes(), &partition.to_le_bytes()]);
        let mut number = known.map_or_else(first, next);
        while numbers.partitions.contains_key(&number) {
            number = next(number);
        }
        let followed = FollowedPartition {
            topic,
            partition,
            seen: None,
            is_stale: false,
        };
        numbers.partitions.insert(number, followed);
        numbers.fresh.insert((topic, partition), number);
        number
    }

    pub(super) fn topic(&self, number: u64) -> Result<FollowedTopic, ViewError> {
        let numbers = locked(&self.0);
        let found = numbers.topics.get(&number);
        found
            .map(|(topic, _)| topic.clone())
            .ok_or(ViewError::Stale)
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
        self.partitions.get(&number).ok_or(ViewError::Stale)
    }

    fn partition_mut(&mut self, number: u64) -> Result<&mut FollowedPartition, ViewError> {
        self.partitions.get_mut(&number).ok_or(ViewError::Stale)
    }
}

/// A number for what these bytes identify. The parts are delimited by their lengths.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let first = std::array::from_fn(|byte| digest[byte]);
    u64::from_le_bytes(first) & MASK
}

fn next(number: u64) -> u64 {
    (number + 1) & MASK
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
