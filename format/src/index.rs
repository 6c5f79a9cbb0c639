//! The block index (SPEC 2.5) and searching in it (SPEC section 5).

use std::ops::Range;

use crate::block::header::is_computed;
use crate::block::{BlockHeader, BlockKind};
use crate::counted::counted;
use crate::error::{ErrorClass, Result};
use crate::layout::{ALIGNMENT, FLAG_NOT_COMPUTED, block_header_length, index_entry as at, limits};
use crate::offset_span::OffsetSpan;
use crate::wire::{FieldReader, length, put};

/// Where a block is, and what its header states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Position of the block in the segment.
    pub position: u64,
    /// First offset covered.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered.
    pub end_offset: i64,
    /// Smallest timestamps; `None` where they were not computed.
    pub min_timestamps: Option<MinTimestamps>,
    /// The largest timestamp; where the smallest ones were not computed, one that no record's is above.
    pub max_timestamp: i64,
    /// Bytes of the whole block.
    pub block_length: u32,
    /// Bytes of its header.
    pub header_length: u32,
    /// How its records are stored.
    pub kind: BlockKind,
    /// Number of records.
    pub record_count: u32,
    /// CRC-32C of its header.
    pub header_crc: u32,
    /// Bytes of its streams after decoding.
    pub raw_length: u32,
    /// Stored bytes of the first stream, which directly follow the header: META, or BATCHES.
    pub meta_length: u32,
}

/// The smallest timestamps of the records of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinTimestamps {
    /// Of all; `i64::MAX` where there is no record.
    pub all: i64,
    /// Of those but -1, the one of records that have none; `i64::MAX` where no record has one.
    pub known: i64,
}

impl MinTimestamps {
    /// Those of no records, which are also stored where none were computed.
    const NONE: MinTimestamps = MinTimestamps {
        all: i64::MAX,
        known: i64::MAX,
    };
}

impl IndexEntry {
    pub(crate) fn of(header: &BlockHeader) -> IndexEntry {
        IndexEntry {
            position: header.position,
            base_offset: header.base_offset,
            end_offset: header.end_offset,
            min_timestamps: header.computed.map(|numbers| MinTimestamps {
                all: numbers.min_timestamp,
                known: numbers.min_known_timestamp,
            }),
            max_timestamp: header.max_timestamp,
            // Both are below `limits::BLOCK_STORED_BYTES`.
            block_length: header.block_length() as u32,
            header_length: header.header_length() as u32,
            kind: header.kind,
            record_count: header.record_count,
            header_crc: header.header_crc,
            raw_length: header.raw_length(),
            meta_length: header.meta_length(),
        }
    }

    /// Returns whether the block may hold a record with a timestamp from `from` to `to`, both inclusive.
    #[must_use]
    pub fn may_hold_times(&self, from: i64, to: i64) -> bool {
        // Records without a timestamp have -1: they would make a block match every range that begins before its end.
        let is_late = |min: MinTimestamps| match from > -1 {
            true => min.known > to,
            false => min.all > to,
        };
        self.record_count > 0
            && self.max_timestamp >= from
            && !self.min_timestamps.is_some_and(is_late)
    }

