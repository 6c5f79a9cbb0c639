//! What a backup did.

use std::time::Duration;

use kbk_format::repo::{Change, FoundAcls, Snapshot};
use kbk_tools::list::Completeness;
use serde::Serialize;

use super::notice::BackupNotice;
use super::options::BackupOptions;

/// What a backup did. Counts cover this run only.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// The snapshot that was committed.
    pub snapshot: u64,
    /// The repository's location.
    #[serde(skip)]
    pub repository: String,
    /// Whether the snapshot has every record that the cluster had, and which partitions do not.
    #[serde(flatten)]
    pub completeness: Completeness,
    /// Topics that were selected.
    pub topics: usize,
    /// Their partitions.
    pub partitions: usize,
    /// Consumer groups that were saved; null if they were not requested or not returned.
    pub groups: Option<usize>,
    /// ACLs that were saved; null if they were not requested or not returned.
    pub acls: Option<SavedAcls>,
    /// Records that were added.
    pub records: u64,
    /// Their bytes, or those of Kafka's own batches, before kbk compresses them.
    pub raw_bytes: u64,
    /// Bytes of the segments that were added.
    pub stored_bytes: u64,
    /// Segments that were added.
    pub segments: usize,
    /// Segments among them whose batches were not decoded: digests, times and sizes are not computed.
    pub not_computed_segments: usize,
    /// Everything that the user should know.
    pub findings: Vec<BackupNotice>,
    /// Whether a signal stopped the run. What was read until then is in the snapshot.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// The ACLs that a backup saved.
#[derive(Clone, Debug, Serialize)]
pub struct SavedAcls {
    /// How many.
    pub saved: usize,
    /// How many the Kafka client could not represent.
    pub left_out: u64,
    /// Whether the cluster has an authorizer; without one it has no ACLs.
    pub authorizer: bool,
}

impl From<&FoundAcls> for SavedAcls {
    fn from(found: &FoundAcls) -> SavedAcls {
        SavedAcls {
            saved: found.acls.len(),
            left_out: found.left_out,
            authorizer: found.authorizer,
        }
    }
}

/// Sums up what was committed.
pub(super) fn report(
    change: &Change,
    notices: Vec<BackupNotice>,
    snapshot: &Snapshot,
    options: &BackupOptions,
    interrupted: bool,
    elapsed: Duration,
) -> BackupReport {
    let partitions = || change.topics.iter().flat_map(|topic| &topic.partitions);
    let segments = || partitions().flat_map(|partition| &partition.segments);
    BackupReport {
        snapshot: snapshot.sequence,
        repository: options.location.to_string(),
        completeness: Completeness::of(snapshot),
        topics: change.topics.len(),
        partitions: partitions().count(),
        groups: change.groups.as_ref().map(|found| found.groups.len()),
        acls: change.acls.as_ref().map(SavedAcls::from),
        records: segments().map(|segment| segment.records).sum(),
        raw_bytes: segments().map(|segment| segment.raw_bytes).sum(),
        stored_bytes: segments().map(|segment| segment.size).sum(),
        segments: segments().count(),
        not_computed_segments: segments().filter(|it| !it.is_computed()).count(),
        findings: notices,
        interrupted,
        seconds: elapsed.as_secs_f64(),
    }
}
