//! A restore into another number of partitions: each record once, where Java's partitioner puts its key, in the order of its
//! source partition; resumable after a kill; and no group skips a record.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use kbk_format::counted;
use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::groups::{self, commit, committed};
use crate::support::offset_map::Moved;
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, offset_map, samples, seed, soak, topics};

/// Creates a topic whose keys each have one partition, with gaps in its offsets, and backs it up.
fn saved(broker: &Broker, name: &str, partitions: i32, records: usize) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, partitions, &[]);
    let outside = records * 9 / 10;
    let mut records = samples::mixed(5).take(records).enumerate();
    let producer = Producer::new(broker, "lz4");
    for (number, record) in records.by_ref().take(outside) {
        producer.send(&topic, place(&record, number, partitions), &record);
    }
    producer.flush();
    // Transaction markers leave gaps in the offsets.
    let producer = Producer::transactional(broker, "lz4", &topic);
    producer.begin();
    for (number, record) in records {
        producer.send(&topic, place(&record, number, partitions), &record);
        if number % 100 == 0 {
            producer.commit();
            producer.begin();
        }
    }
    producer.commit();
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    (topic, repo)
}

/// Places a record by a hash that neither Java nor librdkafka uses.
fn place(record: &Message, number: usize, partitions: i32) -> i32 {
    let mut hasher = DefaultHasher::new();
    match &record.key {
        Some(key) => key.hash(&mut hasher),
        None => number.hash(&mut hasher),
    }
    i32::try_from(hasher.finish() % partitions.unsigned_abs() as u64).expect("below a count")
}

/// Returns the arguments that restore `topic` as `target` into the given number of partitions.
fn args(topic: &str, target: &str, partitions: i32) -> Vec<String> {
    let map = format!("{topic}={target}");
    let count = partitions.to_string();
    ["--topic", topic, "--map", &map, "--repartition", &count]
        .map(str::to_owned)
        .into()
}

fn restore(repo: &Repo, broker: &Broker, args: &[String], more: &[&str]) -> std::process::Command {
    let mut command = repo.restore(broker, more);
    command.args(args);
    command
}

/// Fails the test unless the target has every record of the topic exactly once, unchanged, where the offset map says, in the order
/// of its source partition, with each key in one partition, and records without a key in the partition of the same number (modulo).
#[track_caller]
fn assert_repartitioned(
    broker: &Broker,
    repo: &Repo,
    name: &str,
    (topic, sources): (&str, i32),
    (target, targets): (&str, i32),
) -> Vec<Moved> {
    let moved = offset_map::assert_exact_repartitioned(
        broker,
        repo,
        name,
        (topic, sources),
        (target, targets),
    );
    assert_eq!(consume::partitions(broker, target), targets);
    let (mut places, mut ends) = (HashMap::new(), BTreeMap::new());
    for Moved {
        source,
        target,
        message,
    } in &moved
    {
        match &message.key {
            Some(key) => assert_eq!(*places.entry(key).or_insert(target.0), target.0),
            None => assert_eq!(target.0, source.0 % targets),
        }
        let end = ends.insert((source.0, target.0), target.1);
        assert!(end.is_none_or(|end| end < target.1), "the order is kept");
    }
    moved
}

