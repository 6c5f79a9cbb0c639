//! Reasons of gaps, carried over from the segments that are merged.

use kbk_format::layout::limits;
use kbk_format::{Gap, GapReason, Gaps};
use sha2::{Digest as _, Sha256};

/// All reasons, in the order in which they are preferred as the default of a segment; those from [`ALWAYS_NAMED`] on never are.
const REASONS: [GapReason; 6] = [
    GapReason::NotDelivered,
    GapReason::Compacted,
    GapReason::Transaction,
    GapReason::Unknown,
    GapReason::Lost,
    GapReason::Damaged,
];

/// The place of the first reason whose gaps are named in any case: whoever looks for losses need not read records.
const ALWAYS_NAMED: usize = 4;

/// Returns the place of a reason in [`REASONS`].
fn place(reason: GapReason) -> usize {
    match reason {
        GapReason::NotDelivered => 0,
        GapReason::Compacted => 1,
        GapReason::Transaction => 2,
        GapReason::Unknown => 3,
        GapReason::Lost => ALWAYS_NAMED,
        GapReason::Damaged => 5,
    }
}

/// Splits offsets without a record by their reasons.
pub(super) fn split(gaps: &Gaps, from: i64, to: i64) -> impl Iterator<Item = Gap> {
    let next = gaps.entries.partition_point(|gap| gap.to_offset <= from);
    let mut named = gaps.entries.get(next..).unwrap_or_default();
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let (reason, end) = match named.split_first() {
            Some((gap, rest)) if gap.from_offset <= at => {
                named = rest;
                (gap.reason, gap.to_offset)
            }
            Some((gap, _)) => (gaps.default_reason, gap.from_offset),
            None => (gaps.default_reason, to),
        };
        let gap = Gap {
            from_offset: at,
            to_offset: end.min(to),
            reason,
        };
        at = gap.to_offset;
        Some(gap)
    })
}

/// A digest of all gaps of a range of offsets, however they are cut: adjacent ones of one reason are one.
#[derive(Clone, Debug, Default)]
pub(super) struct GapChain {
    last: Option<Gap>,
    hash: Sha256,
}

