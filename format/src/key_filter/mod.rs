//! Which blocks of a segment may have a key: the optional key filter (SPEC 2.9).
//!
//! ```text
//! writer   keys of each block --hash--> (hash, block) --sort--> pages, after the last block; the footer says where each is
//! reader   key --hash--> one page --decode--> the blocks that may have it; no other block has it
//! verifier blocks --hash--> a sum per block  ==  a sum per block <--decode-- all pages
//! ```
//!
//! A filter that lacks a key would hide its records from whoever searches by it, so a reader that cannot use a page reads all blocks, and a
//! verifier computes everything anew.
//!
//! | file | holds |
//! |---|---|
//! | `bits` | the codes of the entries of a page |
//! | `builder` | a filter from the hashes of each block |
//! | `check` | what a verifier compares |

mod bits;
mod builder;
mod check;

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::builder::KeyFilterBits;
pub(crate) use self::builder::KeyFilterBuilder;
pub(crate) use self::check::KeyFilterCheck;

use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::{self, ALIGNMENT, key_filter as at, key_page, limits};
use crate::wire::{FieldReader, length};

/// Most bits of a hash that are stored.
pub(crate) const MOST_HASH_BITS: u8 = 40;
/// There are at most two to the power of this many pages.
const MOST_PAGE_BITS: u8 = 16;
/// Most low bits of a difference.
const MOST_RICE_BITS: u8 = 60;

/// Hashes keys as the filter of one segment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    seed: u64,
}

/// The hash of a key in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHasher {
    pub(crate) fn new(salt: [u8; 8]) -> KeyHasher {
        KeyHasher {
            seed: u64::from_le_bytes(salt),
        }
    }

    /// Hashes a key; null is not the empty key.
    #[must_use]
    pub fn hash(self, key: Option<&[u8]>) -> KeyHash {
        KeyHash(match key {
            Some(key) => xxh3_64_with_seed(key, self.seed),
            None => xxh3_64_with_seed(&[], !self.seed),
        })
    }

    /// Returns the highest bits of the hashes of all keys of a block, ascending and each once. Control records have none.
    pub(crate) fn of_block(self, columns: &Columns) -> Vec<u64> {
        let keys = columns.controls.iter().enumerate();
        let keys = keys.filter(|(_, control)| !**control);
        let mut hashes: Vec<u64> = keys
            .map(|(row, _)| self.hash(columns.keys.get(row)).high(MOST_HASH_BITS))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }
}

impl KeyHash {
    /// Returns the highest bits, at most [`MOST_HASH_BITS`].
    fn high(self, bits: u8) -> u64 {
        // In two steps, since no shift may be by all 64 bits.
        (self.0 >> (64 - MOST_HASH_BITS)) >> (MOST_HASH_BITS - bits)
    }
}

/// The numbers that say how entries are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    hash_bits: u8,
    page_bits: u8,
    rice_bits: u8,
    /// The number of blocks of the segment.
    blocks: u64,
}

impl Form {
    /// Returns the values that entries of a page may have; the end is exclusive, and at most 2^60.
    fn values(self, page: usize) -> Range<u64> {
        let hashes = |page: u64| (page << (self.hash_bits - self.page_bits)) * self.blocks;
        hashes(page as u64)..hashes(page as u64 + 1)
    }
}

/// Where the key filter of a segment is, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFilter {
    hasher: KeyHasher,
    form: Form,
    target: KeyFilterBits,
    position: u64,
    pages: Vec<Page>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    /// The exclusive end of its bytes, from the first page on.
    end: u32,
    entry_count: u32,
    crc: u32,
}

impl KeyFilter {
    /// Returns what hashes the keys that are looked up.
    #[must_use]
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Returns what its writer aimed at.
    #[must_use]
    pub fn target(&self) -> KeyFilterBits {
        self.target
    }

