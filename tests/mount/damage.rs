//! Damage affects only its own byte range, is reported, and does not flood the log.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use kbk_format::{Open, Segment};

use crate::mounted::{Mount, sh, until};
use crate::world::World;
use crate::world::as_batches::SegmentKind;

const EIO: i32 = 5;

/// Returns the byte ranges of the blocks in the second segment of orders/0.
fn blocks(world: &World) -> Vec<std::ops::Range<u64>> {
    let entry = &world.entries("orders", 0)[1];
    let bytes = fs::read(world.path(&entry.key)).unwrap();
    let footer = &bytes[usize::try_from(entry.footer_position).unwrap()..];
    let Ok(Open::Ready(segment)) = Segment::open(footer, entry.size) else {
        panic!("the segment is intact");
    };
    let blocks = 0..segment.index().entries().len();
    blocks
        .map(|block| segment.index().range(block..block + 1).unwrap())
        .collect()
}

/// Reads a file byte by byte; `None` is a byte that cannot be read.
fn readable(path: &Path) -> Vec<Option<u8>> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let byte = |position| {
        let mut byte = [0];
        match file.read_exact_at(&mut byte, position) {
            Ok(()) => Some(byte[0]),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(EIO), "{error}");
                None
            }
        }
    };
    (0..length).map(byte).collect()
}

/// The first flip is in the block's header, the others in its streams and its padding.
#[test]
fn a_flipped_byte_makes_only_its_block_unreadable() {
    let world = World::sample();
    let whole = {
        let mount = Mount::of(&world);
        fs::read(mount.latest("topics/orders/0/records.jsonl")).unwrap()
    };
    let key = world.entries("orders", 0)[1].key.clone();
    let blocks = blocks(&world);
    assert!(blocks.len() > 4);
    let block = blocks[2].clone();
    for position in [block.start + 40, block.start + 300, block.end - 1] {
        world.flip(&key, usize::try_from(position).unwrap());
        let mount = Mount::of(&world);
        let path = mount.latest("topics/orders/0/records.jsonl");
        // Until the damage is known, the kernel reads whole pages, and whole pages fail.
        let error = fs::read(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO));
        let found = readable(&path);
        assert_eq!(found.len(), whole.len());
        for (found, original) in found.iter().zip(&whole) {
            assert!(found.is_none_or(|byte| byte == *original));
        }
        let lost: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_none()).collect();
        let (first, last) = (lost[0], lost[lost.len() - 1]);
        assert_eq!(lost.len(), last - first + 1, "one range is lost");
        // Only whole records are lost, at most as many as a block holds.
        assert!(whole[first - 1] == b'\n' && whole[last] == b'\n');
        let records = whole[first..=last].split(|byte| *byte == b'\n').count() - 1;
        assert!((10..80).contains(&records), "{records}");

        // Other partitions are intact.
        let other = fs::read_to_string(mount.latest("topics/orders/1/records.jsonl")).unwrap();
        let other = other.replace("\"partition\":1,", "\"partition\":0,");
        assert!(other.as_bytes() == whole);
        assert!(fs::read(mount.latest("topics/payments/0/values")).is_ok());
        let errors = fs::read_to_string(mount.latest("errors.jsonl")).unwrap();
        assert!(
            errors.contains("orders") && errors.lines().count() == 1,
            "{errors}"
        );
        let meta = fs::read_to_string(mount.latest("topics/orders/0/meta.json")).unwrap();
        assert!(meta.contains("damage"), "{meta}");
        let logged = mount.stderr();
        assert!(
            logged.contains("orders/0") && logged.lines().count() < 10,
            "{logged}"
        );
        world.flip(&key, usize::try_from(position).unwrap());
    }
}

