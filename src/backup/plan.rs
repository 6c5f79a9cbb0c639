//! What a backup has to read: what the cluster has less what the newest snapshot has. No I/O.

use std::ops::Range;

use kbk_format::TimestampType;
use kbk_format::repo::{
    FoundAcls, FoundGroups, Id, PartitionState, Snapshot, TopicName, TopicNameError, TopicState,
};
use serde::Serialize;

use super::adopt::Adopted;
use super::survey::{Survey, SurveyedTopic};
use crate::kafka::PartitionOffsets;

/// Something about the cluster or the run that the user should know. Whether it makes the exit code 3 is its
/// [`is_damage`](Finding::is_damage).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The log ends below what is stored: it was truncated, or created again by a cluster that gives no topic ids.
    Truncated {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: i32,
        /// Where the stored records end.
        stored_end_offset: i64,
        /// Where the log ends.
        high_watermark: i64,
    },
    /// The source had deleted records before they were read.
    Lost {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: i32,
        /// The first offset lost.
        from_offset: i64,
        /// Behind the last one.
        to_offset: i64,
    },
    /// Transactions stayed open: committed records may lie behind them, and are left to the next run.
    OpenTransactions {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: i32,
        /// Where reading stopped.
        last_stable_offset: i64,
        /// Where the log ended at the start.
        high_watermark: i64,
    },
    /// A topic of the snapshot has been deleted and created again. Both are kept.
    Recreated {
        /// The topic.
        topic: TopicName,
    },
    /// A topic of the snapshot is gone from the cluster. Its backup is kept.
    Deleted {
        /// The topic.
        topic: TopicName,
    },
    /// The cluster did not tell the topics' configurations, so they are not in the snapshot.
    ConfigUnknown {
        /// What it said.
        cause: String,
    },
    /// The cluster did not tell its consumer groups: the snapshot has those of the one before.
    GroupsUnknown {
        /// What it said.
        cause: String,
    },
    /// The cluster told only the consumer groups that this principal may describe.
    GroupsHidden {
        /// How many these are.
        groups: usize,
    },
    /// The cluster did not tell its ACLs: the snapshot has those of the one before.
    AclsUnknown {
        /// What it said.
        cause: String,
    },
    /// The cluster has ACLs that the client has no words for. All others were saved.
    AclsLeftOut {
        /// How many.
        acls: usize,
    },
}

impl Finding {
    /// Whether records are missing.
    #[must_use]
    pub fn is_damage(&self, accept_open_transactions: bool) -> bool {
        match self {
            Finding::Truncated { .. } | Finding::Lost { .. } => true,
            Finding::OpenTransactions { .. } => !accept_open_transactions,
            Finding::Recreated { .. }
            | Finding::Deleted { .. }
            | Finding::ConfigUnknown { .. }
            | Finding::GroupsUnknown { .. }
            | Finding::GroupsHidden { .. }
            | Finding::AclsUnknown { .. }
            | Finding::AclsLeftOut { .. } => false,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Truncated {
                topic,
                partition,
                stored_end_offset,
                high_watermark,
            } => write!(
                f,
                "{topic}/{partition}: the log ends at offset {high_watermark}, and the backup holds records up to {stored_end_offset}: \
                 the topic was truncated or made again; nothing was read and nothing stored was changed"
            ),
            Finding::Lost {
                topic,
                partition,
                from_offset,
                to_offset,
            } => write!(
                f,
                "{topic}/{partition}: offsets {from_offset} to {} were deleted by the cluster before they were backed up; \
                 back up more often than its retention, or raise that",
                to_offset - 1
            ),
            Finding::OpenTransactions {
                topic,
                partition,
                last_stable_offset,
                high_watermark,
            } => write!(
                f,
                "{topic}/{partition}: a transaction was open at offset {last_stable_offset}; what lies from there to {high_watermark} \
                 is left to the next run (kafka-transactions find-hanging shows transactions that never end)"
            ),
            Finding::Recreated { topic } => write!(
                f,
                "{topic} was deleted and created again since the last snapshot; the backup keeps both"
            ),
            Finding::Deleted { topic } => {
                write!(f, "{topic} is gone from the cluster; the backup keeps it")
            }
            Finding::ConfigUnknown { cause } => {
                write!(f, "topic configurations are not in this snapshot: {cause}")
            }
            Finding::GroupsUnknown { cause } => write!(
                f,
                "consumer groups were not saved, those of the last snapshot are kept: {cause} (--no-groups leaves them alone)"
            ),
            Finding::GroupsHidden { groups } => write!(
                f,
                "only the {groups} consumer groups that this principal may describe were saved: \
                 brokers show all to one with DESCRIBE on CLUSTER kafka-cluster"
            ),
            Finding::AclsUnknown { cause } => write!(
                f,
                "ACLs were not saved, those of the last snapshot are kept: {cause} (--no-acls leaves them alone)"
            ),
            Finding::AclsLeftOut { acls } => write!(
                f,
                "not saved: {} of kinds that the Kafka client cannot name (delegation tokens, users, or an operation that is newer \
                 than it)",
                crate::human::counted(*acls as u64, "ACL")
            ),
        }
    }
}

