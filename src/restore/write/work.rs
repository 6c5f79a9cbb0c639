//! The partitions of a restore on their way: those that wait for a writer, and those that are done.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kbk_format::repo::{CommittedPosition, DonePartition, MapRun, PartitionId, RestoreManifest};

use crate::records::{SinkOptions, TopicPartition};
use crate::restore::plan::{PartitionPlan, TargetPartitionPlan, TopicPlan};
use crate::restore::write::offset_map::OffsetMap;
use crate::restore::write::partitioner::Partitioner;
use crate::run::{PartitionEvents, RunEvents};

/// A partition to write.
pub(crate) struct Job {
    /// Among all partitions of the restore.
    pub(crate) number: usize,
    pub(crate) route: Route,
    /// Where its position is committed.
    pub(crate) committed_at: CommittedPosition,
    pub(crate) plan: PartitionPlan,
    /// None where nothing is left to do.
    pub(crate) events: Option<PartitionEvents>,
    /// Source offset up to which all is committed.
    pub(crate) position: i64,
    /// Source offset up to which all is sent.
    pub(crate) sent: i64,
    /// Records sent since the last commit.
    pub(crate) uncommitted: u64,
    /// Where they went, as far as that has been asked for.
    pub(crate) runs: Vec<MapRun>,
    /// All of it is sent.
    pub(crate) finished: bool,
    /// Of what is committed.
    pub(crate) map: OffsetMap,
}

/// Which of the producers' targets a partition's records are written to.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    One(usize),
    /// By their keys, to one of some that follow one another.
    ByKey(Range<usize>, Partitioner),
}

impl Route {
    /// Of a partition of a topic whose targets stand at `targets`.
    fn new(topic: &TopicPlan, plan: &PartitionPlan, targets: Range<usize>) -> Route {
        match plan.target_partition {
            Some(partition) => {
                let place = topic
                    .targets
                    .partition_point(|target| target.partition < partition);
                Route::One(targets.start + place)
            }
            None => {
                let count = i32::try_from(targets.len()).unwrap_or(i32::MAX);
                Route::ByKey(targets, Partitioner::new(plan.partition, count))
            }
        }
    }

    /// Where a record with this key goes.
    pub(crate) fn target(&self, key: Option<&[u8]>) -> usize {
        match self {
            Route::One(target) => *target,
            Route::ByKey(targets, partitioner) => {
                targets.start + usize::try_from(partitioner.partition(key)).unwrap_or(0)
            }
        }
    }

    /// All that records go to.
    pub(crate) fn targets(&self) -> Range<usize> {
        match self {
            Route::One(target) => *target..target + 1,
            Route::ByKey(targets, _) => targets.clone(),
        }
    }

    /// Whether other partitions are written to the same targets.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Route::ByKey(..))
    }
}

impl Job {
    pub(crate) fn place(&self) -> &PartitionId {
        self.plan.read.place()
    }
}

/// All partitions of a restore.
pub(crate) struct Work {
    pub(crate) targets: Vec<TopicPartition>,
    /// A batch of records must not be larger than the smallest limit of a target.
    pub(crate) batch_bytes: usize,
    /// A queue must hold the largest record.
    pub(crate) largest_record_bytes: usize,
    waiting: Mutex<VecDeque<Job>>,
    /// Those that a signal stopped.
    stopped: Mutex<Vec<Job>>,
    done: Mutex<Vec<(usize, DonePartition)>>,
    /// Whether some transaction was taken back.
    repeated: AtomicBool,
}

impl Work {
    /// Of everything that the topics' plans say. Nothing waits until [`start`](Self::start).
    pub(crate) fn new(topics: &[TopicPlan]) -> Work {
        let default = SinkOptions::default().batch_bytes;
        let limits = topics
            .iter()
            .filter_map(|topic| usize::try_from(topic.max_message_bytes?).ok());
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let largest = partitions
            .map(|partition| partition.facts.max_record_bytes)
            .max();
        let target = |topic: &TopicPlan, target: &TargetPartitionPlan| TopicPartition {
            topic: topic.target.clone(),
            partition: target.partition,
        };
        let targets = topics.iter().flat_map(|topic| {
            let targets = topic.targets.iter();
            targets.map(move |plan| target(topic, plan))
        });
        Work {
            targets: targets.collect(),
            batch_bytes: limits.min().map_or(default, |limit| limit.min(default)),
            largest_record_bytes: largest
                .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            waiting: Mutex::default(),
            stopped: Mutex::default(),
            done: Mutex::default(),
            repeated: AtomicBool::new(false),
        }
    }

