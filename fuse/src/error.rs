//! Why a file cannot be shown, classified by the error that a program gets.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::repo::{Id, RepoError, RepoErrorKind};
use kbk_format::{OffsetSpan, PartitionNumber};

/// Where in the backup something went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The snapshot.
    pub snapshot: Option<u64>,
    /// The topic.
    pub topic: Option<Box<str>>,
    /// The topic's id, which distinguishes it from a deleted topic of the same name.
    pub topic_id: Option<Id>,
    /// The partition.
    pub partition: Option<PartitionNumber>,
    /// The offsets that cannot be read, with an exclusive end.
    pub offsets: Option<Range<i64>>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.snapshot {
            Some(snapshot) => write!(f, "snapshot {snapshot}")?,
            None => f.write_str("the repository")?,
        }
        if let Some(topic) = &self.topic {
            write!(f, ", {topic}")?;
        }
        if let Some(partition) = self.partition {
            write!(f, "/{partition}")?;
        }
        match &self.offsets {
            Some(offsets) => write!(f, ", {}", OffsetSpan::from(offsets.clone())),
            None => Ok(()),
        }
    }
}

/// Why a file, or a range of it, cannot be shown. Clones share the underlying error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ViewError {
    /// The name does not exist.
    #[error("no such file")]
    NotFound,
    /// A name was looked up in a file.
    #[error("not a folder")]
    NotFolder,
    /// A folder was opened as a file.
    #[error("is a folder")]
    IsFolder,
    /// The target of a file or folder was requested.
    #[error("not a symbolic link")]
    NotLink,
    /// The extended attribute does not exist.
    #[error("no such attribute")]
    NoAttribute,
    /// The inode number is unknown, was forgotten, or belongs to a followed file that is stale.
    #[error("the file is no longer known; look it up again")]
    Stale,
    /// The stored bytes are not those that were written.
    #[error("{location}: {source}")]
    Damaged {
        /// Where it was found.
        location: Location,
        /// The object, and what is wrong with it.
        source: Arc<RepoError>,
    },
    /// An object that the snapshot needs does not exist.
    #[error("{location}: {source}")]
    Missing {
        /// Where it was found.
        location: Location,
        /// The object.
        source: Arc<RepoError>,
    },
    /// The snapshot was forgotten, and what only it needs may be deleted.
    #[error("{location}: {source}")]
    Forgotten {
        /// Where it was found.
        location: Location,
        /// The snapshot.
        source: Arc<RepoError>,
    },
    /// An object was replaced after it was first read.
    #[error("{location}: {source}")]
    Changed {
        /// Where it was found.
        location: Location,
        /// The object.
        source: Arc<RepoError>,
    },
    /// The store does not permit this user to read.
    #[error("{location}: {source}")]
    Forbidden {
        /// Where it was found.
        location: Location,
        /// The object.
        source: Arc<RepoError>,
    },
    /// The store did not answer in time.
    #[error("{location}: timed out after {} s waiting for {key}; check that the store can be reached, or raise --deadline", waited.as_secs_f64())]
    Deadline {
        /// Where it was found.
        location: Location,
        /// The object.
        key: Box<str>,
        /// The time limit.
        waited: Duration,
    },
    /// The store failed.
    #[error("{location}: {source}")]
    Store {
        /// Where it was found.
        location: Location,
        /// The object, and the error of the store.
        source: Arc<RepoError>,
    },
    /// Kafka's log of a partition would have more segments than a folder has room for.
    #[error(
        "{location}: its log has more than {most} segments, which no folder here has room for; use `kbk export --format kafka-log`"
    )]
    TooManyFiles {
        /// The partition.
        location: Location,
        /// The most segments.
        most: usize,
    },
    /// A key was looked up in a partition of which some segments have no key filter.
    #[error(
        "{location}: segments of it have no key filter, so that whether it has a key is not known; `kbk compact --key-filter` gives them one, and `kbk grep --key` searches without"
    )]
    NoKeyFilter {
        /// The partition.
        location: Location,
    },
    /// The folder of `--cache-dir` is unusable.
    #[error(
        "cannot use {folder} as a cache: {source}; check that it is a folder that this user may write to"
    )]
    CacheFolder {
        /// The folder.
        folder: String,
        /// The error of the operating system.
        source: Arc<std::io::Error>,
    },
    /// A task of this process ended without a result.
    #[error("{location}: a task ended without a result; this is a bug in kbk: please report it")]
    Internal {
        /// Where it was found.
        location: Location,
    },
}

