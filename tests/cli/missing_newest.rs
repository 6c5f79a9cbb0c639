//! A newest snapshot that is gone, although `snapshots/latest.json` still names it.

use std::fs;

use serde_json::Value;

use crate::world::World;

/// A world whose second and newest snapshot is gone.
fn world() -> World {
    let world = World::sample();
    fs::remove_file(world.path("snapshots/00000000000000000002.json")).unwrap();
    world
}

const NAMED: &str = "snapshots/latest.json names it as the newest snapshot";

#[test]
fn whoever_looks_is_told() {
    let world = world();
    let status = world.kbk(&["status", "--no-cluster"]);
    assert_eq!(status.code, Some(3));
    let line = status.stdout.lines().next().unwrap();
    assert!(
        line.starts_with("snapshot 2: ") && line.contains(NAMED),
        "{line}"
    );
    let json = world.kbk(&["status", "--no-cluster", "--json"]).json();
    assert_eq!(json["newest"]["sequence"], 2);
    assert!(json["newest"]["damage"].as_str().unwrap().contains(NAMED));
    assert_eq!(json["newest_whole"]["sequence"], 1);

    let snapshots = world.kbk(&["snapshots"]);
    assert_eq!(snapshots.code, Some(3));
    let line = snapshots.stdout.lines().next().unwrap();
    assert!(line.contains(NAMED), "{line}");
    let json = world.kbk(&["snapshots", "--json"]).json();
    let row = &json["snapshots"][1];
    assert_eq!(row["sequence"], 2);
    assert!(row["damage"].as_str().unwrap().contains(NAMED));

    for args in [&["verify"][..], &["verify", "--snapshot", "1"]] {
        let json = world.kbk(&[args, &["--json"]].concat());
        assert_eq!(json.code, Some(3));
        let findings = json.json()["findings"].clone();
        let [finding] = &findings.as_array().unwrap()[..] else {
            panic!("{findings}");
        };
        assert_eq!(
            (&finding["kind"], &finding["snapshot"]),
            (&"damaged_snapshot".into(), &2.into())
        );
        let next = finding["next_step"].as_str().unwrap();
        assert!(
            next.contains("backup --ignore-damaged-snapshot 2"),
            "{next}"
        );
    }
    let stats = world.kbk(&["stats"]);
    assert_eq!(stats.code, Some(3), "{}", stats.stderr);
    let line = stats.stdout.lines().next().unwrap();
    assert!(
        line.starts_with("snapshot 2 cannot be counted") && line.contains(NAMED),
        "{line}"
    );
    // An older one does not pass for the newest, but where it is asked for.
    for args in [&["cat", "orders/0"][..], &["ls"], &["ls", "orders"]] {
        let refused = world.kbk(args);
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{args:?}");
        assert!(
            refused.stderr.contains(NAMED) && refused.stderr.contains("`--snapshot 1`"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(
        world.kbk(&["cat", "orders/0", "--snapshot", "1"]).code,
        Some(0)
    );
}

#[test]
fn whoever_changes_the_repository_stops() {
    let world = world();
    let keys = world.keys();
    for args in [
        &["prune", "--grace", "0s"][..],
        &["prune", "--dry-run"],
        &["forget", "--keep-last", "1"],
        &["forget", "--keep-last", "1", "--dry-run"],
        &["expire", "--older-than", "1d", "--yes"],
        &["compact"],
        &["index"],
        &["index", "--dry-run"],
        &["recover"],
    ] {
        let refused = world.kbk(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.stdout);
        assert!(
            refused
                .stderr
                .contains("snapshots/00000000000000000002.json")
                && refused.stderr.contains("kbk recover --rebuild"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(world.keys(), keys);
    let rebuilt = world.kbk(&["recover", "--rebuild", "--json"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    assert_eq!(rebuilt.json()["snapshot"], 3);
    assert_eq!(world.latest().forgotten, [(2, 2)]);
    let pruned = world.kbk(&["prune", "--json"]);
    assert_eq!(pruned.code, Some(0), "{}", pruned.stderr);
    assert_eq!(pruned.json()["deleted"]["objects"], 0);
}

#[test]
fn without_any_other_snapshot_too() {
    let world = world();
    fs::remove_file(world.path("snapshots/00000000000000000001.json")).unwrap();
    for args in [&["verify"][..], &["ls"], &["prune"]] {
        let refused = world.kbk(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.stdout);
        assert!(
            refused.stderr.contains(NAMED),
            "{args:?}: {}",
            refused.stderr
        );
    }
    let status = world.kbk(&["status", "--no-cluster", "--json"]);
    assert_eq!(status.code, Some(3));
    assert_eq!(status.json()["newest_whole"], Value::Null);
    let snapshots = world.kbk(&["snapshots", "--json"]);
    assert_eq!(snapshots.code, Some(3));
    assert_eq!(snapshots.json()["snapshots"][0]["sequence"], 2);
}
