//! The latest records of the keys of a partition's first segments.

use std::collections::HashMap;
use std::sync::Arc;

use kbk_format::repo::SegmentEntry;

use super::latest::{KeySum, Superseded};
use super::merge::Filter;
use super::plan::Candidate;

/// The latest records of the keys of a partition.
pub(super) struct KeyRange {
    pub(super) superseded: Arc<Superseded>,
    /// By object: the place of the segment in the range, and the number of its first record.
    pub(super) places: HashMap<String, (usize, u64)>,
    pub(super) tombstones_from: Option<i64>,
}

impl KeyRange {
    /// Returns the number of records that go from a segment.
    pub(super) fn removed(&self, entry: &SegmentEntry) -> u64 {
        self.count(entry, &self.superseded.removed)
    }

    /// Returns how many of the records that go from these segments are old tombstones, and not superseded.
    pub(super) fn old_tombstones(&self, sources: &[SegmentEntry]) -> u64 {
        let counts = sources.iter();
        let counts = counts.map(|entry| self.count(entry, &self.superseded.old_tombstones));
        counts.fold(0, u64::saturating_add)
    }

    fn count(&self, entry: &SegmentEntry, by_segment: &[u64]) -> u64 {
        let place = self.places.get(&entry.key);
        let count = place.and_then(|(at, _)| by_segment.get(*at));
        count.copied().unwrap_or(0)
    }

    pub(super) fn candidate<'a>(&self, entry: &'a SegmentEntry, done: bool) -> Candidate<'a> {
        let removed = self.removed(entry);
        let kept = entry.records.saturating_sub(removed);
        let bytes = u128::from(entry.size) * u128::from(kept) / u128::from(entry.records.max(1));
        Candidate {
            entry,
            eligible: self.places.contains_key(&entry.key),
            done: done && removed == 0,
            bytes: u64::try_from(bytes).unwrap_or(entry.size),
        }
    }

    /// Returns what is left out of a group.
    pub(super) fn filter(&self, sources: &[SegmentEntry]) -> Option<Filter> {
        let first = sources.first()?;
        let (_, first) = self.places.get(&first.key)?;
        Some(Filter {
            superseded: Arc::clone(&self.superseded),
            first: *first,
            tombstones_from: self.tombstones_from,
        })
    }

    /// Returns the sum over the latest records of keys that are in these segments.
    pub(super) fn latest_in(&self, sources: &[SegmentEntry]) -> KeySum {
        let mut sum = KeySum::default();
        let places = sources.iter().filter_map(|it| self.places.get(&it.key));
        for latest in places.filter_map(|(at, _)| self.superseded.latest.get(*at)) {
            sum.merge(*latest);
        }
        sum
    }
}
