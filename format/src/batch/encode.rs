//! From records to a batch of format v2.

use super::codec::BatchCodec;
use super::deflate::Deflater;
use super::header::{Attributes, Producer};
use super::layout as at;
use super::varint::{length, put_i64};
use crate::error::{ErrorClass, FormatError, Result};
use crate::record::{Record, TimestampType};
use crate::wire::put;

/// The error of what no batch can hold.
fn refused(class: ErrorClass, offset: i64, detail: String) -> FormatError {
    let detail = format!("the record at offset {offset} {detail}");
    FormatError::new(class, "record batch", 0, detail)
}

/// What all batches of a builder have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// How records are compressed, at the codec's usual level.
    pub codec: BatchCodec,
    /// Who set the timestamps. With LogAppendTime a batch has one for all of its records.
    pub timestamp_type: TimestampType,
    /// Epoch of the leader; -1 for none.
    pub leader_epoch: i32,
    /// Who produces; the sequence number is that of the first batch, and ascends by the records of each.
    pub producer: Producer,
    /// Whether batches belong to a transaction of the producer.
    pub transactional: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            codec: BatchCodec::None,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: -1,
            producer: Producer::NONE,
            transactional: false,
        }
    }
}

/// The lengths of a record, from which the bytes follow that it takes in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSize {
    /// Bytes of the key; `None` where it is null.
    pub key: Option<usize>,
    /// Bytes of the value; `None` where it is null.
    pub value: Option<usize>,
    /// Number of headers.
    pub headers: usize,
    /// Bytes of all headers with their lengths: [`RecordSize::header`] of each.
    pub header_bytes: u64,
}

impl RecordSize {
    /// Measures a record.
    #[must_use]
    pub fn of(record: &Record<'_>) -> RecordSize {
        let headers = record.headers.clone();
        RecordSize {
            key: record.key.map(<[u8]>::len),
            value: record.value.map(<[u8]>::len),
            headers: headers.count(),
            header_bytes: record
                .headers
                .clone()
                .map(|header| RecordSize::header(header.name.len(), header.value.map(<[u8]>::len)))
                .sum(),
        }
    }

    /// Returns the bytes of one header with its lengths.
    #[must_use]
    pub fn header(name: usize, value: Option<usize>) -> u64 {
        bytes_length(Some(name)) + bytes_length(value)
    }
}

/// Bytes of a nullable byte string with its length.
fn bytes_length(bytes: Option<usize>) -> u64 {
    match bytes {
        Some(bytes) => length(bytes as i64) + bytes as u64,
        None => length(-1),
    }
}

/// Returns the bytes of a record in a batch that is not compressed, without the length in front of it.
fn body_length(offset_delta: i64, timestamp_delta: i64, size: &RecordSize) -> u64 {
    const ATTRIBUTES: u64 = 1;
    ATTRIBUTES
        + length(timestamp_delta)
        + length(offset_delta)
        + bytes_length(size.key)
        + bytes_length(size.value)
        + length(size.headers as i64)
        + size.header_bytes
}

/// Returns the bytes that a record takes in a batch that is not compressed; both deltas are to the first record of the batch.
#[must_use]
pub fn record_size(offset_delta: i64, timestamp_delta: i64, size: &RecordSize) -> u64 {
    let body = body_length(offset_delta, timestamp_delta, size);
    length(body as i64) + body
}

