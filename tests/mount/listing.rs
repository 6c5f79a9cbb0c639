//! What is listed, so that programs that read whole trees find each record once.

use std::fs;
use std::path::Path;

use crate::mounted::{Mount, sh};
use crate::world::World;

fn listed(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_record_is_found_once_below_a_snapshot() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let partition = mount.latest("topics/orders/0");
    assert_eq!(listed(&partition), ["meta.json", "records.jsonl"]);
    let topics = mount.latest("topics").display().to_string();
    // key-17 of both partitions of orders, and of payments.
    let found = sh(&format!(
        "grep -rh '\"key\":\"key-17\"' {topics} | jq -r '.topic + \"/\" + (.partition | tostring)' | sort"
    ));
    assert_eq!(found, "orders/0\norders/1\npayments/0\n");
    let stored: u64 = world
        .entries("orders", 0)
        .iter()
        .map(|entry| entry.size)
        .sum();
    let used = sh(&format!("du -B1 -s {} | cut -f1", partition.display()));
    let used: u64 = used.trim().parse().unwrap();
    assert!(
        (stored..stored + 4096).contains(&used),
        "{used} used, {stored} stored"
    );
    // What is not listed can be entered and opened.
    assert_eq!(listed(&partition.join("segments")).len(), 3);
    assert_eq!(
        fs::read_to_string(partition.join("values"))
            .unwrap()
            .lines()
            .count(),
        600
    );

    let mount = Mount::with(&world, &["-o", "show=values+by-time"]);
    let partition = mount.latest("topics/orders/0");
    assert_eq!(listed(&partition), ["by-time", "meta.json", "values"]);
}

#[test]
fn a_topic_is_selected_by_its_id() {
    let world = World::sample();
    // The id of a topic here is the length of its name in every byte.
    let mount = Mount::with(&world, &["--topic", "orders@06060606"]);
    assert_eq!(listed(&mount.latest("topics")), ["orders"]);
}

#[test]
fn snapshots_are_found_by_the_time_of_their_creation() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let snapshots = mount.path().join("snapshots");
    let links = listed(&snapshots.join("by-date"));
    assert_eq!(links.len(), 2, "{links:?}");
    for link in links {
        let json = snapshots.join("by-date").join(&link).join("snapshot.json");
        let json: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        let created = json["created_at"].as_str().unwrap();
        assert!(created.starts_with(&link[..19]), "{link} is {created}");
        let number = snapshots.join(json["sequence"].to_string());
        let modified = sh(&format!("date -u -r {} +%FT%T", number.display()));
        assert_eq!(modified.trim(), &created[..19]);
    }
}
