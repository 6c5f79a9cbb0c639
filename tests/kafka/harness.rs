//! Tests of the harness itself, which all other tests rely on.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::broker::Broker;
use crate::support::process::{Running, kbk, run};
use crate::support::produce::{CODECS, Producer, produce, produce_bulk};
use crate::support::record::{TimestampType, messages};
use crate::support::secure::{PASSWORD, SecureBroker};
use crate::support::{consume, samples, scenarios, soak, topics, wire};

#[test]
fn hostile_records_are_consumed_as_they_were_produced() {
    let broker = Broker::shared();
    let topic = topics::unique("hostile");
    topics::create(broker, &topic, 5, &topics::ANY_TIME);
    let sent = samples::hostile();
    for (codec, partition) in CODECS.into_iter().zip(0..) {
        produce(broker, codec, (&topic, partition), &sent);
        let read = consume::read_all(broker, &topic, partition);
        assert!(
            read.iter()
                .map(|record| record.offset)
                .eq(0..read.len() as i64)
        );
        // This includes the record without a timestamp.
        assert!(
            read.iter()
                .all(|record| record.timestamp_type == TimestampType::CreateTime)
        );
        assert!(messages(read) == sent, "{codec} changed a record");
    }
}

#[test]
fn any_timestamp_can_be_produced_by_hand() {
    let broker = Broker::shared();
    let topic = topics::unique("by-hand");
    topics::create(broker, &topic, 2, &topics::ANY_TIME);
    let mut sent = samples::hostile();
    // The broker accepts at most a million bytes per batch.
    sent.retain(|message| {
        let fields = [&message.key, &message.value].into_iter().flatten();
        fields.map(Vec::len).max() < Some(1000)
    });
    let times = [0, -1, 1, i64::MAX / 4, 0];
    for (message, time) in sent.iter_mut().zip(times.into_iter().cycle()) {
        message.timestamp = time;
    }
    wire::produce(broker, (&topic, 1), &sent);
    assert!(messages(consume::read_all(broker, &topic, 1)) == sent);
}

#[test]
fn a_secure_broker_asks_for_a_password() {
    let secure = SecureBroker::start();
    let connect = |mechanism: &str, user: &str, password: &str| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &secure.bootstrap)
            .set("security.protocol", "SASL_SSL")
            .set("ssl.ca.location", secure.ca_file())
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", user)
            .set("sasl.password", password)
            .create()
            .expect("a consumer");
        consumer
            .fetch_metadata(None, Duration::from_secs(5))
            .is_ok()
    };
    topics::create(&secure.plain, "guarded", 1, &[]);
    assert!(connect("PLAIN", "alice", PASSWORD));
    assert!(connect("SCRAM-SHA-512", "bob", PASSWORD));
    assert!(!connect("PLAIN", "alice", "guess"));
}

#[test]
fn the_end_of_an_offset_range_is_exclusive() {
    let broker = Broker::shared();
    let topic = topics::unique("range");
    topics::create(broker, &topic, 1, &[]);
    let sent: Vec<_> = samples::mixed(1).take(100).collect();
    produce(broker, "none", (&topic, 0), &sent);
    let read = consume::read(broker, &topic, 0, 40..60);
    assert_eq!(messages(read), sent[40..60]);
    assert_eq!(consume::read(broker, &topic, 0, 60..60), []);
}

#[test]
fn bulk_records_are_spread_over_partitions_and_digests_match() {
    let broker = Broker::shared();
    let count = if soak() { 1_000_000 } else { 100_000 };
    let copies = ["first", "second"].map(|name| {
        let topic = topics::unique(name);
        topics::create(broker, &topic, 4, &[]);
        topic
    });
    let sent: Vec<_> = samples::mixed(2).take(count).collect();
    for topic in &copies {
        produce_bulk(broker, "lz4", (topic, 4), sent.iter().cloned());
    }
    let [first, second] = &copies;
    for partition in 0..4 {
        let digest = consume::digest(broker, first, partition);
        assert_eq!(digest.records, count as u64 / 4);
        assert_eq!(digest, consume::digest(broker, second, partition));
    }
    let other = consume::digest(broker, second, 1);
    assert_ne!(consume::digest(broker, first, 0).hash, other.hash);
}

#[test]
fn aborted_records_are_not_consumed() {
    let broker = Broker::shared();
    let topic = topics::unique("transactions");
    topics::create(broker, &topic, 1, &[]);
    let committed = scenarios::interleaved_transactions(broker, (&topic, 0));
    let read = consume::read_all(broker, &topic, 0);
    let end = consume::offsets(broker, &topic, 0).end;
    let last = read.last().expect("records").offset;
    assert!(
        last + 2 < end,
        "the log ends with records that are not visible"
    );
    assert_eq!(messages(read), committed);
}

