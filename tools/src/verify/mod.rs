//! `kbk verify`: checks that every byte and every offset of a repository is there, from snapshots down to the last byte of each
//! segment.
//!
//! ```text
//! kbk.json -> snapshots -> tables -> segments      one after the other
//!                                    segments      several at a time, on all cores
//! ```
//!
//! | checked | from which depth on | how |
//! |---|---|---|
//! | kbk.json, snapshots, tables | `index` (`list`: kbk.json, snapshots, small tables) | seals, and that they agree with each other: names, digests, coverage, sums |
//! | segments | `list` | size |
//! | | `index` | footer, against its row, too |
//! | | `blocks` | every byte by its checksum or as padding, too; which offsets are left where the footer is damaged |
//! | | `records` | every record against digests, statistics, gaps, rendered sizes, too |
//! | | `hash` | BLAKE3 hashes, too |
//! | restores | `index` | seals, that the pages of an offset map follow one another, and that they map what the restore was asked for |
//! | what a snapshot states is missing | `list` | partitions that lack records that the cluster had; offsets that it had deleted before they were read |
//! | what no snapshot names | `index` | objects of interrupted or running backups, by listing `data`, `index` and `cluster`; no damage |
//!
//! Damage does not end a verification: everything else is still checked, and all findings are reported. What several snapshots
//! share is checked once, and reported with the first of them.
//!
//! | file | holds |
//! |---|---|
//! | `depth` | how deep it looks, and what it leaves unchecked |
//! | `run` | the walk over snapshots and tables |
//! | `listed` | the part of it at the depth `list` |
//! | `portion`, `memory` | which segments are read: all, new ones, or a part that changes run by run; what runs remember of that |
//! | `segment_job`, `segment`, `salvage` | a segment that a table names, its bytes, what is left of it if it cannot be opened |
//! | `unindexed` | a segment that no table names |
//! | `files` | segment files without their repository |
//! | `sizes` | what listings show, without reading a segment |
//! | `missing` | what snapshots themselves state is missing |
//! | `orphans` | what no snapshot names |
//! | `evidence` | what is signed of a verification, and the form of the file |
//! | `picture` | what a snapshot has, as ranges to draw |
//! | `restores` | what restores left in the repository |
//! | `finding`, `remedy` | findings as typed values, and the command that mends each |

mod depth;
mod evidence;
mod files;
mod finding;
mod listed;
mod memory;
mod missing;
mod object_reader;
mod orphans;
mod picture;
mod portion;
mod remedy;
mod restores;
mod run;
mod salvage;
mod segment;
mod segment_job;
mod sizes;
mod unindexed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kbk_format::repo::{Digest, Id, Origin, RepoError, RepoErrorKind, Repository, TopicName};
use serde::Serialize;

pub use self::depth::{Check, UnknownDepth, VerifyDepth};
pub use self::evidence::{AttestedSnapshot, Circumstances, Evidence, EvidenceError, Statement};
pub use self::files::{FilesOptions, FilesReport, VerifiedFile, verify_files};
pub use self::finding::{Finding, FindingKind, Severity};
pub use self::memory::{Memory, MemoryError};
use self::orphans::OrphanSearch;
pub use self::orphans::{Orphan, Orphans};
pub use self::picture::{Mark, PartitionPicture, Span, TopicPicture, cells, pictures};
use self::portion::Chosen;
pub use self::portion::{Known, Portion, PortionReport, ReadSegments, Subset};
use self::remedy::Remedy;
use self::run::Run;
pub use self::sizes::{SizeCheck, check_sizes};
pub use self::unindexed::{UnindexedSegment, UnindexedSegmentError};
use crate::claims::{self, ListedClaim};
use crate::original;

/// Receives the progress of a verification, from several threads.
pub trait VerifyEvents: Send + Sync {
    /// Reports that `bytes` more stored bytes have been checked.
    fn bytes_checked(&self, bytes: u64);

    /// Reports that the segment of this key has been checked, with this many findings.
    fn segment_checked(&self, key: &str, findings: usize) {
        let _ = (key, findings);
    }
}

impl<F: Fn(u64) + Send + Sync> VerifyEvents for F {
    fn bytes_checked(&self, bytes: u64) {
        self(bytes);
    }
}

