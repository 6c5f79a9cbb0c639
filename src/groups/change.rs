//! Applies a plan for groups.
//!
//! Order of writes: the offsets that are replaced are durable in the repository before anything is committed, so a change that
//! stops halfway can be rolled back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kbk_format::counted;
use kbk_format::repo::{
    ChangedGroup, ChangedOffset, CommittedOffset, GroupsChange, OffsetAndMetadata, RepoError,
    Repository, RestoreId,
};
use tokio::runtime::Handle;

use super::plan::{GroupPlan, GroupsPlan, OffsetPlan};
use crate::kafka::{Admin, ClientSettings, CommittedTopic, GroupOffsets, KafkaError};

/// Why groups were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A group has members.
    #[error(
        "group {group} has {}, which would overwrite the restored offsets: stop its consumers first",
        counted(*.members, "member")
    )]
    InUse {
        /// The group.
        group: String,
        /// The number of its members.
        members: usize,
    },
    /// There is nothing to roll back.
    #[error("{}", no_change(.change.as_ref(), .restore.as_ref()))]
    NoChange {
        /// The change that was asked for.
        change: Option<RestoreId>,
        /// The restore that was asked for.
        restore: Option<RestoreId>,
    },
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

/// Commits the offsets of the plan, of the groups that have no members. Returns `None` where there are none to commit. Blocks; must not be
/// called from asynchronous code.
///
/// # Errors
///
/// Fails if the repository or the cluster fails.
pub fn apply(
    plan: &GroupsPlan,
    repository: &Repository,
    kafka: &ClientSettings,
    runtime: &Handle,
) -> Result<Option<GroupsChange>, ChangeError> {
    if plan.changed().next().is_none() {
        return Ok(None);
    }
    let now = Timestamp::now();
    let change = GroupsChange {
        restore: plan.restore.clone(),
        change: RestoreId::fresh(now),
        sequence: runtime.block_on(repository.next_groups_change())?,
        undoes: None,
        changed_at: now,
        cluster_id: plan.cluster_id.clone(),
        groups: plan.changed().map(changed_group).collect(),
    };
    let admin = Admin::connect(kafka)?;
    runtime.block_on(repository.record_groups_change(&change))?;
    admin.commit_offsets(&offsets_after(&change))?;
    Ok(Some(change))
}

fn changed_group(plan: &GroupPlan) -> ChangedGroup {
    let changed = |offset: &OffsetPlan| ChangedOffset {
        topic: offset.target.topic.clone(),
        partition: offset.target.partition,
        before: offset.before.clone(),
        after: Some(OffsetAndMetadata {
            offset: offset.target.offset,
            metadata: offset.metadata.clone(),
        }),
    };
    ChangedGroup {
        group: plan.group.clone(),
        existed: plan.exists,
        offsets: plan.offsets.iter().map(changed).collect(),
    }
}

/// Returns what a change commits; groups of which it only removes offsets are not among it.
pub(super) fn offsets_after(change: &GroupsChange) -> Vec<GroupOffsets> {
    let offsets = change.groups.iter().map(group_offsets);
    offsets.filter(|group| !group.topics.is_empty()).collect()
}

fn group_offsets(group: &ChangedGroup) -> GroupOffsets {
    let mut topics: BTreeMap<&str, Vec<CommittedOffset>> = BTreeMap::new();
    for changed in &group.offsets {
        if let Some(position) = &changed.after {
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

fn no_change(change: Option<&RestoreId>, restore: Option<&RestoreId>) -> String {
    let of_restore = restore.map_or_else(String::new, |restore| {
        format!(" with the offset map of restore {restore}")
    });
    match change {
        Some(change) => format!(
            "there is no change {change} of groups{of_restore}; `kbk groups changes` lists them"
        ),
        None => format!("no groups were changed{of_restore}"),
    }
}
