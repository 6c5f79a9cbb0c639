//! Answers of a broker that are lost or damaged on their way: what can be asked again is whole, and what cannot names broker and request.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::acls;
use crate::support::broker::Broker;
use crate::support::kafka_proxy::{
    CREATE_ACLS, CREATE_TOPICS, DELETE_RECORDS, FETCH, Fault, INCREMENTAL_ALTER_CONFIGS,
    KafkaProxy, LIST_OFFSETS,
};
use crate::support::process::{Finished, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

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
    // They wait at the same time.
    thread::scope(|scope| {
        for client in ["wire", "librdkafka"] {
            scope.spawn(move || asked_again_and_then_named(client));
        }
    });
}

fn asked_again_and_then_named(client: &str) {
    let (_broker, proxy) = started();
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

/// Restores the topic under another name through the proxy.
fn restore(repo: &Repo, proxy: &KafkaProxy, target: &str, args: &[&str]) -> Finished {
    let (address, map) = (proxy.address(), format!("orders={target}"));
    let own = ["restore", "--json", "-b", &address, "--map", &map];
    run(&mut repo.kbk(&[&own, args].concat()))
}

#[test]
fn a_request_of_the_administration_is_repeated_where_its_answer_is_lost() {
    let guarded = [
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ANONYMOUS"),
    ];
    let (broker, proxy) = KafkaProxy::start_with(&guarded);
    topics::create(&broker, "orders", 2, &[("retention.ms", "86400000000")]);
    let records = samples::documents(1).take(RECORDS);
    produce_bulk(&broker, "none", ("orders", 2), records);
    acls::add(&broker, acls::MANY[0]);
    let acls_before = acls::list(&broker);
    let (repo, finished) = backup(&proxy, &["--acls"]);
    finished.expect_code(0);
    acls::remove(&broker, acls::MANY[0]);
    assert_eq!(acls::list(&broker), []);

    // How many requests of the kind only check, while the restore is planned.
    let purge = ["--purge-target", "--yes"];
    for (request, checks, fault, args) in [
        (CREATE_TOPICS, 2, Fault::Cut, &[][..]),
        (CREATE_TOPICS, 2, Fault::Stalled, &[]),
        (CREATE_TOPICS, 1, Fault::Cut, &["--only-config"]),
        (INCREMENTAL_ALTER_CONFIGS, 1, Fault::Cut, &[]),
        (CREATE_ACLS, 0, Fault::Cut, &["--acls"]),
    ] {
        let target = topics::unique("copy");
        proxy.set_after(request, checks, fault, 1);
        restore(&repo, &proxy, &target, args).expect_code(0);
        assert_eq!(proxy.faults_left(), 0, "{request} {args:?}");
        let config = [("retention.ms".to_owned(), "86400000000".to_owned())];
        topics::assert_config(&broker, &target, &config.into());
        if args != ["--only-config"] {
            let restored = consume::assert_same(&broker, ("orders", &target), 2);
            assert_eq!(restored, RECORDS as u64);
            proxy.set(DELETE_RECORDS, Fault::Cut, 1);
            restore(&repo, &proxy, &target, &purge).expect_code(0);
            assert_eq!(proxy.faults_left(), 0, "{request} {args:?}");
            consume::assert_same(&broker, ("orders", &target), 2);
        }
    }
    // Of the topic under its other name.
    assert_eq!(acls::list(&broker).len(), acls_before.len());
}

#[test]
fn brokers_that_cannot_change_configurations_are_named_before_anything_is_written() {
    let (broker, proxy) = started();
    let (repo, finished) = backup(&proxy, &[]);
    finished.expect_code(0);
    proxy.hide(INCREMENTAL_ALTER_CONFIGS);
    for args in [&[][..], &["--dry-run"], &["--no-transactions"]] {
        let failed = restore(&repo, &proxy, "copy", args).expect_code(1);
        for part in ["IncrementalAlterConfigs", "it needs Apache Kafka"] {
            assert!(failed.stderr.contains(part), "{part}: {failed:#?}");
        }
        let topics = broker.tool("org.apache.kafka.tools.TopicCommand", &["--list"]);
        assert!(!topics.contains("copy"), "{topics}");
    }
    proxy.hide(-1);
    restore(&repo, &proxy, "copy", &[]).expect_code(0);
}
