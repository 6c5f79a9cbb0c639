//! How selected records are read.

use kbk_format::Streams;

use super::order::Order;

/// How a [`PartitionReader`](super::PartitionReader) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// What is decoded of each record. With [`Streams::Meta`] records have offsets and timestamps only, which is all that counting needs and
    /// much faster: where no condition needs more, nothing else is read. Of blocks that also hold other records, what conditions need is decoded
    /// first, and the rest only if a record is selected.
    pub streams: Streams,
    /// The order of the records.
    pub order: Order,
    /// How many records the caller will take. Blocks after those that certainly have them are not read; that the reader ends there does not
    /// mean that there are no more records.
    pub limit: Option<u64>,
    /// Whether the caller may stop before the end. What is read ahead of it then begins small, and grows as it proceeds.
    pub stops_early: bool,
}

impl ReadOptions {
    /// Reads everything in ascending order.
    #[must_use]
    pub fn new(streams: Streams) -> ReadOptions {
        ReadOptions {
            streams,
            order: Order::Ascending,
            limit: None,
            stops_early: false,
        }
    }
}
