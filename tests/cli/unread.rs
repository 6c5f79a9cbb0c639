//! What cannot be read of a repository is named, and everything else is read: the same of every command.

use std::fs;
use std::process::Command;

use kbk_format::Segment;
use serde_json::{Value, json};

use crate::program::{Ended, run};
use crate::world::World;

/// A repository in which the index does not say any more which segments `payments` has.
fn without_payments() -> World {
    let world = World::sample();
    let table = world.forged_index().write_segments_apart(Some("payments"));
    world.flip(&table, 40);
    world
}

/// Checks that payments/0 is named as what cannot be read, with all of its offsets.
#[track_caller]
fn names_payments(ended: &Ended, member: &str) {
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    let row = &document[member][0];
    assert_eq!(document[member].as_array().map(Vec::len), Some(1));
    let found = ["name", "topic", "partition", "base_offset", "end_offset"];
    let found = found.map(|name| row[name].clone());
    let expected = [
        json!("payments/0"),
        json!("payments"),
        json!(0),
        json!(0),
        json!(250),
    ];
    assert_eq!(found, expected, "{}", ended.stdout);
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains("index/"), "{reason}");
    assert!(
        ended.stderr.contains("payments/0 offsets 0 to 250"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_table_of_the_index_that_cannot_be_read_hides_only_its_partitions() {
    let (intact, world) = (World::sample(), without_payments());
    let topics = ["orders", "payments"];
    for order in [&[][..], &["--reverse"]] {
        let cat = [&["cat", "--json"], &topics[..], order].concat();
        let ended = world.kbk(&cat);
        names_payments(&ended, "unprinted");
        assert_eq!(
            ended.json()["records"].as_array().map(Vec::len),
            Some(1_200)
        );
        let alone = intact.kbk(&[&["cat", "orders"], order].concat());
        let both = world.kbk(&[&["cat"], &topics[..], order].concat());
        assert_eq!(both.stdout, alone.stdout, "{order:?}");
        let ended = world.kbk(&[&["grep", "--json"], &topics[..], order].concat());
        names_payments(&ended, "unsearched");
        assert_eq!(ended.json()["matched"], 1_200);
    }
    let listed = world.kbk(&["ls", "--segments", "--json"]);
    names_payments(&listed, "unlisted");
    assert_eq!(listed.json()["segments"].as_array().map(Vec::len), Some(6));
    let shown = world.kbk(&["ls", "--segments"]).stdout;
    assert!(
        shown.starts_with("1 part of what is selected could not be listed"),
        "{shown}"
    );
    assert_eq!(world.kbk(&["ls"]).code, Some(0));

    let stats = world.kbk(&["stats", "--json"]);
    assert_eq!(stats.code, Some(3), "{}", stats.stderr);
    assert_eq!(stats.json()["topics"].as_array().map(Vec::len), Some(2));
    assert!(stats.json()["snapshots"][1]["damage"].is_string());

    let copied = world.folder.path().join("copied");
    let from = world.path("").display().to_string();
    let to = copied.to_str().unwrap();
    assert_eq!(run(&["init", "-r", to]).code, Some(0));
    let copy = run(&["copy", "--from", &from, "-r", to, "--json"]);
    assert_eq!(copy.code, Some(3), "{}", copy.stderr);
    let kinds = copy.json()["findings"].clone();
    assert_eq!(kinds[0]["kind"], "damaged_index", "{kinds}");
}

#[test]
fn what_a_table_hides_is_missing_from_an_export() {
    let (intact, world) = (World::sample(), without_payments());
    for format in ["jsonl", "kafka-log", "parquet"] {
        let [whole, out] = [&intact, &world].map(|world| world.folder.path().join(format));
        intact.kbk(&["export", whole.to_str().unwrap(), "-f", format]);
        let export = ["export", out.to_str().unwrap(), "-f", format, "--json"];
        let planned = world.kbk(&[&export[..], &["--dry-run"]].concat());
        let done = world.kbk(&export);
        for ended in [&planned, &done] {
            assert_eq!(ended.code, Some(3), "{format}: {}", ended.stderr);
            let document = ended.json();
            let members = ["kind", "topic", "partition", "offsets"];
            let found = members.map(|name| document["findings"][0][name].clone());
            let offsets = json!({ "base_offset": 0, "end_offset": 250 });
            let expected = [
                json!("damaged_records"),
                json!("payments"),
                json!(0),
                offsets,
            ];
            assert_eq!(found, expected, "{format}");
            assert_eq!(document["complete"], false);
            assert_eq!(document["records"], 1_200);
        }
        assert_eq!(
            planned.json()["findings"],
            done.json()["findings"],
            "{format}"
        );
        let name = if format == "jsonl" {
            "orders-0.jsonl"
        } else {
            "orders-0"
        };
        let files = |folder: &std::path::Path| -> Vec<Vec<u8>> {
            let at = folder.join(name);
            match at.is_dir() {
                false => vec![fs::read(at).unwrap()],
                true => {
                    let entries = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
                    let mut paths: Vec<_> = entries
                        .filter(|it| it.extension().is_some_and(|it| it == "log"))
                        .collect();
                    paths.sort();
                    paths.iter().map(|path| fs::read(path).unwrap()).collect()
                }
            }
        };
        assert_eq!(files(&whole), files(&out), "{format}");
    }
}

#[test]
fn an_export_that_lacks_records_replaces_nothing() {
    let world = World::sample();
    for format in ["jsonl", "kafka-log", "parquet"] {
        let out = world.folder.path().join(format);
        let export = ["export", out.to_str().unwrap(), "-f", format];
        assert_eq!(world.kbk(&export).code, Some(0));
    }
    let table = world.forged_index().write_segments_apart(Some("payments"));
    world.flip(&table, 40);
    for (format, name) in [
        ("jsonl", "payments-0.jsonl"),
        ("kafka-log", "payments-0"),
        ("parquet", "payments-0"),
    ] {
        let out = world.folder.path().join(format);
        let export = ["export", out.to_str().unwrap(), "-f", format, "--overwrite"];
        let written = |path: &std::path::Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = written(&out.join(name));
        for (dry_run, not) in [(&["--dry-run"][..], "would not be"), (&[], "not")] {
            let shown = world.kbk(&[&export[..], dry_run].concat());
            assert_eq!(shown.code, Some(3), "{}", shown.stderr);
            let line = shown.stdout.lines().nth(1).unwrap();
            let says = format!("{not} replaced: 1 partition ({name}), since");
            assert!(line.starts_with(&says), "{line}");
            let ended = world.kbk(&[&export[..], &["--json"], dry_run].concat());
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
            let partitions = ended.json()["partitions"].clone();
            for partition in partitions.as_array().unwrap() {
                let stays = partition["topic"] == "payments";
                assert_eq!(partition["not_replaced"], stays, "{partition}");
                assert_eq!(partition["replaced"], !stays, "{partition}");
            }
        }
        assert_eq!(written(&out.join(name)), before, "{format}");
    }
}

/// Damages the stored bytes of some blocks of the first segment of orders/0; returns the offsets of each.
fn harm_blocks(world: &World, numbers: &[usize]) -> Vec<(i64, i64)> {
    let entry = world.entries("orders", 0)[0].clone();
    let bytes = fs::read(world.path(&entry.key)).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let entries = segment.index().entries();
    assert!(entries.len() > 8, "{}", entries.len());
    let harmed = numbers.iter().map(|number| {
        let block = entries[*number];
        world.flip(
            &entry.key,
            (block.position + u64::from(block.block_length)) as usize - 70,
        );
        (block.base_offset, block.end_offset)
    });
    harmed.collect()
}

#[test]
fn damaged_neighbours_are_one_range_of_offsets() {
    let world = World::sample();
    let blocks = harm_blocks(&world, &[2, 3, 4, 6]);
    let expected = [(blocks[0].0, blocks[2].1), blocks[3]];
    let ranges = |rows: &Value| -> Vec<(i64, i64)> {
        let rows = rows.as_array().unwrap().iter();
        let offset = |row: &Value, name: &str| {
            let of = row.get("offsets").unwrap_or(row);
            of[name].as_i64().unwrap()
        };
        let mut found: Vec<_> = rows
            .map(|row| (offset(row, "base_offset"), offset(row, "end_offset")))
            .collect();
        found.sort_unstable();
        found
    };
    for order in [&[][..], &["--reverse"]] {
        for (command, member) in [("cat", "unprinted"), ("grep", "unsearched")] {
            let ended = world.kbk(&[&[command, "orders/0", "--json"], order].concat());
            assert_eq!(ended.code, Some(3));
            let rows = &ended.json()[member];
            assert_eq!(ranges(rows), expected, "{command} {order:?}: {rows}");
            let joined = rows.as_array().unwrap().iter();
            let mut joined = joined.filter(|row| row["base_offset"] == expected[0].0);
            let reason = joined.next().unwrap()["reason"].as_str().unwrap();
            assert!(
                reason.starts_with("3 parts, of which the first: "),
                "{reason}"
            );
        }
    }
    let out = world.folder.path().join("out");
    let export = [
        "export",
        out.to_str().unwrap(),
        "orders/0",
        "-f",
        "jsonl",
        "--json",
    ];
    assert_eq!(ranges(&world.kbk(&export).json()["findings"]), expected);
    // Another location, so that equal digests of objects do not prove that they are equal.
    let other = world.folder.path().join("other");
    let copied = Command::new("cp")
        .arg("-r")
        .args([world.path(""), other.clone()])
        .status();
    assert!(copied.unwrap().success());
    let other = other.to_str().unwrap();
    let diff = world.kbk(&["diff", "2", "2", "--with", other, "--full", "--json"]);
    let differences = diff.json()["differences"].clone();
    let not_compared = differences.as_array().unwrap().iter();
    let not_compared: Vec<Value> = not_compared
        .filter(|it| it["kind"] == "not_compared")
        .cloned()
        .collect();
    assert_eq!(ranges(&json!(not_compared)), expected, "{differences}");
}
