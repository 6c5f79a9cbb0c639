//! All bytes of a file, however large, also where its disk returns only some of them.
//!
//! Files that a user names are not mapped: a page that the disk does not return, or that another program cuts off meanwhile, would end the process
//! (SIGBUS). They are read once, a piece at a time. A small one is in memory; the bytes of a larger one go to an unnamed temporary file (`TMPDIR`), and
//! that is mapped. Of a piece that cannot be read, each sector is read by itself; those that cannot be are zeros, and named.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use kbk_format::mapped::map_opened;
use serde::Serialize;

use crate::segment_file::{SegmentFileError, open_file, read_exact_at};

/// Files are in memory up to this size.
const IN_MEMORY: u64 = if cfg!(test) { 1 << 10 } else { 32 << 20 };

/// Bytes that are read at a time.
const PIECE_BYTES: usize = if cfg!(test) { 256 } else { 1 << 20 };

/// Bytes that are read at a time where more cannot be. Disks have sectors of 512 or 4096 bytes, and the kernel reads pages of 4096.
const SECTOR_BYTES: usize = if cfg!(test) { 64 } else { 4096 };

/// The bytes of a file.
pub struct FileBytes {
    bytes: Box<dyn Deref<Target = [u8]> + Send + Sync>,
    unreadable: Vec<UnreadableBytes>,
}

/// Bytes of a file that its disk does not return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableBytes {
    /// Position of the first one.
    pub position: u64,
    /// Their number.
    pub bytes: u64,
    /// What the operating system says.
    pub reason: String,
}

/// Why the bytes of a file are not at hand.
#[derive(Debug, thiserror::Error)]
pub enum FileBytesError {
    /// It cannot be opened, is not a file, or nothing of it can be read.
    #[error(transparent)]
    File(#[from] SegmentFileError),
    /// They cannot be copied.
    #[error("cannot copy {} to a temporary file in {}: {source}; set TMPDIR to a folder with room for it", file.display(), folder.display())]
    Copy {
        /// The file.
        file: PathBuf,
        /// The folder for temporary files.
        folder: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FileBytes {
    /// Reads a regular file. Blocks.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, nothing of it can be read, or there is no room for a copy of a large one.
    pub fn read(path: &Path) -> Result<FileBytes, FileBytesError> {
        let (file, size) = open_file(path)?;
        let copy = |source| FileBytesError::Copy {
            file: path.to_owned(),
            folder: std::env::temp_dir(),
            source,
        };
        let read = |part: &mut [u8], at| read_exact_at(&file, part, at);
        let (bytes, unreadable): (Box<dyn Deref<Target = [u8]> + Send + Sync>, _) =
            match size <= IN_MEMORY {
                true => {
                    let mut bytes = Vec::new();
                    let unreadable = read_all(size, read, &mut bytes).map_err(copy)?;
                    (Box::new(bytes), unreadable)
                }
                false => {
                    let mut to = tempfile::tempfile().map_err(copy)?;
                    let unreadable = read_all(size, read, &mut to).map_err(copy)?;
                    (Box::new(map_opened(&to).map_err(copy)?), unreadable)
                }
            };
        let unread: u64 = unreadable.iter().map(|it| it.bytes).sum();
        if size > 0 && unread == size {
            return Err(nothing_of(path, &file).into());
        }
        Ok(FileBytes { bytes, unreadable })
    }

    /// Returns what could not be read, in the order of positions: zeros are in its place.
    #[must_use]
    pub fn unreadable(&self) -> &[UnreadableBytes] {
        &self.unreadable
    }
}

/// Returns the error of a file of which nothing can be read.
fn nothing_of(path: &Path, file: &File) -> SegmentFileError {
    let source = read_exact_at(file, &mut [0], 0).err();
    SegmentFileError::Io {
        path: path.to_owned(),
        source: source.unwrap_or_else(|| io::Error::other("no part of it can be read")),
    }
}

/// Reads `size` bytes, and writes them to `out`, zeros where they cannot be read.
///
/// # Errors
///
/// Those of `out`.
fn read_all(
    size: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    out: &mut impl Write,
) -> io::Result<Vec<UnreadableBytes>> {
    let mut unreadable: Vec<UnreadableBytes> = Vec::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX);
        let length = length.min(PIECE_BYTES);
        let piece = buffer.get_mut(..length).unwrap_or_default();
        if read(piece, at).is_err() {
            let mut position = at;
            for sector in piece.chunks_mut(SECTOR_BYTES) {
                let bytes = sector.len() as u64;
                if let Err(error) = read(sector, position) {
                    sector.fill(0);
                    add(&mut unreadable, position, bytes, error.to_string());
                }
                position += bytes;
            }
        }
        out.write_all(piece)?;
        at += length as u64;
    }
    Ok(unreadable)
}

/// Adds bytes that follow all others, to the last range where that ends with them.
fn add(unreadable: &mut Vec<UnreadableBytes>, position: u64, bytes: u64, reason: String) {
    match unreadable.last_mut() {
        Some(last) if last.position + last.bytes == position && last.reason == reason => {
            last.bytes += bytes;
        }
        _ => unreadable.push(UnreadableBytes {
            position,
            bytes,
            reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Exactly the sectors that fail are zeros and named, and everything else is what the file holds.
        #[test]
        fn what_fails_is_zeros_and_named_and_nothing_else(
            size in 0_u64..3_000,
            bad in prop::collection::btree_set(0_u64..3_000, 0..6),
        ) {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 250) as u8 + 1).collect();
            let read = |part: &mut [u8], at: u64| {
                let range = at..at + part.len() as u64;
                if bad.range(range.clone()).next().is_some() {
                    return Err(io::Error::from_raw_os_error(5));
                }
                part.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
                Ok(())
            };
            let mut found = Vec::new();
            let unreadable = read_all(size, read, &mut found).unwrap();
            let sector = |at: u64| at / SECTOR_BYTES as u64;
            let fails = |at: u64| bad.iter().any(|bad| *bad < size && sector(*bad) == sector(at));
            let expected = (0..size).map(|at| if fails(at) { 0 } else { bytes[at as usize] });
            prop_assert!(found.iter().copied().eq(expected));
            let named: Vec<u64> = unreadable.iter().flat_map(|it| it.position..it.position + it.bytes).collect();
            prop_assert!(named.into_iter().eq((0..size).filter(|at| fails(*at))));
            prop_assert!(unreadable.windows(2).all(|pair| pair[0].position + pair[0].bytes < pair[1].position));
            prop_assert!(unreadable.iter().all(|it| it.reason.contains("os error 5")));
        }
    }

    #[test]
    fn a_small_file_and_a_large_one_are_read_and_a_folder_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [0, 1, IN_MEMORY, IN_MEMORY + 1, 5_000] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let found = FileBytes::read(&path).unwrap();
            assert!(*found == bytes[..] && found.unreadable().is_empty());
            // What is read is a copy: whoever cuts the file off takes nothing of it away.
            fs::write(&path, b"").unwrap();
            assert!(*found == bytes[..]);
        }
        assert!(FileBytes::read(folder.path()).is_err());
        assert!(FileBytes::read(&folder.path().join("none")).is_err());
    }
}
