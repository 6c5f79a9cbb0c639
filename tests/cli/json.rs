//! What all commands have in common with `--json`: one document, which says what it is, of which command, and how that ended.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::{Ended, kbk, run};
use crate::world::World;

#[track_caller]
fn head(ended: &Ended, command: &str, verdict: &str) -> Value {
    let document = ended.json();
    let found = ["schema_version", "command", "verdict"].map(|name| document[name].clone());
    assert_eq!(
        found,
        [json!(1), json!(command), json!(verdict)],
        "{}",
        ended.stdout
    );
    document
}

#[test]
fn every_command_says_what_it_is_and_how_it_ended() {
    let world = World::sample();
    world.restore("first");
    let segment = world.path(&world.entries("orders", 0)[0].key);
    let segment = segment.to_str().unwrap();
    for (command, args) in [
        ("snapshots", &[][..]),
        ("forget", &["--keep-last", "9", "--yes"]),
        ("expire", &["--older-than", "1d", "--dry-run"]),
        ("compact", &["--dry-run"]),
        ("index", &["--dry-run"]),
        ("prune", &[]),
        ("stats", &[]),
        ("status", &[]),
        ("ls", &["orders"]),
        ("ls", &["--segments"]),
        ("verify", &[]),
        ("cat", &["orders"]),
        ("grep", &["orders"]),
        ("restores", &[]),
        ("restores list", &[]),
        ("groups list", &[]),
        ("groups changes", &[]),
        ("groups map", &["orders/1", "0"]),
        ("acls list", &[]),
        ("inspect", &[segment]),
        ("completions", &["bash"]),
        ("man", &[]),
    ] {
        let words: Vec<&str> = command.split(' ').chain(args.iter().copied()).collect();
        let ended = world.kbk(&[&words[..], &["--json"]].concat());
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        let document = head(&ended, command, "ok");
        let repository = world.path("");
        let uses_none = ["inspect", "completions", "man"].contains(&command);
        let expected = (!uses_none).then(|| repository.to_str().unwrap());
        assert_eq!(document["repository"].as_str(), expected, "{command}");
    }
    for command in ["cat", "grep", "verify"] {
        let ended = world.kbk(&[command, segment, "--json"]);
        assert_eq!(head(&ended, command, "ok")["repository"], json!(null));
    }
    let created = world.path("new");
    let ended = run(&["init", "--json", "-r", created.to_str().unwrap()]);
    head(&ended, "init", "ok");
    let pages = world.path("man");
    let ended = run(&["man", pages.to_str().unwrap(), "--json"]);
    let written = head(&ended, "man", "ok")["pages"].clone();
    assert!(written.as_array().unwrap().iter().all(|page| {
        let page = page.as_str().unwrap();
        std::fs::exists(page).unwrap()
    }));
}

#[test]
fn help_is_a_document_too() {
    for (args, command, says) in [
        (&["--help", "--json"][..], "", "Usage: kbk"),
        (&["--json", "--version"], "", "kbk 0."),
        (&["ls", "-h", "--json"], "ls", "Usage: kbk ls"),
        (
            &["groups", "--json", "list", "--help"],
            "groups list",
            "Examples:",
        ),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let help = head(&ended, command, "ok")["help"].clone();
        assert!(help.as_str().unwrap().contains(says), "{help}");
    }
}

/// A command that only reads ends at once. With `--json` it says so before.
#[test]
fn a_signal_is_a_verdict() {
    let world = World::sample();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = silent.local_addr().unwrap().to_string();
    // A test run in the background ignores SIGINT; kbk would inherit that.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_kbk")]);
    command.args(["status", "--json", "-b", &broker, "-r"]);
    command.arg(world.path("")).stdin(Stdio::null());
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = running.spawn().unwrap();
    // It waits for an answer now.
    let connection = silent.accept().unwrap();
    let id = running.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status();
    assert!(sent.unwrap().success());
    let ended = Ended::of(running.wait_with_output().unwrap());
    drop(connection);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let document = head(&ended, "status", "interrupted");
    assert_eq!(document["error"]["exit_code"], 130);
}

#[test]
fn findings_and_failures_are_verdicts() {
    let world = World::sample();
    world.flip("snapshots/00000000000000000002.json", 30);
    let ended = world.kbk(&["snapshots", "--json"]);
    assert_eq!(ended.code, Some(3));
    head(&ended, "snapshots", "findings");

    let ended = world.kbk(&["ls", "--json"]);
    assert_eq!(ended.code, Some(1));
    let error = &head(&ended, "ls", "failed")["error"];
    assert_eq!(error["exit_code"], 1);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("00000000000000000002.json"),
        "{error}"
    );
    assert!(
        ended.stderr.contains("error: "),
        "people read stderr: {}",
        ended.stderr
    );

    let ended = world.kbk(&["ls", "--snapshot", "1", "ordres", "--json"]);
    let error = &head(&ended, "ls", "failed")["error"];
    let step = "did you mean `orders`? `kbk ls --snapshot 1` lists its topics";
    assert_eq!(error["next_step"], step, "{error}");
}

