//! Batches of a backup: each record once and in order, whether they go as they are, merge, or are built anew; and a bit that flips on the way.

use std::collections::BTreeMap;

use bytes::Bytes;
use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::record::{Headers, Record, TimestampType};
use tokio::runtime::Runtime;

use super::log::{Cluster, Fault, Faults};
use super::producing::{draw, sink, small};
use super::support::{PRODUCE, TOPIC};
use crate::kafka::wire::WireSink;
use crate::kafka::wire::whole_batch::Treatment;
use crate::kafka::{KafkaError, SinkOptions, WholeBatches};

/// A record with the time that all have, as batches with times of a broker need.
fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        offset,
        timestamp: 0,
        control: false,
        key: None,
        value: Some(value),
        headers: Headers::EMPTY,
    }
}

/// Builds a batch of values at these offsets.
fn batch(options: BatchOptions, records: &[(i64, Vec<u8>)]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (offset, value) in records {
        builder.push(&record(*offset, value)).unwrap();
    }
    let mut out = Vec::new();
    builder.finish(0, &mut out).unwrap();
    Bytes::from(out)
}

fn rules(codec: Option<BatchCodec>, most_bytes: usize) -> BTreeMap<String, WholeBatches> {
    BTreeMap::from([(TOPIC.to_owned(), WholeBatches { codec, most_bytes })])
}

fn plain(records: &[(i64, Vec<u8>)]) -> Bytes {
    batch(BatchOptions::default(), records)
}

/// Sends a batch, by record where it is not taken; returns whether it was.
fn send(sink: &mut WireSink, bytes: &Bytes, records: &[(i64, Vec<u8>)]) -> bool {
    let batch = RecordBatch::parse(bytes, 0).unwrap();
    let taken = sink.send_batch(0, &batch, || bytes.clone()).unwrap();
    if !taken {
        for (offset, value) in records {
            let codec = batch.header().attributes.codec();
            sink.send_as(0, &record(*offset, value), codec).unwrap();
        }
    }
    taken
}

#[test]
fn few_bytes_of_many_records_are_no_small_batch() {
    let rules = WholeBatches {
        codec: None,
        most_bytes: 1 << 20,
    };
    let treated = |codec, records: i64| {
        let options = BatchOptions {
            codec,
            ..BatchOptions::default()
        };
        let records: Vec<_> = (0..records).map(|at| (at, vec![b'x'; 1_000])).collect();
        let bytes = batch(options, &records);
        rules.treat(&RecordBatch::parse(&bytes, 0).unwrap())
    };
    for codec in [BatchCodec::Lz4, BatchCodec::Zstd] {
        assert_eq!(treated(codec, 10), Treatment::Merged(codec));
        assert_eq!(treated(codec, 400), Treatment::AsItIs, "{codec:?}");
    }
    let plain = BatchCodec::None;
    assert_eq!(treated(plain, 100), Treatment::Merged(plain));
    assert_eq!(treated(plain, 400), Treatment::AsItIs);
}

/// Fails unless the log has these records, in order, at the offsets that were reported; returns the records of each batch.
fn check(cluster: &Cluster, sink: &mut WireSink, sent: &[(i64, Vec<u8>)]) -> Vec<usize> {
    let log = cluster.log.lock().unwrap();
    assert_eq!(log.rejected, Vec::<String>::new());
    let batches = &log.partitions[&0];
    let values: Vec<&Vec<u8>> = batches.iter().flat_map(|it| &it.values).collect();
    let expected: Vec<&Vec<u8>> = sent.iter().map(|(_, value)| value).collect();
    assert!(values == expected, "{} of {}", values.len(), sent.len());
    let mut at = 0;
    for run in sink.take_delivered(0) {
        for record in 0..i64::try_from(run.records).unwrap() {
            assert_eq!(run.source_offset + record, sent[at].0);
            assert_eq!(run.target_offset + record, i64::try_from(at).unwrap());
            at += 1;
        }
    }
    assert_eq!(at, sent.len());
    batches.iter().map(|it| it.values.len()).collect()
}

