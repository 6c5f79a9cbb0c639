//! Lists the topics, partitions and segments of a snapshot.

use jiff::Timestamp;
use kbk_format::repo::{
    Compacted, Incomplete, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
    TopicState,
};
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

/// One topic. A topic that was deleted and created again is two rows with different ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies this history of the topic, 32 hex digits: Kafka's id of the topic, unless its log was replaced (SPEC 11.4).
    pub topic_id: String,
    /// Whether this history does not count any more: the cluster no longer has the topic, or another history replaced it.
    pub deleted: bool,
    /// The snapshot that replaced it, since it read the topic again in full, with its number in the repository that was backed up where the
    /// listed one is a copy; null where the cluster deleted the topic, or has it.
    pub replaced_in: Option<u64>,
    /// Whether it is one of Kafka's internal topics.
    pub internal: bool,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of partitions that lack records that the cluster had.
    pub incomplete_partitions: u64,
    /// Number of offsets before those that are stored that have expired.
    pub expired_offsets: u64,
    /// Number of their records.
    pub expired_records: u64,
    /// Totals over its segments.
    #[serde(flatten)]
    pub totals: SegmentTotals,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic, as in [`TopicRow`].
    pub topic_id: String,
    /// Whether this history does not count any more.
    pub deleted: bool,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// First offset covered.
    pub base_offset: i64,
    /// One past the last offset covered.
    pub end_offset: i64,
    /// Number of segments.
    pub segments: u64,
    /// Totals over its segments.
    #[serde(flatten)]
    pub totals: SegmentTotals,
    /// Ranges of offsets that the cluster had deleted before they were read.
    pub lost: Vec<OffsetSpan>,
    /// What was removed before `base_offset`, by the age of its records; null where nothing was.
    pub expired: Option<ExpiredRow>,
    /// What was removed since later records have the same keys; null where nothing was.
    pub compacted: Option<Compacted>,
    /// Why it lacks records that the cluster had; null if it lacks none.
    pub incomplete: Option<Incomplete>,
    /// How many offsets it lacks; null if that is not known, or none.
    pub missing_offsets: Option<u64>,
}

/// What was expired of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiredRow {
    /// The offsets.
    pub offsets: OffsetSpan,
    /// Number of segments.
    pub segments: u64,
    /// Number of their records.
    pub records: u64,
    /// The last snapshot that expired some of them; where that was done in the original of a copy, with its number there.
    pub snapshot: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// What it was asked to do.
    pub policy: String,
}

impl ExpiredRow {
    /// Returns what was expired of a partition; `None` where nothing was.
    #[must_use]
    pub fn of(state: &PartitionState) -> Option<ExpiredRow> {
        let expired = state.expired.as_ref()?;
        Some(ExpiredRow {
            offsets: state.expired_offsets()?,
            segments: expired.segments,
            records: expired.records,
            snapshot: expired.snapshot,
            at: expired.at,
            policy: expired.policy.clone(),
        })
    }
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentRow {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// What the index states of it.
    #[serde(flatten)]
    pub entry: SegmentEntry,
}

/// Sums and extremes over segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegmentTotals {
    /// Number of records.
    pub records: u64,
    /// Bytes of the segments.
    pub stored_bytes: u64,
    /// Bytes of the records, or of Kafka's own batches, before kbk compresses them.
    pub raw_bytes: u64,
    /// Smallest timestamp in milliseconds; null without records, and where a segment does not state it.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds, or a bound that none is above where the smallest one is null; null without records.
    pub max_timestamp: Option<i64>,
}

