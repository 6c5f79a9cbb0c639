//! `kbk groups list`.

use serde_json::json;

use crate::world::World;

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
