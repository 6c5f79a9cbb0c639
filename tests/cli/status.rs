//! `kbk status`: the age and the completeness of the newest backup.

use std::fs;

use serde_json::json;

use crate::program::Ended;
use crate::world::World;

fn created(world: &World, at: &str) {
    world.forge_snapshot(|snapshot| snapshot["created_at"] = json!(at));
}

#[track_caller]
fn first_line(ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.contains(says), "{first}");
}

#[test]
fn a_whole_snapshot_has_its_age_and_totals() {
    let world = World::sample();
    let ended = world.kbk(&["status", "--max-age", "1h"]);
    first_line(
        &ended,
        0,
        "snapshot 2 was complete when it was committed, and is ",
    );
    assert!(ended.stdout.contains("1,450 records"), "{}", ended.stdout);
    let json = world.kbk(&["status", "--max-age", "1h", "--json"]).json();
    assert_eq!(json["findings"], json!([]));
    assert_eq!(json["newest"]["sequence"], 2);
    assert_eq!(json["newest"]["complete"], true);
    assert_eq!(json["newest_whole"]["sequence"], 2);
    assert!((0..3_600).contains(&json["newest"]["age_seconds"].as_i64().unwrap()));
    assert_eq!(
        (&json["snapshots"], &json["topics"]),
        (&json!(2), &json!(null))
    );
}

#[test]
fn a_repository_without_snapshots_has_no_backup() {
    let world = World::new();
    first_line(&world.kbk(&["status"]), 3, "no snapshots yet");
    let json = world.kbk(&["status", "--json"]).json();
    assert_eq!(json["newest"], json!(null));
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
}

#[test]
fn only_max_age_makes_an_old_snapshot_a_finding() {
    let world = World::sample();
    created(&world, "2020-01-01T00:00:00Z");
    first_line(
        &world.kbk(&["status"]),
        0,
        "snapshot 2 was complete when it was committed, and is ",
    );
    let ended = world.kbk(&["status", "--max-age", "25h"]);
    first_line(&ended, 3, "and at most 1d 1h is allowed");
    created(&world, "2120-01-01T00:00:00Z");
    first_line(&world.kbk(&["status"]), 0, "in the future");
    let ended = world.kbk(&["status", "--max-age", "25h"]);
    first_line(&ended, 3, "in the future");
}

/// A backup of one topic says nothing of the others.
#[test]
fn a_topic_is_as_old_as_the_last_backup_that_looked_at_it() {
    let world = World::sample();
    // Its second backup looked at payments alone.
    let ended = world.kbk(&["status"]);
    first_line(
        &ended,
        0,
        "snapshot 2 was complete when it was committed, and is ",
    );
    let says = "did not look at 1 topic; the oldest is orders: its last backup is snapshot 1, ";
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    let json = world.kbk(&["status", "--json"]).json();
    assert_eq!(json["older_topics"][0]["topic"], "orders");
    assert_eq!(json["older_topics"][0]["sequence"], 1);
    let aged = |args: &[&str]| world.kbk(&[&["status", "--max-age", "1h"], args].concat());
    first_line(
        &aged(&[]),
        0,
        "snapshot 2 was complete when it was committed, and is ",
    );
    fs::remove_file(world.path("snapshots/00000000000000000001.json")).unwrap();
    first_line(
        &aged(&[]),
        3,
        "orders: its last backup is snapshot 1, and how old that is is not known, and at most 1h",
    );
    first_line(
        &aged(&["--no-cluster", "--exclude", "orders"]),
        0,
        "snapshot 2 was complete when it was committed, and is ",
    );
    let id = json["older_topics"][0]["topic_id"].as_str().unwrap();
    let by_id = format!("orders@{}", &id[..8]);
    let cannot = "orders: its last backup is snapshot 1, and how old that is is not known";
    first_line(&aged(&["--no-cluster", "--topic", &by_id]), 3, cannot);
}

