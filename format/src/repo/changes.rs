//! Which commits changed the segments of a partition (SPEC section 11.4).

use serde::{Deserialize, Serialize};

use crate::layout::limits;

/// The sequences of the last snapshots whose commits added, replaced or removed segments of a partition, the newest first.
///
/// They say in which runs rows about its segments can be, so that a reader of one partition leaves out all other runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(Vec<u64>);

impl Changes {
    /// Returns the sequence of the last one; 0 where there has been none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    /// Adds the commit of `sequence`, which is the newest.
    pub(super) fn record(&mut self, sequence: u64) {
        if self.newest() != sequence {
            self.0.truncate(limits::CHANGES - 1);
            self.0.insert(0, sequence);
        }
    }

    /// Returns whether one of the commits `from` to `to` can have changed the segments.
    pub(super) fn may_be_in(&self, from: u64, to: u64) -> bool {
        let oldest = self.0.last().copied().unwrap_or(0);
        // A full list says nothing about what was before.
        let older = self.0.len() >= limits::CHANGES && from < oldest;
        older || self.0.iter().any(|sequence| (from..=to).contains(sequence))
    }

    /// Checks the rules; the error names the one that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        let descending = self.0.is_sorted_by(|a, b| a > b);
        if !descending || self.0.last() == Some(&0) || self.0.len() > limits::CHANGES {
            let shown = self.0.get(..limits::CHANGES).unwrap_or(&self.0);
            return Err(format!("it was changed by the snapshots {shown:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(sequences: impl IntoIterator<Item = u64>) -> Changes {
        let mut changes = Changes::default();
        for sequence in sequences {
            changes.record(sequence);
        }
        changes
    }

    #[test]
    fn the_last_changes_are_kept() {
        assert_eq!(Changes::default().newest(), 0);
        assert_eq!(changes([3, 3, 5]).0, [5, 3]);
        let all: Vec<u64> = (1..=16).collect();
        assert_eq!(changes(1..=20).0, (5..=20).rev().collect::<Vec<_>>());
        assert_eq!(changes(all).newest(), 16);
    }

    #[test]
    fn commits_are_ruled_out_only_where_all_changes_are_known() {
        let few = changes([3, 7]);
        for (from, to, expected) in [
            (1, 2, false),
            (1, 3, true),
            (4, 6, false),
            (5, 9, true),
            (8, u64::MAX, false),
        ] {
            assert_eq!(few.may_be_in(from, to), expected, "{from} to {to}");
        }
        assert!(!Changes::default().may_be_in(0, u64::MAX));
        let many = changes((10..=25).map(|sequence| 2 * sequence));
        assert!(many.may_be_in(1, 1) && many.may_be_in(19, 19));
        assert!(!many.may_be_in(21, 21) && !many.may_be_in(51, 60));
    }

    #[test]
    fn the_rules_are_checked() {
        for good in [vec![], vec![1], vec![9, 3, 1]] {
            assert_eq!(Changes(good).check(), Ok(()));
        }
        let long = (1..=17).rev().collect();
        for wrong in [vec![0], vec![3, 3], vec![1, 2], vec![2, 0], long] {
            assert!(Changes(wrong.clone()).check().is_err(), "{wrong:?}");
        }
    }
}
