//! Sets of offsets as ranges, ascending and disjoint.

use std::ops::Range;

use kbk_format::OffsetSpan;

/// Offsets: ranges that are ascending, not empty and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets(Vec<Range<i64>>);

impl Offsets {
    /// Makes the union of ranges.
    pub(super) fn of(ranges: impl IntoIterator<Item = Range<i64>>) -> Offsets {
        let mut sorted: Vec<Range<i64>> =
            ranges.into_iter().filter(|it| it.start < it.end).collect();
        sorted.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<i64>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Offsets(joined)
    }

    /// Makes a set of one range.
    pub(super) fn one(range: Range<i64>) -> Offsets {
        Offsets::of(std::iter::once(range))
    }

    /// Returns the number of offsets of a range that are not in the set. Costs what is in the range, and not what is in the set.
    pub(super) fn missing_of(&self, range: Range<i64>) -> u64 {
        let first = self.0.partition_point(|it| it.end <= range.start);
        let rest = self.0.get(first..).unwrap_or_default().iter();
        let within = rest.take_while(|it| it.start < range.end);
        let had = within.map(|it| it.end.min(range.end).abs_diff(it.start.max(range.start)));
        let all = range.end.max(range.start).abs_diff(range.start);
        all.saturating_sub(had.fold(0, u64::saturating_add))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<i64>> {
        self.0.iter().cloned()
    }

    /// Returns their number.
    pub(super) fn count(&self) -> u64 {
        let counts = self.0.iter().map(|it| it.end.abs_diff(it.start));
        counts.fold(0, u64::saturating_add)
    }

    /// Returns those that are in the other set, too.
    pub(super) fn and(&self, other: &Offsets) -> Offsets {
        let mut both = Vec::new();
        let mut rest = other.0.as_slice();
        for range in &self.0 {
            while let Some((first, after)) = rest.split_first()
                && first.end <= range.start
            {
                rest = after;
            }
            let within = rest.iter().take_while(|it| it.start < range.end);
            both.extend(within.map(|it| it.start.max(range.start)..it.end.min(range.end)));
        }
        Offsets::of(both)
    }

    /// Returns those that are not in the other set.
    pub(super) fn without(&self, other: &Offsets) -> Offsets {
        let mut left = Vec::new();
        let mut rest = other.0.as_slice();
        for range in &self.0 {
            while let Some((first, after)) = rest.split_first()
                && first.end <= range.start
            {
                rest = after;
            }
            let mut start = range.start;
            for taken in rest.iter().take_while(|it| it.start < range.end) {
                if start < taken.start {
                    left.push(start..taken.start);
                }
                start = start.max(taken.end);
            }
            if start < range.end {
                left.push(start..range.end);
            }
        }
        Offsets::of(left)
    }

    pub(super) fn spans(&self) -> Vec<OffsetSpan> {
        self.0.iter().cloned().map(OffsetSpan::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn offsets() -> impl Strategy<Value = Vec<Range<i64>>> {
        let range = (0..40_i64, 0..8_i64).prop_map(|(from, length)| from..from + length);
        proptest::collection::vec(range, 0..6)
    }

    proptest! {
        #[test]
        fn they_are_sets(a in offsets(), b in offsets()) {
            let set = |ranges: &[Range<i64>]| ranges.iter().cloned().flatten().collect::<BTreeSet<i64>>();
            let (of_a, of_b) = (Offsets::of(a.clone()), Offsets::of(b.clone()));
            let (a, b) = (set(&a), set(&b));
            prop_assert_eq!(set(&of_a.0), a.clone());
            prop_assert_eq!(of_a.count(), a.len() as u64);
            prop_assert_eq!(set(&of_a.and(&of_b).0), &a & &b);
            prop_assert_eq!(set(&of_a.without(&of_b).0), &a - &b);
            let missing = (5..30).filter(|it| !a.contains(it)).count() as u64;
            prop_assert_eq!(of_a.missing_of(5..30), missing);
            prop_assert!(of_a.0.array_windows().all(|[x, y]| x.end < y.start));
        }
    }
}
