//! What the caller must do about an error of a repository, with the details of the case.

use std::fmt;

use super::id::Id;
use super::keys::PartitionId;
use crate::error::FormatError;

/// What the caller must do about an error, with the details of the case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepoErrorKind {
    /// Name another location: this program cannot reach this one.
    InvalidLocation {
        /// What is wrong with it.
        detail: String,
    },

    /// Check the location, or create a repository: there is none at this one.
    NotARepository {
        /// What is there instead.
        found: String,
    },

    /// Name another location for the new repository: something else is there.
    NotEmpty {
        /// One of the entries found.
        found: String,
    },

    /// Open the repository instead of creating it.
    AlreadyExists,

    /// Use a newer program: the table has a row that this one does not know.
    NewerRow {
        /// Its kind.
        kind: String,
    },

    /// Repeat the whole run: a prune deletes the object, or has deleted it, while the run was suspended.
    Pruned,

    /// Use the program that wrote the repository, or create a new one: it has the layout of a version before 1.0.
    OlderVersion {
        /// Its version.
        found: u32,
        /// The only one that this program reads.
        supported: u32,
    },

    /// Use a newer program: the object has a later version of the format.
    NewerVersion {
        /// Its version.
        found: u32,
        /// The latest one that this program reads.
        supported: u32,
    },

    /// Request another snapshot: none has this sequence.
    NoSuchSnapshot {
        /// The sequence that was requested.
        sequence: u64,
    },

    /// Request another snapshot: this one was forgotten, and its objects may be deleted.
    Forgotten {
        /// The sequence that was requested.
        sequence: u64,
    },

    /// Plan again: another run has forgotten snapshots or pruned since the plan was made.
    Outdated,

    /// Keep fewer snapshots, or adjacent ones: a snapshot cannot state which were forgotten between so many.
    TooManyRanges {
        /// The ranges of forgotten snapshots that there would be.
        ranges: usize,
    },

    /// Restore the newest snapshot from a copy, or give it up: the hint names it, and it is gone.
    NewestMissing {
        /// The newest one that is there; `None` where there is none.
        newest: Option<u64>,
    },

    /// Restore the snapshot from a copy, or forget it: another one was made from it, and it is gone.
    ParentMissing {
        /// The snapshot that was made from it.
        child: u64,
    },

    /// Restore or forget a snapshot first: what it needs is not known, so nothing may be deleted.
    NotPrunable {
        /// The snapshot that cannot be read.
        sequence: u64,
        /// Whether it is the newest, which cannot be forgotten.
        is_newest: bool,
        /// Why.
        detail: String,
    },

    /// Mount or restore the folder: snapshots name objects in it, and it is missing or empty.
    MissingFolder {
        /// The newest snapshot.
        snapshot: u64,
    },

    /// Restore the object from a copy: another one names it, and the store says that it does not exist.
    Missing {
        /// The object that names it.
        named_by: String,
    },

    /// Restore the object from an intact copy: it is not what was written.
    Damaged(Damage),

    /// Open the object again: it was replaced while it was being read.
    Changed,

    /// Repeat the whole run: another writer changed a partition for which this one has new segments.
    Conflict {
        /// The partition.
        partition: PartitionId,
        /// Where this writer resumed.
        expected: i64,
        /// Where the partition ends now.
        found: i64,
    },

    /// Repeat the commit when fewer writers are active: every attempt lost to another one.
    Contended {
        /// The number of attempts.
        tries: u32,
    },

    /// Run the backup that committed a snapshot again: it could not read that the number of this one was reserved, and others have
    /// committed on this one before that was found out.
    Hides {
        /// This snapshot, which is above it.
        sequence: u64,
        /// The other one, which readers do not see.
        hidden: u64,
    },

    /// Report a defect: an object that SPEC forbids, or whose name is taken, was about to be written.
    Refused {
        /// The rule and what broke it.
        detail: String,
    },

    /// Begin a new upload: this one has already failed or ended.
    UploadClosed,

    /// Grant this user the permission to read.
    NotReadable {
        /// The operation that was denied.
        operation: Operation,
    },

    /// Grant this user the permission to write, or make the file system writable.
    NotWritable,

    /// Make room: the disk is full or the quota exhausted.
    NoSpace,

    /// Grant these credentials, or this user, the permission to remove objects.
    NotRemovable,

    /// Give other credentials: there are none, or the store does not accept them.
    Unauthenticated,

    /// Create the bucket, or correct its name: there is none of this name.
    NoSuchBucket,

    /// Correct the region or the endpoint: the bucket is elsewhere.
    WrongRegion,

    /// Wait until the lock of the object ends: a lock, a hold or a retention policy protects it.
    Locked {
        /// The operation that was refused.
        operation: Operation,
        /// How many more objects it was refused for.
        others: u64,
    },

    /// Fetch the object from the archive in which the store keeps it.
    Archived,

    /// Try again: other requests for the same object were under way all the time.
    Busy,

    /// Try again later, or with fewer requests at a time: the store takes no more.
    Throttled {
        /// The operation that failed.
        operation: Operation,
    },

    /// Try again: there was no complete answer in time, and whether the operation took effect is unknown.
    TimedOut {
        /// The operation that failed.
        operation: Operation,
    },

    /// Use one writer at a time: the store does not keep two from creating the same object.
    NoPutIfAbsent {
        /// What was tried, and what came of it.
        found: String,
    },

    /// Try again: the store failed, and whether the object exists is unknown.
    Unavailable {
        /// The operation that failed.
        operation: Operation,
    },
}

