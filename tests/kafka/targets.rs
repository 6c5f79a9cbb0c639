//! A restore notices what happens to its targets: topics that are emptied, or deleted and created again, before it is resumed or while it
//! runs, and other restores into the same topic.

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, offset_map, samples, topics};

const PARTITIONS: i32 = 2;
const RECORDS: usize = 6_000;

/// Creates a topic with records and backs it up.
fn saved(broker: &Broker, name: &str) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, PARTITIONS, &[]);
    let records = samples::mixed(9).take(RECORDS);
    produce_bulk(broker, "lz4", (&topic, PARTITIONS), records);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    (topic, repo)
}

/// Starts a restore that writes at most `rate` records per second.
fn slow(broker: &Broker, repo: &Repo, map: &str, rate: &str, args: &[&str]) -> Running {
    let slow = ["--map", map, "--rate-limit-records", rate];
    Running::spawn(&mut repo.restore(broker, &[&slow, args].concat()))
}

/// Starts a restore that would take half a minute, and waits until the log of a partition of its target has records, committed or not.
fn begun(broker: &Broker, repo: &Repo, (map, target): (&str, &str), args: &[&str]) -> Running {
    let running = slow(broker, repo, map, "200", args);
    wait_for_records(&running, broker, target);
    running
}

#[track_caller]
fn wait_for_records(running: &Running, broker: &Broker, target: &str) {
    running.wait_until("the first records", || {
        let there = consume::partitions(broker, target) == PARTITIONS;
        let filled = |partition| consume::bounds(broker, target, partition)[2] > 0;
        (there && (0..PARTITIONS).any(filled)).then_some(())
    });
}

fn records(broker: &Broker, target: &str) -> usize {
    let records = (0..PARTITIONS).map(|partition| consume::read_all(broker, target, partition));
    records.map(|records| records.len()).sum()
}

#[test]
fn a_target_that_has_changed_is_not_resumed() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "changed-meanwhile");
    let empty: fn(&Broker, &str) = |broker, target| {
        for partition in 0..PARTITIONS {
            let [_, _, end] = consume::bounds(broker, target, partition);
            topics::delete_records(broker, (target, partition), end);
        }
    };
    let delete: fn(&Broker, &str) = |broker, target| topics::delete(broker, target);
    let create_again: fn(&Broker, &str) = |broker, target| {
        topics::delete(broker, target);
        topics::create(broker, target, PARTITIONS, &[]);
    };
    let compact: fn(&Broker, &str) = |broker, target| {
        topics::reconfigure(
            broker,
            target,
            &[("cleanup.policy", "compact"), ("retention.ms", "-1")],
        );
    };
    for (change, says) in [
        (compact, "expected cleanup.policy=delete"),
        (empty, "expected its log to start at offset 0 or before"),
        (delete, "found no such topic"),
        (create_again, "expected topic id"),
    ] {
        let target = topics::unique("changed-target");
        let map = format!("{topic}={target}");
        let running = begun(broker, &repo, (&map, &target), &[]);
        running.signal(libc::SIGTERM);
        let stopped = running.finish().expect_code(143).json();
        let restore = stopped["restore"].as_str().expect("a name");
        change(broker, &target);
        let failed = run(&mut repo.restore(broker, &["--resume", restore])).expect_code(1);
        assert!(failed.stderr.contains(says), "{failed:#?}");
        assert!(failed.stderr.contains(&target), "{failed:#?}");
        assert!(
            failed.stderr.contains("restore again from the start"),
            "{failed:#?}"
        );
        assert!(!offset_map::is_done(&repo, restore));
    }
    repo.verify();
    repo.verify_by_spec();
}

/// A program that manages topics may set what a restore has not.
#[test]
fn timestamps_that_the_cluster_may_have_replaced_fail_the_restore() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "restamped");
    let target = topics::unique("restamped-target");
    let map = format!("{topic}={target}");
    // It notices that when it has written all records.
    let running = slow(broker, &repo, &map, "800", &[]);
    wait_for_records(&running, broker, &target);
    let any_time = topics::ANY_TIME;
    let config = [
        &any_time[..],
        &[("message.timestamp.type", "LogAppendTime")],
    ]
    .concat();
    topics::reconfigure(broker, &target, &config);
    running.assert_runs("the configuration is another");
    let failed = running.finish().expect_code(1);
    for says in [
        "may have replaced timestamps",
        "found LogAppendTime",
        "restore again",
    ] {
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    }
    let again = run(&mut repo.restore(broker, &["--resume"])).expect_code(1);
    assert!(again.stderr.contains("found LogAppendTime"), "{again:#?}");
}

#[test]
fn a_target_that_is_created_again_meanwhile_fails_the_restore() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "created-again");
    for args in [&[][..], &["--no-transactions"]] {
        let target = topics::unique("created-again-target");
        let map = format!("{topic}={target}");
        // It may notice that only when it commits the last records.
        let running = slow(broker, &repo, &map, "600", args);
        wait_for_records(&running, broker, &target);
        topics::delete(broker, &target);
        running.assert_runs("the topic is deleted");
        topics::create(broker, &target, PARTITIONS, &[]);
        let failed = running.finish().expect_code(1);
        assert!(failed.stderr.contains(&target), "{failed:#?}");
    }
    repo.verify();
}

#[test]
fn two_restores_into_one_empty_topic_do_not_both_succeed() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "restored-twice");
    for args in [&[][..], &["--no-transactions"]] {
        let target = topics::unique("restored-twice-target");
        topics::create(broker, &target, PARTITIONS, &[]);
        let map = format!("{topic}={target}");
        let both = [(); 2].map(|()| slow(broker, &repo, &map, "1500", args));
        let both = both.map(Running::finish);
        let codes = both.each_ref().map(|run| run.status.code());
        assert!(codes.iter().any(|code| *code != Some(0)), "{both:#?}");
        if codes.contains(&Some(0)) {
            assert_eq!(records(broker, &target), RECORDS, "{both:#?}");
        }
    }
    repo.verify();
}

#[test]
fn a_restore_leaves_no_claim_behind() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "claimed");
    let target = topics::unique("claimed-target");
    topics::create(broker, &target, PARTITIONS, &[]);
    repo.restore_as(broker, &[(&topic, &target)]);
    let described = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--all-groups"],
    );
    assert!(!described.contains(&target), "{described}");
    assert_eq!(records(broker, &target), RECORDS);
    repo.verify_by_spec();
}

/// The cluster validates the creation of one topic at a time.
#[test]
fn topics_whose_names_collide_in_metrics_are_reported_before_any_is_created() {
    let broker = Broker::shared();
    let prefix = topics::unique("collide");
    let [one, two] = ["one", "two"].map(|name| format!("{prefix}-{name}"));
    for topic in [&one, &two] {
        topics::create(broker, topic, 1, &[]);
    }
    let repo = Repo::new();
    let all = format!("{prefix}-*");
    run(&mut repo.backup(broker, &["--topic", &all])).expect_code(0);
    let targets = [format!("{prefix}.copy"), format!("{prefix}_copy")];
    let maps = [
        format!("{one}={}", targets[0]),
        format!("{two}={}", targets[1]),
    ];
    for args in [&[][..], &["--dry-run"], &["--only-config"]] {
        let args = [&["--map", &maps[0], "--map", &maps[1]], args].concat();
        let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
        let says = "their names differ in . and _ only";
        assert!(refused.stderr.contains(says), "{refused:#?}");
        for target in &targets {
            assert_eq!(consume::partitions(broker, target), 0);
        }
    }
}
