//! `kbk acls list`.

use kbk_format::repo::FoundAcls;
use serde_json::json;

use crate::world::World;

#[test]
fn list_prints_a_table() {
    let world = World::sample();
    let ended = world.kbk(&["acls", "list"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let deny = [
        "TOPIC",
        "pay",
        "PREFIXED",
        "User:a\\tb",
        "*",
        "READ",
        "DENY",
    ];
    assert_eq!(lines[2], deny);
    let end = "2 ACLs as of 1970-01-01T00:00:00Z (snapshot 2)\n\
        the cluster had 1 more, which the Kafka client cannot represent\n";
    assert!(ended.stdout.ends_with(end), "{}", ended.stdout);
}

#[test]
fn list_json_prints_acls_as_saved() {
    let world = World::sample();
    let list = world.kbk(&["acls", "list", "--json"]).json();
    assert_eq!((&list["snapshot"], &list["seen"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&list["authorizer"], &list["left_out"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        list["acls"][0],
        json!({
            "resource_type": "TOPIC", "resource_name": "orders", "pattern_type": "LITERAL", "principal": "User:a\tb", "host": "*",
            "operation": "READ", "permission_type": "ALLOW"
        })
    );
}

#[test]
fn listing_a_snapshot_without_acls_fails() {
    let world = World::sample();
    let ended = world.kbk(&["acls", "list", "--snapshot", "1"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("kbk backup --acls"),
        "{}",
        ended.stderr
    );
}

#[test]
fn list_distinguishes_no_authorizer_from_no_acls() {
    let world = World::sample();
    let open = FoundAcls {
        authorizer: false,
        left_out: 0,
        acls: [].into(),
        ..World::acls()
    };
    world.backup_with(&[], None, Some(open));
    let ended = world.kbk(&["acls", "list"]);
    let expected =
        "the cluster had no authorizer, and so no ACLs, as of 1970-01-01T00:00:00Z (snapshot 3)\n";
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
}