    /// Returns the exclusive end of the block's bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position.saturating_add(u64::from(self.block_length))
    }

    /// Returns the exclusive end of META, which directly follows the block's header; of a block of batches, that of all of them.
    #[must_use]
    pub fn meta_end(&self) -> u64 {
        let lengths = u64::from(self.header_length) + u64::from(self.meta_length);
        self.position.saturating_add(lengths)
    }

    fn encode(&self) -> [u8; at::LENGTH] {
        let mut bytes = [0; at::LENGTH];
        put(&mut bytes, at::POSITION, &self.position.to_le_bytes());
        put(&mut bytes, at::BASE_OFFSET, &self.base_offset.to_le_bytes());
        put(&mut bytes, at::END_OFFSET, &self.end_offset.to_le_bytes());
        let min = self.min_timestamps.unwrap_or(MinTimestamps::NONE);
        put(&mut bytes, at::MIN_TIMESTAMP, &min.all.to_le_bytes());
        put(
            &mut bytes,
            at::MAX_TIMESTAMP,
            &self.max_timestamp.to_le_bytes(),
        );
        put(
            &mut bytes,
            at::BLOCK_LENGTH,
            &self.block_length.to_le_bytes(),
        );
        let known = min.known;
        put(&mut bytes, at::MIN_KNOWN_TIMESTAMP, &known.to_le_bytes());
        // At most that of a header with `limits::STREAMS`.
        let header_length = self.header_length as u16;
        put(&mut bytes, at::HEADER_LENGTH, &header_length.to_le_bytes());
        put(&mut bytes, at::KIND, &[self.kind as u8]);
        let flags = match self.min_timestamps {
            Some(_) => 0,
            None => FLAG_NOT_COMPUTED,
        };
        put(&mut bytes, at::FLAGS, &[flags]);
        put(
            &mut bytes,
            at::RECORD_COUNT,
            &self.record_count.to_le_bytes(),
        );
        put(&mut bytes, at::HEADER_CRC, &self.header_crc.to_le_bytes());
        put(&mut bytes, at::RAW_LENGTH, &self.raw_length.to_le_bytes());
        put(&mut bytes, at::META_LENGTH, &self.meta_length.to_le_bytes());
        bytes
    }

    fn decode(view: &FieldReader<'_>, start: usize) -> Result<IndexEntry> {
        let kind = view.u8(start + at::KIND)?;
        let kind = BlockKind::from_code(kind).ok_or_else(|| {
            let position = view.u64(start + at::POSITION).unwrap_or_default();
            let detail =
                format!("the block at {position} is of kind {kind}; a newer kbk may read it");
            view.error(ErrorClass::Unsupported, detail)
        })?;
        let min_timestamps = MinTimestamps {
            all: view.i64(start + at::MIN_TIMESTAMP)?,
            known: view.i64(start + at::MIN_KNOWN_TIMESTAMP)?,
        };
        let is_computed = is_computed(kind, view.u8(start + at::FLAGS)?);
        let entry = IndexEntry {
            position: view.u64(start + at::POSITION)?,
            base_offset: view.i64(start + at::BASE_OFFSET)?,
            end_offset: view.i64(start + at::END_OFFSET)?,
            min_timestamps: is_computed.then_some(min_timestamps),
            max_timestamp: view.i64(start + at::MAX_TIMESTAMP)?,
            block_length: view.u32(start + at::BLOCK_LENGTH)?,
            header_length: u32::from(view.u16(start + at::HEADER_LENGTH)?),
            kind,
            record_count: view.u32(start + at::RECORD_COUNT)?,
            header_crc: view.u32(start + at::HEADER_CRC)?,
            raw_length: view.u32(start + at::RAW_LENGTH)?,
            meta_length: view.u32(start + at::META_LENGTH)?,
        };
        // A reader sizes its buffers by these before it has read the block.
        view.ensure(
            length(entry.record_count) <= limits::BLOCK_RECORDS
                && length(entry.raw_length) <= limits::BLOCK_RAW_BYTES
                && length(entry.block_length) <= limits::BLOCK_STORED_BYTES,
            ErrorClass::Limit,
            || {
                format!(
                    "the block at {} has {}, {} raw and {} stored bytes",
                    entry.position,
                    counted(entry.record_count, "record"),
                    entry.raw_length,
                    entry.block_length
                )
            },
        )?;
        view.ensure(
            length(entry.header_length) <= block_header_length(limits::STREAMS),
            ErrorClass::Limit,
            || {
                format!(
                    "the block at {} has a header of {} bytes",
                    entry.position, entry.header_length
                )
            },
        )?;
        let (header_length, block_length) =
            (length(entry.header_length), length(entry.block_length));
        let covered = entry.end_offset.checked_sub(entry.base_offset);
        view.ensure(
            header_length.is_multiple_of(ALIGNMENT)
                && block_length.is_multiple_of(ALIGNMENT)
                && header_length >= block_header_length(0)
                && covered.is_some_and(|covered| covered >= i64::from(entry.record_count).max(1))
                && (entry.record_count > 0 || entry.raw_length == 0)
                && (entry.record_count > 0 || entry.kind == BlockKind::Records)
                && (entry.record_count > 0) == (entry.meta_length > 0)
                && u64::from(entry.header_length) + u64::from(entry.meta_length)
                    <= u64::from(entry.block_length),
            ErrorClass::Inconsistent,
            || {
                format!(
                    "the block at {} has {} in {}, a header of {} and {} bytes in all",
                    entry.position,
                    counted(entry.record_count, "record"),
                    OffsetSpan::from(entry.base_offset..entry.end_offset),
                    entry.header_length,
                    entry.block_length
                )
            },
        )?;
        let bounds = (min_timestamps.all, entry.max_timestamp);
        let known = min_timestamps.known;
        view.ensure(
            if !is_computed {
                min_timestamps == MinTimestamps::NONE
            } else if entry.record_count == 0 {
                bounds == (i64::MAX, i64::MIN) && known == i64::MAX
            } else {
                bounds.0 <= bounds.1
                    && (known == i64::MAX || (bounds.0..=bounds.1).contains(&known))
            },
            ErrorClass::Inconsistent,
            || {
                format!(
                    "the block at {} has {} with timestamps from {} to {}",
                    entry.position,
                    counted(entry.record_count, "record"),
                    bounds.0,
                    bounds.1
                )
            },
        )?;
        Ok(entry)
    }
}

