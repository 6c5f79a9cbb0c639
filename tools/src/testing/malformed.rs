//! A segment that was stored without decoding it, of which a faulty producer has written a batch.

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::repo::PartitionId;
use kbk_format::{
    BatchesBuilder, Compression, Encoder, FileHeader, GapReason, Headers, IsolationLevel,
    PushBatch, Record, SegmentAssembler, SegmentFeatures, SegmentSummary, TimestampType,
};

/// A batch of ten records in Zstandard. If it cannot be decompressed, its checksum matches nevertheless.
fn ten_records(base_offset: i64, is_good: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: BatchCodec::Zstd,
        ..BatchOptions::default()
    });
    for offset in base_offset..base_offset + 10 {
        let record = Record {
            offset,
            timestamp: 0,
            control: false,
            key: None,
            value: Some(b"value"),
            headers: Headers::EMPTY,
        };
        builder.push(&record).unwrap();
    }
    let mut batch = Vec::new();
    builder.finish(base_offset + 9, &mut batch).unwrap();
    if !is_good {
        // A frame of 20 bytes, whose only block has a malformed header of literals.
        batch.truncate(61);
        batch.extend([
            0x28, 0xb5, 0x2f, 0xfd, 0x20, 20, 0x1d, 0, 0, 0xff, 0xff, 0xff,
        ]);
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}

/// A segment of the offsets 0 to 40, in blocks of 30 and 10. Those from 10 to 20 are of a batch whose checksum matches, and that cannot be
/// decompressed.
pub(crate) fn segment(id: &PartitionId) -> (Vec<u8>, SegmentSummary) {
    let header = FileHeader {
        segment_id: [1; 16],
        topic_id: id.topic_id.0,
        topic: id.topic.to_string(),
        partition: id.partition,
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    };
    let features = SegmentFeatures {
        batches: true,
        not_computed: true,
        ..SegmentFeatures::default()
    };
    let mut segment = SegmentAssembler::with_features(Vec::new(), header, features).unwrap();
    let mut encoder = Encoder::new(Compression::None);
    for blocks in [&[(0, true), (10, false), (20, true)][..], &[(30, true)]] {
        let base_offset = blocks[0].0;
        let mut block = BatchesBuilder::not_computed(base_offset, TimestampType::CreateTime);
        for (base_offset, is_good) in blocks {
            let batch = ten_records(*base_offset, *is_good);
            let batch = RecordBatch::parse(&batch, 0).unwrap().check().unwrap();
            let pushed = block.try_push(&batch, usize::MAX).unwrap();
            assert_eq!(pushed, PushBatch::Pushed);
        }
        let renderer = segment.renderer().clone();
        segment
            .append(&block.encode(&renderer, &mut encoder))
            .unwrap();
    }
    segment.seal(GapReason::NotDelivered).unwrap()
}
