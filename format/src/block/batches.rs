//! Blocks of kind 2: Kafka's own record batches, stored as they were (SPEC 2.10).
//!
//! A block states the same of its records whatever they are stored as, so writing one decodes every batch, unless it is *not computed*
//! (SPEC 2.11): then one pass over the bytes, for the checksum, is all. A writer that has to be fast computes a block where that needs no
//! decompression ([`BatchesBuilder::computed_where_cheap`]). Reading one gives the same [`Columns`] as reading a block of records.
//! The bytes of the batches are copied once, from where they are lent into the block. The records of batches that are not compressed are only
//! checked when they are pushed, and decoded from there while the block is encoded, into buffers of the encoder.

mod read;
mod run;

use std::fmt;

use super::measured::{Measured, Meter};
use crate::batch::{
    BatchCodec, BatchDecoder, BatchesCrc, CheckedBatch, RecordBatch, RecordBatches,
};
use crate::batch_bounds::BatchBounds;
use crate::block::encode::{
    BlockBody, EncodedBlock, Encoder, LINE_BYTES, TEXT_PER_BLOCK_BYTE, sealed,
};
use crate::block::header::{BlockKind, Directory, StreamEntry, StreamId};
use crate::codec::Codec;
use crate::columns::{Columns, RecordSize, narrow};
use crate::error::{ErrorClass, FormatError, Result};
use crate::key_filter::KeyHasher;
use crate::layout::limits;
use crate::record::{Record, TimestampType};
use crate::render::Renderer;
use crate::statistics::Statistics;
use crate::wire::length;

pub(super) use read::{decode, walk};
pub(super) use run::{StatedOfRun, decode_run};

/// Why a batch cannot be in a block as it is. Its records can be stored as columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStorable {
    /// It is a message, or a set of messages, of this format.
    Format(u8),
    /// It holds markers.
    Control,
    /// It has no record.
    Empty,
    /// Its timestamps are of another type than those of the segment.
    TimestampType(TimestampType),
    /// It is larger than a block may be, or decompresses to more than one may.
    TooLarge,
}

impl fmt::Display for NotStorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotStorable::Format(magic) => write!(f, "it is of format v{magic}"),
            NotStorable::Control => f.write_str("it holds transaction markers"),
            NotStorable::Empty => f.write_str("it has no records"),
            NotStorable::TimestampType(found) => write!(f, "its timestamp type is {found:?}"),
            NotStorable::TooLarge => f.write_str("it is larger than a block may be"),
        }
    }
}

/// The outcome of pushing a batch into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a batch is not always added"]
pub enum PushBatch {
    /// The batch was added.
    Pushed,
    /// The block is full and unchanged: the batch goes into the next one.
    Full,
    /// No block of batches can hold it.
    Cannot(NotStorable),
}

/// A block that is not computed takes batches that decompress to at most this much without decoding them: their records cannot have more headers
/// than a block may, of which each takes two bytes, so that every reader can decode it. One batch that may decompress to more has a block for
/// itself, and its records are counted.
const UNREAD_BYTES: usize = 2 * limits::BLOCK_HEADERS;

/// One that is not computed takes further batches while what it has decompresses to at most this much: a reader has a decoded block of each
/// partition that it reads.
const FILLED_BYTES: usize = 4 << 20;

/// Which blocks are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Computing {
    Always,
    Never,
    /// Those of which every batch has to be decoded in any case, or is not compressed.
    WhereCheap,
}

/// Batches of at most this much are still in the processor's cache once they were copied.
const CACHED_BYTES: usize = 1 << 20;

/// Records of about this much are decoded and measured at a time, so that they are in the cache of the processor's core until they are measured.
const PIECE_BYTES: usize = 128 << 10;
/// At most this many: each takes some dozens of bytes besides.
const PIECE_RECORDS: usize = 2_000;

/// What becomes of the records of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoding {
    /// No batch is compressed. They were checked, and are decoded when the block is encoded.
    Later,
    /// They are in the columns.
    Done,
    /// They are not decoded: the block is not computed.
    Never,
}

/// Collects the batches of a block.
pub struct BatchesBuilder {
    /// The records, where [`Decoding::Done`].
    columns: Columns,
    /// What the columns have or would have: bytes, and headers.
    size: RecordSize,
    computing: Computing,
    decoding: Decoding,
    records: usize,
    max_timestamp: i64,
    bounds: BatchBounds,
    raw: Vec<u8>,
    crc: BatchesCrc,
    /// Compressed bytes; unused where they are stored raw.
    stored: Vec<u8>,
    /// Whether a batch is compressed itself.
    is_compressed: bool,
    decoder: BatchDecoder,
    /// The most that the batches may decompress to.
    decoded_bytes: usize,
    timestamp_type: TimestampType,
    base_offset: i64,
    end_offset: i64,
}

