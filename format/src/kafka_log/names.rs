//! Names of files and folders, in both directions.

use std::fmt;

use crate::PartitionNumber;

/// The first offset of each leader's epoch.
pub const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// The topic's id.
pub const METADATA_FILE: &str = "partition.metadata";
/// In the folder that holds those of partitions: where logs begin that were cut at a record (`DeleteRecords`).
pub const START_OFFSETS_FILE: &str = "log-start-offset-checkpoint";
/// In the same folder: up to where compaction has gone.
pub const CLEANED_OFFSETS_FILE: &str = "cleaner-offset-checkpoint";

/// A file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFile {
    /// Record batches.
    Log(i64),
    /// From offsets to positions.
    Index(i64),
    /// From times to offsets.
    TimeIndex(i64),
    /// Transactions that were aborted.
    TransactionIndex(i64),
}

impl LogFile {
    /// Parses the name of a file, `None` where it is not one of these. The number is the segment's first offset. Tiered storage may add
    /// an id to it, as in `00000000000000000000-ZNFy0IyNTqyDFVR7hpXCgg.log`.
    #[must_use]
    pub fn parse(name: &str) -> Option<LogFile> {
        let (stem, extension) = name.rsplit_once('.')?;
        let digits = stem.get(..LogFile::DIGITS)?;
        let rest = stem.get(LogFile::DIGITS..)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || !(rest.is_empty() || rest.starts_with('-')) {
            return None;
        }
        let offset = digits.parse().ok()?;
        match extension {
            "log" => Some(LogFile::Log(offset)),
            "index" => Some(LogFile::Index(offset)),
            "timeindex" => Some(LogFile::TimeIndex(offset)),
            "txnindex" => Some(LogFile::TransactionIndex(offset)),
            _ => None,
        }
    }

    const DIGITS: usize = 20;
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::Log(offset) => write!(f, "{offset:020}.log"),
            LogFile::Index(offset) => write!(f, "{offset:020}.index"),
            LogFile::TimeIndex(offset) => write!(f, "{offset:020}.timeindex"),
            LogFile::TransactionIndex(offset) => write!(f, "{offset:020}.txnindex"),
        }
    }
}

/// Returns the name of a partition's folder.
#[must_use]
pub fn partition_folder(topic: &str, partition: PartitionNumber) -> String {
    format!("{topic}-{partition}")
}

/// Parses the name of a partition's folder; `None` where it is another one, such as that of a partition that is being deleted or moved, or a
/// stray one.
#[must_use]
pub fn partition_of_folder(name: &str) -> Option<(&str, PartitionNumber)> {
    let (topic, number) = name.rsplit_once('-')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    // As Kafka writes it: a topic may end in `-01`.
    let plain = number == "0" || !number.starts_with('0');
    let number: i32 = number.parse().ok().filter(|_| is_number && plain)?;
    let number = PartitionNumber::new(number)?;
    (!topic.is_empty()).then_some((topic, number))
}
