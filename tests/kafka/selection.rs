//! Selecting records: a restore writes exactly the selected ones, and a dry run predicts them.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::{Running, run, run_at_terminal};
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::{Message, OwnedRecord};
use crate::support::repo::Repo;
use crate::support::wait::PATIENCE;
use crate::support::{consume, offset_map, samples, topics};

const PARTITIONS: i32 = 4;
const RECORDS: usize = 20_000;
const HOUR_MS: i64 = 3_600_000;

/// A topic of records with unordered timestamps, its backup, and its records.
struct Saved {
    broker: &'static Broker,
    topic: String,
    repo: Repo,
    source: Vec<Vec<OwnedRecord>>,
}

impl Saved {
    fn new(name: &str) -> Saved {
        let broker = Broker::shared();
        let topic = topics::unique(name);
        topics::create(broker, &topic, PARTITIONS, &[]);
        produce_bulk(
            broker,
            "lz4",
            (&topic, PARTITIONS),
            samples::mixed(11).take(RECORDS),
        );
        let repo = Repo::new();
        // With small blocks, most bounds fall inside a block.
        let sizes = ["--block-size", "64KiB", "--segment-size", "1MiB"];
        let args = [&["--topic", &topic][..], &sizes].concat();
        run(&mut repo.backup(broker, &args)).expect_code(0);
        let read = |partition| consume::read_all(broker, &topic, partition);
        let source = (0..PARTITIONS).map(read).collect();
        Saved {
            broker,
            topic,
            repo,
            source,
        }
    }

    /// Restores the selection under a new name, after a dry run that must predict the same, and returns the name.
    fn restore(&self, args: &[&str], expected: &[Option<Vec<&OwnedRecord>>]) -> String {
        let target = topics::unique("chosen");
        let map = format!("{}={target}", self.topic);
        let args = [args, &["--map", &map]].concat();
        let dry = [&args[..], &["--dry-run"]].concat();
        let plan = run(&mut self.repo.restore(self.broker, &dry)).expect_code(0);
        self.check_plan(&plan.json(), expected);
        let verified = [&args[..], &["--verify"]].concat();
        let report = run(&mut self.repo.restore(self.broker, &verified)).expect_code(0);
        let total: usize = expected.iter().flatten().map(Vec::len).sum();
        assert_eq!(report.json()["records"], total, "{args:?}");
        self.check_target(&target, expected, &args);
        self.check_diff(&target, &args);
        target
    }

    fn check_plan(&self, plan: &Value, expected: &[Option<Vec<&OwnedRecord>>]) {
        let planned = plan["topics"][0]["partitions"].as_array().expect("some");
        let chosen = expected.iter().zip(0..);
        let chosen: Vec<_> = chosen
            .filter_map(|(records, partition)| Some((records.as_ref()?, partition)))
            .collect();
        assert_eq!(planned.len(), chosen.len());
        for (planned, (records, partition)) in planned.iter().zip(chosen) {
            assert_eq!(planned["partition"], partition);
            assert_eq!(planned["records"], records.len(), "{planned}");
            assert_eq!(planned["records_exact"], true);
            let number = |name: &str| planned[name].as_u64().expect("a number");
            assert!(number("read_bytes") < number("stored_bytes") || number("blocks") == 0);
            assert!(number("blocks") >= number("segments"));
        }
    }

    fn check_target(&self, target: &str, expected: &[Option<Vec<&OwnedRecord>>], args: &[&str]) {
        assert_eq!(consume::partitions(self.broker, target), PARTITIONS);
        for (expected, partition) in expected.iter().zip(0..) {
            let found = consume::read_all(self.broker, target, partition);
            let found: Vec<&Message> = found.iter().map(|record| &record.message).collect();
            let expected = expected.iter().flatten().map(|record| &record.message);
            assert!(
                found == expected.collect::<Vec<_>>(),
                "{args:?} of {partition}"
            );
        }
    }

