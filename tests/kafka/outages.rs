//! Brokers that are dead, frozen, slow or refuse: what the others can answer works, every wait ends, and the cause is the message.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::{Broker, free_port};
use crate::support::process::{Finished, Running, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::repo::Repo;
use crate::support::{consume, groups, offset_map, samples, topics, wait};

const PARTITIONS: i32 = 4;

/// Creates a topic of 1 KB documents, and backs it up.
fn saved(broker: &Broker, name: &str, records: usize) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, PARTITIONS, &[]);
    let documents = samples::documents(1).take(records);
    produce_bulk(broker, "lz4", (&topic, PARTITIONS), documents);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic, "--no-groups"])).expect_code(0);
    (topic, repo)
}

fn restore(repo: &Repo, broker: &Broker, (topic, target): (&str, &str), args: &[&str]) -> Command {
    let map = format!("{topic}={target}");
    let mut command = repo.restore(broker, &["--topic", topic, "--map", &map]);
    command.args(args);
    command
}

/// Waits for the first records of a restore that is to write more of them.
#[track_caller]
fn wait_for_records(running: &Running, broker: &Broker, target: &str) {
    running.wait_until("the first records", || {
        let there = consume::partitions(broker, target) > 0;
        let written = |partition| consume::offsets(broker, target, partition).end > 0;
        (there && (0..PARTITIONS).any(written)).then_some(())
    });
}

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
    // Those of the last snapshot are kept, so that none is taken as deleted, and say when they were read.
    assert_eq!(report["groups"], 12, "{report}");
    let listed = run(&mut repo.kbk(&["groups", "list", "--json"]))
        .expect_code(0)
        .json();
    let rows = listed["groups"].as_array().expect("an array").iter();
    let older = rows.filter(|row| !row["taken_at"].is_null());
    let older: Vec<_> = older
        .map(|row| row["group"].as_str().expect("a name"))
        .collect();
    assert_eq!(older, kept);

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

    // A broker that has just started lists no groups until it knows that it coordinates them. First backups, which know no group by name, wait for
    // a leader of their partitions, and list them the moment that there is one.
    let first: Vec<(Repo, _)> = (0..3)
        .map(|_| {
            let repo = Repo::new();
            let running = Running::spawn(&mut repo.backup(&brokers[0], &args));
            (repo, running)
        })
        .collect();
    brokers[2].restart();
    for (_repo, running) in first {
        let ended = running.finish();
        let report = ended.json();
        match ended.status.code() {
            Some(0) => assert_eq!(report["groups"], 12, "{report}"),
            _ => {
                let finding = &ended.expect_code(3).json()["findings"][0];
                assert_eq!(finding["finding"], "groups_missing", "{report}");
            }
        }
    }
    // None is taken as deleted meanwhile.
    wait::until("it lists its groups", || {
        let ended = run(&mut repo.backup(&brokers[0], &args));
        let report = ended.json();
        assert_eq!(report["groups"], 12, "{report}");
        match ended.status.code() {
            Some(3) => {
                let findings = &report["findings"];
                assert_eq!(findings[0]["finding"], "groups_missing", "{report}");
                None
            }
            _ => Some(ended.expect_code(0)),
        }
    });
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
    says(
        &failed,
        &[&nobody, "Connection refused", "`advertised.listeners`"],
    );
}

#[test]
fn a_frozen_broker_ends_a_restore_which_can_be_resumed() {
    let mut broker = Broker::start(&[]);
    let (topic, repo) = saved(&broker, "frozen", 20_000);
    let address = broker.address();
    let slowly = ["--rate-limit", "2MiB", "--timeout"];
    for (timeout, signal, code) in [("5s", None, 1), ("1h", Some(libc::SIGINT), 130)] {
        let target = topics::unique("frozen-restore");
        let args = [&slowly[..], &[timeout]].concat();
        let running = Running::spawn(&mut restore(&repo, &broker, (&topic, &target), &args));
        // Before its first commit, a writer also asks for its claims, by requests of another kind.
        running.wait_until("a commit in each partition", || {
            let there = consume::partitions(&broker, &target) > 0;
            let committed = |partition| consume::offsets(&broker, &target, partition).end > 0;
            (there && (0..PARTITIONS).all(committed)).then_some(())
        });
        broker.freeze();
        running.assert_runs("the broker is frozen");
        if let Some(signal) = signal {
            thread::sleep(Duration::from_secs(1));
            running.signal(signal);
        }
        let ended = running.finish().expect_code(code);
        broker.thaw();
        says(
            &ended,
            &[&address, "the cluster did not", "kbk restore --resume"],
        );
        let resume = ["--resume", "--rate-limit", "1GiB"];
        run(&mut repo.restore(&broker, &resume)).expect_code(0);
        consume::assert_same(&broker, (&topic, &target), PARTITIONS);
        let restores = offset_map::restores(&repo);
        let last = restores.last().expect("it has begun");
        offset_map::assert_exact(&broker, &repo, last, (&topic, &target), PARTITIONS);
    }
}

/// What makes brokers end a transaction soon after its timeout of 3 s.
const ENDED_SOON: (&str, &str) = (
    "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    "200",
);

