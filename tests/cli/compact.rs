//! `kbk compact`: what is merged, what is removed by key, what stays, and what the other commands say of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kbk_format::Segment;
use serde_json::{Value, json};

use crate::noise::noise;
use crate::program::{Ended, kbk};
use crate::world::{World, key_of};

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

#[track_caller]
fn compact(world: &World, more: &[&str]) -> Value {
    let args = [&["compact"][..], more, &["--json"]].concat();
    ok(&world.kbk(&args)).json()
}

/// Returns all records of a topic, as `kbk cat` prints them.
fn records(world: &World, topic: &str, more: &[&str]) -> Vec<String> {
    let printed = world.kbk(&[&["cat", topic], more].concat());
    let mut lines: Vec<String> = ok(&printed).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Five keys, over and over.
fn few_keys(offset: i64) -> (Option<Vec<u8>>, Vec<u8>) {
    (Some(key_of(offset % 5)), offset.to_string().into_bytes())
}

/// A world whose topic `extra` has 5 segments of 20 records of 5 keys.
fn keyed() -> World {
    let mut world = World::sample();
    world.content = few_keys;
    for number in 0..5 {
        let rows = (20 * number..20 * (number + 1)).map(|offset| (offset, 1_000 + offset));
        world.backup(&[("extra", 0, vec![rows.collect()])]);
    }
    world
}

#[test]
fn key_filters_are_added_kept_and_removed() {
    let world = World::sample();
    let key = String::from_utf8(key_of(7)).unwrap();
    let found = |world: &World| {
        let found = ok(&world.kbk(&["grep", "orders", "--key", &key]))
            .stdout
            .clone();
        assert!(!found.is_empty());
        found
    };
    let all = found(&world);
    let filters = |world: &World| -> Vec<bool> {
        let entries = world.entries("orders", 0).into_iter();
        entries.map(|entry| entry.key_filter).collect()
    };
    // Merged, so that nothing but the lack of a filter speaks for writing them anew.
    compact(&world, &[]);
    assert_eq!(filters(&world), [false]);
    let planned = compact(&world, &["--dry-run", "--key-filter"]);
    assert_eq!(planned["policy"], "--key-filter");
    let done = compact(&world, &["--key-filter"]);
    assert_eq!(
        (&done["segments"], &planned["segments"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(filters(&world), [true]);
    assert_eq!(compact(&world, &["--key-filter"])["segments"], 0);
    assert_eq!(
        compact(&world, &["--key-filter=10"])["segments"],
        0,
        "as by default"
    );
    assert_eq!(found(&world), all);
    ok(&world.kbk(&["verify", "--full"]));
    // What is merged with others keeps its filter.
    for from in [600, 1_000] {
        let rows = (from..from + 400).map(|at| (at, 1_000 + at));
        world.backup(&[("orders", 0, vec![rows.collect()])]);
    }
    assert_eq!(filters(&world), [true, false, false]);
    assert_eq!(compact(&world, &["--topic", "orders"])["segments"], 3);
    assert_eq!(filters(&world), [true]);
    assert_eq!(
        compact(&world, &["--topic", "orders", "--key-filter=14"])["segments"],
        2
    );
    let segment = world.path(&world.entries("orders", 0)[0].key);
    let shown = ok(&world.kbk(&["inspect", segment.to_str().unwrap(), "--json"])).json();
    assert_eq!(shown["footer"]["key_filter"]["target_bits"], 14);
    ok(&world.kbk(&["verify", "--full"]));
    // The text says what becomes of the filters.
    for (args, says) in [
        (
            &["--key-filter=none", "--dry-run"][..],
            " without key filters",
        ),
        (&["--key-filter=none"], " without key filters, "),
        (
            &["--key-filter=none"],
            "nothing to merge, and no key filter to drop",
        ),
        (&["--key-filter", "--dry-run"], " with key filters"),
    ] {
        let ended = world.kbk(&[&["compact"][..], args].concat());
        let first = ok(&ended).stdout.lines().next().unwrap();
        assert!(first.contains(says), "{args:?}: {first}");
    }
    assert_eq!(filters(&world), [false]);
    assert_eq!(found(&world), all);
    let wrong = world.kbk(&["compact", "--key-filter=21"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("a number from 0 to 20"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn segments_are_merged_and_every_record_stays() {
    let world = World::sample();
    let before = [
        records(&world, "orders", &[]),
        records(&world, "payments", &[]),
    ];
    let keys = world.keys();
    let planned = compact(&world, &["--dry-run"]);
    assert_eq!(world.keys(), keys);
    let ended = world.kbk(&["compact", "--dry-run"]);
    let first = ok(&ended).stdout.lines().next().unwrap();
    assert!(
        first.starts_with("would merge 6 segments with 1,200 records, "),
        "{first}"
    );
    let done = compact(&world, &[]);
    for document in [&planned, &done] {
        let numbers = ["segments", "records", "new_segments", "removed_records"];
        let found = numbers.map(|name| document[name].as_u64().unwrap());
        // The second segment of payments outweighs the first one.
        assert_eq!(found, [6, 1_200, 2, 0]);
    }
    assert_eq!(
        (&done["snapshots"], &planned["snapshots"]),
        (&json!([3]), &json!([]))
    );
    assert_eq!(world.entries("orders", 0).len(), 1);
    let after = [
        records(&world, "orders", &[]),
        records(&world, "payments", &[]),
    ];
    assert_eq!(after, before);
    assert_eq!(records(&world, "orders", &["--snapshot", "1"]), before[0]);
    let verified = ok(&world.kbk(&["verify", "--full", "--snapshot", "all", "--json"])).json();
    assert_eq!(verified["compacted_records"], 0);
    let again = world.kbk(&["compact"]);
    let says = "nothing to merge: segments that are alone, ";
    assert!(ok(&again).stdout.starts_with(says), "{}", again.stdout);
    let listed = ok(&world.kbk(&["snapshots", "--json"])).json();
    let newest = &listed["snapshots"].as_array().unwrap()[2];
    assert_eq!(newest["maintenance"], "compact", "{newest}");
    // What the old ones took is free once they are forgotten and pruned.
    ok(&world.kbk(&["forget", "1", "2", "--yes"]));
    for _ in 0..2 {
        ok(&world.kbk(&["prune", "--grace", "0s"]));
    }
    ok(&world.kbk(&["verify", "--full"]));
    assert_eq!(
        world
            .keys()
            .iter()
            .filter(|key| key.ends_with(".kseg"))
            .count(),
        4
    );
    // A backup continues.
    world.backup(&[("payments", 0, vec![vec![(250, 1), (251, 2)]])]);
    ok(&world.kbk(&["verify", "--full"]));
}

#[test]
fn what_is_compressed_as_asked_for_is_not_compressed_again() {
    let world = World::sample();
    let done = compact(&world, &["--compression", "zstd:12", "--topic", "orders"]);
    assert_eq!(done["segments"], 6);
    let again = compact(&world, &["--compression", "zstd:12", "--topic", "orders"]);
    assert_eq!(
        (&again["segments"], &again["snapshots"]),
        (&json!(0), &json!([]))
    );
    let other = compact(&world, &["--compression", "lz4", "--topic", "orders"]);
    assert_eq!(
        (&other["segments"], &other["new_segments"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(compact(&world, &["--topic", "orders"])["segments"], 0);
}

#[test]
fn what_is_merged_keeps_the_compression_of_its_segments() {
    let world = keyed();
    let settings = |world: &World| -> Vec<String> {
        let entries = world.entries("extra", 0).into_iter();
        let stated = entries.map(|entry| {
            let bytes = fs::read(world.path(&entry.key)).unwrap();
            let segment = Segment::open_whole(&bytes).unwrap();
            segment.header().compression.clone().unwrap()
        });
        stated.collect()
    };
    compact(&world, &["--compression", "zstd:12", "--topic", "extra"]);
    assert_eq!(settings(&world), ["zstd:12"]);
    let keep = ["--topic", "extra", "--keep", "latest-per-key", "--yes"];
    compact(&world, &[&keep[..], &["--allow-uncompacted"]].concat());
    assert_eq!(settings(&world), ["zstd:12"]);
    // One that does not state the same is merged with it.
    let rows = (100..200).map(|offset| (offset, 1_000 + offset));
    world.backup(&[("extra", 0, vec![rows.collect()])]);
    compact(&world, &[&keep[..], &["--allow-uncompacted"]].concat());
    assert_eq!(settings(&world), ["zstd:3"]);
}

#[test]
fn young_segments_stay() {
    let world = World::sample();
    // All records are of 1970.
    assert_eq!(
        compact(&world, &["--older-than", "1000y", "--dry-run"])["segments"],
        0
    );
    assert_eq!(
        compact(&world, &["--older-than", "1y", "--dry-run"])["segments"],
        6
    );
    for args in [
        &["compact", "--older-than", "0d"][..],
        &["compact", "--keep", "everything"],
        &["compact", "--keep-tombstones", "1d"],
        &["compact", "--compression", "zstd:20"],
        &["compact", "--segment-size", "1k"],
    ] {
        assert_eq!(world.kbk(args).code, Some(2), "{args:?}");
    }
}

#[test]
fn the_latest_record_per_key_is_kept_where_that_is_asked_for() {
    let world = keyed();
    let before = records(&world, "extra", &[]);
    let keep = ["--topic", "extra", "--keep", "latest-per-key"];
    let refused = world.kbk(&[&["compact"], &keep[..]].concat());
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("no cleanup.policy=compact"),
        "{}",
        refused.stderr
    );
    let left_out = compact(&world, &["--keep", "latest-per-key"]);
    assert_eq!(
        left_out["uncompacted_topics"],
        json!(["extra", "orders", "payments"])
    );
    let keep = [&keep[..], &["--allow-uncompacted"]].concat();
    let asked = world.kbk(&[&["compact"], &keep[..]].concat());
    assert_eq!(asked.code, Some(2), "there is no terminal");
    assert!(
        asked.stderr.contains("this removes 95 records"),
        "{}",
        asked.stderr
    );
    assert_eq!(records(&world, "extra", &[]), before);
    let done = compact(&world, &[&keep[..], &["--yes"]].concat());
    assert_eq!(done["removed_records"], 95);
    assert_eq!(done["partitions"][0]["key_passes"], 1);
    let left = records(&world, "extra", &[]);
    assert_eq!(left, before[before.len() - 5..]);
    assert_eq!(records(&world, "extra", &["--snapshot", "7"]), before);
    let verified = world.kbk(&["verify", "--full"]);
    let said = "95 records had been removed by `kbk compact`: later ones had the same keys, or they were old tombstones";
    assert!(ok(&verified).stdout.contains(said), "{}", verified.stdout);
    let listed = world.kbk(&["snapshots"]);
    let said =
        "snapshot 8 is of `kbk compact`, and holds the backup of snapshot 7 without 95 records";
    assert!(ok(&listed).stdout.contains(said), "{}", listed.stdout);
    assert!(
        listed.stdout.contains("\n8 snapshots\n"),
        "{}",
        listed.stdout
    );
    let listed = ok(&world.kbk(&["snapshots", "--json"])).json();
    let newest = &listed["snapshots"][7];
    assert_eq!(newest["removed_records"], 95, "{newest}");
    assert_eq!(newest["new_records"], 0, "{newest}");
    assert_eq!(newest["new_bytes"], Value::Null, "{newest}");
    let row = ok(&world.kbk(&["ls", "extra", "--json"])).json()["partitions"][0].clone();
    assert_eq!(row["compacted"]["records"], 95, "{row}");
    assert_eq!(row["compacted"]["snapshot"], 8, "{row}");
    let again = compact(&world, &[&keep[..], &["--yes"]].concat());
    assert_eq!(again["segments"], 0);
}

#[test]
fn a_damaged_segment_stays_and_the_exit_code_says_so() {
    let world = World::sample();
    let damaged = world.entries("orders", 1)[1].clone();
    world.flip(&damaged.key, 400);
    let ended = world.kbk(&["compact", "--topic", "orders", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    let finding = &document["findings"][0];
    assert_eq!(finding["kind"], "damaged_segment");
    assert_eq!(finding["key"].as_str(), Some(&*damaged.key));
    assert_eq!(
        finding["offsets"],
        json!({"base_offset": 200, "end_offset": 400})
    );
    assert_eq!(document["segments"], 3, "those of the other partition");
    assert_eq!(world.entries("orders", 1).len(), 3);
    let ended = world.kbk(&["compact", "--topic", "orders"]);
    let first = ended.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "nothing was merged, and damaged segments stay as they are"
    );
    assert!(
        ended.stdout.contains("offsets 200 to 400"),
        "{}",
        ended.stdout
    );
}

/// Kills compactions at moments that differ, and compares what is left with what there was. `KBK_SOAK` takes a gigabyte and more kills.
#[test]
fn killed_at_any_moment_nothing_is_lost() {
    let soak = std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0");
    let (rows_per_segment, segments, kills) = match soak {
        true => (40_000, 250, 20),
        false => (4_000, 12, 6),
    };
    let made = || {
        let mut world = World::with_blocks(64 << 10);
        world.content = |offset| (Some(key_of(offset)), noise(offset, 100));
        let all: Vec<_> = (0..segments)
            .map(|number| {
                let rows = number * rows_per_segment..(number + 1) * rows_per_segment;
                rows.map(|offset| (offset, 1_000 + offset)).collect()
            })
            .collect();
        world.backup(&[("orders", 0, all)]);
        world
    };
    let mut world = made();
    let sums = |world: &World| {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let mut digest = 0_u128;
        for entry in world.entries("orders", 0) {
            *sums.entry("records").or_default() += entry.records;
            digest = digest.wrapping_add(entry.content().unwrap());
        }
        (sums, digest)
    };
    let before = sums(&world);
    let args = [
        "compact",
        "--compression",
        "zstd:9",
        "--segment-size",
        "2MiB",
    ];
    let began = Instant::now();
    compact(&world, &args[1..]);
    let mut whole = began.elapsed();
    world = made();
    let (mut left, mut elevenths) = (kills, (1..).map(|kill| kill * 7 % 11));
    while left > 0 {
        let moment = whole * elevenths.next().unwrap() / 11;
        let mut command = kbk(&args);
        command.env("KBK_REPO", world.path(""));
        let mut running = command.spawn().unwrap();
        sleep(moment);
        running.kill().unwrap();
        let was_killed = running.wait().unwrap().code().is_none();
        ok(&world.kbk(&["verify"]));
        assert_eq!(sums(&world), before, "after {moment:?} of {whole:?}");
        if was_killed {
            left -= 1;
        } else {
            // It ended before it was killed: this round does not count, and another repository is to be compacted.
            whole = moment;
            world = made();
        }
    }
    let done = compact(&world, &args[1..]);
    assert!(done["findings"].as_array().unwrap().is_empty());
    ok(&world.kbk(&["verify", "--full", "--snapshot", "all"]));
    assert_eq!(sums(&world), before);
}

/// Runs a command, and returns its document and its peak of resident memory in bytes.
fn measured(mut command: Command) -> (Value, u64) {
    let output = tempfile::tempfile().unwrap();
    command.stdout(output.try_clone().unwrap());
    let mut running = command.spawn().unwrap();
    let status = format!("/proc/{}/status", running.id());
    let mut peak = 0;
    // A process that has ended has no memory any more, so it is asked while it runs.
    while running.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let high_water_mark = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        let kib = high_water_mark.map_or(0, |kib| kib.trim().parse::<u64>().unwrap());
        peak = peak.max(kib << 10);
        sleep(Duration::from_millis(2));
    }
    assert!(running.wait().unwrap().success());
    let mut text = String::new();
    let mut output = output;
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    (serde_json::from_str(&text).unwrap(), peak)
}

/// The table takes 48 bytes for a slot, of which three of four are used: what `--key-memory` does not give is not taken.
#[test]
fn key_memory_bounds_what_keys_take() {
    let keys = 300_000;
    let mut world = World::with_blocks(256 << 10);
    world.content = |offset| (Some(key_of(offset)), Vec::new());
    let rows = |from: i64, to: i64| (from..to).map(|offset| (offset, offset)).collect();
    let third = keys / 3;
    let segments = vec![
        rows(0, third),
        rows(third, 2 * third),
        rows(2 * third, keys),
    ];
    world.backup(&[("orders", 0, segments)]);
    let compacting = |memory: &str| {
        let args = [
            "compact",
            "--json",
            "--keep",
            "latest-per-key",
            "--allow-uncompacted",
            "--dry-run",
            "--key-memory",
            memory,
        ];
        let mut command = kbk(&args);
        command.env("KBK_REPO", world.path(""));
        let (document, peak) = measured(command);
        let passes = document["partitions"][0]["key_passes"].as_u64();
        (passes.unwrap_or_default(), peak)
    };
    let (many, little) = compacting("1MiB");
    let (few, more) = compacting("9MiB");
    let (one, all) = compacting("64MiB");
    assert!(
        many >= 12 && few < many / 4 && one == 1,
        "{many}, {few} and {one} passes"
    );
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "1 MiB for keys: {} MiB; 9 MiB: {} MiB; all: {} MiB",
        mib(little),
        mib(more),
        mib(all)
    );
    // The table of all of these keys has 400,000 slots of 48 bytes: 18 MiB.
    // The bounds above leave no room for a second copy of a table.
    assert!(
        all > little + (12 << 20) && all < little + (24 << 20),
        "{little} {all}"
    );
    assert!(
        more > little + (4 << 20) && more < little + (12 << 20),
        "{little} {more}"
    );
}
