//! Metrics of real runs: each of them moves in one of these tests, or in the one that is named here.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use kbk::metrics::{MetricKind, descriptions};

use crate::support::broker::{Broker, free_port};
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce, produce_bulk};
use crate::support::repo::Repo;
use crate::support::{samples, topics};

/// Metrics that move where something fails, and the test that makes it fail.
const ELSEWHERE: &[(&str, &str)] = &[
    ("kbk_kafka_outage", "tests/kafka/messages.rs"),
    ("kbk_kafka_outages_total", "tests/kafka/messages.rs"),
    ("kbk_retries_total", "src/restore/write/tests.rs"),
];

/// What a command says of itself, in Prometheus's text format.
#[derive(Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// Reads the file that a command has written.
    fn of(file: &PathBuf) -> Self {
        Self(fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    }

    /// Asks a running command; `None` if it does not listen.
    pub(crate) fn at(address: &str) -> Option<Self> {
        let (status, text) = get(address, "/metrics")?;
        assert_eq!(status, 200, "{text}");
        Some(Self(text))
    }

    /// Returns the samples of a metric: their labels and values.
    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let lines = self
            .0
            .lines()
            .filter_map(move |line| line.strip_prefix(name));
        lines
            .filter(|rest| rest.starts_with(['{', ' ']))
            .map(|rest| {
                let (labels, value) = rest.rsplit_once(' ').expect("a value");
                (labels, value.parse().expect("a number"))
            })
    }

    /// Returns the sum of the samples whose labels contain all of these.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.samples(name);
        let values: Vec<f64> = samples
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)))
            .map(|(_, value)| value)
            .collect();
        assert!(!values.is_empty(), "no {name} with {labels:?}:\n{}", self.0);
        values.iter().sum()
    }

    fn moved(&self) -> BTreeSet<&'static str> {
        let moved = |name: &str| self.samples(name).any(|(_, value)| value != 0.0);
        let all = descriptions().into_iter().filter(|it| match it.kind {
            MetricKind::Histogram => moved(&format!("{}_sum", it.name)),
            _ => moved(it.name),
        });
        all.map(|it| it.name).collect()
    }
}

