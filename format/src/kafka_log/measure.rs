//! From the lengths of records to the sizes of a log's files, without their bytes.

use super::cut::Cut;
use super::lent::{LentBlock, LentOffsets};
use super::segments::{BatchExtent, EndedSegment, LogOptions, Segments};
use crate::batch::RecordSize;
use crate::columns::Columns;
use crate::record::TimestampType;

/// Takes what the files of a log consist of, segment by segment.
pub trait LogOutline {
    /// The next batch of the segment.
    fn batch(&mut self, batch: &BatchExtent);

    /// The segment ends. What follows is another one.
    fn end(&mut self, segment: EndedSegment);
}

/// Measures a log whose records are not compressed, but for batches that are in it as they are: the same batches, segments and indexes as a
/// [`LogWriter`](super::LogWriter) writes, from offsets, times and lengths alone.
pub struct LogMeasure<O> {
    outline: O,
    cut: Cut,
    segments: Segments,
    /// From where on no batch covers the offsets, but for the open one.
    base_offset: i64,
    next_offset: i64,
}

impl<O: LogOutline> LogMeasure<O> {
    /// Begins where a segment begins: at `base_offset`.
    pub fn new(outline: O, base_offset: i64, options: LogOptions) -> LogMeasure<O> {
        LogMeasure {
            outline,
            cut: Cut::default(),
            segments: Segments::new(base_offset, options),
            base_offset,
            next_offset: base_offset,
        }
    }

    /// Takes the next record; its offset is above those before it.
    pub fn push(
        &mut self,
        timestamp_type: TimestampType,
        offset: i64,
        timestamp: i64,
        size: &RecordSize,
    ) {
        if let Some(batch) = self.cut.push(timestamp_type, offset, timestamp, size) {
            self.add(&batch);
        }
        self.next_offset = offset.saturating_add(1);
    }

    /// Takes the records of a block with an offset up to and including `last_offset`, of which META was decoded. Control records are Kafka's
    /// own, and not part of a log that is written.
    pub fn push_columns(
        &mut self,
        timestamp_type: TimestampType,
        columns: &Columns,
        last_offset: i64,
    ) {
        let rows = columns.offsets().iter().zip(columns.timestamps());
        for (row, (offset, timestamp)) in rows.enumerate() {
            if *offset > last_offset {
                return;
            }
            // The caller may begin within a block.
            if *offset >= self.next_offset && !columns.is_control(row) {
                self.push(timestamp_type, *offset, *timestamp, &columns.size(row));
            }
        }
    }

    /// Takes a block whose batches are in the log as they are. `offsets` are those that the batches state: without them the lengths of all files
    /// are right, and the entries of the indexes are not.
    pub fn push_block(&mut self, block: &LentBlock, offsets: Option<&LentOffsets>) {
        if let Some(batch) = self.cut.end() {
            self.add(&batch);
        }
        let mut extent = block.extent();
        if let Some(offsets) = offsets {
            extent.first_last_offset = offsets.first;
            extent.latest_offset = offsets.latest;
        }
        self.add(&extent);
        self.base_offset = block.end_offset;
        self.next_offset = block.end_offset;
    }

    /// States the last offset of the last batch so far, of a block that ended with offsets without a record.
    pub fn ended_at(&mut self, last_offset: i64) {
        self.base_offset = last_offset.saturating_add(1);
    }

    /// Ends the log, of which `end_offset` is one past the last offset, and returns the outline.
    pub fn finish(mut self, end_offset: i64) -> O {
        let last = end_offset.max(self.next_offset) - 1;
        let ended = self.cut.finish(self.base_offset, last);
        for batch in [ended.of_records, ended.empty].into_iter().flatten() {
            self.add(&batch);
        }
        self.outline.end(self.segments.finish());
        self.outline
    }

    fn add(&mut self, batch: &BatchExtent) {
        if let Some(ended) = self.segments.add(batch) {
            self.outline.end(ended);
        }
        self.outline.batch(batch);
    }
}