    /// Checks that `kbk diff` with the same selection finds no difference.
    fn check_diff(&self, target: &str, args: &[&str]) {
        let bootstrap = self.broker.bootstrap();
        let diff = ["diff", "--live", "-b", bootstrap];
        run(&mut self.repo.kbk(&[&diff, args].concat())).expect_code(0);
        topics::delete(self.broker, target);
    }

    fn refused(&self, args: &[&str], code: i32, says: &str) {
        let failed = run(&mut self.repo.restore(self.broker, args)).expect_code(code);
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    }

    /// Returns Kafka's own offset for a time, or the end offset if no record reaches it.
    fn offset_for_time(&self, partition: i32, time: i64) -> i64 {
        let consumer: BaseConsumer = self.broker.client().create().expect("a consumer");
        let mut asked = TopicPartitionList::new();
        asked
            .add_partition_offset(&self.topic, partition, Offset::Offset(time))
            .expect("a time");
        let found = consumer
            .offsets_for_times(asked, PATIENCE)
            .expect("offsets");
        match found.elements()[0].offset() {
            Offset::Offset(offset) => offset,
            _ => consume::offsets(self.broker, &self.topic, partition).end,
        }
    }

    fn between(&self, partition: i32, offsets: &Range<i64>) -> Vec<&OwnedRecord> {
        let records = self.source[partition as usize].iter();
        records
            .filter(|record| offsets.contains(&record.offset))
            .collect()
    }
}

#[test]
fn only_selected_partitions_are_restored() {
    let saved = Saved::new("some-partitions");
    let of = |partition: i32| Some(saved.between(partition, &(0..i64::MAX)));
    saved.restore(&["--partition", "1,3"], &[None, of(1), None, of(3)]);
    saved.restore(&["--partition", "1-2"], &[None, of(1), of(2), None]);
    let of_topic = format!("{}/0-1,3", saved.topic);
    let args = ["--topic", &of_topic];
    saved.restore(&args, &[of(0), of(1), None, of(3)]);
    let twice = [&args[..], &["--partition", "1"]].concat();
    saved.refused(&twice, 2, "partitions are given twice");
    let whole = [&args[..], &["--only-config"]].concat();
    saved.refused(&whole, 2, "restores whole topics");
    saved.refused(&["--exclude", &of_topic], 2, "only whole topics");
    let says = format!("{} has no partition 4", saved.topic);
    saved.refused(&["--partition", "0,3-9"], 1, &says);
    let beyond = format!("{}/0-2147483647", saved.topic);
    saved.refused(&["--topic", &beyond], 1, &says);
    saved.refused(&["--partition", "3-0"], 2, "is not a list of partitions");
}

#[test]
fn the_offset_for_a_time_is_the_one_that_kafka_returns() {
    let saved = Saved::new("offset-of-time");
    let now = samples::now_ms();
    // Nearly all records follow the first one that is a little late; few follow the first one of now.
    let times = [
        now - 30 * HOUR_MS,
        now - 60_000,
        now - 10_000,
        now + HOUR_MS,
    ];
    let at = |time| -> Vec<i64> {
        let partitions = 0..PARTITIONS;
        partitions
            .map(|partition| saved.offset_for_time(partition, time))
            .collect()
    };
    let within = |ranges: Vec<Range<i64>>| -> Vec<_> {
        let partitions = ranges.iter().zip(0..);
        partitions
            .map(|(range, partition)| Some(saved.between(partition, range)))
            .collect()
    };
    for time in times {
        let word = format!("@{time}ms");
        let until = at(time).into_iter().map(|end| 0..end).collect();
        saved.restore(&["--until-offset-of", &word], &within(until));
        let since = at(time).into_iter().map(|start| start..i64::MAX).collect();
        saved.restore(&["--since-offset-of", &word], &within(since));
    }
    // Combined with a time filter, both bounds apply.
    let (word, filter) = (format!("@{}ms", now - 60_000), now - 12 * HOUR_MS);
    let until = format!("@{filter}ms");
    let ends = at(now - 60_000).into_iter().map(|end| 0..end).collect();
    let mut expected = within(ends);
    for records in expected.iter_mut().flatten() {
        records.retain(|record| record.message.timestamp <= filter);
    }
    saved.restore(&["--until-offset-of", &word, "--until", &until], &expected);
    let earlier = format!("@{filter}ms");
    let args = ["--since-offset-of", &word, "--until-offset-of", &earlier];
    saved.refused(&args, 2, "--since-offset-of is later");
}

