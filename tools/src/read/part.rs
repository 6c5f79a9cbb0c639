//! Which part of a block is read.

use kbk_format::IndexEntry;

/// The bytes of a block that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockPart {
    /// All of it.
    Whole,
    /// Its header and META: offsets, times and lengths are all that is needed.
    Meta,
}

impl BlockPart {
    /// Returns the exclusive end of the bytes.
    pub(super) fn end(self, entry: &IndexEntry) -> u64 {
        match self {
            BlockPart::Whole => entry.end(),
            BlockPart::Meta => entry.meta_end(),
        }
    }
}
