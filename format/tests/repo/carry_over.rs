//! What a snapshot carries over from the one before (SPEC section 11.5), and what commits write.

use kbk_format::repo::{
    Adoptable, Hex, LostRange, RepoErrorKind, Repository, Snapshot, TopicState,
};

use crate::world;

async fn repository() -> (Repository, std::sync::Arc<dyn object_store::ObjectStore>) {
    let objects = world::memory();
    let made = Repository::create(world::store(&objects), world::identity()).await;
    (made.unwrap(), objects)
}

fn topics(snapshot: &Snapshot) -> Vec<(&str, u8, u64, u64, bool)> {
    let row = |topic: &TopicState| {
        (
            topic.topic_id.0[0],
            topic.first_seen,
            topic.last_seen,
            topic.deleted,
        )
    };
    let rows = snapshot
        .topics
        .iter()
        .map(|topic| (&*topic.name, row(topic)));
    rows.map(|(name, (id, first, last, deleted))| (name, id, first, last, deleted))
        .collect()
}

#[tokio::test]
async fn topics_are_kept_deleted_and_found_again() {
    let (repository, _) = repository().await;
    let cluster = world::cluster(&[("a", 1, &[0]), ("b", 2, &[0]), ("c", 3, &[0])]);
    let first = repository
        .commit(&world::look(None, &cluster))
        .await
        .unwrap();
    assert_eq!(
        topics(&first),
        [
            ("a", 1, 1, 1, false),
            ("b", 2, 1, 1, false),
            ("c", 3, 1, 1, false)
        ]
    );

    // This run looks only at b and c: b is gone, c was created again.
    let cluster = world::cluster(&[("c", 4, &[0])]);
    let mut change = world::look(Some(first.clone()), &cluster);
    change.gone = vec![(world::name("b"), Hex([2; 16]))];
    let second = repository.commit(&change).await.unwrap();
    assert_eq!(
        topics(&second),
        [
            ("a", 1, 1, 1, false),
            ("b", 2, 1, 1, true),
            ("c", 3, 1, 1, true),
            ("c", 4, 2, 2, false)
        ]
    );

    // b exists after all.
    let cluster = world::cluster(&[("b", 2, &[0])]);
    let third = repository
        .commit(&world::look(Some(second), &cluster))
        .await
        .unwrap();
    assert_eq!(
        topics(&third),
        [
            ("a", 1, 1, 1, false),
            ("b", 2, 1, 3, false),
            ("c", 3, 1, 1, true),
            ("c", 4, 2, 2, false)
        ]
    );

    // A slow run that began at the first snapshot knows neither the new c nor that b is back.
    let cluster = world::cluster(&[("c", 3, &[0])]);
    let mut change = world::look(Some(first), &cluster);
    change.gone = vec![(world::name("b"), Hex([2; 16]))];
    let fourth = repository.commit(&change).await.unwrap();
    assert_eq!(
        topics(&fourth),
        [
            ("a", 1, 1, 1, false),
            ("b", 2, 1, 3, false),
            ("c", 3, 1, 4, true),
            ("c", 4, 2, 2, false)
        ]
    );
    assert_eq!(repository.latest().await.unwrap(), Some(fourth));
}

#[tokio::test]
async fn partitions_are_added_and_never_removed() {
    let (repository, _) = repository().await;
    let base = world::look(None, &world::cluster(&[("a", 1, &[5, 6])]));
    let base = repository.commit(&base).await.unwrap();
    let next = world::look(Some(base), &world::cluster(&[("a", 1, &[7, 6, 8])]));
    let next = repository.commit(&next).await.unwrap();
    let fewer = world::look(Some(next), &world::cluster(&[("a", 1, &[9])]));
    let snapshot = repository.commit(&fewer).await.unwrap();

    let topic = &snapshot.topics[0];
    let watermarks = topic.partitions.iter().map(|state| state.high_watermark);
    assert_eq!(watermarks.collect::<Vec<_>>(), [9, 6, 8]);
    assert!(snapshot.partition(&topic.partition_id(2.into())).is_some());
    assert!(snapshot.partition(&topic.partition_id(3.into())).is_none());
}

