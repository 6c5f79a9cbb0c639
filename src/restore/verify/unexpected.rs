//! Finds records in the targets that the restore did not write.
//!
//! A restore that runs through knows how many offsets it took in each target: one per record, and one per transaction for its marker.
//! Where the log is longer, its committed records are counted; those of aborted transactions are invisible and do no harm. A restore that
//! was resumed, or that repeated a transaction, does not know how many offsets it took.

use std::collections::BTreeMap;

use kbk_format::{Record, TimestampType};

use crate::kafka::{
    ClientSettings, KafkaError, PartitionOffsets, PartitionRange, RecordHandler, SourceError,
    SourceOptions, TopicPartition,
};
use crate::records::{ChosenSource, RecordSource};
use crate::restore::plan::restore_plan::RestorePlan;
use crate::restore::report::UnexpectedRecords;
use crate::restore::write::written::Written;
use crate::run::Cancel;

/// Counts the records in each target that the restore did not write, in a run that knows all that it did write. `bounds` are those of the
/// targets now.
pub(crate) fn find(
    plan: &RestorePlan,
    written: &BTreeMap<TopicPartition, Written>,
    bounds: &BTreeMap<TopicPartition, PartitionOffsets>,
    kafka: &ClientSettings,
    cancel: &Cancel,
) -> Result<Vec<UnexpectedRecords>, KafkaError> {
    let (mut ranges, mut expected) = (Vec::new(), Vec::new());
    for topic in plan.topics() {
        for target in &topic.restored.targets {
            let partition = TopicPartition::new(topic.target(), target.partition);
            let (Some(written), Some(bounds)) = (written.get(&partition), bounds.get(&partition))
            else {
                continue;
            };
            let markers = match plan.is_transactional() {
                true => written.transactions,
                false => 0,
            };
            let end = target
                .offset
                .saturating_add_unsigned(written.records + markers);
            if bounds.high_watermark > end {
                let range = PartitionRange {
                    topic: partition.topic,
                    partition: partition.partition,
                    start: target.offset.max(bounds.log_start_offset),
                    end: bounds.last_stable_offset,
                };
                if range.start < range.end {
                    ranges.push(range);
                    expected.push(written.records);
                }
            }
        }
    }
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut count = Count {
        records: vec![0; ranges.len()],
        cancel,
    };
    match ChosenSource::open(
        plan.client,
        kafka,
        &SourceOptions::default(),
        ranges.clone(),
    )?
    .run(&mut count)
    {
        Ok(()) => {}
        Err(SourceError::Kafka(error)) => return Err(error),
        Err(SourceError::Handler(Stopped)) => return Ok(Vec::new()),
    }
    let counted = ranges.into_iter().zip(count.records).zip(expected);
    let unexpected = counted.map(|((range, found), expected)| UnexpectedRecords {
        topic: range.topic,
        partition: range.partition,
        expected,
        found,
    });
    Ok(unexpected
        .filter(|unexpected| unexpected.found > unexpected.expected)
        .collect())
}

/// Counts records by range.
struct Count<'a> {
    records: Vec<u64>,
    cancel: &'a Cancel,
}

/// A signal ended the count.
struct Stopped;

impl RecordHandler for Count<'_> {
    type Error = Stopped;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        _record: &Record<'_>,
    ) -> Result<(), Stopped> {
        self.records[slot] += 1;
        Ok(())
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), Stopped> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), Stopped> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Stopped> {
        match self.cancel.is_set() {
            true => Err(Stopped),
            false => Ok(()),
        }
    }
}