#[test]
fn records_are_placed_as_javas_partitioner_places_their_keys() {
    let broker = Broker::shared();
    let by_java = topics::unique("by-java");
    topics::create(broker, &by_java, 7, &[]);
    let mut keys: Vec<String> = (0..400)
        .map(|number| "größe-".repeat(number % 9) + &number.to_string())
        .collect();
    keys.extend(["", "a", "ab", "abc", "abcd", "长さ", "\u{10ffff}"].map(str::to_owned));
    let lines: Vec<String> = keys.iter().map(|key| format!("{key}\tof java\n")).collect();
    broker.tool_with_input(
        "org.apache.kafka.tools.ConsoleProducer",
        &["--topic", &by_java, "--reader-property", "parse.key=true"],
        &lines.concat(),
    );
    let mut java = HashMap::new();
    for partition in 0..7 {
        for record in consume::read_all(broker, &by_java, partition) {
            java.insert(record.message.key.expect("a key"), partition);
        }
    }
    assert_eq!(java.len(), keys.len());

    let (topic, target) = (topics::unique("keys"), topics::unique("keys-restored"));
    topics::create(broker, &topic, 2, &[]);
    let records: Vec<Message> = keys
        .iter()
        .map(|key| Message {
            key: Some(key.clone().into_bytes()),
            ..samples::plain(samples::now_ms(), "of kbk")
        })
        .collect();
    let producer = Producer::new(broker, "none");
    for (record, partition) in records.iter().zip([0, 1].into_iter().cycle()) {
        producer.send(&topic, partition, record);
    }
    producer.flush();
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    run(&mut restore(&repo, broker, &args(&topic, &target, 7), &[])).expect_code(0);
    let mut found = HashMap::new();
    for partition in 0..7 {
        for record in consume::read_all(broker, &target, partition) {
            found.insert(record.message.key.expect("a key"), partition);
        }
    }
    assert!(
        found == java,
        "every key is in the partition that Java chooses"
    );
}

#[test]
fn every_record_is_restored_once_and_verified() {
    const RECORDS: usize = 6_000;
    let broker = Broker::shared();
    let mut names = Vec::new();
    for (sources, targets) in [(4, 3), (2, 6), (4, 1), (1, 4), (30, 7)] {
        let (topic, repo) = saved(broker, "repartitioned", sources, RECORDS);
        let target = topics::unique("repartition");
        let args = args(&topic, &target, targets);
        let plan = run(&mut restore(&repo, broker, &args, &["--dry-run"]))
            .expect_code(0)
            .json();
        let planned = &plan["topics"][0];
        assert_eq!(planned["action"]["partitions"], targets);
        assert_eq!(
            planned["targets"].as_array().map(Vec::len),
            Some(targets as usize)
        );
        assert_eq!(
            planned["partitions"].as_array().map(Vec::len),
            Some(sources as usize)
        );
        assert_eq!(planned["partitions"][0]["target_partition"], Value::Null);
        assert_eq!(consume::partitions(broker, &target), 0);
        let mut shown = repo.kbk(&["restore", "-b", broker.bootstrap(), "--dry-run"]);
        let shown = run(shown.args(&args)).expect_code(0).stdout;
        let wide = counted(targets as u64, "partition");
        let says = format!("{target} would have {wide} where the backup has {sources}");
        assert!(shown.contains(&says), "{shown}");

        let report = run(&mut restore(&repo, broker, &args, &["--verify"]))
            .expect_code(0)
            .json();
        assert_eq!(report["records"], RECORDS);
        assert_eq!(report["partitions"], targets);
        let proof = report["proof"].as_array().expect("a proof");
        assert_eq!(proof.len(), targets as usize);
        for name in ["expected", "found"] {
            let count: u64 = proof.iter().filter_map(|one| one[name].as_u64()).sum();
            assert_eq!(count, RECORDS as u64, "{proof:#?}");
        }
        let name = report["restore"].as_str().expect("a name");
        let (from, to) = ((&*topic, sources), (&*target, targets));
        assert_repartitioned(broker, &repo, name, from, to);
        repo.verify();
        names.push(name.to_owned());
    }
    let left = groups::list(broker);
    for name in names {
        let of_it = |group: &String| group.contains(&name);
        assert!(!left.iter().any(of_it), "no longer needed: {left:?}");
    }
}

