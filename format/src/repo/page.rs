//! Pages: the segments of one partition, at most 512 to a page (SPEC section 11.4).

use serde::{Deserialize, Serialize};

use super::id::{Digest, Hex, Id};
use super::keys::{Key, PartitionId, TopicName};
use super::sealed::Document;
use super::upload::Uploaded;
use crate::footer::RenderedSizes;
use crate::header::FileHeader;
use crate::record::TimestampType;
use crate::render::ViewSizes;
use crate::segment::Segment;
use crate::statistics::Statistics;
use crate::whole_lines::WholeLines;
use crate::writer::SegmentSummary;
use crate::{OffsetSpan, PartitionNumber};

/// A page with this many entries is full, and never written again.
pub const FULL_PAGE: usize = 512;

/// Entries of consecutive segments of one partition. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id.
    pub topic_id: Id,
    /// The partition.
    pub partition: PartitionNumber,
    /// In offset order; each begins where the one before ends.
    pub segments: Vec<SegmentEntry>,
}

/// What a page states about a segment: enough to open it with one read, and to check it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// The object's name.
    pub key: String,
    /// The id in the segment's header.
    pub segment_id: Id,
    /// Length of the object in bytes.
    pub size: u64,
    /// Position of the footer in bytes.
    pub footer_position: u64,
    /// SHA-256 of the whole object.
    pub sha256: Digest,
    /// First offset of the coverage.
    pub base_offset: i64,
    /// The exclusive end of the coverage.
    pub end_offset: i64,
    /// Smallest timestamp in milliseconds; `i64::MAX` where there is no record.
    pub min_timestamp: i64,
    /// Largest timestamp in milliseconds; `i64::MIN` where there is no record.
    pub max_timestamp: i64,
    /// Number of records.
    pub records: u64,
    /// Bytes of the records before compression.
    pub raw_bytes: u64,
    /// Timestamp type of every record in the segment.
    pub timestamp_type: TimestampType,
    /// Content digest over all records: the number's 32 hex digits.
    pub content_digest: Id,
    /// Lengths of the rendered views; `None` where the segment does not state them.
    pub rendered: Option<ViewSizes>,
    /// Whether lines of the rendered values and keys are whole; `None` where the segment does not state it.
    pub whole_lines: Option<[bool; 2]>,
}

impl Document for Page {
    const FORMAT: &'static str = "kbk-page";
}

impl Page {
    /// Returns the partition whose segments it lists.
    #[must_use]
    pub fn partition_id(&self) -> PartitionId {
        PartitionId {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partition: self.partition,
        }
    }

    /// Distributes the entries of one partition over pages.
    pub(super) fn cut(partition: &PartitionId, entries: &[SegmentEntry]) -> Vec<Page> {
        let page = |segments: &[SegmentEntry]| Page {
            topic: partition.topic.clone(),
            topic_id: partition.topic_id,
            partition: partition.partition,
            segments: segments.to_vec(),
        };
        entries.chunks(FULL_PAGE).map(page).collect()
    }

    /// Returns the first offset covered and the exclusive end.
    pub(super) fn coverage(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.segments.first()?, self.segments.last()?);
        Some((first.base_offset, last.end_offset))
    }

    /// Checks the rules of SPEC section 11.4; the error names the one that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=FULL_PAGE).contains(&self.segments.len()) {
            return Err(format!(
                "it has {} entries, not 1 to 512",
                self.segments.len()
            ));
        }
        let partition = self.partition_id();
        for entry in &self.segments {
            entry.check(&partition)?;
        }
        if let Some((end, base)) = self.break_in_coverage() {
            return Err(format!(
                "a segment ends at offset {end} and the next one begins at {base}"
            ));
        }
        Ok(())
    }

    /// Returns the end of the first segment that the next one does not join, and the next one's first offset.
    pub(super) fn break_in_coverage(&self) -> Option<(i64, i64)> {
        let mut pairs = self.segments.array_windows();
        let broken = pairs.find(|[before, after]| before.end_offset != after.base_offset);
        broken.map(|[before, after]| (before.end_offset, after.base_offset))
    }
}

impl SegmentEntry {
    /// Creates the entry of a segment of `partition` that was written and uploaded.
    #[must_use]
    pub fn new(partition: &PartitionId, summary: &SegmentSummary, uploaded: Uploaded) -> Self {
        SegmentEntry {
            rendered: Some(summary.rendered),
            whole_lines: Some(flags(summary.whole_lines)),
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
        SegmentEntry {
            key: Key::segment(partition, statistics.base_offset, &segment_id).to_string(),
            segment_id,
            size: uploaded.size,
            footer_position,
            sha256: uploaded.sha256,
            base_offset: statistics.base_offset,
            end_offset: statistics.end_offset,
            min_timestamp: statistics.min_timestamp,
            max_timestamp: statistics.max_timestamp,
            records: statistics.record_count,
            raw_bytes: statistics.raw_bytes,
            timestamp_type: header.timestamp_type,
            content_digest: Hex(statistics.digests.content.to_be_bytes()),
            rendered: None,
            whole_lines: None,
        }
    }

    fn check(&self, partition: &PartitionId) -> Result<(), String> {
        let key = Key::segment(partition, self.base_offset, &self.segment_id).to_string();
        if self.base_offset < 0 || self.base_offset >= self.end_offset {
            Err(format!(
                "{} covers {}",
                self.key,
                OffsetSpan::from(self.base_offset..self.end_offset)
            ))
        } else if self.key != key {
            Err(format!("an entry's key is {}, not {key}", self.key))
        } else if self.footer_position >= self.size {
            Err(format!(
                "{} has its footer at {} of {} bytes",
                self.key, self.footer_position, self.size
            ))
        } else {
            Ok(())
        }
    }
}

/// Converts to the form of an entry: values, then keys.
pub(super) fn flags(lines: WholeLines) -> [bool; 2] {
    [lines.values, lines.keys]
}
