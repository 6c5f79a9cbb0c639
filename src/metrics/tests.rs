//! Every metric moves when the run that it is of says so, and the answers and pushes of metrics are bounded.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kbk_format::repo::{RequestKind, RequestOutcome, StoreObserver};
use tokio::runtime::Runtime;

use super::*;
use crate::run::{Budget, Committed, Events, PartitionName, Retry, RunEvents, Stage, Totals};

/// Returns the names of samples that are not 0, without their labels.
fn moved(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let moved = samples.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let name = name.split('{').next()?;
        (value.parse::<f64>().ok()? != 0.0).then(|| name.to_owned())
    });
    moved.collect()
}

/// Fails the test unless a metric has one sample with these labels among others, and this value.
#[track_caller]
fn assert_sample(metrics: &Metrics, name: &str, label: &str, value: u64) {
    let text = metrics.text();
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    let found: Vec<_> = samples
        .filter(|rest| rest.starts_with('{') && rest.contains(label))
        .collect();
    let [sample] = found[..] else {
        panic!("{name} with {label}: {found:?} in\n{text}");
    };
    let (_, found) = sample.rsplit_once(' ').unwrap();
    assert_eq!(found, value.to_string(), "{name} with {label}");
}

fn work(metrics: &Arc<Metrics>) {
    let totals = Totals {
        records: Some(10),
        bytes: Some(100),
    };
    let run = RunEvents::start(metrics.clone(), totals);
    metrics.lags("orders", 10);
    metrics.lags("idle", 0);
    let name = PartitionName {
        topic: "orders",
        partition: 0.into(),
    };
    let part = run.partition(name, Some(10));
    part.received(6, 60);
    part.written(6, 30, Some(1_000));
    part.shrunk(1);
    run.received(0, 7);
    for stage in Stage::ALL {
        run.took(stage, Duration::from_millis(20));
    }
    metrics.block_written(Duration::from_millis(5));
    metrics.segment_sealed(40);
    run.retried(Retry::Transaction);
    for budget in Budget::ALL {
        run.holds(budget, 5, 50);
    }
    metrics.committed(Committed {
        snapshot: 3,
        at_ms: 1_500,
        complete: true,
    });
    metrics.requested(
        RequestKind::Get,
        RequestOutcome::Ok,
        Duration::from_millis(1),
    );
    metrics.moved(RequestKind::Get, 9);
}

#[test]
fn every_metric_moves_but_those_of_an_outage() {
    let metrics = Arc::new(Metrics::new("backup", Some("/backup")));
    let before = moved(&metrics.text());
    let at_once = [
        "kbk_build_info",
        "kbk_run_start_timestamp_seconds",
        "kbk_run_verdict",
    ];
    assert_eq!(before, at_once.map(str::to_owned).into());
    work(&metrics);
    metrics.ended("ok");
    let after = moved(&metrics.text());
    for Description { name, kind, .. } in descriptions() {
        let name = match kind {
            MetricKind::Histogram => format!("{name}_sum"),
            _ => name.to_owned(),
        };
        // The outages of a process are those that its Kafka clients notice.
        assert!(
            after.contains(&name) || name.starts_with("kbk_kafka_outage"),
            "{name}"
        );
    }
    let text = metrics.text();
    for label in ["command=\"backup\"", "repository=\"/backup\""] {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        for sample in samples {
            assert!(sample.contains(label), "{sample}");
        }
    }
    for (name, label, value) in [
        ("kbk_records_read_total", "topic=\"orders\"", 6),
        ("kbk_bytes_read_total", "topic=\"\"", 7),
        ("kbk_bytes_written_total", "topic=\"orders\"", 30),
        ("kbk_lag_records", "topic=\"orders\"", 3),
        ("kbk_lag_seconds", "topic=\"idle\"", 0),
        ("kbk_run_verdict", "verdict=\"running\"", 0),
        ("kbk_run_verdict", "verdict=\"ok\"", 1),
        ("kbk_last_commit_snapshot", "", 3),
        ("kbk_memory_limit_bytes", "budget=\"blocks\"", 50),
    ] {
        assert_sample(&metrics, name, label, value);
    }
}

#[test]
fn names_and_labels_follow_the_conventions() {
    for Description {
        name,
        kind,
        labels,
        help,
    } in descriptions()
    {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        assert!(name.starts_with("kbk_") && plain(name) && labels.iter().all(|label| plain(label)));
        assert_eq!(
            kind == MetricKind::Counter,
            name.ends_with("_total"),
            "{name}"
        );
        let is_duration = kind == MetricKind::Histogram;
        assert!(
            !is_duration || name.ends_with("_duration_seconds"),
            "{name}"
        );
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}");
    }
}

