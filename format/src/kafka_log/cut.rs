//! Where a batch ends: by the records alone, before anything is compressed.

use super::segments::BatchExtent;
use crate::batch::{HEADER_LENGTH, RecordSize, record_size};
use crate::record::TimestampType;

/// A batch ends before the record that makes it longer than this, unless that is its first: far below the 1 MiB that brokers and consumers
/// allow by default, and enough for any codec.
pub const BATCH_BYTES: u64 = 256 << 10;

/// Divides records into batches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cut {
    open: Option<OpenBatch>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    timestamp_type: TimestampType,
    base_timestamp: i64,
    /// Up to its last record.
    extent: BatchExtent,
}

/// The batches with which a range of offsets ends: that of its last records, and one without any where no batch reaches that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastBatches {
    pub(super) of_records: Option<BatchExtent>,
    pub(super) empty: Option<BatchExtent>,
}

impl Cut {
    /// Takes the next record, and returns the batch that ends before it, if one does. Its bytes are those without compression.
    pub(super) fn push(
        &mut self,
        timestamp_type: TimestampType,
        offset: i64,
        timestamp: i64,
        size: &RecordSize,
    ) -> Option<BatchExtent> {
        if let Some(open) = &mut self.open {
            let base_offset = open.extent.base_offset;
            let near = offset.saturating_sub(base_offset) <= i64::from(i32::MAX);
            // A batch has one type, and of LogAppendTime one time.
            let one_time = timestamp_type == open.timestamp_type
                && (timestamp_type == TimestampType::CreateTime
                    || timestamp == open.base_timestamp);
            if near && one_time {
                let deltas = (
                    offset - base_offset,
                    timestamp.wrapping_sub(open.base_timestamp),
                );
                let bytes = open.extent.bytes + record_size(deltas.0, deltas.1, size);
                if bytes <= BATCH_BYTES {
                    let max_timestamp = open.extent.max_timestamp.max(timestamp);
                    open.extent = BatchExtent::single(base_offset, offset, max_timestamp, bytes);
                    return None;
                }
            }
        }
        let begun = OpenBatch {
            timestamp_type,
            base_timestamp: timestamp,
            extent: BatchExtent::single(
                offset,
                offset,
                timestamp,
                HEADER_LENGTH as u64 + record_size(0, 0, size),
            ),
        };
        self.open.replace(begun).map(|ended| ended.extent)
    }

    /// Ends the open batch after its last record.
    pub(super) fn end(&mut self) -> Option<BatchExtent> {
        self.open.take().map(|ended| ended.extent)
    }

    /// Ends the offsets from `base_offset` up to and including `last_offset`, all of whose records were pushed.
    pub(super) fn finish(&mut self, base_offset: i64, last_offset: i64) -> LastBatches {
        let of_records = self.open.take().map(|OpenBatch { extent, .. }| {
            // As far as a batch can state.
            let furthest = extent.base_offset.saturating_add(i64::from(i32::MAX));
            BatchExtent::single(
                extent.base_offset,
                last_offset.min(furthest).max(extent.last_offset),
                extent.max_timestamp,
                extent.bytes,
            )
        });
        let covered = of_records.map_or(base_offset - 1, |batch| batch.last_offset);
        LastBatches {
            of_records,
            empty: (covered < last_offset).then_some(BatchExtent::single(
                last_offset,
                last_offset,
                -1,
                HEADER_LENGTH as u64,
            )),
        }
    }
}