impl ViewError {
    /// Whether a retry would fail the same way: the object is at fault, not the store. Of several snapshots that share what is read, one
    /// may be forgotten and the others not.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(
            self,
            ViewError::Damaged { .. }
                | ViewError::Missing { .. }
                | ViewError::Changed { .. }
                | ViewError::TooManyFiles { .. }
        )
    }

    /// Where it was found.
    pub(crate) fn location(&self) -> Option<&Location> {
        match self {
            ViewError::Damaged { location, .. }
            | ViewError::Missing { location, .. }
            | ViewError::Forgotten { location, .. }
            | ViewError::Changed { location, .. }
            | ViewError::Forbidden { location, .. }
            | ViewError::Deadline { location, .. }
            | ViewError::Store { location, .. }
            | ViewError::TooManyFiles { location, .. }
            | ViewError::Internal { location } => Some(location),
            _ => None,
        }
    }

    /// The object that could not be read.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            ViewError::Deadline { key, .. } => Some(key),
            _ => self.source_error()?.key(),
        }
    }

    /// What went wrong, without the location.
    pub(crate) fn cause(&self) -> String {
        match (self, self.source_error()) {
            (_, Some(source)) => source.to_string(),
            (ViewError::Deadline { key, waited, .. }, None) => {
                format!(
                    "timed out after {} s waiting for {key}",
                    waited.as_secs_f64()
                )
            }
            _ => self.to_string(),
        }
    }

    fn source_error(&self) -> Option<&RepoError> {
        match self {
            ViewError::Damaged { source, .. }
            | ViewError::Missing { source, .. }
            | ViewError::Forgotten { source, .. }
            | ViewError::Changed { source, .. }
            | ViewError::Forbidden { source, .. }
            | ViewError::Store { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The same error at another location: cached errors of an object are shared by the snapshots that name it.
    pub(crate) fn at(mut self, place: Location) -> ViewError {
        match &mut self {
            ViewError::Damaged { location, .. }
            | ViewError::Missing { location, .. }
            | ViewError::Forgotten { location, .. }
            | ViewError::Changed { location, .. }
            | ViewError::Forbidden { location, .. }
            | ViewError::Deadline { location, .. }
            | ViewError::Store { location, .. }
            | ViewError::TooManyFiles { location, .. }
            | ViewError::Internal { location } => *location = place,
            _ => {}
        }
        self
    }

    /// The same error at a place, unless it has one: what waits for memory or for a thread does not know for whom.
    pub(crate) fn or_at(self, place: Location) -> ViewError {
        match self.location() {
            Some(location) if location.snapshot.is_none() => self.at(place),
            _ => self,
        }
    }

    /// Classifies an error of the repository.
    pub(crate) fn repo(location: Location, source: RepoError) -> ViewError {
        let source = Arc::new(source);
        match source.kind() {
            RepoErrorKind::Missing { .. } | RepoErrorKind::NoSuchSnapshot { .. } => {
                ViewError::Missing { location, source }
            }
            RepoErrorKind::Damaged(_) | RepoErrorKind::NewerVersion { .. } => {
                ViewError::Damaged { location, source }
            }
            RepoErrorKind::Forgotten { .. } => ViewError::Forgotten { location, source },
            RepoErrorKind::Changed => ViewError::Changed { location, source },
            RepoErrorKind::NotReadable { .. }
            | RepoErrorKind::NotWritable
            | RepoErrorKind::Unauthenticated => ViewError::Forbidden { location, source },
            _ => ViewError::Store { location, source },
        }
    }
}
