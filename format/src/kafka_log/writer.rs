//! From records to the files of a log.

use super::batches::LogBatches;
use super::segments::{BatchExtent, EndedSegment, LogOptions, Segments};
use crate::batch::BatchCodec;
use crate::error::FormatError;
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

    /// Appends the batch at `start` of the bytes.
    fn append(&mut self, start: usize, batch: &BatchExtent) -> Result<(), S::Error> {
        if let Some(ended) = self.segments.add(batch) {
            let EndedSegment {
                index, time_index, ..
            } = ended;
            self.sink.end(&index, &time_index)?;
            self.sink.begin(batch.base_offset)?;
        }
        let end = start + batch.bytes as usize;
        self.sink
            .append(self.bytes.get(start..end).unwrap_or_default())
    }
}
