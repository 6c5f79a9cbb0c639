//! Why offsets of a segment that is being written have no record: which reasons have to be named is known once it ends.
//!
//! A source that sees batches knows which offsets have markers or aborted records; what else lacks a record has been compacted away in the
//! source. That stays *not delivered*: *compacted* is what `kbk compact` removes, of which the source may still have the records.

use std::ops::Range;

use kbk_format::layout::limits;
use kbk_format::repo::LostRange;
use kbk_format::{Gap, GapReason};

/// The gaps of a segment whose reasons are known.
#[derive(Debug, Default)]
pub(super) struct SegmentGaps {
    lost: Vec<Gap>,
    /// Adjacent ones are one. There is one more than can be named at most.
    hidden: Vec<Gap>,
    /// Offsets of all of these, and of those for which there was no room.
    offsets: u64,
}

impl SegmentGaps {
    /// Adds those of the next block.
    pub(super) fn add(&mut self, lost: &[LostRange], hidden: &[Range<i64>]) {
        for lost in lost {
            self.offsets += lost.to.abs_diff(lost.from);
            self.lost.push(Gap {
                from_offset: lost.from,
                to_offset: lost.to,
                reason: GapReason::Lost,
            });
        }
        for hidden in hidden {
            self.offsets += hidden.end.abs_diff(hidden.start);
            let has_room = self.hidden.len() <= limits::GAP_ENTRIES;
            match self.hidden.last_mut() {
                Some(last) if last.to_offset == hidden.start => last.to_offset = hidden.end,
                _ if !has_room => {}
                _ => self.hidden.push(Gap {
                    from_offset: hidden.start,
                    to_offset: hidden.end,
                    reason: GapReason::Transaction,
                }),
            }
        }
    }

    /// Returns whether losses of another block can be named.
    pub(super) fn has_room(&self, lost: &[LostRange]) -> bool {
        self.lost.len().saturating_add(lost.len()) <= limits::GAP_ENTRIES
    }

    /// Returns the reason of the gaps that are not named, and those that are, of a segment that lacks this many records.
    pub(super) fn finish(self, missing: u64) -> (GapReason, Vec<Gap>) {
        let SegmentGaps {
            mut lost,
            hidden,
            offsets,
        } = self;
        if offsets == missing && !hidden.is_empty() {
            return (GapReason::Transaction, lost);
        }
        // Where there are too many to name, they are among those of which the reason is not said.
        if lost.len().saturating_add(hidden.len()) <= limits::GAP_ENTRIES {
            lost.extend(hidden);
            lost.sort_by_key(|gap| gap.from_offset);
        }
        (GapReason::NotDelivered, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from_offset: i64, to_offset: i64, reason: GapReason) -> Gap {
        Gap {
            from_offset,
            to_offset,
            reason,
        }
    }

    #[test]
    fn markers_are_named_only_beside_other_gaps() {
        let mut gaps = SegmentGaps::default();
        gaps.add(&[], &[3..4, 4..6]);
        let more = 6..7;
        gaps.add(&[LostRange::deleted(8, 10)], std::slice::from_ref(&more));
        let lost = gap(8, 10, GapReason::Lost);
        let hidden = gap(3, 7, GapReason::Transaction);
        let SegmentGaps {
            lost: of_lost,
            hidden: of_hidden,
            offsets,
        } = &gaps;
        let copy = SegmentGaps {
            lost: of_lost.clone(),
            hidden: of_hidden.clone(),
            offsets: *offsets,
        };
        assert_eq!(copy.finish(6), (GapReason::Transaction, vec![lost]));
        assert_eq!(
            gaps.finish(7),
            (GapReason::NotDelivered, vec![hidden, lost])
        );
        assert_eq!(
            SegmentGaps::default().finish(0),
            (GapReason::NotDelivered, vec![])
        );
    }

    #[test]
    fn more_markers_than_can_be_named_are_not_named() {
        let most = limits::GAP_ENTRIES as i64;
        for (markers, named) in [(most, limits::GAP_ENTRIES), (most + 2, 0)] {
            let mut gaps = SegmentGaps::default();
            let hidden: Vec<_> = (0..markers).map(|at| 2 * at..2 * at + 1).collect();
            gaps.add(&[], &hidden);
            let missing = hidden.len() as u64;
            let mut all = SegmentGaps::default();
            all.add(&[], &hidden);
            assert_eq!(all.finish(missing), (GapReason::Transaction, vec![]));
            let (reason, gaps) = gaps.finish(missing + 1);
            assert_eq!((reason, gaps.len()), (GapReason::NotDelivered, named));
        }
    }
}