impl SegmentTotals {
    /// Returns the totals over these segments.
    #[must_use]
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a SegmentEntry>) -> SegmentTotals {
        let mut totals = SegmentTotals::default();
        for entry in entries {
            totals.add(&SegmentTotals {
                records: entry.records,
                stored_bytes: entry.size,
                raw_bytes: entry.raw_bytes,
                min_timestamp: entry.min_timestamp.filter(|_| entry.records > 0),
                max_timestamp: (entry.records > 0).then_some(entry.max_timestamp),
            });
        }
        totals
    }

    fn of_partition(state: &PartitionState) -> SegmentTotals {
        SegmentTotals {
            records: state.records,
            stored_bytes: state.stored_bytes,
            raw_bytes: state.raw_bytes,
            min_timestamp: state.min_timestamp,
            max_timestamp: state.max_timestamp,
        }
    }

    /// Adds the sums and extremes of others.
    pub fn add(&mut self, other: &SegmentTotals) {
        if other.records > 0 {
            self.min_timestamp = match (self.min_timestamp, other.min_timestamp) {
                (_, min) if self.records == 0 => min,
                // One that is not known makes the smallest of all unknown.
                (Some(min), Some(next)) => Some(min.min(next)),
                _ => None,
            };
            self.max_timestamp = self.max_timestamp.max(other.max_timestamp);
        }
        self.records = self.records.saturating_add(other.records);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
        self.raw_bytes = self.raw_bytes.saturating_add(other.raw_bytes);
    }
}

/// Lists topics of a snapshot, in the given order.
pub fn topics<'a>(
    snapshot: &Snapshot,
    topics: impl IntoIterator<Item = &'a TopicState>,
) -> Vec<TopicRow> {
    let row = |topic: &TopicState| {
        let mut totals = SegmentTotals::default();
        for state in &topic.partitions {
            totals.add(&SegmentTotals::of_partition(state));
        }
        TopicRow {
            topic: topic.name.to_string(),
            topic_id: topic.topic_id.to_string(),
            deleted: topic.deleted,
            replaced_in: snapshot.replaced_in(topic),
            internal: topic.internal,
            partitions: topic.partitions.len() as u64,
            incomplete_partitions: incomplete_partitions(topic),
            expired_offsets: sum(topic, expired_offsets),
            expired_records: sum(topic, PartitionState::expired_records),
            totals,
        }
    };
    topics.into_iter().map(row).collect()
}

fn sum(topic: &TopicState, of: fn(&PartitionState) -> u64) -> u64 {
    let states = topic.partitions.iter().map(of);
    states.fold(0, u64::saturating_add)
}

fn expired_offsets(state: &PartitionState) -> u64 {
    let expired = state.expired_offsets();
    expired.map_or(0, |it| it.end_offset.abs_diff(it.base_offset))
}

fn incomplete_partitions(topic: &TopicState) -> u64 {
    let states = topic.partitions.iter();
    states.filter(|state| state.lacking().is_some()).count() as u64
}

/// Lists partitions of a topic, in the given order.
pub fn partitions<'a>(
    topic: &TopicState,
    states: impl IntoIterator<Item = &'a PartitionState>,
) -> Vec<PartitionRow> {
    let row = |state: &PartitionState| PartitionRow {
        topic: topic.name.to_string(),
        topic_id: topic.topic_id.to_string(),
        deleted: topic.deleted,
        partition: state.partition,
        base_offset: state.base_offset,
        end_offset: state.end_offset,
        segments: state.segments,
        totals: SegmentTotals::of_partition(state),
        lost: state.lost.iter().map(|lost| (*lost).into()).collect(),
        expired: ExpiredRow::of(state),
        compacted: state.compacted.as_deref().cloned(),
        incomplete: state.lacking().cloned(),
        missing_offsets: state.missing_offsets(),
    };
    states.into_iter().map(row).collect()
}

/// Lists the segments of a partition, in offset order.
///
/// # Errors
///
/// As [`Repository::segments`].
pub async fn segments(
    repository: &Repository,
    snapshot: &Snapshot,
    topic: &TopicState,
    state: &PartitionState,
) -> Result<Vec<SegmentRow>, RepoError> {
    let id = topic.partition_id(state.partition);
    let segments = repository.segments(snapshot, &id, state).await?;
    let row = |entry| SegmentRow {
        topic: id.topic.to_string(),
        partition: id.partition,
        entry,
    };
    Ok(segments.into_iter().map(row).collect())
}
