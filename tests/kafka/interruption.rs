//! SIGINT and SIGTERM at any moment: open segments are sealed and committed, and the next run continues.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::broker::Broker;
use crate::support::process::{Finished, Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, offset_map, samples, seed, soak, topics};

const RECORDS: usize = 60_000;
/// The message after a signal that arrived before there was anything to seal or to leave half done.
const NOTHING_DONE: &str = "stopped before anything was";
const SIGNALS: [(libc::c_int, i32); 2] = [(libc::SIGINT, 130), (libc::SIGTERM, 143)];

#[test]
fn an_interrupted_backup_continues_where_it_stopped() {
    let broker = Broker::shared();
    let topic = filled_topic(broker);
    let backup = |repo: &Repo| repo.backup(broker, &["--topic", &topic, "--segment-size", "1MiB"]);
    let mut moments = Moments::new(time_of(&mut backup(&Repo::new())));
    while let Some((moment, signal, code)) = moments.next() {
        let repo = Repo::new();
        let stopped = Running::spawn(&mut backup(&repo)).signal_after(moment, signal);
        let mut already = 0;
        if moments.ended_half_way(&stopped, signal, code) {
            let report = stopped.json();
            assert_eq!(report["interrupted"], true);
            assert!(
                stopped.stderr.contains("run the same command again"),
                "{stopped:#?}"
            );
            already = report["records"].as_u64().expect("a number");
            let complete = report["complete"] == true;
            let verify = run(&mut repo.kbk(&["verify", "--full", "--json"]));
            let verified = verify.expect_code(if complete { 0 } else { 3 }).json();
            assert_eq!(
                verified["records"], already,
                "records already read are committed"
            );
            assert_eq!(verified["missing_offsets"], RECORDS as u64 - already);
            assert_eq!(complete, already == RECORDS as u64);
        } else if stopped.status.success() {
            already = RECORDS as u64;
        }
        let report = run(&mut backup(&repo)).expect_code(0).json();
        assert_eq!(report["records"], RECORDS as u64 - already);
        assert_eq!(report["complete"], true);
        assert_eq!(repo.verify()["records"], RECORDS);
        let target = topics::unique("after-signal");
        repo.restore_as(broker, &[(&topic, &target)]);
        consume::assert_same(broker, (&topic, &target), 4);
        topics::delete(broker, &target);
    }
}

#[test]
fn an_interrupted_restore_reports_it_and_can_be_resumed() {
    let broker = Broker::shared();
    let topic = filled_topic(broker);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let timed = topics::unique("timed");
    let whole = time_of(&mut restore(&repo, broker, &topic, &timed));
    let mut moments = Moments::new(whole);
    while let Some((moment, signal, code)) = moments.next() {
        let target = topics::unique("restore-stopped");
        let mut command = restore(&repo, broker, &topic, &target);
        let stopped = Running::spawn(&mut command).signal_after(moment, signal);
        if moments.ended_half_way(&stopped, signal, code) {
            let report = stopped.json();
            assert_eq!(report["interrupted"], true);
            assert!(
                stopped.stderr.contains("kbk restore --resume"),
                "{stopped:#?}"
            );
            let digests = (0..4).map(|partition| consume::digest(broker, &target, partition));
            let there: u64 = digests.map(|digest| digest.records).sum();
            assert_eq!(
                report["records"], there,
                "the reported records are in the target"
            );
        }
        repo.verify();
        let begun = offset_map::restores(&repo);
        let unfinished = begun.iter().any(|name| !offset_map::is_done(&repo, name));
        if unfinished {
            run(&mut repo.restore(broker, &["--resume"])).expect_code(0);
        } else if !stopped.status.success() {
            run(&mut restore(&repo, broker, &topic, &target)).expect_code(0);
        }
        consume::assert_same(broker, (&topic, &target), 4);
        topics::delete(broker, &target);
    }
}

