//! Any range of any file of records is the slice of a rendering made without kbk's.

use kbk_fuse::{View, ViewOptions};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::read::{find, read_by};
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
    let timestamp = prop_oneof![4 => 0..20_000_000i64, 1 => Just(-1i64), 1 => any::<i64>()];
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

/// Segments of a partition: gaps between records, and behind them.
pub(crate) fn partition() -> impl Strategy<Value = Vec<Part>> {
    let segment = (vec(record(), 0..30), 0..5i64);
    (0..1_000i64, vec(segment, 1..6)).prop_map(|(base, segments)| {
        let mut at = base;
        let mut parts = Vec::new();
        for (records, behind) in segments {
            let start = at;
            let records: Vec<_> = records
                .into_iter()
                .map(|(skipped, record)| {
                    let offset = at + skipped;
                    at = offset + 1;
                    Rec { offset, ..record }
                })
                .collect();
            at += behind;
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
    fn any_range_is_the_slice_of_the_whole(
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
            Ok(())
        })?;
    }
}
