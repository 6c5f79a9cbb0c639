//! A block of a backup, of records or of Kafka's own batches: while it is filled, and once it is encoded.

use kbk_format::batch::RecordBatch;
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

/// Batches of records that all have this timestamp type.
pub(super) struct OpenBatches {
    builder: BatchesBuilder,
    timestamp_type: TimestampType,
    records: u64,
}

impl OpenBatches {
    /// Copies a batch into the block, as [`BatchesBuilder::try_push`] does, which decompresses it only if it has to. The block is also full once
    /// its records have `block_bytes`: whoever reads it needs as much memory as for a block of records.
    pub(super) fn try_push(
        &mut self,
        batch: &RecordBatch<'_>,
        block_bytes: usize,
    ) -> Result<PushBatch, FormatError> {
        if self.builder.decoded_bytes() >= block_bytes {
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
