//! Is every byte and every offset there? From snapshots down to the last byte of each segment.
//!
//! ```text
//! kbk.json -> snapshots -> pages -> segments      one after the other
//!                                   segments      several at a time, on all cores
//! ```
//!
//! | checked | how |
//! |---|---|
//! | kbk.json, snapshots, pages | seal, and what they say of each other: names, digests, coverage, sums |
//! | segments | size, footer, every byte by its checksum or as padding, footer against page |
//! | what restores left | seal, that the pages of an offset map follow one another, and that they map what was asked for to where |
//! | with `full` | SHA-256 of each segment; every record against digests, statistics, gaps, rendered sizes |
//!
//! Damage is not the end: everything else is still checked, and all findings are reported. What
//! several snapshots share is checked once, and reported with the first of them.

mod object;
mod restores;
mod salvage;
mod segment;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;

use kbk_format::repo::{
    Digest, Digested, Hex, PageRef, PartitionId, PartitionState, RepoError, Repository,
    SegmentEntry, SegmentReader, Snapshot,
};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::object::Object;
use crate::finding::{Finding, Kind};

/// Is told how many bytes more have been checked.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// What is to be verified.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Numbers of snapshots.
    pub snapshots: Vec<u64>,
    /// Names of topics; `None` means all.
    pub topics: Option<BTreeSet<String>>,
    /// Decode every record, and take each segment's SHA-256.
    pub full: bool,
}

/// What was verified, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Numbers of the snapshots.
    pub snapshots: Vec<u64>,
    /// Whether every record was decoded.
    pub full: bool,
    /// Partitions, each counted once.
    pub partitions: u64,
    /// Segments, each counted once.
    pub segments: u64,
    /// Records that their pages state.
    pub records: u64,
    /// Bytes that their pages state.
    pub bytes: u64,
    /// Everything that is wrong, in the order of snapshot, topic, partition and offset.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of a repository of which nothing but its damaged `kbk.json` could be read; `None` where
    /// `error` says something else.
    #[must_use]
    pub fn of_damaged_identity(error: &RepoError) -> Option<Report> {
        let RepoError::Damaged { key, .. } = error else {
            return None;
        };
        let mut finding = Finding::of_error(error, Kind::DamagedIdentity, Kind::DamagedIdentity);
        finding.message += "; nothing else could be verified";
        (key == "kbk.json").then(|| Report {
            findings: vec![finding],
            ..Report::default()
        })
    }
}

/// Verifies what `request` names. Damage is reported, not an error.
pub async fn verify(repository: &Repository, request: &Request, progress: Progress) -> Report {
    let mut run = Run {
        repository,
        request,
        progress,
        workers: thread::available_parallelism().map_or(1, usize::from),
        report: Report {
            snapshots: request.snapshots.clone(),
            full: request.full,
            ..Report::default()
        },
        digests: HashMap::new(),
        places: HashSet::new(),
        pages: HashMap::new(),
        segments: HashSet::new(),
        hasher: RandomState::new(),
        running: JoinSet::new(),
    };
    for sequence in &request.snapshots {
        run.snapshot(*sequence).await;
    }
    run.wait(0).await;
    let of_restores = restores::verify(repository).await;
    run.report.findings.extend(of_restores);
    let mut report = run.report;
    report.findings.sort_by_cached_key(Finding::order);
    report
}

struct Run<'a> {
    repository: &'a Repository,
    request: &'a Request,
    progress: Progress,
    workers: usize,
    report: Report,
    /// Of the snapshots that were read.
    digests: HashMap<u64, Digest>,
    places: HashSet<PartitionId>,
    /// Of pages that were read; `None` where one could not be.
    pages: HashMap<Digest, Option<Sums>>,
    /// Entries whose segments are checked already, as keyed hashes: a repository may have millions.
    segments: HashSet<u64>,
    hasher: RandomState,
    running: JoinSet<Vec<Finding>>,
}

/// Sums over entries.
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

