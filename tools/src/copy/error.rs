//! Why nothing more can be copied. What was committed before stays.

use kbk_format::repo::{Id, RepoError};

use crate::claims::{ClaimError, ClaimLost};

/// Why a copy ends.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both are one repository.
    #[error(
        "cannot copy to {url}: it is repository {id}, the same as the one to copy from; give another one, which `kbk init` creates"
    )]
    SameRepository {
        /// The destination.
        url: String,
        /// The id of both.
        id: Id,
    },
    /// The destination has backups of its own.
    #[error(
        "cannot copy to {url}: its snapshot {snapshot} is of a backup of its own, so that it is not a copy any more; create another \
         repository to copy to, or back up to this one"
    )]
    OwnBackups {
        /// The destination.
        url: String,
        /// The snapshot of the last backup.
        snapshot: u64,
    },
    /// The destination was rebuilt.
    #[error(
        "cannot copy to {url}: its snapshots were lost and rebuilt from its segments (`kbk recover --rebuild`), so that nothing says what it is a \
         copy of; create another repository to copy to, or back up to this one"
    )]
    Rebuilt {
        /// The destination.
        url: String,
    },
    /// The destination is a copy of another repository.
    #[error(
        "cannot copy {from} to {url}: that is a copy of repository {found}, and this is {expected}; create another repository to copy to"
    )]
    OtherOrigin {
        /// The destination.
        url: String,
        /// The other repository.
        from: String,
        /// What the destination is a copy of.
        found: Id,
        /// The id of the other repository.
        expected: Id,
    },
    /// The origin is not what was copied before.
    #[error(
        "cannot copy {from} to {url}: the copy has snapshot {sequence} of it, which {why}, as if the original had been restored from an \
         older state; create another repository to copy to"
    )]
    OtherHistory {
        /// The destination.
        url: String,
        /// The other repository.
        from: String,
        /// The last snapshot that was copied.
        sequence: u64,
        /// What is different.
        why: String,
    },
    /// Copies go forward.
    #[error(
        "cannot copy snapshot {requested} to {url}: snapshot {last} was copied before, and copies go forward; create another repository for \
         older ones"
    )]
    Older {
        /// The destination.
        url: String,
        /// The last snapshot that was copied.
        last: u64,
        /// The newest one that was asked for.
        requested: u64,
    },
    /// Nothing to copy: most likely `--from` is wrong.
    #[error(
        "cannot copy {from} to {url}: the original has no snapshot of a backup; check `--from`, or run `kbk backup` there first"
    )]
    NoSnapshots {
        /// The destination.
        url: String,
        /// The other repository.
        from: String,
    },
    /// No such snapshot.
    #[error("{from} has no snapshot {requested}; `kbk snapshots` lists them")]
    NoSuchSnapshot {
        /// The other repository.
        from: String,
        /// What was asked for.
        requested: String,
    },
    /// The store does not return what was written.
    #[error(
        "cannot copy {key}: what {url} returns is not what was sent, twice, and it was not committed; check the disk or the service there"
    )]
    NotStored {
        /// The destination.
        url: String,
        /// The segment.
        key: String,
    },
    /// Others write the same.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
    /// The claim is gone.
    #[error(transparent)]
    ClaimLost(#[from] ClaimLost),
    /// An access to one of the repositories.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

/// Why the copy of one snapshot ends.
#[derive(Debug)]
pub(super) enum SnapshotError {
    /// The origin has forgotten it, and may have pruned what it needs: the next one can still be copied.
    Forgotten,
    /// Nothing more can be copied.
    Copy(CopyError),
}

impl<E: Into<CopyError>> From<E> for SnapshotError {
    fn from(error: E) -> SnapshotError {
        SnapshotError::Copy(error.into())
    }
}
