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
    /// Writes the new segment, which covers what the old one did. `copies` are those that the salvage is of, and the header has the coverage's
    /// base offset and the timestamp type of the salvage.
    ///
    /// # Errors
    ///
    /// If it cannot be written, if the bytes have changed since, or where there are more losses than a segment can name as gaps.
    pub fn write<W: Write>(
        &self,
        copies: &[&[u8]],
        header: FileHeader,
        out: W,
    ) -> Result<(W, SegmentSummary), WriteError> {
        let mut writing = Writing {
            assembler: SegmentAssembler::new(out, header)?,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            encoder: Encoder::new(Compression::default()),
            gap: None,
        };
        for piece in &self.pieces {
            writing.lose(piece.base_offset)?;
            let bytes = copies.get(piece.copy).copied().unwrap_or_default();
            writing.piece(piece, bytes)?;
            self.name_gaps(piece, &mut writing)?;
        }
        writing.lose(self.end.offset)?;
        writing.finish(self.default_reason)
    }

    /// Names the gaps of the footer within a piece. One that holds a record contradicts it, and is left out.
    fn name_gaps<W: Write>(
        &self,
        piece: &Piece,
        writing: &mut Writing<W>,
    ) -> Result<(), WriteError> {
        let (from, to) = (piece.base_offset, piece.end_offset);
        let first = self.gaps.partition_point(|gap| gap.to_offset <= from);
        let gaps = self.gaps.get(first..).unwrap_or_default();
        for gap in gaps.iter().take_while(|gap| gap.from_offset < to) {
            let part = Gap {
                from_offset: gap.from_offset.max(from),
                to_offset: gap.to_offset.min(to),
                reason: gap.reason,
            };
            let offsets = writing.columns.offsets();
            let next = offsets.partition_point(|offset| *offset < part.from_offset);
            if offsets.get(next).is_none_or(|next| *next >= part.to_offset) {
                writing.name(part)?;
            }
        }
        Ok(())
    }
}

struct Writing<W> {
    assembler: SegmentAssembler<W>,
    decoder: BlockDecoder,
    columns: Columns,
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
            reason: GapReason::Damaged,
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
