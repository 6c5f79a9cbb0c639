//! Runs a plan: sources, encoders and segments on all cores, in bounded memory.
//!
//! ```text
//! source 1 -> feeder 1 --+            +-- encoder 1 --+--> partition line --> segment --> store
//! source 2 -> feeder 2 --+--> jobs ---+-- encoder 2 --+--> partition line --> segment --> store
//!      ^ waits for a free builder <---------- builders come back --------------+
//! ```
//!
//! A source is one librdkafka client with threads of its own. Blocks of one partition are encoded by all encoders and
//! written in their order by whichever has the next one, so one large partition keeps every core busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use kbk_format::repo::PartitionId;
use kbk_format::{Compression, Encoder, TimestampType};
use kbk_tools::share::FairShare;

use super::feeder::{Feeder, Job, RecordError, Slot, Stop};
use super::partition::{
    PartitionError, PartitionLine, PartitionWriter, SegmentSettings, Step, StoredPartition,
};
use super::pool::{Free, Return, pool};
use crate::records::{
    KafkaError, PartitionRange, RecordSource, SourceError, SourceOptions, Transport,
};
use crate::run::{Cancel, RunEvents};

/// Partitions that one source reads at a time: each holds a block and an upload open.
const PARTITIONS_A_SOURCE: usize = 8;
/// Sources: one consumer reads several hundred MB/s, so more than two serve only many partitions.
const SOURCES: usize = 2;

/// How a pipeline runs.
#[derive(Clone, Debug)]
pub(super) struct PipelineOptions {
    pub(super) segments: SegmentSettings,
    pub(super) compression: Compression,
    pub(super) block_bytes: usize,
    /// Encoder threads.
    pub(super) encoders: usize,
    /// For what librdkafka has fetched and nobody has read yet, over all sources.
    pub(super) fetch_bytes: usize,
}

/// A partition to read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) place: PartitionId,
    pub(super) range: std::ops::Range<i64>,
    pub(super) timestamp_type: TimestampType,
}

impl Reading {
    /// Returns how many offsets the range has.
    pub(super) fn offsets(&self) -> u64 {
        self.range.end.abs_diff(self.range.start)
    }
}

/// How a pipeline ended: what is durable, whatever happened.
#[derive(Debug)]
pub(super) struct Finished {
    /// Of every reading, unless there is an error.
    pub(super) stored: BTreeMap<PartitionId, StoredPartition>,
    pub(super) interrupted: bool,
    pub(super) error: Option<PipelineError>,
}

