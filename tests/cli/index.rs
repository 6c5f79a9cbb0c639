//! `kbk index`: what is computed, what stays, and what the other commands say before and after.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use kbk_format::Segment;
use kbk_format::repo::SegmentEntry;
use serde_json::{Value, json};

use crate::noise::noise;
use crate::program::{Ended, kbk};
use crate::world::World;
use crate::world::as_batches::SegmentKind;

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

fn not_computed() -> World {
    World::new()
        .of_kind(SegmentKind::NotComputed)
        .with_samples()
}

fn index(world: &World, more: &[&str]) -> Value {
    let args = [&["index"][..], more, &["--json"]].concat();
    ok(&world.kbk(&args)).json()
}

fn records(world: &World, topic: &str) -> String {
    ok(&world.kbk(&["cat", topic])).stdout.clone()
}

/// The batches of each block of a segment.
fn batches(world: &World, key: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(world.path(key)).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let mut decoder = kbk_format::BlockDecoder::new();
    let blocks = 0..segment.index().entries().len();
    let stored = &bytes[segment.file_header_length() as usize..];
    let of_block = |block: kbk_format::Block<'_>| -> Vec<u8> {
        let batches = block.batches(&mut decoder).unwrap().unwrap();
        batches
            .flat_map(|it| it.unwrap().bytes().to_vec())
            .collect()
    };
    let blocks = segment.blocks(blocks, stored).map(Result::unwrap);
    blocks.map(of_block).collect()
}

#[test]
fn everything_is_computed_by_one_commit_and_the_batches_stay_as_they_are() {
    let world = not_computed();
    let before = world.entries("orders", 0);
    assert!(before.iter().all(|entry| !entry.is_computed()));
    let shown = [records(&world, "orders"), records(&world, "payments")];
    let columns = World::new().of_kind(SegmentKind::Columns).with_samples();
    assert_eq!(shown[0], records(&columns, "orders"));

    let keys = world.keys();
    let planned = index(&world, &["--dry-run"]);
    assert_eq!(world.keys(), keys);
    let done = index(&world, &[]);
    for document in [&planned, &done] {
        let numbers = ["segments", "records"].map(|name| document[name].as_u64().unwrap());
        assert_eq!(numbers, [8, 1_450]);
    }
    assert_eq!(
        (&planned["snapshots"], &planned["new_bytes"]),
        (&json!([]), &json!(null))
    );
    assert_eq!(done["snapshots"], json!([3]));

    let after = world.entries("orders", 0);
    for (old, new) in before.iter().zip(&after) {
        assert!(new.is_computed() && new.rendered.is_some() && new.whole_lines.is_some());
        assert_eq!(
            (old.base_offset, old.end_offset),
            (new.base_offset, new.end_offset)
        );
        assert_eq!(batches(&world, &old.key), batches(&world, &new.key));
    }
    // The digests are those of the same records as columns.
    let digests = |world: &World| -> Vec<_> {
        let entries = world.entries("orders", 0).into_iter();
        entries.map(|it| (it.content_digest, it.rendered)).collect()
    };
    assert_eq!(digests(&world), digests(&columns));
    assert_eq!(
        [records(&world, "orders"), records(&world, "payments")],
        shown
    );
    let verified = ok(&world.kbk(&["verify", "--full", "--json"])).json();
    assert_eq!(verified["not_computed_segments"], 0);
    let listed = ok(&world.kbk(&["snapshots", "--json"])).json();
    assert_eq!(listed["snapshots"][2]["maintenance"], "index");

    let again = world.kbk(&["index"]);
    let says = "nothing to compute: every segment has its numbers";
    assert!(ok(&again).stdout.starts_with(says), "{}", again.stdout);
    // A backup continues.
    world.backup(&[("payments", 0, vec![vec![(250, 1), (251, 2)]])]);
    ok(&world.kbk(&["verify", "--full"]));
    assert_eq!(index(&world, &["--topic", "orders"])["segments"], 0);
    assert_eq!(index(&world, &[])["segments"], 1);
}

#[test]
fn what_is_not_computed_is_said_and_never_shown_as_a_number() {
    let world = not_computed();
    let verified = ok(&world.kbk(&["verify", "--full"])).stdout.clone();
    let says =
        "digests of 8 segments that are not computed, whose batches have checksums of their own";
    assert!(verified.contains(says), "{verified}");
    let verified = ok(&world.kbk(&["verify", "--full", "--json"])).json();
    assert_eq!(verified["not_computed_segments"], 8);

    let listed = ok(&world.kbk(&["ls", "--segments", "--json"])).json();
    let segment = &listed["segments"][0];
    for name in [
        "min_timestamp",
        "min_known_timestamp",
        "content_digest",
        "rendered",
        "whole_lines",
    ] {
        assert_eq!(segment[name], json!(null), "{name}");
    }
    assert_eq!(segment["max_timestamp"], 1_000 + 199 * 10);
    let topics = ok(&world.kbk(&["ls", "--json"])).json();
    assert_eq!(topics["topics"][0]["min_timestamp"], json!(null));
    assert_eq!(topics["topics"][0]["records"], 1_200);
    let listed = ok(&world.kbk(&["ls"])).stdout.clone();
    assert!(listed.contains("unknown"), "{listed}");

    let path = world.path(&world.entries("orders", 0)[0].key);
    let path = path.to_str().unwrap();
    let inspected = ok(&world.kbk(&["inspect", path, "--json"])).json();
    let footer = &inspected["footer"];
    assert_eq!(
        (&footer["computed"], &footer["record_count"]),
        (&json!(false), &json!(200))
    );
    for name in [
        "tombstone_count",
        "null_key_count",
        "key_bytes",
        "content_digest",
        "min_timestamp",
        "first_offset",
    ] {
        assert_eq!(footer[name], json!(null), "{name}");
    }
    let inspected = ok(&world.kbk(&["inspect", path])).stdout.clone();
    assert!(inspected.contains("not computed"), "{inspected}");
    assert!(!inspected.contains("0 tombstones"), "{inspected}");
    let file = ok(&world.kbk(&["verify", path, "--full"])).stdout.clone();
    assert!(
        file.contains("digests of 1 segment that are not computed"),
        "{file}"
    );
}

