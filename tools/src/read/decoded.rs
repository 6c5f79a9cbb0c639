//! The decoded blocks of several cursors, in memory that is bounded over all of them.
//!
//! A block of Kafka's own batches may decompress to hundreds of times its stored size, so a block of each of many partitions may be more than there is
//! memory for. The cursors keep their blocks as they are stored. When those that are decoded take more than the budget, some are dropped, and decoded
//! again when their cursors are asked for the next record: the same bytes decode to the same records.
//!
//! A caller asks one cursor for many records, as many as it has of a partition, and the others in turn. So the block to drop is the one that was used
//! last: its cursor will be asked after all others. Dropping the one that was not used for the longest time would drop each just before it is needed.

use std::sync::atomic::{AtomicU64, Ordering};

use kbk_format::BlockDecoder;
use kbk_format::repo::RepoError;

use super::blocks::FetchedBlock;
use super::decode::DecodedBlock;
use super::until_damage::BlocksUntilDamage;

/// Larger buffers are not reused: few blocks need them.
const REUSED_BYTES: usize = 16 << 20;

/// Decodes the blocks of the cursors of one thread, and keeps as many as its budget allows.
///
/// It has at most `budget` bytes of decoded blocks, or a single block that takes more. While a block is decoded, those are in the budget that are kept
/// and what the block states of its records; what a decoder takes to decompress a batch comes on top, once for all cursors.
pub struct DecodedBlocks {
    budget: usize,
    /// One for all: a decoder needs its own buffers only while it decodes.
    decoder: BlockDecoder,
    /// The block that was used last.
    current: Held,
    /// The others, in the order in which they were used last.
    others: Vec<Held>,
    counts: DecodeCounts,
}

#[derive(Default)]
struct Held {
    of: BlockOf,
    block: DecodedBlock,
    /// The size of its buffers.
    bytes: usize,
}

/// Identifies a block: its cursor, and how many the cursor had before it. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockOf {
    cursor: u64,
    number: u64,
}

/// What decoding took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCounts {
    /// Blocks that were decoded, as often as they were.
    pub decoded: u64,
    /// The most that decoded blocks took at a time, in bytes.
    pub most_bytes: usize,
}

impl BlockOf {
    /// Identifies no block of a new cursor.
    pub(super) fn new_cursor() -> BlockOf {
        static CURSORS: AtomicU64 = AtomicU64::new(1);
        BlockOf {
            cursor: CURSORS.fetch_add(1, Ordering::Relaxed),
            number: 0,
        }
    }

    /// Identifies the next block of the same cursor.
    pub(super) fn next(self) -> BlockOf {
        BlockOf {
            number: self.number + 1,
            ..self
        }
    }
}

impl DecodedBlocks {
    /// Makes room for decoded blocks of `budget` bytes together.
    #[must_use]
    pub fn new(budget: usize) -> DecodedBlocks {
        DecodedBlocks {
            budget,
            decoder: BlockDecoder::new(),
            current: Held::default(),
            others: Vec::new(),
            counts: DecodeCounts::default(),
        }
    }

    /// Returns what decoding took so far.
    #[must_use]
    pub fn counts(&self) -> DecodeCounts {
        self.counts
    }

    /// Returns the block that was made the current one last.
    #[inline]
    pub(super) fn current(&self) -> &DecodedBlock {
        &self.current.block
    }

    /// Makes the block that `blocks` has fetched last the current one, and decodes it if it is not.
    #[inline]
    pub(super) fn make_current(
        &mut self,
        of: BlockOf,
        blocks: &mut BlocksUntilDamage,
    ) -> Result<(), RepoError> {
        match self.current.of == of {
            true => Ok(()),
            false => self.bring(of, blocks),
        }
    }

    /// Drops what is decoded of a cursor that has no more records.
    pub(super) fn remove(&mut self, of: BlockOf) {
        if self.current.of.cursor == of.cursor {
            self.current = Held::default();
        }
        self.others.retain(|held| held.of.cursor != of.cursor);
    }

    fn bring(&mut self, of: BlockOf, blocks: &mut BlocksUntilDamage) -> Result<(), RepoError> {
        let before = std::mem::take(&mut self.current);
        let mut buffers = None;
        if before.of.cursor == of.cursor {
            // The cursor has consumed it.
            buffers = Some(before);
        } else if before.bytes > 0 {
            self.others.push(before);
        }
        let same_cursor = |held: &Held| held.of.cursor == of.cursor;
        if let Some(at) = self.others.iter().position(same_cursor) {
            let held = self.others.remove(at);
            if held.of == of {
                self.current = held;
                return Ok(());
            }
            buffers = Some(held);
        }
        let expected = blocks.current().map_or(0, FetchedBlock::decoded_bytes);
        let dropped = self.make_room(expected);
        let buffers = buffers.or(dropped);
        let buffers = buffers.filter(|held| held.bytes <= REUSED_BYTES);
        let mut block = buffers.map(|held| held.block).unwrap_or_default();
        blocks.decode(&mut self.decoder, &mut block)?;
        let bytes = block.buffer_bytes();
        self.current = Held { of, block, bytes };
        // It may take more than it states, as tiny records do.
        self.make_room(bytes);
        self.counts.decoded += 1;
        self.counts.most_bytes = self.counts.most_bytes.max(self.bytes() + bytes);
        Ok(())
    }

    /// Drops blocks until there is room for one of `bytes` besides the others, and returns one of them.
    fn make_room(&mut self, bytes: usize) -> Option<Held> {
        let mut dropped = None;
        while !self.others.is_empty() && self.bytes().saturating_add(bytes) > self.budget {
            dropped = self.others.pop();
        }
        dropped
    }

    /// Returns what the others take.
    fn bytes(&self) -> usize {
        self.others.iter().map(|held| held.bytes).sum()
    }
}
