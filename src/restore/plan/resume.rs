//! The plan of a restore that an earlier run has begun: what begun.json says, on the cluster as it is now.

use std::collections::BTreeMap;

use kbk_format::repo::{
    Digested, RateLimit, RepoError, Repository, RestoreId, RestoreManifest, RestoredPartition,
    RestoredTopic, Snapshot, TargetPartition, TopicState,
};
use kbk_tools::Selection;

use crate::kafka::ClientSettings;
use crate::restore::config;
use crate::restore::plan::selection::Choice;
use crate::restore::plan::{
    Cluster, PartitionPlan, PlanError, RestorePlan, Target, TargetPartitionPlan, TopicPlan,
    ask_in_background, max_message_bytes, plan_partition,
};

/// Why a restore cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is nothing of this name.
    #[error("there is no restore {restore}; {known}")]
    Unknown {
        /// What was asked for.
        restore: RestoreId,
        /// What there is.
        known: String,
    },
    /// There is nothing to go on with.
    #[error("no restore of this repository is unfinished")]
    Nothing,
    /// There are several.
    #[error("several restores are unfinished: {0}; name the one that is meant")]
    Several(String),
    /// It is finished.
    #[error("restore {restore} is finished: {records} records")]
    Done {
        /// Which.
        restore: RestoreId,
        /// Records that it wrote.
        records: u64,
    },
    /// It was done without transactions.
    #[error(
        "restore {0} was begun with --no-transactions: what it has written cannot be told from what it has not; \
         empty its targets, or choose others, and restore again"
    )]
    WithoutTransactions(RestoreId),
    /// Another cluster.
    #[error(
        "restore {restore} writes to cluster {expected}, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// Which.
        restore: RestoreId,
        /// The cluster that it began on.
        expected: String,
        /// The one that was given.
        found: String,
    },
    /// The snapshot is not the one that it began with.
    #[error(
        "restore {restore} reads snapshot {sequence}, which is another one now; restore again from the start"
    )]
    OtherSnapshot {
        /// Which.
        restore: RestoreId,
        /// The snapshot.
        sequence: u64,
    },
    /// The repository or the cluster.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl From<RepoError> for ResumeError {
    fn from(error: RepoError) -> ResumeError {
        PlanError::from(error).into()
    }
}