#[test]
fn a_commit_of_this_run_stays_the_newest() {
    let metrics = Metrics::new("backup", None);
    let committed = |snapshot| Committed {
        snapshot,
        at_ms: 1,
        complete: false,
    };
    metrics.found_newest(committed(1));
    assert_sample(&metrics, "kbk_last_commit_snapshot", "", 1);
    metrics.committed(committed(2));
    metrics.found_newest(committed(1));
    assert_sample(&metrics, "kbk_last_commit_snapshot", "", 2);
    assert_sample(&metrics, "kbk_last_commit_complete", "", 0);
}

/// Sends bytes, and returns all that is answered.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A server that refuses a request may end the connection before it has read all of it.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_server_answers_little_and_only_to_reads() {
    let runtime = Runtime::new().unwrap();
    let metrics = Arc::new(Metrics::new("backup", None));
    let any = "127.0.0.1:0".parse().unwrap();
    let address = runtime.block_on(serve(&any, metrics.clone())).unwrap();
    let get = |path: &str| {
        ask(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: kbk\r\n\r\n"),
        )
    };

    let found = get("/metrics");
    assert!(
        found.starts_with("HTTP/1.1 200 ") && found.contains("kbk_build_info"),
        "{found}"
    );
    assert!(found.contains("process_cpu_seconds_total"), "{found}");
    assert!(!metrics.text().contains("process_"));
    assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
    let found = get("/readyz");
    assert!(
        found.starts_with("HTTP/1.1 503 ") && found.contains("starting"),
        "{found}"
    );
    metrics.works();
    assert!(get("/readyz").starts_with("HTTP/1.1 200 "));
    assert!(get("/metrics/").starts_with("HTTP/1.1 404 "));

    // More than the buffers of a connection.
    let topic = |n| format!("{n}-{}", "x".repeat(200));
    (0..MOST_TOPICS).for_each(|n| metrics.lags(&topic(n), 1));
    let found = get("/metrics");
    assert!((0..MOST_TOPICS).all(|n| found.contains(&topic(n))));
    let body = found.split_once("\r\n\r\n").unwrap().1;
    assert!(body.len() > 40_000 && found.contains(&format!("content-length: {}\r\n", body.len())));

    let found = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: kbk\r\n\r\n");
    assert!(
        found.starts_with("HTTP/1.1 200 ") && !found.contains("kbk_build_info"),
        "{found}"
    );
    let found = ask(
        address,
        "POST /metrics HTTP/1.1\r\nHost: kbk\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(
        found.starts_with("HTTP/1.1 405 ") && found.contains("allow: GET, HEAD"),
        "{found}"
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: kbk\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    assert!(!ask(address, &long).contains(" 200 "));
    assert!(!ask(address, "\u{1}nonsense\r\n\r\n").contains(" 200 "));
    // What came before has ended no more than its own connection.
    assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_address_in_use_is_an_error() {
    let runtime = Runtime::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string().parse().unwrap();
    let metrics = Arc::new(Metrics::new("backup", None));
    let error = runtime.block_on(serve(&address, metrics)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot serve metrics on {address}")
    );
}

/// A gateway that answers one request with `answer`; returns its address, and what it was asked.
fn gateway(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut buffer = [0; 4 << 10];
        while !asked.ends_with(b"kbk_a 1\n") {
            let read = stream.read(&mut buffer).unwrap();
            asked.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    });
    (address, asked)
}

fn pushed(url: &str) -> Result<(), PushError> {
    let url = url.parse().unwrap();
    let push = push(&url, "backup", None, "kbk_a 1\n".to_owned());
    Runtime::new().unwrap().block_on(push)
}

#[test]
fn metrics_are_put_under_their_labels() {
    let (address, asked) = gateway("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    pushed(&format!("http://me:secret@{address}/metrics/job/a")).unwrap();
    let asked = asked.join().unwrap();
    assert!(
        asked.starts_with("PUT /metrics/job/a HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("authorization: Basic bWU6c2VjcmV0\r\n"),
        "{asked}"
    );
}

#[test]
fn a_gateway_that_refuses_is_quoted_and_one_that_is_gone_is_named() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 16\r\n\r\nnot so\nbut so...";
    let (address, asked) = gateway(refusal);
    let error = pushed(&format!("http://{address}"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("400") && error.ends_with(": not so"),
        "{error}"
    );
    asked.join().unwrap();
    let error = pushed(&format!("http://{address}")).unwrap_err();
    assert!(matches!(error, PushError::Connect(_)), "{error}");
}
