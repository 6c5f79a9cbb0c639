//! What changes in memory after it was checked, and what stays in memory.

use super::*;
use crate::assembler::{SegmentAssembler, SegmentFeatures};
use crate::batch::{BatchBuilder, BatchOptions};
use crate::codec::Compression;
use crate::header::FileHeader;
use crate::layout::record_batch as at;
use crate::record::{Headers, IsolationLevel};
use crate::{GapReason, PartitionNumber, verify};

fn batch(codec: BatchCodec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec,
        ..BatchOptions::default()
    });
    for offset in 0..20 {
        let record = Record {
            offset,
            timestamp: 1_763_800_000_000,
            control: false,
            key: None,
            value: Some(b"a value of which a bit will flip"),
            headers: Headers::EMPTY,
        };
        builder.push(&record).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(19, &mut bytes).unwrap();
    bytes
}

/// Stores a block of one batch as a segment, of which a byte changes in memory once it is in the block.
fn segment(codec: BatchCodec, compression: Compression, flipped: Option<usize>) -> Vec<u8> {
    let timestamp_type = TimestampType::CreateTime;
    let bytes = batch(codec);
    let mut block = BatchesBuilder::computed_where_cheap(0, timestamp_type);
    let batch = RecordBatch::parse(&bytes, 0).unwrap().check().unwrap();
    assert_eq!(block.try_push(&batch, 1 << 20).unwrap(), PushBatch::Pushed);
    if let Some(at) = flipped {
        block.raw[at] ^= 0x10;
    }
    let renderer = Renderer::new("orders", PartitionNumber::ZERO);
    let block = block.encode(&renderer, &mut Encoder::new(compression));
    let header = FileHeader {
        segment_id: [7; 16],
        topic_id: [2; 16],
        topic: "orders".to_owned(),
        partition: PartitionNumber::ZERO,
        timestamp_type,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    };
    let features = SegmentFeatures {
        batches: true,
        not_computed: block.statistics().computed.is_none(),
        ..SegmentFeatures::default()
    };
    let mut assembler = SegmentAssembler::with_features(Vec::new(), header, features).unwrap();
    assembler.append(&block).unwrap();
    let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
    bytes
}

#[test]
fn a_bit_that_flips_after_a_batch_was_checked_is_found_by_readers() {
    for (codec, compression) in [
        (BatchCodec::None, Compression::None),
        (BatchCodec::None, Compression::Zstd(1)),
        (BatchCodec::Zstd, Compression::None),
        (BatchCodec::Gzip, Compression::None),
    ] {
        verify::verify_whole(&segment(codec, compression, None), true).unwrap();
        // What Kafka's checksum covers, and what it does not: base offset, length, leader epoch, magic.
        for at in 0..batch(codec).len() {
            let read = verify::verify_whole(&segment(codec, compression, Some(at)), true);
            let is_covered = compression == Compression::None || at >= at::CRC;
            assert!(
                read.is_err() || !is_covered,
                "{codec:?} {compression}: byte {at}"
            );
        }
    }
}

/// Builders are pooled, and most of what they see is small: a giant batch is no reason to keep memory for giants.
#[test]
fn a_builder_keeps_nothing_of_a_giant_batch() {
    let value = vec![b'x'; 12 << 20];
    for codec in [BatchCodec::Gzip, BatchCodec::Lz4, BatchCodec::Zstd] {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            ..BatchOptions::default()
        });
        let record = Record {
            offset: 0,
            timestamp: 1_763_800_000_000,
            control: false,
            key: None,
            value: Some(&value),
            headers: Headers::EMPTY,
        };
        builder.push(&record).unwrap();
        let mut bytes = Vec::new();
        builder.finish(0, &mut bytes).unwrap();
        let batch = RecordBatch::parse(&bytes, 0).unwrap().check().unwrap();
        let mut block = BatchesBuilder::computed_where_cheap(0, TimestampType::CreateTime);
        assert_eq!(block.try_push(&batch, 1 << 20).unwrap(), PushBatch::Pushed);
        // Only a batch whose frames bound nothing has its records in columns.
        let is_decoded = block.columns.payload_bytes() > 0;
        assert_eq!(is_decoded, codec == BatchCodec::Gzip);
        block.restart(1);
        let kept = block.columns.buffer_bytes() + block.decoder.capacity();
        assert!(kept <= UNREAD_BYTES, "{codec:?}: {kept} bytes");
    }
}
