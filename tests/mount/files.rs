//! Every file matches what an independent reader decodes, and the usual file tools work on the mount.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::mounted::{Mount, kbk, sh};
use crate::world::{Row, World};

const VIEWS: [(&str, &str); 3] = [
    ("records.jsonl", "records.jsonl"),
    ("values", "values"),
    ("keys", "keys"),
];
const EROFS: i32 = 30;

/// Renders a partition with the Python reader that was written from SPEC.md alone.
fn by_spec(world: &World, topic: &str, partition: i32, view: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".cache/venv/bin/python"))
        .arg(root.join("tests/spec_reader/repo.py"))
        .arg(world.path(""))
        .args([topic, &partition.to_string(), "--view", view])
        .output()
        .expect("`scripts/setup python` creates this interpreter");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    output.stdout
}

/// Adds a topic that spans a day and a half, with late records and some without a timestamp.
fn world() -> World {
    const HOUR: i64 = 3_600_000;
    let start = 1_763_800_000_000;
    let time = |offset: i64| match offset % 97 {
        0 => -1,
        1 => start + offset * HOUR / 20 - 5 * HOUR,
        _ => start + offset * HOUR / 20,
    };
    let rows = |from: i64, to: i64| (from..to).map(|o| (o, time(o))).collect::<Vec<Row>>();
    let world = World::sample();
    world.backup(&[("pageviews", 0, vec![rows(0, 300), rows(300, 700)])]);
    world
}

#[test]
fn every_file_matches_the_independent_reader() {
    let world = world();
    let mount = Mount::of(&world);
    for (topic, partition) in [
        ("orders", 0),
        ("orders", 1),
        ("payments", 0),
        ("pageviews", 0),
    ] {
        for (file, view) in VIEWS {
            let path = mount.latest(&format!("topics/{topic}/{partition}/{file}"));
            let expected = by_spec(&world, topic, partition, view);
            assert!(!expected.is_empty());
            assert_eq!(
                fs::metadata(&path).unwrap().len(),
                expected.len() as u64,
                "{path:?}"
            );
            assert!(fs::read(&path).unwrap() == expected, "{path:?}");
        }
    }
}

#[test]
fn segment_files_are_byte_for_byte_copies() {
    let world = world();
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/pageviews/0/segments");
    let entries = world.entries("pageviews", 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), entries.len());
    for entry in entries {
        let name = entry.key.rsplit('/').next().unwrap();
        assert!(fs::read(folder.join(name)).unwrap() == fs::read(world.path(&entry.key)).unwrap());
    }
}

/// Returns every file below a folder by its relative path. Does not follow links.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if entry.file_type().unwrap().is_file() {
                let bytes = fs::read(&path).unwrap();
                assert_eq!(
                    entry.metadata().unwrap().len(),
                    bytes.len() as u64,
                    "{path:?}"
                );
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

#[test]
fn copies_and_archives_are_identical() {
    let world = world();
    let mount = Mount::with(&world, &["--show", "all"]);
    let mounted = mount.path();
    let original = tree(&mounted);
    assert!(original.len() > 50, "{:?}", original.keys());
    let copies = tempfile::tempdir().unwrap();
    let (mounted, copies) = (mounted.display(), copies.path());
    let (copied, unpacked) = (copies.join("cp"), copies.join("tar"));
    sh(&format!("cp -r {mounted} {}", copied.display()));
    sh(&format!(
        "mkdir {0}; tar -C {mounted} -cf - . | tar -C {0} -xf -",
        unpacked.display()
    ));
    for copy in [copied, unpacked] {
        let found = tree(&copy);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            original.keys().collect::<Vec<_>>()
        );
        assert!(found == original, "{copy:?}");
        sh(&format!("chmod -R u+w {}", copy.display()));
    }
}

