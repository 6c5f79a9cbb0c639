//! From records, and batches as they are, to the chunks of a log.

use std::collections::VecDeque;

use kbk_format::batch::{BatchCodec, RecordBatches};
use kbk_format::kafka_log::{LentBlock, LogBatches, put_lent};
use kbk_format::{Columns, ErrorClass, FormatError, TimestampType};

use super::layout::Chunk;

/// Renders chunks that follow each other.
pub(super) struct ChunkRenderer {
    /// What is not complete yet, and the length of each.
    chunks: VecDeque<(Chunk, u64)>,
    batches: LogBatches,
    bytes: Vec<u8>,
}

impl ChunkRenderer {
    /// Renders these chunks, whose lengths were measured.
    pub(super) fn new(chunks: impl IntoIterator<Item = (Chunk, u64)>) -> ChunkRenderer {
        ChunkRenderer {
            chunks: chunks.into_iter().collect(),
            batches: LogBatches::new(BatchCodec::None),
            bytes: Vec::new(),
        }
    }

    /// Takes the records of the next block, and returns the chunks that are complete.
    pub(super) fn push(
        &mut self,
        timestamp_type: TimestampType,
        columns: &Columns,
    ) -> Result<Vec<Vec<u8>>, FormatError> {
        let mut complete = Vec::new();
        let first = self.chunks.front();
        let start = first.map_or(i64::MAX, |(chunk, _)| chunk.base_offset);
        let rows = columns.offsets();
        for row in rows.partition_point(|offset| *offset < start)..rows.len() {
            let Some(record) = columns.get(row).filter(|record| !record.control) else {
                continue;
            };
            while let Some((chunk, _)) = self.chunks.front()
                && record.offset > chunk.last_offset
            {
                complete.extend(self.complete()?);
            }
            let Some((_, length)) = self.chunks.front() else {
                break;
            };
            if self.bytes.capacity() == 0 {
                // Never more than what is decoded can give, whatever was measured.
                let plausible = columns.payload_bytes().saturating_mul(2) + (64 << 10);
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                self.bytes.reserve(length.min(plausible));
            }
            self.batches
                .push(timestamp_type, &record, &mut self.bytes)?;
        }
        Ok(complete)
    }

    /// Takes the batches of the next block as they are, and returns the chunks that are complete.
    pub(super) fn push_block(
        &mut self,
        block: &LentBlock,
        batches: RecordBatches<'_>,
    ) -> Result<Vec<Vec<u8>>, FormatError> {
        let mut complete = Vec::new();
        while let Some((chunk, _)) = self.chunks.front()
            && block.base_offset > chunk.last_offset
        {
            complete.extend(self.complete()?);
        }
        let Some((chunk, length)) = self.chunks.front() else {
            return Ok(complete);
        };
        // A chunk has all batches of a block or none: those of one that begins earlier are in the chunk before.
        if block.base_offset < chunk.base_offset {
            return Ok(complete);
        }
        if self.bytes.capacity() == 0 {
            let plausible = block.bytes.saturating_mul(2).saturating_add(64 << 10);
            let length = usize::try_from(*length.min(&plausible)).unwrap_or(usize::MAX);
            self.bytes.reserve(length);
        }
        self.batches.end(&mut self.bytes)?;
        for batch in batches {
            put_lent(&batch?, &mut self.bytes)?;
        }
        Ok(complete)
    }

    /// Returns the rest, when there are no more records.
    pub(super) fn finish(&mut self) -> Result<Vec<Vec<u8>>, FormatError> {
        let mut complete = Vec::new();
        while let Some(bytes) = self.complete()? {
            complete.push(bytes);
        }
        Ok(complete)
    }

    fn complete(&mut self) -> Result<Option<Vec<u8>>, FormatError> {
        let Some((chunk, expected)) = self.chunks.pop_front() else {
            return Ok(None);
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        let Chunk {
            base_offset,
            last_offset,
            ends_empty,
            ..
        } = chunk;
        // All that is before the last offset is covered: a batch without records is added where the chunk ends with one.
        let covered_to = match ends_empty {
            true => last_offset,
            false => last_offset.saturating_add(1),
        };
        self.batches.finish(covered_to, last_offset, &mut bytes)?;
        if bytes.len() as u64 == expected {
            return Ok(Some(bytes));
        }
        let detail = format!(
            "the records at {base_offset} to {last_offset} make batches of {} bytes, but META says {expected}",
            bytes.len()
        );
        Err(FormatError::new(
            ErrorClass::Inconsistent,
            "block",
            0,
            detail,
        ))
    }
}
