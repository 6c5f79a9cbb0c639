//! The loop over partitions and groups of segments, and the commit.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    Adoptable, Id, PartitionId, PartitionState, Replacement, RepoError, Repository, SegmentEntry,
    Snapshot, TopicName,
};
use kbk_format::{KeyFilter, Segment};

use super::partition_result::{PartitionResult, finding};
use super::report::{CompactFindingKind, CompactReport, CompactRow};
use super::{CompactOptions, KeyFilters};
use crate::maintenance::{
    self, COMMIT_BYTES, Committed, MaintenanceError, MaintenanceEvents, PARTITIONS,
};
use crate::unusable::Unusable;

/// Compacts these topics of the newest snapshot.
///
/// # Errors
///
/// Why nothing more can be done. What was committed before stays.
pub async fn compact(
    repository: &Repository,
    snapshot: &Snapshot,
    topics: &BTreeSet<(TopicName, Id)>,
    options: &CompactOptions,
    events: Arc<dyn MaintenanceEvents>,
) -> Result<CompactReport, MaintenanceError> {
    let ignored = BTreeSet::new();
    let adoptable = repository.adoptable(Some(&snapshot.manifest), &ignored);
    let run = Run {
        repository,
        snapshot,
        options,
        events,
        adoptable: adoptable.await?,
    };
    let partitions = maintenance::partitions(snapshot, topics);
    let partitions: Vec<_> = partitions.filter(|(_, state)| state.segments > 0).collect();
    let mut report = CompactReport::default();
    let mut pending = Pending::default();
    let mut compacted = stream::iter(partitions)
        .map(|(id, state)| run.partition(id, state))
        .buffered(PARTITIONS);
    while let Some(compacted) = compacted.next().await {
        let compacted = compacted?;
        report.findings.extend(compacted.findings);
        report.interrupted |= compacted.interrupted;
        report.adopted_segments = report.adopted_segments.saturating_add(compacted.adopted);
        if options.run.dry_run {
            if compacted.row.segments > 0 {
                report.add(compacted.row);
            }
            continue;
        }
        pending.add(compacted.row, compacted.replacements);
        if pending.bytes >= COMMIT_BYTES {
            run.commit(&mut pending, &mut report).await?;
        }
    }
    run.commit(&mut pending, &mut report).await?;
    Ok(report)
}

pub(super) struct Run<'a> {
    pub(super) repository: &'a Repository,
    pub(super) snapshot: &'a Snapshot,
    pub(super) options: &'a CompactOptions,
    pub(super) events: Arc<dyn MaintenanceEvents>,
    /// What may be used of what interrupted runs left.
    pub(super) adoptable: Adoptable,
}

/// What is proved and not committed yet.
#[derive(Default)]
struct Pending {
    bytes: u64,
    rows: Vec<CompactRow>,
    replacements: Vec<Replacement>,
}

impl Pending {
    fn add(&mut self, row: CompactRow, replacements: Vec<Replacement>) {
        self.bytes = self.bytes.saturating_add(row.bytes);
        self.rows.push(row);
        self.replacements.extend(replacements);
    }
}

