//! What is lost, and why.

use serde::Serialize;

use crate::block::BlockHeader;
use crate::error::{ErrorClass, FormatError};
use crate::index::IndexEntry;
use crate::offset_span::OffsetSpan;

/// Why offsets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// No valid header of a block that covers them was found: its bytes are gone, or its header is damaged.
    NoBlock,
    /// The header of the block is valid, its stored bytes are not, or are not all there.
    DamagedBlock,
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
    /// Position at which their block was written; null where it is not known.
    pub position: Option<u64>,
    /// Bytes of their block; null where they are not known.
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

/// Offsets that a block that cannot be kept covers.
#[derive(Clone, Debug)]
pub(super) struct LostBlock {
    pub(super) offsets: OffsetSpan,
    pub(super) records: u32,
    pub(super) written_at: u64,
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
            records: header.record_count,
            written_at: header.position,
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

    /// Claims what the block index states.
    pub(super) fn indexed(entry: &IndexEntry, reason: LossReason, detail: String) -> LostBlock {
        LostBlock {
            offsets: (entry.base_offset..entry.end_offset).into(),
            records: entry.record_count,
            written_at: entry.position,
            length: u64::from(entry.block_length),
            header_crc: entry.header_crc,
            reason,
            detail,
        }
    }

    /// Returns the loss of what it claims, if these are all of its offsets; otherwise how many records are among them is not known.
    fn loss(&self, offsets: OffsetSpan) -> Loss {
        Loss {
            offsets,
            records: (offsets == self.offsets).then_some(u64::from(self.records)),
            position: Some(self.written_at),
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