    /// Makes a job of every partition; `map` says what is committed of it already.
    pub(crate) fn start<E>(
        &self,
        topics: &[TopicPlan],
        restore: &RestoreManifest,
        events: &RunEvents,
        mut map: impl FnMut(usize, OffsetMap) -> Result<(i64, OffsetMap), E>,
    ) -> Result<(), E> {
        let mut jobs = Vec::new();
        let (mut number, mut first_target) = (0, 0);
        for (topic, restored) in topics.iter().zip(&restore.topics) {
            let targets = first_target..first_target + topic.targets.len();
            first_target = targets.end;
            for (index, plan) in topic.partitions.iter().enumerate() {
                let empty = OffsetMap::empty(restore.restore.clone(), plan.read.place().clone());
                let (position, map) = map(number, empty)?;
                let finished = plan.records == 0 || position >= plan.end_offset;
                let shown =
                    (!finished).then(|| events.partition(&name(topic, plan), Some(plan.records)));
                if let Some(shown) = &shown {
                    shown.advanced(map.records(), 0);
                }
                let position = position.max(plan.base_offset);
                let job = Job {
                    number,
                    route: Route::new(topic, plan, targets.clone()),
                    committed_at: restore.progress(restored, index),
                    events: shown,
                    position,
                    sent: position,
                    uncommitted: 0,
                    runs: Vec::new(),
                    finished,
                    map,
                    plan: plan.clone(),
                };
                if finished {
                    self.finished(job);
                } else {
                    jobs.push(job);
                }
                number += 1;
            }
        }
        // The largest first, so that none of them is left alone at the end.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.plan.raw_bytes));
        lock(&self.waiting).extend(jobs);
        Ok(())
    }

    /// A partition that nobody writes.
    pub(crate) fn next(&self) -> Option<Job> {
        lock(&self.waiting).pop_front()
    }

    /// A partition that is to be written from its position again.
    pub(crate) fn put_back(&self, job: Job) {
        self.repeated.store(true, Ordering::Relaxed);
        lock(&self.waiting).push_front(job);
    }

    /// Whether a transaction was taken back, whose pages of the offset map do not count.
    pub(crate) fn has_repeated(&self) -> bool {
        self.repeated.load(Ordering::Relaxed)
    }

    /// A partition of which everything is committed.
    pub(crate) fn finished(&self, job: Job) {
        let place = job.place().clone();
        let done = DonePartition {
            topic: place.topic,
            topic_id: place.topic_id,
            partition: place.partition,
            records: job.map.records(),
            page: job.map.page(),
        };
        lock(&self.done).push((job.number, done));
    }

    /// A partition that is left where it is.
    pub(crate) fn stopped(&self, job: Job) {
        lock(&self.stopped).push(job);
    }

    /// Records of all partitions that are committed, by this run or by one before.
    pub(crate) fn records(&self) -> u64 {
        let done: u64 = lock(&self.done).iter().map(|(_, done)| done.records).sum();
        let of =
            |jobs: &mut dyn Iterator<Item = &Job>| jobs.map(|job| job.map.records()).sum::<u64>();
        done + of(&mut lock(&self.stopped).iter()) + of(&mut lock(&self.waiting).iter())
    }

    /// Nobody takes another partition.
    pub(crate) fn stop(&self) {
        lock(&self.waiting).clear();
    }

    /// The partitions of which everything is committed, in the order of the plan.
    pub(crate) fn into_done(self) -> Vec<DonePartition> {
        let mut done = self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, done)| done).collect()
    }
}

/// What a partition is shown as while it is written: where it goes, or where it comes from if that is many places.
fn name(topic: &TopicPlan, plan: &PartitionPlan) -> String {
    match plan.target_partition {
        Some(target) => format!("{}/{target}", topic.target),
        None => format!("{}/{}", topic.source, plan.partition),
    }
}

/// A writer that panicked leaves plain values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
