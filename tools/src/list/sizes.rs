//! How many bytes topics take, and how many would be free without a snapshot.

use std::collections::HashMap;

use jiff::Timestamp;
use kbk_format::repo::{
    Digest, Id, Key, Manifest, Parents, RepoError, Repository, TableRef, TopicName,
};
use serde::Serialize;

/// The sizes of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The topics of the newest snapshot, deleted ones too, the largest first; empty if it cannot be read.
    pub topics: Vec<TopicSize>,
    /// The snapshots, ascending.
    pub snapshots: Vec<SnapshotSize>,
}

/// The size of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicSize {
    /// Its name.
    pub topic: TopicName,
    /// Identifies its history.
    pub topic_id: Id,
    /// Whether the cluster no longer has it.
    pub deleted: bool,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of segments.
    pub segments: u64,
    /// Number of records.
    pub records: u64,
    /// Number of records that have expired.
    pub expired_records: u64,
    /// Bytes of its segments.
    pub stored_bytes: u64,
    /// Bytes of its records, or of Kafka's own batches, before kbk compresses them.
    pub raw_bytes: u64,
}

/// The size of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotSize {
    /// Its sequence number.
    pub sequence: u64,
    /// Why it cannot be read; null if it can. What it needs is not counted then.
    pub damage: Option<String>,
    /// When its backup was made; null if it cannot be read.
    pub created_at: Option<Timestamp>,
    /// Bytes of all its segments; null if it cannot be read.
    pub stored_bytes: Option<u64>,
    /// Number of objects that no other snapshot needs; null if it cannot be read.
    pub unique_objects: Option<u64>,
    /// Their bytes: what forgetting this snapshot alone would free. Null if it cannot be read.
    pub unique_bytes: Option<u64>,
}

/// Which snapshots need an object: all from the first to the last, or some of them.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: usize,
    last: usize,
    bytes: u64,
}

/// The objects that snapshots need.
#[derive(Debug, Default)]
struct Needed {
    objects: HashMap<Key, Span>,
    tables: HashMap<Digest, (TableRef, usize, usize)>,
}

impl Needed {
    fn add(&mut self, key: Key, (first, last): (usize, usize), bytes: u64) {
        let span = self
            .objects
            .entry(key)
            .or_insert(Span { first, last, bytes });
        span.first = span.first.min(first);
        span.last = span.last.max(last);
    }

    fn manifest(&mut self, at: usize, manifest: &Manifest) {
        let groups = manifest.groups.as_ref().map(|groups| groups.object);
        let acls = manifest.acls.as_ref().map(|acls| acls.object);
        for object in groups.into_iter().chain(acls) {
            let sha256 = object.sha256;
            self.add(Key::Cluster { sha256 }, (at, at), object.size);
        }
        if let Some(pruning) = &manifest.pruning {
            self.add(pruning.key(), (at, at), pruning.size);
        }
        for list in manifest.runs.iter().filter_map(|run| run.list.as_ref()) {
            self.add(list.key(), (at, at), list.size);
        }
    }

    fn table(&mut self, at: usize, table: TableRef) {
        self.add(table.key(), (at, at), table.size);
        let (_, first, last) = self.tables.entry(table.sha256).or_insert((table, at, at));
        *first = (*first).min(at);
        *last = (*last).max(at);
    }
}

