//! How many requests reading takes, and how many of them follow from one another: what a distant store costs. And that what is read does
//! not depend on it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::Streams;
use kbk_format::repo::{
    Damage, ReadaheadLimits, RepoError, RepoErrorKind, Repository, Store, StoreProfile,
};
use kbk_tools::verify::{VerifyDepth, VerifyOptions, verify};
use kbk_tools::{Order, PartitionReader, ReadOptions, ReadPlan, RecordFilter, Selection};
use object_store::local::LocalFileSystem;
use proptest::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::support::as_batches::SegmentKind;
use crate::support::rounds::{Cost, Rounds, in_rounds, small_profile};
use crate::support::{Row, World, place};

const EVERYTHING: ReadOptions = ReadOptions {
    streams: Streams::All,
    order: Order::Ascending,
    limit: None,
    stops_early: false,
};

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|offset| (offset, offset)).collect()
}

/// A partition of this many segments, each of this many records.
fn world(segments: i64, records: i64) -> World {
    let world = World::new();
    let segments = (0..segments).map(|n| rows(n * records, (n + 1) * records));
    world.backup(&[("t", 0, segments.collect())]);
    world
}

/// A partition of a few large segments: each is several ranges.
fn large() -> World {
    world(3, 8_000)
}

/// A partition of many segments, each of which is less than a range.
fn small() -> World {
    world(100, 40)
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn plan(repository: &Repository, selection: Selection) -> ReadPlan {
    let snapshot = repository.latest().await.unwrap().unwrap();
    let place = place("t", 0);
    let state = snapshot.partition(&place).unwrap();
    let plan = ReadPlan::new(repository, &snapshot, place.clone(), state, selection);
    plan.await.unwrap()
}

/// Reads at most `most` records, and returns their offsets.
async fn read(plan: ReadPlan, options: ReadOptions, most: usize) -> Vec<i64> {
    let mut reader = plan.read_with(options, &Handle::current());
    let mut offsets = Vec::new();
    while offsets.len() < most
        && let Some(batch) = reader.next().await.unwrap()
    {
        let mut found: Vec<i64> = batch.records().map(|record| record.offset).collect();
        if options.order == Order::Descending {
            found.reverse();
        }
        offsets.extend(found);
    }
    offsets
}

fn cost(world: &World, options: ReadOptions, most: usize, readahead: bool) -> Cost {
    one_thread().block_on(async {
        let (repository, rounds) = in_rounds(world, small_profile(readahead)).await;
        let plan = plan(&repository, Selection::all()).await;
        let (found, cost) = rounds.of(read(plan, options, most)).await;
        assert!(found.len() >= most.min(100));
        cost
    })
}

#[test]
fn large_segments_are_read_in_a_quarter_of_the_rounds() {
    let world = large();
    for order in [Order::Ascending, Order::Descending] {
        for stops_early in [false, true] {
            let options = ReadOptions {
                order,
                stops_early,
                ..EVERYTHING
            };
            let alone = cost(&world, options, usize::MAX, false);
            let ahead = cost(&world, options, usize::MAX, true);
            assert_eq!(alone.rounds, alone.requests, "one after the other");
            assert!(ahead.rounds * 4 <= alone.rounds, "{ahead:?} {alone:?}");
            assert!(ahead.requests <= alone.requests + 2, "{ahead:?} {alone:?}");
            // The start that comes with the first footer ends within a block.
            assert!(ahead.bytes >= alone.bytes);
            assert!(ahead.bytes <= alone.bytes + small_profile(true).range_bytes);
            let limits = small_profile(true).readahead;
            assert!(ahead.widest <= limits.shared_requests);
            assert!(ahead.widest_bytes <= limits.shared_bytes);
        }
    }
}

/// The row states where the footer is, so nobody has to wait for it before the first blocks are requested.
#[test]
fn the_first_blocks_come_with_the_footer_and_no_footer_is_read_twice() {
    let world = large();
    let spent = |opens: bool| {
        one_thread().block_on(async {
            let (repository, rounds) = in_rounds(&world, small_profile(true)).await;
            let mut plan = plan(&repository, Selection::all()).await;
            let mut footers = Cost::default();
            if opens {
                let (opened, cost) = rounds.of(plan.open_all(|_| ())).await;
                opened.unwrap();
                footers = cost;
            }
            let options = ReadOptions {
                stops_early: true,
                ..EVERYTHING
            };
            let mut reader = plan.clone().read_with(options, &Handle::current());
            let (first, to_first) = rounds
                .of(async { reader.next().await.map(|it| it.is_some()) })
                .await;
            assert!(first.unwrap());
            drop(reader);
            let (found, all) = rounds.of(read(plan, EVERYTHING, usize::MAX)).await;
            assert_eq!(found.len(), 24_000);
            (footers, to_first.rounds, all)
        })
    };
    let (_, to_first, all) = spent(false);
    assert_eq!(to_first, 1);
    let (footers, to_first, without_footers) = spent(true);
    assert_eq!((footers.requests, footers.rounds, to_first), (3, 1, 1));
    assert_eq!(without_footers.requests, all.requests - 3, "footers");
    assert!(footers.bytes + without_footers.bytes <= all.bytes);
}

#[test]
fn small_segments_take_one_request_each_and_many_at_a_time() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let world = small();
    let alone = cost(&world, EVERYTHING, usize::MAX, false);
    let ahead = cost(&world, EVERYTHING, usize::MAX, true);
    assert_eq!((alone.rounds, alone.requests), (200, 200), "footer, blocks");
    assert_eq!(ahead.requests, 100);
    assert!(ahead.rounds <= 100_usize.div_ceil(64) + 1, "{ahead:?}");
}