fn random_faults(seed: u64) -> Faults {
    Box::new(move |api, number| {
        if api != PRODUCE {
            return Fault::None;
        }
        match draw(seed, number as u64) % 20 {
            0 => Fault::LostBefore,
            1 => Fault::LostAfter,
            2 => Fault::Error(6),
            3 => Fault::ErrorAfter(20),
            4 => Fault::Moved,
            _ => Fault::None,
        }
    })
}

#[test]
fn each_record_of_any_batches_arrives_once_and_in_order_whatever_fails() {
    let codecs = [BatchCodec::None, BatchCodec::Lz4, BatchCodec::Zstd];
    for seed in 0..30 {
        let runtime = Runtime::new().unwrap();
        let cluster = runtime.block_on(Cluster::start(3, random_faults(seed)));
        let asked = (seed % 3 == 0).then_some(BatchCodec::Lz4);
        let options = SinkOptions {
            batch_bytes: 3_000,
            // Less than a record of the largest, in every other run.
            queue_bytes: [60_000, 5_000][usize::try_from(seed % 2).unwrap()],
            whole_batches: rules(asked, 40_000),
            ..SinkOptions::default()
        };
        let mut sink = sink(&cluster, options).unwrap();
        let (mut sent, mut offset) = (Vec::new(), 0);
        for step in 0..60 {
            let draw = |what| draw(seed, step * 10 + what);
            // Offsets with gaps between batches, and sometimes inside.
            offset += i64::try_from(draw(0) % 3).unwrap();
            let step_by = 1 + i64::from(draw(1) % 7 == 0);
            let bytes = [10, 300, 7_000][usize::try_from(draw(2) % 3).unwrap()];
            let records: Vec<(i64, Vec<u8>)> = (0..1 + draw(3) % 8)
                .map(|number| {
                    let bytes = (0..bytes).map(|at| draw(4 + number * 100 + at) as u8);
                    let record = (offset, bytes.collect());
                    offset += step_by;
                    record
                })
                .collect();
            let codec = codecs[usize::try_from(draw(5) % 3).unwrap()];
            let timestamp_type = match draw(6) % 5 {
                0 => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            };
            let options = BatchOptions {
                codec,
                timestamp_type,
                ..BatchOptions::default()
            };
            send(&mut sink, &batch(options, &records), &records);
            sent.extend(records);
        }
        sink.flush().unwrap();
        check(&cluster, &mut sink, &sent);
    }
}

#[test]
fn small_batches_merge_and_a_single_one_and_large_ones_stay() {
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start(3, Box::new(|_, _| Fault::None)));
    let options = SinkOptions {
        whole_batches: rules(None, 1_000_000),
        ..SinkOptions::default()
    };
    let mut sink = sink(&cluster, options).unwrap();
    let (mut sent, mut offset) = (Vec::new(), 0);
    let mut send_some = |sink: &mut WireSink, count: i64, bytes: usize| {
        let records: Vec<_> = (offset..offset + count)
            .map(|offset| (offset, vec![b'v'; bytes]))
            .collect();
        // A marker between any two.
        offset += count + 1;
        assert!(send(sink, &plain(&records), &records));
        sent.extend(records);
    };
    for _ in 0..50 {
        send_some(&mut sink, 2, 100);
    }
    send_some(&mut sink, 3, 200_000);
    send_some(&mut sink, 4, 100);
    send_some(&mut sink, 5, 190_000);
    for _ in 0..20 {
        send_some(&mut sink, 1, 100_000);
    }
    sink.flush().unwrap();
    let counts = check(&cluster, &mut sink, &sent);
    assert_eq!(counts, [100, 3, 4, 5, 9, 9, 2]);
}

