//! Joins blocks into reads of a bounded size.

use std::collections::VecDeque;
use std::ops::Range;

use kbk_format::IndexEntry;

use super::order::Order;
use super::part::BlockPart;

/// How much of what is between META of two blocks is read rather than making two requests. META is a few KiB: with the gaps that suit whole blocks,
/// everything would be read.
const META_GAP_BYTES: u64 = 16 << 10;

/// Blocks of a segment that are still to be read.
pub(crate) struct Runs {
    order: Order,
    part: BlockPart,
    /// In this order.
    blocks: VecDeque<usize>,
    /// Stored bytes of the blocks.
    bytes: u64,
    gap_bytes: u64,
}

/// Blocks that one read covers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Those that are read.
    pub(crate) range: Range<usize>,
    /// Those of them that are needed, in order.
    pub(crate) blocks: VecDeque<usize>,
    /// The stored bytes of the range.
    pub(crate) bytes: u64,
}

impl Runs {
    /// Reads this part of these blocks, which are in `order`. Between two of them, at most `gap_bytes` of others are read, too.
    pub(crate) fn new(
        entries: &[IndexEntry],
        blocks: VecDeque<usize>,
        order: Order,
        part: BlockPart,
        gap_bytes: u64,
    ) -> Runs {
        let bytes = blocks
            .iter()
            .map(|block| stored(entries, &(*block..block + 1), part));
        Runs {
            bytes: bytes.sum(),
            blocks,
            order,
            part,
            gap_bytes: match part {
                BlockPart::Whole => gap_bytes,
                BlockPart::Meta => META_GAP_BYTES,
            },
        }
    }

    /// Returns the stored bytes of the blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next run: it ends before the block that would exceed `max_bytes` stored bytes, but has at least two blocks where two
    /// are adjacent.
    pub(crate) fn peek(&self, entries: &[IndexEntry], max_bytes: u64) -> Option<Run> {
        let mut blocks = self.blocks.iter().copied();
        let first = blocks.next()?;
        let range = first..first + 1;
        let mut run = Run {
            bytes: stored(entries, &range, self.part),
            range,
            blocks: [first].into(),
        };
        for block in blocks {
            let range = match self.order {
                Order::Ascending => run.range.start..block + 1,
                Order::Descending => block..run.range.end,
            };
            let adjacent = range.len() == run.range.len() + 1;
            let bytes = stored(entries, &range, self.part);
            let needed = run
                .bytes
                .saturating_add(stored(entries, &(block..block + 1), self.part));
            let near = bytes.saturating_sub(needed) <= self.gap_bytes;
            let fits = bytes <= max_bytes || (adjacent && run.range.len() == 1);
            if !(near && fits) {
                break;
            }
            (run.range, run.bytes) = (range, bytes);
            run.blocks.push_back(block);
        }
        Some(run)
    }

    /// Removes the blocks of the next run.
    pub(crate) fn skip(&mut self, entries: &[IndexEntry], run: &Run) {
        for block in self.blocks.drain(..run.blocks.len().min(self.blocks.len())) {
            let bytes = stored(entries, &(block..block + 1), self.part);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Takes the next run.
    pub(crate) fn next(&mut self, entries: &[IndexEntry], max_bytes: u64) -> Option<Run> {
        let run = self.peek(entries, max_bytes)?;
        self.skip(entries, &run);
        Some(run)
    }
}

/// Returns the bytes to read for this part of these blocks.
pub(super) fn bytes_of(
    entries: &[IndexEntry],
    blocks: &Range<usize>,
    part: BlockPart,
) -> Option<Range<u64>> {
    let entries = entries.get(blocks.clone())?;
    Some(entries.first()?.position..part.end(entries.last()?))
}

fn stored(entries: &[IndexEntry], blocks: &Range<usize>, part: BlockPart) -> u64 {
    let bytes = bytes_of(entries, blocks, part);
    bytes.map_or(0, |bytes| bytes.end.saturating_sub(bytes.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 100 bytes each.
    fn entries(count: u32) -> Vec<IndexEntry> {
        let entry = |number: u32| IndexEntry {
            position: 64 + 100 * u64::from(number),
            block_length: 100,
            raw_length: 200,
            base_offset: i64::from(number),
            end_offset: i64::from(number) + 1,
            min_timestamps: Some(kbk_format::MinTimestamps { all: 0, known: 0 }),
            max_timestamp: 0,
            header_length: 64,
            kind: kbk_format::BlockKind::Records,
            record_count: 1,
            header_crc: 0,
            meta_length: 0,
        };
        (0..count).map(entry).collect()
    }

    fn all(blocks: &[usize], order: Order, gap_bytes: u64, max_bytes: u64) -> Vec<Range<usize>> {
        let entries = entries(20);
        let needed = blocks.iter().copied().collect();
        let mut runs = Runs::new(&entries, needed, order, BlockPart::Whole, gap_bytes);
        let mut found = Vec::new();
        let mut taken = Vec::new();
        while let Some(run) = runs.next(&entries, max_bytes) {
            assert_eq!(run.bytes, 100 * run.range.len() as u64);
            assert!(run.blocks.iter().all(|block| run.range.contains(block)));
            taken.extend(run.blocks);
            found.push(run.range);
        }
        assert_eq!((taken, runs.bytes()), (blocks.to_vec(), 0));
        found
    }

    #[test]
    fn adjacent_blocks_are_joined_up_to_a_size() {
        use Order::{Ascending, Descending};
        assert_eq!(all(&[0, 1, 2, 3, 4], Ascending, 0, 300), [0..3, 3..5]);
        assert_eq!(all(&[4, 3, 2, 1, 0], Descending, 0, 300), [2..5, 0..2]);
        assert_eq!(all(&[0, 1, 2], Ascending, 0, 10), [0..2, 2..3]);
        assert_eq!(all(&[0, 2, 3], Ascending, 0, 1000), [0..1, 2..4]);
    }

    #[test]
    fn small_gaps_are_read_and_large_ones_are_not() {
        use Order::{Ascending, Descending};
        assert_eq!(all(&[0, 2, 5, 6], Ascending, 100, 1000), [0..3, 5..7]);
        assert_eq!(
            all(&[10, 6, 5, 2, 0], Descending, 200, 1000),
            [10..11, 0..7]
        );
        assert_eq!(all(&[0, 2, 4], Ascending, 100, 300), [0..3, 4..5]);
        assert_eq!(all(&[0, 2], Ascending, 100, 10), [0..1, 2..3]);
    }
}
