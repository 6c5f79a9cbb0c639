//! Who leads which partition, by what brokers have said so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::address::Address;
use super::protocol::{ErrorCode, MetadataResponse, TopicId};
use crate::kafka::partition::TopicPartition;
use kbk_format::PartitionNumber;

/// Brokers, topics and partitions of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// The id of the cluster, where it has one.
    pub cluster_id: Option<String>,
    /// The broker that is, or passes requests to, the controller.
    pub controller: Option<i32>,
    /// The brokers that are alive.
    pub brokers: BTreeMap<i32, Arc<Address>>,
    /// Topics by name: those that were asked about.
    pub topics: BTreeMap<String, TopicMetadata>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Whether it exists, and may be described.
    pub error: ErrorCode,
    /// Its id; `None` where the broker is too old to have one.
    pub id: Option<TopicId>,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionNumber, PartitionLeader>,
}

/// The leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLeader {
    /// Why there is none.
    pub error: ErrorCode,
    /// The broker; `None` where there is no leader.
    pub broker: Option<i32>,
    /// The leader epoch; -1 where the broker does not say.
    pub epoch: i32,
}

impl ClusterMetadata {
    /// Copies a response. Negative numbers of brokers and partitions, and ports out of range, stand for none.
    pub(super) fn of(response: &MetadataResponse<'_>) -> ClusterMetadata {
        let brokers = response.brokers.iter().filter_map(|broker| {
            let address = Address {
                host: broker.host.to_owned(),
                port: u16::try_from(broker.port).ok()?,
            };
            (broker.id >= 0).then(|| (broker.id, Arc::new(address)))
        });
        let topics = response.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().filter_map(|partition| {
                let leader = PartitionLeader {
                    error: partition.error,
                    broker: Some(partition.leader).filter(|leader| *leader >= 0),
                    epoch: partition.leader_epoch,
                };
                Some((PartitionNumber::new(partition.partition)?, leader))
            });
            let metadata = TopicMetadata {
                error: topic.error,
                id: Some(topic.id).filter(|id| *id != TopicId::default()),
                is_internal: topic.is_internal,
                partitions: partitions.collect(),
            };
            (topic.name.to_owned(), metadata)
        });
        ClusterMetadata {
            cluster_id: response.cluster_id.map(str::to_owned),
            controller: Some(response.controller).filter(|id| *id >= 0),
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }
}

/// The table that requests are sent by.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    brokers: BTreeMap<i32, Arc<Address>>,
    topics: BTreeMap<String, TopicMetadata>,
}

/// A leader, and what it must be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: i32,
    pub(super) epoch: i32,
    pub(super) topic_id: Option<TopicId>,
}

impl Leaders {
    /// Takes over what a broker has said. It may know less than another one that was asked before: an earlier leader epoch of the same
    /// topic changes nothing, as in Kafka's own clients.
    pub(super) fn learn(&mut self, metadata: &ClusterMetadata) {
        if !metadata.brokers.is_empty() {
            self.brokers.clone_from(&metadata.brokers);
        }
        for (name, topic) in &metadata.topics {
            let mut topic = topic.clone();
            if let Some(known) = self.topics.get(name).filter(|known| known.id == topic.id) {
                for (number, leader) in &mut topic.partitions {
                    match known.partitions.get(number) {
                        Some(before) if before.epoch > leader.epoch && leader.epoch >= 0 => {
                            *leader = *before;
                        }
                        _ => {}
                    }
                }
            }
            self.topics.insert(name.clone(), topic);
        }
    }

    pub(super) fn address(&self, broker: i32) -> Option<Arc<Address>> {
        self.brokers.get(&broker).cloned()
    }

    pub(super) fn brokers(&self) -> impl Iterator<Item = i32> {
        self.brokers.keys().copied()
    }

    /// Returns the leader of a partition, or what the cluster says in its place; `None` where nobody has been asked.
    pub(super) fn of(&self, partition: &TopicPartition) -> Option<Result<Leader, ErrorCode>> {
        let topic = self.topics.get(&partition.topic)?;
        if topic.error != ErrorCode::NONE {
            return Some(Err(topic.error));
        }
        let Some(leader) = topic.partitions.get(&partition.partition) else {
            return Some(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let no_leader = match leader.error {
            ErrorCode::NONE => ErrorCode::LEADER_NOT_AVAILABLE,
            error => error,
        };
        Some(leader.broker.ok_or(no_leader).map(|broker| Leader {
            broker,
            epoch: leader.epoch,
            topic_id: topic.id,
        }))
    }

    /// Forgets who leads a partition, so that it is looked up again. The epoch stays, by which an older answer is known.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        let topic = self.topics.get_mut(&partition.topic);
        let leader = topic.and_then(|topic| topic.partitions.get_mut(&partition.partition));
        if let Some(leader) = leader {
            leader.broker = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "t";

    fn partition() -> TopicPartition {
        TopicPartition::new(TOPIC, PartitionNumber::ZERO)
    }

    fn metadata(id: u8, broker: Option<i32>, epoch: i32) -> ClusterMetadata {
        let leader = PartitionLeader {
            error: ErrorCode::NONE,
            broker,
            epoch,
        };
        let topic = TopicMetadata {
            id: Some([id; 16]),
            partitions: BTreeMap::from([(PartitionNumber::ZERO, leader)]),
            ..TopicMetadata::default()
        };
        ClusterMetadata {
            topics: BTreeMap::from([(TOPIC.to_owned(), topic)]),
            ..ClusterMetadata::default()
        }
    }

    fn broker(leaders: &Leaders) -> Option<Result<i32, ErrorCode>> {
        let found = leaders.of(&partition())?;
        Some(found.map(|leader| leader.broker))
    }

    #[test]
    fn an_earlier_epoch_of_the_same_topic_is_not_believed() {
        let mut leaders = Leaders::default();
        assert_eq!(broker(&leaders), None);
        leaders.learn(&metadata(1, Some(5), 7));
        leaders.learn(&metadata(1, Some(4), 6));
        assert_eq!(broker(&leaders), Some(Ok(5)));
        leaders.learn(&metadata(1, Some(6), 7));
        assert_eq!(broker(&leaders), Some(Ok(6)));
        leaders.learn(&metadata(2, Some(4), 0));
        assert_eq!(broker(&leaders), Some(Ok(4)), "another topic of that name");
    }

    #[test]
    fn a_leader_that_is_forgotten_is_looked_up_again() {
        let mut leaders = Leaders::default();
        leaders.learn(&metadata(1, Some(5), 7));
        leaders.forget(&partition());
        assert_eq!(broker(&leaders), Some(Err(ErrorCode::LEADER_NOT_AVAILABLE)));
        leaders.learn(&metadata(1, Some(5), 7));
        assert_eq!(broker(&leaders), Some(Ok(5)));
    }

    #[test]
    fn partitions_that_do_not_exist_have_no_leader() {
        let mut leaders = Leaders::default();
        leaders.learn(&metadata(1, Some(5), 7));
        let other = TopicPartition::new(TOPIC, PartitionNumber::new(1).unwrap());
        let unknown = Some(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        assert_eq!(leaders.of(&other), unknown);
    }
}
