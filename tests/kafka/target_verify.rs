//! `kbk restore --verify` and `kbk diff --live` find every difference between a target and the backup.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::{Message, messages};
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
}

/// Produces records one second apart, one by one, so that their offsets are their numbers.
fn numbered(broker: &Broker, topic: &str, numbers: std::ops::Range<i64>, start: i64) {
    let sent: Vec<Message> = numbers
        .map(|n| Message {
            key: Some(format!("key-{}", n % 4).into_bytes()),
            ..samples::plain(start + n * 1000, &n.to_string())
        })
        .collect();
    produce(broker, "none", (topic, 0), &sent);
}

#[test]
fn only_what_both_sides_hold_is_compared() {
    let broker = Broker::shared();
    let names = ["live", "restored", "mirrored", "compacted"].map(topics::unique);
    let [live, restored, mirrored, compacted] = &names;
    for name in [live, mirrored, compacted] {
        topics::create(broker, name, 1, &topics::ANY_TIME);
    }
    let start = samples::now_ms() - 3_600_000;
    for name in [live, mirrored, compacted] {
        numbered(broker, name, 0..10, start);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", live, "--topic", compacted])).expect_code(0);
    // The cleaner works while the rest is compared. The last record rolls the segment that it may clean.
    let policy = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
    ];
    topics::reconfigure(broker, compacted, &policy);
    numbered(broker, compacted, 11..12, samples::now_ms());
    let map = format!("{live}={restored}");
    run(&mut repo.restore(broker, &["--topic", live, "--map", &map])).expect_code(0);

    let compare = |target: &str, args: &[&str]| {
        let map = format!("{live}={target}");
        let diff = ["diff", "--live", "--json", "-b", broker.bootstrap()];
        let mut command = repo.kbk(&diff);
        command.args(["--topic", live, "--map", &map]).args(args);
        run(&mut command).expect_code(0).json()["partitions"][0].clone()
    };
    let is = |found: &Value, paired_by: &str, [expected, trimmed, newer]: [u64; 3]| {
        let counts = json!({
            "topic": found["topic"], "partition": 0, "paired_by": paired_by, "expected": expected, "found": expected,
            "trimmed": trimmed, "compacted": 0, "removed_records": 0, "damaged_records": 0, "newer_offsets": newer, "differences": 0, "first": null,
        });
        assert_eq!(*found, counts);
    };
    is(&compare(live, &[]), "offset", [10, 0, 0]);
    is(&compare(restored, &[]), "offset_map", [10, 0, 1]);
    is(&compare(mirrored, &[]), "order", [10, 0, 0]);

    for (name, trimmed) in [(live, 4), (restored, 2), (mirrored, 3)] {
        topics::delete_records(broker, (name, 0), trimmed);
        numbered(broker, name, 10..13, start);
    }
    // The restored topic has the marker of its transaction as well.
    is(&compare(live, &[]), "offset", [6, 4, 3]);
    is(&compare(restored, &[]), "offset_map", [8, 2, 4]);
    is(&compare(mirrored, &[]), "order", [7, 3, 3]);
    let until = format!("@{}ms", start + 7000);
    is(&compare(live, &["--until", &until]), "offset", [4, 4, 0]);
    is(
        &compare(restored, &["--until", &until]),
        "offset_map",
        [6, 2, 0],
    );
    is(&compare(mirrored, &["--until", &until]), "order", [5, 3, 0]);
    let since = format!("@{}ms", start + 8000);
    is(&compare(live, &["--since", &since]), "offset", [2, 0, 3]);

    wait::until("compaction", || {
        (consume::read_all(broker, compacted, 0).len() == 4 + 1).then_some(())
    });
    let args = [
        "diff",
        "--live",
        "-b",
        broker.bootstrap(),
        "--topic",
        compacted,
    ];
    let found = run(&mut repo.kbk(&args)).expect_code(0);
    for says in [
        "equal: 4 records that both the cluster and snapshot 1 hold",
        "6 records removed by compaction",
        "1 offset after the end of the snapshot",
    ] {
        assert!(found.stdout.contains(says), "{says}: {found:#?}");
    }

    // A topic that was read again in full has a new id in the repository, and the same one in the cluster.
    run(&mut repo.backup(broker, &["--topic", live, "--refresh"])).expect_code(0);
    topics::delete_records(broker, (live, 0), 6);
    is(&compare(live, &[]), "offset", [7, 2, 0]);
}

/// Records that a log without compaction no longer has between others are missing, wherever they were.
#[test]
fn a_record_that_is_missing_between_others_is_a_difference() {
    let broker = Broker::shared();
    let (topic, copy) = (topics::unique("holey"), topics::unique("holey-copy"));
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    numbered(broker, &topic, 0..10, samples::now_ms());
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let map = format!("{topic}={copy}");
    topics::create(broker, &copy, 1, &topics::ANY_TIME);
    let mut sent = messages(consume::read_all(broker, &topic, 0));
    sent.remove(4);
    produce(broker, "none", (&copy, 0), &sent);
    let mut command = repo.kbk(&[
        "diff",
        "--live",
        "--json",
        "-b",
        broker.bootstrap(),
        "--map",
        &map,
    ]);
    let found = run(&mut command).expect_code(3).json();
    assert_eq!(
        found["partitions"][0]["first"]["source_offset"], 4,
        "{found}"
    );
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
    const RECORDS: usize = 40_000;
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
        samples::documents(3).take(RECORDS),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let map = format!("{topic}={target}");
    // Slow enough for another record while records are still restored.
    let args = ["--map", &map, "--verify", "--rate-limit-records", "5000"];
    let running = Running::spawn(&mut repo.restore(broker, &args));
    // Before that, the restore would find that somebody else writes to its target, and stop.
    running.wait_until("the first records", || {
        let there =
            consume::partitions(broker, &target) > 0 && consume::bounds(broker, &target, 2)[2] > 0;
        there.then_some(())
    });
    let other = samples::plain(samples::now_ms(), "not of the backup");
    produce(broker, "none", (&target, 2), [&other]);
    let written = (0..PARTITIONS).map(|partition| consume::bounds(broker, &target, partition)[2]);
    assert!(
        written.sum::<i64>() < RECORDS as i64,
        "it was to be written while records are restored"
    );
    let finished = running.finish().expect_code(3);
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
        (&other, "has 1 partition and"),
    ] {
        let map = format!("{topic}={target}");
        let mut command = repo.kbk(&["diff", "--live", "-b", broker.bootstrap(), "--map", &map]);
        let failed = run(&mut command).expect_code(1);
        assert!(failed.stderr.contains(says), "{failed:#?}");
    }
}
