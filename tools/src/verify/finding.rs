//! Findings of a verification as typed values: what is wrong, where, and what to do about it.

use std::error::Error;
use std::fmt;

use kbk_format::repo::{
    self, Incomplete, LostRange, Origin, PartitionId, PartitionState, RepoError, RepoErrorKind,
    SegmentEntry, TopicName,
};
use kbk_format::salvage::{Loss, LossReason};
use kbk_format::{FormatError, Gap, GapReason, OffsetSpan, PartitionNumber, counted};
use serde::{Deserialize, Serialize};

use super::remedy::Remedy;
use super::segment::Damage;
use crate::original;

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Records are lost, or cannot be proved to be intact.
    Error,
    /// Every record is intact, but something else is not as it was written.
    Warning,
    /// Known and accepted: [`VerifyOptions::accept_lost`](super::VerifyOptions), [`VerifyOptions::accept_replaced`](super::VerifyOptions).
    Accepted,
}

/// What is wrong. JSON has the same names in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// `kbk.json` is damaged.
    DamagedIdentity,
    /// A snapshot is damaged, or contradicts itself.
    DamagedSnapshot,
    /// The snapshot that this one was made from has been replaced.
    OtherParent,
    /// An older snapshot is gone: another one was made from it, and it was not forgotten.
    MissingSnapshot,
    /// A table, a list of tables, or the groups or ACLs that a snapshot names do not exist.
    MissingTable,
    /// One of these is damaged, or is not the one that the snapshot names.
    DamagedTable,
    /// The snapshot states that a partition lacks records that the cluster had.
    Incomplete,
    /// Offsets that the cluster had deleted before a backup read them.
    DeletedBeforeRead,
    /// Offsets that were stored, and were lost when damaged segments were recovered.
    LostToDamage,
    /// Offsets of a partition that no segment covers.
    Hole,
    /// Offsets of a partition that two segments cover.
    Overlap,
    /// The counts of a snapshot are not the sums over its segments.
    WrongSums,
    /// A segment that a table names does not exist.
    MissingSegment,
    /// A segment is shorter or longer than its row states.
    WrongSize,
    /// An intact segment is in the place of another one.
    OtherSegment,
    /// A file that was given as a segment neither begins nor ends as one.
    NotASegment,
    /// A segment's header or footer is damaged.
    DamagedSegment,
    /// A block of a segment is damaged.
    DamagedBlock,
    /// Offsets that no valid block covers, in a segment without a valid footer.
    LostOffsets,
    /// The key filter of a segment is damaged, or lacks a key. Every record is intact, but a search by key may miss some.
    DamagedKeyFilter,
    /// A segment's BLAKE3 hash differs from its row's, although everything inside it is consistent.
    OtherDigest,
    /// An object of a restore is damaged, or contradicts another one. No snapshot is affected.
    DamagedRestore,
    /// The snapshot was forgotten while it was verified, and what only it needed may be deleted. That is no damage.
    ForgottenSnapshot,
    /// A later version of kbk wrote the object, and this one cannot check it.
    Unsupported,
    /// The store did not return the object. Whether it exists is unknown.
    Unreadable,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [FindingKind; 25] = [
        FindingKind::DamagedIdentity,
        FindingKind::DamagedSnapshot,
        FindingKind::OtherParent,
        FindingKind::MissingSnapshot,
        FindingKind::MissingTable,
        FindingKind::DamagedTable,
        FindingKind::Incomplete,
        FindingKind::DeletedBeforeRead,
        FindingKind::LostToDamage,
        FindingKind::Hole,
        FindingKind::Overlap,
        FindingKind::WrongSums,
        FindingKind::MissingSegment,
        FindingKind::WrongSize,
        FindingKind::OtherSegment,
        FindingKind::NotASegment,
        FindingKind::DamagedSegment,
        FindingKind::DamagedBlock,
        FindingKind::LostOffsets,
        FindingKind::DamagedKeyFilter,
        FindingKind::OtherDigest,
        FindingKind::DamagedRestore,
        FindingKind::ForgottenSnapshot,
        FindingKind::Unsupported,
        FindingKind::Unreadable,
    ];

    /// Returns the name as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            FindingKind::DamagedIdentity => "damaged identity",
            FindingKind::DamagedSnapshot => "damaged snapshot",
            FindingKind::OtherParent => "other parent",
            FindingKind::MissingSnapshot => "missing snapshot",
            FindingKind::MissingTable => "missing table",
            FindingKind::DamagedTable => "damaged table",
            FindingKind::Incomplete => "incomplete",
            FindingKind::DeletedBeforeRead => "deleted before read",
            FindingKind::LostToDamage => "lost to damage",
            FindingKind::Hole => "hole",
            FindingKind::Overlap => "overlap",
            FindingKind::WrongSums => "wrong sums",
            FindingKind::MissingSegment => "missing segment",
            FindingKind::WrongSize => "wrong size",
            FindingKind::OtherSegment => "other segment",
            FindingKind::NotASegment => "not a segment",
            FindingKind::DamagedSegment => "damaged segment",
            FindingKind::DamagedBlock => "damaged block",
            FindingKind::LostOffsets => "lost offsets",
            FindingKind::DamagedKeyFilter => "damaged key filter",
            FindingKind::OtherDigest => "other digest",
            FindingKind::DamagedRestore => "damaged restore",
            FindingKind::ForgottenSnapshot => "forgotten snapshot",
            FindingKind::Unsupported => "unsupported",
            FindingKind::Unreadable => "unreadable",
        }
    }

    /// Returns whether stored bytes are gone or not what they were, so that storing them again helps.
    pub(super) fn is_damage(self) -> bool {
        matches!(
            self,
            FindingKind::MissingTable
                | FindingKind::DamagedTable
                | FindingKind::MissingSegment
                | FindingKind::WrongSize
                | FindingKind::OtherSegment
                | FindingKind::DamagedSegment
                | FindingKind::DamagedBlock
                | FindingKind::LostOffsets
                | FindingKind::OtherDigest
        )
    }

    /// Returns whether what is damaged is in a segment, or all of it.
    pub(crate) fn is_damage_of_segment(self) -> bool {
        let tables = [FindingKind::MissingTable, FindingKind::DamagedTable];
        self.is_damage() && !tables.contains(&self)
    }

    fn severity(self) -> Severity {
        match self {
            FindingKind::OtherParent => Severity::Warning,
            _ => Severity::Error,
        }
    }

    fn hint(self) -> &'static str {
        match self {
            FindingKind::Unsupported => "verify it with a newer kbk",
            FindingKind::ForgottenSnapshot => "verify the snapshots that are left again",
            FindingKind::Unreadable => {
                "check that the repository can be reached and read, then verify again"
            }
            FindingKind::OtherParent => {
                "nothing of this snapshot is lost; verify the older snapshots"
            }
            FindingKind::MissingSnapshot => {
                "restore this object from a copy, or `kbk forget` it where none is left; nothing of the other snapshots is lost"
            }
            FindingKind::Incomplete => {
                "run `kbk backup` again: it reads what is missing, and its snapshot is complete once it has; or, of logs that were imported, run \
                 `kbk import` with an intact copy, such as that of another replica"
            }
            FindingKind::DeletedBeforeRead => {
                "they cannot be had any more: back up more often, or raise the topic's retention; --accept-lost accepts the loss"
            }
            FindingKind::LostToDamage => {
                "`kbk recover` takes them from another copy of the segment, or with --from from another repository; --accept-lost accepts the loss"
            }
            FindingKind::Hole | FindingKind::Overlap | FindingKind::WrongSums => {
                "this is a bug in the writer: please report it, and use an older snapshot"
            }
            FindingKind::DamagedSnapshot
            | FindingKind::MissingTable
            | FindingKind::DamagedTable => INDEX_HINT,
            FindingKind::DamagedSegment | FindingKind::DamagedBlock | FindingKind::LostOffsets => {
                "restore this segment from an intact copy; `kbk recover` replaces it by what it still proves, and by what a copy has; `kbk inspect` shows it"
            }
            FindingKind::DamagedRestore => {
                "restore this object from an intact copy; without it the offset map of the restore is lost, but no record is"
            }
            FindingKind::DamagedKeyFilter => {
                "no record is lost; `kbk compact --key-filter=none` writes the segment anew without it, and then `kbk compact --key-filter` makes a \
                 new one"
            }
            FindingKind::NotASegment => {
                "if it was a segment, restore it from an intact copy; `kbk recover` searches it for blocks"
            }
            FindingKind::MissingSegment
            | FindingKind::WrongSize
            | FindingKind::OtherSegment
            | FindingKind::OtherDigest => {
                "restore this object from an intact copy; `kbk recover` replaces it by what is left of it, also under the name of another segment, \
                 and by what a copy has"
            }
            FindingKind::DamagedIdentity => {
                "restore this object from an intact copy; without one, move it away: `kbk recover --rebuild` writes it again"
            }
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One thing that is wrong. In JSON, members that do not apply are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How severe it is.
    pub severity: Severity,
    /// What is wrong.
    pub kind: FindingKind,
    /// The first verified snapshot that is affected.
    pub snapshot: Option<u64>,
    /// The topic's name.
    pub topic: Option<String>,
    /// Identifies the history of the topic, which distinguishes several of the same name.
    pub topic_id: Option<String>,
    /// Whether the topic was deleted, or another history of its name replaced this one: text names it with its id then, as listings do.
    #[serde(skip)]
    pub is_former_history: bool,
    /// The partition number.
    pub partition: Option<PartitionNumber>,
    /// The object's key in the repository, or the path of a file that was verified without one.
    pub key: Option<String>,
    /// Position in the object, in bytes.
    pub position: Option<u64>,
    /// The offsets that cannot be relied on.
    pub offsets: Option<OffsetSpan>,
    /// What was expected, and what was found.
    pub message: String,
    /// The snapshot from which on another history of the topic counts, with its number in the repository that was backed up where this one
    /// is a copy; null unless the finding is about one that was replaced.
    pub replaced_in: Option<u64>,
    /// The same for people.
    #[serde(skip)]
    pub replaced_by: Option<String>,
    /// What to do next.
    pub hint: String,
    /// The command that mends it, or that shows whether it is mended where kbk cannot do that. Words in capitals are to be filled in.
    pub next_step: String,
    /// The topic that a backup stores again, where that helps.
    #[serde(skip)]
    pub(super) refreshed: Option<String>,
    /// Whether it is about logs that were imported: no cluster has them.
    #[serde(skip)]
    pub(super) is_imported: bool,
}

