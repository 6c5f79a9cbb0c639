//! Reads and stores partitions: sources, encoders and segments on all cores, in bounded memory.
//!
//! ```text
//! source 1 -> feeder 1 --+            +-- encoder 1 --+--> partition line --> segment --> store
//! source 2 -> feeder 2 --+--> jobs ---+-- encoder 2 --+--> partition line --> segment --> store
//!      ^ waits for a free builder <---------- builders come back --------------+
//! ```
//!
//! A source is one Kafka client. All encoders encode blocks of one partition, and whichever has the
//! next block writes it, so one large partition keeps every core busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use kbk_format::repo::PartitionId;
use kbk_format::{Compression, Encoder, TimestampType};
use kbk_tools::claims::LossSignal;
use kbk_tools::share::FairShare;

use super::feeder::{BlockJob, Feeder, FeederStop, RecordError, Slot};
use super::options::Encoding;
use super::partition::{
    BlockToWrite, PartitionError, PartitionLine, PartitionWriter, SegmentSettings, StoredPartition,
};
use super::pool::{Free, Return, pool};
use crate::records::{
    KafkaError, PartitionRange, RecordSource, SourceError, SourceOptions, Transport,
};
use crate::run::{Cancel, RunEvents, Stage};

/// Partitions that one source reads at the same time: each keeps a block and an upload open.
const PARTITIONS_PER_SOURCE: usize = 8;
/// The number of sources: one consumer reads several hundred MB/s, so more than two help only with many partitions.
const SOURCES: usize = 2;

/// How a pipeline runs.
#[derive(Clone)]
pub(super) struct PipelineOptions {
    pub(super) segments: SegmentSettings,
    pub(super) compression: Compression,
    pub(super) block_bytes: usize,
    pub(super) encoding: Encoding,
    /// Encoder threads.
    pub(super) encoders: usize,
    /// The memory for records that librdkafka has fetched ahead, over all sources.
    pub(super) fetch_bytes: usize,
    /// Once it is set, nothing more is read or stored: another run may store the same.
    pub(super) lost: LossSignal,
}

/// A partition to read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) id: PartitionId,
    pub(super) range: std::ops::Range<i64>,
    pub(super) timestamp_type: TimestampType,
}

impl Reading {
    /// Returns how many offsets the range has.
    pub(super) fn offsets(&self) -> u64 {
        self.range.end.abs_diff(self.range.start)
    }
}

/// How a pipeline ended, and what is durable.
#[derive(Debug)]
pub(super) struct Finished {
    /// A result for every reading, unless there is an error or the claim is lost.
    pub(super) stored: BTreeMap<PartitionId, StoredPartition>,
    pub(super) interrupted: bool,
    pub(super) error: Option<PipelineError>,
}

/// Why a pipeline stopped.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A segment could not be stored.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A record that the format cannot hold.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads and stores all `readings`. Blocks; must not be called from asynchronous code.
pub(super) fn run(
    options: &PipelineOptions,
    transport: &impl Transport,
    readings: Vec<Reading>,
    cancel: &Cancel,
    events: &RunEvents,
) -> Finished {
    let line = |reading: &Reading| {
        let writer = PartitionWriter::new(reading.id.clone(), options.segments.clone());
        Arc::new(PartitionLine::new(writer))
    };
    let lines: BTreeMap<PartitionId, Arc<PartitionLine>> = readings
        .iter()
        .map(|reading| (reading.id.clone(), line(reading)))
        .collect();
    // Feeders hold one for each partition that they read at the same time.
    let partitions = readings.len();
    let work = share(readings, &lines);
    let held = partitions.min(work.workers() * PARTITIONS_PER_SOURCE);
    let builders = held + 2 * options.encoders + 2;
    let (returned, free) = pool(builders, options.block_bytes);
    let (jobs, queue) = bounded(options.encoders);
    let stop = StopSignal::new(cancel, &options.lost);
    thread::scope(|scope| {
        for _ in 0..options.encoders {
            let (queue, returned, stop) = (queue.clone(), returned.clone(), &stop);
            scope.spawn(move || encode(options.compression, &queue, &returned, stop, events));
        }
        for _ in 0..work.workers() {
            let (free, jobs) = (free.clone(), jobs.clone());
            let (work, stop) = (&work, &stop);
            scope.spawn(move || feed(options, transport, work, &free, &jobs, stop, events));
        }
        // Encoders end once no feeder can send any more.
        drop((jobs, queue, returned));
    });
    // A run that stops early leaves partitions that no source has begun: their slots share the lines, too.
    drop(work);
    let mut stored = BTreeMap::new();
    for (id, line) in lines {
        // Jobs and slots shared the line, and are gone with their threads.
        let line = Arc::into_inner(line)
            .expect("a partition line is shared only with the threads of the pipeline");
        if stop.is_abandoned() {
            line.abandon();
            continue;
        }
        match line.finish() {
            Ok(partition) => {
                stored.insert(id, partition);
            }
            Err(error) => stop.fail(error.into()),
        }
    }
    Finished {
        stored,
        interrupted: cancel.is_set(),
        error: stop
            .error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    }
}

