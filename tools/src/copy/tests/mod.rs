//! Copies of random repositories, against what the originals have ever held.

mod lost;
mod world;

use std::collections::BTreeSet;

use kbk_format::repo::{CopiedPartition, Digested, RepoErrorKind, Snapshot};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::runtime::Runtime;

use self::world::{NAMES, World, only_not_joined};
use super::{CopyError, CopyFindingKind, CopyReport, CopySelection};
use crate::testing::change::change;

fn run<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

async fn history(seed: u64) {
    let mut world = World::new(seed).await;
    let mut copied_all = false;
    for _ in 0..14 {
        match world.random.below(10) {
            0..4 => world.back_up().await,
            // There is nothing to copy yet.
            _ if world.snapshots.is_empty() => world.back_up().await,
            4 => world.expire(false).await,
            5 => world.forget_and_prune(false).await,
            6 if copied_all => world.expire(true).await,
            6 => world.forget_and_prune(true).await,
            _ => {
                let snapshots = match world.random.below(3) {
                    0 => CopySelection::Latest,
                    _ => CopySelection::New,
                };
                let topics: Vec<&str> = match world.random.one_in(3) {
                    true => vec![NAMES[world.random.below(3) as usize]],
                    false => NAMES.to_vec(),
                };
                let calls = world.random.below(120);
                let faults = match world.random.below(3) {
                    0 => Some((10, None)),
                    1 => Some((2, Some(calls))),
                    _ => None,
                };
                let copied = world.copy(snapshots, topics, faults).await;
                if faults.is_none()
                    && let Some(copied) = copied
                {
                    let report = copied.unwrap();
                    assert!(only_not_joined(&report), "seed {seed}: {report:?}");
                    copied_all = true;
                }
                world.check(&NAMES).await;
            }
        }
    }
    world.back_up().await;
    let last = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
    let report = last.unwrap().unwrap();
    assert!(only_not_joined(&report), "seed {seed}: {report:?}");
    world.check(&NAMES).await;
    // Nothing is left to do, whatever was.
    let again = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
    let again = again.unwrap().unwrap();
    assert_eq!(
        (again.segments, again.snapshots.len()),
        (0, 0),
        "seed {seed}"
    );
    let unfinished = |report: &CopyReport| -> BTreeSet<String> {
        let findings = report.findings.iter();
        findings.map(|it| format!("{:?}", it.partition)).collect()
    };
    assert!(
        unfinished(&again).is_subset(&unfinished(&report)),
        "seed {seed}"
    );
    let (from, to) = (world.from.open().await, world.to.open().await);
    let (from, to) = (
        from.latest().await.unwrap().unwrap(),
        to.latest().await.unwrap().unwrap(),
    );
    assert_eq!(to.origin.as_ref().unwrap().sequence, from.sequence);
    for topic in &from.topics {
        assert!(to.topic(&topic.name, topic.topic_id).is_some());
    }
}

#[test]
fn copies_hold_what_their_origins_held() {
    let seeds = std::env::var("KBK_COPY_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        run(history(seed));
    }
}

/// A world with this many backups, all of which have segments.
async fn backed_up(seed: u64, backups: usize) -> World {
    let mut world = World::new(seed).await;
    while world.snapshots.len() < backups {
        world.back_up().await;
    }
    world
}

/// The same, where each backup has stored new segments.
async fn with_segments_in_each(backups: usize) -> World {
    for seed in 0.. {
        let world = backed_up(seed, backups).await;
        let stored = world.snapshots.values().map(|it| it.totals.segments);
        let stored: Vec<u64> = std::iter::once(0).chain(stored).collect();
        if stored.is_sorted_by(|before, after| before < after) {
            return world;
        }
    }
    unreachable!("some seed has them")
}

async fn copied(world: &mut World) -> CopyReport {
    let copied = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
    copied.unwrap().unwrap()
}

