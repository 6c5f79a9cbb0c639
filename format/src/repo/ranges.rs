//! Sets of sequences as ranges, both ends included: ascending, with a sequence between any two (SPEC section 11.5).

use std::collections::BTreeSet;

use crate::layout::limits;

/// Returns whether a range has the sequence.
pub(super) fn contain(ranges: &[(u64, u64)], sequence: u64) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= sequence);
    let before = after.checked_sub(1).and_then(|at| ranges.get(at));
    before.is_some_and(|(_, last)| sequence <= *last)
}

/// Returns the ranges that have these sequences besides those of `ranges`.
pub(super) fn with(ranges: &[(u64, u64)], sequences: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let single: Vec<(u64, u64)> = sequences.iter().map(|it| (*it, *it)).collect();
    union(ranges, &single)
}

/// Returns the ranges that have the sequences of both.
pub(super) fn union(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = [ranges, others].concat();
    all.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Returns the ranges that have the sequences between these two besides those of `ranges`, or `ranges` where that would be too many.
pub(super) fn with_between(ranges: &[(u64, u64)], before: u64, after: u64) -> Vec<(u64, u64)> {
    let between = (before.saturating_add(1), after.saturating_sub(1));
    let all = match between.0 <= between.1 {
        true => union(ranges, &[between]),
        false => ranges.to_vec(),
    };
    match all.len() <= limits::FORGOTTEN_RANGES {
        true => all,
        false => ranges.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_nothing_is_between_them() {
        let with =
            |ranges: &[(u64, u64)], new: &[u64]| with(ranges, &new.iter().copied().collect());
        assert_eq!(with(&[], &[]), []);
        assert_eq!(with(&[], &[3, 1, 2, 5]), [(1, 3), (5, 5)]);
        assert_eq!(with(&[(1, 3), (5, 5)], &[4]), [(1, 5)]);
        assert_eq!(with(&[(1, 3)], &[2, 7, 8]), [(1, 3), (7, 8)]);
        assert_eq!(with(&[(2, 3)], &[1]), [(1, 3)]);
        assert_eq!(with(&[(1, 1)], &[u64::MAX]), [(1, 1), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn what_is_between_two_is_added_where_there_is_room() {
        assert_eq!(with_between(&[], 3, 4), []);
        assert_eq!(with_between(&[], 3, 5), [(4, 4)]);
        assert_eq!(with_between(&[(1, 3)], 3, 7), [(1, 6)]);
        assert_eq!(with_between(&[(1, 1)], u64::MAX, u64::MAX), [(1, 1)]);
        let full: Vec<(u64, u64)> = (0..limits::FORGOTTEN_RANGES as u64)
            .map(|at| (3 * at + 1, 3 * at + 1))
            .collect();
        let last = full.len() as u64 * 3 + 9;
        assert_eq!(with_between(&full, last, last + 2), full);
    }

    #[test]
    fn a_range_has_both_of_its_ends() {
        let ranges = [(2, 4), (6, 6)];
        let found: Vec<u64> = (0..9).filter(|at| contain(&ranges, *at)).collect();
        assert_eq!(found, [2, 3, 4, 6]);
        assert!(!contain(&[], 1));
    }
}
