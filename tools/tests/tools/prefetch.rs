//! How many requests reading takes, and how many of them follow from one another: what a distant store costs. And that what is read does
//! not depend on it.

use std::sync::Arc;

use kbk_format::Streams;
use kbk_format::repo::{ReadaheadLimits, Repository, Store, StoreProfile};
use kbk_tools::verify::{VerifyOptions, verify};
use kbk_tools::{Order, ReadOptions, ReadPlan, Selection};
use object_store::local::LocalFileSystem;
use proptest::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

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
            assert_eq!(ahead.bytes, alone.bytes);
            let limits = small_profile(true);
            assert!(ahead.widest <= limits.parallel_requests);
        }
    }
}

#[test]
fn small_segments_take_one_request_each_and_many_at_a_time() {
    let world = small();
    let alone = cost(&world, EVERYTHING, usize::MAX, false);
    let ahead = cost(&world, EVERYTHING, usize::MAX, true);
    assert_eq!((alone.rounds, alone.requests), (200, 200), "footer, blocks");
    assert_eq!(ahead.requests, 100);
    assert!(ahead.rounds <= 100_usize.div_ceil(16) + 1, "{ahead:?}");
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
    assert_eq!(ahead.rounds, 2, "footer, blocks");
    assert!(ahead.bytes - footer <= first, "{ahead:?} {footer} {first}");
}

#[test]
fn readers_share_the_memory_and_none_waits_for_another() {
    let world = World::new();
    let partitions: Vec<_> = (0..8).map(|n| ("t", n, vec![rows(0, 8_000)])).collect();
    world.backup(&partitions);
    let profile = small_profile(true);
    one_thread().block_on(async {
        let (repository, rounds) = in_rounds(&world, profile).await;
        let snapshot = repository.latest().await.unwrap().unwrap();
        let work = async {
            let mut readers = Vec::new();
            for number in 0..8 {
                let place = place("t", number);
                let state = snapshot.partition(&place).unwrap();
                let selection = Selection::all();
                let plan = ReadPlan::new(&repository, &snapshot, place.clone(), state, selection);
                readers.push(plan.await.unwrap().read(Streams::All, &Handle::current()));
            }
            // All of the first one, while the others have what they have, and so on.
            let mut records = 0;
            for mut reader in readers {
                while let Some(batch) = reader.next().await.unwrap() {
                    records += batch.records().count();
                }
            }
            records
        };
        let (records, cost) = rounds.of(work).await;
        assert_eq!(records, 8 * 8_000);
        let shared = profile.readahead.shared_bytes / profile.range_bytes;
        assert!(
            cost.widest <= usize::try_from(shared).unwrap() + 8,
            "{cost:?}"
        );
    });
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
            full,
            accept_lost: false,
            accept_replaced: false,
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
        parallel_requests in 1..6_usize,
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
        profile.parallel_requests = parallel_requests;
        profile.readahead = ReadaheadLimits { first_bytes, shared_bytes, gap_bytes };
        let selection = Selection { offsets: from..to, times: since..=until, keys: None };
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