#[test]
fn only_what_is_new_is_sent() {
    run(async {
        let mut world = backed_up(1, 3).await;
        let first = copied(&mut world).await;
        assert!(first.is_whole() && first.segments > 0);
        assert_eq!(first.snapshots.len(), 3);
        let numbers = first.snapshots.iter().map(|it| (it.origin, it.snapshot));
        assert_eq!(numbers.collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 3)]);
        let again = copied(&mut world).await;
        assert_eq!((again.segments, again.snapshots.len()), (0, 0));
        world.back_up().await;
        let second = copied(&mut world).await;
        let new = &world.snapshots[&4];
        let old = &world.snapshots[&3];
        assert_eq!(second.segments, new.totals.segments - old.totals.segments);
    });
}

#[test]
fn numbers_stay_and_those_that_are_left_out_are_no_snapshots() {
    run(async {
        let mut world = backed_up(2, 5).await;
        let latest = world
            .copy(CopySelection::Range(3, 3), NAMES.to_vec(), None)
            .await;
        assert_eq!(latest.unwrap().unwrap().snapshots[0].snapshot, 3);
        let to = world.to.open().await;
        assert_eq!(to.sequences().await.unwrap(), [3]);
        assert_eq!(to.latest().await.unwrap().unwrap().forgotten, [(1, 2)]);
        let latest = world
            .copy(CopySelection::Latest, NAMES.to_vec(), None)
            .await;
        assert_eq!(latest.unwrap().unwrap().snapshots[0].snapshot, 5);
        assert_eq!(to.sequences().await.unwrap(), [3, 5]);
        let older = world
            .copy(CopySelection::Range(4, 4), NAMES.to_vec(), None)
            .await;
        assert!(matches!(
            older.unwrap(),
            Err(CopyError::Older {
                last: 5,
                requested: 4,
                ..
            })
        ));
        let none = world
            .copy(CopySelection::Range(9, 12), NAMES.to_vec(), None)
            .await;
        assert!(matches!(
            none.unwrap(),
            Err(CopyError::NoSuchSnapshot { .. })
        ));
    });
}

#[test]
fn an_original_without_snapshots_is_refused() {
    run(async {
        let mut world = World::new(11).await;
        for snapshots in [
            CopySelection::New,
            CopySelection::Latest,
            CopySelection::Range(1, 2),
        ] {
            let refused = world.copy(snapshots, NAMES.to_vec(), None).await;
            let refused = refused.unwrap().unwrap_err();
            assert!(
                matches!(refused, CopyError::NoSnapshots { .. }),
                "{refused}"
            );
        }
    });
}

#[test]
fn copies_of_other_topics_in_turn_commit_only_what_is_new() {
    run(async {
        let mut world = backed_up(16, 3).await;
        let parts = [vec![NAMES[0]], vec![NAMES[1], NAMES[2]]];
        for part in &parts {
            let copied = world.copy(CopySelection::New, part.clone(), None).await;
            assert!(!copied.unwrap().unwrap().snapshots.is_empty());
        }
        let before = world.to.open().await.sequences().await.unwrap();
        for part in parts.iter().chain(&parts) {
            let again = world.copy(CopySelection::New, part.clone(), None).await;
            assert_eq!(again.unwrap().unwrap().snapshots, [], "{part:?}");
        }
        assert_eq!(world.to.open().await.sequences().await.unwrap(), before);
        world.back_up().await;
        for part in &parts {
            let new = world.copy(CopySelection::New, part.clone(), None).await;
            new.unwrap().unwrap();
        }
        world.check(&NAMES).await;
    });
}

