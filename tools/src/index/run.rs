//! The loop over partitions and segments, and the commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    Id, PartitionId, PartitionState, RemovedRecords, Replacement, RepoError, Repository,
    SegmentEntry, Snapshot, TopicName,
};

use super::report::{IndexReport, IndexRow};
use super::segment::{SegmentError, compute};
use crate::compact::{CompactFinding, CompactFindingKind, finding};
use crate::maintenance::{
    self, COMMIT_BYTES, Committed, MaintenanceError, MaintenanceEvents, MaintenanceOptions,
    PARTITIONS,
};
use crate::unusable::Unusable;

/// Computes what is not computed of these topics of the newest snapshot.
///
/// # Errors
///
/// Why nothing more can be done. What was committed before stays.
pub async fn index(
    repository: &Repository,
    snapshot: &Snapshot,
    topics: &BTreeSet<(TopicName, Id)>,
    options: &MaintenanceOptions,
    events: Arc<dyn MaintenanceEvents>,
) -> Result<IndexReport, MaintenanceError> {
    let run = Run {
        repository,
        snapshot,
        options,
        events,
    };
    // A segment that is not computed has records, and makes the smallest timestamp of its partition unknown.
    let partitions = maintenance::partitions(snapshot, topics)
        .filter(|(_, state)| state.records > 0 && state.min_timestamp.is_none());
    let partitions: Vec<_> = partitions.collect();
    let mut report = IndexReport::default();
    let mut pending = Vec::new();
    let mut bytes = 0_u64;
    let mut done = stream::iter(partitions)
        .map(|(id, state)| run.partition(id, state))
        .buffered(PARTITIONS);
    while let Some(partition) = done.next().await {
        let partition = partition?;
        report.findings.extend(partition.findings);
        report.interrupted |= partition.interrupted;
        if options.dry_run {
            report.add(partition.planned);
            continue;
        }
        for replaced in partition.replaced {
            bytes = bytes.saturating_add(replaced.old.size);
            pending.push(replaced);
        }
        if bytes >= COMMIT_BYTES {
            run.commit(std::mem::take(&mut pending), &mut report)
                .await?;
            bytes = 0;
        }
    }
    run.commit(pending, &mut report).await?;
    Ok(report)
}

struct Run<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a MaintenanceOptions,
    events: Arc<dyn MaintenanceEvents>,
}

/// A segment, and the one that is proved to hold the same.
struct Replaced {
    id: PartitionId,
    old: SegmentEntry,
    new: SegmentEntry,
    content: u128,
}

/// What became of a partition.
struct PartitionResult {
    /// What a dry run would compute.
    planned: IndexRow,
    replaced: Vec<Replaced>,
    findings: Vec<CompactFinding>,
    interrupted: bool,
}

impl Run<'_> {
    async fn partition(
        &self,
        id: PartitionId,
        state: &PartitionState,
    ) -> Result<PartitionResult, MaintenanceError> {
        let mut result = PartitionResult {
            planned: IndexRow::new(&id),
            replaced: Vec::new(),
            findings: Vec::new(),
            interrupted: false,
        };
        let all = match self.repository.segments(self.snapshot, &id, state).await {
            Ok(all) => all,
            Err(error) => {
                let found = self.unusable(error).await?;
                let kind = CompactFindingKind::DamagedIndex;
                let message = &found.message;
                result.findings.push(finding(kind, &id, None, message));
                return Ok(result);
            }
        };
        for old in all.into_iter().filter(|entry| !entry.is_computed()) {
            if self.events.is_stopped() {
                result.interrupted = true;
                break;
            }
            if self.options.dry_run {
                result.planned.count(&old, None);
                continue;
            }
            let store = self.repository.store();
            match compute(store, &id, &old, &self.options.writer, &self.events).await {
                Ok(computed) => result.replaced.push(Replaced {
                    id: id.clone(),
                    old,
                    new: computed.added,
                    content: computed.content,
                }),
                Err(SegmentError::Unread(error)) => {
                    let found = self.unusable(error).await?;
                    let kind = CompactFindingKind::of_segment(&found);
                    let finding = finding(kind, &id, Some(&old), &found.message);
                    result.findings.push(finding);
                }
                Err(SegmentError::Fatal(error)) => return Err(error),
            }
        }
        Ok(result)
    }

    /// Returns what is wrong with an object.
    ///
    /// # Errors
    ///
    /// Where it is not the object's fault: the snapshot was forgotten, or the store failed.
    async fn unusable(&self, error: RepoError) -> Result<Unusable, RepoError> {
        Unusable::of(self.repository, self.snapshot.sequence, error).await
    }

    /// Commits what is proved.
    async fn commit(
        &self,
        replaced: Vec<Replaced>,
        report: &mut IndexReport,
    ) -> Result<(), MaintenanceError> {
        if replaced.is_empty() {
            return Ok(());
        }
        let replacements = replaced.iter().map(|it| Replacement {
            id: it.id.clone(),
            removed: vec![it.old.clone()],
            added: vec![it.new.clone()],
            removed_digest: Some(it.content),
            without: RemovedRecords::default(),
            recovered: None,
        });
        let replacements: Vec<Replacement> = replacements.collect();
        let at = (self.repository, self.snapshot);
        let committed = maintenance::commit(at, "index", self.options, &replacements);
        let Committed { snapshot, outdated } = committed.await?;
        report.outdated_segments = report
            .outdated_segments
            .saturating_add(outdated.len() as u64);
        let done = replaced.iter().enumerate();
        let done: Vec<&Replaced> = done
            .filter(|(at, _)| !outdated.contains(at))
            .map(|(_, it)| it)
            .collect();
        for partition in done.chunk_by(|a, b| a.id == b.id) {
            let mut row: Option<IndexRow> = None;
            for it in partition {
                let row = row.get_or_insert_with(|| IndexRow::new(&it.id));
                row.count(&it.old, Some(&it.new));
            }
            if let Some(row) = row {
                report.add(row);
            }
        }
        if let Some(snapshot) = snapshot {
            report.snapshots.push(snapshot);
            self.events.committed(snapshot);
        }
        Ok(())
    }
}
