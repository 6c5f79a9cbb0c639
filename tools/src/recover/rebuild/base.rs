//! The snapshot that a rebuild is based on: the newest one of which every row can be read.

use std::collections::BTreeSet;

use kbk_format::repo::{
    Adoptable, Digested, Manifest, RepoError, RepoErrorKind, Repository, Snapshot,
};
use serde::Serialize;

/// A snapshot that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedSnapshot {
    /// Its sequence.
    pub sequence: u64,
    /// What is wrong, for people.
    pub damage: String,
}

/// What is left of the snapshots.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) snapshot: Option<Digested<Snapshot>>,
    /// Every other snapshot above it that is there.
    pub(super) ignored: BTreeSet<u64>,
    /// Those of them that were not forgotten, the newest first.
    pub(super) damaged: Vec<DamagedSnapshot>,
    /// The highest sequence that is known to have been used.
    pub(super) used: u64,
    /// What is wrong with the groups and the ACLs that it names, for people.
    pub(super) unread: Vec<String>,
    pub(super) keeps_groups: bool,
    pub(super) keeps_acls: bool,
    /// Whether it is known what a prune in progress deletes.
    pub(super) keeps_pruning: bool,
    /// What may be named.
    pub(super) adoptable: Adoptable,
}

impl Base {
    /// Returns whether snapshots after it are damaged or gone, or there is none.
    pub(super) fn is_behind(&self) -> bool {
        let newest = self.snapshot.as_ref().map_or(0, |base| base.sequence);
        newest == 0 || self.used > newest
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.snapshot.as_ref().map(|base| &base.manifest)
    }
}

/// Finds the base. Everything is read anew.
///
/// # Errors
///
/// The error of the store, or that a later version of kbk wrote something: then nothing is damaged.
pub(super) async fn find(repository: &Repository) -> Result<Base, RepoError> {
    let mut damaged = Vec::new();
    let mut snapshot = None;
    for sequence in repository.sequences().await?.into_iter().rev() {
        match read(repository, sequence).await {
            Ok(found) => {
                snapshot = Some(found);
                break;
            }
            Err(error) if is_damage(&error) => damaged.push(DamagedSnapshot {
                sequence,
                damage: error.to_string(),
            }),
            Err(error) => return Err(error),
        }
    }
    let newest = snapshot.as_ref().map_or(0, |base| base.sequence);
    let listed = repository.listed_sequences().await?;
    let ignored: BTreeSet<u64> = listed.into_iter().filter(|it| *it > newest).collect();
    let last = ignored.last().copied().unwrap_or(newest);
    let mut used = last.max(repository.hinted_sequence().await?);
    if snapshot.is_none() {
        used = used.max(restored(repository).await?);
    }
    let mut base = Base {
        snapshot,
        ignored,
        damaged,
        used,
        unread: Vec::new(),
        keeps_groups: true,
        keeps_acls: true,
        keeps_pruning: true,
        adoptable: Adoptable::all(),
    };
    let adoptable = repository.adoptable(base.manifest(), &base.ignored).await?;
    base.keeps_pruning = adoptable.is_known();
    if adoptable.is_known() {
        base.adoptable = adoptable;
    }
    if let Some(snapshot) = &base.snapshot {
        if let Err(error) = repository.groups(snapshot).await {
            base.unread.push(damage(error)?);
            base.keeps_groups = false;
        }
        if let Err(error) = repository.acls(snapshot).await {
            base.unread.push(damage(error)?);
            base.keeps_acls = false;
        }
    }
    Ok(base)
}

/// Reads all rows of a snapshot.
async fn read(repository: &Repository, sequence: u64) -> Result<Digested<Snapshot>, RepoError> {
    let snapshot = repository.snapshot(sequence).await?;
    for topic in &snapshot.topics {
        for state in &topic.partitions {
            let id = topic.partition_id(state.partition);
            repository.segments(&snapshot, &id, state).await?;
        }
    }
    Ok(snapshot)
}

/// Returns the highest sequence of a snapshot that a restore was begun from.
async fn restored(repository: &Repository) -> Result<u64, RepoError> {
    let mut last = 0;
    for restore in repository.restores().await? {
        match repository.restore(&restore).await {
            Ok(Some(manifest)) => last = last.max(manifest.snapshot.sequence),
            Ok(None) => {}
            Err(error) if error.kind().is_about_content() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(last)
}

/// Returns whether something was damaged or is gone. What a later version wrote is not, and what a store does not return may be back soon.
pub(super) fn is_damage(error: &RepoError) -> bool {
    match error.kind() {
        RepoErrorKind::NewerVersion { .. }
        | RepoErrorKind::OlderVersion { .. }
        | RepoErrorKind::NewerRow { .. } => false,
        RepoErrorKind::MissingFolder { .. } => true,
        kind => kind.is_about_content(),
    }
}

fn damage(error: RepoError) -> Result<String, RepoError> {
    match is_damage(&error) {
        true => Ok(error.to_string()),
        false => Err(error),
    }
}
