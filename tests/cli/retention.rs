//! `kbk forget`, `kbk prune` and `kbk stats`: what goes, what stays, and what is said of what is gone.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::program::Ended;
use crate::world::World;

/// A world with eight snapshots, whose tables were merged meanwhile, so that older snapshots need some that newer ones do not.
fn grown() -> World {
    let world = World::sample();
    for at in 0..6 {
        world.backup(&[("extra", 0, vec![vec![(at, 5_000 + at)]])]);
    }
    world
}

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

#[track_caller]
fn sequences(world: &World) -> Vec<u64> {
    let json = ok(&world.kbk(&["snapshots", "--json"])).json();
    let rows = json["snapshots"].as_array().unwrap().iter();
    rows.map(|row| row["sequence"].as_u64().unwrap()).collect()
}

fn actions(document: &Value) -> Vec<(u64, bool, String)> {
    let rows = document["snapshots"].as_array().unwrap().iter();
    let row = |row: &Value| {
        let reasons: Vec<&str> = row["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        (
            row["sequence"].as_u64().unwrap(),
            row["keep"].as_bool().unwrap(),
            reasons.join(", "),
        )
    };
    rows.map(row).collect()
}

/// Makes all objects look as old as two days.
fn age(world: &World) {
    let then = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for key in world.keys() {
        let file = File::options().write(true).open(world.path(&key)).unwrap();
        file.set_modified(then).unwrap();
    }
}

