//! Compares partitions of a cluster with the backup, record by record. `kbk diff --live` and `kbk restore --verify` share it.
//!
//! Cluster and backup are read side by side, each partition in its order, and neither is held in memory. Key, value, headers and timestamp
//! of two records that are paired must be equal byte for byte.
//!
//! | file | job |
//! |---|---|
//! | `pairing` | how the records of the two are paired, as the caller decides |
//! | `comparing` | one partition: pairs its records, and says what became of those without a counterpart |
//! | `expected` | where the cluster has the records of the backup |
//! | `difference` | the result |
//! | `lag` | how far a snapshot lags behind its cluster, for `kbk status`: by the bounds of the logs, no record is read |

mod comparing;
mod difference;
mod expected;
mod lag;
mod pairing;

pub use self::difference::{Difference, PairedBy, PartitionComparison};
pub use self::lag::{LagError, TopicLag, TopicLagState, lag};
pub(crate) use self::pairing::{Former, OffsetMap, Pairing, SharedOffsets};

use std::sync::{Mutex, PoisonError};

use kbk_format::repo::RepoError;
use kbk_format::{Record, TimestampType};
use kbk_tools::ReadPlan;
use kbk_tools::read::DecodedBlocks;
use kbk_tools::share::FairShare;
use tokio::runtime::Handle;

use self::comparing::Comparing;
use crate::kafka::{
    Admin, ClientSettings, KafkaError, PartitionOffsets, PartitionRange, RecordHandler,
    SourceError, SourceOptions, TopicPartition,
};
use crate::records::{ChosenSource, ClientChoice, RecordSource};
use crate::run::Cancel;
use crate::select::DropHeaders;

/// Partitions that one thread compares at a time. Each has a range of stored blocks and the next one; what the store reads further ahead, all readers
/// share.
const PARTITIONS_AT_ONCE: usize = 8;
/// Threads that compare: one decodes and compares while another fetches.
pub(crate) const THREADS: usize = 2;
/// Memory of one thread for decoded blocks of the backup, of all its partitions; a single block may be larger. A cluster delivers some blocks of a
/// partition at a time, so few are decoded twice: about 344 blocks took 360 times in a comparison of 16 partitions.
const DECODED_BYTES: usize = 8 << 20;
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
    pub(crate) read: ReadPlan,
    /// Headers that the cluster should not have.
    pub(crate) drop_headers: DropHeaders,
    pub(crate) pairing: Pairing,
}

/// Reads the partitions with this client up to their current end, and compares them. Returns one result per partition, in the order of `expected`. Blocks;
/// must not be called from asynchronous code.
pub(crate) fn compare(
    expected: Vec<ExpectedPartition>,
    client: ClientChoice,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionComparison>, CompareError> {
    let names: Vec<_> = expected.iter().map(|one| one.partition.clone()).collect();
    let bounds = Admin::connect(kafka)?.offsets(&names)?;
    let mut waiting = Vec::with_capacity(expected.len());
    for (number, expected) in expected.into_iter().enumerate() {
        let bounds = *bounds.get(&expected.partition)?;
        waiting.push(Waiting {
            number,
            range: comparing::range_of(&expected, &bounds),
            expected,
            bounds,
        });
    }
    let partitions = FairShare::new(waiting, THREADS, PARTITIONS_AT_ONCE);
    let compared = Mutex::new(Vec::with_capacity(names.len()));
    partitions.run(|group| {
        let of_group = compare_group(group, client, kafka, cancel, runtime)?;
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
    bounds: PartitionOffsets,
    range: PartitionRange,
}

fn compare_group(
    group: Vec<Waiting>,
    client: ClientChoice,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<(usize, PartitionComparison)>, CompareError> {
    let ranges = group.iter().map(|waiting| waiting.range.clone()).collect();
    let numbers: Vec<usize> = group.iter().map(|waiting| waiting.number).collect();
    let begin = |waiting: Waiting| {
        let Waiting {
            expected,
            range,
            bounds,
            ..
        } = waiting;
        Comparing::new(expected, &range, &bounds, runtime)
    };
    let mut comparison = Comparison {
        decoded: DecodedBlocks::new(DECODED_BYTES),
        comparing: group.into_iter().map(begin).collect::<Result<_, _>>()?,
        cancel,
        runtime,
    };
    let options = SourceOptions {
        memory_bytes: FETCH_BYTES,
    };
    ChosenSource::open(client, kafka, &options, ranges)?.run(&mut comparison)?;
    let results = comparison.comparing.into_iter().map(|one| one.result);
    Ok(numbers.into_iter().zip(results).collect())
}

/// Receives the records of the cluster.
struct Comparison<'a> {
    comparing: Vec<Comparing>,
    /// Of the backup.
    decoded: DecodedBlocks,
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
        self.comparing[slot].found(record, &mut self.decoded, self.runtime)
    }

    fn lost(&mut self, slot: usize, _from: i64, to: i64) -> Result<(), CompareError> {
        self.comparing[slot].lost(to);
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), CompareError> {
        self.comparing[slot].ended(&mut self.decoded, self.runtime)
    }

    fn idle(&mut self) -> Result<(), CompareError> {
        if self.cancel.is_set() {
            return Err(CompareError::Cancelled);
        }
        Ok(())
    }
}