impl Run<'_> {
    /// Commits what is proved.
    async fn commit(
        &self,
        pending: &mut Pending,
        report: &mut CompactReport,
    ) -> Result<(), MaintenanceError> {
        let Pending {
            rows, replacements, ..
        } = std::mem::take(pending);
        if replacements.is_empty() {
            return Ok(());
        }
        let at = (self.repository, self.snapshot);
        let committed = maintenance::commit(at, "compact", &self.options.run, &replacements);
        let Committed { snapshot, outdated } = committed.await?;
        report.outdated_groups = report.outdated_groups.saturating_add(outdated.len() as u64);
        let gone = replacements.iter().enumerate();
        let gone = gone.filter(|(at, _)| outdated.contains(at));
        let gone: Vec<&Replacement> = gone.map(|(_, it)| it).collect();
        for mut row in rows {
            gone.iter().for_each(|it| row.take_back(it));
            if row.segments > 0 {
                report.add(row);
            }
        }
        if let Some(snapshot) = snapshot {
            report.snapshots.push(snapshot);
            self.events.committed(snapshot);
        }
        Ok(())
    }

    /// Merges what is small in a partition.
    async fn partition(
        &self,
        id: PartitionId,
        state: &PartitionState,
    ) -> Result<PartitionResult, MaintenanceError> {
        let mut compacted = PartitionResult {
            row: CompactRow::new(&id, state.segments),
            replacements: Vec::new(),
            findings: Vec::new(),
            adopted: 0,
            interrupted: self.events.is_stopped(),
        };
        if compacted.interrupted {
            return Ok(compacted);
        }
        let all = match self.repository.segments(self.snapshot, &id, state).await {
            Ok(all) => all,
            Err(error) => {
                let found = self.unusable(error).await?;
                let kind = CompactFindingKind::DamagedIndex;
                let message = &found.message;
                compacted.findings.push(finding(kind, &id, None, message));
                return Ok(compacted);
            }
        };
        let mut damaged = HashSet::new();
        let done = self.headers(&id, &all, &mut damaged, &mut compacted);
        let done = done.await?;
        match self.options.keep {
            None => {
                self.merge_groups(&id, &all, &done, &mut damaged, &mut compacted)
                    .await?;
            }
            Some(keep) => {
                while self
                    .keep_latest(&id, (&all, &done), keep, &mut damaged, &mut compacted)
                    .await?
                    .is_again()
                {}
            }
        }
        Ok(compacted)
    }

    /// Returns what is wrong with an object.
    ///
    /// # Errors
    ///
    /// Where it is not the object's fault: the snapshot was forgotten, or the store failed.
    pub(super) async fn unusable(&self, error: RepoError) -> Result<Unusable, RepoError> {
        Unusable::of(self.repository, self.snapshot.sequence, error).await
    }

    /// Returns whether a segment is old enough.
    pub(super) fn is_old(&self, entry: &SegmentEntry) -> bool {
        self.options.older_than.is_none_or(|moment| {
            // Of a segment without any timestamp nobody knows how old it is.
            entry.records == 0
                || entry.max_timestamp < moment
                    && match entry.is_computed() {
                        true => entry.min_known_timestamp.is_some(),
                        // Its bound was the timestamp of a record, or -1.
                        false => entry.max_timestamp != -1,
                    }
        })
    }

    /// Returns whether the segment is as asked for, but for its size, as far as its row says.
    pub(super) fn is_done_by_row(&self, entry: &SegmentEntry) -> bool {
        // New segments have columns: batches are always written anew.
        if entry.batches {
            return false;
        }
        match self.options.key_filters {
            KeyFilters::Kept => true,
            KeyFilters::All(_) => entry.key_filter,
            KeyFilters::Dropped => !entry.key_filter,
        }
    }

    /// Returns whether the rows of segments say whether they are as asked for.
    pub(super) fn rows_suffice(&self) -> bool {
        self.options.compression.is_none()
            && !matches!(self.options.key_filters, KeyFilters::All(Some(_)))
    }

    /// Returns whether the segment is as asked for, but for its size.
    pub(super) fn is_done(&self, segment: &Segment) -> bool {
        let wanted = self.options.compression.map(|it| it.to_string());
        let found = &segment.header().compression;
        let filter = segment.key_filter().map(KeyFilter::target);
        let has_filter = match self.options.key_filters {
            KeyFilters::All(Some(wanted)) => filter == Some(wanted),
            _ => true,
        };
        has_filter && wanted.is_none_or(|wanted| found.as_ref() == Some(&wanted))
    }

    /// Returns whether segments are written anew for anything but their size.
    pub(super) fn rewrites(&self) -> bool {
        self.options.compression.is_some() || self.options.key_filters != KeyFilters::Kept
    }
}
