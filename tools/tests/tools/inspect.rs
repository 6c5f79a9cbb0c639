//! Inspects one file: intact, damaged, and not a segment at all.

use std::fs;
use std::path::{Path, PathBuf};

use kbk_tools::inspect::{InspectError, Inspection, ObjectKind, inspect};
use serde_json::Value;

use crate::support::{World, place, segment};

fn written(harm: impl FnOnce(&mut Vec<u8>)) -> Result<Inspection, InspectError> {
    let world = World::new();
    let rows: Vec<_> = (100..400).map(|offset| (offset, offset * 2)).collect();
    let (_, mut bytes) = segment(&place("orders", 3), &rows);
    harm(&mut bytes);
    let file = world.folder.path().join("x.kseg");
    fs::write(&file, bytes).unwrap();
    inspect(&file, "x.kseg", true)
}

#[test]
fn an_intact_segment_is_shown_in_full() {
    let found = written(|_| {}).unwrap();
    assert_eq!(found.problems, []);
    let header = found.header.unwrap();
    assert_eq!(
        (&*header.topic, header.partition.get(), header.base_offset),
        ("orders", 3, 100)
    );
    let footer = found.footer.unwrap();
    assert_eq!((footer.end_offset, footer.record_count), (400, 300));
    assert_eq!(found.totals.records, 300);
    assert!(found.blocks.len() > 3);
    assert_eq!(found.blocks.last().unwrap().end_offset, 400);
    let raw: u64 = found.streams.iter().map(|stream| stream.raw_bytes).sum();
    assert_eq!(raw, found.totals.raw_bytes);
}

#[test]
fn blocks_are_found_without_a_footer() {
    let found = written(|bytes| {
        let end = bytes.len();
        bytes.truncate(end - 10);
    })
    .unwrap();
    assert!(found.footer.is_none());
    assert_eq!(found.header.unwrap().base_offset, 100);
    assert_eq!(found.totals.records, 300, "every block is found");
    assert!(!found.problems.is_empty());
}

#[test]
fn a_damaged_block_is_reported_with_its_offsets() {
    let found = written(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
    .unwrap();
    assert_eq!(found.problems.len(), 1);
    let offsets = found.problems[0].offsets.unwrap();
    assert!(offsets.base_offset < offsets.end_offset && offsets.end_offset <= 400);
}

#[test]
fn other_files_are_not_segments() {
    for bytes in [b"".as_slice(), b"hello", &[0; 4096]] {
        let error = written(|file| *file = bytes.to_vec()).unwrap_err();
        assert!(matches!(error, InspectError::NotAnObject { .. }), "{error}");
    }
    let missing = inspect("/nonexistent/x.kseg".as_ref(), "x.kseg", false).unwrap_err();
    assert!(matches!(missing, InspectError::Read(_)), "{missing}");
}

/// Returns the files of a folder of fixtures.
fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "kseg"));
    files.sort();
    assert!(files.len() > 20);
    files
}

/// Checks that the parts have every byte of the file once, and their fields are within them.
fn check_parts(found: &Inspection, file: &Path) {
    let mut at = 0;
    for part in &found.parts {
        assert_eq!(part.position, at, "{}: {}", file.display(), part.name);
        at += part.length;
        let mut field_at = part.position;
        for field in &part.fields {
            let what = format!("{}: {}: {}", file.display(), part.name, field.name);
            assert!(field.position >= field_at, "{what}");
            field_at = field.position + field.length;
            assert!(field_at <= at, "{what}");
        }
    }
    assert_eq!(at, found.size, "{}", file.display());
}

#[test]
fn every_byte_of_a_golden_segment_is_in_a_part_and_none_is_wrong() {
    for file in fixtures("golden/v1") {
        let found = inspect(&file, "", true).unwrap();
        assert_eq!(found.problems, [], "{}", file.display());
        check_parts(&found, &file);
        let wrong: Vec<_> = found
            .parts
            .iter()
            .filter(|it| it.problem.is_some())
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
    }
}

