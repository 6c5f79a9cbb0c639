//! Reads in both orders, by key, up to a number of records, and from lone files: always what filtering everything gives, and no more is read
//! than that takes.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use kbk_format::Streams;
use kbk_format::repo::{Damage, RepoError, RepoErrorKind, SegmentEntry, SegmentReader};
use kbk_tools::filter::{Conditions, RecordFilter};
use kbk_tools::{
    KeySelection, Order, PartitionReader, ReadOptions, ReadPlan, SegmentFile, SegmentFileError,
    Selection,
};
use proptest::prelude::*;

use crate::support::as_batches::SegmentKind;
use crate::support::{KeyAndValue, Row, World, place, value_of, watched};

/// Offset, timestamp and key.
type Found = (i64, i64, Option<Vec<u8>>);

/// Keys that repeat: null, empty, bytes that are not text, and ordinary ones.
fn content(offset: i64) -> KeyAndValue {
    let key = match offset % 5 {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![0xff, 0, b'\n']),
        rest => Some(format!("k{rest}").into_bytes()),
    };
    (key, value_of(offset))
}

fn selecting(keys: &[Option<Vec<u8>>]) -> RecordFilter {
    let some: HashSet<Vec<u8>> = keys.iter().flatten().cloned().collect();
    RecordFilter::new(Conditions {
        keys: Some(KeySelection::new(some, keys.contains(&None))),
        ..Conditions::default()
    })
}

fn plan(world: &World, topic: &str, selection: &Selection) -> ReadPlan {
    let (snapshot, place) = (world.latest(), place(topic, 0));
    let state = snapshot.partition(&place).unwrap();
    let plan = ReadPlan::new(
        &world.repository,
        &snapshot,
        place.clone(),
        state,
        selection.clone(),
    );
    world.runtime.block_on(plan).unwrap()
}

/// Reads everything, and returns the records and how reading ended.
fn drain(
    world: &World,
    mut reader: PartitionReader,
    options: ReadOptions,
) -> (Vec<Found>, Result<(), RepoError>) {
    let mut found = Vec::new();
    world.runtime.block_on(async {
        loop {
            match reader.next().await {
                Ok(Some(batch)) => {
                    let mut rows = batch.rows();
                    while let Some(row) = options.order.next(&mut rows) {
                        let Some(record) = batch.record(row) else {
                            continue;
                        };
                        if options.streams == Streams::All {
                            assert_eq!(record.value, Some(&*value_of(record.offset)));
                        }
                        let key = record.key.map(<[u8]>::to_vec);
                        found.push((record.offset, record.timestamp, key));
                    }
                }
                Ok(None) => return (found, Ok(())),
                Err(error) => {
                    assert!(reader.next().await.unwrap().is_none());
                    return (found, Err(error));
                }
            }
        }
    })
}

fn read(
    world: &World,
    topic: &str,
    selection: &Selection,
    options: ReadOptions,
) -> (Vec<Found>, Result<(), RepoError>) {
    let reader = plan(world, topic, selection).read_with(options, world.runtime.handle());
    drain(world, reader, options)
}

fn descending(limit: Option<u64>) -> ReadOptions {
    ReadOptions {
        order: Order::Descending,
        limit,
        ..ReadOptions::new(Streams::All)
    }
}

fn with_key(key: &str) -> Selection {
    Selection {
        filter: selecting(&[Some(key.into())]),
        ..Selection::all()
    }
}

/// A partition of three segments with many blocks.
fn world() -> World {
    let mut world = World::new();
    world.content = content;
    let rows = |from: i64| (from..from + 200).map(|o| (o, o)).collect::<Vec<Row>>();
    world.backup(&[("t", 0, vec![rows(0), rows(200), rows(400)])]);
    world
}

#[test]
fn the_last_records_take_the_last_footer_and_the_last_block() {
    let world = world();
    let (repository, watch) = watched(&world);
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    let size = world.entries("t", 0)[2].size;
    for options in [
        descending(Some(5)),
        ReadOptions {
            limit: Some(5),
            ..ReadOptions::new(Streams::All)
        },
    ] {
        let plan = ReadPlan::new(
            &repository,
            &snapshot,
            place.clone(),
            state,
            Selection::all(),
        );
        let plan = world.runtime.block_on(plan).unwrap();
        watch.take();
        watch.take_bytes();
        let reader = plan.read_with(options, world.runtime.handle());
        let (found, end) = drain(&world, reader, options);
        end.unwrap();
        assert!(found.len() >= 5 && found.len() < 50, "{}", found.len());
        let offsets: Vec<i64> = found.iter().take(5).map(|(offset, ..)| *offset).collect();
        match options.order {
            Order::Descending => assert_eq!(offsets, [599, 598, 597, 596, 595]),
            Order::Ascending => assert_eq!(offsets, [0, 1, 2, 3, 4]),
        }
        let segments = watch.take_segments();
        assert_eq!(
            segments.len(),
            2,
            "a footer and a run of blocks: {segments:?}"
        );
        let bytes = watch.take_bytes();
        assert!(bytes * 3 < size, "{bytes} of {size} bytes");
    }
}

