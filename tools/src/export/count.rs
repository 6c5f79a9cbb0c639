//! Counts what an export would write, past what is damaged: reads footers, and of blocks that also hold other records, offsets and times.

use kbk_format::repo::RepoError;
use tokio::runtime::Handle;

use super::error::ExportError;
use super::partition::{Exported, Written, missing};
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
        planned,
        findings: Vec::new(),
    };
    let id = counting.planned.read.partition_id();
    if let ExportFormat::KafkaLog { topic_id: None, .. } = options.format
        && counting.planned.kafka_id.is_none()
    {
        counting.findings.push(ExportFinding::no_topic_id(id));
    }
    let needs = counting.open().await?;
    let cut = match needs.cut_blocks {
        0 => 0,
        _ => counting.read_cut().await?,
    };
    let Counting {
        planned,
        mut findings,
    } = counting;
    findings.sort_by_key(|finding| finding.offsets.map(|offsets| offsets.base_offset));
    let replaced = planned.replaces(options)?;
    let exported = planned.exported(needs.whole_records + cut, Written::default(), replaced);
    Ok((exported, findings))
}

struct Counting {
    planned: PlannedExport,
    findings: Vec<ExportFinding>,
}

impl Counting {
    /// Opens all segments, and returns what is read of those that are intact.
    async fn open(&mut self) -> Result<Needs, ExportError> {
        let of_segments = self.planned.read.clone();
        let (mut needs, mut damaged) = (Needs::default(), Vec::new());
        let opened = self.planned.read.open_each(|opened| {
            match opened {
                Ok(segment) => needs = needs + of_segments.needs(segment),
                Err(error) if error.kind().is_about_content() => damaged.push(error),
                Err(error) => return Err(error),
            }
            Ok(())
        });
        opened.await?;
        for error in damaged {
            // A segment of a snapshot that was forgotten meanwhile is missing for that reason.
            let error = self.planned.read.explain(error).await;
            self.damaged(self.planned.offsets.start, error)?;
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
            from = self.damaged(from, error)?;
        }
    }

    /// Notes what is damaged, and returns where reading resumes.
    fn damaged(&mut self, from: i64, error: RepoError) -> Result<i64, ExportError> {
        let Some((missing, next)) = missing(&self.planned.offsets, from, &error) else {
            return Err(error.into());
        };
        if !self.findings.iter().any(|it| it.offsets == Some(missing)) {
            let id = self.planned.read.partition_id();
            let finding = ExportFinding::damaged(id, missing, &error.to_string());
            self.findings.push(finding);
        }
        Ok(next)
    }
}
