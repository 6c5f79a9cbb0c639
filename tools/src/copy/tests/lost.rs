//! What is damaged, lost, forgotten or pruned, in the original or in its copy, also while it is copied.

use std::collections::BTreeSet;
use std::sync::Arc;

use kbk_format::repo::{
    Hex, Id, Identity, IncompleteReason, PruneOptions, Pruning, Repository, SegmentEntry, Upkeep,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::world::{NAMES, Side};
use super::{backed_up, copied, run, with_segments_in_each};
use crate::copy::repair::Repair;
use crate::copy::transfer::Transfer;
use crate::copy::{CopyFindingKind, CopySelection};
use crate::maintenance::MaintenanceOptions;
use crate::recover::{self, RecoverEvents};
use crate::testing::faulty::Withheld;

#[test]
fn a_damaged_segment_ends_its_partition_and_is_copied_once_it_is_intact() {
    run(async {
        let mut world = backed_up(3, 4).await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let topic = newest
            .topics
            .iter()
            .find(|it| it.partitions[0].segments > 1);
        let topic = topic.unwrap();
        let id = topic.partition_id(0.into());
        let segments = from
            .segments(&newest, &id, &topic.partitions[0])
            .await
            .unwrap();
        let path = Path::from(segments[1].key.as_str());
        let intact = world.from.object(&segments[1].key).await.unwrap();
        let mut damaged = intact.clone();
        damaged[3] ^= 1;
        for damaged in [Some(damaged), None] {
            match damaged {
                Some(bytes) => drop(world.from.objects.put(&path, bytes.into()).await.unwrap()),
                None => world.from.objects.delete(&path).await.unwrap(),
            }
            let report = copied(&mut world).await;
            let finding = &report.findings[0];
            assert_eq!(finding.kind, CopyFindingKind::DamagedSegment);
            let end = finding.partition.as_ref().unwrap().end_offset;
            assert_eq!(end, segments[1].base_offset, "{finding:?}");
            assert!(world.to.object(&segments[1].key).await.is_none());
            let to = world.to.open().await.latest().await.unwrap().unwrap();
            let state = to.partition(&id).unwrap();
            assert_eq!(state.end_offset, end);
            let incomplete = state.incomplete.as_ref().unwrap();
            assert_eq!(incomplete.reason, IncompleteReason::NotCopied);
            assert!(!to.is_complete());
            world.check(&[]).await;
        }
        world.from.objects.put(&path, intact.into()).await.unwrap();
        let report = copied(&mut world).await;
        assert!(report.is_whole(), "{report:?}");
        let to = world.to.open().await.latest().await.unwrap().unwrap();
        assert_eq!(to.origin.as_ref().unwrap().sequence, 4);
        assert!(to.is_complete());
        world.check(&NAMES).await;
    });
}

#[test]
fn a_segment_that_cannot_be_read_ends_its_partition_and_is_copied_once_it_can_be() {
    run(async {
        let mut world = with_segments_in_each(3).await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let mut rows = from.segment_rows(&newest).await.unwrap();
        let (id, entry) = rows.next().await.unwrap().unwrap();
        for is_denied in [true, false] {
            let withheld = Withheld::new(is_denied, [entry.key.clone()]);
            *world.from.withheld.lock().unwrap() = withheld;
            let report = copied(&mut world).await;
            assert!(!report.is_whole());
            for finding in &report.findings {
                assert_eq!(finding.kind, CopyFindingKind::UnreadableSegment);
                assert!(finding.message.contains(&entry.key), "{finding:?}");
            }
            let to = world.to.open().await.latest().await.unwrap().unwrap();
            let incomplete = to.partition(&id).unwrap().incomplete.as_ref().unwrap();
            assert_eq!(incomplete.reason, IncompleteReason::NotCopied);
        }
        *world.from.withheld.lock().unwrap() = Withheld::default();
        let report = copied(&mut world).await;
        assert!(report.is_whole(), "{report:?}");
        world.check(&NAMES).await;
    });
}

#[test]
fn what_a_recovery_replaced_is_copied_from_it_and_nothing_is_missing() {
    run(async {
        let mut world = with_segments_in_each(3).await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let mut rows = from.segment_rows(&newest).await.unwrap();
        let (id, entry) = rows.next().await.unwrap().unwrap();
        let mut bytes = world.from.object(&entry.key).await.unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let path = Path::from(entry.key.as_str());
        world.from.objects.put(&path, bytes.into()).await.unwrap();
        let topics = newest.topics.iter();
        let topics = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
        let events: Arc<dyn RecoverEvents> = Arc::new(|_: u64| ());
        let plan = recover::plan(&from, &newest, &topics, false, &events).await;
        let options = MaintenanceOptions {
            dry_run: false,
            writer: "test".to_owned(),
            policy: "test".to_owned(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let plan = plan.unwrap();
        assert_eq!(plan.segments(), 1);
        let done = recover::recover(&from, &newest, &plan, None, &options, events).await;
        done.unwrap();
        world.note_snapshots(&from).await;

        // Without the snapshot of the recovery, part of what was selected is not in the copy.
        let selected = CopySelection::Range(1, newest.sequence);
        let older = world.copy(selected, NAMES.to_vec(), None).await;
        let older = older.unwrap().unwrap();
        assert!(!older.is_whole(), "{older:?}");
        let to = world.to.open().await.latest().await.unwrap().unwrap();
        assert!(!to.is_complete() && to.partition(&id).unwrap().incomplete.is_some());

        for is_first in [false, true] {
            if is_first {
                world.to = Side::create("to", Identity::fresh()).await;
            }
            let report = copied(&mut world).await;
            assert!(report.is_whole(), "{report:?}");
            let mut findings = report.findings.iter();
            assert!(
                findings.all(|it| it.accepted && it.replaced_later),
                "{report:?}"
            );
            assert_eq!(report.findings.is_empty(), !is_first, "{report:?}");
            let accounted = report.accounted.unwrap();
            assert_eq!(accounted.whole_partitions, accounted.partitions);
            let (from, to) = (world.from.open().await, world.to.open().await);
            let from = from.latest().await.unwrap().unwrap();
            let to = to.latest().await.unwrap().unwrap();
            assert_eq!(to.is_complete(), from.is_complete());
            let (ours, theirs) = (to.partition(&id).unwrap(), from.partition(&id).unwrap());
            assert_eq!((ours.records, &ours.lost), (theirs.records, &theirs.lost));
            // The copies of older snapshots name nothing that is damaged.
            assert!(ours.damaged_in.is_empty() && !theirs.damaged_in.is_empty());
        }
    });
}

#[test]
fn a_row_that_is_not_what_its_segment_states_ends_its_partition() {
    type Forge = fn(&mut SegmentEntry);
    let forgeries: [(&str, Forge); 8] = [
        ("end offset", |it| it.end_offset += 1),
        ("number of records", |it| it.records += 1),
        ("number of raw bytes", |it| it.raw_bytes += 1),
        ("smallest timestamp", |it| {
            it.min_timestamp = it.min_timestamp.map(|min| min - 1)
        }),
        ("largest timestamp", |it| it.max_timestamp += 1),
        ("content digest", |it| it.content_digest = Some(Id::ZERO)),
        ("footer", |it| it.footer_position -= 1),
        ("footer", |it| it.footer_position += 1),
    ];
    for (what, forge) in forgeries {
        // What an interrupted copy left has the right bytes, and the row is as wrong.
        for is_adopted in [false, true] {
            run(async {
                let mut world = backed_up(14, 1).await;
                world.forge = Some(forge);
                while world.forge.is_some() {
                    world.back_up().await;
                }
                if is_adopted {
                    let from = world.from.open().await;
                    let newest = from.latest().await.unwrap().unwrap();
                    let mut rows = from.segment_rows(&newest).await.unwrap();
                    while let Some((_, entry)) = rows.next().await.unwrap() {
                        let bytes = world.from.object(&entry.key).await.unwrap();
                        let path = Path::from(entry.key.as_str());
                        world.to.objects.put(&path, bytes.into()).await.unwrap();
                    }
                }
                let report = copied(&mut world).await;
                let [finding] = &report.findings[..] else {
                    panic!("{what}: {report:?}")
                };
                assert_eq!(finding.kind, CopyFindingKind::DamagedSegment);
                assert_eq!(finding.repository, "from");
                assert!(finding.message.contains(what), "{what}: {finding:?}");
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
                world.check(&[]).await;
            });
        }
    }
}

#[test]
fn what_an_interrupted_copy_left_is_checked_and_used() {
    run(async {
        let mut world = backed_up(4, 3).await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let mut rows = from.segment_rows(&newest).await.unwrap();
        let mut left = 0;
        while let Some((_, entry)) = rows.next().await.unwrap() {
            let mut bytes = world.from.object(&entry.key).await.unwrap();
            if left == 1 {
                // Of the right size, and not what it should be.
                bytes[0] ^= 1;
            }
            let path = Path::from(entry.key.as_str());
            world.to.objects.put(&path, bytes.into()).await.unwrap();
            left += 1;
        }
        assert!(left > 1);
        let report = copied(&mut world).await;
        assert_eq!((report.adopted_segments, report.segments), (left - 1, 1));
        world.check(&NAMES).await;
    });
}

/// Expires all records, forgets snapshots, and prunes at once.
async fn expire_all(
    repository: Repository,
    [expire, forget, prune]: [Upkeep; 3],
    forgotten: BTreeSet<u64>,
) {
    let newest = repository.latest().await.unwrap().unwrap();
    let mut plan = Vec::new();
    for topic in &newest.topics {
        for state in &topic.partitions {
            let id = topic.partition_id(state.partition);
            let planned = repository.plan_expiry(&newest, id, state, i64::MAX).await;
            plan.push(planned.unwrap());
        }
    }
    repository.expire(&plan, &expire).await.unwrap();
    let plan = repository.plan_forget(forgotten).await.unwrap();
    repository.forget(&plan, &forget).await.unwrap();
    let options = PruneOptions {
        grace: std::time::Duration::ZERO,
        now: jiff::Timestamp::now(),
        claims: Vec::new(),
    };
    let plan = repository.plan_prune(&options).await.unwrap();
    repository.prune(plan, &prune).await.unwrap();
}

#[test]
fn what_was_forgotten_while_it_was_sent_again_is_named_as_that() {
    run(async {
        let mut world = with_segments_in_each(1).await;
        copied(&mut world).await;
        let to = world.to.open().await;
        let newest = to.latest().await.unwrap().unwrap();
        let mut rows = to.segment_rows(&newest).await.unwrap();
        let (_, lost) = rows.next().await.unwrap().unwrap();
        let path = Path::from(lost.key.as_str());
        world.to.objects.delete(&path).await.unwrap();
        let from = world.from.open().await;
        let upkeeps = ["expire", "forget", "prune"].map(|it| world.upkeep(it));
        world
            .from
            .meanwhile(move || expire_all(from, upkeeps, [1].into()));
        let report = copied(&mut world).await;
        let [finding] = &report.findings[..] else {
            panic!("{report:?}");
        };
        assert_eq!(finding.kind, CopyFindingKind::DamagedCopy);
        let message = &finding.message;
        assert!(
            message.ends_with("snapshot 1 was forgotten meanwhile"),
            "{message}"
        );
    });
}

#[test]
fn a_snapshot_that_is_forgotten_meanwhile_is_named_and_the_next_is_copied() {
    run(async {
        let mut world = with_segments_in_each(3).await;
        let from = world.from.open().await;
        let upkeep = world.upkeep("forget");
        world.from.meanwhile(move || async move {
            let plan = from.plan_forget([2].into()).await.unwrap();
            from.forget(&plan, &upkeep).await.unwrap();
        });
        let report = copied(&mut world).await;
        let found = report.findings.iter().map(|it| (it.kind, it.origin));
        let forgotten = CopyFindingKind::ForgottenSnapshot;
        assert_eq!(found.collect::<Vec<_>>(), [(forgotten, 2)]);
        let copied_ones = report.snapshots.iter().map(|it| it.origin);
        assert_eq!(copied_ones.collect::<Vec<_>>(), [1, 3]);
        assert!(!report.is_whole() && !report.interrupted);
        world.check(&NAMES).await;
        let again = copied(&mut world).await;
        assert!(again.is_whole() && again.segments == 0, "{again:?}");
    });
}

#[test]
fn a_segment_that_is_pruned_meanwhile_is_no_damage_and_what_has_taken_its_place_is_copied() {
    for wanted in [CopySelection::New, CopySelection::Latest] {
        run(async {
            let mut world = with_segments_in_each(2).await;
            let from = world.from.open().await;
            let upkeeps = ["expire", "forget", "prune"].map(|it| world.upkeep(it));
            let selected: Vec<u64> = match wanted {
                CopySelection::Latest => vec![2],
                _ => vec![1, 2],
            };
            world
                .from
                .meanwhile(move || expire_all(from, upkeeps, [1, 2].into()));
            let report = world.copy(wanted, NAMES.to_vec(), None).await;
            let report = report.unwrap().unwrap();
            let found = report.findings.iter().map(|it| (it.kind, it.origin));
            let forgotten = CopyFindingKind::ForgottenSnapshot;
            let expected: Vec<_> = selected.iter().map(|it| (forgotten, *it)).collect();
            assert_eq!(found.collect::<Vec<_>>(), expected);
            let copied_ones: Vec<u64> = report.snapshots.iter().map(|it| it.origin).collect();
            assert_eq!(copied_ones, [3]);
            let from = world.from.open().await;
            world.note_snapshots(&from).await;
            world.check(&NAMES).await;
            let again = copied(&mut world).await;
            assert!(again.is_whole() && again.snapshots.is_empty(), "{again:?}");
        });
    }
}

#[test]
fn what_an_interrupted_copy_left_is_not_pruned() {
    run(async {
        let mut world = backed_up(5, 1).await;
        copied(&mut world).await;
        world.back_up().await;
        let from = world.from.open().await;
        let newest = from.latest().await.unwrap().unwrap();
        let mut rows = from.segment_rows(&newest).await.unwrap();
        let mut left = Vec::new();
        while let Some((_, entry)) = rows.next().await.unwrap() {
            if world.to.object(&entry.key).await.is_none() {
                let bytes = world.from.object(&entry.key).await.unwrap();
                let path = Path::from(entry.key.as_str());
                world.to.objects.put(&path, bytes.into()).await.unwrap();
                left.push(entry.key);
            }
        }
        assert!(!left.is_empty());
        world.forget_and_prune(true).await;
        for key in &left {
            assert!(world.to.object(key).await.is_some(), "{key}");
        }
        let report = copied(&mut world).await;
        assert_eq!(report.adopted_segments, left.len() as u64);
    });
}

#[test]
fn what_a_first_copy_left_behind_its_reservation_is_not_pruned() {
    run(async {
        let mut reserved = 0;
        for calls in 1..400 {
            let mut world = backed_up(8, 2).await;
            let faults = Some((0, Some(calls)));
            let copied = world.copy(CopySelection::Range(2, 2), NAMES.to_vec(), faults);
            if copied.await.is_some_and(|copied| copied.is_ok()) {
                break;
            }
            let to = world.to.open().await;
            let Some(newest) = to.latest().await.unwrap() else {
                continue;
            };
            if newest.origin.is_some() {
                continue;
            }
            reserved += 1;
            let snapshot = &world.snapshots[&2];
            let from = world.from.open().await;
            let mut rows = from.segment_rows(snapshot).await.unwrap();
            let mut keys = Vec::new();
            while let Some((_, entry)) = rows.next().await.unwrap() {
                keys.push(entry.key);
            }
            world.forget_and_prune(true).await;
            for key in &keys {
                assert!(world.to.object(key).await.is_some(), "{calls}: {key}");
            }
        }
        assert!(reserved > 0);
    });
}

#[test]
fn what_the_copy_has_lost_is_sent_again_while_the_original_has_it() {
    run(async {
        let mut world = backed_up(10, 3).await;
        let first = copied(&mut world).await;
        let all = first.checked_segments;
        assert!(all > 2 && first.repaired_segments == 0, "{first:?}");
        let to = world.to.open().await;
        let newest = to.latest().await.unwrap().unwrap();
        let mut rows = to.segment_rows(&newest).await.unwrap();
        let mut keys = Vec::new();
        while let Some((_, entry)) = rows.next().await.unwrap() {
            keys.push(entry.key);
        }
        let path = |at: usize| Path::from(keys[at].as_str());
        world.to.objects.delete(&path(0)).await.unwrap();
        let short = world.to.object(&keys[1]).await.unwrap()[1..].to_vec();
        world.to.objects.put(&path(1), short.into()).await.unwrap();
        let report = copied(&mut world).await;
        assert!(report.is_whole(), "{report:?}");
        assert_eq!(
            (
                report.repaired_segments,
                report.segments,
                report.checked_segments
            ),
            (2, 0, all)
        );
        world.check(&NAMES).await;

        // The original has lost one, too.
        world.to.objects.delete(&path(0)).await.unwrap();
        world.to.objects.delete(&path(1)).await.unwrap();
        let intact = world.from.object(&keys[0]).await.unwrap();
        world.from.objects.delete(&path(0)).await.unwrap();
        let report = copied(&mut world).await;
        assert_eq!(report.repaired_segments, 1, "{report:?}");
        let [finding] = &report.findings[..] else {
            panic!("{report:?}")
        };
        assert_eq!(finding.kind, CopyFindingKind::DamagedCopy);
        assert!(finding.message.contains(&keys[0]), "{finding:?}");
        assert_eq!(finding.repository, "to");
        let accounted = report.accounted.unwrap();
        assert_eq!(accounted.whole_partitions, accounted.partitions - 1);
        world
            .from
            .objects
            .put(&path(0), intact.into())
            .await
            .unwrap();
        assert!(copied(&mut world).await.is_whole());
        world.check(&NAMES).await;
    });
}

#[test]
fn what_a_prune_may_be_deleting_is_not_written() {
    run(async {
        let mut world = backed_up(13, 3).await;
        copied(&mut world).await;
        let (from, to) = (world.from.open().await, world.to.open().await);
        let original = from.latest().await.unwrap().unwrap();
        let mut copy = to.latest().await.unwrap().unwrap();
        let mut rows = to.segment_rows(&copy).await.unwrap();
        let (_, entry) = rows.next().await.unwrap().unwrap();
        let path = Path::from(entry.key.as_str());
        world.to.objects.delete(&path).await.unwrap();
        // Its list cannot be read, so that it may have any name.
        copy.value.manifest.pruning = Some(Pruning {
            sequence: copy.sequence,
            objects: 1,
            sha256: Hex([7; 32]),
            size: 1,
            raw_size: 1,
        });
        for is_pruning in [true, false] {
            if !is_pruning {
                copy.value.manifest.pruning = None;
            }
            let repair = Repair {
                origin: &from,
                original: &original,
                destination: &to,
                copy: &copy,
                transfer: Transfer {
                    origin: from.store(),
                    destination: &to,
                    read_back: true,
                    events: &(),
                },
                dry_run: false,
            };
            let repaired = repair.run(|_| true).await.unwrap();
            let exists = world.to.object(&entry.key).await.is_some();
            assert_eq!(exists, !is_pruning);
            assert_eq!(repaired.sent.len(), usize::from(!is_pruning));
            assert_eq!(repaired.findings.len(), usize::from(is_pruning));
        }
    });
}

#[test]
fn what_the_original_has_expired_cannot_be_sent_again() {
    run(async {
        let mut world = backed_up(12, 3).await;
        copied(&mut world).await;
        let before = world.from.open().await.latest().await.unwrap().unwrap();
        for _ in 0..20 {
            world.expire(false).await;
        }
        let from = world.from.open().await;
        let after = from.latest().await.unwrap().unwrap();
        let mut kept = std::collections::BTreeSet::new();
        let mut rows = from.segment_rows(&after).await.unwrap();
        while let Some((id, entry)) = rows.next().await.unwrap() {
            if entry.base_offset >= after.partition(&id).unwrap().base_offset {
                kept.insert(entry.key);
            }
        }
        let mut rows = from.segment_rows(&before).await.unwrap();
        let mut expired = None;
        while let Some((_, entry)) = rows.next().await.unwrap() {
            if !kept.contains(&entry.key) {
                expired.get_or_insert(entry.key);
            }
        }
        let key = expired.expect("nothing has expired");
        copied(&mut world).await;
        world
            .to
            .objects
            .delete(&Path::from(key.as_str()))
            .await
            .unwrap();
        let report = copied(&mut world).await;
        let damaged = report.findings.iter();
        let damaged = damaged.filter(|it| it.kind == CopyFindingKind::DamagedCopy);
        let messages: Vec<&str> = damaged.map(|it| it.message.as_str()).collect();
        assert_eq!(messages.len(), 1, "{report:?}");
        assert!(
            messages[0].contains(&key) && messages[0].contains("does not have it any more"),
            "{messages:?}"
        );
        assert!(report.accounted.unwrap().expired_in_origin > 0);
    });
}
