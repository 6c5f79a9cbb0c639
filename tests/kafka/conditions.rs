//! Conditions that public bug reports about Kafka tools describe, made on a real broker: unusual records, and unusual logs.

use std::fs;

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::old_log::{LogFolder, gzip, message};
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::{Header, Message, TimestampType, messages};
use crate::support::repo::Repo;
use crate::support::samples::{now_ms, plain};
use crate::support::{consume, offset_map, topics, wire};

const HOUR_MS: i64 = 3_600_000;

/// Accepts any record.
const ANYTHING: [(&str, &str); 4] = [
    ("retention.ms", "-1"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("max.message.bytes", "20000000"),
];

/// How topics keep batches. What comes compressed is stored as it is, without a look at its records; `zstd` makes the brokers compress
/// everything, however small it is.
const KEPT: [&str; 2] = ["producer", "zstd"];

fn topic(broker: &Broker, name: &str) -> String {
    topic_kept(broker, name, "producer")
}

/// Creates a topic that keeps batches in one of the ways of [`KEPT`].
fn topic_kept(broker: &Broker, name: &str, kept: &str) -> String {
    let topic = topics::unique(name);
    let config = [&ANYTHING[..], &[("compression.type", kept)]].concat();
    topics::create(broker, &topic, 1, &config);
    topic
}

/// Sends a batch as a producer does whose topic keeps it so. Brokers would refuse some of these records if they had to compress them anew.
fn send(broker: &Broker, topic: &str, messages: &[Message], kept: &str) {
    match kept {
        "zstd" => wire::produce_zstd(broker, (topic, 0), messages),
        _ => wire::produce(broker, (topic, 0), messages),
    }
}

/// Backs topics up, as a user does who gives no option, and returns the report.
fn backup(broker: &Broker, repo: &Repo, names: &[&str], kept: &str) -> Value {
    let mut backup = repo.backup(broker, &[]);
    for name in names {
        backup.args(["--topic", name]);
    }
    let report = run(&mut backup).expect_code(0).json();
    let is_default = std::env::var("KBK_TEST_ENCODING").is_err();
    if is_default && report["records"] != 0 {
        let is_computed = report["not_computed_segments"] == 0;
        assert_eq!(is_computed, kept == "producer", "{report}");
    }
    report
}

fn stored(repo: &Repo, topic: &str) -> Vec<Message> {
    let records = repo.read_by_spec(topic, 0).into_iter();
    records.map(|(_, message)| message).collect()
}

/// Restores a topic with a proof, and backs the copy up, which the Python reader must find to be the same.
fn copied(broker: &Broker, repo: &Repo, topic: &str) -> String {
    let copy = format!("{topic}-copy");
    let map = format!("{topic}={copy}");
    let args = ["--topic", topic, "--map", &map, "--verify"];
    run(&mut repo.restore(broker, &args)).expect_code(0);
    let again = Repo::new();
    run(&mut again.backup(broker, &["--topic", &copy])).expect_code(0);
    assert_eq!(stored(&again, &copy), stored(repo, topic), "{topic}");
    copy
}

#[test]
fn unusual_timestamps_and_headers_are_exact() {
    for kept in KEPT {
        unusual_records_are_exact(kept);
    }
}

fn unusual_records_are_exact(kept: &str) {
    let broker = Broker::shared();
    let names = ["no-time", "any-time", "any-header"].map(|name| topic_kept(broker, name, kept));
    let [no_time, any_time, any_header] = &names;
    let now = now_ms();

    let untimed = [plain(-1, "a"), plain(now, "b"), plain(-1, "c")];
    send(broker, no_time, &untimed, kept);
    let times = [
        now,
        now * 1_000_000,
        253_402_300_800_000,
        i64::MAX,
        -62_135_596_800_001,
        i64::MIN,
        -2,
        now + 1,
    ];
    let timed = times.map(|time| plain(time, &time.to_string()));
    for message in &timed {
        send(broker, any_time, std::slice::from_ref(message), kept);
    }
    let headed = headed(now);
    send(broker, any_header, &headed, kept);

    let repo = Repo::new();
    backup(broker, &repo, &[no_time, any_time, any_header], kept);
    repo.verify();
    repo.verify_by_spec();
    assert_eq!(stored(&repo, no_time), untimed);
    assert_eq!(stored(&repo, any_time), timed);
    assert_eq!(stored(&repo, any_header), headed);
    for name in &names {
        let copy = copied(broker, &repo, name);
        // librdkafka cuts a name at a NUL when it reads, so those headers are compared by the second backup alone.
        if name != any_header {
            consume::assert_same(broker, (name, &copy), 1);
        }
    }

    let listed = run(&mut repo.kbk(&["ls", no_time])).expect_code(0);
    // The smallest timestamp of batches that are stored as they are is computed later.
    let first = if kept == "producer" {
        " none "
    } else {
        " unknown "
    };
    assert!(listed.stdout.contains(first), "{listed:#?}");
    assert!(!listed.stdout.contains("1969"), "{listed:#?}");
    let cat = |topic: &str, args: &[&str]| {
        let printed = run(repo.kbk(&["cat", topic]).args(args)).expect_code(0);
        let values = printed.stdout.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["value"].as_str().expect("text").to_owned()
        });
        (values.collect::<Vec<_>>(), printed.stderr)
    };
    assert_eq!(cat(no_time, &["--until", "1h"]).0, ["a", "c"]);
    assert_eq!(cat(no_time, &["--since", "1h"]).0, ["b"]);
    let until = format!("@{}ms", now + 1);
    let sane = [now, now + 1].map(|time| time.to_string());
    assert_eq!(cat(any_time, &["--since", "1h", "--until", &until]).0, sane);
    let (_, stderr) = cat(any_time, &[]);
    assert!(stderr.contains("9007199254740991"), "{stderr}");

    // A target that deletes by age is no obstacle to records that have none.
    let only = topic(broker, "only-untimed");
    wire::produce(broker, (&only, 0), &[plain(-1, "a"), plain(-1, "b")]);
    run(&mut repo.backup(broker, &["--topic", &only])).expect_code(0);
    let aging = topics::unique("aging");
    topics::create(broker, &aging, 1, &[("retention.ms", "86400000")]);
    let map = format!("{only}={aging}");
    let args = ["--topic", &only, "--map", &map, "--verify"];
    run(&mut repo.restore(broker, &args)).expect_code(0);
}

