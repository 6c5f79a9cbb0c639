//! A test's own repository, kbk's commands on it, and an independent reader of it.

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

/// The Python reader of repositories that was written from SPEC.md alone.
const SPEC_READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spec_reader/repo.py");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/venv/bin/python");

/// The files of a repository.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A repository in a temporary folder.
#[derive(Debug)]
pub(crate) struct Repo {
    folder: TempDir,
}

impl Repo {
    /// Creates an empty repository.
    pub(crate) fn new() -> Self {
        let repo = Self::missing();
        run(&mut repo.kbk(&["init"])).expect_code(0);
        repo
    }

    /// Reserves a path for a repository, which does not exist.
    pub(crate) fn missing() -> Self {
        let folder = TempDir::with_prefix("kbk-repo-").expect("a temporary folder");
        Self { folder }
    }

    /// Returns the files of the repository by their paths in it, of which others can be made.
    pub(crate) fn files(&self) -> Files {
        let (mut files, mut folders) = (Files::new(), vec![self.path()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder can be listed") {
                let path = entry.expect("a folder can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(self.path()).expect("it is in it");
                files.insert(name.to_owned(), fs::read(&path).expect("readable"));
            }
        }
        files
    }

    /// Makes a repository of these files.
    pub(crate) fn of(files: &Files) -> Self {
        let repo = Self::missing();
        for (name, bytes) in files {
            let path = repo.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, bytes).expect("written");
        }
        repo
    }

    /// Returns the repository's folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// Returns a `kbk backup` of a broker's topics, with a JSON report, of the encoding that `KBK_TEST_ENCODING` names, if it names one.
    pub(crate) fn backup(&self, broker: &Broker, args: &[&str]) -> Command {
        let mut command = self.kbk_with(broker, "backup", args);
        let is_free = !args
            .iter()
            .any(|arg| ["--client", "--encoding"].contains(arg));
        if let Ok(encoding) = std::env::var("KBK_TEST_ENCODING")
            && is_free
        {
            command.args(["--encoding", &encoding]);
        }
        command
    }

    /// Returns a `kbk restore` into a broker, with a JSON report, over the client that `KBK_TEST_CLIENT` names, if it names one.
    pub(crate) fn restore(&self, broker: &Broker, args: &[&str]) -> Command {
        let mut command = self.kbk_with(broker, "restore", args);
        let is_free = !args
            .iter()
            .any(|arg| ["--client", "--only-config"].contains(arg));
        if let Ok(client) = std::env::var("KBK_TEST_CLIENT")
            && is_free
        {
            command.args(["--client", &client]);
        }
        command
    }

    fn kbk_with(&self, broker: &Broker, command: &str, args: &[&str]) -> Command {
        let mut command = self.kbk(&[command, "--json", "-b", broker.bootstrap()]);
        command.args(args);
        command
    }

    /// Returns a `kbk` command on this repository.
    pub(crate) fn kbk(&self, args: &[&str]) -> Command {
        kbk_on(&self.path(), args)
    }

    /// Restores topics under other names, which must succeed, and returns the report.
    pub(crate) fn restore_as(&self, broker: &Broker, names: &[(&str, &str)]) -> Value {
        let mut command = self.restore(broker, &[]);
        for (source, target) in names {
            command.args(["--topic", source, "--map", &format!("{source}={target}")]);
        }
        run(&mut command).expect_code(0).json()
    }

    /// Returns what a snapshot states about `groups` or `acls`, with the lines of their object in place of their number.
    pub(crate) fn saved(&self, sequence: u64, answer: &str) -> Value {
        let snapshot = fs::read(self.snapshot(sequence)).expect("the snapshot is there");
        let snapshot: Value = serde_json::from_slice(&snapshot).expect("JSON");
        let mut saved = snapshot[answer].clone();
        let Some(sha256) = saved["object"]["sha256"].as_str() else {
            return saved;
        };
        let object = self.path().join(format!("cluster/{sha256}.json.zst"));
        let packed = fs::read(object).expect("the object is there");
        let raw = zstd::decode_all(&packed[..]).expect("one frame");
        let lines = raw.split(|byte| *byte == b'\n').skip(1);
        let lines = lines.filter(|line| !line.is_empty());
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        saved[answer] = lines.into();
        saved
    }

    /// Fails the test unless `kbk verify --full` finds nothing wrong; returns its report.
    #[track_caller]
    pub(crate) fn verify(&self) -> Value {
        let report = run(&mut self.kbk(&["verify", "--full", "--json"]));
        report.expect_code(0).json()
    }

    /// Fails the test unless the Python reader finds nothing wrong; returns its report.
    #[track_caller]
    pub(crate) fn verify_by_spec(&self) -> Value {
        run(&mut self.spec_reader(&["--verify"]))
            .expect_code(0)
            .json()
    }

    /// Returns the records of a partition with their offsets, as the Python reader decodes them.
    pub(crate) fn read_by_spec(&self, topic: &str, partition: i32) -> Vec<(i64, Message)> {
        let partition = partition.to_string();
        let printed = run(&mut self.spec_reader(&[topic, &partition])).expect_code(0);
        printed.stdout.lines().map(rendered).collect()
    }

    /// Returns the claims that are there, as the Python reader decodes them.
    pub(crate) fn claims(&self) -> Vec<Value> {
        let printed = run(&mut self.spec_reader(&["--claims"])).expect_code(0);
        let claims = printed.stdout.lines().map(serde_json::from_str);
        claims.collect::<Result<_, _>>().expect("lines of JSON")
    }

    fn spec_reader(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PYTHON);
        command.arg(SPEC_READER).arg(self.path()).args(args);
        command
    }

    /// Returns all stored segments, referenced by a snapshot or not, with their sizes in bytes.
    pub(crate) fn segments(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        find_segments(&self.path().join("data"), &mut found);
        found
    }

    /// Returns the path of a snapshot; the first one is number 1.
    pub(crate) fn snapshot(&self, sequence: u64) -> PathBuf {
        self.path().join(format!("snapshots/{sequence:020}.json"))
    }
}

/// Returns a `kbk` command on the repository in a folder.
pub(crate) fn kbk_on(folder: &Path, args: &[&str]) -> Command {
    let mut command = kbk(["--repo"]);
    command.arg(folder).args(args);
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

/// Parses a line of `records.jsonl` (SPEC section 10).
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

/// Decodes a field from text, base64 or null.
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
