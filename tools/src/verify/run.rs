//! Verifies snapshots one after the other, and the segments that they name on all cores.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;

use kbk_format::counted;
use kbk_format::repo::{
    Digest, Digested, PageRef, PartitionId, PartitionState, Repository, SegmentEntry, Snapshot,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::finding::{Finding, FindingKind};
use super::missing::Missing;
use super::orphans::OrphanSearch;
use super::segment_job::SegmentJob;
use super::{VerifyEvents, VerifyOptions, VerifyReport};
use crate::task::joined;

/// A verification in progress.
pub(super) struct Run<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    events: Arc<dyn VerifyEvents>,
    workers: usize,
    report: VerifyReport,
    /// Digests of the snapshots that have been read.
    digests: HashMap<u64, Digest>,
    partitions: HashSet<PartitionId>,
    /// Sums over the pages that have been read; `None` for a page that could not be read. By the keyed hash of all that the snapshot
    /// states of a page: its digest alone may be stated for another partition, too.
    pages: HashMap<u64, Option<Sums>>,
    /// Keyed hashes of the entries whose segments have been checked: a repository may have millions, and an entry is large.
    segments: HashSet<u64>,
    hasher: RandomState,
    missing: Missing,
    orphans: OrphanSearch,
    running: JoinSet<Vec<Finding>>,
}

