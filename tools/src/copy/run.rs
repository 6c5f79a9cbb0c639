//! The loop over snapshots. `account` checks the result.

mod account;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    Adoptable, ClaimedTopic, Digested, PartitionId, RepoErrorKind, Repository, SegmentEntry,
    Snapshot, SnapshotCopy, TopicName, TopicState, WriteBase,
};
use kbk_format::{OffsetSpan, counted};

use super::error::{CopyError, SnapshotError};
use super::plan::{Planner, SnapshotPlan, damage, found_in, not_copied, unusable};
use super::repair::Repair;
use super::report::{CopiedSnapshot, CopyFinding, CopyFindingKind, CopyReport};
use super::selection::SelectedSnapshots;
use super::transfer::{TRANSFERS, Transfer, TransferError, Transferred};
use super::{CopyEvents, CopyOptions, CopySelection, resume, selection};
use crate::claims::{self, ClaimEvents, ClaimRequest, HeldClaim};
use crate::unusable::Unusable;

/// How often a snapshot is planned again since others have committed meanwhile.
const TRIES: u32 = 8;

/// Copies snapshots of `origin` to `destination`. `stop` ends the wait for another writer of the same topics.
///
/// # Errors
///
/// Why nothing more can be copied. What was committed before stays.
pub async fn copy(
    origin: &Repository,
    destination: &Repository,
    options: &CopyOptions,
    stop: impl Future<Output = ()>,
    events: Arc<dyn CopyEvents>,
    claim_events: Arc<dyn ClaimEvents>,
) -> Result<CopyReport, CopyError> {
    let id = origin.identity().repository_id;
    if id == destination.identity().repository_id {
        let url = destination.store().url().to_owned();
        return Err(CopyError::SameRepository { url, id });
    }
    let newest = destination.latest_to_change().await?;
    let manifest = newest.as_ref().map(|newest| &newest.manifest);
    let last = resume::last_copied(origin, destination, manifest).await?;
    let sequence = last.map_or(0, |last| last.sequence);
    let selected = selection::select(origin, destination, options.snapshots, sequence).await?;
    let held: Option<HeldClaim>;
    let mut run = Run {
        origin,
        destination,
        options,
        events,
        claim: None,
        read_after: newest.as_ref().map_or(0, |newest| newest.sequence),
        is_proven: last.is_none_or(|last| last.is_proven),
        preview: options.dry_run.then_some(newest),
        adoptable: Adoptable::all(),
        found: HashMap::new(),
        listed: HashSet::new(),
        durable: HashSet::new(),
        damaged: HashMap::new(),
        report: CopyReport {
            read_back: options.read_back && !options.dry_run,
            older_snapshots: selected.older.clone(),
            ..CopyReport::default()
        },
    };
    let gone = selected.gone.iter();
    let gone = gone.map(|&it| (it.sequence, origin.parent_missing(it)));
    let newest = selected.missing.iter();
    let newest = newest.map(|&it| (it.sequence, origin.newest_missing(it)));
    for (sequence, error) in gone.chain(newest) {
        let kind = CopyFindingKind::DamagedSnapshot;
        let finding = CopyFinding::new(kind, origin, sequence, error.to_string());
        run.report.findings.push(finding);
    }
    if let Some(&newest) = selected.sequences.last()
        && !options.dry_run
    {
        let topics = run.topics_to_claim(newest).await?;
        let request = ClaimRequest {
            command: "copy".to_owned(),
            writer: options.writer.clone(),
            topics,
            can_select: true,
        };
        held = claims::claim(destination, request, stop, claim_events).await?;
        run.claim = held.as_ref();
        run.report.interrupted = held.is_none();
    } else {
        held = None;
    }
    let copied = run.copy_selected(selected).await;
    let report = run.report;
    if let Some(claim) = held {
        claim.release().await;
    }
    copied.map(|()| report)
}

struct Run<'a> {
    origin: &'a Repository,
    destination: &'a Repository,
    options: &'a CopyOptions,
    events: Arc<dyn CopyEvents>,
    claim: Option<&'a HeldClaim>,
    /// Sequence of the newest snapshot of the destination before anything was written.
    read_after: u64,
    /// Whether the last snapshot that was copied is still there, so that the histories are known to be the same.
    is_proven: bool,
    /// In a dry run, the newest snapshot as it would be.
    preview: Option<Option<Digested<Snapshot>>>,
    /// What may be used of what interrupted copies left.
    adoptable: Adoptable,
    /// The sizes of segments that are there and that no snapshot names.
    found: HashMap<String, u64>,
    /// The partitions of which these were listed.
    listed: HashSet<PartitionId>,
    /// Segments that this run has stored or checked.
    durable: HashSet<String>,
    /// Segments that the origin does not return as they were written.
    damaged: HashMap<String, Unusable>,
    report: CopyReport,
}