/// Whether a block has room for a batch.
enum Room {
    /// It has: the bytes that it decompresses to, or an upper bound of them.
    Bytes(usize),
    /// It has not.
    None,
}

impl BatchesBuilder {
    /// Creates an empty block of a segment with this timestamp type, which covers offsets from `base_offset`.
    #[must_use]
    pub fn new(base_offset: i64, timestamp_type: TimestampType) -> BatchesBuilder {
        BatchesBuilder {
            columns: Columns::new(),
            size: RecordSize::default(),
            computing: Computing::Always,
            decoding: Decoding::Later,
            records: 0,
            max_timestamp: i64::MIN,
            bounds: BatchBounds::NONE,
            raw: Vec::new(),
            crc: BatchesCrc::new(),
            stored: Vec::new(),
            is_compressed: false,
            decoder: BatchDecoder::new(),
            decoded_bytes: 0,
            timestamp_type,
            base_offset,
            end_offset: base_offset,
        }
    }

    /// Creates an empty block that is not computed: what its header states is taken from those of the batches, which are not decoded. It goes into
    /// a segment that was begun with [`SegmentFeatures::not_computed`](crate::SegmentFeatures::not_computed).
    #[must_use]
    pub fn not_computed(base_offset: i64, timestamp_type: TimestampType) -> BatchesBuilder {
        BatchesBuilder {
            computing: Computing::Never,
            decoding: Decoding::Never,
            ..BatchesBuilder::new(base_offset, timestamp_type)
        }
    }

    /// Creates an empty block that is computed as long as that needs no decompression: its batches are not compressed, or have to be decoded to
    /// find out how large they are, as those of gzip. With the first other batch it becomes one that is not computed, which
    /// [`Statistics::computed`](crate::Statistics::computed) says once it is encoded.
    #[must_use]
    pub fn computed_where_cheap(base_offset: i64, timestamp_type: TimestampType) -> BatchesBuilder {
        BatchesBuilder {
            computing: Computing::WhereCheap,
            ..BatchesBuilder::new(base_offset, timestamp_type)
        }
    }

    /// Copies a batch into the block, unless that has batches and would become larger than `block_bytes`, or than any block may
    /// be, or would decompress to much more than blocks of records do. A block without batches is never full.
    ///
    /// Where the block is not computed, a batch is decoded only if it alone decompresses to more than 8 MiB, or if its codec is gzip, which does
    /// not say; any other one is accepted, even if its records are malformed.
    ///
    /// The batch must not be one of an aborted transaction: it does not say so itself.
    ///
    /// # Errors
    ///
    /// *inconsistent* if it begins below [`end_offset`](Self::end_offset); any error of a batch that is damaged or malformed. The block is
    /// unchanged then.
    pub fn try_push(&mut self, batch: &CheckedBatch<'_>, block_bytes: usize) -> Result<PushBatch> {
        if let Some(reason) = self.not_storable(batch) {
            return Ok(PushBatch::Cannot(reason));
        }
        let header = batch.header();
        if header.base_offset < self.end_offset {
            let detail = format!(
                "offset {} is below {}, where the block ends",
                header.base_offset, self.end_offset
            );
            let (class, position) = (ErrorClass::Inconsistent, batch.position());
            return Err(FormatError::new(class, "record batch", position, detail));
        }
        let is_empty = self.is_empty();
        let bytes = self.raw.len().saturating_add(batch.bytes().len());
        let records = length(header.record_count.unwrap_or_default());
        let most = if is_empty {
            limits::BLOCK_RAW_BYTES
        } else {
            block_bytes.min(limits::BLOCK_RAW_BYTES)
        };
        let no_room = match is_empty {
            true => PushBatch::Cannot(NotStorable::TooLarge),
            false => PushBatch::Full,
        };
        if bytes > most || self.records.saturating_add(records) > limits::BLOCK_RECORDS {
            return Ok(no_room);
        }
        let decoding = self.decoding_with(batch);
        let before = self.raw.len();
        if is_empty {
            // Doubling would take up to twice as much.
            self.raw
                .reserve_exact(block_bytes.min(UNREAD_BYTES).max(bytes));
        }
        // What is only checked is copied before: the copy reads the batch in one stream, and whoever steps from record to record then finds them in the
        // processor's cache, instead of waiting for memory at each. What does not stay there gains nothing, and what is decompressed is copied
        // afterwards, without the memory that this takes.
        let is_copied_first = decoding == Decoding::Later && batch.bytes().len() <= CACHED_BYTES;
        if is_copied_first {
            self.raw.extend_from_slice(batch.bytes());
        }
        let room = match decoding {
            Decoding::Later => self.check(batch, block_bytes),
            Decoding::Done => self.append_decoded(batch, block_bytes),
            Decoding::Never => self.measure(batch),
        };
        let decoded = match room {
            Ok(Room::Bytes(decoded)) => decoded,
            not => {
                self.raw.truncate(before);
                return not.map(|_| no_room);
            }
        };
        if decoding == Decoding::Never {
            self.columns.clear();
        }
        self.decoding = decoding;
        self.decoded_bytes = self.decoded_bytes.saturating_add(decoded);
        if !is_copied_first {
            self.raw.extend_from_slice(batch.bytes());
        }
        self.crc.push(batch);
        self.is_compressed |= header.attributes.codec() != Some(BatchCodec::None);
        self.records = self.records.saturating_add(records);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.bounds.add(batch);
        self.end_offset = header.last_offset.saturating_add(1);
        Ok(PushBatch::Pushed)
    }

