//! The plan of a restore that an earlier run began: its manifest, on the cluster as it is now.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    Digested, RateLimit, RepoError, Repository, RestoreEnd, RestoreId, RestoreManifest,
    RestoreRecord, RestoredPartition, RestoredTopic, Snapshot, TopicState,
};
use kbk_tools::{RecordFilter, Selection};

use super::options::Purpose;
use super::partial;
use super::reading::PartitionReading;
use super::restore_plan::{RestorePlan, TopicDetails};
use super::rights::Needed;
use super::selection::RecordSelection;
use super::target_cluster::TargetCluster;
use super::whole_segments::BatchRules;
use super::{PlanError, codec, compression, max_message_bytes, with_rights};
use crate::human;
use crate::kafka::ClientSettings;
use crate::records::ClientChoice;
use crate::restore::config;

/// Why a restore cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// No restore has this name.
    #[error("there is no restore {restore}; {known}")]
    Unknown {
        /// The name.
        restore: RestoreId,
        /// What the repository has instead.
        known: String,
    },
    /// No restore is unfinished.
    #[error("no restore of this repository is unfinished")]
    Nothing,
    /// Several restores are unfinished.
    #[error(
        "several restores are unfinished: {0}; name one of them, or discard others with `kbk restores discard`"
    )]
    Several(String),
    /// The restore is finished.
    #[error("restore {restore} is finished: {}", human::counted(*.records, "record"))]
    Done {
        /// Its name.
        restore: RestoreId,
        /// Records that it wrote.
        records: u64,
    },
    /// The restore was discarded.
    #[error("restore {0} was discarded, and cannot be resumed; restore again from the start")]
    Discarded(RestoreId),
    /// The restore was made without transactions.
    #[error(
        "cannot resume restore {0}: it was begun with --no-transactions, so the records that it wrote are not known; \
         empty its targets, or use others, and restore again"
    )]
    WithoutTransactions(RestoreId),
    /// The cluster is a different one.
    #[error(
        "restore {restore} writes to cluster {expected}, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// Its name.
        restore: RestoreId,
        /// The cluster that it writes to.
        expected: String,
        /// The given cluster.
        found: String,
    },
    /// The snapshot is no longer the one that it reads.
    #[error(
        "cannot resume restore {restore}: snapshot {sequence} has changed since it began; restore again from the start"
    )]
    OtherSnapshot {
        /// Its name.
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

/// Returns the restore of this name, or the only one that is unfinished.
///
/// # Errors
///
/// Where there is no such restore, where it cannot be resumed, or the repository cannot be read.
pub async fn unfinished(
    repository: &Repository,
    name: Option<&RestoreId>,
) -> Result<RestoreManifest, ResumeError> {
    let names = repository.restores().await?;
    let candidates = names.iter().cloned();
    let candidates = candidates.filter(|known| name.is_none_or(|name| name == known));
    let mut records = pin!(repository.restore_records(candidates.collect()));
    let mut found = Vec::new();
    while let Some((_, record)) = records.next().await {
        let Some(RestoreRecord { manifest, end }) = record? else {
            continue;
        };
        match (end, name) {
            (None, Some(name)) if manifest.producers == 0 => {
                return Err(ResumeError::WithoutTransactions(name.clone()));
            }
            (None, _) if manifest.producers > 0 => found.push(manifest),
            (Some(RestoreEnd::Done(done)), Some(name)) => {
                return Err(ResumeError::Done {
                    restore: name.clone(),
                    records: done.records,
                });
            }
            (Some(RestoreEnd::Discarded(_)), Some(name)) => {
                return Err(ResumeError::Discarded(name.clone()));
            }
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
        (None, _, Some(name)) => Err(unknown(name, &names)),
    }
}

/// Returns the restore of this name, which must not be finished; one that was discarded is returned, too.
pub(crate) async fn not_finished(
    repository: &Repository,
    name: &RestoreId,
) -> Result<RestoreManifest, ResumeError> {
    if let Some(done) = repository.restore_done(name).await? {
        return Err(ResumeError::Done {
            restore: name.clone(),
            records: done.records,
        });
    }
    match repository.restore(name).await? {
        Some(restore) => Ok(restore),
        None => Err(unknown(name, &repository.restores().await?)),
    }
}

fn unknown(name: &RestoreId, names: &[RestoreId]) -> ResumeError {
    ResumeError::Unknown {
        restore: name.clone(),
        known: match names.last() {
            Some(last) => format!("the last one is {last}"),
            None => "the repository has none".to_owned(),
        },
    }
}

/// Fails if the restore writes to a cluster other than the one with the id `found`.
pub(crate) fn check_cluster(
    manifest: &RestoreManifest,
    found: Option<&str>,
) -> Result<(), ResumeError> {
    match (&manifest.cluster_id, found) {
        (Some(expected), Some(found)) if expected != found => Err(ResumeError::OtherCluster {
            restore: manifest.restore.clone(),
            expected: expected.clone(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Plans the rest of a restore, at the rate limit that it began with unless `rate_limit` says otherwise.
///
/// # Errors
///
/// As [`plan`](super::plan()); also where cluster or snapshot are not those that it began with.
pub async fn plan_rest(
    repository: &Repository,
    manifest: RestoreManifest,
    kafka: &ClientSettings,
    client: ClientChoice,
    verify: bool,
    rate_limit: RateLimit,
) -> Result<RestorePlan, ResumeError> {
    let snapshot = repository.snapshot(manifest.snapshot.sequence).await?;
    if snapshot.sha256 != manifest.snapshot.sha256 {
        return Err(other_snapshot(&manifest));
    }
    let targets = manifest.topics.iter().map(|topic| topic.target.to_string());
    let cluster = TargetCluster::describe(kafka, targets.collect(), Vec::new())
        .await
        .map_err(PlanError::from)?;
    check_cluster(&manifest, cluster.id.as_deref())?;
    let mut details = BTreeMap::new();
    for topic in &manifest.topics {
        let more = plan_topic(
            repository,
            &manifest,
            &snapshot,
            topic,
            (kafka, client, &cluster),
        )
        .await?;
        details.insert(topic.target.clone(), more);
    }
    let plan = RestorePlan {
        resumed: true,
        selection: RecordSelection::of_times(times(&manifest)),
        offset_map: true,
        client,
        rate_limit: RateLimit {
            bytes: rate_limit.bytes.or(manifest.rate_limit.bytes),
            records: rate_limit.records.or(manifest.rate_limit.records),
        },
        verify,
        // It was allowed when the restore began.
        saved: partial::saved(&snapshot, &manifest),
        lost_offsets: partial::lost_offsets(&snapshot, &manifest),
        expired_offsets: partial::expired_offsets(&snapshot, &manifest),
        groups_without_offsets: Vec::new(),
        obstacles: Vec::new(),
        details,
        manifest,
    };
    let needed = Needed {
        purpose: Purpose::Restore,
        groups: Vec::new(),
    };
    let planned = with_rights(plan, kafka.clone(), needed).await;
    Ok(planned.map_err(PlanError::from)?)
}

fn times(manifest: &RestoreManifest) -> RangeInclusive<i64> {
    manifest.min_timestamp..=manifest.max_timestamp
}

/// A target that exists by now is not created again, whoever created it.
async fn plan_topic(
    repository: &Repository,
    manifest: &RestoreManifest,
    snapshot: &Digested<Snapshot>,
    topic: &RestoredTopic,
    (kafka, client, cluster): (&ClientSettings, ClientChoice, &TargetCluster),
) -> Result<TopicDetails, ResumeError> {
    let Some(saved) = snapshot.topic(&topic.topic, topic.topic_id) else {
        return Err(other_snapshot(manifest));
    };
    let existing = cluster.topics.get(&*topic.target);
    let nothing = BTreeMap::new();
    let saved_config = saved.config.as_ref().unwrap_or(&nothing);
    let create = topic.create.as_ref();
    let compression_type = compression(existing.filter(|_| create.is_none()), saved_config);
    let mut rules = BatchRules::of_client(kafka, client, existing, compression_type);
    rules.needs_records |= !manifest.drop_headers.is_empty() || topic.repartitioned().is_some();
    let mut partitions = BTreeMap::new();
    let readings = topic.partitions.iter().map(|partition| {
        let selected = (partition, times(manifest));
        plan_reading(repository, (snapshot, saved), selected, &rules)
    });
    let readings: Vec<_> = readings.collect();
    let parallel = repository.store().profile().parallel_partitions;
    let mut readings = stream::iter(readings).buffered(parallel);
    for partition in &topic.partitions {
        let reading = readings.try_next().await?.flatten();
        let reading = reading.ok_or_else(|| other_snapshot(manifest))?;
        partitions.insert(partition.partition, reading);
    }
    let limit = max_message_bytes(existing, create.map_or(&nothing, |create| &create.config));
    let largest = partitions.values();
    let largest = largest.map(|reading| reading.limits.record_bytes).max();
    Ok(TopicDetails {
        source_kafka_id: saved.kafka_id,
        source_partitions: saved.partitions.len(),
        exists: existing.is_some(),
        config_saved: saved.config.is_some(),
        retention_off: match create.is_some() || !topic.config_afterwards.is_empty() {
            true => config::retention_left_off(saved_config, &topic.config_afterwards),
            false => BTreeMap::new(),
        },
        codec: codec::for_target(
            kafka,
            compression_type,
            limit.is_some_and(|limit| largest > Some(limit)),
        ),
        max_message_bytes: limit,
        // The records to delete were counted when the restore began.
        purged_records: BTreeMap::new(),
        partitions,
    })
}

async fn plan_reading(
    repository: &Repository,
    (snapshot, saved): (&Snapshot, &TopicState),
    (restored, times): (&RestoredPartition, RangeInclusive<i64>),
    rules: &BatchRules,
) -> Result<Option<PartitionReading>, PlanError> {
    let Some(state) = saved.partitions.get(restored.partition.index()) else {
        return Ok(None);
    };
    let partition = saved.partition_id(restored.partition);
    let selection = Selection {
        offsets: restored.base_offset..restored.end_offset,
        times,
        filter: RecordFilter::all(),
    };
    let reading = PartitionReading::plan(repository, snapshot, partition, state, selection, rules);
    Ok(Some(reading.await?))
}

fn other_snapshot(manifest: &RestoreManifest) -> ResumeError {
    ResumeError::OtherSnapshot {
        restore: manifest.restore.clone(),
        sequence: manifest.snapshot.sequence,
    }
}
