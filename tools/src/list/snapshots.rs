//! Lists the snapshots of a repository, with what each added to its parent.

use jiff::Timestamp;
use kbk_format::repo::{PartitionState, RepoError, Repository, Snapshot};
use serde::Serialize;

use super::completeness::Completeness;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotRow {
    /// Its sequence number.
    pub sequence: u64,
    /// Why it cannot be read; null if it can.
    pub damage: Option<String>,
    /// What it holds; absent if it cannot be read.
    #[serde(flatten)]
    pub contents: Option<SnapshotContents>,
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotContents {
    /// When it was committed.
    pub created_at: Timestamp,
    /// Sequence number of the snapshot that it extends.
    pub parent: Option<u64>,
    /// Kafka's id of the cluster.
    pub cluster_id: Option<String>,
    /// Whether it has every record that the cluster had.
    pub complete: bool,
    /// Number of partitions that lack records.
    pub incomplete_partitions: u64,
    /// How many offsets are known to be missing.
    pub missing_offsets: u64,
    /// Says what is missing, for people.
    #[serde(skip)]
    pub partial: Option<String>,
    /// Number of topics, including deleted ones.
    pub topics: u64,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Bytes of all records before compression.
    pub raw_bytes: u64,
    /// Bytes of segments that the parent does not have; null if the parent cannot be read.
    pub new_bytes: Option<u64>,
    /// Records that the parent does not have; null if the parent cannot be read.
    pub new_records: Option<u64>,
}

/// Lists the snapshots of a repository, in ascending order.
///
/// # Errors
///
/// If the repository cannot be listed. A snapshot that cannot be read is a row with `damage`, not an error.
pub async fn snapshots(repository: &Repository) -> Result<Vec<SnapshotRow>, RepoError> {
    let mut rows: Vec<SnapshotRow> = Vec::new();
    for sequence in repository.sequences().await? {
        let row = match repository.snapshot(sequence).await {
            Ok(snapshot) => SnapshotRow {
                sequence,
                damage: None,
                contents: Some(contents(&snapshot, &rows)),
            },
            Err(error) => SnapshotRow {
                sequence,
                damage: Some(error.to_string()),
                contents: None,
            },
        };
        rows.push(row);
    }
    Ok(rows)
}

fn contents(snapshot: &Snapshot, before: &[SnapshotRow]) -> SnapshotContents {
    let states = || snapshot.topics.iter().flat_map(|topic| &topic.partitions);
    let sum = |field: fn(&PartitionState) -> u64| states().map(field).sum::<u64>();
    let (records, stored_bytes) = (sum(|state| state.records), sum(|state| state.stored_bytes));
    let parent = snapshot.parent.as_ref().map(|parent| parent.sequence);
    // Without a parent everything is new; with one that is gone or damaged, how much is new is unknown.
    let base = match parent {
        None => Some((0, 0)),
        Some(parent) => before
            .iter()
            .find(|row| row.sequence == parent)
            .and_then(|row| row.contents.as_ref())
            .map(|parent| (parent.records, parent.stored_bytes)),
    };
    let completeness = Completeness::of(snapshot);
    SnapshotContents {
        complete: completeness.complete,
        incomplete_partitions: completeness.incomplete.len() as u64,
        missing_offsets: completeness.missing_offsets(),
        partial: completeness.statement(),
        created_at: snapshot.created_at,
        parent,
        cluster_id: snapshot.cluster_id.clone(),
        topics: snapshot.topics.len() as u64,
        partitions: states().count() as u64,
        records,
        stored_bytes,
        raw_bytes: sum(|state| state.raw_bytes),
        new_bytes: base.map(|(_, bytes)| stored_bytes.saturating_sub(bytes)),
        new_records: base.map(|(before, _)| records.saturating_sub(before)),
    }
}
