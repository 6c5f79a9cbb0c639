//! Compacted topics are read again in full where tombstones may have come and gone.

use std::time::Duration;

use jiff::Timestamp;

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