/// Returns the status and the body of an answer; `None` if nothing listens, or it ends meanwhile.
pub(crate) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: kbk\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[test]
fn every_metric_moves_in_a_run() {
    let broker = Broker::shared();
    let topic = topics::unique("metrics");
    topics::create(broker, &topic, 1, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, 1),
        samples::documents(1).take(2_000),
    );
    // A transaction that stays open holds records back, so that the topic lags after the backup.
    let open = Producer::transactional(broker, "none", &topics::unique("open"));
    open.begin();
    let held: Vec<_> = samples::mixed(1).take(1).collect();
    open.send(&topic, 0, &held[0]);
    open.flush();
    produce(broker, "none", (&topic, 0), &held);

    let repo = Repo::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kbk.prom");
    let to_file = ["--metrics-textfile", file.to_str().expect("UTF-8")];
    let args = [
        "--topic",
        &topic,
        "--no-groups",
        "--open-transactions-wait",
        "1s",
    ];
    run(&mut repo.backup(broker, &[&args[..], &to_file].concat())).expect_code(3);
    let backup = Exposition::of(&file);
    let of_topic = format!("topic=\"{topic}\"");
    for (name, labels, value) in [
        ("kbk_records_read_total", &*of_topic, 2_000.0),
        ("kbk_records_written_total", &of_topic, 2_000.0),
        ("kbk_lag_records", &of_topic, 2.0),
        ("kbk_segments_sealed_total", "command=\"backup\"", 1.0),
        ("kbk_run_verdict", "verdict=\"findings\"", 1.0),
        ("kbk_run_verdict", "verdict=\"running\"", 0.0),
        ("kbk_last_commit_complete", "", 0.0),
        ("kbk_last_commit_snapshot", "", 1.0),
    ] {
        assert_eq!(
            backup.value(name, &[labels]),
            value,
            "{name}:\n{}",
            backup.0
        );
    }
    for stage in ["fetch", "wait", "encode", "compress", "upload", "seal"] {
        let labels = format!("stage=\"{stage}\"");
        assert!(
            backup.value("kbk_stage_duration_seconds_count", &[&labels]) > 0.0,
            "{stage}"
        );
    }
    let blocks = backup.value("kbk_block_duration_seconds_count", &[]);
    let encoded = backup.value("kbk_stage_duration_seconds_count", &["stage=\"encode\""]);
    assert_eq!(blocks, encoded, "each block is written once");
    assert!(backup.value("kbk_block_duration_seconds_sum", &[]) > 0.0);
    open.commit();
    run(&mut repo.backup(broker, &[&args[..], &to_file].concat())).expect_code(0);
    let complete = Exposition::of(&file);
    assert_eq!(complete.value("kbk_lag_records", &[&of_topic]), 0.0);
    assert_eq!(complete.value("kbk_last_commit_complete", &[]), 1.0);

    let map = format!("{topic}={topic}-restored");
    let address = format!("127.0.0.1:{}", free_port());
    let slowly = [
        "--topic",
        &topic,
        "--map",
        &map,
        "--rate-limit-records",
        "300",
    ];
    let watched = ["--metrics-addr", &address, "--metrics-textfile", to_file[1]];
    let mut command = repo.restore(broker, &[&slowly[..], &watched].concat());
    let running = Running::spawn(&mut command);
    let ready = running.wait_until("the restore to work", || {
        let (status, _) = get(&address, "/readyz")?;
        assert_eq!(get(&address, "/healthz")?.0, 200);
        (status == 200).then(|| Exposition::at(&address)).flatten()
    });
    assert_eq!(
        ready.value("kbk_run_verdict", &["verdict=\"running\""]),
        1.0
    );
    assert_eq!(ready.value("kbk_run_ready", &[]), 1.0);
    assert!(ready.value("process_resident_memory_bytes", &[]) > 0.0);
    let finished = running.finish().expect_code(0);
    assert!(
        finished
            .stderr
            .contains(&format!("http://{address}/metrics")),
        "{finished:#?}"
    );
    let restore = Exposition::of(&file);
    let of_target = format!("topic=\"{topic}-restored\"");
    assert_eq!(
        restore.value("kbk_records_written_total", &[&of_target]),
        2_002.0
    );
    for stage in ["read", "write", "commit"] {
        let labels = format!("stage=\"{stage}\"");
        assert!(
            restore.value("kbk_stage_duration_seconds_count", &[&labels]) > 0.0,
            "{stage}"
        );
    }

    let verify = [&["verify", "--json"], &to_file[..]].concat();
    run(&mut repo.kbk(&verify)).expect_code(0);
    let verify = Exposition::of(&file);
    assert_eq!(
        verify.value("kbk_run_verdict", &["verdict=\"ok\"", "command=\"verify\""]),
        1.0
    );
    assert!(!verify.0.contains("process_"), "{}", verify.0);

    let mut moved: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    for exposition in [&backup, &complete, &ready, &restore, &verify] {
        let now = exposition.moved();
        let other = ELSEWHERE.iter().find(|(name, _)| now.contains(name));
        assert_eq!(other, None, "it moves here");
        moved.extend(now);
    }
    let unmoved: Vec<_> = descriptions().into_iter().map(|it| it.name).collect();
    let unmoved: Vec<_> = unmoved
        .into_iter()
        .filter(|name| !moved.contains(name))
        .collect();
    assert!(unmoved.is_empty(), "nothing sets {unmoved:?}");
}

#[test]
fn a_run_that_fails_says_so_and_keeps_the_time_of_the_last_commit() {
    let broker = Broker::shared();
    let topic = topics::unique("failing");
    topics::create(broker, &topic, 1, &[]);
    produce_bulk(broker, "lz4", (&topic, 1), samples::documents(1).take(10));
    let repo = Repo::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kbk.prom");
    let to_file = ["--metrics-textfile", file.to_str().expect("UTF-8")];
    let args = [&["--topic", &topic, "--no-groups"][..], &to_file].concat();
    run(&mut repo.backup(broker, &args)).expect_code(0);
    let committed = Exposition::of(&file).value("kbk_last_commit_timestamp_seconds", &[]);

    let nowhere = format!("127.0.0.1:{}", free_port());
    // What cannot be pushed is a warning; a password of the URL is in no message.
    let gateway = format!("http://me:hunter2@{nowhere}");
    let mut fails = repo.kbk(&["backup", "--json", "-b", &nowhere, "--timeout", "1s"]);
    let failed = run(fails.args(to_file).args(["--pushgateway", &gateway])).expect_code(1);
    let warning = format!("cannot push metrics to http://{nowhere}: cannot connect");
    assert!(failed.stderr.contains(&warning), "{failed:#?}");
    assert!(!failed.stderr.contains("hunter2"), "{failed:#?}");
    let metrics = Exposition::of(&file);
    assert_eq!(
        metrics.value("kbk_run_verdict", &["verdict=\"failed\""]),
        1.0
    );
    assert_eq!(
        metrics.value("kbk_last_commit_timestamp_seconds", &[]),
        committed
    );
    assert!(!metrics.0.contains("hunter2"));

    // A file that cannot be written is a warning, too.
    let missing = folder.path().join("missing/kbk.prom");
    let args = ["--topic", &topic, "--no-groups", "--metrics-textfile"];
    let mut done = repo.backup(broker, &args);
    let done = run(done.arg(&missing)).expect_code(0);
    assert!(
        done.stderr.contains("cannot write metrics to "),
        "{done:#?}"
    );
}
