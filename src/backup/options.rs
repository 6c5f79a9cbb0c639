//! What to back up, where, and how.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use kbk_format::Compression;
use kbk_format::repo::Location;

use super::acls::SaveAcls;
use crate::kafka::ClientSettings;
use crate::records::ClientChoice;
use crate::select::TopicSelection;

/// What records are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Batches where the source compresses them, columns where not.
    #[default]
    Auto,
    /// Columns, which are compressed anew.
    Records,
    /// Kafka's own batches as they are, but for those that no block can hold.
    Batches,
}

impl Encoding {
    /// All there are.
    pub const ALL: [Encoding; 3] = [Encoding::Auto, Encoding::Records, Encoding::Batches];

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Auto => "auto",
            Encoding::Records => "records",
            Encoding::Batches => "batches",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The arguments of a backup.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The repository.
    pub location: Location,
    /// Damaged snapshots to pass over: the newest of the others is continued.
    pub ignored_snapshots: Vec<RangeInclusive<u64>>,
    /// Create the repository if there is none at the location; otherwise that is an error.
    pub create: bool,
    /// Create it even in a bucket that lets two writers create the same object.
    pub single_writer: bool,
    /// How to reach the cluster.
    pub kafka: ClientSettings,
    /// The client that reads records.
    pub client: ClientChoice,
    /// The topics of the cluster to back up.
    pub selection: TopicSelection,
    /// What records are stored as.
    pub encoding: Encoding,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Raw bytes per block.
    pub block_bytes: usize,
    /// Stored bytes after which a segment is sealed.
    pub segment_bytes: u64,
    /// How long to wait for transactions that are open at the start.
    pub open_transactions_wait: Duration,
    /// Whether to save the consumer groups; if not, the snapshot keeps those of the last one.
    pub groups: bool,
    /// Whether to save the ACLs.
    pub acls: SaveAcls,
    /// Whether to read all selected topics again in full.
    pub refresh: bool,
    /// Whether to back up a cluster other than the one that the newest snapshot is of.
    pub allow_cluster_change: bool,
}