#[test]
fn the_first_record_costs_no_more_than_without_reading_ahead() {
    for world in [large(), small()] {
        for order in [Order::Ascending, Order::Descending] {
            let options = ReadOptions {
                order,
                limit: Some(1),
                stops_early: true,
                ..EVERYTHING
            };
            let alone = cost(&world, options, 1, false);
            let ahead = cost(&world, options, 1, true);
            assert_eq!((ahead.requests, ahead.rounds), (2, 2), "footer, block");
            assert_eq!(ahead.bytes, alone.bytes);
        }
    }
}

#[test]
fn a_reader_that_stops_before_its_end_has_little_ahead() {
    let options = ReadOptions {
        stops_early: true,
        ..EVERYTHING
    };
    let world = large();
    let ahead = cost(&world, options, 1, true);
    let entry = world.entries("t", 0).remove(0);
    let footer = entry.size - entry.footer_position;
    let first = small_profile(true).readahead.first_bytes;
    assert_eq!(ahead.rounds, 1, "footer and blocks");
    assert!(ahead.bytes - footer <= first, "{ahead:?} {footer} {first}");
}

/// Begins to read all of these partitions.
async fn begin(repository: &Repository, partitions: std::ops::Range<u16>) -> Vec<PartitionReader> {
    let snapshot = repository.latest().await.unwrap().unwrap();
    let mut readers = Vec::new();
    for number in partitions {
        let place = place("t", number);
        let state = snapshot.partition(&place).unwrap();
        let plan = ReadPlan::new(
            repository,
            &snapshot,
            place.clone(),
            state,
            Selection::all(),
        );
        readers.push(plan.await.unwrap().read(Streams::All, &Handle::current()));
    }
    readers
}

async fn all(mut reader: PartitionReader) -> usize {
    let mut records = 0;
    while let Some(batch) = reader.next().await.unwrap() {
        records += batch.records().count();
    }
    records
}

/// Eight partitions of a large segment each.
fn eight() -> World {
    let world = World::new();
    let partitions: Vec<_> = (0..8).map(|n| ("t", n, vec![rows(0, 8_000)])).collect();
    world.backup(&partitions);
    world
}

