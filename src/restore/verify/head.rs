//! Checks, when a restore is resumed, that partitions without a committed position have no restored records.
//!
//! Brokers delete the committed offsets of an idle group after `offsets.retention.minutes`, a week by default. A restore that is resumed
//! later would start from the beginning, and append to the records that it wrote before.
//!
//! A target that belongs to one source partition must end where the restore found it. In a target that several source partitions share,
//! only the records that the partition's own offset map pages name count: pages are durable before their transaction is committed, so
//! their records are readable if it was committed, and not if it was aborted.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{PartitionId, RepoError};
use kbk_format::{PartitionNumber, Record, TimestampType};

use crate::kafka::{
    Admin, ClientSettings, PartitionOffsets, PartitionRange, RecordHandler, SourceError,
    SourceOptions, TopicPartition,
};
use crate::records::{ChosenSource, RecordSource};
use crate::restore::context::RestoreContext;
use crate::restore::error::RestoreError;
use crate::restore::plan::restore_plan::{RestorePlan, committed_at};
use crate::run::Cancel;

/// A target partition, and the records that it must not hold.
struct Forbidden {
    partition: TopicPartition,
    what: What,
}

/// Records that a target partition must not hold.
enum What {
    /// Any record from this offset on.
    From(i64, Unknown),
    /// A record at one of these offsets.
    At(BTreeMap<i64, Unknown>),
}

/// A source partition without a committed position, and the group that should have it.
#[derive(Clone)]
struct Unknown {
    id: PartitionId,
    group: String,
}

/// Fails if a partition of `unknown`, whose position is not committed, has records in its target. Records of aborted transactions are not
/// readable, so they do not count.
pub(crate) fn check(
    context: RestoreContext<'_>,
    plan: &RestorePlan,
    unknown: &BTreeSet<PartitionId>,
    kafka: &ClientSettings,
) -> Result<(), RestoreError> {
    let forbidden = forbidden(context, plan, unknown)?;
    if forbidden.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = forbidden
        .iter()
        .map(|forbidden| forbidden.partition.clone())
        .collect();
    let bounds = Admin::connect(kafka)?.offsets(&names)?;
    let (mut ranges, mut checked) = (Vec::new(), Vec::new());
    for forbidden in &forbidden {
        let range = forbidden.range(bounds.get(&forbidden.partition)?);
        if range.start < range.end {
            ranges.push(range);
            checked.push(forbidden);
        }
    }
    if ranges.is_empty() {
        return Ok(());
    }
    let mut search = Search {
        forbidden: checked,
        cancel: context.cancel,
    };
    match ChosenSource::open(plan.client, kafka, &SourceOptions::default(), ranges)?
        .run(&mut search)
    {
        Ok(()) | Err(SourceError::Handler(None)) => Ok(()),
        Err(SourceError::Kafka(error)) => Err(error.into()),
        Err(SourceError::Handler(Some(found))) => Err(*found),
    }
}

fn forbidden(
    context: RestoreContext<'_>,
    plan: &RestorePlan,
    unknown: &BTreeSet<PartitionId>,
) -> Result<Vec<Forbidden>, RepoError> {
    let (mut forbidden, mut by_key) = (Vec::new(), BTreeMap::new());
    for topic in plan.topics() {
        for (index, partition) in topic.partitions().enumerate() {
            let id = partition.reading.read.partition_id().clone();
            if !unknown.contains(&id) {
                continue;
            }
            let group = committed_at(context.manifest, topic.restored, index).group;
            let own = partition.restored.target_partition;
            match own.and_then(|target| topic.restored.target(target)) {
                Some(target) => forbidden.push(Forbidden {
                    partition: TopicPartition::new(topic.target(), target.partition),
                    what: What::From(target.offset, Unknown { id, group }),
                }),
                None => {
                    by_key.insert(id, (topic.target(), group));
                }
            }
        }
    }
    if !by_key.is_empty() {
        forbidden.extend(named_by_pages(context, &by_key)?);
    }
    Ok(forbidden)
}

/// Returns one record per offset map page of these partitions, which come with their target topics and groups.
fn named_by_pages(
    context: RestoreContext<'_>,
    unknown: &BTreeMap<PartitionId, (&str, String)>,
) -> Result<Vec<Forbidden>, RepoError> {
    let (repository, runtime) = (context.repository, context.runtime);
    let mut named: BTreeMap<(&str, PartitionNumber), BTreeMap<i64, Unknown>> = BTreeMap::new();
    for key in runtime.block_on(repository.map_page_keys(&context.manifest.restore))? {
        let page = runtime.block_on(repository.listed_map_page(&key))?;
        let id = page.partition_id();
        if let (Some((topic, group)), Some(run)) = (unknown.get(&id), page.runs.last()) {
            let offsets = named.entry((topic, run.target_partition)).or_default();
            let group = group.clone();
            offsets.insert(run.target_offset, Unknown { id, group });
        }
    }
    let forbidden = |((topic, partition), offsets): ((&str, PartitionNumber), _)| Forbidden {
        partition: TopicPartition::new(topic, partition),
        what: What::At(offsets),
    };
    Ok(named.into_iter().map(forbidden).collect())
}

impl Forbidden {
    /// Returns the offsets to read.
    fn range(&self, bounds: &PartitionOffsets) -> PartitionRange {
        let (first, end) = match &self.what {
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
            topic: self.partition.topic.clone(),
            partition: self.partition.partition,
            start: first.max(bounds.log_start_offset),
            end: end.min(bounds.last_stable_offset),
        }
    }

    /// Returns the error that a record at this offset is, if it is forbidden.
    fn found(&self, offset: i64) -> Option<RestoreError> {
        let unknown = match &self.what {
            What::From(_, unknown) => unknown,
            What::At(offsets) => offsets.get(&offset)?,
        };
        Some(RestoreError::ProgressLost {
            group: unknown.group.clone(),
            source_partition: unknown.id.to_string(),
            target: self.partition.clone(),
            offset,
        })
    }
}

struct Search<'a> {
    forbidden: Vec<&'a Forbidden>,
    cancel: &'a Cancel,
}

impl RecordHandler for Search<'_> {
    /// What ends the search early: the error, or nothing for a signal.
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
