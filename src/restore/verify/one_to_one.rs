//! Whether a target holds what a plan says: reads it back, and compares record by record.
//!
//! Target and backup are read side by side, each partition in its order, and neither is held in memory. Key, value, headers
//! and timestamp must be the same, byte for byte; offsets are the cluster's.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kbk_format::repo::RepoError;
use kbk_format::{Record, Streams, TimestampType};
use kbk_tools::PartitionReader;
use kbk_tools::share::FairShare;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::kafka::{
    Admin, ClientSettings, Consumer, KafkaError, PartitionRange, RecordHandler, SourceError,
    SourceOptions, TopicPartition,
};
use crate::restore::plan::{PartitionPlan, RestorePlan, TargetPartitionPlan, TopicPlan};
use crate::run::Cancel;

/// Partitions that one thread compares at a time: each holds a few blocks.
const PARTITIONS_AT_ONCE: usize = 8;
/// Threads that compare: decoding and comparing on one core, fetching on another.
pub(crate) const THREADS: usize = 2;
/// For what has been fetched and not yet compared, of one thread.
pub(crate) const FETCH_BYTES: usize = 8 << 20;

/// How one partition of a target compares with the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionProof {
    /// The target.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Records that the plan has.
    pub expected: u64,
    /// Records that the target has.
    pub found: u64,
    /// Places in the order of records at which the two are not the same.
    pub differences: u64,
    /// The first of them.
    pub first: Option<Difference>,
}

/// A record that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its partition in the backup, where that is not known from where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_partition: Option<i32>,
    /// Its offset in the backup; none if the target has a record too many.
    pub source_offset: Option<i64>,
    /// Its offset in the target; none if the target lacks it.
    pub target_offset: Option<i64>,
    /// What differs: `key`, `value`, `headers`, `timestamp`; where a topic was repartitioned, also the `partition` that
    /// its key leads to and its `order`. Empty for a record too many or too few.
    pub what: Vec<&'static str>,
}

/// Why there is no proof either way.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A signal came.
    #[error("stopped before everything was compared")]
    Cancelled,
}

impl From<SourceError<ProofError>> for ProofError {
    fn from(error: SourceError<ProofError>) -> ProofError {
        match error {
            SourceError::Kafka(error) => error.into(),
            SourceError::Handler(error) => error,
        }
    }
}

/// A partition to compare.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    topic: String,
    partition: i32,
    /// Where the restored records begin, if others are before them; else the log's start.
    from: Option<i64>,
    read: kbk_tools::ReadPlan,
}

/// Every partition that goes to one of its own, empty ones too: what this plan is about to write.
pub(crate) fn claims(topics: &[TopicPlan]) -> Vec<Claim> {
    claims_from(topics, |target| Some(target.offset))
}

