//! What a row of the index states about a segment (SPEC section 11.4).

use serde::Serialize;

use super::id::{Hex, Id};
use super::keys::{Key, PartitionId};
use super::segment_hash::SegmentHash;
use super::upload::Uploaded;
use crate::OffsetSpan;
use crate::assembler::SegmentSummary;
use crate::footer::RenderedSizes;
use crate::header::FileHeader;
use crate::record::TimestampType;
use crate::render::ViewSizes;
use crate::segment::Segment;
use crate::statistics::Statistics;
use crate::whole_lines::WholeLines;

/// What the index states about a segment: enough to open it with one read, and to check it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SegmentEntry {
    /// The object's name.
    pub key: String,
    /// The id in the segment's header.
    pub segment_id: Id,
    /// Length of the object in bytes.
    pub size: u64,
    /// Position of the footer in bytes.
    pub footer_position: u64,
    /// BLAKE3 of the whole object.
    pub blake3: SegmentHash,
    /// First offset of the coverage.
    pub base_offset: i64,
    /// The exclusive end of the coverage.
    pub end_offset: i64,
    /// Smallest timestamp in milliseconds, `i64::MAX` where there is no record; `None` where it was not computed.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds, `i64::MIN` where there is no record; where it was not computed, a bound that none is above.
    pub max_timestamp: i64,
    /// Smallest timestamp in milliseconds but -1, the one of records that have none; `None` where no record has one, or it was not computed.
    pub min_known_timestamp: Option<i64>,
    /// Number of records.
    pub records: u64,
    /// Bytes of the records before compression.
    pub raw_bytes: u64,
    /// Timestamp type of every record in the segment.
    pub timestamp_type: TimestampType,
    /// Content digest over all records: the number's 32 hex digits; `None` where it was not computed.
    pub content_digest: Option<Id>,
    /// Lengths of the rendered views; `None` where the segment does not state them.
    pub rendered: Option<ViewSizes>,
    /// Whether lines of the rendered values and keys are whole; `None` where the segment does not state it.
    pub whole_lines: Option<[bool; 2]>,
    /// Whether the segment has a key filter.
    pub key_filter: bool,
    /// Whether blocks of the segment hold Kafka's own batches.
    pub batches: bool,
}

impl SegmentEntry {
    /// Creates the entry of a segment of `partition` that was written and uploaded.
    #[must_use]
    pub fn new(partition: &PartitionId, summary: &SegmentSummary, uploaded: Uploaded) -> Self {
        SegmentEntry {
            rendered: summary.rendered,
            whole_lines: summary.whole_lines.map(flags),
            key_filter: summary.has_key_filter,
            batches: summary.has_batches,
            ..Self::of(
                partition,
                &summary.header,
                &summary.statistics,
                summary.footer_position,
                uploaded,
            )
        }
    }

    /// Creates the entry of a segment of `partition` that was found and checked.
    #[must_use]
    pub fn found(partition: &PartitionId, segment: &Segment, uploaded: Uploaded) -> Self {
        SegmentEntry {
            rendered: segment.rendered_sizes().map(RenderedSizes::totals),
            whole_lines: segment.whole_lines().map(flags),
            key_filter: segment.key_filter().is_some(),
            batches: segment.index().has_batches(),
            ..Self::of(
                partition,
                segment.header(),
                segment.statistics(),
                segment.footer_position(),
                uploaded,
            )
        }
    }

    fn of(
        partition: &PartitionId,
        header: &FileHeader,
        statistics: &Statistics,
        footer_position: u64,
        uploaded: Uploaded,
    ) -> Self {
        let segment_id = Hex(header.segment_id);
        let computed = statistics.computed.as_ref();
        SegmentEntry {
            key: Key::segment(partition, statistics.base_offset, &segment_id).to_string(),
            segment_id,
            size: uploaded.size,
            footer_position,
            blake3: uploaded.blake3,
            base_offset: statistics.base_offset,
            end_offset: statistics.end_offset,
            min_timestamp: computed.map(|it| it.min_timestamp),
            max_timestamp: statistics.max_timestamp,
            min_known_timestamp: known(statistics),
            records: statistics.record_count,
            raw_bytes: statistics.raw_bytes,
            timestamp_type: header.timestamp_type,
            content_digest: computed.map(|it| Hex(it.digests.content.to_be_bytes())),
            rendered: None,
            whole_lines: None,
            key_filter: false,
            batches: false,
        }
    }

    /// Checks the entry by itself; the error names the rule that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.base_offset < 0 || self.base_offset >= self.end_offset {
            let covered = OffsetSpan::from(self.base_offset..self.end_offset);
            Err(format!("it covers {covered}"))
        } else if self.footer_position >= self.size {
            Err(format!(
                "its footer is at {} of {} bytes",
                self.footer_position, self.size
            ))
        } else if self.min_timestamp.is_some() != self.is_computed() {
            Err("it states one of min_timestamp and content_digest, and not the other".to_owned())
        } else if !self.is_computed() && self.states_records() {
            Err("it states what it says was not computed".to_owned())
        } else {
            Ok(())
        }
    }

    /// Returns whether everything was computed that only decoding the records tells (SPEC 2.11).
    #[must_use]
    pub fn is_computed(&self) -> bool {
        self.content_digest.is_some()
    }

    /// Returns the content digest as a number; `None` where it was not computed.
    #[must_use]
    pub fn content(&self) -> Option<u128> {
        self.content_digest.map(|it| u128::from_be_bytes(it.0))
    }

    fn states_records(&self) -> bool {
        self.min_known_timestamp.is_some()
            || self.rendered.is_some()
            || self.whole_lines.is_some()
            || self.key_filter
            || !self.batches
    }

    /// Returns whether it may have a record with a timestamp from `from` to `to`, both inclusive.
    #[must_use]
    pub fn may_hold_times(&self, from: i64, to: i64) -> bool {
        let starts = match (self.min_timestamp, from > -1) {
            (None, _) => true,
            (Some(_), true) => self.min_known_timestamp.is_some_and(|min| min <= to),
            (Some(min), false) => min <= to,
        };
        self.records > 0 && self.max_timestamp >= from && starts
    }

    /// Returns timestamps that none of its records is below and above: the smallest, or `i64::MIN` where that was not computed, and the largest.
    /// `None` where it has no records.
    #[must_use]
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        let min = self.min_timestamp.unwrap_or(i64::MIN);
        (self.records > 0).then_some((min, self.max_timestamp))
    }
}

/// Returns the smallest timestamp but -1; `None` where no record has one, or it was not computed.
pub(super) fn known(statistics: &Statistics) -> Option<i64> {
    let computed = statistics.computed.as_ref()?;
    let has_one = statistics.record_count > computed.no_timestamp_count;
    has_one.then_some(computed.min_known_timestamp)
}

/// Converts to the form of an entry: values, then keys.
pub(super) fn flags(lines: WholeLines) -> [bool; 2] {
    [lines.values, lines.keys]
}
/// Checks that segments continue a coverage that ends at `end`, without a hole; the error names the rule that they break.
pub(super) fn check_joined(segments: &[SegmentEntry], mut end: i64) -> Result<(), String> {
    for segment in segments {
        segment.check()?;
        if segment.base_offset != end {
            let base = segment.base_offset;
            return Err(format!("a segment begins at offset {base}, not at {end}"));
        }
        end = segment.end_offset;
    }
    Ok(())
}
