//! Random repositories of batches that were not decoded, against a plain model, on stores that fail, and beside other writers.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{Repository, SegmentEntry, Snapshot};

use super::{IndexReport, index};
use crate::compact::CompactFindingKind;
use crate::compact::tests::world::{World, id, options as compact_options};
use crate::maintenance::{MaintenanceError, MaintenanceOptions};
use crate::testing::as_batches::SegmentKind;
use crate::testing::faulty::Withheld;
use crate::testing::random::Random;

fn options(dry_run: bool) -> MaintenanceOptions {
    MaintenanceOptions {
        dry_run,
        writer: "test".to_owned(),
        policy: "test".to_owned(),
        now: Timestamp::UNIX_EPOCH,
    }
}

async fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    dry_run: bool,
) -> Result<IndexReport, MaintenanceError> {
    let topics = snapshot.topics.iter();
    let topics: BTreeSet<_> = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
    index(
        repository,
        snapshot,
        &topics,
        &options(dry_run),
        Arc::new(()),
    )
    .await
}

async fn not_computed(world: &World) -> Vec<SegmentEntry> {
    let all = world.segments().await.into_values().flatten();
    all.filter(|entry| !entry.is_computed()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_computed_and_every_record_and_gap_stays() {
    let mut computed = 0;
    for seed in 0..30 {
        let mut world = World::random_of(seed, SegmentKind::NotComputed).await;
        for _ in 0..2 {
            let before = not_computed(&world).await;
            let keys = world.keys().await;
            let planned = run(&world.open().await, &*world.latest().await, true).await;
            assert_eq!(
                world.keys().await,
                keys,
                "seed {seed}: a dry run writes nothing"
            );
            let done = run(&world.open().await, &*world.latest().await, false).await;
            let (planned, done) = (planned.unwrap(), done.unwrap());
            assert_eq!(done.segments, before.len() as u64, "seed {seed}");
            let of = |it: &IndexReport| (it.segments, it.bytes, it.records);
            assert_eq!(of(&planned), of(&done), "seed {seed}");
            assert!(not_computed(&world).await.is_empty(), "seed {seed}");
            assert!(done.findings.is_empty() && !done.interrupted);
            world.check(seed).await;
            computed += done.segments;
            world.backup(seed + 1_000).await;
        }
    }
    assert!(computed > 200, "{computed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_is_the_last_the_old_snapshot_is_there_or_the_new_one() {
    for seed in 0..3 {
        let world = World::random_of(seed, SegmentKind::NotComputed).await;
        let before = not_computed(&world).await.len();
        let mut calls = 1;
        loop {
            let store = world.store(0, Some(calls), Random::new(calls));
            let snapshot = world.latest().await;
            let done = match Repository::open(store).await {
                Ok(repository) => run(&repository, &snapshot, false).await,
                Err(error) => Err(error.into()),
            };
            let left = not_computed(&world).await.len();
            assert!(
                left == before || left == 0,
                "seed {seed}, {calls} calls: {left}"
            );
            world.check(seed).await;
            if done.is_ok() {
                assert_eq!(left, 0);
                break;
            }
            if left == 0 {
                // The commit is there, and its answer was lost.
                break;
            }
            calls += 1 + calls / 5;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_by_what_the_store_does_not_return() {
    let world = World::random_of(3, SegmentKind::NotComputed).await;
    let before = not_computed(&world).await;
    let repository = world.open_lying().await;
    let refused = run(&repository, &*world.latest().await, false).await;
    assert!(
        matches!(refused, Err(MaintenanceError::NotProven { .. })),
        "{refused:?}"
    );
    assert_eq!(not_computed(&world).await, before);
    world.check(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_run_replaces_meanwhile_is_left_to_it() {
    let world = World::random_of(5, SegmentKind::NotComputed).await;
    let snapshot = world.latest().await;
    let compacted = world.compact(&compact_options()).await.unwrap();
    assert!(compacted.segments > 0);
    assert!(
        not_computed(&world).await.is_empty(),
        "columns have all numbers"
    );
    let done = run(&world.open().await, &snapshot, false).await.unwrap();
    assert_eq!(done.segments, 0);
    assert!(done.outdated_segments > 0 && done.snapshots.is_empty());
    world.check(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_read_stays_and_all_others_are_computed() {
    for (seed, is_denied) in [(1, true), (2, false)] {
        let world = World::random_of(seed, SegmentKind::NotComputed).await;
        let key = not_computed(&world).await[0].key.clone();
        let withheld = Withheld::new(is_denied, [key.clone()]);
        let repository = world.open_without(withheld).await;
        let done = run(&repository, &*world.latest().await, false).await;
        let done = done.unwrap();
        let [finding] = &done.findings[..] else {
            panic!("{:?}", done.findings);
        };
        assert_eq!(finding.kind, CompactFindingKind::UnreadableSegment);
        assert_eq!(finding.key.as_ref(), Some(&key));
        let left = not_computed(&world).await;
        assert_eq!(left.iter().map(|it| &it.key).collect::<Vec<_>>(), [&key]);
        world.check(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_stays_and_all_others_are_computed() {
    let mut found = 0;
    for seed in 0..10 {
        let world = World::random_of(seed, SegmentKind::NotComputed).await;
        let harmed = world.harm(&mut Random::new(seed)).await;
        let entries = not_computed(&world).await;
        let done = run(&world.open().await, &*world.latest().await, false).await;
        let done = done.unwrap();
        let damaged: BTreeSet<_> = done
            .findings
            .iter()
            .filter_map(|it| it.key.clone())
            .collect();
        let expected: BTreeSet<_> = entries
            .iter()
            .map(|it| it.key.clone())
            .filter(|key| harmed.contains(key))
            .collect();
        assert_eq!(damaged, expected, "seed {seed}");
        let left: BTreeSet<_> = not_computed(&world)
            .await
            .into_iter()
            .map(|it| it.key)
            .collect();
        assert_eq!(left, expected, "seed {seed}");
        found += damaged.len();
        assert_eq!(
            world.entries_of(&id(0)).await.len(),
            world.segments().await[&id(0)].len()
        );
    }
    assert!(found > 3, "{found}");
}
