//! What is left of a segment that cannot be opened: which offsets no sound block covers.
//!
//! Blocks are found without an index, as SPEC section 5 (*Scan*) says: a sound header states where it
//! belongs and how long its block is; where none stands, the search goes on 64 bytes further.

use kbk_format::layout::{ALIGNMENT, block_header_length, limits};
use kbk_format::repo::{BoxedError, SegmentEntry};
use kbk_format::{BlockHeader, FileHeader};

use super::Progress;
use super::object::Object;
use crate::finding::{Finding, Kind};

/// Bytes that are searched at a time.
const WINDOW_BYTES: u64 = 1 << 20;
/// The longest header of a block of this version.
const HEADER_BYTES: usize = block_header_length(limits::STREAMS);

/// Looks through the first `size` bytes of the segment that `entry` names.
pub(super) fn salvage(
    entry: &SegmentEntry,
    object: &mut Object,
    size: u64,
    progress: &Progress,
) -> Result<Vec<Finding>, BoxedError> {
    let mut salvage = Salvage {
        salt: entry
            .segment_id
            .0
            .split_at(8)
            .0
            .try_into()
            .unwrap_or_default(),
        covered: entry.base_offset,
        findings: Vec::new(),
    };
    let mut position = 0;
    while position < size {
        let window = position..size.min(position + WINDOW_BYTES);
        let bytes = object.read(window.clone(), None)?;
        let (step, block_end) = salvage.window(bytes, position, size);
        if let Some(end) = block_end {
            let block = object.read(position + step..end, None)?;
            salvage.block(block, position + step);
            progress(end - position);
            position = end;
        } else {
            progress(step);
            position += step.max(ALIGNMENT as u64);
        }
    }
    salvage.cover(entry.end_offset, entry.end_offset);
    Ok(salvage.findings)
}

/// The segment's id, as far as its first bytes tell.
pub(super) fn segment_id(object: &mut Object, size: u64) -> Option<[u8; 16]> {
    let first = 0..size.min(limits::FILE_HEADER_LENGTH as u64);
    let (header, _) = FileHeader::decode(object.read(first, None).ok()?).ok()?;
    Some(header.segment_id)
}

struct Salvage {
    salt: [u8; 8],
    /// Behind the last offset that a block has answered for.
    covered: i64,
    findings: Vec<Finding>,
}

impl Salvage {
    /// Takes the sound blocks that lie in the window. Returns how far it came, and where the block
    /// ends that starts there, if one does that does not lie in the window as a whole.
    fn window(&mut self, bytes: &[u8], position: u64, size: u64) -> (u64, Option<u64>) {
        let mut at = 0;
        while at < bytes.len() {
            let here = position + at as u64;
            let rest = bytes.get(at..).unwrap_or_default();
            let end_of_file = here + rest.len() as u64 == size;
            if rest.len() < HEADER_BYTES && !end_of_file && at > 0 {
                break;
            }
            let Ok(header) = BlockHeader::decode(rest, here, self.salt) else {
                at += ALIGNMENT;
                continue;
            };
            let length = header.block_length();
            if length <= rest.len() {
                self.block(rest, here);
                at += length;
            } else if here + length as u64 <= size {
                return (at as u64, Some(here + length as u64));
            } else {
                at += ALIGNMENT;
            }
        }
        (at as u64, None)
    }

    fn block(&mut self, bytes: &[u8], position: u64) {
        let Ok(header) = BlockHeader::decode(bytes, position, self.salt) else {
            return;
        };
        // A block that goes back belongs to no sound order, and is passed over.
        if header.base_offset < self.covered {
            return;
        }
        self.cover(header.base_offset, header.end_offset);
        if let Err(error) = kbk_format::block::decode::check_stored_bytes(&header, bytes) {
            let finding = Finding::format(&error, Kind::DamagedBlock);
            self.findings
                .push(finding.offsets(header.base_offset, header.end_offset));
        }
    }

    /// Takes the offsets up to `end` for answered, and those before `base` for lost.
    fn cover(&mut self, base: i64, end: i64) {
        if base > self.covered {
            let finding = Finding::new(Kind::LostOffsets, "no sound block covers these offsets");
            self.findings.push(finding.offsets(self.covered, base));
        }
        self.covered = self.covered.max(end);
    }
}