/// Selects what is verified, and how thoroughly.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Sequence numbers of snapshots.
    pub snapshots: Vec<u64>,
    /// Whether these are all that there were, so that one that is gone is missing.
    pub all_snapshots: bool,
    /// Names and ids of topics; `None` selects all.
    pub topics: Option<BTreeSet<(TopicName, Id)>>,
    /// How deep it looks.
    pub depth: VerifyDepth,
    /// Which segments it reads.
    pub portion: Portion,
    /// Report offsets that the cluster had deleted before they were read, or that a recovery could not mend, as accepted.
    pub accept_lost: bool,
    /// Report what is wrong with histories of topics that were replaced as accepted: the topics were read again in full.
    pub accept_replaced: bool,
}

/// What was verified, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Sequence numbers of the snapshots.
    pub snapshots: Vec<u64>,
    /// The topics that were selected, as `NAME@ID`; null for all. Nothing is known of the others.
    pub selected_topics: Option<Vec<String>>,
    /// How deep it looked.
    pub depth: VerifyDepth,
    /// What was therefore not checked.
    pub not_checked: Vec<Check>,
    /// Whether every record was decoded.
    pub full: bool,
    /// Which part of the segments was read; null if all were. What the rest is, only listed sizes say.
    pub portion: Option<PortionReport>,
    /// Which segments were chosen to be read.
    #[serde(skip)]
    pub read: ReadSegments,
    /// The SHA-256 that seals each of the snapshots that could be read.
    #[serde(skip)]
    pub digests: BTreeMap<u64, Digest>,
    /// What the next run with a subset is given.
    #[serde(skip)]
    pub memory: Option<Memory>,
    /// Number of partitions, each counted once.
    pub partitions: u64,
    /// Number of segments, each counted once.
    pub segments: u64,
    /// Number of records, according to the index.
    pub records: u64,
    /// Bytes of the segments, according to the index.
    pub bytes: u64,
    /// Those of the snapshots that are partial: partitions of theirs lack records that the cluster had.
    pub partial_snapshots: Vec<u64>,
    /// Number of partitions that lack records, each counted once.
    pub incomplete_partitions: u64,
    /// How many offsets are known to be missing from them.
    pub missing_offsets: u64,
    /// How many offsets the cluster had deleted before they were read.
    pub lost_offsets: u64,
    /// How many offsets were stored, and were lost when damaged segments were recovered.
    pub damaged_offsets: u64,
    /// How many offsets were expired by the age of their records, which is no finding.
    pub expired_offsets: u64,
    /// How many records were removed since later ones have the same keys, or as old tombstones, which is no finding.
    pub compacted_records: u64,
    /// Number of segments that state no digests, since their writers did not decode them (SPEC 2.11): there was nothing to compare their records
    /// with but the checksums of the batches.
    pub not_computed_segments: u64,
    /// How many of the findings are about histories of topics that were replaced: the topics were read again in full since.
    pub replaced_findings: u64,
    /// What no snapshot of the repository names: of the selected topics, or of all.
    pub orphans: Orphans,
    /// Where the newest snapshot comes from, if it is a copy.
    #[serde(skip)]
    pub origin: Option<Origin>,
    /// Claims of backups that run now, and those that were left behind.
    pub claims: Vec<ListedClaim>,
    /// Everything that is wrong or missing, ordered by snapshot, topic, partition and offset.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    fn add(&mut self, finding: Finding, sequence: u64) {
        self.findings.push(finding.snapshot(sequence));
    }

    /// Says what helps in a copy.
    fn name_original(&mut self, origin: Option<Origin>) {
        if let Some(origin) = &origin {
            for finding in &mut self.findings {
                *finding = finding.clone().in_copy(origin);
            }
        }
        self.origin = origin;
    }

    /// Names the command that mends each finding.
    fn name_remedies(&mut self, repository: &Repository) {
        let remedy = Remedy {
            repository: repository.store().url(),
            origin: self.origin.as_ref(),
        };
        for finding in &mut self.findings {
            *finding = finding.clone().mended_by(remedy);
        }
    }

    /// Says of snapshots that were forgotten meanwhile just that: what they lack is no damage. Whether another snapshot lacks it too is not
    /// known then, so that this stays a finding.
    async fn explain_absences(&mut self, repository: &Repository) {
        let absences = self.findings.iter().filter(|finding| finding.is_absence());
        let affected: BTreeSet<u64> = absences.filter_map(|finding| finding.snapshot).collect();
        for sequence in affected {
            let kept = repository.check_kept(sequence).await;
            let forgotten =
                kept.is_err_and(|error| matches!(error.kind(), RepoErrorKind::Forgotten { .. }));
            if forgotten {
                let of_it = |it: &Finding| it.snapshot == Some(sequence) && it.is_absence();
                self.findings.retain(|finding| !of_it(finding));
                self.findings.push(Finding::forgotten(sequence));
            }
        }
    }

    /// Reports the newest snapshot if it is gone, whichever snapshots were selected: none of them has what it had.
    async fn find_missing_newest(&mut self, repository: &Repository) {
        let damaged = FindingKind::DamagedSnapshot;
        match repository.missing_newest().await {
            Ok(None) => {}
            Ok(Some(missing)) => {
                let error = repository.newest_missing(missing);
                self.add(
                    Finding::of_error(&error, damaged, damaged),
                    missing.sequence,
                );
            }
            Err(error) => {
                let kind = FindingKind::Unreadable;
                self.findings.push(Finding::of_error(&error, kind, kind));
            }
        }
    }

    /// Reports older snapshots that are gone.
    async fn find_missing_parents(&mut self, repository: &Repository) {
        match repository.missing_parents_after(0).await {
            Ok(missing) => {
                for missing in missing {
                    let error = repository.parent_missing(missing);
                    let kind = FindingKind::MissingSnapshot;
                    self.add(Finding::of_error(&error, kind, kind), missing.sequence);
                }
            }
            Err(error) => {
                let kind = FindingKind::Unreadable;
                self.findings.push(Finding::of_error(&error, kind, kind));
            }
        }
    }

    /// Returns whether everything is there, but for what is accepted.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.severity == Severity::Accepted)
    }

    /// Reports a repository that cannot be opened because its `kbk.json` is damaged; `None` if `error` is about anything else.
    #[must_use]
    pub fn of_damaged_identity(error: &RepoError, depth: VerifyDepth) -> Option<VerifyReport> {
        let RepoErrorKind::Damaged(_) = error.kind() else {
            return None;
        };
        let damaged = FindingKind::DamagedIdentity;
        let mut finding = Finding::of_error(error, damaged, damaged);
        finding.message += "; nothing else could be verified";
        (error.key() == Some("kbk.json")).then(|| VerifyReport {
            depth,
            not_checked: VerifyDepth::List.not_checked().to_vec(),
            findings: vec![finding],
            ..VerifyReport::default()
        })
    }
}

