//! `by-key/KEY` through the kernel: names of all kinds, exact sizes, many readers at a time, and the errors that programs get.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use kbk_format::{KeyFilterBits, Segment};
use serde_json::Value;

use crate::mounted::{Mount, sh};
use crate::world::World;

const FOLDER: &str = "topics/orders/0/by-key";
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EOPNOTSUPP: i32 = 95;
const RECORDS: i64 = 900;

/// Keys that are in many blocks and in one, and keys that no file name can be.
fn key(offset: i64) -> Option<Vec<u8>> {
    match offset % 300 {
        7 => Some(b"a/b".to_vec()),
        8 => Some(vec![0, 0xff, b'%']),
        9 => Some(Vec::new()),
        10 => None,
        11 => Some(b"..".to_vec()),
        12 => Some("with spaces and \u{fc}".into()),
        rest if rest % 3 == 0 => Some(b"common".to_vec()),
        _ => Some(format!("order-{offset}").into_bytes()),
    }
}

/// A partition of three segments.
fn world(key_filter: fn(i64) -> Option<KeyFilterBits>) -> World {
    let mut world = World::new();
    world.content = |offset| (key(offset), format!("value {offset}").into_bytes());
    world.key_filter = key_filter;
    let rows = |from: i64| (from..from + RECORDS / 3).map(|o| (o, 1_000 + o)).collect();
    let segments = [0, RECORDS / 3, RECORDS * 2 / 3].map(rows).into();
    world.backup(&[("orders", 0, segments)]);
    world
}

/// Returns the lines of records.jsonl whose records have a key.
fn lines_with(mount: &Mount, wanted: &[u8]) -> String {
    let all = fs::read_to_string(mount.latest("topics/orders/0/records.jsonl")).unwrap();
    let has_key = |line: &&str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let offset = record["offset"].as_i64().unwrap();
        key(offset).as_deref() == Some(wanted)
    };
    let lines = all.lines().filter(has_key);
    lines.map(|line| format!("{line}\n")).collect()
}

fn error_of(path: &Path) -> Option<i32> {
    fs::read(path).unwrap_err().raw_os_error()
}

#[test]
fn a_key_is_a_file_of_its_records() {
    let world = world(|_| Some(KeyFilterBits::default()));
    let mount = Mount::of(&world);
    let folder = mount.latest(FOLDER);
    let names: [(&str, &[u8]); 8] = [
        ("common", b"common"),
        ("order-1", b"order-1"),
        ("order-898", b"order-898"),
        ("a%2Fb", b"a/b"),
        ("%00%FF%25", &[0, 0xff, b'%']),
        ("%", b""),
        ("%2E%2E", b".."),
        (
            "with spaces and \u{fc}",
            "with spaces and \u{fc}".as_bytes(),
        ),
    ];
    for (name, key) in names {
        let expected = lines_with(&mount, key);
        assert!(!expected.is_empty(), "{name}");
        let path = folder.join(name);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), expected.len() as u64, "{name}");
        assert_eq!(metadata.mode() & 0o777, 0o440, "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{name}");
        // What cp, tail and dd read of it.
        let shown = path.display();
        let copy = world.folder.path().join("copy");
        sh(&format!("cp '{shown}' '{}'", copy.display()));
        assert_eq!(fs::read_to_string(&copy).unwrap(), expected, "{name}");
        let last = expected.lines().last().unwrap();
        assert_eq!(sh(&format!("tail -n 1 '{shown}'")).trim_end(), last);
        let middle = sh(&format!(
            "dd if='{shown}' bs=1 skip=11 count=20 status=none"
        ));
        assert_eq!(middle, expected[11..31], "{name}");
    }
    // Nothing is listed, and what is not there is not found.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    for name in ["nobody", "%zz", "100%", "common.jsonl", &"x".repeat(255)] {
        assert_eq!(error_of(&folder.join(name)), Some(ENOENT), "{name}");
    }
    assert!(fs::write(folder.join("common"), "").is_err());
}

#[test]
fn many_readers_get_the_same_records() {
    let world = world(|_| Some(KeyFilterBits::default()));
    let mount = Mount::with(&world, &["--memory", "32MiB"]);
    let common = lines_with(&mount, b"common");
    let folder = mount.latest(FOLDER);
    thread::scope(|scope| {
        for reader in 0..16 {
            let (folder, common) = (&folder, &common);
            scope.spawn(move || {
                for round in 0..10 {
                    assert_eq!(fs::read_to_string(folder.join("common")).unwrap(), *common);
                    // All of them are there: none of these offsets has another key.
                    let offset = 300 * (round % 3) + 100 + reader * 3;
                    let line = fs::read_to_string(folder.join(format!("order-{offset}")));
                    let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
                    assert_eq!(record["offset"], offset);
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_looked_up_is_not_called_absent() {
    // The second segment has no filter.
    let world = world(|base| (base != RECORDS / 3).then(KeyFilterBits::default));
    let mount = Mount::of(&world);
    let listed = fs::read_dir(mount.latest("topics/orders/0")).unwrap();
    let listed: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    assert!(!listed.iter().any(|path| path.ends_with("by-key")));
    for name in ["common", "order-1", "nobody"] {
        let path = mount.latest(FOLDER).join(name);
        assert_eq!(error_of(&path), Some(EOPNOTSUPP), "{name}");
    }
}

#[test]
fn a_damaged_filter_is_an_error_and_is_named() {
    let world = world(|_| Some(KeyFilterBits::default()));
    let victim = world.entries("orders", 0)[1].clone();
    let bytes = fs::read(world.path(&victim.key)).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let start = segment.key_filter().unwrap().range().start;
    world.flip(&victim.key, usize::try_from(start).unwrap() + 2);
    let mount = Mount::of(&world);
    for name in ["common", "order-1", "nobody"] {
        let path = mount.latest(FOLDER).join(name);
        assert_eq!(error_of(&path), Some(EIO), "{name}");
    }
    assert!(mount.stderr().contains("orders/0"), "{}", mount.stderr());
    // The records themselves are intact.
    let records = fs::read_to_string(mount.latest("topics/orders/0/records.jsonl")).unwrap();
    assert_eq!(records.lines().count(), usize::try_from(RECORDS).unwrap());
}