/// Sums over index entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    records: u64,
    stored_bytes: u64,
    raw_bytes: u64,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.records = self.records.saturating_add(other.records);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
        self.raw_bytes = self.raw_bytes.saturating_add(other.raw_bytes);
    }

    fn of(entry: &SegmentEntry) -> Sums {
        Sums {
            records: entry.records,
            stored_bytes: entry.size,
            raw_bytes: entry.raw_bytes,
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        events: Arc<dyn VerifyEvents>,
        orphans: OrphanSearch,
    ) -> Run<'a> {
        Run {
            repository,
            options,
            events,
            workers: thread::available_parallelism().map_or(1, usize::from),
            report: VerifyReport {
                snapshots: options.snapshots.clone(),
                full: options.full,
                ..VerifyReport::default()
            },
            digests: HashMap::new(),
            partitions: HashSet::new(),
            pages: HashMap::new(),
            segments: HashSet::new(),
            hasher: RandomState::new(),
            missing: Missing::default(),
            orphans,
            running: JoinSet::new(),
        }
    }

    /// Waits for the segments that are still being checked.
    pub(super) async fn finish(mut self) -> (VerifyReport, OrphanSearch) {
        self.wait(0).await;
        (self.report, self.orphans)
    }

    /// Verifies one snapshot, and what it names that no earlier one did.
    pub(super) async fn snapshot(&mut self, sequence: u64) {
        let snapshot = match self.repository.snapshot(sequence).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let damaged = FindingKind::DamagedSnapshot;
                let finding = Finding::of_error(&error, damaged, damaged);
                self.report.findings.push(finding.snapshot(sequence));
                return;
            }
        };
        self.parent(&snapshot).await;
        self.digests.insert(sequence, snapshot.sha256);
        self.orphans.snapshot_read(sequence);
        for topic in &snapshot.topics {
            let selected = self.options.topics.as_ref();
            let id = (topic.name.clone(), topic.topic_id);
            if selected.is_some_and(|selected| !selected.contains(&id)) {
                continue;
            }
            for state in &topic.partitions {
                let accept_lost = self.options.accept_lost;
                self.missing
                    .partition(sequence, (topic, state), accept_lost, &mut self.report);
                let partition = topic.partition_id(state.partition);
                self.partition(sequence, &partition, state).await;
            }
        }
    }

    /// Checks that the parent, unless it has been removed since, is the snapshot that this one was made from.
    async fn parent(&mut self, snapshot: &Digested<Snapshot>) {
        let Some(parent) = &snapshot.parent else {
            return;
        };
        let found = match self.digests.get(&parent.sequence) {
            Some(digest) => *digest,
            None => match self.repository.snapshot(parent.sequence).await {
                Ok(parent) => parent.sha256,
                // A damaged parent is a finding of its own if it is verified, and does not harm this snapshot.
                Err(_) => return,
            },
        };
        if found != parent.sha256 {
            let message = format!(
                "it was made from snapshot {} with the digest {}, which now has the digest {found}",
                parent.sequence, parent.sha256
            );
            let finding = Finding::new(FindingKind::OtherParent, message);
            self.report
                .findings
                .push(finding.snapshot(snapshot.sequence));
        }
    }

    async fn partition(&mut self, sequence: u64, partition: &PartitionId, state: &PartitionState) {
        if self.partitions.insert(partition.clone()) {
            self.report.partitions += 1;
        }
        let mut sums = Some(Sums::default());
        for page in &state.pages {
            let page_sums = self.page(sequence, partition, page).await;
            sums = sums.zip(page_sums).map(|(mut sums, page_sums)| {
                sums.add(page_sums);
                sums
            });
        }
        let stated = Sums {
            records: state.records,
            stored_bytes: state.stored_bytes,
            raw_bytes: state.raw_bytes,
        };
        if let Some(found) = sums
            && found != stated
        {
            let message = format!(
                "the snapshot states {}, {} stored and {} raw bytes; its segments have {}, {} and {}",
                counted(stated.records, "record"),
                stated.stored_bytes,
                stated.raw_bytes,
                found.records,
                found.stored_bytes,
                found.raw_bytes
            );
            let finding = Finding::new(FindingKind::WrongSums, message).partition(partition);
            self.report.findings.push(finding.snapshot(sequence));
        }
    }

    /// Returns the sums over a page's entries, and verifies the segments that no earlier page named.
    async fn page(
        &mut self,
        sequence: u64,
        partition: &PartitionId,
        named: &PageRef,
    ) -> Option<Sums> {
        let stated = self.hasher.hash_one((partition, named));
        if let Some(known) = self.pages.get(&stated) {
            return *known;
        }
        let sums = match self.repository.page(partition, named).await {
            Ok(page) => {
                self.orphans.page_read(&named.key, &page);
                let mut sums = Sums::default();
                for entry in page.segments {
                    sums.add(Sums::of(&entry));
                    self.segment(sequence, partition, entry).await;
                }
                Some(sums)
            }
            Err(error) => {
                self.orphans.page_unread(&named.key);
                let mut finding =
                    Finding::of_error(&error, FindingKind::DamagedPage, FindingKind::MissingPage);
                if finding.offsets.is_none() {
                    finding = finding.offsets(named.base_offset, named.end_offset);
                }
                let finding = finding.partition(partition).snapshot(sequence);
                self.report.findings.push(finding);
                None
            }
        };
        self.pages.insert(stated, sums);
        sums
    }

    /// Waits for a free core, then starts to check the segment on it.
    async fn segment(&mut self, sequence: u64, partition: &PartitionId, entry: SegmentEntry) {
        if !self.segments.insert(self.hasher.hash_one(&entry)) {
            return;
        }
        self.report.segments += 1;
        self.report.records += entry.records;
        self.report.bytes += entry.size;
        self.wait(self.workers - 1).await;
        let job = SegmentJob {
            repository: self.repository.clone(),
            partition: partition.clone(),
            entry,
            full: self.options.full,
            events: Arc::clone(&self.events),
            runtime: Handle::current(),
        };
        self.running.spawn_blocking(move || {
            let findings = job.run();
            job.events.segment_checked(&job.entry.key, findings.len());
            let located = findings.into_iter().map(|finding| {
                let finding = finding.segment(&job.entry).partition(&job.partition);
                finding.snapshot(sequence)
            });
            located.collect()
        });
    }

    /// Waits until at most `remaining` segments are being checked.
    async fn wait(&mut self, remaining: usize) {
        while self.running.len() > remaining
            && let Some(ended) = self.running.join_next().await
        {
            // Tasks are cancelled only by a runtime that is shutting down, and then nobody waits for the report.
            self.report
                .findings
                .extend(joined(ended).into_iter().flatten());
        }
    }
}
