//! What a backup commits, from its plan and what was read and stored.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Digested, Id, PartitionChange, PartitionId, Snapshot, TopicChange, TopicName,
};

use super::adopt::Adopted;
use super::completeness;
use super::groups;
use super::notice::BackupNotice;
use super::partition::StoredPartition;
use super::pipeline::Finished;
use super::plan::{BackupPlan, PlannedTopic};

/// Returns the change to commit, and all notices.
pub(super) fn change(
    plan: BackupPlan,
    finished: Finished,
    base: Option<Digested<Snapshot>>,
    read_after: u64,
    cluster_id: Option<String>,
    started_at: Timestamp,
) -> (Change, Vec<BackupNotice>) {
    let Finished {
        mut stored,
        interrupted,
        ..
    } = finished;
    let mut notices = plan.notices;
    let renamed = renamed(&plan.topics, base.as_deref());
    let mut topics = Vec::with_capacity(plan.topics.len());
    for topic in plan.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let read = if partition.read.is_empty() {
                StoredPartition::default()
            } else {
                let id = PartitionId {
                    topic: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition: partition.partition,
                };
                let read = stored.remove(&id);
                read.expect("the pipeline has a result for every reading, or fails")
            };
            let incomplete = completeness::incomplete(&partition, &read, interrupted);
            let Adopted {
                mut segments,
                mut lost,
            } = partition.adopted;
            segments.extend(read.segments);
            lost.extend(read.lost);
            notices.extend(lost.iter().map(|lost| BackupNotice::Lost {
                topic: topic.name.clone(),
                partition: partition.partition,
                offsets: (*lost).into(),
            }));
            partitions.push(PartitionChange {
                partition: partition.partition,
                log_start_offset: partition.offsets.log_start_offset,
                high_watermark: partition.offsets.high_watermark,
                last_stable_offset: partition.offsets.last_stable_offset,
                incomplete,
                segments,
                lost,
            });
        }
        let description = topic.topic.description;
        topics.push(TopicChange {
            name: topic.name,
            topic_id: topic.topic_id,
            kafka_id: topic.kafka_id,
            internal: description.internal,
            replication_factor: i32::try_from(description.replication_factor)
                .expect("a replication factor is a 16-bit number in Kafka's protocol"),
            config: topic.topic.config.values.ok(),
            partitions,
        });
    }
    let change = Change {
        base,
        ignored: BTreeSet::new(),
        read_after,
        nonce: Id::random(),
        started_at,
        created_at: Timestamp::now(),
        writer: writer(),
        cluster_id,
        topics,
        gone: plan.gone,
        unseen: plan.unseen,
        groups: plan
            .groups
            .map(|found| groups::refer_to_histories(found, &renamed)),
        acls: plan.acls,
    };
    (change, notices)
}

/// Returns the ids of the histories that are named otherwise than Kafka names the topics, by name and Kafka id.
fn renamed(topics: &[PlannedTopic], base: Option<&Snapshot>) -> HashMap<(TopicName, Id), Id> {
    let carried_over = base.into_iter().flat_map(|base| &base.topics);
    let carried_over = carried_over
        .filter(|topic| !topic.deleted)
        .map(|topic| (&topic.name, topic.kafka_id, topic.topic_id));
    let planned = topics
        .iter()
        .map(|topic| (&topic.name, topic.kafka_id, topic.topic_id));
    let all = carried_over.chain(planned);
    all.filter(|(_, kafka_id, topic_id)| *kafka_id != Some(*topic_id))
        .filter_map(|(name, kafka_id, topic_id)| Some(((name.clone(), kafka_id?), topic_id)))
        .collect()
}

/// Returns the program and its version.
pub(super) fn writer() -> String {
    concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned()
}
