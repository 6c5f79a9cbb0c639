//! What reading a selection takes, as the block indexes say, before any block is read.

use std::ops::Add;

use kbk_format::{IndexEntry, Segment};

use crate::select::Selection;

/// The blocks that are read, and what is known of the records in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Blocks.
    pub blocks: u64,
    /// Their bytes as they are stored.
    pub stored_bytes: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Records in them: at least as many as are meant.
    pub records: u64,
    /// Records in those of them of which every record is meant.
    pub whole_records: u64,
    /// Those of which some records may not be meant.
    pub cut_blocks: u64,
    /// Smallest timestamp in them; none without blocks.
    pub min_timestamp: Option<i64>,
    /// Whether any of them may hold a record with the timestamp 0.
    pub may_have_zero_timestamps: bool,
}

impl Needs {
    pub(crate) fn of(selection: &Selection, segment: &Segment) -> Needs {
        let entries = segment.index().entries().iter();
        entries
            .filter(|entry| selection.needs_block(entry))
            .map(|entry| Needs::of_block(entry, selection.cuts_block(segment, entry)))
            .fold(Needs::default(), Needs::add)
    }

    fn of_block(entry: &IndexEntry, cut: bool) -> Needs {
        let records = u64::from(entry.record_count);
        Needs {
            blocks: 1,
            stored_bytes: u64::from(entry.block_length),
            raw_bytes: u64::from(entry.raw_length),
            records,
            whole_records: if cut { 0 } else { records },
            cut_blocks: u64::from(cut),
            min_timestamp: Some(entry.min_timestamp),
            may_have_zero_timestamps: (entry.min_timestamp..=entry.max_timestamp).contains(&0),
        }
    }
}

impl Add for Needs {
    type Output = Needs;

    fn add(self, other: Needs) -> Needs {
        Needs {
            blocks: self.blocks + other.blocks,
            stored_bytes: self.stored_bytes + other.stored_bytes,
            raw_bytes: self.raw_bytes + other.raw_bytes,
            records: self.records + other.records,
            whole_records: self.whole_records + other.whole_records,
            cut_blocks: self.cut_blocks + other.cut_blocks,
            min_timestamp: self
                .min_timestamp
                .into_iter()
                .chain(other.min_timestamp)
                .min(),
            may_have_zero_timestamps: self.may_have_zero_timestamps
                || other.may_have_zero_timestamps,
        }
    }
}
