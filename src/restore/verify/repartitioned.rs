//! Compares the targets of a repartitioned topic with the backup: each record is where the offset map says, in the partition of its key, and
//! there are no other records.
//!
//! ```text
//! for each source partition:   a batch of its records, and where the map says that each went
//!                              -> read those ranges of the targets, and compare what is there
//! for each target partition:   count its records: there must be no more than were found
//! ```
//!
//! Key, value, headers and timestamp must be equal byte for byte. The map's offsets must ascend in each target as they do in the source
//! partition, so its order is kept. Memory does not grow with the topic.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kbk_format::repo::{DonePartition, MapRun, PartitionId, RepoError, TargetPartition};
use kbk_format::{PartitionNumber, Record, TimestampType};
use kbk_tools::read::{DecodedBlocks, RecordCursor};
use kbk_tools::restores::{MapReader, MapRuns};
use kbk_tools::share::FairShare;

use super::owned_record::OwnedRecord;
use crate::compare::{CompareError, Difference, FETCH_BYTES, PartitionComparison, THREADS};
use crate::kafka::{
    Admin, ClientSettings, PartitionOffsets, PartitionRange, RecordHandler, SourceOptions,
    TopicPartition,
};
use crate::records::{ChosenSource, ClientChoice, RecordSource};
use crate::restore::context::RestoreContext;
use crate::restore::plan::restore_plan::{PartitionPlan, TopicPlan};
use crate::restore::write::partitioner::Partitioner;
use crate::run::Cancel;
use crate::select::DropHeaders;

/// Records, and bytes of records, that are looked for at a time. Each batch opens a connection.
const RECORDS_AT_ONCE: usize = 1 << 16;
const BYTES_AT_ONCE: usize = 8 << 20;

/// What all partitions of a topic have in common.
struct Topic<'a> {
    target: &'a str,
    /// The target partitions, 0 and up without a gap: the manifest of a repartitioned topic has no others, so positions in this and the
    /// other lists of the module are partition numbers.
    targets: &'a [TargetPartition],
    /// The current bounds of each.
    bounds: Vec<PartitionOffsets>,
    context: RestoreContext<'a>,
    client: ClientChoice,
    kafka: &'a ClientSettings,
}

/// Compares a repartitioned topic, which this client reads; `maps` names the offset maps of its partitions. Returns one result per target partition. Blocks; must not
/// be called from asynchronous code.
pub(crate) fn compare(
    plan: TopicPlan<'_>,
    maps: &BTreeMap<PartitionId, &DonePartition>,
    context: RestoreContext<'_>,
    client: ClientChoice,
    kafka: &ClientSettings,
) -> Result<Vec<PartitionComparison>, CompareError> {
    let targets = &plan.restored.targets;
    let names: Vec<_> = targets
        .iter()
        .map(|target| TopicPartition::new(plan.target(), target.partition))
        .collect();
    let bounds = Admin::connect(kafka)?.offsets(&names)?;
    let bounds = names.iter().map(|name| bounds.get(name).copied());
    let topic = Topic {
        target: plan.target(),
        targets,
        bounds: bounds.collect::<Result<_, _>>()?,
        context,
        client,
        kafka,
    };
    let results = names
        .into_iter()
        .map(|name| PartitionComparison::empty(name.topic, name.partition));
    let results: Mutex<Vec<PartitionComparison>> = Mutex::new(results.collect());
    let partitions = FairShare::new(plan.partitions().collect(), THREADS, 1);
    partitions.run(|group: Vec<PartitionPlan<'_>>| {
        for partition in group {
            let done = maps.get(partition.reading.read.partition_id()).copied();
            let found = Comparison::new(&topic, partition, done)?.run()?;
            add(&mut lock(&results), found);
        }
        Ok::<(), CompareError>(())
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (index, count) in topic.count()?.into_iter().enumerate() {
        add_extra(&mut results[index], count);
    }
    Ok(results)
}

/// Adds the records that a target holds, `count` in all, beyond those that were found.
fn add_extra(result: &mut PartitionComparison, count: u64) {
    let extra = count.saturating_sub(result.found);
    result.found = count;
    result.differences += extra;
    if extra > 0 && result.first.is_none() {
        result.first = Some(Difference {
            source_partition: None,
            source_offset: None,
            target_offset: None,
            what: Vec::new(),
        });
    }
}

/// A panic cannot leave these plain values inconsistent, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the results of one source partition to those of each target.
fn add(results: &mut [PartitionComparison], of_source: Vec<PartitionComparison>) {
    for found in of_source {
        let result = &mut results[found.partition.index()];
        assert_eq!(result.partition, found.partition, "targets have no gaps");
        result.expected += found.expected;
        result.found += found.found;
        result.differences += found.differences;
        result.first = result.first.take().or(found.first);
    }
}

impl Topic<'_> {
    /// Returns the readable part of `offsets` in a target.
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
        handler: &mut impl RecordHandler<Error = CompareError>,
    ) -> Result<(), CompareError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let options = SourceOptions {
            memory_bytes: FETCH_BYTES,
        };
        let mut source = ChosenSource::open(self.client, self.kafka, &options, ranges)?;
        source.run(handler).map_err(CompareError::from)
    }

    /// Counts the records of each target from where the restore began.
    fn count(&self) -> Result<Vec<u64>, CompareError> {
        let targets = self.targets.iter().enumerate();
        let ranges = targets.map(|(index, target)| self.range(index, target.offset..i64::MAX));
        let mut counts = Counts {
            records: vec![0; self.targets.len()],
            cancel: self.context.cancel,
        };
        self.read(ranges.collect(), &mut counts)?;
        Ok(counts.records)
    }
}