/// Begins a restore that always has an open transaction, and waits for its first records.
fn slow_restore(broker: &Broker, (topic, repo): (&str, &Repo), target: &str) -> Running {
    // Records are sent as they come: one that waits in a batch is in no transaction yet.
    let args = [
        "--rate-limit",
        "1MiB",
        "-X",
        "transaction.timeout.ms=3000",
        "-X",
        "linger.ms=5",
    ];
    let running = Running::spawn(&mut restore(repo, broker, (topic, target), &args));
    wait_for_records(&running, broker, target);
    running
}

/// Reports whether a transaction is open in the target.
fn is_open(broker: &Broker, target: &str) -> bool {
    (0..PARTITIONS).any(|partition| {
        let [_, stable, end] = consume::bounds(broker, target, partition);
        stable < end
    })
}

/// Suspends a run in a transaction, and returns once that has timed out.
fn suspend(running: &Running, broker: &Broker, target: &str) {
    // Between two transactions, none is open for a moment.
    loop {
        running.suspend();
        if is_open(broker, target) {
            break;
        }
        running.proceed();
        thread::sleep(Duration::from_millis(20));
    }
    wait::until("the transaction to time out", || {
        (!is_open(broker, target)).then_some(())
    });
}

#[test]
fn a_restore_whose_transaction_timed_out_continues_with_a_new_producer() {
    let mut broker = Broker::start(&[ENDED_SOON]);
    let (topic, repo) = saved(&broker, "timed-out", 6_000);
    for freezes_broker in [false, true] {
        let target = topics::unique("timed-out-restore");
        let running = slow_restore(&broker, (&topic, &repo), &target);
        if freezes_broker {
            broker.freeze();
            running.assert_runs("the broker is frozen");
            // Longer than a transaction may take.
            thread::sleep(Duration::from_secs(4));
            broker.thaw();
        } else {
            suspend(&running, &broker, &target);
            running.proceed();
        }
        let finished = running.finish().expect_code(0);
        if !freezes_broker {
            says(&finished, &["retrying the records of this transaction"]);
        }
        consume::assert_same(&broker, (&topic, &target), PARTITIONS);
        let restores = offset_map::restores(&repo);
        let last = restores.last().expect("it has begun");
        offset_map::assert_exact(&broker, &repo, last, (&topic, &target), PARTITIONS);
    }
}

#[test]
fn a_restore_that_was_taken_over_while_it_was_suspended_stops_at_once() {
    let broker = Broker::start(&[ENDED_SOON]);
    let (topic, repo) = saved(&broker, "taken-over", 6_000);
    for ends_first in [false, true] {
        let target = topics::unique("taken-over-restore");
        let first = slow_restore(&broker, (&topic, &repo), &target);
        suspend(&first, &broker, &target);
        let rate = if ends_first { "1GiB" } else { "1MiB" };
        let resume = ["--resume", "--rate-limit", rate];
        let second = Running::spawn(&mut repo.restore(&broker, &resume));
        let holder = format!("process {}", second.process_id());
        let (second, ended) = match ends_first {
            true => (None, Some(second.finish())),
            false => {
                let end = || (0..PARTITIONS).map(|it| consume::offsets(&broker, &target, it).end);
                let before: i64 = end().sum();
                second.wait_until("more records", || {
                    (end().sum::<i64>() > before + 100).then_some(())
                });
                (Some(second), None)
            }
        };
        first.proceed();
        let lost = first.finish().expect_code(1);
        says(
            &lost,
            &["has taken it over", "nothing was committed after that"],
        );
        if let Some(second) = second {
            second.assert_runs("the first run has ended");
            says(&lost, &[&holder, "kbk restore --resume on"]);
            second.finish().expect_code(0);
        }
        if let Some(ended) = ended {
            ended.expect_code(0);
        }
        consume::assert_same(&broker, (&topic, &target), PARTITIONS);
        let restores = offset_map::restores(&repo);
        let last = restores.last().expect("it has begun");
        offset_map::assert_exact(&broker, &repo, last, (&topic, &target), PARTITIONS);
    }
}

/// A run that has nothing to send when it wakes writes the offset map of its transaction before the broker refuses the commit.
#[test]
fn a_restore_that_was_taken_over_between_two_records_leaves_no_page_of_its_offset_map() {
    const RECORDS: usize = 200;
    /// A sixth of the transaction timeout: a transaction of that age is committed.
    const AGE: Duration = Duration::from_secs(2);
    let broker = Broker::shared();
    let topic = topics::unique("idle");
    topics::create(broker, &topic, 1, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, 1),
        samples::documents(1).take(RECORDS),
    );
    let repo = Repo::new();
    // Batches would be written as they are, a few at once.
    let args = ["--topic", &topic, "--no-groups", "--encoding", "records"];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    for is_committed in [true, false] {
        let target = topics::unique("idle-restore");
        // A record takes 50 ms, and is sent at once: between two of them nothing is under way.
        let args = [
            "--rate-limit",
            "20KiB",
            "-X",
            "transaction.timeout.ms=12000",
            "-X",
            "linger.ms=0",
        ];
        let first = Running::spawn(&mut restore(&repo, broker, (&topic, &target), &args));
        first.wait_until("the first records", || {
            if consume::partitions(broker, &target) == 0 {
                return None;
            }
            let committed = consume::offsets(broker, &target, 0).end;
            let [_, _, end] = consume::bounds(broker, &target, 0);
            let (more, least) = (end > committed, i64::from(is_committed));
            (more && committed >= least).then_some(())
        });
        first.suspend();
        thread::sleep(AGE);
        let resume = ["--resume", "--rate-limit", "100MiB"];
        run(&mut repo.restore(broker, &resume)).expect_code(0);
        first.proceed();
        let lost = first.finish().expect_code(1);
        says(
            &lost,
            &["another run, which has finished it, has taken it over"],
        );
        consume::assert_same(broker, (&topic, &target), 1);
        let restores = offset_map::restores(&repo);
        let last = restores.last().expect("it has begun");
        offset_map::assert_exact(broker, &repo, last, (&topic, &target), 1);
    }
}

