//! What a disk does not return is named, and everything else is read: by the commands that print, search, compare and export records.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use kbk_format::Segment;
use serde_json::Value;
use tempfile::TempDir;

use crate::failing_disk::{FailingDisk, Fault};
use crate::json_page::check_document;
use crate::mounted::kbk;
use crate::world::World;

/// A repository of `t`: two partitions of three segments with 4,000 records each, in many blocks.
fn world() -> World {
    let world = World::new();
    let rows = |from: i64| (from..from + 4_000).map(|at| (at, 1_000 + at)).collect();
    let segments: Vec<Vec<_>> = [0, 4_000, 8_000].map(rows).into();
    world.backup(&[("t", 0, segments.clone()), ("t", 1, segments)]);
    world
}

/// What is wrong with the second segment of t/0, and which of its offsets cannot be read.
fn faults(world: &World) -> [(Fault, BTreeSet<i64>); 2] {
    let bytes = fs::read(world.path(&key(world))).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let entries = segment.index().entries();
    let middle = &entries[entries.len() / 2];
    let bad = middle.position..middle.end();
    assert!(bad.end < middle.position + 4096, "one sector, or two");
    let sectors = bad.start / 4096 * 4096..bad.end.next_multiple_of(4096);
    let lost = entries.iter().filter(|entry| {
        let is_hit = entry.position < sectors.end && sectors.start < entry.end();
        assert!(!is_hit || entry.end() < segment_footer(&segment, bytes.len()));
        is_hit
    });
    let lost: BTreeSet<i64> = lost
        .flat_map(|entry| entry.base_offset..entry.end_offset)
        .collect();
    assert!((1..2_000).contains(&lost.len()), "{}", lost.len());
    [
        (Fault::Denied, (4_000..8_000).collect()),
        (Fault::BadSectors(vec![bad]), lost),
    ]
}

/// Returns where the sectors of the footer begin.
fn segment_footer(segment: &Segment, size: usize) -> u64 {
    let last = segment.index().entries().last().unwrap();
    assert!(last.end() < size as u64);
    last.end() / 4096 * 4096
}

fn key(world: &World) -> String {
    world.entries("t", 0)[1].key.clone()
}

/// Runs the program on a repository, and returns its exit code, its output, and what it said.
fn run(repository: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command: Command = kbk(args);
    command.env("KBK_REPO", repository);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = status.code();
    let (stdout, stderr) = (text(stdout), text(stderr));
    (
        code.unwrap_or_else(|| panic!("{status}: {stderr}")),
        stdout,
        stderr,
    )
}

fn document(text: &str) -> Value {
    let document = serde_json::from_str(text).unwrap();
    check_document(&document);
    document
}

/// Returns the offsets that rows of a report state.
fn stated(rows: &Value) -> BTreeSet<i64> {
    let rows = rows.as_array().unwrap().iter();
    let at = |row: &Value, name: &str| row[name].as_i64().unwrap();
    rows.flat_map(|row| at(row, "base_offset")..at(row, "end_offset"))
        .collect()
}

fn without(lost: &BTreeSet<i64>) -> Vec<i64> {
    (0..12_000).filter(|at| !lost.contains(at)).collect()
}

#[test]
fn cat_and_grep_name_what_a_disk_does_not_return_and_print_the_rest() {
    let world = world();
    for (fault, lost) in faults(&world) {
        let disk = FailingDisk::of(&world.path(""));
        disk.fail(&key(&world), fault.clone());
        let named = match fault {
            Fault::Denied => "Permission denied",
            Fault::BadSectors(_) => "Input/output error",
        };
        for command in ["cat", "grep"] {
            for order in [&[][..], &["--reverse"]] {
                // All of a block is needed for the value.
                let args = [&[command, "t", "-f", "%p %o %s\\n"], order].concat();
                let (code, stdout, stderr) = run(disk.path(), &args);
                assert_eq!(code, 3, "{args:?}: {stderr}");
                let place = |line: &str| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
                let mut found: Vec<String> = stdout.lines().map(place).collect();
                if !order.is_empty() {
                    found.reverse();
                }
                let of = |partition, at: &i64| format!("{partition} {at}");
                let first = without(&lost);
                let expected = first.iter().map(|at| of(0, at));
                let expected = expected.chain((0..12_000).map(|at| of(1, &at)));
                assert!(
                    found.iter().cloned().eq(expected),
                    "{args:?}: {}",
                    found.len()
                );
                let said = [&key(&world), named, "t/0"];
                assert!(
                    said.iter().all(|said| stderr.contains(*said)),
                    "{args:?}: {stderr}"
                );
            }
            let member = match command {
                "cat" => "unprinted",
                _ => "unsearched",
            };
            let (code, stdout, _) = run(disk.path(), &[command, "t", "--json"]);
            let document = document(&stdout);
            assert_eq!((code, &document["verdict"]), (3, &"findings".into()));
            assert_eq!(stated(&document[member]), lost, "{command}");
            // Where it is not needed, it is not missing.
            let before = [command, "t", "--to-offset", "4000", "--json"];
            let (code, stdout, stderr) = run(disk.path(), &before);
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(self::document(&stdout)[member], serde_json::json!([]));
        }
        let last = lost.last().unwrap();
        let (code, stdout, _) = run(
            disk.path(),
            &["cat", "t/0", "--offset", "4000", "-n", "4000"],
        );
        let some = without(&lost).into_iter().filter(|at| *at >= 4_000);
        let expected: Vec<i64> = some.take(4_000).collect();
        assert_eq!(code, 3, "the 4,000 records are not the next ones");
        let offset = |line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_i64();
        assert!(stdout.lines().filter_map(offset).eq(expected), "{last}");
    }
}