    /// Returns what becomes of the records of the block once it has this batch, too.
    fn decoding_with(&self, batch: &RecordBatch<'_>) -> Decoding {
        let is_compressed = batch.header().attributes.codec() != Some(BatchCodec::None);
        match (self.decoding, self.computing) {
            (Decoding::Never, _) | (_, Computing::Never) => Decoding::Never,
            (decoding, _) if !is_compressed => decoding,
            (_, Computing::WhereCheap) if batch.decoded_bound().is_some() => Decoding::Never,
            _ => Decoding::Done,
        }
    }

    /// Checks the records of a batch that is not compressed, unless the block has no room for them.
    fn check(&mut self, batch: &RecordBatch<'_>, block_bytes: usize) -> Result<Room> {
        let room = limits::BLOCK_DECODED_BYTES.saturating_sub(self.decoded_bytes);
        let mut size = self.size;
        let checked = self
            .decoder
            .visit(batch, room, |record| add(&mut size, batch, record));
        self.take(checked, size, batch, block_bytes)
    }

    /// Decodes the records of a batch, unless the block has no room for them.
    fn append_decoded(&mut self, batch: &RecordBatch<'_>, block_bytes: usize) -> Result<Room> {
        if self.decoding == Decoding::Later {
            // What was only checked so far.
            append_all(&mut self.decoder, &self.raw, &mut self.columns)
                .inspect_err(|_| self.columns.clear())?;
        }
        let before = self.columns.len();
        let room = limits::BLOCK_DECODED_BYTES.saturating_sub(self.decoded_bytes);
        let mut size = self.size;
        let appended = append(
            &mut self.decoder,
            batch,
            (room, &mut size),
            &mut self.columns,
        );
        let taken = self.take(appended, size, batch, block_bytes);
        if !matches!(taken, Ok(Room::Bytes(_))) {
            match self.decoding {
                Decoding::Done => self.columns.truncate(before),
                _ => self.columns.clear(),
            }
        }
        taken
    }