/// What helps where the index is damaged.
const INDEX_HINT: &str = "restore this object from an intact copy, or use an older snapshot";

/// The same where only the newest snapshot can be used.
const NEWEST_HINT: &str =
    "restore this object from an intact copy: a recovery needs the newest snapshot and its index";

/// What a finding says of a snapshot that was forgotten.
const FORGOTTEN: &str = "it was forgotten while it was verified";

impl Finding {
    /// Makes a finding without a location.
    #[must_use]
    pub fn new(kind: FindingKind, message: impl Into<String>) -> Finding {
        let mut finding = Finding {
            severity: kind.severity(),
            kind,
            snapshot: None,
            topic: None,
            topic_id: None,
            is_former_history: false,
            partition: None,
            key: None,
            position: None,
            offsets: None,
            message: message.into(),
            replaced_in: None,
            replaced_by: None,
            hint: kind.hint().to_owned(),
            next_step: String::new(),
            refreshed: None,
            is_imported: false,
        };
        finding.next_step = Remedy::ANYWHERE.command(&finding);
        finding
    }

    /// Names the command that helps where it was made.
    pub(super) fn mended_by(mut self, remedy: Remedy<'_>) -> Finding {
        self.next_step = remedy.command(&self);
        self
    }

    /// Names the command that helps for a file that was given, and not for a repository.
    #[must_use]
    pub fn mended_in_file(mut self) -> Finding {
        self.next_step = Remedy::of_file(&self);
        self
    }

