//! Why nothing more can be written.

use std::io;
use std::path::{Path, PathBuf};

use kbk_format::FormatError;
use kbk_format::repo::RepoError;

/// Why an export failed. Partitions that were complete are there under their names.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
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
    /// Another export writes to the folder.
    #[error("cannot export to {}: another export writes there now; wait for it, or export to another folder", out.display())]
    Busy {
        /// The folder.
        out: PathBuf,
    },
    /// A name that exists already.
    #[error("cannot export to {}: it exists already; export to another folder, or replace it with --overwrite", path.display())]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// Two partitions of one name: histories of a topic.
    #[error(
        "cannot export two histories of a topic to one folder: both are written to {name}; select one of them by NAME@ID"
    )]
    SameName {
        /// The name.
        name: String,
    },
    /// A record that the format cannot hold.
    #[error("cannot export {partition}: {source}")]
    Record {
        /// The partition.
        partition: String,
        /// Why.
        source: FormatError,
    },
}

impl ExportError {
    /// Returns what maps an I/O error of `path`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportError {
        let path = path.to_owned();
        move |source| ExportError::Io {
            doing,
            path,
            source,
        }
    }
}

/// Of a record; the partition is added where it is known.
impl From<FormatError> for ExportError {
    fn from(source: FormatError) -> Self {
        ExportError::Record {
            partition: "a record".to_owned(),
            source,
        }
    }
}
