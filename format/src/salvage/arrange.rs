//! From what was found to what counts: repeated blocks once, contested ones as the index says or not at all, and the rest as losses.

use std::collections::HashMap;
use std::ops::Range;

use crate::block::BlockHeader;
use crate::error::ErrorClass;
use crate::gaps::{Gap, GapReason};
use crate::index::IndexEntry;
use crate::layout::limits;
use crate::segment::Segment;

use super::loss::{Bound, LossReason, LostBlock, divide};
use super::piece::Piece;
use super::remains::Remains;
use super::{FoundParts, Known, Salvage};

impl Salvage {
    pub(super) fn arrange(
        &mut self,
        pieces: Vec<Piece>,
        parts: FoundParts,
        remains: &Remains,
        known: &Known,
        copies: &[&[u8]],
    ) {
        let bytes = copies.first().copied().unwrap_or_default();
        let footer = remains.footer.as_deref();
        (self.base, self.end) = self.bounds(&parts, remains, known);
        if self.end.offset < self.base.offset {
            // A header and a footer that contradict each other prove neither end.
            self.base.is_proved = false;
            self.end = Bound {
                offset: self.base.offset,
                ..Bound::default()
            };
        }
        let (from, to) = (self.base, self.end);
        let mut claims = parts.claims;
        let (pieces, outside) = pieces.into_iter().partition::<Vec<Piece>, _>(|piece| {
            let is_outside = |(first, last): (i64, i64)| {
                (from.is_proved && first < from.offset) || (to.is_proved && last >= to.offset)
            };
            !piece.span.is_some_and(is_outside)
        });
        claims.extend(outside.iter().map(|piece| {
            let detail = "it holds records outside the segment's coverage";
            piece.claim(LossReason::InconsistentBlock, detail)
        }));
        let pieces = self.settle(pieces, footer, &mut claims);
        self.pieces = self.cover(pieces);
        self.lose(claims, footer, bytes);
        self.keep_gaps(footer);
        let of_pieces = self.pieces.iter().filter(|it| it.copy == 0);
        let of_pieces = of_pieces.map(|it| it.position..it.position.saturating_add(it.length));
        let used = of_pieces
            .chain(remains.ranges.iter().cloned())
            .chain(parts.headers)
            .collect();
        self.unused = complement(used, bytes.len() as u64);
    }

    /// Returns where the coverage begins and ends, and whether that is known.
    fn bounds(&self, parts: &FoundParts, remains: &Remains, known: &Known) -> (Bound, Bound) {
        let footer = remains.footer.as_deref();
        let stated = self.header.as_ref().map(|header| header.base_offset);
        let stated = known.coverage.as_ref().map(|it| it.start).or(stated);
        let proved = |offset| Bound {
            offset,
            is_proved: true,
            lost_blocks: None,
        };
        let base = match (stated, parts.first) {
            (Some(offset), _) | (None, Some((0, offset))) => proved(offset),
            (None, Some((sequence, offset))) => Bound {
                offset,
                is_proved: false,
                lost_blocks: Some(sequence),
            },
            (None, None) => Bound::default(),
        };
        let stated = footer.map(Segment::end_offset);
        let stated = known.coverage.as_ref().map(|it| it.end).or(stated);
        // Only the number of blocks: the trailer is valid, the footer is not.
        let after = |sequence: u32| {
            let count = remains.block_count?;
            count.checked_sub(sequence.checked_add(1)?)
        };
        let end = match (stated, parts.last) {
            (Some(offset), _) => proved(offset),
            (None, Some((sequence, offset))) => Bound {
                offset,
                is_proved: after(sequence) == Some(0),
                lost_blocks: after(sequence).filter(|blocks| *blocks > 0),
            },
            // A segment without blocks covers nothing.
            (None, None) => Bound {
                offset: base.offset,
                is_proved: base.is_proved && remains.block_count == Some(0),
                lost_blocks: remains.block_count.filter(|blocks| *blocks > 0),
            },
        };
        (base, end)
    }

