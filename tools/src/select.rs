//! Which records of a partition are meant, and what of it need not be read to find them.

use std::ops::{Range, RangeInclusive};

use kbk_format::repo::SegmentEntry;
use kbk_format::{Columns, IndexEntry, Record, Segment};

/// The records with an offset in `offsets` and a timestamp in `times`.
///
/// Timestamps are looked at record by record: they need not be in order, and a late record counts
/// like any other. A record without a timestamp has the timestamp -1. Control records are Kafka's
/// own marks and never meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The end is exclusive.
    pub offsets: Range<i64>,
    /// Milliseconds since the epoch; both bounds are inclusive.
    pub times: RangeInclusive<i64>,
}

impl Selection {
    /// Every record of every partition.
    #[must_use]
    pub fn all() -> Selection {
        Selection {
            offsets: 0..i64::MAX,
            times: i64::MIN..=i64::MAX,
        }
    }

    /// Whether any of the offsets from `base` to `end`, exclusive, is meant.
    pub(crate) fn reaches(&self, base: i64, end: i64) -> bool {
        base.max(self.offsets.start) < end.min(self.offsets.end)
    }

    fn overlaps(&self, min_timestamp: i64, max_timestamp: i64) -> bool {
        min_timestamp <= *self.times.end() && max_timestamp >= *self.times.start()
    }

    /// Whether the segment may hold a record that is meant.
    pub(crate) fn needs_segment(&self, entry: &SegmentEntry) -> bool {
        entry.records > 0
            && self.reaches(entry.base_offset, entry.end_offset)
            && self.overlaps(entry.min_timestamp, entry.max_timestamp)
    }

    /// Whether the block may hold a record that is meant.
    pub(crate) fn needs_block(&self, entry: &IndexEntry) -> bool {
        entry.record_count > 0
            && self.reaches(entry.base_offset, entry.end_offset)
            && self.overlaps(entry.min_timestamp, entry.max_timestamp)
    }

    /// Whether the block may hold records that are meant beside others: only decoding it tells how many.
    pub(crate) fn cuts_block(&self, segment: &Segment, entry: &IndexEntry) -> bool {
        let offsets =
            self.offsets.start <= entry.base_offset && entry.end_offset <= self.offsets.end;
        let times =
            self.times.contains(&entry.min_timestamp) && self.times.contains(&entry.max_timestamp);
        // Only the segment as a whole says whether it has control records.
        let records_only = segment.statistics().control_count == 0;
        self.needs_block(entry) && !(offsets && times && records_only)
    }

    /// The records in `columns` whose offsets are meant, whatever their times.
    pub(crate) fn rows(&self, columns: &Columns) -> Range<usize> {
        let offsets = columns.offsets();
        let start = offsets.partition_point(|offset| *offset < self.offsets.start);
        let end = offsets.partition_point(|offset| *offset < self.offsets.end);
        start..end.max(start)
    }

    /// Whether a record whose offset is meant is meant itself.
    pub(crate) fn takes(&self, record: &Record<'_>) -> bool {
        self.times.contains(&record.timestamp) && !record.control
    }
}
