//! From a block's bytes to records: every check passes before the first record is returned (SPEC section 4).

use crate::batch::{self, BatchDecoder, RecordBatches};
use crate::batch_bounds::BatchBounds;
use crate::block::batches::{self, StatedOfRun};
use crate::block::header::{BlockHeader, StreamEntry, StreamId};
use crate::codec::{Codec, Decompressor};
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError, Result};
use crate::meta::{self, Expected, StreamLengths};
use crate::record::TimestampType;
use crate::wire::{FieldReader, length};

/// Which streams a reader wants. META is always read; of a block of batches, everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Offsets, times and lengths; keys, headers and values have no bytes then and must not be used.
    Meta,
    /// META and KEYS.
    Keys,
    /// META and HEADERS.
    Headers,
    /// META and VALUES.
    Values,
    /// META, KEYS and VALUES.
    KeysAndValues,
    /// Everything.
    All,
}

impl Streams {
    /// Returns whether a stream is among them.
    #[must_use]
    pub fn contains(self, id: StreamId) -> bool {
        match id {
            StreamId::Meta | StreamId::Batches => true,
            StreamId::Keys => matches!(self, Streams::Keys | Streams::KeysAndValues | Streams::All),
            StreamId::Headers => matches!(self, Streams::Headers | Streams::All),
            StreamId::Values => {
                matches!(
                    self,
                    Streams::Values | Streams::KeysAndValues | Streams::All
                )
            }
        }
    }
}

/// Decodes blocks, one at a time, and reuses its buffers.
pub struct BlockDecoder {
    decompressor: Decompressor,
    /// META, or BATCHES where it is compressed.
    meta: Vec<u8>,
    batches: BatchDecoder,
    /// What the headers of the batches that were read last say; `None` where a block of records was.
    batch_bounds: Option<BatchBounds>,
}

impl Default for BlockDecoder {
    fn default() -> Self {
        BlockDecoder::new()
    }
}

impl BlockDecoder {
    /// Creates a decoder.
    #[must_use]
    pub fn new() -> BlockDecoder {
        BlockDecoder {
            decompressor: Decompressor::new(),
            meta: Vec::new(),
            batches: BatchDecoder::new(),
            batch_bounds: None,
        }
    }

    /// Returns what the headers of the batches say together of the block that was decoded last, or whose batches were lent; `None` where that was a block
    /// of records.
    #[must_use]
    pub fn batch_bounds(&self) -> Option<BatchBounds> {
        self.batch_bounds
    }

    /// Decodes the block whose header is `header` and whose bytes are `block`, the header included.
    ///
    /// `columns` is replaced; after an error it is empty.
    ///
    /// # Errors
    ///
    /// Any of SPEC section 7; no record of the block is returned then.
    pub fn decode(
        &mut self,
        header: &BlockHeader,
        block: &[u8],
        streams: Streams,
        columns: &mut Columns,
    ) -> Result<()> {
        self.decode_of(header, block, streams, None, columns)
    }

    /// Decodes a block of a segment with this timestamp type, which all of its batches must have; `None` where it is not known.
    pub(crate) fn decode_of(
        &mut self,
        header: &BlockHeader,
        block: &[u8],
        streams: Streams,
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<()> {
        columns.clear();
        let decoded = self.decode_streams(header, block, streams, timestamp_type, columns);
        if decoded.is_err() {
            columns.clear();
        }
        decoded
    }

    fn decode_streams(
        &mut self,
        header: &BlockHeader,
        block: &[u8],
        streams: Streams,
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<()> {
        self.batch_bounds = None;
        for (entry, stored) in stored_streams(header, block)? {
            // META comes first, so the lengths are known before the other streams are decoded.
            if streams.contains(entry.id) {
                self.stream(header, (entry, stored), timestamp_type, columns)?;
            }
        }
        check_padding(header, block)
    }

    /// Lends the batches of a block as they are stored, without decoding their records, after the checks of what their headers state and of
    /// their checksums. `None` of a block of records.
    ///
    /// # Errors
    ///
    /// Any of SPEC section 7; no batch is lent then.
    pub fn batches<'a>(
        &'a mut self,
        header: &BlockHeader,
        block: &'a [u8],
        timestamp_type: Option<TimestampType>,
    ) -> Result<Option<RecordBatches<'a>>> {
        self.batch_bounds = None;
        let mut streams = stored_streams(header, block)?;
        let Some((entry, stored)) = streams.find(|(entry, _)| entry.id == StreamId::Batches) else {
            return Ok(None);
        };
        check_stored(header, entry, stored)?;
        check_padding(header, block)?;
        let raw = raw_batches(
            &mut self.decompressor,
            header,
            (entry, stored),
            &mut self.meta,
        )?;
        let bounds = batches::walk(raw, header, timestamp_type, |_| Ok(()))?;
        self.batch_bounds = Some(bounds);
        Ok(Some(RecordBatches::new(raw, 0)))
    }