    /// Notes the size that the records have with those of a batch, which decompresses to `decoded` bytes, unless that is too much.
    fn take(
        &mut self,
        decoded: Result<usize>,
        size: RecordSize,
        batch: &RecordBatch<'_>,
        block_bytes: usize,
    ) -> Result<Room> {
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) if error.class == ErrorClass::Limit => return Ok(Room::None),
            Err(error) => return Err(error),
        };
        let records = self
            .records
            .saturating_add(length(batch.header().record_count.unwrap_or_default()));
        let text = size
            .bytes
            .saturating_add(records.saturating_mul(LINE_BYTES));
        if !self.is_empty() && text > TEXT_PER_BLOCK_BYTE.saturating_mul(block_bytes) {
            return Ok(Room::None);
        }
        self.size = size;
        Ok(Room::Bytes(decoded))
    }

    /// Finds out how much a batch decompresses to at most, without decoding it where that is possible.
    fn measure(&mut self, batch: &RecordBatch<'_>) -> Result<Room> {
        let most = match self.is_empty() {
            true => UNREAD_BYTES,
            false => FILLED_BYTES,
        };
        let room = most.saturating_sub(self.decoded_bytes);
        let fits = |bound: u64| usize::try_from(bound).ok().filter(|bound| *bound <= room);
        let bound = batch.decoded_bound();
        if let Some(bytes) = bound.and_then(fits) {
            return Ok(Room::Bytes(bytes));
        }
        // What does not fit behind others may do so alone.
        if !self.is_empty() && bound.is_some() {
            return Ok(Room::None);
        }
        let mut size = RecordSize::default();
        let decoded = self
            .decoder
            .visit(batch, limits::BLOCK_DECODED_BYTES, |record| {
                add(&mut size, batch, record)
            });
        match decoded {
            Ok(decoded) if self.is_empty() || decoded <= room => Ok(Room::Bytes(decoded)),
            Ok(_) => Ok(Room::None),
            Err(error) if error.class == ErrorClass::Limit => Ok(Room::None),
            Err(error) => Err(error),
        }
    }

    fn not_storable(&self, batch: &RecordBatch<'_>) -> Option<NotStorable> {
        let header = batch.header();
        let timestamp_type = header.attributes.timestamp_type();
        if header.magic != 2 {
            Some(NotStorable::Format(header.magic))
        } else if header.attributes.is_control() {
            Some(NotStorable::Control)
        } else if header.record_count == Some(0) {
            Some(NotStorable::Empty)
        } else if timestamp_type != self.timestamp_type {
            Some(NotStorable::TimestampType(timestamp_type))
        } else {
            None
        }
    }

    /// Extends the coverage to `end_offset`: the source has no record between the last batch and it.
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

    /// Returns whether there is no batch. Such a block cannot be appended to a segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns what the records of all batches take once they are decompressed; at most that much where the block is not computed.
    #[must_use]
    pub fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// Returns the bytes of all batches.
    #[must_use]
    pub fn raw_length(&self) -> usize {
        self.raw.len()
    }

    /// Measures the records, none of which is compressed, piece by piece.
    fn measure_later<'a>(
        &self,
        renderer: &'a Renderer,
        encoder: &mut Encoder,
    ) -> Result<Meter<'a>> {
        let mut meter = Meter::new(self.base_offset, self.timestamp_type, renderer);
        let columns = &mut encoder.columns;
        columns.clear();
        visit_all(&mut encoder.decoder, &self.raw, |record| {
            columns.push_checked(record);
            if columns.payload_bytes() >= PIECE_BYTES || columns.len() >= PIECE_RECORDS {
                meter.add(columns);
                columns.clear();
            }
        })?;
        meter.add(columns);
        Ok(meter)
    }

    /// Returns what a block states that is not computed: what the headers of its batches do.
    fn stated_by_headers(&self, raw_bytes: u64) -> Measured {
        Measured {
            statistics: Statistics {
                record_count: self.records as u64,
                max_timestamp: self.max_timestamp,
                end_offset: self.end_offset,
                raw_bytes,
                computed: None,
                ..Statistics::empty(self.base_offset)
            },
            text: None,
        }
    }

    /// Compresses the batches, unless one is compressed itself, and computes the statistics of the records and the lengths of their text, unless
    /// the block is not computed.
    #[must_use]
    pub fn encode(mut self, renderer: &Renderer, encoder: &mut Encoder) -> EncodedBlock<Self> {
        encoder.begin();
        let mut directory = Directory::default();
        // By the batches' own checksums, which were compared: no pass over what was copied, and what has changed in memory since then does not
        // match it.
        let raw_crc = self.crc.get();
        let entry = match self.is_compressed {
            false => {
                let (raw, stored) = (&self.raw, &mut self.stored);
                encoder.stream(StreamId::Batches, raw, Some(raw_crc), stored)
            }
            true => Some(StreamEntry {
                id: StreamId::Batches,
                codec: Codec::None,
                stored_crc: raw_crc,
                stored_length: narrow(self.raw.len()),
                raw_length: narrow(self.raw.len()),
            }),
        };
        if let Some(entry) = entry {
            directory.set(entry);
        }
        let (timestamp_type, raw_bytes) = (self.timestamp_type, directory.raw_length());
        let decoded = match self.decoding {
            Decoding::Later => self.measure_later(renderer, encoder).ok(),
            Decoding::Done => {
                let mut meter = Meter::new(self.base_offset, timestamp_type, renderer);
                meter.add(&self.columns);
                Some(meter)
            }
            Decoding::Never => None,
        };
        if decoded.is_none() {
            // Where they could be decoded when they were pushed, memory has changed since then. The checksum of the block says so to every reader.
            self.decoding = Decoding::Never;
        }
        let measured = match decoded {
            Some(meter) => meter.finish(self.end_offset, raw_bytes),
            None => self.stated_by_headers(raw_bytes),
        };
        EncodedBlock::new(self, directory, timestamp_type, renderer, measured)
    }
}

