//! Writes the blocks of one partition, encoded by any thread, in order into segments.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kbk_format::repo::{
    Id, Key, LostRange, PartitionId, RepoError, SegmentEntry, SegmentUpload, Store,
};
use kbk_format::{
    FileHeader, IsolationLevel, Renderer, SegmentAssembler, SegmentFeatures, TimestampType,
    WriteError,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::block::StoredBlock;
use super::gaps::SegmentGaps;
use super::pool::Room;
use crate::records::KafkaError;
use crate::run::{Events, PartitionEvents, Stage};

/// An encoded block, and what the feeder that filled it decided about it.
#[derive(Debug)]
pub(super) struct BlockToWrite {
    pub(super) encoded: StoredBlock,
    pub(super) room: Room,
    /// When its first record came.
    pub(super) begun: Instant,
    pub(super) timestamp_type: TimestampType,
    /// Ranges within this block's coverage that the cluster deleted before they were read.
    pub(super) lost: Vec<LostRange>,
    /// Ranges within it of markers and aborted records of transactions, as far as the source can tell.
    pub(super) hidden: Vec<Range<i64>>,
    /// Whether this is the last block, after which the segment is sealed.
    pub(super) last: bool,
}

/// The settings that all segments of a backup share.
#[derive(Clone)]
pub(super) struct SegmentSettings {
    pub(super) store: Store,
    pub(super) runtime: Handle,
    pub(super) cluster_id: Option<String>,
    pub(super) writer: String,
    /// Stored bytes after which a segment is sealed.
    pub(super) segment_bytes: u64,
    /// Bounds the segments that are made durable at the same time: each keeps a file open and a thread busy.
    pub(super) sealing: Arc<Semaphore>,
    /// Hears how long writing takes, and of each segment that is durable.
    pub(super) events: Arc<dyn Events>,
}

/// Why a partition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// An error in the segment's writer.
    #[error("{id}: {error}")]
    Write {
        /// The partition.
        id: PartitionId,
        /// What went wrong.
        error: WriteError,
    },
}

/// A partition's writer, shared by the threads that encode its blocks.
pub(super) struct PartitionLine {
    renderer: Renderer,
    state: Mutex<State>,
}

struct State {
    /// Blocks that arrived before their turn.
    waiting: BTreeMap<u64, BlockToWrite>,
    next: u64,
    writer: Writer,
    /// Present from the first read to the last block.
    events: Option<PartitionEvents>,
    /// Why the source stopped before the planned end, if it did.
    unreadable: Option<KafkaError>,
}

enum Writer {
    Idle(Box<PartitionWriter>),
    /// A thread is writing: others leave their blocks in `waiting` and continue to encode.
    Busy,
    /// A write failed: blocks are returned unwritten.
    Failed,
}

impl PartitionLine {
    pub(super) fn new(writer: PartitionWriter) -> PartitionLine {
        let renderer = Renderer::new(&writer.id.topic, writer.id.partition);
        let state = State {
            waiting: BTreeMap::new(),
            next: 0,
            writer: Writer::Idle(Box::new(writer)),
            events: None,
            unreadable: None,
        };
        PartitionLine {
            renderer,
            state: Mutex::new(state),
        }
    }

    /// The renderer of the partition's records.
    pub(super) fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports to `events` what is written from now on.
    pub(super) fn report_to(&self, events: PartitionEvents) {
        self.lock().events = Some(events);
    }

    /// Reports what a source has read.
    pub(super) fn received(&self, records: u64, bytes: u64) {
        if let Some(events) = &self.lock().events {
            events.received(records, bytes);
        }
    }

    /// Notes why the source stops before the planned end.
    pub(super) fn give_up(&self, error: KafkaError) {
        self.lock().unreadable = Some(error);
    }

    /// Takes block number `number` and writes all blocks whose turn it is, unless another thread does already.
    /// `done` gets each block back, written or not: no buffer stays here when the partition has failed.
    pub(super) fn accept(
        &self,
        number: u64,
        block: BlockToWrite,
        mut done: impl FnMut(BlockToWrite),
    ) -> Result<(), PartitionError> {
        let mut state = self.lock();
        state.waiting.insert(number, block);
        let mut writer = match std::mem::replace(&mut state.writer, Writer::Busy) {
            Writer::Idle(writer) => writer,
            Writer::Busy => return Ok(()),
            Writer::Failed => {
                state.fail(done);
                return Ok(());
            }
        };
        while let Some(mut block) = state.next_block() {
            drop(state);
            let written = writer.write(&mut block);
            state = self.lock();
            if written.is_ok() {
                state.report(&block);
            }
            done(block);
            if let Err(error) = written {
                state.fail(done);
                return Err(error);
            }
        }
        state.writer = Writer::Idle(writer);
        Ok(())
    }

