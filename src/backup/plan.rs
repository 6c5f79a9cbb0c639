//! Plans what a backup reads: what the cluster has, minus what the newest snapshot has. No I/O.

use std::ops::Range;
use std::time::Duration;

use kbk_format::repo::{
    FoundAcls, FoundGroups, Groups, Hex, Id, Incomplete, IncompleteReason, PartitionId,
    PartitionState, Snapshot, TopicName, TopicNameError, TopicState, UnseenTopic,
};
use kbk_format::{PartitionNumber, TimestampType};

use super::adopt::Adopted;
use super::continuity::Divergence;
use super::hidden::Hidden;
use super::notice::BackupNotice;
use super::survey::{Survey, SurveyedTopic};
use super::{config, groups};
use crate::kafka::PartitionOffsets;

/// What to read, topic by topic, and what the user should know about it.
#[derive(Clone, Debug)]
pub(super) struct BackupPlan {
    pub(super) topics: Vec<PlannedTopic>,
    /// Selected topics of the last snapshot that the cluster no longer has.
    pub(super) gone: Vec<(TopicName, Id)>,
    /// Topics that the run cannot say anything about, although it looked for them.
    pub(super) unseen: Vec<UnseenTopic>,
    pub(super) groups: Option<FoundGroups>,
    pub(super) acls: Option<FoundAcls>,
    pub(super) notices: Vec<BackupNotice>,
}

/// A topic and what to read of each of its partitions.
#[derive(Clone, Debug)]
pub(super) struct PlannedTopic {
    pub(super) name: TopicName,
    /// The history that is continued, or begun.
    pub(super) topic_id: Id,
    /// `None` where the cluster gave none.
    pub(super) kafka_id: Option<Id>,
    /// Whether the topic was compacted, by its own configuration, when it was last backed up.
    was_compacted: bool,
    /// The snapshot in which it was last backed up.
    pub(super) last_seen: Option<u64>,
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
    /// What the newest snapshot has of it.
    pub(super) stored: Option<PartitionState>,
    /// Where the log is known to differ, if it is not the one that was backed up.
    pub(super) diverged: Option<Divergence>,
    /// Why it is not read to the end of `read`, where that is known.
    pub(super) unreadable: Option<String>,
}

impl PlannedTopic {
    pub(super) fn timestamp_type(&self) -> TimestampType {
        self.topic.config.timestamp_type
    }

    pub(super) fn partition_id(&self, partition: PartitionNumber) -> PartitionId {
        PartitionId {
            topic: self.name.clone(),
            topic_id: self.topic_id,
            partition,
        }
    }

    /// Returns whether compaction may have deleted records since the last backup.
    pub(super) fn may_be_compacted(&self) -> bool {
        self.was_compacted || self.topic.config.compacted.unwrap_or(true)
    }

    /// Returns whether the topic is compacted, as far as is known.
    pub(super) fn is_compacted(&self) -> bool {
        self.topic.config.compacted.unwrap_or(self.was_compacted)
    }

    /// Returns how long tombstones are kept after the cleaner has seen them; `None` if it is unknown.
    pub(super) fn delete_retention(&self) -> Option<Duration> {
        self.topic.config.delete_retention
    }

    /// Plans to store everything that the topic has, as a new history.
    pub(super) fn begin_history(&mut self, topic_id: Id) {
        self.topic_id = topic_id;
        for partition in &mut self.partitions {
            partition.stored = None;
            partition.disown();
        }
    }
}

impl PlannedPartition {
    pub(super) fn new(
        partition: PartitionNumber,
        offsets: PartitionOffsets,
        stored: Option<PartitionState>,
    ) -> Self {
        let mut planned = PlannedPartition {
            partition,
            offsets,
            read: 0..0,
            adopted: Adopted::default(),
            stored,
            diverged: None,
            unreadable: None,
        };
        planned.disown();
        planned
    }