/// A source partition that is being compared.
struct Comparison<'a> {
    topic: &'a Topic<'a>,
    partition: PartitionNumber,
    partitioner: Partitioner,
    expected: RecordCursor,
    /// The block that it reads.
    decoded: DecodedBlocks,
    /// The record that is compared next.
    next: Option<OwnedRecord>,
    /// Where the records went; `None` without a map.
    map: Option<MapRuns>,
    /// By target.
    results: Vec<PartitionComparison>,
    /// Headers that the target should not have.
    drop_headers: DropHeaders,
    /// The last offset at which each target has a record of this partition.
    last: Vec<i64>,
}

impl<'a> Comparison<'a> {
    fn new(
        topic: &'a Topic<'a>,
        plan: PartitionPlan<'_>,
        done: Option<&DonePartition>,
    ) -> Result<Comparison<'a>, CompareError> {
        let RestoreContext {
            manifest,
            repository,
            runtime,
            ..
        } = topic.context;
        let map = done.map(|done| MapReader::new(repository, &manifest.restore, done).forward());
        let partition = plan.restored.partition;
        let empty = |target: &TargetPartition| {
            PartitionComparison::empty(topic.target.to_owned(), target.partition)
        };
        let expected = RecordCursor::new(plan.reading.read.clone(), runtime);
        let mut comparison = Comparison {
            topic,
            partition,
            partitioner: Partitioner::new(partition, topic.targets.len()),
            next: None,
            expected,
            decoded: DecodedBlocks::new(0),
            drop_headers: DropHeaders::new(manifest.drop_headers.iter().cloned()),
            map: map.map(|map| runtime.block_on(map)).transpose()?,
            results: topic.targets.iter().map(empty).collect(),
            last: vec![-1; topic.targets.len()],
        };
        comparison.take()?;
        Ok(comparison)
    }

    fn run(mut self) -> Result<Vec<PartitionComparison>, CompareError> {
        loop {
            let wanted = self.wanted()?;
            if wanted.is_empty() && self.next.is_none() && self.mapped()?.is_none() {
                return Ok(self.results);
            }
            self.look_for(wanted)?;
        }
    }

    /// Returns the next records that are both in the backup and in the map, by target and target offset. Records in only one of the two are
    /// differences.
    fn wanted(&mut self) -> Result<Wanted, CompareError> {
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
                    bytes += record.payload_len();
                    self.expect(index, &record, place.target_offset);
                    wanted.insert((index, place.target_offset), record);
                }
                None => self.differ(index, Difference::extra(place.target_offset)),
            }
        }
        Ok(wanted)
    }

    /// Returns the next record of the map.
    fn mapped(&mut self) -> Result<Option<MapRun>, RepoError> {
        let Some(map) = &mut self.map else {
            return Ok(None);
        };
        // Entering the runtime costs more than a record does, so it is entered once per page.
        match map.front() {
            Some(run) => Ok(Some(run)),
            None => self.topic.context.runtime.block_on(map.peek()),
        }
    }

    fn take(&mut self) -> Result<Option<OwnedRecord>, CompareError> {
        let next = self
            .expected
            .next(&mut self.decoded, self.topic.context.runtime)?;
        let owned = |record: &Record<'_>, _| OwnedRecord::new(record);
        let next = next.map(|record| self.drop_headers.apply(&record, owned));
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the next record if it is the one at this offset.
    fn take_at(&mut self, offset: i64) -> Result<Option<OwnedRecord>, CompareError> {
        match &self.next {
            Some(record) if record.offset == offset => self.take(),
            _ => Ok(None),
        }
    }

    /// Notes a record that the map does not have.
    fn missing(&mut self, record: &OwnedRecord) {
        let target = self.target_of(record);
        self.results[target].expected += 1;
        self.differ(target, Difference::missing(record.offset));
    }

    /// Returns the index of a target; `None` if the map names one that the topic does not have.
    fn index(&self, partition: PartitionNumber) -> Option<usize> {
        let index = partition.index();
        (index < self.results.len()).then_some(index)
    }

    fn target_of(&self, record: &OwnedRecord) -> usize {
        self.partitioner.partition(record.key.as_deref())
    }

    fn expect(&mut self, index: usize, record: &OwnedRecord, target_offset: i64) {
        self.results[index].expected += 1;
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
        self.results[index].differ(Difference {
            source_partition: Some(self.partition),
            ..difference
        });
    }

    /// Reads each target from the first to the last wanted record.
    fn look_for(&mut self, wanted: Wanted) -> Result<(), CompareError> {
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
        let mut search = Search {
            comparison: self,
            indices,
            wanted,
        };
        topic.read(ranges, &mut search)?;
        let mut missing: Vec<_> = search.wanted.into_iter().collect();
        missing.sort_by_key(|(_, record)| record.offset);
        for ((index, _), record) in missing {
            self.differ(index, Difference::missing(record.offset));
        }
        Ok(())
    }
}

