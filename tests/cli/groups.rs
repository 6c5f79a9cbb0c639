//! `kbk groups list`, and `kbk groups map` of what has expired or was forgotten.

use std::collections::BTreeMap;

use kbk_format::repo::{
    MapPage, MapRun, RestoreId, RestoredPartition, RestoredTopic, TargetPartition,
};
use serde_json::json;

use crate::world::{World, place};

#[test]
fn list_prints_a_table() {
    let world = World::sample();
    let ended = world.kbk(&["groups", "list"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1], ["billing", "Classic", "-", "2", "2", "130"]);
    assert_eq!(lines[2], ["idle", "Classic", "-", "0", "0", "-"]);
    assert!(
        ended
            .stdout
            .contains("2 groups as of 1970-01-01T00:00:00Z (snapshot 2), "),
        "{}",
        ended.stdout
    );

    let ended = world.kbk(&["groups", "list", "--offsets", "--group", "b*"]);
    let rows: Vec<&str> = ended.stdout.lines().skip(1).collect();
    let cells = |row: &str| {
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cells(rows[0]),
        ["billing", "audit/3", "7", "-", "-", "by\\tus"]
    );
    assert_eq!(
        cells(rows[1]),
        ["billing", "payments/0", "120", "250", "130", "by\\tus"]
    );
    assert!(rows[2].starts_with("1 group as of"), "{}", rows[2]);
}

#[test]
fn list_json_prints_every_field() {
    let world = World::sample();
    let list = world.kbk(&["groups", "list", "--json"]).json();
    assert_eq!((&list["snapshot"], &list["seen"]), (&json!(2), &json!(2)));
    assert_eq!(list["taken_at"], "1970-01-01T00:00:00Z");
    assert_eq!(
        list["groups"][0]["offsets"][1],
        json!({
            "topic": "payments", "topic_id": "08".repeat(16), "taken_at": null, "partition": 0, "offset": 120,
            "leader_epoch": null, "metadata": "by\tus", "stored_end_offset": 250,
            "behind": { "records": 130, "at_most": false }
        })
    );
    assert_eq!(list["groups"][0]["offsets"][0]["behind"], json!(null));
    assert_eq!(list["groups"][1]["group"], "idle");
}

#[test]
fn a_snapshot_without_groups_and_an_unknown_group_fail() {
    let world = World::sample();
    let ended = world.kbk(&["groups", "list", "--snapshot", "1"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--no-groups"), "{}", ended.stderr);
    let ended = world.kbk(&["groups", "list", "--group", "biling"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("did you mean `billing`"),
        "{}",
        ended.stderr
    );
    assert_eq!(world.kbk(&["groups"]).code, Some(2));
}

/// Adds a finished restore of the partition `payments`/0 from one offset up to `end`.
fn restore_payments(world: &World, name: &str, base_offset: i64, end_offset: i64) {
    let restore: RestoreId = name.parse().unwrap();
    let place = place("payments", 0);
    let records = end_offset.abs_diff(base_offset);
    let page = MapPage {
        restore: restore.clone(),
        topic: place.topic.clone(),
        topic_id: place.topic_id,
        partition: place.partition,
        base_offset,
        end_offset,
        previous: None,
        records,
        runs: vec![MapRun {
            source_offset: base_offset,
            target_partition: place.partition,
            target_offset: 0,
            records,
        }],
    };
    let topic = RestoredTopic {
        topic: place.topic.clone(),
        topic_id: place.topic_id,
        target: "copies".parse().unwrap(),
        create: None,
        config_afterwards: BTreeMap::new(),
        purge: false,
        targets: vec![TargetPartition {
            partition: place.partition,
            offset: 0,
        }],
        partitions: vec![RestoredPartition {
            partition: place.partition,
            base_offset,
            end_offset,
            target_partition: Some(place.partition),
        }],
    };
    world.finish(restore, topic, &[page]);
}

#[test]
fn an_offset_that_has_expired_resumes_at_the_first_record_that_is_left() {
    let world = World::sample();
    let args = [
        "expire",
        "--older-than",
        "1d",
        "--topic",
        "payments",
        "--yes",
    ];
    assert_eq!(world.kbk(&args).code, Some(0));
    world.backup(&[("payments", 0, vec![vec![(250, 9_000), (251, 9_001)]])]);
    restore_payments(&world, "after-expiry", 250, 252);
    let ended = world.kbk(&["groups", "map", "--group", "billing"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let words = "group billing had not read offsets 120 to 250 (exclusive) of payments/0, which have expired";
    assert!(ended.stdout.contains(words), "{}", ended.stdout);
    let mapped = world.kbk(&["groups", "map", "--json"]).json();
    let group = &mapped["groups"][0];
    assert_eq!(
        (&group["offsets"][0]["target"]["offset"], &group["expired"]),
        (
            &json!(0),
            &json!([{
                "topic": "payments",
                "partition": 0,
                "offsets": {"base_offset": 120, "end_offset": 250},
            }])
        )
    );
    let listed = world.kbk(&["groups", "list", "--json"]).json();
    assert_eq!(
        listed["groups"][0]["offsets"][1]["behind"],
        json!({"records": 2, "at_most": false})
    );
}

#[test]
fn a_finished_restore_does_not_keep_its_snapshot() {
    let world = World::sample();
    restore_payments(&world, "finished", 0, 250);
    world.backup(&[("extra", 0, vec![vec![(0, 9_000)]])]);
    let forgotten = world.kbk(&["forget", "2", "--yes"]);
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.stderr);
    let ended = world.kbk(&["groups", "map"]);
    assert_eq!(ended.code, Some(1));
    for words in [
        "snapshot 2, which has the groups of restore finished, was forgotten",
        "`kbk groups map TOPIC OFFSET`",
    ] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let mapped = world.kbk(&["groups", "map", "payments", "120", "--json"]);
    assert_eq!(mapped.code, Some(0), "{}", mapped.stderr);
    let target = &mapped.json()["partitions"][0]["offsets"][0]["targets"][0];
    assert_eq!(target["offset"], 120);
}