#[test]
fn every_byte_of_a_broken_segment_is_in_a_part_and_what_is_wrong_is_said() {
    let mut found_wrong = 0;
    for file in fixtures("broken/v1") {
        let described: Value =
            serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
        let found = match inspect(&file, "", true) {
            Ok(found) => found,
            Err(error) => {
                let size = fs::metadata(&file).unwrap().len();
                assert!(size < 64, "{}: {error}", file.display());
                continue;
            }
        };
        check_parts(&found, &file);
        let name = file.display();
        match described["at"].as_str().unwrap() {
            "open" => {
                let class = found.problems[0].class.name();
                assert_eq!(class, described["error_class"].as_str().unwrap(), "{name}");
                let is_wrong = found.parts.iter().any(|part| part.problem.is_some());
                let ends = found.parts.last().unwrap().name == "trailer";
                assert!(is_wrong || !ends, "{name}: {:?}", found.parts);
                found_wrong += 1;
            }
            // Nothing is decompressed, so only what headers and checksums show is wrong.
            _ if ["checksum", "misplaced"]
                .contains(&described["error_class"].as_str().unwrap()) =>
            {
                // The checksum of a batch is looked at where the batch is shown.
                let shown = found.parts.iter().any(|part| part.problem.is_some());
                assert!(!found.problems.is_empty() || shown, "{name}");
                found_wrong += 1;
            }
            _ => {}
        }
    }
    assert!(found_wrong > 60, "{found_wrong}");
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[test]
fn every_object_of_a_repository_is_shown_intact_and_damaged() {
    let world = World::sample();
    let mut kinds = Vec::new();
    let all = files(world.folder.path());
    for file in all
        .iter()
        .filter(|file| !file.to_str().unwrap().contains('#'))
    {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let found = inspect(file, &name, true).unwrap();
        assert_eq!(found.problems, [], "{}", file.display());
        assert!(!found.parts.is_empty(), "{}", file.display());
        kinds.push((found.kind, found.format.unwrap_or_default()));
        let bytes = fs::read(file).unwrap();
        for (what, damaged) in [
            ("cut", bytes[..bytes.len() * 2 / 3].to_vec()),
            ("flipped", {
                let mut damaged = bytes.clone();
                let middle = damaged.len() / 2;
                damaged[middle] ^= 0x20;
                damaged
            }),
        ] {
            fs::write(file, &damaged).unwrap();
            let found = inspect(file, &name, true).unwrap();
            assert!(!found.problems.is_empty(), "{what}: {}", file.display());
            assert!(!found.parts.is_empty(), "{what}: {}", file.display());
        }
        fs::write(file, bytes).unwrap();
    }
    for format in ["kbk-repository", "kbk-snapshot", "kbk-latest", "kbk-table"] {
        assert!(kinds.iter().any(|(_, found)| found == format), "{format}");
    }
    for kind in [
        ObjectKind::Segment,
        ObjectKind::SealedJson,
        ObjectKind::Packed,
    ] {
        assert!(kinds.iter().any(|(found, _)| *found == kind), "{kind:?}");
    }
}

#[test]
fn what_is_behind_the_damage_of_json_and_tables_is_shown() {
    let world = World::sample();
    let all = files(world.folder.path());
    let named = |word: &str| {
        all.iter()
            .find(|file| file.to_str().unwrap().contains(word))
    };
    // A snapshot whose seal does not match is shown member by member, to its end.
    let file = named("snapshots/0").unwrap();
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("\"sequence\":1", "\"sequence\":7", 1)).unwrap();
    let found = inspect(file, "", false).unwrap();
    let names: Vec<&str> = found.parts.iter().map(|part| &*part.name).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("format", "sha256"));
    assert!(
        found.problems[0].detail.contains("SHA-256"),
        "{:?}",
        found.problems
    );
    // Of a table that is cut off, the rows that can be decompressed are shown.
    let file = named("index/").unwrap();
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    let found = inspect(file, file.file_name().unwrap().to_str().unwrap(), false).unwrap();
    assert!(
        found.problems.len() >= 2,
        "the name and the frame: {:?}",
        found.problems
    );
}
