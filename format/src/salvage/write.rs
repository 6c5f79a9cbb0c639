//! Writes what is proved as a new segment. Stored streams are copied as they are; only block headers are new.

use std::io::Write;
use std::ops::Range;

use crate::assembler::{SegmentAssembler, SegmentFeatures, SegmentSummary, WriteError};
use crate::block::{BlockBuilder, BlockDecoder, BlockHeader, BlockNumbers, Encoder, Streams};
use crate::codec::Compression;
use crate::columns::Columns;
use crate::digest::Digests;
use crate::error::FormatError;
use crate::gaps::{Gap, GapReason};
use crate::header::FileHeader;
use crate::record::TimestampType;

use super::decoded::{DecodedBlock, DecodedBlocks};
use super::piece::slice;
use super::{Piece, Salvage, inconsistent};

/// What is taken of a salvage.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// The salvage.
    pub salvage: &'a Salvage,
    /// The copies that it is of.
    pub copies: &'a [&'a [u8]],
    /// The offsets that are taken of it.
    pub offsets: Range<i64>,
}

impl Part<'_> {
    /// Returns the pieces that have some of the offsets, each with those that it has.
    pub fn pieces(&self) -> impl Iterator<Item = (&Piece, Range<i64>)> {
        let Range { start, end } = self.offsets;
        let first = self
            .salvage
            .pieces
            .partition_point(|it| it.end_offset <= start);
        let pieces = self.salvage.pieces.get(first..).unwrap_or_default().iter();
        let within = move |piece: &Piece| piece.base_offset.max(start)..piece.end_offset.min(end);
        pieces
            .map(move |piece| (piece, within(piece)))
            .take_while(|(_, within)| within.start < within.end)
    }
}