#[test]
fn a_file_selects_offset_ranges() {
    let saved = Saved::new("offsets-file");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let write = |lines: &[&str]| {
        let topic = &saved.topic;
        let lines = lines.iter().map(|line| line.replace('T', topic));
        let text = lines.collect::<Vec<_>>().join("\n");
        std::fs::write(path, text).expect("the file can be written");
    };
    write(&["# the bad deploy", "T,0,100,250", "T,2,,7", "T,3,4990,"]);
    let of = |partition, range| Some(saved.between(partition, &range));
    let expected = [of(0, 100..250), None, of(2, 0..7), of(3, 4_990..i64::MAX)];
    saved.restore(&["--offsets", path], &expected);

    write(&["T,0,100,250", "T,1,5,six"]);
    saved.refused(&["--offsets", path], 2, "line 2: `six` is not an offset");
    write(&["", "T,9,,"]);
    saved.refused(&["--offsets", path], 1, "line 2: ");
    write(&["no-such-topic,0,,"]);
    saved.refused(&["--offsets", path], 1, "no-such-topic");
    write(&["T,0,0,5001"]);
    saved.refused(
        &["--offsets", path],
        1,
        "the snapshot covers offsets 0 to 5000 (exclusive)",
    );
}

#[test]
fn a_resumed_restore_keeps_its_selection() {
    let saved = Saved::new("chosen-again");
    let target = topics::unique("chosen-again");
    let (map, time) = (
        format!("{}={target}", saved.topic),
        samples::now_ms() - 60_000,
    );
    let word = format!("@{time}ms");
    let args = ["--partition", "1,2", "--until-offset-of", &word];
    let args = [&args[..], &["--map", &map]].concat();
    // Slow enough to be stopped midway.
    let slow = [&args[..], &["--rate-limit-records", "100"]].concat();
    let running = Running::spawn(&mut saved.repo.restore(saved.broker, &slow));
    running.wait_until("the first records", || {
        let there = consume::partitions(saved.broker, &target) > 0
            && consume::offsets(saved.broker, &target, 1).end > 0;
        there.then_some(())
    });
    running.signal(libc::SIGTERM);
    let stopped = running.finish().expect_code(143).json();
    let restore = stopped["restore"].as_str().expect("a name").to_owned();
    let resume = ["--resume", &restore, "--rate-limit-records", "1000000"];
    let resumed = run(&mut saved.repo.restore(saved.broker, &resume));
    let report = resumed.expect_code(0).json();
    let of = |partition| {
        let end = saved.offset_for_time(partition, time);
        Some(saved.between(partition, &(0..end)))
    };
    let expected = [None, of(1), of(2), None];
    let total: usize = expected.iter().flatten().map(Vec::len).sum();
    assert_eq!(report["records"], total);
    let before = stopped["records"].as_u64().expect("a number");
    assert!(before < total as u64, "{before} of {total}");
    saved.check_target(&target, &expected, &args);
    assert!(offset_map::is_done(&saved.repo, &restore));
}

