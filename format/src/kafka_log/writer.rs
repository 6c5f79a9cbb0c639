//! From records to the files of a log.

use super::cut::Cut;
use super::segments::{BatchExtent, LogOptions, OpenSegment};
use crate::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch, RecordSize};
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
    options: LogOptions,
    cut: Cut,
    /// Of CreateTime and of LogAppendTime.
    builders: [BatchBuilder; 2],
    /// Whose records are in the open batch.
    open_type: TimestampType,
    segment: OpenSegment,
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
        let builder = |timestamp_type| {
            BatchBuilder::new(BatchOptions {
                codec,
                timestamp_type,
                leader_epoch: LEADER_EPOCH,
                ..BatchOptions::default()
            })
        };
        Ok(LogWriter {
            sink,
            options,
            cut: Cut::default(),
            builders: [TimestampType::CreateTime, TimestampType::LogAppendTime].map(builder),
            open_type: TimestampType::CreateTime,
            segment: OpenSegment::new(base_offset),
            bytes: Vec::new(),
            base_offset,
            next_offset: base_offset,
        })
    }

    /// Appends a record; its offset is above those before it.
    ///
    /// # Errors
    ///
    /// As [`BatchBuilder::push`] and [`BatchBuilder::finish`], and those of the sink.
    pub fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), S::Error> {
        let size = RecordSize::of(record);
        let (offset, timestamp) = (record.offset, record.timestamp);
        if self
            .cut
            .ends_before(timestamp_type, offset, timestamp, &size)
        {
            self.end_batch(self.next_offset - 1)?;
        }
        self.open_type = timestamp_type;
        self.builder().push(record)?;
        self.next_offset = offset + 1;
        Ok(())
    }

    /// Ends the log, of which `end_offset` is one past the last offset, and returns the sink.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish(mut self, end_offset: i64) -> Result<S, S::Error> {
        let last = end_offset.max(self.next_offset) - 1;
        let covered = self.end_batch(last)?;
        if covered.unwrap_or(self.base_offset - 1) < last {
            // No record is near enough to a batch that covers the end.
            self.bytes.clear();
            let [builder, _] = &self.builders;
            builder.put_empty(last, last, &mut self.bytes)?;
            self.append()?;
        }
        self.end_segment()?;
        Ok(self.sink)
    }

    fn builder(&mut self) -> &mut BatchBuilder {
        let [create_time, log_append_time] = &mut self.builders;
        match self.open_type {
            TimestampType::CreateTime => create_time,
            TimestampType::LogAppendTime => log_append_time,
        }
    }

    /// Writes the open batch, which covers the offsets up to `last_offset` if it can; returns the last offset that it covers, `None` without one.
    fn end_batch(&mut self, last_offset: i64) -> Result<Option<i64>, S::Error> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let finished = self.builder().finish(last_offset, &mut bytes);
        self.bytes = bytes;
        finished?;
        match self.bytes.is_empty() {
            true => Ok(None),
            false => self.append().map(Some),
        }
    }

    /// Appends the batch in `bytes`, and returns its last offset.
    fn append(&mut self) -> Result<i64, S::Error> {
        let header = *RecordBatch::parse(&self.bytes, 0)?.header();
        let extent = BatchExtent {
            last_offset: header.last_offset,
            max_timestamp: header.max_timestamp,
            bytes: self.bytes.len() as u64,
        };
        if !self.segment.has_room(&extent, &self.options) {
            self.end_segment()?;
            self.sink.begin(header.base_offset)?;
            self.segment = OpenSegment::new(header.base_offset);
        }
        self.segment.add(&extent, &self.options);
        self.sink.append(&self.bytes)?;
        Ok(header.last_offset)
    }

    fn end_segment(&mut self) -> Result<(), S::Error> {
        self.segment.complete();
        self.sink.end(&self.segment.index, &self.segment.time_index)
    }
}

/// A log that begins anew has had one leader.
const LEADER_EPOCH: i32 = 0;
