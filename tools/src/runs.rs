//! Blocks that stand side by side, joined into reads of a bounded size.

use std::ops::Range;

use kbk_format::IndexEntry;

/// Joins consecutive numbers of `blocks` into runs of at most `max_bytes` stored bytes; a block that
/// is larger is a run of its own. Blocks that are not named are in no run.
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
            let next = length(run.end);
            if bytes + next > max_bytes {
                break;
            }
        }
        Some(run)
    })
}
