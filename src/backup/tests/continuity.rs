//! Nothing is appended to a history that the log does not continue.

use super::world::{KAFKA_ID, World, log, record};
use crate::backup::notice::{BackupNotice, Unproved};
use crate::records::memory::OwnedRecord;

/// Records of the second log that gets the offsets of the first one.
fn others(count: i64) -> impl Iterator<Item = OwnedRecord> {
    (10_000..10_000 + count).map(record)
}

/// A world with a backup of `count` records.
fn backed_up(count: i64) -> World {
    let world = World::new();
    world.cluster.append(&log(), (0..count).map(record));
    assert_eq!(world.backup(), []);
    world
}

#[track_caller]
fn assert_diverged(notices: &[BackupNotice], at: i64, stored_end: i64, high: i64) {
    let expected = BackupNotice::Diverged {
        topic: "orders".parse().unwrap(),
        partition: 0.into(),
        offset: at,
        stored_end_offset: stored_end,
        high_watermark: high,
        truncated_epoch: None,
    };
    assert_eq!(notices, std::slice::from_ref(&expected));
    assert!(expected.is_damage(true));
}

#[track_caller]
fn assert_unproved(notices: &[BackupNotice], stored_end: i64, why: Unproved) {
    let expected = BackupNotice::Unproved {
        topic: "orders".parse().unwrap(),
        partition: 0.into(),
        stored_end_offset: stored_end,
        reason: why,
    };
    assert_eq!(notices, std::slice::from_ref(&expected));
    assert!(!expected.is_damage(false));
}

#[test]
fn a_log_that_grows_continues_its_history() {
    let world = backed_up(100);
    for end in [101, 200] {
        let start = world.cluster.bounds(&log()).end;
        world.cluster.append(&log(), (start..end).map(record));
        assert_eq!(world.backup(), []);
    }
    let histories = world.histories();
    let [history] = &histories[..] else {
        panic!("one history");
    };
    assert_eq!(
        (history.topic_id, history.kafka_id),
        (KAFKA_ID, Some(KAFKA_ID))
    );
    assert_eq!(world.records(history), world.cluster.records(&log()));
}

#[test]
fn a_run_with_nothing_new_reads_nothing() {
    let world = backed_up(100);
    let opened = world.cluster.sources_opened();
    assert_eq!(world.backup(), []);
    assert_eq!(world.cluster.sources_opened(), opened);
}

#[test]
fn a_log_that_was_truncated_and_regrown_begins_a_new_history() {
    // Short of the stored end, exactly to it with one more, and far past it.
    for (kept, grown) in [(123, 50), (0, 301), (299, 2), (123, 1000), (300, 0)] {
        let world = backed_up(300);
        let old = world.cluster.records(&log());
        world.cluster.truncate(&log(), kept);
        world.cluster.append(&log(), others(grown));
        let notices = world.backup();
        let end = world.cluster.bounds(&log()).end;
        if kept == 300 {
            assert_eq!(notices, []);
            continue;
        }
        assert_diverged(&notices, kept.try_into().unwrap(), 300, end);
        let histories = world.histories();
        let [before, after] = &histories[..] else {
            panic!("two histories");
        };
        assert_eq!((before.deleted, after.deleted), (true, false));
        assert_eq!(
            (before.kafka_id, after.kafka_id),
            (Some(KAFKA_ID), Some(KAFKA_ID))
        );
        assert_eq!(before.topic_id, KAFKA_ID);
        assert_eq!(world.records(before), old);
        assert_eq!(world.records(after), world.cluster.records(&log()));

        // The next run continues the new history.
        let new = after.topic_id;
        world.cluster.append(&log(), others(7));
        assert_eq!(world.backup(), []);
        let histories = world.histories();
        assert_eq!((histories.len(), histories[1].topic_id), (2, new));
        assert_eq!(world.records(&histories[1]), world.cluster.records(&log()));
    }
}

#[test]
fn a_log_that_ends_early_begins_a_new_history_at_once() {
    let world = backed_up(300);
    world.cluster.truncate(&log(), 40);
    assert_diverged(&world.backup(), 40, 300, 40);
    // What grows afterwards continues the shorter log.
    world.cluster.append(&log(), others(500));
    assert_eq!(world.backup(), []);
    let histories = world.histories();
    assert_eq!(world.records(&histories[1]), world.cluster.records(&log()));
}

#[test]
fn new_records_where_nothing_was_stored_are_a_new_history() {
    let world = World::new();
    world.cluster.append(&log(), (0..50).map(record));
    // An aborted transaction and its marker.
    world.cluster.compact(&log(), 40..50);
    assert_eq!(world.backup(), []);
    world.cluster.append(&log(), (50..60).map(record));
    assert_eq!(world.backup(), [], "the gap itself differs in nothing");
    world.cluster.compact(&log(), 55..60);
    world.cluster.truncate(&log(), 40);
    world.cluster.append(&log(), others(100));
    assert_diverged(&world.backup(), 40, 60, 140);
}

