//! A newest snapshot that is gone: the hint names a later one than any that is there (SPEC section 11.6).
//!
//! A hint is written after its snapshot, and the newest snapshot is never forgotten. So where one is named that is not there, and none above it is, a
//! commit has been lost since, or a copy of the repository was made without it.

use super::error::{RepoError, RepoErrorKind, Result};
use super::keys::Key;
use super::repository::Repository;
use super::sealed::Digested;
use super::snapshot::Snapshot;

/// A snapshot that the hint names as the newest, and that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingNewest {
    /// Its sequence.
    pub sequence: u64,
    /// The newest one that is there; `None` where there is none.
    pub newest: Option<u64>,
}

impl Repository {
    /// Returns the newest snapshot if it is gone; `None` if it is there, or nothing says that there was a later one.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn missing_newest(&self) -> Result<Option<MissingNewest>> {
        // First the hint: of the snapshots that it can name, none is forgotten without a newer one.
        let sequence = self.hint().await?.unwrap_or(0);
        if sequence == 0 || !self.sequences_from(sequence).await?.is_empty() {
            return Ok(None);
        }
        let newest = self.sequences().await?.last().copied();
        Ok(Some(MissingNewest { sequence, newest }))
    }

    /// Checks that the newest snapshot is not missing. Who changes a repository stops where it is, and its user decides: what only that snapshot
    /// named would be lost without a word.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NewestMissing`], or the error of the store.
    pub async fn check_newest(&self) -> Result<()> {
        match self.missing_newest().await? {
            None => Ok(()),
            Some(missing) => Err(self.newest_missing(missing)),
        }
    }

    /// Returns the error about a newest snapshot that is gone.
    #[must_use]
    pub fn newest_missing(&self, missing: MissingNewest) -> RepoError {
        let MissingNewest { sequence, newest } = missing;
        let key = Key::Snapshot { sequence };
        self.store()
            .error(&key, RepoErrorKind::NewestMissing { newest })
    }

    /// Reads the newest snapshot, to commit a change of it.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NewestMissing`], and those of [`latest`](Self::latest).
    pub async fn latest_to_change(&self) -> Result<Option<Digested<Snapshot>>> {
        self.check_newest().await?;
        self.latest().await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::repo::change::Change;
    use crate::repo::identity::Identity;
    use crate::repo::manifest::Manifest;
    use crate::repo::store::Store;
    use crate::repo::testing::change::change;

    async fn commit(repository: &Repository, ignored: &[u64]) -> Result<Manifest> {
        let ignored: BTreeSet<u64> = ignored.iter().copied().collect();
        let base = repository.latest_but(&ignored).await?;
        let change = Change {
            ignored,
            ..change(base, Vec::new())
        };
        let committed = repository.commit(&change).await?;
        Ok(committed.value.manifest)
    }

    #[tokio::test]
    async fn its_number_is_not_won_again() {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        for _ in 0..3 {
            commit(&repository, &[]).await.unwrap();
            assert_eq!(repository.missing_newest().await.unwrap(), None);
        }
        let key = Key::Snapshot { sequence: 3 };
        repository.store().remove(&key).await.unwrap();
        let missing = MissingNewest {
            sequence: 3,
            newest: Some(2),
        };
        assert_eq!(repository.missing_newest().await.unwrap(), Some(missing));
        for ignored in [&[][..], &[2]] {
            let error = commit(&repository, ignored).await.unwrap_err();
            let newest = Some(2);
            assert_eq!(*error.kind(), RepoErrorKind::NewestMissing { newest });
        }
        assert_eq!(repository.sequences().await.unwrap(), [1, 2]);
        assert_eq!(
            repository.hint().await.unwrap(),
            Some(3),
            "the evidence stays"
        );
        let next = commit(&repository, &[3]).await.unwrap();
        assert_eq!((next.sequence, &*next.forgotten), (4, &[(3, 3)][..]));
        assert_eq!(next.pruned, 3, "it may have begun a prune");
        assert_eq!(repository.missing_newest().await.unwrap(), None);
        assert_eq!(commit(&repository, &[]).await.unwrap().sequence, 5);
    }
}
