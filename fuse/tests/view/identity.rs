//! A topic is its name and its id together: neither alone tells two topics apart.

use kbk_format::repo::{Hex, Id};
use kbk_fuse::{CacheDir, View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::read::{find, names, read};
use crate::support::records::{self, Rec};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

const NO_ID: u8 = 0;

/// Records at offsets 0 to 99 whose values all are `value`.
fn part(value: &str) -> Part {
    let record = |offset| Rec {
        offset,
        timestamp: offset,
        value: Some(value.into()),
        ..Rec::default()
    };
    Part {
        offsets: 0..100,
        records: (0..100).map(record).collect(),
    }
}

async fn open(world: &World) -> View {
    View::open(world.store(), ViewOptions::default())
        .await
        .unwrap()
}

async fn until_listed_again() {
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
}

/// Clusters without topic ids give every topic the id of zeros.
#[tokio::test]
async fn followed_topics_without_ids_show_their_own_records() {
    let world = World::new().await;
    let topics = ["orders", "payments"];
    world
        .backup(&topics.map(|topic| (topic, NO_ID, 0, vec![part(topic)])))
        .await;
    let view = open(&world).await;
    assert_eq!(names(&view, "follow/topics").await, topics);
    for topic in topics {
        let found = read(&view, &format!("follow/topics/{topic}/0/records.jsonl")).await;
        assert_eq!(
            found.unwrap(),
            records::records_of(topic, &part(topic).records)
        );
        let inode = find(&view, &format!("follow/topics/{topic}/0")).await;
        let named = view.extended(inode.unwrap().inode, b"user.kbk.topic").await;
        assert_eq!(named.unwrap(), topic);
    }
}

#[tokio::test]
async fn a_followed_topic_that_was_recreated_is_another_one() {
    let world = World::new().await;
    world.backup(&[("orders", 1, 0, vec![part("old")])]).await;
    let view = open(&world).await;
    let path = "follow/topics/orders/0/values";
    let old = find(&view, path).await.unwrap();
    let open_file = view.open_file(old.inode).await.unwrap();

    let new = ("orders", 2, 0, vec![part("new")]);
    world.backup_with(&[new], None, &[("orders", 1)]).await;
    until_listed_again().await;
    assert_eq!(names(&view, "follow/topics").await, ["orders"]);
    let found = find(&view, path).await.unwrap();
    assert_ne!(found.inode, old.inode);
    assert_eq!(
        read(&view, path).await.unwrap(),
        records::values(&part("new").records)
    );
    // The old topic is still in the snapshot, as deleted: its file neither grows nor changes.
    assert_eq!(
        open_file.read(0, usize::MAX).await.unwrap(),
        records::values(&part("old").records)
    );
}

/// Damage in a deleted topic says nothing about the one that now has its name.
#[tokio::test]
async fn damage_is_reported_for_the_topic_that_has_it() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::new().await;
    world.backup(&[("orders", 1, 0, vec![part("old")])]).await;
    let new = ("orders", 2, 0, vec![part("new")]);
    world.backup_with(&[new], None, &[("orders", 1)]).await;
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let deleted = &snapshot.topics[0];
    assert!(deleted.deleted);
    let place = deleted.partition_id(0.into());
    let segments = world
        .repository
        .segments(&snapshot, &place, &deleted.partitions[0]);
    let key = Path::from(segments.await.unwrap()[0].key.as_str());
    let mut bytes = world
        .objects
        .get(&key)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec();
    bytes[500] ^= 1;
    world.objects.put(&key, bytes.into()).await.unwrap();

    let view = open(&world).await;
    let old = format!("latest/topics/orders@{}/0", "01".repeat(16));
    let error = read(&view, &format!("{old}/records.jsonl"))
        .await
        .unwrap_err();
    assert!(matches!(error, ViewError::Damaged { .. }), "{error}");
    for (folder, findings) in [(old.as_str(), 1), ("latest/topics/orders/0", 0)] {
        let meta = read(&view, &format!("{folder}/meta.json")).await.unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
        assert_eq!(
            meta["damage"].as_array().unwrap().len(),
            findings,
            "{folder}"
        );
        let records = find(&view, &format!("{folder}/records.jsonl"))
            .await
            .unwrap();
        let file = view.open_file(records.inode).await.unwrap();
        assert_eq!(file.has_damage(), findings > 0, "{folder}");
    }
}

/// Segment ids are random, and nothing but chance and good writers keeps them apart: no cache may rely on them alone.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_share_an_id_show_their_own_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    let id: Id = Hex([7; 16]);
    world.segment_id = Some(id);
    let topics = ["orders", "refund"];
    world
        .backup(&topics.map(|topic| (topic, 1, 0, vec![part(topic)])))
        .await;
    let options = ViewOptions {
        cache_dir: Some(CacheDir {
            folder: folder.path().to_owned(),
            bytes: 1 << 20,
        }),
        ..ViewOptions::default()
    };
    // The first mount fills the folder; the others read it in another order.
    for order in [topics, ["refund", "orders"], topics] {
        let view = View::open(world.store(), options.clone()).await.unwrap();
        for topic in order {
            let folder = format!("latest/topics/{topic}/0");
            let found = read(&view, &format!("{folder}/records.jsonl"))
                .await
                .unwrap();
            assert_eq!(
                found,
                records::records_of(topic, &part(topic).records),
                "{topic}"
            );
            let stored = &names(&view, &format!("{folder}/segments")).await[0];
            let stored = read(&view, &format!("{folder}/segments/{stored}"))
                .await
                .unwrap();
            let segment = kbk_format::Segment::open_whole(&stored).unwrap();
            assert_eq!(segment.header().topic, topic);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