impl Run<'_> {
    async fn snapshot(&mut self, sequence: u64) {
        let snapshot = match self.repository.snapshot(sequence).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let damaged = Kind::DamagedSnapshot;
                let finding = Finding::of_error(&error, damaged, damaged);
                self.report.findings.push(finding.snapshot(sequence));
                return;
            }
        };
        self.parent(&snapshot).await;
        self.digests.insert(sequence, snapshot.sha256);
        for topic in &snapshot.topics {
            let chosen = self.request.topics.as_ref();
            if chosen.is_some_and(|chosen| !chosen.contains(&*topic.name)) {
                continue;
            }
            for state in &topic.partitions {
                let place = topic.place(state.partition);
                self.partition(sequence, &place, state).await;
            }
        }
    }

    /// A parent may have been removed since; one that is there must be the one that is meant.
    async fn parent(&mut self, snapshot: &Digested<Snapshot>) {
        let Some(parent) = &snapshot.parent else {
            return;
        };
        let found = match self.digests.get(&parent.sequence) {
            Some(digest) => *digest,
            None => match self.repository.snapshot(parent.sequence).await {
                Ok(parent) => parent.sha256,
                // It is reported when it is verified itself.
                Err(_) => return,
            },
        };
        if found != parent.sha256 {
            let message = format!(
                "it was made from the snapshot {} with the digest {}, and that one now has {found}",
                parent.sequence, parent.sha256
            );
            let finding = Finding::new(Kind::OtherParent, message);
            self.report
                .findings
                .push(finding.snapshot(snapshot.sequence));
        }
    }

    async fn partition(&mut self, sequence: u64, place: &PartitionId, state: &PartitionState) {
        if self.places.insert(place.clone()) {
            self.report.partitions += 1;
        }
        let mut sums = Some(Sums::default());
        for page in &state.pages {
            let of_page = self.page(sequence, place, page).await;
            sums = sums.zip(of_page).map(|(mut sums, of_page)| {
                sums.add(of_page);
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
                "the snapshot states {} records, {} stored and {} raw bytes; its segments have {}, {} and {}",
                stated.records,
                stated.stored_bytes,
                stated.raw_bytes,
                found.records,
                found.stored_bytes,
                found.raw_bytes
            );
            let finding = Finding::new(Kind::WrongSums, message).place(place);
            self.report.findings.push(finding.snapshot(sequence));
        }
    }

    /// The sums over a page's entries, whose segments are verified if they were not before.
    async fn page(&mut self, sequence: u64, place: &PartitionId, named: &PageRef) -> Option<Sums> {
        if let Some(known) = self.pages.get(&named.sha256) {
            return *known;
        }
        let sums = match self.repository.page(place, named).await {
            Ok(page) => {
                let mut sums = Sums::default();
                for entry in page.segments {
                    sums.add(Sums::of(&entry));
                    self.segment(sequence, place, entry).await;
                }
                Some(sums)
            }
            Err(error) => {
                let mut finding = Finding::of_error(&error, Kind::DamagedPage, Kind::MissingPage);
                if finding.offsets.is_none() {
                    finding = finding.offsets(named.base_offset, named.end_offset);
                }
                let finding = finding.place(place).snapshot(sequence);
                self.report.findings.push(finding);
                None
            }
        };
        self.pages.insert(named.sha256, sums);
        sums
    }

    /// Waits for a core, then checks the segment on it.
    async fn segment(&mut self, sequence: u64, place: &PartitionId, entry: SegmentEntry) {
        if !self.segments.insert(self.hasher.hash_one(&entry)) {
            return;
        }
        self.report.segments += 1;
        self.report.records += entry.records;
        self.report.bytes += entry.size;
        self.wait(self.workers - 1).await;
        let check = SegmentJob {
            repository: self.repository.clone(),
            place: place.clone(),
            entry,
            full: self.request.full,
            progress: Arc::clone(&self.progress),
            runtime: Handle::current(),
        };
        self.running.spawn_blocking(move || {
            let findings = check.run().into_iter();
            let located = findings.map(|finding| {
                let finding = finding.segment(&check.entry).place(&check.place);
                finding.snapshot(sequence)
            });
            located.collect()
        });
    }

    /// Waits until at most `remaining` segments are being checked.
    async fn wait(&mut self, remaining: usize) {
        while self.running.len() > remaining {
            match self.running.join_next().await {
                Some(Ok(findings)) => self.report.findings.extend(findings),
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return,
                },
                None => return,
            }
        }
    }
}

/// One segment, to be checked on a thread of its own.
struct SegmentJob {
    repository: Repository,
    place: PartitionId,
    entry: SegmentEntry,
    full: bool,
    progress: Progress,
    runtime: Handle,
}

impl SegmentJob {
    fn run(&self) -> Vec<Finding> {
        let store = self.repository.store();
        let opened = SegmentReader::open(store, &self.place, &self.entry);
        let reader = match self.runtime.block_on(opened) {
            Ok(reader) => reader,
            Err(error) => return self.unopened(&error),
        };
        match Object::open(store, &self.entry.key, &self.runtime) {
            Ok(mut object) => {
                segment::check(&self.entry, &reader, &mut object, self.full, &self.progress)
            }
            Err(error) => vec![Finding::new(Kind::Unreadable, error.to_string())],
        }
    }

    /// Says why the segment cannot be opened, and what is left in it.
    fn unopened(&self, error: &RepoError) -> Vec<Finding> {
        let finding = Finding::of_error(error, Kind::DamagedSegment, Kind::MissingSegment);
        let size = match error {
            RepoError::WrongSize { found, .. } => *found,
            RepoError::DamagedSegment { .. } => self.entry.footer_position,
            _ => return vec![finding],
        };
        let store = self.repository.store();
        let Ok(mut object) = Object::open(store, &self.entry.key, &self.runtime) else {
            return vec![finding];
        };
        if let Some(other) = salvage::segment_id(&mut object, size).map(Hex)
            && other != self.entry.segment_id
        {
            let message = format!(
                "its segment id is {other}, and the repository expects {} there",
                self.entry.segment_id
            );
            return vec![Finding::new(Kind::OtherSegment, message)];
        }
        let size = size.min(self.entry.footer_position);
        match salvage::salvage(&self.entry, &mut object, size, &self.progress) {
            Ok(left) => [vec![finding], left].concat(),
            Err(error) => vec![finding, Finding::new(Kind::Unreadable, error.to_string())],
        }
    }
}