impl fmt::Debug for BatchesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchesBuilder")
            .field("base_offset", &self.base_offset)
            .field("end_offset", &self.end_offset)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl sealed::Sealed for BatchesBuilder {}

impl BlockBody for BatchesBuilder {
    const KIND: BlockKind = BlockKind::Batches;

    fn batch_bounds(&self) -> Option<BatchBounds> {
        Some(self.bounds)
    }

    fn coverage(&self) -> (i64, i64) {
        (self.base_offset, self.end_offset)
    }

    fn key_hashes(&self, hasher: KeyHasher) -> Result<Option<Vec<u64>>> {
        match self.decoding {
            Decoding::Never => Ok(None),
            Decoding::Done => Ok(Some(hasher.of_block(&self.columns))),
            Decoding::Later => {
                let mut columns = Columns::new();
                append_all(&mut BatchDecoder::new(), &self.raw, &mut columns)?;
                Ok(Some(hasher.of_block(&columns)))
            }
        }
    }

    fn restart(&mut self, base_offset: i64) {
        // Builders are pooled: one does not keep what a giant batch took.
        match self.columns.payload_bytes() > UNREAD_BYTES {
            true => self.columns = Columns::new(),
            false => self.columns.clear(),
        }
        self.size = RecordSize::default();
        self.decoding = match self.computing {
            Computing::Never => Decoding::Never,
            Computing::Always | Computing::WhereCheap => Decoding::Later,
        };
        self.records = 0;
        self.max_timestamp = i64::MIN;
        self.bounds = BatchBounds::NONE;
        self.raw.clear();
        self.crc = BatchesCrc::new();
        self.is_compressed = false;
        self.decoded_bytes = 0;
        self.base_offset = base_offset;
        self.end_offset = base_offset;
    }

    fn raw(&self, _: StreamId) -> &[u8] {
        &self.raw
    }

    fn compressed(&self, _: StreamId) -> &[u8] {
        &self.stored
    }

    fn stored_buffer(&mut self, _: StreamId, codec: Codec) -> Option<&mut Vec<u8>> {
        Some(match codec {
            Codec::None => &mut self.raw,
            _ => &mut self.stored,
        })
    }
}

/// Adds the size of a record of a batch. Bytes are bounded by what the batches of a block may decompress to, and records by what its header
/// states.
fn add(size: &mut RecordSize, batch: &RecordBatch<'_>, record: &Record<'_>) -> Result<()> {
    let added = RecordSize::of(record);
    size.bytes = size.bytes.saturating_add(added.bytes);
    size.headers = size.headers.saturating_add(added.headers);
    if size.headers > limits::BLOCK_HEADERS {
        let detail = format!("more than {} headers in a block", limits::BLOCK_HEADERS);
        let (class, position) = (ErrorClass::Limit, batch.position());
        return Err(FormatError::new(class, "record batch", position, detail));
    }
    Ok(())
}

/// Appends the records of a batch, which decompresses to at most `room` bytes, and returns how many these are. `size` is that of all records. After
/// an error there may be records of it.
fn append(
    decoder: &mut BatchDecoder,
    batch: &RecordBatch<'_>,
    (room, size): (usize, &mut RecordSize),
    columns: &mut Columns,
) -> Result<usize> {
    decoder.visit(batch, room, |record| {
        add(size, batch, record)?;
        columns.push_checked(record);
        Ok(())
    })
}

/// Appends the records of batches that were pushed into a block, none of which is compressed.
fn append_all(decoder: &mut BatchDecoder, raw: &[u8], columns: &mut Columns) -> Result<()> {
    visit_all(decoder, raw, |record| columns.push_checked(record))
}

/// Passes on each record of such batches. After an error, some may have been passed.
fn visit_all(
    decoder: &mut BatchDecoder,
    raw: &[u8],
    mut take: impl FnMut(&Record<'_>),
) -> Result<()> {
    let mut size = RecordSize::default();
    for batch in RecordBatches::new(raw, 0) {
        let (batch, room) = (batch?, limits::BLOCK_DECODED_BYTES);
        decoder.visit(&batch, room, |record| {
            add(&mut size, &batch, record)?;
            take(record);
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