    /// Plans a partition that nobody can read. Its source states no offsets, so that those that it stated before are kept.
    pub(super) fn without_leader(
        partition: PartitionNumber,
        stored: Option<PartitionState>,
    ) -> Self {
        let unknown = PartitionOffsets {
            log_start_offset: -1,
            high_watermark: -1,
            last_stable_offset: -1,
        };
        PlannedPartition::new(partition, unknown, stored)
    }

    /// Returns whether a broker leads the partition, and has stated its offsets.
    pub(super) fn has_leader(&self) -> bool {
        self.offsets.high_watermark >= 0
    }

    /// Returns the exclusive end of what a `read_committed` consumer sees.
    pub(super) fn visible_end(&self) -> i64 {
        let PartitionOffsets {
            high_watermark,
            last_stable_offset,
            ..
        } = self.offsets;
        last_stable_offset.min(high_watermark)
    }

    /// Returns whether the log must be compared with what is stored: something is appended, or its end is not where it was.
    pub(super) fn must_be_proved(&self) -> bool {
        if !self.has_leader() {
            return false;
        }
        let adopted = !self.adopted.segments.is_empty();
        let changed = |state: &PartitionState| {
            !self.read.is_empty()
                || state.high_watermark != self.offsets.high_watermark
                || self.visible_end() < state.end_offset
        };
        adopted || self.stored.as_ref().is_some_and(changed)
    }

    /// Plans to read everything that no snapshot has: nothing is adopted.
    pub(super) fn disown(&mut self) {
        self.adopted = Adopted::default();
        // Not the later log start: the source reports the offsets between the two as lost.
        let stored_end = self.stored.as_ref().map(|state| state.end_offset);
        let start = stored_end.unwrap_or(self.offsets.log_start_offset);
        self.read = start..self.offsets.last_stable_offset.max(start);
    }

    /// Plans to read nothing, in this run, for a reason.
    pub(super) fn skip(&mut self, cause: String) {
        self.disown();
        self.read.end = self.read.start;
        self.unreadable = Some(cause);
    }
}

/// Compares the survey with the newest snapshot and its groups. `selected` are the topics in that snapshot that the selection covers, `hidden` what it has
/// and the cluster may only have hidden.
pub(super) fn plan(
    survey: Survey,
    (newest, saved): (Option<&Snapshot>, Option<&Groups>),
    selected: &[String],
    hidden: &Hidden,
) -> Result<BackupPlan, TopicNameError> {
    let (groups, groups_notices) = groups::keep_hidden(survey.groups, saved, hidden);
    let lacking = survey.may_lack_some.then_some(BackupNotice::TopicsHidden);
    let mut notices: Vec<BackupNotice> = lacking
        .into_iter()
        .chain(groups_notices)
        .chain(survey.acls.notice)
        .collect();
    let absent = absent(&survey.topics, newest, selected);
    let (unseen, gone): (Vec<_>, Vec<_>) =
        absent.partition(|topic| hidden.topics.contains_key(&*topic.name));
    let mut hidden_topics = survey.hidden;
    let unseen = unseen.into_iter().map(|topic| {
        let cause = &hidden.topics[&*topic.name];
        hidden_topics.insert(topic.name.to_string(), cause.clone());
        UnseenTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            incomplete: Incomplete {
                reason: IncompleteReason::Unreadable,
                detail: cause.clone(),
            },
        }
    });
    let unseen = unseen.collect();
    let hidden_topics = hidden_topics.into_iter();
    notices.extend(hidden_topics.map(|(topic, cause)| BackupNotice::TopicHidden { topic, cause }));
    notices.extend(gone.iter().map(|topic| BackupNotice::Deleted {
        topic: topic.name.clone(),
    }));
    let gone = gone
        .into_iter()
        .map(|topic| (topic.name.clone(), topic.topic_id))
        .collect();
    notices.extend(config::notice(&survey.topics, newest));
    let mut topics = Vec::with_capacity(survey.topics.len());
    for topic in survey.topics {
        topics.push(plan_topic(topic, newest, &mut notices)?);
    }
    Ok(BackupPlan {
        topics,
        gone,
        unseen,
        groups,
        acls: survey.acls.found,
        notices,
    })
}

