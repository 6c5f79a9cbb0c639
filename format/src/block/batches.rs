//! Blocks of kind 2: Kafka's own record batches, stored as they were (SPEC 2.10).
//!
//! A block states the same of its records whatever they are stored as, so writing one decodes every batch, unless it is *not computed*
//! (SPEC 2.11): then one pass over the bytes, for the checksum, is all. A writer that has to be fast computes a block where that needs no
//! decompression ([`BatchesBuilder::computed_where_cheap`]). Reading one gives the same [`Columns`] as reading a block of records.
//! The bytes of the batches are copied once, from where they are lent into the block.

use std::fmt;

use crate::batch::{Attributes, BatchCodec, BatchDecoder, BatchesCrc, RecordBatch, frame_length};
use crate::block::decode::stream_error;
use crate::block::encode::{
    BlockBody, Content, EncodedBlock, Encoder, LINE_BYTES, TEXT_PER_BLOCK_BYTE, sealed,
};
use crate::block::header::{BlockHeader, BlockKind, Directory, StreamEntry, StreamId};
use crate::codec::Codec;
use crate::columns::{Columns, narrow};
use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::{limits, record_batch as at};
use crate::record::{Headers, TimestampType};
use crate::render::Renderer;
use crate::wire::length;

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
/// than a block may, of which each takes two bytes, so that every reader can decode it.
const UNREAD_BYTES: usize = 2 * limits::BLOCK_HEADERS;

/// Which blocks are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Computing {
    Always,
    Never,
    /// Those of which every batch has to be decoded in any case, or is not compressed.
    WhereCheap,
}

/// Collects the batches of a block.
pub struct BatchesBuilder {
    /// Without records where they are not computed.
    columns: Columns,
    computing: Computing,
    /// Whether this block is computed, as far as its batches tell.
    is_computed: bool,
    records: usize,
    max_timestamp: i64,
    raw: Vec<u8>,
    crc: BatchesCrc,
    /// Compressed bytes; unused where they are stored raw.
    stored: Vec<u8>,
    /// Whether a batch is compressed itself.
    is_compressed: bool,
    decoder: BatchDecoder,
    /// Where they are not computed, the most that the batches may decompress to.
    decoded_bytes: usize,
    timestamp_type: TimestampType,
    base_offset: i64,
    end_offset: i64,
}

/// Whether a block has room for a batch.
enum Measured {
    /// It has: the bytes that it decompresses to, or an upper bound of them.
    Bytes(usize),
    /// It has not.
    NoRoom,
}

impl BatchesBuilder {
    /// Creates an empty block of a segment with this timestamp type, which covers offsets from `base_offset`.
    #[must_use]
    pub fn new(base_offset: i64, timestamp_type: TimestampType) -> BatchesBuilder {
        BatchesBuilder {
            columns: Columns::new(),
            computing: Computing::Always,
            is_computed: true,
            records: 0,
            max_timestamp: i64::MIN,
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
            is_computed: false,
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

    /// Checks a batch and copies it into the block, unless that has batches and would become larger than `block_bytes`, or than any block may
    /// be, or would decompress to much more than blocks of records do. A block without batches is never full.
    ///
    /// Where the block is not computed, a batch is decoded only if it alone decompresses to more than 8 MiB, or if its codec is gzip, which does
    /// not say; any other one whose checksum matches is accepted, even if its records are malformed.
    ///
    /// The batch must not be one of an aborted transaction: it does not say so itself.
    ///
    /// # Errors
    ///
    /// *inconsistent* if it begins below [`end_offset`](Self::end_offset); any error of a batch that is damaged or malformed. The block is
    /// unchanged then.
    pub fn try_push(&mut self, batch: &RecordBatch<'_>, block_bytes: usize) -> Result<PushBatch> {
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
        // What is stored here gets a checksum over it, so it must be what was produced.
        batch.check_crc()?;
        let is_read = self.is_computed && self.reads(batch);
        let decoded = match is_read {
            true => self.append_decoded(batch, block_bytes),
            false => self.measure(batch),
        };
        let decoded = match decoded? {
            Measured::Bytes(decoded) => decoded,
            Measured::NoRoom => return Ok(no_room),
        };
        if self.is_computed && !is_read {
            self.is_computed = false;
            self.columns.clear();
        }
        self.decoded_bytes = self.decoded_bytes.saturating_add(decoded);
        self.raw.extend_from_slice(batch.bytes());
        self.crc.push(batch);
        self.is_compressed |= header.attributes.codec() != Some(BatchCodec::None);
        self.records = self.records.saturating_add(records);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.end_offset = header.last_offset.saturating_add(1);
        Ok(PushBatch::Pushed)
    }

    /// Whether a block that is computed so far reads the records of this batch, too.
    fn reads(&self, batch: &RecordBatch<'_>) -> bool {
        let is_bounded = || {
            let bound = batch.decoded_bound();
            bound.is_some_and(|bound| bound <= UNREAD_BYTES as u64)
        };
        match self.computing {
            Computing::Always => true,
            Computing::Never => false,
            Computing::WhereCheap => {
                batch.header().attributes.codec() == Some(BatchCodec::None) || !is_bounded()
            }
        }
    }

    /// Decodes the records of a batch, unless the block has no room for them.
    fn append_decoded(&mut self, batch: &RecordBatch<'_>, block_bytes: usize) -> Result<Measured> {
        let is_empty = self.is_empty();
        let before = self.columns.len();
        let room = limits::BLOCK_DECODED_BYTES.saturating_sub(self.decoded_bytes);
        let decoded = match append(&mut self.decoder, batch, room, &mut self.columns) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.columns.truncate(before);
                return match error.class {
                    ErrorClass::Limit => Ok(Measured::NoRoom),
                    _ => Err(error),
                };
            }
        };
        let text = self
            .columns
            .payload_bytes()
            .saturating_add(self.columns.len().saturating_mul(LINE_BYTES));
        if !is_empty && text > TEXT_PER_BLOCK_BYTE.saturating_mul(block_bytes) {
            self.columns.truncate(before);
            return Ok(Measured::NoRoom);
        }
        Ok(Measured::Bytes(decoded))
    }

