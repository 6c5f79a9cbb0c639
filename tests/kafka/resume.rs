//! A restore that is killed, stopped or cut off from its brokers resumes where it was: each record once, each mapped.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce_bulk};
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, groups, offset_map, samples, seed, soak, topics};

const PARTITIONS: i32 = 4;

/// Creates a topic of 1 KB documents, with no record at every tenth offset, and backs it up.
fn saved(broker: &Broker, name: &str, records: usize) -> (String, Repo) {
    saved_as(broker, (name, &[]), records)
}

/// Does the same with further arguments of the backup.
fn saved_as(broker: &Broker, (name, args): (&str, &[&str]), records: usize) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, PARTITIONS, &[]);
    let mut documents = samples::documents(1);
    produce_bulk(
        broker,
        "lz4",
        (&topic, PARTITIONS),
        documents.by_ref().take(records),
    );
    // Transaction markers leave gaps in the offsets.
    let producer = Producer::transactional(broker, "lz4", &topic);
    for (number, document) in documents.take(90).enumerate() {
        if number % 9 == 0 {
            producer.begin();
        }
        producer.send(&topic, 0, &document);
        if number % 9 == 8 {
            producer.commit();
        }
    }
    let repo = Repo::new();
    let args = [&["--topic", &topic], args].concat();
    run(&mut repo.backup(broker, &args)).expect_code(0);
    (topic, repo)
}

fn restore(repo: &Repo, broker: &Broker, topic: &str, target: &str) -> Command {
    repo.restore(
        broker,
        &["--topic", topic, "--map", &format!("{topic}={target}")],
    )
}

/// Starts the same restore, or resumes it if it has begun.
fn resume(repo: &Repo, broker: &Broker, topic: &str, target: &str) -> Command {
    let unfinished = |name: &String| !offset_map::is_done(repo, name);
    if offset_map::restores(repo).iter().any(unfinished) {
        repo.restore(broker, &["--resume"])
    } else {
        restore(repo, broker, topic, target)
    }
}

#[test]
fn a_killed_restore_is_resumed_exactly_once() {
    killed_and_resumed("records");
}

#[test]
fn a_killed_restore_of_batches_is_resumed_exactly_once() {
    killed_and_resumed("batches");
}

fn killed_and_resumed(encoding: &str) {
    let (kills, records) = if soak() { (20, 1_000_000) } else { (5, 60_000) };
    let broker = Broker::shared();
    let args = ["--encoding", encoding];
    let (topic, repo) = saved_as(broker, ("kill-restore", &args), records);
    let mut whole = restore_time(&repo, broker, &topic);
    let mut random = Random::new(seed());
    let mut left = kills;
    'targets: while left > 0 {
        let target = topics::unique("killed-restore");
        let done = || {
            let last = offset_map::restores(&repo).pop();
            let there = consume::partitions(broker, &target) > 0;
            last.filter(|last| there && offset_map::is_done(&repo, last))
        };
        // With several kills in a row, a run that resumes a killed run is killed itself.
        for _ in 0..(1 + random.below(4)).min(left) {
            let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
            let mut command = resume(&repo, broker, &topic, &target);
            let killed = Running::spawn(&mut command).kill_after(moment);
            println!("killed after {moment:?} of {whole:?}: {}", killed.status);
            if killed.status.signal() == Some(libc::SIGKILL) {
                left -= 1;
                // Everything is written, and nothing is left to resume; only its group and unreferenced pages may stay.
                if done().is_some() {
                    consume::assert_same(broker, (&topic, &target), PARTITIONS);
                    continue 'targets;
                }
            } else {
                // It finished before the kill: it had less to do, or the machine has become faster.
                killed.expect_code(0);
                whole = moment;
                break;
            }
        }
        let restore = done().unwrap_or_else(|| {
            let resumed = run(&mut resume(&repo, broker, &topic, &target)).expect_code(0);
            // Fencing the killed run takes several attempts, which is no news.
            assert!(!resumed.stderr.contains("retrying"), "{resumed:#?}");
            let report = resumed.json();
            assert_eq!(report["records"], records + 90, "{report}");
            report["restore"].as_str().expect("a name").to_owned()
        });
        consume::assert_same(broker, (&topic, &target), PARTITIONS);
        offset_map::assert_exact(broker, &repo, &restore, (&topic, &target), PARTITIONS);
        let left = groups::list(broker);
        let of_it = |group: &String| group.contains(&restore);
        assert!(!left.iter().any(of_it), "no longer needed: {left:?}");
        topics::delete(broker, &target);
    }
    topics::delete(broker, &topic);
}