#[test]
fn readers_share_the_memory_and_none_waits_for_another() {
    let (world, profile) = (eight(), small_profile(true));
    one_thread().block_on(async {
        let (repository, rounds) = in_rounds(&world, profile).await;
        let work = async {
            let mut readers = begin(&repository, 0..8).await;
            // A block of each, so that all of them have what they may have, and then all of the first one, and so on.
            let mut records = 0;
            for reader in &mut readers {
                let batch = reader.next().await.unwrap().unwrap();
                records += batch.records().count();
            }
            for reader in readers {
                records += all(reader).await;
            }
            records
        };
        let (records, cost) = rounds.of(work).await;
        assert_eq!(records, 8 * 8_000);
        // What is next in line is outside of the shared memory, for each of them.
        let most = profile.readahead.shared_bytes + 8 * profile.range_bytes;
        assert!(cost.widest_bytes <= most, "{cost:?}");
    });
}

#[test]
fn readers_that_nobody_asks_leave_half_of_the_memory() {
    let (world, profile) = (eight(), small_profile(true));
    one_thread().block_on(async {
        let (repository, rounds) = in_rounds(&world, profile).await;
        let begun = async {
            let readers = begin(&repository, 0..8).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            readers
        };
        let (readers, cost) = rounds.of(begun).await;
        assert!(
            (2..=16).contains(&cost.requests),
            "a footer, and blocks: {cost:?}"
        );
        assert!(cost.widest_bytes <= profile.readahead.shared_bytes);
        let mut asked = repository.store().ahead_reader();
        asked.asked();
        assert_eq!(asked.share().bytes, profile.readahead.shared_bytes);
        assert!(asked.take(profile.readahead.shared_bytes / 2).is_some());
        let work = async {
            let mut records = 0;
            for reader in readers {
                records += all(reader).await;
            }
            records
        };
        assert_eq!(rounds.of(work).await.0, 8 * 8_000);
    });
}

#[test]
fn small_partitions_that_are_begun_ahead_take_a_round_together() {
    let world = World::new();
    let partitions: Vec<_> = (0..32).map(|n| ("t", n, vec![rows(0, 40)])).collect();
    world.backup(&partitions);
    let cost = |ahead: u16| {
        one_thread().block_on(async {
            let (repository, rounds) = in_rounds(&world, small_profile(true)).await;
            let work = async {
                let mut records = 0;
                for first in (0..32).step_by(ahead.into()) {
                    for reader in begin(&repository, first..first + ahead).await {
                        records += all(reader).await;
                    }
                }
                records
            };
            let (records, cost) = rounds.of(work).await;
            assert_eq!((records, cost.requests), (32 * 40, 32));
            cost.rounds
        })
    };
    assert_eq!((cost(1), cost(8)), (32, 4));
}

/// Lets everything else proceed.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_reader_that_is_dropped_ends_its_requests_and_gives_back_its_memory() {
    let (world, profile) = (large(), small_profile(true));
    one_thread().block_on(async {
        let (repository, rounds) = in_rounds(&world, profile).await;
        let work = async {
            let mut readers = begin(&repository, 0..1).await;
            readers[0].next().await.unwrap().unwrap();
            turns(8).await;
            let ahead = rounds.waiting();
            drop(readers);
            turns(8).await;
            ahead
        };
        let (ahead, _) = rounds.of(work).await;
        assert!(ahead > 0, "it had requested more");
        assert_eq!(rounds.waiting(), 0);
        let mut next = repository.store().ahead_reader();
        next.asked();
        assert_eq!(next.share().bytes, profile.readahead.shared_bytes);
        assert!(next.take(profile.readahead.shared_bytes).is_some());
    });
}

