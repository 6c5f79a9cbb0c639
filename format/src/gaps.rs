//! Gaps: offsets that a segment covers without holding a record, and why (SPEC 2.5, section gaps).

use crate::error::{ErrorClass, Result};
use crate::layout::{gap_entry as entry_at, gaps as at, limits};
use crate::wire::{FieldReader, length};

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum GapReason {
    /// The source returned no record: compaction, a transaction marker or an aborted record.
    NotDelivered = 0,
    /// Removed by compaction.
    Compacted = 1,
    /// A transaction marker or an aborted record.
    Transaction = 2,
    /// Deleted by retention before it was read.
    Lost = 3,
    /// Not recorded, or a reason that a later version defines.
    Unknown = 4,
    /// Stored once, and lost to damage of the segment that this one was recovered from.
    Damaged = 5,
}

impl GapReason {
    /// Returns the reason as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            GapReason::NotDelivered => "not delivered",
            GapReason::Compacted => "compacted",
            GapReason::Transaction => "transaction",
            GapReason::Lost => "lost",
            GapReason::Unknown => "unknown",
            GapReason::Damaged => "damaged",
        }
    }

    fn from_code(code: u32) -> GapReason {
        match code {
            0 => GapReason::NotDelivered,
            1 => GapReason::Compacted,
            2 => GapReason::Transaction,
            3 => GapReason::Lost,
            5 => GapReason::Damaged,
            _ => GapReason::Unknown,
        }
    }
}

/// A range of offsets without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First offset of the range.
    pub from_offset: i64,
    /// The exclusive end of the range.
    pub to_offset: i64,
    /// Why there is no record.
    pub reason: GapReason,
}

/// Returns how many offsets these gaps have together.
fn length_of<'a>(gaps: impl IntoIterator<Item = &'a Gap>) -> u64 {
    let lengths = gaps
        .into_iter()
        .map(|gap| gap.to_offset.abs_diff(gap.from_offset));
    lengths.fold(0, u64::saturating_add)
}

/// The gaps of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// Offsets in the coverage without a record.
    pub missing_count: u64,
    /// The reason of every gap that is not in `entries`.
    pub default_reason: GapReason,
    /// Gaps whose reason is known, ascending and disjoint.
    pub entries: Vec<Gap>,
}

impl Gaps {
    /// Returns why there is no record at `offset`; the caller has checked that there is none.
    #[must_use]
    pub fn reason(&self, offset: i64) -> GapReason {
        let next = self.entries.partition_point(|gap| gap.to_offset <= offset);
        match self.entries.get(next) {
            Some(gap) if gap.from_offset <= offset => gap.reason,
            _ => self.default_reason,
        }
    }

    /// Returns how many offsets have no record for this reason.
    #[must_use]
    pub fn offsets(&self, reason: GapReason) -> u64 {
        let named = length_of(self.entries.iter().filter(|gap| gap.reason == reason));
        match self.default_reason == reason {
            true => named.saturating_add(self.unnamed()),
            false => named,
        }
    }

    /// Returns how many offsets have no record for the default reason, since no entry names them.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.missing_count.saturating_sub(length_of(&self.entries))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(at::LENGTH + self.entries.len() * entry_at::LENGTH);
        bytes.extend_from_slice(&self.missing_count.to_le_bytes());
        bytes.extend_from_slice(&(self.default_reason as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for gap in &self.entries {
            bytes.extend_from_slice(&gap.from_offset.to_le_bytes());
            bytes.extend_from_slice(&gap.to_offset.to_le_bytes());
            bytes.extend_from_slice(&(gap.reason as u32).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes
    }

    /// Reads the section of a segment that covers `base_offset` to `end_offset`.
    pub(crate) fn decode(
        payload: &[u8],
        position: u64,
        base_offset: i64,
        end_offset: i64,
    ) -> Result<Gaps> {
        let view = FieldReader::new("section gaps", position, payload, payload.len())?;
        view.holds(at::LENGTH)?;
        let count = length(view.u32(at::ENTRY_COUNT)?);
        view.ensure(count <= limits::GAP_ENTRIES, ErrorClass::Limit, || {
            format!(
                "{count} entries; at most {} are allowed",
                limits::GAP_ENTRIES
            )
        })?;
        let expected = at::LENGTH + count * entry_at::LENGTH;
        view.ensure(payload.len() == expected, ErrorClass::Inconsistent, || {
            format!("{} bytes for {count} entries", payload.len())
        })?;
        let mut entries = Vec::with_capacity(count);
        let mut end = base_offset;
        for i in 0..count {
            let start = at::LENGTH + i * entry_at::LENGTH;
            let gap = Gap {
                from_offset: view.i64(start + entry_at::FROM_OFFSET)?,
                to_offset: view.i64(start + entry_at::TO_OFFSET)?,
                reason: GapReason::from_code(view.u32(start + entry_at::REASON)?),
            };
            view.ensure(
                gap.from_offset >= end
                    && gap.to_offset > gap.from_offset
                    && gap.to_offset <= end_offset,
                ErrorClass::Inconsistent,
                || {
                    format!(
                        "the gap from {} to {} is out of order or outside the coverage",
                        gap.from_offset, gap.to_offset
                    )
                },
            )?;
            end = gap.to_offset;
            entries.push(gap);
        }
        Ok(Gaps {
            missing_count: view.u64(at::MISSING_COUNT)?,
            default_reason: GapReason::from_code(view.u32(at::DEFAULT_REASON)?),
            entries,
        })
    }
}
