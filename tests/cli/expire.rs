//! `kbk expire`: what goes by its age, what stays, and what the other commands say of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::program::Ended;
use crate::world::World;

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

/// A world whose topic `extra` has old segments of the offsets 0 to 2, and young ones of 3 and 4.
fn aged() -> World {
    let world = World::sample();
    let now = Timestamp::now().as_millisecond();
    for (offset, time) in [(0, 5_000), (1, 5_001), (2, 5_002), (3, now), (4, now)] {
        world.backup(&[("extra", 0, vec![vec![(offset, time)]])]);
    }
    world
}

const EXPIRE: &[&str] = &["expire", "--older-than", "90d", "--topic", "extra"];

#[track_caller]
fn expire(world: &World, more: &[&str]) -> Value {
    ok(&world.kbk(&[EXPIRE, more, &["--json"]].concat())).json()
}

fn offsets(world: &World, more: &[&str]) -> Vec<i64> {
    let printed = world.kbk(&[&["cat", "extra"], more].concat());
    let rows = ok(&printed).json_lines().into_iter();
    rows.map(|row| row["offset"].as_i64().unwrap()).collect()
}

#[test]
fn a_dry_run_changes_nothing_and_a_run_asks_first() {
    let world = aged();
    let before = world.keys();
    let ended = world.kbk(&[EXPIRE, &["--dry-run"]].concat());
    let first = ok(&ended).stdout.lines().next().unwrap();
    assert!(
        first.starts_with("would expire 3 segments with 3 records from before "),
        "{first}"
    );
    let document = expire(&world, &["--dry-run"]);
    let row = &document["partitions"][0];
    assert_eq!(row["offsets"], json!({"base_offset": 0, "end_offset": 3}));
    assert_eq!(
        (
            &row["remaining_records"],
            &row["kept"],
            &document["snapshot"]
        ),
        (&json!(2), &json!(null), &json!(null))
    );
    let ended = world.kbk(EXPIRE);
    assert_eq!(ended.code, Some(2), "there is no terminal");
    assert!(
        ended.stderr.contains("expires 3 segments with 3 records"),
        "{}",
        ended.stderr
    );
    for args in [
        &["expire"][..],
        &["expire", "--yes"],
        &["expire", "--older-than", "0d", "--yes"],
        &["expire", "--older-than", "19000y", "--yes"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(world.keys(), before);
}

#[test]
fn what_expired_is_gone_and_nobody_calls_it_lost() {
    let world = aged();
    let document = expire(&world, &["--yes"]);
    assert_eq!(
        [
            &document["segments"],
            &document["snapshot"],
            &document["older_snapshots"]
        ],
        [&json!(3), &json!(8), &json!(7)]
    );
    assert_eq!(offsets(&world, &[]), [3, 4]);
    assert_eq!(offsets(&world, &["--snapshot", "7"]), [0, 1, 2, 3, 4]);
    let row = ok(&world.kbk(&["ls", "extra", "--json"])).json()["partitions"][0].clone();
    let expired = &row["expired"];
    assert_eq!(
        (&row["base_offset"], &row["lost"], &expired["offsets"]),
        (
            &json!(3),
            &json!([]),
            &json!({"base_offset": 0, "end_offset": 3})
        )
    );
    assert_eq!(
        (&expired["snapshot"], &expired["policy"]),
        (&json!(8), &json!("--older-than 90d --topic extra"))
    );
    let verified = world.kbk(&["verify", "--snapshot", "all", "--json"]);
    assert_eq!(ok(&verified).json()["expired_offsets"], 3);
    let verified = world.kbk(&["verify"]);
    assert!(
        ok(&verified).stdout.contains("3 offsets had expired"),
        "{}",
        verified.stdout
    );
    let listed = world.kbk(&["snapshots"]);
    assert!(
        listed.stdout.contains(
            "snapshot 8 is of `kbk expire`, and holds what has not expired of the backup of snapshot 7"
        ),
        "{}",
        listed.stdout
    );
    // Nothing is left to do, and nothing is written.
    let before = world.keys();
    assert_eq!(expire(&world, &["--yes"])["segments"], 0);
    assert_eq!(world.keys(), before);
}

#[test]
fn objects_go_once_no_snapshot_names_them() {
    let world = aged();
    let old: Vec<String> = world.entries("extra", 0)[..3]
        .iter()
        .map(|entry| entry.key.clone())
        .collect();
    expire(&world, &["--yes"]);
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    assert!(old.iter().all(|key| world.keys().contains(key)));
    // Of one period, what has expired takes the place of the backup.
    let kept = ok(&world.kbk(&["forget", "--keep-daily", "1", "--yes", "--json"])).json();
    assert_eq!(kept["kept"], 1, "{kept}");
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    assert!(!old.iter().any(|key| world.keys().contains(key)));
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
    assert_eq!(offsets(&world, &[]), [3, 4]);
}

#[test]
fn all_records_may_expire_and_the_next_backup_continues() {
    let world = World::sample();
    let document = ok(&world.kbk(&["expire", "--older-than", "1d", "--yes", "--json"])).json();
    assert_eq!(document["records"], 1_450, "{document}");
    for row in document["partitions"].as_array().unwrap() {
        assert_eq!(row["remaining_records"], 0);
    }
    let printed = world.kbk(&["cat", "payments"]);
    assert_eq!(ok(&printed).stdout, "");
    assert!(
        printed
            .stderr
            .contains("offsets 0 to 250 (exclusive) have expired"),
        "{}",
        printed.stderr
    );
    ok(&world.kbk(&["verify"]));
    ok(&world.kbk(&["groups", "list"]));
    world.backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    let row = ok(&world.kbk(&["ls", "payments", "--json"])).json()["partitions"][0].clone();
    assert_eq!(
        (&row["base_offset"], &row["end_offset"], &row["records"]),
        (&json!(250), &json!(251), &json!(1))
    );
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
}

#[test]
fn younger_records_keep_what_follows_them() {
    let world = World::sample();
    let now = Timestamp::now().as_millisecond();
    world.backup(&[("extra", 0, vec![vec![(0, now)], vec![(1, 5_000)]])]);
    let document = expire(&world, &["--yes"]);
    assert_eq!(
        (&document["segments"], &document["partitions"][0]["kept"]),
        (&json!(0), &json!("younger_records"))
    );
    world.backup(&[("plain", 0, vec![vec![(0, -1)], vec![(1, 5_000)]])]);
    let args = [
        "expire",
        "--older-than",
        "90d",
        "--topic",
        "plain",
        "--yes",
        "--json",
    ];
    let document = ok(&world.kbk(&args)).json();
    assert_eq!(
        (&document["segments"], &document["partitions"][0]["kept"]),
        (&json!(0), &json!("no_timestamps"))
    );
}
