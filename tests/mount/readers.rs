//! Many concurrent readers in constant memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use sha2::{Digest, Sha256};

use crate::mounted::{Mount, sh};
use crate::world::as_batches::SegmentKind;
use crate::world::{Row, World, key_of, value_of};

const MIB: u64 = 1 << 20;
/// The smallest value that `--memory` accepts; the mounted files are several times larger.
const BUDGET: u64 = 32 * MIB;

#[test]
fn sixteen_readers_see_the_same_bytes_within_the_memory_budget() {
    const RECORDS: i64 = 500_000;
    let rows: Vec<Row> = (0..RECORDS).map(|offset| (offset, offset)).collect();
    let world = World::with_blocks(256 * 1024);
    world.backup(&[(
        "load",
        0,
        rows.chunks(125_000).map(<[Row]>::to_vec).collect(),
    )]);
    let whole = rendered(RECORDS);
    let mount = Mount::with(&world, &["--memory", "32MiB"]);
    let path = mount.latest("topics/load/0/records.jsonl");
    assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
    assert!(whole.len() as u64 > BUDGET);

    let expected = Sha256::digest(&whole);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(Sha256::digest(fs::read(&path).unwrap()), expected));
        }
        for seed in 0..8 {
            let (path, whole) = (&path, &whole);
            scope.spawn(move || read_anywhere(path, whole, seed));
        }
    });
    let most = mount.most_memory();
    assert!(
        most < BUDGET + 100 * MIB,
        "{} MiB were resident",
        most / MIB
    );
}

/// Tiny records have the most text per stored byte: a block of 1 MiB has dozens of it, in buffers of every size.
#[test]
fn the_process_stays_within_the_memory_budget_whatever_the_blocks_hold() {
    const RECORDS: i64 = 5_000_000;
    const MEMORY: u64 = 64 * MIB;
    let mut world = World::with_blocks(1024 * 1024);
    world.content = |offset| (None, vec![b'a' + (offset % 7) as u8; 3]);
    let rows: Vec<Row> = (0..RECORDS).map(|offset| (offset, offset)).collect();
    let segments = rows.chunks(1_250_000).map(<[Row]>::to_vec);
    world.backup(&[("tiny", 0, segments.collect())]);
    let mount = Mount::with(&world, &["--memory", "64MiB"]);
    let path = mount.latest("topics/tiny/0/records.jsonl");
    let size = fs::metadata(&path).unwrap().len();
    assert!(size > 4 * MEMORY, "{size}");
    thread::scope(|scope| {
        for reader in 0..16 {
            let path = &path;
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut bytes = vec![0; 1 << 20];
                // Half of them read on from where they begin, and half jump.
                for step in 0..4 {
                    let stride = if reader % 2 == 0 { 1 << 20 } else { size / 29 };
                    let at = (reader * size / 16 + step * stride) % (size - bytes.len() as u64);
                    file.read_exact_at(&mut bytes, at).unwrap();
                    let line = bytes.split(|byte| *byte == b'\n').nth(1).unwrap();
                    assert!(line.starts_with(b"{\"topic\":\"tiny\","), "at {at}");
                }
            });
        }
    });
    let most = mount.most_memory();
    assert!(
        most < MEMORY + 100 * MIB,
        "{} MiB were resident",
        most / MIB
    );
}

