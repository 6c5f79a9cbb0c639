//! Reads records: exactly the selected ones, with few requests, and never from a wrong object.

use std::fs;

use kbk_format::Streams;
use kbk_format::repo::{Damage, RepoError, RepoErrorKind, Repository, SegmentEntry, SegmentReader};
use kbk_tools::{Needs, ReadPlan, RecordFilter, Selection, offset_for_time};
use proptest::prelude::*;

use crate::support::as_batches::SegmentKind;
use crate::support::watched_store::Fault;
use crate::support::{Row, World, key_of, place, value_of, watched};

fn plan(
    world: &World,
    repository: &Repository,
    topic: &str,
    selection: Selection,
) -> Result<ReadPlan, RepoError> {
    let (snapshot, place) = (world.latest(), place(topic, 0));
    let state = snapshot.partition(&place).unwrap();
    let plan = ReadPlan::new(repository, &snapshot, place.clone(), state, selection);
    world.runtime.block_on(plan)
}

/// Sums up what reading the plan takes, according to the indexes.
fn needs(world: &World, plan: &ReadPlan) -> Needs {
    let open = |entry| SegmentReader::open(world.repository.store(), plan.partition_id(), entry);
    let segments = plan.segments().iter();
    let opened = segments.map(|entry| world.runtime.block_on(open(entry)).unwrap());
    opened
        .map(|segment| plan.needs(segment.segment()))
        .fold(Needs::default(), |sum, next| sum + next)
}

/// Counts the selected records, decoding only blocks that also hold others.
fn count(world: &World, plan: ReadPlan) -> u64 {
    let whole = needs(world, &plan).whole_records;
    let cut = plan.count_cut(world.runtime.handle());
    whole + world.runtime.block_on(cut).unwrap()
}

/// Reads everything, and returns the rows and how reading ended.
fn drain(world: &World, plan: ReadPlan, streams: Streams) -> (Vec<Row>, Result<(), RepoError>) {
    let mut reader = plan.read(streams, world.runtime.handle());
    let mut rows = Vec::new();
    world.runtime.block_on(async {
        loop {
            match reader.next().await {
                Ok(Some(batch)) => rows.extend(batch.records().map(|record| {
                    if streams == Streams::All {
                        assert_eq!(record.key, Some(&*key_of(record.offset)));
                        assert_eq!(record.value, Some(&*value_of(record.offset)));
                    }
                    (record.offset, record.timestamp)
                })),
                Ok(None) => return (rows, Ok(())),
                Err(error) => {
                    assert!(
                        reader.next().await.unwrap().is_none(),
                        "an error is the end"
                    );
                    return (rows, Err(error));
                }
            }
        }
    })
}

fn is_other_segment(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        RepoErrorKind::Damaged(Damage::OtherSegment { .. })
    )
}

/// Returns the key of the object that an error names.
fn key_in(error: &RepoError) -> &str {
    error.key().expect("an error about an object")
}

fn offsets(from: i64, to: i64) -> Selection {
    Selection {
        offsets: from..to,
        ..Selection::all()
    }
}

#[test]
fn one_record_by_offset_or_by_time_takes_two_reads() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::sample();
    let (repository, watch) = watched(&world);
    let by_time = Selection {
        times: 1_000 + 3_330..=1_000 + 3_330,
        ..Selection::all()
    };
    for selection in [offsets(333, 334), by_time] {
        let plan = plan(&world, &repository, "orders", selection).unwrap();
        watch.take();
        watch.take_bytes();
        let (rows, end) = drain(&world, plan, Streams::All);
        end.unwrap();
        assert_eq!(rows, [(333, 4_330)]);
        assert_eq!(watch.take().len(), 2, "the footer, and one run of blocks");
        let size = world.entries("orders", 0)[1].size;
        assert!(watch.take_bytes() < size / 2, "other blocks were read too");
    }
}

#[test]
fn segments_without_selected_records_are_not_opened() {
    let world = World::sample();
    let (repository, _) = watched(&world);
    let segments = |selection| {
        let plan = plan(&world, &repository, "orders", selection).unwrap();
        let bases = plan.segments().iter().map(|entry| entry.base_offset);
        bases.collect::<Vec<_>>()
    };
    assert_eq!(segments(Selection::all()), [0, 200, 400]);
    assert_eq!(segments(offsets(199, 201)), [0, 200]);
    assert_eq!(segments(offsets(200, 200)), [0; 0]);
    let late = Selection {
        times: 5_000..=i64::MAX,
        ..Selection::all()
    };
    assert_eq!(segments(late), [400]);
}