    /// Writes no block any more. One that another thread is writing is written.
    pub(super) fn fail(&self) {
        let mut state = self.lock();
        if let Writer::Idle(_) = state.writer {
            let writer = std::mem::replace(&mut state.writer, Writer::Failed);
            drop(state);
            abandon(writer);
        }
    }

    /// Leaves the segment that is open, and the one that is becoming durable, as far as it can be stopped.
    pub(super) fn abandon(self) {
        let state = self.state.into_inner();
        abandon(state.unwrap_or_else(PoisonError::into_inner).writer);
    }

    /// Waits until the last segment is durable, and returns all of them.
    pub(super) fn finish(self) -> Result<StoredPartition, PartitionError> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let stored = match state.writer {
            Writer::Idle(writer) => writer.finish()?,
            Writer::Busy | Writer::Failed => StoredPartition::default(),
        };
        Ok(StoredPartition {
            unreadable: state.unreadable,
            ..stored
        })
    }
}

/// Dropping the open segment ends its upload; the one that is becoming durable is complete or does not exist afterwards.
fn abandon(writer: Writer) {
    if let Writer::Idle(writer) = writer
        && let Some(sealing) = writer.sealing
    {
        sealing.abort();
    }
}

impl State {
    fn next_block(&mut self) -> Option<BlockToWrite> {
        let block = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(block)
    }

    fn report(&mut self, block: &BlockToWrite) {
        let statistics = block.encoded.statistics();
        if let Some(events) = &self.events {
            events.advanced(statistics.record_count, statistics.raw_bytes);
            let newest_ms = Some(statistics.max_timestamp).filter(|newest| *newest >= 0);
            let stored_bytes = block.encoded.stored_length() as u64;
            events.written(statistics.record_count, stored_bytes, newest_ms);
            let offsets = statistics.end_offset.abs_diff(statistics.base_offset);
            events.shrunk(offsets.saturating_sub(statistics.record_count));
        }
        if block.last {
            self.events = None;
        }
    }

    fn fail(&mut self, done: impl FnMut(BlockToWrite)) {
        self.writer = Writer::Failed;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().for_each(done);
    }
}

/// What a run stored of a partition: durable segments, in offset order.
#[derive(Debug, Default)]
pub(super) struct StoredPartition {
    pub(super) segments: Vec<SegmentEntry>,
    pub(super) lost: Vec<LostRange>,
    /// Why the source stopped before the planned end, if it did.
    pub(super) unreadable: Option<KafkaError>,
}

/// Writes one partition's blocks into segments, one segment at a time.
pub(super) struct PartitionWriter {
    id: PartitionId,
    settings: SegmentSettings,
    open: Option<SegmentAssembler<SegmentUpload>>,
    /// What its header says of its blocks.
    features: SegmentFeatures,
    /// Those of the open segment.
    gaps: SegmentGaps,
    /// The previous segment, which becomes durable while the next one is written. At most one, so that entries stay in offset
    /// order.
    sealing: Option<JoinHandle<Result<SegmentEntry, RepoError>>>,
    stored: StoredPartition,
}

impl PartitionWriter {
    pub(super) fn new(id: PartitionId, settings: SegmentSettings) -> PartitionWriter {
        PartitionWriter {
            id,
            settings,
            open: None,
            features: SegmentFeatures::default(),
            gaps: SegmentGaps::default(),
            sealing: None,
            stored: StoredPartition::default(),
        }
    }

