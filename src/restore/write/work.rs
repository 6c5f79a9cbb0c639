//! The partitions of a restore: those that wait for a writer, those that were stopped, and those that are done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kbk_format::repo::{CommittedPosition, DonePartition, MapRun, PartitionId, RestoredPartition};
use kbk_format::{PartitionNumber, Streams};
use kbk_tools::PartitionReader;
use tokio::runtime::Handle;

use crate::records::{BatchCodec, SinkOptions, TopicPartition, WholeBatches};
use crate::restore::plan::USUAL_MESSAGE_BYTES;
use crate::restore::plan::codec::TargetCodec;
use crate::restore::plan::reading::PartitionReading;
use crate::restore::plan::restore_plan::{PartitionPlan, RestorePlan, TopicPlan, committed_at};
use crate::restore::write::offset_map::OffsetMap;
use crate::restore::write::partitioner::Partitioner;
use crate::restore::write::written::Written;
use crate::run::{PartitionEvents, PartitionName, RunEvents};

/// Partitions that are begun to be read before a writer asks for them. What they have in memory is bounded by what the readers of a store share,
/// and half of that stays for those that are being written.
const BEGUN: usize = 8;

/// A partition to write.
pub(crate) struct Job {
    /// Its position in the manifest.
    pub(crate) number: usize,
    pub(crate) route: Route,
    /// Where its position is committed.
    pub(crate) committed_at: CommittedPosition,
    pub(crate) restored: RestoredPartition,
    pub(crate) reading: PartitionReading,
    /// `None` where nothing is left to write.
    pub(crate) events: Option<PartitionEvents>,
    /// Its records from its position on, if reading them has begun.
    pub(crate) begun: Option<PartitionReader>,
    /// The source offset up to which everything is committed, exclusive.
    pub(crate) position: i64,
    /// The source offset up to which everything is sent, exclusive.
    pub(crate) sent: i64,
    /// Records sent since the last commit.
    pub(crate) uncommitted: u64,
    /// Their bytes: of keys, values and headers, and of batches that are written as they are.
    pub(crate) uncommitted_bytes: u64,
    /// Where they went, as far as delivery reports have been collected.
    pub(crate) runs: Vec<MapRun>,
    /// Whether everything is sent.
    pub(crate) finished: bool,
    /// The offset map of what is committed.
    pub(crate) map: OffsetMap,
}

/// The targets that a partition's records are written to, as positions in [`Work::targets`].
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// One target.
    One(usize),
    /// By key, to one of several consecutive targets.
    ByKey(Range<usize>, Partitioner),
}

impl Route {
    /// Routes a partition of a topic whose targets are at `targets`.
    fn new(topic: TopicPlan<'_>, restored: &RestoredPartition, targets: Range<usize>) -> Route {
        match restored.target_partition {
            Some(partition) => {
                let numbers = &topic.restored.targets;
                let index = numbers.partition_point(|target| target.partition < partition);
                // The manifest was checked: every partition goes to a target that is listed.
                assert_eq!(numbers[index].partition, partition, "an unlisted target");
                Route::One(targets.start + index)
            }
            None => {
                let partitioner = Partitioner::new(restored.partition, targets.len());
                Route::ByKey(targets, partitioner)
            }
        }
    }

    /// Returns the target of a record with this key.
    pub(crate) fn target(&self, key: Option<&[u8]>) -> usize {
        match self {
            Route::One(target) => *target,
            Route::ByKey(targets, partitioner) => targets.start + partitioner.partition(key),
        }
    }

    /// Returns the target with this number in its topic.
    pub(crate) fn target_numbered(&self, partition: PartitionNumber) -> usize {
        match self {
            Route::One(target) => *target,
            // The targets of a repartitioned topic are contiguous from 0.
            Route::ByKey(targets, _) => targets.start + partition.index(),
        }
    }

    /// Returns all targets of the partition.
    pub(crate) fn targets(&self) -> Range<usize> {
        match self {
            Route::One(target) => *target..target + 1,
            Route::ByKey(targets, _) => targets.clone(),
        }
    }

    /// Returns whether other partitions are written to the same targets.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Route::ByKey(..))
    }
}

impl Job {
    /// Returns the source partition.
    pub(crate) fn id(&self) -> &PartitionId {
        self.reading.read.partition_id()
    }

    /// Begins to read its records.
    fn begin(&mut self, runtime: &Handle) {
        if self.begun.is_none() {
            self.begun = Some(self.read(runtime));
        }
    }

