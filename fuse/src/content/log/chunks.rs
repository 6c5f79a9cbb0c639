//! Chunks of a log: loaded in runs, whose blocks are read and decoded once, and cached one by one.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use kbk_format::batch::{HEADER_LENGTH, RecordBatches};
use kbk_format::kafka_log::LentBlock;
use kbk_format::{Columns, FormatError};

use super::file::LogFile;
use super::layout::{Chunk, LogSegment};
use super::render::ChunkRenderer;
use crate::cache::budget::Lease;
use crate::cache::leased_bytes::LeasedBytes;
use crate::cache::locked;
use crate::cache::single_flight::LoadGuard;
use crate::content::blocks::{OpenSegment, RUN_BYTES, Urgency};
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::{Location, ViewError};

/// A chunk of a log: snapshot, partition, segment of the log, and chunk in it.
pub(crate) type LogChunkKey = (u64, u64, usize, usize);

/// Consecutive blocks of a segment.
struct Blocks {
    segment: Arc<OpenSegment>,
    range: Range<usize>,
}

/// Consecutive chunks that are neither cached nor being loaded.
struct ChunkRun {
    file: Arc<LogFile>,
    first: usize,
    guards: Vec<LoadGuard<LogChunkKey, LeasedBytes>>,
}

/// Chunks to render, the blocks that have their records, and what all of it takes.
struct Plan {
    chunks: Vec<(Chunk, u64)>,
    blocks: Vec<Blocks>,
    bytes: u64,
}

impl SnapshotReader {
    /// The bytes of a chunk.
    pub(super) async fn log_chunk(
        self: &Arc<Self>,
        file: &Arc<LogFile>,
        chunk: usize,
    ) -> Result<LeasedBytes, ViewError> {
        let (reader, of) = (Arc::clone(self), Arc::clone(file));
        let load = move || async move { reader.load_chunk(&of, chunk).await };
        let loaded = self.caches.log_chunks.get(file.key(chunk), load).await;
        loaded.map_err(|error| error.or_at(file.partition.location()))
    }

    async fn load_chunk(
        self: &Arc<Self>,
        file: &LogFile,
        chunk: usize,
    ) -> Result<LeasedBytes, ViewError> {
        let plan = self.plan_chunks(file, chunk..chunk + 1).await?;
        let lease = self.budget.take(plan.bytes);
        let id = file.partition.id().to_string();
        let lease = self.source.while_answering(&id, lease).await?;
        let mut rendered = None;
        let keep = |bytes| rendered = Some(bytes);
        self.render_chunks(&file.partition, plan, lease, keep)
            .await?;
        rendered.ok_or(ViewError::Stale)
    }

    /// Begins to load those of the chunks that are neither cached nor being loaded, and returns at once. A reader of such a chunk waits for
    /// this load, or loads the chunk itself if this one fails.
    pub(super) fn begin_chunks(
        self: &Arc<Self>,
        file: &Arc<LogFile>,
        chunks: Range<usize>,
        urgency: Urgency,
    ) {
        let Some(segment) = file.segment() else {
            return;
        };
        let max_bytes = RUN_BYTES.min(self.budget.limit() / 16);
        let mut runs: Vec<ChunkRun> = Vec::new();
        for chunk in chunks.start..chunks.end.min(segment.chunks()) {
            let Some(guard) = self.caches.log_chunks.reserve(file.key(chunk)) else {
                continue;
            };
            let end = segment.start(chunk + 1);
            match runs.last_mut() {
                Some(run)
                    if run.first + run.guards.len() == chunk
                        && end.saturating_sub(segment.start(run.first)) <= max_bytes =>
                {
                    run.guards.push(guard);
                }
                _ => runs.push(ChunkRun {
                    file: Arc::clone(file),
                    first: chunk,
                    guards: vec![guard],
                }),
            }
        }
        for run in runs {
            let reader = Arc::clone(self);
            tokio::spawn(async move { reader.load_run_of_chunks(run, urgency).await });
        }
    }

