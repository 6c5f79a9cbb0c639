//! A compaction beside a running backup and a running restore, and of a topic that Kafka compacts: nothing is lost, and backups continue.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::{Running, kbk, run};
use crate::support::produce::{Producer, produce, produce_bulk};
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, samples, seed, soak, topics, wait};

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
    // The restore is slow, and the backup waits for a transaction: they have begun when the compactions do, and end after them.
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let slow = [
        "--topic",
        &topic,
        "--map",
        &map,
        "--rate-limit-records",
        "250",
    ];
    let restoring = Running::spawn(&mut repo.restore(broker, &slow));
    restoring.wait_until("the first records", || {
        let there = consume::partitions(broker, &target) > 0;
        (there && consume::bounds(broker, &target, 0)[2] > 0).then_some(())
    });
    add(20_000, 9);
    let open = Producer::transactional(broker, "none", &topics::unique("open"));
    open.begin();
    open.send(
        &topic,
        0,
        &samples::plain(samples::now_ms(), "the last one"),
    );
    open.flush();
    let mut waiting = backup(&repo, broker, &topic);
    let backing_up = Running::spawn(waiting.args(["--open-transactions-wait", "10m"]));
    backing_up.wait_until_it_says("waiting up to");
    let mut merged = 0;
    for level in ["zstd:1", "lz4", "zstd:4"] {
        let done = compact(&repo, &["--compression", level]);
        merged += done["segments"].as_u64().unwrap_or(0);
    }
    for running in [&restoring, &backing_up] {
        running.assert_runs("its repository is compacted");
    }
    open.commit();
    backing_up.finish().expect_code(0);
    let restored = restoring.finish().expect_code(0).json();
    assert_eq!(restored["records"], 2_500);
    assert!(merged >= 10, "{merged}");
    let whole = compact(&repo, &[]);
    assert_eq!(whole["outdated_groups"], 0);
    assert_eq!(repo.verify()["records"], 22_501);
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

