//! Any range of any text file equals the slice of an independent rendering.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kbk_fuse::{View, ViewError, ViewOptions};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::read::{find, names, read, read_by};
use crate::support::records::{self, Rec};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z\"\\\\\n\u{1}äß]{0,40}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..60),
        Just(vec![b'x'; 900]),
    ]
}

fn record() -> impl Strategy<Value = (i64, Rec)> {
    let skipped = prop_oneof![4 => Just(0i64), 1 => 0..20i64];
    let timestamp = prop_oneof![
        40 => 0..40_000_000i64,
        4 => Just(-1i64),
        2 => 0..4_000_000_000_000i64,
        1 => any::<i64>(),
    ];
    let headers = vec((bytes(), option::of(bytes())), 0..3);
    (
        skipped,
        timestamp,
        option::of(bytes()),
        option::of(bytes()),
        headers,
    )
        .prop_map(|(skipped, timestamp, key, value, headers)| {
            (
                skipped,
                Rec {
                    offset: 0,
                    timestamp,
                    key,
                    value,
                    headers,
                },
            )
        })
}

/// Segments of a partition, with gaps between and after records.
pub(crate) fn partition() -> impl Strategy<Value = Vec<Part>> {
    let segment = (vec(record(), 0..30), 0..5i64);
    (0..1_000i64, vec(segment, 1..6)).prop_map(|(base, segments)| {
        let mut at = base;
        let mut parts = Vec::new();
        for (records, trailing_gap) in segments {
            let start = at;
            let records: Vec<_> = records
                .into_iter()
                .map(|(skipped, record)| {
                    let offset = at + skipped;
                    at = offset + 1;
                    Rec { offset, ..record }
                })
                .collect();
            at += trailing_gap;
            if at > start {
                parts.push(Part {
                    offsets: start..at,
                    records,
                });
            }
        }
        parts
    })
}