    /// Loads a run. If it cannot be loaded as a whole, dropping the guards leaves each chunk to its readers: only reads of damaged bytes
    /// may fail.
    async fn load_run_of_chunks(self: Arc<Self>, run: ChunkRun, urgency: Urgency) {
        let ChunkRun {
            file,
            first,
            guards,
        } = run;
        let chunks = first..first + guards.len();
        let Ok(plan) = self.plan_chunks(&file, chunks).await else {
            return;
        };
        let lease = match urgency {
            Urgency::Now => {
                let id = file.partition.id().to_string();
                let lease = self.budget.take(plan.bytes);
                self.source.while_answering(&id, lease).await.ok()
            }
            Urgency::Prefetch => self.budget.take_ahead(plan.bytes),
        };
        let Some(lease) = lease else {
            return;
        };
        let mut guards = guards.into_iter();
        let settle = |bytes| {
            if let Some(guard) = guards.next() {
                guard.settle(Ok(bytes));
            }
        };
        // An error is found again, and reported, by the read that needs these bytes.
        let _ = self
            .render_chunks(&file.partition, plan, lease, settle)
            .await;
    }

    /// Finds the blocks that have the records of consecutive chunks.
    async fn plan_chunks(
        self: &Arc<Self>,
        file: &LogFile,
        chunks: Range<usize>,
    ) -> Result<Plan, ViewError> {
        let segment = file.segment().ok_or(ViewError::Stale)?;
        let with_length = |chunk: usize| {
            let length = segment
                .start(chunk + 1)
                .saturating_sub(segment.start(chunk));
            Some((segment.chunk(chunk)?, length))
        };
        let chunks: Vec<_> = chunks.filter_map(with_length).collect();
        let (Some((first, _)), Some((last, _))) = (chunks.first(), chunks.last()) else {
            return Err(ViewError::Stale);
        };
        let offsets = first.base_offset..last.last_offset.saturating_add(1);
        let rendered: u64 = chunks.iter().map(|(_, length)| length).sum();
        // A batch without records needs no block.
        let blocks = match rendered == HEADER_LENGTH as u64 {
            true => Vec::new(),
            false => self.blocks_with(&file.partition, offsets).await?,
        };
        let (mut stored, mut largest) = (0u64, 0);
        for Blocks { segment, range } in &blocks {
            for block in range.clone() {
                let (bytes, raw) = segment.log_bytes(block);
                stored = stored.saturating_add(bytes);
                largest = raw.max(largest);
            }
        }
        Ok(Plan {
            bytes: stored.saturating_add(largest).saturating_add(rendered),
            chunks,
            blocks,
        })
    }

    /// The blocks of a partition with records at these offsets.
    async fn blocks_with(
        self: &Arc<Self>,
        partition: &Partition,
        offsets: Range<i64>,
    ) -> Result<Vec<Blocks>, ViewError> {
        let index = self.partition_rows(partition).await?;
        let mut page = index.page_of_offset(offsets.start).map(|(page, _)| page);
        let mut blocks = Vec::new();
        while let Some(number) = page {
            let table = self.segment_rows(partition, number).await?;
            let needed = table.segments.iter().filter(|entry| {
                entry.records > 0
                    && entry.end_offset > offsets.start
                    && entry.base_offset < offsets.end
            });
            let needed = needed.map(|entry| ((), entry.clone())).collect();
            let mut opened = std::pin::pin!(self.opened(partition, needed));
            while let Some(((), segment)) = opened.try_next().await? {
                let entries = segment.entries();
                let first = entries.partition_point(|entry| entry.end_offset <= offsets.start);
                let after = entries.partition_point(|entry| entry.base_offset < offsets.end);
                blocks.push(Blocks {
                    segment,
                    range: first..after,
                });
            }
            let last = table.segments.last();
            let ends = last.is_none_or(|last| last.end_offset >= offsets.end);
            page = (!ends).then_some(number + 1);
        }
        Ok(blocks)
    }

