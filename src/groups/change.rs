//! Commits what a plan says, and takes it back.
//!
//! Order of writes: what is replaced is durable in the repository before anything is committed. So a change that stops in
//! between can be taken back, as far as it came and no further.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kbk_format::repo::{
    ChangedGroup, ChangedOffset, CommittedOffset, GroupsChange, OffsetAndMetadata, RepoError,
    Repository, RestoreId,
};
use serde::Serialize;
use tokio::runtime::Handle;

use super::plan::{GroupPlan, GroupsPlan, OffsetPlan};
use crate::kafka::{
    Admin, ClientSettings, CommittedTopic, GroupOffsets, KafkaError, TopicPartition,
};

/// Why groups were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody reads.
    #[error(
        "group {group} has {members} members and would commit over what is committed in its place: stop its consumers first"
    )]
    InUse {
        /// The group.
        group: String,
        /// Its members.
        members: usize,
    },
    /// There is nothing to take back.
    #[error("no groups were changed by the map of restore {0}")]
    NoChange(RestoreId),
    /// The cluster is not the one that was changed.
    #[error(
        "groups of cluster {expected} were changed, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// The cluster that was changed.
        expected: String,
        /// The one that was given.
        found: String,
    },
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Commits the offsets of the plan. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Before anything is changed: where a group has members. Otherwise where repository or cluster fail.
pub fn apply(
    plan: &GroupsPlan,
    repository: &Repository,
    kafka: &ClientSettings,
    runtime: &Handle,
) -> Result<GroupsChange, ChangeError> {
    if let Some(GroupPlan { group, members, .. }) = plan.in_use().next() {
        return Err(ChangeError::InUse {
            group: group.clone(),
            members: *members,
        });
    }
    let now = Timestamp::now();
    let change = GroupsChange {
        restore: plan.restore.clone(),
        change: RestoreId::fresh(now),
        changed_at: now,
        cluster_id: plan.cluster_id.clone(),
        groups: plan.groups.iter().map(changed_group).collect(),
    };
    let admin = Admin::connect(kafka)?;
    runtime.block_on(repository.record_groups_change(&change))?;
    admin.commit_offsets(&offsets_after(&change))?;
    Ok(change)
}

fn changed_group(plan: &GroupPlan) -> ChangedGroup {
    let changed = |offset: &OffsetPlan| ChangedOffset {
        topic: offset.target.topic.clone(),
        partition: offset.target.partition,
        before: offset.before.clone(),
        after: OffsetAndMetadata {
            offset: offset.target.offset,
            metadata: offset.metadata.clone(),
        },
    };
    ChangedGroup {
        group: plan.group.clone(),
        existed: plan.exists,
        offsets: plan.offsets.iter().map(changed).collect(),
    }
}

fn offsets_after(change: &GroupsChange) -> Vec<GroupOffsets> {
    let groups = change.groups.iter();
    groups
        .map(|group| group_offsets(group, |offset| Some(&offset.after)))
        .collect()
}

/// Those offsets of a group that `pick` has a position for.
fn group_offsets<'a>(
    group: &'a ChangedGroup,
    pick: impl Fn(&'a ChangedOffset) -> Option<&'a OffsetAndMetadata>,
) -> GroupOffsets {
    let mut topics: BTreeMap<&str, Vec<CommittedOffset>> = BTreeMap::new();
    for changed in &group.offsets {
        if let Some(position) = pick(changed) {
            topics
                .entry(&changed.topic)
                .or_default()
                .push(CommittedOffset {
                    partition: changed.partition,
                    offset: position.offset,
                    leader_epoch: None,
                    metadata: position.metadata.clone(),
                });
        }
    }
    let topic = |(topic, partitions): (&str, _)| CommittedTopic {
        topic: topic.to_owned(),
        partitions,
    };
    GroupOffsets {
        group: group.group.clone(),
        topics: topics.into_iter().map(topic).collect(),
    }
}

/// What taking a change back does.
#[derive(Clone, Debug, Serialize)]
pub struct RollbackPlan {
    /// The restore whose map was used.
    pub restore: RestoreId,
    /// The change.
    pub change: RestoreId,
    /// Groups that get back what they had committed.
    pub groups: Vec<String>,
    /// Groups that were not there before, and are deleted.
    pub deleted: Vec<String>,
    #[serde(skip)]
    made: GroupsChange,
}

/// The last change that was made by the map of a restore.
///
/// # Errors
///
/// Where there is none, or the repository cannot be read.
pub async fn last_change(
    repository: &Repository,
    restore: &RestoreId,
) -> Result<GroupsChange, ChangeError> {
    let mut changes = repository.groups_changes(restore).await?;
    changes.sort_by(|a, b| a.change.cmp(&b.change));
    let last = changes.pop();
    last.ok_or_else(|| ChangeError::NoChange(restore.clone()))
}

/// Plans to take a change back. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Where a group has members, or the cluster is another one, or cannot be asked.
pub fn plan_rollback(
    change: GroupsChange,
    kafka: &ClientSettings,
) -> Result<RollbackPlan, ChangeError> {
    let admin = Admin::connect(kafka)?;
    if let (Some(expected), Some(found)) = (&change.cluster_id, admin.cluster()?.id)
        && *expected != found
    {
        return Err(ChangeError::OtherCluster {
            expected: expected.clone(),
            found,
        });
    }
    let names: Vec<&str> = change.groups.iter().map(|g| g.group.as_str()).collect();
    let described = admin.describe_groups(&names)?;
    for name in names {
        let members = described
            .get(name)?
            .as_ref()
            .map_or(0, |group| group.members);
        if members > 0 {
            return Err(ChangeError::InUse {
                group: name.to_owned(),
                members,
            });
        }
    }
    let named = |existed: bool| {
        let groups = change.groups.iter().filter(move |g| g.existed == existed);
        groups.map(|group| group.group.clone()).collect()
    };
    Ok(RollbackPlan {
        restore: change.restore.clone(),
        change: change.change.clone(),
        groups: named(true),
        deleted: named(false),
        made: change,
    })
}

/// Takes a change back. Done twice, it changes nothing more. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Where the cluster fails.
pub fn rollback(plan: &RollbackPlan, kafka: &ClientSettings) -> Result<(), ChangeError> {
    let admin = Admin::connect(kafka)?;
    let existed = || plan.made.groups.iter().filter(|group| group.existed);
    let before: Vec<_> = existed()
        .map(|group| group_offsets(group, |offset| offset.before.as_ref()))
        .collect();
    admin.commit_offsets(&before)?;
    for group in existed() {
        let added = group
            .offsets
            .iter()
            .filter(|offset| offset.before.is_none());
        let added: Vec<_> = added
            .map(|offset| TopicPartition::new(offset.topic.to_string(), offset.partition))
            .collect();
        admin.delete_offsets(&group.group, &added)?;
    }
    let deleted: Vec<&str> = plan.deleted.iter().map(String::as_str).collect();
    if !deleted.is_empty() {
        admin.delete_groups(&deleted)?;
    }
    Ok(())
}
