//! The part of the survey that reads the consumer groups and their committed offsets.
//!
//! They are read before the ends of the partitions, so that no committed offset is beyond the records that are then backed up. All groups
//! are saved, whatever topics are selected: a group's position in other topics is part of its state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    FoundGroups, GroupState, GroupTopic, Groups, Hex, Id, TopicName, TopicNameError,
};

use super::hidden::Hidden;
use super::notice::BackupNotice;
use super::survey::SurveyError;
use crate::kafka::{
    Admin, Answers, CommittedTopic, GroupListing, GroupListings, KafkaError, TopicDescription,
};

/// The prefix of the groups in which restores keep their own progress.
const RESTORE_GROUP_PREFIX: &str = "kbk-restore-";

/// The topic in which brokers store committed offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The groups that the cluster returned.
#[derive(Clone, Debug, Default)]
pub(super) struct SurveyedGroups {
    /// `None` if they were not requested or not returned.
    pub(super) found: Option<FoundGroups>,
    pub(super) notice: Option<BackupNotice>,
    /// Why groups may be missing from `found`; the plan keeps those of the last snapshot.
    pub(super) missing: Option<String>,
    /// Groups that the cluster has, and that this principal may not describe, each with the cause.
    pub(super) denied: BTreeMap<String, String>,
}

impl SurveyedGroups {
    /// Returns whether the group was read.
    pub(super) fn has(&self, group: &str) -> bool {
        let groups = self.found.as_ref().map_or(&[][..], |found| &found.groups);
        let position = groups.binary_search_by(|found| found.group.as_str().cmp(group));
        position.is_ok()
    }
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
    let leaderless = leaderless(topics).map(|partition| {
        format!("{OFFSETS_TOPIC}/{partition} has no leader; start its brokers, then back up again")
    });
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
    let WithOffsets {
        mut groups,
        unread,
        denied,
    } = with_offsets(admin, listed, topics)?;
    let unreadable = unreadable(admin, unread, topics, &mut groups)?;
    let hidden = (!shows_all).then_some(BackupNotice::GroupsHidden {
        visible_groups: groups.len(),
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
        denied,
    })
}

/// Returns an offsets partition without a leader, for which the survey has waited. Its groups are listed by no broker, and no broker reports
/// an error.
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
    let again = with_offsets(admin, listed, topics)?;
    let found = again.groups.into_iter();
    let missing = |found: &GroupState| groups.iter().all(|group| group.group != found.group);
    let new: Vec<GroupState> = found.filter(missing).collect();
    groups.extend(new);
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(again.unread.into_iter().collect())
}

/// Adds to the groups that were found what the last snapshot has of what the cluster may only not have reported; returns them with their
/// notices. What is added says when it was read.
///
/// Where a broker did not answer, a group that was deleted meanwhile may be among those that are kept. The next backup that hears of all
/// groups leaves it out.
pub(super) fn keep_hidden(
    surveyed: SurveyedGroups,
    last: Option<&Groups>,
    hidden: &Hidden,
) -> (Option<FoundGroups>, Vec<BackupNotice>) {
    let is_kept = |name: &str| {
        let denied = surveyed.denied.contains_key(name) || hidden.groups.contains_key(name);
        let is_there = denied || hidden.unlisted.contains(name);
        (surveyed.missing.is_some() || is_there) && !surveyed.has(name)
    };
    let kept: Vec<GroupState> = groups_of(last)
        .filter(|group| is_kept(&group.group))
        .cloned()
        .map(|group| as_of(group, last))
        .collect();
    let offsets = match &surveyed.found {
        Some(_) => hidden_offsets(&surveyed, last, hidden),
        None => BTreeMap::new(),
    };
    let notices = notices(&surveyed, &kept, &offsets, hidden);
    let found = surveyed.found.map(|found| {
        let mut groups: Vec<GroupState> = found.groups.iter().cloned().chain(kept).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        for group in &mut groups {
            let topics = offsets.get(&group.group).into_iter().flatten();
            group.topics.extend(topics.cloned());
            group.topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        }
        FoundGroups {
            groups: groups.into(),
            ..found
        }
    });
    (found, notices)
}

fn groups_of(last: Option<&Groups>) -> impl Iterator<Item = &GroupState> {
    last.into_iter().flat_map(|groups| &*groups.groups)
}

/// Notes when a group of the last snapshot was read, unless an earlier backup has noted that.
fn as_of(group: GroupState, last: Option<&Groups>) -> GroupState {
    GroupState {
        taken_at: group.taken_at.or(last.map(|groups| groups.taken_at)),
        ..group
    }
}

/// Returns, by group, the offsets that the groups that were read had committed of topics that may not be described: brokers leave them out
/// of their answers.
fn hidden_offsets(
    surveyed: &SurveyedGroups,
    last: Option<&Groups>,
    hidden: &Hidden,
) -> BTreeMap<String, Vec<GroupTopic>> {
    let read = groups_of(last).filter(|group| surveyed.has(&group.group));
    let of_group = |group: &GroupState| {
        let topics = group.topics.iter();
        let topics = topics.filter(|topic| hidden.topics.contains_key(&*topic.topic));
        let topics = topics.map(|topic| GroupTopic {
            taken_at: topic
                .taken_at
                .or(group.taken_at)
                .or(last.map(|groups| groups.taken_at)),
            ..topic.clone()
        });
        (group.group.clone(), topics.collect::<Vec<_>>())
    };
    let offsets = read.map(of_group);
    offsets.filter(|(_, topics)| !topics.is_empty()).collect()
}