#[test]
fn a_killed_repartition_is_resumed_exactly_once() {
    let (kills, records) = if soak() { (20, 600_000) } else { (5, 30_000) };
    let (sources, targets) = (4, 3);
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "killed-repartition", sources, records);
    let target = topics::unique("timed-repartition");
    let began = Instant::now();
    run(&mut restore(
        &repo,
        broker,
        &args(&topic, &target, targets),
        &[],
    ))
    .expect_code(0);
    let mut whole = began.elapsed();
    let mut random = Random::new(seed());
    let mut left = kills;
    'targets: while left > 0 {
        let target = topics::unique("killed-repartition-restore");
        let done = || {
            let last = offset_map::restores(&repo).pop();
            let there = consume::partitions(broker, &target) > 0;
            last.filter(|last| there && offset_map::is_done(&repo, last))
        };
        let resume = || {
            let unfinished = |name: &String| !offset_map::is_done(&repo, name);
            match offset_map::restores(&repo).iter().any(unfinished) {
                true => repo.restore(broker, &["--resume"]),
                false => restore(&repo, broker, &args(&topic, &target, targets), &[]),
            }
        };
        for _ in 0..(1 + random.below(3)).min(left) {
            let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
            let killed = Running::spawn(&mut resume()).kill_after(moment);
            println!("killed after {moment:?} of {whole:?}: {}", killed.status);
            if killed.status.signal() == Some(libc::SIGKILL) {
                left -= 1;
                // Everything is written, and nothing is left to resume; only its groups and unreferenced pages may stay.
                if done().is_some() {
                    let there =
                        (0..targets).map(|partition| consume::read_all(broker, &target, partition));
                    assert_eq!(there.map(|there| there.len()).sum::<usize>(), records);
                    continue 'targets;
                }
            } else {
                killed.expect_code(0);
                whole = moment;
                break;
            }
        }
        let name = done().unwrap_or_else(|| {
            let report = run(resume().arg("--verify")).expect_code(0).json();
            assert_eq!(report["records"], records, "{report}");
            report["restore"].as_str().expect("a name").to_owned()
        });
        assert_repartitioned(broker, &repo, &name, (&topic, sources), (&target, targets));
        topics::delete(broker, &target);
    }
}

#[test]
fn a_broker_outage_does_not_end_a_repartition() {
    let mut broker = Broker::start(&[]);
    let (topic, repo) = saved(&broker, "cut-off-repartition", 5, 40_000);
    // Slow enough to continue after the second outage.
    let slow = ["--rate-limit-records", "4000"];
    let mut random = Random::new(seed());
    for _ in 0..if soak() { 20 } else { 1 } {
        let target = topics::unique("cut-off-target");
        let args = args(&topic, &target, 3);
        let running = Running::spawn(&mut restore(&repo, &broker, &args, &slow));
        running.wait_until("the first records", || {
            let there = consume::partitions(&broker, &target) > 0
                && consume::offsets(&broker, &target, 0).end > 0;
            there.then_some(())
        });
        for kill in [true, false] {
            // Also at once, while a restarted broker is still busy.
            std::thread::sleep(Duration::from_millis(
                random.below(4_000).saturating_sub(2_000),
            ));
            if kill {
                broker.kill();
            } else {
                broker.stop();
            }
            running.assert_runs("the broker is away");
            std::thread::sleep(Duration::from_secs(3));
            broker.restart();
        }
        let finished = running.finish().expect_code(0);
        println!("{}", finished.stderr);
        let name = finished.json()["restore"]
            .as_str()
            .expect("a name")
            .to_owned();
        assert_repartitioned(&broker, &repo, &name, (&topic, 5), (&target, 3));
        topics::delete(&broker, &target);
    }
}

/// Starts a slow restore, stops it midway, and returns its name.
fn stopped(repo: &Repo, broker: &Broker, args: &[String], target: &str) -> String {
    let slow = ["--rate-limit-records", "300"];
    let running = Running::spawn(&mut restore(repo, broker, args, &slow));
    running.wait_until("the first records", || {
        let there =
            consume::partitions(broker, target) > 0 && consume::offsets(broker, target, 0).end > 0;
        there.then_some(())
    });
    running.signal(libc::SIGTERM);
    let stopped = running.finish().expect_code(143).json();
    stopped["restore"].as_str().expect("a name").to_owned()
}

