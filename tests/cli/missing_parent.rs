//! An older snapshot that is gone, although nothing has forgotten it: a rule of a bucket has deleted it, say.

use std::fs;

use crate::program::Ended;
use crate::world::World;

/// A world whose second of three snapshots is gone.
fn world() -> World {
    let world = World::sample();
    world.backup(&[("extra", 0, vec![vec![(1, 5_001)]])]);
    fs::remove_file(world.path("snapshots/00000000000000000002.json")).unwrap();
    world
}

const NAMED: &str = "snapshot 3 was made from it, and it was not forgotten";

#[track_caller]
fn told(ended: &Ended) {
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(NAMED), "{}", ended.stdout);
}

#[test]
fn whoever_counts_snapshots_is_told_and_nothing_is_pruned() {
    let world = world();
    told(&world.kbk(&["snapshots"]));
    let json = world.kbk(&["snapshots", "--json"]).json();
    let row = &json["snapshots"][1];
    assert_eq!(
        (&row["sequence"], &row["complete"]),
        (&2.into(), &().into())
    );
    assert!(row["damage"].as_str().unwrap().contains(NAMED), "{row}");
    told(&world.kbk(&["stats"]));

    told(&world.kbk(&["verify", "--snapshot", "all"]));
    let json = world.kbk(&["verify", "--snapshot", "all", "--json"]).json();
    let [finding] = &json["findings"].as_array().unwrap()[..] else {
        panic!("{json}");
    };
    assert_eq!(
        (&finding["kind"], &finding["snapshot"]),
        (&"missing_snapshot".into(), &2.into())
    );
    let next = finding["next_step"].as_str().unwrap();
    assert!(next.contains("kbk forget 2"), "{next}");
    // The newest one is whole without it.
    assert_eq!(world.kbk(&["verify"]).code, Some(0));

    let pruned = world.kbk(&["prune"]);
    assert_eq!(pruned.code, Some(1), "{}", pruned.stdout);
    assert!(
        pruned.stderr.contains(NAMED) && pruned.stderr.contains("`kbk forget 2`"),
        "{}",
        pruned.stderr
    );
    let kept = world.kbk(&["forget", "--keep-last", "1", "--dry-run", "--json"]);
    assert_eq!(kept.code, Some(3), "{}", kept.stderr);
    let rows = kept.json()["snapshots"].clone();
    assert_eq!(
        (&rows[1]["sequence"], &rows[1]["keep"]),
        (&2.into(), &true.into())
    );
}

#[test]
fn who_gives_it_up_is_told_no_more() {
    let world = world();
    let unknown = world.kbk(&["forget", "7", "--yes"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.stdout);
    let forgotten = world.kbk(&["forget", "2", "--yes"]);
    assert_eq!(
        forgotten.code,
        Some(0),
        "{}{}",
        forgotten.stdout,
        forgotten.stderr
    );
    for args in [
        &["snapshots"][..],
        &["stats"],
        &["verify", "--snapshot", "all"],
        &["prune"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(
            ended.code,
            Some(0),
            "{args:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
}

#[test]
fn one_that_was_forgotten_is_not_missing() {
    let world = World::sample();
    world.backup(&[("extra", 0, vec![vec![(1, 5_001)]])]);
    for sequence in ["2", "1"] {
        assert_eq!(world.kbk(&["forget", sequence, "--yes"]).code, Some(0));
        for args in [
            &["snapshots"][..],
            &["stats"],
            &["verify", "--snapshot", "all"],
        ] {
            let ended = world.kbk(args);
            assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stdout);
        }
    }
}
