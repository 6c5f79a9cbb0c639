//! Kafka's own logs: an export is one that Kafka's tool and a broker accept, and an import of a broker's disk equals a backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbk_format::kafka_log::GAPS_FILE;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::logs::{self, ANYTHING, Log, Logs, assert_dumped, segments};
use crate::support::old_log::{gzip, message};
use crate::support::process::run;
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{now_ms, plain};
use crate::support::{consume, scenarios, topics, wire};

/// Replaces the logs of a stopped broker by those of an export, as docs/how-to.md says.
fn replace(data: &Path, export: &Path, topic: &str, keeps_metadata: bool) {
    let name = format!("{topic}-0");
    let (own, exported) = (data.join(&name), export.join(&name));
    for file in fs::read_dir(&own).expect("the topic has a log").flatten() {
        if !(keeps_metadata && file.file_name() == "partition.metadata") {
            fs::remove_file(file.path()).expect("removed");
        }
    }
    for file in fs::read_dir(exported).expect("an export").flatten() {
        let to: PathBuf = own.join(file.file_name());
        if !to.exists() {
            fs::copy(file.path(), to).expect("copied");
        }
    }
}

#[test]
fn a_broker_starts_on_an_export() {
    let mut broker = Broker::start(&[]);
    let names = logs::fill(&broker);
    logs::spread(&mut broker);

    let repo = Repo::new();
    run(&mut repo.backup(&broker, &[])).expect_code(0);
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let export = out.path().join("logs");
    let mut command = repo.kbk(&["export", "--json", "--format", "kafka-log"]);
    let plain_segments = ["--compression", "none", "--segment-bytes", "1048576"];
    let report = run(command.arg(&export).args(plain_segments)).expect_code(0);
    let report = report.json();
    assert_eq!(
        report["partitions"].as_array().map(Vec::len),
        Some(names.len()),
        "{report}"
    );

    // An import of it knows why offsets have no record, also between files, and brokers ignore what says so.
    assert!(export.join("far-0").join(GAPS_FILE).exists());
    let again = Repo::new();
    run(&mut import(&again, &export, &[])).expect_code(0);
    assert_eq!(listed(&again), listed(&repo));

    let before = Logs::read(&broker, &names);
    let mut dumped = Vec::new();
    for Log { topic, records, .. } in &before.topics {
        let folder = export.join(format!("{topic}-0"));
        assert_eq!(
            segments(&folder, "log").len() > 1,
            ["far", "large"].contains(topic),
            "{topic}"
        );
        dumped.push((folder, records.as_slice()));
    }
    assert_dumped(&dumped);

    before.lose(&broker);
    let data = broker.data();
    let metadata = fs::read_to_string(data.join("codecs-0/partition.metadata")).expect("an id");
    let id = metadata.rsplit("topic_id: ").next().expect("an id").trim();
    let args = [
        "export",
        "codecs",
        "--overwrite",
        "--format",
        "kafka-log",
        "--topic-id",
        id,
    ];
    let mut command = repo.kbk(&args[..1]);
    run(command
        .arg(&export)
        .args(&args[1..])
        .args(["--compression", "snappy"]))
    .expect_code(0);
    broker.stop();
    for topic in &names {
        replace(&data, &export, topic, *topic != "codecs");
    }
    broker.restart();
    before.assert_continued(&broker);
    // After a crash, the broker builds the indexes itself, and comes to the same.
    broker.kill();
    broker.restart();
    assert_eq!(consume::read_all(&broker, "large", 0).len(), 2_001);
}

/// Returns the records of a topic as the Python reader decodes them.
fn stored(repo: &Repo, topic: &str) -> Vec<(i64, Message)> {
    repo.read_by_spec(topic, 0)
}

