//! What a run reports while it works: its totals, its partitions, how much of them is done, and what its time and memory go to.
//!
//! The engine reports through [`RunEvents`] and [`PartitionEvents`]; listeners implement [`Events`]: a progress bar,
//! lines in a log, metrics. Messages for people go to `tracing`, which has its own listeners.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kbk_format::PartitionNumber;

use super::stage::{Budget, Retry, Stage};

/// How much a run will do, as far as that is known when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records, at most: see [`Events::shrunk`].
    pub records: Option<u64>,
    /// Bytes of whatever the run counts.
    pub bytes: Option<u64>,
}

/// Work that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records.
    pub records: u64,
    /// Bytes of whatever the run counts.
    pub bytes: u64,
}

/// A partition that a run has started: a count from 0, which tells the events of partitions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionSlot(pub u64);

/// The name of a partition, as the run calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionName<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: PartitionNumber,
}

impl fmt::Display for PartitionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A snapshot that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its sequence number.
    pub snapshot: u64,
    /// When it was committed, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Whether it has every record that the cluster had.
    pub complete: bool,
}

/// Listens to a run. Called from the threads that do the work, so it must not block.
///
/// What reports work comes once per block, not per record. Every method does nothing by default.
pub trait Events: Send + Sync {
    /// The run starts, and will do this much.
    fn run_started(&self, totals: Totals) {
        let _ = totals;
    }

    /// A partition starts.
    fn partition_started(&self, partition: PartitionSlot, name: PartitionName<'_>, totals: Totals) {
        let _ = (partition, name, totals);
    }

    /// More of a partition is done, or of what belongs to none.
    fn advanced(&self, partition: Option<PartitionSlot>, done: Done) {
        let _ = (partition, done);
    }

    /// A partition, and with it the run, has this many records fewer than its total stated: offsets without a record.
    fn shrunk(&self, partition: PartitionSlot, records: u64) {
        let _ = (partition, records);
    }

    /// More was read from where the run reads: the cluster, or the repository.
    fn received(&self, partition: Option<PartitionSlot>, done: Done) {
        let _ = (partition, done);
    }

    /// More was written to where the run writes. `newest_ms` is the largest timestamp of these records that have one; of
    /// batches that were not decoded, what their headers say.
    fn written(&self, partition: PartitionSlot, done: Done, newest_ms: Option<i64>) {
        let _ = (partition, done, newest_ms);
    }

    /// A topic has this many records in the cluster that are not in the repository. Reported of every topic before it is read.
    fn lags(&self, topic: &str, records: u64) {
        let _ = (topic, records);
    }

    /// A stage of the way of a block, or of a batch of records, took this long.
    fn took(&self, stage: Stage, time: Duration) {
        let _ = (stage, time);
    }

    /// A block of a backup is written into its segment, this long after its first record came.
    fn block_written(&self, latency: Duration) {
        let _ = latency;
    }

    /// A segment of this many bytes is durable.
    fn segment_sealed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// A snapshot is durable.
    fn committed(&self, committed: Committed) {
        let _ = committed;
    }

    /// Something failed, and is tried again.
    fn retried(&self, what: Retry) {
        let _ = what;
    }

    /// This many of the bytes that a budget allows are in use.
    fn holds(&self, budget: Budget, bytes: u64, limit: u64) {
        let _ = (budget, bytes, limit);
    }

    /// Nothing more follows of a partition.
    fn partition_finished(&self, partition: PartitionSlot) {
        let _ = partition;
    }

    /// Nothing more follows of the run.
    fn run_finished(&self) {}
}

/// Listens to nothing.
impl Events for () {}

/// Passes everything on to two listeners, in this order.
pub struct Both(pub Arc<dyn Events>, pub Arc<dyn Events>);

impl Events for Both {
    fn run_started(&self, totals: Totals) {
        self.0.run_started(totals);
        self.1.run_started(totals);
    }

    fn partition_started(&self, partition: PartitionSlot, name: PartitionName<'_>, totals: Totals) {
        self.0.partition_started(partition, name, totals);
        self.1.partition_started(partition, name, totals);
    }

    fn advanced(&self, partition: Option<PartitionSlot>, done: Done) {
        self.0.advanced(partition, done);
        self.1.advanced(partition, done);
    }

    fn shrunk(&self, partition: PartitionSlot, records: u64) {
        self.0.shrunk(partition, records);
        self.1.shrunk(partition, records);
    }

    fn received(&self, partition: Option<PartitionSlot>, done: Done) {
        self.0.received(partition, done);
        self.1.received(partition, done);
    }

