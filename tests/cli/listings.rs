//! `kbk snapshots`, `kbk ls`, `kbk inspect`.

use crate::program::run;
use crate::world::World;

#[test]
fn snapshots_prints_a_table_and_json() {
    let world = World::sample();
    let ended = world.kbk(&["snapshots"]);
    assert_eq!(ended.code, Some(0));
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stdout);
    assert!(
        lines[0].contains("SNAPSHOT") && lines[2].contains("1,450"),
        "{}",
        ended.stdout
    );

    let json = world.kbk(&["snapshots", "--json"]).json();
    assert_eq!(json["snapshots"][1]["sequence"], 2);
    assert_eq!(json["snapshots"][1]["records"], 1_450);
    assert_eq!(json["snapshots"][1]["new_records"], 150);

    world.flip("snapshots/00000000000000000002.json", 30);
    let ended = world.kbk(&["snapshots", "--json"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.json()["snapshots"][1]["damage"].is_string());
    assert_eq!(ended.json()["snapshots"][0]["records"], 1_300);
}

#[test]
fn ls_prints_topics_partitions_and_segments() {
    let world = World::sample();
    let ended = world.kbk(&["ls"]);
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stdout.contains("orders") && ended.stdout.contains("1,200"),
        "{}",
        ended.stdout
    );

    let json = world.kbk(&["ls", "--json"]).json();
    assert_eq!(json["snapshot"], 2);
    assert_eq!(json["topics"][0]["topic"], "orders");
    assert_eq!(json["topics"][0]["partitions"], 2);
    assert_eq!(json["topics"][0]["min_timestamp"], 1_000);
    assert_eq!(json["topics"][0]["deleted"], false);

    let json = world.kbk(&["ls", "orders", "--json"]).json();
    assert_eq!(json["partitions"].as_array().unwrap().len(), 2);
    assert_eq!(json["partitions"][1]["end_offset"], 600);
    let json = world.kbk(&["ls", "orders/1", "--json"]).json();
    assert_eq!(json["partitions"].as_array().unwrap().len(), 1);
    let segments = |args: &[&str]| {
        let json = world
            .kbk(&[args, &["--segments", "--json"]].concat())
            .json();
        json["segments"].as_array().unwrap().clone()
    };
    assert_eq!(segments(&["ls"]).len(), 8);
    assert_eq!(segments(&["ls", "orders"]).len(), 6);
    assert_eq!(segments(&["ls", "payments/0", "--snapshot", "1"]).len(), 1);
    assert_eq!(segments(&["ls", "orders/1"])[2]["base_offset"], 400);

    let ended = world.kbk(&["ls", "ordres"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`orders`"), "{}", ended.stderr);
}

#[test]
fn inspect_reads_a_single_segment_file() {
    let world = World::sample();
    let entry = world.entries("orders", 0).remove(0);
    let file = world.path(&entry.key);
    let file = file.to_str().unwrap();
    let ended = run(&["inspect", file]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("orders/0") && ended.stdout.contains("VALUES"),
        "{}",
        ended.stdout
    );
    let json = run(&["inspect", file, "--blocks", "--json"]).json();
    assert_eq!(json["header"]["topic"], "orders");
    assert_eq!(json["footer"]["record_count"], 200);
    assert!(json["blocks"].as_array().unwrap().len() > 1);
    assert_eq!(json["problems"], serde_json::json!([]));

    world.harm(&entry.key, |bytes| bytes.truncate(bytes.len() - 1));
    let ended = run(&["inspect", file, "--json"]);
    assert_eq!(ended.code, Some(3));
    let json = ended.json();
    assert!(json["footer"].is_null());
    assert_eq!(json["totals"]["records"], 200, "scanned without the footer");

    let ended = run(&["inspect", world.path("kbk.json").to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("not a segment"), "{}", ended.stderr);
}

/// Kafka allows these names, and each is a topic of its own.
#[test]
fn topics_of_any_name_are_listed_read_and_selected() {
    let world = World::new();
    let long = "x".repeat(249);
    let names = ["...", "-dash", "Case", "case", &long];
    let rows: Vec<Vec<_>> = vec![vec![(0, 1_000), (1, 2_000)]];
    world.backup(&names.map(|name| (name, 0, rows.clone())));
    let listed = world.kbk(&["ls"]);
    for line in listed.stdout.lines().filter(|line| !line.contains(&long)) {
        assert!(
            line.len() < 120,
            "one long name widens no other line: {line}"
        );
    }
    let json = world.kbk(&["ls", "--json"]).json();
    assert_eq!(json["topics"].as_array().unwrap().len(), names.len());
    for name in names {
        assert!(
            listed.stdout.lines().any(|line| line.starts_with(name)),
            "{name}"
        );
        let read = world.kbk(&["cat", "--", name]);
        assert_eq!((read.code, read.json_lines().len()), (Some(0), 2), "{name}");
        assert_eq!(read.json_lines()[0]["topic"], name);
        let verified = world.kbk(&["verify", "--json", &format!("--topic={name}")]);
        assert_eq!(
            (verified.code, &verified.json()["records"]),
            (Some(0), &2.into()),
            "{name}"
        );
    }
}
