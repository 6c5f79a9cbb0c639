//! A range of offsets as messages state it.

use std::fmt;
use std::ops::Range;

/// Shows a range of offsets as `offsets 100 to 150 (exclusive)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetSpan(pub Range<i64>);

impl fmt::Display for OffsetSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offsets {} to {} (exclusive)", self.0.start, self.0.end)
    }
}
