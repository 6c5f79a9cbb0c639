//! Restores over the wire client write what those over librdkafka write, and what these cannot; transactions of both kinds; elections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kbk::kafka::wire::WireSink;
use kbk::kafka::{
    ClientSettings, OffsetCommit, Positions, SinkOptions, TopicPartition, TransactionError,
};
use kbk_format::PartitionNumber;
use kbk_format::record::{Headers, Record};
use kbk_format::repo::OffsetAndMetadata;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{CODECS, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, offset_map, samples, scenarios, topics};

/// Opens a sink of a topic's partitions.
fn sink(broker: &Broker, topic: &str, partitions: i32, transactional_id: Option<&str>) -> WireSink {
    let settings = ClientSettings::new(Some(broker.bootstrap()), None, &[]).expect("valid");
    let options = SinkOptions {
        transactional_id: transactional_id.map(str::to_owned),
        ..SinkOptions::default()
    };
    let mut sink = WireSink::open(&settings, options).expect("a sink");
    let targets = (0..partitions).map(|number| partition(topic, number));
    sink.set_targets(targets.collect()).expect("targets");
    sink
}

fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionNumber::new(number).expect("a number"))
}

fn record(offset: i64, timestamp: i64, value: &[u8]) -> Record<'_> {
    Record {
        offset,
        timestamp,
        control: false,
        key: None,
        value: Some(value),
        headers: Headers::EMPTY,
    }
}

fn positions(topic: &str, offset: i64) -> Positions {
    let commit = OffsetCommit {
        topic: topic.to_owned(),
        partition: PartitionNumber::ZERO,
        committed: OffsetAndMetadata {
            offset,
            metadata: String::new(),
        },
    };
    Positions::from([(format!("{topic}-progress"), vec![commit])])
}

#[test]
fn restores_over_both_clients_are_equal() {
    let broker = Broker::shared();
    let topic = topics::unique("both-clients");
    topics::create(broker, &topic, 3, &topics::ANY_TIME);
    for (codec, seed) in CODECS.into_iter().zip(1..) {
        for number in 0..2 {
            let messages: Vec<Message> = samples::mixed(seed).take(300).collect();
            produce(broker, codec, (&topic, number), &messages);
        }
    }
    produce(broker, "none", (&topic, 0), &samples::hostile());
    scenarios::interleaved_transactions(broker, (&topic, 2));
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    for compression in ["uncompressed", "zstd", "producer"] {
        let mut targets = Vec::new();
        for client in ["wire", "librdkafka"] {
            for transactions in [&[][..], &["--no-transactions"]] {
                let target = topics::unique(&format!("by-{client}"));
                let config = [&topics::ANY_TIME[..], &[("compression.type", compression)]].concat();
                topics::create(broker, &target, 3, &config);
                let map = format!("{topic}={target}");
                let args = ["--client", client, "--map", &map, "--verify"];
                run(&mut repo.restore(broker, &[&args[..], transactions].concat())).expect_code(0);
                targets.push(target);
            }
        }
        for target in &targets {
            consume::assert_same(broker, (&topic, target), 3);
        }
    }
}

