//! Plans what a backup reads: what the cluster has, minus what the newest snapshot has. No I/O.

use std::ops::Range;

use kbk_format::repo::{
    FoundAcls, FoundGroups, Id, PartitionState, Snapshot, TopicName, TopicNameError, TopicState,
};
use kbk_format::{PartitionNumber, TimestampType};

use super::adopt::Adopted;
use super::groups;
use super::notice::BackupNotice;
use super::survey::{Survey, SurveyedTopic};
use crate::kafka::PartitionOffsets;

/// What to read, topic by topic, and what the user should know about it.
#[derive(Clone, Debug)]
pub(super) struct BackupPlan {
    pub(super) topics: Vec<PlannedTopic>,
    /// Selected topics of the last snapshot that the cluster no longer has.
    pub(super) gone: Vec<(TopicName, Id)>,
    pub(super) groups: Option<FoundGroups>,
    pub(super) acls: Option<FoundAcls>,
    pub(super) notices: Vec<BackupNotice>,
}

/// A topic and what to read of each of its partitions.
#[derive(Clone, Debug)]
pub(super) struct PlannedTopic {
    pub(super) name: TopicName,
    pub(super) topic_id: Id,
    pub(super) topic: SurveyedTopic,
    pub(super) partitions: Vec<PlannedPartition>,
}

/// A partition and the offsets to read; none if `read` is empty.
#[derive(Clone, Debug)]
pub(super) struct PlannedPartition {
    pub(super) partition: PartitionNumber,
    pub(super) offsets: PartitionOffsets,
    pub(super) read: Range<i64>,
    /// Segments before `read` that an interrupted run left.
    pub(super) adopted: Adopted,
}

impl PlannedTopic {
    pub(super) fn timestamp_type(&self) -> TimestampType {
        self.topic.timestamp_type
    }
}

/// Compares the survey with the newest snapshot. `selected` are the topics in that snapshot that the selection covers.
pub(super) fn plan(
    survey: Survey,
    newest: Option<&Snapshot>,
    selected: &[String],
) -> Result<BackupPlan, TopicNameError> {
    let last_groups = newest.and_then(|snapshot| snapshot.groups.as_ref());
    let last_groups = last_groups.map_or(&[][..], |groups| &groups.groups);
    let (groups, groups_notice) = groups::keep_missing(survey.groups, last_groups);
    let mut notices: Vec<BackupNotice> = survey
        .config_unknown
        .map(|cause| BackupNotice::ConfigUnknown { cause })
        .into_iter()
        .chain(groups_notice)
        .chain(survey.acls.notice)
        .collect();
    let present = |name: &str| {
        survey
            .topics
            .iter()
            .any(|topic| topic.description.name == name)
    };
    let live = newest
        .into_iter()
        .flat_map(|snapshot| &snapshot.topics)
        .filter(|topic| !topic.deleted);
    let gone: Vec<&TopicState> = live
        .filter(|topic| selected.iter().any(|name| **name == *topic.name) && !present(&topic.name))
        .collect();
    notices.extend(gone.iter().map(|topic| BackupNotice::Deleted {
        topic: topic.name.clone(),
    }));
    let gone = gone
        .into_iter()
        .map(|topic| (topic.name.clone(), topic.topic_id))
        .collect();
    let mut topics = Vec::with_capacity(survey.topics.len());
    for topic in survey.topics {
        topics.push(plan_topic(topic, newest, &mut notices)?);
    }
    Ok(BackupPlan {
        topics,
        gone,
        groups,
        acls: survey.acls.found,
        notices,
    })
}

fn plan_topic(
    topic: SurveyedTopic,
    newest: Option<&Snapshot>,
    notices: &mut Vec<BackupNotice>,
) -> Result<PlannedTopic, TopicNameError> {
    let name: TopicName = topic.description.name.parse()?;
    let topic_id = kbk_format::repo::Hex(topic.description.topic_id);
    let stored = newest.and_then(|snapshot| snapshot.topic(&name, topic_id));
    let namesake = newest.is_some_and(|snapshot| {
        snapshot
            .topics
            .iter()
            .any(|other| other.name == name && !other.deleted)
    });
    if stored.is_none() && namesake {
        notices.push(BackupNotice::Recreated {
            topic: name.clone(),
        });
    }
    let partitions = topic
        .offsets
        .iter()
        .map(|(partition, offsets)| {
            let stored = stored.and_then(|stored| stored.partitions.get(partition.index()));
            plan_partition(&name, *partition, *offsets, stored, notices)
        })
        .collect();
    Ok(PlannedTopic {
        name,
        topic_id,
        topic,
        partitions,
    })
}

fn plan_partition(
    topic: &TopicName,
    partition: PartitionNumber,
    offsets: PartitionOffsets,
    stored: Option<&PartitionState>,
    notices: &mut Vec<BackupNotice>,
) -> PlannedPartition {
    let PartitionOffsets {
        log_start_offset,
        high_watermark,
        last_stable_offset,
    } = offsets;
    // Not the later log start: the source reports the offsets between the two as lost.
    let start = stored.map_or(log_start_offset, |state| state.end_offset);
    if high_watermark < start {
        notices.push(BackupNotice::Truncated {
            topic: topic.clone(),
            partition,
            stored_end_offset: start,
            high_watermark,
        });
    }
    if last_stable_offset < high_watermark {
        notices.push(BackupNotice::OpenTransactions {
            topic: topic.clone(),
            partition,
            last_stable_offset,
            high_watermark,
        });
    }
    PlannedPartition {
        partition,
        offsets,
        read: start..last_stable_offset.max(start),
        adopted: Adopted::default(),
    }
}
