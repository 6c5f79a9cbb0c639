//! A key filter from the hashes of each block of a segment that is being written.

use std::fmt;
use std::str::FromStr;

use super::{
    Form, KeyFilter, KeyHasher, MOST_HASH_BITS, MOST_PAGE_BITS, MOST_RICE_BITS, Page, bits,
};
use crate::layout::{ALIGNMENT, limits};
use crate::wire::pad;

/// Entries per page: some KiB, which is what a look-up reads.
const PAGE_ENTRIES: u64 = 4096;

/// How selective a key filter is: of a key that a segment does not have, one block in two to the power of this is read in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFilterBits(u8);

impl KeyFilterBits {
    /// The most that can be asked for.
    pub const MOST: u8 = 20;

    /// Returns `None` above [`MOST`](Self::MOST).
    #[must_use]
    pub fn new(bits: u8) -> Option<KeyFilterBits> {
        (bits <= Self::MOST).then_some(KeyFilterBits(bits))
    }

    /// Returns the number of bits.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for KeyFilterBits {
    /// One block in 1024, for about one and a half bytes per key and block.
    fn default() -> KeyFilterBits {
        KeyFilterBits(10)
    }
}

impl fmt::Display for KeyFilterBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyFilterBits {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyFilterBits, String> {
        let bits = text.parse().ok().and_then(KeyFilterBits::new);
        bits.ok_or_else(|| format!("expected a number from 0 to {}", Self::MOST))
    }
}

/// Collects the hashes of the keys of a segment, eight bytes per key and block.
#[derive(Debug)]
pub(crate) struct KeyFilterBuilder {
    hasher: KeyHasher,
    target: KeyFilterBits,
    /// Per entry, the highest bits of the hash and then the number of the block.
    entries: Vec<u64>,
    blocks: u64,
}

/// Bits of the number of a block: there are at most `limits::BLOCKS`.
const BLOCK_BITS: u32 = limits::BLOCKS.trailing_zeros();
const _: () = assert!(BLOCK_BITS + MOST_HASH_BITS as u32 <= 64 && limits::BLOCKS.is_power_of_two());

impl KeyFilterBuilder {
    pub(crate) fn new(hasher: KeyHasher, target: KeyFilterBits) -> KeyFilterBuilder {
        KeyFilterBuilder {
            hasher,
            target,
            entries: Vec::new(),
            blocks: 0,
        }
    }

    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Returns whether there is room for more blocks, with some to spare for those that are being encoded.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() <= limits::KEY_FILTER_ENTRIES / 4 * 3
    }

    /// Adds the next block, by what [`KeyHasher::of_block`] returns of it, and returns whether there was room for it.
    pub(crate) fn push(&mut self, hashes: &[u64]) -> bool {
        if self.entries.len().saturating_add(hashes.len()) > limits::KEY_FILTER_ENTRIES {
            return false;
        }
        let block = self.blocks;
        let entries = hashes.iter().map(|hash| hash << BLOCK_BITS | block);
        self.entries.extend(entries);
        self.blocks += 1;
        true
    }

    /// Returns the filter, whose pages are at `position`, and their bytes with the padding.
    pub(crate) fn finish(self, position: u64) -> (KeyFilter, Vec<u8>) {
        let (mut values, blocks) = (self.entries, self.blocks);
        let per_block = (values.len() as u64).div_ceil(blocks.max(1));
        // At most 20 + 20 bits: a block has at most 2^20 records.
        let wanted = per_block.next_power_of_two().trailing_zeros() + u32::from(self.target.get());
        let hash_bits = wanted.min(u32::from(MOST_HASH_BITS)) as u8;
        for value in &mut values {
            let (hash, block) = (*value >> BLOCK_BITS, *value & ((1 << BLOCK_BITS) - 1));
            *value = (hash >> (MOST_HASH_BITS - hash_bits)) * blocks + block;
        }
        values.sort_unstable();
        values.dedup();
        let count = values.len() as u64;
        let page_bits = (count / PAGE_ENTRIES).max(1).ilog2();
        // 0.7 of the mean difference, as a power of two, gives the shortest codes.
        let mean = (blocks << hash_bits) / count.max(1);
        let rice_bits = (mean.saturating_mul(7) / 10).max(1).ilog2();
        let form = Form {
            hash_bits,
            page_bits: page_bits.min(u32::from(MOST_PAGE_BITS.min(hash_bits))) as u8,
            rice_bits: rice_bits.min(u32::from(MOST_RICE_BITS)) as u8,
            blocks,
        };
        let mut bytes = Vec::new();
        let mut pages = Vec::new();
        let mut rest = &values[..];
        for page in 0..1_usize << form.page_bits {
            let end = form.values(page).end;
            let (of_page, after) = rest.split_at(rest.partition_point(|value| *value < end));
            rest = after;
            let start = bytes.len();
            bits::encode(form, page, of_page, &mut bytes);
            pages.push(Page {
                // Some bits for each of at most `limits::KEY_FILTER_ENTRIES`.
                end: bytes.len() as u32,
                entry_count: of_page.len() as u32,
                crc: crc32c::crc32c(bytes.get(start..).unwrap_or_default()),
            });
        }
        pad(&mut bytes, ALIGNMENT);
        let filter = KeyFilter {
            hasher: self.hasher,
            form,
            target: self.target,
            position,
            pages,
        };
        (filter, bytes)
    }
}