    /// Returns a reader of its records that are not committed.
    pub(crate) fn reader(&mut self, runtime: &Handle) -> PartitionReader {
        let begun = self.begun.take();
        begun.unwrap_or_else(|| self.read(runtime))
    }

    fn read(&self, runtime: &Handle) -> PartitionReader {
        let plan = self.reading.read.clone().from_offset(self.position);
        plan.read(Streams::All, runtime)
    }
}

/// All partitions of a restore, shared by its writers.
pub(crate) struct Work {
    pub(crate) targets: Vec<TopicPartition>,
    /// The size of a batch, which must not exceed the smallest `max.message.bytes` of a target.
    pub(crate) batch_bytes: usize,
    /// The codec of batches, by topic.
    pub(crate) codecs: BTreeMap<String, BatchCodec>,
    /// Which batches of the backup may be written as they are, by topic.
    pub(crate) whole_batches: BTreeMap<String, WholeBatches>,
    /// The size of the largest record, which a queue must hold.
    pub(crate) largest_record_bytes: usize,
    waiting: Mutex<VecDeque<Job>>,
    /// Those that a signal stopped early.
    stopped: Mutex<Vec<Job>>,
    done: Mutex<Vec<(usize, DonePartition)>>,
    /// By target.
    written: Mutex<Vec<Written>>,
    /// Whether a transaction was rolled back.
    repeated: AtomicBool,
    /// Headers that were left out of committed records.
    dropped_headers: AtomicU64,
}

