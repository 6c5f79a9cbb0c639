//! One batch of several small ones, for a broker to take in one request.
//!
//! The records of all batches are numbered and timed anew, relative to the first one: their deltas are written again, and everything after
//! them is copied. So the merged batch has bytes, and a checksum, of its own, and the checksums of the batches that it is made of are checked
//! before a byte is copied: a bit that flipped on a disk would be covered by the new one otherwise.
//!
//! | cost per byte | |
//! |---|---|
//! | not compressed | a pass to check, a walk over the records, one copy, a pass to compute |
//! | compressed | decompression and compression besides |
//!
//! Batches merge that are of format v2, with the merger's codec, with timestamps that producers set, and without markers. Who produced them,
//! and whether in a transaction, does not matter: the merged batch has what its [`Adoption`] says, and without that no producer.

use std::fmt;

use super::adopt::Adoption;
use super::codec::BatchCodec;
use super::decode::BatchDecoder;
use super::deflate::Deflater;
use super::encode::Written;
use super::error;
use super::frame::RecordBatch;
use super::header::{Attributes, Producer};
use super::layout as at;
use super::records::{self, RawRecord};
use super::varint::{length, put_i64};
use crate::error::{ErrorClass, Result};
use crate::record::TimestampType;

/// How batches are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// The codec of all batches, and of the merged one, at its usual level.
    pub codec: BatchCodec,
    /// Bytes of a merged batch before compression, at most, unless a single batch has more.
    pub batch_bytes: usize,
    /// Whether offsets without a record, between batches and inside, are closed: a record's offset is then the merged batch's first one and
    /// the number of records before it. Otherwise such batches do not merge.
    pub close_gaps: bool,
}

/// The outcome of merging one more batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a batch is not always added"]
pub enum Merge {
    /// Its records were added.
    Merged,
    /// There is no room for it: it begins the next batch.
    Full,
    /// It does not merge with those before it, or with none.
    Cannot(CannotMerge),
}

/// Why a batch does not merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotMerge {
    /// It is a message, or a set of messages, of this format.
    Format(u8),
    /// It holds markers.
    Control,
    /// A broker set its timestamps.
    LogAppendTime,
    /// It is compressed with another codec than the merger's; `None` where Kafka has no such codec.
    Codec(Option<BatchCodec>),
    /// Offsets inside it have no records.
    GapInside,
    /// It does not begin where the batch before it ends.
    GapBefore,
}

impl fmt::Display for CannotMerge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotMerge::Format(magic) => write!(f, "it is of format v{magic}"),
            CannotMerge::Control => f.write_str("it holds transaction markers"),
            CannotMerge::LogAppendTime => f.write_str("a broker set its timestamps"),
            CannotMerge::Codec(Some(codec)) => write!(f, "its codec is {}", codec.name()),
            CannotMerge::Codec(None) => f.write_str("its codec is unknown"),
            CannotMerge::GapInside => f.write_str("offsets inside it have no records"),
            CannotMerge::GapBefore => f.write_str("offsets before it have no records"),
        }
    }
}

/// Merges batches, one merged batch after the other, with buffers that are reused.
pub struct BatchMerger {
    options: MergeOptions,
    decoder: BatchDecoder,
    deflater: Deflater,
    /// The records of the merged batch, not compressed.
    raw: Vec<u8>,
    /// `None` without a record.
    open: Option<OpenBatch>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    base_offset: i64,
    /// The exclusive end of the offsets of all batches.
    end_offset: i64,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

impl BatchMerger {
    /// Creates a merger.
    #[must_use]
    pub fn new(options: MergeOptions) -> BatchMerger {
        BatchMerger {
            decoder: BatchDecoder::new(),
            deflater: Deflater::new(options.codec),
            raw: Vec::new(),
            open: None,
            options,
        }
    }

    /// Returns the number of records merged so far.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.open.map_or(0, |open| open.count.unsigned_abs())
    }

    /// Returns the bytes of the merged batch so far, before compression; 0 without a record.
    #[must_use]
    pub fn raw_length(&self) -> usize {
        match self.open {
            Some(_) => at::HEADER_LENGTH + self.raw.len(),
            None => 0,
        }
    }

    /// Checks a batch, and adds its records. A batch without records adds none where gaps are closed.
    ///
    /// # Errors
    ///
    /// *checksum*, *inconsistent* or *limit* where the batch is damaged or malformed; *limit* where no batch can hold as much. The merged
    /// batch is as it was then.
    pub fn push(&mut self, batch: &RecordBatch<'_>) -> Result<Merge> {
        if let Some(reason) = self.cannot_merge(batch) {
            return Ok(Merge::Cannot(reason));
        }
        // The merged batch gets a checksum over what is copied here.
        batch.check_crc()?;
        let (kept, before) = (self.raw.len(), self.open);
        let merged = self.copy(batch);
        if !matches!(merged, Ok(Merge::Merged)) {
            self.raw.truncate(kept);
            self.open = before;
        }
        merged
    }

