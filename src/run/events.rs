//! What a run reports while it works: its totals, its partitions, and how much of them is done.
//!
//! The engine reports through [`RunEvents`] and [`PartitionEvents`]; listeners implement [`Events`]: a progress bar,
//! lines in a log, metrics. Messages for people go to `tracing`, which has its own listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Listens to a run. Called from the threads that do the work, so it must not block.
///
/// [`advanced`](Events::advanced) comes once per block, not per record. Every method does nothing by default.
pub trait Events: Send + Sync {
    /// The run starts, and will do this much.
    fn run_started(&self, totals: Totals) {
        let _ = totals;
    }

    /// A partition starts.
    fn partition_started(&self, partition: PartitionSlot, name: &str, totals: Totals) {
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

    /// Nothing more follows of a partition.
    fn partition_finished(&self, partition: PartitionSlot) {
        let _ = partition;
    }

    /// Nothing more follows of the run.
    fn run_finished(&self) {}
}

/// Listens to nothing.
impl Events for () {}

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

    /// Reports that a partition starts.
    pub fn partition(&self, name: &str, records: Option<u64>) -> PartitionEvents {
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

        fn partition_started(&self, partition: PartitionSlot, name: &str, totals: Totals) {
            self.push(format!("{}: {name} of {:?}", partition.0, totals.records));
        }

        fn advanced(&self, partition: Option<PartitionSlot>, done: Done) {
            let number = partition.map(|number| number.0);
            self.push(format!("{number:?}: {} {}", done.records, done.bytes));
        }

        fn shrunk(&self, partition: PartitionSlot, records: u64) {
            self.push(format!("{}: {records} fewer", partition.0));
        }

        fn partition_finished(&self, partition: PartitionSlot) {
            self.push(format!("{} finished", partition.0));
        }

        fn run_finished(&self) {
            self.push("finished".to_owned());
        }
    }

    #[test]
    fn a_listener_hears_of_everything_in_order() {
        let heard = Arc::new(Heard::default());
        let totals = Totals {
            records: Some(3),
            bytes: None,
        };
        let run = RunEvents::start(heard.clone(), totals);
        let first = run.partition("orders/0", Some(2));
        let second = run.partition("orders/1", None);
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
