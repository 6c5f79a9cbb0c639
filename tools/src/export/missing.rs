//! Offsets of a partition that are missing from an export, since they cannot be read.

use kbk_format::repo::{PartitionId, RepoError};
use kbk_format::{GapReason, OffsetSpan};

use super::plan::PlannedExport;
use super::report::ExportFinding;
use crate::unread_range::UnreadRange;

/// What cannot be read of a partition.
#[derive(Debug, Default)]
pub(super) struct MissingRanges(Vec<UnreadRange>);

impl MissingRanges {
    /// Begins with what the plan knows already.
    pub(super) fn of(planned: &PlannedExport) -> MissingRanges {
        MissingRanges(planned.unindexed.iter().cloned().collect())
    }

    /// Notes which of the selected offsets are missing where reading from `from` on has met an error. Returns where it resumes, and what is missing
    /// unless that was known; `None` if the error does not say that of one object.
    pub(super) fn add(
        &mut self,
        planned: &PlannedExport,
        from: i64,
        error: &RepoError,
    ) -> Option<(i64, Option<OffsetSpan>)> {
        let (_, offsets) = error.records()?;
        if !error.is_of_one_object() || offsets.end_offset <= from {
            return None;
        }
        let selected = &planned.offsets;
        let start = offsets.base_offset.max(selected.start);
        let missing = start..offsets.end_offset.min(selected.end);
        // A further pass finds the same again.
        let is_known = self.0.iter().any(|it| it.offsets() == missing);
        if !is_known {
            self.0.push(UnreadRange::new(missing.clone(), error));
        }
        let missing = (!is_known).then(|| missing.into());
        Some((offsets.end_offset, missing))
    }

    /// Returns whether everything can be read, as far as that is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the offsets, and why they have no record.
    pub(super) fn gaps(&self) -> Vec<(OffsetSpan, GapReason)> {
        let gap = |range: &UnreadRange| {
            let reason = match range.is_about_content() {
                true => GapReason::Damaged,
                // Nothing says that they are lost.
                false => GapReason::Unknown,
            };
            (range.offsets().into(), reason)
        };
        self.0.iter().map(gap).collect()
    }

    /// Returns a finding for each range, in the order of offsets. Neighbours with the same cause are one.
    pub(super) fn into_findings(self, id: &PartitionId) -> Vec<ExportFinding> {
        let MissingRanges(mut ranges) = self;
        ranges.sort_by_key(|range| range.offsets().start);
        let mut joined: Vec<UnreadRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            let left = match joined.last_mut() {
                Some(last) => last.join(range),
                None => Some(range),
            };
            joined.extend(left);
        }
        let findings = joined.iter();
        findings.map(|it| ExportFinding::missing(id, it)).collect()
    }
}
