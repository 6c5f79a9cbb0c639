//! One partition, past what is damaged.

use std::ops::{Range, RangeInclusive};

use kbk_format::repo::RepoError;
use kbk_format::{Gap, OffsetSpan, Record, Streams, TimestampType};
use tokio::runtime::Handle;

use super::error::ExportError;
use super::gap_reasons::GapReasons;
use super::json_lines::JsonLines;
use super::kafka_log::KafkaLog;
use super::output::Output;
use super::parquet::Parquet;
use super::plan::PlannedExport;
use super::report::{ExportFinding, ExportedPartition};
use super::{ExportEvents, ExportFormat, ExportOptions};
use crate::read::ReadPlan;

/// Takes the records of one partition, in offset order.
pub(super) trait RecordFile: Send {
    /// Returns whether this pass over the records takes this one.
    fn takes(&mut self, record: &Record<'_>) -> bool {
        let _ = record;
        true
    }

    fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ExportError>;

    /// Returns whether it keeps the reasons of gaps.
    fn keeps_gaps(&self) -> bool {
        false
    }

    /// Notes that offsets after those so far have no record, and why.
    fn gap(&mut self, gap: Gap) -> Result<(), ExportError> {
        let _ = gap;
        Ok(())
    }

    /// Notes that a block of the repository ends here.
    fn block_ended(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    /// Notes that records with these offsets are damaged: they are not pushed.
    fn missing(&mut self, offsets: OffsetSpan) {
        let _ = offsets;
    }

    /// Returns the times of records that it has not taken yet, at the end of a pass; `None` where it has all.
    fn next_pass(&mut self) -> Result<Option<RangeInclusive<i64>>, ExportError> {
        Ok(None)
    }

    /// Makes all files durable; `end_offset` is one past the last offset that was selected.
    fn finish(self: Box<Self>, end_offset: i64) -> Result<Written, ExportError>;
}

/// What the files of a partition are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) segments: u64,
    pub(super) bytes: u64,
}

/// A partition that is complete under its name, and what is not as it should be.
pub(super) type Exported = (ExportedPartition, Vec<ExportFinding>);

/// Writes a partition; `None` if it was stopped.
pub(super) async fn export(
    planned: PlannedExport,
    options: &ExportOptions,
    events: &dyn ExportEvents,
    runtime: &Handle,
) -> Result<Option<Exported>, ExportError> {
    let id = planned.read.partition_id().clone();
    let name_it = |error| match error {
        ExportError::Record { source, .. } => ExportError::Record {
            partition: format!("{}/{}", id.topic, id.partition),
            source,
        },
        error => error,
    };
    let output = Output::begin(&options.out, &planned.name)?;
    let mut findings = Vec::new();
    let mut file = create(&planned, &output, options.format, &mut findings)?;
    let mut reading = Reading {
        planned: &planned,
        events,
        runtime,
        records: 0,
        next_offset: planned.offsets.start,
        reasons: GapReasons::new(&planned),
        findings,
    };
    if !reading.read(&mut *file).await.map_err(name_it)? {
        return Ok(None);
    }
    let Reading {
        records, findings, ..
    } = reading;
    let written = file.finish(planned.offsets.end).map_err(name_it)?;
    let replaced = output.publish(options.overwrite)?;
    let exported = planned.exported(records, written, replaced);
    Ok(Some((exported, findings)))
}

fn create(
    planned: &PlannedExport,
    output: &Output,
    format: ExportFormat,
    findings: &mut Vec<ExportFinding>,
) -> Result<Box<dyn RecordFile>, ExportError> {
    let id = planned.read.partition_id();
    match format {
        ExportFormat::KafkaLog {
            codec,
            log,
            topic_id,
        } => {
            let topic_id = topic_id.or(planned.kafka_id);
            if topic_id.is_none() {
                findings.push(ExportFinding::no_topic_id(id));
            }
            let base_offset = planned.offsets.start;
            let file = KafkaLog::create(output.path(), base_offset, codec, log, topic_id)?;
            Ok(Box::new(file))
        }
        ExportFormat::JsonLines => Ok(Box::new(JsonLines::create(output.path(), id)?)),
        ExportFormat::Parquet(layout) => {
            Ok(Box::new(Parquet::create(output.path(), planned, layout)?))
        }
    }
}

