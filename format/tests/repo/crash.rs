//! A fault at any call of a backup leaves the previous snapshot intact, and the next run completes the backup.

use std::sync::Arc;

use kbk_format::repo::{Repository, Result};
use object_store::ObjectStore;
use tokio::runtime::Runtime;

use crate::support::faulty::{Fault, FaultyStore};
use crate::world::{self, Cluster};

fn before() -> Cluster {
    world::cluster(&[("a", 1, &[10, 0]), ("b", 2, &[7])])
}

/// As many backups, each with new records: the fifth merges the runs of four.
fn growing(backups: u64) -> Vec<Cluster> {
    let grown = |at| {
        world::cluster(&[
            ("a", 1, &[i64::try_from(at).unwrap() + 1, 0]),
            ("b", 2, &[7]),
        ])
    };
    (0..backups).map(grown).collect()
}

/// One partition grows, one gets its first records, one is unchanged, and a topic is new.
fn after() -> Cluster {
    world::cluster(&[("a", 1, &[15, 3]), ("b", 2, &[7]), ("c", 3, &[1])])
}

fn run(runtime: &Runtime, objects: Arc<dyn ObjectStore>, cluster: &Cluster) -> Result<()> {
    let store = world::store(&objects);
    let opened = Repository::open_or_create(store, world::identity());
    let repository = runtime.block_on(opened)?;
    let base = runtime.block_on(repository.latest())?;
    world::backup(runtime, &repository, base, cluster)?;
    Ok(())
}

/// Injects `fault` at call number `at` of a backup that follows backups of `clusters` without a fault.
/// Returns whether the backup makes that many calls.
fn fault_at(objects: &Arc<dyn ObjectStore>, clusters: &[Cluster], fault: Fault, at: usize) -> bool {
    let runtime = world::runtime();
    for cluster in clusters {
        run(&runtime, Arc::clone(objects), cluster).unwrap();
    }
    let earlier = clusters.len() as u64;
    let faulty = FaultyStore::new(Arc::clone(objects), fault, at);
    let outcome = run(&runtime, Arc::new(faulty.clone()), &after());
    if !faulty.reached() {
        outcome.unwrap();
        return false;
    }

    let committed = if earlier > 0 || outcome.is_ok() {
        runtime.block_on(world::check_whole(objects))
    } else {
        Default::default()
    };
    assert!(committed.0 >= earlier + u64::from(outcome.is_ok()));
    if outcome.is_ok() {
        assert_eq!(
            committed.1,
            world::ends(&after()),
            "a backup that succeeded is complete"
        );
    } else if let Some(last) = clusters.last().filter(|_| committed.0 == earlier) {
        assert_eq!(committed.1, world::ends(last), "the previous state");
    }

    run(&runtime, Arc::clone(objects), &after()).unwrap();
    let (sequence, ends) = runtime.block_on(world::check_whole(objects));
    assert!(sequence > committed.0);
    assert_eq!(ends, world::ends(&after()), "{fault:?} at call {at}");
    true
}

fn fault_everywhere(
    clusters: &[Cluster],
    objects: impl Fn() -> (Arc<dyn ObjectStore>, Option<tempfile::TempDir>),
) {
    for fault in Fault::ALL {
        let mut calls = 0;
        loop {
            let (objects, _folder) = objects();
            if !fault_at(&objects, clusters, fault, calls) {
                break;
            }
            calls += 1;
        }
        assert!(calls >= 15, "only {calls} calls were faulted");
    }
}

fn in_memory() -> (Arc<dyn ObjectStore>, Option<tempfile::TempDir>) {
    (world::memory(), None)
}

fn on_disk() -> (Arc<dyn ObjectStore>, Option<tempfile::TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    (world::local(&folder), Some(folder))
}

#[test]
fn a_fault_in_the_first_backup_in_memory() {
    fault_everywhere(&[], in_memory);
}

#[test]
fn a_fault_in_the_first_backup_on_disk() {
    fault_everywhere(&[], on_disk);
}

#[test]
fn a_fault_in_a_later_backup_in_memory() {
    fault_everywhere(&[before(), before()], in_memory);
}

#[test]
fn a_fault_in_a_later_backup_on_disk() {
    fault_everywhere(&[before()], on_disk);
}

#[test]
fn a_fault_in_a_backup_that_merges_runs() {
    fault_everywhere(&growing(4), in_memory);
}

/// A lost response to the commit itself is not a failure.
#[test]
fn a_commit_whose_response_was_lost_takes_effect() {
    let runtime = world::runtime();
    let objects = world::memory();
    let cluster = world::cluster(&[("a", 1, &[4])]);
    let repository = Repository::create(world::store(&objects), world::identity());
    let repository = runtime.block_on(repository).unwrap();
    let first = world::backup(&runtime, &repository, None, &cluster).unwrap();

    // Nothing new is stored, so the snapshot is the only call.
    let faulty = FaultyStore::new(Arc::clone(&objects), Fault::ResponseLost, 0);
    let faulty: Arc<dyn ObjectStore> = Arc::new(faulty);
    let again = runtime
        .block_on(Repository::open(world::store(&faulty)))
        .unwrap();
    let second = world::backup(&runtime, &again, Some(first), &cluster).unwrap();
    assert_eq!(second.sequence, 2);
    assert_eq!(runtime.block_on(repository.latest()).unwrap(), Some(second));
}
