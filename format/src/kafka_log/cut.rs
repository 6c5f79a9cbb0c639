//! Where a batch ends: by the records alone, before anything is compressed.

use crate::batch::{HEADER_LENGTH, RecordSize, record_size};
use crate::record::TimestampType;

/// A batch ends before the record that makes it longer than this, unless that is its first: far below the 1 MiB that brokers and consumers
/// allow by default, and enough for any codec.
pub const BATCH_BYTES: u64 = 256 << 10;

/// Decides for each record whether it begins a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cut {
    open: Option<OpenBatch>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    timestamp_type: TimestampType,
    base_offset: i64,
    base_timestamp: i64,
    /// Not compressed.
    bytes: u64,
}

impl Cut {
    /// Takes the next record, and returns whether a batch ends before it.
    pub(super) fn ends_before(
        &mut self,
        timestamp_type: TimestampType,
        offset: i64,
        timestamp: i64,
        size: &RecordSize,
    ) -> bool {
        if let Some(open) = &mut self.open {
            let near = offset.saturating_sub(open.base_offset) <= i64::from(i32::MAX);
            // A batch has one type, and of LogAppendTime one time.
            let one_time = timestamp_type == open.timestamp_type
                && (timestamp_type == TimestampType::CreateTime
                    || timestamp == open.base_timestamp);
            if near && one_time {
                let deltas = (
                    offset - open.base_offset,
                    timestamp.wrapping_sub(open.base_timestamp),
                );
                let bytes = open.bytes + record_size(deltas.0, deltas.1, size);
                if bytes <= BATCH_BYTES {
                    open.bytes = bytes;
                    return false;
                }
            }
        }
        let ends = self.open.is_some();
        self.open = Some(OpenBatch {
            timestamp_type,
            base_offset: offset,
            base_timestamp: timestamp,
            bytes: HEADER_LENGTH as u64 + record_size(0, 0, size),
        });
        ends
    }
}
