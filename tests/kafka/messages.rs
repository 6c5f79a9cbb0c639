//! What an engineer reads on stderr: with -q nothing, in an outage a line at its beginning and its end, with -v what happens.

use std::time::Duration;

use crate::metrics::{Exposition, get};
use crate::support::broker::{Broker, free_port};
use crate::support::process::{Finished, Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const PARTITIONS: i32 = 4;

fn topic_of_documents(broker: &Broker, name: &str, records: usize) -> String {
    let topic = topics::unique(name);
    topics::create(broker, &topic, PARTITIONS, &[]);
    let documents = samples::documents(1).take(records);
    produce_bulk(broker, "lz4", (&topic, PARTITIONS), documents);
    topic
}

/// Fails the test if a line is of a library.
#[track_caller]
fn is_of_kbk(finished: &Finished) {
    for raw in [
        "librdkafka",
        "facility",
        "thrd:",
        "in state",
        "Local:",
        "Broker:",
    ] {
        assert!(!finished.stderr.contains(raw), "{raw:?}: {finished:#?}");
    }
}

#[test]
fn q_is_silent_v_explains_and_only_vv_has_librdkafka() {
    let broker = Broker::shared();
    let topic = topic_of_documents(broker, "levels", 1_000);
    let backup = |args: &[&str]| {
        let repo = Repo::new();
        let args = [&["--topic", &topic, "--no-groups"], args].concat();
        let backup = run(&mut repo.backup(broker, &args)).expect_code(0);
        assert_eq!(backup.json()["records"], 1_000);
        (repo, backup)
    };
    let (repo, quiet) = backup(&["-q"]);
    assert_eq!(quiet.stderr, "");
    let map = format!("{topic}={topic}-copy");
    let restore = ["--topic", &topic, "--map", &map, "-q", "--verify"];
    let restored = run(&mut repo.restore(broker, &restore)).expect_code(0);
    assert_eq!(restored.stderr, "");

    let secret = "sasl.password=never-shown";
    let (_, verbose) = backup(&["-v", "-X", secret]);
    is_of_kbk(&verbose);
    let first = format!("{topic}/0");
    for part in [
        "client property bootstrap.servers=",
        "client property sasl.password=[not shown], from -X",
        "connected to ",
        "stored data/",
        &first,
    ] {
        assert!(verbose.stderr.contains(part), "no {part:?}: {verbose:#?}");
    }
    assert!(!verbose.stderr.contains("never-shown"), "{verbose:#?}");

    let (_, all) = backup(&["-vv"]);
    assert!(all.stderr.contains("librdkafka"), "{all:#?}");
    let (_, json) = backup(&["-v", "--log-format", "json"]);
    for line in json.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let target = line["target"].as_str().expect("a target");
        assert!(target.starts_with("kbk"), "{line}");
    }
}

#[test]
fn an_outage_is_reported_once_and_so_is_its_end() {
    const MOST_LINES: usize = 10;
    let mut broker = Broker::start(&[]);
    let topic = topic_of_documents(&broker, "outage", 8_000);
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", &topic, "--no-groups"])).expect_code(0);
    let target = topics::unique("outage-restore");
    let map = format!("{topic}={target}");
    let address = format!("127.0.0.1:{}", free_port());
    let args = [
        "--topic",
        &topic,
        "--map",
        &map,
        "--rate-limit",
        "2MiB",
        "--metrics-addr",
        &address,
    ];
    let running = Running::spawn(&mut repo.restore(&broker, &args));
    running.wait_until("the first records", || {
        let there = consume::partitions(&broker, &target) > 0;
        let written = |partition| consume::offsets(&broker, &target, partition).end > 0;
        (there && (0..PARTITIONS).any(written)).then_some(())
    });
    broker.kill();
    let (reason, metrics) = running.wait_until("the outage to be noticed", || {
        let (status, reason) = get(&address, "/readyz")?;
        let metrics = Exposition::at(&address)?;
        (status == 503).then_some((reason, metrics))
    });
    assert_eq!(reason, "no broker of the cluster answers\n");
    for name in ["kbk_kafka_outage", "kbk_kafka_outages_total"] {
        assert_eq!(metrics.value(name, &[]), 1.0);
    }
    std::thread::sleep(Duration::from_secs(3));
    broker.restart();
    let ended = running.finish().expect_code(0);
    is_of_kbk(&ended);
    let lines = ended.stderr.lines().count();
    assert!(lines <= MOST_LINES, "{lines} lines: {ended:#?}");
    for part in ["can be reached", "the cluster answers again"] {
        assert_eq!(ended.stderr.matches(part).count(), 1, "{part}: {ended:#?}");
    }
    consume::assert_same(&broker, (&topic, &target), PARTITIONS);
}
