//! What was merged, and what could not be.

use kbk_format::repo::{PartitionId, Replacement, SegmentEntry};
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

use crate::unusable::Unusable;

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// The snapshots that name the new segments, in this order; empty where nothing was changed.
    pub snapshots: Vec<u64>,
    /// The partitions of which segments were merged, or would be.
    pub partitions: Vec<CompactRow>,
    /// Number of segments that were replaced, or would be.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of segments that took their place; at least as many as would, in a dry run.
    pub new_segments: u64,
    /// Their bytes; null in a dry run, which does not know them.
    pub new_bytes: Option<u64>,
    /// Number of records that were removed, or would be, since a later one has the same key, or as old tombstones.
    pub removed_records: u64,
    /// How many of these were old tombstones, the latest records of their keys; a later one had the key of all others.
    pub removed_tombstones: u64,
    /// Number of new segments that an interrupted compaction had left, and that were proved and used.
    pub adopted_segments: u64,
    /// Number of groups of segments that another run has expired or replaced meanwhile, so that nothing was done with them.
    pub outdated_groups: u64,
    /// What is damaged, and was left as it is.
    pub findings: Vec<CompactFinding>,
    /// Whether a signal ended the compaction before it was done; what was merged until then was committed.
    pub interrupted: bool,
}

/// What becomes of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompactRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Number of segments that are replaced.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of segments that take their place.
    pub new_segments: u64,
    /// Their bytes; null in a dry run.
    pub new_bytes: Option<u64>,
    /// Number of records that are removed.
    pub removed_records: u64,
    /// How many of these are old tombstones, the latest records of their keys.
    pub removed_tombstones: u64,
    /// Number of segments of the partition before.
    pub segments_before: u64,
    /// How often the keys of the partition were read; 0 where all records are kept.
    pub key_passes: u64,
}

/// Something that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompactFinding {
    /// What it is.
    pub kind: CompactFindingKind,
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The object; null where it is the index.
    pub key: Option<String>,
    /// The offsets of the segment; null where it is the index.
    pub offsets: Option<OffsetSpan>,
    /// The same for people.
    pub message: String,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactFindingKind {
    /// A segment is damaged or missing: it stays as it is.
    DamagedSegment,
    /// The store does not return a segment, although it returns other objects: it stays as it is.
    UnreadableSegment,
    /// The rows of a partition's segments cannot be read: nothing of it was merged.
    DamagedIndex,
}

impl CompactFindingKind {
    pub(crate) fn of_segment(found: &Unusable) -> CompactFindingKind {
        match found.is_damaged {
            true => CompactFindingKind::DamagedSegment,
            false => CompactFindingKind::UnreadableSegment,
        }
    }
}

impl CompactRow {
    /// Creates the row of a partition of which nothing is replaced yet.
    pub(super) fn new(id: &PartitionId, segments_before: u64) -> CompactRow {
        CompactRow {
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            segments: 0,
            bytes: 0,
            records: 0,
            new_segments: 0,
            new_bytes: None,
            removed_records: 0,
            removed_tombstones: 0,
            segments_before,
            key_passes: 0,
        }
    }

    /// Counts a group that would be merged.
    pub(super) fn plan(&mut self, sources: &[SegmentEntry]) {
        self.count(sources);
        self.new_segments = self.new_segments.saturating_add(1);
    }

    /// Counts a group that was merged.
    pub(super) fn merged(&mut self, sources: &[SegmentEntry], added: &[SegmentEntry]) {
        self.count(sources);
        self.new_segments = self.new_segments.saturating_add(added.len() as u64);
        let new = sum(added, |it| it.size);
        self.new_bytes = Some(self.new_bytes.unwrap_or(0).saturating_add(new));
    }

    /// Counts records that go, and how many of them are old tombstones.
    pub(super) fn without(&mut self, records: u64, old_tombstones: u64) {
        self.removed_records = self.removed_records.saturating_add(records);
        self.removed_tombstones = self.removed_tombstones.saturating_add(old_tombstones);
    }

    fn count(&mut self, sources: &[SegmentEntry]) {
        self.segments = self.segments.saturating_add(sources.len() as u64);
        self.bytes = self.bytes.saturating_add(sum(sources, |it| it.size));
        self.records = self.records.saturating_add(sum(sources, |it| it.records));
    }

    /// Leaves out a replacement that was not made, if it is of this partition.
    pub(super) fn take_back(&mut self, replacement: &Replacement) {
        let Replacement {
            id, removed, added, ..
        } = replacement;
        let of = (self.topic.as_str(), self.topic_id.as_str(), self.partition);
        if of
            != (
                &*id.topic.to_string(),
                &*id.topic_id.to_string(),
                id.partition,
            )
        {
            return;
        }
        // What stays is on both sides, and was never counted.
        let stays = |entry: &&SegmentEntry| removed.contains(entry) && added.contains(entry);
        let gone: Vec<SegmentEntry> = removed.iter().filter(|it| !stays(it)).cloned().collect();
        let new: Vec<SegmentEntry> = added.iter().filter(|it| !stays(it)).cloned().collect();
        self.segments = self.segments.saturating_sub(gone.len() as u64);
        self.bytes = self.bytes.saturating_sub(sum(&gone, |it| it.size));
        self.records = self.records.saturating_sub(sum(&gone, |it| it.records));
        self.new_segments = self.new_segments.saturating_sub(new.len() as u64);
        let bytes = self.new_bytes.unwrap_or(0);
        self.new_bytes = Some(bytes.saturating_sub(sum(&new, |it| it.size)));
        let without = replacement.without.records;
        self.removed_records = self.removed_records.saturating_sub(without);
        // Records are removed by one replacement of all of the partition, so that none is left.
        self.removed_tombstones = self.removed_tombstones.min(self.removed_records);
    }
}

fn sum(entries: &[SegmentEntry], of: fn(&SegmentEntry) -> u64) -> u64 {
    entries.iter().map(of).fold(0, u64::saturating_add)
}

impl CompactReport {
    /// Returns whether everything was merged that should have been.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a partition.
    pub(super) fn add(&mut self, row: CompactRow) {
        self.segments = self.segments.saturating_add(row.segments);
        self.bytes = self.bytes.saturating_add(row.bytes);
        self.records = self.records.saturating_add(row.records);
        self.new_segments = self.new_segments.saturating_add(row.new_segments);
        self.removed_records = self.removed_records.saturating_add(row.removed_records);
        let tombstones = row.removed_tombstones;
        self.removed_tombstones = self.removed_tombstones.saturating_add(tombstones);
        if let Some(bytes) = row.new_bytes {
            self.new_bytes = Some(self.new_bytes.unwrap_or(0).saturating_add(bytes));
        }
        self.partitions.push(row);
    }
}
