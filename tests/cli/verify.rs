//! `kbk verify`.

use std::fs;

use jiff::Timestamp;
use kbk_format::repo::{ClaimState, ClaimedTopic, Hex, WriteClaim};

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