impl RepoErrorKind {
    /// Returns whether it is about what an object holds or that it is gone, and not about whether it can be read at this moment.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        matches!(
            self,
            RepoErrorKind::Damaged(_)
                | RepoErrorKind::Missing { .. }
                | RepoErrorKind::NewerVersion { .. }
                | RepoErrorKind::OlderVersion { .. }
                | RepoErrorKind::NewerRow { .. }
                | RepoErrorKind::NoSuchSnapshot { .. }
                | RepoErrorKind::NewestMissing { .. }
                | RepoErrorKind::ParentMissing { .. }
        )
    }

    /// Returns whether it may be about one object although the store returns others: a permission, an archive, or a medium that fails in one
    /// place. [`Store::is_about_one_object`](super::Store::is_about_one_object) finds out.
    #[must_use]
    pub fn may_be_about_one_object(&self) -> bool {
        matches!(
            self,
            RepoErrorKind::NotReadable { .. }
                | RepoErrorKind::Archived
                | RepoErrorKind::Locked {
                    operation: Operation::Read,
                    ..
                }
                | RepoErrorKind::Unavailable {
                    operation: Operation::Read
                }
        )
    }
}

/// How an object differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A sealed object whose bytes are not what was written, or contradict each other.
    Object {
        /// Expected and found.
        detail: String,
    },

    /// Segments that do not cover the offsets of their partition without gap or overlap.
    Coverage {
        /// Where the next segment must begin.
        expected: i64,
        /// Where it begins.
        found: i64,
    },

    /// A segment that is shorter or longer than what was committed.
    Size {
        /// The size that its row states.
        expected: u64,
        /// The size of the object in the store.
        found: u64,
    },

    /// A segment whose bytes are not what was written: the defect and its position.
    Segment(FormatError),

    /// `kbk.json` of another repository: all other objects state the same one, and not that.
    OtherRepository {
        /// The id that `kbk.json` states.
        stated: Id,
        /// The id that the others state.
        found: Id,
        /// One of the others.
        by: String,
    },

    /// An intact segment that is not the one that was committed under this name.
    OtherSegment {
        /// Expected and found.
        detail: String,
    },
}

/// An operation on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading an object's bytes.
    Read,
    /// Writing a new object.
    Write,
    /// Listing the names in a folder.
    List,
    /// Removing an object that is no longer needed.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::List => "list",
            Operation::Remove => "remove",
        })
    }
}
