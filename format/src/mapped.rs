//! A segment in a local file, memory-mapped.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe: another process may change it"
)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

use crate::error::FormatError;
use crate::segment::Segment;

/// The mapped bytes of a segment's file, and its checked footer.
#[derive(Debug)]
pub struct MappedSegment {
    segment: Segment,
    map: Mmap,
}

/// Why a local segment could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a valid segment.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Maps a local file into memory. An empty file maps to no bytes.
///
/// # Errors
///
/// If the file cannot be opened or mapped.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    map_opened(&File::open(path)?)
}

/// Maps a file that is open. A page that cannot be read later ends the process (SIGBUS), so this is for files of the program's own, such as temporary
/// ones: what others name should be read.
///
/// # Errors
///
/// If the file cannot be mapped.
pub fn map_opened(file: &File) -> io::Result<Mmap> {
    // SAFETY: segments are immutable once sealed. A file that another process changes while it is mapped yields
    // other bytes, which the checksums detect; truncating it raises SIGBUS, as for every program that maps files.
    unsafe { Mmap::map(file) }
}

impl MappedSegment {
    /// Opens the segment in the file at `path`.
    ///
    /// # Errors
    ///
    /// If the file cannot be mapped or its footer is not valid.
    pub fn open(path: &Path) -> Result<MappedSegment, MapError> {
        let map = map_file(path)?;
        let segment = Segment::open_whole(&map)?;
        Ok(MappedSegment { segment, map })
    }

    /// Returns the checked footer.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Returns all bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the bytes of block number `number` and everything after it.
    #[must_use]
    pub fn block_bytes(&self, number: usize) -> &[u8] {
        let entries = self.segment.index().entries();
        entries
            .get(number)
            .and_then(|entry| self.map.get(usize::try_from(entry.position).ok()?..))
            .unwrap_or_default()
    }
}
