//! Producing: each record once and in order whatever happens to requests, answers and leaders; transactions; refusals.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use kbk_format::record::{Headers, Record};
use kbk_format::repo::OffsetAndMetadata;
use tokio::runtime::Runtime;

use super::log::{Cluster, Fault, Faults};
use super::support::{
    ADD_PARTITIONS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID, PRODUCE, TOPIC, TXN_OFFSET_COMMIT,
    partition, settings,
};
use crate::kafka::wire::WireSink;
use crate::kafka::{
    BatchCodec, KafkaError, OffsetCommit, Positions, SinkOptions, TransactionError,
};

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// A sink whose brokers have three seconds, with pauses of milliseconds.
pub(super) fn sink(cluster: &Cluster, options: SinkOptions) -> Result<WireSink, KafkaError> {
    let quick = [
        ("reconnect.backoff.ms", "1"),
        ("reconnect.backoff.max.ms", "4"),
    ];
    let settings = settings(&cluster.address(), Duration::from_secs(3), &quick);
    let mut sink = WireSink::open(&settings, options)?;
    sink.set_targets((0..3).map(partition).collect())?;
    Ok(sink)
}

fn transactional() -> SinkOptions {
    SinkOptions {
        transactional_id: Some("restore".to_owned()),
        ..small()
    }
}

/// Batches of a few records.
pub(super) fn small() -> SinkOptions {
    SinkOptions {
        batch_bytes: 200,
        queue_bytes: 3_000,
        ..SinkOptions::default()
    }
}

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        offset,
        timestamp: offset % 7,
        control: false,
        key: None,
        value: Some(value),
        headers: Headers::EMPTY,
    }
}

/// A number that is the same for the same seed and step.
pub(super) fn draw(seed: u64, step: u64) -> u64 {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(seed);
    hasher.write_u64(step);
    hasher.finish()
}

fn never() -> Faults {
    Box::new(|_, _| Fault::None)
}

/// Fails the first requests of one kind.
fn first(api: i16, faults: &'static [Fault]) -> Faults {
    Box::new(move |of, number| match of == api {
        true => faults.get(number).copied().unwrap_or(Fault::None),
        false => Fault::None,
    })
}

fn positions(offset: i64) -> Positions {
    let commit = OffsetCommit {
        topic: TOPIC.to_owned(),
        partition: kbk_format::PartitionNumber::ZERO,
        committed: OffsetAndMetadata {
            offset,
            metadata: "kbk1:".to_owned(),
        },
    };
    Positions::from([("progress".to_owned(), vec![commit])])
}

/// Whether the log holds the values of `sent`, once each and in their order, at the offsets that were reported.
fn check_log(cluster: &Cluster, sink: &mut WireSink, sent: &[Vec<(i64, Vec<u8>)>]) {
    let log = cluster.log.lock().unwrap();
    assert_eq!(log.rejected, Vec::<String>::new());
    for (number, sent) in sent.iter().enumerate() {
        let batches = log.partitions.get(&i32::try_from(number).unwrap());
        let values = batches
            .into_iter()
            .flatten()
            .flat_map(|it| it.values.clone());
        let values: Vec<Vec<u8>> = values.collect();
        let expected: Vec<Vec<u8>> = sent.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(values, expected, "partition {number}");
        let times = batches
            .into_iter()
            .flatten()
            .flat_map(|it| it.timestamps.clone());
        assert!(times.eq(sent.iter().map(|(offset, _)| offset % 7)));
        let mut at = 0;
        for run in sink.take_delivered(number) {
            for record in 0..i64::try_from(run.records).unwrap() {
                assert_eq!(run.source_offset + record, sent[at].0);
                assert_eq!(run.target_offset + record, i64::try_from(at).unwrap());
                at += 1;
            }
        }
        assert_eq!(at, sent.len(), "reports of partition {number}");
    }
}