    /// Renders chunks in order, and hands each to `done` as soon as it is complete.
    async fn render_chunks(
        &self,
        partition: &Partition,
        plan: Plan,
        mut lease: Lease,
        mut done: impl FnMut(LeasedBytes),
    ) -> Result<(), ViewError> {
        let leases: Vec<_> = plan
            .chunks
            .iter()
            .map(|(_, length)| lease.split(*length))
            .collect();
        let mut leases = leases.into_iter();
        let mut keep = |chunks: Vec<Vec<u8>>| {
            for (bytes, lease) in chunks.into_iter().zip(&mut leases) {
                done(LeasedBytes::new(bytes, lease));
            }
        };
        let in_flight = Arc::new(lease);
        let renderer = Arc::new(Mutex::new(ChunkRenderer::new(plan.chunks)));
        for Blocks { segment, range } in &plan.blocks {
            for run in runs(segment, range.clone()) {
                let stored = self.fetch(segment, run.clone()).await;
                let stored = stored.map_err(|error| error.at(span(segment, &run, partition)))?;
                for (block, stored) in run.zip(stored) {
                    let entry = segment.entries().get(block);
                    let Some(entry) = entry.filter(|entry| entry.record_count > 0) else {
                        continue;
                    };
                    let pushed = |bytes| {
                        let renderer = Arc::clone(&renderer);
                        async move {
                            let reader = segment.reader.clone();
                            if let Some(lent) = LentBlock::of(entry) {
                                let push = move |batches: RecordBatches<'_>| {
                                    locked(&renderer).push_block(&lent, batches)
                                };
                                return self.render.lend(reader, block, bytes, push).await;
                            }
                            let timestamp_type = reader.segment().header().timestamp_type;
                            let push = move |columns: &Columns| {
                                locked(&renderer).push(timestamp_type, columns)
                            };
                            let pushed = self.render.look(reader, block, bytes, push).await?;
                            pushed.map_err(|error| damaged(segment, error))
                        }
                    };
                    let pushed = self.decoded(segment, block, stored, &in_flight, pushed);
                    let located = |error: ViewError| error.at(segment.location(block, partition));
                    keep(pushed.await.map_err(located)?);
                }
            }
        }
        let finished = locked(&renderer).finish();
        let last = plan.blocks.last();
        keep(finished.map_err(|error| match last {
            Some(Blocks { segment, range }) => {
                damaged(segment, error).at(span(segment, range, partition))
            }
            None => ViewError::Internal {
                location: partition.location(),
            },
        })?);
        Ok(())
    }
}

/// Divides consecutive blocks into fetches.
fn runs(segment: &OpenSegment, blocks: Range<usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut stored = 0;
    for block in blocks {
        let (bytes, _) = segment.log_bytes(block);
        stored += bytes;
        match runs.last_mut() {
            Some(run) if stored <= RUN_BYTES => run.end = block + 1,
            _ => {
                runs.push(block..block + 1);
                stored = bytes;
            }
        }
    }
    runs
}

fn damaged(segment: &OpenSegment, error: FormatError) -> ViewError {
    ViewError::repo(Location::default(), segment.reader.damaged(error))
}

/// The location of an error in one of several blocks.
fn span(segment: &OpenSegment, blocks: &Range<usize>, partition: &Partition) -> Location {
    let entries = segment.entries();
    let last = blocks.end.saturating_sub(1);
    let offsets = entries.get(blocks.start).zip(entries.get(last));
    Location {
        offsets: offsets.map(|(first, last)| first.base_offset..last.end_offset),
        ..partition.location()
    }
}

impl LogFile {
    fn key(&self, chunk: usize) -> LogChunkKey {
        let (sequence, partition) = (self.partition.sequence(), self.partition.ordinal());
        (sequence, partition, self.number, chunk)
    }

    fn segment(&self) -> Option<&LogSegment> {
        self.layout.segments().get(self.number)
    }
}
