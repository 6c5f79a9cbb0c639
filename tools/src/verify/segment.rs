//! Checks every byte of one segment, in parts of bounded size.
//!
//! ```text
//! | file header | run of blocks | run of blocks | ... | pages of the key filter | footer and trailer |
//! ```
//!
//! The footer has been read and checked before. It locates every block, so the check continues after a damaged one.

use std::collections::VecDeque;
use std::ops::Range;

use kbk_format::repo::{BoxedError, SegmentHasher};
use kbk_format::salvage::{Loss, damaged_batches};
use kbk_format::verify::RecordVerifier;
use kbk_format::{Block, BlockDecoder, FormatError, IndexEntry, Segment};

use super::VerifyEvents;
use super::object_reader::ObjectReader;
use crate::large_blocks;
use crate::read::{BlockPart, Order, Runs};

/// What is checked in addition to the checksum of every byte.
#[derive(Default)]
pub(super) struct Depth<'a> {
    /// Decode every record, and compare with the digests and statistics of the footer.
    pub(super) records: bool,
    /// Receives every byte of the object, in order.
    pub(super) hasher: Option<&'a mut SegmentHasher>,
}

/// What the check of a segment found.
pub(super) struct Checked {
    /// All damage, in file order.
    pub(super) damage: Vec<Damage>,
    /// Why the check stopped before the end, if it did.
    pub(super) unreadable: Option<BoxedError>,
}

/// One damaged structure of a segment.
pub(super) struct Damage {
    pub(super) error: FormatError,
    /// The damaged block; `None` for the segment as a whole.
    pub(super) block: Option<IndexEntry>,
    /// What is damaged of a block of Kafka's own batches, where the rest of it is proved: then only that is lost.
    pub(super) batches: Vec<Loss>,
    /// Whether it is of the key filter, so that no record is affected.
    pub(super) of_key_filter: bool,
}

/// Checks the segment whose bytes `object` reads, `range_bytes` at a time unless a block is larger. Blocks.
pub(super) fn check(
    segment: &Segment,
    object: &mut ObjectReader,
    range_bytes: u64,
    depth: Depth<'_>,
    events: &dyn VerifyEvents,
) -> Checked {
    let mut check = SegmentCheck {
        segment,
        records: depth.records.then(|| RecordVerifier::new(segment)),
        hasher: depth.hasher,
        damage: Vec::new(),
        decoder: BlockDecoder::new(),
    };
    match check.parts(object, range_bytes, events) {
        Ok(()) => check.finish(),
        Err(error) => Checked {
            damage: check.damage,
            unreadable: Some(error),
        },
    }
}

struct SegmentCheck<'a> {
    segment: &'a Segment,
    records: Option<RecordVerifier<'a>>,
    hasher: Option<&'a mut SegmentHasher>,
    damage: Vec<Damage>,
    /// For the batches of a block that are compressed once more.
    decoder: BlockDecoder,
}

/// A contiguous range of the segment.
enum Part {
    Header,
    Blocks(Range<usize>),
    /// Pages of the key filter, which follow the last block.
    KeyFilter(Range<usize>),
    /// Checked when the segment was opened; read again only for the hash.
    Footer,
}