/// Builds batches, one after the other, with buffers that are reused.
pub struct BatchBuilder {
    options: BatchOptions,
    deflater: Deflater,
    /// The records, not compressed.
    raw: Vec<u8>,
    /// Of the batch that is being built; `None` where it has no record.
    open: Option<OpenBatch>,
    sequence: i32,
    never_longer: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    base_offset: i64,
    last_offset: i64,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

impl BatchBuilder {
    /// Creates a builder of batches that have `options` in common.
    #[must_use]
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            deflater: Deflater::new(options.codec),
            raw: Vec::new(),
            open: None,
            sequence: options.producer.base_sequence,
            never_longer: false,
            options,
        }
    }

    /// Leaves a batch uncompressed that compression would not make shorter, so that none exceeds its [`raw_length`](Self::raw_length).
    #[must_use]
    pub fn never_longer(mut self) -> BatchBuilder {
        self.never_longer = true;
        self
    }

    /// Returns the bytes of the batch so far as if it were not compressed; 0 without a record.
    #[must_use]
    pub fn raw_length(&self) -> usize {
        match self.open {
            Some(_) => at::HEADER_LENGTH + self.raw.len(),
            None => 0,
        }
    }

    /// Returns whether a record at this offset and time can be in the same batch as those before it.
    #[must_use]
    pub fn accepts(&self, offset: i64, timestamp: i64) -> bool {
        self.open.is_none_or(|open| {
            let near = offset.saturating_sub(open.base_offset) <= i64::from(i32::MAX);
            let one_time = self.options.timestamp_type == TimestampType::CreateTime
                || timestamp == open.max_timestamp;
            near && one_time && open.count < i32::MAX
        })
    }

    /// Copies a record into the batch. It is no control record, whatever it says.
    ///
    /// # Errors
    ///
    /// *inconsistent* where its offset is not above the last one, or the batch does not [accept](Self::accepts) it; *limit* where the batch
    /// would become longer than its length field can state. The batch is as it was then.
    pub fn push(&mut self, record: &Record<'_>) -> Result<()> {
        let Record {
            offset, timestamp, ..
        } = *record;
        let above = self.open.map_or(-1, |open| open.last_offset);
        if offset <= above || offset == i64::MAX || !self.accepts(offset, timestamp) {
            let detail = format!("cannot follow offset {above} in one batch");
            return Err(refused(ErrorClass::Inconsistent, offset, detail));
        }
        let (base_offset, base_timestamp) = self.open.map_or((offset, timestamp), |open| {
            (open.base_offset, open.base_timestamp)
        });
        let offset_delta = offset - base_offset;
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let size = RecordSize::of(record);
        let total = record_size(offset_delta, timestamp_delta, &size)
            .saturating_add((at::HEADER_LENGTH + self.raw.len()) as u64);
        if total > i32::MAX as u64 {
            let detail = format!("makes a batch of {total} bytes; Kafka states lengths in 31 bits");
            return Err(refused(ErrorClass::Limit, offset, detail));
        }
        let body = body_length(offset_delta, timestamp_delta, &size);
        put_i64(&mut self.raw, body as i64);
        self.raw.push(0);
        put_i64(&mut self.raw, timestamp_delta);
        put_i64(&mut self.raw, offset_delta);
        put_bytes(&mut self.raw, record.key);
        put_bytes(&mut self.raw, record.value);
        put_i64(&mut self.raw, size.headers as i64);
        for header in record.headers.clone() {
            put_bytes(&mut self.raw, Some(header.name));
            put_bytes(&mut self.raw, header.value);
        }
        let open = self.open.get_or_insert(OpenBatch {
            base_offset,
            last_offset: offset,
            base_timestamp,
            max_timestamp: timestamp,
            count: 0,
        });
        open.last_offset = offset;
        open.max_timestamp = open.max_timestamp.max(timestamp);
        open.count += 1;
        Ok(())
    }

    /// Appends the batch to `out`, and begins the next one. It covers the offsets up to and including `last_offset`, at least those of its
    /// records and as far as a batch can state. Without a record it does nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be compressed, or is too long once it is. `out` is as it was then, and the batch is gone.
    pub fn finish(&mut self, last_offset: i64, out: &mut Vec<u8>) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let start = out.len();
        let finished = self.append(open, last_offset, out);
        self.raw.clear();
        if finished.is_err() {
            out.truncate(start);
        }
        finished
    }

    fn append(&mut self, open: OpenBatch, last_offset: i64, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let fault = |(class, detail)| FormatError::new(class, "record batch", 0, detail);
        out.resize(start + at::HEADER_LENGTH, 0);
        self.deflater.deflate(&self.raw, out).map_err(fault)?;
        let mut codec = self.options.codec;
        let first = start + at::HEADER_LENGTH;
        if self.never_longer && out.len() - first >= self.raw.len() {
            codec = BatchCodec::None;
            out.truncate(first);
            out.extend_from_slice(&self.raw);
        }
        let furthest = open.base_offset.saturating_add(i64::from(i32::MAX));
        let covered = last_offset.min(furthest).max(open.last_offset);
        let BatchOptions {
            timestamp_type,
            transactional,
            ..
        } = self.options;
        let header = Written {
            base_offset: open.base_offset,
            last_offset_delta: (covered - open.base_offset) as i32,
            leader_epoch: self.options.leader_epoch,
            attributes: Attributes::new(codec, timestamp_type, transactional),
            base_timestamp: open.base_timestamp,
            max_timestamp: open.max_timestamp,
            producer: Producer {
                base_sequence: self.sequence,
                ..self.options.producer
            },
            count: open.count,
        };
        header.put(out.get_mut(start..).unwrap_or_default())?;
        if self.sequence >= 0 {
            // After the largest comes 0, as in Kafka.
            self.sequence = self.sequence.wrapping_add(open.count) & i32::MAX;
        }
        Ok(())
    }

    /// Appends a batch without records that covers the offsets from `base_offset` to `last_offset`, both included: what Kafka's cleaner
    /// leaves to keep the end of a log. They differ by less than 2^31.
    ///
    /// # Errors
    ///
    /// *inconsistent* if they do not.
    pub fn put_empty(&self, base_offset: i64, last_offset: i64, out: &mut Vec<u8>) -> Result<()> {
        let delta = last_offset
            .checked_sub(base_offset)
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta >= 0 && base_offset >= 0);
        let Some(last_offset_delta) = delta else {
            let detail = format!("no batch covers the offsets {base_offset} to {last_offset}");
            return Err(FormatError::new(
                ErrorClass::Inconsistent,
                "record batch",
                0,
                detail,
            ));
        };
        let start = out.len();
        out.resize(start + at::HEADER_LENGTH, 0);
        let header = Written {
            base_offset,
            last_offset_delta,
            leader_epoch: self.options.leader_epoch,
            attributes: Attributes::new(BatchCodec::None, self.options.timestamp_type, false),
            base_timestamp: -1,
            max_timestamp: -1,
            producer: Producer::NONE,
            count: 0,
        };
        header.put(out.get_mut(start..).unwrap_or_default())
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_i64(out, -1),
    }
}

