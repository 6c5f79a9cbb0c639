//! Searches by every condition give what filtering everything gives, read no more than they need, and never take what was not read for searched.

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use kbk_format::repo::{PartitionId, Repository, SegmentReader, StoreProfile};
use kbk_format::{
    Compression, FileHeader, GapReason, Header, Headers, IndexEntry, IsolationLevel, KeyFilterBits,
    Record, SegmentWriter, Streams, TextFormat, TextRenderer, TimestampType, WriterOptions,
};
use kbk_tools::filter::{Conditions, JsonCondition};
use kbk_tools::grep::{Found, Search, SearchOptions, SearchSource};
use kbk_tools::{KeySelection, Order, RecordFilter, SegmentFile};
use object_store::local::LocalFileSystem;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::as_batches::SegmentKind;
use crate::support::watched_store::{Fault, Watch, watched};
use crate::support::{Row, World, place, value_of};

/// A record that owns what it holds.
#[derive(Clone, Debug)]
struct Owned {
    timestamp: i64,
    control: bool,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Offsets before it that have no record.
    skip: i64,
}

impl Owned {
    fn with<T>(&self, offset: i64, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        take(&Record {
            offset,
            timestamp: self.timestamp,
            control: self.control,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }
}

fn text(pattern: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    prop::string::bytes_regex(pattern).unwrap()
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let value = prop_oneof![
        4 => (0..4_u8, 0..3_u8).prop_map(|(a, b)| format!("{{\"a\":{a},\"b\":{{\"c\":\"{b}\"}}}}").into_bytes()),
        1 => (0..4_u8).prop_map(|a| format!("{{\"a\":\"{a}\"}}").into_bytes()),
        2 => text("[ab7]{0,4}"),
        1 => text("(?s-u)[\\x00-\\xff]{0,5}"),
    ];
    let header = (
        prop::sample::select(vec![b"t".to_vec(), b"u".to_vec(), vec![0xff]]),
        prop::option::of(text("[01]{0,1}")),
    );
    let record = (
        prop_oneof![6 => 0..100_i64, 1 => Just(-1), 1 => any::<i64>()],
        prop::bool::weighted(0.05),
        prop::option::weighted(0.8, text("[ab]{0,3}")),
        prop::option::weighted(0.8, value),
        prop::collection::vec(header, 0..3),
        prop_oneof![5 => Just(0), 1 => 1..4_i64],
    );
    let record = record.prop_map(|(timestamp, control, key, value, headers, skip)| Owned {
        timestamp,
        control,
        key,
        value,
        headers,
        skip,
    });
    prop::collection::vec(record, 1..120)
}

/// A condition, and what it selects, said in another way than the code says it.
#[derive(Clone, Debug)]
enum Condition {
    Key(Vec<u8>),
    KeyNull,
    KeyPrefix(Vec<u8>),
    /// A key that ends with these letters.
    KeyEnd(&'static str),
    Tombstone,
    Header(Vec<u8>, Option<Vec<u8>>),
    /// A value that has this byte.
    Has(u8),
    /// `/a` is this number or this text.
    A(u8),
    /// `/a` is there, and is not this number.
    NotA(u8),
    /// `/b/c` is there or is not.
    Bc(bool),
}

impl Condition {
    fn is_key(&self) -> bool {
        use Condition::{Key, KeyEnd, KeyNull, KeyPrefix};
        matches!(self, Key(_) | KeyNull | KeyPrefix(_) | KeyEnd(_))
    }

    fn holds(&self, record: &Owned) -> bool {
        let json = || -> Option<serde_json::Value> {
            serde_json::from_slice(record.value.as_deref()?).ok()
        };
        let a = |number: u8| {
            json().and_then(|json| {
                let found = json.pointer("/a")?;
                let text = found.as_str().map_or(found.to_string(), str::to_owned);
                Some(text == number.to_string())
            })
        };
        match self {
            Condition::Key(key) => record.key.as_ref() == Some(key),
            Condition::KeyNull => record.key.is_none(),
            Condition::KeyPrefix(prefix) => record
                .key
                .as_ref()
                .is_some_and(|key| key.get(..prefix.len()) == Some(prefix)),
            Condition::KeyEnd(end) => record
                .key
                .as_ref()
                .is_some_and(|key| key.ends_with(end.as_bytes())),
            Condition::Tombstone => record.value.is_none(),
            Condition::Header(name, value) => {
                let is = |header: &(Vec<u8>, Option<Vec<u8>>)| {
                    header.0 == *name && (value.is_none() || header.1 == *value)
                };
                record.headers.iter().any(is)
            }
            Condition::Has(byte) => record.value.as_ref().is_some_and(|it| it.contains(byte)),
            Condition::A(number) => a(*number) == Some(true),
            Condition::NotA(number) => a(*number) == Some(false),
            Condition::Bc(there) => {
                json().is_some_and(|json| json.pointer("/b/c").is_some() == *there)
            }
        }
    }
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let name = || prop::sample::select(vec![b"t".to_vec(), vec![0xff]]);
    let one = prop_oneof![
        2 => text("[ab]{0,2}").prop_map(Condition::Key),
        1 => Just(Condition::KeyNull),
        1 => text("[ab]{0,2}").prop_map(Condition::KeyPrefix),
        1 => prop::sample::select(vec!["a", "bb", ""]).prop_map(Condition::KeyEnd),
        1 => Just(Condition::Tombstone),
        2 => (name(), prop::option::of(text("[01]{0,1}"))).prop_map(|(name, value)| Condition::Header(name, value)),
        2 => prop::sample::select(vec![b'a', b'7', 0xff, b'\n']).prop_map(Condition::Has),
        2 => (0..4_u8).prop_map(Condition::A),
        1 => (0..4_u8).prop_map(Condition::NotA),
        1 => any::<bool>().prop_map(Condition::Bc),
    ];
    prop::collection::vec(one, 0..4)
}

/// Returns what the code makes of the conditions.
fn filter(conditions: &[Condition], invert: bool) -> RecordFilter {
    let mut made = Conditions {
        invert,
        ..Conditions::default()
    };
    let (mut exact, mut prefixes, mut patterns, mut null) =
        (Vec::new(), Vec::new(), Vec::new(), false);
    let json = |text: String| text.parse::<JsonCondition>().unwrap();
    for condition in conditions {
        match condition {
            Condition::Key(key) => exact.push(key.clone()),
            Condition::KeyNull => null = true,
            Condition::KeyPrefix(prefix) => prefixes.push(prefix.clone()),
            Condition::KeyEnd(end) => patterns.push(format!("{end}$").parse().unwrap()),
            Condition::Tombstone => made.tombstones = true,
            Condition::Header(name, value) => {
                made.headers.push(kbk_tools::filter::HeaderCondition {
                    name: name.clone(),
                    value: value.clone(),
                });
            }
            Condition::Has(byte) => {
                made.values
                    .push(format!("(?-u)\\x{byte:02x}").parse().unwrap());
            }
            Condition::A(number) => made.json.push(json(format!("/a={number}"))),
            Condition::NotA(number) => made.json.push(json(format!("/a!={number}"))),
            Condition::Bc(true) => made.json.push(json("/b/c".into())),
            Condition::Bc(false) => made.json.push(json("!/b/c".into())),
        }
    }
    made.keys = conditions
        .iter()
        .any(Condition::is_key)
        .then(|| KeySelection::new(exact.into_iter().collect(), null).or(prefixes, patterns));
    RecordFilter::new(made)
}

/// Writes records to a file, and returns their offsets and the end.
fn write(path: &std::path::Path, base: i64, records: &[Owned], options: WriterOptions) -> Vec<i64> {
    let header = FileHeader {
        segment_id: [base as u8; 16],
        topic_id: [1; 16],
        topic: "t".to_owned(),
        partition: 0.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: base,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    };
    let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
    let (mut offset, mut offsets) = (base, Vec::new());
    for record in records {
        offset += record.skip;
        record.with(offset, |record| writer.push(record)).unwrap();
        offsets.push(offset);
        offset += 1;
    }
    let (bytes, _) = writer.seal(offset + 2, GapReason::NotDelivered).unwrap();
    fs::write(path, bytes).unwrap();
    offsets
}

/// A source, and offsets of it that could not be searched.
type Gap = (usize, Range<i64>);

fn format() -> TextFormat {
    "%o %T %k|%s|%h\\n".parse().unwrap()
}

/// Returns the text of everything that is found, how many records it has, and the offsets that could not be searched.
fn drain(runtime: &Runtime, mut search: Search<'_>) -> (String, u64, Vec<Gap>) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_selection_matches_a_filter(
        records in records(),
        cut in 1..120_usize,
        conditions in conditions(),
        invert: bool,
        (from, to) in prop_oneof![2 => Just((0, i64::MAX)), 1 => (0..200_i64, 0..200_i64)],
        (since, until) in prop_oneof![2 => Just((i64::MIN, i64::MAX)), 1 => (-2..100_i64, -2..100_i64)],
        codec in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd(3)]),
        block_bytes in 1_024..3_000_usize,
        counts: bool,
        filters in prop::array::uniform2(prop::option::of(0..=KeyFilterBits::MOST)),
    ) {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = records.split_at(cut.min(records.len()));
        let mut all = Vec::new();
        let mut sources = Vec::new();
        let mut base = 5;
        for (number, part) in [first, second].into_iter().enumerate() {
            let path = folder.path().join(format!("{number}.kseg"));
            let key_filter = filters[number].and_then(KeyFilterBits::new);
            let options = WriterOptions { compression: codec, block_bytes, key_filter };
            let offsets = write(&path, base, part, options);
            base = offsets.last().map_or(base, |last| last + 1) + 2;
            all.push(offsets.into_iter().zip(part).collect::<Vec<_>>());
            let file = SegmentFile::open(&path).unwrap();
            sources.push(SearchSource::File { file, offsets: from..to });
        }
        let renderer = TextRenderer::new(&format(), "t", 0.into(), None);
        let selected = |(offset, record): &(i64, &Owned)| {
            let key = |it: &&Condition| it.is_key();
            let keys = conditions.iter().filter(key).any(|it| it.holds(record)) || !conditions.iter().any(|it| it.is_key());
            let others = conditions.iter().filter(|it| !it.is_key()).all(|it| it.holds(record));
            (from..to).contains(offset) && (since..=until).contains(&record.timestamp) && !record.control
                && (keys && others) != invert
        };
        for order in [Order::Ascending, Order::Descending] {
            let mut expected: Vec<_> = all.iter().flatten().copied().filter(selected).collect();
            if order == Order::Descending {
                expected.reverse();
            }
            let mut lines = Vec::new();
            for (offset, record) in &expected {
                record.with(*offset, |record| renderer.render(record, &mut lines));
            }
            let search = Search::new(sources.clone(), SearchOptions {
                times: since..=until,
                filter: filter(&conditions, invert),
                streams: if counts { Streams::Meta } else { Streams::All },
                order,
                stops_early: false,
                renderers: if counts { Vec::new() } else { vec![renderer.clone(), renderer.clone()] },
            });
            let (found, count, unsearched) = drain(&runtime, search);
            prop_assert_eq!(count, expected.len() as u64);
            prop_assert_eq!(unsearched, vec![]);
            if !counts {
                prop_assert_eq!(found, String::from_utf8_lossy(&lines).into_owned());
            }
        }
    }
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
fn an_error_of_the_store_ends_the_search() {
    let world = world();
    let (repository, watch) = watched_disk(&world);
    let snapshot = world.latest();
    let place = place("t", 0);
    let source = SearchSource::Partition {
        repository: &repository,
        snapshot: &snapshot,
        partition: place.clone(),
        state: snapshot.partition(&place).unwrap(),
        offsets: 0..i64::MAX,
    };
    watch.set(Fault::Forbids);
    let options = SearchOptions {
        times: ALWAYS,
        filter: by_key("rare"),
        streams: Streams::Meta,
        order: Order::Ascending,
        stops_early: false,
        renderers: Vec::new(),
    };
    world.runtime.block_on(async {
        let mut search = Search::new(vec![source], options);
        let error = search.next().await.unwrap_err();
        assert!(!error.kind().is_about_content(), "{error}");
        assert!(search.next().await.unwrap().is_none());
    });
}