#[test]
fn each_record_arrives_once_and_in_order_whatever_fails() {
    let seeds = 0..40;
    for seed in seeds {
        let runtime = runtime();
        let faults: Faults = Box::new(move |api, number| {
            if api != PRODUCE {
                return Fault::None;
            }
            match draw(seed, number as u64) % 20 {
                0 => Fault::LostBefore,
                1 => Fault::LostAfter,
                2 => Fault::Error(6),
                3 => Fault::ErrorAfter(20),
                4 => Fault::Error(51),
                5 => Fault::Moved,
                _ => Fault::None,
            }
        });
        let cluster = runtime.block_on(Cluster::start(3, faults));
        let mut sink = sink(&cluster, small()).unwrap();
        let mut sent = vec![Vec::new(); 3];
        for step in 0..300_i64 {
            let target = usize::try_from(draw(seed, step as u64) % 3).unwrap();
            // Offsets with gaps, as in a compacted topic.
            let offset = step * 2 + i64::from(step % 5 == 0);
            let value = format!("{seed}/{step}").into_bytes();
            sink.send(target, &record(offset, &value)).unwrap();
            sent[target].push((offset, value));
        }
        sink.flush().unwrap();
        check_log(&cluster, &mut sink, &sent);
    }
}

#[test]
fn batches_are_filled_and_several_are_under_way() {
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, never()));
    let codecs = [(TOPIC.to_owned(), BatchCodec::Zstd)];
    let options = SinkOptions {
        codecs: codecs.into(),
        ..SinkOptions::default()
    };
    let mut sink = sink(&cluster, options).unwrap();
    let value = [b'x'; 1000];
    for offset in 0..3000 {
        sink.send(0, &record(offset, &value)).unwrap();
    }
    sink.flush().unwrap();
    let log = cluster.log.lock().unwrap();
    let batches = &log.partitions[&0];
    assert_eq!(batches.len(), 4, "three of a megabyte, and the rest");
    assert_eq!(
        batches.iter().map(|it| it.values.len()).sum::<usize>(),
        3000
    );
    drop(log);
    let delivered = sink.take_delivered(0);
    assert_eq!(delivered.len(), 1, "{delivered:?}");
}

#[test]
fn a_transaction_has_its_partitions_and_its_positions() {
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, never()));
    let mut sink = sink(&cluster, transactional()).unwrap();
    for transaction in 0..3 {
        sink.begin().unwrap();
        for offset in 0..10 {
            let offset = transaction * 10 + offset;
            sink.send(0, &record(offset, b"value")).unwrap();
            sink.send(2, &record(offset, b"value")).unwrap();
        }
        sink.flush().unwrap();
        sink.commit(&positions(transaction)).unwrap();
    }
    let log = cluster.log.lock().unwrap();
    assert_eq!(log.ended, [true; 3]);
    let progress = |offset| ("progress".to_owned(), offset);
    assert_eq!(log.offsets, [progress(0), progress(1), progress(2)]);
    assert!(log.partitions[&2].iter().all(|it| it.transactional));
    // Sequence numbers continue, since nothing was lost.
    assert_eq!(log.epoch, 1);
    let first = log.partitions[&0].iter();
    assert_eq!(first.map(|it| it.values.len()).sum::<usize>(), 30);
    drop(log);
    assert_eq!(cluster.count(INIT_PRODUCER_ID), 1);
}

#[test]
fn coordinators_that_move_or_are_busy_are_asked_again() {
    for (api, faults) in [
        (
            ADD_PARTITIONS,
            &[Fault::Error(51), Fault::Error(16), Fault::LostBefore][..],
        ),
        (TXN_OFFSET_COMMIT, &[Fault::Error(14), Fault::LostAfter]),
        (END_TXN, &[Fault::LostAfter, Fault::Error(15)]),
        (
            INIT_PRODUCER_ID,
            &[Fault::Error(16), Fault::Error(14), Fault::LostBefore],
        ),
        (FIND_COORDINATOR, &[Fault::Error(15), Fault::LostBefore]),
    ] {
        let runtime = runtime();
        let cluster = runtime.block_on(Cluster::start(3, first(api, faults)));
        let mut sink = sink(&cluster, transactional()).unwrap();
        sink.begin().unwrap();
        sink.send(1, &record(7, b"value")).unwrap();
        sink.flush().unwrap();
        sink.commit(&positions(8)).unwrap();
        let log = cluster.log.lock().unwrap();
        assert_eq!(log.partitions[&1].len(), 1, "{api}");
        assert_eq!(log.ended.last(), Some(&true), "{api}");
        assert_eq!(
            log.offsets.last(),
            Some(&("progress".to_owned(), 8)),
            "{api}"
        );
        drop(log);
        assert!(cluster.count(api) > faults.len(), "{api}");
    }
}