#[test]
fn the_parts_by_offset_and_by_time_have_every_record_once() {
    let world = world();
    let mount = Mount::of(&world);
    let partition = mount.latest("topics/pageviews/0");
    let inside = |line: &str| sh(&format!("cd {}; {line}", partition.display()));
    let whole = fs::read(partition.join("records.jsonl")).unwrap();
    assert!(inside("cat by-offset/*.jsonl").as_bytes() == whole);
    assert_eq!(
        inside("cat by-time/*.jsonl | sort | sha256sum"),
        inside("sort records.jsonl | sha256sum")
    );
    let found = inside("find . -name records.jsonl");
    assert_eq!(found, "./records.jsonl\n");
}

/// One bogus timestamp, and records that are late by hours: each hour has what `kbk cat` selects for it, and no other record.
#[test]
fn an_hour_has_the_records_that_cat_selects_for_it() {
    const HOUR: i64 = 3_600_000;
    let start = 1_763_800_000_000;
    let world = World::sample();
    let time = |offset: i64| match offset {
        40 => 1_763_800_000_000_000_000,
        41 => i64::MAX,
        42 => i64::MIN,
        _ if offset % 7 == 0 => start + offset * HOUR / 20 - 9 * HOUR,
        _ => start + offset * HOUR / 20,
    };
    let rows = |from: i64, to: i64| (from..to).map(|o| (o, time(o))).collect::<Vec<Row>>();
    world.backup(&[("bogus", 0, vec![rows(0, 150), rows(150, 400)])]);
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/bogus/0/by-time");
    let mut hours: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    hours.sort();
    assert_eq!(hours.remove(0), "1969-and-before.jsonl");
    assert_eq!(hours.pop().unwrap(), "9999-and-later.jsonl");
    assert!((28..=31).contains(&hours.len()), "{hours:?}");
    let offsets = |line: &str| sh(&format!("{line} | jq .offset"));
    for file in &hours {
        let hour = file.strip_suffix(".jsonl").unwrap();
        let selected = offsets(&format!(
            "{} cat -r {} bogus --since {hour}:00:00Z --until {hour}:59:59.999Z",
            env!("CARGO_BIN_EXE_kbk"),
            world.path("").display()
        ));
        assert!(!selected.is_empty(), "{hour}");
        for name in [file, hour] {
            let path = folder.join(name);
            assert_eq!(
                offsets(&format!("cat {}", path.display())),
                selected,
                "{name}"
            );
        }
    }
    let later = offsets(&format!("cat {}/9999-and-later", folder.display()));
    assert_eq!(later, "40\n41\n");
}