impl SegmentCheck<'_> {
    fn parts(
        &mut self,
        object: &mut ObjectReader,
        range_bytes: u64,
        events: &dyn VerifyEvents,
    ) -> Result<(), BoxedError> {
        let segment = self.segment;
        let entries = segment.index().entries();
        let blocks = (0..entries.len()).collect();
        let mut runs = Runs::new(entries, blocks, Order::Ascending, BlockPart::Whole, 0);
        let runs = std::iter::from_fn(|| runs.next(entries, range_bytes));
        let filter = segment.key_filter();
        let filter = filter.map(|filter| filter.runs(range_bytes));
        let filter = filter.unwrap_or_default().into_iter().map(Part::KeyFilter);
        let footer = self.hasher.is_some().then_some(Part::Footer);
        let parts = std::iter::once(Part::Header)
            .chain(runs.map(|run| Part::Blocks(run.range)))
            .chain(filter)
            .chain(footer);
        let mut parts: VecDeque<Part> = parts.collect();
        while let Some(part) = parts.pop_front() {
            let range = part.range(segment);
            let length = range.end - range.start;
            let bytes = object.read(range, parts.iter().map(|next| next.range(segment)))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(bytes);
            }
            match part {
                Part::Header => self.header(bytes),
                Part::Blocks(blocks) => self.blocks(blocks, bytes),
                Part::KeyFilter(pages) => self.key_filter(pages, bytes),
                Part::Footer => {}
            }
            events.bytes_checked(length);
        }
        Ok(())
    }

    fn header(&mut self, bytes: &[u8]) {
        if let Err(error) = self.segment.check_file_header(bytes) {
            self.damage.push(Damage::of_segment(error));
        }
    }

    fn blocks(&mut self, blocks: Range<usize>, bytes: &[u8]) {
        let segment = self.segment;
        let timestamp_type = Some(segment.header().timestamp_type);
        let entries = segment.index().entries().get(blocks.clone());
        let first = segment.index().range(blocks.clone()).unwrap_or_default();
        for (block, entry) in segment
            .blocks(blocks, bytes)
            .zip(entries.unwrap_or_default())
        {
            let checked = block.and_then(|block| match &mut self.records {
                Some(records) => decode(records, &block),
                None => block.check(&mut self.decoder),
            });
            if let Err(error) = checked {
                // The digests over all records cannot match any more, and must not be reported as further damage.
                if let Some(records) = &mut self.records {
                    records.skip();
                }
                let block = Some(*entry);
                let start = entry.position.checked_sub(first.start);
                let start = start.and_then(|start| usize::try_from(start).ok());
                let stored = start.and_then(|start| {
                    let end = start.checked_add(entry.block_length as usize)?;
                    bytes.get(start..end)
                });
                self.damage.push(Damage {
                    block,
                    batches: damaged_batches(stored.unwrap_or_default(), timestamp_type),
                    ..Damage::of_segment(error)
                });
            }
        }
    }

    fn key_filter(&mut self, pages: Range<usize>, bytes: &[u8]) {
        let checked = match (&mut self.records, self.segment.key_filter()) {
            (Some(records), _) => records.key_filter(pages, bytes),
            (None, Some(filter)) => filter.check(pages, bytes),
            (None, None) => Ok(()),
        };
        if let Err(error) = checked {
            self.damage.push(Damage::of_key_filter(error));
        }
    }

    /// Adds what shows only once every part has been seen.
    fn finish(mut self) -> Checked {
        if let Some(mut records) = self.records.take() {
            let filter = records.finish_key_filter().err();
            self.damage.extend(filter.map(Damage::of_key_filter));
            let sums = records.finish().err();
            self.damage.extend(sums.map(Damage::of_segment));
        }
        Checked {
            damage: self.damage,
            unreadable: None,
        }
    }
}

/// Checks the records of a block, once there is room for it.
fn decode(records: &mut RecordVerifier<'_>, block: &Block<'_>) -> Result<(), FormatError> {
    let room = large_blocks::wait_for_room(block.decoded_bytes());
    let checked = records.block(block);
    if room.is_some() || large_blocks::are_large(records.columns().buffer_bytes()) {
        records.free_buffers();
    }
    checked
}

impl Damage {
    fn of_segment(error: FormatError) -> Damage {
        Damage {
            error,
            block: None,
            batches: Vec::new(),
            of_key_filter: false,
        }
    }

    fn of_key_filter(error: FormatError) -> Damage {
        Damage {
            of_key_filter: true,
            ..Damage::of_segment(error)
        }
    }
}

impl Part {
    fn range(&self, segment: &Segment) -> Range<u64> {
        match self {
            Part::Header => 0..segment.file_header_length(),
            Part::Blocks(blocks) => segment.index().range(blocks.clone()).unwrap_or_default(),
            Part::KeyFilter(pages) => segment
                .key_filter()
                .map_or(0..0, |filter| filter.range_of(pages.clone())),
            Part::Footer => segment.footer_position()..segment.file_length(),
        }
    }
}