#[test]
fn compact_turns_batches_into_columns_with_all_numbers() {
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        let world = World::new().of_kind(kind).with_samples();
        let shown = [records(&world, "orders"), records(&world, "payments")];
        let planned = ok(&world.kbk(&["compact", "--dry-run", "--json"])).json();
        let done = ok(&world.kbk(&["compact", "--json"])).json();
        assert_eq!(planned["segments"], done["segments"], "{kind:?}");
        // Large or alone: all of them.
        assert_eq!(done["segments"], 8, "{kind:?}");
        for topic in ["orders", "payments"] {
            for entry in world.entries(topic, 0) {
                assert!(entry.is_computed() && !entry.batches, "{kind:?} {topic}");
            }
        }
        assert_eq!(
            [records(&world, "orders"), records(&world, "payments")],
            shown
        );
        ok(&world.kbk(&["verify", "--full"]));
        let again = ok(&world.kbk(&["compact", "--json"])).json();
        assert_eq!(again["segments"], 0, "{kind:?}");
    }
}

#[test]
fn a_damaged_segment_stays_and_is_named() {
    let world = not_computed();
    let entry = world.entries("orders", 1)[1].clone();
    // In the middle of the first block's batches.
    world.flip(&entry.key, 500);
    let ended = world.kbk(&["index", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["segments"], 7);
    assert_eq!(document["findings"][0]["key"], json!(entry.key));
    assert_eq!(world.entries("orders", 1)[1], entry);
    let ended = world.kbk(&["index"]);
    assert_eq!(ended.code, Some(3));
    let first = ended.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "nothing was computed, and damaged segments stay as they are"
    );
    // What is left of it has all numbers once it is recovered.
    let recovered = world.kbk(&["recover", "--yes", "--json"]);
    assert_eq!(recovered.code, Some(3), "{}", recovered.stderr);
    assert!(
        world
            .entries("orders", 1)
            .iter()
            .all(|entry| entry.is_computed())
    );
}

#[test]
fn an_empty_repository_has_nothing_to_compute() {
    let world = World::new();
    assert_eq!(index(&world, &[])["segments"], 0);
}

/// Kills runs at moments that differ: whenever that is, the repository verifies and has every record, and the last run ends what they began.
#[test]
fn killed_at_any_moment_nothing_is_lost_and_the_next_one_does_the_rest() {
    let made = || {
        let mut world = World::with_blocks(64 << 10).of_kind(SegmentKind::NotComputed);
        world.content = |offset| (None, noise(offset, 100));
        let rows = |number: i64| {
            let rows = number * 3_000..(number + 1) * 3_000;
            rows.map(|it| (it, it)).collect::<Vec<_>>()
        };
        let segments: Vec<_> = (0..8).map(rows).collect();
        world.backup(&[("orders", 0, segments.clone()), ("orders", 1, segments)]);
        world
    };
    let mut world = made();
    let shown = records(&world, "orders");
    let computed = |world: &World| {
        let entries = [0, 1]
            .into_iter()
            .flat_map(|it| world.entries("orders", it));
        entries.filter(SegmentEntry::is_computed).count()
    };
    assert_eq!(computed(&world), 0);
    let begun = Instant::now();
    index(&world, &["--dry-run"]);
    // Whatever a dry run takes, it takes before it writes; writing takes longer than that.
    let mut start = begun.elapsed();
    let (mut kills, mut seed) = (0, 0x9E37_79B9_u32);
    while kills < 10 && computed(&world) < 16 {
        let mut command = kbk(&["index"]);
        command.env("KBK_REPO", world.path(""));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sleep(start / 2 + start * (seed >> 24) / 64);
        running.kill().unwrap();
        let was_killed = running.wait().unwrap().code().is_none();
        kills += u32::from(was_killed);
        let verified = world.kbk(&["verify", "--full", "--json"]);
        let verified = ok(&verified).json();
        assert_eq!(verified["records"], 48_000, "kill {kills}");
        assert_eq!(records(&world, "orders"), shown, "kill {kills}");
        if kills == 0 {
            // It has done everything before it was to be killed: from the start, and sooner.
            world = made();
            start /= 2;
        }
    }
    index(&world, &[]);
    assert_eq!(computed(&world), 16);
    assert_eq!(records(&world, "orders"), shown);
    let document = ok(&world.kbk(&["verify", "--depth", "hash", "--json"])).json();
    assert_eq!(document["records"], 48_000);
    let again = index(&world, &[]);
    assert_eq!(
        (&again["segments"], &again["snapshots"]),
        (&json!(0), &json!([]))
    );
}
