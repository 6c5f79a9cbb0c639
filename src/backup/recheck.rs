//! Asks again, before the commit, whether the logs are still those that the run began with.
//!
//! A client that reads a topic by name continues with the new topic when it is deleted and created again: the new records would be
//! stored behind the old ones. What was read of such a log is left out of the commit. Its segments stay unnamed, under an id that no
//! later run reads.

use std::collections::{BTreeMap, HashMap, HashSet};

use kbk_format::repo::{Hex, Id, Incomplete, IncompleteReason, PartitionId, UnseenTopic};

use super::leaders;
use super::notice::BackupNotice;
use super::partition::StoredPartition;
use super::plan::{BackupPlan, PlannedTopic};
use crate::kafka::{Admin, KafkaError, PartitionDescription, PartitionOffsets, TopicPartition};

/// What a run stored, by partition.
pub(super) type AllStored = BTreeMap<PartitionId, StoredPartition>;

/// The topics that the run has stored records of, as the cluster describes them now.
#[derive(Debug, Default)]
pub(super) struct LogsNow {
    /// By name: those that exist, with Kafka's ids, where it gives any.
    topics: HashMap<String, Option<Id>>,
    offsets: BTreeMap<TopicPartition, PartitionOffsets>,
}

impl LogsNow {
    /// One topic with one partition.
    #[cfg(test)]
    pub(super) fn of(
        topic: &str,
        kafka_id: Option<Id>,
        offsets: (TopicPartition, PartitionOffsets),
    ) -> LogsNow {
        LogsNow {
            topics: HashMap::from([(topic.to_owned(), kafka_id)]),
            offsets: BTreeMap::from([offsets]),
        }
    }

    /// Asks the cluster, with two requests per broker for any number of topics up to 500. Blocks.
    pub(super) fn ask(admin: &Admin, appended: &[TopicPartition]) -> Result<LogsNow, KafkaError> {
        let mut names: Vec<String> = appended.iter().map(|log| log.topic.clone()).collect();
        names.dedup();
        let mut found = admin.find_topics(&names)?;
        let topics = found.iter().map(|topic| {
            let id = Some(Hex(topic.topic_id)).filter(|id| *id != Id::ZERO);
            (topic.name.clone(), id)
        });
        let topics = topics.collect();
        // A topic that is gone has no offsets, and neither has a partition without a leader; what was read of them before may be the
        // last copy.
        let appended: HashSet<&TopicPartition> = appended.iter().collect();
        for topic in &mut found {
            let asked = |partition: &PartitionDescription| {
                appended.contains(&TopicPartition::new(&topic.name, partition.id))
            };
            topic.partitions.retain(asked);
        }
        let offsets = leaders::offsets(admin, &mut found)?.into_iter().collect();
        Ok(LogsNow { topics, offsets })
    }
}

/// Lists the partitions of which something was stored, ordered by topic.
pub(super) fn appended(stored: &AllStored) -> Vec<TopicPartition> {
    let appended = stored
        .iter()
        .filter(|(_, stored)| !stored.segments.is_empty());
    appended
        .map(|(id, _)| TopicPartition::new(id.topic.to_string(), id.partition))
        .collect()
}

/// Leaves out of the plan the topics that were created again, and out of what was stored the partitions that may not be of
/// the logs that were planned. A topic that no snapshot has stays, without records: the snapshot has to say what it lacks.
pub(super) fn leave_out_changed(plan: &mut BackupPlan, stored: &mut AllStored, now: &LogsNow) {
    let BackupPlan {
        topics,
        unseen,
        notices,
        ..
    } = plan;
    topics.retain_mut(|topic| {
        let id = now.topics.get(&*topic.name);
        let recreated = id.is_some_and(|id| *id != topic.kafka_id);
        if !recreated {
            return true;
        }
        notices.push(BackupNotice::RecreatedMeanwhile {
            topic: topic.name.clone(),
        });
        if topic.last_seen.is_none() {
            for partition in &mut topic.partitions {
                let id = PartitionId {
                    topic: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition: partition.partition,
                };
                if let Some(read) = stored.get_mut(&id) {
                    *read = StoredPartition::default();
                }
                partition.unreadable = Some(RECREATED.to_owned());
                // Its log is gone: a later backup misses nothing of it.
                let start = partition.read.start;
                partition.offsets = PartitionOffsets {
                    log_start_offset: start,
                    high_watermark: start,
                    last_stable_offset: start,
                };
            }
            return true;
        }
        unseen.push(UnseenTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            incomplete: Incomplete {
                reason: IncompleteReason::Unreadable,
                detail: RECREATED.to_owned(),
            },
        });
        false
    });
    for topic in topics {
        notices.extend(unread(topic, stored, now));
    }
}

const RECREATED: &str = "it was deleted and created again while it was read";

/// Clears what was stored of a topic's partitions that may not be theirs, and describes those that were not read to the end.
fn unread(topic: &mut PlannedTopic, stored: &mut AllStored, now: &LogsNow) -> Vec<BackupNotice> {
    let mut notices = Vec::new();
    for index in 0..topic.partitions.len() {
        let id = topic.partition_id(topic.partitions[index].partition);
        let partition = &mut topic.partitions[index];
        let Some(stored) = stored.get_mut(&id) else {
            continue;
        };
        let log = TopicPartition::new(topic.name.to_string(), partition.partition);
        let error = stored.unreadable.take();
        let Some(error) = error.or_else(|| truncated(&log, stored, now.offsets.get(&log))) else {
            continue;
        };
        if leaves_doubt(&error) {
            *stored = StoredPartition::default();
        }
        let end = stored.segments.last().map(|segment| segment.end_offset);
        let cause = error.within(&log.topic, log.partition);
        partition.unreadable = Some(cause.clone());
        notices.push(BackupNotice::Unreadable {
            topic: topic.name.clone(),
            partition: partition.partition,
            stored_end_offset: end.unwrap_or(partition.read.start),
            cause,
        });
    }
    notices
}

/// Returns whether what was read before the error may not be what it seems: records of another log, or messages without contents.
fn leaves_doubt(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::OffsetOutOfRange { .. }
            | KafkaError::Recreated { .. }
            | KafkaError::OldFormat { .. }
    )
}

/// Returns the error of a log that ends below what was read of it.
fn truncated(
    log: &TopicPartition,
    stored: &StoredPartition,
    now: Option<&PartitionOffsets>,
) -> Option<KafkaError> {
    let position = stored.segments.last()?.end_offset;
    let now = now.filter(|now| now.high_watermark < position)?;
    Some(KafkaError::OffsetOutOfRange {
        topic: log.topic.clone(),
        partition: log.partition,
        position,
        log_start_offset: now.log_start_offset,
        log_end_offset: now.high_watermark,
    })
}