/// Nothing states how long the text of the block is: what holds its place is as long as the block.
#[test]
fn a_block_whose_text_has_no_known_length_has_a_place_that_cannot_be_read() {
    let world = World::new()
        .of_kind(SegmentKind::NotComputed)
        .with_samples();
    let whole = {
        let mount = Mount::of(&world);
        fs::read(mount.latest("topics/orders/0/records.jsonl")).unwrap()
    };
    let blocks = blocks(&world);
    let key = world.entries("orders", 0)[1].key.clone();
    let block = blocks[2].clone();
    world.flip(&key, usize::try_from(block.start + 300).unwrap());
    let stored = usize::try_from(block.end - block.start).unwrap();
    let mount = Mount::of(&world);
    let path = mount.latest("topics/orders/0/records.jsonl");
    let found = readable(&path);
    let start = found.iter().position(Option::is_none).unwrap();
    let end = start + stored;
    let text = |bytes: &[Option<u8>]| bytes.iter().map(|byte| byte.unwrap()).collect::<Vec<u8>>();
    assert!(found[start..end].iter().all(Option::is_none), "its place");
    assert_eq!(text(&found[..start]), whole[..start]);
    let rest = text(&found[end..]);
    assert!(whole.ends_with(&rest) && start + rest.len() < whole.len());
    assert!(whole[start - 1] == b'\n' && rest.starts_with(b"{"));

    // In one go up to it, not a byte less, and then an error.
    let copy = mount.path().with_file_name("copy");
    let (file, copied) = (path.display(), copy.display());
    let shell = format!("cp {file} {copied} && echo copied; true");
    assert_eq!(sh(&shell), "");
    assert_eq!(fs::read(&copy).unwrap(), whole[..start]);
    sh(&format!(
        "dd if={file} of={copied} bs=16 conv=noerror 2>&1 || true"
    ));
    let salvaged = fs::read(&copy).unwrap();
    assert!(salvaged.starts_with(&whole[..start]));
    // What is read after an error begins less than 16 bytes further on.
    assert!(salvaged.ends_with(&rest[16..]));
    assert!(salvaged.len() <= start + rest.len());
    let lines = sh(&format!("tail -n 3 {file}"));
    assert!(whole.ends_with(lines.as_bytes()) && lines.lines().count() == 3);

    let meta = fs::read_to_string(mount.latest("topics/orders/0/meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let place = &meta["unreadable_text"][0];
    assert_eq!(
        place["records.jsonl"],
        serde_json::json!({"start": start, "end": end})
    );
    assert_eq!(meta["unreadable_text"].as_array().unwrap().len(), 1);
    let errors = fs::read_to_string(mount.latest("errors.jsonl")).unwrap();
    assert!(
        errors.contains("\"damaged\"") && errors.lines().count() == 1,
        "{errors}"
    );
    for file in ["values", "keys"] {
        let found = readable(&mount.latest(&format!("topics/orders/0/{file}")));
        let lost = found.iter().filter(|byte| byte.is_none()).count();
        assert_eq!(lost, stored, "{file}");
    }
}

#[test]
fn a_missing_segment_makes_only_its_records_unreadable() {
    let world = World::sample();
    let key = world.entries("orders", 0)[1].key.clone();
    fs::remove_file(world.path(&key)).unwrap();
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/orders/0/by-offset");
    let mut parts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    parts.sort();
    let read: Vec<bool> = parts.iter().map(|part| fs::read(part).is_ok()).collect();
    assert_eq!(
        read.iter().filter(|read| **read).count(),
        2,
        "{parts:?} {read:?}"
    );
    assert!(mount.stderr().contains(&key), "{}", mount.stderr());
}

/// Which segments it has, the index does not say any more: its files are errors and not empty, and all others are whole.
#[test]
fn a_damaged_table_of_segments_makes_only_its_partitions_unreadable() {
    let world = World::sample();
    let table = world.forged_index().write_segments_apart(Some("payments"));
    world.flip(&table, 40);
    let mount = Mount::of(&world);
    for file in ["records.jsonl", "values"] {
        let hidden = fs::read(mount.latest(&format!("topics/payments/0/{file}")));
        assert_eq!(hidden.unwrap_err().raw_os_error(), Some(EIO), "{file}");
    }
    for partition in 0..2 {
        let whole = mount.latest(&format!("topics/orders/{partition}/records.jsonl"));
        let whole = fs::read_to_string(whole).unwrap();
        assert_eq!(whole.lines().count(), 600);
    }
    assert!(mount.stderr().contains(&table), "{}", mount.stderr());
}

#[test]
fn a_damaged_newest_snapshot_is_named_and_the_others_are_mounted() {
    newest_is_named_and_others_mounted(|_| format!("snapshots/{:020}.json", 2));
}

#[test]
fn so_is_a_snapshot_whose_table_of_states_is_damaged() {
    newest_is_named_and_others_mounted(|world| world.tables()[0].clone());
}

fn newest_is_named_and_others_mounted(damaged: impl Fn(&World) -> String) {
    let world = World::sample();
    let key = damaged(&world);
    world.flip(&key, 100);
    let mount = Mount::of(&world);
    let warned = mount.stderr();
    assert!(
        warned.contains("snapshot 2") && warned.contains(&key),
        "{warned}"
    );
    let listed = sh(&format!(
        "cd {}; ls snapshots latest/",
        mount.path().display()
    ));
    assert_eq!(
        listed,
        "latest/:\nerrors.jsonl\n\nsnapshots:\n1\n2\nby-date\n"
    );
    let errors = fs::read_to_string(mount.latest("errors.jsonl")).unwrap();
    assert!(errors.contains("\"kind\":\"damaged\""), "{errors}");
    let topics = mount.path().join("snapshots/1/topics");
    let values = fs::read_to_string(topics.join("payments/0/values")).unwrap();
    assert_eq!(values.lines().count(), 100);
    sh(&format!("df {}", mount.path().display()));
}

/// A share that is not mounted for a while: the folder of the repository is there, and empty.
#[test]
fn a_repository_that_is_away_for_a_while_is_whole_again() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let (folder, away) = (world.path(""), world.folder.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    let topics = mount.latest("topics");
    let hour = topics.join("orders/0/by-time/1970-01-01T00.jsonl");
    assert!(fs::read(&hour).is_err());
    assert!(fs::read_dir(topics.join("orders/0/by-time")).is_err());
    let errors = fs::read_to_string(mount.latest("errors.jsonl")).unwrap();
    assert!(errors.contains("\"kind\":\"unavailable\""), "{errors}");
    assert!(
        !errors.contains("missing\"") && !errors.contains("damaged"),
        "{errors}"
    );

    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    let all = until("the hour", || fs::read(&hour).ok());
    assert!(all == fs::read(topics.join("orders/0/records.jsonl")).unwrap());
    let hours = format!("ls {}", topics.join("orders/0/by-time").display());
    assert_eq!(sh(&hours), "1970-01-01T00.jsonl\n");
    assert_eq!(
        fs::read_to_string(mount.latest("errors.jsonl")).unwrap(),
        ""
    );
}

/// The newest snapshot is gone, and the hint still names it: the mount shows the older one as the latest, and says so.
#[test]
fn a_newest_snapshot_that_is_gone_is_named_at_the_start() {
    let world = World::sample();
    let mount = Mount::of(&world);
    assert!(
        !mount.stderr().contains("newest snapshot"),
        "{}",
        mount.stderr()
    );
    drop(mount);
    fs::remove_file(world.path("snapshots/00000000000000000002.json")).unwrap();
    let mount = Mount::of(&world);
    let said = mount.stderr();
    assert!(
        said.contains("snapshots/00000000000000000002.json")
            && said.contains("snapshots/latest.json names it as the newest snapshot"),
        "{said}"
    );
    let latest = fs::read_link(mount.path().join("latest")).unwrap();
    assert!(latest.ends_with("1"), "{latest:?}");
    let payments = fs::read_to_string(mount.latest("topics/payments/0/records.jsonl")).unwrap();
    assert_eq!(payments.lines().count(), 100, "those of the first snapshot");
}
