//! Speed of the segment format: `encode`, `decode` and `verify` by codec and payload, in raw bytes per second, and
//! `render` in bytes of text per second.
//!
//! Run `cargo bench -p kbk-format --bench format`, optionally with a filter such as `-- decode/zstd1`. `encode/none` shows
//! the cost of everything but compression; `floor-crc32c` is the floor that `verify` is compared with.

use std::hint::black_box;
use std::io;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kbk_format::{
    BlockBuilder, BlockDecoder, Columns, Compression, Encoder, GapReason, Push, Segment,
    SegmentAssembler, Streams, TimestampType, WriterOptions, render::View, verify,
};

mod samples;
use samples::{Payload, Row, header, rows};

const CODECS: [(&str, Compression); 4] = [
    ("none", Compression::None),
    ("lz4", Compression::Lz4),
    ("zstd1", Compression::Zstd(1)),
    ("zstd3", Compression::Zstd(3)),
];
/// 32 MiB of raw bytes each: larger than the CPU caches, like a topic.
const SAMPLES: [(&str, Payload, usize); 3] = [
    ("json", Payload::Json, 32 << 10),
    ("commits", Payload::Commits, 88 << 10),
    ("telemetry", Payload::Telemetry, 600 << 10),
];

/// Writes all rows as one segment through reused buffers, as a backup does.
fn encode<W: io::Write>(rows: &[Row], encoder: &mut Encoder, out: W) -> W {
    let mut assembler = SegmentAssembler::new(out, header()).expect("a header");
    let mut builder = BlockBuilder::new(0);
    for (offset, row) in rows.iter().enumerate() {
        let offset = offset as i64;
        let push = |builder: &mut BlockBuilder| {
            row.with(offset, |record| {
                builder.try_push(record, WriterOptions::DEFAULT_BLOCK_BYTES)
            })
            .expect("records in order")
        };
        if push(&mut builder) == Push::Full {
            let block = builder.encode(TimestampType::CreateTime, assembler.renderer(), encoder);
            assembler.append(&block).expect("an endless sink");
            builder = block.recycle(offset);
            let _ = push(&mut builder);
        }
    }
    assembler
        .append(&builder.encode(TimestampType::CreateTime, assembler.renderer(), encoder))
        .expect("an endless sink");
    assembler
        .seal(GapReason::NotDelivered)
        .expect("an endless sink")
        .0
}

fn decode(
    segment: &Segment,
    bytes: &[u8],
    streams: Streams,
    decoder: &mut BlockDecoder,
    columns: &mut Columns,
) {
    let blocks = 0..segment.index().entries().len();
    let first = segment.file_header_length() as usize;
    for block in segment.blocks(blocks, &bytes[first..]) {
        block
            .and_then(|block| block.decode(decoder, streams, columns))
            .expect("an intact block");
        black_box(columns.len());
    }
}

fn benches(c: &mut Criterion) {
    for (sample, payload, count) in SAMPLES {
        let rows = rows(payload, count);
        let raw: u64 = rows.iter().map(Row::bytes).sum();
        for (codec, compression) in CODECS {
            let id = |group: &str| BenchmarkId::new(format!("{group}/{codec}"), sample);
            let mut encoder = Encoder::new(compression);
            let segment_bytes = encode(&rows, &mut encoder, Vec::new());
            let segment = Segment::open_whole(&segment_bytes).expect("a segment");
            let mut group = c.benchmark_group("format");
            group.throughput(Throughput::Bytes(raw)).sample_size(10);
            group.bench_function(id("encode"), |b| {
                b.iter(|| encode(&rows, &mut encoder, io::sink()))
            });
            let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
            for (name, streams) in [("decode", Streams::All), ("decode-meta", Streams::Meta)] {
                group.bench_function(id(name), |b| {
                    b.iter(|| {
                        decode(
                            &segment,
                            &segment_bytes,
                            streams,
                            &mut decoder,
                            &mut columns,
                        )
                    });
                });
            }
            // Counted in stored bytes, since verifying decompresses nothing.
            group.throughput(Throughput::Bytes(segment_bytes.len() as u64));
            group.bench_function(id("verify"), |b| {
                b.iter(|| verify::verify_whole(&segment_bytes, false))
            });
            group.bench_function(id("floor-crc32c"), |b| {
                b.iter(|| crc32c::crc32c(black_box(&segment_bytes)))
            });
            group.finish();
        }
    }
}

/// Measures rendering of decoded blocks, in bytes of text.
fn renderings(c: &mut Criterion) {
    for (sample, payload, count) in SAMPLES {
        let rows = rows(payload, count);
        let bytes = encode(&rows, &mut Encoder::new(Compression::None), Vec::new());
        let segment = Segment::open_whole(&bytes).expect("a segment");
        let first = segment.file_header_length() as usize;
        let mut decoder = BlockDecoder::new();
        let blocks: Vec<Columns> = segment
            .blocks(0..segment.index().entries().len(), &bytes[first..])
            .map(|block| {
                let mut columns = Columns::new();
                let block = block.expect("an intact block");
                block
                    .decode(&mut decoder, Streams::All, &mut columns)
                    .expect("an intact block");
                columns
            })
            .collect();
        let mut text = Vec::new();
        let renderer = segment.renderer();
        let mut group = c.benchmark_group("format");
        let length: u64 = blocks.iter().map(|block| renderer.sizes(block)[0]).sum();
        group.throughput(Throughput::Bytes(length)).sample_size(10);
        group.bench_function(BenchmarkId::new("render/records", sample), |b| {
            b.iter(|| {
                for block in &blocks {
                    text.clear();
                    for record in block.iter() {
                        renderer.render(View::Records, &record, &mut text);
                    }
                    black_box(text.len());
                }
            });
        });
        group.finish();
    }
}

criterion_group!(format, benches, renderings);
criterion_main!(format);
