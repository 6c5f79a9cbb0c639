//! Joins adjacent blocks into reads of a bounded size.

use std::ops::Range;

use kbk_format::IndexEntry;

use super::order::Order;

/// Joins consecutive numbers in `blocks` into runs that end before the block that would exceed `max_bytes` stored bytes; a run
/// has at least two blocks where two are adjacent. `blocks` is in `order`, and blocks that it leaves out are in no run.
pub(crate) fn runs<'a>(
    entries: &'a [IndexEntry],
    blocks: impl Iterator<Item = usize> + 'a,
    order: Order,
    max_bytes: u64,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let length = |block: usize| {
        let entry = entries.get(block);
        entry.map_or(0, |entry| u64::from(entry.block_length))
    };
    // The block that comes after a run.
    let next = move |run: &Range<usize>| match order {
        Order::Ascending => Some(run.end),
        Order::Descending => run.start.checked_sub(1),
    };
    let mut blocks = blocks.peekable();
    std::iter::from_fn(move || {
        let first = blocks.next()?;
        let mut bytes = length(first);
        let mut run = first..first + 1;
        while let Some(block) = next(&run).and_then(|block| blocks.next_if_eq(&block)) {
            bytes += length(block);
            run = run.start.min(block)..run.end.max(block + 1);
            if bytes + next(&run).map_or(0, length) > max_bytes {
                break;
            }
        }
        Some(run)
    })
}
