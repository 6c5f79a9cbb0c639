//! Logs that are damaged, cut off, or in the middle of a transaction.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kbk_format::batch::{BatchCodec, RecordBatches};
use kbk_format::kafka_log::encode_metadata;
use kbk_format::repo::IncompleteReason;
use kbk_format::{Gap, GapReason, PartitionNumber};

use super::*;

mod evidence;
mod progress;
mod world;

use self::world::{World, gap, mark, of_producer, plain, put, records, value};

#[test]
fn transactions_are_resolved_by_their_markers() {
    let mut log = Vec::new();
    put(&mut log, plain(BatchCodec::Gzip), &[10, 11, 14], 16);
    put(&mut log, of_producer(1), &[17, 18], 18);
    put(&mut log, of_producer(2), &[19], 19);
    put(&mut log, of_producer(1), &[20], 20);
    mark(&mut log, 1, 21, false);
    mark(&mut log, 2, 22, true);
    put(&mut log, of_producer(1), &[23], 23);
    mark(&mut log, 1, 24, true);
    put(&mut log, plain(BatchCodec::Zstd), &[30], 30);
    put(&mut log, of_producer(2), &[31], 31);
    put(&mut log, plain(BatchCodec::None), &[32], 32);
    let world = World::new();
    world.log("t-0", 10, &log);
    let report = world.import(&[world.data()]).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [ImportFindingKind::OpenTransaction]);
    let row = &report.partitions[0];
    assert_eq!(
        (row.base_offset, row.end_offset, row.log_end_offset),
        (10, 31, 33)
    );
    assert_eq!((row.records, row.left_out), (6, 6));
    let (found, gaps) = world.stored();
    assert_eq!(found, records([10, 11, 14, 19, 23, 30]));
    use GapReason::{Compacted, Transaction};
    assert_eq!(
        gaps,
        [
            gap(12, 14, Compacted),
            gap(15, 17, Compacted),
            gap(17, 19, Transaction),
            gap(20, 23, Transaction),
            gap(24, 25, Transaction),
            gap(25, 30, Compacted),
        ]
    );
    let snapshot = world
        .runtime
        .block_on(world.repository.latest())
        .unwrap()
        .unwrap();
    assert!(snapshot.topics[0].is_imported());
    let state = &snapshot.topics[0].partitions[0];
    assert_eq!((state.high_watermark, state.last_stable_offset), (33, 31));
    let reason = state.incomplete.as_ref().map(|it| it.reason.clone());
    assert_eq!(reason, Some(IncompleteReason::OpenTransaction));
    assert_eq!(snapshot.topics[0].topic_id.0, [7; 16]);
}

/// Where a batch is: its file, its position there, and its offsets.
type Placed = (usize, std::ops::Range<usize>, [i64; 3]);

/// A log of batches of three records, in two files.
fn long_log() -> ([Vec<u8>; 2], Vec<Placed>) {
    let (mut files, mut batches) = ([Vec::new(), Vec::new()], Vec::new());
    for number in 0..60 {
        let first = number * 3;
        let offsets = [first, first + 1, first + 2];
        let file = usize::from(number >= 30);
        let codec = match number % 3 {
            0 => BatchCodec::None,
            1 => BatchCodec::Lz4,
            _ => BatchCodec::Snappy,
        };
        let start = files[file].len();
        put(&mut files[file], plain(codec), &offsets, first + 2);
        batches.push((file, start..files[file].len(), offsets));
    }
    (files, batches)
}

fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn what_is_intact_of_a_damaged_log_is_stored_and_the_rest_is_named() {
    for seed in 0..60 {
        let (mut files, batches) = long_log();
        let mut state = seed;
        let mut hurt = Vec::new();
        for _ in 0..=random(&mut state) % 3 {
            let file = (random(&mut state) % 2) as usize;
            let length = files[file].len();
            let at = random(&mut state) as usize % length;
            let end = (at + 1 + random(&mut state) as usize % 200).min(length);
            match random(&mut state) % 2 {
                0 => files[file][at] ^= 1 << (random(&mut state) % 8),
                _ => files[file][at..end].fill(0),
            }
            hurt.push((file, at..end));
        }
        if seed % 4 == 0 {
            let cut = files[1].len() - 1 - random(&mut state) as usize % 100;
            hurt.push((1, cut..files[1].len()));
            files[1].truncate(cut);
        }
        let (original, _) = long_log();
        let is_same = |(file, range, _): &&Placed| {
            let found = files[*file].get(range.clone());
            // No checksum covers the leader's epoch, and nothing is read of it.
            let known = |bytes: &[u8]| [&bytes[..12], &bytes[16..]].concat();
            found.map(known) == Some(known(&original[*file][range.clone()]))
        };
        let expected = batches
            .iter()
            .filter(is_same)
            .flat_map(|(.., offsets)| *offsets);
        let expected = records(expected);
        let world = World::new();
        world.log("t-0", 0, &files[0]);
        world.log("t-0", 90, &files[1]);
        let report = world.import(&[world.data()]).unwrap();
        let (found, gaps) = world.stored();
        assert_eq!(
            found, expected,
            "seed {seed}: {hurt:?} {:#?}",
            report.findings
        );
        assert_eq!(
            report.findings.is_empty(),
            expected.len() == 180,
            "seed {seed}"
        );
        assert!(
            gaps.iter().all(|gap| gap.reason == GapReason::Unknown),
            "seed {seed}: {gaps:?}"
        );
        let snapshot = world
            .runtime
            .block_on(world.repository.latest())
            .unwrap()
            .unwrap();
        let incomplete = &snapshot.topics[0].partitions[0].incomplete;
        assert_eq!(incomplete.is_some(), expected.len() != 180, "seed {seed}");
    }
}

#[test]
fn folders_are_found_and_what_is_ambiguous_is_refused() {
    let mut log = Vec::new();
    put(&mut log, plain(BatchCodec::None), &[5, 6, 7], 7);
    let world = World::new();
    let folder = world.log("t-2", 5, &log);
    world.log("t-0.0123-delete", 0, &log);
    fs::write(
        world.data().join("meta.properties"),
        "version=1\ncluster.id=abc\n",
    )
    .unwrap();
    let starts = "0\n1\nt 2 6\n";
    fs::write(world.data().join("log-start-offset-checkpoint"), starts).unwrap();
    for given in [world.data(), folder.clone()] {
        let found = find(&[given]).unwrap();
        let [log] = &found.logs[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (&*log.topic, log.partition.get(), log.first_offset()),
            ("t", 2, 6)
        );
        assert_eq!(log.topic_id.map(|id| id.0), Some([7; 16]));
    }
    let twice = find(&[world.data(), folder.clone()]);
    assert!(matches!(twice, Err(ImportError::Twice { .. })), "{twice:?}");
    let other = world.folder.path().join("other");
    fs::create_dir_all(&other).unwrap();
    assert!(matches!(
        find(std::slice::from_ref(&other)),
        Err(ImportError::NoLogs { .. })
    ));
    fs::copy(
        folder.join(format!("{:020}.log", 5)),
        other.join(format!("{:020}.log", 5)),
    )
    .unwrap();
    assert!(matches!(
        find(&[other]),
        Err(ImportError::NoPartition { .. })
    ));

    // Partitions 0 and 1 are missing, and the record below the start does not count.
    let report = world.import(&[world.data()]).unwrap();
    let expected = [DeletedRecords, MissingPartition, MissingPartition];
    assert_eq!(kinds(&report), expected);
    let row = &report.partitions[0];
    assert_eq!((row.base_offset, row.end_offset, row.records), (6, 8, 2));
    let snapshot = world
        .runtime
        .block_on(world.repository.latest())
        .unwrap()
        .unwrap();
    assert_eq!(snapshot.cluster_id.as_deref(), Some("abc"));
    assert_eq!(snapshot.topics[0].partitions.len(), 3);

    // Of another cluster, nothing is stored here.
    fs::write(world.data().join("meta.properties"), "cluster.id=xyz\n").unwrap();
    let other = world.import(&[world.data()]);
    assert!(
        matches!(other, Err(ImportError::OtherCluster { .. })),
        "{other:?}"
    );
    check_walk(&folder);
}