#[test]
fn a_partition_without_stored_records_is_compared_as_well() {
    let world = World::new();
    world.cluster.append(&log(), (0..50).map(record));
    world.cluster.compact(&log(), 0..50);
    assert_eq!(world.backup(), []);
    world.cluster.truncate(&log(), 20);
    world.cluster.append(&log(), others(100));
    assert_diverged(&world.backup(), 50, 50, 120);
    let histories = world.histories();
    assert_eq!(world.records(&histories[1]), world.cluster.records(&log()));
}

#[test]
fn records_that_retention_deleted_cannot_be_compared() {
    let world = backed_up(100);
    world.cluster.delete_below(&log(), 100);
    world.cluster.append(&log(), (100..110).map(record));
    assert_unproved(&world.backup(), 100, Unproved::Retention);
    let histories = world.histories();
    let [history] = &histories[..] else {
        panic!("one history");
    };
    assert_eq!(world.records(history).len(), 110);
}

#[test]
fn a_compacted_log_is_compared_by_what_is_left() {
    let mut world = backed_up(100);
    world.compacted = true;
    world.cluster.compact(&log(), 99..100);
    world.cluster.append(&log(), (100..110).map(record));
    assert_eq!(world.backup(), []);
    world.cluster.compact(&log(), 0..110);
    world.cluster.append(&log(), (110..120).map(record));
    assert_unproved(&world.backup(), 110, Unproved::Compaction);
    // Compaction never changes a record.
    world.cluster.compact(&log(), 119..120);
    world.cluster.truncate(&log(), 115);
    world.cluster.append(&log(), others(100));
    let notices = world.backup();
    assert_diverged(&notices, 115, 120, 215);
}

#[test]
fn a_log_that_is_not_compacted_keeps_its_records() {
    let world = backed_up(100);
    world.cluster.compact(&log(), 99..100);
    world.cluster.append(&log(), (100..110).map(record));
    assert_diverged(&world.backup(), 99, 100, 110);
}

#[test]
fn segments_of_an_interrupted_run_are_adopted_only_if_the_log_still_has_them() {
    let world = backed_up(100);
    world.cluster.append(&log(), (100..200).map(record));
    // Stored, and killed before the commit.
    world.read(&world.plan());
    world.cluster.append(&log(), (200..210).map(record));
    let adopted = world.plan().topics[0].partitions[0].read.clone();
    assert_eq!(adopted, 200..210);
    world.cluster.truncate(&log(), 150);
    world.cluster.append(&log(), others(100));
    assert_eq!(world.backup(), []);
    let histories = world.histories();
    let [history] = &histories[..] else {
        panic!("one history");
    };
    assert_eq!(world.records(history), world.cluster.records(&log()));
}

#[test]
fn what_is_lost_to_damage_is_not_compared_and_stays_lost() {
    for first in [0, 1] {
        let world = backed_up(60);
        world.cluster.append(&log(), (60..100).map(record));
        assert_eq!(world.backup(), []);
        let lost = world.recover_without(first);
        // The cluster has what is lost here, and that is no other log.
        world.cluster.append(&log(), (100..120).map(record));
        match first {
            0 => assert_unproved(&world.backup(), 100, Unproved::Damaged),
            _ => assert_eq!(world.backup(), []),
        }
        let histories = world.histories();
        let [history] = &histories[..] else {
            panic!("one history");
        };
        let state = &history.partitions[0];
        assert_eq!((state.base_offset, state.end_offset), (0, 120));
        let all = world.cluster.records(&log());
        let left = [&all[..lost as usize], &all[100..]].concat();
        assert_eq!(world.records(history), left);
        let mut ranges = state.damaged_ranges().map(|range| (range.from, range.to));
        let mut at = lost;
        assert!(ranges.all(|(from, to)| std::mem::replace(&mut at, to) == from));
        assert_eq!((at, state.is_damaged()), (100, true));
        // Nothing that is left is as it was, so that this is another log.
        world.cluster.truncate(&log(), 110);
        world.cluster.append(&log(), others(100));
        assert_diverged(&world.backup(), 110, 120, 210);
    }
}

#[test]
fn where_all_has_expired_a_log_that_grows_continues_its_history() {
    let world = backed_up(100);
    world.expire();
    world.cluster.append(&log(), (100..120).map(record));
    assert_eq!(world.backup(), []);
    let histories = world.histories();
    let [history] = &histories[..] else {
        panic!("one history");
    };
    let state = &history.partitions[0];
    assert_eq!((state.base_offset, state.end_offset), (100, 120));
    let all = world.cluster.records(&log());
    assert_eq!(world.records(history), all[100..]);
    // What was stored since is compared now.
    assert_eq!(state.expired.as_ref().unwrap().last_record, None);
}

#[test]
fn where_all_has_expired_another_log_begins_a_new_history() {
    for (kept, grown) in [(60, 100), (99, 2), (0, 50)] {
        let world = backed_up(100);
        world.expire();
        world.cluster.truncate(&log(), kept);
        world.cluster.append(&log(), others(grown));
        let notices = world.backup();
        assert!(
            matches!(&notices[..], [BackupNotice::Diverged { .. }]),
            "{notices:?}"
        );
        let histories = world.histories();
        let [before, after] = &histories[..] else {
            panic!("two histories");
        };
        assert_eq!((before.deleted, after.deleted), (true, false));
        assert_eq!(world.records(after), world.cluster.records(&log()));
    }
}
