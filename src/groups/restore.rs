//! Restores the consumer groups of a snapshot: translates, plans and commits, in one step for `kbk groups restore` and for `kbk restore --groups`.

use kbk_format::repo::{RepoError, Repository, RestoreId};
use kbk_tools::restores::FinishedRestore;
use serde::Serialize;
use tokio::runtime::Handle;

use super::change::{ChangeError, apply};
use super::plan::{
    ExpiredUnread, GroupPlan, GroupsPlan, GroupsPlanError, SourcePartition, plan, snapshot_of,
    translate,
};
use crate::blocking::blocking;
use crate::kafka::{ClientSettings, KafkaError};
use crate::select::NamePattern;

/// The groups that were changed, or would be.
#[derive(Debug, Serialize)]
pub struct RestoredGroups {
    /// The name of the change; null for a dry run, and where all groups have members.
    pub change: Option<RestoreId>,
    /// Whether it was only planned.
    #[serde(skip)]
    pub dry_run: bool,
    /// What was changed.
    #[serde(flatten)]
    pub plan: GroupsPlan,
}

/// Why groups were not restored.
#[derive(Debug, thiserror::Error)]
pub enum GroupsRestoreError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] GroupsPlanError),
    /// The plan was not applied.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Restores the groups of a restore's snapshot by its offset map, or only plans it. Groups with members are left alone.
///
/// # Errors
///
/// Where the repository or the cluster cannot be read, or the offsets cannot be committed.
pub async fn restore(
    repository: &Repository,
    restore: &FinishedRestore,
    patterns: &[NamePattern],
    kafka: ClientSettings,
    dry_run: bool,
) -> Result<RestoredGroups, GroupsRestoreError> {
    let snapshot = snapshot_of(repository, restore).await?;
    let translated = translate(repository, &snapshot, restore, patterns).await?;
    let (of_restore, settings) = (restore.clone(), kafka.clone());
    let plan = blocking(move || plan(translated, &of_restore, &settings)).await?;
    for topic in plan.topics_left_out() {
        tracing::warn!("{topic} was not restored: its committed offsets are left out");
    }
    for group in &plan.groups {
        if let Some(why) = &group.no_offsets {
            tracing::warn!("no offset is committed of group {}: {why}", group.group);
        }
    }
    for GroupPlan { group, unread, .. } in &plan.groups {
        for SourcePartition { topic, partition } in unread {
            tracing::warn!(
                "group {group} had no committed offset for {topic}/{partition}, whose records are now among others: it reads all of them"
            );
        }
    }
    for GroupPlan { group, expired, .. } in &plan.groups {
        for ExpiredUnread {
            topic,
            partition,
            offsets,
        } in expired
        {
            tracing::warn!(
                "group {group} had not read {offsets} of {topic}/{partition}, which have expired: it resumes after them"
            );
        }
    }
    if dry_run {
        return Ok(RestoredGroups {
            change: None,
            dry_run,
            plan,
        });
    }
    let (repository, runtime) = (repository.clone(), Handle::current());
    let (plan, changed) = blocking(move || {
        let changed = apply(&plan, &repository, &kafka, &runtime);
        (plan, changed)
    })
    .await;
    Ok(RestoredGroups {
        change: changed?.map(|changed| changed.change),
        dry_run,
        plan,
    })
}
