//! Replaces what is damaged: searches, writes, proves, and commits once.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use kbk_format::repo::{
    Id, PartitionId, Recovered, RemovedRecords, Replacement, Repository, SegmentEntry, Snapshot,
};
use kbk_format::salvage::write_parts;
use kbk_format::{FileHeader, GapReason, IsolationLevel, OffsetSpan};

use super::displaced::Displaced;
use super::donor::{Donor, DonorPartition, NotTaken};
use super::events::RecoverEvents;
use super::older::OlderSnapshots;
use super::plan::{RecoveryPlan, Target};
use super::recovery::{RecoveredRow, Recovery};
use super::salvaged::{Places, Salvaged};
use super::written::{Expected, write_segment};
use crate::maintenance::{self, Committed, MaintenanceError, MaintenanceOptions};
use crate::verify::{Finding, FindingKind};

/// Segments that are worked on at a time: one is searched while another one waits for its store.
const SEGMENTS: usize = 2;

/// What became of a segment.
enum Done {
    Replaced(Box<RecoveredRow>, Option<Box<Replacement>>),
    /// It stays as it is, and nothing new is lost of it. Why nothing was taken from the other repository, for people.
    Kept(Vec<String>),
    Found(Box<Finding>),
}

struct Run<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a MaintenanceOptions,
    donor: Option<&'a Donor>,
    older: OlderSnapshots<'a>,
    displaced: Displaced,
    events: &'a dyn RecoverEvents,
}

/// Replaces the damaged segments of a plan by what they prove, and by what another repository has.
///
/// # Errors
///
/// Why nothing was changed. What is lost is no error.
pub async fn recover(
    repository: &Repository,
    snapshot: &Snapshot,
    plan: &RecoveryPlan,
    donor: Option<&Donor>,
    options: &MaintenanceOptions,
    events: Arc<dyn RecoverEvents>,
) -> Result<Recovery, MaintenanceError> {
    let run = Run {
        repository,
        snapshot,
        options,
        donor,
        older: OlderSnapshots::of(repository, snapshot.sequence).await?,
        displaced: Displaced::find(repository, snapshot, &plan.targets).await?,
        events: &*events,
    };
    let mut recovery = Recovery {
        segments: plan.verified,
        findings: plan.findings.clone(),
        lost_records: Some(0),
        damaged_offsets: plan.lost_before,
        ..Recovery::default()
    };
    let donors = run.donors(plan, &mut recovery).await?;
    let mut replaced = Vec::new();
    {
        let mut done = stream::iter(&plan.targets)
            .map(async |target| {
                let donor = run.donor.zip(donors.get(&target.id));
                (target, run.segment(target, donor).await)
            })
            .buffered(SEGMENTS);
        while let Some((target, done)) = done.next().await {
            match done? {
                Done::Kept(refused) => recovery.not_taken.extend(refused),
                Done::Found(finding) => recovery.findings.push(*finding),
                Done::Replaced(row, replacement) => {
                    replaced.push((target, row, replacement));
                }
            }
            if run.events.is_stopped() {
                recovery.interrupted = true;
                return Ok(recovery);
            }
        }
    }
    run.commit(replaced, &mut recovery).await?;
    Ok(recovery)
}

type Row<'a> = (&'a Target, Box<RecoveredRow>, Option<Box<Replacement>>);