/// All blocks of a segment, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIndex {
    entries: Vec<IndexEntry>,
    /// Largest timestamp of the blocks up to and including each: ascending, so it can be searched.
    running_max: Vec<i64>,
}

impl BlockIndex {
    /// Returns the entries in order.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Creates an empty index with room for `count` entries.
    pub(crate) fn with_capacity(count: usize) -> BlockIndex {
        BlockIndex {
            entries: Vec::with_capacity(count),
            running_max: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, entry: IndexEntry) {
        let before = self.running_max.last().copied().unwrap_or(i64::MIN);
        self.running_max.push(before.max(entry.max_timestamp));
        self.entries.push(entry);
    }

    /// Returns the block that covers `offset`.
    #[must_use]
    pub fn block_of_offset(&self, offset: i64) -> Option<usize> {
        let block = self
            .entries
            .partition_point(|entry| entry.end_offset <= offset);
        let entry = self.entries.get(block)?;
        (entry.base_offset <= offset).then_some(block)
    }

    /// Returns the blocks that cover any of the offsets from `from` to `to`, exclusive.
    #[must_use]
    pub fn blocks_of_offsets(&self, from: i64, to: i64) -> Range<usize> {
        let start = self
            .entries
            .partition_point(|entry| entry.end_offset <= from);
        let end = self.entries.partition_point(|entry| entry.base_offset < to);
        start..end.max(start)
    }

    /// Returns the blocks that may have the first record in offset order whose timestamp is at least `timestamp`, in order: the first of them
    /// that has such a record has it. One whose numbers were computed always does, so the search continues only after one whose were not.
    pub fn blocks_of_time(&self, timestamp: i64) -> impl Iterator<Item = usize> {
        let first = self.running_max.partition_point(|max| *max < timestamp);
        let mut is_found = false;
        self.entries
            .iter()
            .enumerate()
            .skip(first)
            // A block without records has the maximum `i64::MIN`, so it passes only for that very timestamp.
            .filter(move |(_, entry)| entry.record_count > 0 && entry.max_timestamp >= timestamp)
            .take_while(move |(_, entry)| {
                !std::mem::replace(&mut is_found, entry.min_timestamps.is_some())
            })
            .map(|(block, _)| block)
    }

    /// Returns every block that may hold a record with `from` <= timestamp < `to`, whether contiguous or not.
    pub fn blocks_of_times(&self, from: i64, to: i64) -> impl Iterator<Item = usize> {
        self.entries
            .iter()
            .enumerate()
            .filter(move |(_, entry)| {
                to.checked_sub(1)
                    .is_some_and(|last| entry.may_hold_times(from, last))
            })
            .map(|(block, _)| block)
    }

    /// Returns whether a block holds its records as batches.
    #[must_use]
    pub fn has_batches(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.kind == BlockKind::Batches)
    }

    /// Returns whether the numbers of all blocks were computed.
    #[must_use]
    pub fn is_computed(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.all(|entry| entry.min_timestamps.is_some())
    }

