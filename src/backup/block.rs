//! A block of a backup, of records or of Kafka's own batches: while it is filled, and once it is encoded.

use kbk_format::batch::CheckedBatch;
use kbk_format::repo::SegmentUpload;
use kbk_format::{
    BatchesBuilder, BlockBody, BlockBuilder, EncodedBlock, Encoder, FormatError, PushBatch,
    Renderer, SegmentAssembler, SegmentFeatures, Statistics, TimestampType, WriteError,
};

/// What a block is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockContent {
    /// Records, as columns.
    Records,
    /// Batches of records with this timestamp type.
    Batches(TimestampType),
}

/// A block that is being filled.
pub(super) enum OpenBlock {
    /// Records, as columns.
    Records(BlockBuilder),
    /// Batches. Only one that has some can be stored.
    Batches(OpenBatches),
}

/// What batches are taken to decompress to, for each of their bytes, where their frames allow more.
const USUAL_RATIO: usize = 4;

/// Batches of records that all have this timestamp type.
pub(super) struct OpenBatches {
    builder: BatchesBuilder,
    timestamp_type: TimestampType,
    records: u64,
}

impl OpenBatches {
    /// Copies a batch into the block, as [`BatchesBuilder::try_push`] does, which decompresses it only if it has to. The block is also full once
    /// its records have about `block_bytes`: whoever reads it needs as much memory as for a block of records, and never more than four times of it.
    pub(super) fn try_push(
        &mut self,
        batch: &CheckedBatch<'_>,
        block_bytes: usize,
    ) -> Result<PushBatch, FormatError> {
        // How much small batches of Zstandard decompress to is known within a factor of ten only.
        let decoded = self.builder.decoded_bytes();
        let expected = self.builder.raw_length().saturating_mul(USUAL_RATIO);
        if decoded.min(expected) >= block_bytes || decoded >= block_bytes.saturating_mul(4) {
            return Ok(PushBatch::Full);
        }
        let pushed = self.builder.try_push(batch, block_bytes)?;
        if pushed == PushBatch::Pushed {
            self.records += u64::from(batch.header().record_count.unwrap_or_default());
        }
        Ok(pushed)
    }
}

impl OpenBlock {
    /// Creates an empty block that covers offsets from `base_offset`.
    pub(super) fn new(content: BlockContent, base_offset: i64, block_bytes: usize) -> OpenBlock {
        match content {
            BlockContent::Records => {
                OpenBlock::Records(BlockBuilder::with_capacity(base_offset, block_bytes))
            }
            BlockContent::Batches(timestamp_type) => OpenBlock::Batches(OpenBatches {
                builder: BatchesBuilder::computed_where_cheap(base_offset, timestamp_type),
                timestamp_type,
                records: 0,
            }),
        }
    }

    /// Begins an empty block at `base_offset` in the same buffers.
    pub(super) fn restart(&mut self, base_offset: i64) {
        match self {
            OpenBlock::Records(builder) => builder.restart(base_offset),
            OpenBlock::Batches(batches) => {
                batches.builder.restart(base_offset);
                batches.records = 0;
            }
        }
    }

    /// Returns what it holds.
    pub(super) fn content(&self) -> BlockContent {
        match self {
            OpenBlock::Records(_) => BlockContent::Records,
            OpenBlock::Batches(batches) => BlockContent::Batches(batches.timestamp_type),
        }
    }

    /// Returns the first offset covered.
    pub(super) fn base_offset(&self) -> i64 {
        match self {
            OpenBlock::Records(builder) => builder.base_offset(),
            OpenBlock::Batches(batches) => batches.builder.base_offset(),
        }
    }

    /// Returns the exclusive end of the offsets covered.
    pub(super) fn end_offset(&self) -> i64 {
        match self {
            OpenBlock::Records(builder) => builder.end_offset(),
            OpenBlock::Batches(batches) => batches.builder.end_offset(),
        }
    }

    /// Extends the coverage: the source has no record between the last one and `end_offset`.
    pub(super) fn cover(&mut self, end_offset: i64) {
        match self {
            OpenBlock::Records(builder) => builder.cover(end_offset),
            OpenBlock::Batches(batches) => batches.builder.cover(end_offset),
        }
    }

    /// Returns whether it has no record.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            OpenBlock::Records(builder) => builder.is_empty(),
            OpenBlock::Batches(batches) => batches.builder.is_empty(),
        }
    }

    /// Returns how many records it has, and their bytes as they were received.
    pub(super) fn size(&self) -> (u64, u64) {
        match self {
            OpenBlock::Records(builder) => (builder.len() as u64, builder.payload_bytes() as u64),
            OpenBlock::Batches(batches) => (batches.records, batches.builder.raw_length() as u64),
        }
    }

    /// Compresses what it holds; its records all have `timestamp_type`.
    pub(super) fn encode(
        self,
        timestamp_type: TimestampType,
        renderer: &Renderer,
        encoder: &mut Encoder,
    ) -> StoredBlock {
        match self {
            OpenBlock::Records(builder) => {
                StoredBlock::Records(builder.encode(timestamp_type, renderer, encoder))
            }
            OpenBlock::Batches(batches) => {
                StoredBlock::Batches(batches.builder.encode(renderer, encoder))
            }
        }
    }
}