#[test]
fn topics_are_renamed_by_a_rule() {
    let broker = Broker::shared();
    let run_name = topics::unique("rule");
    let names = ["a", "b"].map(|name| format!("{run_name}-{name}"));
    for name in &names {
        topics::create(broker, name, 1, &[]);
        produce_bulk(broker, "none", (name, 1), samples::mixed(1).take(10));
    }
    let repo = Repo::new();
    let pattern = format!("{run_name}-*");
    run(&mut repo.backup(broker, &["--topic", &pattern])).expect_code(0);
    let rule = format!("{run_name}-(.)={run_name}.$1");
    run(&mut repo.restore(broker, &["--map-regex", &rule])).expect_code(0);
    for name in ["a", "b"] {
        let (source, target) = (format!("{run_name}-{name}"), format!("{run_name}.{name}"));
        consume::assert_same(broker, (&source, &target), 1);
    }
    let mixing = format!("{run_name}-.={run_name}");
    let failed = run(&mut repo.restore(broker, &["--map-regex", &mixing])).expect_code(2);
    assert!(
        failed.stderr.contains("would both be restored"),
        "{failed:#?}"
    );
}

#[test]
fn only_config_restores_topics_without_records() {
    let broker = Broker::shared();
    let topic = topics::unique("config-only");
    let saved = [("retention.ms", "86400000"), ("cleanup.policy", "compact")];
    topics::create(broker, &topic, 3, &saved);
    let keyed = samples::documents(1).take(10);
    produce_bulk(broker, "none", (&topic, 3), keyed);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);

    let target = topics::unique("config-new");
    let map = format!("{topic}={target}");
    let args = ["--only-config", "--map", &map];
    let restore = |args: &[&str]| run(&mut repo.restore(broker, args)).expect_code(0).json();
    let dry = [&args[..], &["--dry-run"]].concat();
    let plan = restore(&dry);
    assert_eq!(plan["topics"][0]["action"]["kind"], "create", "{plan}");
    assert_eq!(consume::partitions(broker, &target), 0);
    let report = restore(&args);
    assert_eq!(report["topics_created"], 1, "{report}");
    assert_eq!(consume::partitions(broker, &target), 3);
    topics::assert_config(broker, &target, &topics::config(broker, &topic));
    for partition in 0..3 {
        assert!(consume::read_all(broker, &target, partition).is_empty());
    }
    assert_eq!(
        restore(&args)["topics_unchanged"],
        1,
        "a second run changes nothing"
    );

    // In an existing topic, only saved settings change.
    topics::reconfigure(
        broker,
        &target,
        &[("retention.ms", "1"), ("segment.ms", "9999999")],
    );
    let plan = restore(&dry);
    let changes = &plan["topics"][0]["action"]["changes"];
    assert_eq!(
        changes["retention.ms"],
        json!({"from": "1", "to": "86400000"})
    );
    assert_eq!(changes["cleanup.policy"]["to"], "compact");
    assert_eq!(changes.as_object().map(|changes| changes.len()), Some(2));
    let shown = repo.kbk(&[&["restore", "-b", broker.bootstrap()][..], &dry].concat());
    let shown = run(&mut { shown }).expect_code(0).stdout;
    assert!(
        shown.contains("retention.ms") && shown.contains("86400000"),
        "{shown}"
    );
    assert_eq!(restore(&args)["topics_changed"], 1);
    let config = topics::settled_config(broker, &target, |config| config["retention.ms"] != "1");
    assert_eq!(config["retention.ms"], "86400000");
    assert_eq!(config["cleanup.policy"], "compact");
    assert_eq!(config["segment.ms"], "9999999", "it is not in the backup");
    assert!(offset_map::restores(&repo).is_empty());
}