    /// Leaves out blocks that are there once more, that the index does not name, and, where there is none, whose records others contest.
    fn settle(
        &mut self,
        mut pieces: Vec<Piece>,
        footer: Option<&Segment>,
        claims: &mut Vec<LostBlock>,
    ) -> Vec<Piece> {
        let order = |it: &Piece| {
            (
                it.place(),
                it.end_offset,
                it.written_at,
                it.copy,
                it.position,
            )
        };
        pieces.sort_by_key(order);
        let mut repeated: u64 = 0;
        pieces.dedup_by(|next, piece| {
            let is_repeated = next.repeats(piece);
            repeated = repeated.saturating_add(u64::from(is_repeated && next.copy == piece.copy));
            is_repeated
        });
        self.repeated_blocks = repeated;
        if let Some(footer) = footer {
            let entries = footer.index().entries().iter();
            let indexed: HashMap<u64, u32> =
                entries.map(|it| (it.position, it.header_crc)).collect();
            pieces.retain(|it| indexed.get(&it.written_at) == Some(&it.header_crc));
            return pieces;
        }
        let mut kept = Vec::with_capacity(pieces.len());
        for group in overlapping(pieces) {
            if group.len() == 1 {
                kept.extend(group);
                continue;
            }
            let detail = "another intact block has other records of these offsets";
            let contested = group.iter();
            claims.extend(contested.map(|it| it.claim(LossReason::ContestedBlock, detail)));
        }
        kept
    }

    /// Makes the coverage of pieces disjoint and keeps it within the bounds; pieces that then cover nothing have no records.
    fn cover(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        let mut covered = self.base.offset;
        let mut result: Vec<Piece> = Vec::with_capacity(pieces.len());
        let mut pieces = pieces.into_iter().peekable();
        while let Some(mut piece) = pieces.next() {
            let next = pieces.peek().and_then(|next| next.span);
            let limit = next.map_or(i64::MAX, |(first, _)| first);
            piece.base_offset = piece.base_offset.max(covered);
            piece.end_offset = piece.end_offset.min(limit).min(self.end.offset);
            if piece.base_offset < piece.end_offset {
                covered = piece.end_offset;
                result.push(piece);
            }
        }
        result
    }

    /// Finds what of the coverage no piece has.
    fn lose(&mut self, claims: Vec<LostBlock>, footer: Option<&Segment>, bytes: &[u8]) {
        let mut claims = match footer {
            Some(footer) => self.indexed_claims(footer, claims, bytes),
            None => claims,
        };
        claims.sort_by_key(|claim| (claim.offsets, claim.written_at));
        let mut at = self.base.offset;
        let mut losses = Vec::new();
        let mut rest = claims.as_slice();
        let ends = self
            .pieces
            .iter()
            .map(|it| (it.base_offset, it.end_offset))
            .chain([(self.end.offset, self.end.offset)]);
        for (base, end) in ends {
            if at < base {
                while let Some((claim, after)) = rest.split_first()
                    && claim.offsets.end_offset <= at
                {
                    rest = after;
                }
                divide(at, base, rest, &mut losses);
            }
            at = at.max(end);
        }
        self.losses = losses;
    }

    /// Returns the entries of the index that no piece is, each with what was found of it.
    fn indexed_claims(
        &self,
        footer: &Segment,
        claims: Vec<LostBlock>,
        bytes: &[u8],
    ) -> Vec<LostBlock> {
        // Of a block of which only some batches are kept, the rest is lost.
        let kept: HashMap<u64, u32> = self
            .pieces
            .iter()
            .filter(|it| !it.is_run)
            .map(|it| (it.written_at, it.header_crc))
            .collect();
        // One for each batch that is lost of a block.
        let mut found: HashMap<(u64, u32), Vec<LostBlock>> = HashMap::new();
        for claim in claims {
            let block = (claim.written_at, claim.header_crc);
            found.entry(block).or_default().push(claim);
        }
        let lost = footer.index().entries().iter();
        let lost = lost.filter(|it| kept.get(&it.position) != Some(&it.header_crc));
        let claims = lost.flat_map(|entry| {
            let found = found.remove(&(entry.position, entry.header_crc));
            found.unwrap_or_else(|| vec![missing(entry, footer, bytes)])
        });
        claims.collect()
    }

