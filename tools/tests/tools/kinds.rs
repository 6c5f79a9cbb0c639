//! What is read of segments of Kafka's own batches, whether their numbers were computed or not, is what is read of columns.

use std::ops::Range;
use std::sync::Arc;

use kbk_format::batch::BatchDecoder;
use kbk_format::repo::SegmentEntry;
use kbk_format::{BlockDecoder, Segment};
use kbk_tools::inspect::inspect;
use kbk_tools::verify::{FilesOptions, Finding, FindingKind, VerifyOptions, verify, verify_files};
use kbk_tools::{Selection, StoredBlock, offset_for_time};

use crate::support::as_batches::SegmentKind;
use crate::support::{Row, World, place};

/// Late records, records without a timestamp, and gaps.
fn rows(from: i64, to: i64) -> Vec<Row> {
    let time = |offset: i64| match offset % 11 {
        0 => -1,
        3 => offset * 10 - 700,
        _ => 1_000 + offset * 10,
    };
    let all = (from..to).filter(|offset| offset % 13 != 4);
    all.map(|offset| (offset, time(offset))).collect()
}

fn world(kind: SegmentKind) -> World {
    let world = World::new().of_kind(kind);
    let segments = [(0, 150), (150, 151), (151, 400)].map(|(from, to)| rows(from, to));
    world.backup(&[("t", 0, segments.into())]);
    world
}

/// The offsets that a selection by time reads.
fn selected(world: &World, from: i64, to: i64) -> Vec<i64> {
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    let selection = Selection {
        times: from..=to,
        ..Selection::all()
    };
    let (repository, handle) = (&world.repository, world.runtime.handle());
    let plan = kbk_tools::ReadPlan::new(repository, &snapshot, place, state, selection);
    let plan = world.runtime.block_on(plan).unwrap();
    let mut reader = plan.read(kbk_format::Streams::Meta, handle);
    let mut offsets = Vec::new();
    world.runtime.block_on(async {
        while let Some(batch) = reader.next().await.unwrap() {
            offsets.extend(batch.records().map(|record| record.offset));
        }
    });
    offsets
}

fn first_at(world: &World, time: i64) -> Option<i64> {
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    let found = offset_for_time(&world.repository, &snapshot, &place, state, time);
    world.runtime.block_on(found).unwrap()
}

#[test]
fn searches_by_time_find_the_same_records_in_segments_of_every_kind() {
    let columns = world(SegmentKind::Columns);
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        let world = world(kind);
        let entries = world.entries("t", 0);
        let is_computed = kind == SegmentKind::Batches;
        assert!(
            entries
                .iter()
                .all(|it| it.batches && it.is_computed() == is_computed)
        );
        let times = [
            i64::MIN,
            -2,
            -1,
            0,
            1,
            500,
            1_000,
            1_755,
            2_600,
            4_300,
            4_990,
            5_000,
            i64::MAX,
        ];
        for from in times {
            assert_eq!(
                first_at(&world, from),
                first_at(&columns, from),
                "{kind:?} {from}"
            );
            for to in times.into_iter().filter(|to| *to >= from) {
                let (found, expected) = (selected(&world, from, to), selected(&columns, from, to));
                assert_eq!(found, expected, "{kind:?} {from} to {to}");
            }
        }
    }
}

/// Reads blocks as they are stored: the selected offsets, and how many batches were lent as a whole.
fn stored(world: &World, selection: Selection) -> (Vec<i64>, usize) {
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    let (repository, handle) = (&world.repository, world.runtime.handle());
    let plan = kbk_tools::ReadPlan::new(repository, &snapshot, place, state, selection);
    let plan = world.runtime.block_on(plan).unwrap();
    let mut reader = plan.read(kbk_format::Streams::All, handle);
    let mut decoder = BatchDecoder::new();
    let (mut offsets, mut whole) = (Vec::new(), 0);
    world.runtime.block_on(async {
        while let Some(block) = reader.next_stored().await.unwrap() {
            match block {
                StoredBlock::Records(batch) => {
                    offsets.extend(batch.records().map(|record| record.offset));
                }
                StoredBlock::Batches(mut batches) => {
                    while let Some(batch) = batches.next().unwrap() {
                        assert_eq!(batch.bytes(), batch.batch().bytes());
                        if batch.is_whole() {
                            whole += 1;
                            let records = decoder.decode(batch.batch()).unwrap();
                            offsets.extend(records.map(|record| record.offset));
                        } else {
                            let records = batch.records(&mut decoder).unwrap();
                            offsets.extend(records.map(|record| record.offset));
                        }
                    }
                }
            }
        }
    });
    (offsets, whole)
}