/// Why a pipeline could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository would not take a segment.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A record that no segment can hold.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads everything in `readings`. Blocks; must not be called from asynchronous code.
pub(super) fn run(
    options: &PipelineOptions,
    transport: &impl Transport,
    readings: Vec<Reading>,
    cancel: &Cancel,
    events: &RunEvents,
) -> Finished {
    let line = |reading: &Reading| {
        let writer = PartitionWriter::new(reading.place.clone(), options.segments.clone());
        Arc::new(PartitionLine::new(writer))
    };
    let lines: BTreeMap<PartitionId, Arc<PartitionLine>> = readings
        .iter()
        .map(|reading| (reading.place.clone(), line(reading)))
        .collect();
    let work = share(readings, &lines);
    let builders = work.workers() * PARTITIONS_A_SOURCE + 2 * options.encoders + 2;
    let (returned, free) = pool(builders, options.block_bytes);
    let (jobs, queue) = bounded(options.encoders);
    let stop = StopSignal::new(cancel);
    thread::scope(|scope| {
        for _ in 0..options.encoders {
            let (queue, returned, stop) = (queue.clone(), returned.clone(), &stop);
            scope.spawn(move || encode(options.compression, &queue, &returned, stop));
        }
        for _ in 0..work.workers() {
            let (free, jobs) = (free.clone(), jobs.clone());
            let (work, stop) = (&work, &stop);
            scope.spawn(move || feed(options, transport, work, &free, &jobs, stop, events));
        }
        // Encoders end when no feeder can send any more.
        drop((jobs, queue, returned));
    });
    let mut stored = BTreeMap::new();
    for (place, line) in lines {
        // Jobs and slots, which share the line, ended with their threads.
        let line = Arc::into_inner(line).expect("a line outlives the threads that share it");
        match line.finish() {
            Ok(partition) => {
                stored.insert(place, partition);
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

/// Tells feeders to stop: the user asked, or something failed. Keeps the first error.
pub(super) struct StopSignal<'a> {
    cancel: &'a Cancel,
    failed: AtomicBool,
    error: Mutex<Option<PipelineError>>,
}

impl<'a> StopSignal<'a> {
    fn new(cancel: &'a Cancel) -> StopSignal<'a> {
        StopSignal {
            cancel,
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.cancel.is_set() || self.failed.load(Ordering::Relaxed)
    }

    fn fail(&self, error: PipelineError) {
        self.failed.store(true, Ordering::Relaxed);
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// An encoder thread. A failed partition takes no more blocks; the feeders are told and stop.
fn encode(
    compression: Compression,
    queue: &Receiver<Job>,
    returned: &Return,
    stop: &StopSignal<'_>,
) {
    let mut encoder = Encoder::new(compression);
    for job in queue {
        let Job {
            line,
            number,
            builder,
            timestamp_type,
            lost,
            last,
        } = job;
        let block = builder.encode(&mut encoder);
        let step = Step {
            block,
            timestamp_type,
            lost,
            last,
        };
        let accepted = line.accept(number, step, |block| returned.give(block.recycle(0)));
        if let Err(error) = accepted {
            stop.fail(error.into());
        }
    }
}

/// A source thread: reads one group of partitions after another.
fn feed(
    options: &PipelineOptions,
    transport: &impl Transport,
    work: &FairShare<(PartitionRange, Slot)>,
    free: &Free,
    jobs: &Sender<Job>,
    stop: &StopSignal<'_>,
    events: &RunEvents,
) {
    let source_options = SourceOptions {
        memory_bytes: options.fetch_bytes / work.workers(),
        ..SourceOptions::default()
    };
    while !stop.is_set() {
        let (ranges, slots): (Vec<_>, Vec<_>) = work.take().into_iter().unzip();
        if ranges.is_empty() {
            return;
        }
        for slot in &slots {
            slot.start(events);
        }
        let mut feeder = Feeder::new(slots, free.clone(), jobs.clone(), options.block_bytes, stop);
        let read = transport
            .open_source(&source_options, ranges)
            .map_err(SourceError::Kafka)
            .and_then(|mut source| source.run(&mut feeder));
        match read {
            Ok(()) | Err(SourceError::Handler(Stop::Requested | Stop::EncodersGone)) => {}
            Err(SourceError::Kafka(error)) => stop.fail(error.into()),
            Err(SourceError::Handler(Stop::Record(error))) => stop.fail(error.into()),
        }
    }
}

/// Makes the partitions that wait for a source, the largest first, so that none of those is left for the end.
fn share(
    readings: Vec<Reading>,
    lines: &BTreeMap<PartitionId, Arc<PartitionLine>>,
) -> FairShare<(PartitionRange, Slot)> {
    let mut waiting: Vec<_> = readings
        .into_iter()
        .map(|reading| {
            let range = PartitionRange {
                topic: reading.place.topic.to_string(),
                partition: reading.place.partition,
                start: reading.range.start,
                end: reading.range.end,
            };
            let slot = Slot {
                line: Arc::clone(&lines[&reading.place]),
                place: reading.place,
                range: reading.range,
                timestamp_type: reading.timestamp_type,
            };
            (range, slot)
        })
        .collect();
    waiting.sort_by_key(|(range, _)| std::cmp::Reverse(range.end - range.start));
    FairShare::new(waiting, SOURCES, PARTITIONS_A_SOURCE)
}
