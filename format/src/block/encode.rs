//! From records to a block that is ready to be written.
//!
//! ```text
//! BlockBuilder --encode--> EncodedBlock --write (by the segment writer)--> recycle --> BlockBuilder
//! ```
//!
//! The steps are values of their own, so that they can run on different threads: one thread pushes
//! records, any of several encodes, and blocks are written in order. The buffers travel with them.
//! A stream that is stored raw is written from the buffer it was pushed into.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::measured::{BlockText, Measured, Meter};
use crate::batch::BatchDecoder;
use crate::batch_bounds::BatchBounds;
use crate::block::header::{
    BlockHeader, BlockKind, BlockNumbers, Directory, StreamEntry, StreamId,
};
use crate::codec::{Codec, Compression, Compressor};
use crate::columns::{Columns, RecordSize, narrow};
use crate::error::{ErrorClass, FormatError, Result};
use crate::key_filter::KeyHasher;
use crate::layout::ALIGNMENT;
use crate::meta;
use crate::record::{Record, TimestampType};
use crate::render::Renderer;
use crate::statistics::{RecordStatistics, Statistics};

/// The streams of a block of records.
const STREAMS: [StreamId; 4] = [
    StreamId::Meta,
    StreamId::Keys,
    StreamId::Headers,
    StreamId::Values,
];

/// What the records of a block are stored as: columns ([`BlockBuilder`]), or Kafka's own batches
/// ([`BatchesBuilder`](super::BatchesBuilder)).
pub trait BlockBody: sealed::Sealed {
    /// The kind of its blocks.
    const KIND: BlockKind;

    /// Returns what the headers of its batches say together; `None` of columns.
    fn batch_bounds(&self) -> Option<BatchBounds> {
        None
    }

    /// Returns the offsets covered, the end exclusive.
    fn coverage(&self) -> (i64, i64);

    /// Returns the hashes of the keys; `None` where the records are not decoded.
    ///
    /// # Errors
    ///
    /// Where they cannot be decoded any more, since their bytes have changed in memory.
    fn key_hashes(&self, hasher: KeyHasher) -> Result<Option<Vec<u64>>>;

    /// Begins an empty block at `base_offset` in the same buffers.
    fn restart(&mut self, base_offset: i64);

    /// Returns a stream before compression.
    fn raw(&self, id: StreamId) -> &[u8];

    /// Returns a stream after it; undefined where that did not pay.
    fn compressed(&self, id: StreamId) -> &[u8];

    /// Returns the buffer of a stream as it is stored, `codec` included, for whoever takes it over; `None` where it must be copied.
    fn stored_buffer(&mut self, _id: StreamId, _codec: Codec) -> Option<&mut Vec<u8>> {
        None
    }
}

pub(super) mod sealed {
    /// Nobody else stores records.
    pub trait Sealed {}
}

/// Collects the records of a block.
#[derive(Debug)]
pub struct BlockBuilder {
    columns: Columns,
    base_offset: i64,
    end_offset: i64,
    buffers: Buffers,
}

/// A block has at most about this many bytes of text per byte of its size. To read one record as text, a whole block is rendered, and tiny
/// records render to dozens of times their bytes.
pub(super) const TEXT_PER_BLOCK_BYTE: usize = 4;
/// About what a record's line has besides its key, headers and value. Counting exactly would read every byte twice.
pub(super) const LINE_BYTES: usize = 150;

/// The outcome of pushing a record into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record is not added to a full block"]
pub enum Push {
    /// The record was added.
    Pushed,
    /// The block is full and unchanged: the record goes into the next one.
    Full,
}

/// The buffers that encoding fills, reused from block to block.
#[derive(Debug, Default)]
struct Buffers {
    meta: Vec<u8>,
    /// Compressed bytes of each stream; unused where it is stored raw.
    stored: [Vec<u8>; STREAMS.len()],
}

impl BlockBuilder {
    /// Creates an empty block that covers offsets from `base_offset`.
    #[must_use]
    pub fn new(base_offset: i64) -> BlockBuilder {
        BlockBuilder {
            columns: Columns::new(),
            base_offset,
            end_offset: base_offset,
            buffers: Buffers::default(),
        }
    }