/// Reads the sizes: all tables of all snapshots, each once, and all rows of each snapshot of which some have expired.
///
/// # Errors
///
/// The error of the store, where it does not return other objects either. A snapshot that cannot be read is a row with `damage`.
pub async fn sizes(repository: &Repository) -> Result<Sizes, RepoError> {
    let mut sizes = Sizes {
        topics: topics(repository).await?,
        snapshots: Vec::new(),
    };
    let (mut needed, mut parents) = (Needed::default(), Parents::default());
    for (at, sequence) in repository.sequences().await?.into_iter().enumerate() {
        let row = match add(repository, sequence, at, &mut needed).await {
            Ok(manifest) => {
                parents.add(&manifest);
                SnapshotSize {
                    sequence,
                    damage: None,
                    created_at: Some(manifest.created_at),
                    stored_bytes: Some(manifest.totals.stored_bytes),
                    unique_objects: Some(0),
                    unique_bytes: Some(0),
                }
            }
            Err(error) if repository.store().is_about_one_object(&error).await => {
                SnapshotSize::damaged(sequence, &error)
            }
            Err(error) => return Err(error),
        };
        sizes.snapshots.push(row);
    }
    for missing in repository.missing_parents(&parents).await? {
        let error = repository.parent_missing(missing);
        let row = SnapshotSize::damaged(missing.sequence, &error);
        sizes.snapshots.push(row);
    }
    if let Some(missing) = repository.missing_newest().await? {
        let error = repository.newest_missing(missing);
        let row = SnapshotSize::damaged(missing.sequence, &error);
        sizes.snapshots.push(row);
    }
    for (table, first, last) in std::mem::take(&mut needed.tables).into_values() {
        match repository.table_segments(&table).await {
            Ok(segments) => {
                for (partition, entry) in segments {
                    let key = Key::segment(&partition, entry.base_offset, &entry.segment_id);
                    needed.add(key, (first, last), entry.size);
                }
            }
            Err(error) if repository.store().is_about_one_object(&error).await => {
                for row in sizes.snapshots.iter_mut().take(last + 1).skip(first) {
                    *row = SnapshotSize::damaged(row.sequence, &error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    for span in needed
        .objects
        .into_values()
        .filter(|span| span.first == span.last)
    {
        if let Some(row) = sizes.snapshots.get_mut(span.first) {
            row.unique_objects = row.unique_objects.map(|objects| objects + 1);
            row.unique_bytes = row
                .unique_bytes
                .map(|bytes| bytes.saturating_add(span.bytes));
        }
    }
    sizes.snapshots.sort_by_key(|row| row.sequence);
    Ok(sizes)
}

async fn add(
    repository: &Repository,
    sequence: u64,
    at: usize,
    needed: &mut Needed,
) -> Result<Manifest, RepoError> {
    let manifest = repository.manifest(sequence).await?.value;
    let (tables, unread) = repository.tables(&manifest).await?;
    if let Some(error) = unread.into_iter().next() {
        return Err(error);
    }
    needed.manifest(at, &manifest);
    // Where some rows do not count any more, a table that this snapshot names has rows of segments that it does not need.
    let hides = tables.iter().any(|table| table.hides);
    for table in tables {
        match hides {
            true => needed.add(table.key(), (at, at), table.size),
            false => needed.table(at, table),
        }
    }
    if hides {
        let mut rows = repository.segment_rows(&manifest).await?;
        while let Some((partition, entry)) = rows.next().await? {
            let key = Key::segment(&partition, entry.base_offset, &entry.segment_id);
            needed.add(key, (at, at), entry.size);
        }
    }
    Ok(manifest)
}

async fn topics(repository: &Repository) -> Result<Vec<TopicSize>, RepoError> {
    let snapshot = match repository.latest().await {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return Ok(Vec::new()),
        // Its row says so.
        Err(error) if repository.store().is_about_one_object(&error).await => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let size = |topic: &kbk_format::repo::TopicState| TopicSize {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        deleted: topic.deleted,
        partitions: topic.partitions.len() as u64,
        segments: topic.partitions.iter().map(|it| it.segments).sum(),
        records: topic.partitions.iter().map(|it| it.records).sum(),
        expired_records: topic.partitions.iter().map(|it| it.expired_records()).sum(),
        stored_bytes: topic.partitions.iter().map(|it| it.stored_bytes).sum(),
        raw_bytes: topic.partitions.iter().map(|it| it.raw_bytes).sum(),
    };
    let mut topics: Vec<TopicSize> = snapshot.topics.iter().map(size).collect();
    topics.sort_by(|a, b| {
        b.stored_bytes
            .cmp(&a.stored_bytes)
            .then_with(|| a.topic.cmp(&b.topic))
    });
    Ok(topics)
}

impl SnapshotSize {
    fn damaged(sequence: u64, error: &RepoError) -> SnapshotSize {
        SnapshotSize {
            sequence,
            damage: Some(error.to_string()),
            created_at: None,
            stored_bytes: None,
            unique_objects: None,
            unique_bytes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::tests::world::World;
    use crate::testing::faulty::Withheld;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_snapshot_or_a_table_that_cannot_be_read_is_named_and_the_others_are_counted() {
        let world = World::random(1).await;
        let keys = world.keys().await;
        let table = keys.iter().find(|key| key.starts_with("index/")).unwrap();
        let snapshot = format!("snapshots/{:020}.json", 2);
        for (key, is_denied) in [(&snapshot, true), (&snapshot, false), (table, true)] {
            let withheld = Withheld::new(is_denied, [key.clone()]);
            let sizes = sizes(&world.open_without(withheld).await).await.unwrap();
            assert_eq!(sizes.snapshots.len(), 3);
            let damaged = sizes.snapshots.iter().filter_map(|it| it.damage.as_ref());
            let damaged: Vec<&String> = damaged.collect();
            assert!(
                !damaged.is_empty() && damaged.iter().all(|it| it.contains(key.as_str())),
                "{damaged:?}"
            );
            if *key == snapshot {
                assert_eq!(damaged.len(), 1);
            }
        }
    }
}
