//! One partition, past what cannot be read.

use std::ops::{Range, RangeInclusive};

use kbk_format::batch::BatchDecoder;
use kbk_format::repo::RepoError;
use kbk_format::{Gap, OffsetSpan, Record, Streams, TimestampType};
use tokio::runtime::Handle;

use super::error::ExportError;
use super::gap_reasons::GapReasons;
use super::json_lines::JsonLines;
use super::kafka_log::KafkaLog;
use super::missing::MissingRanges;
use super::output::Output;
use super::parquet::Parquet;
use super::plan::PlannedExport;
use super::report::{ExportFinding, ExportedPartition};
use super::{ExportEvents, ExportFormat, ExportOptions};
use crate::read::{Batch, ReadPlan, StoredBatches, StoredBlock};

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

    /// Returns the log that takes Kafka's own batches as they are, if it does.
    fn batches(&mut self) -> Option<&mut KafkaLog> {
        None
    }

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

    /// Notes that records with these offsets cannot be read: they are not pushed.
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

/// A partition that is complete under its name, or was not replaced, and what is not as it should be.
pub(super) type Exported = (ExportedPartition, Vec<ExportFinding>);

/// Writes a partition, unless it has records that cannot be read and something has its name; `None` if it was stopped.
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
        not_decoded: 0,
        next_offset: planned.offsets.start,
        reasons: GapReasons::new(&planned),
        missing: MissingRanges::of(&planned),
        decoder: BatchDecoder::new(),
    };
    for (offsets, _) in reading.missing.gaps() {
        file.missing(offsets);
    }
    if !reading.read(&mut *file).await.map_err(name_it)? {
        return Ok(None);
    }
    let Reading {
        records,
        not_decoded,
        missing,
        ..
    } = reading;
    // An earlier export may have what cannot be read any more: its copy may be the last one.
    if !missing.is_empty() && output.is_taken()? {
        return Ok(Some((planned.not_replaced(), missing.into_findings(&id))));
    }
    findings.extend(missing.into_findings(&id));
    let written = file.finish(planned.offsets.end).map_err(name_it)?;
    let replaced = output.publish(options.overwrite)?;
    let exported = ExportedPartition {
        not_decoded_records: not_decoded,
        ..planned.exported(records, written, replaced)
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
            keeps_batches,
            log,
            topic_id,
        } => {
            let topic_id = topic_id.or(planned.kafka_id);
            if topic_id.is_none() {
                findings.push(ExportFinding::no_topic_id(id));
            }
            let base_offset = planned.offsets.start;
            let compression = (codec, keeps_batches);
            let file = KafkaLog::create(output.path(), base_offset, compression, log, topic_id)?;
            Ok(Box::new(file))
        }
        ExportFormat::JsonLines => Ok(Box::new(JsonLines::create(output.path(), id)?)),
        ExportFormat::Parquet(layout) => {
            Ok(Box::new(Parquet::create(output.path(), planned, layout)?))
        }
    }
}

