//! A compaction beside a running backup and a running restore, and of a topic that Kafka compacts: nothing is lost, and backups continue.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const PARTITIONS: i32 = 2;

fn backup(repo: &Repo, broker: &Broker, topic: &str) -> std::process::Command {
    repo.backup(broker, &["--topic", topic, "--segment-size", "1MiB"])
}

fn compact(repo: &Repo, more: &[&str]) -> Value {
    let args = [&["compact", "--json"][..], more].concat();
    run(&mut repo.kbk(&args)).expect_code(0).json()
}

#[test]
fn a_backup_and_a_restore_run_beside_a_compaction() {
    let broker = Broker::shared();
    let topic = topics::unique("merged");
    topics::create(broker, &topic, PARTITIONS, &[]);
    let repo = Repo::new();
    let add = |records: usize, seed: u64| {
        let documents = samples::documents(seed).take(records);
        produce_bulk(broker, "lz4", (&topic, PARTITIONS), documents);
    };
    for seed in 0..5 {
        add(500, seed);
        run(&mut backup(&repo, broker, &topic)).expect_code(0);
    }
    add(60_000, 9);
    // The backup and the restore have begun when the compactions do, and end after some of them, or before: either is right.
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restoring = Running::spawn(&mut repo.restore(broker, &["--topic", &topic, "--map", &map]));
    let backing_up = Running::spawn(&mut backup(&repo, broker, &topic));
    let mut merged = 0;
    for level in ["zstd:1", "lz4", "zstd:4"] {
        let done = compact(&repo, &["--compression", level]);
        merged += done["segments"].as_u64().unwrap_or(0);
    }
    backing_up.finish().expect_code(0);
    let restored = restoring.finish().expect_code(0).json();
    assert_eq!(restored["records"], 2_500);
    assert!(merged >= 10, "{merged}");
    let whole = compact(&repo, &[]);
    assert_eq!(whole["outdated_groups"], 0);
    assert_eq!(repo.verify()["records"], 62_500);
    repo.verify_by_spec();
    // The next backup continues, and finds that the log is the one that is stored.
    add(100, 10);
    let next = run(&mut backup(&repo, broker, &topic))
        .expect_code(0)
        .json();
    assert_eq!(next["records"], 100);
    let diff = [
        "diff",
        "--live",
        "--topic",
        &topic,
        "-b",
        broker.bootstrap(),
    ];
    run(&mut repo.kbk(&diff)).expect_code(0);
    topics::delete(broker, &topic);
}

#[test]
fn a_compacted_topic_keeps_its_latest_records_and_its_backups_continue() {
    let broker = Broker::shared();
    let topic = topics::unique("latest");
    let config = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1.0"),
    ];
    topics::create(broker, &topic, 1, &config);
    let repo = Repo::new();
    let now = samples::now_ms();
    let record = |at: i64| Message {
        key: Some(format!("key {}", at % 7).into_bytes()),
        value: (at % 20 != 13).then(|| at.to_string().into_bytes()),
        ..samples::plain(now + at, "")
    };
    for round in 0..4 {
        let records: Vec<Message> = (50 * round..50 * (round + 1)).map(record).collect();
        produce(broker, "none", (&topic, 0), &records);
        run(&mut backup(&repo, broker, &topic)).expect_code(0);
    }
    let done = compact(&repo, &["--keep", "latest-per-key", "--yes"]);
    assert_eq!(done["removed_records"], 193);
    assert_eq!(repo.verify()["compacted_records"], 193);
    repo.verify_by_spec();
    let all = messages(consume::read_all(broker, &topic, 0));
    let stored: Vec<Message> = repo
        .read_by_spec(&topic, 0)
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    assert_eq!(stored, all[all.len() - 7..]);
    let more: Vec<Message> = (200..210).map(record).collect();
    produce(broker, "none", (&topic, 0), &more);
    let next = run(&mut backup(&repo, broker, &topic))
        .expect_code(0)
        .json();
    assert_eq!(next["records"], 10);
    assert_eq!(repo.verify()["records"], json!(17));
    topics::delete(broker, &topic);
}