#[test]
fn invalid_arguments_are_failures_too() {
    for args in [
        &["ls", "--json", "--snapshot", "none"][..],
        &["backup", "--json", "--no-such"],
        &["backup", "--no-such", "--json"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let error = &head(&ended, args[0], "failed")["error"];
        assert_eq!(error["exit_code"], 2);
        assert!(error["message"].as_str().unwrap().contains("--"), "{error}");
    }
    for args in [&["--json"][..], &["frobnicate", "--json"]] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let error = &head(&ended, "", "failed")["error"];
        assert!(
            error["message"].as_str().unwrap().contains("command"),
            "{error}"
        );
    }
    let ended = run(&["snapshots", "--json", "-r", "/no/such/folder"]);
    assert_eq!(ended.code, Some(1));
    head(&ended, "snapshots", "failed");
    assert_eq!(
        run(&["ls", "--snapshot", "none"]).stdout,
        "",
        "only with --json"
    );
}

/// What to do is a member of its own, whatever layer has found out what is wrong.
#[test]
fn every_failure_with_a_next_step_has_it_in_its_member() {
    let world = World::sample();
    world.restore("first");
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let here = world.path("");
    let here = here.to_str().unwrap();
    let full = world.folder.path().to_str().unwrap().to_owned();
    for (args, message, step) in [
        (
            &["ls", "-r", empty][..],
            "is not a kbk repository",
            "kbk init",
        ),
        (&["ls", "-r", "/no/such/folder"], "", "kbk init"),
        (
            &["init", "-r", here],
            "is already a kbk repository",
            "name another folder",
        ),
        (&["init", "-r", &full], "not empty", "name a new"),
        (
            &["ls", "--snapshot", "9"],
            "has no snapshot 9",
            "kbk snapshots",
        ),
        (&["ls", "oders"], "no topic matches", "did you mean"),
        (
            &["cat", "orders", "--since", "yesterday"],
            "is not a time",
            "give RFC 3339",
        ),
        (&["cat", "orders", "--from-offset", "5x"], "5x", "give"),
        (
            &["restore", "--map", "orders", "-b", "localhost:1"],
            "is not a mapping",
            "give SOURCE=TARGET",
        ),
        (
            &["restore", "--topic", "/a", "-b", "localhost:1"],
            "/a",
            "put it between slashes",
        ),
        (
            &["groups", "map", "orders/1", "0", "--restore", "none"],
            "none",
            "kbk restores",
        ),
        (&["backup"], "", "--bootstrap-server"),
        (&["backup", "--compression", "gzip"], "gzip", "give"),
        (&["backup", "--zzzz"], "--zzzz", "kbk backup --help"),
        (
            &["backup", "--bootstrap-serve", "x"],
            "--bootstrap-serve",
            "--bootstrap-server",
        ),
    ] {
        let ended = world.kbk(&[args, &["--json"]].concat());
        assert!(
            [Some(1), Some(2)].contains(&ended.code),
            "{args:?}: {}",
            ended.stderr
        );
        let error = ended.json()["error"].clone();
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        assert!(text("message").contains(message), "{args:?}: {error}");
        assert!(text("next_step").contains(step), "{args:?}: {error}");
    }
}

/// A result that cannot be written is an error, and it does not hide what the exit code says.
#[test]
fn a_full_stdout_does_not_hide_findings() {
    let world = World::sample();
    let ended = |args: &[&str]| {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = kbk(args);
        command.env("KBK_REPO", world.path("")).stdout(full);
        let ended = Ended::of(command.output().unwrap());
        (ended.code, ended.stderr)
    };
    for args in [
        &["verify"][..],
        &["status"],
        &["snapshots"],
        &["verify", "--json"],
    ] {
        let (code, stderr) = ended(args);
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("cannot write the result to stdout"),
            "{stderr}"
        );
    }
    let key = world.entries("orders", 0).remove(0).key;
    let file = world.path(&key).display().to_string();
    std::fs::write(&file, "no segment").unwrap();
    world.flip("snapshots/00000000000000000001.json", 30);
    for args in [
        &["verify"][..],
        &["verify", "--json"],
        &["verify", &file],
        &["status"],
        &["snapshots"],
    ] {
        let (code, stderr) = ended(args);
        assert_eq!(code, Some(3), "{args:?}: {stderr}");
        assert!(
            stderr.contains("something is damaged, lost or different"),
            "{stderr}"
        );
    }
}

#[test]
fn records_before_a_failure_are_in_the_document_that_fails() {
    let world = World::new();
    let rows = |to: i64| (0..to).map(|offset| (offset, 1)).collect();
    world.backup(&[
        ("orders", 0, vec![rows(10_000)]),
        ("payments", 0, vec![rows(10)]),
    ]);
    world.backup(&[("payments", 0, vec![vec![(10, 1)]])]);
    let topics = ["cat", "orders", "payments", "--snapshot", "1"];
    let mut command = kbk(&[&topics[..], &["--json", "-r"]].concat());
    command.arg(world.path("")).stdin(Stdio::null());
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = running.spawn().unwrap();
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    let mut printed = String::new();
    stdout.read_line(&mut printed).unwrap();
    // Nobody reads further, so it waits in the middle of orders. The snapshot that it prints is forgotten and pruned.
    assert_eq!(world.kbk(&["forget", "1", "--yes"]).code, Some(0));
    let key = &world.entries("payments", 0)[0].key;
    std::fs::remove_file(world.path(key)).unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    let ended = Ended {
        stdout: printed,
        ..Ended::of(running.wait_with_output().unwrap())
    };
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let document = head(&ended, "cat", "failed");
    assert_eq!(document["records"].as_array().unwrap().len(), 10_000);
    assert!(document["error"]["message"].is_string());
    assert_eq!(document["unprinted"], json!([]));
}