    /// Returns the one range of bytes that `blocks` occupy.
    #[must_use]
    pub fn range(&self, blocks: Range<usize>) -> Option<Range<u64>> {
        let blocks = self.entries.get(blocks)?;
        Some(blocks.first()?.position..blocks.last()?.end())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(&entry.encode());
        }
    }

    /// Reads `count` entries and checks that blocks and coverage join without holes.
    pub(crate) fn decode(
        payload: &[u8],
        position: u64,
        count: u32,
        bounds: &Bounds,
    ) -> Result<BlockIndex> {
        let view = FieldReader::new("section block_index", position, payload, payload.len())?;
        let count = length(count);
        view.ensure(
            payload.len() == count * at::LENGTH,
            ErrorClass::Inconsistent,
            || format!("{} bytes for {count} blocks", payload.len()),
        )?;
        let mut index = BlockIndex::with_capacity(count);
        let (mut block_position, mut offset) = (bounds.first_block, bounds.base_offset);
        for i in 0..count {
            let entry = IndexEntry::decode(&view, i * at::LENGTH)?;
            view.ensure(
                entry.position == block_position
                    && entry.base_offset == offset
                    && entry.header_length <= entry.block_length,
                ErrorClass::Inconsistent,
                || format!("block {i} does not join the one before: expected position {block_position} and offset {offset}, found {} and {}", entry.position, entry.base_offset),
            )?;
            (block_position, offset) = (entry.end(), entry.end_offset);
            index.push(entry);
        }
        view.ensure(
            block_position == bounds.end && offset == bounds.end_offset,
            ErrorClass::Inconsistent,
            || {
                format!(
                    "the blocks end at position {block_position} and offset {offset}, expected {} and {}",
                    bounds.end, bounds.end_offset
                )
            },
        )?;
        Ok(index)
    }
}

/// Where the first block must start and the last one must end.
pub(crate) struct Bounds {
    pub(crate) first_block: u64,
    pub(crate) end: u64,
    pub(crate) base_offset: i64,
    pub(crate) end_offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(base_offset: i64, times: &[i64]) -> IndexEntry {
        let known = times.iter().filter(|time| **time != -1);
        IndexEntry {
            position: 0,
            base_offset,
            end_offset: base_offset + 1,
            min_timestamps: Some(MinTimestamps {
                all: times.iter().copied().min().unwrap_or(i64::MAX),
                known: known.min().copied().unwrap_or(i64::MAX),
            }),
            max_timestamp: times.iter().copied().max().unwrap_or(i64::MIN),
            block_length: 0,
            header_length: 0,
            kind: BlockKind::Records,
            record_count: u32::try_from(times.len()).unwrap(),
            header_crc: 0,
            raw_length: 0,
            meta_length: 0,
        }
    }

    #[test]
    fn a_record_without_a_timestamp_makes_its_block_match_only_ranges_that_include_it() {
        let mut index = BlockIndex::default();
        for (at, times) in [&[-1, 500][..], &[-1], &[], &[100, 200], &[-5, 50]]
            .into_iter()
            .enumerate()
        {
            index.push(entry(i64::try_from(at).unwrap(), times));
        }
        let found = |from, to| index.blocks_of_times(from, to).collect::<Vec<_>>();
        assert_eq!(found(100, 201), [3]);
        assert_eq!(found(0, 51), [4]);
        assert_eq!(found(400, i64::MAX), [0]);
        assert_eq!(found(-1, 101), [0, 1, 3, 4]);
        assert_eq!(
            found(-1, 0),
            [0, 1, 4],
            "the extremes of the last cannot tell"
        );
        assert_eq!(found(i64::MIN, -1), [4]);
        assert_eq!(found(i64::MIN, i64::MIN), [0; 0]);
    }

    #[test]
    fn a_block_that_is_not_computed_matches_every_range_up_to_its_bound() {
        let mut index = BlockIndex::default();
        index.push(entry(0, &[100, 200]));
        let not_computed = IndexEntry {
            min_timestamps: None,
            ..entry(1, &[300])
        };
        index.push(not_computed);
        index.push(entry(2, &[150]));
        index.push(IndexEntry {
            base_offset: 3,
            end_offset: 4,
            ..not_computed
        });
        index.push(entry(4, &[250, 300]));
        index.push(entry(5, &[400]));
        let found = |from, to| index.blocks_of_times(from, to).collect::<Vec<_>>();
        assert_eq!(found(i64::MIN, -5), [1, 3]);
        assert_eq!(found(0, 101), [0, 1, 3]);
        assert_eq!(found(300, 301), [1, 3, 4]);
        assert_eq!(found(301, 500), [5]);
        let first = |from| index.blocks_of_time(from).collect::<Vec<_>>();
        assert_eq!(first(100), [0]);
        assert_eq!(first(201), [1, 3, 4]);
        assert_eq!(first(301), [5]);
        assert_eq!(first(401), [0; 0]);
    }
}