#[test]
fn what_a_broker_refuses_is_the_error_and_is_not_retried() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "refusal", 20_000);
    let target = topics::unique("refusal-restore");
    let args = ["--rate-limit", "512KiB"];
    let running = Running::spawn(&mut restore(&repo, broker, (&topic, &target), &args));
    wait_for_records(&running, broker, &target);
    // All records are soon older than this. Markers of transactions are not: where a broker refuses one, its transaction never ends.
    let limit = ("message.timestamp.before.max.ms", "5000");
    topics::reconfigure(broker, &target, &[limit]);
    let failed = running.finish().expect_code(1);
    let (_, error) = failed.stderr.split_once("error: ").expect("an error");
    for part in [
        "INVALID_TIMESTAMP",
        "message.timestamp.before.max.ms",
        &target,
    ] {
        assert!(error.contains(part), "no {part:?}: {failed:#?}");
    }
    assert!(!failed.stderr.contains("retrying"), "{failed:#?}");
}

#[test]
fn transactions_shrink_to_what_a_quota_allows() {
    const RECORDS: usize = 500;
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "quota", RECORDS);
    let quota = [
        "--alter",
        "--entity-type",
        "clients",
        "--entity-name",
        "kbk-limited",
        "--add-config",
        "producer_byte_rate=20000,consumer_byte_rate=40000,request_percentage=5",
    ];
    broker.tool("kafka.admin.ConfigCommand", &quota);
    let target = topics::unique("quota-restore");
    // The records take about 25 s at this rate, more than a transaction may.
    let args = [
        "-X",
        "client.id=kbk-limited",
        "-X",
        "transaction.timeout.ms=10000",
        "--verify",
    ];
    let finished = run(&mut restore(&repo, broker, (&topic, &target), &args)).expect_code(0);
    assert_eq!(finished.json()["records"], RECORDS);
    for line in finished
        .stderr
        .lines()
        .filter(|line| line.contains("restoring:"))
    {
        let (_, shown) = line.split_once("restoring: ").expect("it has it");
        let (percent, _) = shown.split_once(" %").expect("a percentage");
        let percent: u32 = percent.parse().expect("a number");
        assert!(percent <= 100, "{line}");
    }
    consume::assert_same(broker, (&topic, &target), PARTITIONS);
}

#[test]
fn a_broker_with_a_short_transaction_timeout_is_respected() {
    let broker = Broker::start(&[("transaction.max.timeout.ms", "16000")]);
    let (topic, repo) = saved(&broker, "short", 1_000);
    let target = topics::unique("short-restore");
    run(&mut restore(&repo, &broker, (&topic, &target), &[])).expect_code(0);
    consume::assert_same(&broker, (&topic, &target), PARTITIONS);
    // What the user sets is kept to, and never replaced in silence.
    for (timeout, code) in [("15000", 0), ("17000", 1)] {
        let property = format!("transaction.timeout.ms={timeout}");
        let target = topics::unique("own-timeout");
        let finished = run(&mut restore(
            &repo,
            &broker,
            (&topic, &target),
            &["-X", &property],
        ));
        let finished = finished.expect_code(code);
        if code == 1 {
            says(
                &finished,
                &["17 s", "transaction.max.timeout.ms", "--no-transactions"],
            );
        }
    }
}

#[test]
fn a_cluster_without_a_transaction_coordinator_is_explained() {
    let broker = Broker::start_without_transactions();
    let topic = topics::unique("uncoordinated");
    topics::create(&broker, &topic, PARTITIONS, &[]);
    produce(
        &broker,
        "none",
        (&topic, 0),
        &samples::documents(1).take(10).collect::<Vec<_>>(),
    );
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("uncoordinated-restore");
    let failed = run(&mut restore(&repo, &broker, (&topic, &target), &[])).expect_code(1);
    let named = [
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "--no-transactions",
    ];
    says(&failed, &named);
    assert_eq!(
        consume::partitions(&broker, &target),
        0,
        "nothing is created"
    );
    run(&mut restore(
        &repo,
        &broker,
        (&topic, &target),
        &["--no-transactions"],
    ))
    .expect_code(0);
}
