//! From records to the chunks of a log.

use std::collections::VecDeque;

use kbk_format::batch::BatchCodec;
use kbk_format::kafka_log::LogBatches;
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
            ..
        } = chunk;
        self.batches.finish(base_offset, last_offset, &mut bytes)?;
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
