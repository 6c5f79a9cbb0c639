//! Logs that the cluster has cleaned since the last backup: what is gone from them neither comes back nor is taken for a different log.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

/// What makes the cleaner run within a second.
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "500"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("max.compaction.lag.ms", "1000"),
];

fn backup(repo: &Repo, broker: &Broker, topic: &str) -> Value {
    run(&mut repo.backup(broker, &["--topic", topic]))
        .expect_code(0)
        .json()
}

/// Writes a record; one that is a second later than the one before begins a new log segment, so that the cleaner takes the older ones.
fn put(broker: &Broker, topic: &str, second: i64, (key, value): (&str, Option<&str>)) {
    let message = Message {
        timestamp: samples::now_ms() - 600_000 + second * 1000,
        key: Some(key.into()),
        value: value.map(Into::into),
        headers: Vec::new(),
    };
    produce(broker, "none", (topic, 0), [&message]);
}

fn keys(broker: &Broker, topic: &str) -> Vec<Vec<u8>> {
    let records = consume::read_all(broker, topic, 0).into_iter();
    records.filter_map(|record| record.message.key).collect()
}

/// A tombstone that is written and cleaned between two backups is in neither of them.
#[test]
fn deleted_keys_do_not_come_back() {
    let broker = Broker::shared();
    let topic = topics::unique("tombstones");
    let config = [&COMPACTED[..], &[("delete.retention.ms", "0")]].concat();
    topics::create(broker, &topic, 1, &config);
    for key in ["stays", "goes", "tick"] {
        put(broker, &topic, 0, (key, Some("first")));
    }
    let repo = Repo::new();
    backup(&repo, broker, &topic);

    put(broker, &topic, 1, ("goes", None));
    let mut second = 1;
    // The cleaner removes a tombstone in the second of two runs, and runs only if there is something new.
    wait::until("the cleaner to remove the tombstone", || {
        second += 1;
        put(broker, &topic, second, ("tick", Some("next")));
        let there = keys(broker, &topic);
        (!there.contains(&b"goes".to_vec())).then_some(())
    });
    let report = backup(&repo, broker, &topic);
    assert_eq!(
        report["findings"],
        json!([{ "finding": "refreshed", "topic": topic, "tombstones_expired": true }])
    );
    let listed = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    let rows = listed["topics"].as_array().expect("an array").iter();
    let deleted: Vec<_> = rows.map(|row| row["deleted"].clone()).collect();
    assert_eq!(deleted, [true, false], "{listed:#}");
    repo.verify();

    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    let restored = keys(broker, &target);
    assert!(restored.contains(&b"stays".to_vec()));
    assert!(!restored.contains(&b"goes".to_vec()), "{restored:?}");
}

fn unproved(topic: &str, stored_end_offset: i64, reason: &str) -> Value {
    json!([{
        "finding": "unproved", "topic": topic, "partition": 0, "stored_end_offset": stored_end_offset, "reason": reason,
    }])
}

#[test]
fn a_log_whose_stored_records_retention_has_deleted_is_continued() {
    let broker = Broker::shared();
    let topic = topics::unique("expired");
    topics::create(broker, &topic, 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(30).collect();
    produce(broker, "none", (&topic, 0), &records[..20]);
    let repo = Repo::new();
    backup(&repo, broker, &topic);

    produce(broker, "none", (&topic, 0), &records[20..]);
    topics::delete_records(broker, (&topic, 0), 20);
    let report = backup(&repo, broker, &topic);
    assert_eq!(report["findings"], unproved(&topic, 20, "retention"));
    assert_eq!(report["records"], 10);
    assert_eq!(repo.verify()["records"], 30);
    let stored = repo.read_by_spec(&topic, 0).into_iter();
    let stored: Vec<Message> = stored.map(|(_, message)| message).collect();
    assert_eq!(stored, records);
}

#[test]
fn a_log_whose_stored_records_were_compacted_away_is_continued() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let broker = Broker::shared();
    let topic = topics::unique("replaced");
    topics::create(broker, &topic, 1, &COMPACTED);
    for key in KEYS {
        put(broker, &topic, 0, (key, Some("first")));
    }
    let repo = Repo::new();
    backup(&repo, broker, &topic);

    for key in KEYS {
        put(broker, &topic, 1, (key, Some("second")));
    }
    put(broker, &topic, 2, ("tick", Some("next")));
    wait::until("the cleaner to remove the first values", || {
        let first = consume::read_all(broker, &topic, 0).into_iter().next();
        first.filter(|record| record.offset >= 3)
    });
    let report = backup(&repo, broker, &topic);
    assert_eq!(report["findings"], unproved(&topic, 3, "compaction"));
    assert_eq!(report["records"], 4);
    assert_eq!(repo.verify()["records"], 7);
}