#[test]
fn a_copy_of_a_copy_states_the_backup_that_its_rows_do() {
    run(async {
        let mut world = backed_up(17, 2).await;
        copied(&mut world).await;
        // The copy takes a number that its original gives to a backup.
        let to = world.to.open().await;
        let plan = to.plan_forget([1].into()).await.unwrap();
        to.forget(&plan, &world.upkeep("forget")).await.unwrap();
        world.back_up().await;
        copied(&mut world).await;
        let first = to.latest().await.unwrap().unwrap();
        assert_eq!((first.sequence, first.backup()), (4, 3));
        world.copy_the_copy().await;
        copied(&mut world).await;
        let second = world.to.open().await.latest().await.unwrap().unwrap();
        let origin = second.origin.clone().unwrap();
        assert_eq!((origin.sequence, origin.backup), (4, 3));
        assert_eq!(second.backup(), 3);
        let looked_at = |snapshot: &Snapshot| {
            let topics = snapshot.topics.iter();
            topics
                .filter(|it| it.last_seen == snapshot.backup())
                .count()
        };
        assert_eq!(looked_at(&second), looked_at(&world.snapshots[&3]));
        assert!(looked_at(&second) > 0);
    });
}

#[test]
fn a_copy_of_an_expiry_is_not_called_one() {
    run(async {
        let mut world = backed_up(18, 3).await;
        copied(&mut world).await;
        let from = world.from.open().await;
        while from.latest().await.unwrap().unwrap().maintenance.is_none() {
            world.expire(false).await;
        }
        let report = copied(&mut world).await;
        assert_eq!(report.snapshots.len(), 1, "{report:?}");
        let to = world.to.open().await.latest().await.unwrap().unwrap();
        assert_eq!((to.origin.as_ref().unwrap().sequence, to.backup()), (4, 3));
        // It removed nothing here.
        assert_eq!(to.maintenance, None);
        assert_eq!(to.totals.records, world.snapshots[&3].totals.records);
    });
}

#[test]
fn damage_in_what_was_replaced_is_accepted_if_that_is_asked_for() {
    run(async {
        let mut world = backed_up(19, 2).await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let topics = newest.topics.iter().filter(|it| !it.deleted);
        let mut topics = topics.filter(|it| it.partitions[0].segments > 0);
        let topic = topics.next().unwrap().clone();
        let id = topic.partition_id(0.into());
        let segments = from.segments(&newest, &id, &topic.partitions[0]).await;
        let path = Path::from(segments.unwrap()[0].key.as_str());
        world.from.objects.delete(&path).await.unwrap();
        let report = copied(&mut world).await;
        assert!(!report.is_whole(), "{report:?}");
        world.accept_replaced = true;
        let report = copied(&mut world).await;
        assert!(!report.is_whole(), "it counts: {report:?}");
        // A backup reads the topic again in full.
        world.replace_history(&topic).await;
        let report = copied(&mut world).await;
        assert!(report.is_whole(), "{report:?}");
        assert!(report.findings.iter().all(|it| it.accepted) && !report.findings.is_empty());
        let again = copied(&mut world).await;
        assert!(again.is_whole() && !again.findings.is_empty(), "{again:?}");
        assert!(
            !world
                .to
                .open()
                .await
                .latest()
                .await
                .unwrap()
                .unwrap()
                .is_complete()
        );
        world.accept_replaced = false;
        assert!(!copied(&mut world).await.is_whole());
    });
}

#[test]
fn a_partition_with_another_history_is_left_and_all_others_are_copied() {
    run(async {
        let mut world = backed_up(15, 4).await;
        let first = world.copy(CopySelection::New, vec![NAMES[0]], None).await;
        assert!(first.unwrap().unwrap().segments > 0);
        let states = async |world: &World| {
            let to = world.to.open().await.latest().await.unwrap().unwrap();
            let all = to.topics.iter().flat_map(|topic| &topic.partitions);
            all.cloned().collect::<Vec<_>>()
        };
        while states(&world).await.iter().any(|it| it.segments > 0) {
            world.expire(true).await;
        }
        let expired = states(&world).await;
        let expired = expired.iter().filter(|it| it.expired.is_some()).count();
        world.replace_origin().await;
        let report = copied(&mut world).await;
        let found: Vec<&str> = report
            .findings
            .iter()
            .filter(|it| it.kind == CopyFindingKind::NotJoined)
            .map(|it| it.message.as_str())
            .collect();
        let is_another = "its history of this partition is another one";
        assert!(found.iter().any(|it| it.contains(is_another)), "{found:?}");
        let partitions: BTreeSet<&str> = found
            .iter()
            .map(|it| it.split(':').next().unwrap())
            .collect();
        assert_eq!(
            (partitions.len(), report.findings.len()),
            (expired, found.len()),
            "{report:?}"
        );
        assert!(report.segments > 0);
        let accounted = report.accounted.unwrap();
        assert_eq!(
            accounted.partitions - accounted.whole_partitions,
            expired as u64
        );
    });
}

