//! Lists the consumer groups of a snapshot, with each committed offset's lag behind the stored records.

use jiff::Timestamp;
use kbk_format::repo::{CommittedOffset, GroupState, GroupTopic, PartitionState, Snapshot};
use serde::Serialize;

/// One consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// The group id.
    pub group: String,
    /// The group's type, as the cluster named it.
    pub r#type: Option<String>,
    /// The group's state at the time of the backup, as the cluster named it.
    pub state: Option<String>,
    /// When the group was read, if that was by an earlier backup than the others: the cluster did not report it again.
    pub taken_at: Option<Timestamp>,
    /// Number of topics with committed offsets.
    pub topics: u64,
    /// Number of partitions with committed offsets.
    pub partitions: u64,
    /// Lag over all stored partitions; null if none is stored.
    pub behind: Option<Lag>,
    /// Committed offsets, ordered by topic and partition.
    pub offsets: Vec<OffsetRow>,
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRow {
    /// The topic's name.
    pub topic: String,
    /// The topic's id when the offset was read, 32 hex digits; zeros if unknown.
    pub topic_id: String,
    /// When the offset was read, if that was by an earlier backup than the rest of the group.
    pub taken_at: Option<Timestamp>,
    /// The committed offset.
    #[serde(flatten)]
    pub committed: CommittedOffset,
    /// One past the last stored offset of the partition; null if the partition is not stored.
    pub stored_end_offset: Option<i64>,
    /// Stored records that the group had not read yet; null if the partition is not stored.
    pub behind: Option<Lag>,
}

/// A group's lag in records, derived from coverage alone, without reading any record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The lag, or an upper bound of it.
    pub records: u64,
    /// Whether `records` is an upper bound, because some of the offsets have no record.
    pub at_most: bool,
}

/// Makes the row of one group of `snapshot`.
#[must_use]
pub fn row(snapshot: &Snapshot, group: &GroupState) -> GroupRow {
    let of_topic = |topic| offset_rows(snapshot, topic);
    let offsets: Vec<OffsetRow> = group.topics.iter().flat_map(of_topic).collect();
    let behind = offsets.iter().filter_map(|row| row.behind);
    GroupRow {
        group: group.group.clone(),
        r#type: group.r#type.clone(),
        state: group.state.clone(),
        taken_at: group.taken_at,
        topics: group.topics.len() as u64,
        partitions: offsets.len() as u64,
        behind: behind.reduce(|a, b| Lag {
            records: a.records.saturating_add(b.records),
            at_most: a.at_most || b.at_most,
        }),
        offsets,
    }
}

fn offset_rows(snapshot: &Snapshot, topic: &GroupTopic) -> Vec<OffsetRow> {
    let stored = snapshot.topic(&topic.topic, topic.topic_id);
    let row = |committed: &CommittedOffset| {
        let state = stored.and_then(|stored| stored.partitions.get(committed.partition.index()));
        OffsetRow {
            topic: topic.topic.to_string(),
            topic_id: topic.topic_id.to_string(),
            taken_at: topic.taken_at,
            committed: committed.clone(),
            stored_end_offset: state.map(|state| state.end_offset),
            behind: state.map(|state| Lag::of(state, committed.offset)),
        }
    };
    topic.partitions.iter().map(row).collect()
}

impl Lag {
    /// Counts the records of a partition from `offset` on. The count is exact if every covered offset has a record, or if the
    /// coverage lies entirely on one side of `offset`.
    fn of(state: &PartitionState, offset: i64) -> Lag {
        let (base, end) = (state.base_offset, state.end_offset);
        let left = u64::try_from(end.saturating_sub(offset.max(base))).unwrap_or(0);
        let dense = end.abs_diff(base) == state.records;
        Lag {
            records: left.min(state.records),
            at_most: offset > base && offset < end && !dense,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(records: u64, offset: i64) -> (u64, bool) {
        let state = PartitionState {
            end_offset: 30,
            records,
            ..PartitionState::empty(0.into(), 10)
        };
        let Lag { records, at_most } = Lag::of(&state, offset);
        (records, at_most)
    }

    #[test]
    fn lag_is_exact_where_coverage_determines_it() {
        for (offset, expected) in [(0, 20), (10, 20), (11, 19), (29, 1), (30, 0), (99, 0)] {
            assert_eq!(behind(20, offset), (expected, false), "{offset}");
        }
        assert_eq!(behind(7, 0), (7, false), "all of them");
        assert_eq!(behind(7, 10), (7, false), "all of them");
        assert_eq!(behind(7, 30), (0, false), "none of them");
        assert_eq!(behind(0, 20), (0, true));
    }

    #[test]
    fn lag_is_an_upper_bound_inside_sparse_coverage() {
        assert_eq!(behind(7, 11), (7, true));
        assert_eq!(behind(7, 28), (2, true));
    }
}
