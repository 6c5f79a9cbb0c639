//! Whether the targets of a restore that has committed nothing hold nothing of it.
//!
//! Brokers forget what a group has committed after a week. A restore that is gone on with later than that would begin at its
//! start, behind the records that are there already.

use kbk_format::{Record, TimestampType};

use super::apply::RestoreError;
use super::plan::PartitionPlan;
use crate::cli::Cancel;
use crate::kafka::{
    Admin, ClientSettings, PartitionRange, RecordSink, Source, SourceError, SourceOptions,
};

/// Fails if one of the partitions holds a committed record behind where the restore began. Records of a transaction that was
/// aborted are none.
pub(super) fn check<'a>(
    group: &str,
    partitions: impl Iterator<Item = (&'a str, &'a PartitionPlan)>,
    kafka: &ClientSettings,
    cancel: &Cancel,
) -> Result<(), RestoreError> {
    let partitions: Vec<_> = partitions.collect();
    let names: Vec<_> = partitions
        .iter()
        .map(|(topic, plan)| ((*topic).to_owned(), plan.target_partition))
        .collect();
    let ends = Admin::connect(kafka)?.offsets(&names)?;
    let ranges = names.into_iter().zip(partitions.iter().zip(ends));
    let ranges: Vec<_> = ranges
        .map(|((topic, partition), ((_, plan), end))| PartitionRange {
            topic,
            partition,
            start: plan.target_offset.max(end.log_start_offset),
            end: end.last_stable_offset,
        })
        .filter(|range| range.start < range.end)
        .collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let mut look = Look { cancel };
    let options = SourceOptions::default();
    match Source::open(kafka, &options, ranges.clone())?.run(&mut look) {
        Ok(()) | Err(SourceError::Sink(Found::Cancelled)) => Ok(()),
        Err(SourceError::Kafka(error)) => Err(error.into()),
        Err(SourceError::Sink(Found::Record { slot, offset })) => Err(RestoreError::ProgressLost {
            group: group.to_owned(),
            topic: ranges[slot].topic.clone(),
            partition: ranges[slot].partition,
            offset,
        }),
    }
}

struct Look<'a> {
    cancel: &'a Cancel,
}

/// What ends the look before its end.
enum Found {
    Record { slot: usize, offset: i64 },
    Cancelled,
}

impl RecordSink for Look<'_> {
    type Error = Found;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Found> {
        let offset = record.offset;
        Err(Found::Record { slot, offset })
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), Found> {
        Ok(())
    }

    fn finished(&mut self, _slot: usize) -> Result<(), Found> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Found> {
        if self.cancel.is_set() {
            return Err(Found::Cancelled);
        }
        Ok(())
    }
}