/// Headers as other clients may send them.
fn headed(time: i64) -> Vec<Message> {
    let header = |name: &[u8], value: Option<&[u8]>| (name.to_vec(), value.map(<[u8]>::to_vec));
    let many = (0..70_000).map(|n| header(format!("h{}", n % 7).as_bytes(), Some(b"x")));
    let lists: [Vec<Header>; 4] = [
        vec![
            header(b"", Some(b"the name is empty")),
            header(b"\0", None),
            header(b"a\0b", Some(b"")),
            header(b"a", Some(b"\0")),
        ],
        vec![header(&[b'n'; 40_000], Some(&[b'v'; 40_000]))],
        vec![header(b"", None); 3],
        many.collect(),
    ];
    let with = |headers| Message {
        headers,
        ..plain(time, "with headers")
    };
    lists.map(with).into()
}

/// One bogus timestamp widens the block that it is in, and no other.
#[test]
fn a_bogus_timestamp_does_not_make_a_time_range_read_everything() {
    for kept in KEPT {
        reads_only_what_may_be_in_range(kept);
    }
}

fn reads_only_what_may_be_in_range(kept: &str) {
    let broker = Broker::shared();
    let topic = topic_kept(broker, "one-bogus", kept);
    let start = now_ms() - 24 * HOUR_MS;
    let filler = "x".repeat(1000);
    let mut sent: Vec<Message> = (0..2400)
        .map(|n| plain(start + n * HOUR_MS / 100, &filler))
        .collect();
    sent.insert(500, plain(i64::MAX, "bogus"));
    produce(broker, "none", (&topic, 0), &sent);
    let repo = Repo::new();
    let args = ["--topic", &topic, "--block-size", "64KiB"];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    let map = format!("{topic}={topic}-of-time");
    let plan = |args: &[&str]| {
        let args = [&["--dry-run", "--map", &map], args].concat();
        let plan = run(&mut repo.restore(broker, &args)).expect_code(0).json();
        let partition = &plan["topics"][0]["partitions"][0];
        let count = |name: &str| partition[name].as_u64().expect("a count");
        (count("records"), count("blocks"))
    };
    let (all, blocks) = plan(&[]);
    assert_eq!(all, 2401);
    let [since, until] = [20, 21].map(|hour| format!("@{}ms", start + hour * HOUR_MS));
    let (records, read) = plan(&["--since", &since, "--until", &until]);
    assert_eq!(records, 101);
    // Batches that are stored as they are come larger than what fills a block by field.
    let few = if kept == "producer" { 4 } else { 2 };
    assert!(read * few < blocks, "{read} of {blocks} blocks");
}

