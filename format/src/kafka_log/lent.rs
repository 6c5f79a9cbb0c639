//! Batches that a block stores as Kafka's own, as they are in a log: byte for byte, but for what is of the cluster that they come from.
//!
//! A block's batches are not divided: a segment ends before the first of them or after the last one, and the indexes get at most one entry for all
//! of them. So how long each file is follows from the headers of the blocks alone, before any batch is read.

use super::batches::LEADER_EPOCH;
use super::segments::BatchExtent;
use crate::batch::{Adoption, Producer, RecordBatch, RecordBatches};
use crate::block::BlockKind;
use crate::error::Result;
use crate::index::IndexEntry;

/// A block whose batches are part of a log as they are: what its header states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentBlock {
    /// The first offset that the block covers.
    pub base_offset: i64,
    /// The exclusive end of the offsets that it covers.
    pub end_offset: i64,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
    /// Number of records.
    pub records: u32,
    /// Bytes of all batches.
    pub bytes: u64,
}

impl LentBlock {
    /// Returns what the header of a block states whose batches a log has as they are; `None` of one whose records are encoded anew: it has no
    /// batches, or it covers more offsets than one file can address.
    #[must_use]
    pub fn of(entry: &IndexEntry) -> Option<LentBlock> {
        let covered = entry.end_offset.saturating_sub(entry.base_offset);
        let is_lent = entry.kind == BlockKind::Batches && covered <= i64::from(i32::MAX);
        is_lent.then_some(LentBlock {
            base_offset: entry.base_offset,
            end_offset: entry.end_offset,
            max_timestamp: entry.max_timestamp,
            records: entry.record_count,
            bytes: u64::from(entry.raw_length),
        })
    }

    /// Returns whether each offset has a record, so that the last batch ends where the block does.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        self.end_offset.checked_sub(self.base_offset) == Some(i64::from(self.records))
    }

    /// Returns what the block is in a log, but for what only its batches tell: the offsets in the entries of indexes.
    pub(super) fn extent(&self) -> BatchExtent {
        let last_offset = self.end_offset.saturating_sub(1);
        BatchExtent {
            base_offset: self.base_offset,
            last_offset,
            max_timestamp: self.max_timestamp,
            bytes: self.bytes,
            first_last_offset: last_offset,
            latest_offset: last_offset,
        }
    }
}

/// What only the batches of a block tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentOffsets {
    /// The last offset of the first batch.
    pub first: i64,
    /// The last offset of the batch with the largest timestamp, the first one of several.
    pub latest: i64,
    /// The last offset of the last batch.
    pub last: i64,
}

impl LentOffsets {
    /// Looks at the headers of the batches of a block; `None` where there are none.
    ///
    /// # Errors
    ///
    /// Those of [`RecordBatch::parse`].
    pub fn of(batches: RecordBatches<'_>) -> Result<Option<LentOffsets>> {
        let mut found: Option<(LentOffsets, i64)> = None;
        for batch in batches {
            let header = *batch?.header();
            let last = header.last_offset;
            let (offsets, max_timestamp) = found.get_or_insert((
                LentOffsets {
                    first: last,
                    latest: last,
                    last,
                },
                header.max_timestamp,
            ));
            offsets.last = last;
            if header.max_timestamp > *max_timestamp {
                (offsets.latest, *max_timestamp) = (last, header.max_timestamp);
            }
        }
        Ok(found.map(|(offsets, _)| offsets))
    }
}

/// Appends a batch to a log: of no producer and no transaction, since another cluster gives their ids to others and has none of the markers, with
/// the leader epoch of the log, and without the time at which the cleaner of the source would have removed its tombstones. Its records, codec,
/// offsets and times are as they were; its checksum is changed with its header, so a bit that flipped still does not match it.
///
/// # Errors
///
/// As [`Adoption::apply`].
pub fn put_lent(batch: &RecordBatch<'_>, out: &mut Vec<u8>) -> Result<()> {
    let adoption = Adoption {
        base_offset: None,
        leader_epoch: Some(LEADER_EPOCH),
        producer: Some(Producer::NONE),
        transactional: Some(false),
        clear_delete_horizon: true,
    };
    let start = out.len();
    out.extend_from_slice(batch.bytes());
    let adopted = adoption.apply(out.get_mut(start..).unwrap_or_default(), batch.position());
    if adopted.is_err() {
        out.truncate(start);
    }
    adopted
}
