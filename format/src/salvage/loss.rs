//! What is lost, and why.

use serde::Serialize;

use crate::block::BlockHeader;
use crate::error::{ErrorClass, FormatError};
use crate::index::IndexEntry;
use crate::offset_span::OffsetSpan;

use super::batches::{LostRun, ProvedBatches};
use super::piece::Piece;

/// Why offsets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// No valid header of a block that covers them was found: its bytes are gone, or its header is damaged.
    NoBlock,
    /// The header of the block is valid, its stored bytes are not, or are not all there.
    DamagedBlock,
    /// Only batches of their block are damaged, or are malformed although their checksums match, these among them; the rest of the block is proved.
    DamagedBatch,
    /// All checksums of the block match, but not its records or digests: its writer was faulty.
    InconsistentBlock,
    /// Several blocks that are intact hold different records of the same offsets.
    ContestedBlock,
    /// The block was written by a later version of kbk.
    Unsupported,
}

impl LossReason {
    /// Returns the reason as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            LossReason::NoBlock => "no valid block covers them",
            LossReason::DamagedBlock => "their block is damaged",
            LossReason::DamagedBatch => "their batch is damaged",
            LossReason::InconsistentBlock => "their block contradicts itself",
            LossReason::ContestedBlock => "several blocks claim them",
            LossReason::Unsupported => "a later kbk wrote their block",
        }
    }
}

/// Offsets of which nothing is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The offsets.
    #[serde(flatten)]
    pub offsets: OffsetSpan,
    /// Number of records; null where it is not known.
    pub records: Option<u64>,
    /// Position at which their block was written, or, where only batches of it are lost, the first of these; null where it is not known.
    pub position: Option<u64>,
    /// Bytes of their block, or of the batches that are lost of it; null where they are not known.
    pub bytes: Option<u64>,
    /// Why they are lost.
    pub reason: LossReason,
    /// What was found, for people.
    pub detail: String,
}

/// An end of the coverage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The offset.
    pub offset: i64,
    /// Whether a valid header, footer or trailer, or the caller, states that there is nothing beyond it. Otherwise there may be.
    pub is_proved: bool,
    /// Number of blocks that are lost beyond it, where only that is known.
    pub lost_blocks: Option<u32>,
}

/// Offsets that a block that cannot be kept covers, or batches of one.
#[derive(Clone, Debug)]
pub(super) struct LostBlock {
    pub(super) offsets: OffsetSpan,
    /// `None` where it is not known.
    pub(super) records: Option<u32>,
    /// Where the block was written.
    pub(super) written_at: u64,
    /// Where what is lost was written.
    pub(super) position: u64,
    pub(super) length: u64,
    pub(super) header_crc: u32,
    pub(super) reason: LossReason,
    pub(super) detail: String,
}

impl LostBlock {
    /// Claims what a valid header states.
    pub(super) fn of(header: &BlockHeader, reason: LossReason, error: &FormatError) -> LostBlock {
        let is_later = error.class == ErrorClass::Unsupported;
        LostBlock {
            offsets: (header.base_offset..header.end_offset).into(),
            records: Some(header.record_count),
            written_at: header.position,
            position: header.position,
            length: header.block_length() as u64,
            header_crc: header.header_crc,
            reason: if is_later {
                LossReason::Unsupported
            } else {
                reason
            },
            detail: format!("{}: {}", error.what, error.detail),
        }
    }

    /// Claims batches that are lost of a block, of which these pieces are all that is kept.
    pub(super) fn of_batches(
        header: &BlockHeader,
        batches: &ProvedBatches,
        kept: &[Piece],
    ) -> Vec<LostBlock> {
        let lost = batches.lost.as_slice();
        let mut kept = kept.iter().map(|piece| piece.records);
        let lost_records = kept.try_fold(header.record_count, u32::checked_sub);
        let width = |run: &LostRun| run.offsets.end.abs_diff(run.offsets.start);
        let offsets = lost.iter().map(width).fold(0, u64::saturating_add);
        // Of several, each one's own number is known only where every offset had a record.
        let is_dense = lost_records.is_some_and(|records| u64::from(records) == offsets);
        let records = |run: &LostRun| match lost {
            [_] => lost_records,
            _ => u32::try_from(width(run)).ok().filter(|_| is_dense),
        };
        lost.iter()
            .map(|run| LostBlock {
                offsets: run.offsets.clone().into(),
                records: records(run),
                written_at: header.position,
                position: run.written.start,
                length: run.written.end.saturating_sub(run.written.start),
                header_crc: header.header_crc,
                reason: LossReason::DamagedBatch,
                detail: match (run.batches, batches.is_intact) {
                    (1, false) => "a batch does not match its checksum".to_owned(),
                    (number, false) => format!("{number} batches do not match their checksums"),
                    (1, true) => "the records of a batch are malformed".to_owned(),
                    (number, true) => format!("the records of {number} batches are malformed"),
                },
            })
            .collect()
    }

    /// Claims what the block index states.
    pub(super) fn indexed(entry: &IndexEntry, reason: LossReason, detail: String) -> LostBlock {
        LostBlock {
            offsets: (entry.base_offset..entry.end_offset).into(),
            records: Some(entry.record_count),
            written_at: entry.position,
            position: entry.position,
            length: u64::from(entry.block_length),
            header_crc: entry.header_crc,
            reason,
            detail,
        }
    }

    /// Returns the loss of all that it claims.
    pub(super) fn whole(&self) -> Loss {
        self.loss(self.offsets)
    }

    /// Returns the loss of what it claims, if these are all of its offsets; otherwise how many records are among them is not known.
    fn loss(&self, offsets: OffsetSpan) -> Loss {
        Loss {
            offsets,
            records: self
                .records
                .filter(|_| offsets == self.offsets)
                .map(u64::from),
            position: Some(self.position),
            bytes: Some(self.length),
            reason: self.reason,
            detail: self.detail.clone(),
        }
    }
}

/// Divides lost offsets by the blocks that claim them, which are in the order of their offsets.
pub(super) fn divide(from: i64, to: i64, claims: &[LostBlock], losses: &mut Vec<Loss>) {
    let mut at = from;
    for claim in claims {
        if claim.offsets.base_offset >= to {
            break;
        }
        let start = claim.offsets.base_offset.max(at);
        let end = claim.offsets.end_offset.min(to);
        if start >= end {
            continue;
        }
        unclaimed(at, start, losses);
        losses.push(claim.loss((start..end).into()));
        at = end;
    }
    unclaimed(at, to, losses);
}

fn unclaimed(from: i64, to: i64, losses: &mut Vec<Loss>) {
    if from < to {
        losses.push(Loss {
            offsets: (from..to).into(),
            records: None,
            position: None,
            bytes: None,
            reason: LossReason::NoBlock,
            detail: "no valid block header states these offsets".to_owned(),
        });
    }
}
