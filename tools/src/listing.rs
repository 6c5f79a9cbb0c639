//! What a repository holds, as rows: snapshots, topics, partitions, segments.

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    LostRange, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
    TopicState,
};
use serde::Serialize;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotRow {
    /// Its number.
    pub sequence: u64,
    /// Why nothing else is known of it; null where it is sound.
    pub damage: Option<String>,
    /// What it holds; null where it is damaged.
    #[serde(flatten)]
    pub contents: Option<SnapshotContents>,
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotContents {
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Number of the snapshot that it was made from.
    pub parent: Option<u64>,
    /// Kafka's id of the cluster.
    pub cluster_id: Option<String>,
    /// Topics, deleted ones too.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Records.
    pub records: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Bytes of all records before compression.
    pub raw_bytes: u64,
    /// Bytes of segments that the parent does not have; null where the parent cannot be read.
    pub new_bytes: Option<u64>,
    /// Records that the parent does not have; null where the parent cannot be read.
    pub new_records: Option<u64>,
}

/// All snapshots of a repository, ascending.
///
/// # Errors
///
/// If the repository cannot be listed. A snapshot that cannot be read is a row that says so.
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
    // What the parent has: nothing, if there is none; unknown, if it is gone or damaged.
    let base = match parent {
        None => Some((0, 0)),
        Some(parent) => before
            .iter()
            .find(|row| row.sequence == parent)
            .and_then(|row| row.contents.as_ref())
            .map(|parent| (parent.records, parent.stored_bytes)),
    };
    SnapshotContents {
        created_at: snapshot.created_at.to_string(),
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

/// One topic. A topic that was deleted and created again is two, with two ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicRow {
    /// Its name.
    pub topic: String,
    /// Kafka's id of it, 32 hex digits; zeros where the cluster gave none.
    pub topic_id: String,
    /// The cluster no longer has it.
    pub deleted: bool,
    /// One of Kafka's own.
    pub internal: bool,
    /// Number of its partitions.
    pub partitions: u64,
    /// What they hold.
    #[serde(flatten)]
    pub totals: Totals,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionRow {
    /// The topic's name.
    pub topic: String,
    /// Kafka's id of the topic.
    pub topic_id: String,
    /// Its number.
    pub partition: i32,
    /// First offset that is covered.
    pub base_offset: i64,
    /// Behind the last offset that is covered.
    pub end_offset: i64,
    /// Number of its segments.
    pub segments: u64,
    /// What they hold.
    #[serde(flatten)]
    pub totals: Totals,
    /// Ranges that the source had deleted before they were read, the end exclusive.
    pub lost: Vec<LostRange>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentRow {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What its page says.
    #[serde(flatten)]
    pub entry: SegmentEntry,
}

/// Sums and extremes over segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Records.
    pub records: u64,
    /// Bytes of the segments.
    pub stored_bytes: u64,
    /// Bytes of the records before compression.
    pub raw_bytes: u64,
    /// Smallest timestamp in milliseconds; null where there is no record.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds; null where there is no record.
    pub max_timestamp: Option<i64>,
}

impl Totals {
    fn of(entries: &[SegmentEntry]) -> Totals {
        let mut totals = Totals::default();
        for entry in entries {
            let times = (entry.records > 0).then_some((entry.min_timestamp, entry.max_timestamp));
            totals.add(&Totals {
                records: entry.records,
                stored_bytes: entry.size,
                raw_bytes: entry.raw_bytes,
                min_timestamp: times.map(|(min, _)| min),
                max_timestamp: times.map(|(_, max)| max),
            });
        }
        totals
    }

    fn add(&mut self, other: &Totals) {
        self.records = self.records.saturating_add(other.records);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
        self.raw_bytes = self.raw_bytes.saturating_add(other.raw_bytes);
        let (min, max) = (self.min_timestamp, self.max_timestamp);
        self.min_timestamp = min.into_iter().chain(other.min_timestamp).min();
        self.max_timestamp = max.into_iter().chain(other.max_timestamp).max();
    }
}

/// The topics of a snapshot, in its order.
///
/// # Errors
///
/// As [`Repository::segments`]: the times stand in the pages.
pub async fn topics(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Vec<TopicRow>, RepoError> {
    let mut rows = Vec::new();
    for topic in &snapshot.topics {
        let mut totals = Totals::default();
        for partition in partitions(repository, topic).await? {
            totals.add(&partition.totals);
        }
        rows.push(TopicRow {
            topic: topic.name.to_string(),
            topic_id: topic.topic_id.to_string(),
            deleted: topic.deleted,
            internal: topic.internal,
            partitions: topic.partitions.len() as u64,
            totals,
        });
    }
    Ok(rows)
}

/// The partitions of a topic, ascending.
///
/// # Errors
///
/// As [`Repository::segments`].
pub async fn partitions(
    repository: &Repository,
    topic: &TopicState,
) -> Result<Vec<PartitionRow>, RepoError> {
    let rows: Vec<_> = topic
        .partitions
        .iter()
        .map(|state| partition(repository, topic.place(state.partition), state))
        .collect();
    let rows = stream::iter(rows).buffered(repository.store().profile().parallel_partitions);
    rows.try_collect().await
}

async fn partition(
    repository: &Repository,
    place: PartitionId,
    state: &PartitionState,
) -> Result<PartitionRow, RepoError> {
    let segments = repository.segments(&place, state).await?;
    Ok(PartitionRow {
        topic: place.topic.to_string(),
        topic_id: place.topic_id.to_string(),
        partition: place.partition,
        base_offset: state.base_offset,
        end_offset: state.end_offset,
        segments: segments.len() as u64,
        totals: Totals::of(&segments),
        lost: state.lost.clone(),
    })
}

/// The segments of a partition, in offset order.
///
/// # Errors
///
/// As [`Repository::segments`].
pub async fn segments(
    repository: &Repository,
    topic: &TopicState,
    state: &PartitionState,
) -> Result<Vec<SegmentRow>, RepoError> {
    let place = topic.place(state.partition);
    let segments = repository.segments(&place, state).await?;
    let row = |entry| SegmentRow {
        topic: place.topic.to_string(),
        partition: place.partition,
        entry,
    };
    Ok(segments.into_iter().map(row).collect())
}
