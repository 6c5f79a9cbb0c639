//! What was copied, and what could not be.

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{FoundDamaged, IncompleteReason, PartitionId, Repository, Snapshot};
use serde::Serialize;

/// What a copy did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// The snapshots that were copied, in this order.
    pub snapshots: Vec<CopiedSnapshot>,
    /// Number of segments that were sent.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of segments that an interrupted copy had sent, and that are intact.
    pub adopted_segments: u64,
    /// Number of segments that the copy had lost, or had with another size, and that were sent again.
    pub repaired_segments: u64,
    /// Their bytes.
    pub repaired_bytes: u64,
    /// Number of segments of the copy's newest snapshot that were looked for: their sizes were compared with the index, and not their bytes.
    pub checked_segments: u64,
    /// Whether what was sent was read again and compared.
    pub read_back: bool,
    /// Snapshots that were asked for and are older than the last one that was copied: they cannot be added any more.
    pub older_snapshots: Vec<u64>,
    /// What the newest snapshot of the copy has of the last one of the origin; null where that was not looked at.
    pub accounted: Option<Accounted>,
    /// The snapshot of the origin whose copy was begun and not committed: the next run uses the segments that were sent of it. Null where
    /// there is none.
    pub unfinished_snapshot: Option<u64>,
    /// What could not be copied, or is not as in the origin.
    pub findings: Vec<CopyFinding>,
    /// Whether a signal ended the copy before it was done.
    pub interrupted: bool,
}

/// A snapshot that was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopiedSnapshot {
    /// Its sequence in the origin.
    pub origin: u64,
    /// Its sequence in the copy.
    pub snapshot: u64,
    /// When its backup created it.
    pub created_at: Timestamp,
    /// Number of topics that were copied.
    pub topics: u64,
    /// Number of new segments.
    pub segments: u64,
    /// Number of their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether no partition of the copy lacks records.
    pub complete: bool,
}

/// What the newest snapshot of the copy has of a snapshot of the origin, by what both indexes state: offsets and counts, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Accounted {
    /// The snapshot of the copy.
    pub snapshot: u64,
    /// The snapshot of the origin.
    pub origin: u64,
    /// Number of the selected partitions of the origin.
    pub partitions: u64,
    /// Number of those of which the copy has every offset that the origin has, but for what expired in the copy.
    pub whole_partitions: u64,
    /// Number of their records in the copy.
    pub records: u64,
    /// Number of their records in the origin.
    pub origin_records: u64,
    /// Number of partitions of which the copy has older offsets, which expired in the origin.
    pub expired_in_origin: u64,
    /// Number of partitions of which the origin has older offsets, which expired in the copy.
    pub expired_in_copy: u64,
}

