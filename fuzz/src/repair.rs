//! Recomputes checksums to match the current bytes. Input too short to have them is left unchanged.

use kbk_format::StreamId;
use kbk_format::batch::frame_length;
use kbk_format::layout::{
    self, block_header, block_header_length, file_header, key_filter, key_page, record_batch,
    section, stream_entry, trailer,
};

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(target) = bytes.get_mut(at..at + 4) {
        target.copy_from_slice(&value.to_le_bytes());
    }
}

/// Repairs the checksums of the streams and the header of the block at the start of `block`.
pub fn repair_block(block: &mut [u8]) -> Option<()> {
    let streams = usize::from(*block.get(block_header::STREAM_COUNT)?);
    let header_length = block_header_length(streams);
    let mut stored_at = header_length;
    for entry in (0..streams).map(|i| block_header::LENGTH + i * stream_entry::LENGTH) {
        let length = u32_at(block, entry + stream_entry::STORED_LENGTH)? as usize;
        let is_batches = block.get(entry) == Some(&(StreamId::Batches as u8));
        let Some(stored) = block.get_mut(stored_at..stored_at.checked_add(length)?) else {
            break;
        };
        if is_batches {
            repair_batches(stored);
        }
        let crc = crc32c::crc32c(stored);
        put(block, entry + stream_entry::STORED_CRC, crc);
        stored_at += length;
    }
    let crc = crc32c::crc32c(block.get(block_header::SALT..header_length)?);
    put(block, block_header::HEADER_CRC, crc);
    Some(())
}

/// Repairs the checksums of batches that follow each other and are not compressed as a stream.
fn repair_batches(mut batches: &mut [u8]) -> Option<()> {
    while let Some(length) = frame_length(batches, 0).ok()? {
        let (batch, rest) = batches.split_at_mut_checked(length)?;
        let crc = crc32c::crc32c(batch.get(record_batch::ATTRIBUTES..)?);
        let stored = batch.get_mut(record_batch::CRC..record_batch::ATTRIBUTES)?;
        stored.copy_from_slice(&crc.to_be_bytes());
        batches = rest;
    }
    Some(())
}

/// Repairs the checksums of header copy, footer and trailer, and of each block at an aligned position.
pub fn repair_segment(bytes: &mut [u8]) -> Option<()> {
    for at in (0..bytes.len()).step_by(64) {
        let block = bytes.get_mut(at..)?;
        if block.starts_with(b"KBLK") {
            repair_block(block);
        }
    }
    let trailer_at = bytes.len().checked_sub(trailer::LENGTH)?;
    let (rest, end) = bytes.split_at_mut(trailer_at);
    let footer_length = u32_at(end, trailer::FOOTER_LENGTH)? as usize;
    let (before, footer) = rest.split_at_mut_checked(trailer_at.checked_sub(footer_length)?)?;
    repair_key_filter(before, footer);
    if let Some(crc) = repair_header_copy(footer) {
        put(end, trailer::HEADER_CRC, crc);
    }
    put(end, trailer::FOOTER_CRC, crc32c::crc32c(footer));
    let crc = crc32c::crc32c(&end[..trailer::TRAILER_CRC]);
    put(end, trailer::TRAILER_CRC, crc);
    Some(())
}

/// Repairs the checksums of the pages of the key filter, which are in the section of that type.
fn repair_key_filter(before: &[u8], footer: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while u32_at(footer, at)? != layout::SECTION_KEY_FILTER {
        let length = u32_at(footer, at + section::PAYLOAD_LENGTH)? as usize;
        at = layout::align(at + section::LENGTH + length, layout::SECTION_ALIGNMENT);
    }
    let payload = at + section::LENGTH;
    let position = u32_at(footer, payload + key_filter::POSITION)? as usize;
    let pages = 1_usize << (*footer.get(payload + key_filter::PAGE_BITS)?).min(16);
    let mut start = position;
    for page in (0..pages).map(|page| payload + key_filter::LENGTH + key_page::LENGTH * page) {
        let end = position + u32_at(footer, page + key_page::END)? as usize;
        let crc = crc32c::crc32c(before.get(start..end)?);
        put(footer, page + key_page::CRC, crc);
        start = end;
    }
    Some(())
}

/// Repairs the checksum of the file header's copy, which is the payload of the first section, and returns it.
fn repair_header_copy(footer: &mut [u8]) -> Option<u32> {
    let copy = footer.get_mut(section::LENGTH..)?;
    let length = u32_at(copy, file_header::HEADER_LENGTH)? as usize;
    let crc_at = length.checked_sub(4)?;
    let crc = crc32c::crc32c(copy.get(..crc_at)?);
    put(copy, crc_at, crc);
    Some(crc)
}
