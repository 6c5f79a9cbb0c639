//! What a verification finds, as typed values: what is wrong, where, and what can be done about it.

use std::fmt;

use kbk_format::repo::{PartitionId, RepoError, SegmentEntry};
use kbk_format::{FormatError, IndexEntry};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Records are lost or cannot be proved to be there.
    Error,
    /// Every record is there, and something is not as it was written.
    Warning,
}

/// What is wrong. In JSON the same names in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// `kbk.json` is damaged.
    DamagedIdentity,
    /// A snapshot is damaged, or its parts contradict each other.
    DamagedSnapshot,
    /// The snapshot that this one was made from is another one now.
    OtherParent,
    /// A page that a snapshot names does not exist.
    MissingPage,
    /// A page is damaged, or is not the one that the snapshot names.
    DamagedPage,
    /// Offsets that no segment of a page covers.
    Hole,
    /// Offsets that two segments of a page cover.
    Overlap,
    /// The counts of a snapshot are not the sums over its segments.
    WrongSums,
    /// A segment that a page names does not exist.
    MissingSegment,
    /// A segment is shorter or longer than its page says.
    WrongSize,
    /// A sound segment that does not belong there.
    OtherSegment,
    /// A segment's header or footer is damaged.
    DamagedSegment,
    /// A block of a segment is damaged.
    DamagedBlock,
    /// Offsets of a segment without a sound footer that no sound block covers.
    LostOffsets,
    /// A segment's SHA-256 is another one, though everything inside it fits.
    OtherDigest,
    /// What a restore left is damaged, or its parts contradict each other. No snapshot is the worse for it.
    DamagedRestore,
    /// A later version wrote it, and this program cannot check it.
    Unsupported,
    /// The store did not give it. Whether it exists is unknown.
    Unreadable,
}

impl Kind {
    /// Its name in JSON, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Kind::DamagedIdentity => "damaged identity",
            Kind::DamagedSnapshot => "damaged snapshot",
            Kind::OtherParent => "other parent",
            Kind::MissingPage => "missing page",
            Kind::DamagedPage => "damaged page",
            Kind::Hole => "hole",
            Kind::Overlap => "overlap",
            Kind::WrongSums => "wrong sums",
            Kind::MissingSegment => "missing segment",
            Kind::WrongSize => "wrong size",
            Kind::OtherSegment => "other segment",
            Kind::DamagedSegment => "damaged segment",
            Kind::DamagedBlock => "damaged block",
            Kind::LostOffsets => "lost offsets",
            Kind::OtherDigest => "other digest",
            Kind::DamagedRestore => "damaged restore",
            Kind::Unsupported => "unsupported",
            Kind::Unreadable => "unreadable",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Kind::OtherParent => Severity::Warning,
            _ => Severity::Error,
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Kind::Unsupported => "verify it with a newer kbk",
            Kind::Unreadable => "check that the place can be reached and read, then verify again",
            Kind::OtherParent => "nothing of this snapshot is lost; check the older snapshots",
            Kind::Hole | Kind::Overlap | Kind::WrongSums => {
                "a faulty writer made this: please report it, and use an older snapshot"
            }
            Kind::DamagedSnapshot => {
                "put a sound copy of it in its place, or use an older snapshot"
            }
            Kind::MissingPage | Kind::DamagedPage => {
                "put a sound copy of the page in its place, or use an older snapshot"
            }
            Kind::DamagedSegment | Kind::DamagedBlock | Kind::LostOffsets => {
                "put a sound copy of the segment in its place; `kbk inspect` shows what is left of this one"
            }
            Kind::DamagedRestore => {
                "put a sound copy of it in its place; without one the restore's offset map is lost, and no record"
            }
            Kind::DamagedIdentity
            | Kind::MissingSegment
            | Kind::WrongSize
            | Kind::OtherSegment
            | Kind::OtherDigest => "put a sound copy of it in its place",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Offsets, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Offsets {
    /// The first one.
    pub from: i64,
    /// Behind the last one.
    pub to: i64,
}

/// One thing that is wrong. Members that do not apply are null in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub kind: Kind,
    /// The first verified snapshot that has it.
    pub snapshot: Option<u64>,
    /// The topic's name.
    pub topic: Option<String>,
    /// Kafka's id of the topic, which tells topics of one name apart.
    pub topic_id: Option<String>,
    /// The partition.
    pub partition: Option<i32>,
    /// The object's name in the repository.
    pub key: Option<String>,
    /// In the object, in bytes.
    pub position: Option<u64>,
    /// The offsets that cannot be relied on.
    pub offsets: Option<Offsets>,
    /// Expected and found.
    pub message: String,
    /// What to do next.
    pub hint: &'static str,
}