#[test]
fn unlisted_names_open_single_records_and_ranges() {
    let world = world();
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/pageviews/0/by-offset");
    let record: Value =
        serde_json::from_slice(&fs::read(folder.join("123.json")).unwrap()).unwrap();
    assert_eq!(record["offset"], 123);
    let range = fs::read_to_string(folder.join("298-301.jsonl")).unwrap();
    let offsets: Vec<Value> = range
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let offsets: Vec<_> = offsets
        .iter()
        .map(|record| record["offset"].as_i64().unwrap())
        .collect();
    assert_eq!(offsets, [298, 299, 300, 301]);
    for nothing in ["0123.json", "+1.json", "700.json", "7-3.jsonl", "x"] {
        let error = fs::metadata(folder.join(nothing)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{nothing}");
    }
}

#[test]
fn the_usual_tools_work() {
    let world = world();
    let mount = Mount::of(&world);
    let at = |file: &str| mount.latest(file).display().to_string();
    let records = at("topics/pageviews/0/records.jsonl");
    assert_eq!(sh(&format!("wc -l < {records}")).trim(), "700");
    assert_eq!(
        sh(&format!("tail -n 1 {records} | jq .offset")).trim(),
        "699"
    );
    assert_eq!(
        sh(&format!("tail -c +1 {records} | head -n 1 | jq .offset")).trim(),
        "0"
    );
    assert_eq!(
        sh(&format!("grep -c '\"key\":\"key-69' {records}")).trim(),
        "11"
    );
    assert_eq!(
        sh(&format!(
            "grep -l key-699 -r {} | wc -l",
            at("topics/pageviews/0/by-time")
        ))
        .trim(),
        "1"
    );
    let less = sh(&format!("TERM=dumb less {records} | sha256sum"));
    assert_eq!(less, sh(&format!("sha256sum < {records}")));
    // The newest record of pageviews is from 2025, those of the other topics are from 1970.
    let newer = sh(&format!(
        "find {} -name records.jsonl -newermt 2000-01-01",
        at("topics/")
    ));
    assert!(
        newer.trim_end().ends_with("pageviews/0/records.jsonl"),
        "{newer}"
    );
    assert_eq!(newer.lines().count(), 1);
    let listed: u64 = sh(&format!("ls -l {records} | awk '{{print $5}}'"))
        .trim()
        .parse()
        .unwrap();
    let stored: u64 = sh(&format!("du -B1 {records} | cut -f1"))
        .trim()
        .parse()
        .unwrap();
    assert_eq!(listed, fs::metadata(&records).unwrap().size());
    assert!(
        stored < listed && stored > 0,
        "{stored} stored, {listed} listed"
    );
    let names = sh(&format!("getfattr -d {records} 2>/dev/null"));
    assert!(names.contains("user.kbk.topic=\"pageviews\""), "{names}");
    sh(&format!("df {}", mount.path().display()));
}

#[test]
fn a_file_can_be_memory_mapped() {
    let world = world();
    let mount = Mount::of(&world);
    let path = mount.latest("topics/orders/0/records.jsonl");
    let script = "import mmap,sys; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); \
                  sys.stdout.buffer.write(m[:])";
    let mapped = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .output()
        .unwrap();
    assert!(mapped.stdout == fs::read(&path).unwrap(), "{mapped:?}");
}

#[test]
fn every_modification_fails_with_erofs() {
    let world = world();
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/orders/0");
    let file = folder.join("values");
    let link = mount.path().join("latest");
    let refused: [(&str, io::Result<()>); 12] = [
        (
            "write",
            fs::OpenOptions::new().write(true).open(&file).map(drop),
        ),
        (
            "append",
            fs::OpenOptions::new().append(true).open(&file).map(drop),
        ),
        (
            "truncate",
            fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&file)
                .map(drop),
        ),
        (
            "create",
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(folder.join("new"))
                .map(drop),
        ),
        ("mkdir", fs::create_dir(folder.join("new"))),
        ("unlink", fs::remove_file(&file)),
        ("rmdir", fs::remove_dir(folder.join("segments"))),
        ("rename", fs::rename(&file, folder.join("new"))),
        (
            "chmod",
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)),
        ),
        ("symlink", symlink("values", folder.join("new"))),
        ("hard link", fs::hard_link(&file, folder.join("new"))),
        ("unlink the link", fs::remove_file(&link)),
    ];
    for (what, result) in refused {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(EROFS), "{what}");
    }
    let touched = Command::new("touch").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&touched.stderr).contains("Read-only file system"));
}

#[test]
fn what_has_expired_is_said_in_meta_json() {
    let world = World::sample();
    let mut expire = kbk(&[
        "expire",
        "--older-than",
        "1d",
        "--topic",
        "payments",
        "--yes",
    ]);
    let repository = world.path("");
    let expired = expire.args(["-r", repository.to_str().unwrap()]).output();
    let expired = expired.unwrap();
    assert!(expired.status.success(), "{expired:?}");
    let mount = Mount::of(&world);
    let meta = |topic: &str| {
        let file = mount.latest(&format!("topics/{topic}/0/meta.json"));
        serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap()
    };
    let of_expired = meta("payments");
    assert_eq!(of_expired["expired"]["offsets"]["base_offset"], 0);
    assert_eq!(of_expired["expired"]["offsets"]["end_offset"], 250);
    assert_eq!(of_expired["base_offset"], 250);
    assert_eq!(of_expired["gaps"]["offsets"], 0);
    assert_eq!(meta("orders")["expired"], Value::Null);
    let records = fs::read(mount.latest("topics/payments/0/records.jsonl")).unwrap();
    assert_eq!(records, b"");
}
