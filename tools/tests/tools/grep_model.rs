//! Searches by every condition give what filtering everything gives.

use std::fs;

use kbk_format::{
    Compression, FileHeader, GapReason, Header, Headers, IsolationLevel, KeyFilterBits, Record,
    SegmentWriter, Streams, TextFormat, TextRenderer, TimestampType, WriterOptions,
};
use kbk_tools::filter::{Conditions, JsonCondition};
use kbk_tools::grep::{Search, SearchOptions, SearchSource};
use kbk_tools::{KeySelection, Order, RecordFilter, SegmentFile};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::grep::drain;

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

fn format() -> TextFormat {
    "%o %T %k|%s|%h\\n".parse().unwrap()
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