#[test]
fn an_export_names_what_a_disk_does_not_return_and_has_the_rest() {
    let world = world();
    for (fault, lost) in faults(&world) {
        let disk = FailingDisk::of(&world.path(""));
        disk.fail(&key(&world), fault);
        for format in ["jsonl", "kafka-log", "parquet"] {
            let out = TempDir::new().unwrap();
            let out = out.path().to_str().unwrap();
            let args = ["export", out, "t", "--format", format, "--json"];
            let dry_run = [&args[..], &["--dry-run"]].concat();
            for args in [&dry_run[..], &args] {
                let (code, stdout, stderr) = run(disk.path(), args);
                let document = document(&stdout);
                let is_dry = document["dry_run"] == true;
                if is_dry && lost.len() < 4_000 {
                    // It reads no blocks, and says so.
                    assert_eq!((code, &document["unread_records"]), (0, &24_000.into()));
                    continue;
                }
                assert_eq!(code, 3, "{args:?}: {stderr}");
                assert_eq!(document["complete"], false, "{args:?}");
                assert_eq!(document["records"], 24_000 - lost.len(), "{args:?}");
                let findings = document["findings"].as_array().unwrap();
                let unreadable = findings
                    .iter()
                    .filter(|it| it["kind"] == "unreadable_records");
                let offsets = unreadable.map(|it| it["offsets"].clone());
                assert_eq!(stated(&offsets.collect()), lost, "{args:?}");
            }
            let (code, stdout, _) = run(disk.path(), &[&args[..5], &["--overwrite"]].concat());
            let first = stdout.lines().next().unwrap().to_owned();
            assert_eq!(code, 3);
            assert!(first.contains("the export is not whole"), "{first}");
            if format == "jsonl" {
                let lines = fs::read_to_string(Path::new(out).join("t-0.jsonl")).unwrap();
                let offsets = lines.lines().map(|line| {
                    let line: Value = serde_json::from_str(line).unwrap();
                    line["offset"].as_i64().unwrap()
                });
                assert!(offsets.eq(without(&lost)));
            }
        }
    }
}

#[test]
fn a_diff_says_what_a_disk_does_not_return_of_either_side() {
    let world = world();
    let other = self::world();
    for (fault, lost) in faults(&world) {
        let disk = FailingDisk::of(&world.path(""));
        disk.fail(&key(&world), fault);
        let (broken, intact) = (disk.path().to_str().unwrap(), other.path(""));
        let intact = intact.to_str().unwrap();
        for (a, b, side) in [(broken, intact, "A"), (intact, broken, "B")] {
            let (code, stdout, stderr) = run(
                disk.path(),
                &["diff", "-r", a, "--with", b, "--full", "--json"],
            );
            assert_eq!(code, 3, "{stderr}");
            let document = document(&stdout);
            let differences = document["differences"].as_array().unwrap();
            let rows: Vec<&Value> = differences
                .iter()
                .filter(|it| it["kind"] == "not_compared")
                .collect();
            assert!(rows.iter().all(|row| row["side"] == side), "{rows:#?}");
            let offsets: Vec<Value> = rows.iter().map(|it| it["offsets"].clone()).collect();
            assert_eq!(stated(&offsets.into()), lost);
            let (code, stdout, _) = run(disk.path(), &["diff", "-r", a, "--with", b, "--full"]);
            let first = stdout.lines().next().unwrap();
            assert_eq!(code, 3);
            assert!(first.contains("could not be compared"), "{first}");
        }
    }
}

/// Where nothing can be read, nothing is known of any object.
#[test]
fn a_disk_that_returns_nothing_ends_the_command() {
    let world = world();
    let disk = FailingDisk::of(&world.path(""));
    disk.fail(&key(&world), Fault::Denied);
    // The object's error is the same, and the repository's identity cannot be read either.
    disk.fail("kbk.json", Fault::Denied);
    let (code, stdout, stderr) = run(disk.path(), &["cat", "t"]);
    assert_eq!((code, &*stdout), (1, ""), "{stderr}");
}