/// Returns what the user should know: what was not reported, and what is kept of it.
fn notices(
    surveyed: &SurveyedGroups,
    kept: &[GroupState],
    offsets: &BTreeMap<String, Vec<GroupTopic>>,
    hidden: &Hidden,
) -> Vec<BackupNotice> {
    let mut notices: Vec<BackupNotice> = surveyed.notice.iter().cloned().collect();
    let kept: Vec<String> = kept.iter().map(|group| group.group.clone()).collect();
    let denied = surveyed.denied.iter().chain(&hidden.groups);
    let cause = denied.map(|(_, cause)| cause.clone()).next();
    let unlisted = hidden.unlisted.first().map(|group| {
        format!("the cluster has {group}, and no broker has listed it yet; back up again")
    });
    if let Some(cause) = surveyed.missing.as_ref().or(unlisted.as_ref()) {
        // In the place of what is known of the groups that were listed.
        notices.clear();
        notices.push(BackupNotice::GroupsMissing {
            groups: kept,
            cause: cause.clone(),
        });
    } else if let Some(cause) = cause {
        let is_kept = |name: &&String| kept.contains(name);
        let missing = surveyed.denied.keys().filter(|name| !is_kept(name));
        notices.push(BackupNotice::GroupsDenied {
            cause,
            missing: missing.cloned().collect(),
            kept,
        });
    }
    let topics: BTreeSet<&TopicName> = offsets.values().flatten().map(|it| &it.topic).collect();
    if !topics.is_empty() {
        notices.push(BackupNotice::OffsetsHidden {
            topics: topics.into_iter().cloned().collect(),
            groups: offsets.keys().cloned().collect(),
        });
    }
    notices
}

/// The answers about groups that were listed.
struct WithOffsets {
    groups: Vec<GroupState>,
    /// Those that were not found, or were listed several times.
    unread: BTreeSet<String>,
    /// Those that may not be described, each with the cause.
    denied: BTreeMap<String, String>,
}

/// Reads the committed offsets of groups.
fn with_offsets(
    admin: &Admin,
    listed: Vec<GroupListing>,
    topics: &[TopicDescription],
) -> Result<WithOffsets, SurveyError> {
    let names: Vec<&str> = listed.iter().map(|group| group.group.as_str()).collect();
    let mut committed = admin.permitted_offsets(&names)?;
    let gone = gone(admin, &committed)?;
    let ids = topics
        .iter()
        .map(|topic| (topic.name.as_str(), Hex(topic.topic_id)))
        .collect();
    let mut answers = WithOffsets {
        groups: Vec::with_capacity(listed.len()),
        unread: BTreeSet::new(),
        denied: BTreeMap::new(),
    };
    for listed in listed {
        let committed = match committed.take(listed.group.as_str())? {
            Ok(committed) => committed,
            Err(error) => {
                answers.denied.insert(listed.group, error.to_string());
                continue;
            }
        };
        if listed.entries > 1 {
            answers.unread.insert(listed.group.clone());
        }
        let Some(committed) = committed.filter(|_| !gone.contains(&listed.group)) else {
            answers.unread.insert(listed.group);
            continue;
        };
        answers.groups.push(GroupState {
            group: listed.group,
            r#type: listed.r#type,
            state: listed.state,
            taken_at: None,
            topics: group_topics(committed, &ids)?,
        });
    }
    Ok(answers)
}

/// Returns the groups that were deleted after they were listed. Asked for their offsets, brokers answer as for groups that have
/// committed nothing, so those are looked up again.
fn gone(
    admin: &Admin,
    committed: &Answers<String, Result<Option<Vec<CommittedTopic>>, KafkaError>>,
) -> Result<HashSet<String>, KafkaError> {
    let empty = |committed: &Option<Vec<_>>| committed.as_ref().is_some_and(Vec::is_empty);
    let doubtful: Vec<&str> = committed
        .iter()
        .filter(|(_, committed)| committed.as_ref().is_ok_and(empty))
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
            taken_at: None,
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
    fn a_group_that_is_there_and_was_not_listed_is_kept_and_named() {
        let group = |name: &str| GroupState {
            group: name.to_owned(),
            r#type: None,
            state: None,
            taken_at: None,
            topics: Vec::new(),
        };
        let found = |names: &[&str]| FoundGroups {
            taken_at: Timestamp::UNIX_EPOCH,
            groups: names.iter().map(|name| group(name)).collect(),
        };
        let last = Groups {
            seen: 1,
            read_after: 0,
            taken_at: Timestamp::UNIX_EPOCH,
            groups: found(&["deleted", "listed", "there"]).groups,
        };
        let surveyed = SurveyedGroups {
            found: Some(found(&["listed"])),
            ..SurveyedGroups::default()
        };
        let hidden = Hidden {
            unlisted: ["there".to_owned()].into(),
            ..Hidden::default()
        };
        let (kept, notices) = keep_hidden(surveyed, Some(&last), &hidden);
        let kept = kept.expect("groups").groups;
        let kept = kept
            .iter()
            .map(|group| (group.group.as_str(), group.taken_at));
        let expected = [("listed", None), ("there", Some(Timestamp::UNIX_EPOCH))];
        assert!(kept.eq(expected));
        let [BackupNotice::GroupsMissing { groups, cause }] = notices.as_slice() else {
            panic!("{notices:?}")
        };
        assert_eq!(groups, &["there"]);
        assert!(cause.contains("the cluster has there"), "{cause}");
    }

    #[test]
    fn an_offsets_partition_without_a_leader_hides_groups() {
        assert_eq!(leaderless(&[topic("orders", &[-1])]), None);
        assert_eq!(leaderless(&[topic(OFFSETS_TOPIC, &[1, 2])]), None);
        let hidden = [topic("orders", &[1]), topic(OFFSETS_TOPIC, &[1, -1, 1])];
        assert_eq!(leaderless(&hidden), Some(1.into()));
    }
}