impl Work {
    /// Collects the targets of a plan. Nothing waits until [`start`](Self::start).
    pub(crate) fn new(plan: &RestorePlan) -> Work {
        let default = SinkOptions::default().batch_bytes;
        let limits = plan
            .topics()
            .filter_map(|topic| usize::try_from(topic.details.max_message_bytes?).ok());
        let largest = plan
            .topics()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.reading.limits.record_bytes)
            .max();
        let targets = plan.topics().flat_map(|topic| {
            let targets = topic.restored.targets.iter();
            targets.map(move |target| TopicPartition::new(topic.target(), target.partition))
        });
        let targets: Vec<TopicPartition> = targets.collect();
        Work {
            written: Mutex::new(vec![Written::default(); targets.len()]),
            targets,
            batch_bytes: limits.min().map_or(default, |limit| limit.min(default)),
            codecs: plan
                .topics()
                .map(|topic| (topic.target().to_owned(), topic.codec()))
                .collect(),
            whole_batches: plan
                .topics()
                .map(|topic| (topic.target().to_owned(), whole_batches(topic)))
                .collect(),
            // A bound, not a number to index with: a larger one saturates on 32-bit machines.
            largest_record_bytes: largest
                .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            waiting: Mutex::default(),
            stopped: Mutex::default(),
            done: Mutex::default(),
            repeated: AtomicBool::new(false),
            dropped_headers: AtomicU64::new(0),
        }
    }

    /// Makes a job of every partition of a plan. `committed` has the positions that earlier runs reached, with their offset maps.
    pub(crate) fn start(
        &self,
        plan: &RestorePlan,
        mut committed: BTreeMap<PartitionId, (i64, OffsetMap)>,
        events: &RunEvents,
    ) {
        let mut jobs = Vec::new();
        let (mut number, mut first_target) = (0, 0);
        for topic in plan.topics() {
            let targets = first_target..first_target + topic.restored.targets.len();
            first_target = targets.end;
            for (index, partition) in topic.partitions().enumerate() {
                let PartitionPlan { restored, reading } = partition;
                let id = reading.read.partition_id();
                let (position, map) = committed.remove(id).unwrap_or_else(|| {
                    let restore = plan.manifest.restore.clone();
                    (restored.base_offset, OffsetMap::empty(restore, id.clone()))
                });
                let finished = reading.records == 0 || position >= restored.end_offset;
                let shown = (!finished).then(|| {
                    let shown = events.partition(name(topic, partition), Some(reading.records));
                    shown.advanced(map.records(), 0);
                    shown
                });
                let position = position.max(restored.base_offset);
                let route = Route::new(topic, restored, targets.clone());
                self.resume(topic, &route, &map);
                let job = Job {
                    number,
                    route,
                    committed_at: committed_at(&plan.manifest, topic.restored, index),
                    restored: *restored,
                    reading: reading.clone(),
                    events: shown,
                    begun: None,
                    position,
                    sent: position,
                    uncommitted: 0,
                    uncommitted_bytes: 0,
                    runs: Vec::new(),
                    finished,
                    map,
                };
                if finished {
                    self.finished(job);
                } else {
                    jobs.push(job);
                }
                number += 1;
            }
        }
        assert!(
            committed.is_empty(),
            "a position of a partition that is not restored: {:?}",
            committed.keys()
        );
        // The largest first, so that none of them is left alone at the end.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.reading.raw_bytes));
        lock(&self.waiting).extend(jobs);
    }

    /// Counts what earlier runs put into the targets of a partition. Where their first record is, only the whole map tells, so they are
    /// taken to begin where the target ended before.
    fn resume(&self, topic: TopicPlan<'_>, route: &Route, map: &OffsetMap) {
        let mut written = lock(&self.written);
        for (partition, end) in map.ends() {
            if let Some(target) = topic.restored.target(partition) {
                written[route.target_numbered(partition)].reach(target.offset, end);
            }
        }
    }

    /// Counts what a transaction with these partitions put into their targets.
    pub(crate) fn count(&self, jobs: &[Job]) {
        let mut written = lock(&self.written);
        let mut touched = BTreeSet::new();
        for job in jobs {
            for run in &job.runs {
                let target = job.route.target_numbered(run.target_partition);
                written[target].add(run);
                touched.insert(target);
            }
        }
        for target in touched {
            written[target].transactions += 1;
        }
    }

    /// Returns what is committed to each target, as far as this run knows.
    pub(crate) fn written(&self) -> BTreeMap<TopicPartition, Written> {
        let written = lock(&self.written).clone();
        self.targets.iter().cloned().zip(written).collect()
    }

    /// Takes the next partition to write, and begins to read those behind it: of a distant store, a small one would otherwise take as long as its
    /// answers.
    pub(crate) fn next(&self, runtime: &Handle) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        let next = waiting.pop_front();
        for job in waiting.iter_mut().take(BEGUN) {
            job.begin(runtime);
        }
        next
    }

    /// Returns a partition to be written again from its committed position.
    pub(crate) fn put_back(&self, job: Job) {
        self.repeated.store(true, Ordering::Relaxed);
        lock(&self.waiting).push_front(job);
    }

    /// Returns whether a transaction was rolled back, and so left offset map pages that do not count.
    pub(crate) fn has_repeated(&self) -> bool {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Records a partition that is committed to its end.
    pub(crate) fn finished(&self, job: Job) {
        let id = job.id().clone();
        let done = DonePartition {
            topic: id.topic,
            topic_id: id.topic_id,
            partition: id.partition,
            records: job.map.records(),
            page: job.map.page(),
        };
        lock(&self.done).push((job.number, done));
    }

    /// Records a partition that was stopped early.
    pub(crate) fn stopped(&self, job: Job) {
        lock(&self.stopped).push(job);
    }

    /// Returns how many records are committed, by this run and by earlier ones.
    pub(crate) fn records(&self) -> u64 {
        let done: u64 = lock(&self.done).iter().map(|(_, done)| done.records).sum();
        let of =
            |jobs: &mut dyn Iterator<Item = &Job>| jobs.map(|job| job.map.records()).sum::<u64>();
        done + of(&mut lock(&self.stopped).iter()) + of(&mut lock(&self.waiting).iter())
    }

    /// Counts headers that were left out of records that are now committed.
    pub(crate) fn add_dropped_headers(&self, headers: u64) {
        self.dropped_headers.fetch_add(headers, Ordering::Relaxed);
    }

    /// Returns how many headers were left out.
    pub(crate) fn dropped_headers(&self) -> u64 {
        self.dropped_headers.load(Ordering::Relaxed)
    }

    /// Returns the partitions that are committed to their ends, in the order of the manifest.
    pub(crate) fn into_done(self) -> Vec<DonePartition> {
        let mut done = self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, done)| done).collect()
    }
}

/// Returns which batches of the backup a target takes as they are.
fn whole_batches(topic: TopicPlan<'_>) -> WholeBatches {
    let TargetCodec { codec, is_asked } = topic.details.codec;
    let limit = topic.details.max_message_bytes;
    WholeBatches {
        codec: is_asked.then_some(codec),
        most_bytes: usize::try_from(limit.unwrap_or(USUAL_MESSAGE_BYTES)).unwrap_or(usize::MAX),
    }
}

/// Returns the name that progress shows: the target partition, or the source partition where there are many targets.
fn name<'a>(topic: TopicPlan<'a>, plan: PartitionPlan<'_>) -> PartitionName<'a> {
    match plan.restored.target_partition {
        Some(partition) => PartitionName {
            topic: topic.target(),
            partition,
        },
        None => PartitionName {
            topic: &topic.restored.topic,
            partition: plan.restored.partition,
        },
    }
}

/// A panic cannot leave these plain values inconsistent, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