/// How the copy of a snapshot ended.
enum Copied {
    Yes(Box<CopiedSnapshot>),
    /// The destination has it, and nothing more of it can be copied.
    Already,
    /// A signal ended it.
    Stopped,
}

impl Run<'_> {
    async fn copy_selected(&mut self, selected: SelectedSnapshots) -> Result<(), CopyError> {
        let SelectedSnapshots {
            mut sequences,
            mut again,
            ..
        } = selected;
        let mut last = None;
        for _ in 0..TRIES {
            last = self.copy_all(&sequences, again).await?.or(last);
            again = false;
            sequences = self.instead_of_newest(&sequences).await?;
            if sequences.is_empty() {
                break;
            }
        }
        if self.report.interrupted {
            return Ok(());
        }
        let Some(origin) = last else {
            return Ok(());
        };
        let destination = self.destination.uncached();
        let Some(stored) = destination.latest().await? else {
            return Ok(());
        };
        let damaged = self.origin.found_damaged().await?;
        let copy = self.preview.iter().flatten().next().unwrap_or(&stored);
        let report = &mut self.report;
        report.accept_replaced_later(&damaged, origin.sequence, copy);
        self.repair(&origin, &destination, &stored).await?;
        if !self.options.dry_run {
            self.account(&origin, &stored);
        }
        Ok(())
    }

    /// Copies snapshots, and returns the last one that the destination has then.
    async fn copy_all(
        &mut self,
        sequences: &[u64],
        again: bool,
    ) -> Result<Option<Arc<Digested<Snapshot>>>, CopyError> {
        let mut last = None;
        for &sequence in sequences {
            if self.report.interrupted {
                break;
            }
            match self.copy_one(sequence, again).await {
                Ok(copied) => last = copied.or(last),
                Err(SnapshotError::Forgotten) => self.add_forgotten(sequence, again),
                Err(SnapshotError::Copy(error)) => return Err(error),
            }
        }
        Ok(last)
    }

    /// Copies a snapshot, and returns it if the destination has it then.
    async fn copy_one(
        &mut self,
        sequence: u64,
        again: bool,
    ) -> Result<Option<Arc<Digested<Snapshot>>>, SnapshotError> {
        let Some(origin) = self.snapshot(sequence).await? else {
            return Ok(None);
        };
        match self.copy_snapshot(&origin, again).await? {
            Copied::Yes(copied) => {
                if !self.options.dry_run {
                    self.events.committed(&copied);
                }
                self.report.snapshots.push(*copied);
            }
            Copied::Already => {}
            Copied::Stopped => {
                self.report.interrupted = true;
                self.report.unfinished_snapshot = Some(sequence);
                return Ok(None);
            }
        }
        Ok(Some(origin))
    }

    fn add_forgotten(&mut self, sequence: u64, again: bool) {
        let kind = CopyFindingKind::ForgottenSnapshot;
        let message = match again {
            true => "it was forgotten there before it was known what the copy lacks of it",
            false => "it was forgotten there before it was copied, and is not in the copy",
        };
        let finding = CopyFinding::new(kind, self.origin, sequence, message.to_owned());
        self.report.findings.push(finding);
    }

    /// Returns the snapshots that have taken the place of the newest one, if that was forgotten: `forget` commits what the last backup holds.
    async fn instead_of_newest(&self, sequences: &[u64]) -> Result<Vec<u64>, CopyError> {
        let wanted = self.options.snapshots;
        let is_open = matches!(wanted, CopySelection::New | CopySelection::Latest);
        let is_forgotten = |newest: &u64| {
            let mut findings = self.report.findings.iter();
            findings.any(|it| it.kind == CopyFindingKind::ForgottenSnapshot && it.origin == *newest)
        };
        let newest = sequences.last().copied().filter(is_forgotten);
        match newest.filter(|_| is_open && !self.report.interrupted) {
            Some(newest) => selection::newer(self.origin, newest, wanted).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns the topics to claim; `None` for all. The newest snapshot has those of all older ones.
    async fn topics_to_claim(&self, newest: u64) -> Result<Option<Vec<ClaimedTopic>>, CopyError> {
        let snapshot = match self.origin.snapshot(newest).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                return match damage(self.origin, newest, error).await {
                    // It is reported when it is copied.
                    Ok(_) | Err(SnapshotError::Forgotten) => Ok(None),
                    Err(SnapshotError::Copy(error)) => Err(error),
                };
            }
        };
        let topics = (self.options.topics)(&snapshot);
        if topics.len() == snapshot.topics.len() {
            return Ok(None);
        }
        let names: BTreeSet<TopicName> = topics.into_iter().map(|(name, _)| name).collect();
        let topic = |topic| ClaimedTopic {
            topic,
            partitions: None,
        };
        Ok(Some(names.into_iter().map(topic).collect()))
    }

    /// Reads a snapshot of the origin; `None` where it is damaged.
    async fn snapshot(
        &mut self,
        sequence: u64,
    ) -> Result<Option<Arc<Digested<Snapshot>>>, SnapshotError> {
        match self.origin.snapshot(sequence).await {
            Ok(snapshot) => Ok(Some(Arc::new(snapshot))),
            Err(error) => {
                let message = damage(self.origin, sequence, error).await?;
                let kind = CopyFindingKind::DamagedSnapshot;
                let finding = CopyFinding::new(kind, self.origin, sequence, message);
                self.report.findings.push(finding);
                Ok(None)
            }
        }
    }

    async fn copy_snapshot(
        &mut self,
        origin: &Arc<Digested<Snapshot>>,
        again: bool,
    ) -> Result<Copied, SnapshotError> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let base = self.base().await?;
            let SnapshotPlan { mut copy, findings } = self.plan(origin, base.as_ref()).await?;
            let planned = totals(&copy);
            let mut findings = findings;
            if !self.options.dry_run {
                self.events
                    .planned(origin.sequence, planned.segments, planned.bytes);
                let transferred = match self.claim {
                    Some(claim) => {
                        let partitions = copy.partitions.keys().cloned();
                        let base = WriteBase::new(base.as_deref(), 0, partitions);
                        claim.will_commit(base).await;
                        let transfer = self.transfer(&mut copy, &mut findings);
                        claim.unless_lost(transfer).await??
                    }
                    None => self.transfer(&mut copy, &mut findings).await?,
                };
                if !transferred {
                    return Ok(Copied::Stopped);
                }
            }
            let preview = self.destination.preview_copy(&copy)?;
            if again && is_same(&copy, base.as_ref(), &preview) {
                self.report.add(self.judged(origin, findings));
                return Ok(Copied::Already);
            }
            let committed = match self.options.dry_run {
                true => Ok(preview),
                false => self.commit(&copy).await,
            };
            match committed {
                Ok(committed) => {
                    self.report.add(self.judged(origin, findings));
                    let copied = copied(origin, &copy, &committed);
                    if let Some(preview) = &mut self.preview {
                        self.report.segments += copied.segments;
                        self.report.bytes += copied.bytes;
                        *preview = Some(committed);
                    }
                    return Ok(Copied::Yes(Box::new(copied)));
                }
                Err(CopyError::Repo(error))
                    if tries > 0 && *error.kind() == RepoErrorKind::Outdated => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the newest snapshot of the destination, which must still be a copy.
    async fn base(&mut self) -> Result<Option<Digested<Snapshot>>, CopyError> {
        if let Some(preview) = &self.preview {
            return Ok(preview.clone());
        }
        let base = self.destination.latest().await?;
        let manifest = base.as_ref().map(|base| &base.manifest);
        let last = resume::last_copied(self.origin, self.destination, manifest).await?;
        self.is_proven = last.is_none_or(|last| last.is_proven);
        self.adoptable = self
            .destination
            .adoptable(manifest, &BTreeSet::new())
            .await?;
        Ok(base)
    }

    async fn plan(
        &self,
        origin: &Arc<Digested<Snapshot>>,
        base: Option<&Digested<Snapshot>>,
    ) -> Result<SnapshotPlan, SnapshotError> {
        let planner = Planner {
            origin: self.origin,
            snapshot: origin,
            base,
            // What a dry run has planned before is not stored.
            unproven: (!self.is_proven && !self.options.dry_run).then_some(self.destination),
            topics: (self.options.topics)(origin),
            read_after: self.read_after,
            writer: &self.options.writer,
        };
        planner.plan().await
    }

    /// Lists what interrupted copies left of the partitions that have new segments.
    async fn list(&mut self, copy: &SnapshotCopy) -> Result<(), CopyError> {
        let partitions = copy.partitions.iter();
        let first = partitions.filter_map(|(id, copied)| {
            let first = copied.segments.first()?.base_offset;
            (!self.listed.contains(id)).then(|| (id.clone(), first))
        });
        let first: Vec<(PartitionId, i64)> = first.collect();
        let (destination, adoptable) = (self.destination, &self.adoptable);
        let parallel = destination.store().profile().parallel_requests;
        let mut listings = stream::iter(first)
            .map(async |(id, first)| {
                let found = destination.unnamed_segments(&id, first, adoptable).await;
                (id, found)
            })
            .buffer_unordered(parallel);
        while let Some((id, found)) = listings.next().await {
            let found = found?.into_iter();
            self.found
                .extend(found.map(|segment| (segment.key.to_string(), segment.size)));
            self.listed.insert(id);
        }
        Ok(())
    }

    /// Makes the new segments durable. A partition ends before the first that is damaged in the origin. Returns whether all were tried:
    /// a signal may have ended it.
    async fn transfer(
        &mut self,
        copy: &mut SnapshotCopy,
        findings: &mut Vec<CopyFinding>,
    ) -> Result<bool, SnapshotError> {
        self.list(copy).await?;
        let new = copy.partitions.iter().flat_map(|(id, copied)| {
            let segments = copied.segments.iter();
            segments.map(move |entry| (id, entry))
        });
        let (durable, damaged) = (&self.durable, &self.damaged);
        let new = new.filter(|(_, entry)| {
            !durable.contains(&entry.key) && !damaged.contains_key(&entry.key)
        });
        let transfer = Transfer {
            origin: self.origin.store(),
            destination: self.destination,
            read_back: self.options.read_back,
            events: &*self.events,
        };
        let (found, events) = (&self.found, &self.events);
        let transfer = &transfer;
        let run = |(id, entry): (&'_ PartitionId, &'_ SegmentEntry)| {
            let (id, entry) = (id.clone(), entry.clone());
            async move {
                if events.is_stopped() {
                    return (entry, Ok(None));
                }
                let existing = found.get(&entry.key).copied();
                let ended = transfer.run(&id, &entry, existing).await;
                (entry, ended.map(Some))
            }
        };
        let mut ended = stream::iter(new.collect::<Vec<_>>())
            .map(run)
            .buffer_unordered(TRANSFERS);
        let (mut now_durable, mut now_damaged) = (Vec::new(), Vec::new());
        let (mut stopped, mut failed) = (false, None);
        while let Some((entry, ended)) = ended.next().await {
            match ended {
                Ok(None) => stopped = true,
                Ok(Some(Transferred::Damaged(detail))) => {
                    now_damaged.push((entry.key, Unusable::damaged(detail)));
                }
                Ok(Some(how)) => {
                    self.events.stored(entry.records, entry.size);
                    match how {
                        Transferred::Adopted => self.report.adopted_segments += 1,
                        _ => {
                            self.report.segments += 1;
                            self.report.bytes += entry.size;
                        }
                    }
                    now_durable.push(entry.key);
                }
                Err(TransferError::Origin(error)) => {
                    let sequence = copy.origin.sequence;
                    match unusable(self.origin, sequence, error).await {
                        Ok(found) => now_damaged.push((entry.key, found)),
                        Err(error) => failed = Some(error),
                    }
                }
                Err(TransferError::Destination(error)) => failed = Some(error.into()),
            }
            if failed.is_some() {
                break;
            }
        }
        drop(ended);
        // The next snapshot may need the same.
        self.durable.extend(now_durable);
        self.damaged.extend(now_damaged);
        if let Some(failed) = failed {
            return Err(failed);
        }
        self.cut(copy, findings);
        Ok(!stopped)
    }

    /// Ends partitions before the first segment that the origin does not return as it was written.
    fn cut(&self, copy: &mut SnapshotCopy, findings: &mut Vec<CopyFinding>) {
        for (id, copied) in &mut copy.partitions {
            let mut segments = copied.segments.iter();
            let Some(at) = segments.position(|it| self.damaged.contains_key(&it.key)) else {
                continue;
            };
            let Some(segment) = copied.segments.get(at) else {
                continue;
            };
            let Some(found) = self.damaged.get(&segment.key) else {
                continue;
            };
            let reason = &found.message;
            let span = OffsetSpan::from(segment.base_offset..segment.end_offset);
            let end = segment.base_offset;
            let later = copied.segments.len() - at - 1;
            let later = match later {
                0 => String::new(),
                later => format!(", nor {} after it", counted(later as u64, "segment")),
            };
            let detail = format!("{span} cannot be copied{later}: {reason}");
            copied.incomplete = Some(not_copied(&detail));
            let kind = match found.is_damaged {
                true => CopyFindingKind::DamagedSegment,
                false => CopyFindingKind::UnreadableSegment,
            };
            let sequence = copy.origin.sequence;
            let message = format!("{id}: {detail}");
            findings.push(CopyFinding {
                partition: Some(found_in(id, end)),
                ..CopyFinding::new(kind, self.origin, sequence, message)
            });
            copied.segments.truncate(at);
        }
    }

    /// Accepts findings in what was replaced, if that was asked for.
    fn judged(&self, origin: &Snapshot, mut findings: Vec<CopyFinding>) -> Vec<CopyFinding> {
        for finding in &mut findings {
            let partition = finding.partition.as_ref();
            let was_replaced = partition.is_some_and(|partition| partition.was_replaced(origin));
            finding.accepted = self.options.accept_replaced && was_replaced;
        }
        findings
    }

    async fn commit(&self, copy: &SnapshotCopy) -> Result<Digested<Snapshot>, CopyError> {
        if let Some(claim) = self.claim {
            claim.check().await?;
            claim.commits().await;
        }
        Ok(self.destination.commit_copy(copy).await?)
    }

    /// Looks for the segments of the newest snapshot of the destination, and sends again what is missing or has another size.
    async fn repair(
        &mut self,
        origin: &Digested<Snapshot>,
        destination: &Repository,
        stored: &Digested<Snapshot>,
    ) -> Result<(), CopyError> {
        let topics = (self.options.topics)(stored);
        let repair = Repair {
            origin: self.origin,
            original: origin,
            destination,
            copy: stored,
            transfer: Transfer {
                origin: self.origin.store(),
                destination,
                read_back: self.options.read_back,
                events: &*self.events,
            },
            dry_run: self.options.dry_run,
        };
        let selects = |topic: &TopicState| topics.contains(&(topic.name.clone(), topic.topic_id));
        let repairing = repair.run(selects);
        let repaired = match self.claim {
            Some(claim) => claim.unless_lost(repairing).await??,
            None => repairing.await?,
        };
        self.report.checked_segments = repaired.checked;
        self.report.repaired_segments = repaired.sent.len() as u64;
        self.report.repaired_bytes = repaired.sent.iter().map(|entry| entry.size).sum();
        self.report.interrupted |= repaired.stopped;
        self.report.add(self.judged(origin, repaired.findings));
        Ok(())
    }
}

