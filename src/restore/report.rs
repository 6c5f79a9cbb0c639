//! What a restore of records did.

use std::collections::BTreeMap;
use std::fmt;

use kbk_format::repo::RestoreId;
use kbk_format::{PartitionNumber, counted};
use kbk_tools::list::Completeness;
use serde::Serialize;

use crate::compare::PartitionComparison;

/// What a restore of records did.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// Its name, under which the repository keeps its offset map.
    pub restore: RestoreId,
    /// The snapshot.
    pub snapshot: u64,
    /// Whether the snapshot has every record that was to be restored.
    pub saved: Completeness,
    /// How many of the selected offsets the cluster had deleted before they were read, so that no backup has them.
    pub lost_offsets: u64,
    /// How many offsets had expired before those that were restored: `kbk expire` removed them by their age.
    pub expired_offsets: u64,
    /// Whether it resumed an earlier run.
    pub resumed: bool,
    /// Whether it wrote in transactions.
    pub transactions: bool,
    /// Whether the repository keeps where each record went.
    pub offset_map: bool,
    /// Topics that were created.
    pub topics_created: usize,
    /// Topics that were written to.
    pub topics: usize,
    /// Target partitions that were written to.
    pub partitions: usize,
    /// At most how many records of the targets this run deleted first.
    pub purged_records: u64,
    /// Records that all replicas have, including those of earlier runs of this restore.
    pub records: u64,
    /// Headers that this run left out, as requested.
    pub dropped_headers: u64,
    /// Topics that were created with the cluster's defaults, since the snapshot does not have their configurations.
    pub config_missing: Vec<String>,
    /// Topics that keep `retention.ms` and `retention.bytes` at -1, as requested, or because their saved retention would delete records.
    pub retention_off: Vec<String>,
    /// Their saved retention, by topic; null for a value of the cluster.
    pub retention_saved: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// The brokers, for the command that sets it.
    #[serde(skip)]
    pub bootstrap_servers: String,
    /// The comparison with the backup, partition by partition; null if it was not requested, or not finished.
    pub proof: Option<Vec<PartitionComparison>>,
    /// Targets that hold records which this restore did not write, although it was to be the only one that writes to them.
    pub unexpected: Vec<UnexpectedRecords>,
    /// Whether a signal stopped the run, so that the topics hold only a part of the records.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// A target partition that holds more records than the restore wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnexpectedRecords {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// Records that the restore wrote.
    pub expected: u64,
    /// Records that are there, not counting those that were there before.
    pub found: u64,
}

impl fmt::Display for UnexpectedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnexpectedRecords {
            topic,
            partition,
            expected,
            found,
        } = self;
        write!(
            f,
            "{topic}/{partition}: expected {} of this restore, found {found}: another restore or producer has written to it \
             meanwhile",
            counted(*expected, "record")
        )
    }
}

impl RestoreReport {
    /// Returns the partitions that differ from the backup.
    pub fn different(&self) -> impl Iterator<Item = &PartitionComparison> + Clone {
        let compared = self.proof.iter().flatten();
        compared.filter(|partition| !partition.is_equal())
    }

    /// Returns whether every record of the snapshot is in the cluster, and equal where that was checked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.interrupted && self.different().next().is_none()
    }

    /// Returns whether the targets hold what the restore wrote, all of it, and nothing else, as far as that was checked.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.is_complete() && self.unexpected.is_empty()
    }
}
