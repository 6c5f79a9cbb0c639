//! Compares what two snapshots state of topics and partitions. No I/O.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::OffsetSpan;
use kbk_format::repo::{Id, PartitionState, TopicName, TopicState};

use super::difference::{PartitionOf, Side, SnapshotDifference, TopicHistory};

/// A partition that both snapshots have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) topic: &'a TopicState,
    pub(super) a: &'a PartitionState,
    pub(super) b: &'a PartitionState,
}

/// Pairs topics by name and history, and adds the differences between what is stated of each: without configurations and the like if `records_only`.
/// Returns the partitions that both have.
pub(super) fn pair_topics<'a>(
    a: impl Iterator<Item = &'a TopicState>,
    b: impl Iterator<Item = &'a TopicState>,
    records_only: bool,
    differences: &mut Vec<SnapshotDifference>,
) -> (u64, Vec<Pair<'a>>) {
    type Sides<'a> = (Option<&'a TopicState>, Option<&'a TopicState>);
    let mut topics: BTreeMap<(&TopicName, Id), Sides<'a>> = BTreeMap::new();
    for topic in a {
        topics.entry((&topic.name, topic.topic_id)).or_default().0 = Some(topic);
    }
    for topic in b {
        topics.entry((&topic.name, topic.topic_id)).or_default().1 = Some(topic);
    }
    let mut compared = 0;
    let mut pairs = Vec::new();
    for sides in topics.into_values() {
        match sides {
            (Some(a), Some(b)) => {
                compared += 1;
                properties(a, b, records_only, differences);
                let partitions = a.partitions.iter().zip(&b.partitions);
                pairs.extend(partitions.map(|(one, other)| Pair {
                    topic: a,
                    a: one,
                    b: other,
                }));
            }
            (Some(only), None) => differences.push(topic_only_in(Side::A, only)),
            (None, Some(only)) => differences.push(topic_only_in(Side::B, only)),
            (None, None) => {}
        }
    }
    (compared, pairs)
}

fn topic_only_in(side: Side, topic: &TopicState) -> SnapshotDifference {
    let records = topic.partitions.iter().map(|state| state.records);
    SnapshotDifference::TopicOnlyIn {
        side,
        topic: history(topic),
        partitions: topic.partitions.len() as u64,
        records: records.fold(0, u64::saturating_add),
    }
}

fn properties(
    a: &TopicState,
    b: &TopicState,
    records_only: bool,
    differences: &mut Vec<SnapshotDifference>,
) {
    let of = |topic: &TopicState| {
        [
            ("deleted", topic.deleted.to_string()),
            ("internal", topic.internal.to_string()),
            (
                "replication_factor",
                match topic.known_replication_factor() {
                    Some(factor) => factor.to_string(),
                    None => "unknown".to_owned(),
                },
            ),
            ("partitions", topic.partitions.len().to_string()),
        ]
    };
    for ((property, a_value), (_, b_value)) in of(a).into_iter().zip(of(b)) {
        let is_compared = !records_only || property == "partitions";
        if is_compared && a_value != b_value {
            differences.push(SnapshotDifference::TopicProperty {
                topic: history(a),
                property,
                a: a_value,
                b: b_value,
            });
        }
    }
    match (&a.config, &b.config) {
        _ if records_only => {}
        (Some(one), Some(other)) => configs(a, one, other, differences),
        (None, None) => {}
        (one, other) => {
            let saved = |config: &Option<_>| match config {
                Some(_) => "saved".to_owned(),
                None => "not saved".to_owned(),
            };
            differences.push(SnapshotDifference::TopicProperty {
                topic: history(a),
                property: "config",
                a: saved(one),
                b: saved(other),
            });
        }
    }
    let (fewer, more, side) = match a.partitions.len() < b.partitions.len() {
        true => (a, b, Side::B),
        false => (b, a, Side::A),
    };
    let only = more.partitions.iter().skip(fewer.partitions.len());
    for state in only.filter(|state| state.base_offset < state.end_offset) {
        differences.push(SnapshotDifference::CoveredOnlyIn {
            side,
            partition: partition_of(a, state),
            offsets: (state.base_offset..state.end_offset).into(),
            expired: false,
        });
    }
}

fn configs(
    topic: &TopicState,
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
    differences: &mut Vec<SnapshotDifference>,
) {
    let only_in_b = b.keys().filter(|name| !a.contains_key(*name));
    for name in a.keys().chain(only_in_b) {
        let (one, other) = (a.get(name), b.get(name));
        if one != other {
            differences.push(SnapshotDifference::Config {
                topic: history(topic),
                name: name.clone(),
                a: one.cloned(),
                b: other.cloned(),
            });
        }
    }
}