impl GapChain {
    /// Adds the next gap.
    pub(super) fn add(&mut self, gap: Gap) {
        match &mut self.last {
            Some(last) if joins(last, &gap) => last.to_offset = gap.to_offset,
            _ => {
                self.flush();
                self.last = Some(gap);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(gap) = self.last.take() {
            self.hash.update(gap.from_offset.to_le_bytes());
            self.hash.update(gap.to_offset.to_le_bytes());
            self.hash.update((gap.reason as u32).to_le_bytes());
        }
    }

    /// Returns the digest.
    pub(super) fn finish(mut self) -> [u8; 32] {
        self.flush();
        self.hash.finalize().into()
    }
}

fn joins(last: &Gap, next: &Gap) -> bool {
    (last.to_offset, last.reason) == (next.from_offset, next.reason)
}

/// The gaps of a segment that is being written: which of them have to be named is known once it ends.
#[derive(Debug, Default)]
pub(super) struct GapBook {
    last: Option<Gap>,
    /// By reason, in the order of [`REASONS`]. No list is longer than a segment may name.
    by_reason: [Vec<Gap>; REASONS.len()],
}

impl GapBook {
    /// Adds the next gap.
    pub(super) fn add(&mut self, gap: Gap) {
        match &mut self.last {
            Some(last) if joins(last, &gap) => last.to_offset = gap.to_offset,
            _ => {
                self.flush();
                self.last = Some(gap);
            }
        }
    }

    fn flush(&mut self) {
        let Some(gap) = self.last.take() else {
            return;
        };
        if let Some(list) = self.by_reason.get_mut(place(gap.reason)) {
            // One list may be left out as the default; whoever asks for room keeps the others short.
            if list.len() <= limits::GAP_ENTRIES {
                list.push(gap);
            }
        }
    }

    /// Returns the place of the reason that is best left unnamed, and how many gaps are named then.
    fn best_default(&self) -> (usize, usize) {
        let total: usize = self.by_reason.iter().map(Vec::len).sum();
        let named = self.by_reason.iter().map(|list| total - list.len());
        let best = named
            .enumerate()
            .take(ALWAYS_NAMED)
            .min_by_key(|(_, named)| *named);
        best.unwrap_or_default()
    }

    /// Returns whether the segment has to end before the next gap.
    pub(super) fn is_full(&self) -> bool {
        let (_, named) = self.best_default();
        // The last gap is not in a list yet, and one more may follow.
        named.saturating_add(2) > limits::GAP_ENTRIES
    }

    /// Returns the reason of the gaps that are not named, and those that are.
    pub(super) fn finish(mut self) -> (GapReason, Vec<Gap>) {
        self.flush();
        let (default, _) = self.best_default();
        let reason = REASONS.get(default).copied();
        let lists = self.by_reason.into_iter().enumerate();
        let others = lists.filter(|(at, _)| *at != default);
        let mut named: Vec<Gap> = others.flat_map(|(_, list)| list).collect();
        named.sort_by_key(|gap| gap.from_offset);
        (reason.unwrap_or(GapReason::NotDelivered), named)
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
    fn a_range_is_split_by_reasons() {
        let gaps = Gaps {
            missing_count: 0,
            default_reason: GapReason::NotDelivered,
            entries: vec![
                gap(2, 4, GapReason::Lost),
                gap(4, 5, GapReason::Transaction),
                gap(8, 20, GapReason::Lost),
            ],
        };
        let found: Vec<Gap> = split(&gaps, 1, 10).collect();
        let expected = [
            gap(1, 2, GapReason::NotDelivered),
            gap(2, 4, GapReason::Lost),
            gap(4, 5, GapReason::Transaction),
            gap(5, 8, GapReason::NotDelivered),
            gap(8, 10, GapReason::Lost),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            split(&gaps, 9, 11).collect::<Vec<_>>(),
            [gap(9, 11, GapReason::Lost)]
        );
        assert_eq!(split(&gaps, 3, 3).count(), 0);
    }

    #[test]
    fn the_digest_does_not_depend_on_how_gaps_are_cut() {
        let digest = |gaps: &[Gap]| {
            let mut chain = GapChain::default();
            gaps.iter().for_each(|gap| chain.add(*gap));
            chain.finish()
        };
        let (nothing, lost) = (GapReason::NotDelivered, GapReason::Lost);
        let whole = digest(&[gap(0, 4, nothing), gap(6, 9, lost)]);
        let cut = [gap(0, 1, nothing), gap(1, 4, nothing), gap(6, 9, lost)];
        assert_eq!(digest(&cut), whole);
        for other in [
            &[gap(0, 4, nothing), gap(6, 9, nothing)][..],
            &[gap(0, 4, nothing), gap(6, 8, lost)],
            &[gap(0, 4, nothing)],
        ] {
            assert_ne!(digest(other), whole);
        }
    }

    #[test]
    fn as_few_gaps_as_possible_are_named() {
        let mut book = GapBook::default();
        for at in 0..5 {
            book.add(gap(4 * at, 4 * at + 1, GapReason::Compacted));
        }
        book.add(gap(30, 31, GapReason::NotDelivered));
        let (reason, named) = book.finish();
        assert_eq!(reason, GapReason::Compacted);
        assert_eq!(named, [gap(30, 31, GapReason::NotDelivered)]);
        let (reason, named) = GapBook::default().finish();
        assert_eq!((reason, named.len()), (GapReason::NotDelivered, 0));
    }

    #[test]
    fn every_reason_is_kept_and_losses_are_named() {
        for (at, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(place(reason), at);
            let mut book = GapBook::default();
            for at in 0..5 {
                book.add(gap(4 * at, 4 * at + 1, reason));
            }
            let (default, named) = book.finish();
            let is_loss = matches!(reason, GapReason::Lost | GapReason::Damaged);
            match is_loss {
                true => assert_eq!((default, named.len()), (GapReason::NotDelivered, 5)),
                false => assert_eq!((default, named.len()), (reason, 0)),
            }
            assert!(named.iter().all(|gap| gap.reason == reason));
        }
    }

    #[test]
    fn a_book_is_full_before_a_segment_has_no_room() {
        let mut book = GapBook::default();
        let mut at = 0;
        while !book.is_full() {
            let (lost, compacted) = (GapReason::Lost, GapReason::Compacted);
            book.add(gap(at, at + 1, lost));
            book.add(gap(at + 2, at + 3, compacted));
            at += 4;
        }
        let (_, named) = book.finish();
        assert!(named.len() <= limits::GAP_ENTRIES);
        assert!(named.len() > limits::GAP_ENTRIES - 4);
    }
}
