//! `by-key/KEY`: the records of a key, found by the key filters alone.

use kbk_format::KeyFilterBits;
use kbk_fuse::{View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::read::{find, names, read};
use crate::support::records::Rec;
use crate::support::watched::watched;
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

const FOLDER: &str = "latest/topics/orders/0/by-key";

/// Keys that are in many blocks, in few, and in one; null and empty ones, and some that no file name can be.
fn key_of(offset: i64) -> Option<Vec<u8>> {
    match offset % 300 {
        7 => Some(b"a/b".to_vec()),
        8 => Some(vec![0, 0xff, b'%']),
        9 => Some(Vec::new()),
        10 => None,
        11 => Some(b"..".to_vec()),
        12 => Some(b"key with spaces and \xc3\xbc".to_vec()),
        rest if rest % 3 == 0 => Some(b"common".to_vec()),
        _ => Some(format!("order-{offset}").into_bytes()),
    }
}

fn parts() -> Vec<Part> {
    let record = |offset: i64| Rec {
        key: key_of(offset),
        ..Part::plain(offset, offset + 1).records.remove(0)
    };
    [(0, 400), (400, 800), (800, 900)]
        .map(|(from, to)| Part {
            offsets: from..to,
            records: (from..to).map(record).collect(),
        })
        .into()
}

/// What the file of a key must be.
fn expected(key: &[u8]) -> String {
    let records = parts().into_iter().flat_map(|part| part.records);
    let of_key = records.filter(|record| record.key.as_deref() == Some(key));
    of_key.map(|record| record.line()).collect()
}

async fn world(key_filter: Option<KeyFilterBits>) -> World {
    let mut world = World::new().await;
    world.key_filter = key_filter;
    world.backup(&[("orders", 1, 0, parts())]).await;
    world
}

#[tokio::test]
async fn a_key_has_its_records_and_no_others() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world(Some(KeyFilterBits::default())).await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    for (name, key) in [
        ("common", &b"common"[..]),
        ("order-1", b"order-1"),
        ("order-898", b"order-898"),
        ("a%2Fb", b"a/b"),
        ("a%2fb", b"a/b"),
        ("%00%FF%25", &[0, 0xff, b'%']),
        ("%", b""),
        ("%2E%2E", b".."),
        (
            "key with spaces and \u{fc}",
            b"key with spaces and \xc3\xbc",
        ),
        (
            "key%20with%20spaces%20and%20%C3%BC",
            b"key with spaces and \xc3\xbc",
        ),
    ] {
        let path = format!("{FOLDER}/{name}");
        let wanted = expected(key);
        assert!(!wanted.is_empty(), "{name}");
        let found = find(&view, &path).await.unwrap();
        assert_eq!(found.attributes.size, wanted.len() as u64, "{name}");
        assert_eq!(
            String::from_utf8(read(&view, &path).await.unwrap().to_vec()).unwrap(),
            wanted,
            "{name}"
        );
        // Any part of it, across blocks.
        let file = view.open_file(found.inode).await.unwrap();
        for (at, length) in [
            (0, 1),
            (wanted.len() / 2, 100),
            (wanted.len() - 1, 50),
            (wanted.len(), 9),
        ] {
            let part = file.read(at as u64, length).await.unwrap();
            let end = wanted.len().min(at + length);
            assert_eq!(part, wanted.as_bytes()[at..end], "{name}: {at}");
        }
    }
    assert_eq!(names(&view, FOLDER).await, [""; 0]);
    for name in ["nobody", "%zz", "100%", "common.jsonl"] {
        let found = find(&view, &format!("{FOLDER}/{name}")).await;
        assert!(
            matches!(found, Err(ViewError::NotFound)),
            "{name}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_costs_a_page_per_segment() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world(Some(KeyFilterBits::new(20).unwrap())).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let found = find(&view, &format!("{FOLDER}/order-1")).await;
    assert!(found.is_ok());
    watch.take();
    let found = find(&view, &format!("{FOLDER}/nobody")).await;
    assert!(matches!(found, Err(ViewError::NotFound)));
    let read = watch.take_segments();
    assert_eq!(read.len(), 3, "a page of each segment: {read:?}");
}

#[tokio::test]
async fn where_segments_have_no_filter_no_key_is_called_absent() {
    let mut world = world(None).await;
    for filter in [None, Some(KeyFilterBits::default())] {
        // A later segment that has one does not make up for the first ones.
        world.key_filter = filter;
        let base = 900 + 50 * i64::from(filter.is_some());
        world
            .backup(&[("orders", 1, 0, vec![Part::plain(base, base + 50)])])
            .await;
        let view = View::open(world.store(), ViewOptions::default())
            .await
            .unwrap();
        let listed = names(&view, "latest/topics/orders/0").await;
        assert!(!listed.iter().any(|name| name == "by-key"), "{listed:?}");
        assert!(find(&view, FOLDER).await.is_ok());
        for name in ["common", "order-1", "nobody"] {
            let found = find(&view, &format!("{FOLDER}/{name}")).await;
            assert!(
                matches!(found, Err(ViewError::NoKeyFilter { .. })),
                "{name}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_an_absence() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world(Some(KeyFilterBits::default())).await;
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let topic = &snapshot.topics[0];
    let id = topic.partition_id(0.into());
    let entries = world
        .repository
        .segments(&snapshot, &id, &topic.partitions[0]);
    let entry = entries.await.unwrap().remove(1);
    let path = Path::from(entry.key.as_str());
    let mut bytes = world
        .objects
        .get(&path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec();
    let segment = kbk_format::Segment::open_whole(&bytes).unwrap();
    let start = segment.key_filter().unwrap().range().start as usize;
    bytes[start + 2] ^= 1;
    world.objects.put(&path, bytes.into()).await.unwrap();
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    for name in ["common", "nobody", "order-1"] {
        let found = find(&view, &format!("{FOLDER}/{name}")).await;
        assert!(
            matches!(found, Err(ViewError::Damaged { .. })),
            "{name}: {found:?}"
        );
    }
}