/// Returns the number of the records that parts have together, and their digests. Blocks that are taken as a whole are not decoded.
///
/// # Errors
///
/// If the bytes have changed since.
pub fn sums(
    parts: &[Part<'_>],
    timestamp_type: TimestampType,
) -> Result<(u64, Digests), FormatError> {
    let mut blocks = DecodedBlocks::default();
    let (mut records, mut digests) = (0_u64, Digests::default());
    for part in parts {
        for (piece, within) in part.pieces() {
            if !piece.is_cut(&within) {
                records = records.saturating_add(u64::from(piece.records));
                digests.add(piece.digests);
                continue;
            }
            let bytes = part.copies.get(piece.copy).copied().unwrap_or_default();
            for record in blocks.get(piece, bytes)?.records(&within) {
                records = records.saturating_add(1);
                digests.add(Digests::of(&record, timestamp_type));
            }
        }
    }
    Ok((records, digests))
}

/// Writes a new segment of parts of several salvages, in the order of offsets and disjoint. It covers `end` too, and gives `reason` for the
/// offsets that no piece has. The header has the base offset of the coverage, and the timestamp type of all of the salvages.
///
/// # Errors
///
/// If it cannot be written, if the bytes have changed since, or where there are more losses than a segment can name as gaps.
pub fn write_parts<W: Write>(
    parts: &[Part<'_>],
    end: i64,
    reason: GapReason,
    header: FileHeader,
    out: W,
) -> Result<(W, SegmentSummary), WriteError> {
    let mut pieces = parts.iter().flat_map(Part::pieces);
    let features = SegmentFeatures {
        key_filter: None,
        batches: pieces.any(|(piece, within)| piece.batches.is_some() && piece.is_kept(&within)),
        // All records are decoded here, so everything is computed.
        not_computed: false,
    };
    let mut writing = Writing {
        reason,
        assembler: SegmentAssembler::with_features(out, header, features)?,
        encoder: Encoder::new(Compression::default()),
        gap: None,
    };
    let mut blocks = DecodedBlocks::default();
    for part in parts {
        for (piece, within) in part.pieces() {
            writing.lose(within.start)?;
            let bytes = part.copies.get(piece.copy).copied().unwrap_or_default();
            let block = blocks.get(piece, bytes)?;
            writing.piece(piece, block, &within)?;
            part.salvage
                .name_gaps(&within, block.columns(), &mut writing)?;
        }
    }
    writing.lose(end)?;
    let mut reasons = parts.iter().map(|part| part.salvage.default_reason);
    let first = reasons.next().unwrap_or(GapReason::Unknown);
    let same = reasons.all(|reason| reason == first);
    writing.finish(if same { first } else { GapReason::Unknown })
}

impl Salvage {
    /// Writes the new segment, which covers what the old one did. `copies` are those that the salvage is of, and the header has the coverage's
    /// base offset and the timestamp type of the salvage.
    ///
    /// # Errors
    ///
    /// As [`write_parts`].
    pub fn write<W: Write>(
        &self,
        copies: &[&[u8]],
        header: FileHeader,
        out: W,
    ) -> Result<(W, SegmentSummary), WriteError> {
        let all = Part {
            salvage: self,
            copies,
            offsets: self.coverage(),
        };
        write_parts(&[all], self.end.offset, GapReason::Damaged, header, out)
    }

    /// Names the gaps of the footer within the offsets of a piece. One that holds a record contradicts it, and is left out.
    fn name_gaps<W: Write>(
        &self,
        within: &Range<i64>,
        columns: &Columns,
        writing: &mut Writing<W>,
    ) -> Result<(), WriteError> {
        let (from, to) = (within.start, within.end);
        let first = self.gaps.partition_point(|gap| gap.to_offset <= from);
        let gaps = self.gaps.get(first..).unwrap_or_default();
        for gap in gaps.iter().take_while(|gap| gap.from_offset < to) {
            let part = Gap {
                from_offset: gap.from_offset.max(from),
                to_offset: gap.to_offset.min(to),
                reason: gap.reason,
            };
            let offsets = columns.offsets();
            let next = offsets.partition_point(|offset| *offset < part.from_offset);
            if offsets.get(next).is_none_or(|next| *next >= part.to_offset) {
                writing.name(part)?;
            }
        }
        Ok(())
    }
}

struct Writing<W> {
    /// Why offsets have no record that no piece has.
    reason: GapReason,
    assembler: SegmentAssembler<W>,
    encoder: Encoder,
    /// The last gap that has a name, as long as the next one may join it.
    gap: Option<Gap>,
}

impl<W: Write> Writing<W> {
    /// Covers the offsets up to `end`, which are lost, with a block without records.
    fn lose(&mut self, end: i64) -> Result<(), WriteError> {
        let at = self.assembler.end_offset();
        if at >= end {
            return Ok(());
        }
        self.name(Gap {
            from_offset: at,
            to_offset: end,
            reason: self.reason,
        })?;
        let mut builder = BlockBuilder::new(at);
        builder.cover(end);
        self.append(builder)
    }

    /// Names a gap. Those that join and have the same reason are one.
    fn name(&mut self, gap: Gap) -> Result<(), WriteError> {
        match &mut self.gap {
            Some(last) if (last.to_offset, last.reason) == (gap.from_offset, gap.reason) => {
                last.to_offset = gap.to_offset;
                Ok(())
            }
            last => match last.replace(gap) {
                Some(named) => self.assembler.name_gap(named),
                None => Ok(()),
            },
        }
    }

    fn finish(mut self, default_reason: GapReason) -> Result<(W, SegmentSummary), WriteError> {
        if let Some(gap) = self.gap.take() {
            self.assembler.name_gap(gap)?;
        }
        self.assembler.seal(default_reason)
    }

    fn append(&mut self, builder: BlockBuilder) -> Result<(), WriteError> {
        let timestamp_type = self.assembler.header().timestamp_type;
        let block = builder.encode(timestamp_type, self.assembler.renderer(), &mut self.encoder);
        self.assembler.append(&block)
    }

    fn piece(
        &mut self,
        piece: &Piece,
        block: &DecodedBlock<'_>,
        within: &Range<i64>,
    ) -> Result<(), WriteError> {
        if !piece.is_kept(within) {
            let mut builder = BlockBuilder::new(within.start);
            for record in block.records(within) {
                builder.push(&record)?;
            }
            builder.cover(within.end);
            return self.append(builder);
        }
        let header = BlockHeader::decode_anywhere(block.bytes())?;
        let covered = BlockHeader {
            base_offset: within.start,
            end_offset: within.end,
            ..header
        };
        let decoded = (block.columns(), block.batch_bounds());
        self.assembler
            .append_stored(covered, block.bytes(), decoded)
    }
}

impl Piece {
    /// Returns whether it has records outside of these offsets.
    pub(super) fn is_cut(&self, within: &Range<i64>) -> bool {
        self.span
            .is_some_and(|(first, last)| first < within.start || last >= within.end)
    }

    /// Returns its bytes, as they were found: a block, or some batches of one.
    ///
    /// # Errors
    ///
    /// If the file is shorter now.
    pub(super) fn stored<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let range = self.position..self.position.saturating_add(self.length);
        slice(bytes, &range, self.written_at)
    }

    /// Decodes its records, where `bytes` are the copy that it was found in.
    ///
    /// # Errors
    ///
    /// If the bytes are not those that it was found in; `columns` is empty then.
    pub fn decode(
        &self,
        bytes: &[u8],
        decoder: &mut BlockDecoder,
        columns: &mut Columns,
    ) -> Result<(), FormatError> {
        columns.clear();
        let stored = self.stored(bytes)?;
        if self.is_run {
            return decoder
                .decode_run(self.written_at, stored, None, columns)
                .map(drop);
        }
        let header = self.header(stored)?;
        decoder.decode(&header, stored, Streams::All, columns)
    }

    /// Returns the header of its block.
    fn header(&self, block: &[u8]) -> Result<BlockHeader, FormatError> {
        let header = BlockHeader::decode_anywhere(block)?;
        let is_other = |numbers: BlockNumbers| numbers.digests != self.digests;
        if header.header_crc != self.header_crc || header.computed.is_some_and(is_other) {
            let detail = "the file is not what it was when it was read";
            return Err(inconsistent(self.written_at, detail));
        }
        Ok(header)
    }
}
