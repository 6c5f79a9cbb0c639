//! Searches read no more than they need, and never take what was not read for searched. `grep_model` compares what they find with a model.

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use kbk_format::repo::{PartitionId, Repository, SegmentReader, StoreProfile};
use kbk_format::{IndexEntry, Streams, TextFormat, TextRenderer};
use kbk_tools::filter::Conditions;
use kbk_tools::grep::{Found, Search, SearchOptions, SearchSource};
use kbk_tools::{KeySelection, Order, RecordFilter};
use object_store::local::LocalFileSystem;
use tokio::runtime::Runtime;

use crate::support::as_batches::SegmentKind;
use crate::support::watched_store::{Fault, Watch, watched};
use crate::support::{Row, World, place, value_of};

/// A source, and offsets of it that could not be searched.
pub(crate) type Gap = (usize, Range<i64>);

/// Returns the text of everything that is found, how many records it has, and the offsets that could not be searched.
pub(crate) fn drain(runtime: &Runtime, mut search: Search<'_>) -> (String, u64, Vec<Gap>) {
    let (mut text, mut count, mut unsearched) = (Vec::new(), 0, Vec::new());
    runtime.block_on(async {
        while let Some(found) = search.next().await.unwrap() {
            match found {
                Found::Matches(matches) => {
                    assert!(matches.count > 0);
                    count += matches.count;
                    let (all, number) = matches.first(u64::MAX);
                    assert_eq!(number, matches.records.len() as u64);
                    text.extend_from_slice(all);
                }
                Found::Unsearched(gap) => unsearched.push((gap.source, gap.offsets)),
            }
        }
        assert!(search.next().await.unwrap().is_none());
    });
    (
        String::from_utf8_lossy(&text).into_owned(),
        count,
        unsearched,
    )
}

/// A partition of three segments with many blocks, and a second one.
fn world() -> World {
    let mut world = World::new();
    world.content = |offset| {
        let key = match offset % 100 {
            50 => "rare".to_owned(),
            rest => format!("key-{rest}"),
        };
        (Some(key.into()), value_of(offset))
    };
    let rows = |from: i64| (from..from + 200).map(|o| (o, o)).collect::<Vec<Row>>();
    let segments = vec![rows(0), rows(200), rows(400)];
    world.backup(&[("t", 0, segments.clone()), ("t", 1, segments)]);
    world
}

fn by_key(key: &str) -> RecordFilter {
    RecordFilter::new(Conditions {
        keys: Some(KeySelection::new([key.as_bytes().to_vec()].into(), false)),
        ..Conditions::default()
    })
}

/// What a search of both partitions finds: source and offset, and what could not be searched.
fn search(
    world: &World,
    repository: &Repository,
    filter: RecordFilter,
    times: RangeInclusive<i64>,
    streams: Streams,
) -> (Vec<i64>, u64, Vec<Gap>) {
    let snapshot = world.latest();
    let places = [place("t", 0), place("t", 1)];
    let sources = places.iter().map(|place| SearchSource::Partition {
        repository,
        snapshot: &snapshot,
        partition: place.clone(),
        state: snapshot.partition(place).unwrap(),
        offsets: 0..i64::MAX,
    });
    let format: TextFormat = "%o\\n".parse().unwrap();
    let renderer = TextRenderer::new(&format, "t", 0.into(), None);
    let renderers = if streams == Streams::Meta {
        Vec::new()
    } else {
        vec![renderer.clone(), renderer]
    };
    let options = SearchOptions {
        times,
        filter,
        streams,
        order: Order::Ascending,
        stops_early: false,
        renderers,
    };
    let (text, count, unsearched) = drain(&world.runtime, Search::new(sources.collect(), options));
    let offsets = text.lines().map(|line| line.parse().unwrap()).collect();
    (offsets, count, unsearched)
}

const ALWAYS: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// Opens the same repository through a store that is read as a disk is, and watched.
fn watched_disk(world: &World) -> (Repository, Watch) {
    let inner = LocalFileSystem::new_with_prefix(world.path("")).unwrap();
    let (store, watch) = watched(Arc::new(inner));
    let store = store.with_profile(StoreProfile::local());
    let repository = world.runtime.block_on(Repository::open(store)).unwrap();
    (repository, watch)
}

/// Returns the offsets of a block without the rare key, and the positions of its META and of its values.
fn block(world: &World) -> (Range<i64>, usize, usize) {
    let entry = &world.entries("t", 0)[1];
    let (store, place) = (world.repository.store(), place("t", 0));
    let opened = world
        .runtime
        .block_on(SegmentReader::open(store, &place, entry))
        .unwrap();
    let mut blocks = opened.segment().index().entries().iter();
    let has_rare = |block: &&IndexEntry| {
        (block.base_offset..block.end_offset).any(|offset| offset % 100 == 50)
    };
    let block = blocks.find(|block| !has_rare(block)).unwrap();
    let position = usize::try_from(block.position).unwrap();
    let values = position + block.block_length as usize - 100;
    (
        block.base_offset..block.end_offset,
        position + block.header_length as usize + 4,
        values,
    )
}

