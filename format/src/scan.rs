//! Finding blocks without an index, in a segment whose footer is lost or damaged (SPEC section 5, *Scan*).

use std::ops::Range;

use crate::block::BlockHeader;
use crate::header::FileHeader;
use crate::layout::{ALIGNMENT, BLOCK_MAGIC, block_header as at};
use crate::trailer::Trailer;
use crate::wire::View;

/// What a scan comes across, in order of position.
#[derive(Debug)]
pub enum Found<'a> {
    /// A block whose header is sound and in its place. Its streams are checked when they are decoded.
    Block {
        /// The header.
        header: Box<BlockHeader>,
        /// The whole block.
        bytes: &'a [u8],
    },
    /// A sound block that goes back behind what was found before: it is not returned as data.
    OutOfOrder(Box<BlockHeader>),
    /// Bytes in which no sound block starts: damage, or behind the last block the footer and the trailer.
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

impl<'a> Scanner<'a> {
    /// A scan over all bytes of a segment, or what is left of one.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Scanner<'a> {
        let header = FileHeader::decode(bytes).ok();
        let position = header.as_ref().map_or(0, |(_, length)| *length);
        let header = header.map(|(header, _)| header);
        let salt = header
            .as_ref()
            .map(FileHeader::salt)
            .or_else(|| trailer_salt(bytes))
            .or_else(|| first_block_salt(bytes));
        Scanner {
            bytes,
            header,
            salt,
            position,
            end_offset: 0,
        }
    }

    /// The file header, if it is sound.
    #[must_use]
    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    fn block_at(&self, position: usize) -> Option<(BlockHeader, &'a [u8])> {
        let bytes = self.bytes.get(position..)?;
        if !bytes.starts_with(&BLOCK_MAGIC) {
            return None;
        }
        let header = BlockHeader::decode(bytes, position as u64, self.salt?).ok()?;
        let block = bytes.get(..header.block_length())?;
        Some((header, block))
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.position >= self.bytes.len() {
            return None;
        }
        let start = self.position;
        if let Some((header, bytes)) = self.block_at(start) {
            self.position += bytes.len();
            if header.base_offset < self.end_offset {
                return Some(Found::OutOfOrder(Box::new(header)));
            }
            self.end_offset = header.end_offset;
            let header = Box::new(header);
            return Some(Found::Block { header, bytes });
        }
        self.position = (start + ALIGNMENT..self.bytes.len())
            .step_by(ALIGNMENT)
            .find(|position| self.block_at(*position).is_some())
            .unwrap_or(self.bytes.len());
        Some(Found::Skipped(start as u64..self.position as u64))
    }
}

fn trailer_salt(bytes: &[u8]) -> Option<[u8; 8]> {
    let trailer = Trailer::decode(bytes, bytes.len() as u64).ok()?;
    trailer.segment_id.first_chunk().copied()
}

/// The salt of the first sound header that stands where it says it stands. One inside a record does not.
fn first_block_salt(bytes: &[u8]) -> Option<[u8; 8]> {
    (0..bytes.len()).step_by(ALIGNMENT).find_map(|position| {
        let block = bytes.get(position..)?;
        if !block.starts_with(&BLOCK_MAGIC) {
            return None;
        }
        let salt = View::new("block header", position as u64, block, at::LENGTH)
            .and_then(|view| view.array(at::SALT))
            .ok()?;
        BlockHeader::decode(block, position as u64, salt).ok()?;
        Some(salt)
    })
}
