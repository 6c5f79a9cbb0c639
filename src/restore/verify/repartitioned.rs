//! Whether the targets of a repartitioned topic hold what was to be written: each record where the offset map says that it is,
//! in the partition of its key, and no other record.
//!
//! ```text
//! for each partition of the backup:   some of its records, and where the map says that each went
//!                                     -> those stretches of the targets are read, and what is there is compared
//! for each partition of the target:   its records are counted: as many as were found are all there may be
//! ```
//!
//! Key, value, headers and timestamp must be the same, byte for byte, and the map's offsets ascend in each target as they do in
//! the partition: its order is kept. Memory does not grow with the topic.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kbk_format::repo::{DonePartition, MapRun, PartitionId, RepoError, Repository, RestoreId};
use kbk_format::{Header, Headers, Record, TimestampType};
use kbk_tools::restores::{MapReader, MapRuns};
use kbk_tools::share::FairShare;
use tokio::runtime::Handle;

use crate::kafka::{
    Admin, ClientSettings, Consumer, PartitionOffsets, PartitionRange, RecordHandler,
    SourceOptions, TopicPartition,
};
use crate::restore::plan::{PartitionPlan, TargetPartitionPlan, TopicPlan};
use crate::restore::verify::one_to_one::{
    Difference, Expected, FETCH_BYTES, PartitionProof, ProofError, THREADS, unlike,
};
use crate::restore::write::partitioner::Partitioner;
use crate::run::Cancel;

/// Records that are looked for at a time, and bytes of them: a connection is made for them.
const RECORDS_AT_ONCE: usize = 1 << 16;
const BYTES_AT_ONCE: usize = 8 << 20;

/// What is the same for all of a topic.
struct Topic<'a> {
    target: &'a str,
    targets: &'a [TargetPartitionPlan],
    /// Where each target begins and ends now.
    bounds: Vec<PartitionOffsets>,
    surroundings: &'a Surroundings<'a>,
}

/// What a proof is made with.
pub(crate) struct Surroundings<'a> {
    pub(crate) restore: &'a RestoreId,
    pub(crate) repository: &'a Repository,
    pub(crate) kafka: &'a ClientSettings,
    pub(crate) cancel: &'a Cancel,
    pub(crate) runtime: &'a Handle,
}

/// Compares a repartitioned topic, whose partitions have the maps that `done` names. Gives a proof for each partition of the
/// target.
pub(crate) fn prove(
    plan: &TopicPlan,
    done: &BTreeMap<PartitionId, &DonePartition>,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<PartitionProof>, ProofError> {
    let names = plan.targets.iter();
    let names: Vec<_> = names
        .map(|target| TopicPartition::new(&plan.target, target.partition))
        .collect();
    let bounds = Admin::connect(surroundings.kafka)?.offsets(&names)?;
    let topic = Topic {
        target: &plan.target,
        targets: &plan.targets,
        bounds: names
            .iter()
            .map(|name| bounds.get(name).copied())
            .collect::<Result<_, _>>()?,
        surroundings,
    };
    let proofs = names
        .into_iter()
        .map(|name| PartitionProof::empty(name.topic, name.partition));
    let proofs: Mutex<Vec<PartitionProof>> = Mutex::new(proofs.collect());
    let partitions = FairShare::new(plan.partitions.iter().collect(), THREADS, 1);
    partitions.run(|group: Vec<&PartitionPlan>| {
        for partition in group {
            let done = done.get(partition.read.place()).copied();
            let found = Comparison::new(&topic, partition, done)?.run()?;
            join(&mut lock(&proofs), found);
        }
        Ok::<(), ProofError>(())
    })?;
    let mut proofs = proofs.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (proof, count) in proofs.iter_mut().zip(topic.count()?) {
        let too_many = count.saturating_sub(proof.found);
        proof.found = count;
        proof.differences += too_many;
        if too_many > 0 && proof.first.is_none() {
            proof.first = Some(Difference {
                source_partition: None,
                source_offset: None,
                target_offset: None,
                what: Vec::new(),
            });
        }
    }
    Ok(proofs)
}

/// A thread that panicked leaves plain values behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds what one partition of the backup says of each target.
fn join(proofs: &mut [PartitionProof], of_partition: Vec<PartitionProof>) {
    for (proof, found) in proofs.iter_mut().zip(of_partition) {
        proof.expected += found.expected;
        proof.found += found.found;
        proof.differences += found.differences;
        proof.first = proof.first.take().or(found.first);
    }
}

impl Topic<'_> {
    /// What there is to read of a target between these offsets.
    fn range(&self, index: usize, offsets: Range<i64>) -> PartitionRange {
        let bounds = &self.bounds[index];
        PartitionRange {
            topic: self.target.to_owned(),
            partition: self.targets[index].partition,
            start: offsets.start.max(bounds.log_start_offset),
            end: offsets.end.min(bounds.last_stable_offset),
        }
    }

    fn read(
        &self,
        ranges: Vec<PartitionRange>,
        sink: &mut impl RecordHandler<Error = ProofError>,
    ) -> Result<(), ProofError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let options = SourceOptions {
            memory_bytes: FETCH_BYTES,
            ..SourceOptions::default()
        };
        let mut source = Consumer::open(self.surroundings.kafka, &options, ranges)?;
        source.run(sink).map_err(ProofError::from)
    }

    /// How many records each target has behind where the restore began.
    fn count(&self) -> Result<Vec<u64>, ProofError> {
        let targets = self.targets.iter().enumerate();
        let ranges = targets.map(|(index, target)| self.range(index, target.offset..i64::MAX));
        let mut counts = Counts {
            records: vec![0; self.targets.len()],
            cancel: self.surroundings.cancel,
        };
        self.read(ranges.collect(), &mut counts)?;
        Ok(counts.records)
    }
}

