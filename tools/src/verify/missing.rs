//! What snapshots themselves state is missing: partitions that lack records, and offsets that were deleted before they were read.

use std::collections::{HashMap, HashSet};

use kbk_format::repo::{Incomplete, LostRange, PartitionId, PartitionState, Snapshot, TopicState};

use super::VerifyReport;
use super::finding::Finding;

/// What was reported already: most snapshots state what the one before did.
#[derive(Default)]
pub(super) struct Missing {
    lost: HashSet<(PartitionId, LostRange)>,
    incomplete: HashSet<(PartitionId, i64, Incomplete)>,
    partitions: HashSet<PartitionId>,
    /// Where the expired offsets end that were counted.
    expired: HashMap<PartitionId, i64>,
    /// The compacted records that were counted.
    compacted: HashMap<PartitionId, u64>,
}

impl Missing {
    /// Adds to `report` what the snapshot states of a partition.
    pub(super) fn partition(
        &mut self,
        snapshot: &Snapshot,
        (topic, state): (&TopicState, &PartitionState),
        replaced: bool,
        accept_lost: bool,
        report: &mut VerifyReport,
    ) {
        let sequence = snapshot.sequence;
        let partition = topic.partition_id(state.partition);
        if let Some(expired) = state.expired_offsets() {
            // Those of an older snapshot are the first of those of a newer one.
            let counted = self.expired.entry(partition.clone());
            let counted = counted.or_insert(expired.base_offset);
            let more = expired.end_offset.saturating_sub(*counted).max(0);
            report.expired_offsets = report.expired_offsets.saturating_add(more.unsigned_abs());
            *counted = expired.end_offset.max(*counted);
        }
        if let Some(compacted) = &state.compacted {
            // Those of an older snapshot are among those of a newer one.
            let counted = self.compacted.entry(partition.clone()).or_default();
            let more = compacted.records.saturating_sub(*counted);
            report.compacted_records = report.compacted_records.saturating_add(more);
            *counted = compacted.records.max(*counted);
        }
        for lost in state.lost.iter().copied() {
            if !self.lost.insert((partition.clone(), lost)) {
                continue;
            }
            let sum = match lost.is_damaged() {
                true => &mut report.damaged_offsets,
                false => &mut report.lost_offsets,
            };
            *sum = sum.saturating_add(lost.offsets());
            let finding = Finding::lost(lost).accepted(accept_lost);
            report.add(finding.partition(&partition), sequence);
        }
        if let Some(incomplete) = &state.incomplete {
            let stated = (topic, state, incomplete);
            self.incomplete(snapshot, stated, replaced, accept_lost, report);
        }
    }

    fn incomplete(
        &mut self,
        snapshot: &Snapshot,
        (topic, state, incomplete): (&TopicState, &PartitionState, &Incomplete),
        replaced: bool,
        accept_lost: bool,
        report: &mut VerifyReport,
    ) {
        let sequence = snapshot.sequence;
        let counts = snapshot.lacks(topic, state).is_some();
        if counts && report.partial_snapshots.last() != Some(&sequence) {
            report.partial_snapshots.push(sequence);
        }
        let partition = topic.partition_id(state.partition);
        let stated = (partition.clone(), state.end_offset, incomplete.clone());
        if !self.incomplete.insert(stated) {
            return;
        }
        let missing = state.missing_offsets().unwrap_or_default();
        let mut finding = Finding::incomplete(state, incomplete).partition(&partition);
        if topic.is_imported() {
            finding = finding.of_imported_topic();
        } else if counts && state.lacks_beginning() {
            finding = finding.of_missing_beginning(&topic.name);
        }
        if counts {
            report.missing_offsets = report.missing_offsets.saturating_add(missing);
            if self.partitions.insert(partition) {
                report.incomplete_partitions += 1;
            }
        }
        if state.is_damaged() {
            // Each damaged range is a finding of its own.
            return;
        }
        if !counts && !replaced {
            // No backup can complete it. What a history lacks that was replaced was read with the one that replaced it.
            report.lost_offsets = report.lost_offsets.saturating_add(missing);
            finding = finding.of_deleted_topic().accepted(accept_lost);
        }
        report.add(finding, sequence);
    }
}