    /// Finds out how much a batch decompresses to at most, without decoding it where that is possible.
    fn measure(&mut self, batch: &RecordBatch<'_>) -> Result<Measured> {
        let room = UNREAD_BYTES.saturating_sub(self.decoded_bytes);
        let fits = |bound: u64| usize::try_from(bound).ok().filter(|bound| *bound <= room);
        let bound = batch.decoded_bound();
        if let Some(bytes) = bound.and_then(fits) {
            return Ok(Measured::Bytes(bytes));
        }
        // What does not fit behind others may do so alone.
        if !self.is_empty() && bound.is_some() {
            return Ok(Measured::NoRoom);
        }
        let decoded = append(
            &mut self.decoder,
            batch,
            limits::BLOCK_DECODED_BYTES,
            &mut self.columns,
        );
        self.columns.clear();
        match decoded {
            Ok(decoded) if self.is_empty() || decoded <= room => Ok(Measured::Bytes(decoded)),
            Ok(_) => Ok(Measured::NoRoom),
            Err(error) if error.class == ErrorClass::Limit => Ok(Measured::NoRoom),
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
        self.raw.is_empty()
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

    /// Compresses the batches, unless one is compressed itself, and computes the statistics of the records and the lengths of their text, unless
    /// the block is not computed.
    #[must_use]
    pub fn encode(mut self, renderer: &Renderer, encoder: &mut Encoder) -> EncodedBlock<Self> {
        encoder.begin();
        let mut directory = Directory::default();
        let entry = match self.is_compressed {
            false => encoder.stream(StreamId::Batches, &self.raw, &mut self.stored),
            // By the batches' own checksums, which were checked: no pass over what was copied.
            true => Some(StreamEntry {
                id: StreamId::Batches,
                codec: Codec::None,
                stored_crc: self.crc.get(),
                stored_length: narrow(self.raw.len()),
                raw_length: narrow(self.raw.len()),
            }),
        };
        if let Some(entry) = entry {
            directory.set(entry);
        }
        let timestamp_type = self.timestamp_type;
        EncodedBlock::new(self, directory, timestamp_type, renderer)
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

    fn content(&self) -> Content<'_> {
        match self.is_computed {
            true => Content::Decoded(&self.columns),
            false => Content::Headers {
                record_count: self.records as u64,
                max_timestamp: self.max_timestamp,
            },
        }
    }

    fn coverage(&self) -> (i64, i64) {
        (self.base_offset, self.end_offset)
    }

    fn restart(&mut self, base_offset: i64) {
        self.columns.clear();
        self.is_computed = self.computing != Computing::Never;
        self.records = 0;
        self.max_timestamp = i64::MIN;
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

/// Appends the records of a batch, which decompresses to at most `room` bytes, and returns how many these are. After an error there may be
/// records of it.
fn append(
    decoder: &mut BatchDecoder,
    batch: &RecordBatch<'_>,
    room: usize,
    columns: &mut Columns,
) -> Result<usize> {
    decoder.visit(batch, room, |record| {
        let headers = Headers::count(&record.headers).saturating_add(columns.header_count());
        if headers > limits::BLOCK_HEADERS {
            let detail = format!("more than {} headers in a block", limits::BLOCK_HEADERS);
            let (class, position) = (ErrorClass::Limit, batch.position());
            return Err(FormatError::new(class, "record batch", position, detail));
        }
        // Bytes are bounded by what the batches of a block may decompress to, and records by what its header states.
        columns.push_checked(record);
        Ok(())
    })
}

/// Decodes the batches of a block into `columns`, which are empty; after an error they may not be.
pub(super) fn decode(
    decoder: &mut BatchDecoder,
    raw: &[u8],
    header: &BlockHeader,
    timestamp_type: Option<TimestampType>,
    columns: &mut Columns,
) -> Result<()> {
    let mut room = limits::BLOCK_DECODED_BYTES;
    walk(raw, header, timestamp_type, |batch| {
        let decoded = append(decoder, batch, room, columns)?;
        room = room.saturating_sub(decoded);
        Ok(())
    })
}

/// Passes every batch to `visit`, after the checks of what its header states and of its checksum. `timestamp_type` is that of the segment,
/// where it is known.
pub(super) fn walk<'a>(
    raw: &'a [u8],
    header: &BlockHeader,
    timestamp_type: Option<TimestampType>,
    mut visit: impl FnMut(&RecordBatch<'a>) -> Result<()>,
) -> Result<()> {
    let fault = |class, detail| stream_error(header, StreamId::Batches, class, detail);
    let (mut rest, mut expected) = (raw, timestamp_type);
    let (mut next_offset, mut records) = (header.base_offset, 0_u32);
    let mut max_timestamp = i64::MIN;
    while !rest.is_empty() {
        let position = raw.len().saturating_sub(rest.len()) as u64;
        let batch = take(&mut rest, position).map_err(|error| of_block(error, header))?;
        let found = batch.header();
        let (base, last) = (found.base_offset, found.last_offset);
        if base < next_offset || last >= header.end_offset {
            let end = header.end_offset;
            let detail = format!(
                "a batch has the offsets {base} to {last}, after {next_offset} and below {end}"
            );
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        next_offset = last.saturating_add(1);
        max_timestamp = max_timestamp.max(found.max_timestamp);
        let count = found.record_count.unwrap_or_default();
        records = records.saturating_add(count);
        if count == 0 || records > header.record_count {
            let detail = format!(
                "the batch at offset {base} has {count} of the block's {} records",
                header.record_count
            );
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        if found.attributes.is_control() {
            let detail = format!("the batch at offset {base} is a control batch");
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        let of_batch = found.attributes.timestamp_type();
        if *expected.get_or_insert(of_batch) != of_batch {
            let detail = format!("the batch at offset {base} has the timestamp type {of_batch:?}");
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        visit(&batch).map_err(|error| of_block(error, header))?;
    }
    if header.control_count != 0 {
        let detail = format!("its header counts {} control records", header.control_count);
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    if header.computed.is_none() && max_timestamp != header.max_timestamp {
        let detail = format!(
            "max_timestamp is {}, that of its batches {max_timestamp}",
            header.max_timestamp
        );
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    if records != header.record_count {
        let detail = format!(
            "its batches have {records} of the block's {} records",
            header.record_count
        );
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    Ok(())
}

/// Takes the batch at the front of `rest`: magic and length, checksum, codec and relations, in this order.
fn take<'a>(rest: &mut &'a [u8], position: u64) -> Result<RecordBatch<'a>> {
    let bytes = *rest;
    let error = |class, detail| Err(FormatError::new(class, "record batch", position, detail));
    if bytes.len() < at::LENGTH {
        let detail = format!("its header has {} bytes, found {}", at::LENGTH, bytes.len());
        return error(ErrorClass::Inconsistent, detail);
    }
    match bytes.get(at::MAGIC) {
        Some(2) => {}
        magic => {
            let detail = format!("magic {}, expected 2", magic.copied().unwrap_or_default());
            return error(ErrorClass::Unsupported, detail);
        }
    }
    let whole = frame_length(bytes, position)?.and_then(|length| bytes.split_at_checked(length));
    let Some((batch, after)) = whole else {
        let detail = format!("it is longer than the {} bytes that are left", bytes.len());
        return error(ErrorClass::Inconsistent, detail);
    };
    RecordBatch::check_crc_of(batch, position)?;
    let low = batch.get(at::ATTRIBUTES + 1).copied().unwrap_or_default();
    if Attributes(i16::from(low)).codec().is_none() {
        let detail = format!("codec {}; Kafka has 0 to 4", low & 7);
        return error(ErrorClass::Unsupported, detail);
    }
    let batch = RecordBatch::parse(batch, position)?;
    *rest = after;
    Ok(batch)
}

/// Returns an error about a batch as one about the block that has it.
fn of_block(error: FormatError, header: &BlockHeader) -> FormatError {
    let class = match error.class {
        // The stream's checksum covers the batch, so no byte of it is missing: its writer was faulty.
        ErrorClass::Truncated => ErrorClass::Inconsistent,
        class => class,
    };
    let detail = format!("the batch at its byte {}: {}", error.position, error.detail);
    stream_error(header, StreamId::Batches, class, detail)
}