impl Finding {
    /// A finding of no place yet.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Finding {
        Finding {
            severity: kind.severity(),
            kind,
            snapshot: None,
            topic: None,
            topic_id: None,
            partition: None,
            key: None,
            position: None,
            offsets: None,
            message: message.into(),
            hint: kind.hint(),
        }
    }

    /// What reading an object led to, where a damaged one is of the kind `damaged`.
    pub(crate) fn of_error(error: &RepoError, damaged: Kind, missing: Kind) -> Finding {
        match error {
            RepoError::Missing { key, named_by, .. } => Finding::new(
                missing,
                format!("{named_by} names it, and it does not exist"),
            )
            .key(key),
            RepoError::Damaged { key, detail, .. } => {
                Finding::new(damaged, detail.as_str()).key(key)
            }
            RepoError::NewerVersion { key, found, .. } => {
                let message = format!("it has version {found} of the format");
                Finding::new(Kind::Unsupported, message).key(key)
            }
            RepoError::WrongSize {
                key,
                expected,
                found,
                ..
            } => {
                let message = format!("it has {found} bytes, and its page says {expected}");
                Finding::new(Kind::WrongSize, message).key(key)
            }
            RepoError::OtherSegment { key, detail, .. } => {
                Finding::new(Kind::OtherSegment, detail.as_str()).key(key)
            }
            RepoError::DamagedSegment { key, error, .. } => {
                Finding::format(error, damaged).key(key)
            }
            RepoError::BrokenCoverage {
                key,
                expected,
                found,
                ..
            } => Finding::coverage(*expected, *found).key(key),
            RepoError::Store { key, source, .. } => {
                Finding::new(Kind::Unreadable, source.to_string()).key(key)
            }
            other => Finding::new(Kind::Unreadable, other.to_string()),
        }
    }

    /// What is wrong with bytes, where they are those of something of the kind `damaged`.
    pub(crate) fn format(error: &FormatError, damaged: Kind) -> Finding {
        let kind = match error.class {
            kbk_format::ErrorClass::Unsupported => Kind::Unsupported,
            _ => damaged,
        };
        let message = format!("{}: {} ({})", error.what, error.detail, error.class);
        let mut finding = Finding::new(kind, message);
        finding.position = Some(error.position);
        finding
    }

    fn coverage(end: i64, base: i64) -> Finding {
        let (kind, from, to) = if base > end {
            (Kind::Hole, end, base)
        } else {
            (Kind::Overlap, base, end)
        };
        let message = format!("a segment ends at offset {end} and the next one begins at {base}");
        Finding::new(kind, message).offsets(from, to)
    }

    pub(crate) fn key(mut self, key: &str) -> Finding {
        self.key = Some(key.to_owned());
        self
    }

    pub(crate) fn offsets(mut self, from: i64, to: i64) -> Finding {
        self.offsets = Some(Offsets { from, to });
        self
    }

    pub(crate) fn snapshot(mut self, sequence: u64) -> Finding {
        self.snapshot = Some(sequence);
        self
    }

    pub(crate) fn place(mut self, place: &PartitionId) -> Finding {
        self.topic = Some(place.topic.to_string());
        self.topic_id = Some(place.topic_id.to_string());
        self.partition = Some(place.partition);
        self
    }

    /// Everything of the segment, unless it is known better already.
    pub(crate) fn segment(mut self, entry: &SegmentEntry) -> Finding {
        self.offsets.get_or_insert(Offsets {
            from: entry.base_offset,
            to: entry.end_offset,
        });
        self.key(&entry.key)
    }

    pub(crate) fn block(self, entry: &IndexEntry) -> Finding {
        self.offsets(entry.base_offset, entry.end_offset)
    }

    /// Findings are reported in this order.
    pub(crate) fn order(&self) -> impl Ord + use<> {
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
        write!(f, "{}", self.kind)?;
        if let Some(snapshot) = self.snapshot {
            write!(f, ", snapshot {snapshot}")?;
        }
        if let (Some(topic), Some(partition)) = (&self.topic, self.partition) {
            write!(f, ", {topic}/{partition}")?;
        }
        if let Some(Offsets { from, to }) = self.offsets {
            write!(f, ", offsets {from} to {}", to.saturating_sub(1))?;
        }
        if let Some(key) = &self.key {
            write!(f, "\n  {key}")?;
        }
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        write!(f, "\n  {}\n  hint: {}", self.message, self.hint)
    }
}