#[test]
fn what_to_forget_must_be_said() {
    let world = World::sample();
    for args in [
        &["forget"][..],
        &["forget", "--yes"],
        &["forget", "latest", "--yes"],
        &["forget", "1", "--keep-last", "1"],
        &["forget", "--keep-last", "0"],
        &["forget", "--keep-within", "0d"],
        &["forget", "--keep-daily", "1", "--time-zone", "Nowhere"],
        &["prune", "--grace", "1y"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(
            ended.code,
            Some(2),
            "{args:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
    assert_eq!(sequences(&world), [1, 2]);
}

#[test]
fn a_dry_run_changes_nothing_and_a_run_asks_first() {
    let world = grown();
    let before = world.keys();
    let ended = world.kbk(&["forget", "--keep-last", "2", "--dry-run"]);
    let first = ok(&ended).stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "would forget 6 snapshots and keep 2; days and the like are those of UTC"
    );
    let ended = world.kbk(&["forget", "--keep-last", "2"]);
    assert_eq!(ended.code, Some(2), "there is no terminal");
    assert!(
        ended.stderr.contains("forgets 6 snapshots") && ended.stderr.contains("--yes"),
        "{}",
        ended.stderr
    );
    assert_eq!(world.keys(), before);
}

#[test]
fn what_is_forgotten_is_gone_for_readers_and_the_rest_is_whole() {
    let world = grown();
    let records = ok(&world.kbk(&["cat", "extra"])).stdout.clone();
    let document = ok(&world.kbk(&["forget", "--keep-last", "2", "--yes", "--json"])).json();
    assert_eq!(
        (
            &document["kept"],
            &document["forgotten"],
            &document["snapshot"]
        ),
        (&json!(2), &json!(6), &json!(9))
    );
    assert_eq!(document["policy"], "--keep-last 2");
    assert_eq!(
        actions(&document)[6..],
        [
            (7, true, "last".to_owned()),
            (8, true, "newest, newest complete, last".to_owned())
        ]
    );
    assert_eq!(sequences(&world), [7, 8, 9]);
    let table = world.kbk(&["snapshots"]).stdout;
    assert!(
        table.contains("snapshot 9 is of `kbk forget`, and holds the backup of snapshot 8"),
        "{table}"
    );

    for args in [
        &["ls", "--snapshot", "3"][..],
        &["cat", "extra", "--snapshot", "3"],
        &["verify", "--snapshot", "3"],
        &["groups", "list", "--snapshot", "3"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(
            ended.stderr.contains("snapshot 3 was forgotten"),
            "{args:?}: {}",
            ended.stderr
        );
    }
    assert_eq!(ok(&world.kbk(&["cat", "extra"])).stdout, records);
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
    // The last backup is as old as it was, and of all topics that it saw.
    let status = world.kbk(&["status", "--json"]).json();
    let created = |sequence: usize| {
        ok(&world.kbk(&["snapshots", "--json"])).json()["snapshots"][sequence]["created_at"].clone()
    };
    assert_eq!(status["newest"]["created_at"], created(1));

    let again = ok(&world.kbk(&["forget", "3", "--yes", "--json"])).json();
    assert_eq!(
        (&again["forgotten"], &again["snapshot"]),
        (&json!(0), &json!(null))
    );
    let missing = world.kbk(&["forget", "77", "--yes"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("no snapshot 77"),
        "{}",
        missing.stderr
    );
    let newest = world.kbk(&["forget", "9", "--yes"]);
    assert_eq!(newest.code, Some(1));
    assert!(
        newest.stderr.contains("it is the newest"),
        "{}",
        newest.stderr
    );
}

#[test]
fn snapshots_that_hold_the_same_count_once() {
    let world = grown();
    ok(&world.kbk(&["forget", "1", "--yes"]));
    ok(&world.kbk(&["forget", "2", "--yes"]));
    let document = ok(&world.kbk(&["forget", "--keep-last", "2", "--dry-run", "--json"])).json();
    let kept: Vec<u64> = actions(&document)
        .into_iter()
        .filter(|row| row.1)
        .map(|row| row.0)
        .collect();
    assert_eq!(
        kept,
        [7, 8, 10],
        "8 and 10 hold one backup, and 10 is the newest"
    );
    assert_eq!(document["snapshots"][7]["same_as"], 8);
    world.backup(&[("extra", 0, vec![vec![(6, 5_006)]])]);
    let document = ok(&world.kbk(&["forget", "--keep-last", "2", "--yes", "--json"])).json();
    assert_eq!(document["forgotten"], 7);
    assert_eq!(sequences(&world), [8, 11, 12]);
}

#[test]
fn a_prune_deletes_what_nothing_needs_in_two_phases() {
    let world = grown();
    ok(&world.kbk(&["forget", "--keep-last", "1", "--yes"]));
    let young = ok(&world.kbk(&["prune", "--json"])).json();
    assert_eq!(
        (&young["marked"]["objects"], &young["deleted"]["objects"]),
        (&json!(0), &json!(0))
    );
    let unneeded = young["young"]["objects"].as_u64().unwrap();
    assert!(unneeded > 0, "{young}");

    age(&world);
    let before = world.keys();
    let planned = ok(&world.kbk(&["prune", "--dry-run", "--json"])).json();
    assert_eq!(planned["marked"]["objects"], unneeded);
    assert_eq!(world.keys(), before, "a dry run changes nothing");
    let first = ok(&world.kbk(&["prune", "--json"])).json();
    assert_eq!(
        (&first["marked"]["objects"], &first["deleted"]["objects"]),
        (&json!(unneeded), &json!(0))
    );
    let waits = ok(&world.kbk(&["prune"])).stdout.clone();
    assert!(
        waits.contains(" are listed, and deleted by a `kbk prune` at "),
        "{waits}"
    );
    ok(&world.kbk(&["verify", "--snapshot", "all", "--full"]));

    age(&world);
    let second = ok(&world.kbk(&["prune", "--json"])).json();
    assert_eq!(second["deleted"], first["marked"]);
    let after = world.keys();
    assert_eq!(
        before.iter().filter(|key| !after.contains(key)).count() as u64,
        unneeded
    );
    let verified = ok(&world.kbk(&["verify", "--snapshot", "all", "--full", "--json"])).json();
    assert_eq!(verified["orphans"]["objects"], 0, "{verified}");
    // Commits that prunes made are no backups, and a backup continues after them.
    let next = world.backup(&[("extra", 0, vec![vec![(6, 5_006)]])]);
    assert_eq!(next.totals.records, world.latest().totals.records);
    ok(&world.kbk(&["verify", "--full"]));
}

#[test]
fn without_a_grace_period_a_prune_deletes_at_once() {
    let world = grown();
    let ended = world.kbk(&["forget", "--keep-last", "1", "--yes", "--prune"]);
    assert!(
        ok(&ended).stdout.contains("younger than the grace period"),
        "{}",
        ended.stdout
    );
    let planned = ok(&world.kbk(&["prune", "--grace", "0s", "--dry-run", "--json"])).json();
    let pruned = ok(&world.kbk(&["prune", "--grace", "0s", "--json"])).json();
    assert!(
        pruned["deleted"]["objects"].as_u64().unwrap() > 0,
        "{pruned}"
    );
    assert_eq!(pruned["deleted"], planned["deleted"]);
    let again = ok(&world.kbk(&["prune", "--grace", "0s"])).stdout.clone();
    assert!(
        again.starts_with("nothing to prune: snapshots need "),
        "{again}"
    );
    let verified = ok(&world.kbk(&["verify", "--snapshot", "all", "--full", "--json"])).json();
    assert_eq!(verified["orphans"]["objects"], 0, "{verified}");
}

#[test]
fn nothing_is_pruned_while_a_snapshot_cannot_be_read() {
    let world = grown();
    let key = "snapshots/00000000000000000004.json";
    world.flip(key, 40);
    let ended = world.kbk(&["forget", "--keep-last", "1", "--yes", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(actions(&ended.json())[3], (4, true, "damaged".to_owned()));
    let before = world.keys();
    for args in [&["prune", "--grace", "0s"][..], &["prune", "--dry-run"]] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(
            ended.stderr.contains("snapshot 4 cannot be read"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("kbk forget 4"), "{}", ended.stderr);
    }
    let stats = world.kbk(&["stats", "--json"]);
    assert_eq!(stats.code, Some(3));
    assert_eq!(stats.json()["prune"], Value::Null);
    assert_eq!(world.keys(), before);
    ok(&world.kbk(&["forget", "4", "--yes"]));
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
}

#[test]
fn the_snapshot_of_an_unfinished_restore_is_kept() {
    let world = grown();
    world.restore("first");
    let snapshot = world.kbk(&["restores", "--json"]).json()["restores"][0]["snapshot"]
        .as_u64()
        .unwrap();
    world.backup(&[("extra", 0, vec![vec![(6, 5_006)]])]);
    fs::remove_file(world.path("restores/first/done.json")).unwrap();
    let ended = world.kbk(&["forget", &snapshot.to_string(), "--yes"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("kbk restores discard first"),
        "{}",
        ended.stderr
    );
    let document = ok(&world.kbk(&["forget", "--keep-last", "1", "--dry-run", "--json"])).json();
    let kept = actions(&document)
        .into_iter()
        .find(|row| row.0 == snapshot)
        .unwrap();
    assert!(kept.1 && kept.2.contains("restore first"), "{kept:?}");
}

#[test]
fn what_a_reader_misses_was_forgotten_and_is_no_damage() {
    let world = grown();
    let runtime = &world.runtime;
    let old = runtime.block_on(world.repository.snapshot(3)).unwrap();
    ok(&world.kbk(&["forget", "--keep-last", "1", "--yes"]));
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    let reader = world.repository.uncached();
    let topic = old
        .topics
        .iter()
        .find(|topic| &*topic.name == "extra")
        .unwrap();
    let partition = topic.partition_id(0.into());
    let read = runtime.block_on(reader.segments(&old, &partition, &topic.partitions[0]));
    let error = read.unwrap_err().to_string();
    assert!(error.contains("snapshot 3 was forgotten"), "{error}");
}

#[test]
fn sizes_are_those_of_the_objects() {
    let world = grown();
    let document = ok(&world.kbk(&["stats", "--json"])).json();
    let sum = |rows: &Value, member: &str| -> u64 {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row[member].as_u64().unwrap())
            .sum()
    };
    let listed = ok(&world.kbk(&["ls", "--json"])).json();
    assert_eq!(
        sum(&document["topics"], "stored_bytes"),
        sum(&listed["topics"], "stored_bytes")
    );
    // Of each snapshot, what is unique goes if it is forgotten alone.
    let unique = document["snapshots"][2]["unique_objects"].as_u64().unwrap();
    let bytes = document["snapshots"][2]["unique_bytes"].clone();
    ok(&world.kbk(&["forget", "3", "--yes"]));
    let pruned = ok(&world.kbk(&["prune", "--grace", "0s", "--dry-run", "--json"])).json();
    let (before, after) = (&document["prune"], &pruned["deleted"]);
    let already = before["young"]["objects"].as_u64().unwrap();
    assert_eq!(after["objects"].as_u64().unwrap(), already + unique);
    assert_eq!(
        after["bytes"].as_u64().unwrap(),
        before["young"]["bytes"].as_u64().unwrap() + bytes.as_u64().unwrap()
    );
    let table = world.kbk(&["stats"]).stdout;
    assert!(
        table.contains("UNIQUE") && table.contains("extra"),
        "{table}"
    );
}
