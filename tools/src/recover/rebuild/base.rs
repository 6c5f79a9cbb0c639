//! The snapshot that a rebuild is based on: the newest one of which every row can be read.

use std::collections::BTreeSet;

use kbk_format::repo::{
    AclsRef, Adoptable, Digest, Digested, GroupsRef, Manifest, RepoError, RepoErrorKind,
    Repository, Snapshot, TopicState, Totals,
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
    /// What the newest snapshot after the base states of which the manifest can be read.
    pub(super) totals: Option<(u64, Totals)>,
    /// The topics of the newest one after it of which they can be read.
    pub(super) topics: Vec<TopicState>,
    /// The groups and the ACLs of the newest snapshot of which they can be read.
    pub(super) cluster: Cluster,
    /// Whether it is known what a prune in progress deletes.
    pub(super) keeps_pruning: bool,
    /// What may be named.
    pub(super) adoptable: Adoptable,
}

/// The newest groups and ACLs that can be read.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) groups: Option<GroupsRef>,
    pub(super) acls: Option<AclsRef>,
    /// What is wrong with newer ones, for people.
    pub(super) unread: Vec<String>,
    /// The objects of these.
    failed: BTreeSet<Digest>,
}

impl Cluster {
    /// Looks for what is not found yet in an older snapshot.
    async fn look(
        &mut self,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<(), RepoError> {
        if let (None, Some(named)) = (&self.groups, &manifest.groups)
            && !self.failed.contains(&named.object.sha256)
        {
            match repository.groups(manifest).await {
                Ok(_) => self.groups = Some(named.clone()),
                Err(error) => self.fail("groups", manifest, named.object.sha256, error)?,
            }
        }
        if let (None, Some(named)) = (&self.acls, &manifest.acls)
            && !self.failed.contains(&named.object.sha256)
        {
            match repository.acls(manifest).await {
                Ok(_) => self.acls = Some(named.clone()),
                Err(error) => self.fail("ACLs", manifest, named.object.sha256, error)?,
            }
        }
        Ok(())
    }

    fn fail(
        &mut self,
        what: &str,
        manifest: &Manifest,
        object: Digest,
        error: RepoError,
    ) -> Result<(), RepoError> {
        let sequence = manifest.sequence;
        let error = damage(error)?;
        self.unread
            .push(format!("the {what} of snapshot {sequence}: {error}"));
        self.failed.insert(object);
        Ok(())
    }
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
    let (mut totals, mut topics, mut cluster) = (None, None, Cluster::default());
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
        // What is left of it.
        if let Some(manifest) = unless_damaged(repository.manifest(sequence).await)? {
            cluster.look(repository, &manifest).await?;
            totals.get_or_insert((sequence, manifest.value.totals));
        }
        if topics.is_none() {
            let read = unless_damaged(repository.snapshot(sequence).await)?;
            topics = read.map(|snapshot| snapshot.value.topics);
        }
    }
    if let Some(snapshot) = &snapshot {
        cluster.look(repository, snapshot).await?;
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
        totals,
        topics: topics.unwrap_or_default(),
        cluster,
        keeps_pruning: true,
        adoptable: Adoptable::all(),
    };
    let adoptable = repository.adoptable(base.manifest(), &base.ignored).await?;
    base.keeps_pruning = adoptable.is_known();
    if adoptable.is_known() {
        base.adoptable = adoptable;
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

fn unless_damaged<T>(read: Result<T, RepoError>) -> Result<Option<T>, RepoError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) => damage(error).map(|_| None),
    }
}

fn damage(error: RepoError) -> Result<String, RepoError> {
    match is_damage(&error) {
        true => Ok(error.to_string()),
        false => Err(error),
    }
}