/// Returns the CRC-32 of formats v0 and v1, and of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

/// Returns a message of format v0 or v1.
fn message(magic: u8, codec: u8, offset: i64, value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, codec];
    if magic == 1 {
        body.extend(1_000_i64.to_be_bytes());
    }
    body.extend((-1_i32).to_be_bytes());
    body.extend((value.len() as i32).to_be_bytes());
    body.extend(value);
    let mut message = offset.to_be_bytes().to_vec();
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend(crc32(&body).to_be_bytes());
    message.extend(body);
    message
}

/// Returns a message set that states `last` as its last offset.
fn set(magic: u8, last: i64, offsets: std::ops::Range<i64>) -> Vec<u8> {
    let first = offsets.start;
    let inner = |offset: i64| {
        let stated = offset - i64::from(magic) * first;
        message(magic, 0, stated, &value(offset))
    };
    let inner: Vec<u8> = offsets.flat_map(inner).collect();
    let length = inner.len() as u16;
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    gzip.extend(length.to_le_bytes());
    gzip.extend((!length).to_le_bytes());
    gzip.extend(&inner);
    gzip.extend(crc32(&inner).to_le_bytes());
    gzip.extend(u32::from(length).to_le_bytes());
    message(magic, 1, last, &gzip)
}

fn batch(offsets: std::ops::Range<i64>) -> Vec<u8> {
    let mut log = Vec::new();
    let all: Vec<i64> = offsets.clone().collect();
    put(&mut log, plain(BatchCodec::None), &all, offsets.end - 1);
    log
}

fn kinds(report: &ImportReport) -> Vec<ImportFindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

impl World {
    /// Imports everything; returns the kinds of what was found, the records and gaps of the first partition, and its incompleteness.
    fn outcome(&self) -> (Vec<ImportFindingKind>, Vec<i64>, Vec<Gap>, bool) {
        let report = self.import(&[self.data()]).unwrap();
        let (found, gaps) = self.stored();
        assert_eq!(found, records(found.keys().copied()));
        let latest = self.runtime.block_on(self.repository.latest());
        let snapshot = latest.unwrap().unwrap();
        let incomplete = snapshot.topics[0].partitions[0].incomplete.is_some();
        assert_eq!(report.is_whole(), !incomplete, "{report:#?}");
        (
            kinds(&report),
            found.into_keys().collect(),
            gaps,
            incomplete,
        )
    }

    fn note(&self, file: &str, offset: i64) {
        let text = format!("0\n1\nt 0 {offset}\n");
        fs::write(self.data().join(file), text).unwrap();
    }
}

use ImportFindingKind::{
    DamagedBatch, DeletedRecords, GapBetweenFiles, MissingPartition, StartBeyondEnd,
    UnfinishedCompaction, UnprovenTransaction,
};

#[test]
fn records_with_the_offsets_of_others_are_never_dropped_in_silence() {
    // No checksum covers the last offset of a set of v1, and the others are relative to it.
    let world = World::new();
    let log = [set(1, 9, 0..10), set(1, 15, 10..20), set(1, 29, 20..30)].concat();
    world.log("t-0", 0, &log);
    let stored = (0..10).chain(20..30).collect();
    let gaps = vec![gap(10, 20, GapReason::Unknown)];
    assert_eq!(world.outcome(), (vec![DamagedBatch], stored, gaps, true));

    // Those of v0 are their own: those that are not there yet are stored.
    let world = World::new();
    let log = [set(0, 9, 0..10), set(0, 19, 5..20)].concat();
    world.log("t-0", 0, &log);
    let found = world.outcome();
    assert_eq!(found, (vec![DamagedBatch], (0..20).collect(), vec![], true));

    // What is below the start was deleted, and that is said.
    let world = World::new();
    world.log("t-0", 0, &[set(1, 9, 0..10), set(1, 19, 10..20)].concat());
    world.note("log-start-offset-checkpoint", 4);
    let found = world.outcome();
    assert_eq!(
        found,
        (vec![DeletedRecords], (4..20).collect(), vec![], false)
    );
}

