//! What all commands have in common with `--json`: one document, which says what it is, of which command, and how that ended.

use serde_json::{Value, json};

use crate::program::{Ended, run};
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
        ("status", &[]),
        ("ls", &["orders"]),
        ("ls", &["--segments"]),
        ("verify", &[]),
        ("cat", &["orders"]),
        ("restores", &[]),
        ("restores list", &[]),
        ("groups list", &[]),
        ("groups changes", &[]),
        ("groups map", &["orders/1", "0"]),
        ("acls list", &[]),
        ("inspect", &[segment]),
    ] {
        let words: Vec<&str> = command.split(' ').chain(args.iter().copied()).collect();
        let ended = world.kbk(&[&words[..], &["--json"]].concat());
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        let document = head(&ended, command, "ok");
        let repository = world.path("");
        assert_eq!(
            document["repository"].as_str(),
            repository.to_str(),
            "{command}"
        );
    }
    let created = world.path("new");
    let ended = run(&["init", "--json", "-r", created.to_str().unwrap()]);
    head(&ended, "init", "ok");
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
    assert!(
        error["message"].as_str().unwrap().contains("`orders`"),
        "{error}"
    );
    assert!(error["next_step"].is_string(), "{error}");
}

#[test]
fn invalid_arguments_are_failures_too() {
    for args in [
        &["ls", "--json", "--snapshot", "none"][..],
        &["backup", "--json", "--no-such"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let error = &head(&ended, args[0], "failed")["error"];
        assert_eq!(error["exit_code"], 2);
        assert!(error["message"].as_str().unwrap().contains("--"), "{error}");
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

#[test]
fn records_before_damage_are_in_the_document_that_fails() {
    let world = World::sample();
    let entry = world.entries("orders", 0).remove(1);
    world.flip(&entry.key, entry.size as usize / 2);
    let ended = world.kbk(&["cat", "orders", "-p", "0", "--json"]);
    assert_eq!(ended.code, Some(1));
    let document = head(&ended, "cat", "failed");
    assert!(document["records"].as_array().unwrap().len() >= 200);
    assert!(
        document["error"]["message"]
            .as_str()
            .unwrap()
            .contains(&entry.key)
    );
}