#[test]
fn an_open_transaction_holds_back_the_last_stable_offset() {
    let broker = Broker::shared();
    let topic = topics::unique("open");
    topics::create(broker, &topic, 1, &[]);
    let message = samples::plain(samples::now_ms(), "undecided");
    let open = Producer::transactional(broker, "none", &topics::unique("open"));
    open.begin();
    open.send(&topic, 0, &message);
    open.flush();
    produce(broker, "none", (&topic, 0), [&message]);
    assert_eq!(consume::offsets(broker, &topic, 0), 0..0);
    open.commit();
    assert_eq!(consume::offsets(broker, &topic, 0), 0..3);
    assert_eq!(consume::read_all(broker, &topic, 0).len(), 2);
}

#[test]
fn a_compacted_topic_has_gaps() {
    let broker = Broker::shared();
    let topic = topics::unique("compacted");
    let records = scenarios::compacted_topic_with_gaps(broker, &topic);
    let gaps = records
        .windows(2)
        .filter(|pair| pair[0].offset + 1 < pair[1].offset);
    assert!(gaps.count() > 50, "{records:?}");
    assert_eq!(consume::read_all(broker, &topic, 0), records);
}

#[test]
fn retention_empties_a_topic() {
    let broker = Broker::shared();
    let topic = topics::unique("emptied");
    let end = scenarios::topic_emptied_by_retention(broker, &topic);
    assert_eq!(end, 50);
    assert_eq!(consume::read_all(broker, &topic, 0), []);
}

#[test]
fn the_broker_stamps_a_log_append_time_topic() {
    let broker = Broker::shared();
    let topic = topics::unique("stamped");
    let before = samples::now_ms();
    scenarios::log_append_time_topic(broker, &topic, 2);
    for partition in 0..2 {
        let records = consume::read_all(broker, &topic, partition);
        assert_eq!(records.len(), 500);
        for record in records {
            assert_eq!(record.timestamp_type, TimestampType::LogAppendTime);
            assert!(record.message.timestamp >= before);
        }
    }
}

#[test]
fn topics_are_created_altered_and_deleted() {
    let broker = Broker::shared();
    let topic = topics::unique("settings");
    topics::create(broker, &topic, 3, &[("retention.ms", "7200000")]);
    assert_eq!(topics::config(broker, &topic)["retention.ms"], "7200000");
    topics::reconfigure(broker, &topic, &[("max.message.bytes", "2000000")]);
    let config = topics::config(broker, &topic);
    assert_eq!(config["max.message.bytes"], "2000000");
    assert!(!config.contains_key("retention.ms"));
    topics::delete(broker, &topic);
    let left = broker.tool("org.apache.kafka.tools.TopicCommand", &["--list"]);
    assert!(!left.lines().any(|name| name == topic), "{left}");
}

#[test]
fn a_private_broker_keeps_its_data_across_stop_and_kill() {
    let mut broker = Broker::start(&[("message.max.bytes", "3000000")]);
    topics::create(&broker, "kept", 1, &[]);
    let sent: Vec<_> = samples::mixed(3).take(100).collect();
    produce(&broker, "zstd", ("kept", 0), &sent);
    broker.stop();
    assert!(TcpStream::connect(broker.bootstrap()).is_err());
    broker.restart();
    assert_eq!(messages(consume::read_all(&broker, "kept", 0)), sent);
    broker.kill();
    broker.restart();
    assert_eq!(messages(consume::read_all(&broker, "kept", 0)), sent);
}

#[test]
fn kbk_runs() {
    run(&mut kbk(["--version"])).expect_code(0);
}

#[test]
fn a_killed_process_reports_what_it_used() {
    // Held by this process; it must not be counted for the child.
    let ballast = std::hint::black_box(vec![1u8; 64 << 20]);
    let mut busy = Command::new("sh");
    busy.args(["-c", "echo out; echo err >&2; while :; do :; done"]);
    let busy = Running::spawn(&mut busy);
    busy.wait_until_it_says("err\n");
    let finished = busy.kill_after(Duration::from_millis(100));
    drop(ballast);
    assert_eq!(finished.status.code(), None, "{finished:?}");
    assert_eq!((&*finished.stdout, &*finished.stderr), ("out\n", "err\n"));
    assert!(finished.max_rss_bytes > 0);
    assert!(finished.max_rss_bytes < 32 << 20, "{finished:?}");
    assert!(finished.cpu_seconds > 0.0, "{finished:?}");
}
