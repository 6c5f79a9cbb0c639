//! A backup stores the same whichever client reads: kbk's own, which also knows why offsets have no record and reads old messages, or
//! librdkafka.

use std::fs;
use std::path::PathBuf;

use kbk_format::{GapReason, Segment};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::logs;
use crate::support::old_log::{LogFolder, gzip, message};
use crate::support::process::run;
use crate::support::produce::{CODECS, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, scenarios, topics};

const CLIENTS: [&str; 2] = ["wire", "librdkafka"];

fn backup(repo: &Repo, broker: &Broker, client: &str, code: i32) -> Value {
    let args = ["--client", client, "--no-groups"];
    run(&mut repo.backup(broker, &args))
        .expect_code(code)
        .json()
}

/// Fails unless two repositories have the same records, covered offsets and losses.
#[track_caller]
fn assert_same(one: &Repo, other: &Repo) {
    let other = other.path();
    let with = other.to_str().expect("a path of text");
    let diff = ["diff", "--records-only", "--with", with];
    run(&mut one.kbk(&diff)).expect_code(0);
}

/// Returns how many offsets of a topic's segments have no record, by the reasons that they state.
fn gaps(repo: &Repo, topic: &str, reason: GapReason) -> u64 {
    let of_segment = |path: PathBuf| {
        let bytes = fs::read(path).expect("a segment");
        let segment = Segment::open_whole(&bytes).expect("an intact segment");
        (segment.header().topic == topic).then(|| segment.gaps().offsets(reason))
    };
    let segments: Vec<u64> = repo.segments().into_keys().filter_map(of_segment).collect();
    assert!(!segments.is_empty(), "segments of {topic}");
    segments.iter().sum()
}

#[test]
fn both_clients_store_the_same_and_continue_each_other() {
    let broker = Broker::start(&[]);
    let names = logs::fill(&broker);
    topics::create(&broker, "hostile", 5, &topics::ANY_TIME);
    for (partition, codec) in (0..).zip(CODECS) {
        let hostile = samples::hostile();
        produce(&broker, codec, ("hostile", partition), &hostile);
    }
    topics::create(&broker, "interleaved", 1, &[]);
    scenarios::interleaved_transactions(&broker, ("interleaved", 0));
    scenarios::compacted_topic_with_gaps(&broker, "compacted");
    scenarios::topic_emptied_by_retention(&broker, "emptied");
    let repos = CLIENTS.map(|client| {
        let repo = Repo::new();
        let report = backup(&repo, &broker, client, 0);
        assert_eq!(report["findings"], json!([]), "{client}");
        repo
    });
    let [wire, librdkafka] = &repos;
    assert_same(wire, librdkafka);
    assert_eq!(wire.verify()["records"], librdkafka.verify()["records"]);
    wire.verify_by_spec();
    let all = names.iter().copied().chain(["interleaved", "compacted"]);
    for topic in all {
        let expected: Vec<(i64, Message)> = consume::read_all(&broker, topic, 0)
            .into_iter()
            .map(|record| (record.offset, record.message))
            .collect();
        assert!(wire.read_by_spec(topic, 0) == expected, "{topic}");
    }
    reasons_are_exact(wire, librdkafka);

    // Each is continued with the other client, which proves that the log is the one that is stored.
    for topic in ["interleaved", "codecs"] {
        let more: Vec<Message> = samples::mixed(3).take(40).collect();
        produce(&broker, "lz4", (topic, 0), &more);
    }
    for (repo, client) in repos.iter().zip(["librdkafka", "wire"]) {
        let report = backup(repo, &broker, client, 0);
        assert_eq!(
            (&report["findings"], &report["records"]),
            (&json!([]), &json!(80))
        );
    }
    assert_same(wire, librdkafka);
    wire.verify_by_spec();
}

/// Offsets of markers and aborted records have their reason, and those that the cleaner removed another one; librdkafka names none.
fn reasons_are_exact(wire: &Repo, librdkafka: &Repo) {
    use GapReason::{NotDelivered, Transaction};
    for (topic, wire_reason) in [
        ("transactions", Transaction),
        ("interleaved", Transaction),
        ("compacted", NotDelivered),
    ] {
        let missing = gaps(librdkafka, topic, NotDelivered);
        assert!(missing > 10, "{topic}: {missing}");
        for reason in [NotDelivered, Transaction] {
            let expected = if reason == wire_reason { missing } else { 0 };
            assert_eq!(gaps(wire, topic, reason), expected, "{topic}: {reason:?}");
        }
    }
}

