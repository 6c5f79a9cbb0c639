//! Writes what is proved as a new segment. Stored streams are copied as they are; only block headers are new.

use std::io::Write;

use crate::block::{BlockBuilder, BlockDecoder, BlockHeader, Encoder, Streams};
use crate::codec::Compression;
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError};
use crate::gaps::{Gap, GapReason};
use crate::header::FileHeader;
use crate::writer::{SegmentAssembler, SegmentSummary, WriteError};

use super::{Piece, Salvage, inconsistent};

impl Salvage {
    /// Writes the new segment, which covers what the old one did. `bytes` are those that the salvage is of, and the header has the coverage's
    /// base offset and the timestamp type of the salvage.
    ///
    /// # Errors
    ///
    /// If it cannot be written, if the bytes have changed since, or where there are more losses than a segment can name as gaps.
    pub fn write<W: Write>(
        &self,
        bytes: &[u8],
        header: FileHeader,
        out: W,
    ) -> Result<(W, SegmentSummary), WriteError> {
        let mut writing = Writing {
            assembler: SegmentAssembler::new(out, header)?,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            encoder: Encoder::new(Compression::default()),
        };
        for gap in self.named_gaps() {
            writing.assembler.name_gap(gap)?;
        }
        for piece in &self.pieces {
            writing.cover(piece.base_offset)?;
            writing.piece(piece, bytes)?;
        }
        writing.cover(self.end.offset)?;
        writing.assembler.seal(self.default_reason)
    }

    /// Returns all gaps that have a name, ascending. Losses that join are one.
    fn named_gaps(&self) -> Vec<Gap> {
        let losses = self.losses.iter().map(|loss| Gap {
            from_offset: loss.offsets.base_offset,
            to_offset: loss.offsets.end_offset,
            reason: GapReason::Damaged,
        });
        let mut gaps: Vec<Gap> = self.gaps.iter().copied().chain(losses).collect();
        gaps.sort_by_key(|gap| gap.from_offset);
        gaps.dedup_by(|next, gap| {
            let joins = (gap.to_offset, gap.reason) == (next.from_offset, next.reason);
            if joins {
                gap.to_offset = next.to_offset;
            }
            joins
        });
        gaps
    }
}

struct Writing<W> {
    assembler: SegmentAssembler<W>,
    decoder: BlockDecoder,
    columns: Columns,
    encoder: Encoder,
}

impl<W: Write> Writing<W> {
    /// Covers the offsets up to `end` with a block without records.
    fn cover(&mut self, end: i64) -> Result<(), WriteError> {
        let at = self.assembler.end_offset();
        if at >= end {
            return Ok(());
        }
        let mut builder = BlockBuilder::new(at);
        builder.cover(end);
        self.append(builder)
    }

    fn append(&mut self, builder: BlockBuilder) -> Result<(), WriteError> {
        let timestamp_type = self.assembler.header().timestamp_type;
        let block = builder.encode(timestamp_type, self.assembler.renderer(), &mut self.encoder);
        self.assembler.append(&block)
    }

    fn piece(&mut self, piece: &Piece, bytes: &[u8]) -> Result<(), WriteError> {
        let (header, block) = piece.stored(bytes)?;
        self.decoder
            .decode(&header, block, Streams::All, &mut self.columns)?;
        // META counts offsets from the first one that the block covers.
        if header.base_offset != piece.base_offset {
            let mut builder = BlockBuilder::new(piece.base_offset);
            for record in self.columns.iter() {
                builder.push(&record)?;
            }
            builder.cover(piece.end_offset);
            return self.append(builder);
        }
        let covered = BlockHeader {
            end_offset: piece.end_offset,
            ..header
        };
        self.assembler.append_stored(covered, block, &self.columns)
    }
}

impl Piece {
    /// Returns the header and the bytes of the block, as they were found.
    ///
    /// # Errors
    ///
    /// If the bytes are not those that it was found in.
    pub fn stored<'a>(&self, bytes: &'a [u8]) -> Result<(BlockHeader, &'a [u8]), FormatError> {
        let range = usize::try_from(self.position)
            .ok()
            .zip(usize::try_from(self.position.saturating_add(self.length)).ok());
        let block = range.and_then(|(from, to)| bytes.get(from..to));
        let block = block.ok_or_else(|| {
            let detail = "the file is shorter than when it was read";
            FormatError::new(ErrorClass::Truncated, "block", self.written_at, detail)
        })?;
        let header = BlockHeader::decode_anywhere(block)?;
        if (header.header_crc, header.digests) != (self.header_crc, self.digests) {
            let detail = "the file is not what it was when it was read";
            return Err(inconsistent(self.written_at, detail));
        }
        Ok((header, block))
    }
}
