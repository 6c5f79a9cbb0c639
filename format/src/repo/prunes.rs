//! What a commit must find out about prunes: whether segments that it names are being deleted, or were (SPEC section 11.10).
//!
//! A commit writes everything else itself, and again where a prune has begun meanwhile.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::error::{RepoErrorKind, Result};
use super::keys::Key;
use super::manifest::{Manifest, Pruning};
use super::packed::{Packed, PackedFormat, PackedRef, pack};
use super::repository::Repository;
use super::segment_entry::SegmentEntry;

/// A line of a list of the objects that a prune deletes.
#[derive(Serialize, Deserialize)]
struct Doomed {
    key: String,
}

/// Which of the segments that no snapshot names a commit may name: those that no prune in progress deletes.
#[derive(Clone, Debug)]
pub struct Adoptable {
    /// What a prune deletes; `None` where that is not known, so that nothing may be adopted.
    doomed: Option<HashSet<String>>,
}

impl Adoptable {
    /// Where no prune is in progress, everything.
    #[must_use]
    pub fn all() -> Adoptable {
        let doomed = Some(HashSet::new());
        Adoptable { doomed }
    }

    /// Returns whether it is known what a prune in progress deletes; otherwise nothing may be named.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.doomed.is_some()
    }

    /// Returns whether this may be named, and written.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        let doomed = self.doomed.as_ref();
        doomed.is_some_and(|doomed| !doomed.contains(&key.to_string()))
    }
}

impl Pruning {
    /// Returns the reference to its list.
    pub(super) fn list(&self) -> PackedRef {
        PackedRef {
            sha256: self.sha256,
            size: self.size,
            raw_size: self.raw_size,
        }
    }

    /// Returns the key of its list.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::Table {
            sha256: self.sha256,
        }
    }
}

impl Repository {
    /// Checks that no segment that the next snapshot names, and the one before it does not, was or is going to be deleted by a prune.
    /// `read_after` is the sequence of the newest snapshot before the run wrote anything.
    pub(super) async fn check_prunes(
        &self,
        segments: impl Iterator<Item = &SegmentEntry>,
        read_after: u64,
        newest: Option<&Manifest>,
    ) -> Result<()> {
        let Some(newest) = newest else {
            return Ok(());
        };
        let segments: Vec<&str> = segments.map(|segment| segment.key.as_str()).collect();
        if segments.is_empty() {
            return Ok(());
        }
        let pruned = |key: &str| Err(self.store().error(key, RepoErrorKind::Pruned));
        if let Some(pruning) = &newest.pruning {
            match self.doomed(pruning).await {
                Ok(doomed) => {
                    if let Some(key) = segments.iter().find(|key| doomed.contains(**key)) {
                        return pruned(key);
                    }
                }
                // The list cannot have what was written after it, and whoever cannot read it adopts nothing.
                Err(error) if error.kind().is_about_content() && pruning.sequence <= read_after => {
                }
                Err(error) => return Err(error),
            }
        }
        if newest.pruned > read_after {
            for key in segments {
                if !self.store().exists(key).await? {
                    return pruned(key);
                }
            }
        }
        Ok(())
    }

    /// Finds out what a commit that follows this snapshot, and passes over these damaged ones, may adopt. Only what is listed after that may
    /// be.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn adoptable(
        &self,
        newest: Option<&Manifest>,
        ignored: &BTreeSet<u64>,
    ) -> Result<Adoptable> {
        // What only an unreadable snapshot named is adopted: its records may be nowhere else.
        let mut last = None;
        for &sequence in ignored.iter().rev() {
            last = self.readable(sequence).await?;
            if last.is_some() {
                break;
            }
        }
        let newest = last.as_ref().or(newest);
        let doomed = match newest.and_then(|newest| newest.pruning.as_ref()) {
            None => return Ok(Adoptable::all()),
            Some(pruning) => match self.doomed(pruning).await {
                Ok(doomed) => Some(doomed),
                Err(error) if error.kind().is_about_content() => None,
                Err(error) => return Err(error),
            },
        };
        Ok(Adoptable { doomed })
    }

    /// Reads the keys of the objects that a prune in progress deletes, or has deleted.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn doomed(&self, pruning: &Pruning) -> Result<HashSet<String>> {
        let key = pruning.key();
        let lines = self
            .packed_lines(&key, PackedFormat::PruneList, &pruning.list())
            .await?;
        let found = lines.left();
        if found != pruning.objects {
            let stated = pruning.objects;
            let detail = format!("it has {found} lines, and the snapshot states {stated}");
            return Err(self.store().damaged(&key, detail));
        }
        let parsed = lines.map(|line| serde_json::from_slice::<Doomed>(&line));
        let keys: std::result::Result<HashSet<String>, _> = parsed
            .map(|doomed| doomed.map(|doomed| doomed.key))
            .collect();
        keys.map_err(|error| {
            self.store()
                .damaged(&key, format!("a line is not valid: {error}"))
        })
    }

    /// Packs the list of these keys, which are ascending.
    pub(super) fn prune_list(&self, keys: &[String]) -> Result<Packed> {
        let refused = |detail| self.store().refused_at("index", detail);
        let mut lines = Vec::new();
        for key in keys {
            let line = serde_json::to_writer(&mut lines, &Doomed { key: key.clone() });
            line.map_err(|error| refused(error.to_string()))?;
            lines.push(b'\n');
        }
        let id = self.identity().repository_id;
        let packed = pack(PackedFormat::PruneList, id, &lines, keys.len() as u64);
        packed.map_err(refused)
    }
}