    /// Returns the number of entries: of distinct keys in each block, but for those whose hashes are equal.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.pages
            .iter()
            .map(|page| u64::from(page.entry_count))
            .sum()
    }

    /// Returns how many bits of each hash are stored.
    #[must_use]
    pub fn hash_bits(&self) -> u8 {
        self.form.hash_bits
    }

    /// Returns the number of pages.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Returns the bytes of the segment that the filter takes: pages, then padding.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.position..self.end()
    }

    /// Returns the bytes of the segment that these pages take; with the last one, also the padding after it.
    #[must_use]
    pub fn range_of(&self, pages: Range<usize>) -> Range<u64> {
        let start = self.position + u64::from(self.start_of(pages.start));
        let end = match pages.end >= self.pages.len() {
            true => self.end(),
            false => self.position + u64::from(self.start_of(pages.end)),
        };
        start..end.max(start)
    }

    /// Returns ranges of pages that are read at a time: of at most `bytes` each, unless a single page is larger.
    #[must_use]
    pub fn runs(&self, bytes: u64) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut run = 0..0;
        for page in 0..self.pages.len() {
            let range = self.range_of(run.start..page + 1);
            if page > run.start && range.end - range.start > bytes {
                runs.push(std::mem::replace(&mut run, page..page));
            }
            run.end = page + 1;
        }
        runs.push(run);
        runs
    }

    /// Returns the page that has the entries of a key.
    #[must_use]
    pub fn page_of(&self, hash: KeyHash) -> usize {
        // Below the number of pages, which is 2^page_bits.
        (hash.high(self.form.hash_bits) >> (self.form.hash_bits - self.form.page_bits)) as usize
    }

    /// Returns the blocks that may have one of the keys with these hashes, ascending, of those keys that `page` has the entries of. `bytes`
    /// are those of the page. No other block has one of these keys.
    ///
    /// # Errors
    ///
    /// *truncated*, *checksum* or *inconsistent*: then any block may have them.
    pub fn blocks_of(&self, page: usize, bytes: &[u8], hashes: &[KeyHash]) -> Result<Vec<usize>> {
        let mut wanted: Vec<u64> = hashes
            .iter()
            .filter(|hash| self.page_of(**hash) == page)
            .map(|hash| hash.high(self.form.hash_bits))
            .collect();
        wanted.sort_unstable();
        let mut blocks = Vec::new();
        self.each_entry(page, self.page_bytes(page, bytes)?, |hash, block| {
            if wanted.binary_search(&hash).is_ok() {
                blocks.push(block);
            }
        })?;
        blocks.sort_unstable();
        blocks.dedup();
        Ok(blocks)
    }

    /// Checks the bytes of these pages, which are at [`range_of`](Self::range_of), without decoding them.
    ///
    /// # Errors
    ///
    /// *truncated* or *checksum*; *inconsistent* where the padding is not zero.
    pub fn check(&self, pages: Range<usize>, bytes: &[u8]) -> Result<()> {
        let start = self.start_of(pages.start);
        for page in pages.clone() {
            let at = length(self.start_of(page) - start);
            self.page_bytes(page, bytes.get(at..).unwrap_or_default())?;
        }
        if pages.end < self.pages.len() {
            return Ok(());
        }
        let range = self.range_of(pages.clone());
        let padding = length(self.start_of(pages.end) - start);
        let end = layout::align(length(self.length()), ALIGNMENT) - length(start);
        let view = FieldReader::new("key filter", range.start, bytes, end)?;
        view.padding(padding, end)
    }

    /// Returns the first byte of a page, from the first page on.
    fn start_of(&self, page: usize) -> u32 {
        let before = page.checked_sub(1);
        let page = before.and_then(|before| self.pages.get(before));
        match (page, before) {
            (Some(page), _) => page.end,
            (None, None) => 0,
            (None, Some(_)) => self.length(),
        }
    }

    fn length(&self) -> u32 {
        self.pages.last().map_or(0, |page| page.end)
    }

    fn end(&self) -> u64 {
        self.position + layout::align(length(self.length()), ALIGNMENT) as u64
    }

    /// Returns the bytes of a page, the first of `bytes`, if they are those that the footer states.
    fn page_bytes<'a>(&self, page: usize, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let start = self.start_of(page);
        let length = length(self.start_of(page + 1) - start);
        let position = self.position + u64::from(start);
        let view = FieldReader::new("page of the key filter", position, bytes, length)?;
        let bytes = view.slice(0, length)?;
        let crc = self.pages.get(page).map_or(0, |page| page.crc);
        view.crc("its crc", crc, bytes)?;
        Ok(bytes)
    }

    /// Decodes a page: `each` is given the stored bits of a hash and the number of a block. `bytes` are exactly those of the page.
    fn each_entry(
        &self,
        page: usize,
        bytes: &[u8],
        mut each: impl FnMut(u64, usize),
    ) -> Result<()> {
        let count = self.pages.get(page).map_or(0, |page| page.entry_count);
        bits::decode(self.form, page, count, bytes, &mut each).map_err(|detail| {
            let position = self.position + u64::from(self.start_of(page));
            let what = "page of the key filter";
            FormatError::new(ErrorClass::Inconsistent, what, position, detail)
        })
    }

    /// Returns the payload of the section.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(at::LENGTH + key_page::LENGTH * self.pages.len());
        bytes.extend_from_slice(&self.position.to_le_bytes());
        bytes.extend_from_slice(&self.length().to_le_bytes());
        let form = self.form;
        bytes.extend_from_slice(&[
            form.hash_bits,
            form.page_bits,
            form.rice_bits,
            self.target.get(),
        ]);
        for page in &self.pages {
            bytes.extend_from_slice(&page.end.to_le_bytes());
            bytes.extend_from_slice(&page.entry_count.to_le_bytes());
            bytes.extend_from_slice(&page.crc.to_le_bytes());
        }
        bytes
    }

    /// Decodes the payload of the section at `section` of a segment of `blocks` blocks, whose footer is at `footer`.
    pub(crate) fn decode(
        payload: &[u8],
        section: u64,
        salt: [u8; 8],
        blocks: u32,
        footer: u64,
    ) -> Result<KeyFilter> {
        let view = FieldReader::new("section key_filter", section, payload, payload.len())?;
        view.holds(at::LENGTH)?;
        let total = length(view.u32(at::PAGES_LENGTH)?);
        view.ensure(
            total <= limits::KEY_FILTER_LENGTH,
            ErrorClass::Limit,
            || {
                let most = limits::KEY_FILTER_LENGTH;
                format!("its pages have {total} bytes; at most {most} are allowed")
            },
        )?;
        let form = Form {
            hash_bits: view.u8(at::HASH_BITS)?,
            page_bits: view.u8(at::PAGE_BITS)?,
            rice_bits: view.u8(at::RICE_BITS)?,
            blocks: u64::from(blocks),
        };
        let target = KeyFilterBits::new(view.u8(at::TARGET_BITS)?);
        let fits = form.hash_bits <= MOST_HASH_BITS
            && form.page_bits <= form.hash_bits.min(MOST_PAGE_BITS)
            && form.rice_bits <= MOST_RICE_BITS;
        let target = target.filter(|_| fits).ok_or_else(|| {
            let Form {
                hash_bits,
                page_bits,
                rice_bits,
                ..
            } = form;
            let detail = format!(
                "hash_bits {hash_bits}, page_bits {page_bits}, rice_bits {rice_bits}, or its target_bits are not allowed"
            );
            view.error(ErrorClass::Inconsistent, detail)
        })?;
        let count = 1_usize << form.page_bits;
        let expected = at::LENGTH + key_page::LENGTH * count;
        view.ensure(payload.len() == expected, ErrorClass::Inconsistent, || {
            format!("{} bytes for {count} pages", payload.len())
        })?;
        let mut pages = Vec::with_capacity(count);
        let (mut before, mut entries) = (0, 0_u64);
        for start in (0..count).map(|page| at::LENGTH + key_page::LENGTH * page) {
            let page = Page {
                end: view.u32(start + key_page::END)?,
                entry_count: view.u32(start + key_page::ENTRY_COUNT)?,
                crc: view.u32(start + key_page::CRC)?,
            };
            entries += u64::from(page.entry_count);
            view.ensure(
                entries <= limits::KEY_FILTER_ENTRIES as u64,
                ErrorClass::Limit,
                || {
                    let most = limits::KEY_FILTER_ENTRIES;
                    format!("it has more than {most} entries")
                },
            )?;
            let bytes = page.end.checked_sub(before);
            // An entry has at least one bit besides its low ones: what is allocated for entries is bounded by what is there.
            let needed = u64::from(page.entry_count) * (u64::from(form.rice_bits) + 1);
            let fits = bytes.is_some_and(|bytes| {
                needed <= 8 * u64::from(bytes) && (bytes == 0) == (page.entry_count == 0)
            });
            view.ensure(fits, ErrorClass::Inconsistent, || {
                let (end, count) = (page.end, page.entry_count);
                format!("a page from {before} to {end} has {count} entries")
            })?;
            before = page.end;
            pages.push(page);
        }
        let filter = KeyFilter {
            hasher: KeyHasher::new(salt),
            form,
            target,
            position: view.u64(at::POSITION)?,
            pages,
        };
        let end = filter
            .position
            .checked_add(layout::align(total, ALIGNMENT) as u64);
        view.ensure(
            length(before) == total && end == Some(footer),
            ErrorClass::Inconsistent,
            || {
                let position = filter.position;
                format!("its pages begin at {position} and have {before} of {total} bytes; the footer is at {footer}")
            },
        )?;
        Ok(filter)
    }
}

#[cfg(test)]
mod tests;
