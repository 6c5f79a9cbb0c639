//! A range of offsets, block by block: META of blocks of records, read ahead in few requests, within a bound of memory; of blocks whose batches
//! are in the log as they are, what their headers state, which the index of their segment has.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::kafka_log::{LentBlock, LentOffsets, LogMeasure, LogOutline};
use kbk_format::repo::SegmentEntry;
use kbk_format::{Columns, IndexEntry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::content::blocks::OpenSegment;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::{Location, ViewError};

/// Bytes of META that are read or in memory at a time; one read may be longer.
const AHEAD_BYTES: u64 = 8 << 20;
/// A read ends before the block whose META would make it longer than this.
const RUN_BYTES: u64 = 256 << 10;
/// How much of what is between META of two blocks is read rather than making two requests.
const GAP_BYTES: u64 = 16 << 10;

/// What comes next in a log.
enum Step {
    /// Blocks of records.
    Records(Run),
    /// A block whose batches are in the log as they are.
    Lent(Lent),
}

/// A block whose batches are in the log as they are.
struct Lent {
    segment: Arc<OpenSegment>,
    number: usize,
    block: LentBlock,
    /// What its batches state, if they were read.
    offsets: Option<LentOffsets>,
}

/// The next step, read as far as it has to be.
enum Taken {
    Records(Read),
    Lent(Lent),
}

/// What a log is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MeasuredFor {
    /// The lengths of its files.
    Lengths,
    /// The entries of its indexes, which state offsets of single batches.
    Indexes,
}

/// META of blocks of a segment that one read covers.
struct Run {
    segment: Arc<OpenSegment>,
    blocks: Range<usize>,
    /// In the segment.
    bytes: Range<u64>,
}

/// What was read of a run, and its place in memory.
struct Read {
    run: Run,
    bytes: Bytes,
    changed: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl SnapshotReader {
    /// Passes what is known of the blocks with these offsets to `measure`, without decoding a record.
    pub(super) async fn measure<O: LogOutline + Send + 'static>(
        self: &Arc<Self>,
        partition: &Partition,
        offsets: Range<i64>,
        purpose: MeasuredFor,
        mut measure: LogMeasure<O>,
    ) -> Result<LogMeasure<O>, ViewError> {
        let ahead = AHEAD_BYTES.min(self.budget.limit() / 8).max(RUN_BYTES);
        let taken = self.budget.take(ahead);
        let id = partition.id().to_string();
        // At rest, since footers are loaded while it is held.
        let _lease = self.source.while_answering(&id, taken).await?.at_rest();
        let index = self.partition_rows(partition).await?;
        let places = Arc::new(Semaphore::new(ahead as usize));
        let parallel = self.source.parallel_requests();
        let mut last = None;
        let mut page = index.page_of_offset(offsets.start).map(|(page, _)| page);
        while let Some(number) = page {
            let table = self.segment_rows(partition, number).await?;
            let needed = needed(&table.segments, &offsets);
            let steps = self
                .opened(partition, needed)
                .map_ok(|((), segment)| stream::iter(steps(&segment, &offsets).into_iter().map(Ok)))
                .try_flatten();
            let taken = steps.map(|step| {
                let (reader, places) = (Arc::clone(self), Arc::clone(&places));
                async move {
                    Ok(match step? {
                        Step::Records(run) => {
                            let read = reader.read_run(partition, run, (&places, ahead));
                            Taken::Records(read.await?)
                        }
                        Step::Lent(lent) if purpose == MeasuredFor::Indexes => {
                            Taken::Lent(reader.with_offsets(partition, lent).await?)
                        }
                        Step::Lent(lent) => Taken::Lent(lent),
                    })
                }
            });
            let mut taken = std::pin::pin!(taken.buffered(parallel));
            while let Some(taken) = taken.try_next().await? {
                last = None;
                match taken {
                    Taken::Records(read) => {
                        measure = self
                            .measure_run(partition, read, measure, offsets.end - 1)
                            .await?;
                    }
                    Taken::Lent(lent) => {
                        measure.push_block(&lent.block, lent.offsets.as_ref());
                        last = Some(lent);
                    }
                }
            }
            let last_row = table.segments.last();
            let ends = last_row.is_none_or(|last| last.end_offset >= offsets.end);
            page = (!ends).then_some(number + 1);
        }
        // Where a block ends with offsets without a record, only its last batch tells whether the log needs one more to cover them.
        let ends_log = offsets.end == partition.state().end_offset;
        if let Some(lent) = last.filter(|lent| ends_log && !lent.block.is_dense()) {
            let lent = match lent.offsets {
                Some(_) => lent,
                None => self.with_offsets(partition, lent).await?,
            };
            if let Some(offsets) = lent.offsets {
                measure.ended_at(offsets.last);
            }
        }
        Ok(measure)
    }

