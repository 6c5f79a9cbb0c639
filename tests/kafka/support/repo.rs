//! A repository of a test's own, kbk's commands on it, and a reader of it that is not kbk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use serde_json::Value;
use tempfile::TempDir;

use super::broker::Broker;
use super::process::{kbk, run};
use super::record::{Header, Message};

/// Reads repositories; written from SPEC.md alone.
const SPEC_READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spec_reader/repo.py");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/venv/bin/python");

/// A repository in a temporary folder; kbk makes it.
#[derive(Debug)]
pub(crate) struct Repo {
    folder: TempDir,
}

impl Repo {
    /// A place for a repository: there is nothing yet.
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("kbk-repo-").expect("a temporary folder");
        Self { folder }
    }

    /// The repository's folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// `kbk backup` of a broker's topics, with a JSON report.
    pub(crate) fn backup(&self, broker: &Broker, words: &[&str]) -> Command {
        self.kbk_with(broker, "backup", words)
    }

    /// `kbk restore` into a broker, with a JSON report.
    pub(crate) fn restore(&self, broker: &Broker, words: &[&str]) -> Command {
        self.kbk_with(broker, "restore", words)
    }

    fn kbk_with(&self, broker: &Broker, command: &str, words: &[&str]) -> Command {
        let mut command = self.kbk(&[command, "--json", "-b", broker.bootstrap()]);
        command.args(words);
        command
    }

    /// `kbk` with some words, on this repository.
    pub(crate) fn kbk(&self, words: &[&str]) -> Command {
        kbk_on(&self.path(), words)
    }

    /// Restores topics under other names and waits for it to end well; gives the report.
    pub(crate) fn restore_as(&self, broker: &Broker, names: &[(&str, &str)]) -> Value {
        let mut command = self.restore(broker, &[]);
        for (source, target) in names {
            command.args(["--topic", source, "--map", &format!("{source}={target}")]);
        }
        run(&mut command).expect_code(0).json()
    }

    /// Fails the test unless `kbk verify --full` finds nothing wrong; gives its report.
    #[track_caller]
    pub(crate) fn verify(&self) -> Value {
        let report = run(&mut self.kbk(&["verify", "--full", "--json"]));
        report.expect_code(0).json()
    }

    /// Fails the test unless the reader of SPEC.md finds nothing wrong; gives its report.
    #[track_caller]
    pub(crate) fn verify_by_spec(&self) -> Value {
        run(&mut self.spec_reader(&["--verify"]))
            .expect_code(0)
            .json()
    }

    /// The records of a partition, with their offsets, as the reader of SPEC.md sees them.
    pub(crate) fn read_by_spec(&self, topic: &str, partition: i32) -> Vec<(i64, Message)> {
        let partition = partition.to_string();
        let printed = run(&mut self.spec_reader(&[topic, &partition])).expect_code(0);
        printed.stdout.lines().map(rendered).collect()
    }

    fn spec_reader(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PYTHON);
        command.arg(SPEC_READER).arg(self.path()).args(words);
        command
    }

    /// All segments there are, named by a snapshot or not, and their bytes.
    pub(crate) fn segments(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        find_segments(&self.path().join("data"), &mut found);
        found
    }

    /// The path of a snapshot, of which the first has number 1.
    pub(crate) fn snapshot(&self, sequence: u64) -> PathBuf {
        self.path().join(format!("snapshots/{sequence:020}.json"))
    }
}

/// `kbk` with some words, on the repository in a folder.
pub(crate) fn kbk_on(folder: &Path, words: &[&str]) -> Command {
    let mut command = kbk(["--repo"]);
    command.arg(folder).args(words);
    command
}

fn find_segments(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(|entry| entry.expect("a folder can be listed")) {
        let path = entry.path();
        if path.is_dir() {
            find_segments(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "kseg")
        {
            found.insert(path, entry.metadata().expect("it is there").len());
        }
    }
}

/// A line of `records.jsonl` (SPEC section 10).
fn rendered(line: &str) -> (i64, Message) {
    let record: Value = serde_json::from_str(line).expect("a line is JSON");
    let headers = record["headers"].as_array().expect("an array");
    let message = Message {
        timestamp: record["timestamp"].as_i64().expect("a number"),
        key: bytes(&record, "key"),
        value: bytes(&record, "value"),
        headers: headers.iter().map(header).collect(),
    };
    (record["offset"].as_i64().expect("a number"), message)
}

fn header(header: &Value) -> Header {
    let name = bytes(header, "name").expect("a name is never null");
    (name, bytes(header, "value"))
}

/// Text, base64 or null, whichever there is.
fn bytes(of: &Value, name: &str) -> Option<Vec<u8>> {
    if let Some(base64) = of.get(format!("{name}_base64")) {
        let base64 = base64.as_str().expect("a string");
        return Some(BASE64.decode(base64.as_bytes()).expect("base64"));
    }
    match &of[name] {
        Value::Null => None,
        text => Some(text.as_str().expect("a string").as_bytes().to_vec()),
    }
}
