//! Reads topics again in full where reading only what is new could bring deleted keys back.
//!
//! A tombstone deletes a key in a compacted topic, and is itself removed `delete.retention.ms` after the cleaner has seen it. One that is
//! written and removed between two backups is in neither of them, and the value that it deleted would be restored. A consumer that reads
//! everything does not see that value: so the topic is stored again, as a new history beside the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{Id, IncompleteReason, RepoError, Repository, Snapshot};

use super::notice::BackupNotice;
use super::plan::{BackupPlan, PlannedPartition, PlannedTopic};

/// Kafka's default of `delete.retention.ms`, for topics whose configuration is unknown.
const DELETE_RETENTION: Duration = Duration::from_hours(24);

/// When each topic was last backed up: when the backups that last saw one read the offsets.
pub(super) type BackupTimes = BTreeMap<u64, Timestamp>;

/// Reads when the backups were made that topics of the newest snapshot were last seen by: most sightings say so, and others need a
/// snapshot. A backup of which no snapshot is left that can be read has no time.
pub(super) async fn backup_times(
    repository: &Repository,
    newest: Option<&Snapshot>,
) -> Result<BackupTimes, RepoError> {
    let mut times = BackupTimes::new();
    let Some(newest) = newest else {
        return Ok(times);
    };
    let topics = newest.topics.iter().filter(|topic| !topic.deleted);
    let backups: BTreeSet<u64> = topics.map(|topic| topic.last_seen).collect();
    let mut kept: Option<Vec<u64>> = None;
    for backup in backups {
        if let Some(started_at) = newest.backup_started_at(backup) {
            times.insert(backup, started_at);
            continue;
        }
        let kept = match &mut kept {
            Some(kept) => kept,
            none => none.insert(repository.sequences().await?),
        };
        // Without its time, the topics are taken to have been backed up too long ago.
        let snapshot = repository.snapshot_of_backup(newest, backup, kept).await?;
        times.extend(snapshot.map(|snapshot| (backup, snapshot.started_at)));
    }
    Ok(times)
}

/// Plans to store topics as new histories: all that the run covers if it is `forced`, otherwise the compacted ones that have changed and
/// from which tombstones may have been removed since they were last backed up.
pub(super) fn refresh(plan: &mut BackupPlan, times: &BackupTimes, now: Timestamp, forced: bool) {
    for topic in &mut plan.topics {
        let stored = topic.partitions.iter().any(|it| it.stored.is_some());
        let expired = expired(topic, times, now);
        if stored && (forced || expired) {
            topic.begin_history(Id::random());
            plan.notices.push(BackupNotice::Refreshed {
                topic: topic.name.clone(),
                tombstones_expired: expired,
            });
        }
    }
}

/// Returns whether tombstones may have been written and removed since the topic was last backed up.
fn expired(topic: &PlannedTopic, times: &BackupTimes, now: Timestamp) -> bool {
    let has_new_records = topic.partitions.iter().any(|it| !it.read.is_empty());
    if !has_new_records || !topic.is_compacted() {
        return false;
    }
    if topic.partitions.iter().any(missed) {
        return true;
    }
    let since = topic.last_seen.and_then(|last_seen| times.get(&last_seen));
    // A clock that went back says nothing about the time that has passed.
    let elapsed = since.and_then(|since| Duration::try_from(now.duration_since(*since)).ok());
    elapsed.is_none_or(|elapsed| elapsed >= topic.delete_retention().unwrap_or(DELETE_RETENTION))
}

/// Returns whether the last backup did not read a partition because it had no leader, or a copy did not take it over, or its row was rebuilt,
/// so that nobody knows how long ago it was read.
fn missed(partition: &PlannedPartition) -> bool {
    let stored = partition.stored.as_ref();
    let stored = stored.filter(|state| state.end_offset > state.base_offset);
    let incomplete = stored.and_then(|state| state.incomplete.as_ref());
    incomplete.is_some_and(|incomplete| match incomplete.reason {
        IncompleteReason::NoLeader => partition.has_leader(),
        IncompleteReason::NotCopied | IncompleteReason::Rebuilt => true,
        _ => false,
    })
}
