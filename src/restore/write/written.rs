//! What a restore has put into one target partition, as far as this run knows.

use std::ops::Range;

use kbk_format::repo::MapRun;

/// What is committed to a target partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// From the first to one past the last offset of a record.
    offsets: Option<Range<i64>>,
    /// Records of this run.
    pub(crate) records: u64,
    /// Transactions of this run with records here. Each left a marker, which occupies an offset.
    pub(crate) transactions: u64,
}

impl Written {
    /// Adds records of this run.
    pub(crate) fn add(&mut self, run: &MapRun) {
        self.reach(run.target_offset, run.target_end());
        self.records += run.records;
    }

    /// Adds a range that begins and ends with a record.
    pub(crate) fn reach(&mut self, start: i64, end: i64) {
        self.offsets = Some(match &self.offsets {
            Some(known) => known.start.min(start)..known.end.max(end),
            None => start..end,
        });
    }

    /// Returns one past the last offset of a record; `None` where none is written.
    pub(crate) fn end(&self) -> Option<i64> {
        self.offsets.as_ref().map(|offsets| offsets.end)
    }

    /// Returns the first offset of a record; `None` where none is written.
    pub(crate) fn start(&self) -> Option<i64> {
        self.offsets.as_ref().map(|offsets| offsets.start)
    }
}