impl Run<'_> {
    /// Finds out what the other repository has of the partitions of a plan.
    async fn donors(
        &self,
        plan: &RecoveryPlan,
        recovery: &mut Recovery,
    ) -> Result<HashMap<PartitionId, DonorPartition>, MaintenanceError> {
        let mut donors = HashMap::new();
        let Some(donor) = self.donor else {
            return Ok(donors);
        };
        for partition in plan.targets.chunk_by(|a, b| a.id == b.id) {
            let Some(Target { id, .. }) = partition.first() else {
                continue;
            };
            let Some(state) = self.snapshot.partition(id) else {
                continue;
            };
            let ours = self.repository.segments(self.snapshot, id, state).await?;
            let place = format!("{}/{}", id.topic, id.partition);
            let of = (self.repository, self.snapshot);
            let message = match donor.partition(id, of, &ours, state).await? {
                Ok(found) => {
                    donors.insert(id.clone(), found);
                    continue;
                }
                Err(NotTaken::Absent) => format!("{} has nothing of {place}", donor.url()),
                Err(NotTaken::Unreadable(error)) => {
                    format!("nothing of {place} was taken from {}: {error}", donor.url())
                }
                Err(NotTaken::Contradictory(offsets)) => format!(
                    "nothing of {place} was taken from {}: it states other records of {offsets}, so that it has another log",
                    donor.url()
                ),
            };
            recovery.not_taken.push(message);
        }
        Ok(donors)
    }

    /// Searches for what is left of a segment, and writes it.
    async fn segment(
        &self,
        target: &Target,
        donor: Option<(&Donor, &DonorPartition)>,
    ) -> Result<Done, MaintenanceError> {
        let Target {
            id,
            entry,
            lost,
            damage,
            ..
        } = target;
        // A segment that was recovered itself states what was left of it.
        let stated = match (lost.is_empty(), donor) {
            (true, _) => Some((entry.records, entry.content())),
            (false, None) => None,
            (false, Some(_)) => {
                let offsets = OffsetSpan::from(entry.base_offset..entry.end_offset);
                self.older.before_damage(id, offsets).await?
            }
        };
        let places = Places {
            displaced: self.displaced.of(entry.segment_id),
            donor,
        };
        let salvaged = Salvaged::of(self.repository, (id, entry), lost, stated, places).await?;
        self.events.searched(salvaged.searched());
        if damage.is_empty() && !salvaged.is_filled() && !salvaged.is_whole {
            return Ok(Done::Kept(salvaged.refused));
        }
        if salvaged.contradicts_row() {
            let message = format!(
                "its blocks are intact and hold {} records, and its row states {}: one of the two is wrong",
                salvaged.records, entry.records
            );
            let finding = Finding::of_segment(FindingKind::DamagedSegment, &message, id, entry);
            return Ok(Done::Found(Box::new(finding)));
        }
        let mut row = RecoveredRow::of(id, entry, damage, &salvaged);
        if self.options.dry_run {
            return Ok(Done::Replaced(Box::new(row), None));
        }
        let lost = salvaged.lost.spans();
        let added = self.write(id, entry, salvaged).await?;
        row.new_key = Some(added.key.clone());
        let replacement = Replacement {
            id: id.clone(),
            removed: vec![entry.clone()],
            added: vec![added],
            removed_digest: None,
            without: RemovedRecords::default(),
            recovered: Some(Recovered {
                lost,
                named_since: None,
            }),
        };
        Ok(Done::Replaced(Box::new(row), Some(Box::new(replacement))))
    }

    /// Writes the new segment, reads it back, and compares it with what was proved.
    async fn write(
        &self,
        id: &PartitionId,
        entry: &SegmentEntry,
        salvaged: Salvaged,
    ) -> Result<SegmentEntry, MaintenanceError> {
        let created_at = self.snapshot.created_at;
        let header = header(id, entry, &salvaged, (&self.options.writer, created_at));
        let expected = Expected {
            offsets: entry.base_offset..entry.end_offset,
            records: salvaged.records,
            content_digest: Some(salvaged.digests.content),
        };
        // Where the row proves that no record is missing, what no block covers had none.
        let reason = match salvaged.is_whole {
            true => GapReason::Unknown,
            false => GapReason::Damaged,
        };
        let end = entry.end_offset;
        let write = move |header, upload| {
            salvaged.with_parts(|parts| write_parts(parts, end, reason, header, upload))
        };
        let added = write_segment(self.repository, id, header, expected, write).await?;
        self.events.sealed(added.size);
        Ok(added)
    }

    /// Commits what was written, all of it at once.
    async fn commit(
        &self,
        replaced: Vec<Row<'_>>,
        recovery: &mut Recovery,
    ) -> Result<(), MaintenanceError> {
        let replacements = replaced.iter().filter_map(|(_, _, it)| it.as_deref());
        let mut replacements: Vec<Replacement> = replacements.cloned().collect();
        self.find_older(&replaced, &mut replacements).await?;
        let at = (self.repository, self.snapshot);
        let committed = maintenance::commit(at, "recover", self.options, &replacements);
        let Committed { snapshot, outdated } = committed.await?;
        recovery.snapshot = snapshot;
        if let Some(snapshot) = snapshot {
            self.events.committed(snapshot);
        }
        for (at, (target, row, _)) in replaced.into_iter().enumerate() {
            if outdated.contains(&at) {
                recovery.outdated_segments = recovery.outdated_segments.saturating_add(1);
                continue;
            }
            let before = target.lost.count();
            let still = row.lost_before.iter();
            let still = still.map(|it| it.end_offset.abs_diff(it.base_offset));
            let now = still.fold(row.lost_offsets, u64::saturating_add);
            let others = recovery.damaged_offsets.saturating_sub(before);
            recovery.damaged_offsets = others.saturating_add(now);
            recovery.add(*row);
        }
        Ok(())
    }
}

impl Run<'_> {
    /// States of each replacement of a damaged segment since when its partition has been damaged in snapshots.
    async fn find_older(
        &self,
        replaced: &[Row<'_>],
        replacements: &mut [Replacement],
    ) -> Result<(), MaintenanceError> {
        let damaged = replaced
            .iter()
            .filter(|(target, _, replacement)| replacement.is_some() && target.is_damaged);
        let damaged: Vec<&Target> = damaged.map(|(target, ..)| *target).collect();
        let mut since = HashMap::new();
        for partition in damaged.chunk_by(|a, b| a.id == b.id) {
            let Some(Target { id, .. }) = partition.first() else {
                continue;
            };
            let entries: Vec<&SegmentEntry> = partition.iter().map(|it| &it.entry).collect();
            let first = self.older.first_to_name(id, &entries).await?;
            let first = first.unwrap_or(self.snapshot.sequence);
            since.extend(entries.into_iter().map(|entry| (&entry.key, first)));
        }
        for Replacement {
            removed, recovered, ..
        } in replacements
        {
            let key = removed.first().map(|entry| &entry.key);
            if let Some(recovered) = recovered {
                recovered.named_since = key.and_then(|key| since.get(key)).copied();
            }
        }
        Ok(())
    }
}

/// Returns the header of a new segment. What nothing states of the source is stated as for every other backup.
fn header(
    id: &PartitionId,
    entry: &SegmentEntry,
    salvaged: &Salvaged,
    (writer, created_at): (&str, Timestamp),
) -> FileHeader {
    let found = salvaged.own().header.as_ref();
    FileHeader {
        segment_id: Id::random().0,
        topic_id: id.topic_id.0,
        topic: id.topic.to_string(),
        partition: id.partition,
        timestamp_type: entry.timestamp_type,
        isolation_level: found.map_or(IsolationLevel::ReadCommitted, |it| it.isolation_level),
        base_offset: entry.base_offset,
        cluster_id: found.and_then(|it| it.cluster_id.clone()),
        writer: Some(writer.to_owned()),
        created_at: Some(created_at.as_millisecond()),
        // A block that is cut is compressed anew.
        compression: None,
    }
}