    fn written(&self, partition: PartitionSlot, done: Done, newest_ms: Option<i64>) {
        self.0.written(partition, done, newest_ms);
        self.1.written(partition, done, newest_ms);
    }

    fn lags(&self, topic: &str, records: u64) {
        self.0.lags(topic, records);
        self.1.lags(topic, records);
    }

    fn took(&self, stage: Stage, time: Duration) {
        self.0.took(stage, time);
        self.1.took(stage, time);
    }

    fn block_written(&self, latency: Duration) {
        self.0.block_written(latency);
        self.1.block_written(latency);
    }

    fn segment_sealed(&self, bytes: u64) {
        self.0.segment_sealed(bytes);
        self.1.segment_sealed(bytes);
    }

    fn committed(&self, committed: Committed) {
        self.0.committed(committed);
        self.1.committed(committed);
    }

    fn retried(&self, what: Retry) {
        self.0.retried(what);
        self.1.retried(what);
    }

    fn holds(&self, budget: Budget, bytes: u64, limit: u64) {
        self.0.holds(budget, bytes, limit);
        self.1.holds(budget, bytes, limit);
    }

    fn partition_finished(&self, partition: PartitionSlot) {
        self.0.partition_finished(partition);
        self.1.partition_finished(partition);
    }

    fn run_finished(&self) {
        self.0.run_finished();
        self.1.run_finished();
    }
}

/// Reports a run to its listener: started when it is made, finished when it is dropped.
pub struct RunEvents {
    listener: Arc<dyn Events>,
    partitions: AtomicU64,
}

impl RunEvents {
    /// Reports that a run starts.
    pub fn start(listener: Arc<dyn Events>, totals: Totals) -> RunEvents {
        listener.run_started(totals);
        RunEvents {
            listener,
            partitions: AtomicU64::new(0),
        }
    }

    /// Reports work that belongs to no partition.
    pub fn advanced(&self, records: u64, bytes: u64) {
        self.listener.advanced(None, Done { records, bytes });
    }

    /// Reports that more was read that belongs to no partition.
    pub fn received(&self, records: u64, bytes: u64) {
        self.listener.received(None, Done { records, bytes });
    }

    /// Reports that a stage has taken the time since `began`.
    pub fn took_since(&self, stage: Stage, began: Instant) {
        self.took(stage, began.elapsed());
    }

    /// Reports that a stage has taken this long.
    pub fn took(&self, stage: Stage, time: Duration) {
        self.listener.took(stage, time);
    }

    /// Reports that something is tried again.
    pub fn retried(&self, what: Retry) {
        self.listener.retried(what);
    }

    /// Reports how much of a budget is in use.
    pub fn holds(&self, budget: Budget, bytes: u64, limit: u64) {
        self.listener.holds(budget, bytes, limit);
    }

    /// Reports that a partition starts.
    pub fn partition(&self, name: PartitionName<'_>, records: Option<u64>) -> PartitionEvents {
        let number = PartitionSlot(self.partitions.fetch_add(1, Ordering::Relaxed));
        let totals = Totals {
            records,
            bytes: None,
        };
        self.listener.partition_started(number, name, totals);
        PartitionEvents {
            listener: Arc::clone(&self.listener),
            number,
        }
    }
}

impl Drop for RunEvents {
    fn drop(&mut self) {
        self.listener.run_finished();
    }
}

/// Reports one partition of a run: finished when it is dropped.
pub struct PartitionEvents {
    listener: Arc<dyn Events>,
    number: PartitionSlot,
}

impl PartitionEvents {
    /// Reports that more is done. Call it once per block, not per record.
    pub fn advanced(&self, records: u64, bytes: u64) {
        let done = Done { records, bytes };
        self.listener.advanced(Some(self.number), done);
    }

    /// Reports that more was read from where the run reads. Call it once per block, not per record.
    pub fn received(&self, records: u64, bytes: u64) {
        let done = Done { records, bytes };
        self.listener.received(Some(self.number), done);
    }

    /// Reports that more was written to where the run writes. Call it once per block, not per record.
    pub fn written(&self, records: u64, bytes: u64, newest_ms: Option<i64>) {
        let done = Done { records, bytes };
        self.listener.written(self.number, done, newest_ms);
    }

    /// Reports that there are fewer records than the total stated. Call it once per block, not per record.
    pub fn shrunk(&self, records: u64) {
        if records > 0 {
            self.listener.shrunk(self.number, records);
        }
    }
}

