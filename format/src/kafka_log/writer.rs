//! From records to the files of a log.

use super::batches::LogBatches;
use super::lent::{LentBlock, LentOffsets, put_lent};
use super::segments::{BatchExtent, EndedSegment, LogOptions, Segments};
use crate::batch::{BatchCodec, RecordBatches};
use crate::error::{ErrorClass, FormatError};
use crate::record::{Record, TimestampType};

/// Takes the files of a log, segment by segment.
pub trait LogSink {
    /// Why it cannot.
    type Error: From<FormatError>;

    /// Begins the segment whose first offset this is.
    fn begin(&mut self, base_offset: i64) -> Result<(), Self::Error>;

    /// Appends whole batches to its log.
    fn append(&mut self, batches: &[u8]) -> Result<(), Self::Error>;

    /// Ends it, with its indexes.
    fn end(&mut self, index: &[u8], time_index: &[u8]) -> Result<(), Self::Error>;
}

/// Writes the records of one partition as Kafka's log.
///
/// Offsets are exact, gaps included: the first segment is named after the first offset, and the last batch covers offsets without a record
/// up to the end, so that a broker appends where the source would have.
pub struct LogWriter<S> {
    sink: S,
    batches: LogBatches,
    segments: Segments,
    bytes: Vec<u8>,
    /// From where on no batch covers the offsets, but for the open one.
    base_offset: i64,
    next_offset: i64,
}

impl<S: LogSink> LogWriter<S> {
    /// Begins a log at `base_offset`.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn new(
        mut sink: S,
        base_offset: i64,
        codec: BatchCodec,
        options: LogOptions,
    ) -> Result<LogWriter<S>, S::Error> {
        sink.begin(base_offset)?;
        Ok(LogWriter {
            sink,
            batches: LogBatches::new(codec),
            segments: Segments::new(base_offset, options),
            bytes: Vec::new(),
            base_offset,
            next_offset: base_offset,
        })
    }

    /// Appends a record; its offset is above those before it.
    ///
    /// # Errors
    ///
    /// As [`LogBatches::push`], and those of the sink.
    pub fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), S::Error> {
        self.bytes.clear();
        let ended = self.batches.push(timestamp_type, record, &mut self.bytes)?;
        self.next_offset = record.offset + 1;
        match ended {
            Some(batch) => self.append(0, &batch),
            None => Ok(()),
        }
    }

    /// Appends the batches of a block as they are, whose offsets are above those before it.
    ///
    /// # Errors
    ///
    /// *inconsistent* where these are not the batches of the block; as [`put_lent`], and those of the sink.
    pub fn push_block(
        &mut self,
        block: &LentBlock,
        batches: RecordBatches<'_>,
    ) -> Result<(), S::Error> {
        self.bytes.clear();
        if let Some(batch) = self.batches.end(&mut self.bytes)? {
            self.append(0, &batch)?;
        }
        let differ = |found: u64| {
            let stated = block.bytes;
            let detail = format!("its batches take {found} bytes, and it states {stated}");
            FormatError::new(ErrorClass::Inconsistent, "block", 0, detail)
        };
        let Some(offsets) = LentOffsets::of(batches.clone())? else {
            return Err(differ(0).into());
        };
        let mut extent = block.extent();
        extent.first_last_offset = offsets.first;
        extent.latest_offset = offsets.latest;
        self.begin_with(&extent)?;
        let mut appended = 0;
        for batch in batches {
            self.bytes.clear();
            put_lent(&batch?, &mut self.bytes)?;
            self.sink.append(&self.bytes)?;
            appended += self.bytes.len() as u64;
        }
        if appended != block.bytes {
            return Err(differ(appended).into());
        }
        self.base_offset = offsets.last + 1;
        self.next_offset = block.end_offset;
        Ok(())
    }

    /// Ends the log, of which `end_offset` is one past the last offset, and returns the sink.
    ///
    /// # Errors
    ///
    /// As [`LogBatches::finish`], and those of the sink.
    pub fn finish(mut self, end_offset: i64) -> Result<S, S::Error> {
        let last = end_offset.max(self.next_offset) - 1;
        self.bytes.clear();
        let ended = self
            .batches
            .finish(self.base_offset, last, &mut self.bytes)?;
        let mut start = 0;
        for batch in ended.into_iter().flatten() {
            self.append(start, &batch)?;
            start += batch.bytes as usize;
        }
        let last = self.segments.finish();
        self.sink.end(&last.index, &last.time_index)?;
        Ok(self.sink)
    }

    /// Begins another segment where what follows does not fit into the open one.
    fn begin_with(&mut self, batch: &BatchExtent) -> Result<(), S::Error> {
        if let Some(ended) = self.segments.add(batch) {
            let EndedSegment {
                index, time_index, ..
            } = ended;
            self.sink.end(&index, &time_index)?;
            self.sink.begin(batch.base_offset)?;
        }
        Ok(())
    }

    /// Appends the batch at `start` of the bytes.
    fn append(&mut self, start: usize, batch: &BatchExtent) -> Result<(), S::Error> {
        self.begin_with(batch)?;
        let end = start + batch.bytes as usize;
        self.sink
            .append(self.bytes.get(start..end).unwrap_or_default())
    }
}
