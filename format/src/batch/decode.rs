//! From a batch to its records.

use super::codec::BatchCodec;
use super::error;
use super::frame::{RecordBatch, RecordBatches};
use super::header::BatchHeader;
use super::inflate::{DECODED_BYTES, Inflater, too_large};
use super::messages::{Payload, Wrapper};
use super::records::{self, RawRecord};
use crate::error::{ErrorClass, Result};
use crate::record::{Headers, Record, TimestampType};

/// A decoder keeps a buffer of at most this much.
const KEPT_BYTES: usize = 8 << 20;

/// Decodes batches, with buffers that are reused from batch to batch.
pub struct BatchDecoder {
    inflater: Inflater,
    raw: Vec<u8>,
    limit: usize,
}

impl Default for BatchDecoder {
    fn default() -> Self {
        BatchDecoder::new()
    }
}

impl BatchDecoder {
    /// Creates a decoder that accepts [`DECODED_BYTES`] per batch.
    #[must_use]
    pub fn new() -> BatchDecoder {
        BatchDecoder::with_limit(DECODED_BYTES)
    }

    /// Creates a decoder that refuses batches which decompress to more than `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> BatchDecoder {
        BatchDecoder {
            inflater: Inflater::new(),
            raw: Vec::new(),
            limit,
        }
    }

    /// Checks every record of a batch, and lends them in the order of their offsets. [`RecordBatch::check`] is for the caller to call.
    /// Records of a control batch are lent, too.
    ///
    /// # Errors
    ///
    /// Any but *not_a_segment* and *misplaced*; no record is lent then.
    pub fn decode<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<BatchRecords<'a>> {
        match batch.header().magic {
            2 => self.decode_batch(batch),
            _ => self.decode_message(batch),
        }
    }

    fn decode_batch<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<BatchRecords<'a>> {
        let header = *batch.header();
        let bytes = self.records_of(batch)?;
        records::walk(batch, bytes, |_| Ok(()))?;
        Ok(BatchRecords(Kind::Batch {
            header,
            rest: bytes,
            left: header.record_count.unwrap_or_default(),
        }))
    }

    /// Returns the records of a batch of format v2, not compressed and not checked.
    pub(super) fn records_of<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<&'a [u8]> {
        let stored = batch.after(super::HEADER_LENGTH);
        match batch.header().record_count {
            // Kafka keeps the header of a batch without records, whatever its codec was.
            Some(0) => Ok(stored),
            _ => self.inflate(batch, stored),
        }
    }

    /// Passes every record of a batch of format v2 to `take`, in one walk, and returns the bytes of its records before compression, which
    /// are at most `limit`. After an error, some may have been passed.
    pub(crate) fn visit(
        &mut self,
        batch: &RecordBatch<'_>,
        limit: usize,
        mut take: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<usize> {
        let header = *batch.header();
        self.limit = limit;
        let bytes = self.records_of(batch)?;
        // What is not compressed was not measured.
        if bytes.len() > limit {
            let (class, detail) = too_large(limit);
            return Err(error(class, batch.position(), detail));
        }
        let walked = records::walk(batch, bytes, |record| take(&record_of(&header, &record)));
        let length = bytes.len();
        self.free_giant();
        walked.map(|()| length)
    }

    /// Returns the size of the buffer that it keeps.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// Frees the buffer if it is larger than almost all batches need: there are many decoders, and few giant batches.
    fn free_giant(&mut self) {
        if self.raw.capacity() > KEPT_BYTES {
            self.raw = Vec::new();
        }
    }

    fn decode_message<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<BatchRecords<'a>> {
        let Payload { value, .. } = Payload::of(batch)?;
        if batch.header().attributes.codec() == Some(BatchCodec::None) {
            return Ok(BatchRecords(Kind::Messages {
                messages: RecordBatches::new(batch.bytes(), batch.position()),
                wrapper: Wrapper::NONE,
            }));
        }
        let fault = |detail| error(ErrorClass::Inconsistent, batch.position(), detail);
        let stored = value.ok_or_else(|| fault("a compressed set whose value is null"))?;
        let set = self.inflate(batch, stored)?;
        let wrapper = Wrapper::of(batch, set)?;
        Ok(BatchRecords(Kind::Messages {
            messages: RecordBatches::new(set, 0),
            wrapper,
        }))
    }

    /// Returns what the bytes of a batch decompress to.
    fn inflate<'a>(&'a mut self, batch: &RecordBatch<'_>, stored: &'a [u8]) -> Result<&'a [u8]> {
        let BatchHeader {
            magic, attributes, ..
        } = *batch.header();
        let codec = match attributes.codec() {
            Some(BatchCodec::None) => return Ok(stored),
            // Zstandard came after v1.
            Some(codec) if magic == 2 || codec != BatchCodec::Zstd => codec,
            _ => {
                let detail = format!("codec {} in format v{magic}", attributes.0 & 7);
                return Err(error(ErrorClass::Unsupported, batch.position(), detail));
            }
        };
        let limit = self.limit;
        self.free_giant();
        self.inflater
            .inflate(codec, magic, stored, limit, &mut self.raw)
            .map_err(|(class, detail)| error(class, batch.position(), detail))?;
        Ok(&self.raw)
    }
}

/// Returns a record of a batch with this header.
fn record_of<'a>(header: &BatchHeader, record: &RawRecord<'a>) -> Record<'a> {
    let timestamp = match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        // Kafka wraps around on both sides.
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
    };
    Record {
        offset: header.base_offset + i64::from(record.offset_delta),
        timestamp,
        control: header.attributes.is_control(),
        key: record.key,
        value: record.value,
        headers: Headers::Batch(record.headers),
    }
}

/// The records of a batch that was checked.
#[derive(Clone, Debug)]
pub struct BatchRecords<'a>(Kind<'a>);

#[derive(Clone, Debug)]
enum Kind<'a> {
    Batch {
        header: BatchHeader,
        rest: &'a [u8],
        left: u32,
    },
    Messages {
        messages: RecordBatches<'a>,
        wrapper: Wrapper,
    },
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        match &mut self.0 {
            Kind::Batch { header, rest, left } => {
                *left = left.checked_sub(1)?;
                let record = records::take(rest)?;
                Some(record_of(header, &record))
            }
            Kind::Messages { messages, wrapper } => {
                let message = messages.next()?.ok()?;
                let Payload { key, value } = Payload::of(&message).ok()?;
                Some(Record {
                    offset: wrapper.base_offset + message.header().base_offset,
                    timestamp: wrapper.timestamp(&message),
                    control: false,
                    key,
                    value,
                    headers: Headers::EMPTY,
                })
            }
        }
    }
}
