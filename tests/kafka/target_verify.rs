//! `kbk restore --verify` and `kbk diff --live` find every difference between a target and the backup.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{Producer, produce, produce_bulk};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

const PARTITIONS: i32 = 4;

/// Returns the report of `kbk diff --live` on the only partition of `target`.
fn diff(broker: &Broker, repo: &Repo, (topic, target): (&str, &str), code: i32) -> Value {
    let map = format!("{topic}={target}");
    let args = ["diff", "--live", "--json", "-b", broker.bootstrap()];
    let mut command = repo.kbk(&args);
    command.args(["--topic", topic, "--map", &map]);
    run(&mut command).expect_code(code).json()["partitions"][0].clone()
}

#[test]
fn every_kind_of_difference_is_reported_with_its_offset() {
    let broker = Broker::shared();
    let topic = topics::unique("proved");
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    let sent = samples::hostile();
    produce(broker, "zstd", (&topic, 0), &sent);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let count = sent.len();
    let same = diff(broker, &repo, (&topic, &topic), 0);
    assert_eq!(
        (
            &same["expected"],
            &same["found"],
            &same["differences"],
            &same["first"]
        ),
        (&json!(count), &json!(count), &json!(0), &Value::Null)
    );

    let check = |name: &str, copy: &[Message], differences: usize, first: Value| {
        let target = topics::unique(name);
        topics::create(broker, &target, 1, &topics::ANY_TIME);
        produce(broker, "none", (&target, 0), copy);
        let found = diff(broker, &repo, (&topic, &target), 3);
        assert_eq!(found["found"], copy.len(), "{name}");
        assert_eq!(found["differences"], differences, "{name}");
        assert_eq!(found["first"], first, "{name}");
    };
    let with = |change: &dyn Fn(&mut Vec<Message>)| {
        let mut copy = sent.clone();
        change(&mut copy);
        copy
    };
    let at = |offset: usize, what: &[&str]| json!({"source_offset": offset, "target_offset": offset, "what": what});
    let changed = with(&|copy| {
        copy[3].value = Some(b"another".to_vec());
        copy[5].timestamp += 1;
    });
    check("changed", &changed, 2, at(3, &["value"]));
    let headed = with(&|copy| copy[4].headers.push((b"kbk".to_vec(), None)));
    check("headed", &headed, 1, at(4, &["headers"]));
    let keyed = with(&|copy| copy[0].key = Some(b"another".to_vec()));
    check("keyed", &keyed, 1, at(0, &["key"]));
    let missing = json!({"source_offset": count - 2, "target_offset": null, "what": []});
    check("short", &sent[..count - 2], 2, missing);
    let extra = json!({"source_offset": null, "target_offset": count, "what": []});
    let long = with(&|copy| copy.push(sent[0].clone()));
    check("long", &long, 1, extra);
}

#[test]
fn restore_verify_checks_only_what_the_restore_wrote() {
    let broker = Broker::shared();
    let (topic, target) = (topics::unique("self-proved"), topics::unique("self-proof"));
    topics::create(broker, &topic, PARTITIONS, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, PARTITIONS),
        samples::mixed(3).take(20_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic, "--block-size", "64KiB"])).expect_code(0);
    let map = format!("{topic}={target}");
    for append in [&[][..], &["--append"]] {
        let args = [&["--map", &map, "--verify"], append].concat();
        let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
        let proof = report["proof"].as_array().expect("a proof");
        assert_eq!(proof.len(), 4);
        let found: u64 = proof.iter().filter_map(|one| one["found"].as_u64()).sum();
        assert_eq!(found, 20_000);
        assert!(proof.iter().all(|one| one["differences"] == 0), "{proof:?}");
    }
}

#[test]
fn restore_verify_reports_a_difference_and_changes_nothing_more() {
    let broker = Broker::shared();
    let (topic, target) = (topics::unique("meddled"), topics::unique("meddled-with"));
    topics::create(
        broker,
        &topic,
        PARTITIONS,
        &[("retention.ms", "999999999999")],
    );
    produce_bulk(
        broker,
        "lz4",
        (&topic, PARTITIONS),
        samples::documents(3).take(200_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let meddler = std::thread::spawn({
        let target = target.clone();
        move || {
            let producer = Producer::new(broker, "none");
            // Before that, the restore would find that somebody else writes to its target, and stop.
            wait::until("the first records", || {
                let there = consume::partitions(broker, &target) > 0
                    && consume::bounds(broker, &target, 2)[2] > 0;
                there.then_some(())
            });
            producer.send(
                &target,
                2,
                &samples::plain(samples::now_ms(), "not of the backup"),
            );
            producer.flush();
        }
    });
    let map = format!("{topic}={target}");
    let finished = run(&mut repo.restore(broker, &["--map", &map, "--verify"])).expect_code(3);
    meddler.join().expect("the meddler wrote its record");
    let report = finished.json();
    assert_eq!(report["unexpected"][0]["partition"], 2, "{report:#}");
    let proof = &report["proof"];
    for partition in 0..PARTITIONS as usize {
        assert_eq!(
            proof[partition]["differences"] == 0,
            partition != 2,
            "{proof}"
        );
    }
    assert!(
        finished.stderr.contains(&format!("{target}/2: ")),
        "{finished:#?}"
    );
    let config = topics::config(broker, &target);
    assert_eq!(
        config["retention.ms"], "-1",
        "nothing is deleted while the targets are read back"
    );
}

#[test]
fn a_target_that_cannot_be_compared_is_rejected() {
    let broker = Broker::shared();
    let (topic, other) = (topics::unique("compared"), topics::unique("narrow"));
    topics::create(broker, &topic, 2, &[]);
    topics::create(broker, &other, 1, &[]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    for (target, says) in [
        ("no-such-target", "no topic no-such-target"),
        (&other, "1 partitions"),
    ] {
        let map = format!("{topic}={target}");
        let mut command = repo.kbk(&["diff", "--live", "-b", broker.bootstrap(), "--map", &map]);
        let failed = run(&mut command).expect_code(1);
        assert!(failed.stderr.contains(says), "{failed:#?}");
    }
}