#[test]
fn what_was_read_before_damage_is_returned_in_either_order() {
    let world = world();
    let entry = &world.entries("t", 0)[1];
    world.flip(
        &entry.key,
        usize::try_from(entry.footer_position).unwrap() / 2,
    );
    let (up, failed) = read(
        &world,
        "t",
        &Selection::all(),
        ReadOptions::new(Streams::All),
    );
    let error = failed.unwrap_err();
    assert_eq!(error.key(), Some(&*entry.key));
    let (down, failed) = read(&world, "t", &Selection::all(), descending(None));
    assert_eq!(failed.unwrap_err().to_string(), error.to_string());
    let offsets = |found: &[Found]| found.iter().map(|(o, ..)| *o).collect::<Vec<_>>();
    let (up, down) = (offsets(&up), offsets(&down));
    assert!((200..400).contains(&up.len()) && (200..400).contains(&down.len()));
    assert!(up.iter().copied().eq(0..up.len() as i64));
    assert!(
        down.iter()
            .copied()
            .eq((600 - down.len() as i64..600).rev())
    );
    assert!(
        up.len() + down.len() < 600,
        "the block itself is in neither"
    );
}

#[test]
fn nothing_that_was_being_read_meanwhile_follows_damage() {
    let world = world();
    let entry = &world.entries("t", 0)[0];
    world.flip(
        &entry.key,
        usize::try_from(entry.footer_position).unwrap() / 2,
    );
    let (repository, watch) = watched(&world);
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    let plan = ReadPlan::new(
        &repository,
        &snapshot,
        place.clone(),
        state,
        Selection::all(),
    );
    let plan = world.runtime.block_on(plan).unwrap();
    let delay = Duration::from_millis(40);
    watch.delay(delay);
    let mut reader = plan.read(Streams::All, world.runtime.handle());
    world.runtime.block_on(async {
        assert!(reader.next().await.unwrap().is_some());
        // Meanwhile the next segment has been opened, and its blocks are being read.
        tokio::time::sleep(delay * 3 / 2).await;
        while let Ok(batch) = reader.next().await {
            assert!(batch.is_some(), "damage is not the end of the partition");
        }
        assert!(reader.next().await.unwrap().is_none());
    });
}

/// Returns the position of a byte of the values of a block, and the offsets of the block.
fn values_of_a_block(world: &World, entry: &SegmentEntry, number: usize) -> (usize, (i64, i64)) {
    let (store, place) = (world.repository.store(), place("t", 0));
    let opened = SegmentReader::open(store, &place, entry);
    let opened = world.runtime.block_on(opened).unwrap();
    let block = opened.segment().index().entries()[number];
    // Values are the last stream, and less than 64 bytes of padding follow.
    let position = usize::try_from(block.position).unwrap() + block.block_length as usize - 100;
    (position, (block.base_offset, block.end_offset))
}

#[test]
fn values_are_decoded_only_in_blocks_that_have_the_key() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let mut world = World::new();
    // One record in the middle has a key of its own.
    world.content = |offset| {
        let key = if offset == 100 { "rare" } else { "usual" };
        (Some(key.into()), value_of(offset))
    };
    world.backup(&[("t", 0, vec![(0..200).map(|o| (o, o)).collect()])]);
    let entry = world.entries("t", 0).remove(0);
    let (position, (base, end)) = values_of_a_block(&world, &entry, 1);
    assert!(end <= 100 && base > 0);
    world.flip(&entry.key, position);
    let everything = ReadOptions::new(Streams::All);
    let (_, failed) = read(&world, "t", &Selection::all(), everything);
    assert!(matches!(
        failed.unwrap_err().kind(),
        RepoErrorKind::Damaged(Damage::Segment(_))
    ));
    let (found, ended) = read(&world, "t", &with_key("rare"), everything);
    ended.unwrap();
    assert_eq!(found, [(100, 100, Some(b"rare".to_vec()))]);
    let (found, ended) = read(&world, "t", &with_key("usual"), everything);
    assert!(ended.is_err(), "its value is needed, and damaged");
    assert!(found.len() as i64 <= base);
}