pub(crate) fn all(parts: &[Part]) -> Vec<Rec> {
    parts.iter().flat_map(|part| part.records.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_is_a_slice_of_the_whole(
        parts in partition(), ranges in vec((0.0..1.0f64, 0..5_000usize), 8), length in 1..9_000usize,
    ) {
        Runtime::new().unwrap().block_on(async {
            let world = World::new().await;
            world.backup(&[("orders", 1, 0, parts.clone())]).await;
            let view = View::open(world.store(), ViewOptions::default()).await.unwrap();
            let records = all(&parts);
            for (name, expected) in [
                ("records.jsonl", records::records(&records)),
                ("values", records::values(&records)),
                ("keys", records::keys(&records)),
            ] {
                let path = format!("latest/topics/orders/0/{name}");
                prop_assert_eq!(&read_by(&view, &path, length).await.unwrap(), &expected, "{}", name);
                let file = view.open_file(find(&view, &path).await.unwrap().inode).await.unwrap();
                for (at, length) in &ranges {
                    let at = (at * (expected.len() + 10) as f64) as usize;
                    let found = file.read(at as u64, *length).await.unwrap();
                    let end = (at + length).min(expected.len());
                    prop_assert_eq!(&found[..], expected.get(at..end).unwrap_or_default());
                }
            }
            let meta = read(&view, "latest/topics/orders/0/meta.json").await.unwrap();
            let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
            let whole = |part: fn(&Rec) -> &Option<Vec<u8>>| {
                let mut parts = records.iter().map(part);
                parts.all(|part| part.as_ref().is_some_and(|bytes| !bytes.contains(&b'\n')))
            };
            // A segment without a record is stored as columns in every world, and states everything.
            if SegmentKind::of_this_run() != SegmentKind::NotComputed || records.is_empty() {
                prop_assert_eq!(&meta["lossless"]["values"], whole(|record| &record.value));
                prop_assert_eq!(&meta["lossless"]["keys"], whole(|record| &record.key));
            } else {
                prop_assert!(meta["lossless"]["keys"].is_null());
            }
            prop_assert_eq!(&meta["records"], records.len());
            Ok(())
        })?;
    }
}

/// The name of the hour of a timestamp.
pub(crate) fn hour(timestamp: i64) -> String {
    match Timestamp::from_millisecond(timestamp) {
        _ if timestamp < 0 => "1969-and-before".to_owned(),
        Ok(time) if timestamp < 253_370_764_800_000 => time.strftime("%Y-%m-%dT%H").to_string(),
        _ => "9999-and-later".to_owned(),
    }
}

/// Records by a name of their timestamp, each in offset order.
fn by_name(records: &[Rec], name: impl Fn(i64) -> String) -> BTreeMap<String, Vec<Rec>> {
    let mut all: BTreeMap<String, Vec<Rec>> = BTreeMap::new();
    for record in records {
        all.entry(name(record.timestamp))
            .or_default()
            .push(record.clone());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_hour_a_day_and_a_minute_have_the_records_of_that_time(parts in partition(), has_hours in any::<bool>()) {
        Runtime::new().unwrap().block_on(async {
            let mut world = World::new().await;
            world.has_hours = has_hours;
            world.backup(&[("orders", 1, 0, parts.clone())]).await;
            let view = View::open(world.store(), ViewOptions::default()).await.unwrap();
            let folder = "latest/topics/orders/0/by-time";
            let records = all(&parts);
            let newest = records.iter().map(|record| record.timestamp).max();
            let hours = by_name(&records, hour);
            let listed: Vec<_> = hours.keys().map(|hour| format!("{hour}.jsonl")).collect();
            prop_assert_eq!(names(&view, folder).await, &listed[..]);
            for (hour, records) in &hours {
                let path = format!("{folder}/{hour}.jsonl");
                let stated = find(&view, &path).await.unwrap().attributes.modified_ms;
                let newest_here = records.iter().map(|record| record.timestamp).max();
                let hour_end = |time: i64| time.saturating_add(3_600_000).min(newest.unwrap());
                let range = newest_here.unwrap()..=hour_end(newest_here.unwrap());
                let range = range.start().clamp(&0, &world.now_ms)..=range.end().clamp(&0, &world.now_ms);
                prop_assert!(range.contains(&&(stated as i64)), "{} {} {:?}", path, stated, range);
                prop_assert_eq!(read(&view, &path).await.unwrap(), records::records(records));
                let unlisted = read(&view, &format!("{folder}/{hour}")).await.unwrap();
                prop_assert_eq!(unlisted, records::records(records));
            }
            let ordinary: Vec<_> = records.iter().filter(|record| !hour(record.timestamp).contains("and")).cloned().collect();
            let named = |format: &'static str| move |time| Timestamp::from_millisecond(time).unwrap().strftime(format).to_string();
            for format in ["%Y-%m-%d", "%Y-%m-%dT%H:%M"] {
                for (name, records) in by_name(&ordinary, named(format)) {
                    for suffix in ["", ".jsonl"] {
                        let found = read_by(&view, &format!("{folder}/{name}{suffix}"), 700).await.unwrap();
                        prop_assert_eq!(&found, &records::records(&records), "{}", name);
                    }
                }
            }
            for other in ["2500-01-01T00", "2500-01-01T00.jsonl", "2500-01-01", "x", "x.jsonl", "2500-01-01T00.json"] {
                let other = find(&view, &format!("{folder}/{other}")).await;
                prop_assert!(matches!(other, Err(ViewError::NotFound)));
            }
            Ok(())
        })?;
    }

    #[test]
    fn looked_up_offsets_are_found(parts in partition(), named in vec((0..1_300i64, 0..80i64), 10)) {
        Runtime::new().unwrap().block_on(async {
            let world = World::new().await;
            world.backup(&[("orders", 1, 0, parts.clone())]).await;
            let view = View::open(world.store(), ViewOptions::default()).await.unwrap();
            let folder = "latest/topics/orders/0/by-offset";
            let segments: Vec<_> = parts
                .iter()
                .map(|part| format!("{:020}-{:020}.jsonl", part.offsets.start, part.offsets.end - 1))
                .collect();
            prop_assert_eq!(names(&view, folder).await, &segments[..]);
            for (part, name) in parts.iter().zip(&segments) {
                let found = read(&view, &format!("{folder}/{name}")).await.unwrap();
                prop_assert_eq!(found, records::records(&part.records));
            }
            let records = all(&parts);
            let covered = parts.first().map_or(0, |p| p.offsets.start)..parts.last().map_or(0, |p| p.offsets.end);
            for (first, more) in named {
                let one = read(&view, &format!("{folder}/{first}.json")).await;
                match records.iter().find(|record| record.offset == first) {
                    Some(record) => prop_assert_eq!(one.unwrap(), record.line().into_bytes()),
                    None => prop_assert!(matches!(one, Err(ViewError::NotFound))),
                }
                let value = read(&view, &format!("{folder}/{first}.value")).await;
                match records.iter().find(|record| record.offset == first).map(|record| &record.value) {
                    Some(Some(bytes)) => prop_assert_eq!(&value.unwrap(), bytes),
                    _ => prop_assert!(matches!(value, Err(ViewError::NotFound))),
                }
                let last = first + more;
                let some = read(&view, &format!("{folder}/{first}-{last}.jsonl")).await;
                if last < covered.start || first >= covered.end {
                    prop_assert!(matches!(some, Err(ViewError::NotFound)));
                    continue;
                }
                let expected = records.iter().filter(|record| (first..=last).contains(&record.offset));
                let expected: Vec<_> = expected.cloned().collect();
                prop_assert_eq!(some.unwrap(), records::records(&expected));
            }
            Ok(())
        })?;
    }
}
