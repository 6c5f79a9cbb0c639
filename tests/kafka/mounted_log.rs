//! `log/` of a mount: Kafka's tool reads it, and a broker runs on it without a copy of the segments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbk_format::kafka_log::GAPS_FILE;
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::logs::{self, Log, Logs, assert_dumped};
use crate::support::pages::blocks;
use crate::support::process::run;
use crate::support::repo::Repo;

/// A mount of a repository, which ends with it.
struct Mount<'a> {
    repo: &'a Repo,
    folder: TempDir,
}

impl Mount<'_> {
    fn of<'a>(repo: &'a Repo, args: &[&str]) -> Mount<'a> {
        let folder = TempDir::with_prefix("kbk-mount-").expect("a folder");
        let mut command = repo.kbk(&["mount", "--daemon"]);
        run(command.arg(folder.path()).args(args)).expect_code(0);
        Mount { repo, folder }
    }

    /// The folder of partition 0 of a topic.
    fn partition(&self, topic: &str) -> PathBuf {
        let topics = self.folder.path().join("latest/topics");
        topics.join(topic).join("0")
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let mut umount = self.repo.kbk(&["umount"]);
        run(umount.arg(self.folder.path()));
    }
}

/// Puts the log of a mount into the folder of a stopped broker, with the loop of docs/how-to.md.
fn put(data: &Path, mount: &Mount<'_>, topic: &str) {
    let page = blocks("docs/how-to.md");
    let block = page
        .iter()
        .find(|block| block.lines[0].starts_with("kbk mount --for-broker"));
    let lines = block.expect("the page has it").lines.iter();
    let lines = lines.skip_while(|line| !line.starts_with("for "));
    let last = |line: &str| line != "done";
    let mut body: Vec<&str> = lines
        .map(String::as_str)
        .take_while(|line| last(line))
        .collect();
    assert!(body.len() > 4, "{body:?}");
    body.push("done");
    let shell = body.join("\n");
    let shell = shell.replace("/mnt/kafka", mount.folder.path().to_str().expect("UTF-8"));
    let shell = shell.replace("orders", topic);
    let shell = shell.replace("kafka:", "root:").replace("0 1 2 3", "0");
    let mut command = Command::new("bash");
    command.args(["-euc", &shell]).current_dir(data);
    run(&mut command).expect_code(0);
}

#[test]
fn kafka_reads_a_mounted_log_and_a_broker_runs_on_it() {
    assert_runs_on_a_mounted_log("records");
}

/// With the producers' own batches, of any codec and of transactions, as they were.
#[test]
fn kafka_reads_mounted_batches_as_they_are_and_a_broker_runs_on_them() {
    assert_runs_on_a_mounted_log("batches");
}

fn assert_runs_on_a_mounted_log(encoding: &str) {
    let mut broker = Broker::start(&[]);
    let names = logs::fill(&broker);
    logs::spread(&mut broker);
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--encoding", encoding])).expect_code(0);

    let before = Logs::read(&broker, &names);
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let export = out.path().join("logs");
    let args = ["export", "--format", "kafka-log", "--compression", "stored"];
    let mut command = repo.kbk(&args);
    run(command.arg(&export)).expect_code(0);
    let mount = Mount::of(&repo, &["--for-broker"]);
    let mut dumped = Vec::new();
    for Log { topic, records, .. } in &before.topics {
        let log = mount.partition(topic).join("log");
        let exported = export.join(format!("{topic}-0"));
        let mut files = 0;
        let of_brokers = |file: &fs::DirEntry| file.file_name() != GAPS_FILE;
        let exported = fs::read_dir(&exported).expect("an export").flatten();
        for file in exported.filter(of_brokers) {
            let mounted = fs::read(log.join(file.file_name())).expect("the mount has it, too");
            assert!(mounted == fs::read(file.path()).expect("read"), "{file:?}");
            files += 1;
        }
        assert_eq!(fs::read_dir(&log).expect("a folder").count(), files);
        dumped.push((log, records.as_slice()));
    }
    assert_dumped(&dumped);

    before.lose(&broker);
    broker.stop();
    let data = broker.data();
    for topic in &names {
        put(&data, &mount, topic);
    }
    broker.restart();
    before.assert_continued(&broker);
    // A clean stop and start, and one after a crash: the broker reads and writes what it flushes and recovers.
    broker.stop();
    broker.restart();
    broker.kill();
    broker.restart();
    before.assert_all_served(&broker);
    broker.stop();
}