/// A block that is encoded.
#[derive(Debug)]
pub(super) enum StoredBlock {
    /// Records, as columns.
    Records(EncodedBlock),
    /// Batches.
    Batches(EncodedBlock<BatchesBuilder>),
}

impl StoredBlock {
    /// Returns the statistics of its records.
    pub(super) fn statistics(&self) -> &Statistics {
        match self {
            StoredBlock::Records(block) => block.statistics(),
            StoredBlock::Batches(block) => block.statistics(),
        }
    }

    /// Returns the stored bytes of its streams.
    pub(super) fn stored_length(&self) -> usize {
        match self {
            StoredBlock::Records(block) => block.stored_length(),
            StoredBlock::Batches(block) => block.stored_length(),
        }
    }

    /// Returns what the header of its segment must say.
    pub(super) fn features(&self) -> SegmentFeatures {
        SegmentFeatures {
            key_filter: None,
            batches: matches!(self, StoredBlock::Batches(_)),
            not_computed: self.statistics().computed.is_none(),
        }
    }

    /// Appends it to a segment. The buffer of batches goes to the upload, which leaves another one: their bytes are not copied again.
    pub(super) fn append_to(
        &mut self,
        segment: &mut SegmentAssembler<SegmentUpload>,
    ) -> Result<(), WriteError> {
        match self {
            StoredBlock::Records(block) => segment.append(block),
            StoredBlock::Batches(block) => {
                segment.append_handing_over(block, SegmentUpload::write_buffer)
            }
        }
    }

    /// Returns the buffers as an empty block.
    pub(super) fn recycle(self) -> OpenBlock {
        match self {
            StoredBlock::Records(block) => OpenBlock::Records(block.recycle(0)),
            StoredBlock::Batches(block) => OpenBlock::Batches(OpenBatches {
                timestamp_type: block.timestamp_type(),
                builder: block.recycle(0),
                records: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
    use kbk_format::{Headers, Record};

    use super::*;

    /// Returns how many batches with these values a block takes, and their bytes.
    fn fill(codec: BatchCodec, value: impl Fn(i64) -> Vec<u8>) -> (usize, usize) {
        let content = BlockContent::Batches(TimestampType::CreateTime);
        let OpenBlock::Batches(mut block) = OpenBlock::new(content, 0, 1 << 20) else {
            unreachable!("it is for batches");
        };
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            ..BatchOptions::default()
        });
        for offset in 0.. {
            let value = value(offset);
            let record = Record {
                offset,
                timestamp: 1_763_800_000_000,
                control: false,
                key: None,
                value: Some(&value),
                headers: Headers::EMPTY,
            };
            let mut bytes = Vec::new();
            builder.push(&record).unwrap();
            builder.finish(offset, &mut bytes).unwrap();
            let batch = RecordBatch::parse(&bytes, 0).unwrap().check().unwrap();
            if block.try_push(&batch, 1 << 20).unwrap() == PushBatch::Full {
                return (offset as usize, block.builder.raw_length());
            }
        }
        unreachable!("a block is full some time")
    }

    /// Returns bytes of which this many are noise.
    fn value(noise: usize, length: usize) -> impl Fn(i64) -> Vec<u8> {
        move |seed| {
            let mut state = seed as u64 + 1;
            let mut step = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            };
            let noise = (0..noise).map(|_| step());
            noise.chain(std::iter::repeat(b'v')).take(length).collect()
        }
    }

    #[test]
    fn a_block_takes_about_as_many_records_as_one_of_columns() {
        // 16 KiB each, of which a quarter is left. A bound of 128 KiB each must not make it a block of 8 batches.
        let (batches, bytes) = fill(BatchCodec::Zstd, value(4 << 10, 16 << 10));
        assert!((30..=70).contains(&batches), "{batches}, {bytes} bytes");
        // What is known better is not estimated.
        let (batches, _) = fill(BatchCodec::Lz4, value(20 << 10, 60 << 10));
        assert!((15..=18).contains(&batches), "{batches}");
        let (batches, _) = fill(BatchCodec::None, value(0, 16 << 10));
        assert!((60..=66).contains(&batches), "{batches}");
        // What is dense is bounded by what it may decompress to.
        let (batches, bytes) = fill(BatchCodec::Zstd, value(0, 128 << 10));
        assert!((15..=34).contains(&batches), "{batches}, {bytes} bytes");
    }
}
