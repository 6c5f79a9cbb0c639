//! Objects that the store does not return, although it returns others.

use kbk_format::repo::SegmentEntry;

use super::*;
use crate::compact::tests::world::id;
use crate::testing::faulty::Withheld;

/// Plans and rebuilds on a store that does not return some objects.
async fn rebuilt_without(world: &World, withheld: Withheld) -> Result<RebuildReport, RebuildError> {
    let store = world.store_without(withheld);
    let (repository, lost) = Repository::open_without_identity(store).await?;
    let plan = plan_rebuild(&repository, lost, &silent()).await?;
    rebuild(&repository, &plan, &options(), &silent()).await
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