    /// Makes a finding of an error that reading an object returned: `damaged` or `missing` if it is, else what the error says.
    pub(super) fn of_error(
        error: &RepoError,
        damaged: FindingKind,
        missing: FindingKind,
    ) -> Finding {
        let finding = match error.kind() {
            RepoErrorKind::Missing { named_by } => Finding::new(
                missing,
                format!("{named_by} names it, but it does not exist"),
            ),
            RepoErrorKind::NewestMissing { .. } => Finding::new(
                damaged,
                "snapshots/latest.json names it as the newest snapshot, but it does not exist",
            ),
            RepoErrorKind::ParentMissing { child } => Finding::new(
                missing,
                format!("snapshot {child} was made from it, and it was not forgotten"),
            ),
            RepoErrorKind::Forgotten { .. } => {
                return Finding::new(FindingKind::ForgottenSnapshot, FORGOTTEN);
            }
            RepoErrorKind::NewerVersion { found, .. } => {
                let message = format!("it has version {found} of the format");
                Finding::new(FindingKind::Unsupported, message)
            }
            RepoErrorKind::NewerRow { kind } => {
                let message = format!("it has a row of the kind {kind:?}");
                Finding::new(FindingKind::Unsupported, message)
            }
            RepoErrorKind::Damaged(damage) => match damage {
                repo::Damage::Object { detail } => Finding::new(damaged, detail.as_str()),
                repo::Damage::OtherRepository { stated, found, by } => {
                    let message = format!(
                        "it is that of another repository: it states {stated}, and {by} states {found}"
                    );
                    Finding::new(damaged, message)
                }
                repo::Damage::Size { expected, found } => {
                    let message = format!("it has {found} bytes, and its row states {expected}");
                    Finding::new(FindingKind::WrongSize, message)
                }
                repo::Damage::OtherSegment { detail } => {
                    Finding::new(FindingKind::OtherSegment, detail.as_str())
                }
                repo::Damage::Segment(error) => Finding::of_format_error(error, damaged),
                repo::Damage::Coverage { expected, found } => Finding::coverage(*expected, *found),
                _ => Finding::new(damaged, error.to_string()),
            },
            _ => match error.source() {
                Some(source) => Finding::new(FindingKind::Unreadable, source.to_string()),
                None => return Finding::new(FindingKind::Unreadable, error.to_string()),
            },
        };
        match error.key() {
            Some(key) => finding.key(key),
            None => finding,
        }
    }