    /// Creates the same with room for values of `block_bytes`, so that the largest buffer does not grow by doubling.
    #[must_use]
    pub fn with_capacity(base_offset: i64, block_bytes: usize) -> BlockBuilder {
        let mut builder = BlockBuilder::new(base_offset);
        builder.columns.reserve_values(block_bytes);
        builder
    }

    /// Begins an empty block at `base_offset` in the same buffers.
    pub fn restart(&mut self, base_offset: i64) {
        self.columns.clear();
        self.base_offset = base_offset;
        self.end_offset = base_offset;
    }

    /// Copies a record into the block.
    ///
    /// # Errors
    ///
    /// *inconsistent* if its offset is below [`end_offset`](Self::end_offset); *limit* if no block can hold it with the others.
    pub fn push(&mut self, record: &Record<'_>) -> Result<()> {
        let end_offset = self.end_offset_with(record)?;
        self.columns.push(record)?;
        self.end_offset = end_offset;
        Ok(())
    }

    /// Copies a record into the block, unless that has records and would become larger than `block_bytes`, or than any block
    /// may be, or would render to much more text than a block of ordinary records. A block without records is never full.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); *limit* only if no block can hold the record.
    pub fn try_push(&mut self, record: &Record<'_>, block_bytes: usize) -> Result<Push> {
        let end_offset = self.end_offset_with(record)?;
        let size = RecordSize::of(record);
        let payload = self.payload_bytes().saturating_add(size.bytes);
        let text = payload.saturating_add((self.len() + 1).saturating_mul(LINE_BYTES));
        let is_full =
            payload > block_bytes || text > TEXT_PER_BLOCK_BYTE.saturating_mul(block_bytes);
        if !self.is_empty() && is_full {
            return Ok(Push::Full);
        }
        match self.columns.check_room(record.offset, size) {
            Ok(()) => {}
            Err(_) if !self.is_empty() => return Ok(Push::Full),
            Err(error) => return Err(error),
        }
        self.columns.push_checked(record);
        self.end_offset = end_offset;
        Ok(Push::Pushed)
    }

    /// Returns the exclusive end of the coverage with `record`.
    fn end_offset_with(&self, record: &Record<'_>) -> Result<i64> {
        // The exclusive end is the offset + 1, so the largest `i64` cannot be covered.
        let end_offset = record.offset.checked_add(1);
        end_offset
            .filter(|_| record.offset >= self.end_offset)
            .ok_or_else(|| {
                FormatError::new(
                    ErrorClass::Inconsistent,
                    "record",
                    0,
                    format!(
                        "offset {} is not between {} and {}",
                        record.offset,
                        self.end_offset,
                        i64::MAX - 1
                    ),
                )
            })
    }

    /// Extends the coverage to `end_offset`: the source has no record between the last one and it.
    pub fn cover(&mut self, end_offset: i64) {
        self.end_offset = self.end_offset.max(end_offset);
    }

    /// Returns the first offset covered.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Returns the exclusive end of the offsets covered.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Returns whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the bytes of keys, headers and values, which count towards the block size.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.columns.payload_bytes()
    }

    /// Returns the records pushed so far.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Compresses the streams, and computes the statistics of records that all have `timestamp_type` and the lengths of their text.
    #[must_use]
    pub fn encode(
        mut self,
        timestamp_type: TimestampType,
        renderer: &Renderer,
        encoder: &mut Encoder,
    ) -> EncodedBlock {
        self.buffers.meta.clear();
        if !self.columns.is_empty() {
            meta::encode(&self.columns, self.base_offset, &mut self.buffers.meta);
        }
        let mut directory = Directory::default();
        encoder.begin();
        for (id, stored) in STREAMS.into_iter().zip(&mut self.buffers.stored) {
            let raw = raw_stream(id, &self.buffers.meta, &self.columns);
            if let Some(entry) = encoder.stream(id, raw, None, stored) {
                directory.set(entry);
            }
        }
        let (base_offset, end_offset) = self.coverage();
        let mut meter = Meter::new(base_offset, timestamp_type, renderer);
        meter.add(&self.columns);
        let measured = meter.finish(end_offset, directory.raw_length());
        EncodedBlock::new(self, directory, timestamp_type, renderer, measured)
    }
}

impl sealed::Sealed for BlockBuilder {}

impl BlockBody for BlockBuilder {
    const KIND: BlockKind = BlockKind::Records;

