//! What a commit takes over from the damaged snapshots that it passes over (SPEC section 11.6).
//!
//! They may have recorded that snapshots were forgotten, or that a prune began, and processes that were suspended since rely on that. What can
//! still be read of them counts. Of the rest it is assumed that they forgot every number that is free, and that they ended a prune.

use std::collections::BTreeSet;

use super::error::Result;
use super::manifest::{Manifest, Pruning};
use super::ranges;
use super::repository::Repository;
use crate::layout::limits;

/// What is known of the damaged snapshots that a commit passes over.
#[derive(Clone, Debug)]
pub(super) struct PassedOver {
    /// The highest of their sequences, or of those that may have been used.
    last: u64,
    /// The newest of those whose manifests can be read.
    readable: Option<Manifest>,
    /// The sequences below it that no snapshot has, as ranges: some were forgotten, and none may be won again.
    gone: Vec<(u64, u64)>,
}

/// What a snapshot carries over for other processes.
#[derive(Clone, Debug, Default)]
pub(super) struct CarriedOver {
    pub(super) following: u64,
    pub(super) forgotten: Vec<(u64, u64)>,
    pub(super) pruning: Option<Pruning>,
    pub(super) pruned: u64,
}

impl CarriedOver {
    /// Returns what the snapshot that follows `newest` carries over.
    pub(super) fn of(newest: Option<&Manifest>) -> CarriedOver {
        CarriedOver {
            following: newest.map_or(1, Manifest::following),
            forgotten: newest.map_or_else(Vec::new, Manifest::forgotten_by_next),
            pruning: newest.and_then(|newest| newest.pruning.clone()),
            pruned: newest.map_or(0, |newest| newest.pruned),
        }
    }
}

impl PassedOver {
    /// Returns the newer of `newest` and what can be read of the snapshots that are passed over.
    pub(super) fn newest<'a>(&'a self, newest: Option<&'a Manifest>) -> Option<&'a Manifest> {
        let all = newest.into_iter().chain(&self.readable);
        all.max_by_key(|manifest| manifest.sequence)
    }

    /// Returns what the snapshot that follows `newest` carries over.
    pub(super) fn carried_over(&self, newest: Option<&Manifest>) -> CarriedOver {
        let known = CarriedOver::of(newest);
        if newest.is_some_and(|newest| newest.sequence > self.last) {
            // Another commit has passed them over.
            return known;
        }
        // The numbers that are below the last one are in `gone`.
        let read = CarriedOver::of(self.newest(newest));
        let forgotten = ranges::union(&read.forgotten, &self.gone);
        let forgotten = match forgotten.len() <= limits::FORGOTTEN_RANGES {
            true => forgotten,
            false => read.forgotten,
        };
        CarriedOver {
            following: read.following.max(self.last.saturating_add(1)),
            forgotten,
            pruning: read.pruning,
            // One of them may have begun a prune, and ended it.
            pruned: read.pruned.max(self.last),
        }
    }
}

impl Repository {
    /// Finds out what a commit takes over from these damaged snapshots; `None` where there are none.
    pub(super) async fn passed_over(&self, ignored: &BTreeSet<u64>) -> Result<Option<PassedOver>> {
        match ignored.is_empty() {
            true => Ok(None),
            false => Ok(Some(self.passed_over_up_to(ignored, 0).await?)),
        }
    }

    /// Finds out the same of a commit whose number is above `used`, too: snapshots that are gone may have had the numbers up to that.
    pub(super) async fn passed_over_up_to(
        &self,
        ignored: &BTreeSet<u64>,
        used: u64,
    ) -> Result<PassedOver> {
        let last = ignored.last().copied().unwrap_or(0).max(used);
        let mut readable = None;
        for &sequence in ignored.iter().rev() {
            readable = self.readable(sequence).await?;
            if readable.is_some() {
                break;
            }
        }
        let present = self.sequences().await?;
        let below = present.iter().filter(|sequence| **sequence <= last);
        let mut gone = Vec::new();
        let mut next = 1;
        for &sequence in below {
            if next < sequence {
                gone.push((next, sequence.saturating_sub(1)));
            }
            next = sequence.saturating_add(1);
        }
        if next <= last {
            gone.push((next, last));
        }
        Ok(PassedOver {
            last,
            readable,
            gone,
        })
    }

