//! Segments of Kafka's own batches, as a producer with `compression.type=zstd` and batches of 64 KiB makes them.

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatches};
use kbk_format::{
    BatchesBuilder, Compression, Encoder, FileHeader, GapReason, KeyFilterBits, PushBatch,
    SegmentAssembler, SegmentFeatures, WriterOptions,
};

use super::samples::{Row, header};

const BATCH_BYTES: usize = 64 << 10;
/// Batches of at least this much are encoded before they are stored.
const PENDING_BYTES: usize = 4 << 20;

/// Returns a segment of records from this offset on, whose numbers are computed.
pub(super) fn batches(
    base_offset: i64,
    rows: &[Row],
    key_filter: Option<KeyFilterBits>,
) -> Vec<u8> {
    let mut segment = Batches::new(base_offset, key_filter);
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: BatchCodec::Zstd,
        ..BatchOptions::default()
    });
    let mut pending = Vec::new();
    for (offset, row) in (base_offset..).zip(rows) {
        row.with(offset, |record| builder.push(record))
            .expect("records in order");
        if builder.raw_length() >= BATCH_BYTES {
            builder.finish(offset, &mut pending).expect("a batch");
        }
        if pending.len() >= PENDING_BYTES {
            segment.store(&pending);
            pending.clear();
        }
    }
    let end_offset = base_offset + rows.len() as i64;
    builder
        .finish(end_offset - 1, &mut pending)
        .expect("a batch");
    segment.store(&pending);
    segment.seal()
}

/// A segment that is being written.
struct Batches {
    assembler: SegmentAssembler<Vec<u8>>,
    encoder: Encoder,
    block: BatchesBuilder,
}

impl Batches {
    fn new(base_offset: i64, key_filter: Option<KeyFilterBits>) -> Batches {
        let header = FileHeader {
            base_offset,
            ..header()
        };
        let timestamp_type = header.timestamp_type;
        let features = SegmentFeatures {
            key_filter,
            batches: true,
            not_computed: false,
        };
        let assembler = SegmentAssembler::with_features(Vec::new(), header, features);
        Batches {
            assembler: assembler.expect("a header"),
            encoder: Encoder::new(Compression::None),
            block: BatchesBuilder::new(base_offset, timestamp_type),
        }
    }

    /// Appends these batches.
    fn store(&mut self, batches: &[u8]) {
        for batch in RecordBatches::new(batches, 0) {
            let batch = batch.and_then(|batch| batch.check()).expect("a batch");
            // Runs at most twice: an empty block is never full.
            loop {
                let pushed = self
                    .block
                    .try_push(&batch, WriterOptions::DEFAULT_BLOCK_BYTES);
                match pushed.expect("a batch") {
                    PushBatch::Full => self.end_block(),
                    PushBatch::Pushed => break,
                    PushBatch::Cannot(reason) => panic!("{reason}"),
                }
            }
        }
    }

    fn end_block(&mut self) {
        let renderer = self.assembler.renderer().clone();
        let timestamp_type = header().timestamp_type;
        let next = BatchesBuilder::new(self.block.end_offset(), timestamp_type);
        let block = std::mem::replace(&mut self.block, next).encode(&renderer, &mut self.encoder);
        self.assembler.append(&block).expect("in memory");
    }

    fn seal(mut self) -> Vec<u8> {
        self.end_block();
        let sealed = self.assembler.seal(GapReason::NotDelivered);
        sealed.expect("a segment").0
    }
}
