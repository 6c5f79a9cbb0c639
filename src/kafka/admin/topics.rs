//! Topics: describing them.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::collections::{BTreeMap, HashMap};

use kbk_format::PartitionNumber;
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::{items, structs};
use super::owned::TopicCollection;
use super::request::{BrokerError, Request, Responder, permanent};
use super::{Admin, invalid};
use crate::kafka::client::owned_text;
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::permission::{AclOperation, Permission};

/// Kafka's internal topics, for clusters that do not say which they are, and for those that have not created them yet.
pub const INTERNAL_TOPICS: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// A topic and the placement of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// Distinguishes this topic from an earlier one of the same name; zero where the cluster has no topic ids.
    pub topic_id: [u8; 16],
    /// Whether it is one of Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// Ordered by partition.
    pub partitions: Vec<PartitionDescription>,
    /// Number of replicas of the first partition.
    pub replication_factor: usize,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The partition.
    pub id: PartitionNumber,
    /// The broker that leads it; -1 while it has no leader.
    pub leader: i32,
    /// The brokers that hold replicas.
    pub replicas: Vec<i32>,
}

/// Topics that are described with one request.
const AT_ONCE: usize = 500;

/// As in "cannot *describe topics*".
const DESCRIBE: &str = "describe topics";

impl Admin {
    /// Describes all topics, or the named ones, each of which must exist.
    pub fn describe_topics(
        &self,
        names: Option<&[String]>,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        let listed = match names {
            None => self.list_topics()?,
            Some(_) => Vec::new(),
        };
        let all: Vec<String> = match names {
            None => listed.iter().map(|topic| topic.name.clone()).collect(),
            Some(names) => names.to_vec(),
        };
        let mut topics = Vec::with_capacity(all.len());
        for chunk in all.chunks(AT_ONCE) {
            match self.describe_at_once(chunk, names.is_some()) {
                Ok(described) => topics.extend(described),
                Err(error) if error.is_unsupported() => return self.select(listed, names),
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// Describes those of the named topics that exist.
    pub fn find_topics(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
        let mut topics = Vec::with_capacity(names.len());
        for chunk in names.chunks(AT_ONCE) {
            match self.describe_at_once(chunk, false) {
                Ok(described) => topics.extend(described),
                Err(error) if error.is_unsupported() => {
                    let mut listed = self.list_topics()?;
                    listed.retain(|topic| names.contains(&topic.name));
                    return Ok(listed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// Asks for topics by name: each is described, does not exist, or may not be described. A list of all topics has neither of the latter
    /// two. Brokers check the permission first, so that a topic that may not be described need not exist.
    pub fn look_up_topics(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Result<TopicDescription, KafkaError>>, KafkaError> {
        let mut found = BTreeMap::new();
        for chunk in names.chunks(AT_ONCE) {
            match self.describe_each(chunk) {
                Ok(described) => found.extend(described.into_iter().map(|topic| match topic {
                    Ok(topic) => (topic.name.clone(), Ok(topic)),
                    Err(error) => (error.topic.clone(), Err(not_described(error))),
                })),
                Err(error) if error.is_unsupported() => {
                    for name in chunk {
                        let one = self.select(Vec::new(), Some(std::slice::from_ref(name)));
                        found.insert(name.clone(), one.map(|mut one| one.remove(0)));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Lists all topics from a metadata response, which has no topic ids.
    fn list_topics(&self) -> Result<Vec<TopicDescription>, KafkaError> {
        self.metadata(|metadata| {
            // SAFETY: the arrays and names live as long as the metadata.
            unsafe { structs(metadata.topics, metadata.topic_cnt) }
                .iter()
                // SAFETY: as above.
                .map(|topic| unsafe { from_metadata(topic) })
                .collect()
        })
    }

    /// The fallback of [`Admin::describe_topics`] for clusters that cannot describe topics: selects from a metadata response.
    fn select(
        &self,
        listed: Vec<TopicDescription>,
        names: Option<&[String]>,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        let Some(names) = names else {
            return Ok(listed);
        };
        let mut by_name: HashMap<String, TopicDescription> = self
            .list_topics()?
            .into_iter()
            .map(|topic| (topic.name.clone(), topic))
            .collect();
        names
            .iter()
            .map(|name| {
                by_name
                    .remove(name)
                    .ok_or_else(|| KafkaError::UnknownTopic {
                        topic: name.clone(),
                        doing: format!("describe topic {name}"),
                    })
            })
            .collect()
    }

    fn describe_at_once(
        &self,
        names: &[String],
        all_must_exist: bool,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        // A topic that was listed a moment ago may have been deleted, or hidden from this principal, since.
        let is_gone = |described: &Result<_, BrokerError>| {
            let gone = [Code::UNKNOWN_TOPIC, Code::TOPIC_DENIED];
            let error = described.as_ref().err();
            error.is_some_and(|error| gone.contains(&error.code))
        };
        let described = self.describe_each(names)?.into_iter();
        described
            .filter(|topic| all_must_exist || !is_gone(topic))
            .map(|topic| topic.map_err(not_described))
            .collect()
    }

    /// Describes each topic, or returns why the cluster does not.
    fn describe_each(
        &self,
        names: &[String],
    ) -> Result<Vec<Result<TopicDescription, BrokerError>>, KafkaError> {
        let collection = TopicCollection::new(names).map_err(|cause| invalid(DESCRIBE, cause))?;
        self.request(
            &Request {
                doing: DESCRIBE.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the collection is copied.
                unsafe {
                    sys::rd_kafka_DescribeTopics(client, collection.0.as_ptr(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeTopics_result(event);
                    let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
                    let topics = items(topics, count).iter();
                    permanent(topics.map(|&topic| from_description(topic)))
                }
            },
        )
    }
}

/// Returns the error to report of a topic that is not described.
fn not_described(error: BrokerError) -> KafkaError {
    let topic = error.topic.clone();
    error
        .into_kafka_error(&format!("describe topic {topic}"))
        .needing(Permission::topic(AclOperation::Describe, &topic))
}

/// Reads a topic from a metadata response.
///
/// # Safety
/// `topic` is part of live metadata.
unsafe fn from_metadata(
    topic: &sys::rd_kafka_metadata_topic,
) -> Result<TopicDescription, BrokerError> {
    // SAFETY: by contract.
    let (name, partitions) = unsafe {
        (
            owned_text(topic.topic),
            structs(topic.partitions, topic.partition_cnt),
        )
    };
    let partitions = partitions
        .iter()
        .map(|partition| {
            Ok(PartitionDescription {
                id: BrokerError::partition_number(&name, partition.id)?,
                leader: partition.leader,
                // SAFETY: by contract.
                replicas: unsafe { structs(partition.replicas, partition.replica_cnt) }.to_vec(),
            })
        })
        .collect::<Result<_, BrokerError>>()?;
    // librdkafka 2.12 parses `is_internal` and does not expose it in these structs.
    let internal = INTERNAL_TOPICS.contains(&name.as_str());
    Ok(TopicDescription::new(name, [0; 16], internal, partitions))
}

impl TopicDescription {
    fn new(
        name: String,
        topic_id: [u8; 16],
        internal: bool,
        mut partitions: Vec<PartitionDescription>,
    ) -> TopicDescription {
        partitions.sort_by_key(|partition| partition.id);
        let replication_factor = partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        TopicDescription {
            name,
            topic_id,
            internal,
            partitions,
            replication_factor,
        }
    }
}

/// Reads the description of a topic.
///
/// # Safety
/// `topic` is part of a live answer.
pub(super) unsafe fn from_description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, BrokerError> {
    // SAFETY: by contract, for everything reached from the topic.
    unsafe {
        let name = owned_text(sys::rd_kafka_TopicDescription_name(topic));
        BrokerError::check_error(sys::rd_kafka_TopicDescription_error(topic), &name)?;
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let topic_id = if id.is_null() {
            [0; 16]
        } else {
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
        };
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = items(partitions, count)
            .iter()
            .map(|&partition| from_partition(&name, partition))
            .collect::<Result<_, BrokerError>>()?;
        let internal = sys::rd_kafka_TopicDescription_is_internal(topic) != 0;
        Ok(TopicDescription::new(name, topic_id, internal, partitions))
    }
}

/// Reads the description of a partition.
///
/// # Safety
/// `partition` is part of a live answer.
unsafe fn from_partition(
    topic: &str,
    partition: *const sys::rd_kafka_TopicPartitionInfo_t,
) -> Result<PartitionDescription, BrokerError> {
    let node_id = |node: *const sys::rd_kafka_Node_t| {
        // SAFETY: null, or part of the same answer.
        if node.is_null() {
            -1
        } else {
            unsafe { sys::rd_kafka_Node_id(node) }
        }
    };
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let replicas = sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut count);
        let id = sys::rd_kafka_TopicPartitionInfo_partition(partition);
        Ok(PartitionDescription {
            id: BrokerError::partition_number(topic, id)?,
            leader: node_id(sys::rd_kafka_TopicPartitionInfo_leader(partition)),
            replicas: items(replicas, count)
                .iter()
                .map(|&node| node_id(node))
                .collect(),
        })
    }
}