/// Returns what a listing says about partition 0 of each topic, but for what depends on when it was backed up.
fn listed(repo: &Repo) -> Vec<Value> {
    let rows = run(&mut repo.kbk(&["ls", "--json", "--partitions"])).expect_code(0);
    let rows = rows.json()["partitions"].as_array().expect("rows").clone();
    let of = |row: &Value| {
        let member = |name: &str| row[name].clone();
        [
            "topic",
            "kafka_id",
            "base_offset",
            "end_offset",
            "records",
            "min_timestamp",
            "max_timestamp",
        ]
        .map(member)
        .into()
    };
    rows.iter().map(of).collect()
}

fn import(repo: &Repo, folder: &Path, args: &[&str]) -> Command {
    let mut command = repo.kbk(&["import", "--json"]);
    command.arg(folder).args(args);
    command
}

#[test]
fn an_import_of_a_dead_brokers_disk_equals_a_backup() {
    let mut broker = Broker::start(&[]);
    let mut names = logs::fill(&broker);
    let compacted = scenarios::compacted_topic_with_gaps(&broker, "compacted");
    assert!(!compacted.is_empty());
    topics::create(
        &broker,
        "giant",
        1,
        &[&ANYTHING[..], &[("max.message.bytes", "20000000")]].concat(),
    );
    let text = "y".repeat(1 << 20);
    let giant: Vec<Message> = (0..60).map(|it| plain(now_ms() + it, &text)).collect();
    wire::produce_zstd(&broker, ("giant", 0), &giant);
    topics::create(&broker, "old", 1, &ANYTHING);
    topics::create(&broker, "open", 1, &ANYTHING);
    let open = Producer::transactional(&broker, "none", "import-open");
    produce(&broker, "none", ("open", 0), &[plain(now_ms(), "before")]);
    open.begin();
    open.send("open", 0, &plain(now_ms(), "uncommitted"));
    open.flush();
    produce(&broker, "none", ("open", 0), &[plain(now_ms(), "behind")]);
    logs::spread(&mut broker);

    names.extend(["compacted", "giant"]);
    names.sort_unstable();
    // Its files leave gaps of billions of offsets between them, which nothing on disk explains.
    names.retain(|name| *name != "far");
    let select: Vec<&str> = names.iter().flat_map(|name| ["--topic", name]).collect();
    let backup = Repo::new();
    run(&mut backup.backup(&broker, &select)).expect_code(0);
    // A backup does not look into compressed batches; an import does.
    run(&mut backup.kbk(&["index"])).expect_code(0);
    let of_far = Repo::new();
    run(&mut of_far.backup(&broker, &["--topic", "far"])).expect_code(0);
    let of_open = Repo::new();
    let patience = ["--topic", "open", "--open-transactions-wait", "0s"];
    run(&mut of_open.backup(&broker, &patience)).expect_code(3);
    let data = broker.data();
    let running = run(&mut import(&Repo::new(), &data, &[])).expect_code(1);
    assert!(running.stderr.contains(".lock"), "{running:#?}");
    broker.kill();

    let repo = Repo::new();
    let report = run(&mut import(&repo, &data, &select))
        .expect_code(0)
        .json();
    assert_eq!(
        (&report["complete"], &report["snapshot"]),
        (&true.into(), &1.into())
    );
    repo.verify();
    repo.verify_by_spec();
    assert_eq!(listed(&repo), listed(&backup));
    for name in &names {
        assert!(stored(&repo, name) == stored(&backup, name), "{name}");
    }

    // Every record is stored, and the gaps between files are named.
    let with_far = Repo::new();
    let report = run(&mut import(&with_far, &data, &["--topic", "far"]))
        .expect_code(3)
        .json();
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 2, "{report:#}");
    assert!(
        findings.iter().all(|it| it["kind"] == "gap_between_files"),
        "{report:#}"
    );
    assert_eq!(stored(&with_far, "far"), stored(&of_far, "far"));

    // An open transaction, and what follows it, is not stored.
    let with_open = Repo::new();
    let folder = data.join("open-0");
    let report = run(&mut import(&with_open, &folder, &[]))
        .expect_code(3)
        .json();
    assert_eq!(
        report["findings"][0]["kind"], "open_transaction",
        "{report:#}"
    );
    assert_eq!(report["incomplete"][0]["reason"], "open_transaction");
    assert_eq!(stored(&with_open, "open"), stored(&of_open, "open"));

    // Messages of formats v0 and v1, which no broker of today writes and backup refuses.
    let value = |number: i64| format!("v1-{number}").into_bytes();
    let single =
        |number: i64, time: Option<i64>| message(number, time, 0, Some(b"k"), Some(&value(number)));
    let set: Vec<u8> = (0..5)
        .flat_map(|it| single(it, Some(1_400_000_000_000 + it)))
        .collect();
    let wrapped = message(6, Some(1_400_000_000_004), 1, None, Some(&gzip(&set)));
    let log = [single(0, None), single(1, Some(77)), wrapped].concat();
    fs::write(data.join("old-0/00000000000000000000.log"), log).expect("written");
    let old = Repo::new();
    run(&mut import(&old, &data.join("old-0"), &[])).expect_code(0);
    let expect = |offset: i64, time: i64, number: i64| {
        let key = Some(b"k".to_vec());
        (
            offset,
            Message {
                timestamp: time,
                key,
                value: Some(value(number)),
                headers: Vec::new(),
            },
        )
    };
    let mut expected = vec![expect(0, -1, 0), expect(1, 77, 1)];
    expected.extend((0..5).map(|it| expect(2 + it, 1_400_000_000_000 + it, it)));
    assert_eq!(stored(&old, "old"), expected);

    damage(&data, &backup);
}