/// One partition of the backup on its way.
struct Comparison<'a> {
    topic: &'a Topic<'a>,
    partition: i32,
    partitioner: Partitioner,
    expected: Expected,
    /// The next of its records.
    next: Option<Kept>,
    /// Where the records went; none without a map.
    map: Option<MapRuns>,
    /// Of each target.
    proofs: Vec<PartitionProof>,
    /// The last offset of the partition's records in each target.
    last: Vec<i64>,
}

impl<'a> Comparison<'a> {
    fn new(
        topic: &'a Topic<'a>,
        plan: &PartitionPlan,
        done: Option<&DonePartition>,
    ) -> Result<Comparison<'a>, ProofError> {
        let Surroundings {
            restore,
            repository,
            runtime,
            ..
        } = *topic.surroundings;
        let map = done.map(|done| MapReader::new(repository, restore, done).forward());
        let count = i32::try_from(topic.targets.len()).unwrap_or(i32::MAX);
        let empty = |target: &TargetPartitionPlan| {
            PartitionProof::empty(topic.target.to_owned(), target.partition)
        };
        let mut expected = Expected::new(plan.read.clone(), runtime);
        Ok(Comparison {
            topic,
            partition: plan.partition,
            partitioner: Partitioner::new(plan.partition, count),
            next: expected.next(runtime)?.map(|record| Kept::new(&record)),
            expected,
            map: map.map(|map| runtime.block_on(map)).transpose()?,
            proofs: topic.targets.iter().map(empty).collect(),
            last: vec![-1; topic.targets.len()],
        })
    }

    fn run(mut self) -> Result<Vec<PartitionProof>, ProofError> {
        loop {
            let wanted = self.wanted()?;
            if wanted.is_empty() && self.next.is_none() && self.mapped()?.is_none() {
                return Ok(self.proofs);
            }
            self.look_for(wanted)?;
        }
    }

    /// The next records that are both in the backup and in the map, by target and offset there. What is in one of the two only
    /// is a difference.
    fn wanted(&mut self) -> Result<Wanted, ProofError> {
        let (mut wanted, mut bytes) = (Wanted::new(), 0);
        while wanted.len() < RECORDS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(place) = self.mapped()? else {
                match self.take()? {
                    Some(record) => self.missing(&record),
                    None => break,
                }
                continue;
            };
            let next = self.next.as_ref().map(|record| record.offset);
            if next.is_some_and(|offset| offset < place.source_offset) {
                self.take()?.iter().for_each(|record| self.missing(record));
                continue;
            }
            self.map.iter_mut().for_each(MapRuns::advance);
            let Some(index) = self.index(place.target_partition) else {
                continue;
            };
            match self.take_at(place.source_offset)? {
                Some(record) => {
                    bytes += record.bytes();
                    self.expect(index, &record, place.target_offset);
                    wanted.insert((index, place.target_offset), record);
                }
                None => self.differ(index, Difference::too_many(place.target_offset)),
            }
        }
        Ok(wanted)
    }

    /// Where the next record of the map is.
    fn mapped(&mut self) -> Result<Option<MapRun>, RepoError> {
        let Some(map) = &mut self.map else {
            return Ok(None);
        };
        // Entering the runtime costs more than a record does, so it is entered once per page.
        match map.front() {
            Some(run) => Ok(Some(run)),
            None => self.topic.surroundings.runtime.block_on(map.peek()),
        }
    }

    fn take(&mut self) -> Result<Option<Kept>, ProofError> {
        let next = self.expected.next(self.topic.surroundings.runtime)?;
        let next = next.map(|record| Kept::new(&record));
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// The next record, if it is the one at this offset.
    fn take_at(&mut self, offset: i64) -> Result<Option<Kept>, ProofError> {
        match &self.next {
            Some(record) if record.offset == offset => self.take(),
            _ => Ok(None),
        }
    }

    /// A record that the map does not have.
    fn missing(&mut self, record: &Kept) {
        let target = self.target_of(record);
        self.proofs[target].expected += 1;
        self.differ(target, Difference::missing(record.offset));
    }

    /// Targets are 0 and up.
    fn index(&self, partition: i32) -> Option<usize> {
        let index = usize::try_from(partition).ok()?;
        (index < self.proofs.len()).then_some(index)
    }

    fn target_of(&self, record: &Kept) -> usize {
        let partition = self.partitioner.partition(record.key.as_deref());
        usize::try_from(partition).unwrap_or(0)
    }

    fn expect(&mut self, index: usize, record: &Kept, target_offset: i64) {
        self.proofs[index].expected += 1;
        let last = std::mem::replace(&mut self.last[index], target_offset);
        let parts = [
            ("partition", self.target_of(record) == index),
            ("order", last < target_offset),
        ];
        let wrong = parts.into_iter().filter(|(_, right)| !right);
        let what: Vec<_> = wrong.map(|(name, _)| name).collect();
        if !what.is_empty() {
            self.differ(index, Difference::at(record.offset, target_offset, what));
        }
    }

    fn differ(&mut self, index: usize, difference: Difference) {
        self.proofs[index].differ(Difference {
            source_partition: Some(self.partition),
            ..difference
        });
    }

    /// Reads what lies between the first and the last of them in each target.
    fn look_for(&mut self, wanted: Wanted) -> Result<(), ProofError> {
        let mut stretches: BTreeMap<usize, Range<i64>> = BTreeMap::new();
        for (index, offset) in wanted.keys() {
            let stretch = stretches.entry(*index).or_insert(*offset..*offset);
            stretch.start = stretch.start.min(*offset);
            stretch.end = stretch.end.max(offset.saturating_add(1));
        }
        let stretches = stretches.into_iter();
        let ranges = stretches.map(|(index, stretch)| (index, self.topic.range(index, stretch)));
        let (indices, ranges): (Vec<_>, Vec<_>) =
            ranges.filter(|(_, range)| range.start < range.end).unzip();
        let topic = self.topic;
        let mut look = Look {
            comparison: self,
            indices,
            wanted,
        };
        topic.read(ranges, &mut look)?;
        let mut missing: Vec<_> = look.wanted.into_iter().collect();
        missing.sort_by_key(|(_, record)| record.offset);
        for ((index, _), record) in missing {
            self.differ(index, Difference::missing(record.offset));
        }
        Ok(())
    }
}

