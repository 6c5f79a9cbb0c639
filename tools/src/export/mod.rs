//! `kbk export`: writes the records of a snapshot as files of other formats.
//!
//! ```text
//! snapshot -- plan --> partitions and their names -- one thread each --> .NAME.partial --> NAME
//! ```
//!
//! Read: the index, then the blocks of the selected partitions in offset order; of each partition, about as much as `kbk cat` holds.
//! Written: for each partition one file, or one folder of files, under a temporary name (`.NAME.partial`), each file flushed to the disk;
//! only then is it renamed. A crash leaves whole partitions under their names, and at most one temporary name per thread, which the
//! next export of the same partition removes. Nothing that exists is replaced unless the caller says so, and that is checked of
//! all names before anything is written; and nothing is replaced by an export that lacks records since they cannot be read.
//!
//! What can be missing: what the snapshot itself lacks ([`Completeness`]), and blocks that are
//! damaged in the repository or cannot be read. These become gaps in the file, since offsets are exact, and each is an [`ExportFinding`].
//!
//! | file | holds |
//! |---|---|
//! | `plan` | which partitions are written, under which names |
//! | `run` | all partitions, on all cores |
//! | `partition` | one partition, past what cannot be read |
//! | `count` | the same without writing anything |
//! | `missing` | what cannot be read |
//! | `gap_reasons` | why offsets have no record |
//! | `output` | temporary names, and how they become real ones |
//! | `kafka_log`, `json_lines`, `parquet` | the formats |
//! | `report` | what was written, and what is missing |
//! | `error` | why nothing more can be written |
//!
//! A further format is a variant of [`ExportFormat`] and a `RecordFile`.

mod count;
mod error;
mod gap_reasons;
mod json_lines;
mod kafka_log;
mod missing;
mod output;
mod parquet;
mod partition;
mod plan;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kbk_format::batch::BatchCodec;
use kbk_format::kafka_log::LogOptions;
use kbk_format::repo::Id;

#[cfg(doc)]
use crate::list::Completeness;

pub use self::error::ExportError;
pub use self::parquet::{ParquetFolders, ParquetLayout};
pub use self::plan::{ExportPlan, PlannedExport};
pub use self::report::{ExportFinding, ExportFindingKind, ExportReport, ExportedPartition};
pub use self::run::{dry_run, export};

/// What records become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A folder per partition as Kafka keeps it on a broker's disk.
    KafkaLog {
        /// How record batches are compressed that are built of records.
        codec: BatchCodec,
        /// Whether batches that are stored as Kafka's own stay as they are; otherwise all are built of their records.
        keeps_batches: bool,
        /// How the log is divided.
        log: LogOptions,
        /// What `partition.metadata` states; `None` for Kafka's id of the topic that was backed up.
        topic_id: Option<Id>,
    },
    /// A file per partition with a JSON object per line, as `kbk cat` prints it.
    JsonLines,
    /// A folder per partition with files of Apache Parquet.
    Parquet(ParquetLayout),
}

/// Where records go, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The folder; it is created where there is none.
    pub out: PathBuf,
    /// What is written.
    pub format: ExportFormat,
    /// Whether what exists is replaced, where all selected records can be read.
    pub overwrite: bool,
    /// Partitions that are written at the same time, at least 1.
    pub threads: usize,
}

/// Receives the progress of an export, from several threads.
pub trait ExportEvents: Send + Sync {
    /// Reports that more records were written; stored bytes of the repository.
    fn written(&self, records: u64, stored_bytes: u64) {
        let _ = (records, stored_bytes);
    }

    /// Returns whether the export is to end: a partition that is not complete is not kept.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Listens to nothing.
impl ExportEvents for () {}
