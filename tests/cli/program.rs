//! Runs the program, and tests what all commands have in common.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::json_page::check_document;
use crate::world::{World, sealed};

/// Returns a `kbk` command with a clean environment.
pub fn kbk(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbk"));
    command.args(args).stdin(Stdio::null());
    command.env_clear().env("TZ", "UTC");
    command
}

/// The exit code and the output of a finished command.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Parses stdout as one JSON document, which must be as docs/reference/json.md says.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document = serde_json::from_str(&self.stdout).unwrap();
        check_document(&document);
        check_steps(&document);
        document
    }

    /// Parses stdout as JSON lines.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Fails the test if what went wrong says what to do, which belongs into `next_step`.
#[track_caller]
fn check_steps(document: &Value) {
    const VERBS: [&str; 11] = [
        "try", "give", "use", "run", "check", "name", "restore", "set", "choose", "make", "add",
    ];
    let error = &document["error"];
    let causes = error["causes"].as_array().into_iter().flatten();
    for text in causes
        .chain(Some(&error["message"]))
        .filter_map(Value::as_str)
    {
        let mut clauses = text.split([';', ':']).map(str::trim_start).skip(1);
        let told = clauses.find(|clause| {
            VERBS
                .iter()
                .any(|verb| clause.starts_with(&format!("{verb} ")))
        });
        assert_eq!(told, None, "{error}");
    }
}

pub fn run(args: &[&str]) -> Ended {
    Ended::of(kbk(args).output().unwrap())
}

impl World {
    /// Runs `kbk` on this repository.
    pub fn kbk(&self, args: &[&str]) -> Ended {
        let mut command = kbk(args);
        command.env("KBK_REPO", self.path(""));
        Ended::of(command.output().unwrap())
    }
}

const READERS: [&[&str]; 4] = [&["snapshots"], &["ls"], &["cat", "orders"], &["verify"]];

#[test]
fn help_lists_the_commands_and_unknown_arguments_are_rejected() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in [
        "init",
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
    for args in [
        &["frobnicate"][..],
        &["ls", "--frobnicate"],
        &["cat"],
        &["cat", "a b"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty());
    }
}

#[test]
fn commands_that_read_require_a_repository() {
    for args in READERS {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains("--repo"), "{}", ended.stderr);
    }
}

#[test]
fn a_folder_that_is_not_a_repository_is_named_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let missing = folder.path().join("nowhere");
    for path in [folder.path(), &missing] {
        for args in READERS {
            let path = path.to_str().unwrap();
            let ended = run(&[args, &["--json", "--repo", path]].concat());
            assert_eq!(ended.code, Some(1), "{args:?}");
            assert_eq!(ended.json()["verdict"], "failed");
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
fn only_init_creates_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    // The folder that a network file system would be mounted on, and one with a mistyped name.
    let not_mounted = folder.path().join("mounted");
    std::fs::create_dir(&not_mounted).unwrap();
    let mistyped = folder.path().join("kafak");
    for path in [&not_mounted, &mistyped] {
        let path = path.to_str().unwrap();
        // Nothing listens on port 1: the location is an error before the cluster is contacted.
        let ended = run(&["backup", "-b", "127.0.0.1:1", "--repo", path]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        for words in [path, "not a kbk repository", "mounted", "kbk init"] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
    }
    assert!(!mistyped.exists());
    assert_eq!(std::fs::read_dir(&not_mounted).unwrap().count(), 0);

    for path in [&not_mounted, &mistyped] {
        let args = ["init", "--repo", path.to_str().unwrap()];
        let created = run(&[&args[..], &["--json"]].concat());
        assert_eq!(created.code, Some(0), "{}", created.stderr);
        let id = created.json()["repository_id"].as_str().unwrap().to_owned();
        let identity = std::fs::read_to_string(path.join("kbk.json")).unwrap();
        assert!(identity.contains(&id));
        let again = run(&args);
        assert_eq!(again.code, Some(1));
        assert!(
            again.stderr.contains("already a kbk repository"),
            "{}",
            again.stderr
        );
        assert_eq!(
            std::fs::read_to_string(path.join("kbk.json")).unwrap(),
            identity
        );
        let listed = run(&["snapshots", "--repo", path.to_str().unwrap()]);
        assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    }
}

#[test]
fn an_empty_repository_lists_no_snapshots_and_cannot_be_read() {
    let world = World::new();
    let ended = world.kbk(&["snapshots", "--json"]);
    assert_eq!(
        (ended.code, &ended.json()["snapshots"]),
        (Some(0), &serde_json::json!([]))
    );
    for args in &READERS[1..] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(ended.stderr.contains("kbk backup"), "{}", ended.stderr);
    }
}

#[test]
fn a_newer_repository_version_is_rejected() {
    let world = World::sample();
    world.harm("kbk.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let body = text.replace("\"version\":3", "\"version\":4");
        *bytes = sealed(serde_json::from_str(&body).unwrap()).0.into_bytes();
    });
    for args in READERS {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(ended.stderr.contains("newer kbk"), "{}", ended.stderr);
    }
}

/// A local time in the wrong zone selects other records, and nobody notices.
#[test]
fn a_time_zone_that_does_not_exist_is_an_error() {
    let world = World::sample();
    for (zone, code) in [("Nowhere/City", 2), ("", 0), ("EST5EDT,M3.2.0,M11.1.0", 0)] {
        let mut command = kbk(&["cat", "orders", "--until", "1970-01-01T02:00:00"]);
        command.env("KBK_REPO", world.path("")).env("TZ", zone);
        let ended = Ended::of(command.output().unwrap());
        assert_eq!(ended.code, Some(code), "{zone}: {}", ended.stderr);
        assert_eq!(code == 2, ended.stderr.contains("Nowhere/City"));
    }
}
