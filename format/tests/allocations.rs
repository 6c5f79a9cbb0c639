//! A million records are encoded and decoded in buffers that are reused: at most ten allocations in all.
//!
//! A test binary of its own, since the counting allocator serves the whole process.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::io;

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::{
    BatchesBuilder, BlockBuilder, BlockDecoder, Columns, Compression, Encoder, GapReason, Header,
    Headers, Push, PushBatch, Record, Segment, SegmentAssembler, SegmentFeatures, Streams,
    TimestampType,
};

#[path = "../../tests/support/counting.rs"]
mod counting;
mod header;

use counting::allocations;
use header::header;

const RECORDS: i64 = 1_000_000;
/// Records until every buffer has its final size: a few blocks of the largest size.
const WARM_UP: i64 = 40_000;
const BLOCK_BYTES: usize = 1 << 20;
const MAX_ALLOCATIONS: u64 = 10;

/// Passes record number `offset` to `take`: keys, values and timestamps of varying length, in `buffer`.
fn with_record<T>(offset: i64, buffer: &mut [u8; 150], take: impl FnOnce(&Record<'_>) -> T) -> T {
    let n = offset as u64;
    for (i, byte) in buffer.iter_mut().enumerate() {
        *byte = (n >> (i % 7)) as u8 & 0x3f | 0x40;
    }
    let headers = [
        Header {
            name: b"source",
            value: Some(b"test"),
        },
        Header {
            name: b"empty",
            value: None,
        },
    ];
    take(&Record {
        offset,
        timestamp: 1_763_800_000_000 + (offset * 7919) % 1000,
        control: false,
        key: (!n.is_multiple_of(16)).then(|| &buffer[..n as usize % 16]),
        value: (!n.is_multiple_of(64)).then(|| &buffer[..100 + n as usize % 50]),
        headers: if n.is_multiple_of(4) {
            Headers::Slice(&headers)
        } else {
            Headers::EMPTY
        },
    })
}

/// Counts the allocations of encoding [`RECORDS`] records after a warm-up.
fn encode<W: io::Write>(compression: Compression, out: W) -> (u64, W) {
    let mut assembler = SegmentAssembler::new(out, header(7, 0)).unwrap();
    let mut encoder = Encoder::new(compression);
    let mut builder = BlockBuilder::new(0);
    let mut buffer = [0; 150];
    let mut before = 0;
    for offset in 0..WARM_UP + RECORDS {
        if offset == WARM_UP {
            before = allocations();
        }
        let mut push = |builder: &mut BlockBuilder| {
            let push = |record: &Record<'_>| builder.try_push(record, BLOCK_BYTES);
            with_record(offset, &mut buffer, push).unwrap()
        };
        if push(&mut builder) == Push::Full {
            let block = builder.encode(
                TimestampType::CreateTime,
                assembler.renderer(),
                &mut encoder,
            );
            assembler.append(&block).unwrap();
            builder = block.recycle(offset);
            assert_eq!(push(&mut builder), Push::Pushed);
        }
    }
    let allocated = allocations() - before;
    assembler
        .append(&builder.encode(
            TimestampType::CreateTime,
            assembler.renderer(),
            &mut encoder,
        ))
        .unwrap();
    (
        allocated,
        assembler.seal(GapReason::NotDelivered).unwrap().0,
    )
}

/// Counts the allocations of decoding a segment a second time.
fn decode(bytes: &[u8]) -> u64 {
    let segment = Segment::open_whole(bytes).unwrap();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut decode_all = || {
        let blocks = 0..segment.index().entries().len();
        let first = segment.file_header_length() as usize;
        let (mut records, mut headers) = (0, 0);
        for block in segment.blocks(blocks, &bytes[first..]) {
            block
                .unwrap()
                .decode(&mut decoder, Streams::All, &mut columns)
                .unwrap();
            for record in columns.iter() {
                records += 1;
                headers += record.headers.count();
            }
        }
        assert_eq!(
            (records, headers as i64),
            (WARM_UP + RECORDS, (WARM_UP + RECORDS) / 2)
        );
    };
    decode_all();
    let before = allocations();
    decode_all();
    allocations() - before
}

/// Counts the allocations of storing as many records as batches of about 16 KiB, decoded or not.
fn store_batches<W: io::Write>((codec, computed): (BatchCodec, bool), out: W) -> (u64, W) {
    let features = SegmentFeatures {
        batches: true,
        not_computed: !computed,
        ..SegmentFeatures::default()
    };
    let mut assembler = SegmentAssembler::with_features(out, header(7, 0), features).unwrap();
    let mut encoder = Encoder::new(Compression::None);
    let mut block = match computed {
        true => BatchesBuilder::new(0, TimestampType::CreateTime),
        false => BatchesBuilder::computed_where_cheap(0, TimestampType::CreateTime),
    };
    let mut batches = BatchBuilder::new(BatchOptions {
        codec,
        ..BatchOptions::default()
    });
    let (mut buffer, mut batch, mut counted) = ([0; 150], Vec::new(), 0);
    for offset in 0..WARM_UP + RECORDS {
        with_record(offset, &mut buffer, |record| batches.push(record)).unwrap();
        if batches.raw_length() < 16 << 10 && offset + 1 < WARM_UP + RECORDS {
            continue;
        }
        batch.clear();
        batches.finish(offset, &mut batch).unwrap();
        // Only what stores the batch is counted, and not what made it.
        let before = allocations();
        let lent = RecordBatch::parse(&batch, 0).unwrap().check().unwrap();
        while block.try_push(&lent, BLOCK_BYTES).unwrap() == PushBatch::Full {
            let encoded = block.encode(assembler.renderer(), &mut encoder);
            assembler.append(&encoded).unwrap();
            block = encoded.recycle(assembler.end_offset());
        }
        if offset >= WARM_UP {
            counted += allocations() - before;
        }
    }
    let encoded = block.encode(assembler.renderer(), &mut encoder);
    assembler.append(&encoded).unwrap();
    (counted, assembler.seal(GapReason::NotDelivered).unwrap().0)
}

#[test]
fn a_million_records_in_batches_need_at_most_ten_allocations() {
    for (codec, computed) in [
        (BatchCodec::None, true),
        (BatchCodec::Lz4, true),
        (BatchCodec::Zstd, true),
        (BatchCodec::Snappy, false),
        (BatchCodec::Lz4, false),
        (BatchCodec::Zstd, false),
    ] {
        let (allocations, _) = store_batches((codec, computed), io::sink());
        assert!(
            allocations <= MAX_ALLOCATIONS,
            "storing {codec:?}, computed: {computed}: {allocations} allocations"
        );
        let (_, bytes) = store_batches((codec, computed), Vec::new());
        let allocations = decode(&bytes);
        assert!(
            allocations <= MAX_ALLOCATIONS,
            "decoding {codec:?}: {allocations} allocations"
        );
    }
}

#[test]
fn a_million_records_need_at_most_ten_allocations() {
    for compression in [Compression::Zstd(1), Compression::Lz4, Compression::None] {
        let (allocations, _) = encode(compression, io::sink());
        assert!(
            allocations <= MAX_ALLOCATIONS,
            "encoding with {compression}: {allocations} allocations"
        );
        let (_, bytes) = encode(compression, Vec::new());
        let allocations = decode(&bytes);
        assert!(
            allocations <= MAX_ALLOCATIONS,
            "decoding with {compression}: {allocations} allocations"
        );
    }
}