/// Compares what the targets of a plan hold, from the first record to the last, with what the plan would write. Blocks; must
/// not be called from asynchronous code.
///
/// # Errors
///
/// If a target, or a partition of it, is not there; if the cluster or the repository cannot be read.
pub fn compare_live(
    plan: &RestorePlan,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionProof>, ProofError> {
    prove(claims_from(&plan.topics, |_| None), kafka, cancel, runtime)
}

fn claims_from(
    topics: &[TopicPlan],
    from: impl Fn(&TargetPartitionPlan) -> Option<i64>,
) -> Vec<Claim> {
    let claim = |topic: &TopicPlan, partition: &PartitionPlan| {
        let number = partition.target_partition?;
        let target = topic
            .targets
            .iter()
            .find(|target| target.partition == number);
        Some(Claim {
            topic: topic.target.clone(),
            partition: number,
            from: target.and_then(&from),
            read: partition.read.clone(),
        })
    };
    let mut claims = Vec::new();
    for topic in topics {
        let partitions = topic.partitions.iter();
        claims.extend(partitions.filter_map(|partition| claim(topic, partition)));
    }
    claims
}

/// Reads the targets up to where they end now, and compares. Blocks; must not be called from asynchronous code.
pub(crate) fn prove(
    claims: Vec<Claim>,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionProof>, ProofError> {
    let names: Vec<_> = claims
        .iter()
        .map(|claim| TopicPartition::new(&claim.topic, claim.partition))
        .collect();
    let bounds = Admin::connect(kafka)?.offsets(&names)?;
    let mut waiting: Vec<Waiting> = Vec::with_capacity(claims.len());
    for (number, (claim, name)) in claims.into_iter().zip(&names).enumerate() {
        let bounds = bounds.get(name)?;
        let range = PartitionRange {
            topic: claim.topic.clone(),
            partition: claim.partition,
            start: claim.from.unwrap_or(bounds.log_start_offset),
            end: bounds.last_stable_offset,
        };
        waiting.push((number, (claim, range)));
    }
    let partitions = FairShare::new(waiting, THREADS, PARTITIONS_AT_ONCE);
    let proofs = Mutex::new(Vec::with_capacity(names.len()));
    partitions.run(|group| {
        let (numbers, proved) = compare(group, kafka, cancel, runtime)?;
        let mut proofs = proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.extend(numbers.into_iter().zip(proved));
        Ok::<(), ProofError>(())
    })?;
    let mut proofs = proofs.into_inner().unwrap_or_else(PoisonError::into_inner);
    proofs.sort_by_key(|(number, _)| *number);
    Ok(proofs.into_iter().map(|(_, proof)| proof).collect())
}

/// A partition that no thread compares yet: its number among all, what it should hold, where that is.
type Waiting = (usize, (Claim, PartitionRange));

fn compare(
    group: Vec<Waiting>,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<(Vec<usize>, Vec<PartitionProof>), ProofError> {
    let mut numbers = Vec::with_capacity(group.len());
    let mut ranges = Vec::with_capacity(group.len());
    let mut comparing = Vec::with_capacity(group.len());
    for (number, (claim, range)) in group {
        numbers.push(number);
        ranges.push(range);
        comparing.push(Comparing::new(claim, runtime));
    }
    let options = SourceOptions {
        memory_bytes: FETCH_BYTES,
        ..SourceOptions::default()
    };
    let mut comparison = Comparison {
        comparing,
        cancel,
        runtime,
    };
    let read = Consumer::open(kafka, &options, ranges)?.run(&mut comparison);
    read?;
    let proofs = comparison.comparing.into_iter().map(|one| one.proof);
    Ok((numbers, proofs.collect()))
}

/// Receives what the targets hold.
struct Comparison<'a> {
    comparing: Vec<Comparing>,
    cancel: &'a Cancel,
    runtime: &'a Handle,
}

impl RecordHandler for Comparison<'_> {
    type Error = ProofError;

    /// The timestamp type is not compared: it is the topic's, which may have another one while it is filled.
    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ProofError> {
        self.comparing[slot].found(record, self.runtime)
    }

    /// What is gone shows as records that are missing.
    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), ProofError> {
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), ProofError> {
        self.comparing[slot].ended(self.runtime)
    }

    fn idle(&mut self) -> Result<(), ProofError> {
        if self.cancel.is_set() {
            return Err(ProofError::Cancelled);
        }
        Ok(())
    }
}

/// One partition on its way.
struct Comparing {
    expected: Expected,
    proof: PartitionProof,
}

impl Comparing {
    fn new(claim: Claim, runtime: &Handle) -> Comparing {
        Comparing {
            expected: Expected::new(claim.read, runtime),
            proof: PartitionProof::empty(claim.topic, claim.partition),
        }
    }

    fn found(&mut self, found: &Record<'_>, runtime: &Handle) -> Result<(), ProofError> {
        let proof = &mut self.proof;
        proof.found += 1;
        let Some(expected) = self.expected.next(runtime)? else {
            proof.differ(Difference::too_many(found.offset));
            return Ok(());
        };
        proof.expected += 1;
        let what = unlike(&expected, found);
        if !what.is_empty() {
            proof.differ(Difference::at(expected.offset, found.offset, what));
        }
        Ok(())
    }

    /// The target has no more: whatever the plan still has is missing.
    fn ended(&mut self, runtime: &Handle) -> Result<(), ProofError> {
        while let Some(expected) = self.expected.next(runtime)? {
            self.proof.expected += 1;
            self.proof.differ(Difference::missing(expected.offset));
        }
        Ok(())
    }
}