#[test]
fn a_damaged_block_is_named_and_the_others_are_searched() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let world = world();
    let rare: Vec<i64> = (0..600).filter(|offset| offset % 100 == 50).collect();
    let both = [&rare[..], &rare].concat();
    let (found, ..) = search(
        &world,
        &world.repository,
        by_key("rare"),
        ALWAYS,
        Streams::All,
    );
    assert_eq!(found, both);
    let entry = &world.entries("t", 0)[1];
    let (offsets, meta, values) = block(&world);
    // Values of a block without the key are not needed, and not looked at.
    world.flip(&entry.key, values);
    let (found, _, unsearched) = search(
        &world,
        &world.repository,
        by_key("rare"),
        ALWAYS,
        Streams::All,
    );
    assert_eq!((found, unsearched), (both.clone(), vec![]));
    let (found, _, unsearched) = search(
        &world,
        &world.repository,
        RecordFilter::all(),
        ALWAYS,
        Streams::All,
    );
    assert_eq!(unsearched, [(0, offsets.clone())]);
    let all: Vec<i64> = (0..600)
        .filter(|offset| !offsets.contains(offset))
        .chain(0..600)
        .collect();
    assert_eq!(found, all);
    // META is needed by everything.
    world.flip(&entry.key, meta);
    let (found, _, unsearched) = search(
        &world,
        &world.repository,
        by_key("rare"),
        ALWAYS,
        Streams::All,
    );
    assert_eq!(
        (found, unsearched),
        (both.clone(), vec![(0, offsets.clone())])
    );
    let (_, count, unsearched) = search(
        &world,
        &world.repository,
        RecordFilter::all(),
        ALWAYS,
        Streams::Meta,
    );
    assert_eq!((count, unsearched), (all.len() as u64, vec![(0, offsets)]));
}

#[test]
fn a_missing_or_damaged_segment_is_named_and_the_others_are_searched() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let rare = |range: Range<i64>| {
        range
            .filter(|offset| offset % 100 == 50)
            .collect::<Vec<_>>()
    };
    let expected = [rare(0..200), rare(400..600), rare(0..600)].concat();
    for missing in [true, false] {
        let world = world();
        let entry = &world.entries("t", 0)[1];
        match missing {
            true => fs::remove_file(world.path(&entry.key)).unwrap(),
            false => world.flip(
                &entry.key,
                usize::try_from(entry.footer_position).unwrap() + 20,
            ),
        }
        let (found, _, unsearched) = search(
            &world,
            &world.repository,
            by_key("rare"),
            ALWAYS,
            Streams::All,
        );
        assert_eq!((found, unsearched), (expected.clone(), vec![(0, 200..400)]));
        // What the index rules out is not looked at.
        let (found, _, unsearched) = search(
            &world,
            &world.repository,
            by_key("rare"),
            0..=199,
            Streams::All,
        );
        assert_eq!(
            (found, unsearched),
            ([rare(0..200), rare(0..200)].concat(), vec![])
        );
    }
}