/// The restore of this name, or the only one that is unfinished.
///
/// # Errors
///
/// Where there is no such one, where it cannot be gone on with, or the repository cannot be read.
pub async fn unfinished(
    repository: &Repository,
    name: Option<&RestoreId>,
) -> Result<RestoreManifest, ResumeError> {
    let names = repository.restores().await?;
    let mut found = Vec::new();
    for candidate in names
        .iter()
        .filter(|known| name.is_none_or(|name| name == *known))
    {
        let done = repository.restore_done(candidate).await?;
        let restore = repository.restore(candidate).await?;
        match (done, restore, name) {
            (Some(done), _, Some(name)) => {
                return Err(ResumeError::Done {
                    restore: name.clone(),
                    records: done.records,
                });
            }
            (None, Some(restore), Some(name)) if restore.producers == 0 => {
                return Err(ResumeError::WithoutTransactions(name.clone()));
            }
            (None, Some(restore), _) if restore.producers > 0 => found.push(restore),
            _ => {}
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next(), name) {
        (Some(only), None, _) => Ok(only),
        (Some(first), Some(second), _) => {
            let all = [first, second].into_iter().chain(found);
            let all: Vec<String> = all.map(|restore| restore.restore.to_string()).collect();
            Err(ResumeError::Several(all.join(", ")))
        }
        (None, _, None) => Err(ResumeError::Nothing),
        (None, _, Some(name)) => Err(ResumeError::Unknown {
            restore: name.clone(),
            known: match names.last() {
                Some(last) => format!("the last one is {last}"),
                None => "the repository has none".to_owned(),
            },
        }),
    }
}

/// Plans the rest of `restore`, as fast as it was begun where `rate_limit` does not say otherwise.
///
/// # Errors
///
/// As [`plan`](crate::restore::plan()); also where cluster or snapshot are not those that it began with.
pub async fn plan_rest(
    repository: &Repository,
    restore: RestoreManifest,
    kafka: &ClientSettings,
    verify: bool,
    rate_limit: RateLimit,
) -> Result<RestorePlan, ResumeError> {
    let snapshot = repository.snapshot(restore.snapshot.sequence).await?;
    if snapshot.sha256 != restore.snapshot.sha256 {
        return Err(other_snapshot(&restore));
    }
    let targets = restore.topics.iter().map(|topic| topic.target.to_string());
    let cluster = ask_in_background(kafka, targets.collect(), Vec::new())
        .await
        .map_err(PlanError::from)?;
    if let (Some(expected), Some(found)) = (&restore.cluster_id, &cluster.id)
        && expected != found
    {
        return Err(ResumeError::OtherCluster {
            restore: restore.restore.clone(),
            expected: expected.clone(),
            found: found.clone(),
        });
    }
    let mut topics = Vec::with_capacity(restore.topics.len());
    for topic in &restore.topics {
        topics.push(plan_topic(repository, &restore, &snapshot, topic, &cluster).await?);
    }
    Ok(RestorePlan {
        restore: restore.restore.clone(),
        snapshot: snapshot.sequence,
        snapshot_sha256: snapshot.sha256,
        cluster_id: cluster.id,
        choice: Choice::of_times(restore.min_timestamp..=restore.max_timestamp),
        transactions: true,
        offset_map: true,
        rate_limit: RateLimit {
            bytes: rate_limit.bytes.or(restore.rate_limit.bytes),
            records: rate_limit.records.or(restore.rate_limit.records),
        },
        begun: Some(restore),
        topics,
        verify,
        obstacles: Vec::new(),
    })
}

/// A topic that is there by now is not made again, whoever was to make it.
async fn plan_topic(
    repository: &Repository,
    restore: &RestoreManifest,
    snapshot: &Digested<Snapshot>,
    topic: &RestoredTopic,
    cluster: &Cluster,
) -> Result<TopicPlan, ResumeError> {
    let saved = snapshot.topic(&topic.topic, topic.topic_id);
    let Some(saved) = saved else {
        return Err(other_snapshot(restore));
    };
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        let times = restore.min_timestamp..=restore.max_timestamp;
        let planned = plan_restored(repository, saved, partition, times).await?;
        partitions.push(planned.ok_or_else(|| other_snapshot(restore))?);
    }
    let existing = cluster.topics.get(&*topic.target);
    let (config_filling, config_afterwards) = match &topic.create {
        Some(create) => (create.config.clone(), create.config_afterwards.clone()),
        None => (BTreeMap::new(), BTreeMap::new()),
    };
    let max_message_bytes = max_message_bytes(existing, &config_filling);
    let action = match &topic.create {
        Some(create) if existing.is_none() => Target::Create {
            partitions: create.partitions,
            replication_factor: create.replication_factor,
            config: config_filling,
        },
        _ => Target::Existing,
    };
    Ok(TopicPlan {
        source: topic.topic.to_string(),
        source_topic_id: topic.topic_id,
        source_partitions: saved.partitions.len(),
        target: topic.target.to_string(),
        action,
        purge: topic.purge,
        retention_stays_off: topic.create.is_some()
            && config::keeps_retention_off(
                saved.config.as_ref().unwrap_or(&BTreeMap::new()),
                &config_afterwards,
            ),
        config_afterwards,
        max_message_bytes,
        targets: topic.targets.iter().map(planned_target).collect(),
        partitions,
    })
}

/// What was to be deleted was counted when the restore began.
fn planned_target(target: &TargetPartition) -> TargetPartitionPlan {
    TargetPartitionPlan {
        partition: target.partition,
        offset: target.offset,
        purged_records: 0,
    }
}

async fn plan_restored(
    repository: &Repository,
    saved: &TopicState,
    restored: &RestoredPartition,
    times: std::ops::RangeInclusive<i64>,
) -> Result<Option<PartitionPlan>, PlanError> {
    let state = usize::try_from(restored.partition)
        .ok()
        .and_then(|index| saved.partitions.get(index));
    let Some(state) = state else {
        return Ok(None);
    };
    let place = saved.place(restored.partition);
    let selection = Selection {
        offsets: restored.base_offset..restored.end_offset,
        times,
    };
    let mut planned = plan_partition(repository, place, state, selection).await?;
    planned.target_partition = restored.target_partition;
    Ok(Some(planned))
}

fn other_snapshot(restore: &RestoreManifest) -> ResumeError {
    ResumeError::OtherSnapshot {
        restore: restore.restore.clone(),
        sequence: restore.snapshot.sequence,
    }
}
