//! Older snapshots that are gone: another one was made from them, and nothing has forgotten them (SPEC section 11.6).
//!
//! Who forgets snapshots commits that first, and removes their objects then. So what a snapshot names as its parent, and what is neither there nor
//! forgotten, was removed by something else, such as a rule of a bucket for old objects, or was left out of a copy of the repository.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use super::error::{RepoError, RepoErrorKind, Result};
use super::keys::Key;
use super::manifest::Manifest;
use super::repository::Repository;

/// The parents of snapshots that have been read.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    /// Each with a snapshot that was made from it.
    children: BTreeMap<u64, u64>,
}

/// A snapshot that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingParent {
    /// Its sequence.
    pub sequence: u64,
    /// A snapshot that was made from it.
    pub child: u64,
}

impl Parents {
    /// Notes the parent of a snapshot.
    pub fn add(&mut self, manifest: &Manifest) {
        if let Some(parent) = &manifest.parent {
            self.children.insert(parent.sequence, manifest.sequence);
        }
    }
}

impl Repository {
    /// Returns those parents that are gone, in ascending order.
    ///
    /// # Errors
    ///
    /// The error of the store. Where the newest snapshot cannot be read, nothing is known to be forgotten, and none is called missing.
    pub async fn missing_parents(&self, parents: &Parents) -> Result<Vec<MissingParent>> {
        let existing = self.sequences().await?;
        let absent = parents.children.iter();
        let absent: Vec<MissingParent> = absent
            .filter(|(sequence, _)| existing.binary_search(sequence).is_err())
            .map(|(&sequence, &child)| MissingParent { sequence, child })
            .collect();
        if absent.is_empty() {
            return Ok(absent);
        }
        // After the listing: what was forgotten before its object was removed is in the newest snapshot by then.
        let newest = match self.latest_manifest().await {
            Ok(newest) => newest,
            Err(error) if self.store().is_about_one_object(&error).await => None,
            Err(error) => return Err(error),
        };
        let missing = absent.into_iter().filter(|it| {
            let newest = newest.as_ref();
            newest.is_some_and(|newest| !newest.has_forgotten(it.sequence))
        });
        Ok(missing.collect())
    }

    /// Returns all snapshots after `last` that are gone, as far as those that are there and can be read say so; 0 for all.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn missing_parents_after(&self, last: u64) -> Result<Vec<MissingParent>> {
        let mut parents = Parents::default();
        let after = self.sequences().await?.into_iter();
        let after = after.filter(|sequence| *sequence > last);
        let mut manifests = stream::iter(after)
            .map(|sequence| self.manifest(sequence))
            .buffered(self.store().profile().parallel_requests);
        while let Some(manifest) = manifests.next().await {
            match manifest {
                Ok(manifest) => parents.add(&manifest),
                Err(error) if self.store().is_about_one_object(&error).await => {}
                Err(error) => return Err(error),
            }
        }
        let mut missing = self.missing_parents(&parents).await?;
        missing.retain(|it| it.sequence > last);
        Ok(missing)
    }

    /// Returns the error about a snapshot that is gone.
    #[must_use]
    pub fn parent_missing(&self, missing: MissingParent) -> RepoError {
        let MissingParent { sequence, child } = missing;
        let key = Key::Snapshot { sequence };
        self.store()
            .error(&key, RepoErrorKind::ParentMissing { child })
    }
}
