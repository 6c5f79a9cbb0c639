//! Why a file cannot be shown, by what a program that reads it is told.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::repo::{Id, RepoError};

/// Where in the backup something went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The snapshot.
    pub snapshot: Option<u64>,
    /// The topic.
    pub topic: Option<String>,
    /// The topic's id, which tells it from a deleted one of the same name.
    pub topic_id: Option<Id>,
    /// The partition.
    pub partition: Option<i32>,
    /// Offsets that cannot be read.
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
            Some(offsets) => write!(
                f,
                ", offsets {} to {}",
                offsets.start,
                offsets.end.saturating_sub(1)
            ),
            None => Ok(()),
        }
    }
}

/// Why a file, or a range of it, cannot be shown. Clones share what the repository said.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ViewError {
    /// There is no such name.
    #[error("there is no such file")]
    NotFound,
    /// A name was looked up in what is no folder.
    #[error("it is no folder")]
    NotFolder,
    /// A folder was to be read as a file.
    #[error("it is a folder")]
    IsFolder,
    /// What is no link was to be followed.
    #[error("it is no link")]
    NotLink,
    /// There is no such extended attribute.
    #[error("there is no such attribute")]
    NoAttribute,
    /// A number that no lookup has given, or that was forgotten.
    #[error("it is not known any more; look it up again")]
    Stale,
    /// The stored bytes are not what was written.
    #[error("{location}: {source}")]
    Damaged {
        /// Where.
        location: Location,
        /// Which object, and what is wrong with it.
        source: Arc<RepoError>,
    },
    /// An object that the snapshot needs does not exist.
    #[error("{location}: {source}")]
    Missing {
        /// Where.
        location: Location,
        /// Which object.
        source: Arc<RepoError>,
    },
    /// An object is another one than when it was first read.
    #[error("{location}: {source}")]
    Changed {
        /// Where.
        location: Location,
        /// Which object.
        source: Arc<RepoError>,
    },
    /// The store does not let this user read.
    #[error("{location}: {source}")]
    Forbidden {
        /// Where.
        location: Location,
        /// Which object.
        source: Arc<RepoError>,
    },
    /// The store did not answer in time.
    #[error("{location}: {key} was not answered within {} s; the store hangs or cannot be reached", waited.as_secs_f64())]
    Deadline {
        /// Where.
        location: Location,
        /// What was asked for.
        key: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The store failed.
    #[error("{location}: {source}")]
    Store {
        /// Where.
        location: Location,
        /// Which object, and what the store said.
        source: Arc<RepoError>,
    },
    /// The folder of `--cache-dir` cannot be used.
    #[error(
        "cannot use {folder} as a cache: {source}; check that it is a folder that this user may write to"
    )]
    CacheFolder {
        /// The folder.
        folder: String,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// A task of this program ended without an answer.
    #[error(
        "{location}: a task ended without an answer; this is a defect of kbk: please report it"
    )]
    Internal {
        /// Where.
        location: Location,
    },
}

impl ViewError {
    /// Whether asking again at once would end the same: it is not the store that failed.
    pub(crate) fn stays(&self) -> bool {
        matches!(
            self,
            ViewError::Damaged { .. } | ViewError::Missing { .. } | ViewError::Changed { .. }
        )
    }

    /// The same error, found at `location`: what is kept of an object is shared by the snapshots that name it.
    pub(crate) fn at(mut self, place: Location) -> ViewError {
        match &mut self {
            ViewError::Damaged { location, .. }
            | ViewError::Missing { location, .. }
            | ViewError::Changed { location, .. }
            | ViewError::Forbidden { location, .. }
            | ViewError::Deadline { location, .. }
            | ViewError::Store { location, .. }
            | ViewError::Internal { location } => *location = place,
            _ => {}
        }
        self
    }

    pub(crate) fn repo(location: Location, source: RepoError) -> ViewError {
        let forbidden = source.is_forbidden();
        let source = Arc::new(source);
        match &*source {
            RepoError::Missing { .. } | RepoError::NoSuchSnapshot { .. } => {
                ViewError::Missing { location, source }
            }
            RepoError::Damaged { .. }
            | RepoError::DamagedSegment { .. }
            | RepoError::WrongSize { .. }
            | RepoError::OtherSegment { .. }
            | RepoError::BrokenCoverage { .. }
            | RepoError::NewerVersion { .. } => ViewError::Damaged { location, source },
            RepoError::Changed { .. } => ViewError::Changed { location, source },
            _ if forbidden => ViewError::Forbidden { location, source },
            _ => ViewError::Store { location, source },
        }
    }
}
