//! `kbk import` that is killed, or meets a full disk: nothing half is in a snapshot, and the next import is that of an undisturbed one.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kbk_format::{Headers, Record};
use tempfile::TempDir;

use crate::support::one_partition::OnePartition;
use crate::support::process::{Running, run};
use crate::support::repo::{Repo, kbk_on};
use crate::support::samples::{self, Random};
use crate::support::small_disk::SmallDisk;
use crate::support::{seed, soak};

const TOPIC: &str = "imported";

/// Makes the log of a partition, and a repository that it is exported from.
fn log(records: usize) -> (Repo, TempDir) {
    let repo = Repo::missing();
    let repository = OnePartition::create(&repo.path(), TOPIC);
    let segment = repository.segment(0, |writer| {
        let mut offset = 0;
        for message in samples::documents(4).take(records) {
            let record = Record {
                offset,
                timestamp: message.timestamp,
                control: false,
                key: message.key.as_deref(),
                value: message.value.as_deref(),
                headers: Headers::EMPTY,
            };
            writer.push(&record).expect("in order");
            // Some offsets have no record.
            offset += if offset % 1000 == 999 { 3 } else { 1 };
        }
        offset
    });
    repository.commit(vec![segment]);
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let mut export = repo.kbk(&["export", "-f", "kafka-log", "--compression", "lz4"]);
    run(export.arg(out.path())).expect_code(0);
    (repo, out)
}

fn import(repo: &Path, logs: &TempDir) -> Command {
    let mut command = kbk_on(repo, &["import", "--json", "--segment-size", "1MiB"]);
    command.arg(logs.path());
    command
}

#[test]
fn a_killed_import_leaves_no_snapshot_and_the_next_is_whole() {
    let (original, logs) = log(12_000);
    let expected = original.read_by_spec(TOPIC, 0);
    let began = Instant::now();
    run(&mut import(&Repo::new().path(), &logs)).expect_code(0);
    let mut whole = began.elapsed();
    let mut random = Random::new(seed());
    let mut left = if soak() { 40 } else { 6 };
    while left > 0 {
        let repo = Repo::new();
        for _ in 0..(1 + random.below(3)).min(left) {
            if repo.snapshot(1).exists() {
                break;
            }
            let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
            let killed = Running::spawn(&mut import(&repo.path(), &logs)).kill_after(moment);
            println!("killed after {moment:?} of {whole:?}: {}", killed.status);
            if killed.status.signal() == Some(libc::SIGKILL) {
                left -= 1;
            } else {
                // It finished before the kill: this round does not count.
                whole = moment;
            }
        }
        if !repo.snapshot(1).exists() {
            run(&mut import(&repo.path(), &logs)).expect_code(0);
        }
        assert!(!repo.snapshot(2).exists());
        assert!(repo.read_by_spec(TOPIC, 0) == expected);
        repo.verify();
    }
}

#[test]
fn an_import_to_a_full_disk_says_so_and_the_next_is_whole() {
    let (original, logs) = log(20_000);
    let mut disk = SmallDisk::mount("size=4m");
    let place: PathBuf = disk.path().join("repo");
    run(&mut disk.inside(&kbk_on(&place, &["init"]))).expect_code(0);
    let full = run(&mut disk.inside(&import(&place, &logs))).expect_code(1);
    assert!(full.stderr.contains("No space left on device"), "{full:#?}");
    assert!(full.stderr.contains("no snapshot was created"), "{full:#?}");
    disk.remount("size=256m");
    let report = run(&mut disk.inside(&import(&place, &logs)))
        .expect_code(0)
        .json();
    assert_eq!(
        (&report["snapshot"], &report["complete"]),
        (&1.into(), &true.into())
    );
    assert_eq!(report["records"], original.read_by_spec(TOPIC, 0).len());
    run(&mut disk.inside(&kbk_on(&place, &["verify", "--full"]))).expect_code(0);
}