#[test]
fn a_log_that_ends_with_a_marker_is_read_to_its_end() {
    for kept in KEPT {
        is_read_to_the_marker(kept);
    }
}

fn is_read_to_the_marker(kept: &str) {
    let broker = Broker::shared();
    let committed = topic_kept(broker, "ends-with-commit", kept);
    let aborted = topic_kept(broker, "ends-with-abort", kept);
    let producer = Producer::transactional(broker, "none", &topics::unique("marker"));
    let sent: Vec<Message> = (0..20).map(|n| plain(now_ms(), &n.to_string())).collect();
    producer.begin();
    sent.iter()
        .for_each(|one| producer.send(&committed, 0, one));
    producer.commit();
    producer.begin();
    producer.send(&aborted, 0, &sent[0]);
    producer.abort();
    let repo = Repo::new();
    for records in [20, 0] {
        let report = backup(broker, &repo, &[&committed, &aborted], kept);
        assert_eq!(report["records"], records, "{report}");
    }
    repo.verify();
    assert_eq!(stored(&repo, &committed), sent);
    assert_eq!(stored(&repo, &aborted), []);
    let cat = run(&mut repo.kbk(&["cat", &committed, "--offset", "-1"])).expect_code(0);
    assert_eq!(cat.stdout, "", "the last offset has no record");

    let [once, plain] = ["once", "plain"].map(|name| format!("{committed}-{name}"));
    for (target, option) in [(&once, None), (&plain, Some("--no-transactions"))] {
        let map = format!("{committed}={target}");
        let mut restore = repo.restore(broker, &["--topic", &committed, "--map", &map]);
        run(restore.arg("--verify").args(option)).expect_code(0);
        let diff = ["diff", "--live", "--json", "-b", broker.bootstrap()];
        let mut diff = repo.kbk(&diff);
        diff.args(["--topic", &committed, "--map", &map]);
        let compared = run(&mut diff).expect_code(0).json();
        assert_eq!(compared["partitions"][0]["found"], 20, "{compared}");
    }
    assert_eq!(consume::offsets(broker, &once, 0), 0..21, "a marker");
    assert_eq!(consume::offsets(broker, &plain, 0), 0..20, "no marker");
    let help = run(&mut repo.kbk(&["restore", "--help"])).expect_code(0);
    for says in ["marker", "a lag of 1", "_schemas", "--no-transactions"] {
        assert!(help.stdout.contains(says), "{says}: {}", help.stdout);
    }
}