    /// Keeps what the footer says of gaps that are no losses.
    fn keep_gaps(&mut self, footer: Option<&Segment>) {
        let stated = footer.map_or(&[][..], |footer| &footer.gaps().entries);
        let mut losses = self.losses.iter().peekable();
        let mut kept = Vec::new();
        for gap in stated {
            let mut from = gap.from_offset.max(self.base.offset);
            let to = gap.to_offset.min(self.end.offset);
            while from < to {
                let loss = losses.peek().map(|loss| loss.offsets);
                match loss.filter(|loss| loss.base_offset < to) {
                    Some(loss) if loss.end_offset <= from => drop(losses.next()),
                    Some(loss) => {
                        let until = loss.base_offset.max(from);
                        kept.extend(Some(part(gap, from, until)).filter(|_| from < until));
                        from = loss.end_offset.max(from);
                    }
                    None => {
                        kept.push(part(gap, from, to));
                        from = to;
                    }
                }
            }
        }
        // The losses matter more: without the others, the default says that reasons are not known.
        if kept.len().saturating_add(self.losses.len()) > limits::GAP_ENTRIES {
            kept.clear();
            self.default_reason = GapReason::Unknown;
        }
        self.gaps = kept;
    }
}

fn part(gap: &Gap, from_offset: i64, to_offset: i64) -> Gap {
    Gap {
        from_offset,
        to_offset,
        reason: gap.reason,
    }
}

impl Piece {
    /// Returns the claim of a block that is intact, and not kept.
    fn claim(&self, reason: LossReason, detail: &str) -> LostBlock {
        LostBlock {
            offsets: (self.base_offset..self.end_offset).into(),
            records: Some(self.records),
            written_at: self.written_at,
            position: self.written_at,
            length: self.length,
            header_crc: self.header_crc,
            reason,
            detail: detail.to_owned(),
        }
    }
}

/// Returns what was found where a block of the index was written.
fn missing(entry: &IndexEntry, footer: &Segment, bytes: &[u8]) -> LostBlock {
    let start = usize::try_from(entry.position).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let (reason, detail) = match BlockHeader::decode(rest, entry.position, footer.header().salt()) {
        Err(error) if error.class == ErrorClass::Unsupported => {
            (LossReason::Unsupported, error.detail)
        }
        Err(error) => (
            LossReason::NoBlock,
            format!("at its position: {}", error.detail),
        ),
        Ok(_) => (
            LossReason::NoBlock,
            "at its position: another block".to_owned(),
        ),
    };
    LostBlock::indexed(entry, reason, detail)
}

/// Divides pieces in order into groups that share no offset from first to last record.
fn overlapping(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let mut reached = i64::MIN;
    for piece in pieces {
        match (piece.span, groups.last_mut()) {
            (Some((first, last)), Some(group)) if first <= reached => {
                reached = reached.max(last);
                group.push(piece);
            }
            (span, _) => {
                reached = span.map_or(reached, |(_, last)| reached.max(last));
                groups.push(vec![piece]);
            }
        }
    }
    groups
}

/// Returns what of `0..length` none of the ranges has.
pub(super) fn complement(mut used: Vec<Range<u64>>, length: u64) -> Vec<Range<u64>> {
    used.sort_by_key(|range| range.start);
    let mut at = 0;
    let mut unused = Vec::new();
    let end = std::iter::once(length..length);
    for range in used.into_iter().chain(end) {
        if at < range.start {
            unused.push(at..range.start.min(length));
        }
        at = at.max(range.end);
    }
    unused.retain(|range| range.start < range.end);
    unused
}