    /// Makes the finding that a snapshot was forgotten while it was verified.
    pub(super) fn forgotten(sequence: u64) -> Finding {
        Finding::new(FindingKind::ForgottenSnapshot, FORGOTTEN).snapshot(sequence)
    }

    /// Returns whether it may be because its snapshot was forgotten.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self.kind,
            FindingKind::MissingTable
                | FindingKind::MissingSegment
                | FindingKind::ForgottenSnapshot
        )
    }

    /// Makes the findings of damage in a segment: one, or one for each run of damaged batches of a block.
    pub(super) fn damage(damage: &Damage) -> Vec<Finding> {
        if !damage.batches.is_empty() {
            return damage.batches.iter().map(Finding::loss).collect();
        }
        vec![match &damage.block {
            None if damage.of_key_filter => {
                Finding::of_format_error(&damage.error, FindingKind::DamagedKeyFilter)
            }
            None => Finding::of_format_error(&damage.error, FindingKind::DamagedSegment),
            Some(block) => Finding::of_format_error(&damage.error, FindingKind::DamagedBlock)
                .offsets(block.base_offset, block.end_offset),
        }]
    }

    /// Makes a finding of offsets that are lost, as a scan for blocks finds them.
    pub(super) fn loss(loss: &Loss) -> Finding {
        let kind = match loss.reason {
            LossReason::NoBlock => FindingKind::LostOffsets,
            _ => FindingKind::DamagedBlock,
        };
        let message = format!("{}: {}", loss.reason.words(), loss.detail);
        let mut finding = Finding::new(kind, message);
        finding.position = loss.position;
        finding.offsets(loss.offsets.base_offset, loss.offsets.end_offset)
    }

    /// Makes a finding of bytes that cannot be decoded, of the kind `damaged` unless a later version wrote them.
    pub(super) fn of_format_error(error: &FormatError, damaged: FindingKind) -> Finding {
        let kind = match error.class {
            kbk_format::ErrorClass::Unsupported => FindingKind::Unsupported,
            _ => damaged,
        };
        let message = format!("{}: {} ({})", error.what, error.detail, error.class);
        let mut finding = Finding::new(kind, message);
        finding.position = Some(error.position);
        finding
    }

    fn coverage(end: i64, base: i64) -> Finding {
        let (kind, from, to) = if base > end {
            (FindingKind::Hole, end, base)
        } else {
            (FindingKind::Overlap, base, end)
        };
        let message =
            format!("a segment ends before offset {end}, and the next one begins at {base}");
        Finding::new(kind, message).offsets(from, to)
    }

    /// Makes a finding of a partition that lacks records, according to its snapshot.
    pub(super) fn incomplete(state: &PartitionState, incomplete: &Incomplete) -> Finding {
        let message = format!("{}: {}", incomplete.reason.in_words(), incomplete.detail);
        let finding = Finding::new(FindingKind::Incomplete, message);
        match state.missing_offsets() {
            Some(_) => finding.offsets(state.end_offset, state.high_watermark),
            None => finding,
        }
    }

    /// Makes a finding of offsets that are lost for good.
    pub(super) fn lost(lost: LostRange) -> Finding {
        let offsets = counted(lost.offsets(), "offset");
        let (kind, message) = match lost.is_damaged() {
            false => (
                FindingKind::DeletedBeforeRead,
                format!("the cluster had deleted {offsets} before a backup read them"),
            ),
            true => (
                FindingKind::LostToDamage,
                format!("lost {offsets} that could not be recovered from a damaged segment"),
            ),
        };
        Finding::new(kind, message).offsets(lost.from, lost.to)
    }

    /// Makes a finding of offsets that have no record in a segment, where the reason is a loss.
    pub(super) fn lost_gap(gap: &Gap) -> Option<Finding> {
        let (from, to) = (gap.from_offset, gap.to_offset);
        match gap.reason {
            GapReason::Lost => Some(Finding::lost(LostRange::deleted(from, to))),
            GapReason::Damaged => {
                let offsets = counted(to.abs_diff(from), "offset");
                let message = format!(
                    "the records of {offsets} were lost to damage before `kbk recover` wrote the segment"
                );
                Some(Finding::new(FindingKind::LostToDamage, message).offsets(from, to))
            }
            _ => None,
        }
    }

    /// Marks it as accepted, if it is.
    pub(super) fn accepted(mut self, accepted: bool) -> Finding {
        if accepted {
            self.severity = Severity::Accepted;
        }
        self
    }

    /// Makes it about a file that was given, and not about a repository.
    pub(super) fn of_file(mut self) -> Finding {
        self.hint = "check that the file exists, is a regular one and may be read".to_owned();
        self
    }

    /// Makes a loss of what was missing: its topic has been deleted.
    pub(super) fn of_deleted_topic(mut self) -> Finding {
        self.kind = FindingKind::DeletedBeforeRead;
        self.hint = self.kind.hint().to_owned();
        self.message += "; the cluster has deleted the topic since";
        self
    }

    /// Names the command that stores a topic again which the cluster may still have. It helps where stored records are missing or damaged.
    pub(super) fn repaired_by_refresh(mut self, topic: &TopicName) -> Finding {
        if self.kind.is_damage() || self.kind == FindingKind::LostToDamage {
            self.refreshed = Some(topic.to_string());
            self.hint += &format!(
                "; or `kbk backup --refresh --topic {topic}` stores again what the cluster still has of it"
            );
        }
        self
    }

    /// Names the command that stores a topic again whose first offsets are missing: other backups continue where the stored ones end.
    pub(super) fn of_missing_beginning(mut self, topic: &TopicName) -> Finding {
        self.refreshed = Some(topic.to_string());
        self.hint = format!(
            "`kbk backup --refresh --topic {topic}` stores the topic again, with what the cluster still has before the first stored offset"
        );
        self
    }

    /// Names what helps a recovery, which cannot use an older snapshot.
    pub(crate) fn of_newest_only(mut self) -> Finding {
        self.hint = self.hint.replace(INDEX_HINT, NEWEST_HINT);
        self
    }

    /// Names what helps where the logs of the topic were imported.
    pub(super) fn of_imported_topic(mut self) -> Finding {
        self.is_imported = true;
        if self.kind.is_damage() {
            self.hint += "; or `kbk import` the logs again, into a new repository";
        }
        self
    }

    /// Names what helps in a copy, which a backup would end.
    pub(super) fn in_copy(mut self, origin: &Origin) -> Finding {
        if self.replaced_in.is_some() {
            return self;
        }
        let id = origin.repository_id;
        self.hint = match self.kind {
            FindingKind::Incomplete => original::copy_again(origin),
            FindingKind::LostToDamage => format!(
                "`kbk recover --from` the original, repository {id}, takes them from there; --accept-lost accepts the loss"
            ),
            // A copy has tables of its own.
            FindingKind::MissingTable | FindingKind::DamagedTable => format!(
                "{}; or copy the original, repository {id}, again to a new repository",
                self.kind.hint()
            ),
            kind if kind.is_damage() => format!(
                "{}: the original, repository {id}, has it under the same key, unless it has expired there",
                kind.hint()
            ),
            _ => self.hint,
        };
        self
    }

    /// Locates it in a history that snapshot `sequence` replaced: one of the original, if the verified snapshot is a copy.
    pub(super) fn of_replaced_history(
        mut self,
        sequence: u64,
        is_copy: bool,
        accepted: bool,
    ) -> Finding {
        let by = original::of_copy(is_copy, sequence);
        self.replaced_in = Some(sequence);
        self.hint = format!(
            "{by} has read the topic again in full, and its records are verified by themselves; --accept-replaced accepts \
             findings in what it replaced"
        );
        self.replaced_by = Some(by);
        self.accepted(accepted)
    }

    pub(super) fn key(mut self, key: &str) -> Finding {
        self.key = Some(key.to_owned());
        self
    }

    pub(super) fn offsets(mut self, from: i64, to: i64) -> Finding {
        self.offsets = Some((from..to).into());
        self
    }

    pub(super) fn snapshot(mut self, sequence: u64) -> Finding {
        self.snapshot = Some(sequence);
        self
    }

    pub(super) fn partition(mut self, partition: &PartitionId) -> Finding {
        self.topic = Some(partition.topic.to_string());
        self.topic_id = Some(partition.topic_id.to_string());
        self.partition = Some(partition.partition);
        self
    }

    /// Locates the finding in a segment: in all of its offsets, unless narrower ones are known.
    pub(super) fn segment(mut self, entry: &SegmentEntry) -> Finding {
        let all = entry.base_offset..entry.end_offset;
        self.offsets.get_or_insert(all.into());
        self.key(&entry.key)
    }

    /// Makes a finding of a whole segment.
    pub(crate) fn of_segment(
        kind: FindingKind,
        message: &str,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Finding {
        let finding = Finding::new(kind, message);
        finding.segment(entry).partition(partition)
    }

    /// Returns the key by which findings are ordered in a report.
    pub(super) fn order(&self) -> impl Ord + use<> {
        (
            self.snapshot,
            self.topic.clone(),
            self.topic_id.clone(),
            self.partition,
            self.offsets,
            self.position,
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Accepted {
            f.write_str("accepted: ")?;
        }
        write!(f, "{}", self.kind)?;
        if let Some(snapshot) = self.snapshot {
            write!(f, ", snapshot {snapshot}")?;
        }
        if let (Some(topic), Some(partition)) = (&self.topic, self.partition) {
            match &self.topic_id {
                Some(id) if self.is_former_history => write!(f, ", {topic}@{id}/{partition}")?,
                _ => write!(f, ", {topic}/{partition}")?,
            }
        }
        if let Some(offsets) = self.offsets {
            write!(f, ", {offsets}")?;
        }
        if let Some(by) = &self.replaced_by {
            write!(f, ", in history that {by} replaced")?;
        }
        if let Some(key) = &self.key {
            write!(f, "\n  {key}")?;
        }
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        write!(
            f,
            "\n  {}\n  hint: {}\n  next: {}",
            self.message, self.hint, self.next_step
        )
    }
}