/// Damages batches of a log and cuts off another, and imports both.
fn damage(data: &Path, backup: &Repo) {
    let codecs = data.join("codecs-0/00000000000000000000.log");
    let mut bytes = fs::read(&codecs).expect("a log");
    // Within the records of the first batch.
    bytes[80] ^= 1;
    fs::write(&codecs, bytes).expect("written");
    let large = data.join("large-0/00000000000000000000.log");
    let length = fs::metadata(&large).expect("a log").len();
    let file = fs::File::options().write(true).open(&large).expect("a log");
    file.set_len(length - 7).expect("cut off");

    let repo = Repo::new();
    let select = ["--topic", "codecs", "--topic", "large"];
    let report = run(&mut import(&repo, data, &select)).expect_code(3).json();
    let kinds = [
        &report["findings"][0]["kind"],
        &report["findings"][1]["kind"],
    ];
    assert_eq!(kinds, ["damaged_batch", "torn_tail"], "{report:#}");
    assert_eq!(report["complete"], false);
    let from = report["findings"][0]["offsets"]["end_offset"]
        .as_i64()
        .expect("offsets");
    let mut expected = stored(backup, "codecs");
    expected.retain(|(offset, _)| *offset >= from);
    assert!(from > 0 && !expected.is_empty());
    assert_eq!(stored(&repo, "codecs"), expected);
    let (found, mut expected) = (stored(&repo, "large"), stored(backup, "large"));
    assert!(found.len() < expected.len());
    expected.truncate(found.len());
    assert!(found == expected);
    verify_partial(&repo);

    // A second import is a history of its own, and takes nothing away.
    let again = run(&mut import(&repo, data, &select)).expect_code(3).json();
    assert_eq!(again["snapshot"], 2);
    let listed = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    let deleted: Vec<bool> = listed["topics"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["deleted"].as_bool().expect("a boolean"))
        .collect();
    assert_eq!(deleted, [true, false, true, false]);
    verify_partial(&repo);
}

/// Fails the test unless `kbk verify --full` finds nothing wrong but that records are missing.
fn verify_partial(repo: &Repo) {
    let verified = run(&mut repo.kbk(&["verify", "--full", "--json"])).expect_code(3);
    let verified = verified.json();
    let findings = verified["findings"].as_array().expect("findings");
    let kinds: Vec<&Value> = findings.iter().map(|finding| &finding["kind"]).collect();
    // Of both topics, and of each history.
    assert!(kinds.len() >= 2, "{verified:#}");
    assert!(
        kinds.iter().all(|kind| **kind == "incomplete"),
        "{verified:#}"
    );
}