    fn write(&mut self, block: &mut BlockToWrite) -> Result<(), PartitionError> {
        let covered = block.encoded.statistics();
        if covered.base_offset == covered.end_offset {
            // Nothing was read since the previous block, and a page cannot list an empty segment.
            return if block.last { self.seal() } else { Ok(()) };
        }
        let fits = self.open.as_ref().is_some_and(|open| {
            open.header().timestamp_type == block.timestamp_type
                && open.has_room()
                && covers(self.features, block.encoded.features())
                && self.gaps.has_room(&block.lost)
        });
        if !fits {
            self.seal()?;
        }
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => {
                self.features = block.encoded.features();
                self.begin(block)?
            }
        };
        self.gaps.add(&block.lost, &block.hidden);
        let began = Instant::now();
        block
            .encoded
            .append_to(&mut segment)
            .map_err(|error| self.error(error))?;
        self.settings.events.took(Stage::Upload, began.elapsed());
        self.settings.events.block_written(block.begun.elapsed());
        let full = segment.position() >= self.settings.segment_bytes;
        self.open = Some(segment);
        self.stored.lost.extend(&block.lost);
        if full || block.last {
            self.seal()?;
        }
        Ok(())
    }

    fn begin(
        &self,
        block: &BlockToWrite,
    ) -> Result<SegmentAssembler<SegmentUpload>, PartitionError> {
        let segment_id = Id::random();
        let base_offset = block.encoded.statistics().base_offset;
        let key = Key::segment(&self.id, base_offset, &segment_id);
        let SegmentSettings {
            store,
            runtime,
            cluster_id,
            writer,
            ..
        } = &self.settings;
        let upload = SegmentUpload::start(store, key, runtime.clone(), store.profile().upload)?;
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: self.id.topic_id.0,
            topic: self.id.topic.to_string(),
            partition: self.id.partition,
            timestamp_type: block.timestamp_type,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset,
            cluster_id: cluster_id.clone(),
            writer: Some(writer.clone()),
            created_at: Some(jiff::Timestamp::now().as_millisecond()),
            compression: None,
        };
        SegmentAssembler::with_features(upload, header, self.features)
            .map_err(|error| self.error(error))
    }

    /// Writes the end of the open segment, and starts to make it durable in the background.
    fn seal(&mut self) -> Result<(), PartitionError> {
        let Some(mut segment) = self.open.take() else {
            return Ok(());
        };
        let gaps = std::mem::take(&mut self.gaps);
        let (default_reason, named) = gaps.finish(segment.statistics().missing_count());
        for gap in named {
            segment.name_gap(gap).map_err(|error| self.error(error))?;
        }
        let (upload, sealed) = segment
            .seal(default_reason)
            .map_err(|error| self.error(error))?;
        self.list_sealed()?;
        let SegmentSettings {
            runtime,
            sealing,
            events,
            ..
        } = &self.settings;
        let permit = runtime.block_on(Arc::clone(sealing).acquire_owned());
        let (id, events) = (self.id.clone(), Arc::clone(events));
        self.sealing = Some(runtime.spawn(async move {
            let _permit = permit;
            let began = Instant::now();
            let uploaded = upload.complete().await?;
            events.took(Stage::Seal, began.elapsed());
            events.segment_sealed(uploaded.size);
            Ok(SegmentEntry::new(&id, &sealed, uploaded))
        }));
        Ok(())
    }

    /// Waits until the previous segment is durable; only then may it be listed.
    fn list_sealed(&mut self) -> Result<(), PartitionError> {
        if let Some(sealing) = self.sealing.take() {
            let entry = match self.settings.runtime.block_on(sealing) {
                Ok(entry) => entry?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            tracing::debug!(
                "stored {} with {} records in {} bytes",
                entry.key,
                entry.records,
                entry.size
            );
            self.stored.segments.push(entry);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<StoredPartition, PartitionError> {
        self.list_sealed()?;
        Ok(self.stored)
    }

    /// Unwraps a store's error from the I/O error in which it passed through the segment's writer.
    fn error(&self, error: WriteError) -> PartitionError {
        match error {
            WriteError::Io(error) => match error.downcast::<RepoError>() {
                Ok(error) => PartitionError::Repo(error),
                Err(error) => PartitionError::Write {
                    id: self.id.clone(),
                    error: error.into(),
                },
            },
            error => PartitionError::Write {
                id: self.id.clone(),
                error,
            },
        }
    }
}

/// Returns whether a segment whose header says `features` can have a block that needs `block`. Each kind of blocks begins at most one more
/// segment, since those that the header says more of take all others.
fn covers(features: SegmentFeatures, block: SegmentFeatures) -> bool {
    (features.batches || !block.batches) && (features.not_computed || !block.not_computed)
}
