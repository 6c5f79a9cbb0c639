//! Calls of the program, and what is true of all commands.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::world::{World, sealed};

/// A call of `kbk` with a clean environment.
pub fn kbk(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbk"));
    command.args(words).stdin(Stdio::null());
    command.env_clear().env("TZ", "UTC");
    command
}

/// How a call ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Stdout as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Stdout as JSON lines.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub fn run(words: &[&str]) -> Ended {
    Ended::of(kbk(words).output().unwrap())
}

impl World {
    /// Calls `kbk` on this repository.
    pub fn kbk(&self, words: &[&str]) -> Ended {
        let mut command = kbk(words);
        command.env("KBK_REPO", self.path(""));
        Ended::of(command.output().unwrap())
    }
}

const READING: [&[&str]; 4] = [&["snapshots"], &["ls"], &["cat", "orders"], &["verify"]];

#[test]
fn help_says_what_there_is_and_unknown_words_are_refused() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in [
        "backup",
        "restore",
        "verify",
        "snapshots",
        "ls",
        "cat",
        "inspect",
        "demo",
    ] {
        assert!(help.stdout.contains(command), "{command}");
        assert_eq!(run(&[command, "--help"]).code, Some(0), "{command}");
    }
    for words in [
        &["frobnicate"][..],
        &["ls", "--frobnicate"],
        &["cat"],
        &["cat", "a b"],
    ] {
        let ended = run(words);
        assert_eq!(ended.code, Some(2), "{words:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty());
    }
}

#[test]
fn without_a_repository_the_call_is_wrong() {
    for words in READING {
        let ended = run(words);
        assert_eq!(ended.code, Some(2), "{words:?}");
        assert!(ended.stderr.contains("--repo"), "{}", ended.stderr);
    }
}

#[test]
fn what_is_no_repository_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let missing = folder.path().join("nowhere");
    for path in [folder.path(), &missing] {
        for words in READING {
            let path = path.to_str().unwrap();
            let ended = run(&[words, &["--json", "--repo", path]].concat());
            assert_eq!(ended.code, Some(1), "{words:?}");
            assert!(ended.stdout.is_empty(), "{}", ended.stdout);
            assert!(ended.stderr.contains(path), "{}", ended.stderr);
            assert!(
                ended.stderr.contains("not a kbk repository"),
                "{}",
                ended.stderr
            );
        }
    }
    assert!(!missing.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_repository_lists_nothing_and_has_nothing_to_read() {
    let world = World::new();
    let ended = world.kbk(&["snapshots", "--json"]);
    assert_eq!(
        (ended.code, &ended.json()["snapshots"]),
        (Some(0), &serde_json::json!([]))
    );
    for words in &READING[1..] {
        let ended = world.kbk(words);
        assert_eq!(ended.code, Some(1), "{words:?}");
        assert!(ended.stderr.contains("kbk backup"), "{}", ended.stderr);
    }
}

#[test]
fn a_later_version_is_refused_not_misread() {
    let world = World::sample();
    world.harm("kbk.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let body = text.replace("\"version\":1", "\"version\":2");
        *bytes = sealed(serde_json::from_str(&body).unwrap()).0.into_bytes();
    });
    for words in READING {
        let ended = world.kbk(words);
        assert_eq!(ended.code, Some(1), "{words:?}");
        assert!(ended.stderr.contains("newer kbk"), "{}", ended.stderr);
    }
}
