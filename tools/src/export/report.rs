//! What was written, and what is missing.

use kbk_format::repo::PartitionId;
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

use crate::unread_range::UnreadRange;

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// The partitions that are complete under their names, and those that were [not replaced](ExportedPartition::not_replaced), in order.
    pub partitions: Vec<ExportedPartition>,
    /// Number of their records.
    pub records: u64,
    /// Number of those that were counted and not read, as a dry run does: whether they are intact is not known. 0 after an export.
    pub unread_records: u64,
    /// Number of those in blocks of Kafka's own batches that were written as they are stored, and that nobody has decoded: the checksums of the
    /// batches match, and whether their records are well-formed is not known.
    pub not_decoded_records: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// What is not as it should be.
    pub findings: Vec<ExportFinding>,
    /// Whether a signal ended the export before it was done.
    pub interrupted: bool,
}

/// A partition that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedPartition {
    /// The topic's name.
    pub topic: String,
    /// The history's id.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The file or folder, in the folder that was exported to.
    pub name: String,
    /// The first offset that was selected.
    pub base_offset: i64,
    /// One past the last offset that was selected.
    pub end_offset: i64,
    /// Number of records.
    pub records: u64,
    /// Number of those in blocks of Kafka's own batches that were written as they are stored, and that nobody has decoded.
    pub not_decoded_records: u64,
    /// Number of segments of Kafka's logs, or of Parquet files; 1 of JSON lines.
    pub segments: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whether something of the name existed, which was replaced as a whole.
    pub replaced: bool,
    /// Whether something of the name existed and stays as it was, since selected records cannot be read, which it may have. Nothing was
    /// written then: there are 0 records and 0 bytes.
    pub not_replaced: bool,
    /// Folders in what was replaced that are not there any more, such as those of dates without a selected record. In a dry run, those
    /// of dates outside of the times of the selected records: there may be more.
    pub removed: Vec<String>,
}

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFindingKind {
    /// Records that are damaged in the repository, or missing: the export has a gap there.
    DamagedRecords,
    /// Records of an object that cannot be read although others can: the export has a gap there. The object may be whole.
    UnreadableRecords,
    /// The topic has no id of Kafka's, so there is no `partition.metadata`: a broker does not accept the folder without one.
    NoTopicId,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportFinding {
    /// What it is.
    pub kind: ExportFindingKind,
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The offsets that are missing; null where none are.
    pub offsets: Option<OffsetSpan>,
    /// The same for people.
    pub message: String,
}

impl ExportFinding {
    /// Says which offsets are missing, and why.
    pub(super) fn missing(id: &PartitionId, range: &UnreadRange) -> ExportFinding {
        let offsets = OffsetSpan::from(range.offsets());
        ExportFinding {
            kind: match range.is_about_content() {
                true => ExportFindingKind::DamagedRecords,
                false => ExportFindingKind::UnreadableRecords,
            },
            topic: id.topic.to_string(),
            partition: id.partition,
            offsets: Some(offsets),
            message: format!(
                "{}/{}: {offsets} are missing from the export: {}",
                id.topic,
                id.partition,
                range.reason()
            ),
        }
    }

    pub(super) fn no_topic_id(id: &PartitionId) -> ExportFinding {
        ExportFinding {
            kind: ExportFindingKind::NoTopicId,
            topic: id.topic.to_string(),
            partition: id.partition,
            offsets: None,
            message: format!(
                "{}/{}: the folder has no partition.metadata, since the cluster gave the topic no id; --topic-id states one",
                id.topic, id.partition
            ),
        }
    }
}

impl ExportReport {
    /// Returns whether everything that was selected is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty() && !self.interrupted
    }

    /// Returns whether records that were selected are known not to be there.
    #[must_use]
    pub fn lacks_records(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| match finding.kind {
            ExportFindingKind::DamagedRecords | ExportFindingKind::UnreadableRecords => true,
            ExportFindingKind::NoTopicId => false,
        })
    }

    pub(super) fn add(&mut self, exported: ExportedPartition, findings: Vec<ExportFinding>) {
        self.records += exported.records;
        self.not_decoded_records += exported.not_decoded_records;
        self.bytes += exported.bytes;
        self.partitions.push(exported);
        self.findings.extend(findings);
    }
}
