//! Estimates, from the block indexes alone, what reading a selection takes.

use std::ops::Add;

use kbk_format::{BatchBounds, BlockKind, IndexEntry, Segment};

use super::selection::Selection;

/// The blocks that a selection needs, and what their index entries say about the records in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Number of blocks.
    pub blocks: u64,
    /// Stored bytes of the blocks.
    pub stored_bytes: u64,
    /// Bytes of the blocks before compression.
    pub raw_bytes: u64,
    /// Records in the blocks: an upper bound on the selected records.
    pub records: u64,
    /// Records in blocks of which every record is selected: a lower bound.
    pub whole_records: u64,
    /// Number of blocks that may hold records outside of the selection.
    pub cut_blocks: u64,
    /// Smallest timestamp in the blocks that state it; `None` without such blocks.
    pub min_timestamp: Option<i64>,
    /// Smallest timestamp but -1 in the blocks that state it; `None` without such blocks.
    pub min_known_timestamp: Option<i64>,
    /// Of blocks that are not computed: the smallest of the largest timestamps that the headers of their batches state. `None` without one.
    pub min_batch_time: Option<i64>,
    /// What the headers of all batches say together.
    pub batches: BatchBounds,
    /// Bytes of the largest block of records before compression, which none of its records exceeds.
    pub largest_records_block: u64,
    /// Whether any block may hold a record with the timestamp 0.
    pub may_have_zero_timestamps: bool,
}

impl Needs {
    pub(super) fn of(selection: &Selection, segment: &Segment) -> Needs {
        let entries = segment.index().entries().iter().enumerate();
        entries
            .filter(|(number, _)| selection.needs_block(segment, *number))
            .map(|(number, entry)| {
                let batches = segment.batch_bounds(number);
                Needs::of_block(entry, batches, selection.cuts_block(segment, entry))
            })
            .fold(Needs::default(), Needs::add)
    }

    fn of_block(entry: &IndexEntry, batches: Option<&BatchBounds>, cut: bool) -> Needs {
        let records = u64::from(entry.record_count);
        let batches = batches.copied().unwrap_or_default();
        let known = entry.min_timestamps.map(|min| min.known);
        Needs {
            blocks: 1,
            stored_bytes: u64::from(entry.block_length),
            raw_bytes: u64::from(entry.raw_length),
            records,
            whole_records: if cut { 0 } else { records },
            cut_blocks: u64::from(cut),
            min_timestamp: entry.min_timestamps.map(|min| min.all),
            min_known_timestamp: known.filter(|known| *known != i64::MAX),
            min_batch_time: match entry.min_timestamps {
                Some(_) => None,
                None => batches.smallest_max_timestamp,
            },
            batches,
            largest_records_block: match entry.kind {
                BlockKind::Records => u64::from(entry.raw_length),
                BlockKind::Batches => 0,
            },
            may_have_zero_timestamps: entry.may_hold_times(0, 0),
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
            min_timestamp: earlier(self.min_timestamp, other.min_timestamp),
            min_known_timestamp: earlier(self.min_known_timestamp, other.min_known_timestamp),
            min_batch_time: earlier(self.min_batch_time, other.min_batch_time),
            batches: self.batches.with(&other.batches),
            largest_records_block: self.largest_records_block.max(other.largest_records_block),
            may_have_zero_timestamps: self.may_have_zero_timestamps
                || other.may_have_zero_timestamps,
        }
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}