#[test]
fn batches_are_lent_whole_only_where_all_of_their_records_are_selected() {
    let all = rows(0, 400);
    for kind in [
        SegmentKind::Columns,
        SegmentKind::Batches,
        SegmentKind::NotComputed,
    ] {
        let world = world(kind);
        let mut lent = 0;
        for offsets in [0..i64::MAX, 3..397, 100..101, 7..260, 151..400] {
            for times in [
                i64::MIN..=i64::MAX,
                i64::MIN..=3_000,
                1_500..=i64::MAX,
                -1..=-1,
                2_000..=2_001,
            ] {
                let selected = all
                    .iter()
                    .filter(|(offset, time)| offsets.contains(offset) && times.contains(time));
                let expected: Vec<i64> = selected.map(|(offset, _)| *offset).collect();
                let selection = Selection {
                    offsets: offsets.clone(),
                    times: times.clone(),
                    ..Selection::all()
                };
                let (found, whole) = stored(&world, selection);
                assert_eq!(found, expected, "{kind:?} {offsets:?} {times:?}");
                lent += whole;
            }
        }
        assert_eq!(lent > 0, kind != SegmentKind::Columns, "{kind:?}");
        let (_, whole) = stored(&world, Selection::all());
        // 150, 1 and 249 offsets, of which each thirteenth has no record, in batches of seven.
        let most = if kind == SegmentKind::Columns { 0 } else { 50 };
        assert!(whole >= most, "{kind:?}: {whole}");
    }
}

/// A byte of a batch that only the checksum of this batch and that of the block cover.
fn harm_a_batch(world: &World) -> (SegmentEntry, Range<i64>) {
    let entry = world.entries("t", 0)[0].clone();
    let bytes = std::fs::read(world.path(&entry.key)).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let block = segment.block(0, &bytes[segment.file_header_length() as usize..]);
    let block = block.unwrap();
    let from = segment.index().entries()[0].position as usize + block.header().header_length();
    let mut decoder = BlockDecoder::new();
    let batches = block.batches(&mut decoder).unwrap().unwrap();
    let second = batches.map(Result::unwrap).nth(1).unwrap();
    let (base, end) = (second.header().base_offset, second.header().last_offset + 1);
    let place = bytes[from..]
        .windows(second.bytes().len())
        .position(|window| window == second.bytes());
    world.flip(&entry.key, from + place.unwrap() + second.bytes().len() - 3);
    (entry, base..end)
}

/// The damaged batches of a block are named, by themselves, whether the footer is there or not: what a recovery keeps is not called damaged.
#[test]
fn damaged_batches_of_a_block_are_found_by_themselves() {
    for kind in [SegmentKind::Batches, SegmentKind::NotComputed] {
        let world = world(kind);
        let (entry, batch) = harm_a_batch(&world);
        let path = world.path(&entry.key);
        for has_footer in [true, false] {
            if !has_footer {
                world.harm(&entry.key, |bytes| bytes.truncate(bytes.len() - 20));
            }
            let damaged = |findings: &[Finding]| -> Vec<(i64, i64)> {
                let of_block = findings
                    .iter()
                    .filter(|it| it.kind == FindingKind::DamagedBlock);
                let offsets = of_block.map(|it| it.offsets.unwrap());
                offsets.map(|it| (it.base_offset, it.end_offset)).collect()
            };
            // A record with every thirteenth offset is missing, and a batch covers the gap after it.
            let is_of_batch = |found: &[(i64, i64)]| {
                let [(base, end)] = found else { return false };
                *base == batch.start && (batch.end..=batch.end + 1).contains(end)
            };
            let options = VerifyOptions {
                snapshots: vec![1],
                ..VerifyOptions::default()
            };
            let report = verify(&world.repository, &options, Arc::new(|_: u64| {}));
            let found = damaged(&world.runtime.block_on(report).findings);
            assert!(
                is_of_batch(&found),
                "{kind:?}, {has_footer}: {found:?} {batch:?}"
            );
            let files = verify_files(
                std::slice::from_ref(&path),
                FilesOptions::default(),
                &|_: u64| {},
            )
            .unwrap();
            assert_eq!(damaged(&files.findings), found, "{kind:?}, {has_footer}");
            let inspection = inspect(&path, "", true).unwrap();
            let problems = inspection.problems.iter().filter_map(|it| it.offsets);
            let problems: Vec<_> = problems.map(|it| (it.base_offset, it.end_offset)).collect();
            assert_eq!(problems, found, "{kind:?}, {has_footer}");
            let parts = inspection
                .parts
                .iter()
                .filter_map(|part| part.problem.as_ref());
            let named = parts.filter(|problem| problem.contains("of its batches, "));
            assert_eq!(named.count(), 1, "{kind:?}, {has_footer}");
        }
    }
}
