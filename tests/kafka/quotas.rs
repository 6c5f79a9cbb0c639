//! A quota may make a client wait for longer than a broker may take to answer: that is no silence, and it is waited for.

use std::thread;

use crate::support::broker::Broker;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{self, Random, now_ms};
use crate::support::{consume, topics};

/// Less than the brokers of these tests ask to wait for after a batch of a megabyte.
const TIMEOUT: [&str; 2] = ["--timeout", "3s"];
/// Bytes per second.
const RATE: u32 = 50_000;

/// Limits the clients of a name.
fn limit(broker: &Broker, client: &str, what: &str) {
    let rate = format!("{what}={RATE}");
    let quota = [
        "--alter",
        "--entity-type",
        "clients",
        "--entity-name",
        client,
        "--add-config",
        &rate,
    ];
    broker.tool("kafka.admin.ConfigCommand", &quota);
}

/// Creates a topic of this many records of a kilobyte that do not compress, in one partition.
fn filled(broker: &Broker, name: &str, records: i64) -> String {
    let topic = topics::unique(name);
    topics::create(broker, &topic, 1, &[]);
    let mut random = Random::new(9);
    let messages: Vec<Message> = (0..records)
        .map(|number| Message {
            key: Some(number.to_string().into_bytes()),
            value: Some(random.bytes(1_000)),
            ..samples::plain(now_ms(), "")
        })
        .collect();
    produce(broker, "none", (&topic, 0), &messages);
    topic
}

#[track_caller]
fn waited(finished: Finished) {
    let finished = finished.expect_code(0);
    let says = "a quota of the cluster slows this client down: broker 1 (127.0.0.1:";
    assert!(finished.stderr.contains(says), "{finished:#?}");
}

fn restored_at_a_low_rate(broker: &Broker) {
    let topic = filled(broker, "slow", 1_200);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let restored = |mode: &[&str]| {
        let client = topics::unique("kbk-slow");
        limit(broker, &client, "producer_byte_rate");
        let id = format!("client.id={client}");
        let target = topics::unique("slow-restored");
        let map = format!("{topic}={target}");
        let args = ["--client", "wire", "--map", &map, "-X", &id];
        waited(run(
            &mut repo.restore(broker, &[&args[..], &TIMEOUT, mode].concat())
        ));
        consume::assert_same(broker, (&topic, &target), 1);
    };
    // They wait at the same time, each for a quota of its own.
    thread::scope(|scope| {
        scope.spawn(|| restored(&[]));
        scope.spawn(|| restored(&["--no-transactions"]));
    });
}

#[test]
fn a_restore_waits_for_a_quota() {
    restored_at_a_low_rate(Broker::shared());
}

/// A partition joins such a transaction before its first batch, and the time of the transaction begins with that.
#[test]
fn a_restore_waits_for_a_quota_in_transactions_before_kip_890() {
    restored_at_a_low_rate(&Broker::start_with_feature("transaction.version=1"));
}

#[test]
fn a_backup_waits_for_a_quota() {
    let broker = Broker::shared();
    let topic = filled(broker, "slowly-read", 900);
    let client = topics::unique("kbk-slow");
    limit(broker, &client, "consumer_byte_rate");
    let id = format!("client.id={client}");
    let args = ["--topic", &topic, "--client", "wire", "-X", &id];
    let args = [&args[..], &TIMEOUT].concat();
    let repo = Repo::new();
    waited(run(&mut repo.backup(broker, &args)));
    repo.verify();
    run(&mut repo.kbk(&["diff", "--live", "-b", broker.bootstrap()])).expect_code(0);
}

/// Brokers forget a producer that has sent nothing for a while, or whose records retention has deleted. Since Apache Kafka 2.5 (KIP-360), they
/// take its next batch for its first one, so UNKNOWN_PRODUCER_ID does not occur.
#[test]
fn a_producer_that_the_broker_has_forgotten_goes_on() {
    let broker = Broker::start(&[
        ("producer.id.expiration.ms", "300"),
        ("producer.id.expiration.check.interval.ms", "100"),
    ]);
    let topic = topics::unique("forgotten");
    topics::create(&broker, &topic, 1, &[]);
    let messages: Vec<Message> = samples::mixed(3).take(6).collect();
    produce(&broker, "none", (&topic, 0), &messages);
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", &topic])).expect_code(0);
    for client in ["wire", "librdkafka"] {
        let target = topics::unique("remembered");
        let map = format!("{topic}={target}");
        let args = ["--client", client, "--map", &map, "--no-transactions"];
        // A batch per record, and a second between them.
        let slow = ["--rate-limit-records", "1", "-X", "linger.ms=0"];
        run(&mut repo.restore(&broker, &[&args[..], &slow].concat())).expect_code(0);
        consume::assert_same(&broker, (&topic, &target), 1);
    }
}