/// What to read, topic by topic, and what was noticed on the way.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) topics: Vec<TopicPlan>,
    /// Topics of the snapshot that were looked for and not found.
    pub(super) gone: Vec<(TopicName, Id)>,
    pub(super) groups: Option<FoundGroups>,
    pub(super) acls: Option<FoundAcls>,
    pub(super) findings: Vec<Finding>,
}

/// A topic and what to read of each of its partitions.
#[derive(Clone, Debug)]
pub(super) struct TopicPlan {
    pub(super) name: TopicName,
    pub(super) topic_id: Id,
    pub(super) topic: SurveyedTopic,
    pub(super) partitions: Vec<PartitionPlan>,
}

/// The offsets to read of a partition; none where `read` is empty.
#[derive(Clone, Debug)]
pub(super) struct PartitionPlan {
    pub(super) partition: i32,
    pub(super) offsets: PartitionOffsets,
    pub(super) read: Range<i64>,
    /// Segments in front of `read` that an interrupted run left.
    pub(super) adopted: Adopted,
}

impl TopicPlan {
    pub(super) fn timestamp_type(&self) -> TimestampType {
        self.topic.timestamp_type
    }
}

/// Compares the survey with the newest snapshot. `looked_for` are the names in it that the user's choice covers.
pub(super) fn plan(
    survey: Survey,
    newest: Option<&Snapshot>,
    looked_for: &[String],
) -> Result<Plan, TopicNameError> {
    let mut findings: Vec<Finding> = survey
        .config_unknown
        .map(|cause| Finding::ConfigUnknown { cause })
        .into_iter()
        .chain(survey.groups.finding)
        .chain(survey.acls.finding)
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
        .filter(|topic| {
            looked_for.iter().any(|name| **name == *topic.name) && !present(&topic.name)
        })
        .collect();
    findings.extend(gone.iter().map(|topic| Finding::Deleted {
        topic: topic.name.clone(),
    }));
    let gone = gone
        .into_iter()
        .map(|topic| (topic.name.clone(), topic.topic_id))
        .collect();
    let mut topics = Vec::with_capacity(survey.topics.len());
    for topic in survey.topics {
        topics.push(plan_topic(topic, newest, &mut findings)?);
    }
    Ok(Plan {
        topics,
        gone,
        groups: survey.groups.found,
        acls: survey.acls.found,
        findings,
    })
}

fn plan_topic(
    topic: SurveyedTopic,
    newest: Option<&Snapshot>,
    findings: &mut Vec<Finding>,
) -> Result<TopicPlan, TopicNameError> {
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
        findings.push(Finding::Recreated {
            topic: name.clone(),
        });
    }
    let partitions = topic
        .description
        .partitions
        .iter()
        .zip(&topic.offsets)
        .map(|(partition, offsets)| {
            let index = usize::try_from(partition.id).ok();
            let stored = stored
                .zip(index)
                .and_then(|(stored, index)| stored.partitions.get(index));
            plan_partition(&name, partition.id, *offsets, stored, findings)
        })
        .collect();
    Ok(TopicPlan {
        name,
        topic_id,
        topic,
        partitions,
    })
}

fn plan_partition(
    topic: &TopicName,
    partition: i32,
    offsets: PartitionOffsets,
    stored: Option<&PartitionState>,
    findings: &mut Vec<Finding>,
) -> PartitionPlan {
    let PartitionOffsets {
        log_start_offset,
        high_watermark,
        last_stable_offset,
    } = offsets;
    // Where the log starts later than the stored records end, the source finds out, and reports what is lost.
    let start = stored.map_or(log_start_offset, |state| state.end_offset);
    if high_watermark < start {
        findings.push(Finding::Truncated {
            topic: topic.clone(),
            partition,
            stored_end_offset: start,
            high_watermark,
        });
    }
    if last_stable_offset < high_watermark {
        findings.push(Finding::OpenTransactions {
            topic: topic.clone(),
            partition,
            last_stable_offset,
            high_watermark,
        });
    }
    PartitionPlan {
        partition,
        offsets,
        read: start..last_stable_offset.max(start),
        adopted: Adopted::default(),
    }
}
