//! Batches that are being filled with records, or with small batches, by target.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kbk_format::FormatError;
use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::record::Record;

use super::slot::SourceRun;
use super::whole_batch::SmallBatches;

/// How many batches are filled at a time: each has a compressor of its own, of up to some megabytes.
const MOST_OPEN: usize = 32;

/// Batches that are being filled. Their builders are used again.
#[derive(Default)]
pub(super) struct OpenBatches {
    by_target: HashMap<usize, OpenBatch>,
    /// In the order in which they were begun.
    order: VecDeque<usize>,
    idle: Vec<(BatchCodec, BatchBuilder)>,
    idle_merging: Vec<(BatchCodec, SmallBatches)>,
    bytes: usize,
}

struct OpenBatch {
    begun: Instant,
    codec: BatchCodec,
    content: Content,
    sources: Vec<SourceRun>,
    records: u32,
}

/// What a batch is filled with.
enum Content {
    Records(BatchBuilder),
    Batches(SmallBatches),
}

impl Content {
    /// Bytes, not compressed.
    fn bytes(&self) -> usize {
        match self {
            Content::Records(builder) => builder.raw_length(),
            Content::Batches(batches) => batches.bytes(),
        }
    }
}

impl OpenBatch {
    fn new(codec: BatchCodec, content: Content) -> OpenBatch {
        OpenBatch {
            begun: Instant::now(),
            codec,
            content,
            sources: Vec::new(),
            records: 0,
        }
    }

    /// Notes that records with these offsets follow.
    fn add_sources(&mut self, run: SourceRun) {
        self.records += run.records;
        match self.sources.last_mut() {
            Some(last) if last.first + i64::from(last.records) == run.first => {
                last.records += run.records;
            }
            _ => self.sources.push(run),
        }
    }
}

impl OpenBatches {
    /// Bytes of all of them, not compressed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the target's batch takes records to be compressed with this codec.
    pub(super) fn takes_records(&self, target: usize, codec: BatchCodec) -> bool {
        let open = self.by_target.get(&target);
        open.is_some_and(|open| matches!(open.content, Content::Records(_)) && open.codec == codec)
    }

    /// Whether the target's batch takes small batches of this codec.
    pub(super) fn takes_batches(&self, target: usize, codec: BatchCodec) -> bool {
        let open = self.by_target.get(&target);
        open.is_some_and(|open| matches!(open.content, Content::Batches(_)) && open.codec == codec)
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

    /// Whether `records` of at most this size in total may be added to the target's batch: also where there is none yet.
    pub(super) fn has_room(
        &self,
        target: usize,
        (records, bytes): (u32, usize),
        (batch_bytes, batch_records): (usize, Option<u32>),
    ) -> bool {
        const MOST_RECORDS: u32 = i32::MAX.unsigned_abs();
        let most = batch_records.unwrap_or(MOST_RECORDS).min(MOST_RECORDS);
        self.by_target.get(&target).is_none_or(|open| {
            let bytes = open.content.bytes().saturating_add(bytes);
            bytes <= batch_bytes && open.records.saturating_add(records) <= most
        })
    }

    /// Begins the target's batch of small batches, which has at most this many bytes before compression.
    pub(super) fn begin_merging(&mut self, target: usize, codec: BatchCodec, batch_bytes: usize) {
        let mut idle = self.idle_merging.iter();
        let batches = match idle.position(|(known, _)| *known == codec) {
            Some(at) => self.idle_merging.swap_remove(at).1,
            None => SmallBatches::new(codec, batch_bytes),
        };
        let open = OpenBatch::new(codec, Content::Batches(batches));
        self.by_target.insert(target, open);
        self.order.push_back(target);
    }

    /// Begins the target's batch of records.
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
        let open = OpenBatch::new(codec, Content::Records(builder));
        self.by_target.insert(target, open);
        self.order.push_back(target);
    }

    /// Copies a record into the target's batch, which must be begun for records.
    pub(super) fn push(&mut self, target: usize, record: &Record<'_>) -> Result<(), FormatError> {
        let Some(open) = self.by_target.get_mut(&target) else {
            return Ok(());
        };
        let Content::Records(builder) = &mut open.content else {
            return Ok(());
        };
        let before = builder.raw_length();
        // The offset in the batch: brokers take batches with a record at every offset only.
        builder.push(&Record {
            offset: i64::from(open.records),
            ..record.clone()
        })?;
        self.bytes += builder.raw_length() - before;
        open.add_sources(SourceRun {
            first: record.offset,
            records: 1,
        });
        Ok(())
    }

    /// Copies a small batch into the target's batch, which must be begun for batches of its codec, and returns whether there was room for
    /// it.
    pub(super) fn push_batch(
        &mut self,
        target: usize,
        batch: &RecordBatch<'_>,
        source: SourceRun,
    ) -> Result<bool, FormatError> {
        let Some(open) = self.by_target.get_mut(&target) else {
            return Ok(false);
        };
        let Content::Batches(batches) = &mut open.content else {
            return Ok(false);
        };
        self.bytes -= batches.bytes();
        let pushed = batches.push(batch);
        self.bytes += batches.bytes();
        let is_pushed = pushed?;
        if is_pushed {
            open.add_sources(source);
        }
        Ok(is_pushed)
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
        let Some(open) = self.by_target.remove(&target) else {
            return Ok(None);
        };
        self.order.retain(|other| *other != target);
        self.bytes -= open.content.bytes();
        let batch = match open.content {
            Content::Records(mut builder) => {
                let mut batch = Vec::new();
                let finished = builder.finish(0, &mut batch);
                self.idle.push((open.codec, builder));
                finished?;
                // A compressor reserves for the worst case.
                batch.shrink_to_fit();
                Bytes::from(batch)
            }
            Content::Batches(mut batches) => {
                let finished = batches.finish();
                self.idle_merging.push((open.codec, batches));
                finished?
            }
        };
        Ok((!batch.is_empty()).then_some((batch, open.sources)))
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        self.by_target.clear();
        self.order.clear();
        self.bytes = 0;
    }
}
