//! Speed of what a restore does with Kafka's record batches that are stored as they were: `batch/adopt` gives one another producer, `batch/crc`
//! is the pass over its bytes that this saves, and `batch/combine` the checksum of many; `batch/merge` makes one of those that are small.
//!
//! Run `cargo bench -p kbk-format --bench batches`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kbk_format::batch::{
    Adoption, BatchBuilder, BatchCodec, BatchMerger, BatchOptions, BatchesCrc, HEADER_LENGTH,
    Merge, MergeOptions, Producer, RecordBatch, RecordBatches,
};

#[expect(dead_code, reason = "shared with benches that need more of it")]
mod samples;
use samples::{Payload, rows};

/// About 32 MiB of batches of about `batch_bytes`.
fn log(batch_bytes: usize) -> Vec<u8> {
    let mut log = Vec::new();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (offset, row) in (0_i64..).zip(rows(Payload::Json, 32 << 10)) {
        row.with(offset, |record| builder.push(record))
            .expect("records in order");
        if builder.raw_length() >= batch_bytes {
            builder
                .finish(offset, &mut log)
                .expect("an uncompressed batch");
        }
    }
    builder.finish(-1, &mut log).expect("an uncompressed batch");
    log
}

fn benches(c: &mut Criterion) {
    for (name, batch_bytes) in [("16k", 16 << 10), ("1m", 1 << 20)] {
        let log = log(batch_bytes);
        let batches: Vec<RecordBatch<'_>> = RecordBatches::new(&log, 0)
            .collect::<Result<_, _>>()
            .expect("batches that were just written");
        let id = |group: &str| BenchmarkId::new(group, name);
        let mut group = c.benchmark_group("batch");
        group
            .throughput(Throughput::Bytes(log.len() as u64))
            .sample_size(20);
        group.bench_function(id("crc"), |b| {
            b.iter(|| batches.iter().filter(|it| it.check_crc().is_ok()).count());
        });
        let adoption = Adoption {
            producer: Some(Producer {
                id: 7,
                epoch: 1,
                base_sequence: 12,
            }),
            transactional: Some(true),
            ..Adoption::default()
        };
        let mut header = [0; HEADER_LENGTH];
        group.bench_function(id("adopt"), |b| {
            b.iter(|| {
                for batch in &batches {
                    header.copy_from_slice(&batch.bytes()[..HEADER_LENGTH]);
                    adoption.apply(&mut header, 0).expect("a batch");
                    black_box(&header);
                }
            });
        });
        group.bench_function(id("combine"), |b| {
            b.iter(|| {
                let mut crc = BatchesCrc::new();
                batches.iter().for_each(|batch| crc.push(batch));
                crc.get()
            });
        });
        let options = MergeOptions {
            codec: BatchCodec::None,
            batch_bytes: 4 << 20,
            close_gaps: true,
        };
        let (mut merger, mut out) = (BatchMerger::new(options), Vec::new());
        group.bench_function(id("merge"), |b| {
            b.iter(|| {
                for batch in &batches {
                    if merger.push(batch) == Ok(Merge::Full) {
                        out.clear();
                        merger.finish(&adoption, &mut out).expect("a batch");
                        let _ = merger.push(batch);
                    }
                }
                out.clear();
                merger.finish(&adoption, &mut out)
            });
        });
        group.finish();
    }
}

criterion_group!(batches, benches);
criterion_main!(batches);
