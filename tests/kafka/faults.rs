//! Answers of a broker that are lost or damaged on their way: what can be asked again is whole, and what cannot names broker and request.

use std::time::{Duration, Instant};

use crate::support::broker::Broker;
use crate::support::kafka_proxy::{FETCH, Fault, KafkaProxy, LIST_OFFSETS};
use crate::support::process::{Finished, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{samples, topics};

const RECORDS: usize = 400;
/// More than are asked in any of these tests.
const ALWAYS: u32 = u32::MAX;

/// Starts a broker behind a proxy, with a topic.
fn started() -> (Broker, KafkaProxy) {
    let (broker, proxy) = KafkaProxy::start();
    topics::create(&broker, "orders", 2, &[]);
    produce_bulk(
        &broker,
        "none",
        ("orders", 2),
        samples::documents(1).take(RECORDS),
    );
    (broker, proxy)
}

/// Backs the topic up through the proxy into a new repository.
fn backup(proxy: &KafkaProxy, args: &[&str]) -> (Repo, Finished) {
    let repo = Repo::new();
    let address = proxy.address();
    let own = [
        "backup",
        "--json",
        "-b",
        &address,
        "--topic",
        "orders",
        "--no-groups",
    ];
    let finished = run(&mut repo.kbk(&[&own, args].concat()));
    (repo, finished)
}

#[test]
fn a_leader_that_does_not_answer_for_offsets_is_asked_again_and_then_named() {
    let (_broker, proxy) = started();
    for client in ["wire", "librdkafka"] {
        let client = ["--client", client, "--timeout", "10s"];
        for times in [1, 2] {
            proxy.set(LIST_OFFSETS, Fault::Cut, times);
            let (_, finished) = backup(&proxy, &client);
            let report = finished.expect_code(0).json();
            assert_eq!(report["records"], RECORDS, "{report}");
        }
        for fault in [Fault::Stalled, Fault::Cut] {
            proxy.set(LIST_OFFSETS, fault, ALWAYS);
            let started = Instant::now();
            let (_, finished) = backup(&proxy, &client);
            assert!(started.elapsed() < Duration::from_secs(30));
            let failed = finished.expect_code(1);
            assert!(failed.stderr.contains(&proxy.address()), "{failed:#?}");
            assert!(!failed.stderr.contains("without a leader"), "{failed:#?}");
            let named = "that leads orders/0 did not answer ListOffsets";
            assert!(failed.stderr.contains(named), "{failed:#?}");
        }
    }
}

#[test]
fn an_answer_to_fetch_that_was_damaged_on_its_way_is_fetched_once_more() {
    let (_broker, proxy) = started();
    for fault in [Fault::Flipped, Fault::Longer, Fault::Cut] {
        proxy.set(FETCH, fault, 1);
        let (repo, finished) = backup(&proxy, &[]);
        let report = finished.expect_code(0).json();
        assert_eq!(report["records"], RECORDS, "{fault:?}: {report}");
        repo.verify();
    }
    for fault in [Fault::Flipped, Fault::Longer] {
        proxy.set(FETCH, fault, ALWAYS);
        let started = Instant::now();
        let (_, finished) = backup(&proxy, &[]);
        assert!(started.elapsed() < Duration::from_secs(30));
        let finished = finished.expect_code(3);
        let (report, stderr) = (finished.json(), &finished.stderr);
        assert_eq!(report["complete"], false, "{report}");
        for part in ["fetched once more", &proxy.address()] {
            assert!(stderr.contains(part), "no {part:?}: {finished:#?}");
        }
    }
}

#[test]
fn an_answer_to_fetch_that_never_comes_names_the_broker_and_the_request() {
    let (_broker, proxy) = started();
    proxy.set(FETCH, Fault::Stalled, ALWAYS);
    let (_, finished) = backup(&proxy, &["--timeout", "6s"]);
    let finished = finished.expect_code(3);
    for line in finished.stderr.lines().filter(|it| it.contains("orders/")) {
        let parts = [&*proxy.address(), "Fetch"];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}