fn restore_time(repo: &Repo, broker: &Broker, topic: &str) -> Duration {
    let target = topics::unique("timed-restore");
    let began = Instant::now();
    run(&mut restore(repo, broker, topic, &target)).expect_code(0);
    topics::delete(broker, &target);
    began.elapsed()
}

/// Starts a restore that writes at most `per_second` records, and waits for the first.
fn slow(repo: &Repo, broker: &Broker, (topic, target): (&str, &str), per_second: usize) -> Running {
    let mut command = restore(repo, broker, topic, target);
    command.args(["--rate-limit-records", &per_second.to_string()]);
    let running = Running::spawn(&mut command);
    running.wait_until("the first records", || {
        let there =
            consume::partitions(broker, target) > 0 && consume::offsets(broker, target, 0).end > 0;
        there.then_some(())
    });
    running
}

#[test]
fn broker_outages_do_not_end_a_restore() {
    let away = Duration::from_secs(if soak() { 20 } else { 4 });
    let mut broker = Broker::start(&[]);
    let (topic, repo) = saved(&broker, "cut-off", 40_000);
    let target = topics::unique("cut-off-restore");
    let running = slow(&repo, &broker, (&topic, &target), 4_000);
    for kill in [false, true] {
        if kill {
            broker.kill();
        } else {
            broker.stop();
        }
        running.assert_runs("the broker is away");
        thread::sleep(away);
        broker.restart();
    }
    let finished = running.finish().expect_code(0);
    println!("{}", finished.stderr);
    assert_restored(&broker, &repo, &topic, &target);
}

#[test]
fn leaders_and_coordinators_that_move_do_not_end_a_restore() {
    let mut brokers = Broker::start_three();
    let (topic, repo) = saved(&brokers[0], "moved", 40_000);
    let target = topics::unique("moved-restore");
    let running = slow(&repo, &brokers[0], (&topic, &target), 1_500);
    // Each broker in turn is shut down cleanly or killed, so that every leader moves at least once.
    for node in 0..brokers.len() {
        let others = (node + 1) % brokers.len();
        if node == 1 {
            brokers[node].kill();
        } else {
            brokers[node].stop();
        }
        running.assert_runs("a broker is away");
        let gone = i32::try_from(node + 1).expect("few");
        running.wait_until("other leaders", || {
            let leaders = topics::leaders(&brokers[others], &target);
            leaders
                .iter()
                .all(|it| ![-1, gone].contains(it))
                .then_some(())
        });
        thread::sleep(Duration::from_secs(1));
        brokers[node].restart();
    }
    let finished = running.finish().expect_code(0);
    println!("{}", finished.stderr);
    assert_restored(&brokers[0], &repo, &topic, &target);
}

/// Fails the test unless each record was restored once, and is where the offset map of the last restore says.
#[track_caller]
fn assert_restored(broker: &Broker, repo: &Repo, topic: &str, target: &str) {
    consume::assert_same(broker, (topic, target), PARTITIONS);
    let restores = offset_map::restores(repo);
    let last = restores.last().expect("it has begun");
    offset_map::assert_exact(broker, repo, last, (topic, target), PARTITIONS);
}

#[test]
fn restores_that_cannot_be_resumed_are_rejected() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "refused", 1_000);
    let resume = |args: &[&str], says: &str| {
        let args = [&["--resume"], args].concat();
        let failed = run(&mut repo.restore(broker, &args)).expect_code(1);
        assert!(failed.stderr.contains(says), "{failed:#?}");
    };
    resume(&[], "no restore of this repository is unfinished");
    resume(
        &["20260101-000000-abcdef"],
        "there is no restore 20260101-000000-abcdef",
    );
    let report = run(&mut restore(
        &repo,
        broker,
        &topic,
        &topics::unique("finished"),
    ))
    .json();
    let finished = report["restore"].as_str().expect("a name").to_owned();
    resume(&[&finished], "is finished: 1,090 records");

    // Simulates restores that were killed just before they were marked done.
    let undo = |restore: &str| {
        let done = repo.path().join(format!("restores/{restore}/done.json"));
        std::fs::remove_file(done).expect("it was there");
    };
    let args = [
        "--no-transactions",
        "--map",
        &format!("{topic}={}", topics::unique("untransacted")),
    ];
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    let without = report["restore"].as_str().expect("a name").to_owned();
    undo(&without);
    resume(&[&without], "--no-transactions");
    undo(&finished);
    let other = Broker::start(&[]);
    let failed = run(&mut repo.restore(&other, &["--resume", &finished])).expect_code(1);
    assert!(failed.stderr.contains("and this is cluster"), "{failed:#?}");
    // Its group is gone from the cluster, as after it expires in a week, but its records are there.
    resume(&[&finished], "has no committed position");
}
