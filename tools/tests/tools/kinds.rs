//! What is read of segments of Kafka's own batches, whether their numbers were computed or not, is what is read of columns.

use kbk_format::batch::BatchDecoder;
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
