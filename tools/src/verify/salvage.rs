//! Finds what is left of a segment that cannot be opened, and which of its offsets no valid block covers.
//!
//! Blocks are found without an index, as SPEC section 5 (*Scan*) describes: a valid header states where its block belongs and how
//! long it is; where there is none, the search continues 64 bytes further on.

use std::iter;

use kbk_format::layout::{ALIGNMENT, block_header_length, limits};
use kbk_format::repo::{BoxedError, SegmentEntry};
use kbk_format::salvage::damaged_batches;
use kbk_format::{BlockHeader, FileHeader, TimestampType};

use super::VerifyEvents;
use super::finding::{Finding, FindingKind};
use super::object_reader::ObjectReader;

/// Bytes that are searched at a time.
const WINDOW_BYTES: u64 = 1 << 20;
/// Length of the longest block header of this version.
const HEADER_BYTES: usize = block_header_length(limits::STREAMS);

/// Searches the first `size` bytes of the segment that `entry` names.
pub(super) fn salvage(
    entry: &SegmentEntry,
    object: &mut ObjectReader,
    size: u64,
    events: &dyn VerifyEvents,
) -> Result<Vec<Finding>, BoxedError> {
    let mut salvage = Salvage {
        salt: entry
            .segment_id
            .0
            .split_at(8)
            .0
            .try_into()
            .unwrap_or_default(),
        timestamp_type: entry.timestamp_type,
        covered: entry.base_offset,
        findings: Vec::new(),
    };
    let mut position = 0;
    while position < size {
        let window = position..size.min(position + WINDOW_BYTES);
        let bytes = object.read(window.clone(), iter::empty())?;
        let (step, block_end) = salvage.window(bytes, position, size);
        if let Some(end) = block_end {
            let block = object.read(position + step..end, iter::empty())?;
            salvage.block(block, position + step);
            events.bytes_checked(end - position);
            position = end;
        } else {
            events.bytes_checked(step);
            position += step.max(ALIGNMENT as u64);
        }
    }
    salvage.cover(entry.end_offset, entry.end_offset);
    Ok(salvage.findings)
}

/// Returns the segment id in the file header, if that is valid.
pub(super) fn segment_id(object: &mut ObjectReader, size: u64) -> Option<[u8; 16]> {
    let first = 0..size.min(limits::FILE_HEADER_LENGTH as u64);
    let (header, _) = FileHeader::decode(object.read(first, iter::empty()).ok()?).ok()?;
    Some(header.segment_id)
}

struct Salvage {
    salt: [u8; 8],
    timestamp_type: TimestampType,
    /// One past the last offset that a block has covered.
    covered: i64,
    findings: Vec<Finding>,
}

impl Salvage {
    /// Takes the valid blocks within the window. Returns how many bytes it has searched, and the end of the block that starts
    /// there, if that block extends beyond the window.
    fn window(&mut self, bytes: &[u8], position: u64, size: u64) -> (u64, Option<u64>) {
        let mut at = 0;
        while at < bytes.len() {
            let here = position + at as u64;
            let rest = bytes.get(at..).unwrap_or_default();
            // A header may be cut off by the window, and is then searched for in the next one, which starts here.
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
        // Blocks ascend in a valid segment, so one that covers earlier offsets is a remnant of something else.
        if header.base_offset < self.covered {
            return;
        }
        self.cover(header.base_offset, header.end_offset);
        if let Err(error) = kbk_format::block::decode::check_stored_bytes(&header, bytes) {
            let batches = damaged_batches(
                bytes.get(..header.block_length()).unwrap_or(bytes),
                Some(self.timestamp_type),
            );
            if batches.is_empty() {
                let finding = Finding::of_format_error(&error, FindingKind::DamagedBlock);
                let (base, end) = (header.base_offset, header.end_offset);
                self.findings.push(finding.offsets(base, end));
            }
            self.findings.extend(batches.iter().map(Finding::loss));
        }
    }

    /// Marks the offsets up to `end` as covered, and reports those before `base` that are not as lost.
    fn cover(&mut self, base: i64, end: i64) {
        if base > self.covered {
            let finding = Finding::new(
                FindingKind::LostOffsets,
                "no valid block covers these offsets",
            );
            self.findings.push(finding.offsets(self.covered, base));
        }
        self.covered = self.covered.max(end);
    }
}