/// Records of the backup, by the index of a target and the offset there.
type Wanted = HashMap<(usize, i64), Kept>;

/// Receives what lies in the targets where records are looked for; others are among them.
struct Look<'a, 'b> {
    comparison: &'a mut Comparison<'b>,
    /// Of the targets, by slot.
    indices: Vec<usize>,
    wanted: Wanted,
}

impl RecordHandler for Look<'_, '_> {
    type Error = ProofError;

    /// The timestamp type is not compared: it is the topic's, which may have another one while it is filled.
    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        found: &Record<'_>,
    ) -> Result<(), ProofError> {
        let index = self.indices[slot];
        let Some(expected) = self.wanted.remove(&(index, found.offset)) else {
            return Ok(());
        };
        self.comparison.proofs[index].found += 1;
        let what = expected.unlike(found);
        if !what.is_empty() {
            let difference = Difference::at(expected.offset, found.offset, what);
            self.comparison.differ(index, difference);
        }
        Ok(())
    }

    /// What is gone shows as records that are missing.
    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), ProofError> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), ProofError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ProofError> {
        go_on(self.comparison.topic.surroundings.cancel)
    }
}

/// Receives records to be counted.
struct Counts<'a> {
    records: Vec<u64>,
    cancel: &'a Cancel,
}

impl RecordHandler for Counts<'_> {
    type Error = ProofError;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        _record: &Record<'_>,
    ) -> Result<(), ProofError> {
        self.records[slot] += 1;
        Ok(())
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), ProofError> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), ProofError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ProofError> {
        go_on(self.cancel)
    }
}

fn go_on(cancel: &Cancel) -> Result<(), ProofError> {
    match cancel.is_set() {
        true => Err(ProofError::Cancelled),
        false => Ok(()),
    }
}

/// A record of the backup that outlives its block.
struct Kept {
    offset: i64,
    timestamp: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Vec<KeptHeader>,
}

struct KeptHeader {
    name: Box<[u8]>,
    value: Option<Box<[u8]>>,
}

impl Kept {
    fn new(record: &Record<'_>) -> Kept {
        let headers = record.headers.clone();
        Kept {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers: headers
                .map(|header| KeptHeader {
                    name: Box::from(header.name),
                    value: header.value.map(Box::from),
                })
                .collect(),
        }
    }

    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|header| header.name.len() + length(&header.value))
            .sum();
        length(&self.key) + length(&self.value) + headers
    }

    fn unlike(&self, found: &Record<'_>) -> Vec<&'static str> {
        let headers = self.headers.iter();
        let headers: Vec<Header<'_>> = headers
            .map(|header| Header {
                name: &header.name,
                value: header.value.as_deref(),
            })
            .collect();
        let record = Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        };
        unlike(&record, found)
    }
}
