//! Compares partitions of a cluster with the backup, record by record. `kbk diff --live` and `kbk restore --verify` share it.
//!
//! Cluster and backup are read side by side, each partition in its order, and neither is held in memory. Key, value, headers and timestamp
//! must be equal byte for byte; offsets are assigned by the cluster and not compared.

mod difference;
mod expected;

pub(crate) use self::difference::differing_parts;
pub use self::difference::{Difference, PartitionComparison};
pub(crate) use self::expected::ExpectedRecords;

use std::sync::{Mutex, PoisonError};

use kbk_format::repo::RepoError;
use kbk_format::{Record, TimestampType};
use kbk_tools::ReadPlan;
use kbk_tools::share::FairShare;
use tokio::runtime::Handle;

use crate::kafka::{
    Admin, ClientSettings, Consumer, KafkaError, PartitionRange, RecordHandler, SourceError,
    SourceOptions, TopicPartition,
};
use crate::run::Cancel;

/// Partitions that one thread compares at a time; each holds a few blocks.
const PARTITIONS_AT_ONCE: usize = 8;
/// Threads that compare: one decodes and compares while another fetches.
pub(crate) const THREADS: usize = 2;
/// Memory of one thread for records that are fetched and not yet compared.
pub(crate) const FETCH_BYTES: usize = 8 << 20;

/// Why a comparison did not finish.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A signal stopped it.
    #[error("stopped before everything was compared")]
    Cancelled,
}

impl From<SourceError<CompareError>> for CompareError {
    fn from(error: SourceError<CompareError>) -> CompareError {
        match error {
            SourceError::Kafka(error) => error.into(),
            SourceError::Handler(error) => error,
        }
    }
}

/// A partition of a cluster, and what it should hold.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedPartition {
    pub(crate) partition: TopicPartition,
    /// The first offset to compare; the start of the log if `None`.
    pub(crate) from: Option<i64>,
    pub(crate) read: ReadPlan,
}

/// Reads the partitions up to their current end, and compares them. Returns one result per partition, in the order of `expected`. Blocks;
/// must not be called from asynchronous code.
pub(crate) fn compare(
    expected: Vec<ExpectedPartition>,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionComparison>, CompareError> {
    let names: Vec<_> = expected.iter().map(|one| one.partition.clone()).collect();
    let bounds = Admin::connect(kafka)?.offsets(&names)?;
    let mut waiting = Vec::with_capacity(expected.len());
    for (number, expected) in expected.into_iter().enumerate() {
        let bounds = bounds.get(&expected.partition)?;
        let range = PartitionRange {
            topic: expected.partition.topic.clone(),
            partition: expected.partition.partition,
            start: expected.from.unwrap_or(bounds.log_start_offset),
            end: bounds.last_stable_offset,
        };
        waiting.push(Waiting {
            number,
            expected,
            range,
        });
    }
    let partitions = FairShare::new(waiting, THREADS, PARTITIONS_AT_ONCE);
    let compared = Mutex::new(Vec::with_capacity(names.len()));
    partitions.run(|group| {
        let of_group = compare_group(group, kafka, cancel, runtime)?;
        let mut compared = compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.extend(of_group);
        Ok::<(), CompareError>(())
    })?;
    let mut compared = compared
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    compared.sort_by_key(|(number, _)| *number);
    Ok(compared.into_iter().map(|(_, one)| one).collect())
}

/// A partition that no thread compares yet.
struct Waiting {
    /// Its position among all, by which the results are sorted.
    number: usize,
    expected: ExpectedPartition,
    range: PartitionRange,
}

fn compare_group(
    group: Vec<Waiting>,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<(usize, PartitionComparison)>, CompareError> {
    let ranges = group.iter().map(|waiting| waiting.range.clone()).collect();
    let comparing = group
        .into_iter()
        .map(|waiting| Comparing::new(waiting, runtime));
    let mut comparison = Comparison {
        comparing: comparing.collect(),
        cancel,
        runtime,
    };
    let options = SourceOptions {
        memory_bytes: FETCH_BYTES,
        ..SourceOptions::default()
    };
    Consumer::open(kafka, &options, ranges)?.run(&mut comparison)?;
    let compared = comparison.comparing.into_iter();
    Ok(compared.map(|one| (one.number, one.result)).collect())
}

/// Receives the records of the cluster.
struct Comparison<'a> {
    comparing: Vec<Comparing>,
    cancel: &'a Cancel,
    runtime: &'a Handle,
}

impl RecordHandler for Comparison<'_> {
    type Error = CompareError;

    /// The timestamp type is not compared: it belongs to the topic, and a restore sets another one while records are written.
    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), CompareError> {
        self.comparing[slot].found(record, self.runtime)
    }

    /// Offsets that are gone show up as missing records.
    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), CompareError> {
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), CompareError> {
        self.comparing[slot].ended(self.runtime)
    }

    fn idle(&mut self) -> Result<(), CompareError> {
        if self.cancel.is_set() {
            return Err(CompareError::Cancelled);
        }
        Ok(())
    }
}

/// A partition that is being compared.
struct Comparing {
    number: usize,
    expected: ExpectedRecords,
    result: PartitionComparison,
}

impl Comparing {
    fn new(waiting: Waiting, runtime: &Handle) -> Comparing {
        let TopicPartition { topic, partition } = waiting.expected.partition;
        Comparing {
            number: waiting.number,
            expected: ExpectedRecords::new(waiting.expected.read, runtime),
            result: PartitionComparison::empty(topic, partition),
        }
    }

    fn found(&mut self, found: &Record<'_>, runtime: &Handle) -> Result<(), CompareError> {
        let result = &mut self.result;
        result.found += 1;
        let Some(expected) = self.expected.next(runtime)? else {
            result.differ(Difference::extra(found.offset));
            return Ok(());
        };
        result.expected += 1;
        let what = differing_parts(&expected, found);
        if !what.is_empty() {
            result.differ(Difference::at(expected.offset, found.offset, what));
        }
        Ok(())
    }

    /// The cluster has no more records: the remaining ones of the backup are missing.
    fn ended(&mut self, runtime: &Handle) -> Result<(), CompareError> {
        while let Some(expected) = self.expected.next(runtime)? {
            self.result.expected += 1;
            self.result.differ(Difference::missing(expected.offset));
        }
        Ok(())
    }
}