impl PartitionProof {
    /// Whether the target holds exactly what the plan says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences == 0
    }

    pub(crate) fn empty(topic: String, partition: i32) -> PartitionProof {
        PartitionProof {
            topic,
            partition,
            expected: 0,
            found: 0,
            differences: 0,
            first: None,
        }
    }

    pub(crate) fn differ(&mut self, difference: Difference) {
        self.differences += 1;
        self.first.get_or_insert(difference);
    }
}

impl Difference {
    pub(crate) fn at(source: i64, target: i64, what: Vec<&'static str>) -> Difference {
        Difference {
            source_partition: None,
            source_offset: Some(source),
            target_offset: Some(target),
            what,
        }
    }

    pub(crate) fn missing(source_offset: i64) -> Difference {
        Difference {
            source_partition: None,
            source_offset: Some(source_offset),
            target_offset: None,
            what: Vec::new(),
        }
    }

    pub(crate) fn too_many(target_offset: i64) -> Difference {
        Difference {
            source_partition: None,
            source_offset: None,
            target_offset: Some(target_offset),
            what: Vec::new(),
        }
    }
}

impl std::fmt::Display for PartitionProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartitionProof {
            topic, partition, ..
        } = self;
        let Some(first) = &self.first else {
            return write!(f, "{topic}/{partition}: {} records, equal", self.found);
        };
        write!(
            f,
            "{topic}/{partition}: {} records expected, {} found, {} differences; the first: {first}",
            self.expected, self.found, self.differences
        )
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(partition) = self.source_partition {
            write!(f, "of source partition {partition}, ")?;
        }
        match (self.source_offset, self.target_offset) {
            (Some(source), Some(target)) => write!(
                f,
                "source offset {source} has another {} at target offset {target}",
                self.what.join(", ")
            ),
            (Some(source), None) => write!(f, "source offset {source} is missing"),
            (None, Some(target)) => {
                write!(f, "target offset {target} is one record too many")
            }
            (None, None) => write!(f, "it holds records that were not restored"),
        }
    }
}

/// The records of the backup, one after another.
pub(crate) struct Expected {
    reader: PartitionReader,
    /// Of the block at hand, those not yet looked at.
    rows: Range<usize>,
}

impl Expected {
    pub(crate) fn new(read: kbk_tools::ReadPlan, runtime: &Handle) -> Expected {
        Expected {
            reader: read.read(Streams::All, runtime),
            rows: 0..0,
        }
    }

    pub(crate) fn next(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        loop {
            let row = {
                let batch = self.reader.batch();
                self.rows.find(|row| batch.record(*row).is_some())
            };
            if let Some(row) = row {
                return Ok(self.reader.batch().record(row));
            }
            match runtime.block_on(self.reader.next())? {
                Some(batch) => self.rows = batch.rows(),
                None => return Ok(None),
            }
        }
    }
}

pub(crate) fn unlike(expected: &Record<'_>, found: &Record<'_>) -> Vec<&'static str> {
    let headers = || expected.headers.clone().eq(found.headers.clone());
    let parts = [
        ("key", expected.key == found.key),
        ("value", expected.value == found.value),
        ("headers", headers()),
        ("timestamp", expected.timestamp == found.timestamp),
    ];
    let different = parts.into_iter().filter(|(_, same)| !same);
    different.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use kbk_format::{Header, Headers};

    use super::*;

    fn record<'a>(
        timestamp: i64,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    ) -> Record<'a> {
        Record {
            offset: 7,
            timestamp,
            control: false,
            key: None,
            value,
            headers: Headers::Slice(headers),
        }
    }

    #[test]
    fn null_and_empty_are_not_the_same_and_offsets_do_not_matter() {
        let header = |value| [Header { name: b"h", value }];
        let (null, empty) = (header(None), header(Some(&b""[..])));
        let expected = record(1, None, &null);
        let mut elsewhere = expected.clone();
        elsewhere.offset = 100;
        assert!(unlike(&expected, &elsewhere).is_empty());
        assert_eq!(unlike(&expected, &record(1, Some(b""), &null)), ["value"]);
        assert_eq!(unlike(&expected, &record(1, None, &empty)), ["headers"]);
        assert_eq!(
            unlike(&expected, &record(2, None, &[])),
            ["headers", "timestamp"]
        );
    }
}