    fn cannot_merge(&self, batch: &RecordBatch<'_>) -> Option<CannotMerge> {
        let header = batch.header();
        let codec = header.attributes.codec();
        let keeps_gaps = !self.options.close_gaps;
        let offsets = header.last_offset - header.base_offset + 1;
        if header.magic != 2 {
            Some(CannotMerge::Format(header.magic))
        } else if header.attributes.is_control() {
            Some(CannotMerge::Control)
        } else if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            Some(CannotMerge::LogAppendTime)
        } else if codec != Some(self.options.codec) {
            Some(CannotMerge::Codec(codec))
        } else if keeps_gaps && header.record_count.map(i64::from) != Some(offsets) {
            Some(CannotMerge::GapInside)
        } else if keeps_gaps
            && self
                .open
                .is_some_and(|open| open.end_offset != header.base_offset)
        {
            Some(CannotMerge::GapBefore)
        } else {
            None
        }
    }

    /// Appends the records of a batch; after anything but `Merged`, what was appended is to be removed.
    fn copy(&mut self, batch: &RecordBatch<'_>) -> Result<Merge> {
        let header = *batch.header();
        let most = match self.open {
            Some(_) => self.options.batch_bytes.min(i32::MAX as usize),
            None => i32::MAX as usize,
        };
        let records = self.decoder.records_of(batch)?;
        let is_first = self.open.is_none();
        let (raw, open) = (&mut self.raw, &mut self.open);
        let mut has_room = true;
        records::walk(batch, records, |record| {
            // Records are checked to the end, so that a malformed batch is an error whether or not there is room for it.
            let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
            let merged = open.get_or_insert(OpenBatch {
                base_offset: header.base_offset,
                end_offset: header.base_offset,
                base_timestamp: timestamp,
                max_timestamp: timestamp,
                count: 0,
            });
            has_room = has_room && merged.count < i32::MAX;
            if has_room {
                put_record(raw, &record, timestamp, merged);
                merged.max_timestamp = merged.max_timestamp.max(timestamp);
                merged.count += 1;
                has_room = at::HEADER_LENGTH + raw.len() <= most;
            }
            Ok(())
        })?;
        if let Some(open) = open {
            open.end_offset = header.last_offset.saturating_add(1);
        }
        match has_room {
            true => Ok(Merge::Merged),
            false if is_first => {
                let detail = "more bytes than a batch can have once its deltas are written anew";
                Err(error(ErrorClass::Limit, batch.position(), detail))
            }
            false => Ok(Merge::Full),
        }
    }

    /// Drops what was merged so far.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.open = None;
    }

    /// Appends the merged batch to `out`, with `adoption` in its header, and begins the next one. Its first offset is that of the first batch.
    /// Without a record it does nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be compressed, is too long once it is, or cannot be adopted. `out` is as it was then, and the batch is gone.
    pub fn finish(&mut self, adoption: &Adoption, out: &mut Vec<u8>) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let start = out.len();
        let finished = self.append(open, adoption, out);
        self.raw.clear();
        if finished.is_err() {
            out.truncate(start);
        }
        finished
    }

    fn append(&mut self, open: OpenBatch, adoption: &Adoption, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.resize(start + at::HEADER_LENGTH, 0);
        self.deflater
            .deflate(&self.raw, out)
            .map_err(|(class, detail)| error(class, 0, detail))?;
        let header = Written {
            base_offset: open.base_offset,
            last_offset_delta: open.count - 1,
            leader_epoch: -1,
            attributes: Attributes::new(self.options.codec, TimestampType::CreateTime, false),
            base_timestamp: open.base_timestamp,
            max_timestamp: open.max_timestamp,
            producer: Producer::NONE,
            count: open.count,
        };
        let batch = out.get_mut(start..).unwrap_or_default();
        header.put(batch)?;
        adoption.apply(batch, 0)
    }
}

/// Appends a record of another batch as the next one of `merged`.
fn put_record(out: &mut Vec<u8>, record: &RawRecord<'_>, timestamp: i64, merged: &OpenBatch) {
    const ATTRIBUTES: u64 = 1;
    let timestamp_delta = timestamp.wrapping_sub(merged.base_timestamp);
    let offset_delta = i64::from(merged.count);
    let body =
        ATTRIBUTES + length(timestamp_delta) + length(offset_delta) + record.payload.len() as u64;
    put_i64(out, body as i64);
    out.push(record.attributes);
    put_i64(out, timestamp_delta);
    put_i64(out, offset_delta);
    out.extend_from_slice(record.payload);
}