#[test]
fn what_has_to_change_is_not_taken() {
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start(3, Box::new(|_, _| Fault::None)));
    let records: Vec<_> = (0..3).map(|offset| (offset, vec![b'v'; 50_000])).collect();
    let lz4 = BatchOptions {
        codec: BatchCodec::Lz4,
        ..BatchOptions::default()
    };
    let append_time = BatchOptions {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchOptions::default()
    };
    let gaps: Vec<_> = records
        .iter()
        .map(|(offset, value)| (offset * 2, value.clone()))
        .collect();
    for (rules, bytes, is_taken) in [
        (rules(None, 1_000_000), plain(&records), true),
        (rules(None, 150_000), plain(&records), false),
        (BTreeMap::new(), plain(&records), false),
        (rules(None, 1_000_000), batch(lz4, &records), true),
        (
            rules(Some(BatchCodec::Zstd), 1_000_000),
            batch(lz4, &records),
            false,
        ),
        (
            rules(Some(BatchCodec::Lz4), 1_000_000),
            batch(lz4, &records),
            true,
        ),
        (rules(None, 1_000_000), batch(append_time, &records), false),
        (rules(None, 1_000_000), plain(&gaps), false),
    ] {
        let options = SinkOptions {
            whole_batches: rules.clone(),
            ..SinkOptions::default()
        };
        let mut sink = sink(&cluster, options).unwrap();
        let batch = RecordBatch::parse(&bytes, 0).unwrap();
        let taken = sink.send_batch(0, &batch, || bytes.clone()).unwrap();
        assert_eq!(taken, is_taken, "{rules:?}");
    }
}

#[test]
fn a_bit_that_flips_after_the_batch_was_checked_is_refused_by_the_broker() {
    let runtime = Runtime::new().unwrap();
    let records = vec![(7, vec![b'v'; 200_000])];
    let intact = plain(&records);
    for bit in [0_usize, 500_000, 1_400_000] {
        let cluster = runtime.block_on(Cluster::start(3, Box::new(|_, _| Fault::None)));
        let options = SinkOptions {
            whole_batches: rules(None, 1_000_000),
            ..small()
        };
        let mut sink = sink(&cluster, options).unwrap();
        let batch = RecordBatch::parse(&intact, 0).unwrap();
        let mut flipped = intact.to_vec();
        flipped[100 + bit / 8] ^= 1 << (bit % 8);
        let flipped = Bytes::from(flipped);
        let failed = match sink.send_batch(0, &batch, || flipped.clone()) {
            Ok(taken) => {
                assert!(taken);
                sink.flush()
            }
            Err(error) => Err(error),
        };
        let error = failed.unwrap_err();
        assert!(
            matches!(&error, KafkaError::Delivery { source_offset: 7, cause, .. } if cause.contains("CORRUPT_MESSAGE")),
            "{error}"
        );
        assert_eq!(cluster.log.lock().unwrap().partitions.len(), 0);
    }
    // And one that flips before it is merged, by the merger.
    let cluster = runtime.block_on(Cluster::start(3, Box::new(|_, _| Fault::None)));
    let options = SinkOptions {
        whole_batches: rules(None, 1_000_000),
        ..SinkOptions::default()
    };
    let mut sink = sink(&cluster, options).unwrap();
    let small = plain(&[(7, b"value".to_vec())]);
    let mut flipped = small.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = RecordBatch::parse(&flipped, 0).unwrap();
    let intact = RecordBatch::parse(&small, 0).unwrap();
    assert!(sink.send_batch(0, &intact, || small.clone()).unwrap());
    let error = sink.send_batch(0, &flipped, || small.clone()).unwrap_err();
    assert!(error.to_string().contains("CRC-32C"), "{error}");
}

#[test]
fn a_batch_larger_than_the_queue_is_sent_alone() {
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start(3, Box::new(|_, _| Fault::None)));
    let options = SinkOptions {
        whole_batches: rules(None, 1_000_000),
        ..small()
    };
    let mut sink = sink(&cluster, options).unwrap();
    let records: Vec<_> = (0..3).map(|offset| (offset, vec![b'v'; 100_000])).collect();
    assert!(send(&mut sink, &plain(&records), &records));
    sink.flush().unwrap();
    assert_eq!(check(&cluster, &mut sink, &records), [3]);
}