#[test]
fn messages_of_old_formats_are_read() {
    let mut broker = Broker::start(&[]);
    let time = 1_400_000_000_000;
    let value = |offset: i64| format!("v1-{offset}").into_bytes();
    let plain = |time: Option<i64>, key: Option<&[u8]>| -> Vec<u8> {
        let one = |offset| {
            message(
                offset,
                time.map(|time| time + offset),
                0,
                key,
                Some(&value(offset)),
            )
        };
        (0..5).flat_map(one).collect()
    };
    let keyed = plain(Some(time), Some(b"k"));
    let topics: [(&str, Vec<u8>, Option<i64>, bool); 5] = [
        ("keyed-v1", keyed.clone(), Some(time), true),
        ("keyed-v0", plain(None, Some(b"k")), None, true),
        ("keyless", plain(Some(time), None), Some(time), false),
        ("zero", plain(Some(0), Some(b"k")), Some(0), true),
        (
            "gzip",
            message(4, Some(time + 4), 1, None, Some(&gzip(&keyed))),
            Some(time),
            true,
        ),
    ];
    for (topic, ..) in &topics {
        topics::create(&broker, topic, 1, &[("retention.ms", "-1")]);
    }
    for (topic, bytes, ..) in &topics {
        LogFolder::of(&mut broker, topic, 0).write(bytes);
    }
    broker.restart();
    let repo = Repo::new();
    let report = backup(&repo, &broker, "wire", 0);
    assert_eq!(
        (&report["findings"], &report["records"]),
        (&json!([]), &json!(25))
    );
    repo.verify();
    repo.verify_by_spec();
    for (topic, _, time, is_keyed) in &topics {
        let expected = (0..5).map(|offset| {
            let message = Message {
                timestamp: time.map_or(-1, |time| time + offset),
                key: is_keyed.then(|| b"k".to_vec()),
                value: Some(value(offset)),
                headers: Vec::new(),
            };
            (offset, message)
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(repo.read_by_spec(topic, 0), expected, "{topic}");
    }

    // What is stored is continued from within a compressed set, and by records of today.
    let new: Vec<Message> = samples::mixed(1).take(3).collect();
    for (topic, ..) in &topics {
        produce(&broker, "zstd", (topic, 0), &new);
    }
    let report = backup(&repo, &broker, "wire", 0);
    assert_eq!(
        (&report["findings"], &report["records"]),
        (&json!([]), &json!(15))
    );
    repo.verify_by_spec();

    // A comparison reads them, too.
    let live = |client: &str| {
        let servers = ["-b", broker.bootstrap()];
        let args = ["diff", "--live", "--client", client];
        run(&mut repo.kbk(&[&args[..], &servers].concat()))
    };
    let equal = live("wire").expect_code(0);
    assert!(
        equal
            .stdout
            .starts_with("equal: every record of snapshot 2"),
        "{equal:#?}"
    );
    let refused = live("librdkafka").expect_code(1);
    assert!(refused.stderr.contains("v0 or v1"), "{refused:#?}");
}

#[test]
fn a_property_that_the_client_cannot_honour_is_an_error_that_names_the_other_one() {
    let broker = Broker::shared();
    let topic = topics::unique("properties");
    topics::create(broker, &topic, 1, &[]);
    produce(broker, "none", (&topic, 0), &samples::hostile()[..3]);
    let repo = Repo::missing();
    let args = ["--init", "--topic", &topic, "-X", "client.rack=a"];
    let refused = run(&mut repo.backup(broker, &args)).expect_code(2);
    for part in ["-X: `client.rack`", "--client librdkafka"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(!repo.path().exists(), "nothing is created");
    let args = [&args[..], &["--client", "librdkafka"]].concat();
    run(&mut repo.backup(broker, &args)).expect_code(0);
    let servers = ["-b", broker.bootstrap(), "-X", "client.rack=a"];
    let diff = [&["diff", "--live", "--topic", &topic][..], &servers].concat();
    let refused = run(&mut repo.kbk(&diff)).expect_code(2);
    for part in ["-X: `client.rack`", "--client librdkafka"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let diff = [&diff[..], &["--client", "librdkafka"]].concat();
    run(&mut repo.kbk(&diff)).expect_code(0);
}