#[test]
fn a_repartition_that_lost_its_committed_positions_cannot_be_resumed() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "lost-progress", 4, 4_000);
    let target = topics::unique("lost-progress-restore");
    let name = stopped(&repo, broker, &args(&topic, &target, 3), &target);
    let written = consume::offsets(broker, &target, 0);
    // Two partitions are in progress; deletes the groups that committed for them, as if both had expired.
    let listed = groups::list(broker);
    let mine = listed.iter().filter(|group| group.contains(&name));
    mine.for_each(|group| groups::delete(broker, group));
    let failed = run(&mut repo.restore(broker, &["--resume", &name])).expect_code(1);
    assert!(
        failed.stderr.contains("has no committed position for"),
        "{failed:#?}"
    );
    assert!(failed.stderr.contains(&format!("{topic}/")), "{failed:#?}");
    assert_eq!(
        consume::offsets(broker, &target, 0),
        written,
        "nothing more is written"
    );
}

#[test]
fn verify_finds_duplicate_and_missing_records() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "meddled-repartition", 2, 4_000);
    let meddle = |meddler: &dyn Fn(&str), code: i32| {
        let target = topics::unique("meddled-target");
        let args = args(&topic, &target, 3);
        let name = stopped(&repo, broker, &args, &target);
        meddler(&target);
        let resume = [
            "--resume",
            &name,
            "--verify",
            "--rate-limit-records",
            "1000000",
        ];
        run(&mut repo.restore(broker, &resume)).expect_code(code)
    };
    let extra: &dyn Fn(&str) = &|target| {
        let extra = samples::plain(samples::now_ms(), "not of the backup");
        produce(broker, "none", (target, 1), [&extra]);
    };
    let finished = meddle(extra, 3);
    let (proof, says) = (finished.json()["proof"].clone(), finished.stderr);
    let differences = [0, 1, 2].map(|partition| proof[partition]["differences"].clone());
    assert_eq!(differences, [0, 1, 0], "{proof}");
    assert!(
        says.contains("/1: ") && says.contains("were not restored"),
        "{says}"
    );

    // Nothing has to be read back to see that.
    let says = meddle(&|target| topics::delete_records(broker, (target, 0), 5), 1).stderr;
    let expected =
        "/0 has lost restored records: expected its log to start at offset 0 or before, found 5";
    assert!(says.contains(expected), "{says}");
}