    /// Reads a manifest, if it is not damaged.
    pub(super) async fn readable(&self, sequence: u64) -> Result<Option<Manifest>> {
        match self.manifest(sequence).await {
            Ok(manifest) => Ok(Some(manifest.value)),
            Err(error) if error.kind().is_about_content() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::repo::change::Change;
    use crate::repo::id::Hex;
    use crate::repo::identity::Identity;
    use crate::repo::keys::Key;
    use crate::repo::retention::Upkeep;
    use crate::repo::store::Store;
    use crate::repo::testing::change::change;

    async fn world() -> (Arc<dyn ObjectStore>, Repository) {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Store::new(Arc::clone(&objects), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        (objects, repository)
    }

    async fn back_up(repository: &Repository, ignored: &[u64]) -> Result<Manifest> {
        let ignored: BTreeSet<u64> = ignored.iter().copied().collect();
        let base = repository.latest_but(&ignored).await?;
        let change = Change {
            ignored,
            ..change(base, Vec::new())
        };
        let committed = repository.commit(&change).await?;
        Ok(committed.value.manifest)
    }

    fn upkeep() -> Upkeep {
        Upkeep {
            command: "test".into(),
            detail: String::new(),
            writer: "test".into(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn key(sequence: u64) -> Path {
        Path::from(format!("snapshots/{sequence:020}.json"))
    }

    async fn damage(objects: &Arc<dyn ObjectStore>, sequence: u64) {
        objects.put(&key(sequence), "{}".into()).await.unwrap();
    }

    #[tokio::test]
    async fn numbers_that_a_damaged_snapshot_may_have_forgotten_stay_forgotten() {
        let (objects, repository) = world().await;
        for _ in 0..3 {
            back_up(&repository, &[]).await.unwrap();
        }
        let forget = repository.plan_forget([2].into()).await.unwrap();
        repository.forget(&forget, &upkeep()).await.unwrap();
        assert!(objects.head(&key(2)).await.is_err());
        damage(&objects, 4).await;
        let found = back_up(&repository, &[4]).await.unwrap();
        assert_eq!((found.sequence, &*found.forgotten), (5, &[(2, 2)][..]));
        // Whoever was suspended before its prune ended has to look for what it names.
        assert_eq!((found.pruned, found.pruning), (4, None));
        let next = back_up(&repository, &[]).await.unwrap();
        assert_eq!((next.forgotten, next.pruned), (vec![(2, 2)], 4));
    }

    #[tokio::test]
    async fn what_a_damaged_snapshot_still_says_of_others_is_carried_over() {
        let (objects, repository) = world().await;
        back_up(&repository, &[]).await.unwrap();
        let edit = |pruning: Option<Pruning>| {
            repository.commit_maintenance(&UPKEEP, move |newest, next| {
                next.pruned = newest.following();
                next.pruning = pruning.clone().map(|pruning| Pruning {
                    sequence: newest.following(),
                    ..pruning
                });
                next.next = Some(9);
                Ok(())
            })
        };
        static UPKEEP: std::sync::LazyLock<Upkeep> = std::sync::LazyLock::new(upkeep);
        let pruning = Pruning {
            sequence: 0,
            objects: 1,
            sha256: Hex([1; 32]),
            size: 10,
            raw_size: 10,
        };
        let begun = edit(Some(pruning)).await.unwrap();
        damage(&objects, 9).await;
        let found = back_up(&repository, &[2, 9]).await.unwrap();
        assert_eq!(found.sequence, 10);
        assert_eq!(found.pruning, begun.value.pruning);
        assert_eq!((found.pruned, &*found.forgotten), (9, &[(3, 8)][..]));
        // The list is not there, so nothing may be adopted.
        let base = repository.manifest(1).await.unwrap();
        let segment = Key::parse(
            "data/t/00000000000000000000000000000000/0/00000000000000000000-0000000000000001.kseg",
        );
        let segment = segment.unwrap();
        for (ignored, expected) in [(&[2, 9][..], false), (&[9], true)] {
            let ignored = ignored.iter().copied().collect();
            let adoptable = repository.adoptable(Some(&base.value), &ignored).await;
            assert_eq!(adoptable.unwrap().has(&segment), expected, "{ignored:?}");
        }
    }
}