/// Returns whether the commit would change nothing but the number of the snapshot.
fn is_same(
    copy: &SnapshotCopy,
    base: Option<&Digested<Snapshot>>,
    preview: &Digested<Snapshot>,
) -> bool {
    let same_states = base.is_some_and(|base| base.topics == preview.topics);
    same_states && copy.groups.is_none() && copy.acls.is_none()
}

struct Planned {
    segments: u64,
    records: u64,
    bytes: u64,
}

fn totals(copy: &SnapshotCopy) -> Planned {
    let mut planned = Planned {
        segments: 0,
        records: 0,
        bytes: 0,
    };
    for segment in copy.partitions.values().flat_map(|it| &it.segments) {
        planned.segments += 1;
        planned.records = planned.records.saturating_add(segment.records);
        planned.bytes = planned.bytes.saturating_add(segment.size);
    }
    planned
}

fn copied(
    origin: &Snapshot,
    copy: &SnapshotCopy,
    committed: &Digested<Snapshot>,
) -> CopiedSnapshot {
    let Planned {
        segments,
        records,
        bytes,
    } = totals(copy);
    CopiedSnapshot {
        origin: origin.sequence,
        snapshot: committed.sequence,
        created_at: committed.created_at,
        topics: copy.topics.len() as u64,
        segments,
        records,
        bytes,
        complete: committed.is_complete(),
    }
}
