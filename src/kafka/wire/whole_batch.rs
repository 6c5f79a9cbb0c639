//! What becomes of a batch of a backup: it is written as it is, becomes part of a larger one, or is built anew from its records.
//!
//! A request takes one batch per partition, so small ones are slow whatever the network. Those that are not compressed merge for the price of
//! a copy. One that is compressed costs its compression again, many times what it takes to send it as it is, and so only the smallest merge.

use bytes::Bytes;
use kbk_format::FormatError;
use kbk_format::batch::{Adoption, BatchCodec, BatchMerger, Merge, MergeOptions, RecordBatch};

use crate::kafka::options::WholeBatches;

/// Batches that are not compressed merge if they have fewer bytes than this.
const SMALL_BYTES: usize = 128 << 10;
/// Compressed ones, if they have fewer than this, and what they decompress to is small as well.
const SMALL_COMPRESSED_BYTES: usize = 4 << 10;

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Only its header changes.
    AsItIs,
    /// Small ones of this codec become one.
    Merged(BatchCodec),
    /// Its records are written one by one.
    ByRecord,
}

impl WholeBatches {
    /// Decides about a batch.
    pub(super) fn treat(&self, batch: &RecordBatch<'_>) -> Treatment {
        let (header, bytes) = (batch.header(), batch.bytes().len());
        let codec = header.attributes.codec();
        let is_other = self.codec.is_some() && self.codec != codec;
        let Some(codec) = codec.filter(|_| !is_other) else {
            return Treatment::ByRecord;
        };
        let is_small = match codec {
            BatchCodec::None => bytes < SMALL_BYTES,
            // Of few bytes, but many records, as far as that is known without decompressing them, is a large one that compresses well.
            _ => {
                let decoded = batch.decoded_bound();
                bytes < SMALL_COMPRESSED_BYTES
                    && decoded.is_none_or(|bound| bound <= SMALL_BYTES as u64)
            }
        };
        if header.not_producible().is_some() || bytes > self.most_bytes {
            Treatment::ByRecord
        } else if is_small {
            Treatment::Merged(codec)
        } else {
            Treatment::AsItIs
        }
    }
}

/// Small batches of one target that become one. A single one stays as it is.
pub(super) struct SmallBatches {
    /// The first one, as long as there is no other.
    single: Bytes,
    count: usize,
    merger: BatchMerger,
    most_bytes: usize,
}

impl SmallBatches {
    /// Begins a batch of at most `most_bytes`, before compression.
    pub(super) fn new(codec: BatchCodec, most_bytes: usize) -> SmallBatches {
        SmallBatches {
            single: Bytes::new(),
            count: 0,
            merger: BatchMerger::new(MergeOptions {
                codec,
                batch_bytes: most_bytes,
                // Offsets without a record, such as those of markers, have no place in the target.
                close_gaps: true,
            }),
            most_bytes,
        }
    }

    /// Returns the bytes of what there is so far, not compressed unless it is a single one.
    pub(super) fn bytes(&self) -> usize {
        match self.count {
            1 => self.single.len(),
            _ => self.merger.raw_length(),
        }
    }

    /// Adds a batch, or returns `false` where it has to begin the next one.
    ///
    /// # Errors
    ///
    /// Where one of them is malformed.
    pub(super) fn push(&mut self, batch: &RecordBatch<'_>) -> Result<bool, FormatError> {
        if self.count == 0 {
            self.single = Bytes::copy_from_slice(batch.bytes());
            self.count = 1;
            return Ok(true);
        }
        if self.bytes().saturating_add(batch.bytes().len()) > self.most_bytes {
            return Ok(false);
        }
        if self.count == 1 && self.merger.record_count() == 0 {
            let single = RecordBatch::parse(&self.single, 0)?;
            if self.merger.push(&single)? != Merge::Merged {
                return Ok(false);
            }
        }
        if self.merger.push(batch)? != Merge::Merged {
            return Ok(false);
        }
        self.single = Bytes::new();
        self.count += 1;
        Ok(true)
    }

    /// Returns the batch, empty where there is none, and begins the next one.
    ///
    /// # Errors
    ///
    /// If it cannot be compressed.
    pub(super) fn finish(&mut self) -> Result<Bytes, FormatError> {
        let (count, single) = (
            std::mem::take(&mut self.count),
            std::mem::take(&mut self.single),
        );
        if count <= 1 {
            self.merger.clear();
            return Ok(single);
        }
        let mut merged = Vec::new();
        self.merger.finish(&Adoption::default(), &mut merged)?;
        // A compressor reserves for the worst case.
        merged.shrink_to_fit();
        Ok(Bytes::from(merged))
    }
}