/// Commits of a few rows cost a few objects, and old snapshots stay readable while their runs are merged.
#[tokio::test]
async fn many_commits_leave_few_runs_and_every_snapshot() {
    let (repository, objects) = repository().await;
    let cluster = world::cluster(&[("a", 1, &[200]), ("b", 2, &[200, 200])]);
    let partition = world::partition_id("a", 1, 0);
    let mut base = None;
    for at in 0..70 {
        let mut change = world::look(base, &cluster);
        let (entry, bytes) = world::entry(&partition, at, at + 1);
        world::put(&objects, &entry.key, &bytes).await;
        change.topics[0].partitions[0].segments.push(entry);
        let snapshot = repository.commit(&change).await.unwrap();
        assert!(snapshot.runs.len() <= 10, "{} runs", snapshot.runs.len());
        base = Some(snapshot);
    }
    let (_, ends) = world::check_whole(&objects).await;
    assert_eq!(ends[&partition], 70);

    let unnamed = repository
        .unnamed_segments(&partition, 68, &Adoptable::all())
        .await
        .unwrap();
    assert_eq!(unnamed.len(), 2);
    assert_eq!(unnamed[0].base_offset, 68);
    let none = repository
        .unnamed_segments(&partition, 70, &Adoptable::all())
        .await
        .unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_backup_that_finds_nothing_new_writes_a_snapshot_only() {
    let (repository, objects) = repository().await;
    let cluster = world::cluster(&[("a", 1, &[5, 5]), ("b", 2, &[5])]);
    let mut base = None;
    let mut found = Vec::new();
    for _ in 0..3 {
        let mut change = world::look(base, &cluster);
        change.groups = world::groups(20, &["g"]);
        change.acls = world::acls(20, &["User:a"]);
        base = Some(repository.commit(&change).await.unwrap());
        found.push(repository.named_objects().await.unwrap());
    }
    assert_eq!(
        found[0].len(),
        3,
        "a table, groups and ACLs: {:?}",
        found[0]
    );
    assert_eq!(found[0], found[1]);
    assert_eq!(found[1], found[2]);
    let latest = base.unwrap();
    assert!(latest.topics.iter().all(|topic| topic.last_seen == 3));
    assert_eq!(repository.latest().await.unwrap(), Some(latest));
    world::check_whole(&objects).await;
}

async fn groups(repository: &Repository, snapshot: &Snapshot) -> Option<(u64, Vec<String>)> {
    let groups = repository.groups(snapshot).await.unwrap()?;
    let names = groups.groups.iter().map(|group| group.group.clone());
    Some((groups.seen, names.collect()))
}

#[tokio::test]
async fn the_groups_read_last_are_kept() {
    let (repository, _) = repository().await;
    let cluster = world::cluster(&[("a", 1, &[0])]);
    let commit = async |base, found| {
        let mut change = world::look(base, &cluster);
        change.groups = found;
        repository.commit(&change).await.unwrap()
    };
    let commit_after = async |base, read_after, found| {
        let mut change = world::look(base, &cluster);
        change.groups = found;
        change.read_after = read_after;
        repository.commit(&change).await.unwrap()
    };
    let first = commit(None, None).await;
    assert_eq!(
        groups(&repository, &first).await,
        None,
        "no backup has read them"
    );
    let second = commit(Some(first), world::groups(20, &["g", "h"])).await;
    assert_eq!(
        groups(&repository, &second).await,
        Some((2, vec!["g".to_owned(), "h".to_owned()]))
    );
    let third = commit(Some(second.clone()), None).await;
    assert_eq!(third.groups, second.groups, "a run that did not read them");
    assert_eq!(repository.latest().await.unwrap(), Some(third.clone()));
    let none = commit(Some(third.clone()), world::groups(30, &[])).await;
    assert_eq!(
        groups(&repository, &none).await,
        Some((4, Vec::new())),
        "all are gone"
    );

    // A slow run read them before the run that has committed meanwhile, on a machine whose clock is ahead.
    let slow = commit_after(Some(third.clone()), 2, world::groups(99, &["g"])).await;
    assert_eq!(slow.sequence, 5);
    assert_eq!(slow.groups, none.groups);
    // A run on a machine whose clock is behind read them after all others.
    let behind = commit(Some(slow), world::groups(1, &["g"])).await;
    assert_eq!(
        groups(&repository, &behind).await,
        Some((6, vec!["g".to_owned()]))
    );
    // Of two runs that began together, the one that commits last is kept.
    let together = commit_after(Some(behind), 5, world::groups(0, &["h"])).await;
    assert_eq!(
        groups(&repository, &together).await,
        Some((7, vec!["h".to_owned()]))
    );
}

async fn acls(repository: &Repository, snapshot: &Snapshot) -> Option<(u64, Vec<String>)> {
    let acls = repository.acls(snapshot).await.unwrap()?;
    let principals = acls.acls.iter().map(|binding| binding.principal.clone());
    Some((acls.seen, principals.collect()))
}

#[tokio::test]
async fn the_acls_read_last_are_kept() {
    let (repository, _) = repository().await;
    let cluster = world::cluster(&[("a", 1, &[0])]);
    let commit = async |base, found| {
        let mut change = world::look(base, &cluster);
        change.acls = found;
        repository.commit(&change).await.unwrap()
    };
    let commit_after = async |base, read_after, found| {
        let mut change = world::look(base, &cluster);
        change.acls = found;
        change.read_after = read_after;
        repository.commit(&change).await.unwrap()
    };
    let first = commit(None, None).await;
    assert_eq!(
        acls(&repository, &first).await,
        None,
        "no backup has read them"
    );
    let second = commit(Some(first), world::acls(20, &["User:a", "User:b"])).await;
    assert_eq!(
        acls(&repository, &second).await,
        Some((2, vec!["User:a".to_owned(), "User:b".to_owned()]))
    );
    let third = commit(Some(second.clone()), None).await;
    assert_eq!(third.acls, second.acls, "a run that did not read them");
    assert_eq!(repository.latest().await.unwrap(), Some(third.clone()));
    let none = commit(Some(third.clone()), world::acls(30, &[])).await;
    assert_eq!(
        acls(&repository, &none).await,
        Some((4, Vec::new())),
        "all are gone"
    );

    // A slow run read them before the run that has committed meanwhile, on a machine whose clock is ahead.
    let slow = commit_after(Some(third), 2, world::acls(99, &["User:a"])).await;
    assert_eq!(slow.sequence, 5);
    assert_eq!(slow.acls, none.acls);
    // A run on a machine whose clock is behind read them after all others.
    let behind = commit(Some(slow), world::acls(1, &["User:a"])).await;
    assert_eq!(
        acls(&repository, &behind).await,
        Some((6, vec!["User:a".to_owned()]))
    );
}

/// A commit refuses to write what a reader would refuse to read.
#[tokio::test]
async fn a_change_that_breaks_the_rules_is_refused() {
    let (repository, objects) = repository().await;
    let partition = world::partition_id("a", 1, 0);
    let cluster = world::cluster(&[("a", 1, &[10])]);
    let mut change = world::look(None, &cluster);
    let refused = async |change: &_| {
        let error = repository.commit(change).await.unwrap_err();
        assert!(
            matches!(error.kind(), RepoErrorKind::Refused { .. }),
            "{error}"
        );
        assert!(repository.sequences().await.unwrap().is_empty());
    };
    let entries =
        |ranges: [(i64, i64); 2]| ranges.map(|(from, to)| world::entry(&partition, from, to).0);

    for (hole_or_overlap, lost) in [
        (entries([(0, 4), (5, 9)]), None),
        (entries([(0, 4), (3, 9)]), None),
        (entries([(0, 4), (4, 9)]), Some(LostRange::deleted(8, 10))),
    ] {
        let partition = &mut change.topics[0].partitions[0];
        partition.segments = hole_or_overlap.to_vec();
        partition.lost = lost.into_iter().collect();
        refused(&change).await;
    }

    let partition = &mut change.topics[0].partitions[0];
    partition.segments = entries([(0, 4), (4, 9)]).to_vec();
    partition.lost = vec![LostRange::deleted(0, 2)];
    change.groups = world::groups(1, &["h", "g"]);
    refused(&change).await;
    change.groups = world::groups(1, &["g", "h"]);
    change.acls = world::acls(1, &["User:a", "User:a"]);
    refused(&change).await;
    change.acls = world::acls(1, &["User:a"]);
    let mut next = change.clone();
    next.base = Some(repository.commit(&change).await.unwrap());
    let partition = &mut next.topics[0].partitions[0];
    partition.segments = entries([(10, 12), (12, 13)]).to_vec();
    partition.lost = Vec::new();
    let error = repository.commit(&next).await.unwrap_err();
    assert!(
        matches!(error.kind(), RepoErrorKind::Refused { .. }),
        "{error}"
    );
    assert_eq!(repository.sequences().await.unwrap(), [1]);
    drop(objects);
}
