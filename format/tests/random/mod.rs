//! Numbers that look random and are the same for one seed.

#[path = "../../../tests/support/split_mix.rs"]
mod split_mix;

use std::ops::Range;

use split_mix::SplitMix64;

pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(SplitMix64(seed))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.0.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.0.next().to_le_bytes());
        words.take(length).collect()
    }

    /// Returns a range of at most `most` bytes of `length`.
    pub(crate) fn range(&mut self, length: usize, most: usize) -> Range<usize> {
        let start = self.below(length);
        start..length.min(start + 1 + self.below(most))
    }
}