/// A pipe that nobody writes to hangs whoever opens it: like a disk or a share that has gone away.
#[test]
fn readers_of_a_store_that_hangs_end_at_the_deadline_and_names_are_shown() {
    const READERS: u16 = 512;
    const ETIMEDOUT: i32 = 110;
    let world = World::new();
    let partitions = (0..READERS).map(|partition| ("orders", partition, vec![vec![(0, 1_000)]]));
    world.backup(&partitions.collect::<Vec<_>>());
    world.backup(&[("whole", 0, vec![vec![(0, 1_000)]])]);
    let mount = Mount::with(&world, &["--deadline", "3s"]);
    let path = |partition| mount.latest(&format!("topics/orders/{partition}/records.jsonl"));
    for partition in 0..READERS {
        assert!(fs::metadata(path(partition)).unwrap().len() > 0);
    }
    sh(&format!(
        "find {} -name '*.kseg' | while read segment; do rm $segment; mkfifo $segment; done",
        world.path("data/orders").display()
    ));
    let before = mount.threads();
    thread::scope(|scope| {
        let path = &path;
        let readers: Vec<_> = (0..READERS)
            .map(|partition| scope.spawn(move || fs::read(path(partition))))
            .collect();
        // Meanwhile, names, sizes and what is in memory are shown.
        assert!(fs::metadata(path(7)).unwrap().len() > 0);
        assert_eq!(
            fs::read_dir(mount.latest("topics/orders")).unwrap().count(),
            513
        );
        sh(&format!("df {}", mount.path().display()));
        for reader in readers {
            let error = reader.join().unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(ETIMEDOUT), "{error}");
        }
    });
    // At most 64 reads and 2 listings of a disk, besides the threads that do the work.
    let threads = mount.threads();
    assert!(threads < before + 90, "{before} threads became {threads}");
}

/// Renders these records as SPEC section 10 defines.
fn rendered(records: i64) -> Vec<u8> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let line = |offset| {
        let (key, value) = (text(key_of(offset)), text(value_of(offset)));
        format!(
            "{{\"topic\":\"load\",\"partition\":0,\"offset\":{offset},\"timestamp\":{offset},\"time\":\"1970-01-01T00:{:02}:{:02}.{:03}Z\",\
             \"key\":\"{key}\",\"value\":\"{value}\",\"headers\":[]}}\n",
            offset / 60_000,
            offset / 1000 % 60,
            offset % 1000,
        )
    };
    (0..records)
        .flat_map(|offset| line(offset).into_bytes())
        .collect()
}

fn read_anywhere(path: &std::path::Path, whole: &[u8], seed: u64) {
    let file = File::open(path).unwrap();
    let mut state = seed * 2 + 1;
    for _ in 0..300 {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(seed * 2 + 1);
        let at = usize::try_from(state >> 20).unwrap() % whole.len();
        let length = (1 + at % 70_000).min(whole.len() - at);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at as u64).unwrap();
        assert!(bytes == whole[at..at + length], "{length} bytes at {at}");
    }
}

/// Kafka's own batches, of which nothing states what they decompress to: less than 1 MB stored is 380 MB of text.
#[test]
fn sixteen_partitions_of_compressed_batches_stay_within_the_memory_budget() {
    const PER_PARTITION: i64 = 56;
    const VALUE: usize = 420_000;
    let mut world = World::with_blocks(2_600_000).of_kind(SegmentKind::NotComputed);
    world.content = |offset| (None, vec![b'a' + (offset % 7) as u8; VALUE]);
    let rows: Vec<Row> = (0..PER_PARTITION).map(|offset| (offset, offset)).collect();
    let partitions: Vec<_> = (0..16)
        .map(|partition| ("wide", partition, vec![rows.clone()]))
        .collect();
    world.backup(&partitions);
    let stored: u64 = (0..16).map(|it| world.entries("wide", it)[0].size).sum();
    assert!(stored < MIB, "{stored} bytes");
    let mount = Mount::with(&world, &["--memory", "32MiB"]);
    for file in ["records.jsonl", "values"] {
        thread::scope(|scope| {
            for partition in 0..16 {
                let path = mount.latest(&format!("topics/wide/{partition}/{file}"));
                scope.spawn(move || {
                    let text = fs::read(&path).unwrap();
                    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
                    assert_eq!(lines.len() as i64, PER_PARTITION + 1);
                    assert!(
                        lines[..PER_PARTITION as usize]
                            .iter()
                            .all(|it| it.len() >= VALUE)
                    );
                });
            }
        });
    }
    let most = mount.most_memory();
    assert!(
        most < BUDGET + 100 * MIB,
        "{} MiB were resident",
        most / MIB
    );
}