/// What a copy that was interrupted at its beginning leaves.
#[test]
fn a_reservation_is_no_backup() {
    let world = World::new();
    world.backup(&[]);
    world.forge_snapshot(|snapshot| {
        let at = snapshot["created_at"].clone();
        let (command, detail) = ("copy\u{1b}[31m", "the copy of snapshot 2 follows");
        snapshot["maintenance"] =
            json!({ "command": command, "detail": detail, "at": at, "backup": 0 });
    });
    let none =
        "has no backup yet: snapshot 1 holds nothing; `kbk backup` or `kbk copy` creates one";
    first_line(&world.kbk(&["status"]), 3, none);
    first_line(&world.kbk(&["status", "--accept-partial"]), 3, none);
    let json = world.kbk(&["status", "--max-age", "25h", "--json"]).json();
    assert_eq!(json["newest"]["complete"], false);
    assert_eq!(json["newest_whole"], json!(null));
    let old = "no snapshot is complete, and one at most 1d 1h old is required";
    assert_eq!(json["findings"][1], old);

    let listed = world.kbk(&["snapshots"]);
    assert!(listed.stdout.contains("no backup"), "{}", listed.stdout);
    let what = "snapshot 1 is of `kbk copy\\u{1b}[31m`, and holds nothing";
    assert!(listed.stdout.contains(what), "{}", listed.stdout);
    let json = world.kbk(&["snapshots", "--json"]).json();
    assert_eq!(json["snapshots"][0]["complete"], false);

    let ended = world.kbk(&["verify"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let none = "snapshot 1 has no backup, and nothing to verify";
    assert!(ended.stderr.contains(none), "{}", ended.stderr);
}

/// Nobody adds up what a damaged or forged index states.
#[test]
fn sums_that_do_not_fit_are_damage() {
    let world = World::sample();
    world.forge_partition("orders", 0, |row| row["raw_bytes"] = json!(u64::MAX));
    for command in ["status", "verify", "stats", "snapshots", "ls"] {
        let ended = world.kbk(&[command]);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    let says = "its partitions state more raw bytes than 64 bits can count";
    first_line(&world.kbk(&["status"]), 3, says);
}

/// The age that counts is that of the newest backup that can be relied on.
#[test]
fn a_partial_snapshot_is_a_finding_unless_it_is_accepted() {
    let world = World::sample();
    world.forge_partition("orders", 0, |partition| {
        partition["high_watermark"] = json!(900);
        partition["incomplete"] = json!({ "reason": "interrupted", "detail": "stopped" });
    });
    let ended = world.kbk(&["status"]);
    first_line(&ended, 3, "snapshot 2 is partial");
    let says = "the newest complete snapshot is 1, ";
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    let args = ["status", "--accept-partial", "--max-age", "1h"];
    first_line(&world.kbk(&args), 0, "snapshot 2 is partial and ");
}

#[test]
fn a_damaged_snapshot_is_a_finding() {
    let world = World::sample();
    world.flip("snapshots/00000000000000000002.json", 30);
    first_line(&world.kbk(&["status"]), 3, "snapshot 2: ");
    let json = world.kbk(&["status", "--json", "--max-age", "1h"]).json();
    assert!(json["newest"]["damage"].is_string(), "{json}");
    assert_eq!(json["newest_whole"]["sequence"], 1);
    assert_eq!(
        json["findings"].as_array().unwrap().len(),
        1,
        "1 is new enough: {json}"
    );
    world.flip("snapshots/00000000000000000001.json", 30);
    let json = world.kbk(&["status", "--json", "--max-age", "1h"]).json();
    assert_eq!(json["newest_whole"], json!(null));
    assert_eq!(json["findings"].as_array().unwrap().len(), 2, "{json}");
}

#[test]
fn a_selection_needs_a_cluster() {
    let world = World::sample();
    let ended = world.kbk(&["status", "--topic", "orders"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("--bootstrap-server"),
        "{}",
        ended.stderr
    );
}

/// What a listing and the index show is a finding; nothing is called whole, since no record is read.
#[test]
fn missing_and_damaged_objects_are_findings() {
    let world = World::sample();
    let says = "checked the index (2 tables) and the sizes of 8 segments: all there; records were not read: `kbk verify` reads them";
    let ended = world.kbk(&["status"]);
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    assert!(!ended.stdout.contains("whole"), "{}", ended.stdout);

    let segments = world.entries("orders", 0);
    let missing = world.path(&segments[0].key);
    let bytes = fs::read(&missing).unwrap();
    fs::remove_file(&missing).unwrap();
    let ended = world.kbk(&["status"]);
    first_line(&ended, 3, "missing segment of orders/0: ");
    first_line(&ended, 3, &segments[0].key);
    first_line(&ended, 3, "`kbk backup --refresh --topic orders`");
    // Another topic is not affected.
    let payments = ["status", "--no-cluster", "--topic", "payments"];
    first_line(&world.kbk(&payments), 0, "snapshot 2 ");

    fs::write(&missing, &bytes[..bytes.len() - 1]).unwrap();
    fs::remove_file(world.path(&segments[1].key)).unwrap();
    let ended = world.kbk(&["status"]);
    first_line(
        &ended,
        3,
        "2 objects missing or damaged, the first is a wrong size of orders/0",
    );
    let json = world.kbk(&["status", "--json"]).json();
    assert_eq!(json["objects"]["segments"], 8);
    assert_eq!(json["objects"]["findings"][0]["kind"], "wrong_size");
    assert_eq!(json["objects"]["findings"][1]["key"], segments[1].key);
    assert_eq!(json["objects"]["findings"][1]["topic"], "orders");
}

/// Few rows are in one table with the states, without which no snapshot can be read; here the segments have one of their own.
#[test]
fn missing_and_damaged_tables_of_segments_are_findings() {
    let world = World::new();
    let segments: Vec<_> = (0..900).map(|offset| vec![(offset, offset)]).collect();
    world.backup(&[("many", 0, segments)]);
    let [_, segments] = &world.tables()[..] else {
        panic!("two tables: {:?}", world.tables());
    };
    let intact = fs::read(world.path(segments)).unwrap();
    for (harm, kind) in [(60, "damaged table"), (0, "missing table")] {
        match harm {
            0 => fs::remove_file(world.path(segments)).unwrap(),
            position => world.flip(segments, position),
        }
        let ended = world.kbk(&["status"]);
        first_line(&ended, 3, kind);
        first_line(&ended, 3, segments);
        let json = world.kbk(&["verify", "--json"]).json();
        let hint = json["findings"][0]["hint"].as_str().unwrap();
        assert!(hint.contains("--refresh"), "{hint}");
        let printed = world.kbk(&["cat", "many"]);
        assert_eq!((printed.code, &*printed.stdout), (Some(3), ""));
        assert!(printed.stderr.contains(segments), "{}", printed.stderr);
        for args in [&["ls"][..], &["ls", "many"]] {
            assert_eq!(world.kbk(args).code, Some(0), "{args:?}");
        }
        // It lists objects, and reads none of these tables.
        let code = if harm == 0 { 3 } else { 0 };
        assert_eq!(world.kbk(&["snapshots"]).code, Some(code));
        fs::write(world.path(segments), &intact).unwrap();
    }
    first_line(&world.kbk(&["status"]), 0, "snapshot 1 was complete");
}