/// Kafka bounds a batch as it is stored, and a client what it becomes.
#[test]
fn a_small_batch_that_becomes_huge_is_read_or_the_limit_is_named() {
    const LIMIT: &str = "receive.message.max.bytes=10000000";
    let broker = Broker::shared();
    let topic = topic(broker, "inflating");
    let zeros = Message {
        value: Some(vec![0; 1_000_000]),
        ..plain(now_ms(), "")
    };
    let messages = vec![zeros; 60];
    wire::produce_zstd(broker, (&topic, 0), &messages);
    assert!(topics::stored_bytes(broker, &topic) < 10_000);
    let after = plain(now_ms(), "after");
    produce(broker, "none", (&topic, 0), [&after]);

    let repo = Repo::new();
    let args = ["--topic", &topic, "-X", LIMIT, "--client", "librdkafka"];
    let limited = run(&mut repo.backup(broker, &args)).expect_code(3);
    let says = "it may exceed `receive.message.max.bytes` of 10000000 bytes once it is decompressed: leave that property out";
    assert!(limited.stderr.contains(says), "{limited:#?}");
    assert!(
        limited.stderr.contains(&format!("{topic}/0")),
        "{limited:#?}"
    );
    assert!(stored(&repo, &topic).is_empty());
    run(&mut repo.kbk(&["verify"])).expect_code(3);

    // To kbk's own client, the property limits what is received.
    run(&mut repo.backup(broker, &["--topic", &topic, "-X", LIMIT])).expect_code(0);
    let all = [messages, vec![after]].concat();
    assert!(stored(&repo, &topic) == all, "every record is stored");
    run(&mut repo.kbk(&["verify"])).expect_code(0);
    let map = format!("{topic}={topic}-copy");
    let report = run(&mut repo.restore(broker, &["--map", &map, "--verify"])).expect_code(0);
    assert_eq!(report.json()["proof"][0]["found"], 61);
}

#[test]
fn headers_of_another_replicator_are_left_out_and_all_else_is_exact() {
    for kept in KEPT {
        only_these_headers_are_left_out(kept);
    }
}

fn only_these_headers_are_left_out(kept: &str) {
    let broker = Broker::shared();
    let topic = topic_kept(broker, "replicated", kept);
    let header = |name: &str, value: Option<&str>| {
        (
            name.as_bytes().to_vec(),
            value.map(|value| value.as_bytes().to_vec()),
        )
    };
    let sent: Vec<Message> = (0..600)
        .map(|n| Message {
            key: (n % 3 > 0).then(|| format!("key-{n}").into_bytes()),
            headers: vec![
                header("trace", Some("1")),
                header("x-offset", Some(&n.to_string())),
                header("trace", None),
                header("x-topic", None),
            ],
            ..plain(now_ms(), "replicated")
        })
        .collect();
    produce(broker, "none", (&topic, 0), &sent);
    let mut expected = sent.clone();
    for message in &mut expected {
        message.headers.retain(|(name, _)| name == b"trace");
    }
    let repo = Repo::new();
    backup(broker, &repo, &[&topic], kept);
    assert_eq!(stored(&repo, &topic), sent, "the backup keeps them");
    let drop = ["--drop-header", "x-offset", "--drop-header", "x-topic"];
    let [whole, resumed, unmapped, keyed] =
        ["whole", "resumed", "unmapped", "keyed"].map(|name| format!("{topic}-{name}"));
    let restore = |target: &str, args: &[&str]| {
        let mut restore = repo.restore(broker, &["--map", &format!("{topic}={target}")]);
        restore.args(drop).args(args);
        restore
    };
    let is_exact = |target: &str| {
        let found = messages(consume::read_all(broker, target, 0));
        assert!(found == expected, "{target}");
    };
    let report = run(&mut restore(&whole, &["--verify"]))
        .expect_code(0)
        .json();
    assert_eq!(report["dropped_headers"], 1200, "{report}");
    is_exact(&whole);
    run(&mut restore(&keyed, &["--repartition", "3", "--verify"])).expect_code(0);

    // A resumed restore keeps to it.
    let slow = Running::spawn(&mut restore(&resumed, &["--rate-limit-records", "100"]));
    slow.wait_until("the first records", || {
        let begun = consume::partitions(broker, &resumed) > 0;
        // They are in an open transaction: below the high watermark.
        (begun && consume::bounds(broker, &resumed, 0)[2] > 0).then_some(())
    });
    slow.signal(libc::SIGINT);
    slow.finish().expect_code(130);
    let mut names = offset_map::restores(&repo).into_iter();
    let name = names.find(|name| !offset_map::is_done(&repo, name));
    let name = name.expect("an unfinished restore");
    let begun = repo.path().join("restores").join(name).join("begun.json");
    let begun: Value =
        serde_json::from_slice(&fs::read(begun).expect("it is there")).expect("JSON");
    assert_eq!(
        begun["drop_headers"],
        serde_json::json!(["x-offset", "x-topic"])
    );
    let resume = ["--resume", "--verify", "--rate-limit-records", "100000"];
    run(&mut repo.restore(broker, &resume)).expect_code(0);
    is_exact(&resumed);

    // A comparison knows the names from the restore, or from its own option.
    run(&mut restore(&unmapped, &["--no-offset-map"])).expect_code(0);
    let told: &[&str] = &drop;
    for (target, args, code) in [
        (&whole, &[][..], 0),
        (&unmapped, told, 0),
        (&unmapped, &[], 3),
    ] {
        let map = format!("{topic}={target}");
        let diff = ["diff", "--live", "-b", broker.bootstrap(), "--map", &map];
        run(repo.kbk(&diff).args(args)).expect_code(code);
    }
}

