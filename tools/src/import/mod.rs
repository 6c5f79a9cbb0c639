//! `kbk import`: the logs of a broker that does not run, into a repository.
//!
//! ```text
//! folders -- find --> logs -- scan --> transactions, end -- import, one thread each --> segments -- all --> commit
//! ```
//!
//! Read: every `.log` file twice, and three times where there are transactions. The first walk looks at headers: where the log ends, and where
//! compaction was. With transactions it then reads everything, to find which were aborted, are open, or have lost their marker to damage. The
//! second decodes what is committed. `.index`, `.timeindex` and `.snapshot` are not needed; of the broker's checkpoints, those of starts and of
//! compaction are used.
//! Written: segments, each durable before the next; then one commit of all partitions, under a claim of the topics. A crash leaves
//! segments that no snapshot names, which `kbk prune` removes; the next run imports again from the start.
//!
//! A topic that the repository has already is imported as a history of its own beside the stored one, as `kbk backup --refresh` stores it: nothing
//! proves that a folder continues what is stored, so nothing is appended to it.
//!
//! What can be missing, and is said: batches that are damaged or cut off ([`ImportFinding`]; their offsets are gaps of unknown reason, and the
//! partition is incomplete), offsets between two files and transactions whose markers may be among what is missing (the same), what follows the
//! first open transaction (incomplete), partitions whose folders were not given or hold no log (incomplete), and records that no block can
//! hold (the partition ends before them). Offsets that compaction removed, markers and aborted records are
//! gaps with these reasons, and nothing is missing there.
//!
//! | file | holds |
//! |---|---|
//! | `folder` | finds the logs in folders |
//! | `log_file` | walks over the batches of one file, past what is damaged |
//! | `known_gaps` | what an export of kbk has noted beside a log: why offsets have no record |
//! | `scan` | the first walk: transactions, and where the log ends |
//! | `partition` | the second walk: from batches to records and gaps |
//! | `output` | from records and gaps to segments |
//! | `run` | claims the topics, stores all partitions, commits |
//! | `report` | what was imported, and what is missing |
//! | `error` | why nothing more can be imported |

mod error;
mod folder;
mod known_gaps;
mod log_file;
mod output;
mod partition;
mod report;
mod run;
mod scan;
#[cfg(test)]
mod tests;

use kbk_format::{Compression, PartitionNumber};

pub use self::error::ImportError;
pub use self::folder::{FoundLog, FoundLogs, find};
pub use self::report::{ImportFinding, ImportFindingKind, ImportReport, ImportedPartition};
pub(crate) use self::run::INTERNAL;
pub use self::run::{dry_run, import};

/// How segments are written.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The compression of their blocks.
    pub compression: Compression,
    /// Raw bytes per block.
    pub block_bytes: usize,
    /// Stored bytes after which a segment is sealed.
    pub segment_bytes: u64,
    /// Whether the folders are of another cluster than the newest snapshot, and that is intended.
    pub allow_cluster_change: bool,
    /// Partitions that are imported at the same time, at least 1.
    pub threads: usize,
    /// Program and version.
    pub writer: String,
}

/// Receives the progress of an import, from several threads.
pub trait ImportEvents: Send + Sync {
    /// Reports that more bytes of a log were read, and how many records to store they held.
    fn advanced(&self, records: u64, bytes: u64) {
        let _ = (records, bytes);
    }

    /// Reports that a segment is durable.
    fn sealed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Returns whether the import is to end: nothing is committed then.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Listens to nothing.
impl ImportEvents for () {}

/// Names a partition in messages.
fn name(topic: &str, partition: PartitionNumber) -> String {
    format!("{topic}/{partition}")
}