    fn coverage(&self) -> (i64, i64) {
        (self.base_offset, self.end_offset)
    }

    fn key_hashes(&self, hasher: KeyHasher) -> Result<Option<Vec<u64>>> {
        Ok(Some(hasher.of_block(&self.columns)))
    }

    fn restart(&mut self, base_offset: i64) {
        BlockBuilder::restart(self, base_offset);
    }

    fn raw(&self, id: StreamId) -> &[u8] {
        raw_stream(id, &self.buffers.meta, &self.columns)
    }

    fn compressed(&self, id: StreamId) -> &[u8] {
        let stored = self.buffers.stored.get(id as usize - 1);
        stored.map_or(&[][..], |stored| stored)
    }
}

fn raw_stream<'a>(id: StreamId, meta: &'a [u8], columns: &'a Columns) -> &'a [u8] {
    match id {
        StreamId::Meta => meta,
        StreamId::Keys => &columns.keys.bytes,
        StreamId::Headers => &columns.headers.bytes,
        StreamId::Values => &columns.values.bytes,
        StreamId::Batches => &[],
    }
}

/// Compresses blocks, one at a time, with one setting. Each thread has its own.
pub struct Encoder {
    compressor: Compressor,
    /// Room for a piece of the records of a block of batches, which are decoded to be measured: a block that is filled needs none of its own.
    pub(super) columns: Columns,
    pub(super) decoder: BatchDecoder,
    /// How long the compression of the last block took.
    compressing: Duration,
}

impl Encoder {
    /// Creates an encoder with `compression`; a stream that it does not make smaller is stored raw.
    #[must_use]
    pub fn new(compression: Compression) -> Encoder {
        Encoder {
            compressor: Compressor::new(compression),
            columns: Columns::new(),
            decoder: BatchDecoder::new(),
            compressing: Duration::ZERO,
        }
    }

    /// Returns how much of the time that the last block took went to its compression.
    #[must_use]
    pub fn time_compressing(&self) -> Duration {
        self.compressing
    }

    /// Sets how long the compression of the block took to nothing.
    pub(super) fn begin(&mut self) {
        self.compressing = Duration::ZERO;
    }

    /// Compresses a stream. `raw_crc` is the checksum that its bytes must have, where that is known.
    pub(super) fn stream(
        &mut self,
        id: StreamId,
        raw: &[u8],
        raw_crc: Option<u32>,
        stored: &mut Vec<u8>,
    ) -> Option<StreamEntry> {
        if raw.is_empty() {
            return None;
        }
        let began = Instant::now();
        let codec = self.compressor.compress(raw, stored);
        self.compressing += began.elapsed();
        let (bytes, known_crc) = match codec {
            Codec::None => (raw, raw_crc),
            _ => (&**stored, None),
        };
        Some(StreamEntry {
            id,
            codec,
            stored_crc: known_crc.unwrap_or_else(|| crc32c::crc32c(bytes)),
            stored_length: narrow(bytes.len()),
            raw_length: narrow(raw.len()),
        })
    }
}

/// A compressed block that has no position in a segment yet.
#[derive(Debug)]
pub struct EncodedBlock<B = BlockBuilder> {
    body: B,
    timestamp_type: TimestampType,
    directory: Directory,
    statistics: Statistics,
    /// `None` where the records were not decoded.
    text: Option<BlockText>,
    renderer: Renderer,
    /// The hashes of its keys, and what they were hashed with.
    key_hashes: Option<(KeyHasher, Vec<u64>)>,
}

impl<B: BlockBody> EncodedBlock<B> {
    /// Puts together what was measured of a block, and the block.
    pub(super) fn new(
        body: B,
        directory: Directory,
        timestamp_type: TimestampType,
        renderer: &Renderer,
        measured: Measured,
    ) -> EncodedBlock<B> {
        EncodedBlock {
            statistics: measured.statistics,
            text: measured.text,
            renderer: renderer.clone(),
            key_hashes: None,
            timestamp_type,
            directory,
            body,
        }
    }

    /// Hashes the keys for the key filter of the segment that the block is going to be appended to, if that has one. Without it, appending does
    /// so; here it is done on the thread that encodes.
    #[must_use]
    pub fn hash_keys(mut self, hasher: Option<KeyHasher>) -> EncodedBlock<B> {
        self.key_hashes = hasher.and_then(|hasher| {
            // Appending fails where this does.
            let hashes = self.body.key_hashes(hasher).ok()??;
            Some((hasher, hashes))
        });
        self
    }