/// A broker of its own: the log is edited while it is stopped.
#[test]
fn offsets_beyond_four_and_nine_quadrillion_are_exact() {
    const OFFSETS: [i64; 3] = [0, 5_000_000_000, (1 << 53) + 10];
    for kept in KEPT {
        distant_offsets_are_exact(kept, OFFSETS);
    }
}

fn distant_offsets_are_exact(kept: &str, offsets: [i64; 3]) {
    let mut broker = Broker::start(&[("compression.type", kept)]);
    topics::create(&broker, "gap", 1, &ANYTHING);
    let sent = ["a", "b", "c"].map(|value| plain(now_ms(), value));
    for message in &sent {
        produce(&broker, "none", ("gap", 0), [message]);
    }
    broker.stop();
    broker.move_batches("gap", 0, &offsets);
    broker.restart();

    let repo = Repo::new();
    backup(&broker, &repo, &["gap"], kept);
    repo.verify();
    repo.verify_by_spec();
    let expected: Vec<_> = offsets.into_iter().zip(sent.clone()).collect();
    assert_eq!(repo.read_by_spec("gap", 0), expected);
    let listed = run(&mut repo.kbk(&["ls", "gap", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(listed["partitions"][0]["end_offset"], offsets[2] + 1);
    let last = offsets[2].to_string();
    let cat = run(&mut repo.kbk(&["cat", "gap", "--offset", &last])).expect_code(0);
    assert!(
        cat.stdout.contains(&format!("\"offset\":{last},")),
        "{cat:#?}"
    );
    assert!(cat.stderr.contains("9007199254740991"), "{cat:#?}");

    run(&mut repo.restore(&broker, &["--map", "gap=copy", "--verify"])).expect_code(0);
    assert_eq!(messages(consume::read_all(&broker, "copy", 0)), sent);
    for map in ["gap=gap", "gap=copy"] {
        let diff = [
            "diff",
            "--live",
            "--json",
            "-b",
            broker.bootstrap(),
            "--map",
            map,
        ];
        let compared = run(&mut repo.kbk(&diff)).expect_code(0).json();
        assert_eq!(compared["partitions"][0]["found"], 3, "{compared}");
    }
    // The next run continues above the gap.
    produce(&broker, "none", ("gap", 0), [&plain(now_ms(), "d")]);
    let report = run(&mut repo.backup(&broker, &["--topic", "gap"]))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], 1, "{report}");
    assert_eq!(repo.read_by_spec("gap", 0)[3].0, offsets[2] + 1);
}

#[test]
fn a_log_whose_timestamp_type_changed_and_changed_back_is_exact() {
    let broker = Broker::shared();
    let topic = topic(broker, "type-changed");
    let now = now_ms();
    let with = |time_type: &'static str| {
        let others = ANYTHING.into_iter();
        others
            .chain([("message.timestamp.type", time_type)])
            .collect::<Vec<_>>()
    };
    let old = |text: &str| plain(now - 1_000 * HOUR_MS, text);
    for (time_type, text) in [
        ("CreateTime", "before"),
        ("LogAppendTime", "between"),
        ("CreateTime", "after"),
    ] {
        topics::reconfigure(broker, &topic, &with(time_type));
        produce(broker, "lz4", (&topic, 0), &[old(text), old(text)]);
    }
    let there = consume::read_all(broker, &topic, 0);
    let appended: Vec<bool> = there
        .iter()
        .map(|record| record.timestamp_type == TimestampType::LogAppendTime)
        .collect();
    assert_eq!(appended, [false, false, true, true, false, false]);
    let there = messages(there);
    assert!(there[2].timestamp >= now && there[4].timestamp < now);
    for encoding in ["batches", "records"] {
        let repo = Repo::new();
        let args = ["--topic", &topic, "--encoding", encoding];
        run(&mut repo.backup(broker, &args)).expect_code(0);
        repo.verify();
        assert_eq!(stored(&repo, &topic), there, "{encoding}");
        let copy = topics::unique("type-changed-copy");
        let map = format!("{topic}={copy}");
        let until = format!("@{}ms", now - 1);
        for (more, kept) in [(&[][..], 0..6), (&["--until", &until], 0..2)] {
            // The offsets up to the first record at that time or later.
            let (copy, map) = match more.is_empty() {
                true => (copy.clone(), map.clone()),
                false => (format!("{copy}-until"), format!("{map}-until")),
            };
            let args = ["--topic", &topic, "--map", &map, "--verify"];
            run(&mut repo.restore(broker, &[&args[..], more].concat())).expect_code(0);
            let restored = messages(consume::read_all(broker, &copy, 0));
            let expected: Vec<Message> = match more.is_empty() {
                true => there[kept].to_vec(),
                false => there
                    .iter()
                    .filter(|it| it.timestamp < now)
                    .cloned()
                    .collect(),
            };
            assert_eq!(restored, expected, "{encoding} {more:?}");
        }
    }
}

