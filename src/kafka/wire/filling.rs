//! Batches that are being filled with records, by target.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kbk_format::FormatError;
use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions};
use kbk_format::record::Record;

use super::slot::SourceRun;

/// How many batches are filled at a time: each has a compressor of its own, of up to some megabytes.
const MOST_OPEN: usize = 32;

/// Batches that are being filled. Their builders are used again.
#[derive(Default)]
pub(super) struct OpenBatches {
    by_target: HashMap<usize, OpenBatch>,
    /// In the order in which they were begun.
    order: VecDeque<usize>,
    idle: Vec<(BatchCodec, BatchBuilder)>,
    bytes: usize,
}

struct OpenBatch {
    begun: Instant,
    codec: BatchCodec,
    builder: BatchBuilder,
    sources: Vec<SourceRun>,
    records: u32,
}

impl OpenBatches {
    /// Bytes of all of them, not compressed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, target: usize) -> bool {
        self.by_target.contains_key(&target)
    }

    /// Whether one must be closed before another one is begun.
    pub(super) fn is_full(&self) -> bool {
        self.by_target.len() >= MOST_OPEN
    }

    /// Returns the target of the batch that was begun first.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.order.front().copied()
    }

    /// Returns the target of the batch that was begun first, where that is this long ago.
    pub(super) fn lingering(&self, longest: Duration) -> Option<usize> {
        let oldest = self.oldest()?;
        let begun = self.by_target.get(&oldest)?.begun;
        (begun.elapsed() >= longest).then_some(oldest)
    }

    /// Whether a record of at most this size may be added to the target's batch: also where there is none yet.
    pub(super) fn has_room(
        &self,
        target: usize,
        record_bytes: usize,
        (batch_bytes, batch_records): (usize, Option<u32>),
    ) -> bool {
        const MOST_RECORDS: u32 = i32::MAX.unsigned_abs();
        let most = batch_records.unwrap_or(MOST_RECORDS).min(MOST_RECORDS);
        self.by_target.get(&target).is_none_or(|open| {
            let bytes = open.builder.raw_length().saturating_add(record_bytes);
            bytes <= batch_bytes && open.records < most
        })
    }

    /// Begins the target's batch.
    pub(super) fn begin(&mut self, target: usize, codec: BatchCodec) {
        let mut idle = self.idle.iter();
        let builder = match idle.position(|(known, _)| *known == codec) {
            Some(at) => self.idle.swap_remove(at).1,
            None => BatchBuilder::new(BatchOptions {
                codec,
                ..BatchOptions::default()
            })
            .never_longer(),
        };
        let open = OpenBatch {
            begun: Instant::now(),
            codec,
            builder,
            sources: Vec::new(),
            records: 0,
        };
        self.by_target.insert(target, open);
        self.order.push_back(target);
    }

    /// Copies a record into the target's batch, which must be begun.
    pub(super) fn push(&mut self, target: usize, record: &Record<'_>) -> Result<(), FormatError> {
        let Some(open) = self.by_target.get_mut(&target) else {
            return Ok(());
        };
        let before = open.builder.raw_length();
        // The offset in the batch: brokers take batches with a record at every offset only.
        open.builder.push(&Record {
            offset: i64::from(open.records),
            ..record.clone()
        })?;
        open.records += 1;
        self.bytes += open.builder.raw_length() - before;
        match open.sources.last_mut() {
            Some(last) if last.first + i64::from(last.records) == record.offset => {
                last.records += 1;
            }
            _ => open.sources.push(SourceRun {
                first: record.offset,
                records: 1,
            }),
        }
        Ok(())
    }

    /// Returns the source offset of the first record of the target's batch.
    pub(super) fn first_source(&self, target: usize) -> Option<i64> {
        Some(self.by_target.get(&target)?.sources.first()?.first)
    }

    /// Ends the target's batch; `None` where it has none, or no record.
    pub(super) fn close(
        &mut self,
        target: usize,
    ) -> Result<Option<(Bytes, Vec<SourceRun>)>, FormatError> {
        let Some(mut open) = self.by_target.remove(&target) else {
            return Ok(None);
        };
        self.order.retain(|other| *other != target);
        self.bytes -= open.builder.raw_length();
        let mut batch = Vec::new();
        let finished = open.builder.finish(0, &mut batch);
        self.idle.push((open.codec, open.builder));
        finished?;
        // A compressor reserves for the worst case.
        batch.shrink_to_fit();
        Ok((!batch.is_empty()).then(|| (Bytes::from(batch), open.sources)))
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        self.by_target.clear();
        self.order.clear();
        self.bytes = 0;
    }
}