/// Verifies what `options` select. Damage is reported in the result, not as an error.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    events: Arc<dyn VerifyEvents>,
) -> VerifyReport {
    let chosen = Chosen::new(repository, options).await;
    let reads_index = options.depth > VerifyDepth::List;
    let search = match reads_index {
        true => {
            let topics = options.topics.as_ref();
            OrphanSearch::start(repository, topics, !chosen.is_all()).await
        }
        false => Ok(OrphanSearch::default()),
    };
    let (search, failed) = match search {
        Ok(search) => (search, None),
        Err(error) => (OrphanSearch::default(), Some(error)),
    };
    let mut run = Run::new(repository, options, events, search, chosen);
    for sequence in &options.snapshots {
        run.snapshot(*sequence).await;
    }
    let (mut report, search) = run.finish().await;
    report.explain_absences(repository).await;
    report.find_missing_newest(repository).await;
    if options.all_snapshots {
        report.find_missing_parents(repository).await;
    }
    report.name_original(original::of(repository).await);
    let orphans = match failed {
        Some(error) => Err(error),
        None => search.finish(repository).await,
    };
    match orphans {
        Ok(orphans) => report.orphans = orphans,
        Err(error) => {
            let kind = FindingKind::Unreadable;
            report.findings.push(Finding::of_error(&error, kind, kind));
        }
    }
    match claims::list(repository).await {
        Ok(claims) => report.claims = claims,
        Err(error) => {
            let kind = FindingKind::Unreadable;
            report.findings.push(Finding::of_error(&error, kind, kind));
        }
    }
    if reads_index {
        report.findings.extend(restores::verify(repository).await);
    }
    let selected = options.topics.as_ref();
    report.selected_topics = selected.map(|topics| {
        let named = topics.iter().map(|(name, id)| format!("{name}@{id}"));
        named.collect()
    });
    report.name_remedies(repository);
    let replaced = report.findings.iter();
    let replaced = replaced.filter(|finding| finding.replaced_in.is_some());
    report.replaced_findings = replaced.count() as u64;
    report.findings.sort_by_cached_key(Finding::order);
    report
}