/// Kafka 4 refuses records an hour ahead unless the topic says otherwise.
#[test]
fn records_of_the_future_are_restored_where_the_brokers_refuse_them() {
    let broker = Broker::start(&[("log.message.timestamp.after.max.ms", "3600000")]);
    for kept in KEPT {
        let topic = topic_kept(&broker, "future", kept);
        let ahead = [plain(now_ms() + 90_000 * HOUR_MS, "ahead")];
        produce(&broker, "none", (&topic, 0), &ahead);
        // From now on the limit of the brokers applies, to copies as well.
        let config = [("retention.ms", "-1"), ("compression.type", kept)];
        topics::reconfigure(&broker, &topic, &config);
        let repo = Repo::new();
        backup(&broker, &repo, &[&topic], kept);
        let copy = copied(&broker, &repo, &topic);
        let saved = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
        topics::assert_config(&broker, &copy, &saved.into());
        assert_eq!(messages(consume::read_all(&broker, &copy, 0)), ahead);
    }
}

#[test]
fn topics_with_unusual_names_are_told_apart() {
    let (broker, other) = (Broker::shared(), Broker::start(&[]));
    let unique = topics::unique("Name");
    let long = format!("{unique}{}", "x".repeat(249 - unique.len()));
    // A broker takes `.` and `_` for each other in names, and no others: the third and the fourth differ in case alone.
    let names = [
        "...".to_owned(),
        format!("-{unique}"),
        unique.clone(),
        unique.to_lowercase(),
        long,
    ];
    let repo = Repo::new();
    let mut backup = repo.backup(broker, &[]);
    for (number, name) in names.iter().enumerate() {
        topics::create(broker, name, 1, &[]);
        let message = plain(now_ms(), &number.to_string());
        produce(broker, "none", (name, 0), &[message]);
        backup.arg(format!("--topic={name}"));
    }
    let report = run(&mut backup).expect_code(0).json();
    assert_eq!(report["records"], names.len(), "{report}");
    repo.verify();
    repo.verify_by_spec();
    run(&mut repo.restore(&other, &["--verify"])).expect_code(0);
    for (number, name) in names.iter().enumerate() {
        let restored = messages(consume::read_all(&other, name, 0));
        assert_eq!(restored.len(), 1, "{name}");
        let value = restored[0].value.as_deref();
        assert_eq!(value, Some(number.to_string().as_bytes()), "{name}");
    }
}