/// Records of the backup, by target and target offset.
type Wanted = HashMap<(usize, i64), OwnedRecord>;

/// Receives the records of the targets, wanted and other ones.
struct Search<'a, 'b> {
    comparison: &'a mut Comparison<'b>,
    /// The target of each slot.
    indices: Vec<usize>,
    wanted: Wanted,
}

impl RecordHandler for Search<'_, '_> {
    type Error = CompareError;

    /// The timestamp type is not compared: it belongs to the topic, and a restore sets another one while records are written.
    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        found: &Record<'_>,
    ) -> Result<(), CompareError> {
        let index = self.indices[slot];
        let Some(expected) = self.wanted.remove(&(index, found.offset)) else {
            return Ok(());
        };
        self.comparison.results[index].found += 1;
        let what = expected.differing_parts(found);
        if !what.is_empty() {
            let difference = Difference::at(expected.offset, found.offset, what);
            self.comparison.differ(index, difference);
        }
        Ok(())
    }

    /// Offsets that are gone show up as missing records.
    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), CompareError> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), CompareError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), CompareError> {
        check_cancel(self.comparison.topic.context.cancel)
    }
}

/// Counts records.
struct Counts<'a> {
    records: Vec<u64>,
    cancel: &'a Cancel,
}

impl RecordHandler for Counts<'_> {
    type Error = CompareError;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        _record: &Record<'_>,
    ) -> Result<(), CompareError> {
        self.records[slot] += 1;
        Ok(())
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), CompareError> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), CompareError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), CompareError> {
        check_cancel(self.cancel)
    }
}

fn check_cancel(cancel: &Cancel) -> Result<(), CompareError> {
    match cancel.is_set() {
        true => Err(CompareError::Cancelled),
        false => Ok(()),
    }
}