#[test]
fn what_has_gone_another_way_is_refused_and_left_as_it_is() {
    run(async {
        let mut world = backed_up(6, 2).await;
        copied(&mut world).await;
        // Another repository.
        let mut other = backed_up(7, 2).await;
        std::mem::swap(&mut world.from, &mut other.from);
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::OtherOrigin { .. })
        ));
        std::mem::swap(&mut world.from, &mut other.from);
        // A backup of its own.
        let to = world.to.open().await;
        let newest = to.latest().await.unwrap().unwrap();
        let change = change(Some(newest), Vec::new());
        let promoted: Digested<Snapshot> = to.commit(&change).await.unwrap();
        assert_eq!((promoted.sequence, promoted.backup()), (3, 3));
        assert_eq!(promoted.origin, None);
        world.back_up().await;
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::OwnBackups { snapshot: 3, .. })
        ));
        assert_eq!(to.latest().await.unwrap().unwrap(), promoted);
        // The same repository.
        let objects = std::sync::Arc::clone(&world.from.objects);
        world.to.objects = objects;
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::SameRepository { .. })
        ));
    });
}

#[test]
fn an_origin_whose_last_copied_snapshot_is_damaged_is_copied_further() {
    run(async {
        let mut world = backed_up(8, 3).await;
        copied(&mut world).await;
        world.back_up().await;
        let third = Path::from("snapshots/00000000000000000003.json");
        let objects = std::sync::Arc::clone(&world.from.objects);
        objects.put(&third, "{}".into()).await.unwrap();
        let report = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        let report = report.unwrap().unwrap();
        assert!(report.is_whole(), "{report:?}");
        let copied: Vec<u64> = report.snapshots.iter().map(|it| it.origin).collect();
        assert_eq!(copied, [4]);
        world.check(&NAMES).await;
    });
}

#[test]
fn an_origin_that_went_back_is_refused() {
    run(async {
        let mut world = backed_up(8, 3).await;
        copied(&mut world).await;
        // Restored from a copy of its disk that was made before snapshot 3.
        let third = Path::from("snapshots/00000000000000000003.json");
        world.from.objects.delete(&third).await.unwrap();
        let hint = Path::from("snapshots/latest.json");
        world.from.objects.delete(&hint).await.unwrap();
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::OtherHistory { sequence: 3, .. })
        ));
        while world.snapshots.len() < 3 || !exists(&world, &third).await {
            world.back_up().await;
        }
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::OtherHistory { sequence: 3, .. })
        ));
    });
}

