//! The objects that snapshots lead to: what a prune must not delete.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::repo::error::{RepoErrorKind, Result};
use crate::repo::id::Digest;
use crate::repo::keys::Key;
use crate::repo::manifest::Manifest;
use crate::repo::missing_parent::Parents;
use crate::repo::repository::Repository;

/// The objects in `data`, `index` and `cluster` that some snapshots lead to.
///
/// A repository may have millions, so keyed hashes are kept. Of two objects with one hash, both count as reached: at worst, an object that
/// could go stays.
#[derive(Debug, Default)]
pub struct Reach {
    keys: HashSet<u64>,
    hasher: RandomState,
    /// Tables of which all rows of segments were added.
    tables: HashSet<Digest>,
    /// What these snapshots were made from.
    parents: Parents,
}

impl Reach {
    /// Returns whether one of the snapshots leads to the object.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.keys.contains(&self.hash(&key.to_string()))
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    fn insert(&mut self, key: &str) -> bool {
        let hash = self.hash(key);
        self.keys.insert(hash)
    }

    /// Adds what a snapshot leads to.
    ///
    /// # Errors
    ///
    /// Why a list or a table of it cannot be read.
    pub async fn add(&mut self, repository: &Repository, manifest: &Manifest) -> Result<()> {
        self.add_named(manifest);
        self.parents.add(manifest);
        let (tables, unread) = repository.tables(manifest).await?;
        if let Some(error) = unread.into_iter().next() {
            return Err(repository.explain(manifest.sequence, error).await);
        }
        for table in &tables {
            self.insert(&table.key().to_string());
        }
        if tables.iter().any(|table| table.hides) {
            // Some rows do not count any more, and what only they name is not needed.
            let mut rows = repository.segment_rows(manifest).await?;
            while let Some((_, entry)) = rows.next().await? {
                self.insert(&entry.key);
            }
            return Ok(());
        }
        for table in tables.iter().filter(|table| table.may_hold_segments()) {
            if self.tables.contains(&table.sha256) {
                continue;
            }
            let read = repository.table_segments(table).await;
            for (_, entry) in repository.explained(manifest.sequence, read).await? {
                self.insert(&entry.key);
            }
            self.tables.insert(table.sha256);
        }
        Ok(())
    }

    /// Adds what a snapshot names itself.
    fn add_named(&mut self, manifest: &Manifest) {
        let groups = manifest.groups.as_ref().map(|groups| groups.object.sha256);
        let acls = manifest.acls.as_ref().map(|acls| acls.object.sha256);
        for sha256 in groups.into_iter().chain(acls) {
            self.insert(&Key::Cluster { sha256 }.to_string());
        }
        if let Some(pruning) = &manifest.pruning {
            self.insert(&pruning.key().to_string());
        }
        for list in manifest.runs.iter().filter_map(|run| run.list.as_ref()) {
            self.insert(&list.key().to_string());
        }
    }
}

impl Repository {
    /// Finds what all snapshots lead to that are there and not forgotten, and returns the sequence of the newest.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NotPrunable`] where a snapshot cannot be read or is gone, [`RepoErrorKind::NewestMissing`], or the error of the store.
    pub(super) async fn reach(&self) -> Result<(Reach, u64)> {
        let mut reach = Reach::default();
        self.check_newest().await?;
        let sequences = self.sequences().await?;
        for &sequence in &sequences {
            self.add_to(&mut reach, sequence).await?;
        }
        // What it leads to is as little known as that of one that is damaged.
        let missing = self.missing_parents(&reach.parents).await?;
        if let Some(&missing) = missing.first() {
            let kind = RepoErrorKind::NotPrunable {
                sequence: missing.sequence,
                is_newest: false,
                detail: self.parent_missing(missing).to_string(),
            };
            return Err(self.store().error_of_whole(kind));
        }
        Ok((reach, sequences.last().copied().unwrap_or(0)))
    }

    /// Adds what a snapshot leads to, unless it was forgotten.
    pub(super) async fn add_to(&self, reach: &mut Reach, sequence: u64) -> Result<()> {
        let added = async {
            let read = self.manifest(sequence).await;
            let manifest = self.explained(sequence, read).await?;
            reach.add(self, &manifest).await
        };
        match added.await {
            Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => Ok(()),
            Err(error) if error.kind().is_about_content() => {
                let kind = RepoErrorKind::NotPrunable {
                    sequence,
                    is_newest: self.newest_sequence().await? == sequence,
                    detail: error.to_string(),
                };
                Err(self.store().error_of_whole(kind))
            }
            added => added,
        }
    }
}
