//! The ranges of keys that readers ask for: most are of one half of the order, or of one partition; and the range of time.

use std::cmp::Ordering;

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
    /// Returns where a key is: before the range, in it, or after it.
    pub(crate) fn place(&self, key: &RowKey) -> Ordering {
        let in_area = |area: Area| key.area().cmp(&area);
        match self {
            KeyRange::All => Ordering::Equal,
            KeyRange::States => in_area(Area::States),
            KeyRange::Segments => in_area(Area::Segments),
            KeyRange::SegmentsOf(id) => {
                in_area(Area::Segments).then_with(|| key.compare_partition(id))
            }
        }
    }

    /// Returns the rows of the range of all times.
    pub(crate) fn at_any_time(self) -> RowFilter {
        RowFilter {
            range: self,
            times: None,
        }
    }

    /// Returns whether a table with these first and last keys can hold a key of the range.
    pub(crate) fn overlaps(&self, first: &RowKey, last: &RowKey) -> bool {
        self.place(first).is_le() && self.place(last).is_ge()
    }
}

/// What a reader looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowFilter {
    /// The keys.
    pub(crate) range: KeyRange,
    /// Of segments, only those that overlap these timestamps, both inclusive, matter. Others may be returned, too.
    pub(crate) times: Option<(i64, i64)>,
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
        assert!(of.place(&segment(1, 0)).is_eq() && of.place(&segment(1, i64::MAX)).is_eq());
        assert!(of.place(&segment(0, 5)).is_lt() && of.place(&segment(2, 0)).is_gt());
        assert!(
            of.place(&RowKey::partition(partition_id("b", 1, 1)))
                .is_lt()
        );
        assert!(of.overlaps(&state, &segment(1, 0)) && !of.overlaps(&state, &segment(0, 9)));
        assert!(of.overlaps(&segment(1, 9), &segment(2, 9)));
        assert!(!of.overlaps(&segment(2, 0), &segment(2, 9)));

        assert!(KeyRange::States.overlaps(&state, &segment(0, 0)));
        assert!(!KeyRange::States.overlaps(&segment(0, 0), &segment(0, 1)));
        assert!(KeyRange::Segments.overlaps(&state, &segment(0, 0)));
        assert!(!KeyRange::Segments.overlaps(&state, &state));
    }
}