#[test]
fn records_without_a_timestamp_match_no_range_that_leaves_them_out() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::new();
    let segments = vec![vec![(0, -1), (1, 5_000)], vec![(2, 1_500)], vec![(3, -1)]];
    world.backup(&[("t", 0, segments)]);
    let bases = |times| {
        let selection = Selection {
            times,
            ..Selection::all()
        };
        let plan = plan(&world, &world.repository, "t", selection).unwrap();
        let segments = plan.segments().iter().map(|entry| entry.base_offset);
        (segments.collect::<Vec<_>>(), count(&world, plan))
    };
    assert_eq!(bases(1_000..=2_000), (vec![2], 1));
    assert_eq!(bases(0..=i64::MAX), (vec![0, 2], 2));
    assert_eq!(bases(-1..=2_000), (vec![0, 2, 3], 3));
    assert_eq!(bases(i64::MIN..=1_000), (vec![0, 3], 2));
    assert_eq!(bases(i64::MIN..=-2), (vec![], 0));
}

#[test]
fn a_damaged_block_ends_reading_and_the_error_names_its_object() {
    let world = World::sample();
    let entry = &world.entries("orders", 0)[1];
    world.flip(
        &entry.key,
        usize::try_from(entry.footer_position).unwrap() / 2,
    );
    let plan = plan(&world, &world.repository, "orders", Selection::all()).unwrap();
    let (rows, end) = drain(&world, plan, Streams::All);
    let error = end.unwrap_err();
    assert!(
        matches!(error.kind(), RepoErrorKind::Damaged(Damage::Segment(_))),
        "{error}"
    );
    assert_eq!(key_in(&error), entry.key);
    assert!(
        (200..400).contains(&rows.len()),
        "the blocks before it are read"
    );
}

#[test]
fn missing_refused_truncated_and_foreign_segments_are_told_apart() {
    let open = |world: &World, repository: &Repository| {
        let entry = world.entries("orders", 0).remove(0);
        let place = place("orders", 0);
        let opened = SegmentReader::open(repository.store(), &place, &entry);
        let error = world.runtime.block_on(opened).unwrap_err();
        assert_eq!(key_in(&error), entry.key);
        error
    };

    let world = World::sample();
    let (repository, watch) = watched(&world);
    watch.set(Fault::Forbids);
    let error = open(&world, &repository);
    assert!(
        matches!(error.kind(), RepoErrorKind::NotReadable { .. }),
        "{error}"
    );

    let first = world.entries("orders", 0).remove(0);
    for length in [
        0,
        first.footer_position / 2,
        first.footer_position,
        first.size - 1,
    ] {
        world.harm(&first.key, |bytes| {
            bytes.resize(usize::try_from(length).unwrap(), 0);
        });
        let (expected, found) = (first.size, length);
        let damage = RepoErrorKind::Damaged(Damage::Size { expected, found });
        assert_eq!(*open(&world, &world.repository).kind(), damage);
    }

    // The other partition's segment has the same length, so only its contents give it away.
    let foreign = world.entries("orders", 1).remove(0);
    fs::copy(world.path(&foreign.key), world.path(&first.key)).unwrap();
    let error = open(&world, &world.repository);
    assert!(is_other_segment(&error), "{error}");
    assert!(error.to_string().contains(&foreign.segment_id.to_string()));
    assert!(error.to_string().contains(&first.segment_id.to_string()));

    fs::remove_file(world.path(&first.key)).unwrap();
    let error = open(&world, &world.repository);
    assert!(
        matches!(error.kind(), RepoErrorKind::Missing { .. }),
        "{error}"
    );
}

#[test]
fn a_minute_of_a_day_reads_a_hundredth_of_the_day() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    const MINUTE_MS: i64 = 60_000;
    const DAY_MS: i64 = 1_440 * MINUTE_MS;
    const SEGMENTS: i64 = 16;
    const RECORDS: i64 = 864_000;
    // A sixty-fourth of the default block size, and of the default segment size.
    let world = World::with_blocks(16 << 10);
    let rows = |segment: i64| -> Vec<Row> {
        let offsets = segment * RECORDS / SEGMENTS..(segment + 1) * RECORDS / SEGMENTS;
        // Timestamps advance unevenly, and some records are up to a second late.
        let time = |offset: i64| offset * DAY_MS / RECORDS + offset * 7_919 % 1_009;
        offsets.map(|offset| (offset, time(offset))).collect()
    };
    world.backup(&[("t", 0, (0..SEGMENTS).map(rows).collect())]);
    let everything = plan(&world, &world.repository, "t", Selection::all()).unwrap();
    let blocks = needs(&world, &everything).blocks;
    assert!(blocks >= 2_000, "{blocks}");
    let stored: u64 = world.entries("t", 0).iter().map(|entry| entry.size).sum();

    let (repository, watch) = watched(&world);
    let (snapshot, place) = (world.latest(), place("t", 0));
    let state = snapshot.partition(&place).unwrap();
    for start in [0, DAY_MS / 3, DAY_MS - MINUTE_MS] {
        let offset = |time| {
            let found = offset_for_time(&repository, &snapshot, &place, state, time);
            world.runtime.block_on(found).unwrap()
        };
        let read = |selection| {
            let plan = plan(&world, &repository, "t", selection).unwrap();
            let counted = world
                .runtime
                .block_on(plan.clone().count_cut(world.runtime.handle()));
            assert!(counted.unwrap() > 0, "a minute cuts blocks");
            let (rows, end) = drain(&world, plan, Streams::All);
            end.unwrap();
            assert!(rows.len() > 300, "{}", rows.len());
        };
        watch.take_bytes();
        read(Selection {
            times: start..=start + MINUTE_MS,
            ..Selection::all()
        });
        let by_time = watch.take_bytes();
        let end = offset(start + MINUTE_MS).unwrap_or(state.end_offset);
        read(offsets(offset(start).unwrap(), end));
        let by_offset = watch.take_bytes();
        for bytes in [by_time, by_offset] {
            assert!(bytes * 100 <= stored, "{bytes} of {stored} bytes were read");
        }
    }
}

