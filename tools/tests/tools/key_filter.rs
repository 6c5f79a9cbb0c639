//! Look-ups by key read a few pages of key filters and the blocks that may have the key, and find what a search of everything finds.

use std::ops::Range;
use std::sync::Arc;

use kbk_format::repo::{Hex, Repository, StoreProfile};
use kbk_format::{KeyFilterBits, Streams, TextRenderer};
use kbk_tools::filter::Conditions;
use kbk_tools::grep::{Found, Search, SearchOptions, SearchSource};
use kbk_tools::verify::{FindingKind, VerifyDepth, VerifyOptions, verify};
use kbk_tools::{KeySelection, Order, ReadPlan, RecordFilter, Selection};
use object_store::local::LocalFileSystem;
use tokio::runtime::Handle;

use crate::support::as_batches::SegmentKind;
use crate::support::watched_store::{Fault, Watch, watched};
use crate::support::{Row, World, place};

const SEGMENTS: i64 = 4;
const RECORDS: i64 = 5_000;

/// A number that looks random.
fn mixed(seed: i64) -> u64 {
    let seed = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (seed ^ (seed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

/// A partition of large segments of records whose values do not compress. Keys are unique, but for a common one, null and empty ones.
fn world(key_filter: fn(i64) -> Option<KeyFilterBits>) -> World {
    let mut world = World::with_blocks(64 << 10);
    world.key_filter = key_filter;
    // What is read in vain, one block in a thousand, is the same in each run.
    world.segment_id = |first| Hex([mixed(first).to_le_bytes(); 2].concat().try_into().unwrap());
    world.content = |offset| {
        let key = match offset {
            4_321 => None,
            12_345 => Some(Vec::new()),
            _ if offset % 5_000 == 77 => Some(b"common".to_vec()),
            _ => Some(format!("customer-{offset}").into_bytes()),
        };
        let value = (0..100).flat_map(|at| mixed(offset * 100 + at).to_le_bytes());
        (key, value.collect())
    };
    let rows = |segment: i64| -> Vec<Row> {
        let first = segment * RECORDS;
        (first..first + RECORDS)
            .map(|offset| (offset, offset))
            .collect()
    };
    world.backup(&[("t", 0, (0..SEGMENTS).map(rows).collect())]);
    world
}

fn always(_: i64) -> Option<KeyFilterBits> {
    Some(KeyFilterBits::default())
}

fn watched_as(world: &World, profile: StoreProfile) -> (Repository, Watch) {
    let inner = LocalFileSystem::new_with_prefix(world.path("")).unwrap();
    let (store, watch) = watched(Arc::new(inner));
    let store = store.with_profile(profile);
    let repository = world.runtime.block_on(Repository::open(store)).unwrap();
    (repository, watch)
}

fn by_keys(keys: &[&str], null: bool) -> RecordFilter {
    let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    by(KeySelection::new(keys, null))
}

fn by(keys: KeySelection) -> RecordFilter {
    RecordFilter::new(Conditions {
        keys: Some(keys),
        ..Conditions::default()
    })
}

/// The offsets that a search finds, and what it could not search.
fn search(
    world: &World,
    repository: &Repository,
    filter: RecordFilter,
) -> (Vec<i64>, Vec<Range<i64>>) {
    let snapshot = world.latest();
    let place = place("t", 0);
    let source = SearchSource::Partition {
        repository,
        snapshot: &snapshot,
        partition: place.clone(),
        state: snapshot.partition(&place).unwrap(),
        offsets: 0..i64::MAX,
    };
    let options = SearchOptions {
        times: i64::MIN..=i64::MAX,
        filter,
        streams: Streams::All,
        order: Order::Ascending,
        stops_early: false,
        renderers: vec![TextRenderer::new(
            &"%o\n".parse().unwrap(),
            "t",
            0.into(),
            None,
        )],
    };
    let (mut offsets, mut unsearched) = (Vec::new(), Vec::new());
    world.runtime.block_on(async {
        let mut search = Search::new(vec![source], options);
        while let Some(found) = search.next().await.unwrap() {
            match found {
                Found::Matches(found) => offsets.extend(found.records.iter().map(|it| it.offset)),
                Found::Unsearched(gap) => unsearched.push(gap.offsets),
            }
        }
    });
    (offsets, unsearched)
}

fn stored(world: &World) -> u64 {
    world.entries("t", 0).iter().map(|entry| entry.size).sum()
}

/// Bytes and requests of segments that a search takes.
fn cost(
    world: &World,
    repository: &Repository,
    watch: &Watch,
    filter: RecordFilter,
) -> (u64, usize) {
    watch.take();
    search(world, repository, filter);
    let read = watch.take_segments();
    (
        read.iter().map(|(_, range)| range.end - range.start).sum(),
        read.len(),
    )
}

#[test]
fn one_key_reads_under_two_percent_with_a_filter_and_everything_without() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let (with, without) = (world(always), world(|_| None));
    for profile in [StoreProfile::local(), StoreProfile::remote()] {
        let (repository, watch) = watched_as(&with, profile);
        for (filter, expected) in [
            (by_keys(&["customer-7654"], false), vec![7_654]),
            (by_keys(&["nobody"], false), vec![]),
            (by_keys(&[], true), vec![4_321]),
            (by_keys(&[""], false), vec![12_345]),
            (
                by_keys(&["customer-1", "customer-19999"], false),
                vec![1, 19_999],
            ),
        ] {
            assert_eq!(
                search(&with, &repository, filter.clone()),
                (expected, vec![])
            );
            let (bytes, requests) = cost(&with, &repository, &watch, filter);
            assert!(
                bytes * 50 < stored(&with),
                "{bytes} of {} bytes",
                stored(&with)
            );
            // A footer and a page or two of each segment, and a block for each record; one in a thousand is read in vain.
            assert!(requests <= 3 * SEGMENTS as usize + 3, "{requests} requests");
        }
        let (plain, watch_plain) = watched_as(&without, profile);
        let (bytes, _) = cost(&without, &plain, &watch_plain, by_keys(&["nobody"], false));
        assert!(bytes * 10 > 9 * stored(&without), "{bytes}");
        // What is no exact key cannot be looked up.
        let prefix =
            by(KeySelection::new([].into(), false).or(vec![b"nobody".to_vec()], Vec::new()));
        let (bytes, _) = cost(&with, &repository, &watch, prefix);
        assert!(bytes * 10 > 9 * stored(&with), "{bytes}");
    }
}

#[test]
fn a_key_in_every_segment_is_found_in_each_and_so_where_some_have_no_filter() {
    let common: Vec<i64> = (0..SEGMENTS)
        .map(|segment| segment * RECORDS + 77)
        .collect();
    for world in [
        world(always),
        world(|first| always(first).filter(|_| first % 10_000 == 0)),
    ] {
        let found = search(&world, &world.repository, by_keys(&["common"], false));
        assert_eq!(found, (common.clone(), vec![]));
    }
}

#[test]
fn a_damaged_page_costs_bytes_and_no_record() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world(always);
    let entry = &world.entries("t", 0)[1];
    let footer = usize::try_from(entry.footer_position).unwrap();
    // The last page ends before the footer, with up to 63 bytes of padding; keys are in all pages.
    for back in [100, 3_000, 6_000] {
        world.flip(&entry.key, footer - back);
    }
    let (repository, watch) = watched_as(&world, StoreProfile::local());
    let all: Vec<String> = (5_000..10_000)
        .step_by(97)
        .map(|it| format!("customer-{it}"))
        .collect();
    let mut costly = 0;
    for key in &all {
        let offset: i64 = key["customer-".len()..].parse().unwrap();
        let found = search(&world, &repository, by_keys(&[key], false));
        assert_eq!(found, (vec![offset], vec![]));
        let (bytes, _) = cost(&world, &repository, &watch, by_keys(&[key], false));
        costly += u64::from(bytes > entry.size / 2);
    }
    assert!(costly > 0, "no look-up has met the damage");
    for (depth, expected) in [
        (VerifyDepth::Index, vec![]),
        (VerifyDepth::Blocks, vec![FindingKind::DamagedKeyFilter]),
        (VerifyDepth::Records, vec![FindingKind::DamagedKeyFilter]),
    ] {
        let options = VerifyOptions {
            depth,
            snapshots: vec![world.latest().sequence],
            ..VerifyOptions::default()
        };
        let report =
            world
                .runtime
                .block_on(verify(&world.repository, &options, Arc::new(|_: u64| ())));
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, expected, "{depth:?}: {:?}", report.findings);
    }
}

#[test]
fn a_page_that_the_store_does_not_return_is_an_error_and_not_an_absence() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world(always);
    let (repository, watch) = watched_as(&world, StoreProfile::remote());
    let snapshot = world.latest();
    let place = place("t", 0);
    let state = snapshot.partition(&place).unwrap();
    for fault in [Fault::Fails, Fault::Forbids, Fault::Truncates] {
        watch.set(Fault::None);
        let selection = Selection {
            filter: by_keys(&["nobody"], false),
            ..Selection::all()
        };
        world.runtime.block_on(async {
            let plan = ReadPlan::new(&repository, &snapshot, place.clone(), state, selection);
            let mut plan = plan.await.unwrap();
            // With the footers in memory, a page is what is read next.
            plan.open_all(|_| ()).await.unwrap();
            watch.take();
            watch.set(fault);
            let mut reader = plan.read(Streams::All, &Handle::current());
            let error = reader.next().await.err().unwrap();
            assert!(!error.kind().is_about_content(), "{error}");
            let read = watch.take_segments();
            let pages = read
                .iter()
                .all(|(_, range)| range.end - range.start < 20_000);
            assert!(pages && !read.is_empty(), "{read:?}");
        });
    }
}
