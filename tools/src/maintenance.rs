//! What runs share that replace segments of the newest snapshot by others: `compact`, `index` and `recover`.
//!
//! They work partition by partition, prove what they have written, and commit: what is replaced at a time is at least so much that a run of days keeps
//! what it has done. Each recognises by the rows what another run has replaced meanwhile, and leaves it to that.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use kbk_format::repo::{
    Id, PartitionId, PartitionState, Replacement, RepoError, Repository, Snapshot, TopicName,
    Upkeep,
};

/// Partitions that are worked on at a time: one computes while another one waits for its store.
pub(crate) const PARTITIONS: usize = 2;
/// Bytes that are replaced by one commit, at least.
pub(crate) const COMMIT_BYTES: u64 = 64 << 30;

/// How a run works, and what its snapshots say of it.
#[derive(Clone, Debug)]
pub struct MaintenanceOptions {
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Program and version.
    pub writer: String,
    /// What was asked for, in words: the snapshot says it.
    pub policy: String,
    /// The present time.
    pub now: Timestamp,
}

/// Why a run ended early. What was committed before stays.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// A store failed, or a snapshot cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A segment could not be written.
    #[error("cannot write a segment of {partition}: {detail}")]
    Write {
        /// The partition.
        partition: String,
        /// What went wrong.
        detail: String,
    },
    /// The store does not return what was written.
    #[error(
        "{key} is not what was written: {detail}; nothing was replaced by it; check the store, then run the same command again"
    )]
    NotProven {
        /// The new segment, or the first of several.
        key: String,
        /// What differs.
        detail: String,
    },
}

/// Receives the progress of a run.
pub trait MaintenanceEvents: Send + Sync {
    /// Reports that more bytes were read.
    fn received(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reports that records and bytes of the segments that go are done.
    fn replaced(&self, records: u64, bytes: u64) {
        let _ = (records, bytes);
    }

    /// Reports that a new segment is durable.
    fn sealed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reports that a snapshot was committed.
    fn committed(&self, snapshot: u64) {
        let _ = snapshot;
    }

    /// Returns whether the run is to end at the next group of segments.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Listens to nothing.
impl MaintenanceEvents for () {}

/// Returns the partitions of these topics, with their states in the snapshot.
pub(crate) fn partitions<'a>(
    snapshot: &'a Snapshot,
    topics: &BTreeSet<(TopicName, Id)>,
) -> impl Iterator<Item = (PartitionId, &'a PartitionState)> {
    let topics = snapshot
        .topics
        .iter()
        .filter(|it| topics.contains(&(it.name.clone(), it.topic_id)));
    topics.flat_map(|topic| {
        let states = topic.partitions.iter();
        states.map(|state| (topic.partition_id(state.partition), state))
    })
}

/// What became of replacements.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The new snapshot, if there is one.
    pub(crate) snapshot: Option<u64>,
    /// The numbers of those that another run has overtaken: nothing was replaced by them.
    pub(crate) outdated: HashSet<usize>,
}

/// Commits replacements of segments that `snapshot` names, on top of whatever is the newest by now.
///
/// # Errors
///
/// As [`Repository::replace`].
pub(crate) async fn commit(
    (repository, snapshot): (&Repository, &Snapshot),
    command: &str,
    options: &MaintenanceOptions,
    replacements: &[Replacement],
) -> Result<Committed, RepoError> {
    if replacements.is_empty() {
        return Ok(Committed::default());
    }
    let upkeep = Upkeep {
        command: command.to_owned(),
        detail: options.policy.clone(),
        writer: options.writer.clone(),
        now: options.now,
    };
    let committed = repository.replace(replacements, snapshot.sequence, &upkeep);
    let committed = committed.await?;
    Ok(Committed {
        snapshot: committed.snapshot,
        outdated: committed.outdated.into_iter().collect(),
    })
}