/// Returns the topics of the newest snapshot that the selection covers and the survey lacks.
pub(super) fn absent<'a>(
    surveyed: &[SurveyedTopic],
    newest: Option<&'a Snapshot>,
    selected: &[String],
) -> impl Iterator<Item = &'a TopicState> {
    let present = |name: &str| surveyed.iter().any(|topic| topic.description.name == name);
    let live = newest
        .into_iter()
        .flat_map(|snapshot| &snapshot.topics)
        .filter(|topic| !topic.deleted);
    live.filter(move |topic| {
        selected.iter().any(|name| **name == *topic.name) && !present(&topic.name)
    })
}

fn plan_topic(
    topic: SurveyedTopic,
    newest: Option<&Snapshot>,
    notices: &mut Vec<BackupNotice>,
) -> Result<PlannedTopic, TopicNameError> {
    let name: TopicName = topic.description.name.parse()?;
    let kafka_id = Some(Hex(topic.description.topic_id)).filter(|id| *id != Id::ZERO);
    let stored = newest.and_then(|snapshot| snapshot.history(&name, kafka_id));
    let topic_id = stored.map_or(kafka_id.unwrap_or(Id::ZERO), |stored| stored.topic_id);
    let was_compacted = stored.is_some_and(is_compacted);
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
    let partitions = topic.description.partitions.iter().map(|described| {
        let stored = stored.and_then(|stored| stored.partitions.get(described.id.index()));
        // Nothing is stored of a partition that never had a leader: where it begins is not known yet. Nor is it of one that was rebuilt from
        // its segments, and these are stored.
        let is_stored = |state: &&PartitionState| {
            state.log_start_offset >= 0 || state.segments > 0 || state.expired.is_some()
        };
        let stored = stored.filter(is_stored);
        match topic.offsets.get(&described.id) {
            Some(offsets) => plan_partition(&name, described.id, *offsets, stored, notices),
            None => PlannedPartition::without_leader(described.id, stored.cloned()),
        }
    });
    let partitions: Vec<PlannedPartition> = partitions.collect();
    notices.extend(leaderless(&name, &partitions));
    Ok(PlannedTopic {
        name,
        topic_id,
        kafka_id,
        was_compacted,
        last_seen: stored.map(|stored| stored.last_seen),
        topic,
        partitions,
    })
}

/// Reports the partitions without a leader, if there are any.
fn leaderless(topic: &TopicName, partitions: &[PlannedPartition]) -> Option<BackupNotice> {
    let leaderless = partitions
        .iter()
        .filter(|partition| !partition.has_leader());
    let leaderless: Vec<_> = leaderless.map(|partition| partition.partition).collect();
    (!leaderless.is_empty()).then(|| BackupNotice::NoLeader {
        topic: topic.clone(),
        partitions: leaderless,
    })
}

fn is_compacted(topic: &TopicState) -> bool {
    let config = topic.config.as_ref();
    let policy = config.and_then(|config| config.get("cleanup.policy"));
    policy.is_some_and(|policy| policy.contains("compact"))
}

fn plan_partition(
    topic: &TopicName,
    partition: PartitionNumber,
    offsets: PartitionOffsets,
    stored: Option<&PartitionState>,
    notices: &mut Vec<BackupNotice>,
) -> PlannedPartition {
    let PartitionOffsets {
        high_watermark,
        last_stable_offset,
        ..
    } = offsets;
    if last_stable_offset < high_watermark {
        notices.push(BackupNotice::OpenTransactions {
            topic: topic.clone(),
            partition,
            last_stable_offset,
            high_watermark,
        });
    }
    PlannedPartition::new(partition, offsets, stored.cloned())
}
