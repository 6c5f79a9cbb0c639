//! Concurrent writers: changes of different partitions are merged; of two changes of one partition, only the first commits.

use kbk_format::repo::{RepoErrorKind, Repository};

use crate::world;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_of_different_partitions_all_commit() {
    let objects = world::memory();
    let repository = Repository::create(world::store(&objects), world::identity())
        .await
        .unwrap();
    let cluster = world::cluster(&[("a", 1, &[3; 16])]);
    let first = repository
        .commit(&world::look(None, &cluster))
        .await
        .unwrap();

    let writers: Vec<_> = (0..16)
        .map(|partition| {
            let repository = repository.clone();
            let objects = objects.clone();
            let mut change = world::look(Some(first.clone()), &cluster);
            tokio::spawn(async move {
                let id = world::partition_id("a", 1, partition);
                let (entry, bytes) = world::entry(&id, 0, 3);
                world::put(&objects, &entry.key, &bytes).await;
                change.topics[0].partitions[partition as usize].segments = vec![entry];
                repository.commit(&change).await.unwrap().sequence
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for writer in writers {
        sequences.push(writer.await.unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (2..=17).collect::<Vec<_>>());
    let (newest, ends) = world::check_whole(&objects).await;
    assert_eq!((newest, ends), (17, world::ends(&cluster)));
}

#[test]
fn of_two_writers_of_one_partition_only_the_first_commits() {
    let runtime = world::runtime();
    let objects = world::memory();
    let repository = Repository::create(world::store(&objects), world::identity());
    let repository = runtime.block_on(repository).unwrap();
    let backup = |base: &Option<_>, ends: &[i64]| {
        let cluster = world::cluster(&[("a", 1, ends)]);
        world::backup(&runtime, &repository, Option::clone(base), &cluster)
    };

    let base = Some(backup(&None, &[5, 5]).unwrap());
    let first = backup(&base, &[8, 5]).unwrap();
    let second = backup(&base, &[9, 5]).unwrap_err();
    let RepoErrorKind::Conflict {
        partition,
        expected,
        found,
    } = second.kind()
    else {
        panic!("{second}");
    };
    let id = world::partition_id("a", 1, 0);
    assert_eq!((partition, *expected, *found), (&id, 5, 8));
    assert_eq!(runtime.block_on(repository.latest()).unwrap(), Some(first));

    let other = backup(&base, &[5, 7]).unwrap();
    assert_eq!(other.sequence, 3);
    let (_, ends) = runtime.block_on(world::check_whole(&objects));
    let merged = world::cluster(&[("a", 1, &[8, 7])]);
    assert_eq!(ends, world::ends(&merged));
}

#[test]
fn two_first_backups_of_one_topic_conflict() {
    let runtime = world::runtime();
    let objects = world::memory();
    let repository = Repository::create(world::store(&objects), world::identity());
    let repository = runtime.block_on(repository).unwrap();
    let cluster = world::cluster(&[("a", 1, &[5])]);
    world::backup(&runtime, &repository, None, &cluster).unwrap();
    let second = world::backup(&runtime, &repository, None, &cluster).unwrap_err();
    assert!(matches!(second.kind(), RepoErrorKind::Conflict { .. }));
    let (newest, _) = runtime.block_on(world::check_whole(&objects));
    assert_eq!(newest, 1);
}
