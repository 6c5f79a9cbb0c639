//! The part of the survey that reads the consumer groups and their committed offsets.
//!
//! They are read before the ends of the partitions, so that no committed offset is beyond the records that are then backed up. All groups
//! are saved, whatever topics are selected: a group's position in other topics is part of its state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{FoundGroups, GroupState, GroupTopic, Hex, Id, TopicName, TopicNameError};

use super::notice::BackupNotice;
use super::survey::SurveyError;
use crate::kafka::{
    Admin, Answers, CommittedTopic, GroupListing, GroupListings, KafkaError, TopicDescription,
};

/// The prefix of the groups in which restores keep their own progress.
const RESTORE_GROUP_PREFIX: &str = "kbk-restore-";

/// The topic in which brokers store committed offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The groups that the cluster returned.
#[derive(Clone, Debug, Default)]
pub(super) struct SurveyedGroups {
    /// `None` if they were not requested or not returned.
    pub(super) found: Option<FoundGroups>,
    pub(super) notice: Option<BackupNotice>,
    /// Why groups may be missing from `found`; the plan keeps those of the last snapshot.
    pub(super) missing: Option<String>,
}

/// Reads all groups. `topics` are all topics of the cluster.
///
/// Nothing here keeps the records from being saved. An authorization error is a notice, as it is for configurations. Groups whose broker is
/// down are waited for, and then reported as missing.
pub(super) fn survey(
    admin: &Admin,
    topics: &[TopicDescription],
) -> Result<SurveyedGroups, SurveyError> {
    match find(admin, topics) {
        Err(SurveyError::Kafka(error)) if error.is_denied() || error.is_unsupported() => {
            Ok(unknown(error.to_string()))
        }
        Err(SurveyError::Kafka(error @ KafkaError::Timeout { .. })) => Ok(SurveyedGroups {
            missing: Some(error.to_string()),
            ..SurveyedGroups::default()
        }),
        answer => answer,
    }
}

fn unknown(cause: String) -> SurveyedGroups {
    SurveyedGroups {
        notice: Some(BackupNotice::GroupsUnknown { cause }),
        ..SurveyedGroups::default()
    }
}

fn find(admin: &Admin, topics: &[TopicDescription]) -> Result<SurveyedGroups, SurveyError> {
    let taken_at = Timestamp::now();
    let leaderless = wait_for_leaders(admin, topics)?;
    let GroupListings {
        groups: mut listed,
        unanswered,
    } = admin.list_groups()?;
    let missing = leaderless.or_else(|| unanswered.map(|error| error.to_string()));
    let shows_all = admin.cluster_rights()?.describe;
    if listed.is_empty() && !shows_all && missing.is_none() {
        let cause = "brokers list no groups to a principal without DESCRIBE on CLUSTER kafka-cluster or on any GROUP";
        return Ok(unknown(cause.to_owned()));
    }
    listed.retain(|group| !group.group.starts_with(RESTORE_GROUP_PREFIX));
    let (mut groups, unread) = with_offsets(admin, listed, topics)?;
    let unreadable = unreadable(admin, unread, topics, &mut groups)?;
    let hidden = (!shows_all).then_some(BackupNotice::GroupsHidden {
        groups: groups.len(),
    });
    let notice = match unreadable.is_empty() {
        true => hidden,
        false => Some(BackupNotice::GroupsUnreadable { groups: unreadable }),
    };
    Ok(SurveyedGroups {
        found: Some(FoundGroups {
            taken_at,
            groups: groups.into(),
        }),
        notice,
        missing,
    })
}

/// Waits until every offsets partition has a leader, and returns what is wrong if one has none for too long. Without a leader, the groups
/// of a partition are listed by no broker, and no broker reports an error.
fn wait_for_leaders(
    admin: &Admin,
    topics: &[TopicDescription],
) -> Result<Option<String>, KafkaError> {
    const TIMEOUT: Duration = Duration::from_secs(15);
    const CHECK_INTERVAL: Duration = Duration::from_millis(500);
    let started = Instant::now();
    let mut leaderless = leaderless(topics);
    while let Some(partition) = leaderless {
        if started.elapsed() >= TIMEOUT {
            return Ok(Some(format!(
                "{OFFSETS_TOPIC}/{partition} has no leader; start its brokers, then back up again"
            )));
        }
        std::thread::sleep(CHECK_INTERVAL);
        leaderless = self::leaderless(&admin.describe_topics(Some(&[OFFSETS_TOPIC.to_owned()]))?);
    }
    Ok(None)
}

fn leaderless(topics: &[TopicDescription]) -> Option<PartitionNumber> {
    let topic = topics.iter().find(|topic| topic.name == OFFSETS_TOPIC)?;
    let partition = topic.partitions.iter().find(|p| p.leader < 0)?;
    Some(partition.id)
}

/// Reads the groups once more that were listed and not found, or listed several times, and adds those that were found now. Returns
/// the ids of the others that are still listed: they were not deleted, and the id that the client reports is not all of theirs.
fn unreadable(
    admin: &Admin,
    unread: BTreeSet<String>,
    topics: &[TopicDescription],
    groups: &mut Vec<GroupState>,
) -> Result<Vec<String>, SurveyError> {
    /// How long a group takes to move to another coordinator; meanwhile two brokers list it.
    const PAUSE: Duration = Duration::from_secs(1);
    if unread.is_empty() {
        return Ok(Vec::new());
    }
    std::thread::sleep(PAUSE);
    let GroupListings {
        groups: mut listed,
        unanswered,
    } = admin.list_groups()?;
    if unanswered.is_some() {
        // A group that is not listed now may still be there.
        return Ok(unread.into_iter().collect());
    }
    listed.retain(|group| unread.contains(&group.group));
    let (found, still_unread) = with_offsets(admin, listed, topics)?;
    let found = found.into_iter();
    let missing = |found: &GroupState| groups.iter().all(|group| group.group != found.group);
    let new: Vec<GroupState> = found.filter(missing).collect();
    groups.extend(new);
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(still_unread.into_iter().collect())
}

