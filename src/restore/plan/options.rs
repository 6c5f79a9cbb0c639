//! The arguments of a restore.

use std::collections::BTreeMap;

use kbk_format::repo::{RateLimit, TopicState};

use super::mapping::PartitionMapping;
use super::retention::RetentionChoice;
use super::selection::RecordSelection;
use crate::kafka::ClientSettings;
use crate::records::ClientChoice;
use crate::select::{DropHeaders, NamePattern, TopicRef};

/// What to restore, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// How to reach the target cluster.
    pub kafka: ClientSettings,
    /// Which client writes the records.
    pub client: ClientChoice,
    /// The target name of each selected topic of the snapshot.
    pub targets: BTreeMap<TopicRef, String>,
    /// Which of their records to restore.
    pub selection: RecordSelection,
    /// Which partition of the target each record goes to.
    pub mapping: PartitionMapping,
    /// Write into topics that already hold records.
    pub append: bool,
    /// Delete the records that targets already hold.
    pub purge: bool,
    /// Replication factor of created topics; as saved if `None`.
    pub replication_factor: Option<i32>,
    /// Read the records back once they are written, and compare them.
    pub verify: bool,
    /// Consumer groups to restore after the records, as patterns, and those of the snapshot that they select.
    pub group_patterns: Vec<NamePattern>,
    /// See `group_patterns`.
    pub groups: Vec<String>,
    /// Create missing ACLs after that.
    pub acls: bool,
    /// Write in transactions: exactly once, and resumable.
    pub transactions: bool,
    /// Keep an offset map in the repository. Transactions need it.
    pub offset_map: bool,
    /// What becomes of retention in created topics.
    pub retention: RetentionChoice,
    /// The write rate limit.
    pub rate_limit: RateLimit,
    /// Restore selected partitions that are incomplete in the snapshot.
    pub allow_partial: bool,
    /// Headers to leave out of every record.
    pub drop_headers: DropHeaders,
    /// What the plan is for.
    pub purpose: Purpose,
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be applied.
    #[default]
    Restore,
    /// To be shown: records are counted exactly, even where that takes decoding the blocks that a time bound cuts.
    DryRun,
    /// To compare the targets with what it would write.
    Compare,
}

impl RestoreOptions {
    /// Returns the replication factor to create a topic with; `None` is the cluster's default.
    pub(crate) fn replication_factor_of(&self, topic: &TopicState) -> Option<i32> {
        self.replication_factor
            .or(topic.known_replication_factor())
            .filter(|factor| *factor > 0)
    }
}
