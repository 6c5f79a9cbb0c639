//! Lists what a repository holds.

use kbk_tools::list::{partitions, segments, snapshots, topics};

use crate::support::World;
use crate::support::as_batches::SegmentKind;

#[test]
fn each_snapshot_row_counts_what_its_parent_lacks() {
    let world = World::sample();
    let rows = world
        .runtime
        .block_on(snapshots(&world.repository))
        .unwrap();
    let contents: Vec<_> = rows
        .iter()
        .map(|row| row.contents.clone().unwrap())
        .collect();
    assert_eq!(
        rows.iter().map(|row| row.sequence).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(contents[0].new_records, Some(1_300));
    assert_eq!(contents[1].new_records, Some(150));
    assert_eq!(contents[1].records, 1_450);
    let added = &world.entries("payments", 0)[1];
    assert_eq!(contents[1].new_bytes, Some(added.size));

    world.flip("snapshots/00000000000000000001.json", 50);
    let rows = world
        .runtime
        .block_on(snapshots(&world.repository))
        .unwrap();
    assert!(rows[0].damage.is_some() && rows[0].contents.is_none());
    assert_eq!(
        rows[1].contents.as_ref().unwrap().new_bytes,
        None,
        "its parent cannot be read"
    );
}

#[test]
fn topics_partitions_and_segments_add_up() {
    // It is about what is known without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::sample();
    let snapshot = world.latest();
    let rows = topics(&snapshot, &snapshot.topics);
    let orders = &rows[0];
    assert_eq!((&*orders.topic, orders.partitions), ("orders", 2));
    assert_eq!(orders.totals.records, 1_200);
    assert_eq!(orders.totals.min_timestamp, Some(1_000));
    assert_eq!(orders.totals.max_timestamp, Some(6_990));

    let topic = &snapshot.topics[0];
    let parts = partitions(topic, &topic.partitions);
    assert_eq!(
        parts.iter().map(|row| row.totals.stored_bytes).sum::<u64>(),
        orders.totals.stored_bytes
    );
    assert_eq!(
        (parts[1].base_offset, parts[1].end_offset, parts[1].segments),
        (0, 600, 3)
    );

    let listed = segments(&world.repository, &snapshot, topic, &topic.partitions[1]);
    let listed = world.runtime.block_on(listed).unwrap();
    let entries: Vec<_> = listed.into_iter().map(|row| row.entry).collect();
    assert_eq!(entries, world.entries("orders", 1));
}
