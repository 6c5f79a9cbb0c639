//! What was computed, and what could not be.

use kbk_format::PartitionNumber;
use kbk_format::repo::{PartitionId, SegmentEntry};
use serde::Serialize;

use crate::compact::CompactFinding;

/// What a run did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndexReport {
    /// The snapshots that name the new segments, in this order; empty where nothing was changed.
    pub snapshots: Vec<u64>,
    /// The partitions of which segments were computed, or would be.
    pub partitions: Vec<IndexRow>,
    /// Number of segments that were computed, or would be.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of their records.
    pub records: u64,
    /// Bytes of the segments that took their place; null in a dry run, which does not know them.
    pub new_bytes: Option<u64>,
    /// Number of segments that another run has expired or replaced meanwhile, so that nothing was done with them.
    pub outdated_segments: u64,
    /// What is damaged, and was left as it is.
    pub findings: Vec<CompactFinding>,
    /// Whether a signal ended the run before it was done; what was computed until then was committed.
    pub interrupted: bool,
}

/// What becomes of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Number of segments that are computed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of their records.
    pub records: u64,
    /// Bytes of the segments that take their place; null in a dry run.
    pub new_bytes: Option<u64>,
}

impl IndexRow {
    /// Creates the row of a partition of which nothing is computed yet.
    pub(super) fn new(id: &PartitionId) -> IndexRow {
        IndexRow {
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            segments: 0,
            bytes: 0,
            records: 0,
            new_bytes: None,
        }
    }

    /// Counts a segment, and the one that takes its place, if that was written.
    pub(super) fn count(&mut self, old: &SegmentEntry, new: Option<&SegmentEntry>) {
        self.segments = self.segments.saturating_add(1);
        self.bytes = self.bytes.saturating_add(old.size);
        self.records = self.records.saturating_add(old.records);
        if let Some(new) = new {
            self.new_bytes = Some(self.new_bytes.unwrap_or(0).saturating_add(new.size));
        }
    }
}

impl IndexReport {
    /// Returns whether everything was computed that was not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a partition of which something was computed.
    pub(super) fn add(&mut self, row: IndexRow) {
        if row.segments == 0 {
            return;
        }
        self.segments = self.segments.saturating_add(row.segments);
        self.bytes = self.bytes.saturating_add(row.bytes);
        self.records = self.records.saturating_add(row.records);
        if let Some(bytes) = row.new_bytes {
            self.new_bytes = Some(self.new_bytes.unwrap_or(0).saturating_add(bytes));
        }
        self.partitions.push(row);
    }
}
