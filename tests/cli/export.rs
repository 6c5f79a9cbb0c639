//! `kbk export`: what it says of what it does not write.

use serde_json::json;

use crate::world::World;

#[test]
fn an_export_without_damaged_records_is_not_called_complete() {
    let world = World::sample();
    let damaged = world.entries("orders", 0)[1].clone();
    world.flip(&damaged.key, 400);
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    let export = ["export", "--format", "jsonl", out, "--json"];
    let of_others = world.kbk(&[&export[..], &["payments"]].concat());
    assert_eq!(of_others.code, Some(0), "{}", of_others.stderr);
    assert_eq!(of_others.json()["complete"], true);
    let ended = world.kbk(&[&export[..], &["orders"]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["findings"][0]["kind"], "damaged_records");
    assert_eq!(
        (&document["complete"], &document["incomplete"]),
        (&json!(false), &json!([])),
        "{document}"
    );
}

#[test]
fn offsets_that_nothing_has_are_warned_of() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    let export = ["export", "--format", "jsonl", out, "orders"];
    let ended = world.kbk(&[&export[..], &["--from-offset", "99999"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let says = "no record is selected: no partition has any of these offsets and times";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}
