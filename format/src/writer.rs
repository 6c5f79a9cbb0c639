//! Writing a segment record by record: blocks are cut and encoded, and a [`SegmentAssembler`] takes them.

use std::io::Write;

use crate::assembler::{SegmentAssembler, SegmentSummary, WriteError};
use crate::block::{BlockBuilder, Encoder, Push};
use crate::codec::Compression;
use crate::gaps::{Gap, GapReason};
use crate::header::FileHeader;
use crate::key_filter::KeyFilterBits;
use crate::record::Record;

/// How a segment's blocks are cut and compressed.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// The compression of the streams.
    pub compression: Compression,
    /// Bytes of keys, headers and values per block, unless a single record is larger; fewer where records are tiny, so that the text of
    /// a block stays short.
    pub block_bytes: usize,
    /// How selective the segment's key filter is, if it has one.
    pub key_filter: Option<KeyFilterBits>,
}

impl WriterOptions {
    /// The default block size: larger blocks gain 1 to 2 % density and make random reads slower.
    pub const DEFAULT_BLOCK_BYTES: usize = 1024 * 1024;
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            compression: Compression::default(),
            block_bytes: Self::DEFAULT_BLOCK_BYTES,
            key_filter: None,
        }
    }
}

/// Writes a segment record by record, on the caller's thread.
pub struct SegmentWriter<W> {
    assembler: SegmentAssembler<W>,
    encoder: Encoder,
    /// `None` only while a block is being written, and after an error.
    builder: Option<BlockBuilder>,
    block_bytes: usize,
}

impl<W: Write> SegmentWriter<W> {
    /// Begins a segment.
    ///
    /// # Errors
    ///
    /// As [`SegmentAssembler::new`].
    pub fn new(out: W, header: FileHeader, options: WriterOptions) -> Result<Self, WriteError> {
        Ok(SegmentWriter {
            builder: Some(BlockBuilder::new(header.base_offset)),
            assembler: SegmentAssembler::with_key_filter(out, header, options.key_filter)?,
            encoder: Encoder::new(options.compression),
            block_bytes: options.block_bytes,
        })
    }

    /// Copies `record` into the current block, which is written first if the record would overfill it.
    ///
    /// # Errors
    ///
    /// An offset out of order leaves the writer unchanged; after a failed write every later call fails.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        // Runs at most twice: an empty block is never full.
        while self.try_push(record)? == Push::Full {
            self.flush()?;
        }
        Ok(())
    }

    fn try_push(&mut self, record: &Record<'_>) -> Result<Push, WriteError> {
        let builder = self.builder.as_mut().ok_or(WriteError::Latched)?;
        Ok(builder.try_push(record, self.block_bytes)?)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let builder = self.builder.take().ok_or(WriteError::Latched)?;
        let timestamp_type = self.assembler.header().timestamp_type;
        let block = builder.encode(timestamp_type, self.assembler.renderer(), &mut self.encoder);
        self.assembler.append(&block)?;
        let end_offset = self.assembler.end_offset();
        self.builder = Some(block.recycle(end_offset));
        Ok(())
    }

    /// States the reason of a gap.
    ///
    /// # Errors
    ///
    /// As [`SegmentAssembler::name_gap`].
    pub fn name_gap(&mut self, gap: Gap) -> Result<(), WriteError> {
        self.assembler.name_gap(gap)
    }

    /// Writes the current block, extends the coverage to `end_offset` and seals the segment.
    ///
    /// # Errors
    ///
    /// As [`SegmentAssembler::seal`].
    pub fn seal(
        mut self,
        end_offset: i64,
        default_reason: GapReason,
    ) -> Result<(W, SegmentSummary), WriteError> {
        let builder = self.builder.as_mut().ok_or(WriteError::Latched)?;
        builder.cover(end_offset);
        if builder.end_offset() > builder.base_offset() {
            self.flush()?;
        }
        self.assembler.seal(default_reason)
    }
}