/// Adds to the groups that were found those of the last snapshot, if some may be missing; returns them with their notice.
///
/// A group that was deleted meanwhile may be among those that are kept. The next backup that hears of all groups leaves it out.
pub(super) fn keep_missing(
    surveyed: SurveyedGroups,
    last: &[GroupState],
) -> (Option<FoundGroups>, Option<BackupNotice>) {
    let SurveyedGroups {
        found,
        notice,
        missing,
    } = surveyed;
    let Some(cause) = missing else {
        return (found, notice);
    };
    let listed = |name: &str| {
        let groups = found.as_ref().map_or(&[][..], |found| &found.groups);
        let position = groups.binary_search_by(|group| group.group.as_str().cmp(name));
        position.is_ok()
    };
    let kept: Vec<GroupState> = last.iter().filter(|g| !listed(&g.group)).cloned().collect();
    let notice = BackupNotice::GroupsMissing {
        groups: kept.iter().map(|group| group.group.clone()).collect(),
        cause,
    };
    let found = found.map(|found| {
        let mut groups: Vec<GroupState> = found.groups.iter().cloned().chain(kept).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        FoundGroups {
            groups: groups.into(),
            ..found
        }
    });
    (found, Some(notice))
}

/// Returns the groups, and the ids of those that were not found or were listed several times.
fn with_offsets(
    admin: &Admin,
    listed: Vec<GroupListing>,
    topics: &[TopicDescription],
) -> Result<(Vec<GroupState>, BTreeSet<String>), SurveyError> {
    let names: Vec<&str> = listed.iter().map(|group| group.group.as_str()).collect();
    let mut committed = admin.committed_offsets(&names)?;
    let gone = gone(admin, &committed)?;
    let ids = topics
        .iter()
        .map(|topic| (topic.name.as_str(), Hex(topic.topic_id)))
        .collect();
    let mut groups = Vec::with_capacity(listed.len());
    let mut unread = BTreeSet::new();
    for listed in listed {
        if listed.entries > 1 {
            unread.insert(listed.group.clone());
        }
        let committed = committed.take(listed.group.as_str())?;
        let Some(committed) = committed.filter(|_| !gone.contains(&listed.group)) else {
            unread.insert(listed.group);
            continue;
        };
        groups.push(GroupState {
            group: listed.group,
            r#type: listed.r#type,
            state: listed.state,
            topics: group_topics(committed, &ids)?,
        });
    }
    Ok((groups, unread))
}

/// Returns the groups that were deleted after they were listed. Asked for their offsets, brokers answer as for groups that have
/// committed nothing, so those are looked up again.
fn gone(
    admin: &Admin,
    committed: &Answers<String, Option<Vec<CommittedTopic>>>,
) -> Result<HashSet<String>, KafkaError> {
    let empty =
        |committed: &Option<Vec<CommittedTopic>>| committed.as_ref().is_some_and(Vec::is_empty);
    let doubtful: Vec<&str> = committed
        .iter()
        .filter(|(_, committed)| empty(committed))
        .map(|(name, _)| name.as_str())
        .collect();
    let described = admin.describe_groups(&doubtful)?.into_iter();
    Ok(described
        .filter(|(_, described)| described.is_none())
        .map(|(name, _)| name)
        .collect())
}

fn group_topics(
    committed: Vec<CommittedTopic>,
    ids: &HashMap<&str, Id>,
) -> Result<Vec<GroupTopic>, TopicNameError> {
    let topic = |CommittedTopic { topic, partitions }| {
        Ok(GroupTopic {
            topic_id: ids.get(topic.as_str()).copied().unwrap_or(Id::ZERO),
            topic: topic.parse()?,
            partitions,
        })
    };
    committed.into_iter().map(topic).collect()
}

/// Replaces Kafka's topic ids in committed offsets by the ids of the histories that the topics have in the snapshot: those in `renamed`,
/// by name and Kafka id.
pub(super) fn refer_to_histories(
    found: FoundGroups,
    renamed: &HashMap<(TopicName, Id), Id>,
) -> FoundGroups {
    if renamed.is_empty() {
        return found;
    }
    let mut groups = found.groups.to_vec();
    for topic in groups.iter_mut().flat_map(|group| &mut group.topics) {
        if let Some(id) = renamed.get(&(topic.topic.clone(), topic.topic_id)) {
            topic.topic_id = *id;
        }
    }
    FoundGroups {
        groups: groups.into(),
        ..found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::PartitionDescription;

    fn topic(name: &str, leaders: &[i32]) -> TopicDescription {
        let partition = |(id, leader): (PartitionNumber, &i32)| PartitionDescription {
            id,
            leader: *leader,
            replicas: Vec::new(),
        };
        TopicDescription {
            name: name.to_owned(),
            topic_id: [0; 16],
            internal: true,
            partitions: PartitionNumber::all().zip(leaders).map(partition).collect(),
            replication_factor: 1,
        }
    }

    #[test]
    fn an_offsets_partition_without_a_leader_hides_groups() {
        assert_eq!(leaderless(&[topic("orders", &[-1])]), None);
        assert_eq!(leaderless(&[topic(OFFSETS_TOPIC, &[1, 2])]), None);
        let hidden = [topic("orders", &[1]), topic(OFFSETS_TOPIC, &[1, -1, 1])];
        assert_eq!(leaderless(&hidden), Some(1.into()));
    }
}