/// A broker of its own, since it is killed: its disk holds what it served.
#[test]
fn an_import_of_these_conditions_equals_the_backup() {
    let mut broker = Broker::start(&[]);
    let now = now_ms();
    let old = topic(&broker, "old-formats");
    let log = LogFolder::of(&mut broker, &old, 0);
    log.write(&old_formats());
    broker.restart();
    let mut names = vec![old];
    for kept in KEPT {
        names.extend(unusual_topics(&broker, kept, now));
    }
    for name in ["...", "-dash", "Case", "case", &"x".repeat(249)] {
        topics::create(&broker, name, 1, &[]);
        produce(&broker, "none", (name, 0), [&plain(now, name)]);
        names.push(name.to_owned());
    }
    let select: Vec<String> = names.iter().map(|name| format!("--topic={name}")).collect();

    let backup = Repo::new();
    run(backup.backup(&broker, &[]).args(&select)).expect_code(0);
    broker.kill();
    let import = Repo::new();
    let mut imported = import.kbk(&["import", "--json"]);
    run(imported.arg(broker.data()).args(&select)).expect_code(0);
    import.verify();
    import.verify_by_spec();
    for name in names.iter().filter(|name| !name.starts_with('-')) {
        assert!(stored(&import, name) == stored(&backup, name), "{name}");
    }
    let mut diff = backup.kbk(&["diff", "--records-only", "--full", "--with"]);
    run(diff.arg(import.path())).expect_code(0);
}

/// The log of a topic that old brokers have written: messages of formats v0 and v1, single and in compressed sets. In a set of v0, messages have
/// their own offsets; in one of v1, they are counted from 0, and the set has the offset of the last.
fn old_formats() -> Vec<u8> {
    let single = |offset: i64, time: Option<i64>| {
        let value = format!("at {offset}");
        message(offset, time, 0, Some(b"k"), Some(value.as_bytes()))
    };
    let time = |offset: i64| Some(1_400_000_000_000 + offset);
    let sets = [
        message(
            4,
            None,
            1,
            None,
            Some(&gzip(&[single(3, None), single(4, None)].concat())),
        ),
        message(
            6,
            time(6),
            1,
            None,
            Some(&gzip(&[single(0, time(5)), single(1, time(6))].concat())),
        ),
    ];
    [single(0, None), single(1, time(1)), single(2, None)]
        .into_iter()
        .chain(sets)
        .flatten()
        .collect()
}

/// Creates the topics whose records, settings or transactions are unusual.
fn unusual_topics(broker: &Broker, kept: &str, now: i64) -> [String; 4] {
    let names = ["records", "switched", "markers", "lowered"];
    let names = names.map(|name| topic_kept(broker, name, kept));
    let [records, switched, markers, lowered] = &names;
    let with = |name: &'static str, value: &'static str| {
        let more = [("compression.type", kept), (name, value)];
        [&ANYTHING[..], &more].concat()
    };

    let untimed = [plain(-1, "a"), plain(now, "b"), plain(-1, "c")];
    send(broker, records, &untimed, kept);
    send(broker, records, &headed(now), kept);
    for time in [now * 1_000_000, 253_402_300_800_000, i64::MAX, i64::MIN, -2] {
        send(broker, records, &[plain(time, "bogus")], kept);
    }
    for time_type in ["CreateTime", "LogAppendTime", "CreateTime"] {
        let config = with("message.timestamp.type", time_type);
        topics::reconfigure(broker, switched, &config);
        let message = plain(now - 1_000 * HOUR_MS, time_type);
        produce(broker, "none", (switched, 0), [&message, &message]);
    }
    let id = topics::unique("imported");
    let producer = Producer::transactional(broker, "none", &id);
    for commits in [true, false] {
        producer.begin();
        producer.send(markers, 0, &plain(now, "in a transaction"));
        match commits {
            true => producer.commit(),
            false => producer.abort(),
        }
    }
    let large = plain(now, &"large".repeat(400_000));
    produce(broker, "none", (lowered, 0), [&large]);
    topics::reconfigure(broker, lowered, &with("max.message.bytes", "100"));
    names
}
