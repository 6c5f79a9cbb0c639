//! Lists the restores of a repository, with the progress of those that have not finished.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kbk_format::repo::{
    PartitionId, RepoError, RepoErrorKind, Repository, RestoreEnd, RestoreId, RestoreManifest,
    RestoreRecord,
};
use serde::Serialize;

/// One restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreRow {
    /// Its name.
    pub restore: RestoreId,
    /// What became of it.
    pub state: RestoreState,
    /// Why it cannot be read; null if it can.
    pub damage: Option<String>,
    /// What it restores; absent if it cannot be read.
    #[serde(flatten)]
    pub contents: Option<RestoreContents>,
}

/// What became of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// It runs, or was stopped.
    Unfinished,
    /// Every record is restored.
    Finished,
    /// It was discarded.
    Discarded,
    /// Objects of it are damaged or missing.
    Damaged,
}

/// What a restore was asked for, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreContents {
    /// When it began.
    pub started_at: Timestamp,
    /// When it finished or was discarded; null before that.
    pub ended_at: Option<Timestamp>,
    /// The snapshot that it restores from.
    pub snapshot: u64,
    /// Kafka's id of the cluster that it writes to.
    pub cluster_id: Option<String>,
    /// Whether it can be resumed: it is not finished, and writes in transactions.
    pub resumable: bool,
    /// Its topics.
    pub topics: Vec<RestoredNames>,
    /// Number of partitions.
    pub partitions: u64,
    /// Offsets that are selected.
    pub selected_offsets: u64,
    /// How many of these its offset map covers. Of an unfinished one, the last part may not be committed.
    pub mapped_offsets: u64,
    /// Records in its offset map.
    pub records: u64,
}

/// A topic of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredNames {
    /// Its name in the backup.
    pub topic: String,
    /// Its name in the cluster.
    pub target: String,
}

/// Lists the restores of a repository, in ascending order of their names.
///
/// # Errors
///
/// If the repository cannot be listed or read. A restore with damaged objects is a row with `damage`, not an error.
pub async fn restores(repository: &Repository) -> Result<Vec<RestoreRow>, RepoError> {
    let mut rows = Vec::new();
    let mut records = pin!(repository.restore_records(repository.restores().await?));
    while let Some((restore, record)) = records.next().await {
        let contents = match record {
            Ok(Some(record)) => contents(repository, &record).await,
            // It was listed a moment ago.
            Ok(None) => {
                rows.push(RestoreRow::damaged(
                    restore,
                    "begun.json is gone".to_owned(),
                ));
                continue;
            }
            Err(error) => Err(error),
        };
        rows.push(match contents {
            Ok((state, contents)) => RestoreRow {
                restore,
                state,
                damage: None,
                contents: Some(contents),
            },
            Err(error) => match error.kind() {
                RepoErrorKind::Damaged(_) | RepoErrorKind::Missing { .. } => {
                    RestoreRow::damaged(restore, error.to_string())
                }
                _ => return Err(error),
            },
        });
    }
    Ok(rows)
}

impl RestoreRow {
    fn damaged(restore: RestoreId, damage: String) -> RestoreRow {
        RestoreRow {
            restore,
            state: RestoreState::Damaged,
            damage: Some(damage),
            contents: None,
        }
    }
}

async fn contents(
    repository: &Repository,
    record: &RestoreRecord,
) -> Result<(RestoreState, RestoreContents), RepoError> {
    let RestoreRecord { manifest, end } = record;
    let selected_offsets = selected(manifest);
    let state = match end {
        Some(RestoreEnd::Done(_)) => RestoreState::Finished,
        Some(RestoreEnd::Discarded(_)) => RestoreState::Discarded,
        None => RestoreState::Unfinished,
    };
    let mapped = match end {
        Some(RestoreEnd::Done(done)) => Mapped {
            offsets: selected_offsets,
            records: done.records,
        },
        _ => mapped(repository, manifest).await?,
    };
    let topics = manifest.topics.iter().map(|topic| RestoredNames {
        topic: topic.topic.to_string(),
        target: topic.target.to_string(),
    });
    let contents = RestoreContents {
        started_at: manifest.started_at,
        ended_at: end.as_ref().map(RestoreEnd::at),
        snapshot: manifest.snapshot.sequence,
        cluster_id: manifest.cluster_id.clone(),
        resumable: state == RestoreState::Unfinished && manifest.producers > 0,
        topics: topics.collect(),
        partitions: partitions(manifest).count() as u64,
        selected_offsets,
        mapped_offsets: mapped.offsets,
        records: mapped.records,
    };
    Ok((state, contents))
}

/// Returns each partition with the selected range of its offsets.
fn partitions(manifest: &RestoreManifest) -> impl Iterator<Item = (PartitionId, i64, i64)> {
    manifest.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let id = PartitionId {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
            };
            (id, partition.base_offset, partition.end_offset)
        })
    })
}

fn selected(manifest: &RestoreManifest) -> u64 {
    partitions(manifest).fold(0, |sum, (_, base, end)| {
        sum.saturating_add(end.abs_diff(base))
    })
}

/// What the offset map of an unfinished restore covers.
#[derive(Clone, Copy, Debug, Default)]
struct Mapped {
    offsets: u64,
    records: u64,
}

/// Finds the last page of each partition. Nothing in the repository names it: the cluster does.
async fn mapped(repository: &Repository, manifest: &RestoreManifest) -> Result<Mapped, RepoError> {
    let keys = repository.map_page_keys(&manifest.restore).await?;
    let reads = keys.iter().map(|key| async move {
        match repository.listed_map_page(key).await {
            Ok(page) => Ok(Some((page.partition_id(), page.end_offset, page.records))),
            // A run that writes has replaced it since it was listed.
            Err(error) if matches!(error.kind(), RepoErrorKind::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let parallel = repository.store().profile().parallel_requests;
    let mut pages = stream::iter(reads).buffer_unordered(parallel);
    let mut last: BTreeMap<PartitionId, (i64, u64)> = BTreeMap::new();
    while let Some(page) = pages.try_next().await? {
        let Some((partition, end_offset, records)) = page else {
            continue;
        };
        let known = last.entry(partition).or_default();
        *known = (*known).max((end_offset, records));
    }
    let mut mapped = Mapped::default();
    for (partition, base, end) in partitions(manifest) {
        if let Some((reached, records)) = last.get(&partition) {
            let covered = (*reached).clamp(base, end).abs_diff(base);
            mapped.offsets = mapped.offsets.saturating_add(covered);
            mapped.records = mapped.records.saturating_add(*records);
        }
    }
    Ok(mapped)
}
