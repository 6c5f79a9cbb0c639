//! What the headers of a block's batches say together: the batch_bounds section of the footer (SPEC 2.5). Whoever produces the batches again knows
//! by it what a target has to accept, and what its retention would delete, without reading them.

use crate::batch::{BatchCodec, BatchHeader, RecordBatch};
use crate::block::BlockKind;
use crate::error::{ErrorClass, Result};
use crate::index::{BlockIndex, IndexEntry};
use crate::layout::{batch_bounds as at, record_batch};
use crate::wire::{FieldReader, length, put};

/// Flag: a batch has fewer records than offsets.
const FLAG_GAPS: u8 = 1;

/// Codecs of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCodecs(u8);

impl BatchCodecs {
    /// A bit for each codec that Kafka has.
    const ALL: u8 = 0b1_1111;

    /// Returns a bit for each codec, by Kafka's number of it.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Returns whether there is no other codec than this one.
    #[must_use]
    pub fn are_only(self, codec: BatchCodec) -> bool {
        self.0 & !bit(codec) == 0
    }
}

fn bit(codec: BatchCodec) -> u8 {
    // Codes are 0 to 4.
    1 << codec.code()
}

/// What the headers of batches say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBounds {
    /// The smallest of the largest timestamps that they state, of those that are not -1. However the batches are distributed over log segments,
    /// the largest timestamp of each of these is no smaller. `None` where no batch states one.
    pub smallest_max_timestamp: Option<i64>,
    /// Bytes of the largest batch.
    pub largest_bytes: u32,
    /// The codecs of the batches.
    pub codecs: BatchCodecs,
    /// Whether a batch has fewer records than offsets, so that brokers refuse it.
    pub has_gaps: bool,
}

impl BatchBounds {
    /// The bounds of no batches.
    pub const NONE: BatchBounds = BatchBounds {
        smallest_max_timestamp: None,
        largest_bytes: 0,
        codecs: BatchCodecs(0),
        has_gaps: false,
    };

    /// Adds a batch of format v2.
    pub(crate) fn add(&mut self, batch: &RecordBatch<'_>) {
        let header = batch.header();
        let bytes = u32::try_from(batch.bytes().len()).unwrap_or(u32::MAX);
        self.largest_bytes = self.largest_bytes.max(bytes);
        let times = [self.smallest_max_timestamp, Some(header.max_timestamp)];
        let times = times.into_iter().flatten().filter(|time| *time != -1);
        self.smallest_max_timestamp = times.min();
        self.codecs.0 |= header.attributes.codec().map_or(0, bit);
        self.has_gaps |= has_gaps(header);
    }

    /// Returns the bounds of these batches and of others together.
    #[must_use]
    pub fn with(self, other: &BatchBounds) -> BatchBounds {
        let times = [self.smallest_max_timestamp, other.smallest_max_timestamp];
        BatchBounds {
            smallest_max_timestamp: times.into_iter().flatten().min(),
            largest_bytes: self.largest_bytes.max(other.largest_bytes),
            codecs: BatchCodecs(self.codecs.0 | other.codecs.0),
            has_gaps: self.has_gaps || other.has_gaps,
        }
    }

    fn encode(&self) -> [u8; at::LENGTH] {
        let mut bytes = [0; at::LENGTH];
        let smallest = self.smallest_max_timestamp.unwrap_or(i64::MAX);
        let flags = if self.has_gaps { FLAG_GAPS } else { 0 };
        put(
            &mut bytes,
            at::SMALLEST_MAX_TIMESTAMP,
            &smallest.to_le_bytes(),
        );
        let largest = self.largest_bytes.to_le_bytes();
        put(&mut bytes, at::LARGEST_BATCH_BYTES, &largest);
        put(&mut bytes, at::CODECS, &[self.codecs.0]);
        put(&mut bytes, at::FLAGS, &[flags]);
        bytes
    }

    /// Decodes the entry of a block, which begins at byte `start`.
    fn decode(view: &FieldReader<'_>, start: usize, block: &IndexEntry) -> Result<BatchBounds> {
        let smallest = view.i64(start + at::SMALLEST_MAX_TIMESTAMP)?;
        let largest_bytes = view.u32(start + at::LARGEST_BATCH_BYTES)?;
        let codecs = view.u8(start + at::CODECS)?;
        let is_bound = smallest == i64::MAX
            || block.min_timestamps.is_some()
            || smallest <= block.max_timestamp;
        view.ensure(
            is_bound
                && length(largest_bytes) >= record_batch::LENGTH
                && largest_bytes <= block.raw_length
                && codecs != 0
                && codecs & !BatchCodecs::ALL == 0,
            ErrorClass::Inconsistent,
            || {
                format!(
                    "the block at {} of {} bytes has batches up to {largest_bytes} bytes, from {smallest} on, with codecs {codecs:#x}",
                    block.position, block.raw_length
                )
            },
        )?;
        Ok(BatchBounds {
            smallest_max_timestamp: (smallest != i64::MAX).then_some(smallest),
            largest_bytes,
            codecs: BatchCodecs(codecs),
            has_gaps: view.u8(start + at::FLAGS)? & FLAG_GAPS != 0,
        })
    }
}

impl Default for BatchBounds {
    fn default() -> BatchBounds {
        BatchBounds::NONE
    }
}

fn has_gaps(header: &BatchHeader) -> bool {
    let offsets = header.last_offset.abs_diff(header.base_offset);
    u64::from(header.record_count.unwrap_or_default()) <= offsets
}

/// The bounds of each block of batches, in the order of the blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchBoundsOfBlocks {
    /// With the numbers of the blocks, ascending.
    entries: Vec<(usize, BatchBounds)>,
}

impl BatchBoundsOfBlocks {
    /// Adds the bounds of a block after those that are there.
    pub(crate) fn push(&mut self, block: usize, bounds: BatchBounds) {
        self.entries.push((block, bounds));
    }

    /// Returns those of a block; `None` of one of records.
    pub(crate) fn of_block(&self, block: usize) -> Option<&BatchBounds> {
        let found = self
            .entries
            .binary_search_by_key(&block, |(block, _)| *block);
        self.entries.get(found.ok()?).map(|(_, bounds)| bounds)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let entries = self.entries.iter();
        entries.flat_map(|(_, bounds)| bounds.encode()).collect()
    }

    pub(crate) fn decode(
        payload: &[u8],
        position: u64,
        index: &BlockIndex,
    ) -> Result<BatchBoundsOfBlocks> {
        let what = "section batch_bounds";
        let view = FieldReader::new(what, position, payload, payload.len())?;
        let blocks = index.entries().iter().enumerate();
        let blocks = blocks.filter(|(_, entry)| entry.kind == BlockKind::Batches);
        let count = blocks.clone().count();
        view.ensure(
            payload.len() == count * at::LENGTH,
            ErrorClass::Inconsistent,
            || format!("{} bytes for {count} blocks of batches", payload.len()),
        )?;
        let entries = blocks.enumerate().map(|(number, (block, entry))| {
            BatchBounds::decode(&view, number * at::LENGTH, entry).map(|bounds| (block, bounds))
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        Ok(BatchBoundsOfBlocks { entries })
    }
}
