//! A sealed object whose write took effect counts as written, even if the response was lost or the request was sent
//! twice; one with other bytes is never mistaken for it. A write whose request was lost is made again.

use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    ChangedGroup, DonePartition, GroupsChange, Hex, Id, Identity, MapPage, MapRun, ParentRef,
    RepoErrorKind, Repository, RestoreDone, RestoreId, RestoreManifest, Result,
};
use object_store::ObjectStore;

use crate::support::faulty::{Fault, FaultyStore};
use crate::world;

fn restore_id() -> RestoreId {
    "r".parse().unwrap()
}

fn manifest(writer: &str) -> RestoreManifest {
    let snapshot = ParentRef {
        sequence: 1,
        sha256: Hex([3; 32]),
    };
    let repository = world::identity().repository_id;
    RestoreManifest {
        writer: writer.to_owned(),
        ..RestoreManifest::of_everything(restore_id(), repository, snapshot, Vec::new())
    }
}

fn map_page() -> MapPage {
    let run = MapRun {
        source_offset: 0,
        target_partition: 0.into(),
        target_offset: 5,
        records: 3,
    };
    MapPage {
        restore: restore_id(),
        topic: world::name("a"),
        topic_id: Id::ZERO,
        partition: 0.into(),
        base_offset: 0,
        end_offset: 3,
        previous: None,
        records: 3,
        runs: vec![run],
    }
}

fn done(second: i64, records: u64) -> RestoreDone {
    RestoreDone {
        restore: restore_id(),
        sequence: 1,
        finished_at: Timestamp::from_second(second).unwrap(),
        records,
        partitions: vec![DonePartition {
            topic: world::name("a"),
            topic_id: Id::ZERO,
            partition: 0.into(),
            records,
            page: Some(map_page().sha256()),
        }],
    }
}

fn groups_change(group: &str) -> GroupsChange {
    GroupsChange {
        restore: restore_id(),
        change: "c".parse().unwrap(),
        sequence: 1,
        undoes: None,
        changed_at: Timestamp::UNIX_EPOCH,
        cluster_id: None,
        groups: vec![ChangedGroup {
            group: group.to_owned(),
            existed: false,
            offsets: Vec::new(),
        }],
    }
}

async fn repository() -> (Repository, Arc<dyn ObjectStore>) {
    let objects = world::memory();
    let made = Repository::create(world::store(&objects), world::identity());
    (made.await.unwrap(), objects)
}

/// Opens the same repository through a store that performs its write number `at` but loses the response.
async fn losing_response(
    objects: &Arc<dyn ObjectStore>,
    at: usize,
) -> (Repository, impl Fn() -> bool) {
    let faulty = FaultyStore::new(Arc::clone(objects), Fault::ResponseLost, at);
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let opened = Repository::open(world::store(&store)).await.unwrap();
    (opened, move || faulty.reached())
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    let refused = matches!(error.kind(), RepoErrorKind::Refused { .. });
    assert!(refused, "{error}");
}

#[tokio::test]
async fn begun_json_is_written_once() {
    let (_, objects) = repository().await;
    let (repository, reached) = losing_response(&objects, 0).await;
    repository.begin_restore(&manifest("one")).await.unwrap();
    assert!(reached());
    repository.begin_restore(&manifest("one")).await.unwrap();
    assert_refused(repository.begin_restore(&manifest("two")).await);
    let found = repository.restore(&restore_id()).await.unwrap();
    assert_eq!(found, Some(manifest("one")));
}

#[tokio::test]
async fn groups_change_is_written_once() {
    let (_, objects) = repository().await;
    let (repository, reached) = losing_response(&objects, 0).await;
    let record = async |group| repository.record_groups_change(&groups_change(group)).await;
    record("g").await.unwrap();
    assert!(reached());
    record("g").await.unwrap();
    assert_refused(record("h").await);
    let found = repository.groups_changes(&restore_id()).await.unwrap();
    assert_eq!(found, [groups_change("g")]);
}

#[tokio::test]
async fn done_json_is_never_overwritten() {
    let (_, objects) = repository().await;
    let (repository, reached) = losing_response(&objects, 0).await;
    repository.finish_restore(&done(1, 3)).await.unwrap();
    assert!(reached());
    repository.finish_restore(&done(1, 3)).await.unwrap();
    // A second process reached the same result later.
    repository.finish_restore(&done(2, 3)).await.unwrap();
    assert_refused(repository.finish_restore(&done(2, 4)).await);
    let found = repository.restore_done(&restore_id()).await.unwrap();
    assert_eq!(found, Some(done(1, 3)));
}

#[tokio::test]
async fn map_pages_are_written_although_the_response_is_lost() {
    let (_, objects) = repository().await;
    let (repository, reached) = losing_response(&objects, 0).await;
    let written = repository.write_map_pages(&[map_page()]).await.unwrap();
    assert!(reached());
    assert_eq!(written, [map_page().sha256()]);
    let again = repository.write_map_pages(&[map_page()]).await.unwrap();
    assert_eq!(again, written);
}

#[tokio::test]
async fn tables_and_snapshots_are_written_although_the_response_is_lost() {
    // The table is the first write of a commit, the snapshot the second, the hint the third.
    for at in [0, 1, 2] {
        let (_, objects) = repository().await;
        let (repository, reached) = losing_response(&objects, at).await;
        let partition = world::partition_id("a", 1, 0);
        let (entry, bytes) = world::entry(&partition, 0, 3);
        world::put(&objects, &entry.key, &bytes).await;
        let mut change = world::look(None, &world::cluster(&[("a", 1, &[3])]));
        change.topics[0].partitions[0].segments = vec![entry];
        let committed = repository.commit(&change).await.unwrap();
        assert!(reached());
        assert_eq!(committed.sequence, 1);
        assert_eq!(repository.latest().await.unwrap(), Some(committed));
        world::check_whole(&objects).await;
    }
}

#[tokio::test]
async fn a_create_whose_connection_ends_before_it_arrives_is_made_again() {
    for writes in 0..4 {
        let objects = world::memory();
        let faulty = FaultyStore::new(Arc::clone(&objects), Fault::Dropped, writes);
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let store = world::store(&store);
        assert!(store.probe().await.unwrap().is_none());
        assert!(faulty.reached());
    }
    let objects = world::memory();
    let faulty = FaultyStore::new(Arc::clone(&objects), Fault::Dropped, 0);
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let made = Repository::create(world::store(&store), world::identity()).await;
    assert_eq!(made.unwrap().identity(), &world::identity());
    assert!(faulty.reached());
}

#[tokio::test]
async fn a_damaged_page_is_overwritten() {
    let (repository, objects) = repository().await;
    repository.write_map_pages(&[map_page()]).await.unwrap();
    let keys = repository.map_page_keys(&restore_id()).await.unwrap();
    let key = keys.first().unwrap().to_string();
    let intact = world::get(&objects, &key).await;
    world::put(&objects, &key, b"damaged").await;
    repository.write_map_pages(&[map_page()]).await.unwrap();
    assert_eq!(world::get(&objects, &key).await, intact);
}

#[tokio::test]
async fn kbk_json_is_written_once() {
    let objects = world::memory();
    let faulty = FaultyStore::new(Arc::clone(&objects), Fault::ResponseLost, 0);
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let made = Repository::create(world::store(&store), world::identity()).await;
    assert_eq!(made.unwrap().identity(), &world::identity());
    assert!(faulty.reached());
    let again = Repository::create(world::store(&store), Identity::fresh()).await;
    assert_eq!(*again.unwrap_err().kind(), RepoErrorKind::AlreadyExists);
}
