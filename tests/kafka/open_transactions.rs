//! A transaction that stays open holds records back: the backup reports it, and the next one has them.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

/// Produces 10 records, a transaction of 1 record that stays open, and 20 records after it.
fn held_back(broker: &Broker, topic: &str) -> Producer {
    topics::create(broker, topic, 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(31).collect();
    produce(broker, "none", (topic, 0), &records[..10]);
    let open = Producer::transactional(broker, "none", &topics::unique("open"));
    open.begin();
    open.send(topic, 0, &records[10]);
    open.flush();
    produce(broker, "none", (topic, 0), &records[11..]);
    open
}

#[test]
fn an_open_transaction_is_a_finding_and_the_next_backup_has_its_records() {
    let broker = Broker::shared();
    let topic = topics::unique("pinned");
    let open = held_back(broker, &topic);
    let repo = Repo::new();
    let args = ["--topic", &topic, "--open-transactions-wait", "1s"];
    let first = run(&mut repo.backup(broker, &args)).expect_code(3);
    assert!(first.stderr.contains(&topic), "{}", first.stderr);
    let first = first.json();
    let finding = json!([{
        "finding": "open_transactions", "topic": topic, "partition": 0,
        "last_stable_offset": 10, "high_watermark": 31
    }]);
    assert_eq!(
        (&first["findings"], &first["records"]),
        (&finding, &json!(10))
    );

    let accepted = [&args[..], &["--accept-open-transactions"]].concat();
    let second = run(&mut repo.backup(broker, &accepted))
        .expect_code(0)
        .json();
    assert_eq!(
        (&second["findings"], &second["records"]),
        (&finding, &json!(0))
    );

    open.commit();
    let third = run(&mut repo.backup(broker, &args)).expect_code(0).json();
    assert_eq!(
        (&third["findings"], &third["records"]),
        (&json!([]), &json!(21))
    );
    repo.verify();
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 31);
}

#[test]
fn a_transaction_that_ends_in_time_holds_nothing_back() {
    let broker = Broker::shared();
    let topic = topics::unique("in-time");
    let open = held_back(broker, &topic);
    let repo = Repo::new();
    let args = ["--topic", &topic, "--open-transactions-wait", "10m"];
    let backup = Running::spawn(&mut repo.backup(broker, &args));
    // Most likely the backup is waiting by now; if not, the outcome is the same.
    thread::sleep(Duration::from_secs(1));
    open.commit();
    let report = backup.finish().expect_code(0).json();
    assert_eq!(
        (&report["findings"], &report["records"]),
        (&json!([]), &json!(31))
    );
}