#[test]
fn a_rate_limited_restore_keeps_to_the_rate_and_commits_in_time() {
    let broker = Broker::shared();
    let topic = topics::unique("slow");
    topics::create(broker, &topic, 1, &[]);
    produce_bulk(broker, "lz4", (&topic, 1), samples::documents(1).take(300));
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let restore = |args: &[&str]| {
        let target = topics::unique("slow-restore");
        let map = format!("{topic}={target}");
        let command = repo.restore(broker, &[args, &["--map", &map]].concat());
        (target, command)
    };
    let (_, mut dry) = restore(&["--rate-limit", "100kB", "--dry-run"]);
    let plan = run(&mut dry).expect_code(0).json();
    assert_eq!(
        plan["rate_limit"],
        json!({"bytes": 100_000, "records": null})
    );

    // 300 records of about 970 bytes, less a burst of at most a quarter of a second.
    let (target, mut by_bytes) = restore(&["--rate-limit", "100kB"]);
    let began = Instant::now();
    run(&mut by_bytes).expect_code(0);
    assert!(began.elapsed() > Duration::from_millis(2_400));
    consume::assert_same(broker, (&topic, &target), 1);

    // A transaction may stay open for a sixth of its timeout, which is 2 seconds, and this takes 5.
    let short = [
        "--rate-limit-records",
        "60",
        "-X",
        "transaction.timeout.ms=12000",
    ];
    let (target, mut by_records) = restore(&short);
    let began = Instant::now();
    run(&mut by_records).expect_code(0);
    assert!(began.elapsed() > Duration::from_millis(4_500));
    consume::assert_same(broker, (&topic, &target), 1);
    let end = consume::offsets(broker, &target, 0).end;
    assert!(end >= 302, "each transaction leaves a marker: {end}");

    // A signal does not wait for a whole block to be written, and the resumed restore may be faster.
    let (target, mut slow) = restore(&["--rate-limit-records", "5"]);
    let running = Running::spawn(&mut slow);
    running.wait_until("the first records", || {
        let there = consume::partitions(broker, &target) > 0;
        (there && consume::bounds(broker, &target, 0)[2] > 0).then_some(())
    });
    let asked = Instant::now();
    running.signal(libc::SIGTERM);
    running.finish().expect_code(143);
    // All of it would take a minute.
    assert!(asked.elapsed() < Duration::from_secs(15));
    let args = ["--resume", "--rate-limit-records", "100000"];
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    assert_eq!(report["records"], 300);
    consume::assert_same(broker, (&topic, &target), 1);
}

#[test]
fn purge_target_deletes_records_only_after_confirmation() {
    let broker = Broker::shared();
    let topic = topics::unique("purging");
    topics::create(broker, &topic, 2, &[]);
    produce_bulk(broker, "lz4", (&topic, 2), samples::documents(1).take(400));
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("purged");
    let fill = || {
        topics::create(broker, &target, 2, &[]);
        produce_bulk(broker, "none", (&target, 2), samples::mixed(1).take(50));
    };
    fill();
    let map = format!("{topic}={target}");
    let restore = |args: &[&str], code| {
        let args = [args, &["--map", &map]].concat();
        run(&mut repo.restore(broker, &args)).expect_code(code)
    };
    assert!(restore(&[], 1).stderr.contains("--purge-target"));
    let unasked = restore(&["--purge-target"], 2);
    assert!(
        unasked.stderr.contains("no terminal to confirm it"),
        "{unasked:#?}"
    );
    assert!(unasked.stderr.contains("1 topic: "), "{unasked:#?}");
    let plan = restore(&["--purge-target", "--dry-run"], 0).json();
    for partition in 0..2 {
        let planned = &plan["topics"][0]["targets"][partition];
        assert_eq!(planned["purged_records"], 25);
        assert_eq!(planned["offset"], 25);
        assert_eq!(consume::offsets(broker, &target, partition as i32), 0..25);
    }
    // The confirmation is the name of the topic.
    let args = [
        "restore",
        "-b",
        broker.bootstrap(),
        "--purge-target",
        "--map",
        &map,
    ];
    let (ended, shown) = run_at_terminal(repo.kbk(&args), "yes\n");
    assert_eq!(ended.code(), Some(1), "{shown}");
    let asks = format!("Type {target:?} to continue");
    assert!(shown.contains(&asks), "{shown}");
    let refused = format!("nothing was done: expected {target:?}");
    assert!(shown.contains(&refused), "{shown}");
    assert_eq!(consume::offsets(broker, &target, 0), 0..25);
    let (ended, shown) = run_at_terminal(repo.kbk(&args), &format!("{target}\n"));
    assert_eq!(ended.code(), Some(0), "{shown}");
    assert!(
        shown.contains("at most 50 records were deleted from the targets first"),
        "{shown}"
    );
    consume::assert_same(broker, (&topic, &target), 2);
    topics::delete(broker, &target);
    fill();
    let args = ["--purge-target", "--yes", "--verify"];
    let report = restore(&args, 0).json();
    assert_eq!(report["purged_records"], 50);
    consume::assert_same(broker, (&topic, &target), 2);
    assert_eq!(consume::offsets(broker, &target, 0).start, 25);

    // Simulates a kill between begun.json and the deletion.
    let restore_name = report["restore"].as_str().expect("a name");
    for file in ["targets.json", "done.json"] {
        let file = repo.path().join(format!("restores/{restore_name}/{file}"));
        std::fs::remove_file(file).expect("the restore is done");
    }
    topics::delete(broker, &target);
    fill();
    let args = ["--resume", restore_name];
    run(&mut repo.restore(broker, &args)).expect_code(0);
    consume::assert_same(broker, (&topic, &target), 2);
    offset_map::assert_exact(broker, &repo, restore_name, (&topic, &target), 2);

    let compacted = [("cleanup.policy", "compact")];
    topics::reconfigure(broker, &target, &compacted);
    let refused = restore(&["--purge-target", "--yes"], 1);
    assert!(
        refused.stderr.contains("cleanup.policy=compact"),
        "{refused:#?}"
    );
    consume::assert_same(broker, (&topic, &target), 2);
}

