//! `log/` of a partition: the files of `kbk export --format kafka-log`, and who may open them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use kbk_format::kafka_log::GAPS_FILE;
use kbk_format::{Open, Segment};

use crate::mounted::{Mount, kbk, sh};
use crate::world::as_batches::SegmentKind;
use crate::world::{KeyAndValue, Row, World};

const EIO: i32 = 5;
const EROFS: i32 = 30;

fn content(offset: i64) -> KeyAndValue {
    let key = (offset % 3 > 0).then(|| format!("key {offset}").into_bytes());
    let length = match offset % 500 {
        77 => 400_000,
        _ => offset % 11 * 100,
    };
    (key, vec![b'a' + (offset % 26) as u8; length as usize])
}

/// Topics with gaps of any size, large values, late records and some without a time, in blocks of a few records.
fn world() -> World {
    world_of(SegmentKind::of_this_run())
}

fn world_of(kind: SegmentKind) -> World {
    let mut world = World::with_blocks(30_000).of_kind(kind);
    world.content = content;
    let start = 1_763_800_000_000;
    let time = |offset: i64| match offset % 97 {
        0 => -1,
        1 => 0,
        _ => start + offset * 1_000 - offset % 7 * 5_000,
    };
    // A segment begins where the one before ends.
    let rows = |from: i64, to: i64| {
        let is_kept = move |it: &i64| *it == to - 1 || it % 5 != 3 && it % 100 < 90;
        (from..to)
            .filter(is_kept)
            .map(|it| (it, time(it)))
            .collect::<Vec<Row>>()
    };
    world.backup(&[
        ("orders", 0, vec![rows(0, 2_000), rows(2_000, 6_000)]),
        ("orders", 1, vec![rows(0, 300)]),
        ("orders", 2, vec![]),
    ]);
    let far = 5_000_000_000;
    let far = [(0, 5), (far, -1), (far + 1, 7)];
    world.backup(&[
        ("orders", 0, vec![rows(6_000, 6_700)]),
        ("far", 0, vec![far.to_vec()]),
    ]);
    world
}

/// Exports a snapshot with Kafka's own batches as they are, and without compression otherwise.
fn export(world: &World, snapshot: &str, out: &Path) {
    let repository = world.path("");
    let args = ["export", "--format", "kafka-log", "--compression", "stored"];
    let mut command = kbk(&args);
    command.args(["--snapshot", snapshot, "-r"]);
    let output = command.arg(repository).arg(out).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

const LOG: &str = "00000000000000000000.log";

#[test]
fn a_log_is_that_of_an_export() {
    assert_is_that_of_an_export(&world_of(SegmentKind::Columns));
}

#[test]
fn a_log_of_stored_batches_is_that_of_an_export() {
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        assert_is_that_of_an_export(&world_of(kind));
    }
}

