//! What can go wrong with a repository: which object, what was expected and found, what to do next.

use std::error::Error;
use std::io;

use super::keys::PartitionId;
use crate::error::FormatError;

/// Shorthand for what the repository returns.
pub type Result<T> = std::result::Result<T, RepoError>;

/// An error of a repository. Nothing that was committed is ever harmed by one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// Text that names no place that this program can reach.
    #[error("{location:?} is no place for a repository: {detail}; name a folder, or a file:// URL")]
    BadLocation {
        /// As it was given.
        location: String,
        /// What is wrong with it.
        detail: String,
    },

    /// There is no repository where one was to be opened.
    #[error(
        "{url} is not a kbk repository: {found}; check the path, or back up to it to make one there"
    )]
    NotARepository {
        /// Where.
        url: String,
        /// What is there instead.
        found: String,
    },

    /// A repository was to be made where something else is.
    #[error(
        "{url} is not empty: it holds {found}, and no kbk repository; name a new or an empty folder"
    )]
    NotEmpty {
        /// Where.
        url: String,
        /// One of the things that are there.
        found: String,
    },

    /// A repository was to be made where one is.
    #[error("{url} is a kbk repository already; open it, or name another folder")]
    AlreadyExists {
        /// Where.
        url: String,
    },

    /// An object of a later version of the format.
    #[error(
        "{key} in {url} has version {found} of the format, and this program reads up to {supported}; use a newer kbk"
    )]
    NewerVersion {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// Its version.
        found: u32,
        /// The latest one that is read here.
        supported: u32,
    },

    /// There is no snapshot of this number.
    #[error("{url} has no snapshot {sequence}; `kbk snapshots` lists those it has")]
    NoSuchSnapshot {
        /// The repository.
        url: String,
        /// What was asked for.
        sequence: u64,
    },

    /// An object whose bytes are not what was written.
    #[error(
        "{key} in {url} is damaged: {detail}; put a sound copy of it in its place, or use another snapshot"
    )]
    Damaged {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// Expected and found.
        detail: String,
    },

    /// The store says that an object which another one names does not exist.
    #[error(
        "{key} in {url} is missing, and {named_by} names it; put a copy of it in its place, or use another snapshot"
    )]
    Missing {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// The object that names it.
        named_by: String,
    },

    /// A segment that is shorter or longer than what was committed.
    #[error(
        "{key} in {url} has {found} bytes, and the repository expects {expected}: it is cut short, or another object; \
         put a sound copy of it in its place"
    )]
    WrongSize {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// What its page says.
        expected: u64,
        /// What the store has.
        found: u64,
    },

    /// A segment whose bytes are not what was written.
    #[error("{key} in {url} is damaged: {error}; put a sound copy of it in its place")]
    DamagedSegment {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// What is wrong, and where.
        error: FormatError,
    },

    /// A segment in whose place another object was put while it was being read.
    #[error("{key} in {url} is another object than when it was opened; open it again")]
    Changed {
        /// The repository.
        url: String,
        /// The object.
        key: String,
    },

    /// A sound segment that is not the one that was committed under this name.
    #[error(
        "{key} in {url} holds another segment: {detail}; put the segment that belongs there in its place"
    )]
    OtherSegment {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// Expected and found.
        detail: String,
    },

    /// A page whose segments do not cover their offsets one behind the other.
    #[error(
        "{key} in {url} does not cover all offsets once: a segment ends at offset {expected} and the next one begins at {found}; \
         use another snapshot"
    )]
    BrokenCoverage {
        /// The repository.
        url: String,
        /// The page.
        key: String,
        /// Where the next segment must begin.
        expected: i64,
        /// Where it begins.
        found: i64,
    },

    /// Another writer changed a partition that this one has new segments of.
    #[error(
        "another writer stored {place} meanwhile: it ended at offset {expected} when this run began and ends at {found} now; \
         this run's segments are not used: let one backup at a time write a topic, and run it again"
    )]
    Conflict {
        /// The partition.
        place: PartitionId,
        /// Where this writer went on from.
        expected: i64,
        /// Where the partition ends now.
        found: i64,
    },

    /// Other writers were faster time and again.
    #[error(
        "{url}: other writers committed {tries} snapshots while this one tried to; run it again when fewer do"
    )]
    Contended {
        /// The repository.
        url: String,
        /// How often this one tried.
        tries: u32,
    },

    /// An object that its own rules forbid was about to be written.
    #[error("{key} was not written, since {detail}; this is a defect of kbk: please report it")]
    Refused {
        /// The object.
        key: String,
        /// The rule and what broke it.
        detail: String,
    },

    /// Something was written to an upload that had failed or ended before.
    #[error("{key} takes no more bytes: an earlier write to it failed; run the backup again")]
    UploadClosed {
        /// The object.
        key: String,
    },

    /// The place cannot be written to.
    #[error(
        "cannot write {key} in {url}: {source}; check that this user may write there and that the file system is not read-only"
    )]
    NotWritable {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// What the store said.
        source: BoxedError,
    },

    /// The disk is full, or the quota used up.
    #[error(
        "no space left to write {key} in {url}: {source}; make room and run it again: what was committed is whole"
    )]
    NoSpace {
        /// The repository.
        url: String,
        /// The object.
        key: String,
        /// What the store said.
        source: BoxedError,
    },

    /// The store failed. Whether the object exists is unknown.
    #[error(
        "cannot {operation} {key} in {url}: {source}; check that the place can be reached, and run it again"
    )]
    Store {
        /// `read`, `write`, `list` or `remove`.
        operation: Operation,
        /// The repository.
        url: String,
        /// The object, or the folder.
        key: String,
        /// What the store said.
        source: BoxedError,
    },
}

/// The error of a store or of the operating system.
pub type BoxedError = Box<dyn Error + Send + Sync + 'static>;

/// What was asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An object's bytes.
    Read,
    /// A new object.
    Write,
    /// The names in a folder.
    List,
    /// An object that is needed no more.
    Remove,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::List => "list",
            Operation::Remove => "remove",
        })
    }
}

impl RepoError {
    /// Whether the store answered that this user may not do that.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        match self {
            RepoError::NotWritable { .. } => true,
            RepoError::Store { source, .. } => {
                let forbidden = matches!(
                    source.downcast_ref(),
                    Some(
                        object_store::Error::PermissionDenied { .. }
                            | object_store::Error::Unauthenticated { .. }
                    )
                );
                forbidden || io_kind(source.as_ref()) == Some(io::ErrorKind::PermissionDenied)
            }
            _ => false,
        }
    }

    /// The error of a store, by the operating system's reason where it gives one.
    pub(super) fn store(operation: Operation, url: &str, key: &str, source: BoxedError) -> Self {
        let (url, key) = (url.to_owned(), key.to_owned());
        match (operation, io_kind(source.as_ref())) {
            (_, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
                RepoError::NoSpace { url, key, source }
            }
            (
                Operation::Write,
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem),
            ) => RepoError::NotWritable { url, key, source },
            _ => RepoError::Store {
                operation,
                url,
                key,
                source,
            },
        }
    }
}

/// The kind of the innermost I/O error: stores wrap it in errors of their own.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let inner = error.source().and_then(io_kind);
    inner.or_else(|| error.downcast_ref::<io::Error>().map(io::Error::kind))
}
