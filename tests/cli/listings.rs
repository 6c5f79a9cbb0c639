//! `kbk snapshots`, `kbk ls`, `kbk inspect`.

use std::fs;

use crate::program::run;
use crate::world::World;

#[test]
fn snapshots_prints_a_table_and_json() {
    let world = World::sample();
    let ended = world.kbk(&["snapshots"]);
    assert_eq!(ended.code, Some(0));
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ended.stdout);
    assert!(lines[0].contains("CREATED") && lines[0].contains("AGE"));
    assert!(
        lines[3].starts_with("2 snapshots: 1,450 records, "),
        "{}",
        lines[3]
    );
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

    for (args, totals) in [
        (&["ls"][..], "2 topics: 3 partitions, 1,450 records, "),
        (
            &["ls", "orders"],
            "2 partitions: 6 segments, 1,200 records, ",
        ),
        (
            &["ls", "orders/1", "--segments"],
            "3 segments: 600 records, ",
        ),
        (
            &["ls", "payments", "--snapshot", "1", "--segments"],
            "1 segment: 100 records, ",
        ),
    ] {
        let listed = world.kbk(args).stdout;
        let last = listed.lines().last().unwrap();
        assert!(last.starts_with(totals), "{last}");
    }
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
fn ls_takes_globs_and_lists_of_partitions() {
    let world = World::sample();
    let listed = |args: &[&str]| {
        let json = world.kbk(&[&["ls", "--json"], args].concat()).json();
        for kind in ["topics", "partitions"] {
            if let Some(rows) = json[kind].as_array() {
                let names = rows.iter().map(|row| match kind {
                    "topics" => row["topic"].as_str().unwrap().to_owned(),
                    _ => format!("{}/{}", row["topic"].as_str().unwrap(), row["partition"]),
                });
                return (kind, names.collect::<Vec<_>>().join(" "));
            }
        }
        panic!("{json}")
    };
    assert_eq!(listed(&["*"]), ("topics", "orders payments".to_owned()));
    assert_eq!(listed(&["/ord.*/"]), ("topics", "orders".to_owned()));
    let all = "orders/0 orders/1 payments/0";
    for args in [
        &["--partitions"][..],
        &["--partitions", "*"],
        &["orders", "payments"],
        &["pay*", "orders"],
    ] {
        assert_eq!(listed(args), ("partitions", all.to_owned()), "{args:?}");
    }
    let first = ("partitions", "orders/0 payments/0".to_owned());
    assert_eq!(listed(&["*/0"]), first);
    let both = ("partitions", "orders/0 orders/1".to_owned());
    assert_eq!(listed(&["orders/0-1"]), both);
    assert_eq!(listed(&["orders/1,0"]), both);
    for (args, code, message) in [
        (&["x*"][..], 1, "no topic matches `x*` among 2"),
        (&["orders/0-9"], 1, "it has 2 partitions, numbered from 0"),
        (&["orders/2147483648"], 2, "not a list of partitions"),
        (&["orders", "--partitions", "--segments"], 2, "--segments"),
    ] {
        let ended = world.kbk(&[&["ls"], args].concat());
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn ranges_of_offsets_are_headed_from_and_end() {
    let world = World::sample();
    let entry = world.entries("orders", 1).remove(2);
    let file = world.path(&entry.key);
    for (args, from, end) in [
        (&["ls", "orders/1"][..], "0", "600"),
        (&["ls", "orders/1", "--segments"], "400", "600"),
        (&["inspect", file.to_str().unwrap(), "--blocks"], "", "600"),
    ] {
        let stdout = world.kbk(args).stdout;
        let heads = stdout.lines().find(|line| line.contains("FROM"));
        let heads: Vec<_> = heads.unwrap().split_whitespace().collect();
        assert_eq!(heads[1..3], ["FROM", "END"], "{stdout}");
        let shown = |cell: &str| stdout.split_whitespace().any(|found| found == cell);
        assert!(shown(end) && (from.is_empty() || shown(from)), "{stdout}");
        assert!(!shown("599"), "{stdout}");
    }
}

#[test]
fn offsets_of_several_partitions_are_mapped_at_once() {
    let world = World::sample();
    world.restore("first");
    let mapped = |source: &str| world.kbk(&["groups", "map", "--json", source, "5"]);
    let partitions = |source: &str| {
        let ended = mapped(source);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let rows = ended.json()["partitions"].as_array().unwrap().clone();
        let numbers = rows.iter().map(|row| row["partition"].as_i64().unwrap());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(partitions("orders/1"), [1]);
    assert_eq!(partitions("ord*/0-1"), [0, 1]);
    assert_eq!(partitions("orders"), [0, 1]);
    for (source, says) in [
        ("orders/0-2", "did not restore orders/2"),
        ("payments/0", "did not restore payments: it restored orders"),
    ] {
        let ended = mapped(source);
        assert_eq!(ended.code, Some(1), "{source}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{source}: {}", ended.stderr);
    }
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

    // Of what is behind the damage, the parts are shown, too.
    let parts = run(&["inspect", file, "--layout"]);
    assert_eq!(parts.code, Some(3));
    assert!(
        parts.stdout.contains("block 0: position ") && parts.stdout.contains("kbk recover"),
        "{}",
        parts.stdout
    );
}

#[test]
fn inspect_shows_every_kind_of_object_of_a_repository() {
    let world = World::sample();
    let local = run(&["inspect", world.path("kbk.json").to_str().unwrap()]);
    assert_eq!(local.code, Some(0), "{}", local.stderr);
    assert!(
        local.stdout.contains("kbk-repository") && local.stdout.contains("repository_id"),
        "{}",
        local.stdout
    );
    let snapshot = world.kbk(&["inspect", "snapshots/00000000000000000001.json", "--json"]);
    assert_eq!(snapshot.code, Some(0), "{}", snapshot.stderr);
    let snapshot = snapshot.json();
    assert_eq!(
        (&snapshot["kind"], &snapshot["format"]),
        (&"sealed_json".into(), &"kbk-snapshot".into())
    );
    assert_eq!(snapshot["parts"][0]["name"], "format");
    let key = world.entries("orders", 0).remove(0).key;
    let segment = world.kbk(&["inspect", &key, "--hexdump"]);
    assert_eq!(segment.code, Some(0), "{}", segment.stderr);
    assert!(
        segment.stdout.contains("00000000  89 4b 53 47 0d 0a 1a 0a"),
        "{}",
        segment.stdout
    );
    assert_eq!(
        world.kbk(&["inspect", &key, "--hexdump", "--json"]).code,
        Some(2)
    );
    let missing = world.kbk(&["inspect", "snapshots/00000000000000000099.json"]);
    assert_eq!((missing.code, &*missing.stdout), (Some(1), ""));
    let letter = world.folder.path().join("letter");
    fs::write(&letter, "dear").unwrap();
    let ended = run(&["inspect", letter.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is not an object"),
        "{}",
        ended.stderr
    );
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
