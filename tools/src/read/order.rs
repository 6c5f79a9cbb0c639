//! The order in which records are read.

use std::ops::Range;

/// The order of offsets, within a partition or a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The lowest offset first.
    #[default]
    Ascending,
    /// The highest offset first.
    Descending,
}

impl Order {
    /// Takes the next number of a range in this order.
    pub fn next(self, range: &mut Range<usize>) -> Option<usize> {
        match self {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        }
    }

    /// Returns the numbers of a range in this order.
    pub fn of(self, mut range: Range<usize>) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || self.next(&mut range))
    }
}
