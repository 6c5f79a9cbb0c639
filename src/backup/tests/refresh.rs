//! Compacted topics are read again in full where tombstones may have come and gone.

use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::IncompleteReason;

use super::world::{DELETE_RETENTION, TOPIC, World, log, record};
use crate::backup::notice::BackupNotice;

/// A world with 100 records, of which 50 were backed up now.
fn half_backed_up(compacted: bool) -> World {
    let mut world = World::new();
    world.compacted = compacted;
    world.cluster.append(&log(), (0..50).map(record));
    assert_eq!(world.backup(), []);
    world.cluster.append(&log(), (50..100).map(record));
    world
}

fn refreshed(tombstones_expired: bool) -> [BackupNotice; 1] {
    [BackupNotice::Refreshed {
        topic: TOPIC.parse().unwrap(),
        tombstones_expired,
    }]
}

#[test]
fn a_compacted_topic_is_read_again_after_its_tombstones_may_be_gone() {
    let world = half_backed_up(true);
    // The key of record 10 was deleted by a tombstone that is gone as well.
    world.cluster.compact(&log(), 10..11);
    world.cluster.compact(&log(), 60..61);
    let soon = Timestamp::now() + DELETE_RETENTION / 2;
    assert_eq!(world.plan_at(soon, false).notices, []);
    let late = Timestamp::now() + DELETE_RETENTION + Duration::from_secs(60);
    let plan = world.plan_at(late, false);
    assert_eq!(plan.notices, refreshed(true));
    assert!(!plan.notices[0].is_damage(false), "nothing is missing");
    let stored = world.read(&plan);
    world.commit(plan, stored);
    let [before, after] = &world.histories()[..] else {
        panic!("two histories");
    };
    assert_eq!((before.deleted, after.deleted), (true, false));
    assert_eq!(world.records(after), world.cluster.records(&log()));

    // Nothing new: there are no new tombstones either.
    assert_eq!(world.plan_at(late + DELETE_RETENTION, false).notices, []);
}

#[test]
fn a_compacted_topic_that_had_no_leader_is_read_again() {
    let mut world = half_backed_up(true);
    let before = world.histories();
    world.leaderless = true;
    let no_leader = BackupNotice::NoLeader {
        topic: TOPIC.parse().unwrap(),
        partitions: vec![0.into()],
    };
    for _ in 0..2 {
        assert_eq!(world.backup().as_slice(), std::slice::from_ref(&no_leader));
    }
    // What is stored, and what the source stated of it, stays.
    let mut kept = world.histories().remove(0);
    let incomplete = kept.partitions[0].incomplete.take().unwrap();
    assert_eq!(incomplete.reason, IncompleteReason::NoLeader);
    assert_eq!(kept.partitions, before[0].partitions);

    world.leaderless = false;
    let plan = world.plan_at(Timestamp::now(), false);
    assert_eq!(plan.notices, refreshed(true));
    let stored = world.read(&plan);
    world.commit(plan, stored);
    let after = &world.histories()[1];
    assert_eq!(after.partitions[0].incomplete, None);
    assert_eq!(world.records(after), world.cluster.records(&log()));
}

#[test]
fn a_partition_that_never_had_a_leader_begins_where_its_log_does() {
    let mut world = World::new();
    world.leaderless = true;
    world.cluster.append(&log(), (0..50).map(record));
    world.backup();
    world.cluster.delete_below(&log(), 10);
    world.leaderless = false;
    assert_eq!(world.backup(), []);
    let [history] = &world.histories()[..] else {
        panic!("one history");
    };
    assert_eq!(history.partitions[0].base_offset, 10);
    assert_eq!(world.records(history).len(), 40);
}

#[test]
fn a_clock_that_went_back_counts_as_too_long() {
    let world = half_backed_up(true);
    let before = Timestamp::now() - Duration::from_secs(3600);
    assert_eq!(world.plan_at(before, false).notices, refreshed(true));
}

#[test]
fn other_topics_are_read_again_only_on_request() {
    let world = half_backed_up(false);
    let late = Timestamp::now() + DELETE_RETENTION * 100;
    assert_eq!(world.plan_at(late, false).notices, []);
    assert_eq!(world.plan_at(late, true).notices, refreshed(false));
}

#[test]
fn a_first_backup_refreshes_nothing() {
    let world = World::new();
    world.cluster.append(&log(), (0..50).map(record));
    assert_eq!(world.plan_at(Timestamp::now(), true).notices, []);
}