    /// Returns the hashes of the keys; `None` where the records were not decoded.
    ///
    /// # Errors
    ///
    /// As [`BlockBody::key_hashes`].
    pub(crate) fn key_hashes(&self, hasher: KeyHasher) -> Result<Option<Cow<'_, [u64]>>> {
        match &self.key_hashes {
            Some((with, hashes)) if *with == hasher => Ok(Some(Cow::Borrowed(hashes))),
            _ => Ok(self.body.key_hashes(hasher)?.map(Cow::Owned)),
        }
    }

    /// Returns the statistics of the block's records.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns what the headers of its batches say together; `None` of a block of records.
    #[must_use]
    pub fn batch_bounds(&self) -> Option<BatchBounds> {
        self.body.batch_bounds()
    }

    /// Returns the timestamp type that the digests were computed with.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// Returns the renderer that the lengths of the text were computed with.
    #[must_use]
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Returns what the segment states of the text of the block's records; `None` where they were not decoded.
    #[must_use]
    pub fn text(&self) -> Option<&BlockText> {
        self.text.as_ref()
    }

    /// Returns the stored bytes of the streams.
    #[must_use]
    pub fn stored_length(&self) -> usize {
        self.directory.stored_length()
    }

    /// Returns the buffers as an empty block that covers offsets from `base_offset`.
    #[must_use]
    pub fn recycle(mut self, base_offset: i64) -> B {
        self.body.restart(base_offset);
        self.body
    }

    /// Returns the header of this block at `position` in a segment with `salt`, as block number `sequence`.
    pub(crate) fn header(&self, salt: [u8; 8], position: u64, sequence: u32) -> BlockHeader {
        let statistics = &self.statistics;
        BlockHeader {
            salt,
            position,
            sequence,
            kind: B::KIND,
            base_offset: statistics.base_offset,
            end_offset: statistics.end_offset,
            max_timestamp: statistics.max_timestamp,
            record_count: narrow_count(statistics.record_count),
            control_count: narrow_count(statistics.control_count),
            computed: statistics.computed.as_ref().map(block_numbers),
            directory: self.directory,
            header_crc: 0,
        }
    }

    /// Writes what follows the block header: the streams and their padding.
    pub(crate) fn write_streams(&self, out: &mut impl Write) -> io::Result<()> {
        for entry in self.directory.iter() {
            let bytes = match entry.codec {
                Codec::None => self.body.raw(entry.id),
                _ => self.body.compressed(entry.id),
            };
            out.write_all(bytes)?;
        }
        self.write_padding(out)
    }

    /// Writes the same, and hands each buffer over that may be. The block can only be recycled afterwards.
    pub(crate) fn hand_streams_over<W: Write>(
        &mut self,
        out: &mut W,
        mut take: impl FnMut(&mut W, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let directory = self.directory;
        for entry in directory.iter() {
            match (self.body.stored_buffer(entry.id, entry.codec), entry.codec) {
                (Some(buffer), _) => take(out, buffer)?,
                (None, Codec::None) => out.write_all(self.body.raw(entry.id))?,
                (None, _) => out.write_all(self.body.compressed(entry.id))?,
            }
        }
        self.write_padding(out)
    }

    fn write_padding(&self, out: &mut impl Write) -> io::Result<()> {
        const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];
        // The header's length is aligned, so the padding follows from the streams alone.
        let padding = self.directory.stored_length().next_multiple_of(ALIGNMENT)
            - self.directory.stored_length();
        out.write_all(ZEROS.get(..padding).unwrap_or_default())
    }
}

/// Narrows a count of a block's records, at most `limits::BLOCK_RECORDS`: both builders bound it.
fn narrow_count(count: u64) -> u32 {
    count as u32
}

/// Returns what a block header states of its records.
pub(crate) fn block_numbers(computed: &RecordStatistics) -> BlockNumbers {
    BlockNumbers {
        min_timestamp: computed.min_timestamp,
        min_known_timestamp: computed.min_known_timestamp,
        tombstone_count: narrow_count(computed.tombstone_count),
        no_timestamp_count: narrow_count(computed.no_timestamp_count),
        digests: computed.digests,
    }
}
