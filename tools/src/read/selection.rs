//! Selects records of a partition, and rules out the segments and blocks that cannot hold any of them.

use std::ops::{Range, RangeInclusive};

use kbk_format::repo::SegmentEntry;
use kbk_format::{Columns, IndexEntry, Record, Segment};

use crate::filter::RecordFilter;

/// Stored bytes of a segment that takes no longer to read than a page of its key filter.
const SMALL_BYTES: u64 = 64 << 10;

/// Selects the records with an offset in `offsets` and a timestamp in `times` that satisfy `filter`.
///
/// Timestamps are compared record by record: they need not be in order, and a late record counts like any other. A record
/// without a timestamp has the timestamp -1. Control records are Kafka's own markers and are never selected.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Offsets; the end is exclusive.
    pub offsets: Range<i64>,
    /// Timestamps in milliseconds since the epoch; both bounds are inclusive.
    pub times: RangeInclusive<i64>,
    /// What the records hold.
    pub filter: RecordFilter,
}

impl Selection {
    /// Selects every record.
    #[must_use]
    pub fn all() -> Selection {
        Selection {
            offsets: 0..i64::MAX,
            times: i64::MIN..=i64::MAX,
            filter: RecordFilter::all(),
        }
    }

    /// Reports whether any offset from `base` up to, but not including, `end` is selected.
    pub(crate) fn reaches(&self, base: i64, end: i64) -> bool {
        base.max(self.offsets.start) < end.min(self.offsets.end)
    }

    /// Reports whether the segment may hold a selected record.
    pub(super) fn needs_segment(&self, entry: &SegmentEntry) -> bool {
        self.reaches(entry.base_offset, entry.end_offset)
            && entry.may_hold_times(*self.times.start(), *self.times.end())
    }

    /// Reports whether every record of the segment is selected, but for control records and what the filter leaves out.
    pub(super) fn covers_segment(&self, entry: &SegmentEntry) -> bool {
        let offsets =
            self.offsets.start <= entry.base_offset && entry.end_offset <= self.offsets.end;
        let min = entry.min_timestamp.unwrap_or(i64::MIN);
        let times = self.times.contains(&min) && self.times.contains(&entry.max_timestamp);
        offsets && times
    }

    /// Reports whether the segment has a filter that says where the selected keys may be, and is large enough for the request that it takes. Only
    /// keys that are given exactly can be looked up.
    pub(super) fn looks_up(&self, entry: &SegmentEntry) -> bool {
        entry.key_filter && entry.size > SMALL_BYTES && self.filter.exact_keys().is_some()
    }

    /// Returns the stored bytes of the blocks that offsets and times do not rule out.
    pub(super) fn stored_bytes(&self, segment: &Segment) -> u64 {
        let entries = segment.index().entries().iter().enumerate();
        let needed = entries.filter(|(number, _)| self.needs_block(segment, *number));
        needed.map(|(_, entry)| u64::from(entry.block_length)).sum()
    }

    /// Reports whether the block may hold a selected record, by its offsets and times. What the key filter states is not asked here: a page of it
    /// has to be read for that.
    pub(super) fn needs_block(&self, segment: &Segment, number: usize) -> bool {
        let entry = segment.index().entries().get(number);
        entry.is_some_and(|entry| {
            self.reaches(entry.base_offset, entry.end_offset)
                && entry.may_hold_times(*self.times.start(), *self.times.end())
        })
    }

    /// Reports whether a block that is needed may hold other records, too, so that only decoding it tells how many are selected.
    pub(super) fn cuts_block(&self, segment: &Segment, entry: &IndexEntry) -> bool {
        let offsets =
            self.offsets.start <= entry.base_offset && entry.end_offset <= self.offsets.end;
        let min = entry.min_timestamps.map_or(i64::MIN, |min| min.all);
        let times = self.times.contains(&min) && self.times.contains(&entry.max_timestamp);
        // The index counts control records per segment only, so one of them makes every block of the segment uncertain.
        let records_only = segment.statistics().control_count == 0;
        !(offsets && times && records_only && self.filter.selects_all())
    }

    /// Returns the rows whose offsets are selected, whatever their timestamps.
    pub(super) fn rows(&self, columns: &Columns) -> Range<usize> {
        let offsets = columns.offsets();
        let start = offsets.partition_point(|offset| *offset < self.offsets.start);
        let end = offsets.partition_point(|offset| *offset < self.offsets.end);
        start..end.max(start)
    }

    /// Reports whether a record whose offset is selected has a selected timestamp, and is not a control record.
    pub(super) fn selects(&self, record: &Record<'_>) -> bool {
        self.times.contains(&record.timestamp) && !record.control
    }
}