/// The newest snapshot is gone, and the hint still names it: an older one does not pass for it.
#[test]
fn an_origin_whose_newest_snapshot_is_gone_is_copied_up_to_the_one_before_and_the_missing_one_is_named()
 {
    run(async {
        let mut world = with_segments_in_each(3).await;
        let third = Path::from("snapshots/00000000000000000003.json");
        let bytes = world.from.object(third.as_ref()).await.unwrap();
        world.from.objects.delete(&third).await.unwrap();
        let named = |report: &CopyReport| {
            let found = report.findings.iter().map(|it| (it.kind, it.origin));
            let found: Vec<_> = found.collect();
            assert_eq!(found, [(CopyFindingKind::DamagedSnapshot, 3)], "{report:?}");
            report
                .snapshots
                .iter()
                .map(|it| it.origin)
                .collect::<Vec<_>>()
        };
        let refused = world.copy(CopySelection::Latest, NAMES.to_vec(), None);
        let refused = refused.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("latest.json names it"), "{refused}");
        let report = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert_eq!(named(&report.unwrap().unwrap()), [1, 2]);
        // Nothing is new, and something is missing all the same.
        let report = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(named(&report.unwrap().unwrap()).is_empty());
        // What does not select it says nothing of it.
        let report = world
            .copy(CopySelection::Range(1, 2), NAMES.to_vec(), None)
            .await;
        assert!(report.unwrap().unwrap().is_whole());
        world.from.objects.put(&third, bytes.into()).await.unwrap();
        let report = copied(&mut world).await;
        assert!(report.is_whole(), "{report:?}");
        world.check(&NAMES).await;
        // The copy has it, and the origin is not what was copied any more.
        world.from.objects.delete(&third).await.unwrap();
        let refused = world.copy(CopySelection::New, NAMES.to_vec(), None).await;
        assert!(matches!(
            refused.unwrap(),
            Err(CopyError::OtherHistory { sequence: 3, .. })
        ));
    });
}

/// A snapshot between others is gone, and was not forgotten: a copy of all snapshots names it.
#[test]
fn an_older_snapshot_of_the_origin_that_is_gone_is_named_and_the_others_are_copied() {
    run(async {
        for (wanted, is_named, copied) in [
            (CopySelection::New, true, vec![1, 3]),
            (CopySelection::Range(2, 3), true, vec![3]),
            (CopySelection::Range(3, 3), false, vec![3]),
            (CopySelection::Latest, false, vec![3]),
        ] {
            let mut world = with_segments_in_each(3).await;
            let second = Path::from("snapshots/00000000000000000002.json");
            world.from.objects.delete(&second).await.unwrap();
            let report = world.copy(wanted, NAMES.to_vec(), None).await;
            let report = report.unwrap().unwrap();
            let found: Vec<_> = report
                .findings
                .iter()
                .map(|it| (it.kind, it.origin))
                .collect();
            let expected = [(CopyFindingKind::DamagedSnapshot, 2)];
            assert_eq!(found, expected[..usize::from(is_named)], "{wanted:?}");
            assert_eq!(report.is_whole(), !is_named);
            let snapshots: Vec<_> = report.snapshots.iter().map(|it| it.origin).collect();
            assert_eq!(snapshots, copied, "{wanted:?}");
        }
    });
}

async fn exists(world: &World, path: &Path) -> bool {
    world.from.objects.head(path).await.is_ok()
}

#[test]
fn two_copies_of_one_snapshot_do_not_hide_a_commit_in_between() {
    run(async {
        let mut world = backed_up(9, 2).await;
        copied(&mut world).await;
        for _ in 0..4 {
            world.back_up().await;
        }
        // A copy that has planned to follow snapshot 2 with number 6, and is suspended.
        let (from, to) = (world.from.open().await, world.to.open().await);
        let origin = from.snapshot(6).await.unwrap();
        let stalled = kbk_format::repo::SnapshotCopy {
            base: to.latest().await.unwrap(),
            read_after: 2,
            origin: origin.into(),
            topics: Default::default(),
            partitions: []
                .into_iter()
                .collect::<std::collections::BTreeMap<_, CopiedPartition>>(),
            groups: None,
            acls: None,
            writer: "test".to_owned(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let plan = to.plan_forget([1].into()).await.unwrap();
        to.forget(&plan, &world.upkeep("forget")).await.unwrap();
        let newest = to.latest().await.unwrap().unwrap();
        let refused = to.commit_copy(&stalled).await.unwrap_err();
        assert_eq!(*refused.kind(), RepoErrorKind::Outdated);
        assert_eq!(to.latest().await.unwrap().unwrap(), newest);
        let report = copied(&mut world).await;
        assert!(report.is_whole());
        world.check(&NAMES).await;
    });
}
