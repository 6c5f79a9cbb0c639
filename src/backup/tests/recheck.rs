//! What was read of a log that changed meanwhile is not committed.

use kbk_format::repo::{Hex, Incomplete};

use super::world::{KAFKA_ID, TOPIC, World, id, log, record};
use crate::backup::notice::BackupNotice;
use crate::backup::recheck::{LogsNow, appended, leave_out_changed};
use crate::kafka::{KafkaError, PartitionOffsets};

fn ends_at(high_watermark: i64) -> PartitionOffsets {
    PartitionOffsets {
        log_start_offset: 0,
        high_watermark,
        last_stable_offset: high_watermark,
    }
}

/// A world with 100 records, of which 50 are backed up.
fn half_backed_up() -> World {
    let world = World::new();
    world.cluster.append(&log(), (0..50).map(record));
    assert_eq!(world.backup(), []);
    world.cluster.append(&log(), (50..100).map(record));
    world
}

/// Why the partition lacks records, as the snapshot states it.
fn incomplete(world: &World) -> Option<Incomplete> {
    world.histories()[0].partitions[0].incomplete.clone()
}

#[test]
fn a_log_that_is_still_the_same_is_committed() {
    let world = half_backed_up();
    let mut plan = world.plan();
    let mut stored = world.read(&plan);
    assert_eq!(appended(&stored), [log()]);
    let now = LogsNow::of(TOPIC, Some(KAFKA_ID), (log(), ends_at(100)));
    leave_out_changed(&mut plan, &mut stored, &now);
    assert_eq!(world.commit(plan, stored), []);
    assert_eq!(incomplete(&world), None);
    assert_eq!(world.records(&world.histories()[0]).len(), 100);
}

#[test]
fn a_topic_that_was_created_again_is_left_out() {
    let world = half_backed_up();
    let mut plan = world.plan();
    let mut stored = world.read(&plan);
    let now = LogsNow::of(TOPIC, Some(Hex([8; 16])), (log(), ends_at(1000)));
    leave_out_changed(&mut plan, &mut stored, &now);
    let notices = world.commit(plan, stored);
    let topic = TOPIC.parse().unwrap();
    assert_eq!(notices, [BackupNotice::RecreatedMeanwhile { topic }]);
    assert!(notices[0].is_damage(true));
    assert_eq!(world.records(&world.histories()[0]).len(), 50);
    let incomplete = incomplete(&world).expect("it says that records are missing");
    assert!(incomplete.detail.contains("created again"));
}

#[test]
fn of_a_new_topic_that_was_created_again_the_snapshot_says_that_it_lacks_everything() {
    let world = World::new();
    world.cluster.append(&log(), (0..50).map(record));
    let mut plan = world.plan();
    let mut stored = world.read(&plan);
    let now = LogsNow::of(TOPIC, Some(Hex([8; 16])), (log(), ends_at(1000)));
    leave_out_changed(&mut plan, &mut stored, &now);
    let notices = world.commit(plan, stored);
    let topic = TOPIC.parse().unwrap();
    assert_eq!(notices, [BackupNotice::RecreatedMeanwhile { topic }]);
    assert!(notices[0].is_damage(true));
    assert_eq!(world.records(&world.histories()[0]).len(), 0);
    let incomplete = incomplete(&world).expect("it says that records are missing");
    assert!(incomplete.detail.contains("created again"));
}

#[test]
fn a_partition_that_was_truncated_is_left_out() {
    let world = half_backed_up();
    let mut plan = world.plan();
    let mut stored = world.read(&plan);
    let now = LogsNow::of(TOPIC, Some(KAFKA_ID), (log(), ends_at(80)));
    leave_out_changed(&mut plan, &mut stored, &now);
    let notices = world.commit(plan, stored);
    let [
        BackupNotice::Unreadable {
            stored_end_offset: 50,
            cause,
            ..
        },
    ] = &notices[..]
    else {
        panic!("{notices:?}");
    };
    assert!(cause.contains("truncated"), "{cause}");
    assert_eq!(incomplete(&world).map(|it| it.detail).as_ref(), Some(cause));
    assert_eq!(world.records(&world.histories()[0]).len(), 50);
}

#[test]
fn what_was_read_before_an_error_is_kept_unless_it_is_in_doubt() {
    let denied = || KafkaError::Authorization {
        doing: "read".to_owned(),
        cause: "TOPIC_AUTHORIZATION_FAILED".to_owned(),
    };
    let old = || KafkaError::OldFormat {
        topic: TOPIC.to_owned(),
        partition: 0.into(),
        offset: 70,
        cause: "it says so",
    };
    let errors: [(&dyn Fn() -> KafkaError, i64); 2] = [(&denied, 100), (&old, 50)];
    for (error, end) in errors {
        let world = half_backed_up();
        let mut plan = world.plan();
        let mut stored = world.read(&plan);
        stored.get_mut(&id(KAFKA_ID)).unwrap().unreadable = Some(error());
        let now = LogsNow::of(TOPIC, Some(KAFKA_ID), (log(), ends_at(100)));
        leave_out_changed(&mut plan, &mut stored, &now);
        let notices = world.commit(plan, stored);
        let [
            BackupNotice::Unreadable {
                stored_end_offset,
                cause,
                ..
            },
        ] = &notices[..]
        else {
            panic!("{notices:?}");
        };
        // Whatever prints it names the partition before it.
        let named = notices[0].to_string();
        assert_eq!(named.matches("/0").count(), 1, "{named}");
        assert_eq!(incomplete(&world).map(|it| it.detail).as_ref(), Some(cause));
        assert_eq!(*stored_end_offset, end);
        assert_eq!(world.histories()[0].partitions[0].end_offset, end);
    }
}