/// Reads what is intact of a partition.
struct Reading<'a> {
    planned: &'a PlannedExport,
    events: &'a dyn ExportEvents,
    runtime: &'a Handle,
    records: u64,
    /// One past the last record.
    next_offset: i64,
    reasons: GapReasons,
    findings: Vec<ExportFinding>,
}

impl Reading<'_> {
    /// Passes all records to `file`; returns whether it was not stopped.
    async fn read(&mut self, file: &mut dyn RecordFile) -> Result<bool, ExportError> {
        let mut plan = self.planned.read.clone();
        let mut is_repeated = false;
        loop {
            if !self.read_pass(&plan, file, is_repeated).await? {
                return Ok(false);
            }
            let Some(times) = file.next_pass()? else {
                self.gap_to(self.planned.offsets.end, file).await?;
                return Ok(true);
            };
            plan = self.planned.read.clone().within_times(&times);
            is_repeated = true;
        }
    }

    /// Reads the records of a plan once; returns whether it was not stopped.
    async fn read_pass(
        &mut self,
        plan: &ReadPlan,
        file: &mut dyn RecordFile,
        is_repeated: bool,
    ) -> Result<bool, ExportError> {
        let mut from = self.planned.offsets.start;
        loop {
            let plan = plan.clone().from_offset(from);
            match self.read_from(plan, file, is_repeated).await? {
                Read::All => return Ok(true),
                Read::Stopped => return Ok(false),
                Read::Damaged(error) => from = self.past(from, error, file)?,
            }
        }
    }

    /// Reads until the end, or until what is damaged.
    async fn read_from(
        &mut self,
        plan: ReadPlan,
        file: &mut dyn RecordFile,
        is_repeated: bool,
    ) -> Result<Read, ExportError> {
        let mut reader = plan.read(Streams::All, self.runtime);
        loop {
            if self.events.is_stopped() {
                return Ok(Read::Stopped);
            }
            let batch = match reader.next().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Read::All),
                Err(error) => return Ok(Read::Damaged(Box::new(error))),
            };
            let mut records = 0;
            for record in batch.records() {
                if file.takes(&record) {
                    self.gap_to(record.offset, file).await?;
                    self.next_offset = record.offset + 1;
                    file.push(batch.timestamp_type(), &record)?;
                    records += 1;
                }
            }
            file.block_ended()?;
            self.records += records;
            // What is read again is no further progress in the repository.
            let stored_bytes = batch.stored_bytes();
            self.events
                .written(records, if is_repeated { 0 } else { stored_bytes });
        }
    }

    /// Says why there is no record before `offset`, to a file that keeps it.
    async fn gap_to(&mut self, offset: i64, file: &mut dyn RecordFile) -> Result<(), ExportError> {
        if offset <= self.next_offset || !file.keeps_gaps() {
            return Ok(());
        }
        let damaged: Vec<OffsetSpan> = self.findings.iter().filter_map(|it| it.offsets).collect();
        while self.next_offset < offset {
            let gap = self.next_offset..offset;
            let first = self.reasons.first(self.planned, gap, &damaged).await;
            self.next_offset = first.to_offset;
            file.gap(first)?;
        }
        Ok(())
    }

    /// Notes what is damaged, and returns where reading resumes. Any other error ends the export, and so does one that does not say where.
    fn past(
        &mut self,
        from: i64,
        error: Box<RepoError>,
        file: &mut dyn RecordFile,
    ) -> Result<i64, ExportError> {
        let Some((missing, next)) = missing(&self.planned.offsets, from, &error) else {
            return Err((*error).into());
        };
        // A further pass finds the same damage again.
        if !self.findings.iter().any(|it| it.offsets == Some(missing)) {
            let id = self.planned.read.partition_id();
            let finding = ExportFinding::damaged(id, missing, &error.to_string());
            self.findings.push(finding);
            file.missing(missing);
        }
        Ok(next)
    }
}

/// Returns which of the selected offsets are missing where reading from `from` on has met an error, and where it resumes; `None` if the error
/// does not say that of stored bytes.
pub(super) fn missing(
    selected: &Range<i64>,
    from: i64,
    error: &RepoError,
) -> Option<(OffsetSpan, i64)> {
    let (_, offsets) = error.records()?;
    let is_damage = error.kind().is_about_content() && offsets.end_offset > from;
    let within = offsets.base_offset.max(selected.start)..offsets.end_offset.min(selected.end);
    is_damage.then(|| (within.into(), offsets.end_offset))
}

/// How reading ended.
enum Read {
    All,
    Stopped,
    Damaged(Box<RepoError>),
}