#[test]
fn a_timestamp_of_zero_is_restored_as_it_is() {
    let broker = Broker::shared();
    let topic = topics::unique("timestamp-zero");
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    let mut source = sink(broker, &topic, 1, None);
    for (offset, timestamp) in [0, 1, -1, 0, 1_763_800_000_000].into_iter().enumerate() {
        let offset = i64::try_from(offset).expect("small");
        let sent = source.send(0, &record(offset, timestamp, b"value"));
        sent.expect("sent");
    }
    source.flush().expect("acknowledged");
    let times: Vec<i64> = times(broker, &topic);
    assert_eq!(times, [0, 1, -1, 0, 1_763_800_000_000]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("zero-restored");
    let map = format!("{topic}={target}");
    let args = ["--map", &map, "--client", "librdkafka"];
    let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
    let says = "has 2 records with the timestamp 1970-01-01T00:00:00.000Z, which librdkafka would replace with the current time: use --client wire";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    let args = ["--map", &map, "--client", "wire", "--verify"];
    run(&mut repo.restore(broker, &args)).expect_code(0);
    assert_eq!(self::times(broker, &target), times);
}

fn times(broker: &Broker, topic: &str) -> Vec<i64> {
    let records = consume::read_all(broker, topic, 0).into_iter();
    records.map(|record| record.message.timestamp).collect()
}

/// Commits and aborts transactions in turn, and checks that only those that were committed are there.
fn transactions_are_kept_apart(broker: &Broker) {
    let topic = topics::unique("wire-transactions");
    topics::create(broker, &topic, 2, &topics::ANY_TIME);
    let mut sink = sink(broker, &topic, 2, Some(&topic));
    let mut expected: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    for transaction in 0..12_i64 {
        sink.begin().expect("begun");
        let commits = transaction % 3 != 1;
        for offset in 0..50 {
            let value = format!("{transaction}/{offset}").into_bytes();
            let target = offset % 2;
            sink.send(target, &record(transaction * 50 + offset as i64, 7, &value))
                .expect("sent");
            if commits {
                let number = i32::try_from(target).expect("small");
                expected.entry(number).or_default().push(value);
            }
        }
        // One in three aborted ones was not even flushed.
        if commits || transaction % 2 == 0 {
            sink.flush().expect("acknowledged");
        }
        match commits {
            true => sink
                .commit(&positions(&topic, transaction))
                .expect("committed"),
            false => sink.abort().expect("aborted"),
        }
        for target in 0..2 {
            let _ = sink.take_delivered(target);
        }
    }
    for (number, expected) in expected {
        let read = consume::read_all(broker, &topic, number).into_iter();
        let values: Vec<Vec<u8>> = read.filter_map(|record| record.message.value).collect();
        assert_eq!(values, expected, "partition {number}");
    }
    let mut other = self::sink(broker, &topic, 2, Some(&topic));
    // Whoever takes the id over fences the sink.
    sink.begin().expect("begun");
    let fenced = sink
        .send(0, &record(1, 1, b"late"))
        .and_then(|()| sink.flush());
    let error = fenced.expect_err("fenced");
    let judged = sink.judge(error);
    assert!(matches!(judged, TransactionError::Fenced(_)), "{judged:?}");
    other.begin().expect("begun");
    other.send(0, &record(1, 1, b"other")).expect("sent");
    other.flush().expect("acknowledged");
    other.commit(&positions(&topic, 99)).expect("committed");
}

#[test]
fn transactions_by_kip_890() {
    transactions_are_kept_apart(Broker::shared());
}

#[test]
fn transactions_before_kip_890() {
    let broker = Broker::start_with_feature("transaction.version=1");
    transactions_are_kept_apart(&broker);
    // A restore that is killed and resumed, too.
    let topic = topics::unique("before-kip-890");
    topics::create(&broker, &topic, 2, &[]);
    for number in 0..2 {
        let messages: Vec<Message> = samples::mixed(3).take(2_000).collect();
        produce(&broker, "lz4", (&topic, number), &messages);
    }
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("restored-before-kip-890");
    let map = format!("{topic}={target}");
    let slowly = ["--map", &map, "--rate-limit-records", "100"];
    let running = Running::spawn(&mut repo.restore(&broker, &slowly));
    running.wait_until("records in the target", || {
        let exists = consume::partitions(&broker, &target) > 0;
        (exists && consume::offsets(&broker, &target, 0).end > 0).then_some(())
    });
    running.signal(libc::SIGKILL);
    running.finish();
    let resume = ["--resume", "--rate-limit-records", "100000"];
    run(&mut repo.restore(&broker, &resume)).expect_code(0);
    consume::assert_same(&broker, (&topic, &target), 2);
    let restore = offset_map::restores(&repo).pop().expect("a restore");
    assert!(offset_map::is_done(&repo, &restore));
}

#[test]
fn leaders_that_are_killed_are_followed() {
    let mut brokers = Broker::start_three();
    let topic = topics::unique("wire-elections");
    topics::create(&brokers[0], &topic, 3, &topics::ANY_TIME);
    let mut sink = sink(&brokers[0], &topic, 3, None);
    let mut expected = vec![Vec::new(); 3];
    let started = Instant::now();
    let mut killed = None;
    for offset in 0..60_i64 {
        for (target, expected) in expected.iter_mut().enumerate() {
            let value = format!("{target}/{offset}").into_bytes();
            sink.send(target, &record(offset, 7, &value)).expect("sent");
            expected.push(value);
        }
        // A batch each, so that many are under way.
        sink.flush().expect("acknowledged by whoever leads");
        match offset {
            20 => {
                let leader = topics::leaders(&brokers[0], &topic)[0];
                let leader = usize::try_from(leader - 1).expect("a node");
                brokers[leader].kill();
                killed = Some(leader);
            }
            40 => {
                if let Some(killed) = killed {
                    brokers[killed].restart();
                }
            }
            _ => {}
        }
    }
    assert!(started.elapsed() < Duration::from_secs(120));
    for (number, expected) in (0..).zip(expected) {
        let read = consume::read_all(&brokers[0], &topic, number).into_iter();
        let values: Vec<Vec<u8>> = read.filter_map(|record| record.message.value).collect();
        assert_eq!(values, expected, "partition {number}");
    }
}