    /// Reads what the batches of a block state.
    async fn with_offsets(&self, partition: &Partition, lent: Lent) -> Result<Lent, ViewError> {
        let offsets = self.lend(&lent.segment, lent.number, LentOffsets::of).await;
        let location = || lent.segment.location(lent.number, partition);
        let offsets = offsets.map_err(|error| error.at(location()))?;
        Ok(Lent { offsets, ..lent })
    }

    /// Reads a run, once there is room for it. Runs get their places in order, so that the first one never waits for those behind it.
    async fn read_run(
        &self,
        partition: &Partition,
        run: Run,
        (places, most): (&Arc<Semaphore>, u64),
    ) -> Result<Read, ViewError> {
        let length = (run.bytes.end - run.bytes.start).min(most);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let place = Arc::clone(places).acquire_many_owned(length).await.ok();
        let read = self
            .source
            .range(&run.segment.reader, run.bytes.clone())
            .await;
        let (bytes, changed) = read.map_err(|error| error.at(run.location(partition)))?;
        Ok(Read {
            run,
            bytes,
            changed,
            _place: place,
        })
    }

    async fn measure_run<O: LogOutline + Send + 'static>(
        &self,
        partition: &Partition,
        read: Read,
        measure: LogMeasure<O>,
        last_offset: i64,
    ) -> Result<LogMeasure<O>, ViewError> {
        let Read { run, bytes, .. } = &read;
        let segment = &run.segment;
        let blocks = run.blocks.clone().filter_map(|block| {
            let entry = segment.entries().get(block)?;
            let at = |position: u64| usize::try_from(position.checked_sub(run.bytes.start)?).ok();
            let (start, end) = (at(entry.position)?, at(entry.meta_end())?);
            let is_there = entry.record_count > 0 && start <= end && end <= bytes.len();
            is_there.then(|| (block, bytes.slice(start..end)))
        });
        let timestamp_type = segment.reader.segment().header().timestamp_type;
        let look = move |measure: &mut LogMeasure<O>, columns: &Columns| {
            measure.push_columns(timestamp_type, columns, last_offset);
        };
        let (of, place, changed) = (Arc::clone(segment), partition.clone(), read.changed);
        let located = move |block: usize, error: ViewError| {
            let error = match changed {
                true => of.changed(),
                false => error,
            };
            error.at(of.location(block, &place))
        };
        let reader = segment.reader.clone();
        self.render
            .metas(reader, blocks.collect(), measure, look, located)
            .await
    }
}

/// The segments of a page with records at these offsets.
fn needed(segments: &[SegmentEntry], offsets: &Range<i64>) -> Vec<((), SegmentEntry)> {
    let needed = segments.iter().filter(|entry| {
        entry.records > 0 && entry.end_offset > offsets.start && entry.base_offset < offsets.end
    });
    needed.map(|entry| ((), entry.clone())).collect()
}

/// Reads that cover META of the blocks with records at these offsets, and blocks whose batches are in the log as they are.
fn steps(segment: &Arc<OpenSegment>, offsets: &Range<i64>) -> Vec<Step> {
    let is_needed = |entry: &IndexEntry| {
        entry.record_count > 0
            && entry.end_offset > offsets.start
            && entry.base_offset < offsets.end
    };
    let blocks = segment.entries().iter().enumerate();
    let mut steps: Vec<Step> = Vec::new();
    for (number, entry) in blocks.filter(|(_, entry)| is_needed(entry)) {
        if let Some(block) = LentBlock::of(entry) {
            // One that begins before the range is in an earlier file as a whole.
            if block.base_offset >= offsets.start {
                steps.push(Step::Lent(Lent {
                    segment: Arc::clone(segment),
                    number,
                    block,
                    offsets: None,
                }));
            }
            continue;
        }
        let bytes = entry.position..entry.meta_end();
        match steps.last_mut() {
            Some(Step::Records(run))
                if bytes.start.saturating_sub(run.bytes.end) <= GAP_BYTES
                    && bytes.end.saturating_sub(run.bytes.start) <= RUN_BYTES =>
            {
                (run.blocks.end, run.bytes.end) = (number + 1, bytes.end);
            }
            _ => steps.push(Step::Records(Run {
                segment: Arc::clone(segment),
                blocks: number..number + 1,
                bytes,
            })),
        }
    }
    steps
}

impl Run {
    fn location(&self, partition: &Partition) -> Location {
        let entries = self.segment.entries();
        let (first, last) = (self.blocks.start, self.blocks.end.saturating_sub(1));
        let offsets = entries.get(first).zip(entries.get(last));
        Location {
            offsets: offsets.map(|(first, last)| first.base_offset..last.end_offset),
            ..partition.location()
        }
    }
}
