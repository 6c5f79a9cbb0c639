//! A transaction that stays open holds records back: the backup reports it, and the next one has them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

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

    assert_eq!(second["complete"], false);
    partial_is_restored_only_if_that_is_allowed(broker, &repo, &topic);

    open.commit();
    let third = run(&mut repo.backup(broker, &args)).expect_code(0).json();
    assert_eq!(
        (&third["findings"], &third["records"]),
        (&json!([]), &json!(21))
    );
    assert_eq!(
        (&third["complete"], &third["incomplete"]),
        (&json!(true), &json!([]))
    );
    repo.verify();
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 31);
}

fn partial_is_restored_only_if_that_is_allowed(broker: &Broker, repo: &Repo, topic: &str) {
    let map = format!("{topic}={topic}-partial");
    for args in [&["--dry-run"][..], &[], &["--verify"]] {
        let args = [&["--map", &map][..], args].concat();
        let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
        for text in [
            "snapshot 2 is partial",
            "open transaction",
            "--allow-partial",
        ] {
            assert!(refused.stderr.contains(text), "{text}: {refused:#?}");
        }
    }
    let target = format!("{topic}-partial");
    assert_eq!(consume::partitions(broker, &target), 0);

    // What ends before the missing records lacks nothing.
    let (whole, file) = (
        format!("{topic}-whole"),
        repo.path().with_file_name("first.csv"),
    );
    std::fs::write(&file, format!("{topic},0,,8\n")).expect("a file");
    let rename = format!("{topic}={whole}");
    let selected = ["--offsets", file.to_str().expect("UTF-8"), "--map", &rename];
    let report = run(&mut repo.restore(broker, &selected))
        .expect_code(0)
        .json();
    assert_eq!(
        (&report["records"], &report["saved"]["complete"]),
        (&json!(8), &json!(true))
    );

    let args = [
        "restore",
        "-b",
        broker.bootstrap(),
        "--map",
        &map,
        "--allow-partial",
        "--verify",
    ];
    let restored = run(&mut repo.kbk(&args)).expect_code(3);
    let lines: Vec<&str> = restored.stdout.lines().collect();
    assert!(lines[0].contains("snapshot 2 is partial"), "{restored:#?}");
    let last = lines[lines.len() - 1];
    assert!(
        last.contains("which lacks records that the cluster had"),
        "{restored:#?}"
    );
    let differences = [
        "diff",
        "--live",
        "-b",
        broker.bootstrap(),
        "--map",
        &map,
        "--json",
    ];
    let compared = run(&mut repo.kbk(&differences)).expect_code(3).json();
    assert_eq!(compared["saved"]["complete"], false);
    topics::delete(broker, &target);
}

#[test]
fn a_transaction_that_ends_in_time_holds_nothing_back() {
    let broker = Broker::shared();
    let topic = topics::unique("in-time");
    let open = held_back(broker, &topic);
    let repo = Repo::new();
    let args = ["--topic", &topic, "--open-transactions-wait", "10m"];
    let backup = Running::spawn(&mut repo.backup(broker, &args));
    backup.wait_until_it_says("waiting up to");
    open.commit();
    let report = backup.finish().expect_code(0).json();
    assert_eq!(
        (&report["findings"], &report["records"]),
        (&json!([]), &json!(31))
    );
}

/// Records arrive between the requests for the high watermark and for the last stable offset.
#[test]
fn records_that_arrive_meanwhile_are_not_taken_for_an_open_transaction() {
    let broker = Broker::shared();
    let topic = topics::unique("busy");
    topics::create(broker, &topic, 1, &[]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let records: Vec<Message> = samples::mixed(1).take(10).collect();
            while !done.load(Ordering::Relaxed) {
                produce(broker, "none", (&topic, 0), &records);
            }
        });
        wait::until("the first records", || {
            (consume::offsets(broker, &topic, 0).end > 0).then_some(())
        });
        for _ in 0..5 {
            let repo = Repo::new();
            let args = ["--topic", &topic, "--open-transactions-wait", "0s"];
            let ended = run(&mut repo.backup(broker, &args));
            if !ended.status.success() {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(ended.expect_code(0).json()["findings"], json!([]));
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// No later backup can complete it.
#[test]
fn a_deleted_topic_that_was_incomplete_is_restored_only_if_that_is_allowed() {
    let broker = Broker::shared();
    let topic = topics::unique("pinned-deleted");
    let (pattern, other) = (format!("{topic}*"), format!("{topic}-other"));
    topics::create(broker, &other, 1, &[]);
    let open = held_back(broker, &topic);
    let repo = Repo::new();
    let args = ["--topic", &pattern, "--open-transactions-wait", "0s"];
    run(&mut repo.backup(broker, &args)).expect_code(3);
    open.commit();
    topics::delete(broker, &topic);
    let report = run(&mut repo.backup(broker, &args)).expect_code(0).json();
    assert_eq!(report["complete"], true, "what is there is whole: {report}");
    let map = format!("{topic}={topic}-partial");
    let args = ["--topic", &topic, "--map", &map];
    let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
    assert!(refused.stderr.contains("--allow-partial"), "{refused:#?}");
    let allowed = [&args[..], &["--allow-partial"]].concat();
    let report = run(&mut repo.restore(broker, &allowed))
        .expect_code(3)
        .json();
    assert_eq!(
        (&report["records"], &report["saved"]["complete"]),
        (&json!(10), &json!(false))
    );
}