impl Pair<'_> {
    /// Returns the offsets that both cover; empty where there are none.
    pub(super) fn common(&self) -> Range<i64> {
        let start = self.a.base_offset.max(self.b.base_offset);
        start..self.a.end_offset.min(self.b.end_offset).max(start)
    }

    /// Returns the side of which more records were removed by key.
    pub(super) fn compacted(&self) -> Option<Side> {
        let [a, b] = [self.a, self.b].map(|state| {
            let compacted = state.compacted.as_ref();
            compacted.map_or(0, |compacted| compacted.records)
        });
        match a.cmp(&b) {
            Ordering::Less => Some(Side::B),
            Ordering::Equal => None,
            Ordering::Greater => Some(Side::A),
        }
    }

    pub(super) fn partition(&self) -> PartitionOf {
        partition_of(self.topic, self.a)
    }

    /// Adds the differences in what is covered, lost and missing.
    pub(super) fn coverage(&self, differences: &mut Vec<SnapshotDifference>) {
        for (side, one, other) in [(Side::A, self.a, self.b), (Side::B, self.b, self.a)] {
            for offsets in subtract(&[covered(one)], &[covered(other)]) {
                differences.push(SnapshotDifference::CoveredOnlyIn {
                    side,
                    partition: self.partition(),
                    expired: is_expired(other, &offsets),
                    offsets: offsets.into(),
                });
            }
        }
        for (side, one, other) in [(Side::A, self.a, self.b), (Side::B, self.b, self.a)] {
            let outside = subtract(&[covered(one)], &[self.common()]);
            let only = subtract(&lost(one), &lost(other));
            // What the other one does not cover was said above.
            for offsets in subtract(&only, &outside) {
                differences.push(SnapshotDifference::LostOnlyIn {
                    side,
                    partition: self.partition(),
                    offsets: offsets.into(),
                });
            }
        }
        let [a, b] = [self.a, self.b].map(|state| {
            let incomplete = state.incomplete.as_ref();
            incomplete.map(|it| (it.reason.clone(), it.detail.clone()))
        });
        if a.as_ref().map(|it| &it.0) != b.as_ref().map(|it| &it.0) {
            differences.push(SnapshotDifference::Incomplete {
                partition: self.partition(),
                a: a.map(|it| it.1),
                b: b.map(|it| it.1),
            });
        }
    }
}

fn covered(state: &PartitionState) -> Range<i64> {
    state.base_offset..state.end_offset
}

fn lost(state: &PartitionState) -> Vec<Range<i64>> {
    let lost = state.lost.iter();
    lost.map(|lost| lost.from..lost.to).collect()
}

fn is_expired(state: &PartitionState, offsets: &Range<i64>) -> bool {
    let OffsetSpan {
        base_offset,
        end_offset,
    } = match state.expired_offsets() {
        Some(expired) => expired,
        None => return false,
    };
    base_offset <= offsets.start && offsets.end <= end_offset
}

/// Returns what of `ranges` is not in `others`. Both are ascending and disjoint.
fn subtract(ranges: &[Range<i64>], others: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start;
        for other in others {
            if other.end <= start || range.end <= other.start {
                continue;
            }
            if start < other.start {
                left.push(start..other.start);
            }
            start = other.end;
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

fn history(topic: &TopicState) -> TopicHistory {
    TopicHistory {
        topic: topic.name.to_string(),
        topic_id: topic.topic_id,
    }
}

fn partition_of(topic: &TopicState, state: &PartitionState) -> PartitionOf {
    PartitionOf {
        topic: history(topic),
        partition: state.partition,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<Range<i64>>> {
        proptest::collection::btree_set(0..40_i64, 0..8).prop_map(|bounds| {
            let bounds: Vec<i64> = bounds.into_iter().collect();
            let pairs = bounds.chunks_exact(2);
            let ranges = pairs.filter_map(|pair| Some(*pair.first()?..*pair.last()?));
            ranges.collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_subtracted_is_what_a_set_would_lack(ranges in ranges(), others in ranges()) {
            let offsets = |ranges: &[Range<i64>]| ranges.iter().cloned().flatten().collect::<BTreeSet<i64>>();
            let left = subtract(&ranges, &others);
            let expected = &offsets(&ranges) - &offsets(&others);
            prop_assert_eq!(offsets(&left), expected);
            prop_assert!(left.iter().all(|range| range.start < range.end));
        }
    }
}
