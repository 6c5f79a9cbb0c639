//! A restored topic ends with its saved configuration, except where that would delete what was restored; and a restore that failed leaves
//! no temporary settings for ever.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

const DAY_MS: i64 = 86_400_000;

/// Backs up `count` records of the last 30 days of a topic that keeps everything, and then its configuration with `config` instead. What was
/// backed up stays, although the topic has lost it by then.
fn saved(broker: &Broker, name: &str, count: usize, config: &[(&str, &str)]) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    let start = samples::now_ms() - 30 * DAY_MS;
    let records: Vec<Message> = (0..count)
        .map(|number| Message {
            key: Some(number.to_string().into_bytes()),
            timestamp: start + i64::try_from(number).expect("few"),
            ..samples::plain(0, "old")
        })
        .collect();
    produce(broker, "none", (&topic, 0), &records);
    let repo = Repo::new();
    let args = ["--topic", &topic];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    topics::reconfigure(broker, &topic, config);
    run(&mut repo.backup(broker, &args)).expect_code(0);
    (topic, repo)
}

#[test]
fn restored_records_outlive_their_saved_retention() {
    let broker = Broker::shared();
    let age = ("retention.ms", "86400000");
    let both = ("cleanup.policy", "compact,delete");
    for config in [&[age][..], &[age, both]] {
        let (topic, repo) = saved(broker, "old-records", 100, config);
        let target = topics::unique("old-restored");
        let map = format!("{topic}={target}");
        let mut command = repo.kbk(&["restore", "-b", broker.bootstrap(), "--map", &map]);
        let shown = run(command.arg("--dry-run")).expect_code(0).stdout;
        let says = format!("retention would stay off in {target}: ");
        assert!(shown.contains(&says), "{shown}");
        let report = run(&mut repo.restore(broker, &["--map", &map]))
            .expect_code(0)
            .json();
        assert_eq!(report["retention_off"], json!([target]));
        let saved = &report["retention_saved"][&target];
        assert_eq!(
            saved,
            &json!({"retention.bytes": null, "retention.ms": "86400000"})
        );
        let found = topics::settled_config(broker, &target, |found| {
            !found.contains_key("message.timestamp.type")
        });
        assert_eq!(found["retention.ms"], "-1");
        assert_eq!(
            found.get("cleanup.policy").map(String::as_str),
            config.get(1).map(|both| both.1)
        );
        assert!(!found.contains_key("message.timestamp.type"), "{found:?}");
        // The brokers of these tests delete what exceeds its retention every second.
        let doomed = topics::unique("doomed");
        topics::create(broker, &doomed, 1, &topics::ANY_TIME);
        produce(
            broker,
            "none",
            (&doomed, 0),
            [&samples::plain(samples::now_ms() - 30 * DAY_MS, "old")],
        );
        topics::reconfigure(broker, &doomed, &[age]);
        wait::until("retention", || {
            (consume::offsets(broker, &doomed, 0).start == 1).then_some(())
        });
        assert_eq!(consume::read_all(broker, &target, 0).len(), 100);

        let target = topics::unique("old-as-saved");
        let map = format!("{topic}={target}");
        let mut command = repo.kbk(&["restore", "-b", broker.bootstrap(), "--map", &map]);
        let shown = run(command.arg("--restore-retention"))
            .expect_code(0)
            .stdout;
        assert!(!shown.contains("retention stays off"), "{shown}");
        let found = topics::settled_config(broker, &target, |found| found["retention.ms"] != "-1");
        assert_eq!(found["retention.ms"], "86400000");

        let target = topics::unique("old-for-people");
        let map = format!("{topic}={target}");
        let mut command = repo.kbk(&["restore", "-b", broker.bootstrap(), "--map", &map]);
        let shown = run(&mut command).expect_code(0).stdout;
        let says = format!(
            "--entity-name {target} --add-config retention.ms=86400000 --delete-config retention.bytes"
        );
        assert!(shown.contains(&says), "{shown}");
    }
}

#[test]
fn size_bounds_delete_restored_records_too() {
    let broker = Broker::shared();
    let (topic, repo) = saved(
        broker,
        "bounded",
        1_000,
        &[topics::ANY_TIME[0], ("retention.bytes", "1000")],
    );
    let target = topics::unique("bounded-restored");
    let map = format!("{topic}={target}");
    let report = run(&mut repo.restore(broker, &["--map", &map]))
        .expect_code(0)
        .json();
    assert_eq!(
        report["retention_saved"][&target]["retention.bytes"],
        "1000"
    );
    assert_eq!(consume::read_all(broker, &target, 0).len(), 1_000);
}

#[test]
fn a_restore_that_failed_leaves_no_settings_behind() {
    let broker = Broker::shared();
    let topic = topics::unique("configured");
    let config = [("segment.bytes", "16777216"), ("cleanup.policy", "compact")];
    topics::create(broker, &topic, 1, &config);
    produce_bulk(
        broker,
        "none",
        (&topic, 1),
        samples::documents(1).take(3_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let expected = topics::config(broker, &topic);
    for again in [&["--purge-target", "--yes"][..], &["--only-config"]] {
        let target = topics::unique("configured-target");
        let map = format!("{topic}={target}");
        let slow = ["--map", &map, "--rate-limit-records", "500"];
        let running = Running::spawn(&mut repo.restore(broker, &slow));
        running.wait_until("the first records", || {
            let there = consume::partitions(broker, &target) > 0
                && consume::bounds(broker, &target, 0)[2] > 0;
            there.then_some(())
        });
        // Stopped, not killed: the next restore would have to wait until an open transaction times out.
        running.signal(libc::SIGTERM);
        running.finish().expect_code(143);
        assert_eq!(topics::config(broker, &target)["retention.ms"], "-1");
        let args = [&["--map", &map], again].concat();
        run(&mut repo.restore(broker, &args)).expect_code(0);
        topics::assert_config(broker, &target, &expected);
    }
}

/// Only the topics of Kafka itself show what a topic inherits from the brokers.
#[test]
fn retention_is_restored_where_every_topic_of_the_cluster_has_its_own() {
    let broker = Broker::start(&[]);
    for number in 0..12 {
        let own = [("retention.ms", "-1"), ("retention.bytes", "-1")];
        topics::create(&broker, &format!("a-{number}"), 1, &own);
    }
    topics::create(&broker, "inherits", 1, &[]);
    let record = samples::plain(samples::now_ms(), "a record");
    produce(&broker, "none", ("inherits", 0), [&record]);
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", "inherits"])).expect_code(0);
    run(&mut repo.restore(&broker, &["--map", "inherits=copy"])).expect_code(0);
    topics::assert_config(&broker, "copy", &topics::config(&broker, "inherits"));
}