/// A program that maps the file is killed at the bad sector.
#[test]
fn a_file_on_a_failing_disk_is_recovered_inspected_and_verified_past_its_bad_sectors() {
    let world = world();
    let key = key(&world);
    let bytes = fs::read(world.path(&key)).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let entries = segment.index().entries();
    let footer = segment_footer(&segment, bytes.len());
    let middle = entries[entries.len() / 2].position;
    let one = (middle, middle + 1);
    for bad in [&[(0, 1)][..], &[one], &[one, (footer, bytes.len() as u64)]] {
        let bad: Vec<_> = bad.iter().map(|(start, end)| *start..*end).collect();
        let disk = FailingDisk::of(&world.path(""));
        disk.fail(&key, Fault::BadSectors(bad.clone()));
        let file = disk.path().join(&key);
        let file = file.to_str().unwrap();
        let is_lost = |position: u64, end: u64| {
            let mut bad = bad.iter();
            bad.any(|bad| {
                position < bad.end.next_multiple_of(4096) && bad.start / 4096 * 4096 < end
            })
        };
        let lost: BTreeSet<i64> = entries
            .iter()
            .filter(|entry| is_lost(entry.position, entry.end()))
            .flat_map(|entry| entry.base_offset..entry.end_offset)
            .collect();
        let out = TempDir::new().unwrap();
        let new = out.path().join("new.kseg");
        let new = new.to_str().unwrap();

        let args = ["recover", file, "-o", new, "--json"];
        let (code, stdout, stderr) = run(disk.path(), &args);
        assert_eq!(code, 3, "{stderr}");
        let report = document(&stdout);
        // Without the footer, nothing says how far it reached.
        let end = report["end"]["offset"].as_i64().unwrap();
        assert_eq!(report["end"]["is_proved"] == true, end == 8_000, "{bad:?}");
        let stated_lost: BTreeSet<i64> = lost.iter().copied().filter(|it| *it < end).collect();
        assert_eq!(stated(&report["losses"]), stated_lost, "{bad:?}");
        let unreadable = report["files"][0]["unreadable"].as_array().unwrap();
        assert_eq!(unreadable.len(), bad.len(), "{unreadable:#?}");
        for (row, bad) in unreadable.iter().zip(&bad) {
            let position = row["position"].as_u64().unwrap();
            assert_eq!(position, bad.start / 4096 * 4096);
            let end = bad.end.next_multiple_of(4096).min(bytes.len() as u64);
            assert_eq!(row["bytes"].as_u64().unwrap(), end - position);
            assert!(
                row["reason"]
                    .as_str()
                    .unwrap()
                    .contains("Input/output error")
            );
        }
        let (code, stdout, _) = run(disk.path(), &["cat", new, "-f", "%o\\n"]);
        assert_eq!(code, 0);
        let expected: Vec<String> = (4_000..8_000)
            .filter(|at| !lost.contains(at))
            .map(|at| at.to_string())
            .collect();
        assert!(stdout.lines().eq(&expected), "{bad:?}");
        fs::remove_file(new).unwrap();
        let (_, stdout, _) = run(disk.path(), &args[..4]);
        let second = stdout.lines().nth(1).unwrap();
        assert!(second.contains("Input/output error"), "{stdout}");

        let (code, stdout, stderr) = run(disk.path(), &["inspect", file, "--json"]);
        assert_eq!(code, 3, "{stderr}");
        let problems = document(&stdout)["problems"].clone();
        assert_eq!(problems[0]["what"], "bytes that cannot be read");
        let (code, stdout, stderr) = run(disk.path(), &["inspect", file, "--hexdump"]);
        assert_eq!(code, 3, "{stderr}");
        assert!(stdout.contains("cannot be read: Input/output error"));

        let (code, stdout, stderr) = run(disk.path(), &["verify", file, "--json"]);
        assert_eq!(code, 3, "{stderr}");
        let findings = document(&stdout)["findings"].as_array().unwrap().clone();
        assert!(
            findings.iter().any(|it| it["kind"] == "unreadable"),
            "{findings:#?}"
        );
    }
    let disk = FailingDisk::of(&world.path(""));
    let all = std::iter::once(0..bytes.len() as u64);
    disk.fail(&key, Fault::BadSectors(all.collect()));
    let file = disk.path().join(&key);
    let file = file.to_str().unwrap();
    for args in [
        &["recover", file, "-o", "new.kseg", "--dry-run"][..],
        &["inspect", file],
    ] {
        let (code, _, stderr) = run(disk.path(), args);
        assert_eq!(code, 1, "{args:?}: {stderr}");
        assert!(stderr.contains("Input/output error"), "{stderr}");
    }
}
