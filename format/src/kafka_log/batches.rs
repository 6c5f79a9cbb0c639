//! From records to batches.

use super::cut::Cut;
use super::segments::BatchExtent;
use crate::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordSize};
use crate::error::FormatError;
use crate::record::{Record, TimestampType};

/// A log that begins anew has had one leader.
pub(super) const LEADER_EPOCH: i32 = 0;

/// Encodes the batches of a log, one after the other.
///
/// The records from the first of any batch on give that batch and those that follow it, whatever is before them: a part of a log is encoded
/// without what precedes it.
pub struct LogBatches {
    cut: Cut,
    /// Of CreateTime and of LogAppendTime.
    builders: [BatchBuilder; 2],
    /// Whose records are in the open batch.
    open_type: TimestampType,
}

impl LogBatches {
    /// Begins where a batch begins.
    #[must_use]
    pub fn new(codec: BatchCodec) -> LogBatches {
        let builder = |timestamp_type| {
            BatchBuilder::new(BatchOptions {
                codec,
                timestamp_type,
                leader_epoch: LEADER_EPOCH,
                ..BatchOptions::default()
            })
        };
        LogBatches {
            cut: Cut::default(),
            builders: [TimestampType::CreateTime, TimestampType::LogAppendTime].map(builder),
            open_type: TimestampType::CreateTime,
        }
    }

    /// Takes the next record, whose offset is above those before it. Appends the batch that ends before it to `out`, if one does, and returns
    /// what that covers.
    ///
    /// # Errors
    ///
    /// As [`BatchBuilder::push`] and [`BatchBuilder::finish`].
    pub fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<BatchExtent>, FormatError> {
        let size = RecordSize::of(record);
        let ended = self
            .cut
            .push(timestamp_type, record.offset, record.timestamp, &size);
        let ended = match ended {
            Some(batch) => Some(self.build(batch, out)?),
            None => None,
        };
        self.open_type = timestamp_type;
        self.builder().push(record)?;
        Ok(ended)
    }

    /// Ends the open batch after its last record, where a batch follows that is not built here. Appends it to `out`, and returns what it covers.
    ///
    /// # Errors
    ///
    /// As [`BatchBuilder::finish`].
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<Option<BatchExtent>, FormatError> {
        match self.cut.end() {
            Some(batch) => Ok(Some(self.build(batch, out)?)),
            None => Ok(None),
        }
    }

    /// Ends the offsets from `base_offset` up to and including `last_offset`, all of whose records were pushed: appends the open batch to
    /// `out`, which covers the offsets up to there if it can, and one without records where none reaches that far. Returns what they cover.
    ///
    /// # Errors
    ///
    /// As [`BatchBuilder::finish`] and [`BatchBuilder::put_empty`].
    pub fn finish(
        &mut self,
        base_offset: i64,
        last_offset: i64,
        out: &mut Vec<u8>,
    ) -> Result<[Option<BatchExtent>; 2], FormatError> {
        let last = self.cut.finish(base_offset, last_offset);
        let of_records = match last.of_records {
            Some(batch) => Some(self.build(batch, out)?),
            None => None,
        };
        if let Some(BatchExtent { last_offset, .. }) = last.empty {
            let [builder, _] = &self.builders;
            builder.put_empty(last_offset, last_offset, out)?;
        }
        Ok([of_records, last.empty])
    }

    fn build(&mut self, batch: BatchExtent, out: &mut Vec<u8>) -> Result<BatchExtent, FormatError> {
        let start = out.len();
        self.builder().finish(batch.last_offset, out)?;
        Ok(BatchExtent {
            bytes: (out.len() - start) as u64,
            ..batch
        })
    }

    fn builder(&mut self) -> &mut BatchBuilder {
        let [create_time, log_append_time] = &mut self.builders;
        match self.open_type {
            TimestampType::CreateTime => create_time,
            TimestampType::LogAppendTime => log_append_time,
        }
    }
}
