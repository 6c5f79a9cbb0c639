//! Objects that the store does not return, although it returns others.

use kbk_format::repo::SegmentEntry;

use super::*;
use crate::compact::tests::world::id;
use crate::testing::faulty::Withheld;

/// Plans and rebuilds on a store that does not return some objects, and abandons them.
async fn rebuilt_without(world: &World, withheld: Withheld) -> Result<RebuildReport, RebuildError> {
    let (repository, plan) = planned_without(world, withheld).await?;
    rebuild(&repository, &plan, &abandoning(), &silent()).await
}

async fn planned_without(
    world: &World,
    withheld: Withheld,
) -> Result<(Repository, RebuildPlan), RebuildError> {
    let store = world.store_without(withheld);
    let (repository, lost) = Repository::open_without_identity(store).await?;
    let plan = plan_rebuild(&repository, lost, &silent()).await?;
    Ok((repository, plan))
}

async fn without_index(seed: u64) -> World {
    let world = World::random(seed).await;
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    world
}

fn of<'a>(report: &'a RebuildReport, key: &str) -> &'a ObjectRow {
    let mut rows = report.data_objects.iter();
    rows.find(|row| row.key == key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_named_and_all_others_are_used() {
    for (seed, is_denied) in [(1, true), (2, false), (3, true), (4, false)] {
        let world = without_index(seed).await;
        let left = proved(&world).await;
        let objects = keys(&world, "data").await;
        let key = objects[objects.len() / 2].clone();
        let withheld = Withheld::new(is_denied, [key.clone()]);
        let report = rebuilt_without(&world, withheld).await.unwrap();
        let row = of(&report, &key);
        assert_eq!(row.fate, Fate::Inaccessible, "{row:?}");
        let detail = row.detail.as_ref().unwrap();
        assert!(detail.contains(&key), "{detail}");
        assert!(report.snapshot.is_some() && !report.is_lossless());
        assert_eq!(report.unusable(), 1);
        let found = world.read().await;
        for (other, offsets) in left.iter().filter(|(other, _)| **other != key) {
            let records = &found[&partition_of(&world, other)].records;
            assert!(offsets.iter().all(|it| records.contains_key(it)), "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_returns_nothing_ends_it() {
    let world = without_index(1).await;
    let objects = keys(&world, "data").await;
    let before = world.keys().await;
    let refused = rebuilt_without(&world, Withheld::new(true, objects.clone())).await;
    assert!(matches!(refused, Err(RebuildError::Repo(_))), "{refused:?}");
    // Where kbk.json is not returned either, nothing says that it is about this object.
    let (repository, lost) = open(&world).await;
    assert!(lost.is_none());
    drop(repository);
    let all = ["kbk.json".to_owned(), objects[0].clone()];
    let refused = rebuilt_without(&world, Withheld::new(false, all)).await;
    assert!(matches!(refused, Err(RebuildError::Repo(_))), "{refused:?}");
    assert_eq!(world.keys().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_the_base_that_cannot_be_compared_is_named() {
    let mut named = 0;
    for seed in 0..24 {
        let world = World::random(seed).await;
        let sources = world.entries_of(&id(0)).await;
        world.compact(&compact_options()).await.unwrap();
        let merged = world.entries_of(&id(0)).await;
        let is_left = |it: &&SegmentEntry| !merged.contains(it) && it.records > 3;
        let Some(left) = sources.iter().find(is_left) else {
            continue;
        };
        let has = |it: &&SegmentEntry| (it.base_offset..it.end_offset).contains(&left.base_offset);
        let key = merged.iter().find(has).unwrap().key.clone();
        // Its sums do not show any more that it has the same records.
        let mut found = bytes(&world, &left.key).await;
        *found.last_mut().unwrap() ^= 1;
        put(&world, &left.key, found).await;
        let next = world.latest().await.sequence + 1;
        let unusable = format!("snapshots/{next:020}.json");
        put(&world, &unusable, b"{}".to_vec()).await;
        let withheld = Withheld::new(true, [key.clone()]);
        let report = rebuilt_without(&world, withheld).await.unwrap();
        let row = of(&report, &key);
        assert_eq!(row.fate, Fate::Kept);
        assert!(row.is_damaged() && row.detail.is_some(), "{report:#?}");
        assert!(!report.is_lossless());
        named += 1;
    }
    assert!(named > 3, "{named}");
}

/// An object between others that cannot be read now is not stated as lost: it may come back.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_come_back_is_not_given_up_without_being_asked_for() {
    let (mut refused, mut allowed) = (0, 0);
    for seed in 0..12 {
        let world = without_index(seed).await;
        let objects = keys(&world, "data").await;
        let left = proved(&world).await;
        for (at, key) in objects.iter().enumerate() {
            let is_denied = at % 2 == 0;
            let withheld = Withheld::new(is_denied, [key.clone()]);
            let (repository, plan) = planned_without(&world, withheld).await.unwrap();
            let report = plan.report().clone();
            // What only it has, up to the last offset that any other object of its partition has.
            let id = partition_of(&world, key);
            let others = left.iter().filter(|(other, _)| **other != *key);
            let others = others.filter(|(other, _)| partition_of(&world, other) == id);
            let others: BTreeSet<i64> = others.flat_map(|(_, offsets)| offsets.clone()).collect();
            let own = left.get(key).into_iter().flatten();
            let last = others.last().copied().unwrap_or(i64::MIN);
            let needed = own.filter(|it| !others.contains(it) && **it < last).count() as u64;
            assert!(report.unread_offsets >= needed, "{seed} {key}: {report:#?}");
            let of_partitions = report.rebuilt.iter().map(|row| row.unread_offsets);
            assert_eq!(of_partitions.sum::<u64>(), report.unread_offsets);
            if report.unread_offsets == 0 {
                allowed += 1;
                continue;
            }
            refused += 1;
            let before = world.keys().await;
            let error = rebuild(&repository, &plan, &options(), &silent()).await;
            match error {
                Err(RebuildError::Unread { key: named, .. }) => assert_eq!(named, *key),
                other => panic!("{seed} {key}: {other:?}"),
            }
            assert_eq!(world.keys().await, before, "nothing is written");
        }
        // Once all can be read, nothing is missing.
        let report = rebuilt(&world).await.unwrap();
        assert_eq!(report.unread_offsets, 0);
        let found = world.read().await;
        for (key, offsets) in &left {
            let records = &found[&partition_of(&world, key)].records;
            assert!(offsets.iter().all(|it| records.contains_key(it)), "{key}");
        }
    }
    assert!(refused > 5 && allowed > 5, "{refused} {allowed}");
}
