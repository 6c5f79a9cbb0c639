//! LZ4 frames, by lz4's `lz4_Frame_format.md`: a header, blocks, and checksums of XXH32.

use lz4_flex::block as lz4;
use xxhash_rust::xxh32::xxh32;

use super::codec::BatchCodec;
use super::inflate::{Fault, inconsistent, too_large};
use crate::error::ErrorClass;

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT_BLOCKS: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY_ID: u8 = 0b0000_0001;
/// Set in the length of a block that is stored as it is.
const UNCOMPRESSED: u32 = 1 << 31;
/// How far back a block may refer to those before it.
const HISTORY: usize = 64 << 10;

fn fault(detail: impl std::fmt::Display) -> Fault {
    inconsistent(BatchCodec::Lz4, detail)
}

fn cut_off() -> Fault {
    fault("the frame is cut off")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, Fault> {
    let (taken, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*taken))
}

fn take_u8(bytes: &mut &[u8]) -> Result<u8, Fault> {
    let (taken, rest) = bytes.split_first().ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(*taken)
}

/// Decompresses the frames in `stored`, at least one.
pub(super) fn inflate(
    mut stored: &[u8],
    check_header: bool,
    limit: usize,
    raw: &mut Vec<u8>,
) -> Result<(), Fault> {
    loop {
        let frame = Frame::take(&mut stored, check_header)?;
        frame.blocks(&mut stored, limit, raw)?;
        if stored.is_empty() {
            return Ok(());
        }
    }
}

/// Returns how many bytes the blocks of the frames in `stored` decompress to at most: each to the size that its frame allows.
pub(super) fn bound(mut stored: &[u8]) -> Option<u64> {
    let mut sum = 0_u64;
    while !stored.is_empty() {
        let frame = Frame::take(&mut stored, false).ok()?;
        loop {
            let length = take_u32(&mut stored).ok()?;
            if length == 0 {
                break;
            }
            let block = take(&mut stored, (length & !UNCOMPRESSED) as usize).ok()?;
            let most = match length & UNCOMPRESSED {
                0 => frame.block_bytes.min(block.len().saturating_mul(255)),
                _ => block.len(),
            };
            sum = sum.saturating_add(most as u64);
            if frame.has(BLOCK_CHECKSUMS) {
                take_u32(&mut stored).ok()?;
            }
        }
        if frame.has(CONTENT_CHECKSUM) {
            take_u32(&mut stored).ok()?;
        }
    }
    Some(sum)
}

/// What a frame's header says.
struct Frame {
    flags: u8,
    block_bytes: usize,
}

impl Frame {
    fn take(bytes: &mut &[u8], check: bool) -> Result<Frame, Fault> {
        if take(bytes, MAGIC.len())? != MAGIC {
            return Err(fault("it does not start with a frame's magic"));
        }
        let described = *bytes;
        let flags = take_u8(bytes)?;
        let block_bytes = match take_u8(bytes)? >> 4 & 7 {
            size @ 4..=7 => 1 << (8 + 2 * size),
            size => return Err(fault(format!("block size {size}"))),
        };
        if flags & VERSION_MASK != VERSION || flags & DICTIONARY_ID != 0 {
            let detail =
                format!("lz4: frame flags {flags:#04x}, of another version or with a dictionary");
            return Err((ErrorClass::Unsupported, detail));
        }
        if flags & CONTENT_SIZE != 0 {
            // Any number may be there. What comes out is bounded without it.
            take(bytes, 8)?;
        }
        let length = described.len() - bytes.len();
        let expected = (xxh32(described.get(..length).unwrap_or_default(), 0) >> 8) as u8;
        let stored = take_u8(bytes)?;
        if check && stored != expected {
            let detail =
                format!("the header's checksum is {stored:#04x}, expected {expected:#04x}");
            return Err(fault(detail));
        }
        Ok(Frame { flags, block_bytes })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Decompresses all blocks.
    fn blocks(&self, bytes: &mut &[u8], limit: usize, raw: &mut Vec<u8>) -> Result<(), Fault> {
        let start = raw.len();
        loop {
            let length = take_u32(bytes)?;
            if length == 0 {
                break;
            }
            let block = take(bytes, (length & !UNCOMPRESSED) as usize)?;
            if self.has(BLOCK_CHECKSUMS) && take_u32(bytes)? != xxh32(block, 0) {
                return Err(fault("a block's checksum does not match"));
            }
            match length & UNCOMPRESSED {
                0 => self.block(block, start, raw)?,
                _ => raw.extend_from_slice(block),
            }
            if raw.len() > limit {
                return Err(too_large(limit));
            }
        }
        if self.has(CONTENT_CHECKSUM) {
            let content = raw.get(start..).unwrap_or_default();
            if take_u32(bytes)? != xxh32(content, 0) {
                return Err(fault("the content's checksum does not match"));
            }
        }
        Ok(())
    }

    /// Decompresses one block, of a frame whose content began at `start`.
    fn block(&self, block: &[u8], start: usize, raw: &mut Vec<u8>) -> Result<(), Fault> {
        let most = self.block_bytes.min(block.len().saturating_mul(255));
        let filled = raw.len();
        raw.resize(filled + most, 0);
        let (before, room) = raw.split_at_mut_checked(filled).ok_or_else(cut_off)?;
        let written = match self.has(INDEPENDENT_BLOCKS) {
            true => lz4::decompress_into(block, room),
            false => {
                let from = start.max(filled.saturating_sub(HISTORY));
                let history = before.get(from..).unwrap_or_default();
                lz4::decompress_into_with_dict(block, room, history)
            }
        };
        let written = written.map_err(fault)?;
        raw.truncate(filled + written);
        Ok(())
    }
}

/// Appends `raw` as one frame of independent blocks of 64 KiB, as Kafka's own client does.
pub(super) fn deflate(raw: &[u8], table: &mut lz4::CompressTable, out: &mut Vec<u8>) {
    const BLOCK: usize = 64 << 10;
    let described = [VERSION | INDEPENDENT_BLOCKS, 4 << 4];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&described);
    out.push((xxh32(&described, 0) >> 8) as u8);
    let mut room = vec![0; lz4::get_maximum_output_size(BLOCK.min(raw.len()))];
    for block in raw.chunks(BLOCK) {
        let written = lz4::compress_into_with_table(block, &mut room, table).ok();
        let compressed = written
            .and_then(|length| room.get(..length))
            .filter(|compressed| compressed.len() < block.len());
        let (length, stored) = match compressed {
            Some(compressed) => (compressed.len() as u32, compressed),
            None => (block.len() as u32 | UNCOMPRESSED, block),
        };
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(stored);
    }
    out.extend_from_slice(&[0; 4]);
}
