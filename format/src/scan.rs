//! Finding blocks without an index, in a segment whose footer is lost or damaged (SPEC section 5, *Scan*).
//!
//! What is found is in the order of its bytes. [`Salvage`](crate::salvage::Salvage) decodes it and puts it in the order of offsets.

use std::ops::Range;

use crate::block::BlockHeader;
use crate::block::decode::check_stored_bytes;
use crate::error::{ErrorClass, FormatError};
use crate::header::FileHeader;
use crate::layout::{BLOCK_MAGIC, TRAILER_MAGIC, limits, trailer as trailer_at};
use crate::wire::{FieldReader, length};

/// What a scan finds, in order of position.
#[derive(Debug)]
pub enum Found<'a> {
    /// A block whose header and stored bytes are valid. Its records are checked when it is decoded.
    Block(FoundBlock<'a>),
    /// A block whose header is valid and whose stored bytes are not, or are not all there.
    Damaged {
        /// Where the header was found.
        position: u64,
        /// The header.
        header: Box<BlockHeader>,
        /// What is wrong with the bytes.
        error: FormatError,
    },
    /// A valid header of a block of another segment, outside the blocks of this one.
    Foreign {
        /// Where the header was found.
        position: u64,
        /// The header.
        header: Box<BlockHeader>,
    },
    /// Bytes in which no valid block header starts: damage, or the footer and the trailer after the last block.
    Skipped(Range<u64>),
}

/// An intact block, wherever it was found.
#[derive(Debug)]
pub struct FoundBlock<'a> {
    /// Where it was found: another position than its header states if bytes before it are missing or were added.
    pub position: u64,
    /// The header.
    pub header: Box<BlockHeader>,
    /// The bytes of the whole block.
    pub bytes: &'a [u8],
}

/// What named the segment whose blocks are looked for, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifiedBy {
    /// The caller.
    Caller,
    /// A valid file header at position 0.
    FileHeader,
    /// A valid trailer of a file of this length.
    Trailer,
    /// Of all blocks, the one whose stated position is furthest above the one that it was found at. Where a segment in a record is all
    /// that is left of a file, that is a block of this inner segment.
    Blocks,
    /// A valid trailer of a file of another length, in a file without any block.
    DisplacedTrailer,
}

/// Walks over the bytes of a damaged segment.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    salt: Option<([u8; 8], IdentifiedBy)>,
    header: Option<FileHeader>,
    position: usize,
}

/// A block whose header is valid.
struct Candidate<'a> {
    header: BlockHeader,
    /// From the header to the end of the file.
    bytes: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// Scans all bytes of a segment, or what is left of one.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner::of(bytes, None)
    }

    /// Does the same for blocks with this salt, where the caller knows the segment's id.
    #[must_use]
    pub fn of(bytes: &'a [u8], salt: Option<[u8; 8]>) -> Scanner<'a> {
        let first = FileHeader::decode(bytes).ok();
        let salt = salt
            .map(|salt| (salt, IdentifiedBy::Caller))
            .or_else(|| {
                let (header, _) = first.as_ref()?;
                Some((header.salt(), IdentifiedBy::FileHeader))
            })
            .or_else(|| identify(bytes));
        let is_own = |header: &FileHeader| salt.is_some_and(|(salt, _)| header.salt() == salt);
        let first = first.filter(|(header, _)| is_own(header));
        let position = first.as_ref().map_or(0, |(_, length)| *length);
        let header = first.map(|(header, _)| header);
        Scanner {
            bytes,
            salt,
            header,
            position,
        }
    }

    /// Returns the salt of the blocks that are looked for, and what named it.
    #[must_use]
    pub fn salt(&self) -> Option<([u8; 8], IdentifiedBy)> {
        self.salt
    }

    /// Returns the file header at position 0, if it is valid and that of this segment.
    #[must_use]
    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    fn candidate(&self, position: usize) -> Option<Candidate<'a>> {
        candidate(self.bytes, position)
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let (salt, _) = self.salt?;
        if self.position >= self.bytes.len() {
            return None;
        }
        let start = self.position;
        let Some(Candidate { header, bytes }) = self.candidate(start) else {
            self.position = magics(self.bytes, start + 1, &BLOCK_MAGIC)
                .find(|position| self.candidate(*position).is_some())
                .unwrap_or(self.bytes.len());
            return Some(Found::Skipped(start as u64..self.position as u64));
        };
        let position = start as u64;
        let header = Box::new(header);
        // Where bytes of the streams are missing, the next block starts before this one's stated end.
        self.position = start.saturating_add(header.header_length());
        if header.salt != salt {
            return Some(Found::Foreign { position, header });
        }
        Some(match stored(&header, bytes) {
            Ok(bytes) => {
                self.position = start.saturating_add(bytes.len());
                Found::Block(FoundBlock {
                    position,
                    header,
                    bytes,
                })
            }
            Err(error) => Found::Damaged {
                position,
                header,
                error,
            },
        })
    }
}