/// Reads until the end or an error, which must be the last thing that the reader returns.
async fn read_until_error(mut reader: PartitionReader) -> (Vec<i64>, Option<RepoError>) {
    let mut offsets = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(batch)) => offsets.extend(batch.records().map(|record| record.offset)),
            Ok(None) => return (offsets, None),
            Err(error) => {
                assert!(reader.next().await.unwrap().is_none());
                return (offsets, Some(error));
            }
        }
    }
}

/// What a segment has suffered.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Missing,
    /// It is longer than when it was committed.
    Longer,
    /// Each answer but that of its footer ends early.
    Cut,
}

#[test]
fn an_error_of_what_is_ahead_comes_after_all_records_before_it() {
    for (segments, records, harmed) in [(3, 8_000, 1), (100, 40, 50)] {
        for harm in [Harm::Missing, Harm::Longer, Harm::Cut] {
            // An answer with all of a small segment ends with its footer.
            if records == 40 && matches!(harm, Harm::Cut) {
                continue;
            }
            let world = world(segments, records);
            let key = world.entries("t", 0).remove(harmed).key;
            match harm {
                Harm::Missing => fs::remove_file(world.path(&key)).unwrap(),
                Harm::Longer => {
                    let file = OpenOptions::new().append(true).open(world.path(&key));
                    file.unwrap().write_all(b"more").unwrap();
                }
                Harm::Cut => {}
            }
            let (offsets, error) = one_thread().block_on(async {
                let (repository, rounds) = in_rounds(&world, small_profile(true)).await;
                if matches!(harm, Harm::Cut) {
                    rounds.cut(&key);
                }
                let reader = begin(&repository, 0..1).await.remove(0);
                rounds.of(read_until_error(reader)).await.0
            });
            let before = 0..harmed as i64 * records;
            assert_eq!(offsets, before.collect::<Vec<_>>(), "{harm:?}");
            let error = error.expect("the segment cannot be read");
            assert_eq!(error.key(), Some(&*key), "{error}");
            let expected = match harm {
                Harm::Missing => matches!(error.kind(), RepoErrorKind::Missing { .. }),
                Harm::Longer => {
                    matches!(error.kind(), RepoErrorKind::Damaged(Damage::Size { .. }))
                }
                Harm::Cut => !matches!(error.kind(), RepoErrorKind::Damaged(_)),
            };
            assert!(expected, "{harm:?}: {error}");
        }
    }
}

#[test]
fn an_error_behind_what_the_caller_takes_is_none_of_its_business() {
    let world = world(2, 8_000);
    let key = world.entries("t", 0).remove(1).key;
    fs::remove_file(world.path(&key)).unwrap();
    // Of the first segment only a part is selected, so its footer has to say that it has enough.
    let selection = Selection {
        offsets: 100..20_000,
        ..Selection::all()
    };
    let options = ReadOptions {
        limit: Some(5_000),
        ..EVERYTHING
    };
    let (found, error) = one_thread().block_on(async {
        let (repository, rounds) = in_rounds(&world, small_profile(true)).await;
        let plan = plan(&repository, selection).await;
        let reader = plan.read_with(options, &Handle::current());
        rounds.of(read_until_error(reader)).await.0
    });
    assert!(found.len() >= 5_000 && error.is_none(), "{error:?}");
}

/// Verifies everything, and returns what it cost.
fn verified(world: &World, full: bool, readahead: bool) -> Cost {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (repository, rounds): (Repository, Rounds) =
            in_rounds(world, small_profile(readahead)).await;
        let options = VerifyOptions {
            snapshots: vec![1],
            topics: None,
            depth: match full {
                true => VerifyDepth::Hash,
                false => VerifyDepth::Blocks,
            },
            ..VerifyOptions::default()
        };
        let work = verify(&repository, &options, Arc::new(|_: u64| {}));
        let (report, cost) = rounds.of_threads(work).await;
        assert_eq!(report.findings, []);
        cost
    })
}

