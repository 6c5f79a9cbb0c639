//! Whether the targets of a restore that has committed nothing hold nothing of it.
//!
//! Brokers forget what a group has committed after a week. A restore that is gone on with later than that would begin at its
//! start, behind the records that are there already.
//!
//! A target that one partition of the backup has for itself must be as the restore found it. In one that others are written to
//! as well, only those records tell that the partition's own pages of the offset map name: pages are durable before the
//! transaction ends, so each has some that are there if it was committed, and not to be read if it was not.

use std::collections::BTreeMap;

use kbk_format::repo::{PartitionId, RepoError};
use kbk_format::{Record, TimestampType};

use crate::kafka::{
    Admin, ClientSettings, Consumer, KafkaError, PartitionOffsets, PartitionRange, RecordHandler,
    SourceError, SourceOptions, TopicPartition,
};
use crate::restore::apply::RestoreError;
use crate::restore::plan::TopicPlan;
use crate::restore::write::writer::Shared;
use crate::run::Cancel;

/// What must not be in a partition of a target.
struct Forbidden {
    topic: String,
    partition: i32,
    what: What,
}

enum What {
    /// A record from this offset on: it is not this partition's of the backup.
    From(i64, Unknown),
    /// A record at one of these offsets.
    At(BTreeMap<i64, Unknown>),
}

/// A partition of which nothing is committed, and the group that would have it.
#[derive(Clone)]
struct Unknown {
    place: PartitionId,
    group: String,
}

/// Fails if a committed record of one of the partitions is there of which nothing is committed: those that `unknown` says, in
/// the order of the plan. Records of a transaction that was aborted are none.
pub(crate) fn check(
    shared: &Shared<'_>,
    topics: &[TopicPlan],
    unknown: &[bool],
    kafka: &ClientSettings,
) -> Result<(), RestoreError> {
    let forbidden = forbidden(shared, topics, unknown)?;
    if forbidden.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = forbidden
        .iter()
        .map(|forbidden| TopicPartition::new(&forbidden.topic, forbidden.partition))
        .collect();
    let ends = Admin::connect(kafka)?.offsets(&names)?;
    let ranges = forbidden
        .iter()
        .zip(&names)
        .map(|(forbidden, name)| Ok(forbidden.range(ends.get(name)?)))
        .collect::<Result<Vec<_>, KafkaError>>()?;
    let (ranges, forbidden): (Vec<_>, Vec<_>) = ranges
        .into_iter()
        .zip(&forbidden)
        .filter(|(range, _)| range.start < range.end)
        .unzip();
    if ranges.is_empty() {
        return Ok(());
    }
    let mut look = Look {
        forbidden,
        cancel: shared.cancel,
    };
    match Consumer::open(kafka, &SourceOptions::default(), ranges)?.run(&mut look) {
        Ok(()) | Err(SourceError::Handler(None)) => Ok(()),
        Err(SourceError::Kafka(error)) => Err(error.into()),
        Err(SourceError::Handler(Some(found))) => Err(*found),
    }
}

fn forbidden(
    shared: &Shared<'_>,
    topics: &[TopicPlan],
    unknown: &[bool],
) -> Result<Vec<Forbidden>, RepoError> {
    let (mut forbidden, mut by_key) = (Vec::new(), BTreeMap::new());
    let mut unknown = unknown.iter();
    for (topic, restored) in topics.iter().zip(&shared.restore.topics) {
        for (index, partition) in topic.partitions.iter().enumerate() {
            if unknown.next() != Some(&true) {
                continue;
            }
            let place = partition.read.place().clone();
            let group = shared.restore.progress(restored, index).group;
            match partition
                .target_partition
                .and_then(|target| restored.target(target))
            {
                Some(target) => forbidden.push(Forbidden {
                    topic: topic.target.clone(),
                    partition: target.partition,
                    what: What::From(target.offset, Unknown { place, group }),
                }),
                None => {
                    by_key.insert(place, (topic.target.as_str(), group));
                }
            }
        }
    }
    if !by_key.is_empty() {
        forbidden.extend(named_by_pages(shared, &by_key)?);
    }
    Ok(forbidden)
}

/// A record of each page of these partitions, whose targets and groups they say.
fn named_by_pages(
    shared: &Shared<'_>,
    unknown: &BTreeMap<PartitionId, (&str, String)>,
) -> Result<Vec<Forbidden>, RepoError> {
    let (repository, runtime) = (shared.repository, shared.runtime);
    let mut named: BTreeMap<(&str, i32), BTreeMap<i64, Unknown>> = BTreeMap::new();
    for key in runtime.block_on(repository.map_page_keys(&shared.restore.restore))? {
        let page = runtime.block_on(repository.listed_map_page(&key))?;
        let place = page.place();
        if let (Some((topic, group)), Some(run)) = (unknown.get(&place), page.runs.last()) {
            let offsets = named.entry((topic, run.target_partition)).or_default();
            let group = group.clone();
            offsets.insert(run.target_offset, Unknown { place, group });
        }
    }
    let forbidden = |((topic, partition), offsets): ((&str, i32), _)| Forbidden {
        topic: topic.to_owned(),
        partition,
        what: What::At(offsets),
    };
    Ok(named.into_iter().map(forbidden).collect())
}

impl Forbidden {
    /// The offsets to look at.
    fn range(&self, end: &PartitionOffsets) -> PartitionRange {
        let (first, behind) = match &self.what {
            What::From(offset, _) => (*offset, i64::MAX),
            What::At(offsets) => (
                offsets
                    .first_key_value()
                    .map_or(i64::MAX, |(first, _)| *first),
                offsets
                    .last_key_value()
                    .map_or(0, |(last, _)| last.saturating_add(1)),
            ),
        };
        PartitionRange {
            topic: self.topic.clone(),
            partition: self.partition,
            start: first.max(end.log_start_offset),
            end: behind.min(end.last_stable_offset),
        }
    }

    /// What a record at this offset says of the progress.
    fn found(&self, offset: i64) -> Option<RestoreError> {
        let unknown = match &self.what {
            What::From(_, unknown) => unknown,
            What::At(offsets) => offsets.get(&offset)?,
        };
        Some(RestoreError::ProgressLost {
            group: unknown.group.clone(),
            source_place: unknown.place.to_string(),
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
        })
    }
}

struct Look<'a> {
    forbidden: Vec<&'a Forbidden>,
    cancel: &'a Cancel,
}

impl RecordHandler for Look<'_> {
    /// What ends the look before its end: what was found, or nothing for a signal.
    type Error = Option<Box<RestoreError>>;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Self::Error> {
        match self.forbidden[slot].found(record.offset) {
            Some(found) => Err(Some(Box::new(found))),
            None => Ok(()),
        }
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Self::Error> {
        match self.cancel.is_set() {
            true => Err(None),
            false => Ok(()),
        }
    }
}
