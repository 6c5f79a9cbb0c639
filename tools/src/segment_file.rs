//! One segment in a local file, without its repository.
//!
//! Its own footer is all there is to check it against. It is read in parts, from the end: the footer first, then the blocks that are needed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::layout::{FILE_MAGIC, TAIL_LENGTH, TRAILER_MAGIC};
use kbk_format::repo::{Damage, Operation, RepoError, RepoErrorKind};
use kbk_format::{ErrorClass, FormatError, Open, Segment};

use crate::task::joined;

/// A segment's file, and its checked footer. Clones share them.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    path: Arc<Path>,
    file: Arc<File>,
    segment: Arc<Segment>,
}

/// Why a file cannot be opened as a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFileError {
    /// The operating system does not give its bytes.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Standard input, a pipe, a folder or a device.
    #[error("cannot read {}: it is not a regular file, and a segment is read from its end", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It neither begins nor ends as a segment does.
    #[error("{} is not a segment: it neither begins nor ends as one", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// Its footer cannot be used.
    #[error("{} is damaged: {error}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
}

impl SegmentFileError {
    /// Returns the same without the name of the file, for whoever has named it.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            SegmentFileError::Io { source, .. } => source.to_string(),
            SegmentFileError::NotAFile { .. } => {
                "it is not a regular file, and a segment is read from its end".to_owned()
            }
            SegmentFileError::NotASegment { .. } => {
                "it is not a segment: it neither begins nor ends as one".to_owned()
            }
            SegmentFileError::Damaged { error, .. } => format!("it is damaged: {error}"),
        }
    }
}

impl SegmentFile {
    /// Stored bytes of one read in a sequential pass, unless one block is larger.
    pub const RANGE_BYTES: u64 = 1 << 20;

    /// Checks that a file exists, is a regular one and may be read, whatever it holds.
    ///
    /// # Errors
    ///
    /// [`SegmentFileError::Io`] or [`SegmentFileError::NotAFile`].
    pub fn check_readable(path: &Path) -> Result<(), SegmentFileError> {
        open_file(path).map(|_| ())
    }

    /// Opens the segment in a file by its trailer and footer. Blocks.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or its footer is not valid.
    pub fn open(path: &Path) -> Result<SegmentFile, SegmentFileError> {
        let io = |source| SegmentFileError::Io {
            path: path.to_owned(),
            source,
        };
        let (file, size) = open_file(path)?;
        let tail = read(&file, size.saturating_sub(TAIL_LENGTH)..size).map_err(io)?;
        let opened = match Segment::open(&tail, size) {
            // The footer is longer than the tail.
            Ok(Open::Need(range)) => Segment::open(&read(&file, range).map_err(io)?, size),
            opened => opened,
        };
        let error = match opened {
            Ok(Open::Ready(segment)) => {
                return Ok(SegmentFile {
                    path: path.into(),
                    file: Arc::new(file),
                    segment: Arc::from(segment),
                });
            }
            Ok(Open::Need(range)) => FormatError::new(
                ErrorClass::Truncated,
                "footer",
                range.start,
                "it begins before the bytes that the trailer states",
            ),
            Err(error) => error,
        };
        let path = path.to_owned();
        let start = read(&file, 0..size.min(FILE_MAGIC.len() as u64));
        let begins_as_segment = start.is_ok_and(|start| start == FILE_MAGIC);
        let ends_as_segment = tail.ends_with(&TRAILER_MAGIC);
        Err(match begins_as_segment || ends_as_segment {
            true => SegmentFileError::Damaged { path, error },
            false => SegmentFileError::NotASegment { path },
        })
    }

    /// Returns the path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the checked footer.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Returns the same error of reading it, which says whether it is of one place: its footer was read, so others can be.
    #[must_use]
    pub fn judged(&self, error: RepoError) -> RepoError {
        match error.kind().may_be_about_one_object() {
            true => error.of_one_object(),
            false => error,
        }
    }

    /// Reads bytes of the segment, which its footer states.
    pub(crate) async fn read_range(&self, range: Range<u64>) -> Result<Bytes, RepoError> {
        let file = Arc::clone(&self.file);
        let reading = tokio::task::spawn_blocking(move || read(&file, range));
        let read = joined(reading.await).and_then(|read| read.map_err(Into::into));
        read.map(Bytes::from).map_err(|source| {
            let (folder, name) = self.names();
            RepoError::of_store(Operation::Read, &folder, &name, source)
        })
    }

    /// Wraps an error of the segment's bytes in one that names the file.
    pub(crate) fn damaged(&self, error: FormatError) -> RepoError {
        let (folder, name) = self.names();
        let kind = RepoErrorKind::Damaged(Damage::Segment(error));
        RepoError::of_object(&folder, &name, kind)
    }

    /// Returns the folder and the name of the file, as the parts of a path to name in an error.
    fn names(&self) -> (String, String) {
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        (
            folder.display().to_string(),
            name.to_string_lossy().into_owned(),
        )
    }
}

/// Opens a regular file, and returns its size.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), SegmentFileError> {
    let io = |source| SegmentFileError::Io {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: opening a pipe waits for whoever writes to it.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(SegmentFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok((File::open(path).map_err(io)?, metadata.len()))
}

/// Reads the bytes at `range` of a file. The caller has bounded its length by that of the file.
fn read(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(range.end.saturating_sub(range.start));
    let mut bytes = vec![0; length.map_err(io::Error::other)?];
    read_exact_at(file, &mut bytes, range.start)?;
    Ok(bytes)
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, part: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, part, position)
}

#[cfg(not(unix))]
pub(crate) fn read_exact_at(mut file: &File, part: &mut [u8], position: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(position))?;
    file.read_exact(part)
}