#[test]
fn the_offset_for_a_time_takes_its_tables_a_footer_and_a_block() {
    let world = World::sample();
    let (repository, watch) = watched(&world);
    let (snapshot, place) = (world.latest(), place("orders", 0));
    let state = snapshot.partition(&place).unwrap();
    let ask = |time| {
        watch.take();
        let repository = repository.uncached();
        let found = offset_for_time(&repository, &snapshot, &place, state, time);
        (world.runtime.block_on(found).unwrap(), watch.take().len())
    };
    assert_eq!(
        ask(i64::MIN),
        (Some(0), 3),
        "the table of the only commit that changed it"
    );
    assert_eq!(ask(4_330), (Some(333), 3));
    assert_eq!(ask(4_331), (Some(334), 3));
    assert_eq!(
        ask(6_991),
        (None, 0),
        "the partition's state alone rules it out"
    );
}

/// Timestamps as producers set them: out of order, repeated, missing, extreme.
fn timestamps() -> impl Strategy<Value = Vec<i64>> {
    let timestamp = prop_oneof![
        8 => 0..1_000i64,
        1 => Just(-1),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)],
    ];
    prop::collection::vec(timestamp, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_selection_matches_brute_force(
        timestamps in timestamps(),
        skips in prop::collection::vec(1..4i64, 400),
        cut in 0..400usize,
        (from, to) in (0..900i64, 0..900i64),
        (since, until) in (
            prop_oneof![Just(i64::MIN), -2..1_001i64],
            prop_oneof![Just(i64::MAX), -2..1_001i64],
        ),
    ) {
        let offsets = skips.iter().scan(0, |offset, skip| {
            *offset += skip;
            Some(*offset)
        });
        let rows: Vec<Row> = offsets.zip(timestamps).collect();
        let (first, second) = rows.split_at(cut.min(rows.len() - 1));
        // Coverage has no holes, so a gap in offsets must be inside a segment, not between two.
        let mut segments = vec![first.to_vec(), second.to_vec()];
        segments.retain(|rows| !rows.is_empty());
        if let [first, second] = &mut segments[..] {
            let end = first[first.len() - 1].0 + 1;
            second[0].0 = end;
        }
        let rows: Vec<Row> = segments.concat();
        let world = World::new();
        world.backup(&[("t", 0, segments)]);

        let (snapshot, t) = (world.latest(), place("t", 0));
        let state = snapshot.partition(&t).unwrap();
        let found = offset_for_time(&world.repository, &snapshot, &t, state, since);
        let first = rows.iter().find(|(_, time)| *time >= since);
        prop_assert_eq!(world.runtime.block_on(found).unwrap(), first.map(|(offset, _)| *offset));

        let selection = Selection { offsets: from..to, times: since..=until, filter: RecordFilter::all() };
        let expected: Vec<Row> = rows
            .into_iter()
            .filter(|(offset, time)| from <= *offset && *offset < to && since <= *time && *time <= until)
            .collect();
        for streams in [Streams::All, Streams::Meta] {
            let plan = plan(&world, &world.repository, "t", selection.clone()).unwrap();
            prop_assert_eq!(count(&world, plan.clone()), expected.len() as u64);
            let (found, end) = drain(&world, plan, streams);
            end.unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn an_entry_that_contradicts_its_segment_is_refused() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::sample();
    let (place, store) = (place("orders", 0), world.repository.store());
    let intact = world.entries("orders", 0).remove(0);
    let open = |entry: &SegmentEntry| {
        let opened = SegmentReader::open(store, &place, entry);
        world.runtime.block_on(opened)
    };
    open(&intact).unwrap();
    type Lie = fn(&mut SegmentEntry);
    let lies: [(&str, Lie); 6] = [
        ("number of records", |entry| entry.records += 1),
        ("content digest", |entry| {
            entry.content_digest.as_mut().unwrap().0[15] ^= 1
        }),
        ("rendered sizes", |entry| entry.rendered = None),
        ("rendered sizes", |entry| {
            entry.rendered.as_mut().unwrap()[2] += 1;
        }),
        ("whole lines", |entry| entry.whole_lines = None),
        ("whole lines", |entry| {
            entry.whole_lines.as_mut().unwrap()[1] ^= true;
        }),
    ];
    for (what, lie) in lies {
        let mut entry = intact.clone();
        lie(&mut entry);
        let error = open(&entry).unwrap_err();
        assert!(is_other_segment(&error), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}
