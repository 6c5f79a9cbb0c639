//! A range of offsets, as messages and JSON state it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A range of offsets. It is shown as `offsets 100 to 150 (exclusive)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OffsetSpan {
    /// The first offset.
    pub base_offset: i64,
    /// One past the last offset.
    pub end_offset: i64,
}

impl From<Range<i64>> for OffsetSpan {
    fn from(offsets: Range<i64>) -> OffsetSpan {
        OffsetSpan {
            base_offset: offsets.start,
            end_offset: offsets.end,
        }
    }
}

impl fmt::Display for OffsetSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OffsetSpan {
            base_offset,
            end_offset,
        } = self;
        write!(f, "offsets {base_offset} to {end_offset} (exclusive)")
    }
}
