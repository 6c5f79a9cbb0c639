//! What to back up, where, and how.

use std::ops::RangeInclusive;
use std::time::Duration;

use kbk_format::Compression;
use kbk_format::repo::Location;

use super::acls::SaveAcls;
use crate::kafka::ClientSettings;
use crate::select::TopicSelection;

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
    /// The topics of the cluster to back up.
    pub selection: TopicSelection,
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
