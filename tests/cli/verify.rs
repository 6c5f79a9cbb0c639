//! `kbk verify`.

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use kbk_format::repo::{ClaimState, ClaimedTopic, Hex, WriteClaim};
use kbk_tools::verify::{Finding, FindingKind};

use crate::program::{Ended, kbk};
use crate::world::{World, place};

#[test]
fn an_intact_repository_exits_with_0() {
    let world = World::sample();
    for args in [
        &["verify"][..],
        &["verify", "--full"],
        &["verify", "--snapshot", "all"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("is intact"), "{}", ended.stdout);
    }
    let json = world.kbk(&["verify", "--json", "--topic", "orders"]).json();
    assert_eq!(json["segments"], 6);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn findings_are_listed_and_exit_with_3() {
    let world = World::sample();
    let segments = world.entries("orders", 0);
    fs::remove_file(world.path(&segments[0].key)).unwrap();
    world.flip(&segments[1].key, 700);
    let ended = world.kbk(&["verify"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.stdout.contains(&segments[0].key) && ended.stdout.contains("2 findings"),
        "{}",
        ended.stdout
    );

    let ended = world.kbk(&["verify", "--json"]);
    assert_eq!(ended.code, Some(3));
    let findings = ended.json()["findings"].clone();
    assert_eq!(findings[0]["kind"], "missing_segment");
    assert_eq!(findings[1]["kind"], "damaged_block");
    assert_eq!(findings[1]["key"], segments[1].key);

    let ended = world.kbk(&["verify", "--topic", "payments"]);
    assert_eq!(ended.code, Some(0), "the damage is elsewhere");
}

#[test]
fn damaged_json_objects_are_findings() {
    let world = World::sample();
    world.flip("snapshots/00000000000000000002.json", 100);
    let ended = world.kbk(&["verify", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(ended.json()["findings"][0]["kind"], "damaged_snapshot");

    let world = World::sample();
    world.flip("kbk.json", 60);
    let ended = world.kbk(&["verify", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(ended.json()["findings"][0]["kind"], "damaged_identity");
}

#[test]
fn unknown_snapshots_and_topics_fail() {
    let world = World::sample();
    for (args, code, message) in [
        (&["verify", "--snapshot", "7"][..], 1, "no snapshot 7"),
        (&["verify", "--topic", "oders"], 1, "`orders`"),
        (&["verify", "--snapshot", "newest"], 2, "`all`"),
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn what_no_snapshot_names_is_listed_and_exits_with_0() {
    let world = World::sample();
    let left: Vec<_> = (0..12)
        .map(|at| world.segment(&place("orders", 0), &[(600 + at, at)]).key)
        .collect();
    let ended = world.kbk(&["verify"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    for expected in [
        "no snapshot names 12 objects",
        "left by an interrupted backup, import or compaction, or a forgotten snapshot",
        &left[0],
        "and 2 more",
        "is intact",
    ] {
        assert!(
            ended.stdout.contains(expected),
            "{expected}: {}",
            ended.stdout
        );
    }
    let json = world.kbk(&["verify", "--json"]).json();
    assert_eq!(json["orphans"]["objects"], 12);
    assert_eq!(json["orphans"]["keys"][11]["key"], left[11]);
    assert_eq!(json["findings"], serde_json::json!([]));
    let listed = world.kbk(&["ls", "orders", "--json"]);
    assert!(!listed.stdout.contains(&left[0]), "{}", listed.stdout);
}

#[test]
fn claims_are_listed_whatever_they_hold_and_exit_with_0() {
    let world = World::sample();
    let claim = WriteClaim {
        claim: Hex([1; 16]),
        command: "backup".to_owned(),
        writer: "test".to_owned(),
        host: Some("elsewhere\u{1b}[2J".to_owned()),
        process: None,
        begun_at: Timestamp::UNIX_EPOCH,
        renewed: 1,
        state: ClaimState::Held,
        topics: Some(vec![ClaimedTopic {
            topic: "orders".parse().unwrap(),
            partitions: Some(vec![1.into()]),
        }]),
    };
    let put = world.repository.put_claim(&claim);
    world.runtime.block_on(put).unwrap();
    let damaged = format!("claims/{}.json", "02".repeat(16));
    fs::write(world.path(&damaged), b"{\"format\":").unwrap();
    world.segment(&place("orders", 1), &[(600, 1)]);

    let ended = world.kbk(&["verify"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for expected in [
        "kbk backup on elsewhere\\u{1b}[2J (since 1970-01-01T00:00:00Z) claims topics",
        &format!("{damaged} cannot be read as a claim"),
        "or being written by kbk backup on elsewhere",
        "is intact",
    ] {
        assert!(
            ended.stdout.contains(expected),
            "{expected}: {}",
            ended.stdout
        );
    }
    let status = world.kbk(&["status"]).stdout;
    assert!(status.contains("claims topics"), "{status}");
    assert!(status.contains(&damaged), "{status}");
    for command in ["verify", "status"] {
        let json = world.kbk(&[command, "--json"]).json();
        assert_eq!(json["claims"][0]["running"], "unknown");
        assert_eq!(json["claims"][0]["topics"], serde_json::json!(["orders"]));
        assert_eq!(json["claims"][1]["key"], damaged);
        assert!(json["claims"][1]["error"].is_string(), "{json}");
    }
}

#[test]
fn the_first_line_and_json_say_what_was_not_checked() {
    let world = World::sample();
    for (depth, first, last, unchecked) in [
        (
            "list",
            "the rest of the index, what no snapshot names, footers, bytes",
            "no segment was read",
            6,
        ),
        (
            "index",
            "bytes of segments, records, hashes of segments",
            "no record was read",
            3,
        ),
        (
            "blocks",
            "not checked: records, hashes of segments",
            "every byte is intact",
            2,
        ),
        (
            "records",
            "not checked: hashes of segments",
            "every byte and every record is intact",
            1,
        ),
        ("hash", "everything is checked", "every hash is intact", 0),
    ] {
        let ended = world.kbk(&["verify", "--depth", depth]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().next().unwrap();
        assert!(
            line.starts_with(&format!("depth {depth}: ")) && line.contains(first),
            "{line}"
        );
        assert!(ended.stdout.contains(last), "{}", ended.stdout);
        let json = world.kbk(&["verify", "--depth", depth, "--json"]).json();
        assert_eq!(json["depth"], depth);
        assert_eq!(json["not_checked"].as_array().unwrap().len(), unchecked);
    }
    let [full, hash] = [&["--full"][..], &["--depth", "hash"]]
        .map(|args| world.kbk(&[&["verify"], args].concat()).stdout);
    assert_eq!(full, hash);
    for args in [
        &["--full", "--depth", "list"][..],
        &["--depth", "deep"],
        &["--depth", "list", "--subset", "5%"],
    ] {
        let ended = world.kbk(&[&["verify"], args].concat());
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
    }
    let file = world.path(&world.entries("orders", 0)[0].key);
    let ended = world.kbk(&["verify", "--depth", "list", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let ended = world.kbk(&["verify", "--depth", "records", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn each_finding_names_a_command() {
    let world = World::sample();
    let segments = world.entries("orders", 0);
    fs::remove_file(world.path(&segments[0].key)).unwrap();
    let folder = world.path("");
    let command = format!(
        "kbk backup --refresh --topic orders -r {}",
        folder.display()
    );
    let ended = world.kbk(&["verify"]);
    assert!(
        ended.stdout.contains(command.trim_end_matches('/')),
        "{}",
        ended.stdout
    );
    let json = world.kbk(&["verify", "--json"]).json();
    let next = json["findings"][0]["next_step"].as_str().unwrap();
    assert!(next.starts_with("kbk backup --refresh"), "{next}");

    world.flip(&segments[1].key, 700);
    let file = world.path(&segments[1].key);
    let json = world
        .kbk(&["verify", "--json", file.to_str().unwrap()])
        .json();
    let next = json["findings"][0]["next_step"].as_str().unwrap();
    assert_eq!(next, format!("kbk recover {} -o NEW", file.display()));
}

#[test]
fn the_command_of_each_kind_of_finding_exists() {
    for kind in FindingKind::ALL {
        let finding = Finding::new(kind, "wrong");
        for step in [
            finding.next_step.clone(),
            finding.mended_in_file().next_step,
        ] {
            let mut words = step.split(' ');
            assert_eq!(words.next(), Some("kbk"), "{kind}: {step}");
            let command = words.next().unwrap();
            let help = Ended::of(kbk(&[command, "--help"]).output().unwrap());
            assert_eq!(help.code, Some(0), "{kind}: {step}");
            let options = words.filter(|word| word.starts_with("--"));
            let mut options = options.filter_map(|option| option.split('=').next());
            assert!(
                options.all(|option| help.stdout.contains(option)),
                "{kind}: {step}"
            );
        }
    }
}

#[test]
fn subsets_are_remembered_in_a_file_and_the_repository_is_not_written() {
    let world = World::sample();
    let state = world.folder.path().join("state.json");
    let args = [
        "verify",
        "--subset",
        "50%",
        "--state",
        state.to_str().unwrap(),
    ];
    let keys = world.keys();
    for (cycle, covered) in [
        ("cycle 1 has covered", "5"),
        ("cycle 1 has covered 100.0 %", ""),
        ("cycle 2", ""),
    ] {
        let ended = world.kbk(&args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().next().unwrap();
        assert!(line.contains(cycle) && line.contains(covered), "{line}");
        assert!(
            ended
                .stdout
                .contains("of them read: every byte is intact there"),
            "{}",
            ended.stdout
        );
    }
    assert_eq!(world.keys(), keys, "the repository is only read");
    let json = world.kbk(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(json["portion"]["cycle"], 2);
    assert_eq!(json["portion"]["all_segments"], 8);
    assert_eq!(json["portion"]["unverified_segments"], 0);

    // Without a folder for the state it says what to do; with one it makes the file there.
    let ended = world.kbk(&["verify", "--subset", "5"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--state"), "{}", ended.stderr);
    let home = world.folder.path().join("home");
    let mut command = kbk(&["verify", "--subset", "5"]);
    command
        .env("KBK_REPO", world.path(""))
        .env("XDG_STATE_HOME", &home);
    assert!(command.output().unwrap().status.success());
    let id = world.repository.identity().repository_id;
    let states = fs::read_dir(home.join("kbk/verify")).unwrap();
    let names: Vec<String> = states
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.len() == 1 && names[0].starts_with(&format!("{id}-")),
        "{names:?}"
    );

    // A state of another repository, or of something else, is refused.
    let other = World::sample();
    let ended = other.kbk(&args);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is about repository"),
        "{}",
        ended.stderr
    );
    fs::write(&state, "{}").unwrap();
    assert_eq!(world.kbk(&args).code, Some(1));
    for share in ["0%", "101%", "-1", "all", "NaN"] {
        let share = format!("--subset={share}");
        assert_eq!(world.kbk(&["verify", &share]).code, Some(2), "{share}");
    }
}

#[test]
fn since_reads_what_is_new() {
    let world = World::sample();
    let ended = world.kbk(&["verify", "--since", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = ended.stdout.lines().next().unwrap();
    assert!(line.contains("what is new since snapshot 1"), "{line}");
    assert!(ended.stdout.contains("1 segment, "), "{}", ended.stdout);
    let ended = world.kbk(&["verify", "--since", "9"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("snapshot 9"), "{}", ended.stderr);
}

#[test]
fn since_the_newest_snapshot_nothing_is_new_and_that_is_said() {
    let world = World::sample();
    for since in ["latest", "2"] {
        let ended = world.kbk(&["verify", "--since", since]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().next().unwrap();
        let said = "read no segment: none is new since snapshot 2";
        assert!(line.contains(said), "{line}");
        let said = ": no segment was read: their sizes, and the index, are intact\n";
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
        let json = world.kbk(&["verify", "--since", since, "--json"]).json();
        assert_eq!(json["portion"]["since"], 2);
        assert_eq!(json["portion"]["segments"], 0);
    }
    // What is gone is found all the same.
    fs::remove_file(world.path(&world.entries("orders", 0)[1].key)).unwrap();
    assert_eq!(world.kbk(&["verify", "--since", "latest"]).code, Some(3));
    // One that is newer than what is verified says nothing of it.
    for since in ["2", "latest"] {
        let ended = world.kbk(&["verify", "--snapshot", "1", "--since", since]);
        assert_eq!(ended.code, Some(2), "{}", ended.stdout);
        assert!(ended.stderr.contains("newer"), "{}", ended.stderr);
    }
}

#[test]
fn since_a_forgotten_snapshot_nothing_can_be_said() {
    let world = World::sample();
    assert_eq!(world.kbk(&["forget", "1", "--yes"]).code, Some(0));
    for (since, says) in [
        ("1", "forgotten"),
        ("0", "no snapshot 0"),
        ("x", "`latest`"),
    ] {
        let ended = world.kbk(&["verify", "--since", since]);
        let code = if since == "x" { 2 } else { 1 };
        assert_eq!((ended.code, &*ended.stdout), (Some(code), ""), "{since}");
        assert!(ended.stderr.contains(says), "{since}: {}", ended.stderr);
    }
    let broken = World::sample();
    broken.flip("snapshots/00000000000000000001.json", 100);
    let ended = broken.kbk(&["verify", "--since", "1"]);
    assert_eq!(ended.code, Some(1));
    let says = "cannot tell what is new since snapshot 1";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}

#[test]
fn a_selection_is_named_and_is_not_everything() {
    let world = World::sample();
    for (args, named) in [
        (&["--topic", "orders"][..], "other topics than orders"),
        (&["--exclude", "orders"], "other topics than payments"),
    ] {
        let ended = world.kbk(&[&["verify", "--full"], args].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().next().unwrap();
        assert_eq!(line, format!("depth hash: not checked: {named}"));
        let said = ": of the selected topics, every byte, every record and every hash is intact\n";
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
        let json = world.kbk(&[&["verify", "--json"], args].concat()).json();
        let selected = json["selected_topics"].as_array().unwrap();
        assert_eq!(selected.len(), 1, "{selected:?}");
    }
    let all = world.kbk(&["verify", "--full", "--json"]).json();
    assert_eq!(all["selected_topics"], serde_json::Value::Null);
}

#[test]
fn copies_of_a_repository_have_states_of_their_own() {
    let world = World::sample();
    let copy = world.folder.path().join("mirror");
    let copied = Command::new("cp")
        .args(["-a", world.path("").to_str().unwrap()])
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let link = world.folder.path().join("link");
    std::os::unix::fs::symlink(&copy, &link).unwrap();
    let home = world.folder.path().join("home");
    let verify = |repository: &Path, args: &[&str]| {
        let mut command = kbk(&[&["verify", "--json"], args].concat());
        command
            .env("KBK_REPO", repository)
            .env("XDG_STATE_HOME", &home);
        Ended::of(command.output().unwrap())
    };
    let half = ["--subset", "50%"];
    let unread = |ended: Ended| {
        let portion = ended.json()["portion"].clone();
        (
            portion["cycle"].clone(),
            portion["unverified_segments"].clone(),
        )
    };
    let first = unread(verify(&world.path(""), &half));
    assert_eq!(
        unread(verify(&copy, &half)),
        first,
        "nothing of it was read before"
    );
    // Under another name, it is the same copy.
    let (cycle, left) = unread(verify(&link, &half));
    assert_eq!((cycle, left), (1.into(), 0.into()));
    let states = fs::read_dir(home.join("kbk/verify")).unwrap();
    let mut names: Vec<String> = states
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let id = world.repository.identity().repository_id.to_string();
    assert!(
        names.len() == 2 && names.iter().all(|name| name.starts_with(&id)),
        "{names:?}"
    );

    // A state that is named is that of one copy.
    let state = world.folder.path().join("state.json");
    let named = ["--subset", "50%", "--state", state.to_str().unwrap()];
    assert_eq!(verify(&copy, &named).code, Some(0));
    let before = fs::read(&state).unwrap();
    let ended = verify(&world.path(""), &named);
    assert_eq!(ended.code, Some(1));
    let says = "it is about the copy of the repository at";
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    assert_eq!(fs::read(&state).unwrap(), before);
}

#[test]
fn a_file_of_another_kind_is_not_replaced() {
    let world = World::sample();
    let at = |name: &str| world.folder.path().join(name).to_str().unwrap().to_owned();
    let (key, page) = (at("ours.pem"), at("page.html"));
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out", &key])
        .output();
    assert!(made.unwrap().status.success());
    let evidence = at("evidence.json");
    let state = at("state.json");
    let metrics = at("kbk.prom");
    let outputs: [(&str, &[&str]); 4] = [
        ("page.html", &["--report", &page]),
        (
            "evidence.json",
            &["--evidence", &evidence, "--sign-key", &key],
        ),
        ("state.json", &["--subset", "50%", "--state", &state]),
        ("kbk.prom", &["--metrics-textfile", &metrics]),
    ];
    let pem = fs::read(&key).unwrap();
    for (name, args) in outputs {
        let path = at(name);
        let run = || world.kbk(&[&["verify"], args].concat());
        // A new file, an empty one, and one that it wrote before.
        assert_eq!(run().code, Some(0), "{name}: {}", run().stderr);
        assert_eq!(run().code, Some(0), "{name}: {}", run().stderr);
        fs::write(&path, "").unwrap();
        assert_eq!(run().code, Some(0), "{name}: {}", run().stderr);
        let others = [
            (&b"<!DOCTYPE html>\n<html>mine</html>\n"[..], "html"),
            (&pem, "a key"),
        ];
        for (bytes, what) in others {
            fs::write(&path, bytes).unwrap();
            let ended = run();
            assert_eq!(
                (ended.code, &*ended.stdout),
                (Some(1), ""),
                "{name}: {what}"
            );
            assert!(ended.stderr.contains(name), "{}", ended.stderr);
            assert_eq!(fs::read(&path).unwrap(), bytes, "{name}: {what}");
        }
    }
    // The key is not overwritten by what it signs.
    let ended = world.kbk(&["verify", "--evidence", &key, "--sign-key", &key]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(fs::read(&key).unwrap(), pem);
    let folder = at("man");
    assert_eq!(world.kbk(&["man", &folder]).code, Some(0));
    assert_eq!(world.kbk(&["man", &folder]).code, Some(0));
    fs::write(at("man/kbk-verify.1"), "mine").unwrap();
    fs::remove_file(at("man/kbk.1")).unwrap();
    let ended = world.kbk(&["man", &folder]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("kbk-verify.1"), "{}", ended.stderr);
    assert!(
        !Path::new(&at("man/kbk.1")).exists(),
        "where one stays, none is written"
    );
}
