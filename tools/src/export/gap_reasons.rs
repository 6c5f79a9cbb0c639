//! Why offsets have no record: what the segments, the snapshot and the errors so far say.

use std::ops::Range;

use kbk_format::repo::LostRange;
use kbk_format::{Gap, GapReason, Gaps, OffsetSpan};

use super::plan::PlannedExport;

/// Finds the reasons of gaps, which are asked for in the order of offsets.
pub(super) struct GapReasons {
    lost: Vec<LostRange>,
    /// Records are left out by their timestamps, so that nothing tells which offsets never had one.
    is_selective: bool,
    /// The gaps of the segment that was asked last, and its number.
    open: Option<(usize, Gaps)>,
}

impl GapReasons {
    pub(super) fn new(planned: &PlannedExport) -> GapReasons {
        GapReasons {
            lost: planned.from.lost.clone(),
            is_selective: *planned.read.times() != (i64::MIN..=i64::MAX),
            open: None,
        }
    }

    /// Returns the first part of a gap that has one reason. `missing` is what could not be read so far.
    pub(super) async fn first(
        &mut self,
        planned: &PlannedExport,
        gap: Range<i64>,
        missing: &[(OffsetSpan, GapReason)],
    ) -> Gap {
        let at = gap.start;
        let lost = self.lost.iter().map(|lost| {
            let reason = match lost.is_damaged() {
                true => GapReason::Damaged,
                false => GapReason::Lost,
            };
            (OffsetSpan::from(*lost), reason)
        });
        let mut end = gap.end;
        for (span, reason) in missing.iter().copied().chain(lost) {
            if span.base_offset <= at && at < span.end_offset {
                return Gap {
                    from_offset: at,
                    to_offset: span.end_offset.min(gap.end),
                    reason,
                };
            }
            if span.base_offset > at {
                end = end.min(span.base_offset);
            }
        }
        let (reason, end) = match self.is_selective {
            true => (GapReason::Unknown, end),
            false => self.of_segment(planned, at..end).await,
        };
        Gap {
            from_offset: at,
            to_offset: end,
            reason,
        }
    }

    /// Returns what the segment says that covers the first offset, and where that ends.
    async fn of_segment(&mut self, planned: &PlannedExport, gap: Range<i64>) -> (GapReason, i64) {
        let segments = planned.read.segments();
        let number = segments.partition_point(|segment| segment.end_offset <= gap.start);
        let Some(segment) = segments.get(number) else {
            return (GapReason::Unknown, gap.end);
        };
        if gap.start < segment.base_offset {
            return (GapReason::Unknown, segment.base_offset.min(gap.end));
        }
        let end = segment.end_offset.min(gap.end);
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            // One that cannot be read says nothing, and what is missing of it is known already.
            let gaps = planned.read.gaps(number).await.ok().flatten();
            self.open = gaps.map(|gaps| (number, gaps));
        }
        let Some((_, gaps)) = &self.open else {
            return (GapReason::Unknown, end);
        };
        let entries = &gaps.entries;
        let next = entries.partition_point(|entry| entry.to_offset <= gap.start);
        match entries.get(next) {
            Some(entry) if entry.from_offset <= gap.start => {
                (entry.reason, entry.to_offset.min(end))
            }
            Some(entry) => (gaps.default_reason, entry.from_offset.min(end)),
            None => (gaps.default_reason, end),
        }
    }
}
