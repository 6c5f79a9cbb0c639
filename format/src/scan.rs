//! Finding blocks without an index, in a segment whose footer is lost or damaged (SPEC section 5, *Scan*).

use std::ops::Range;

use crate::block::BlockHeader;
use crate::block::decode::check_stored_bytes;
use crate::header::FileHeader;
use crate::layout::{BLOCK_MAGIC, TRAILER_MAGIC, block_header as at, trailer};
use crate::wire::FieldReader;

/// What a scan finds, in order of position.
#[derive(Debug)]
pub enum Found<'a> {
    /// A block whose header is valid. Its streams are checked when they are decoded.
    ///
    /// The header's `position` is where the block was written: above the position it was found at if bytes before it are missing.
    Block {
        /// The header.
        header: Box<BlockHeader>,
        /// The bytes of the whole block.
        bytes: &'a [u8],
    },
    /// A valid block whose offsets an earlier intact one covers: it is reported, but its records are not to be used. A block whose
    /// stored bytes are damaged covers nothing, since it gives no records.
    OutOfOrder(Box<BlockHeader>),
    /// Bytes in which no valid block starts: damage, or the footer and the trailer after the last block.
    Skipped(Range<u64>),
}

/// Walks over the bytes of a damaged segment.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    header: Option<FileHeader>,
    salt: Option<[u8; 8]>,
    position: usize,
    end_offset: i64,
}

/// A block whose header is valid and whose bytes are all within the file.
struct Candidate<'a> {
    header: BlockHeader,
    bytes: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// Scans all bytes of a segment, or what is left of one.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Scanner<'a> {
        let header = FileHeader::decode(bytes).ok();
        let position = header.as_ref().map_or(0, |(_, length)| *length);
        let header = header.map(|(header, _)| header);
        let salt = header
            .as_ref()
            .map(FileHeader::salt)
            .or_else(|| trailer_salt(bytes))
            .or_else(|| outermost_salt(bytes));
        Scanner {
            bytes,
            header,
            salt,
            position,
            end_offset: 0,
        }
    }

    /// Returns the file header, if it is valid.
    #[must_use]
    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    fn block_at(&self, position: usize) -> Option<Candidate<'a>> {
        let salt = self.salt?;
        candidate(self.bytes, position).filter(|block| block.header.salt == salt)
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.position >= self.bytes.len() {
            return None;
        }
        let start = self.position;
        if let Some(Candidate { header, bytes }) = self.block_at(start) {
            // Where bytes of the streams are missing, the next block starts before this one's stated end.
            let intact = check_stored_bytes(&header, bytes).is_ok();
            self.position += if intact {
                bytes.len()
            } else {
                header.header_length()
            };
            let header = Box::new(header);
            if header.base_offset < self.end_offset {
                return Some(Found::OutOfOrder(header));
            }
            if intact {
                self.end_offset = header.end_offset;
            }
            return Some(Found::Block { header, bytes });
        }
        self.position = magics(self.bytes, start + 1)
            .find(|position| self.block_at(*position).is_some())
            .unwrap_or(self.bytes.len());
        Some(Found::Skipped(start as u64..self.position as u64))
    }
}

/// Returns the positions from `start` on that hold a block's magic, aligned or not: any number of bytes may be missing.
fn magics(bytes: &[u8], start: usize) -> impl Iterator<Item = usize> {
    let windows = bytes.get(start..).unwrap_or_default();
    windows
        .windows(BLOCK_MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == BLOCK_MAGIC)
        .map(move |(i, _)| start + i)
}

/// Returns the block at `position`, of any segment, if bytes before it may be missing but none were added.
///
/// Missing bytes move a block towards the start. A block inside a record is found after the position it states, since the
/// enclosing segment begins first, so it is never mistaken for one of that segment's blocks.
fn candidate(bytes: &[u8], position: usize) -> Option<Candidate<'_>> {
    let bytes = bytes.get(position..)?;
    if !bytes.starts_with(&BLOCK_MAGIC) {
        return None;
    }
    let fixed = FieldReader::new("block header", position as u64, bytes, at::LENGTH).ok()?;
    let stated = fixed.u64(at::POSITION).ok()?;
    if stated < position as u64 {
        return None;
    }
    let header = BlockHeader::decode(bytes, stated, fixed.array(at::SALT).ok()?).ok()?;
    let bytes = bytes.get(..header.block_length())?;
    Some(Candidate { header, bytes })
}

/// Returns the salt in the trailer. Its other fields are ignored: where bytes are missing, no length in it is right.
fn trailer_salt(bytes: &[u8]) -> Option<[u8; 8]> {
    let start = bytes.len().checked_sub(trailer::LENGTH)?;
    let view = FieldReader::new(
        "trailer",
        start as u64,
        bytes.get(start..)?,
        trailer::LENGTH,
    )
    .ok()?;
    let covered = view.slice(0, trailer::TRAILER_CRC).ok()?;
    let stated = view.u32(trailer::TRAILER_CRC).ok()?;
    let valid = view.array(trailer::MAGIC).ok()? == TRAILER_MAGIC;
    view.crc("trailer_crc", stated, covered).ok()?;
    valid
        .then(|| view.array(trailer::SEGMENT_ID).ok())
        .flatten()
}

/// Returns the salt of the block that moved furthest towards the start; of several, the first.
///
/// The remains of a segment inside a record moved by less than the blocks around it: by the same missing bytes, minus the
/// bytes before it.
fn outermost_salt(bytes: &[u8]) -> Option<[u8; 8]> {
    let mut outermost: Option<(u64, [u8; 8])> = None;
    for position in magics(bytes, 0) {
        if let Some(Candidate { header, .. }) = candidate(bytes, position) {
            let moved = header.position - position as u64;
            if outermost.is_none_or(|(most, _)| moved > most) {
                outermost = Some((moved, header.salt));
            }
        }
    }
    outermost.map(|(_, salt)| salt)
}
