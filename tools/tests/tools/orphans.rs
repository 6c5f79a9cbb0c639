//! What no snapshot names is listed, and nothing else is: neither damage nor age makes an orphan.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use kbk_tools::verify::{Orphans, VerifyDepth, VerifyOptions, VerifyReport, verify};

use crate::support::{World, place, watched};

fn run(world: &World, snapshots: &[u64], topic: Option<&str>) -> VerifyReport {
    let selected = topic.map(|topic| {
        let id = place(topic, 0);
        BTreeSet::from([(id.topic, id.topic_id)])
    });
    let options = VerifyOptions {
        snapshots: snapshots.to_vec(),
        topics: selected,
        depth: VerifyDepth::Blocks,
        ..VerifyOptions::default()
    };
    let verified = verify(&world.repository, &options, Arc::new(|_: u64| {}));
    world.runtime.block_on(verified)
}

fn keys(orphans: &Orphans) -> Vec<&str> {
    orphans.keys.iter().map(|orphan| &*orphan.key).collect()
}

#[test]
fn a_whole_repository_has_none_whichever_snapshots_are_verified() {
    let world = World::sample();
    for snapshots in [&[1][..], &[2], &[1, 2]] {
        for topic in [None, Some("orders"), Some("payments")] {
            let report = run(&world, snapshots, topic);
            assert_eq!(report.orphans, Orphans::default());
        }
    }
}

#[test]
fn objects_that_no_snapshot_names_are_listed_and_are_no_damage() {
    let world = World::sample();
    let left = world.segment(&place("orders", 0), &[(600, 1), (601, 2)]);
    let unknown = world.segment(&place("invoices", 0), &[(0, 1)]);
    let table_key = format!("index/{}.idx", "ab".repeat(32));
    fs::write(world.path(&table_key), b"left by a kill").unwrap();
    fs::write(world.path(&format!("{}#1", left.key)), [0; 77]).unwrap();
    fs::write(world.path("data/orders/notes.txt"), b"not an object").unwrap();

    let report = run(&world, &[2], None);
    assert!(report.is_intact(), "{:#?}", report.findings);
    let mut expected = [&*left.key, &*unknown.key, &*table_key];
    expected.sort_unstable();
    assert_eq!(keys(&report.orphans), expected);
    assert_eq!(report.orphans.objects, 3);
    assert_eq!(report.orphans.bytes, left.size + unknown.size + 14);
    assert_eq!(
        (
            report.orphans.unfinished_files,
            report.orphans.unfinished_bytes
        ),
        (1, 77)
    );
    assert_eq!(report.orphans.foreign_names, ["data/orders/notes.txt"]);

    let of_one_topic = run(&world, &[2], Some("payments")).orphans;
    assert_eq!(of_one_topic, Orphans::default());
    let of_one_topic = run(&world, &[2], Some("orders")).orphans;
    assert_eq!(
        (of_one_topic.objects, of_one_topic.unfinished_files),
        (1, 1)
    );
}

#[test]
fn what_only_an_unreadable_object_names_is_marked_as_uncertain() {
    let world = World::sample();
    let snapshot = "snapshots/00000000000000000002.json";
    world.flip(snapshot, 100);
    let orphans = run(&world, &[1], None).orphans;
    assert_eq!(orphans.unread, BTreeSet::from([snapshot.to_owned()]));
    assert_eq!(
        orphans.objects, 4,
        "segment, table, groups and ACLs of snapshot 2"
    );

    let world = World::sample();
    let table = world.tables().pop().unwrap();
    world.flip(&table, 100);
    for snapshots in [&[1][..], &[2], &[1, 2]] {
        let orphans = run(&world, snapshots, None).orphans;
        assert_eq!(orphans.unread, BTreeSet::from([table.clone()]));
        assert_eq!(orphans.objects, 7, "the segments that the table names");
    }
}

#[test]
fn a_listing_that_fails_is_a_finding() {
    let world = World::sample();
    fs::remove_dir_all(world.path("index")).unwrap();
    fs::write(world.path("index"), b"").unwrap();
    let report = run(&world, &[2], Some("none"));
    let messages: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert!(messages[0].contains("unreadable"), "{messages:#?}");
}

#[test]
fn a_store_without_folders_is_searched_too() {
    let world = World::sample();
    let left = world.segment(&place("orders", 0), &[(600, 1)]);
    let (remote, _) = watched(&world);
    let options = VerifyOptions {
        snapshots: vec![2],
        ..VerifyOptions::default()
    };
    let verified = verify(&remote, &options, Arc::new(|_: u64| {}));
    let orphans = world.runtime.block_on(verified).orphans;
    assert_eq!(keys(&orphans), [left.key]);
}
