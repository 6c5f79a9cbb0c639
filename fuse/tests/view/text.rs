//! Any range of any text file equals the slice of an independent rendering.

use jiff::Timestamp;
use kbk_fuse::{View, ViewError, ViewOptions};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::read::{find, names, read, read_by};
use crate::support::records::{self, Rec};
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
            prop_assert_eq!(&meta["lossless"]["values"], whole(|record| &record.value));
            prop_assert_eq!(&meta["lossless"]["keys"], whole(|record| &record.key));
            prop_assert_eq!(&meta["records"], records.len());
            Ok(())
        })?;
    }
}

/// The name of the hour of a largest timestamp.
fn hour(largest: i64) -> String {
    match Timestamp::from_millisecond(largest) {
        _ if largest < 0 => "1969-and-before".to_owned(),
        Ok(time) if largest < Timestamp::MAX.as_millisecond() / 3_600_000 * 3_600_000 => {
            time.strftime("%Y-%m-%dT%H").to_string()
        }
        _ => "9999-and-later".to_owned(),
    }
}

/// The hours of `by-time`, computed record by record.
fn by_time(records: &[Rec]) -> Vec<(String, Vec<Rec>)> {
    let mut parts: Vec<(String, Vec<Rec>)> = Vec::new();
    let mut largest = i64::MIN;
    for record in records {
        largest = largest.max(record.timestamp);
        let hour = hour(largest);
        match parts.last_mut() {
            Some((last, records)) if *last == hour => records.push(record.clone()),
            _ => parts.push((hour, vec![record.clone()])),
        }
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hours_tile_the_partition(parts in partition()) {
        Runtime::new().unwrap().block_on(async {
            let world = World::new().await;
            world.backup(&[("orders", 1, 0, parts.clone())]).await;
            let view = View::open(world.store(), ViewOptions::default()).await.unwrap();
            let folder = "latest/topics/orders/0/by-time";
            let expected = by_time(&all(&parts));
            let hours: Vec<_> = expected.iter().map(|(hour, _)| hour.clone()).collect();
            prop_assert_eq!(names(&view, folder).await, &hours[..]);
            prop_assert!(hours.is_sorted());
            for (hour, records) in &expected {
                let path = format!("{folder}/{hour}/records.jsonl");
                let newest = records.iter().map(|record| record.timestamp).max().unwrap();
                let stated = find(&view, &path).await.unwrap().attributes.modified_ms;
                prop_assert_eq!(stated, newest.clamp(0, world.now_ms) as u64);
                prop_assert_eq!(read(&view, &path).await.unwrap(), records::records(records));
            }
            let other = find(&view, &format!("{folder}/2500-01-01T00")).await;
            prop_assert!(matches!(other, Err(ViewError::NotFound)));
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
                .map(|part| format!("{}-{}.jsonl", part.offsets.start, part.offsets.end - 1))
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
