//! What was imported, and what is missing.

use std::path::{Path, PathBuf};

use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

/// What an import stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The snapshot that was committed; null where nothing was, because a signal ended the import.
    pub snapshot: Option<u64>,
    /// The partitions, in order.
    pub partitions: Vec<ImportedPartition>,
    /// Number of records that were stored.
    pub records: u64,
    /// Bytes of the segments that were stored.
    pub stored_bytes: u64,
    /// Number of segments that were stored.
    pub segments: u64,
    /// What is not as it should be.
    pub findings: Vec<ImportFinding>,
    /// Whether a signal ended the import before it was done.
    pub interrupted: bool,
}

/// A partition that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportedPartition {
    /// The topic's name.
    pub topic: String,
    /// The history's id in the repository.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Where the log begins.
    pub base_offset: i64,
    /// One past the last offset that was stored.
    pub end_offset: i64,
    /// One past the last offset of the log.
    pub log_end_offset: i64,
    /// Number of records.
    pub records: u64,
    /// Number of records of aborted transactions, and of markers, which are not stored.
    pub left_out: u64,
}

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportFindingKind {
    /// Bytes of a log that are no batch, or one that is damaged: it was skipped.
    DamagedBatch,
    /// The last file of a log ends within a batch, as after a crash.
    TornTail,
    /// A transaction is open: it, and what follows its first record, is not stored.
    OpenTransaction,
    /// Records of a transaction whose marker may be in what is damaged or missing: they are not stored.
    UnprovenTransaction,
    /// Offsets between two files are in neither, and nothing shows that compaction removed them.
    GapBetweenFiles,
    /// The broker has noted that the log begins beyond its end: what the files hold is stored.
    StartBeyondEnd,
    /// The broker has noted that the log begins behind offsets that files still hold: they were deleted, and are not stored.
    DeletedRecords,
    /// No folder of a partition of the topic was given, or nothing of it can be read.
    MissingPartition,
    /// Records that the repository lacked which the log was exported from, as `kbk-gaps` beside it says.
    MissingInExport,
    /// `kbk-gaps` beside a log is damaged: why offsets have no record is not known.
    DamagedGapFile,
    /// The offsets of the last batch, which no checksum covers, are not those that follow, and nothing shows that compaction removed others.
    UnprovenOffsets,
    /// A folder without `partition.metadata`: nothing proves that it is of the same topic as the others.
    NoTopicId,
    /// A record that no block can hold: the partition ends before it.
    TooLarge,
    /// A compaction was not finished: files that end in `.swap` hold what may be missing.
    UnfinishedCompaction,
    /// The repository had the topic: what was imported is a history of its own beside the stored one.
    StoredBeside,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportFinding {
    /// What it is.
    pub kind: ImportFindingKind,
    /// The topic's name.
    pub topic: String,
    /// The partition's number; null where it is about the topic.
    pub partition: Option<PartitionNumber>,
    /// The file, where it is about one.
    pub file: Option<PathBuf>,
    /// The position in the file, in bytes.
    pub position: Option<u64>,
    /// The offsets that are missing, as far as that is known.
    pub offsets: Option<OffsetSpan>,
    /// The same for people.
    pub message: String,
}

impl ImportFinding {
    pub(super) fn new(
        kind: ImportFindingKind,
        topic: &str,
        partition: Option<PartitionNumber>,
        message: String,
    ) -> ImportFinding {
        let place = match partition {
            Some(partition) => super::name(topic, partition),
            None => topic.to_owned(),
        };
        ImportFinding {
            kind,
            topic: topic.to_owned(),
            partition,
            file: None,
            position: None,
            offsets: None,
            message: format!("{place}: {message}"),
        }
    }

    pub(super) fn in_file(mut self, file: &Path, position: u64) -> ImportFinding {
        self.file = Some(file.to_owned());
        self.position = Some(position);
        self
    }

    pub(super) fn of_offsets(mut self, offsets: OffsetSpan) -> ImportFinding {
        self.offsets = Some(offsets);
        self
    }

    /// Returns the message without the partition, which it begins with.
    pub(super) fn detail(&self) -> &str {
        let parts = self.message.split_once(": ");
        parts.map_or(&*self.message, |(_, detail)| detail)
    }

    /// Returns whether records are missing because of it.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        !matches!(
            self.kind,
            ImportFindingKind::StoredBeside
                | ImportFindingKind::DeletedRecords
                | ImportFindingKind::NoTopicId
        )
    }
}

impl ImportReport {
    /// Returns whether everything that the logs hold is stored.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.findings.iter().any(ImportFinding::is_loss)
    }
}
