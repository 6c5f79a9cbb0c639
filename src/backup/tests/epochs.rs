//! Leader epochs prove that a log was truncated, and nothing else.

use super::world::{KAFKA_ID, World, log, record};
use crate::backup::notice::{BackupNotice, Unproved};
use crate::backup::{Encoding, TruncatedEpoch};
use crate::records::memory::OwnedRecord;

/// A world whose batches are stored as they are: 60 records of leader epoch 3, and 40 of epoch 5.
fn backed_up() -> World {
    let mut world = World::new();
    world.encoding = Encoding::Batches;
    world.cluster.offer_batches(Some(KAFKA_ID.0));
    world.cluster.elect(&log(), 3);
    world.cluster.append(&log(), (0..60).map(record));
    world.cluster.elect(&log(), 5);
    world.cluster.append(&log(), (60..100).map(record));
    assert_eq!(world.backup(), []);
    world
}

/// Elects a leader that lacks everything from `kept` on, and appends other records, but the same one at offset 99.
fn unclean_election(world: &World, kept: usize, epoch: i32) {
    world.cluster.truncate(&log(), kept);
    world.cluster.elect(&log(), epoch);
    let first = i64::try_from(kept).unwrap();
    let others = (first..99).map(|offset| record(10_000 + offset));
    world.cluster.append(&log(), others);
    world.cluster.append(&log(), [record(99)]);
    world.cluster.append(&log(), (100..130).map(record));
}

/// Returns where the log differs, and the epoch that proves it.
#[track_caller]
fn diverged(notices: &[BackupNotice]) -> (i64, Option<TruncatedEpoch>) {
    match notices {
        [
            BackupNotice::Diverged {
                offset,
                truncated_epoch,
                ..
            },
        ] => (*offset, *truncated_epoch),
        other => panic!("{other:?}"),
    }
}

/// The epoch 5, which ends here.
fn ends_at(end_offset: i64) -> Option<TruncatedEpoch> {
    Some(TruncatedEpoch {
        leader_epoch: 5,
        end_offset,
        stored_end_offset: 100,
    })
}

fn one_history(world: &World) -> Vec<(i64, OwnedRecord)> {
    let histories = world.histories();
    let [history] = &histories[..] else {
        panic!("one history");
    };
    world.records(history)
}

#[test]
fn a_log_that_grows_under_other_leaders_continues_its_history() {
    let world = backed_up();
    world.cluster.append(&log(), (100..110).map(record));
    assert_eq!(world.backup(), []);
    world.cluster.elect(&log(), 9);
    assert_eq!(world.backup(), []);
    world.cluster.append(&log(), (110..120).map(record));
    assert_eq!(world.backup(), []);
    assert_eq!(one_history(&world), world.cluster.records(&log()));
}

#[test]
fn a_log_that_was_truncated_is_another_one_even_if_its_last_record_is_the_same_again() {
    // Within the last epoch, at its start, and within the one before it.
    for kept in [70, 60, 30] {
        let world = backed_up();
        let old = world.cluster.records(&log());
        unclean_election(&world, kept, 6);
        let at = i64::try_from(kept).unwrap();
        let notices = world.backup();
        assert_eq!(diverged(&notices), (at, ends_at(at)));
        let said = notices[0].to_string();
        let expected =
            format!("its leader epoch 5 ends at offset {at}, where the stored one ends at 100");
        assert!(said.contains(&expected), "{said}");
        let histories = world.histories();
        let [before, after] = &histories[..] else {
            panic!("two histories");
        };
        assert_eq!(world.records(before), old);
        assert_eq!(world.records(after), world.cluster.records(&log()));
        world.cluster.append(&log(), (130..140).map(record));
        assert_eq!(world.backup(), [], "the new history is continued");
    }
}

#[test]
fn a_log_that_ends_early_says_which_epoch_was_truncated() {
    let world = backed_up();
    world.cluster.truncate(&log(), 80);
    world.cluster.elect(&log(), 6);
    assert_eq!(diverged(&world.backup()), (80, ends_at(80)));
}

#[test]
fn retention_does_not_hide_that_a_log_was_truncated() {
    let world = backed_up();
    unclean_election(&world, 70, 6);
    world.cluster.delete_below(&log(), 110);
    assert_eq!(diverged(&world.backup()), (70, ends_at(70)));
    // An epoch that is there as far as it is stored is no proof of the opposite.
    let world = backed_up();
    world.cluster.append(&log(), (100..130).map(record));
    world.cluster.delete_below(&log(), 110);
    let notices = world.backup();
    let is_unproved = matches!(&notices[..], [BackupNotice::Unproved { reason, .. }, ..] if *reason == Unproved::Retention);
    assert!(is_unproved, "{notices:?}");
}

#[test]
fn an_answer_about_another_topic_or_none_says_nothing() {
    for (topic_id, forgets) in [
        (Some([8; 16]), false),
        (None, false),
        (Some(KAFKA_ID.0), true),
    ] {
        let world = backed_up();
        world.cluster.offer_batches(topic_id);
        unclean_election(&world, 70, 6);
        if forgets {
            world.cluster.forget_epochs(&log());
        }
        // The last record is the same, and nothing else is compared.
        assert_eq!(world.backup(), []);
        // Where it is not, the comparison shows it.
        let world = backed_up();
        world.cluster.offer_batches(topic_id);
        unclean_election(&world, 70, 6);
        world.cluster.truncate(&log(), 95);
        let others = (95..120).map(|offset| record(20_000 + offset));
        world.cluster.append(&log(), others);
        if forgets {
            world.cluster.forget_epochs(&log());
        }
        assert_eq!(diverged(&world.backup()), (70, None));
    }
}

#[test]
fn epochs_that_an_image_of_a_disk_counts_again_do_not_hide_other_records() {
    let world = backed_up();
    world.cluster.truncate(&log(), 60);
    world.cluster.elect(&log(), 5);
    let others = (60..130).map(|offset| record(10_000 + offset));
    world.cluster.append(&log(), others);
    assert_eq!(diverged(&world.backup()), (60, None));
}

#[test]
fn blocks_of_records_have_no_epoch_and_are_compared() {
    let world = World::new();
    world.cluster.offer_batches(Some(KAFKA_ID.0));
    world.cluster.elect(&log(), 5);
    world.cluster.append(&log(), (0..100).map(record));
    assert_eq!(world.backup(), []);
    unclean_election(&world, 70, 6);
    assert_eq!(world.backup(), []);
}
