//! Lists the snapshots of a repository, with what each added to its parent.

use std::collections::HashMap;

use jiff::Timestamp;
use kbk_format::repo::{
    Damage, FoundDamaged, Key, Manifest, Parents, RepoError, RepoErrorKind, Repository,
};
use serde::Serialize;

use super::completeness::Completeness;
use crate::recover::REBUILD;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotRow {
    /// Its sequence number.
    pub sequence: u64,
    /// Why it cannot be read: it is damaged, or it is gone and `snapshots/latest.json` names it, or another snapshot was made from it and it was not
    /// forgotten; null if it can.
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
    /// Sequence number of the snapshot of its backup: its own, unless another command committed it; in the repository that was backed up
    /// where it is a copy. 0 where there has been no backup.
    pub backup: u64,
    /// The command that committed it, such as `forget`, where no backup did; it holds what the snapshot before it holds, but for what
    /// `expire` removed.
    pub maintenance: Option<String>,
    /// Sequence number of the snapshot of another repository that it is a copy of; null where it is none.
    pub origin: Option<u64>,
    /// The id of that repository.
    pub origin_repository: Option<String>,
    /// Kafka's id of the cluster.
    pub cluster_id: Option<String>,
    /// Whether it has every record that the cluster had, and no later recovery found segments of it damaged. What holds no backup has none.
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
    /// Bytes of all records, or of Kafka's own batches, before kbk compresses them.
    pub raw_bytes: u64,
    /// Bytes of segments that the parent does not have; null if the parent cannot be read, or segments of it were replaced.
    pub new_bytes: Option<u64>,
    /// Records that the parent does not have; null if the parent cannot be read, or a copy has fewer than it.
    pub new_records: Option<u64>,
    /// Records of its backup that it does not hold, since `expire` or `compact` removed them; null in a copy, and if the snapshot of the backup
    /// is not there.
    pub removed_records: Option<u64>,
}

/// Lists the snapshots of a repository, in ascending order.
///
/// # Errors
///
/// If the repository cannot be listed. A snapshot that cannot be read is a row with `damage`, not an error.
pub async fn snapshots(repository: &Repository) -> Result<Vec<SnapshotRow>, RepoError> {
    let damaged = repository.found_damaged().await?;
    let index = repository.index_objects().await?.into_iter();
    let index = index.map(|object| (object.key, object.bytes)).collect();
    let mut rows: Vec<SnapshotRow> = Vec::new();
    let mut parents = Parents::default();
    for sequence in repository.sequences().await? {
        let row = match read(repository, sequence, &damaged, &index).await {
            Ok((manifest, completeness)) => {
                parents.add(&manifest);
                SnapshotRow {
                    sequence,
                    damage: None,
                    contents: Some(contents(&manifest, completeness.as_ref(), &rows)),
                }
            }
            Err(error) => SnapshotRow {
                sequence,
                damage: Some(error.to_string()),
                contents: None,
            },
        };
        rows.push(row);
    }
    for missing in repository.missing_parents(&parents).await? {
        rows.push(SnapshotRow {
            sequence: missing.sequence,
            damage: Some(repository.parent_missing(missing).to_string()),
            contents: None,
        });
    }
    rows.sort_by_key(|row| row.sequence);
    if let Some(missing) = repository.missing_newest().await? {
        rows.push(SnapshotRow {
            sequence: missing.sequence,
            damage: Some(repository.newest_missing(missing).to_string()),
            contents: None,
        });
    }
    Ok(rows)
}

/// Reads what a snapshot states by itself, and where it is partial, or a later recovery found segments of it damaged, which partitions lack
/// records.
async fn read(
    repository: &Repository,
    sequence: u64,
    damaged: &FoundDamaged,
    index: &HashMap<Key, u64>,
) -> Result<(Manifest, Option<Completeness>), RepoError> {
    let manifest = repository.manifest(sequence).await?.value;
    check_tables(repository, &manifest, index).await?;
    if manifest.is_complete() && !damaged.has(sequence) {
        return Ok((manifest, None));
    }
    let snapshot = repository.snapshot(sequence).await?;
    Ok((manifest, Some(Completeness::of(&snapshot))))
}