fn assert_is_that_of_an_export(world: &World) {
    let mount = Mount::with(world, &["--show", "all"]);
    for (snapshot, partitions) in [
        ("1", &["orders/0", "orders/1", "orders/2"][..]),
        ("2", &["orders/0", "orders/1", "orders/2", "far/0"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("logs");
        export(world, snapshot, &out);
        for partition in partitions {
            let exported = out.join(partition.replace('/', "-"));
            let log = mount
                .path()
                .join(format!("snapshots/{snapshot}/topics/{partition}/log"));
            let diff = format!("diff -r -x {GAPS_FILE}");
            sh(&format!("{diff} {} {}", exported.display(), log.display()));
            let sizes = format!("-type f ! -name {GAPS_FILE} -printf '%f %s\\n' | sort");
            let sizes = |folder: &Path| sh(&format!("find {} {sizes}", folder.display()));
            assert_eq!(sizes(&log), sizes(&exported));
            assert_eq!(
                log.join("00000000005000000000.log").exists(),
                *partition == "far/0"
            );
            // What is copied and archived is the same.
            let copy = folder
                .path()
                .join(format!("copy-{}", partition.replace('/', "-")));
            sh(&format!("cp -r {} {}", log.display(), copy.display()));
            sh(&format!("{diff} {} {}", exported.display(), copy.display()));
            let tar = format!(
                "tar -C {} -cS . | tar -tv | awk '{{ bytes += $3 }} END {{ print bytes + 0 }}'",
                log.display()
            );
            let bytes: u64 = sh(&tar).trim().parse().unwrap();
            let expected: u64 = fs::read_dir(&exported)
                .unwrap()
                .map(Result::unwrap)
                .filter(|file| file.file_name() != GAPS_FILE)
                .map(|file| file.metadata().unwrap().len())
                .sum();
            assert_eq!(bytes, expected);
        }
    }
    let partition = mount.latest("topics/orders/0");
    let log = partition.join("log").join(LOG);
    let records = fs::metadata(partition.join("records.jsonl")).unwrap();
    let found = fs::metadata(&log).unwrap();
    assert_eq!(found.mtime(), records.mtime());
    assert_eq!(found.mode(), records.mode());
    assert_eq!(found.blocks(), records.blocks(), "the stored bytes");
    // A file without a block is one hole to programs that look for these.
    let index = log.with_extension("index");
    assert!(fs::metadata(index).unwrap().blocks() > 0);
    let offsets = sh(&format!(
        "getfattr --only-values -n user.kbk.end_offset {}",
        log.display()
    ));
    assert_eq!(offsets, "6700");
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_broker_may_open_a_log_for_writing_and_nothing_is_written() {
    let world = world();
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    {
        let mount = Mount::of(&world);
        let log = mount.latest("topics/orders/0/log").join(LOG);
        assert_eq!(errno(open(&log)), Some(EROFS));
    }
    let mount = Mount::with(&world, &["-o", "for_broker"]);
    let partition = mount.latest("topics/orders/0");
    let log = partition.join("log").join(LOG);
    let before = fs::read(&log).unwrap();
    let mode = fs::metadata(&log).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let mut file = open(&log).unwrap();
    assert_eq!(errno(file.write(b"x")), Some(EROFS));
    assert_eq!(errno(file.write_at(b"x", before.len() as u64)), Some(EROFS));
    assert_eq!(errno(file.set_len(0)), Some(EROFS));
    file.sync_all().unwrap();
    let mut bytes = vec![0; 1_000];
    file.read_exact_at(&mut bytes, 70_000).unwrap();
    assert!(bytes == before[70_000..71_000]);
    drop(file);
    assert_eq!(errno(File::create(&log)), Some(EROFS));
    assert_eq!(errno(File::create(partition.join("log/new"))), Some(EROFS));
    assert_eq!(errno(fs::remove_file(&log)), Some(EROFS));
    assert_eq!(
        errno(fs::rename(&log, log.with_extension("deleted"))),
        Some(EROFS)
    );
    let written = OpenOptions::new().write(true).open(&log);
    assert_eq!(errno(written), Some(EROFS));
    for other in [
        "log/00000000000000000000.index",
        "log/leader-epoch-checkpoint",
        "records.jsonl",
        "meta.json",
    ] {
        assert_eq!(errno(open(&partition.join(other))), Some(EROFS), "{other}");
    }
    assert!(fs::read(&log).unwrap() == before);
}

#[test]
fn damage_makes_only_its_batches_unreadable() {
    let world = world();
    let entry = &world.entries("orders", 0)[1];
    let bytes = fs::read(world.path(&entry.key)).unwrap();
    let Ok(Open::Ready(segment)) = Segment::open(&bytes, entry.size) else {
        panic!("the segment is intact");
    };
    let whole = fs::read(Mount::of(&world).latest("topics/orders/0/log").join(LOG)).unwrap();
    let block = segment.index().entries()[20];
    world.flip(&entry.key, usize::try_from(block.end() - 1).unwrap());
    let mount = Mount::of(&world);
    let log = mount.latest("topics/orders/0/log").join(LOG);
    assert_eq!(fs::metadata(&log).unwrap().len(), whole.len() as u64);
    assert_eq!(errno(fs::read(&log)), Some(EIO));
    let file = File::open(&log).unwrap();
    let (mut at, mut lost) = (0, 0);
    while at < whole.len() {
        let mut bytes = [0; 1_000];
        match file.read_at(&mut bytes, at as u64) {
            Ok(0) => panic!("a plausible shorter log"),
            Ok(read) => {
                assert!(whole[at..].starts_with(&bytes[..read]));
                at += read;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(EIO));
                (at, lost) = (at + bytes.len(), lost + bytes.len());
            }
        }
    }
    assert!((10_000..1_500_000).contains(&lost), "{lost}");
    assert!(lost < whole.len() / 2);
    // META of the block is damaged: what follows has no known place, so there are no files at all.
    drop((file, mount));
    world.flip(&entry.key, usize::try_from(block.end() - 1).unwrap());
    world.flip(&entry.key, usize::try_from(block.meta_end() - 1).unwrap());
    let mount = Mount::of(&world);
    let folder = mount.latest("topics/orders/0/log");
    assert_eq!(
        errno(fs::read_dir(&folder).and_then(|mut files| files.next().transpose())),
        Some(EIO)
    );
    assert_eq!(errno(fs::metadata(folder.join(LOG))), Some(EIO));
    let errors = fs::read_to_string(mount.latest("errors.jsonl")).unwrap();
    let named = format!("\"base_offset\":{}", block.base_offset);
    assert!(errors.contains(&named), "{errors}");
    assert!(mount.latest("topics/orders/1/log").join(LOG).exists());
}