/// The header of a batch that is written.
pub(super) struct Written {
    pub(super) base_offset: i64,
    pub(super) last_offset_delta: i32,
    pub(super) leader_epoch: i32,
    pub(super) attributes: Attributes,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer: Producer,
    pub(super) count: i32,
}

impl Written {
    /// Fills the header of `batch`, whose records are there already.
    pub(super) fn put(&self, batch: &mut [u8]) -> Result<()> {
        let length = i32::try_from(batch.len()).map_err(|_| {
            let detail = format!("{} bytes; Kafka states lengths in 31 bits", batch.len());
            FormatError::new(ErrorClass::Limit, "record batch", 0, detail)
        })?;
        const MAGIC: u8 = 2;
        let length = length - at::OVERHEAD as i32;
        put(batch, at::BASE_OFFSET, &self.base_offset.to_be_bytes());
        put(batch, at::LENGTH, &length.to_be_bytes());
        put(batch, at::LEADER_EPOCH, &self.leader_epoch.to_be_bytes());
        put(batch, at::MAGIC, &[MAGIC]);
        put(batch, at::ATTRIBUTES, &self.attributes.0.to_be_bytes());
        let delta = self.last_offset_delta.to_be_bytes();
        put(batch, at::LAST_OFFSET_DELTA, &delta);
        put(
            batch,
            at::BASE_TIMESTAMP,
            &self.base_timestamp.to_be_bytes(),
        );
        put(batch, at::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(batch, at::PRODUCER_ID, &self.producer.id.to_be_bytes());
        put(
            batch,
            at::PRODUCER_EPOCH,
            &self.producer.epoch.to_be_bytes(),
        );
        let sequence = self.producer.base_sequence.to_be_bytes();
        put(batch, at::BASE_SEQUENCE, &sequence);
        put(batch, at::RECORD_COUNT, &self.count.to_be_bytes());
        let crc = crc32c::crc32c(batch.get(at::ATTRIBUTES..).unwrap_or_default());
        put(batch, at::CRC, &crc.to_be_bytes());
        Ok(())
    }
}
