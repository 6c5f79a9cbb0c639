//! Counts what an export would write, past what cannot be read: reads footers, and of blocks that also hold other records, offsets and times.

use kbk_format::repo::RepoError;
use tokio::runtime::Handle;

use super::error::ExportError;
use super::missing::MissingRanges;
use super::partition::{Exported, Written};
use super::plan::PlannedExport;
use super::report::ExportFinding;
use super::{ExportFormat, ExportOptions};
use crate::read::Needs;

/// Counts the records of a partition without writing them. Those of segments and blocks that cannot be read are not counted, and findings name
/// them. Damage elsewhere is not seen: values are not read.
pub(super) async fn count(
    planned: PlannedExport,
    options: &ExportOptions,
) -> Result<Exported, ExportError> {
    let mut counting = Counting {
        missing: MissingRanges::of(&planned),
        planned,
    };
    let mut findings = Vec::new();
    let id = counting.planned.read.partition_id().clone();
    if let ExportFormat::KafkaLog { topic_id: None, .. } = options.format
        && counting.planned.kafka_id.is_none()
    {
        findings.push(ExportFinding::no_topic_id(&id));
    }
    let needs = counting.open().await?;
    let cut = match needs.cut_blocks {
        0 => 0,
        _ => counting.read_cut().await?,
    };
    let Counting { planned, missing } = counting;
    let replaced = planned.replaces(options)?;
    if !missing.is_empty() && replaced.exists {
        return Ok((planned.not_replaced(), missing.into_findings(&id)));
    }
    findings.extend(missing.into_findings(&id));
    let exported = planned.exported(needs.whole_records + cut, Written::default(), replaced);
    Ok((exported, findings))
}

struct Counting {
    planned: PlannedExport,
    missing: MissingRanges,
}

impl Counting {
    /// Opens all segments, and returns what is read of those that are intact.
    async fn open(&mut self) -> Result<Needs, ExportError> {
        let of_segments = self.planned.read.clone();
        let (mut needs, mut unopened) = (Needs::default(), Vec::new());
        let opened = self.planned.read.open_each(|opened| {
            match opened {
                Ok(segment) => needs = needs + of_segments.needs(segment),
                Err(error) => {
                    let kind = error.kind();
                    if !kind.is_about_content() && !kind.may_be_about_one_object() {
                        return Err(error);
                    }
                    unopened.push(error);
                }
            }
            Ok(())
        });
        opened.await?;
        for error in unopened {
            self.missing(self.planned.offsets.start, error).await?;
        }
        Ok(needs)
    }

    /// Counts the selected records of blocks that hold others, too.
    async fn read_cut(&mut self) -> Result<u64, ExportError> {
        let (mut records, mut from) = (0, self.planned.offsets.start);
        loop {
            let plan = self.planned.read.clone().from_offset(from);
            let mut reader = plan.read_cut(&Handle::current());
            let error = loop {
                match reader.next().await {
                    Ok(Some(batch)) => records += batch.records().count() as u64,
                    Ok(None) => return Ok(records),
                    Err(error) => break error,
                }
            };
            from = self.missing(from, error).await?;
        }
    }

    /// Notes what cannot be read, and returns where reading resumes.
    async fn missing(&mut self, from: i64, error: RepoError) -> Result<i64, ExportError> {
        // A segment of a snapshot that was forgotten meanwhile is missing for that reason.
        let error = self.planned.read.judged(error).await;
        match self.missing.add(&self.planned, from, &error) {
            Some((next, _)) => Ok(next),
            None => Err(error.into()),
        }
    }
}
