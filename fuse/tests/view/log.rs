//! `log/` of a partition: the files that an export writes, without writing them.

use std::collections::BTreeSet;

use kbk_format::{Open, Segment, TimestampType};
use kbk_fuse::{View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::log::{Files, files, files_of_stored, stored};
use crate::support::read::{find, list, names, read, read_by};
use crate::support::records::Rec;
use crate::support::watched::{Watch, watched};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

const LOG: &str = "latest/topics/orders/0/log";
const FIRST: &str = "latest/topics/orders/0/log/00000000000000000000.log";

async fn open(world: &World) -> View {
    View::open(world.store(), ViewOptions::default())
        .await
        .unwrap()
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// Records with everything that a record can hold, between gaps, about a kilobyte each.
fn mixed(offsets: std::ops::Range<i64>, random: &mut Random) -> Part {
    let mut records = Vec::new();
    let mut offset = offsets.start;
    while offset < offsets.end {
        let length = match random.below(200) {
            0 => 300_000,
            1 => 0,
            _ => random.below(2_000),
        };
        let bytes = |length: u64, random: &mut Random| {
            (0..length)
                .map(|_| random.below(256) as u8)
                .collect::<Vec<u8>>()
        };
        let header = |random: &mut Random| {
            let name = bytes(random.below(9), random);
            let value = (random.below(3) > 0).then(|| bytes(random.below(300), random));
            (name, value)
        };
        records.push(Rec {
            offset,
            timestamp: match random.below(40) {
                0 => -1,
                1 => 0,
                _ => 1_763_800_000_000 + offset * 50 - random.below(5_000) as i64,
            },
            key: (random.below(4) > 0).then(|| bytes(random.below(40), random)),
            value: (random.below(9) > 0).then(|| bytes(length, random)),
            headers: (0..random.below(4)).map(|_| header(random)).collect(),
        });
        offset += 1 + [0, 0, 0, 0, 7][random.below(5) as usize];
    }
    Part { offsets, records }
}

/// The files of a partition, of what is stored: where that is columns, they follow from the records alone.
async fn expected_files(
    world: &World,
    (sequence, topic): (u64, &str),
    offsets: std::ops::Range<i64>,
    timestamp_type: TimestampType,
    records: &[Rec],
    topic_id: u8,
) -> Files {
    let segments = stored(world, sequence, topic).await;
    let expected = files_of_stored(offsets.clone(), timestamp_type, &segments, topic_id);
    if world.kind == SegmentKind::Columns {
        assert!(expected == files(offsets, timestamp_type, records, topic_id));
    }
    expected
}

/// Checks that the folder has exactly these files, by any way to read it.
async fn assert_shows(view: &View, folder: &str, expected: &Files) {
    let inode = find(view, folder).await.unwrap().inode;
    let listed = list(view, inode, 4).await.unwrap();
    let mut found: Vec<_> = listed
        .iter()
        .map(|it| (it.name.clone(), it.attributes.as_ref().unwrap().size))
        .collect();
    found.sort();
    let sizes: Vec<_> = expected
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
        .collect();
    assert_eq!(found, sizes, "{folder}");
    let inodes: BTreeSet<_> = listed.iter().map(|it| it.inode).collect();
    assert_eq!(inodes.len(), listed.len());
    for (name, bytes) in expected {
        let path = format!("{folder}/{name}");
        for length in [128 << 10, 1 << 20, 7_001] {
            let found = read_by(view, &path, length).await.unwrap();
            assert!(found == *bytes, "{path}, {length} bytes at a time");
        }
    }
}

/// Reads ranges of a file, each through a handle of its own: nothing is read ahead.
async fn assert_ranges(view: &View, path: &str, bytes: &[u8], random: &mut Random) {
    let inode = find(view, path).await.unwrap().inode;
    let size = bytes.len() as u64;
    for _ in 0..60 {
        let start = random.below(size + 10);
        let length = match random.below(3) {
            0 => random.below(100),
            1 => random.below(10_000),
            _ => random.below(2 << 20),
        };
        let file = view.open_file(inode).await.unwrap();
        let found = file.read(start, length as usize).await.unwrap();
        let range = start.min(size) as usize..(start + length).min(size) as usize;
        assert!(found == bytes[range], "{length} bytes at {start} of {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_the_files_of_an_export() {
    let mut random = Random(1);
    let far = 5_000_000_000;
    let tail = |from: i64| Part {
        offsets: from..from + 3 * far,
        records: vec![
            Rec {
                offset: from,
                ..Rec::default()
            },
            Rec {
                offset: from + far,
                timestamp: 7,
                ..Rec::default()
            },
        ],
    };
    let empty = Part {
        offsets: 30..40,
        records: Vec::new(),
    };
    let topics: [(&str, TimestampType, Vec<Part>); 8] = [
        (
            "mixed",
            TimestampType::CreateTime,
            vec![
                mixed(0..2_000, &mut random),
                mixed(2_000..4_000, &mut random),
            ],
        ),
        (
            "small",
            TimestampType::CreateTime,
            (0..600)
                .map(|at| mixed(100 + at * 3..103 + at * 3, &mut random))
                .collect(),
        ),
        (
            "append",
            TimestampType::LogAppendTime,
            vec![mixed(5..500, &mut random)],
        ),
        (
            "far",
            TimestampType::CreateTime,
            vec![mixed(0..50, &mut random), tail(50)],
        ),
        ("gap", TimestampType::CreateTime, vec![empty.clone()]),
        (
            "ends-in-a-gap",
            TimestampType::CreateTime,
            vec![mixed(0..30, &mut random), empty],
        ),
        ("none", TimestampType::CreateTime, vec![]),
        (
            "same-time",
            TimestampType::LogAppendTime,
            vec![Part {
                offsets: 0..2_000,
                records: (0..2_000)
                    .map(|offset| Rec {
                        offset,
                        timestamp: 9,
                        value: Some(vec![b'x'; 900]),
                        ..Rec::default()
                    })
                    .collect(),
            }],
        ),
    ];
    for block_bytes in [20_000, 400_000] {
        let mut world = World::new().await;
        world.block_bytes = block_bytes;
        for (topic, timestamp_type, parts) in &topics {
            world.timestamp_type = *timestamp_type;
            world.backup(&[(topic, 7, 0, parts.clone())]).await;
        }
        let view = open(&world).await;
        for (topic, timestamp_type, parts) in &topics {
            let records: Vec<_> = parts.iter().flat_map(|part| part.records.clone()).collect();
            let start = parts.first().map_or(0, |part| part.offsets.start);
            let end = parts.last().map_or(0, |part| part.offsets.end);
            let newest = topics.len() as u64;
            let of = (newest, *topic);
            let expected =
                expected_files(&world, of, start..end, *timestamp_type, &records, 7).await;
            let folder = format!("latest/topics/{topic}/0/log");
            assert_shows(&view, &folder, &expected).await;
            for (name, bytes) in &expected {
                let path = format!("{folder}/{name}");
                assert_ranges(&view, &path, bytes, &mut random).await;
            }
            assert_eq!(expected.len() > 5, *topic == "far");
        }
        assert!(
            find(&view, "latest/topics/mixed/0/log/00000000000000000001.log")
                .await
                .is_err()
        );
        for name in [
            "0.log",
            "00000000000000000000.txnindex",
            "00000000000000000000-x.log",
            "x",
        ] {
            let path = format!("latest/topics/mixed/0/log/{name}");
            assert!(
                matches!(find(&view, &path).await, Err(ViewError::NotFound)),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn each_snapshot_has_the_log_of_its_time() {
    let world = World::new().await;
    let parts: Vec<_> = (0..3)
        .map(|at| Part::plain(at * 50, at * 50 + 50))
        .collect();
    for part in &parts {
        world.backup(&[("orders", 1, 0, vec![part.clone()])]).await;
    }
    let view = open(&world).await;
    for snapshots in 1..=3 {
        let records: Vec<_> = parts[..snapshots]
            .iter()
            .flat_map(|part| part.records.clone())
            .collect();
        let end = 50 * snapshots as i64;
        let create_time = TimestampType::CreateTime;
        let of = (snapshots as u64, "orders");
        let expected = expected_files(&world, of, 0..end, create_time, &records, 1).await;
        let folder = format!("snapshots/{snapshots}/topics/orders/0/log");
        assert_shows(&view, &folder, &expected).await;
        // The time of a file is that of its newest record.
        let log = find(&view, &format!("{folder}/00000000000000000000.log")).await;
        let modified = log.unwrap().attributes.modified_ms;
        assert_eq!(modified, (end as u64 - 1) * 60_000);
    }
    assert!(
        !names(&view, "follow/topics/orders/0")
            .await
            .contains(&"log".to_owned())
    );
}

/// A world whose one log is of several megabytes, in blocks of about 100 KB, and its log.
async fn large() -> (World, Vec<Part>, Vec<u8>) {
    let mut world = World::new().await;
    world.block_bytes = 100_000;
    let mut random = Random(3);
    let parts = vec![
        mixed(0..5_000, &mut random),
        mixed(5_000..10_000, &mut random),
    ];
    world.backup(&[("orders", 1, 0, parts.clone())]).await;
    let records: Vec<_> = parts.iter().flat_map(|part| part.records.clone()).collect();
    let create_time = TimestampType::CreateTime;
    let mut all = expected_files(&world, (1, "orders"), 0..10_000, create_time, &records, 1).await;
    let log = all.remove("00000000000000000000.log").unwrap();
    assert!(log.len() > 5 << 20, "{}", log.len());
    (world, parts, log)
}

async fn watched_view(world: &World) -> (View, Watch) {
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    find(&view, "latest/topics/orders/0").await.unwrap();
    watch.take_bytes();
    (view, watch)
}

#[tokio::test]
async fn a_listing_reads_meta_alone_and_a_read_only_what_it_overlaps() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let (world, _, log) = large().await;
    let (view, watch) = watched_view(&world).await;
    names(&view, LOG).await;
    let file = find(&view, FIRST).await.unwrap();
    assert_eq!(file.attributes.size, log.len() as u64);
    let listed = watch.take_bytes();
    let stored = file.attributes.stored_bytes;
    assert!(stored > 5 << 20);
    assert!(listed * 20 < stored, "{listed} of {stored} bytes");
    names(&view, LOG).await;
    assert_eq!(watch.take_bytes(), 0, "it is kept");
    // In the middle of the file.
    let handle = view.open_file(file.inode).await.unwrap();
    let at = log.len() / 2;
    let found = handle.read(at as u64, 4096).await.unwrap();
    assert!(found == log[at..at + 4096]);
    let bytes = watch.take_bytes();
    assert!(bytes < 2 << 20, "{bytes}");
}

/// Replaces an object by one with a flipped byte.
async fn flip(world: &World, key: &str, position: u64) {
    let path = Path::from(key);
    let bytes = world.objects.get(&path).await.unwrap().bytes().await;
    let mut bytes = bytes.unwrap().to_vec();
    bytes[position as usize] ^= 1;
    world.objects.put(&path, bytes.into()).await.unwrap();
}

/// The last segment: its key, and its footer.
async fn last_segment(world: &World) -> (String, Segment) {
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let topic = &snapshot.topics[0];
    let (id, state) = (topic.partition_id(0.into()), &topic.partitions[0]);
    let entries = world
        .repository
        .segments(&snapshot, &id, state)
        .await
        .unwrap();
    let key = entries.last().unwrap().key.clone();
    let bytes = world.objects.get(&Path::from(key.as_str())).await.unwrap();
    let bytes = bytes.bytes().await.unwrap();
    let Ok(Open::Ready(segment)) = Segment::open(&bytes, bytes.len() as u64) else {
        panic!("it is intact");
    };
    (key, *segment)
}

/// Of Kafka's own batches, a listing reads footers alone, and only the last block where it ends in a gap; nothing is decoded.
#[tokio::test]
async fn a_listing_of_stored_batches_reads_footers_alone() {
    let mut random = Random(5);
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        let mut world = World::new().await;
        (world.kind, world.block_bytes) = (kind, 100_000);
        let part = |from: i64, to: i64, random: &mut Random| {
            let mut part = mixed(from..to, random);
            let last = part.records.last_mut().unwrap();
            last.offset = to - 1;
            part
        };
        let mut parts = vec![part(0, 2_000, &mut random), part(2_000, 4_000, &mut random)];
        world.backup(&[("orders", 1, 0, parts.clone())]).await;
        parts.push(Part {
            offsets: 4_000..4_100,
            records: vec![Rec {
                offset: 4_000,
                ..Rec::default()
            }],
        });
        world.backup(&[("orders", 1, 0, parts[2..].to_vec())]).await;
        let segments = stored(&world, 2, "orders").await;
        let footer = |bytes: &Vec<u8>| {
            let segment = Segment::open_whole(bytes).unwrap();
            bytes.len() as u64 - segment.footer_position()
        };
        let footers = segments.iter().map(footer);
        assert!(segments.iter().map(Vec::len).sum::<usize>() > 2 << 20);
        for (snapshot, end) in [(1, 4_000), (2, 4_100)] {
            let (store, watch) = watched(world.objects.clone());
            let view = View::open(store, ViewOptions::default()).await.unwrap();
            let folder = format!("snapshots/{snapshot}/topics/orders/0/log");
            find(&view, &format!("snapshots/{snapshot}/topics/orders"))
                .await
                .unwrap();
            watch.take_bytes();
            let log = format!("{folder}/00000000000000000000.log");
            let size = find(&view, &log).await.unwrap().attributes.size;
            let read: u64 = watch
                .take_segments()
                .iter()
                .map(|(_, it)| it.end - it.start)
                .sum();
            // The last block of records with gaps tells where its last batch ends.
            let most: u64 = footers.clone().take(snapshot + 1).sum();
            assert!(read <= most + 110_000, "{read} bytes, footers of {most}");
            let create_time = TimestampType::CreateTime;
            let segments = &segments[..=snapshot];
            let expected = files_of_stored(0..end, create_time, segments, 1);
            assert_eq!(size, expected["00000000000000000000.log"].len() as u64);
            assert_shows(&view, &folder, &expected).await;
        }
    }
}

/// The place of a damaged block of batches is known: only reads of its batches fail, and those of the indexes, which name single batches.
#[tokio::test]
async fn a_damaged_block_of_batches_affects_only_its_own() {
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        let mut world = World::new().await;
        (world.kind, world.block_bytes) = (kind, 30_000);
        let part = mixed(0..1_000, &mut Random(9));
        world.backup(&[("orders", 1, 0, vec![part])]).await;
        let segments = stored(&world, 1, "orders").await;
        let segment = Segment::open_whole(&segments[0]).unwrap();
        let mut all = files_of_stored(0..1_000, TimestampType::CreateTime, &segments, 1);
        let log = all.remove("00000000000000000000.log").unwrap();
        let entries = segment.index().entries();
        for number in [0, entries.len() / 2] {
            let before: u64 = entries[..number]
                .iter()
                .map(|it| u64::from(it.raw_length))
                .sum();
            let lost = before as usize..before as usize + entries[number].raw_length as usize;
            let (key, _) = last_segment(&world).await;
            let position = entries[number].end() - 100;
            flip(&world, &key, position).await;
            let view = open(&world).await;
            let file = find(&view, FIRST).await.unwrap();
            assert_eq!(file.attributes.size, log.len() as u64);
            // Noted by this one.
            let handle = view.open_file(file.inode).await.unwrap();
            handle.read(lost.start as u64, 1).await.unwrap_err();
            let handle = view.open_file(file.inode).await.unwrap();
            let mut at = 0;
            while at < log.len() {
                match handle.read(at as u64, 10_000).await {
                    Ok(found) => {
                        assert!(!found.is_empty() && log[at..].starts_with(&found));
                        at += found.len();
                    }
                    Err(error) => {
                        assert!(matches!(error, ViewError::Damaged { .. }), "{error}");
                        // A chunk of 128 KiB is all or nothing.
                        assert!(at <= lost.start && lost.start - at < 300_000, "{at}");
                        at = lost.end + 300_000;
                    }
                }
            }
            let index = find(&view, &format!("{LOG}/00000000000000000000.timeindex")).await;
            let index = view.open_file(index.unwrap().inode).await;
            assert!(matches!(index, Err(ViewError::Damaged { .. })));
            flip(&world, &key, position).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_values_affects_the_batches_that_have_them() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let (world, _, log) = large().await;
    let (key, segment) = last_segment(&world).await;
    let block = segment.index().entries()[5];
    flip(&world, &key, block.end() - 200).await;
    let view = open(&world).await;
    let file = find(&view, FIRST).await.unwrap();
    assert_eq!(file.attributes.size, log.len() as u64);
    let mut lost = 0;
    let step = 10_000;
    // The second handle is opened when the damage is known.
    for round in 0..2 {
        let handle = view.open_file(file.inode).await.unwrap();
        assert_eq!(handle.has_damage(), round == 1);
        lost = 0;
        let mut at = 0;
        while at < log.len() {
            let end = (at + step).min(log.len());
            match handle.read(at as u64, end - at).await {
                Ok(found) => {
                    assert!(log[at..].starts_with(&found));
                    assert!(found.len() == end - at || round == 1 && !found.is_empty());
                    at += found.len();
                }
                Err(error) => {
                    assert!(matches!(error, ViewError::Damaged { .. }), "{error}");
                    let offsets = error.to_string();
                    let named = format!("offsets {} to {}", block.base_offset, block.end_offset);
                    assert!(offsets.contains(&named), "{offsets}");
                    (lost, at) = (lost + end - at, end);
                }
            }
        }
        // The block is of 100 KB; at most one batch before it and one behind it have records of it, too.
        assert!((50_000..800_000).contains(&lost), "{lost}");
    }
    assert!(lost > 0);
    let errors = read(&view, "latest/errors.jsonl").await.unwrap();
    assert_eq!(String::from_utf8(errors).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_log_that_cannot_be_measured_has_no_files() {
    // Of batches, the place of each block is known without reading it.
    let has_meta = SegmentKind::of_this_run() == SegmentKind::Columns;
    for missing in [false, true] {
        if !missing && !has_meta {
            continue;
        }
        let world = World::new().await;
        let parts = vec![Part::plain(0, 200), Part::plain(200, 400)];
        world
            .backup(&[
                ("orders", 1, 0, parts),
                ("other", 2, 0, vec![Part::plain(0, 9)]),
            ])
            .await;
        let (key, segment) = last_segment(&world).await;
        let block = segment.index().entries()[3];
        match missing {
            true => world
                .objects
                .delete(&Path::from(key.as_str()))
                .await
                .unwrap(),
            false => flip(&world, &key, block.meta_end() - 1).await,
        }
        let view = open(&world).await;
        let folder = find(&view, LOG).await.unwrap().inode;
        let error = list(&view, folder, 10).await.unwrap_err();
        let is_expected = match missing {
            true => matches!(error, ViewError::Missing { .. }),
            false => matches!(error, ViewError::Damaged { .. }),
        };
        assert!(is_expected, "{error}");
        let error = find(&view, FIRST).await.unwrap_err();
        assert!(!matches!(error, ViewError::NotFound), "{error}");
        let errors = read(&view, "latest/errors.jsonl").await.unwrap();
        let errors = String::from_utf8(errors).unwrap();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        if !missing {
            let named = format!(
                "\"base_offset\":{},\"end_offset\":{}",
                block.base_offset, block.end_offset
            );
            assert!(errors.contains(&named), "{errors}");
        }
        // Everything else is there.
        names(&view, "latest/topics/orders/0").await;
        names(&view, "latest/topics/other/0/log").await;
        let first = find(&view, "latest/topics/orders/0/by-offset/0-199.jsonl").await;
        assert!(first.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_whoever_reads() {
    let (world, _, log) = large().await;
    let limit = 3 << 20;
    let options = ViewOptions {
        memory_bytes: limit,
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let inode = find(&view, FIRST).await.unwrap().inode;
    let log = std::sync::Arc::new(log);
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (view, log) = (view.clone(), std::sync::Arc::clone(&log));
            tokio::spawn(async move {
                let file = view.open_file(inode).await.unwrap();
                let mut at = reader * log.len() / 5;
                while at < log.len() {
                    let found = file.read(at as u64, 128 << 10).await.unwrap();
                    assert!(!found.is_empty() && log[at..].starts_with(&found));
                    at += found.len();
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let status = view.status();
    // While the log is measured, META that is read ahead is counted, too.
    assert!(status.most_held_bytes < 12 << 20, "{status:?}");
    assert!(status.held_bytes <= limit, "{status:?}");
}

#[tokio::test]
async fn a_log_of_more_segments_than_there_are_numbers_for_is_refused() {
    let far = 3_000_000_000;
    let count = 1 << 14;
    let records = (0..count).map(|at| Rec {
        offset: at * far,
        ..Rec::default()
    });
    let part = Part {
        offsets: 0..count * far,
        records: records.collect(),
    };
    let mut world = World::new().await;
    world.block_bytes = 100_000;
    world.backup(&[("orders", 1, 0, vec![part])]).await;
    let view = open(&world).await;
    let folder = find(&view, LOG).await.unwrap().inode;
    let error = list(&view, folder, 10).await.unwrap_err();
    assert!(matches!(error, ViewError::TooManyFiles { .. }), "{error}");
    assert!(error.to_string().contains("orders/0"), "{error}");
}
