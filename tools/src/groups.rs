//! The consumer groups of a snapshot as rows, each offset with where it lies in what is stored.

use kbk_format::repo::{CommittedOffset, GroupState, GroupTopic, PartitionState, Snapshot};
use serde::Serialize;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// Its id.
    pub group: String,
    /// The cluster's word for its protocol.
    pub r#type: Option<String>,
    /// The cluster's word for its state when the groups were taken.
    pub state: Option<String>,
    /// Topics that it has committed offsets of.
    pub topics: u64,
    /// Their partitions that it has committed offsets of.
    pub partitions: u64,
    /// Over all partitions that are stored; null where none is.
    pub behind: Option<Behind>,
    /// Ordered by topic and partition.
    pub offsets: Vec<OffsetRow>,
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRow {
    /// The topic.
    pub topic: String,
    /// Its id then, 32 hex digits; zeros where it is not known.
    pub topic_id: String,
    /// What is committed.
    #[serde(flatten)]
    pub committed: CommittedOffset,
    /// Behind the last offset of the partition that is stored; null where nothing of it is.
    pub stored_end_offset: Option<i64>,
    /// The stored records that the group had yet to read; null as above.
    pub behind: Option<Behind>,
}

/// A number of records, counted without reading any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// So many.
    pub records: u64,
    /// Or fewer: offsets without records lie among them.
    pub at_most: bool,
}

/// A group of a snapshot.
#[must_use]
pub fn row(snapshot: &Snapshot, group: &GroupState) -> GroupRow {
    let of_topic = |topic| offset_rows(snapshot, topic);
    let offsets: Vec<OffsetRow> = group.topics.iter().flat_map(of_topic).collect();
    let behind = offsets.iter().filter_map(|row| row.behind);
    GroupRow {
        group: group.group.clone(),
        r#type: group.r#type.clone(),
        state: group.state.clone(),
        topics: group.topics.len() as u64,
        partitions: offsets.len() as u64,
        behind: behind.reduce(|a, b| Behind {
            records: a.records.saturating_add(b.records),
            at_most: a.at_most || b.at_most,
        }),
        offsets,
    }
}

fn offset_rows(snapshot: &Snapshot, topic: &GroupTopic) -> Vec<OffsetRow> {
    let stored = snapshot.topic(&topic.topic, topic.topic_id);
    let row = |committed: &CommittedOffset| {
        let index = usize::try_from(committed.partition).ok();
        let state = stored
            .zip(index)
            .and_then(|(stored, index)| stored.partitions.get(index));
        OffsetRow {
            topic: topic.topic.to_string(),
            topic_id: topic.topic_id.to_string(),
            committed: committed.clone(),
            stored_end_offset: state.map(|state| state.end_offset),
            behind: state.map(|state| Behind::of(state, committed.offset)),
        }
    };
    topic.partitions.iter().map(row).collect()
}

impl Behind {
    /// The records of a partition from `offset` on. The coverage alone tells them where every offset of it is a record, or where it lies
    /// on one side of `offset` as a whole.
    fn of(state: &PartitionState, offset: i64) -> Behind {
        let (base, end) = (state.base_offset, state.end_offset);
        let left = u64::try_from(end.saturating_sub(offset.max(base))).unwrap_or(0);
        let dense = end.abs_diff(base) == state.records;
        Behind {
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
            partition: 0,
            log_start_offset: 0,
            high_watermark: 30,
            last_stable_offset: 30,
            base_offset: 10,
            end_offset: 30,
            records,
            stored_bytes: 0,
            raw_bytes: 0,
            lost: Vec::new(),
            pages: Vec::new(),
        };
        let Behind { records, at_most } = Behind::of(&state, offset);
        (records, at_most)
    }

    #[test]
    fn exact_where_the_coverage_tells() {
        for (offset, expected) in [(0, 20), (10, 20), (11, 19), (29, 1), (30, 0), (99, 0)] {
            assert_eq!(behind(20, offset), (expected, false), "{offset}");
        }
        assert_eq!(behind(7, 0), (7, false), "all of them");
        assert_eq!(behind(7, 10), (7, false), "all of them");
        assert_eq!(behind(7, 30), (0, false), "none of them");
        assert_eq!(behind(0, 20), (0, true));
    }

    #[test]
    fn a_limit_where_it_does_not() {
        assert_eq!(behind(7, 11), (7, true));
        assert_eq!(behind(7, 28), (2, true));
    }
}
