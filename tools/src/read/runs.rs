//! Joins adjacent blocks into reads of a bounded size.

use std::ops::Range;

use kbk_format::IndexEntry;

/// Joins consecutive numbers in `blocks` into runs that end before the block that would exceed `max_bytes` stored bytes; a run
/// has at least two blocks where two are adjacent. `blocks` ascends, and blocks that it leaves out are in no run.
pub(crate) fn runs<'a>(
    entries: &'a [IndexEntry],
    blocks: impl Iterator<Item = usize> + 'a,
    max_bytes: u64,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let length = |block: usize| {
        let entry = entries.get(block);
        entry.map_or(0, |entry| u64::from(entry.block_length))
    };
    let mut blocks = blocks.peekable();
    std::iter::from_fn(move || {
        let first = blocks.next()?;
        let mut bytes = length(first);
        let mut run = first..first + 1;
        while let Some(block) = blocks.next_if_eq(&run.end) {
            bytes += length(block);
            run.end = block + 1;
            if bytes + length(run.end) > max_bytes {
                break;
            }
        }
        Some(run)
    })
}