#[test]
fn every_folder_that_is_named_after_a_partition_is_imported_or_named() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    let folder = world.log("t-0", 0, &batch(0..3));
    let bare = |name: &str, file: &str| {
        let folder = world.data().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(file), batch(0..3)).unwrap();
    };
    bare("t-1", "00000000000000000000.log.swap");
    bare("t-2", "00000000000000000000.log.deleted");
    symlink(
        world.folder.path().join("nowhere"),
        world.data().join("t-3"),
    )
    .unwrap();
    fs::write(world.data().join("t-4"), "no folder").unwrap();
    bare("u-0", "partition.metadata");
    let other = world.folder.path().join("other");
    fs::rename(&folder, &other).unwrap();
    symlink(&other, world.data().join("t-0")).unwrap();
    symlink(&other, world.data().join("payments-1")).unwrap();
    // All of it is known before a log is read; so is, the next time, that the topics are stored already.
    let planned = world.planned();
    let report = world.import(&[world.data()]).unwrap();
    assert_eq!(planned, report.findings);
    let beside = world.planned().into_iter();
    let beside = beside.filter(|it| it.kind == ImportFindingKind::StoredBeside);
    assert_eq!(beside.count(), 3);
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|it| (it.kind, &*it.topic, it.partition.map(PartitionNumber::get)))
        .collect();
    let expected = [
        (MissingPartition, "payments", Some(0)),
        (UnfinishedCompaction, "t", Some(1)),
        (MissingPartition, "t", Some(2)),
        (MissingPartition, "t", Some(3)),
        (MissingPartition, "t", Some(4)),
        (MissingPartition, "u", Some(0)),
    ];
    assert_eq!(found, expected, "{report:#?}");
    let rows = report.partitions.iter();
    let rows = rows.map(|it| (&*it.topic, it.partition.get(), it.records));
    assert_eq!(rows.collect::<Vec<_>>(), [("payments", 1, 3), ("t", 0, 3)]);
    let latest = world.runtime.block_on(world.repository.latest());
    let snapshot = latest.unwrap().unwrap();
    let states = snapshot.topics.iter().flat_map(|it| &it.partitions);
    let incomplete = states.filter(|it| it.incomplete.is_some()).count();
    assert_eq!(incomplete, expected.len());

    // Given itself, a link has its own name, too.
    let found = find(&[world.data().join("payments-1")]).unwrap();
    assert_eq!(&*found.logs[0].topic, "payments");
}