/// Reads what can be read of a partition.
struct Reading<'a> {
    planned: &'a PlannedExport,
    events: &'a dyn ExportEvents,
    runtime: &'a Handle,
    records: u64,
    /// Those of batches that nobody has decoded.
    not_decoded: u64,
    /// One past the last record.
    next_offset: i64,
    reasons: GapReasons,
    missing: MissingRanges,
    decoder: BatchDecoder,
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
                Read::Unreadable(error) => from = self.past(from, error, file)?,
            }
        }
    }

    /// Reads until the end, or until what cannot be read.
    async fn read_from(
        &mut self,
        plan: ReadPlan,
        file: &mut dyn RecordFile,
        is_repeated: bool,
    ) -> Result<Read, ExportError> {
        let reader = plan.read(Streams::All, self.runtime);
        // Each partition is exported by a thread of its own.
        let mut reader = reader.waiting_for_room();
        loop {
            if self.events.is_stopped() {
                return Ok(Read::Stopped);
            }
            let next = match file.batches() {
                Some(_) => reader.next_stored().await,
                None => {
                    let next = reader.next().await;
                    next.map(|batch| batch.map(StoredBlock::Records))
                }
            };
            let block = match next {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(Read::All),
                Err(error) => {
                    let error = self.planned.read.judged(error).await;
                    return Ok(Read::Unreadable(Box::new(error)));
                }
            };
            let (pushed, stored_bytes) = match block {
                StoredBlock::Records(batch) => {
                    let stored_bytes = batch.stored_bytes();
                    (Ok(self.push_records(&batch, file).await?), stored_bytes)
                }
                StoredBlock::Batches(batches) => {
                    let stored_bytes = batches.stored_bytes();
                    (self.push_batches(batches, file).await?, stored_bytes)
                }
            };
            let records = match pushed {
                Ok(records) => records,
                Err(error) => {
                    let error = self.planned.read.judged(error).await;
                    return Ok(Read::Unreadable(Box::new(error)));
                }
            };
            file.block_ended()?;
            self.records += records;
            // What is read again is no further progress in the repository.
            self.events
                .written(records, if is_repeated { 0 } else { stored_bytes });
        }
    }

    /// Passes the selected records of a block on, and returns their number.
    async fn push_records(
        &mut self,
        batch: &Batch<'_>,
        file: &mut dyn RecordFile,
    ) -> Result<u64, ExportError> {
        let mut records = 0;
        for record in batch.records() {
            if file.takes(&record) {
                self.gap_to(record.offset, file).await?;
                self.next_offset = record.offset + 1;
                file.push(batch.timestamp_type(), &record)?;
                records += 1;
            }
        }
        Ok(records)
    }

    /// Passes the batches of a block on as they are, or their selected records, and returns the number of records, or what is wrong with the block:
    /// then nothing of it is in the file, as the report says.
    async fn push_batches(
        &mut self,
        mut batches: StoredBatches<'_>,
        file: &mut dyn RecordFile,
    ) -> Result<Result<u64, RepoError>, ExportError> {
        let Some((block, lent)) = batches.lent().filter(|_| file.batches().is_some()) else {
            if let Err(error) = decoded(batches.clone(), &mut self.decoder) {
                return Ok(Err(error));
            }
            return self.push_records_of(batches, file).await;
        };
        let present = match present(&mut batches, &mut self.decoder) {
            Ok(present) => present,
            Err(error) => return Ok(Err(error)),
        };
        for offsets in present {
            self.gap_to(offsets.start, file).await?;
            self.next_offset = offsets.end;
        }
        if let Some(log) = file.batches() {
            log.push_block(&block, lent)?;
        }
        let records = u64::from(block.records);
        if !batches.is_computed() {
            self.not_decoded += records;
        }
        Ok(Ok(records))
    }

    /// Passes the selected records of a block of batches on, one by one.
    async fn push_records_of(
        &mut self,
        mut batches: StoredBatches<'_>,
        file: &mut dyn RecordFile,
    ) -> Result<Result<u64, RepoError>, ExportError> {
        let timestamp_type = batches.timestamp_type();
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut pushed = 0;
        loop {
            let batch = match batches.next() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            let records = match batch.records(&mut decoder) {
                Ok(records) => records,
                Err(error) => return Ok(Err(error)),
            };
            for record in records {
                self.gap_to(record.offset, file).await?;
                self.next_offset = record.offset + 1;
                file.push(timestamp_type, &record)?;
                pushed += 1;
            }
        }
        self.decoder = decoder;
        Ok(Ok(pushed))
    }

    /// Says why there is no record before `offset`, to a file that keeps it.
    async fn gap_to(&mut self, offset: i64, file: &mut dyn RecordFile) -> Result<(), ExportError> {
        if offset <= self.next_offset || !file.keeps_gaps() {
            return Ok(());
        }
        let missing = self.missing.gaps();
        while self.next_offset < offset {
            let gap = self.next_offset..offset;
            let first = self.reasons.first(self.planned, gap, &missing).await;
            self.next_offset = first.to_offset;
            file.gap(first)?;
        }
        Ok(())
    }

    /// Notes what cannot be read, and returns where reading resumes. Any other error ends the export, and so does one that does not say where.
    fn past(
        &mut self,
        from: i64,
        error: Box<RepoError>,
        file: &mut dyn RecordFile,
    ) -> Result<i64, ExportError> {
        let Some((next, missing)) = self.missing.add(self.planned, from, &error) else {
            return Err((*error).into());
        };
        if let Some(missing) = missing {
            file.missing(missing);
        }
        Ok(next)
    }
}

/// Fails unless all batches that may have a selected record can be decoded: before anything of their block is written.
fn decoded(mut batches: StoredBatches<'_>, decoder: &mut BatchDecoder) -> Result<(), RepoError> {
    while let Some(batch) = batches.next()? {
        batch.records(decoder).map(drop)?;
    }
    Ok(())
}

/// Returns the offsets of a block that have records, in order. Only batches are decoded that have a gap inside.
fn present(
    batches: &mut StoredBatches<'_>,
    decoder: &mut BatchDecoder,
) -> Result<Vec<Range<i64>>, RepoError> {
    let mut present: Vec<Range<i64>> = Vec::new();
    let mut add = |offsets: Range<i64>| match present.last_mut() {
        Some(last) if last.end == offsets.start => last.end = offsets.end,
        _ => present.push(offsets),
    };
    while let Some(batch) = batches.next()? {
        let header = batch.batch().header();
        let offsets = header.base_offset..header.last_offset.saturating_add(1);
        let covered = offsets.end.saturating_sub(offsets.start);
        if header.record_count.map(i64::from) == Some(covered) {
            add(offsets);
            continue;
        }
        for record in batch.records(decoder)? {
            add(record.offset..record.offset.saturating_add(1));
        }
    }
    Ok(present)
}

/// How reading ended.
enum Read {
    All,
    Stopped,
    Unreadable(Box<RepoError>),
}
