//! `kill -9` at any moment of a backup: the next run completes it with every record exactly once.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, samples, seed, soak, topics};

#[test]
fn a_killed_backup_is_completed_by_the_next_run() {
    let (kills, records) = if soak() { (20, 1_000_000) } else { (5, 60_000) };
    let broker = Broker::shared();
    let topic = topics::unique("killed");
    topics::create(broker, &topic, 4, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, 4),
        samples::documents(1).take(records),
    );

    let mut whole = backup_time(broker, &topic);
    let mut random = Random::new(seed());
    let mut left = kills;
    while left > 0 {
        let repo = Repo::new();
        // With several kills in a row, a run that adopts segments of a killed run is killed itself.
        for _ in 0..(1 + random.below(3)).min(left) {
            let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
            let killed = Running::spawn(&mut backup(&repo, broker, &topic)).kill_after(moment);
            println!("killed after {moment:?} of {whole:?}: {}", killed.status);
            if killed.status.signal() == Some(libc::SIGKILL) {
                left -= 1;
            } else {
                // It finished before the kill, because the machine has become faster: this round does not count.
                whole = moment;
            }
        }
        run(&mut backup(&repo, broker, &topic)).expect_code(0);
        assert_eq!(repo.verify()["records"], records);
        let target = topics::unique("after-kill");
        repo.restore_as(broker, &[(&topic, &target)]);
        assert_eq!(
            consume::assert_same(broker, (&topic, &target), 4),
            records as u64
        );
        topics::delete(broker, &target);
    }
    topics::delete(broker, &topic);
}

/// Uses segments so small that every kill finds sealed, open and missing ones.
fn backup(repo: &Repo, broker: &Broker, topic: &str) -> std::process::Command {
    repo.backup(broker, &["--topic", topic, "--segment-size", "4MiB"])
}

fn backup_time(broker: &Broker, topic: &str) -> Duration {
    let began = Instant::now();
    run(&mut backup(&Repo::new(), broker, topic)).expect_code(0);
    began.elapsed()
}