/// Returns the bytes of a block, from those that begin with it, if all are there and valid.
fn stored<'a>(header: &BlockHeader, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let block = bytes.get(..header.block_length()).ok_or_else(|| {
        let detail = format!(
            "the file has {} of its {} bytes",
            bytes.len(),
            header.block_length()
        );
        FormatError::new(ErrorClass::Truncated, "block", header.position, detail)
    })?;
    check_stored_bytes(header, block)?;
    Ok(block)
}

/// Returns the positions from `start` on that hold a magic, aligned or not: any number of bytes may be missing.
pub(crate) fn magics<'a>(
    bytes: &'a [u8],
    start: usize,
    magic: &'a [u8],
) -> impl DoubleEndedIterator<Item = usize> + use<'a> {
    let windows = bytes.get(start..).unwrap_or_default();
    windows
        .windows(magic.len())
        .enumerate()
        .filter(move |(_, window)| *window == magic)
        .map(move |(i, _)| start + i)
}

/// Returns the block header at `position`, of any segment and of whatever position it states.
fn candidate(bytes: &[u8], position: usize) -> Option<Candidate<'_>> {
    let bytes = bytes.get(position..)?;
    if !bytes.starts_with(&BLOCK_MAGIC) {
        return None;
    }
    let header = BlockHeader::decode_anywhere(bytes).ok()?;
    Some(Candidate { header, bytes })
}

/// Returns the salt of the segment that the file most likely is, where it does not begin with a valid header.
fn identify(bytes: &[u8]) -> Option<([u8; 8], IdentifiedBy)> {
    // A trailer of another length may be that of a segment in a record, which the file was cut after.
    let trailer = bytes
        .len()
        .checked_sub(trailer_at::LENGTH)
        .and_then(|start| remains_of_trailer(bytes, start));
    if let Some(trailer) = trailer
        && trailer.file_length == bytes.len() as u64
    {
        return Some((trailer.salt, IdentifiedBy::Trailer));
    }
    outermost_salt(bytes)
        .map(|salt| (salt, IdentifiedBy::Blocks))
        .or_else(|| Some((trailer?.salt, IdentifiedBy::DisplacedTrailer)))
}

/// The fields of a valid trailer that are right wherever it was found.
#[derive(Clone, Copy)]
pub(crate) struct TrailerRemains {
    pub(crate) salt: [u8; 8],
    pub(crate) file_length: u64,
    pub(crate) footer_length: usize,
    pub(crate) block_count: u32,
}

/// Reads the trailer at `start`, if its checksum matches. Where bytes are missing, no length in it is that of the file.
pub(crate) fn remains_of_trailer(bytes: &[u8], start: usize) -> Option<TrailerRemains> {
    let bytes = bytes.get(start..)?;
    let view = FieldReader::new("trailer", start as u64, bytes, trailer_at::LENGTH).ok()?;
    let covered = view.slice(0, trailer_at::TRAILER_CRC).ok()?;
    let stated = view.u32(trailer_at::TRAILER_CRC).ok()?;
    if view.array(trailer_at::MAGIC).ok()? != TRAILER_MAGIC {
        return None;
    }
    view.crc("trailer_crc", stated, covered).ok()?;
    let block_count = view.u32(trailer_at::BLOCK_COUNT).ok()?;
    Some(TrailerRemains {
        salt: view.array(trailer_at::SEGMENT_ID).ok()?,
        file_length: view.u64(trailer_at::FILE_LENGTH).ok()?,
        footer_length: length(view.u32(trailer_at::FOOTER_LENGTH).ok()?),
        block_count: Some(block_count).filter(|blocks| length(*blocks) <= limits::BLOCKS)?,
    })
}

/// Returns the salt of the block whose stated position is furthest above the one it was found at; of several, the first.
///
/// The remains of a segment inside a record state positions that are lower than those around it, by the bytes before it. Missing or added
/// bytes move both in the same way.
fn outermost_salt(bytes: &[u8]) -> Option<[u8; 8]> {
    let mut outermost: Option<(i128, [u8; 8])> = None;
    for position in magics(bytes, 0, &BLOCK_MAGIC) {
        if let Some(Candidate { header, .. }) = candidate(bytes, position) {
            let moved = i128::from(header.position) - position as i128;
            if outermost.is_none_or(|(most, _)| moved > most) {
                outermost = Some((moved, header.salt));
            }
        }
    }
    outermost.map(|(_, salt)| salt)
}
