//! Why nothing more can be imported.

use std::io;
use std::path::{Path, PathBuf};

use kbk_format::WriteError;
use kbk_format::repo::RepoError;

use crate::claims::{ClaimError, ClaimLost};

/// Why an import failed. Nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Another run writes the same topics.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
    /// Another run has the same topics now.
    #[error(transparent)]
    ClaimLost(#[from] ClaimLost),
    /// A file or folder.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What failed, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder without logs.
    #[error("cannot find any log in {}: expected folders such as orders-0, or files such as 00000000000000000000.log; give the folder that \
             `log.dirs` of the broker names, or that of one partition", path.display())]
    NoLogs {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of log files that is not named after a partition.
    #[error("cannot tell the partition of {}: a folder of log files has a name such as orders-0; rename it", path.display())]
    NoPartition {
        /// The folder.
        path: PathBuf,
    },
    /// Two logs of one partition.
    #[error("cannot import {partition} twice: {} and {} both hold it, and nothing says which replica is right; give one of them", first.display(), second.display())]
    Twice {
        /// The partition.
        partition: String,
        /// A folder.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// A running broker.
    #[error("cannot import {}: a broker has it open (its .lock is held); stop the broker, or import a snapshot of the volume", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Two ids of one topic.
    #[error(
        "cannot import topic {topic}: {} and {} state different topic ids, so they are of different topics; import them one at a time",
        first.display(),
        second.display()
    )]
    TopicIds {
        /// The topic.
        topic: String,
        /// A folder.
        first: PathBuf,
        /// One that states another id.
        second: PathBuf,
    },
    /// The folders, or the repository, are of different clusters.
    #[error(
        "cannot import logs of cluster {found}: {} is of cluster {stored}; use a repository of its own for each cluster, or \
             --allow-cluster-change if this cluster has replaced that one",
        what
    )]
    OtherCluster {
        /// What is of another one.
        what: String,
        /// Its id.
        stored: String,
        /// The id in the folder.
        found: String,
    },
    /// The segment's writer.
    #[error("cannot import {partition}: {source}")]
    Write {
        /// The partition.
        partition: String,
        /// Why.
        source: WriteError,
    },
}

impl ImportError {
    /// Returns what maps an I/O error of `path`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
        let path = path.to_owned();
        move |source| ImportError::Io {
            doing,
            path,
            source,
        }
    }
}
