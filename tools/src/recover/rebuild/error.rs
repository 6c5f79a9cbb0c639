//! Why nothing was rebuilt.

use kbk_format::PartitionNumber;
use kbk_format::repo::RepoError;

use crate::maintenance::MaintenanceError;

/// The highest partition of a topic. One folder with a larger number would become as many rows of empty partitions.
pub(super) const MAX_PARTITION: usize = 1_000_000;

/// Why a rebuild ended. Nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A store failed, or what it has cannot be used.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The newest snapshot needs no rebuild.
    #[error(
        "{repository} needs no rebuild: every row of its newest snapshot, {sequence}, can be read"
    )]
    Intact {
        /// Where.
        repository: String,
        /// The snapshot.
        sequence: u64,
    },
    /// There is no segment.
    #[error("{0} has nothing to rebuild a snapshot from: no segment is left in data/")]
    Nothing(String),
    /// A folder states a partition that no topic has.
    #[error(
        "cannot rebuild {key}: it states partition {partition}, and no topic has more than {} partitions; move it away if it is not of this repository",
        MAX_PARTITION
    )]
    Partition {
        /// An object of the partition.
        key: String,
        /// Its number.
        partition: PartitionNumber,
    },
    /// Offsets would be stated as lost that an object may have which cannot be read now.
    #[error(
        "cannot rebuild: {offsets} are in no object that can be read now, and {key} may have them, which cannot; make it readable, or state them as lost with --abandon-unread"
    )]
    Unread {
        /// The first of these objects.
        key: String,
        /// How many offsets, in words.
        offsets: String,
    },
    /// A new segment could not be written or proved.
    #[error(transparent)]
    Write(MaintenanceError),
    /// Another run has committed since the plan was made.
    #[error(
        "another run has committed a snapshot since this one looked; run the same command again"
    )]
    Overtaken,
    /// An object changed since the plan was made.
    #[error("{0} is not what it was when it was read; run the same command again")]
    Changed(String),
}

impl From<MaintenanceError> for RebuildError {
    fn from(error: MaintenanceError) -> RebuildError {
        match error {
            MaintenanceError::Repo(error) => RebuildError::Repo(error),
            error => RebuildError::Write(error),
        }
    }
}
