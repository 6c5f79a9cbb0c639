//! `kbk verify`.

use std::fs;

use crate::world::World;

#[test]
fn a_sound_repository_ends_with_0() {
    let world = World::sample();
    for words in [
        &["verify"][..],
        &["verify", "--full"],
        &["verify", "--snapshot", "all"],
    ] {
        let ended = world.kbk(words);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("is sound"), "{}", ended.stdout);
    }
    let json = world.kbk(&["verify", "--json", "--topic", "orders"]).json();
    assert_eq!(json["segments"], 6);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn findings_end_with_3_and_are_listed() {
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
fn damaged_objects_of_json_are_findings_too() {
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
fn what_cannot_be_meant_is_an_error() {
    let world = World::sample();
    for (words, code, said) in [
        (&["verify", "--snapshot", "7"][..], 1, "no snapshot 7"),
        (&["verify", "--topic", "oders"], 1, "`orders`"),
        (&["verify", "--snapshot", "newest"], 2, "`all`"),
    ] {
        let ended = world.kbk(words);
        assert_eq!(ended.code, Some(code), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{words:?}: {}", ended.stderr);
    }
}