#[test]
fn an_aborted_transaction_leaves_no_batch_that_may_arrive_late() {
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, first(PRODUCE, &[Fault::Error(45)])));
    let mut sink = sink(&cluster, transactional()).unwrap();
    sink.begin().unwrap();
    sink.send(0, &record(1, b"lost")).unwrap();
    let error = sink.flush().unwrap_err();
    assert!(error.to_string().contains("OUT_OF_ORDER"), "{error}");
    assert!(
        sink.send(0, &record(2, b"late")).is_err(),
        "the failure is kept"
    );
    assert!(matches!(sink.judge(error), TransactionError::Again(_)));
    sink.abort().unwrap();
    // The next epoch, with sequence numbers from 0.
    sink.begin().unwrap();
    sink.send(0, &record(1, b"again")).unwrap();
    sink.flush().unwrap();
    sink.commit(&positions(2)).unwrap();
    let log = cluster.log.lock().unwrap();
    assert_eq!(log.ended, [false, true]);
    let [batch] = &log.partitions[&0][..] else {
        panic!("{:?}", log.partitions);
    };
    assert_eq!((batch.epoch, batch.sequence), (2, 0));
    assert_eq!(batch.values, [b"again"]);
}

#[test]
fn a_transaction_that_is_aborted_in_peace_keeps_its_epoch() {
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, never()));
    let mut sink = sink(&cluster, transactional()).unwrap();
    sink.begin().unwrap();
    sink.send(0, &record(1, b"first")).unwrap();
    sink.flush().unwrap();
    // This one is not even sent.
    sink.send(0, &record(2, b"second")).unwrap();
    sink.abort().unwrap();
    sink.begin().unwrap();
    sink.send(0, &record(1, b"again")).unwrap();
    sink.flush().unwrap();
    let delivered = sink.take_delivered(0);
    assert_eq!((delivered.len(), delivered[0].source_offset), (1, 1));
    let log = cluster.log.lock().unwrap();
    let found = log.partitions[&0].iter().map(|it| (it.epoch, it.sequence));
    assert_eq!(found.collect::<Vec<_>>(), [(1, 0), (1, 1)]);
}

#[test]
fn a_producer_that_is_fenced_says_so() {
    for code in [47, 90] {
        let faults: Faults = Box::new(move |api, _| match api {
            PRODUCE => Fault::Error(code),
            END_TXN => Fault::Error(90),
            _ => Fault::None,
        });
        let runtime = runtime();
        let cluster = runtime.block_on(Cluster::start(3, faults));
        let mut sink = sink(&cluster, transactional()).unwrap();
        sink.begin().unwrap();
        sink.send(0, &record(1, b"value")).unwrap();
        let error = sink.flush().unwrap_err();
        let judged = sink.judge(error);
        assert!(
            matches!(judged, TransactionError::Fenced(KafkaError::Fenced { .. })),
            "{judged:?}"
        );
        let aborted = sink.abort();
        assert!(
            matches!(aborted, Err(KafkaError::Fenced { .. })),
            "{aborted:?}"
        );
    }
}

