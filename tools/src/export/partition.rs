//! One partition, past what is damaged.

use kbk_format::repo::RepoError;
use kbk_format::{OffsetSpan, Record, Streams, TimestampType};
use tokio::runtime::Handle;

use super::error::ExportError;
use super::json_lines::JsonLines;
use super::kafka_log::KafkaLog;
use super::output::Output;
use super::plan::PlannedExport;
use super::report::{ExportFinding, ExportedPartition};
use super::{ExportEvents, ExportFormat, ExportOptions};

/// Takes the records of one partition, in offset order.
pub(super) trait RecordFile: Send {
    fn push(
        &mut self,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), ExportError>;

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
        findings,
    };
    if !reading.read(&mut *file).await.map_err(name_it)? {
        return Ok(None);
    }
    let Reading {
        records, findings, ..
    } = reading;
    let written = file.finish(planned.offsets.end).map_err(name_it)?;
    output.publish(options.overwrite)?;
    let exported = ExportedPartition {
        topic: id.topic.to_string(),
        topic_id: id.topic_id.to_string(),
        partition: id.partition,
        name: planned.name.clone(),
        base_offset: planned.offsets.start,
        end_offset: planned.offsets.end,
        records,
        segments: written.segments,
        bytes: written.bytes,
    };
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
    }
}

/// Reads what is intact of a partition.
struct Reading<'a> {
    planned: &'a PlannedExport,
    events: &'a dyn ExportEvents,
    runtime: &'a Handle,
    records: u64,
    findings: Vec<ExportFinding>,
}

impl Reading<'_> {
    /// Passes all records to `file`; returns whether it was not stopped.
    async fn read(&mut self, file: &mut dyn RecordFile) -> Result<bool, ExportError> {
        let mut from = self.planned.offsets.start;
        loop {
            match self.read_from(from, file).await? {
                Read::All => return Ok(true),
                Read::Stopped => return Ok(false),
                Read::Damaged(error) => from = self.past(from, error)?,
            }
        }
    }

    /// Reads until the end, or until what is damaged.
    async fn read_from(
        &mut self,
        from: i64,
        file: &mut dyn RecordFile,
    ) -> Result<Read, ExportError> {
        let plan = self.planned.read.clone().from_offset(from);
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
                file.push(batch.timestamp_type(), &record)?;
                records += 1;
            }
            self.records += records;
            self.events.written(records, batch.stored_bytes());
        }
    }

    /// Notes what is damaged, and returns where reading resumes. Any other error ends the export, and so does one that does not say where.
    fn past(&mut self, from: i64, error: Box<RepoError>) -> Result<i64, ExportError> {
        let selected = &self.planned.offsets;
        let offsets = error.records().map(|(_, offsets)| offsets);
        let is_damage = error.kind().is_about_content();
        let Some(offsets) = offsets.filter(|it| is_damage && it.end_offset > from) else {
            return Err((*error).into());
        };
        let missing = OffsetSpan::from(
            offsets.base_offset.max(selected.start)..offsets.end_offset.min(selected.end),
        );
        let id = self.planned.read.partition_id();
        let finding = ExportFinding::damaged(id, missing, &error.to_string());
        self.findings.push(finding);
        Ok(offsets.end_offset)
    }
}

/// How reading ended.
enum Read {
    All,
    Stopped,
    Damaged(Box<RepoError>),
}