impl Drop for PartitionEvents {
    fn drop(&mut self) {
        self.listener.partition_finished(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn push(&self, event: String) {
            self.0.lock().unwrap().push(event);
        }
    }

    impl Events for Heard {
        fn run_started(&self, totals: Totals) {
            self.push(format!("run of {:?}", totals.records));
        }

        fn partition_started(
            &self,
            partition: PartitionSlot,
            name: PartitionName<'_>,
            totals: Totals,
        ) {
            self.push(format!("{}: {name} of {:?}", partition.0, totals.records));
        }

        fn advanced(&self, partition: Option<PartitionSlot>, done: Done) {
            let number = partition.map(|number| number.0);
            self.push(format!("{number:?}: {} {}", done.records, done.bytes));
        }

        fn shrunk(&self, partition: PartitionSlot, records: u64) {
            self.push(format!("{}: {records} fewer", partition.0));
        }

        fn received(&self, partition: Option<PartitionSlot>, done: Done) {
            let number = partition.map(|number| number.0);
            self.push(format!("{number:?}: read {} {}", done.records, done.bytes));
        }

        fn written(&self, partition: PartitionSlot, done: Done, newest_ms: Option<i64>) {
            let number = partition.0;
            self.push(format!("{number}: wrote {} {newest_ms:?}", done.records));
        }

        fn lags(&self, topic: &str, records: u64) {
            self.push(format!("{topic} lags {records}"));
        }

        fn took(&self, stage: Stage, time: Duration) {
            self.push(format!("{} took {time:?}", stage.word()));
        }

        fn segment_sealed(&self, bytes: u64) {
            self.push(format!("sealed {bytes}"));
        }

        fn committed(&self, committed: Committed) {
            self.push(format!("committed {}", committed.snapshot));
        }

        fn retried(&self, what: Retry) {
            self.push(format!("{} again", what.word()));
        }

        fn holds(&self, budget: Budget, bytes: u64, limit: u64) {
            self.push(format!("{}: {bytes} of {limit}", budget.word()));
        }

        fn partition_finished(&self, partition: PartitionSlot) {
            self.push(format!("{} finished", partition.0));
        }

        fn run_finished(&self) {
            self.push("finished".to_owned());
        }
    }

    fn orders(partition: u16) -> PartitionName<'static> {
        PartitionName {
            topic: "orders",
            partition: PartitionNumber::from(partition),
        }
    }

    #[test]
    fn both_listeners_hear_of_everything() {
        let heard = [Arc::new(Heard::default()), Arc::new(Heard::default())];
        let [first, second] = heard.clone();
        let both: Arc<dyn Events> = Arc::new(Both(first, second));
        let run = RunEvents::start(Arc::clone(&both), Totals::default());
        both.lags("orders", 7);
        let part = run.partition(orders(0), Some(7));
        part.received(7, 70);
        run.received(0, 8);
        run.took(Stage::Encode, Duration::from_secs(1));
        part.written(7, 30, Some(9));
        part.advanced(6, 70);
        part.shrunk(1);
        both.segment_sealed(40);
        both.committed(Committed {
            snapshot: 3,
            at_ms: 1,
            complete: true,
        });
        run.retried(Retry::Transaction);
        run.holds(Budget::Blocks, 1, 2);
        drop(part);
        drop(run);
        let [first, second] = heard.map(|heard| heard.0.lock().unwrap().clone());
        assert_eq!(first, second);
        assert_eq!(
            first,
            [
                "run of None",
                "orders lags 7",
                "0: orders/0 of Some(7)",
                "Some(0): read 7 70",
                "None: read 0 8",
                "encode took 1s",
                "0: wrote 7 Some(9)",
                "Some(0): 6 70",
                "0: 1 fewer",
                "sealed 40",
                "committed 3",
                "transaction again",
                "blocks: 1 of 2",
                "0 finished",
                "finished",
            ]
        );
    }

    #[test]
    fn a_listener_hears_of_everything_in_order() {
        let heard = Arc::new(Heard::default());
        let totals = Totals {
            records: Some(3),
            bytes: None,
        };
        let run = RunEvents::start(heard.clone(), totals);
        let first = run.partition(orders(0), Some(2));
        let second = run.partition(orders(1), None);
        second.advanced(1, 10);
        first.advanced(2, 20);
        first.shrunk(0);
        first.shrunk(5);
        drop(first);
        run.advanced(0, 5);
        drop(second);
        drop(run);
        let heard = heard.0.lock().unwrap();
        assert_eq!(
            *heard,
            [
                "run of Some(3)",
                "0: orders/0 of Some(2)",
                "1: orders/1 of None",
                "Some(1): 1 10",
                "Some(0): 2 20",
                "0: 5 fewer",
                "0 finished",
                "None: 0 5",
                "1 finished",
                "finished",
            ]
        );
    }
}