#[test]
fn what_brokers_refuse_is_reported_with_the_record() {
    for (code, words) in [
        (10, "is too large"),
        (87, "cleanup.policy"),
        (32, "message.timestamp"),
        (29, "not allowed to write to topic orders"),
    ] {
        let faults: Faults = Box::new(move |api, _| match api {
            PRODUCE => Fault::Error(code),
            _ => Fault::None,
        });
        let runtime = runtime();
        let cluster = runtime.block_on(Cluster::start(3, faults));
        let mut sink = sink(&cluster, transactional()).unwrap();
        sink.begin().unwrap();
        sink.send(1, &record(41, b"value")).unwrap();
        let error = sink.flush().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert!(code == 29 || text.contains("source offset 41"), "{text}");
        assert!(matches!(sink.judge(error), TransactionError::Failed(_)));
    }
}

#[test]
fn a_cluster_that_acknowledges_nothing_ends_the_wait() {
    let faults: Faults = Box::new(|api, _| match api {
        PRODUCE => Fault::Error(19),
        _ => Fault::None,
    });
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, faults));
    let mut sink = sink(&cluster, small()).unwrap();
    sink.send(0, &record(1, b"value")).unwrap();
    let began = Instant::now();
    let error = sink.flush().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, KafkaError::Timeout { .. }), "{text}");
    assert!(text.contains("acknowledge 1 record within 3s"), "{text}");
    assert!(text.contains("NOT_ENOUGH_REPLICAS"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_commit_without_an_answer_leaves_the_producer_alone() {
    let faults: Faults = Box::new(|api, _| match api {
        END_TXN => Fault::Error(14),
        _ => Fault::None,
    });
    let runtime = runtime();
    let cluster = runtime.block_on(Cluster::start(3, faults));
    let mut sink = sink(&cluster, transactional()).unwrap();
    sink.begin().unwrap();
    sink.send(0, &record(1, b"value")).unwrap();
    sink.flush().unwrap();
    let error = sink.commit(&positions(2)).unwrap_err();
    assert!(
        matches!(error, TransactionError::Failed(KafkaError::Timeout { .. })),
        "{error:?}"
    );
    let asked = cluster.count(END_TXN);
    sink.abort().unwrap();
    assert_eq!(cluster.count(END_TXN), asked, "its outcome is unknown");
}

/// The brokers have three seconds to answer, and a quota makes the producer wait for four.
#[test]
fn a_quota_that_makes_the_producer_wait_is_no_silence() {
    const THROTTLE_MS: i32 = 4_000;
    for options in [small(), transactional()] {
        let runtime = runtime();
        let faults: Faults = Box::new(|api, number| match api == PRODUCE && number < 2 {
            true => Fault::Throttled(THROTTLE_MS),
            false => Fault::None,
        });
        let cluster = runtime.block_on(Cluster::start(1, faults));
        let quick = settings(&cluster.address(), Duration::from_secs(3), &[]);
        let mut sink = WireSink::open(&quick, options).unwrap();
        sink.set_targets(vec![partition(0)]).unwrap();
        let began = Instant::now();
        let mut sent = vec![Vec::new()];
        for offset in 0..30_i64 {
            sink.begin().ok();
            let value = format!("value {offset}").into_bytes();
            sink.send(0, &record(offset, &value)).unwrap();
            sent[0].push((offset, value));
            if offset % 10 == 9 {
                sink.flush().unwrap();
            }
        }
        let least = Duration::from_millis(u64::from(THROTTLE_MS.unsigned_abs()));
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
        check_log(&cluster, &mut sink, &sent);
    }
}

#[test]
fn a_quota_does_not_keep_a_producer_that_is_to_stop() {
    let runtime = runtime();
    let faults: Faults = Box::new(|api, _| match api {
        PRODUCE => Fault::Throttled(3_600_000),
        _ => Fault::None,
    });
    let cluster = runtime.block_on(Cluster::start(1, faults));
    let began = Instant::now();
    let options = SinkOptions {
        stop: crate::kafka::StopRequest::new(move || began.elapsed() > Duration::from_secs(1)),
        ..small()
    };
    let mut sink = sink(&cluster, options).unwrap();
    sink.send(0, &record(0, b"one")).unwrap();
    sink.flush().unwrap();
    sink.send(0, &record(1, b"two")).unwrap();
    let error = sink.flush().unwrap_err().to_string();
    assert!(error.contains("since a quota is exceeded"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{error}");
}