#[test]
fn keep_retention_off_leaves_retention_disabled() {
    let broker = Broker::shared();
    let topic = topics::unique("retained");
    let saved = [("retention.ms", "604800000"), ("segment.ms", "8640000")];
    topics::create(broker, &topic, 1, &saved);
    produce_bulk(broker, "none", (&topic, 1), samples::documents(1).take(10));
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    for keep in [false, true] {
        let target = topics::unique("retained-restore");
        let map = format!("{topic}={target}");
        let mut args = vec!["--map", &map];
        if keep {
            args.push("--keep-retention-off");
        }
        let dry = [&args[..], &["--dry-run"]].concat();
        let plan = run(&mut repo.restore(broker, &dry)).expect_code(0).json();
        assert_eq!(plan["topics"][0]["retention_stays_off"], keep);
        let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
        let config = topics::settled_config(broker, &target, |config| {
            !config.contains_key("message.timestamp.type")
        });
        let off: &[&str] = if keep { &[&target] } else { &[] };
        assert_eq!(report["retention_off"], json!(off));
        assert_eq!(
            config["retention.ms"],
            if keep { "-1" } else { "604800000" }
        );
        assert_eq!(config.contains_key("retention.bytes"), keep);
        assert_eq!(config["segment.ms"], "8640000");
        assert!(
            !config.contains_key("message.timestamp.type"),
            "all other settings are as saved"
        );
    }
}

/// Kafka says which topics are its own; Debezium's heartbeats, for example, are not.
#[test]
fn users_topics_may_begin_with_underscores() {
    let broker = Broker::shared();
    let topic = topics::unique("__heartbeat");
    topics::create(broker, &topic, 1, &[]);
    let records: Vec<_> = samples::mixed(1).take(10).collect();
    produce(broker, "none", (&topic, 0), &records);
    let repo = Repo::new();
    let report = run(&mut repo.backup(broker, &["--topic", &format!("{topic}*")]));
    assert_eq!(report.expect_code(0).json()["records"], 10);
    let saved = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    assert_eq!(saved["topics"][0]["internal"], false);
    // Without a pattern, too.
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    run(&mut repo.restore(broker, &["--map", &map])).expect_code(0);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 10);

    for target in ["__consumer_offsets", "__share_group_state"] {
        let map = format!("{topic}={target}");
        for args in [&["--map", &map][..], &["--map", &map, "--only-config"]] {
            let refused = run(&mut repo.restore(broker, args)).expect_code(1);
            let why = format!("{target} is one of Kafka's own topics");
            assert!(refused.stderr.contains(&why), "{refused:#?}");
        }
    }
}