    /// Decodes batches that follow each other, of a block that is damaged elsewhere, and returns what they state.
    ///
    /// `columns` is replaced; after an error it is empty.
    pub(crate) fn decode_run(
        &mut self,
        position: u64,
        batches: &[u8],
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<StatedOfRun> {
        columns.clear();
        self.batch_bounds = None;
        let decoded = batches::decode_run(
            &mut self.batches,
            position,
            batches,
            timestamp_type,
            columns,
        );
        if decoded.is_err() {
            columns.clear();
        }
        decoded
    }

    /// Decodes META of the block whose header is `header`, from its first bytes: the header and META (SPEC section 5). Of a block of batches,
    /// it decodes all of them, which are as many bytes after the header.
    ///
    /// `columns` is replaced; after an error it is empty.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode) of META.
    pub fn decode_meta(
        &mut self,
        header: &BlockHeader,
        start: &[u8],
        columns: &mut Columns,
    ) -> Result<()> {
        self.decode_meta_of(header, start, None, columns)
    }

    /// Does the same of a block of a segment with this timestamp type.
    pub(crate) fn decode_meta_of(
        &mut self,
        header: &BlockHeader,
        start: &[u8],
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<()> {
        columns.clear();
        let decoded = self.meta_of(header, start, timestamp_type, columns);
        if decoded.is_err() {
            columns.clear();
        }
        decoded
    }

    fn meta_of(
        &mut self,
        header: &BlockHeader,
        start: &[u8],
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<()> {
        let (from, to) = (
            header.header_length(),
            header.header_length() + length(header.meta_length()),
        );
        let view = FieldReader::new("block", header.position, start, to)?;
        match header.directory.iter().next() {
            Some(entry) => {
                let stored = view.slice(from, to)?;
                self.stream(header, (entry, stored), timestamp_type, columns)
            }
            None => Ok(()),
        }
    }

    /// Decodes one more stream into `columns`, which has META of the same block, and not this stream yet. Of a block of batches, `columns` has
    /// everything already.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode); `columns` is then empty.
    pub fn decode_stream(
        &mut self,
        header: &BlockHeader,
        block: &[u8],
        id: StreamId,
        columns: &mut Columns,
    ) -> Result<()> {
        let found = stored_streams(header, block)?.find(|(entry, _)| entry.id == id);
        let Some(found) = found else {
            return Ok(());
        };
        let decoded = self.stream(header, found, None, columns);
        if decoded.is_err() {
            columns.clear();
        }
        decoded
    }

    /// Decodes one stream.
    fn stream(
        &mut self,
        header: &BlockHeader,
        (entry, stored): (&StreamEntry, &[u8]),
        timestamp_type: Option<TimestampType>,
        columns: &mut Columns,
    ) -> Result<()> {
        check_stored(header, entry, stored)?;
        let raw = match entry.id {
            StreamId::Batches => {
                let decompressor = &mut self.decompressor;
                let raw = raw_batches(decompressor, header, (entry, stored), &mut self.meta)?;
                let bounds =
                    batches::decode(&mut self.batches, raw, header, timestamp_type, columns)?;
                self.batch_bounds = Some(bounds);
                return check_counts(header, columns);
            }
            StreamId::Meta => &mut self.meta,
            StreamId::Keys => &mut columns.keys.bytes,
            StreamId::Headers => &mut columns.headers.bytes,
            StreamId::Values => &mut columns.values.bytes,
        };
        self.decompressor
            .decompress(entry.codec, stored, length(entry.raw_length), raw)
            .map_err(|(class, detail)| stream_error(header, entry.id, class, detail))?;
        if entry.id == StreamId::Meta {
            let lengths = meta::decode(&self.meta, &expected(header), header.position, columns)?;
            check_sums(header, lengths)?;
            check_counts(header, columns)?;
        }
        Ok(())
    }
}

/// Returns about how many bytes the records of a block take once they are decoded. `block` may be its first bytes, as of META.
pub(crate) fn decoded_bytes(header: &BlockHeader, block: &[u8]) -> usize {
    let batches = header.directory.iter().next();
    match batches.filter(|entry| entry.id == StreamId::Batches && entry.codec == Codec::None) {
        Some(entry) => {
            let (from, stored) = (header.header_length(), length(entry.stored_length));
            let raw = block.get(from..).unwrap_or_default();
            batch::decoded_bytes(raw.get(..stored).unwrap_or(raw))
        }
        // Batches that are compressed together are not compressed themselves.
        None => length(header.raw_length()),
    }
}

/// Returns BATCHES before compression, which is what is stored where it is not compressed.
fn raw_batches<'a>(
    decompressor: &mut Decompressor,
    header: &BlockHeader,
    (entry, stored): (&StreamEntry, &'a [u8]),
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    if entry.codec == Codec::None {
        return Ok(stored);
    }
    decompressor
        .decompress(entry.codec, stored, length(entry.raw_length), buffer)
        .map_err(|(class, detail)| stream_error(header, entry.id, class, detail))?;
    Ok(buffer)
}

/// Iterates over the streams with their stored bytes.
fn stored_streams<'h, 'a>(
    header: &'h BlockHeader,
    block: &'a [u8],
) -> Result<impl Iterator<Item = (&'h StreamEntry, &'a [u8])>> {
    let view = FieldReader::new("block", header.position, block, header.block_length())?;
    let mut rest = view.slice(header.header_length(), header.block_length())?;
    Ok(header.directory.iter().map(move |entry| {
        // The header's check has bounded the sum of the lengths by the block's length.
        let (stored, after) = rest
            .split_at_checked(length(entry.stored_length))
            .unwrap_or_default();
        rest = after;
        (entry, stored)
    }))
}

pub(super) fn stream_error(
    header: &BlockHeader,
    id: StreamId,
    class: ErrorClass,
    detail: impl Into<String>,
) -> FormatError {
    let what = match id {
        StreamId::Meta => "stream META of the block",
        StreamId::Keys => "stream KEYS of the block",
        StreamId::Headers => "stream HEADERS of the block",
        StreamId::Values => "stream VALUES of the block",
        StreamId::Batches => "stream BATCHES of the block",
    };
    FormatError::new(class, what, header.position, detail)
}

fn check_stored(header: &BlockHeader, entry: &StreamEntry, stored: &[u8]) -> Result<()> {
    let computed = crc32c::crc32c(stored);
    if computed == entry.stored_crc {
        return Ok(());
    }
    let detail = format!(
        "stored_crc is {:#010x}, the CRC-32C of the bytes is {computed:#010x}",
        entry.stored_crc
    );
    let class = ErrorClass::Checksum;
    Err(stream_error(header, entry.id, class, detail))
}

fn expected(header: &BlockHeader) -> Expected {
    Expected {
        base_offset: header.base_offset,
        end_offset: header.end_offset,
        // Blocks of records always state it; the decoder of columns needs no more than the number.
        min_timestamp: header
            .computed
            .map_or(i64::MAX, |numbers| numbers.min_timestamp),
        record_count: length(header.record_count),
    }
}

/// Checks that the directory's raw lengths are the sums that META states.
fn check_sums(header: &BlockHeader, lengths: StreamLengths) -> Result<()> {
    let raw_length = |id| {
        let entry = header.directory.iter().find(|e| e.id == id);
        entry.map_or(0, |e| length(e.raw_length))
    };
    for (id, sum) in [
        (StreamId::Keys, lengths.keys),
        (StreamId::Headers, lengths.headers),
        (StreamId::Values, lengths.values),
    ] {
        let found = raw_length(id);
        if found != sum {
            let detail = format!("stream {} has {found} bytes, META states {sum}", id.name());
            return Err(FormatError::new(
                ErrorClass::Inconsistent,
                "block",
                header.position,
                detail,
            ));
        }
    }
    Ok(())
}

/// Checks that the counts and timestamps that the header states are those of the records.
fn check_counts(header: &BlockHeader, columns: &Columns) -> Result<()> {
    // Batches have been checked against the rest of what the header states.
    let Some(numbers) = &header.computed else {
        return Ok(());
    };
    let (min, max) = columns.time_bounds();
    let tombstones = columns.values.codes.iter().filter(|c| **c == 0).count();
    let controls = columns.controls.iter().filter(|c| **c).count();
    let without_time = columns.timestamps.iter().filter(|t| **t == -1).count();
    let holds = (min, max) == (numbers.min_timestamp, header.max_timestamp)
        && columns.min_known_timestamp() == numbers.min_known_timestamp
        && tombstones == length(numbers.tombstone_count)
        && controls == length(header.control_count)
        && without_time == length(numbers.no_timestamp_count);
    if holds {
        return Ok(());
    }
    let detail = format!(
        "the header's timestamps {} to {} or its counts are not those of the records, whose timestamps are {min} to {max}",
        numbers.min_timestamp, header.max_timestamp
    );
    Err(FormatError::new(
        ErrorClass::Inconsistent,
        "block header",
        header.position,
        detail,
    ))
}

/// Checks what needs no decompression: CRCs and padding.
///
/// # Errors
///
/// *truncated*, *checksum*, or *inconsistent* where padding is not zero.
pub fn check_stored_bytes(header: &BlockHeader, block: &[u8]) -> Result<()> {
    for (entry, stored) in stored_streams(header, block)? {
        check_stored(header, entry, stored)?;
    }
    check_padding(header, block)
}

fn check_padding(header: &BlockHeader, block: &[u8]) -> Result<()> {
    let view = FieldReader::new("block", header.position, block, header.block_length())?;
    view.padding(
        header.header_length() + header.directory.stored_length(),
        header.block_length(),
    )
}