#[test]
fn verify_reads_small_segments_by_one_request_and_large_ones_ahead() {
    let world = world(48, 40);
    let (alone, ahead) = (verified(&world, true, false), verified(&world, true, true));
    assert_eq!((alone.requests, ahead.requests), (48 * 4, 48));
    assert!(ahead.rounds * 4 <= alone.rounds, "{ahead:?} {alone:?}");
}

#[test]
fn small_gaps_between_needed_blocks_are_read_with_them() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let world = World::new();
    // Every fourth stretch of records is of another time.
    let time = |offset: i64| if offset / 50 % 4 == 0 { 1_000 } else { 0 };
    let rows: Vec<Row> = (0..8_000).map(|offset| (offset, time(offset))).collect();
    let selected = rows.iter().filter(|(_, time)| *time == 1_000).count();
    world.backup(&[("t", 0, vec![rows])]);
    let selection = Selection {
        times: 1_000..=1_000,
        ..Selection::all()
    };
    let cost = |profile: StoreProfile| {
        one_thread().block_on(async {
            let (repository, rounds) = in_rounds(&world, profile).await;
            let plan = plan(&repository, selection.clone()).await;
            let (found, cost) = rounds.of(read(plan, EVERYTHING, usize::MAX)).await;
            assert_eq!(found.len(), selected);
            cost
        })
    };
    let with_gaps = |gap_bytes| {
        let mut profile = small_profile(true);
        profile.range_bytes = 64 << 10;
        profile.readahead.gap_bytes = gap_bytes;
        cost(profile)
    };
    let (apart, joined) = (with_gaps(0), with_gaps(8_000));
    assert!(joined.requests * 4 < apart.requests, "{joined:?} {apart:?}");
    assert!(joined.bytes > apart.bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_does_not_depend_on_what_is_ahead(
        lengths in prop::collection::vec(1..120_i64, 1..12),
        times in prop::collection::vec(0..9_i64, 8),
        (from, to) in (0..700_i64, 0..1_400_i64),
        (since, until) in (0..9_i64, 0..9_i64),
        limit in prop_oneof![Just(None), (0..300_u64).prop_map(Some)],
        descending: bool,
        stops_early: bool,
        range_bytes in 1..8_000_u64,
        (first_bytes, shared_bytes, gap_bytes) in (0..4_000_u64, 0..40_000_u64, 0..3_000_u64),
        shared_requests in 0..6_usize,
    ) {
        let world = World::new();
        let mut next = 0;
        let segments = lengths.iter().map(|length| {
            let rows = (next..next + length).map(|o| (o, times[o as usize / 30 % times.len()]));
            next += length;
            rows.collect::<Vec<Row>>()
        });
        world.backup(&[("t", 0, segments.collect())]);
        let mut profile = StoreProfile::remote();
        profile.range_bytes = range_bytes;
        profile.readahead = ReadaheadLimits { first_bytes, shared_bytes, shared_requests, gap_bytes };
        let selection = Selection { offsets: from..to, times: since..=until, filter: RecordFilter::all() };
        let order = if descending { Order::Descending } else { Order::Ascending };
        let options = ReadOptions { order, limit, stops_early, ..EVERYTHING };
        let inner = LocalFileSystem::new_with_prefix(world.path("")).unwrap();
        let (alone, ahead, cut) = world.runtime.block_on(async {
            let store = Store::new(Arc::new(inner), "distant").with_profile(profile);
            let distant = Repository::open(store).await.unwrap();
            let alone = read(plan(&world.repository, selection.clone()).await, options, usize::MAX).await;
            let ahead = read(plan(&distant, selection.clone()).await, options, usize::MAX).await;
            let cut = [&world.repository, &distant].map(|repository| plan(repository, selection.clone()));
            let [local, distant] = cut;
            let local = local.await.count_cut(&Handle::current()).await.unwrap();
            let distant = distant.await.count_cut(&Handle::current()).await.unwrap();
            (alone, ahead, (local, distant))
        });
        prop_assert_eq!(alone, ahead);
        prop_assert_eq!(cut.0, cut.1);
    }
}