#[test]
fn one_signal_is_enough_while_the_broker_is_silent() {
    // Accepts connections and never answers, so that kbk is waiting when the signal arrives.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    silent.set_nonblocking(true).expect("a socket");
    let mut connections = Vec::new();
    let broker = Broker::shared();
    let topic = filled_topic(broker);
    let (saved, new) = (Repo::new(), Repo::missing());
    run(&mut saved.backup(broker, &["--topic", &topic])).expect_code(0);
    let backup = &["backup", "--init"][..];
    for (repo, command) in [(&new, backup), (&saved, &["restore"])] {
        for (signal, code) in SIGNALS {
            let running = Running::spawn(&mut repo.kbk(&[command, &["-b", &address]].concat()));
            connections.push(running.wait_until("it to connect", || silent.accept().ok()));
            running.wait_until("the signals to be handled", || {
                handles_signals(running.process_id()).then_some(())
            });
            let asked = Instant::now();
            running.signal(signal);
            let finished = running.finish().expect_code(code);
            // Waiting for the broker would take nine seconds.
            assert!(asked.elapsed() < Duration::from_secs(5), "{finished:#?}");
            assert!(finished.stderr.contains(NOTHING_DONE), "{finished:#?}");
            // The next connection is one of the next run.
            while silent.accept().is_ok() {}
        }
    }
    assert!(!new.path().exists());
}

fn filled_topic(broker: &Broker) -> String {
    let topic = topics::unique("interrupted");
    topics::create(broker, &topic, 4, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, 4),
        samples::documents(1).take(RECORDS),
    );
    topic
}

fn restore(repo: &Repo, broker: &Broker, topic: &str, target: &str) -> Command {
    repo.restore(broker, &["--map", &format!("{topic}={target}")])
}

/// Moments at which runs are stopped, until enough of them were stopped half-way.
struct Moments {
    random: Random,
    moment: Duration,
    whole: Duration,
    round: usize,
    half_way: usize,
}

impl Moments {
    /// Starts with the time that a whole run takes.
    fn new(whole: Duration) -> Self {
        Self {
            random: Random::new(seed()),
            moment: Duration::ZERO,
            whole,
            round: 0,
            half_way: 0,
        }
    }

    /// Returns a moment, and a signal with the exit code that it must cause.
    fn next(&mut self) -> Option<(Duration, libc::c_int, i32)> {
        if self.half_way >= if soak() { 12 } else { 2 } && self.round >= if soak() { 20 } else { 4 }
        {
            return None;
        }
        let (signal, code) = SIGNALS[self.round % SIGNALS.len()];
        self.round += 1;
        let whole = self.whole.as_micros() as u64;
        self.moment = Duration::from_micros(self.random.below(whole));
        Some((self.moment, signal, code))
    }

    /// Reports whether the run was stopped after it had started its work, and before it ended.
    #[track_caller]
    fn ended_half_way(&mut self, stopped: &Finished, signal: libc::c_int, code: i32) -> bool {
        let (moment, whole, status) = (self.moment, self.whole, stopped.status);
        println!("signal {signal} after {moment:?} of {whole:?}: {status}");
        let is_half_way = ended_half_way(stopped, signal, code);
        self.half_way += usize::from(is_half_way);
        if status.success() {
            // The machine has become faster.
            self.whole = moment.max(whole / 2);
        }
        is_half_way
    }
}

fn time_of(command: &mut Command) -> Duration {
    let began = Instant::now();
    run(command).expect_code(0);
    began.elapsed()
}

/// Reports whether the signal arrived before the process ended. Until kbk installs its handlers, a signal kills it like any process.
#[track_caller]
fn ended_by(finished: &Finished, signal: libc::c_int, code: i32) -> bool {
    let status = finished.status;
    let by_signal = status.code() == Some(code) || status.signal() == Some(signal);
    assert!(by_signal || status.success(), "{finished:#?}");
    by_signal
}

/// Reports whether the process was stopped after it had started its work.
#[track_caller]
fn ended_half_way(finished: &Finished, signal: libc::c_int, code: i32) -> bool {
    ended_by(finished, signal, code)
        && finished.status.code() == Some(code)
        && !finished.stderr.contains(NOTHING_DONE)
}

/// Reports whether a process has handlers for SIGINT and SIGTERM.
fn handles_signals(process_id: libc::pid_t) -> bool {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("always there").trim(), 16).expect("hex");
    let bit = |signal: libc::c_int| 1 << (signal - 1);
    let both: u64 = bit(libc::SIGINT) | bit(libc::SIGTERM);
    caught & both == both
}