/// Checks that the tables that a snapshot names are there, with the sizes that it states. They are not read.
async fn check_tables(
    repository: &Repository,
    manifest: &Manifest,
    index: &HashMap<Key, u64>,
) -> Result<(), RepoError> {
    let (tables, unread) = repository.tables(manifest).await?;
    if let Some(error) = unread.into_iter().next() {
        return Err(error);
    }
    for table in tables {
        let key = table.key();
        let (expected, found) = (table.size, index.get(&key).copied());
        let kind = match found {
            Some(found) if found == expected => continue,
            Some(found) => RepoErrorKind::Damaged(Damage::Size { expected, found }),
            None => {
                let sequence = manifest.sequence;
                let named_by = Key::Snapshot { sequence }.to_string();
                RepoErrorKind::Missing { named_by }
            }
        };
        return Err(repository.store().error(&key, kind));
    }
    Ok(())
}

fn contents(
    manifest: &Manifest,
    partial: Option<&Completeness>,
    before: &[SnapshotRow],
) -> SnapshotContents {
    let totals = &manifest.totals;
    let (records, stored_bytes) = (totals.records, totals.stored_bytes);
    let parent = manifest.parent.as_ref().map(|parent| parent.sequence);
    // Without a parent everything is new; with one that is gone or damaged, how much is new is unknown.
    let base = match parent {
        None => Some((0, 0)),
        Some(parent) => before
            .iter()
            .find(|row| row.sequence == parent)
            .and_then(|row| row.contents.as_ref())
            .map(|parent| (parent.records, parent.stored_bytes)),
    };
    let (new_records, new_bytes) = added(manifest, base);
    SnapshotContents {
        complete: manifest.has_backup() && partial.is_none(),
        incomplete_partitions: partial.map_or(0, |partial| partial.incomplete.len() as u64),
        missing_offsets: partial.map_or(0, Completeness::missing_offsets),
        partial: partial.and_then(Completeness::statement),
        created_at: manifest.created_at,
        parent,
        backup: manifest.backup(),
        maintenance: manifest.maintenance.as_ref().map(|it| it.command.clone()),
        origin: manifest.origin.as_ref().map(|origin| origin.sequence),
        origin_repository: manifest
            .origin
            .as_ref()
            .map(|origin| origin.repository_id.to_string()),
        cluster_id: manifest.cluster_id.clone(),
        topics: totals.topics,
        partitions: totals.partitions,
        records,
        stored_bytes,
        raw_bytes: totals.raw_bytes,
        new_bytes,
        new_records,
        removed_records: removed(manifest, before),
    }
}

/// Returns the records and the bytes of segments that a snapshot has and its parent, with these sums, does not; `None` where sums do not tell.
fn added(manifest: &Manifest, parent: Option<(u64, u64)>) -> (Option<u64>, Option<u64>) {
    let Some((records, bytes)) = parent else {
        return (None, None);
    };
    let totals = &manifest.totals;
    match &manifest.maintenance {
        // New segments take the place of others: the sums differ by less than what was written.
        Some(it) if it.command == "compact" => (Some(0), None),
        // Nothing else but a backup, a copy and a rebuild adds anything.
        Some(it) if it.command != REBUILD => (Some(0), Some(0)),
        // A copy may have skipped snapshots of its original that removed or replaced something: where its sums are lower, that is certain.
        _ => (
            totals.records.checked_sub(records),
            totals.stored_bytes.checked_sub(bytes),
        ),
    }
}

/// Returns how many records of its backup a snapshot does not hold.
fn removed(manifest: &Manifest, before: &[SnapshotRow]) -> Option<u64> {
    // The number of a copy's backup is one of its original.
    if manifest.origin.is_some() {
        return None;
    }
    let backup = manifest.backup();
    if backup == manifest.sequence || backup == 0 {
        return Some(0);
    }
    let mut rows = before.iter().filter(|row| row.sequence == backup);
    let contents = rows.next()?.contents.as_ref()?;
    Some(contents.records.saturating_sub(manifest.totals.records))
}