/// Stops the feeders, because a stop was requested, something failed or the claim is lost. Keeps the first error.
pub(super) struct StopSignal<'a> {
    cancel: &'a Cancel,
    lost: &'a LossSignal,
    failed: AtomicBool,
    error: Mutex<Option<PipelineError>>,
}

impl<'a> StopSignal<'a> {
    pub(super) fn new(cancel: &'a Cancel, lost: &'a LossSignal) -> StopSignal<'a> {
        StopSignal {
            cancel,
            lost,
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.cancel.is_set() || self.failed.load(Ordering::Relaxed) || self.is_abandoned()
    }

    /// Returns whether what was read and is not stored yet is of no use.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lost.is_set()
    }

    fn fail(&self, error: PipelineError) {
        self.failed.store(true, Ordering::Relaxed);
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// Runs an encoder thread. Once a partition has failed, its blocks are discarded and the feeders stop.
fn encode(
    compression: Compression,
    queue: &Receiver<BlockJob>,
    returned: &Return,
    stop: &StopSignal<'_>,
    events: &RunEvents,
) {
    let mut encoder = Encoder::new(compression);
    for job in queue {
        let BlockJob {
            line,
            number,
            block,
            room,
            begun,
            timestamp_type,
            lost,
            hidden,
            last,
        } = job;
        if stop.is_abandoned() {
            line.fail();
        }
        let began = Instant::now();
        let encoded = block.encode(timestamp_type, line.renderer(), &mut encoder);
        if encoded.statistics().record_count > 0 {
            let compressing = encoder.time_compressing();
            events.took(Stage::Encode, began.elapsed().saturating_sub(compressing));
            events.took(Stage::Compress, compressing);
        }
        let block = BlockToWrite {
            encoded,
            room,
            begun,
            timestamp_type,
            lost,
            hidden,
            last,
        };
        let accepted = line.accept(number, block, |block| {
            returned.give(block.encoded.recycle(), block.room);
        });
        if let Err(error) = accepted {
            stop.fail(error.into());
        }
    }
}

/// Runs a source thread, which reads one group of partitions after another.
fn feed(
    options: &PipelineOptions,
    transport: &impl Transport,
    work: &FairShare<(PartitionRange, Slot)>,
    free: &Free,
    jobs: &Sender<BlockJob>,
    stop: &StopSignal<'_>,
    events: &RunEvents,
) {
    let source_options = SourceOptions {
        memory_bytes: options.fetch_bytes / work.workers(),
    };
    while !stop.is_set() {
        let (ranges, slots): (Vec<_>, Vec<_>) = work.take().into_iter().unzip();
        if ranges.is_empty() {
            return;
        }
        for slot in &slots {
            slot.start(events);
        }
        let mut feeder = Feeder::new(
            slots,
            free.clone(),
            jobs.clone(),
            (options.block_bytes, options.encoding),
            stop,
            events,
        );
        let read = transport
            .open_source(&source_options, ranges)
            .map_err(SourceError::Kafka)
            .and_then(|mut source| source.run(&mut feeder));
        match read {
            Ok(())
            | Err(SourceError::Handler(FeederStop::Requested | FeederStop::EncodersGone)) => {}
            Err(SourceError::Kafka(error)) => stop.fail(error.into()),
            Err(SourceError::Handler(FeederStop::Record(error))) => stop.fail(error.into()),
        }
    }
}

/// Shares the partitions among the sources, the largest first, so that no large one is left for the end.
fn share(
    readings: Vec<Reading>,
    lines: &BTreeMap<PartitionId, Arc<PartitionLine>>,
) -> FairShare<(PartitionRange, Slot)> {
    let mut waiting: Vec<_> = readings
        .into_iter()
        .map(|reading| {
            let range = PartitionRange {
                topic: reading.id.topic.to_string(),
                partition: reading.id.partition,
                start: reading.range.start,
                end: reading.range.end,
            };
            let slot = Slot {
                line: Arc::clone(&lines[&reading.id]),
                id: reading.id,
                range: reading.range,
                timestamp_type: reading.timestamp_type,
            };
            (range, slot)
        })
        .collect();
    waiting.sort_by_key(|(range, _)| std::cmp::Reverse(range.end - range.start));
    FairShare::new(waiting, SOURCES, PARTITIONS_PER_SOURCE)
}
