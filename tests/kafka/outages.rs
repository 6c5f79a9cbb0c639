//! Brokers that are dead: what the others can answer works, and the cause is the message.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::{Broker, free_port};
use crate::support::process::{Finished, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{groups, samples, topics, wait};

/// Fails the test unless stderr has all of these.
#[track_caller]
fn says(finished: &Finished, parts: &[&str]) {
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?}: {finished:#?}");
    }
}

/// Accepts connections at the address of a dead broker, closes them at once, and counts them.
struct Attempts {
    count: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Attempts {
    fn at(address: &str) -> Self {
        let listener = wait::until("the address to be free", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).expect("a socket");
        let (count, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, stop) = (Arc::clone(&count), Arc::clone(&ended));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok(_) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { count, ended }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn names(groups: &Value) -> Vec<&str> {
    let groups = groups.as_array().expect("an array").iter();
    groups
        .map(|group| group.as_str().expect("a name"))
        .collect()
}

#[test]
fn a_dead_broker_of_three_fails_nothing_that_the_others_can_answer() {
    // One replica of the committed offsets: the groups of the dead broker are gone with it.
    let mut brokers = Broker::start_three_with(&[("offsets.topic.replication.factor", "1")]);
    let topic = topics::unique("survives");
    topics::create(&brokers[0], &topic, 6, &[]);
    produce_bulk(
        &brokers[0],
        "lz4",
        (&topic, 6),
        samples::documents(1).take(6_000),
    );
    let all: Vec<String> = (0..12).map(|number| format!("group-{number:02}")).collect();
    for group in &all {
        groups::commit(&brokers[0], group, &[(&topic, 0, 10, "")]);
    }
    let repo = Repo::new();
    let args = ["--topic", topic.as_str()];
    let report = run(&mut repo.backup(&brokers[0], &args))
        .expect_code(0)
        .json();
    assert_eq!(report["groups"], 12, "{report}");

    let address = brokers[2].address();
    brokers[2].kill();
    let attempts = Attempts::at(&address);
    produce_bulk(
        &brokers[0],
        "lz4",
        (&topic, 6),
        samples::documents(2).take(600),
    );
    let finished = run(&mut repo.backup(&brokers[0], &args)).expect_code(3);
    let report = finished.json();
    assert_eq!(report["records"], 600, "{report}");
    let findings = report["findings"].as_array().expect("an array");
    let [missing] = findings.as_slice() else {
        panic!("{report}")
    };
    assert_eq!(missing["finding"], "groups_missing", "{report}");
    let kept = names(&missing["groups"]);
    assert!((1..12).contains(&kept.len()), "some, and not all: {report}");
    says(&finished, &[kept[0], "__consumer_offsets"]);
    // Those of the last snapshot are kept, so that none is taken as deleted.
    assert_eq!(report["groups"], 12, "{report}");

    let diff = [
        "diff",
        "--live",
        "-b",
        brokers[0].bootstrap(),
        "--topic",
        &topic,
    ];
    run(&mut repo.kbk(&diff)).expect_code(0);
    let tried = attempts.count();
    println!("{tried} connection attempts");
    assert!(
        tried < 1_000,
        "{tried} attempts to connect to the dead broker"
    );
    drop(attempts);

    brokers[2].restart();
    let report = run(&mut repo.backup(&brokers[0], &args))
        .expect_code(0)
        .json();
    assert_eq!(report["groups"], 12, "{report}");
}

#[test]
fn an_advertised_address_that_refuses_is_named() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let listener = format!("127.0.0.1:{}", free_port());
    let _broker = Broker::start(&[
        ("listeners", &format!("SASL_PLAINTEXT://{listener}")),
        (
            "advertised.listeners",
            &format!("SASL_PLAINTEXT://{nobody}"),
        ),
        ("sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.sasl_plaintext.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_kbk=\"secret\";",
        ),
    ]);
    let repo = Repo::new();
    let args = [
        "backup",
        "-b",
        &listener,
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        "sasl.username=kbk",
        "-X",
        "sasl.password=secret",
    ];
    let failed = run(&mut repo.kbk(&args)).expect_code(1);
    says(&failed, &[&nobody, "Connection refused"]);
}