/// Something that could not be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyFinding {
    /// What it is.
    pub kind: CopyFindingKind,
    /// The repository in which it was found.
    pub repository: String,
    /// The snapshot of the origin.
    pub origin: u64,
    /// The partition that it is about; null where it is about none.
    pub partition: Option<FoundIn>,
    /// Whether it is accepted, since it is about a history of a topic that another one has replaced in the origin, or about segments that a
    /// recovery has replaced in a later snapshot, which was copied.
    pub accepted: bool,
    /// Whether it is accepted for the second reason.
    pub replaced_later: bool,
    /// The same for people.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl CopyFinding {
    /// Makes a finding of no partition.
    pub(super) fn new(
        kind: CopyFindingKind,
        repository: &Repository,
        origin: u64,
        message: String,
    ) -> CopyFinding {
        CopyFinding {
            kind,
            repository: repository.store().url().to_owned(),
            origin,
            partition: None,
            accepted: false,
            replaced_later: false,
            message,
            hint: kind.hint().to_owned(),
        }
    }

    /// Returns whether a recovery has replaced what it is about, and the copy has all of the partition since.
    fn is_replaced(&self, damaged: &FoundDamaged, copy: &Snapshot) -> bool {
        let Some(found) = &self.partition else {
            return false;
        };
        let mut partitions = copy.topics.iter().flat_map(|topic| {
            let states = topic.partitions.iter();
            states.map(|state| (topic.partition_id(state.partition), state))
        });
        let partition = partitions.find(|(id, _)| found.is_of(id));
        partition.is_some_and(|(id, state)| {
            let incomplete = state.incomplete.as_ref();
            let is_copied = incomplete.is_none_or(|it| it.reason != IncompleteReason::NotCopied);
            is_copied && damaged.has_of(self.origin, &id)
        })
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundIn {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Where its copy ends.
    pub end_offset: i64,
}

impl FoundIn {
    /// Returns whether another history of its topic has replaced the one that it is of, according to a snapshot of the origin.
    pub(super) fn was_replaced(&self, origin: &Snapshot) -> bool {
        let mut topics = origin.topics.iter();
        let topic =
            topics.find(|it| *it.name == self.topic && it.topic_id.to_string() == self.topic_id);
        topic.is_some_and(|topic| origin.replaced_in(topic).is_some())
    }

    /// Returns whether it is this partition.
    pub(super) fn is_of(&self, id: &PartitionId) -> bool {
        self.topic == *id.topic
            && self.partition == id.partition
            && self.topic_id == id.topic_id.to_string()
    }
}

/// What could not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFindingKind {
    /// A segment is missing in the origin, or is not what its index states.
    DamagedSegment,
    /// The origin does not return a segment, although it returns other objects.
    UnreadableSegment,
    /// The index of the origin does not show the segments of a partition.
    DamagedIndex,
    /// The segments of the origin do not continue those of the copy.
    NotJoined,
    /// The consumer groups of the origin cannot be read.
    DamagedGroups,
    /// The access control lists of the origin cannot be read.
    DamagedAcls,
    /// A snapshot of the origin cannot be read, or is gone although it was not forgotten.
    DamagedSnapshot,
    /// A snapshot of the origin was forgotten before it was copied.
    ForgottenSnapshot,
    /// The copy holds other offsets or another number of records than the origin.
    Differs,
    /// An object of the copy is missing or has another size, and could not be sent again.
    DamagedCopy,
}

impl CopyFindingKind {
    fn hint(self) -> &'static str {
        match self {
            CopyFindingKind::DamagedSegment
            | CopyFindingKind::DamagedIndex
            | CopyFindingKind::DamagedGroups
            | CopyFindingKind::DamagedAcls
            | CopyFindingKind::DamagedSnapshot => {
                "restore the object in the original from another copy of it, then run the same command again"
            }
            CopyFindingKind::UnreadableSegment => {
                "make the object readable in the original, or restore it there from another copy, then run the same command again"
            }
            CopyFindingKind::ForgottenSnapshot => {
                "nothing can be done for this snapshot: what newer ones have of it is copied with them, by this run or the next"
            }
            CopyFindingKind::NotJoined => {
                "`kbk expire` the copy up to where the original begins, or copy to another repository, then run the same command again"
            }
            CopyFindingKind::Differs => {
                "run the same command again; where it says so again, `kbk verify` both repositories"
            }
            CopyFindingKind::DamagedCopy => {
                "restore the object in the copy from another copy of it, then run the same command again; or copy to another repository"
            }
        }
    }
}

impl CopyReport {
    /// Adds findings, each once: the same is found again in every snapshot that has it, and a later one may have replaced its history.
    pub(super) fn add(&mut self, findings: Vec<CopyFinding>) {
        for finding in findings {
            let is_same = |it: &CopyFinding| {
                (it.kind, &it.partition, &it.message)
                    == (finding.kind, &finding.partition, &finding.message)
            };
            if !self.findings.iter().any(is_same) {
                self.findings.push(finding);
            }
        }
    }

    /// Accepts that segments of older snapshots are damaged which a recovery in the origin has replaced: `last`, the last snapshot that was copied,
    /// has what is left of them, and its copy as well.
    pub(super) fn accept_replaced_later(
        &mut self,
        damaged: &FoundDamaged,
        last: u64,
        copy: &Snapshot,
    ) {
        for finding in &mut self.findings {
            if finding.kind == CopyFindingKind::DamagedSegment
                && finding.origin < last
                && finding.is_replaced(damaged, copy)
            {
                finding.accepted = true;
                finding.replaced_later = true;
            }
        }
    }

    /// Returns whether everything that was selected is in the copy, but for what is accepted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.accepted)
    }
}
