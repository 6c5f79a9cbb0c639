//! Whether a key filter has exactly the keys of the blocks, compared by a sum per block.
//!
//! Sums of hashes of the entries of a block are the same for the same entries in any order, so a segment is checked in one pass in the order of its
//! bytes, with 24 bytes in memory per block and side.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use super::{KeyFilter, MOST_HASH_BITS};
use crate::columns::Columns;
use crate::counted::counted;
use crate::error::{ErrorClass, FormatError, Result};

/// The entries of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, hash: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(&hash.to_le_bytes()));
    }
}

/// Compares the keys of blocks with a filter.
#[derive(Debug)]
pub(crate) struct KeyFilterCheck {
    /// Block by block; `None` for one that was skipped.
    expected: Vec<Option<Sum>>,
    found: Vec<Sum>,
    /// Pages below this one have been added.
    pages: usize,
    /// Whether a page could not be used, which has been reported.
    damaged: bool,
}

impl KeyFilterCheck {
    pub(crate) fn new(blocks: usize) -> KeyFilterCheck {
        KeyFilterCheck {
            expected: Vec::with_capacity(blocks),
            found: vec![Sum::default(); blocks],
            pages: 0,
            damaged: false,
        }
    }

    /// Adds the next block; `None` for one that cannot be read.
    pub(crate) fn block(&mut self, filter: &KeyFilter, columns: Option<&Columns>) {
        self.expected.push(columns.map(|columns| {
            let mut hashes = filter.hasher.of_block(columns);
            for hash in &mut hashes {
                *hash >>= MOST_HASH_BITS - filter.form.hash_bits;
            }
            hashes.dedup();
            let mut sum = Sum::default();
            hashes.into_iter().for_each(|hash| sum.add(hash));
            sum
        }));
    }

    /// Checks the next pages, whose bytes are at [`KeyFilter::range_of`], and adds their entries.
    pub(crate) fn pages(
        &mut self,
        filter: &KeyFilter,
        pages: Range<usize>,
        bytes: &[u8],
    ) -> Result<()> {
        let added = filter.check(pages.clone(), bytes).and_then(|()| {
            let start = filter.start_of(pages.start);
            for page in pages.clone() {
                let place = |page| (filter.start_of(page) - start) as usize;
                let bytes = bytes.get(place(page)..place(page + 1)).unwrap_or_default();
                filter.each_entry(page, bytes, |hash, block| {
                    if let Some(sum) = self.found.get_mut(block) {
                        sum.add(hash);
                    }
                })?;
            }
            Ok(())
        });
        self.damaged |= added.is_err();
        self.pages = pages.end;
        added
    }

    /// Compares every block that was read.
    ///
    /// # Errors
    ///
    /// *inconsistent* for the first block of which the filter lacks a key, or has one that is not there.
    pub(crate) fn finish(self, filter: &KeyFilter) -> Result<()> {
        if self.damaged {
            return Ok(());
        }
        let position = filter.range().start;
        let error = |detail: String| {
            FormatError::new(ErrorClass::Inconsistent, "key filter", position, detail)
        };
        if self.pages != filter.page_count() {
            return Err(error("its pages were not read".to_owned()));
        }
        let differing = self.expected.iter().zip(&self.found).enumerate();
        let mut differing =
            differing.filter(|(_, (expected, found))| expected.is_some_and(|it| it != **found));
        let Some((first, (expected, found))) = differing.next() else {
            return Ok(());
        };
        let blocks = counted(differing.count() + 1, "block");
        let expected = expected.map_or(0, |it| it.count);
        let detail = format!(
            "it does not have the keys of {blocks}: of block {first}, it has {}, expected {expected}; a search by key may miss records",
            found.count
        );
        Err(error(detail))
    }
}