#[test]
fn groups_skip_nothing_and_the_report_counts_records_read_again() {
    let broker = Broker::shared();
    let (topic, _) = saved(broker, "grouped", 4, 8_000);
    let ends: Vec<i64> = (0..4)
        .map(|partition| consume::offsets(broker, &topic, partition).end)
        .collect();
    let group = |name: &str| format!("{topic}-{name}");
    // Committed offsets by partition; some have none.
    let cases: [(&str, [Option<i64>; 4]); 6] = [
        ("start", [Some(0); 4]),
        ("end", [0, 1, 2, 3].map(|partition| Some(ends[partition]))),
        ("level", [Some(500), Some(510), Some(520), Some(530)]),
        ("uneven", [Some(10), Some(1_000), Some(ends[2]), Some(700)]),
        (
            "partly",
            [Some(ends[0]), None, Some(ends[2]), Some(ends[3])],
        ),
        (
            "last",
            [
                Some(ends[0]),
                Some(ends[1] - 3),
                Some(ends[2]),
                Some(ends[3]),
            ],
        ),
    ];
    for (name, offsets) in &cases {
        let of_it: Vec<_> = (0..)
            .zip(offsets)
            .filter_map(|(partition, offset)| Some((&*topic, partition, (*offset)?, "kept")))
            .collect();
        commit(broker, &group(name), &of_it);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("grouped-restore");
    let pattern = format!("{topic}-*");
    let with_groups = ["--groups", &pattern];
    let report = run(&mut restore(
        &repo,
        broker,
        &args(&topic, &target, 3),
        &with_groups,
    ))
    .expect_code(0);
    assert!(
        report
            .stderr
            .contains(&format!("had no committed offset for {topic}/1")),
        "{report:#?}"
    );
    let report = report.json();
    let name = report["restore"].as_str().expect("a name");
    let moved = assert_repartitioned(broker, &repo, name, (&topic, 4), (&target, 3));
    for (name, offsets) in &cases {
        let planned = report["groups"]["groups"].as_array().expect("an array");
        let planned = planned
            .iter()
            .find(|plan| plan["group"] == group(name))
            .expect("the group");
        let at = committed(
            broker,
            &group(name),
            &[(&target, 0), (&target, 1), (&target, 2)],
        );
        for (partition, (found, metadata)) in (0..).zip(at) {
            let is_read =
                |moved: &&Moved| moved.source.1 < offsets[moved.source.0 as usize].unwrap_or(0);
            let there: Vec<&Moved> = moved
                .iter()
                .filter(|moved| moved.target.0 == partition)
                .collect();
            let unread = there
                .iter()
                .filter(|moved| !is_read(moved))
                .map(|moved| moved.target.1)
                .min();
            let end = there.iter().map(|moved| moved.target.1 + 1).max();
            let expected = unread.or(end).expect("each has records");
            assert_eq!(found, Some(expected), "{name} in {partition}");
            assert_eq!(metadata, "kept");
            let again = there
                .iter()
                .filter(|moved| is_read(moved) && moved.target.1 >= expected);
            let plan = planned["offsets"].as_array().expect("an array");
            let plan = plan
                .iter()
                .find(|plan| plan["target"]["partition"] == partition);
            assert_eq!(
                plan.expect("the partition")["read_again"],
                again.count(),
                "{name} in {partition}"
            );
        }
    }
    // The text output shows how much is read again, and the position of one offset in each partition.
    let shown = repo.kbk(&[
        "groups",
        "restore",
        "--dry-run",
        "-b",
        broker.bootstrap(),
        "--group",
        &group("uneven"),
    ]);
    let shown = run(&mut { shown }).expect_code(0).stdout;
    assert!(
        shown.contains("that were already read will be read again"),
        "{shown}"
    );
    let shown = run(&mut repo.kbk(&["groups", "map", &format!("{topic}/2"), "100"]))
        .expect_code(0)
        .stdout;
    assert_eq!(shown.lines().count(), 4, "{shown}");
    run(&mut repo.kbk(&["groups", "rollback", "-b", broker.bootstrap()])).expect_code(0);
    let back = committed(broker, &group("level"), &[(&target, 0), (&topic, 1)]);
    assert_eq!((back[0].0, back[1].0), (None, Some(510)));
}

#[test]
fn impossible_repartitions_are_rejected() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "bad-repartition", 2, 200);
    let target = topics::unique("other-size");
    topics::create(broker, &target, 4, &[]);
    let refused = |more: &[&str], count: i32, code, says: &str| {
        let mut command = restore(&repo, broker, &args(&topic, &target, count), more);
        let failed = run(&mut command).expect_code(code);
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    };
    refused(&[], 3, 1, "has 4 partitions, not 3");
    refused(&[], 0, 2, "--repartition");
    refused(&[], 2_000_000_000, 2, "--repartition");
    refused(&["--partition-map", "0:1"], 4, 2, "--partition-map");
    refused(&["--verify", "--no-offset-map"], 4, 2, "--no-offset-map");
    let kept = repo.restore(broker, &["--map", &format!("{topic}={target}")]);
    let kept = run(&mut { kept }).expect_code(1);
    assert!(kept.stderr.contains("--repartition 4"), "{kept:#?}");
    // It also works without an offset map, and appends to existing records with --append.
    for more in [
        &["--no-offset-map"][..],
        &["--append", "--no-transactions", "--verify"],
    ] {
        run(&mut restore(&repo, broker, &args(&topic, &target, 4), more)).expect_code(0);
    }
    let found = (0..4).map(|partition| consume::read_all(broker, &target, partition).len());
    assert_eq!(found.sum::<usize>(), 400);
}
