//! What became of a partition.

use std::collections::HashSet;

use kbk_format::repo::{PartitionId, Replacement, SegmentEntry};

use super::prove::Proved;
use super::report::{CompactFinding, CompactFindingKind, CompactRow};
use crate::unusable::Unusable;

/// What became of a partition: what of it is proved, and what could not be merged.
pub(super) struct PartitionResult {
    pub(super) row: CompactRow,
    pub(super) replacements: Vec<Replacement>,
    pub(super) findings: Vec<CompactFinding>,
    pub(super) adopted: u64,
    pub(super) interrupted: bool,
}

impl PartitionResult {
    /// Takes in a group that is proved. Of the records that went, this many were old tombstones.
    pub(super) fn add(&mut self, sources: &[SegmentEntry], done: &Proved, old_tombstones: u64) {
        self.row.merged(sources, &done.added);
        self.row.without(done.without.records, old_tombstones);
        self.adopted = self.adopted.saturating_add(done.adopted);
    }
}

impl PartitionResult {
    pub(super) fn note(
        &mut self,
        id: &PartitionId,
        entry: &SegmentEntry,
        found: &Unusable,
        damaged: &mut HashSet<String>,
    ) {
        if damaged.insert(entry.key.clone()) {
            let kind = CompactFindingKind::of_segment(found);
            let message = &found.message;
            self.findings.push(finding(kind, id, Some(entry), message));
        }
    }
}

pub(crate) fn finding(
    kind: CompactFindingKind,
    id: &PartitionId,
    entry: Option<&SegmentEntry>,
    message: &str,
) -> CompactFinding {
    CompactFinding {
        kind,
        topic: id.topic.to_string(),
        topic_id: id.topic_id.to_string(),
        partition: id.partition,
        key: entry.map(|it| it.key.clone()),
        offsets: entry.map(|it| (it.base_offset..it.end_offset).into()),
        message: message.to_owned(),
    }
}