#[test]
fn a_file_that_is_not_a_whole_segment_is_named_with_the_reason() {
    let world = world();
    let entry = world.entries("t", 0).remove(0);
    let whole = fs::read(world.path(&entry.key)).unwrap();
    let file = world.path("x.kseg");
    let open = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        SegmentFile::open(&file).unwrap_err()
    };
    for bytes in [&b""[..], b"a letter", &[7; 4000]] {
        let error = open(bytes);
        assert!(
            matches!(error, SegmentFileError::NotASegment { .. }),
            "{error}"
        );
    }
    let footer = usize::try_from(entry.footer_position).unwrap();
    for length in [8, 20, footer, footer + 10, whole.len() - 1] {
        let error = open(&whole[..length]);
        assert!(matches!(error, SegmentFileError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("x.kseg"), "{error}");
    }
    let mut flipped = whole.clone();
    flipped[footer + 20] ^= 1;
    let error = open(&flipped);
    assert!(matches!(error, SegmentFileError::Damaged { .. }), "{error}");
    // The beginning is lost, but the end says what it is.
    let error = open(&whole[64..]);
    assert!(matches!(error, SegmentFileError::Damaged { .. }), "{error}");

    let missing = SegmentFile::open(&world.path("none.kseg")).unwrap_err();
    assert!(matches!(missing, SegmentFileError::Io { .. }), "{missing}");
    let folder = SegmentFile::open(&world.path("data")).unwrap_err();
    assert!(
        matches!(folder, SegmentFileError::NotAFile { .. }),
        "{folder}"
    );
}

#[test]
fn damage_in_a_file_ends_reading_and_names_it() {
    let world = world();
    let entry = world.entries("t", 0).remove(0);
    let mut bytes = fs::read(world.path(&entry.key)).unwrap();
    let middle = usize::try_from(entry.footer_position).unwrap() / 2;
    bytes[middle] ^= 1;
    let path = world.path("copy.kseg");
    fs::write(&path, bytes).unwrap();
    let file = SegmentFile::open(&path).unwrap();
    let options = ReadOptions::new(Streams::All);
    let handle = world.runtime.handle();
    let reader = PartitionReader::of_file(file, Selection::all(), options, handle);
    let (found, ended) = drain(&world, reader, options);
    assert!((1..200).contains(&found.len()));
    let error = ended.unwrap_err().to_string();
    assert!(
        error.contains("copy.kseg") && error.contains("is damaged"),
        "{error}"
    );
}

/// Keys to select, some of which no record has; `None` selects all.
fn subset() -> impl Strategy<Value = Option<Vec<Option<Vec<u8>>>>> {
    let absent = Some(b"absent".to_vec());
    let all: Vec<_> = (0..5)
        .map(|offset| content(offset).0)
        .chain([absent])
        .collect();
    prop::option::of(prop::collection::vec(prop::sample::select(all), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_selection_in_either_order_matches_a_filter(
        timestamps in prop::collection::vec(-1..60_i64, 2..400),
        cut in 1..400_usize,
        (from, to) in (0..420_i64, 0..420_i64),
        (since, until) in (-2..61_i64, -2..61_i64),
        all_offsets: bool,
        all_times: bool,
        keys in subset(),
        limit in prop_oneof![Just(None), (0..30_u64).prop_map(Some)],
        streams in prop::sample::select(vec![Streams::All, Streams::Keys]),
    ) {
        let rows: Vec<Row> = (0..).zip(timestamps).collect();
        let (first, second) = rows.split_at(cut.min(rows.len() - 1));
        let mut world = World::new();
        world.content = content;
        world.backup(&[("t", 0, vec![first.to_vec(), second.to_vec()])]);
        let filter = keys.as_deref().map_or_else(RecordFilter::all, selecting);
        let mut selection = Selection { filter, ..Selection::all() };
        if !all_offsets {
            selection.offsets = from..to;
        }
        if !all_times {
            selection.times = since..=until;
        }
        let model = |rows: &[Row]| -> Vec<Found> {
            let records = rows.iter().map(|(offset, time)| (*offset, *time, content(*offset).0));
            let selected = records.filter(|(offset, time, key)| {
                let has_key = keys.as_ref().is_none_or(|keys| keys.contains(key));
                selection.offsets.contains(offset) && selection.times.contains(time) && has_key
            });
            selected.collect()
        };
        for order in [Order::Ascending, Order::Descending] {
            let in_order = |mut found: Vec<Found>| {
                if order == Order::Descending {
                    found.reverse();
                }
                found
            };
            let options = ReadOptions { streams, order, limit, stops_early: false };
            let (mut found, end) = read(&world, "t", &selection, options);
            end.unwrap();
            let mut expected = in_order(model(&rows));
            if let Some(limit) = limit {
                let limit = limit as usize;
                prop_assert!(found.len() >= expected.len().min(limit));
                found.truncate(limit);
                expected.truncate(limit);
            }
            prop_assert_eq!(&found, &expected);

            // Each segment alone, as a file.
            for (rows, entry) in [first, second].into_iter().zip(world.entries("t", 0)) {
                let file = SegmentFile::open(&world.path(&entry.key)).unwrap();
                let options = ReadOptions { limit: None, ..options };
                let handle = world.runtime.handle();
                let reader = PartitionReader::of_file(file, selection.clone(), options, handle);
                let (found, end) = drain(&world, reader, options);
                end.unwrap();
                prop_assert_eq!(found, in_order(model(rows)));
            }
        }
    }
}
