//! The ranges of keys that readers ask for: most are of one half of the order, or of one partition.

use super::key::{Area, RowKey};
use crate::repo::keys::PartitionId;

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// Every key.
    All,
    /// Topics, partitions and lost ranges.
    States,
    /// The segments of every partition.
    Segments,
    /// The segments of one partition.
    SegmentsOf(PartitionId),
}

impl KeyRange {
    pub(crate) fn contains(&self, key: &RowKey) -> bool {
        match self {
            KeyRange::All => true,
            KeyRange::States => key.area() == Area::States,
            KeyRange::Segments => key.area() == Area::Segments,
            KeyRange::SegmentsOf(id) => {
                let (first, last) = ends(id);
                (first..=last).contains(key)
            }
        }
    }

    /// Returns whether a table with these first and last keys can hold a key of the range.
    pub(crate) fn overlaps(&self, first: &RowKey, last: &RowKey) -> bool {
        match self {
            KeyRange::All => true,
            KeyRange::States => first.area() == Area::States,
            KeyRange::Segments => last.area() == Area::Segments,
            KeyRange::SegmentsOf(id) => {
                let (lowest, highest) = ends(id);
                *first <= highest && lowest <= *last
            }
        }
    }
}

fn ends(id: &PartitionId) -> (RowKey, RowKey) {
    let key = |offset| RowKey::segment(id.clone(), offset);
    (key(0), key(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::{partition_id, topic};
    use super::*;

    #[test]
    fn a_table_overlaps_where_it_can_hold_a_key() {
        let segment = |number, offset| RowKey::segment(partition_id("b", 1, number), offset);
        let state = topic("b", 1);
        let of = KeyRange::SegmentsOf(partition_id("b", 1, 1));
        assert!(of.contains(&segment(1, 0)) && of.contains(&segment(1, i64::MAX)));
        assert!(!of.contains(&segment(0, 5)) && !of.contains(&segment(2, 0)));
        assert!(!of.contains(&RowKey::partition(partition_id("b", 1, 1))));
        assert!(of.overlaps(&state, &segment(1, 0)) && !of.overlaps(&state, &segment(0, 9)));
        assert!(of.overlaps(&segment(1, 9), &segment(2, 9)));
        assert!(!of.overlaps(&segment(2, 0), &segment(2, 9)));

        assert!(KeyRange::States.overlaps(&state, &segment(0, 0)));
        assert!(!KeyRange::States.overlaps(&segment(0, 0), &segment(0, 1)));
        assert!(KeyRange::Segments.overlaps(&state, &segment(0, 0)));
        assert!(!KeyRange::Segments.overlaps(&state, &state));
    }
}