#[test]
fn offsets_between_two_files_are_named_unless_compaction_explains_them() {
    let gap_found = vec![GapBetweenFiles];
    let unknown = vec![gap(3, 6, GapReason::Unknown)];
    // A file is missing, or is empty, or was cut off between two batches.
    for empty in [false, true] {
        let world = World::new();
        world.log("t-0", 0, &batch(0..3));
        if empty {
            world.log("t-0", 3, &[]);
        }
        world.log("t-0", 6, &batch(6..9));
        let stored = vec![0, 1, 2, 6, 7, 8];
        let expected = (gap_found.clone(), stored, unknown.clone(), true);
        assert_eq!(world.outcome(), expected);
    }
    // The last file may be empty, where it follows.
    for (last, whole) in [(3, true), (6, false)] {
        let world = World::new();
        world.log("t-0", 0, &batch(0..3));
        world.log("t-0", last, &[]);
        let (found, stored, gaps, incomplete) = world.outcome();
        assert_eq!((found.is_empty(), !incomplete), (whole, whole));
        assert_eq!((stored, gaps.len()), (vec![0, 1, 2], usize::from(!whole)));
    }
    // Compaction has gone over it: the broker has noted so, or offsets are missing within a file that is near enough.
    let mut sparse = Vec::new();
    put(&mut sparse, plain(BatchCodec::None), &[6, 8], 8);
    for (cleaned, tail, whole) in [
        (Some(6), batch(6..9), true),
        (Some(5), batch(6..9), false),
        // No checksum covers what is noted, and it cannot be beyond the end.
        (Some(i64::MAX), batch(6..9), false),
        (None, sparse, true),
    ] {
        let world = World::new();
        world.log("t-0", 0, &batch(0..3));
        world.log("t-0", 6, &tail);
        if let Some(cleaned) = cleaned {
            world.note("cleaner-offset-checkpoint", cleaned);
        }
        let (found, _, gaps, incomplete) = world.outcome();
        assert_eq!(
            (found.is_empty(), !incomplete),
            (whole, whole),
            "{cleaned:?}"
        );
        let reason = match whole {
            true => GapReason::Compacted,
            false => GapReason::Unknown,
        };
        assert_eq!(gaps[0], gap(3, 6, reason));
    }
}

#[test]
fn a_start_beyond_the_end_of_a_log_drops_nothing() {
    for start in [7, 100, i64::MAX] {
        let world = World::new();
        world.log("t-0", 0, &batch(0..6));
        world.note("log-start-offset-checkpoint", start);
        let expected = (vec![StartBeyondEnd], (0..6).collect(), vec![], true);
        assert_eq!(world.outcome(), expected);
    }
    // That every record was deleted is possible, and said.
    let world = World::new();
    world.log("t-0", 0, &batch(0..6));
    world.note("log-start-offset-checkpoint", 6);
    let expected = (vec![DeletedRecords], vec![], vec![], false);
    assert_eq!(world.outcome(), expected);
}

#[test]
fn a_later_marker_proves_nothing_of_records_before_damage() {
    use GapReason::{Transaction, Unknown};
    for commits in [true, false] {
        let mut log = Vec::new();
        put(&mut log, of_producer(1), &[0, 1], 1);
        put(&mut log, of_producer(2), &[2], 2);
        mark(&mut log, 2, 3, true);
        let first = log.len();
        mark(&mut log, 1, 4, commits);
        let damaged = log.len() - 1;
        put(&mut log, of_producer(1), &[5, 6], 6);
        mark(&mut log, 1, 7, !commits);
        put(&mut log, plain(BatchCodec::None), &[8], 8);
        let mut hurt = log.clone();
        hurt[damaged] ^= 1;
        // The marker is damaged, or the files were cut before and behind it.
        for cut in [false, true] {
            let world = World::new();
            match cut {
                false => {
                    world.log("t-0", 0, &hurt);
                }
                true => {
                    world.log("t-0", 0, &log[..first]);
                    world.log("t-0", 5, &log[damaged + 1..]);
                }
            }
            let later = if commits { vec![8] } else { vec![5, 6, 8] };
            let stored = [vec![2], later].concat();
            let gaps = match commits {
                true => vec![
                    gap(0, 2, Unknown),
                    gap(3, 4, Transaction),
                    gap(4, 5, Unknown),
                    gap(5, 8, Transaction),
                ],
                false => vec![
                    gap(0, 2, Unknown),
                    gap(3, 4, Transaction),
                    gap(4, 5, Unknown),
                    gap(7, 8, Transaction),
                ],
            };
            let cause = if cut { GapBetweenFiles } else { DamagedBatch };
            let found = vec![cause, UnprovenTransaction];
            assert_eq!(world.outcome(), (found, stored, gaps, true));
        }
    }
}

/// What the tests write are batches.
fn check_walk(folder: &Path) {
    let bytes = fs::read(folder.join(format!("{:020}.log", 5))).unwrap();
    assert!(RecordBatches::new(&bytes, 0).all(|batch| batch.unwrap().check_crc().is_ok()));
}