#[test]
fn counting_by_time_reads_footers_and_meta() {
    // Of columns, META and single streams are read alone.
    if SegmentKind::of_this_run() != SegmentKind::Columns {
        return;
    }
    let mut world = World::with_blocks(256 << 10);
    // Values that do not compress, as those of many topics that were compressed by producers.
    world.content = |offset| {
        let bytes = (0..50_i64).flat_map(|i| {
            let seed = (offset * 50 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
            (seed ^ (seed >> 29))
                .wrapping_mul(0x94D0_49BB_1331_11EB_u64 as i64)
                .to_le_bytes()
        });
        (Some(b"k".to_vec()), bytes.collect())
    };
    let rows: Vec<Row> = (0..4_000)
        .map(|offset| (offset, offset * 7_919 % 4_000))
        .collect();
    world.backup(&[("t", 0, vec![rows.clone()]), ("t", 1, vec![rows])]);
    let (repository, watch) = watched_disk(&world);
    let sizes: u64 = [0, 1].iter().map(|n| world.entries("t", *n)[0].size).sum();
    watch.take_bytes();
    let (_, count, unsearched) = search(
        &world,
        &repository,
        RecordFilter::all(),
        100..=299,
        Streams::Meta,
    );
    assert_eq!((count, unsearched), (400, vec![]));
    let bytes = watch.take_bytes();
    assert!(bytes * 20 < sizes, "{bytes} of {sizes} bytes");
    // A condition on tombstones needs no more.
    let tombstones = RecordFilter::new(Conditions {
        tombstones: true,
        ..Conditions::default()
    });
    let (_, count, _) = search(&world, &repository, tombstones, ALWAYS, Streams::Meta);
    assert_eq!(count, 0);
    assert!(watch.take_bytes() * 20 < sizes);
    let (_, count, _) = search(&world, &repository, by_key("k"), ALWAYS, Streams::Meta);
    assert_eq!(count, 8_000);
    assert!(watch.take_bytes() > sizes / 2, "keys are in the blocks");
}

#[test]
fn what_is_skipped_or_narrowed_is_not_read() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world();
    let (repository, watch) = watched_disk(&world);
    let snapshot = world.latest();
    let places = [place("t", 0), place("t", 1)];
    let sources = || -> Vec<SearchSource<'_>> {
        let source = |place: &PartitionId| SearchSource::Partition {
            repository: &repository,
            snapshot: &snapshot,
            partition: place.clone(),
            state: snapshot.partition(place).unwrap(),
            offsets: 0..i64::MAX,
        };
        places.iter().map(source).collect()
    };
    let options = SearchOptions {
        times: ALWAYS,
        filter: RecordFilter::all(),
        streams: Streams::Meta,
        order: Order::Ascending,
        stops_early: true,
        renderers: Vec::new(),
    };
    let mut found = Vec::new();
    world.runtime.block_on(async {
        let mut search = Search::new(sources(), options.clone());
        while let Some(next) = search.next().await.unwrap() {
            let Found::Matches(matches) = next else {
                panic!("{next:?}")
            };
            search.skip(matches.source);
            found.push(matches.source);
        }
    });
    assert_eq!(found, [0, 1], "each once");
    let last = &world.entries("t", 0)[2].key;
    let read = watch.take();
    assert!(!read.iter().any(|(key, _)| key == last), "{read:?}");

    // After the first block nothing later than its records is of interest.
    let mut times = Vec::new();
    let renderer = TextRenderer::new(&"%T\n".parse().unwrap(), "t", 0.into(), None);
    let options = SearchOptions {
        streams: Streams::All,
        renderers: vec![renderer.clone(), renderer],
        ..options
    };
    world.runtime.block_on(async {
        let mut search = Search::new(sources(), options);
        let mut narrowed = false;
        while let Some(next) = search.next().await.unwrap() {
            let Found::Matches(matches) = next else {
                panic!("{next:?}")
            };
            times.extend(
                matches
                    .records
                    .iter()
                    .map(|record| (matches.source, record.timestamp)),
            );
            if !std::mem::replace(&mut narrowed, true) {
                search.narrow(i64::MIN..=9);
            }
        }
    });
    let second: Vec<_> = times
        .iter()
        .filter(|(source, _)| *source == 1)
        .copied()
        .collect();
    assert_eq!(second, (0..10).map(|time| (1, time)).collect::<Vec<_>>());
    let read = watch.take();
    assert!(!read.iter().any(|(key, _)| key == last), "{read:?}");
}

#[test]
fn an_error_of_the_store_ends_the_search_and_one_of_an_object_does_not() {
    let world = world();
    let (repository, watch) = watched_disk(&world);
    let entries = world.entries("t", 0);
    let snapshot = world.latest();
    let place = place("t", 0);
    let source = SearchSource::Partition {
        repository: &repository,
        snapshot: &snapshot,
        partition: place.clone(),
        state: snapshot.partition(&place).unwrap(),
        offsets: 0..i64::MAX,
    };
    let options = SearchOptions {
        times: ALWAYS,
        filter: by_key("rare"),
        streams: Streams::Meta,
        order: Order::Ascending,
        stops_early: false,
        renderers: Vec::new(),
    };
    world.runtime.block_on(async {
        watch.set(Fault::ForbidsAll);
        let mut search = Search::new(vec![source.clone()], options.clone());
        let error = search.next().await.unwrap_err();
        assert!(!error.kind().is_about_content(), "{error}");
        assert!(search.next().await.unwrap().is_none());
        // The store returns others: each segment is named.
        watch.set(Fault::Forbids);
        let mut search = Search::new(vec![source], options);
        for entry in &entries {
            let Some(Found::Unsearched(unsearched)) = search.next().await.unwrap() else {
                panic!("{entry:?}");
            };
            assert_eq!(unsearched.offsets, entry.base_offset..entry.end_offset);
            assert_eq!(unsearched.error.key(), Some(&*entry.key));
        }
        assert!(search.next().await.unwrap().is_none());
    });
}
