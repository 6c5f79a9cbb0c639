//! Applies a plan for groups, and rolls it back.
//!
//! Order of writes: the offsets that are replaced are durable in the repository before anything is committed, so a change that
//! stops halfway can be rolled back.

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
    /// A group has members.
    #[error(
        "group {group} has {members} members, which would overwrite the restored offsets: stop its consumers first"
    )]
    InUse {
        /// The group.
        group: String,
        /// The number of its members.
        members: usize,
    },
    /// There is nothing to roll back.
    #[error("no groups were changed with the offset map of restore {0}")]
    NoChange(RestoreId),
    /// The cluster is not the one whose groups were changed.
    #[error(
        "groups of cluster {expected} were changed, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// The cluster whose groups were changed.
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
/// Fails before anything is changed if a group has members; later if the repository or the cluster fails.
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

/// Returns the offsets of a group for which `pick` returns a position.
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

/// What a rollback changes.
#[derive(Clone, Debug, Serialize)]
pub struct RollbackPlan {
    /// The restore whose offset map was used.
    pub restore: RestoreId,
    /// The change that is rolled back.
    pub change: RestoreId,
    /// Groups whose earlier offsets are committed again.
    pub groups: Vec<String>,
    /// Groups that did not exist before, and are deleted.
    pub deleted: Vec<String>,
    #[serde(skip)]
    made: GroupsChange,
}

/// Returns the last change that was made with the offset map of a restore.
///
/// # Errors
///
/// Fails if there is none, or if the repository cannot be read.
pub async fn last_change(
    repository: &Repository,
    restore: &RestoreId,
) -> Result<GroupsChange, ChangeError> {
    let mut changes = repository.groups_changes(restore).await?;
    changes.sort_by(|a, b| a.change.cmp(&b.change));
    let last = changes.pop();
    last.ok_or_else(|| ChangeError::NoChange(restore.clone()))
}

/// Plans the rollback of a change. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Fails if a group has members, if the cluster is not the one that was changed, or if it does not answer.
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

/// Rolls a change back. Idempotent. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Fails if the cluster does.
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
