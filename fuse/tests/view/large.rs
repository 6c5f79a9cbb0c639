//! Large folders are listed from the index alone.

use kbk_fuse::{View, ViewOptions};

use crate::support::read::{find, list, read};
use crate::support::records::Rec;
use crate::support::watched::watched;
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

#[tokio::test]
async fn a_partition_of_a_thousand_segments_is_listed_without_reading_any() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::new().await;
    let parts: Vec<_> = (0..1_000)
        .map(|at| Part::plain(at * 2, at * 2 + 2))
        .collect();
    world.backup(&[("orders", 1, 0, parts)]).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    for folder in ["", "/by-offset", "/segments"] {
        let inode = find(&view, &format!("latest/topics/orders/0{folder}"))
            .await
            .unwrap()
            .inode;
        for listed in list(&view, inode, 50).await.unwrap() {
            listed.attributes.unwrap();
            view.attribute_names(listed.inode).await.unwrap();
        }
    }
    let reads = watch.take();
    assert!(
        reads.iter().all(|(key, _)| !key.ends_with(".kseg")),
        "{reads:?}"
    );
    assert!(
        reads.len() < 10,
        "identity, snapshot and two pages: {reads:?}"
    );
    // A record in the middle takes two reads: the footer of its segment, and its block.
    read(&view, "latest/topics/orders/0/by-offset/1001.json")
        .await
        .unwrap();
    assert_eq!(watch.take().len(), 2);
}

/// Two records per hour, so that nearly every block has records of several hours.
#[tokio::test]
async fn a_year_of_hours_is_listed_with_sizes_without_reading_a_block() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let half_an_hour = |offset: i64| Rec {
        offset,
        timestamp: offset * 1_800_000,
        value: Some(vec![b'v'; 20]),
        ..Rec::default()
    };
    let part = |from: i64| Part {
        offsets: from..from + 4_380,
        records: (from..from + 4_380).map(half_an_hour).collect(),
    };
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, (0..4).map(|at| part(at * 4_380)).collect())])
        .await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let partition = "latest/topics/orders/0";
    let folder = find(&view, &format!("{partition}/by-time")).await.unwrap();
    let hours = list(&view, folder.inode, 192).await.unwrap();
    assert_eq!(hours.len(), 8_760);
    let sizes = hours
        .iter()
        .map(|hour| hour.attributes.as_ref().unwrap().size);
    let whole = find(&view, &format!("{partition}/records.jsonl")).await;
    assert_eq!(sizes.sum::<u64>(), whole.unwrap().attributes.size);
    let reads = watch.take_segments();
    assert_eq!(reads.len(), 4, "one footer per segment: {reads:?}");
    assert_eq!(view.status().loads, 0);
}

#[tokio::test]
async fn ten_thousand_partitions_are_listed_from_the_snapshot_alone() {
    let world = World::new().await;
    let partitions: Vec<_> = (0..10_000)
        .map(|partition| ("orders", 1, partition, vec![]))
        .collect();
    world.backup(&partitions).await;
    world
        .backup(&[("orders", 1, 9_999, vec![Part::plain(0, 3)])])
        .await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let folder = find(&view, "latest/topics/orders").await.unwrap().inode;
    let listed = list(&view, folder, 100).await.unwrap();
    assert_eq!(listed.len(), 10_001);
    assert!(listed.iter().all(|listed| listed.attributes.is_ok()));
    let reads = watch.take();
    assert!(
        reads.len() < 20,
        "identity, snapshots and tables of states: {reads:?}"
    );
    assert_eq!(listed[10_000].name, "9999");
}