/// Kills compactions with `kill -9` while a backup runs and a mount shows what they replace. `KBK_SOAK` takes 20 moments.
#[test]
fn a_compaction_that_is_killed_beside_a_backup_and_a_mount_harms_neither() {
    let kills = if soak() { 20 } else { 5 };
    let broker = Broker::shared();
    let topic = topics::unique("killed");
    topics::create(broker, &topic, PARTITIONS, &[]);
    let repo = Repo::new();
    let mut produced = 0;
    let mut add = |records: usize, seed: u64| {
        let documents = samples::documents(seed).take(records);
        produce_bulk(broker, "lz4", (&topic, PARTITIONS), documents);
        produced += records;
        produced
    };
    for seed in 0..8 {
        add(4_000, seed);
        run(&mut backup(&repo, broker, &topic)).expect_code(0);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("mnt");
    fs::create_dir(&place).expect("a mount point");
    let mount_point = place.to_str().expect("UTF-8");
    let mount = Running::spawn(&mut repo.kbk(&["mount", mount_point]));
    let latest = place.join("latest/topics").join(&topic);
    wait::until("it is mounted", || latest.exists().then_some(()));
    let lines = || {
        let partitions = (0..PARTITIONS).map(|partition| {
            let file = latest.join(format!("{partition}/records.jsonl"));
            fs::read_to_string(file).expect("readable").lines().count()
        });
        partitions.sum::<usize>()
    };
    let (mut stored, mut shown) = (32_000, lines());
    assert_eq!(shown, stored);
    let compact_to = |level| {
        let args = ["compact", "--compression", level, "--segment-size", "1MiB"];
        repo.kbk(&args)
    };
    let began = Instant::now();
    run(&mut compact_to("zstd:8")).expect_code(0);
    let (mut whole, mut random) = (began.elapsed(), Random::new(seed()));
    let (mut left, mut rounds) = (kills, 0..);
    while left > 0 {
        let kill = rounds.next().expect("endless");
        let all = add(2_000, 100 + kill);
        let backing_up = Running::spawn(&mut backup(&repo, broker, &topic));
        let level = ["zstd:9", "zstd:7"][usize::from(kill % 2 == 0)];
        let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
        let ended = Running::spawn(&mut compact_to(level)).kill_after(moment);
        println!("killed after {moment:?} of {whole:?}: {}", ended.status);
        if ended.status.signal() == Some(libc::SIGKILL) {
            left -= 1;
        } else {
            // It ended before: there was less to do, or the machine has become faster. This round does not count.
            whole = moment;
        }
        // Whatever the mount shows can be read, and nothing disappears. It may be a second behind the repository, in which several rounds fit.
        let now = lines();
        assert!(
            (shown..=all).contains(&now),
            "kill {kill}: {shown}, {now}, {all}"
        );
        shown = now;
        backing_up.finish().expect_code(0);
        stored = all;
        let verified = repo.verify();
        assert_eq!(verified["records"], json!(all), "kill {kill}");
    }
    compact(&repo, &["--compression", "zstd:3"]);
    wait::until("the mount shows all", || (lines() == stored).then_some(()));
    let full = run(&mut repo.kbk(&["verify", "--full", "--snapshot", "all", "--json"]));
    assert_eq!(full.expect_code(0).json()["findings"], json!([]));
    repo.verify_by_spec();
    run(&mut kbk(["umount", mount_point])).expect_code(0);
    mount.finish().expect_code(0);
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

#[test]
fn what_was_removed_from_the_backup_is_no_difference_and_hides_none() {
    let broker = Broker::shared();
    let topic = topics::unique("removed");
    let config = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1.0"),
        ("min.compaction.lag.ms", "86400000"),
    ];
    topics::create(broker, &topic, 1, &config);
    let repo = Repo::new();
    let now = samples::now_ms() - 100_000;
    let record = |at: i64| Message {
        key: Some(format!("key {}", at % 7).into_bytes()),
        headers: vec![(b"h".to_vec(), Some(b"x".to_vec()))],
        ..samples::plain(now + at, &at.to_string())
    };
    for round in 0..3 {
        let records: Vec<Message> = (50 * round..50 * (round + 1)).map(record).collect();
        produce(broker, "none", (&topic, 0), &records);
        run(&mut backup(&repo, broker, &topic)).expect_code(0);
    }
    let copy = format!("{topic}-copy");
    let map = format!("{topic}={copy}");
    run(&mut repo.restore(broker, &["--topic", &topic, "--map", &map])).expect_code(0);
    let done = compact(&repo, &["--keep", "latest-per-key", "--yes"]);
    assert_eq!(done["removed_records"], 143);

    let diff = |args: &[&str], code: i32| {
        let live = [
            "diff",
            "--live",
            "--topic",
            &topic,
            "-b",
            broker.bootstrap(),
            "--json",
        ];
        let mut command = repo.kbk(&[&live[..], args].concat());
        run(&mut command).expect_code(code).json()["partitions"][0].clone()
    };
    for (target, paired_by) in [(&topic, "offset"), (&copy, "offset_map")] {
        let map = format!("{topic}={target}");
        let map = ["--map", &map];
        let same = diff(&map, 0);
        let of = |member: &str| same[member].clone();
        assert_eq!(of("paired_by"), paired_by, "{same}");
        let counts = ["expected", "found", "removed_records", "differences"].map(of);
        assert_eq!(counts, [7, 7, 143, 0].map(Value::from), "{same}");
        // What the backup still has is compared all the same.
        let other = diff(&[&map[..], &["--drop-header", "h"]].concat(), 3);
        assert_eq!(other["differences"], 7, "{other}");
        assert_eq!(other["removed_records"], 143, "{other}");
    }
    for topic in [&topic, &copy] {
        topics::delete(broker, topic);
    }
}
