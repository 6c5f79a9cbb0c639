//! Why nothing could be recovered.

use std::path::PathBuf;

use kbk_format::WriteError;

use crate::FileBytesError;

/// Why a recovery fails. That something is lost is no failure.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] FileBytesError),
    /// No file has anything of a segment.
    #[error("{} holds no header, block or trailer of a segment", file.display())]
    NotASegment {
        /// The first file.
        file: PathBuf,
    },
    /// No copy of the file header is left, so that the topic is not known.
    #[error("cannot tell of which topic and partition {} is: no copy of its header is left", file.display())]
    Unidentified {
        /// The first file.
        file: PathBuf,
    },
    /// The header names another partition than the caller.
    #[error("{} is of {found}, not of {expected}", file.display())]
    OtherPartition {
        /// The first file.
        file: PathBuf,
        /// What its header names.
        found: String,
        /// What the caller names.
        expected: String,
    },
    /// The new segment would replace a file.
    #[error("cannot write {}: it exists", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The new segment cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// The new segment is not what it should be: it is removed.
    #[error("what was written to {} is not what was proved, and was removed: {detail}", file.display())]
    Unproved {
        /// The file.
        file: PathBuf,
        /// The difference.
        detail: String,
    },
}
