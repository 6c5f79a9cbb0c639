//! A repository: creating, opening, and reading it from its newest snapshot down.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{RepoError, RepoErrorKind, Result};
use super::found_damaged::FoundDamaged;
use super::id::Id;
use super::identity::Identity;
use super::index::{Table, TableRef};
use super::keys::{
    CLUSTER, Key, PartitionId, SEGMENTS, SNAPSHOTS, TABLES, TopicName, segments_of_topic,
};
use super::latest::Latest;
use super::listing::{ForeignFiles, Listed, UnfinishedFiles};
use super::manifest::Manifest;
use super::object_cache::ObjectCache;
use super::prunes::Adoptable;
use super::ranges;
use super::sealed::{Digested, seal};
use super::snapshot::Snapshot;
use super::states::PartitionState;
use super::store::{Put, Store};

/// A location with an identity. Clones share the repository.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    identity: Identity,
    caches: Arc<Caches>,
}

/// What was read of the index, and may be needed again: neighbours share tables, and successive snapshots share most of theirs.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) tables: ObjectCache<Table>,
    pub(super) lists: ObjectCache<Vec<TableRef>>,
    /// What the snapshot of this sequence says of older ones.
    found_damaged: Mutex<Option<(u64, Arc<FoundDamaged>)>>,
}

impl Caches {
    pub(super) fn found_damaged(&self, newest: u64) -> Option<Arc<FoundDamaged>> {
        let kept = self.found_damaged.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|(sequence, _)| *sequence == newest);
        kept.map(|(_, found)| Arc::clone(found))
    }

    pub(super) fn keep_found_damaged(&self, newest: u64, found: &Arc<FoundDamaged>) {
        let kept = self.found_damaged.lock();
        let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
        *kept = Some((newest, Arc::clone(found)));
    }
}

/// The raw bytes of the tables that are kept in memory.
const CACHED_TABLE_BYTES: u64 = 32 << 20;
/// The raw bytes of the lists of tables that are kept in memory.
const CACHED_LIST_BYTES: u64 = 8 << 20;

/// A segment that was found by its name alone. It may be truncated, or belong to another writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSegment {
    /// The object's name.
    pub key: Key,
    /// The first offset that it covers, according to its name.
    pub base_offset: i64,
    /// Length of the object in bytes.
    pub size: u64,
}

/// An object as a listing of its folder shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The object's name.
    pub key: Key,
    /// Its length.
    pub bytes: u64,
}

/// A snapshot as a listing of its folder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSnapshot {
    /// Its sequence.
    pub sequence: u64,
    /// Length of the object.
    pub bytes: u64,
    /// When the store received the object, in milliseconds since the epoch; copying a repository changes it.
    pub written_ms: i64,
}

impl FoundSegment {
    /// Returns the segment if it begins at or after `end_offset`, and no prune deletes it.
    pub(super) fn unnamed(
        listed: &Listed,
        end_offset: i64,
        adoptable: &Adoptable,
    ) -> Option<FoundSegment> {
        match listed.key {
            Key::Segment { base_offset, .. }
                if base_offset >= end_offset && adoptable.has(&listed.key) =>
            {
                Some(FoundSegment {
                    key: listed.key.clone(),
                    base_offset,
                    size: listed.bytes,
                })
            }
            _ => None,
        }
    }
}

impl From<Listed> for ListedObject {
    fn from(listed: Listed) -> ListedObject {
        ListedObject {
            key: listed.key,
            bytes: listed.bytes,
        }
    }
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NotARepository`], [`RepoErrorKind::NewerVersion`], [`RepoErrorKind::Damaged`], or
    /// the error of the store.
    pub async fn open(store: Store) -> Result<Self> {
        if let Some(identity) = store.read::<Identity>(&Key::Identity).await? {
            store.check_identity(&identity).await?;
            return Ok(Repository::of(store, identity.value));
        }
        let entry = match store.names(SEGMENTS).await?.is_empty() {
            true => store.any_entry().await?,
            false => Some(SEGMENTS.to_owned()),
        };
        let found = match entry.as_deref() {
            // Segments say what they are of without it.
            Some(SEGMENTS) => format!(
                "it holds {SEGMENTS} and no {} (`kbk recover --rebuild` writes it again)",
                Key::Identity
            ),
            Some(name) => format!("it holds {name} and no {}", Key::Identity),
            None => "it is empty".to_owned(),
        };
        Err(store.error_of_whole(RepoErrorKind::NotARepository { found }))
    }

    /// Creates a repository in `store`, which must be empty. Temporary files of an interrupted attempt
    /// do not count.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::AlreadyExists`], [`RepoErrorKind::NotEmpty`], or the error of the store.
    pub async fn create(store: Store, identity: Identity) -> Result<Self> {
        let already_exists = || store.error_of_whole(RepoErrorKind::AlreadyExists);
        Self::check_empty(&store).await?;
        let (bytes, _) = seal(&identity);
        match store.put_if_absent(&Key::Identity, bytes).await? {
            Put::Done => {
                store.sync_folders([Key::Identity.to_string()]).await?;
                Ok(Repository::of(store, identity))
            }
            Put::Exists => Err(already_exists()),
        }
    }

    /// Checks that a repository can be created in `store`: that it is empty, and, unless there is only ever a single writer, that
    /// a bucket keeps two of them from creating the same object. Returns why what that left cannot be removed, if it cannot.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and [`RepoErrorKind::NoPutIfAbsent`].
    pub async fn check_new(store: &Store, single_writer: bool) -> Result<Option<RepoError>> {
        Self::check_empty(store).await?;
        match store.folder() {
            None if !single_writer => store.probe().await,
            _ => Ok(None),
        }
    }

    async fn check_empty(store: &Store) -> Result<()> {
        if store.read::<Identity>(&Key::Identity).await?.is_some() {
            return Err(store.error_of_whole(RepoErrorKind::AlreadyExists));
        }
        match store.any_entry().await? {
            Some(found) => Err(store.error_of_whole(RepoErrorKind::NotEmpty { found })),
            None => Ok(()),
        }
    }

    /// Opens the repository in `store`, or creates one where the store is empty.
    pub async fn open_or_create(store: Store, identity: Identity) -> Result<Self> {
        match Self::create(store.clone(), identity).await {
            Err(error) if *error.kind() == RepoErrorKind::AlreadyExists => Self::open(store).await,
            made => made,
        }
    }

    pub(super) fn of(store: Store, identity: Identity) -> Repository {
        let caches = Caches {
            tables: ObjectCache::new(CACHED_TABLE_BYTES),
            lists: ObjectCache::new(CACHED_LIST_BYTES),
            found_damaged: Mutex::new(None),
        };
        Repository {
            store,
            identity,
            caches: Arc::new(caches),
        }
    }

    /// Returns the same repository without what was read of its index before: a verification reads what is stored now.
    #[must_use]
    pub fn uncached(&self) -> Repository {
        Repository::of(self.store.clone(), self.identity.clone())
    }

    pub(super) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Returns the store that has its objects.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns its identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Lists the sequences of all snapshots, ascending.
    pub async fn sequences(&self) -> Result<Vec<u64>> {
        let found = self.store.list(SNAPSHOTS).await?;
        let mut sequences: Vec<u64> = found.into_iter().filter_map(sequence).collect();
        let forgotten = self.forgotten(&sequences).await?;
        sequences.retain(|sequence| !ranges::contain(&forgotten, *sequence));
        Ok(sequences)
    }

    /// Returns the ranges of sequences that the newest snapshot says were forgotten; none where it cannot be read.
    async fn forgotten(&self, sequences: &[u64]) -> Result<Vec<(u64, u64)>> {
        let Some(newest) = sequences.last() else {
            return Ok(Vec::new());
        };
        match self.manifest(*newest).await {
            Ok(manifest) => Ok(manifest.value.forgotten),
            Err(error) if error.kind().is_about_content() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Lists the sequences of the snapshots from `first` on, ascending.
    pub(super) async fn sequences_from(&self, first: u64) -> Result<Vec<u64>> {
        // Names are listed after the one given; nothing is between it and the first.
        let before = Key::Snapshot {
            sequence: first.saturating_sub(1),
        };
        let found = self
            .store
            .list_after(SNAPSHOTS, &before.to_string())
            .await?;
        let sequences = found.into_iter().filter_map(sequence);
        Ok(sequences.filter(|sequence| *sequence >= first).collect())
    }

    /// Lists the sequences of the newest snapshots, ascending: from the one that the hint names, or all.
    async fn newest_sequences(&self) -> Result<Vec<u64>> {
        if let Some(hint) = self.hint().await? {
            let found = self.sequences_from(hint).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        self.sequences_from(1).await
    }

    /// Reads the hint; `None` where it is of no use.
    pub(super) async fn hint(&self) -> Result<Option<u64>> {
        match self.store.read::<Latest>(&Key::LatestSnapshot).await {
            Ok(Some(latest)) if latest.repository_id == self.identity.repository_id => {
                Ok(Some(latest.sequence))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind().is_about_content() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists all snapshots with the metadata of their objects.
    pub async fn listed_snapshots(&self) -> Result<Vec<ListedSnapshot>> {
        let found = self.store.list(SNAPSHOTS).await?;
        let listed = |object: Listed| match object.key {
            Key::Snapshot { sequence } => Some(ListedSnapshot {
                sequence,
                bytes: object.bytes,
                written_ms: object.written_ms,
            }),
            _ => None,
        };
        let mut listed: Vec<ListedSnapshot> = found.into_iter().filter_map(listed).collect();
        let sequences: Vec<u64> = listed.iter().map(|listed| listed.sequence).collect();
        let forgotten = self.forgotten(&sequences).await?;
        listed.retain(|listed| !ranges::contain(&forgotten, listed.sequence));
        Ok(listed)
    }

    /// Reads the snapshot with the highest sequence, which is the state of the repository.
    pub async fn latest(&self) -> Result<Option<Digested<Snapshot>>> {
        self.latest_but(&BTreeSet::new()).await
    }

    /// Reads the snapshot with the highest sequence that is not one of `ignored`.
    pub async fn latest_but(&self, ignored: &BTreeSet<u64>) -> Result<Option<Digested<Snapshot>>> {
        let mut before = None;
        loop {
            let Some(sequence) = self.latest_sequence_but(ignored).await? else {
                return Ok(None);
            };
            match self.read_snapshot(sequence).await {
                // Forgotten since it was listed, by a newer one. Each time round it must be another, or the error is returned.
                Err(error)
                    if before != Some(sequence)
                        && matches!(error.kind(), RepoErrorKind::Forgotten { .. }) =>
                {
                    before = Some(sequence);
                }
                read => return read.map(Some),
            }
        }
    }

    /// Reads the manifest with the highest sequence; `None` where there is no snapshot.
    pub(super) async fn latest_manifest(&self) -> Result<Option<Digested<Manifest>>> {
        let mut before = None;
        loop {
            let Some(sequence) = self.newest_sequences().await?.last().copied() else {
                return Ok(None);
            };
            match self.manifest(sequence).await {
                Err(error)
                    if before != Some(sequence)
                        && matches!(error.kind(), RepoErrorKind::NoSuchSnapshot { .. }) =>
                {
                    before = Some(sequence);
                }
                read => return read.map(Some),
            }
        }
    }

    /// Checks that the newest snapshot does not name this one as forgotten. Where the newest cannot be read, nothing is known to be
    /// forgotten.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Forgotten`], or the error of the store.
    pub async fn check_kept(&self, sequence: u64) -> Result<()> {
        self.kept(sequence).await.map(drop)
    }

    /// Does the same, and returns the sequence of the newest snapshot; `None` where there is none that can be read.
    async fn kept(&self, sequence: u64) -> Result<Option<u64>> {
        let newest = match self.latest_manifest().await {
            Ok(newest) => newest,
            Err(error) if error.kind().is_about_content() => return Ok(None),
            Err(error) => return Err(error),
        };
        match newest {
            Some(newest) if newest.has_forgotten(sequence) => {
                let key = Key::Snapshot { sequence };
                Err(self
                    .store
                    .error(&key, RepoErrorKind::Forgotten { sequence }))
            }
            newest => Ok(newest.map(|newest| newest.sequence)),
        }
    }

    /// Returns the error of whoever reads the snapshot of `sequence`: that it was forgotten, if that is why an object does not exist.
    pub async fn explain(&self, sequence: u64, error: RepoError) -> RepoError {
        match error.kind() {
            RepoErrorKind::Missing { .. }
            | RepoErrorKind::MissingFolder { .. }
            | RepoErrorKind::NoSuchSnapshot { .. } => match self.check_kept(sequence).await {
                Ok(()) => error,
                // It was forgotten, or whether it was is not known, and then the missing object proves no damage.
                Err(reason) => reason,
            },
            _ => error,
        }
    }

    /// The same of a result.
    pub(super) async fn explained<T>(&self, sequence: u64, read: Result<T>) -> Result<T> {
        match read {
            Ok(read) => Ok(read),
            Err(error) => Err(self.explain(sequence, error).await),
        }
    }

    /// Returns the highest sequence that is not one of `ignored`.
    pub(super) async fn latest_sequence_but(&self, ignored: &BTreeSet<u64>) -> Result<Option<u64>> {
        let is_candidate = |sequence: &u64| !ignored.contains(sequence);
        let mut newest = self
            .newest_sequences()
            .await?
            .into_iter()
            .rfind(is_candidate);
        if newest.is_none() && !ignored.is_empty() {
            newest = self.sequences().await?.into_iter().rfind(is_candidate);
        }
        Ok(newest)
    }

    /// Returns the highest sequence there is; 0 where there is no snapshot.
    pub async fn newest_sequence(&self) -> Result<u64> {
        let sequences = self.newest_sequences().await?;
        Ok(sequences.last().copied().unwrap_or(0))
    }

    /// Reads the manifest of the snapshot of this sequence.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NoSuchSnapshot`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn manifest(&self, sequence: u64) -> Result<Digested<Manifest>> {
        let key = Key::Snapshot { sequence };
        let Some(manifest) = self.store.read::<Manifest>(&key).await? else {
            let kind = RepoErrorKind::NoSuchSnapshot { sequence };
            return Err(self.store.error_of_whole(kind));
        };
        let damaged = |detail| self.store.damaged(&key, detail);
        if manifest.sequence != sequence {
            return Err(damaged(format!("it is snapshot {}", manifest.sequence)));
        }
        if manifest.repository_id != self.identity.repository_id {
            let (theirs, ours) = (manifest.repository_id, self.identity.repository_id);
            return Err(damaged(format!(
                "it is of repository {theirs}, and kbk.json states {ours}"
            )));
        }
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// Reads the snapshot of this sequence: its manifest, and the states of all topics. Partitions of which a later recovery found segments
    /// damaged are marked, as the newest snapshot states it.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Forgotten`], [`RepoErrorKind::NoSuchSnapshot`], [`RepoErrorKind::Missing`], [`RepoErrorKind::MissingFolder`],
    /// [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>> {
        let newest = self.kept(sequence).await?;
        let mut snapshot = self.read_snapshot(sequence).await?;
        if let Some(newest) = newest {
            self.mark_damaged(&mut snapshot.value, newest).await?;
        }
        Ok(snapshot)
    }

    /// Reads the same of a sequence that was just listed as one of those that are kept.
    pub(super) async fn read_snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>> {
        let read = self.stored_snapshot(sequence).await;
        self.explained(sequence, read).await
    }

    async fn stored_snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>> {
        let Digested {
            value: manifest,
            sha256,
        } = self.manifest(sequence).await?;
        let topics = match self.states(&manifest).await {
            Ok(topics) => topics,
            Err(error) if matches!(error.kind(), RepoErrorKind::Missing { .. }) => {
                return Err(match self.store.names(TABLES).await?.is_empty() {
                    true => {
                        let snapshot = sequence;
                        self.store
                            .error(TABLES, RepoErrorKind::MissingFolder { snapshot })
                    }
                    false => error,
                });
            }
            Err(error) => return Err(error),
        };
        let value = Snapshot { manifest, topics };
        let key = Key::Snapshot { sequence };
        let checked = value.check_totals();
        checked.map_err(|detail| self.store.damaged(&key, detail))?;
        Ok(Digested { value, sha256 })
    }

    /// Lists the folders of topics that are gone although the snapshot names objects in them.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::MissingFolder`] if all segments are gone: a part of the repository is not mounted, or was removed.
    pub async fn missing_folders(&self, snapshot: &Snapshot) -> Result<Vec<String>> {
        let has_segments = |state: &PartitionState| state.segments > 0;
        let stored = snapshot.topics.iter();
        let stored = stored.filter(|topic| topic.partitions.iter().any(has_segments));
        let stored: BTreeSet<&str> = stored.map(|topic| &*topic.name).collect();
        let names: HashSet<String> = self.store.names(SEGMENTS).await?.into_iter().collect();
        let gone: Vec<&str> = stored
            .iter()
            .filter(|topic| !names.contains(**topic))
            .copied()
            .collect();
        if !stored.is_empty() && gone.len() == stored.len() {
            let snapshot = snapshot.sequence;
            let kind = RepoErrorKind::MissingFolder { snapshot };
            return Err(self.store.error(SEGMENTS, kind));
        }
        let missing = gone.iter().map(|topic| format!("{SEGMENTS}/{topic}"));
        Ok(missing.collect())
    }

    /// Lists all segments, tables and objects of groups and ACLs, whether a snapshot names them or not.
    pub async fn named_objects(&self) -> Result<Vec<ListedObject>> {
        self.listed(&[SEGMENTS, TABLES, CLUSTER]).await
    }

    /// Lists all tables and objects of groups and ACLs, whether a snapshot names them or not.
    pub async fn index_objects(&self) -> Result<Vec<ListedObject>> {
        self.listed(&[TABLES, CLUSTER]).await
    }

    /// Lists all segments of one history of a topic, whether a snapshot names them or not.
    pub async fn topic_segments(
        &self,
        topic: &TopicName,
        topic_id: Id,
    ) -> Result<Vec<ListedObject>> {
        self.listed(&[&segments_of_topic(topic, topic_id)]).await
    }

    async fn listed(&self, folders: &[&str]) -> Result<Vec<ListedObject>> {
        let mut found = Vec::new();
        for folder in folders {
            found.extend(self.store.list(folder).await?);
        }
        Ok(found.into_iter().map(ListedObject::from).collect())
    }

    /// Lists those of them on a local disk whose writes were interrupted or are in progress, with the bytes that are there.
    pub async fn unfinished_objects(&self) -> Result<Vec<ListedObject>> {
        let mut found = Vec::new();
        for folder in [SEGMENTS, TABLES, CLUSTER] {
            found.extend(self.store.list_unfinished(folder).await?);
        }
        Ok(found.into_iter().map(ListedObject::from).collect())
    }

    /// Lists what is in the folders of a repository on a local disk and is none of its objects. In a bucket nothing is looked for: what is there
    /// harms nothing.
    ///
    /// # Errors
    ///
    /// The error of the file system.
    pub async fn foreign_files(&self) -> Result<ForeignFiles> {
        self.store.list_foreign().await
    }

    /// Removes the files on a local disk that interrupted writes left. A write that is still in progress has written its file within
    /// the last day; if not, it fails, and nothing that was committed is lost.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn remove_unfinished(&self, newest: &Snapshot) -> Result<UnfinishedFiles> {
        const AGE: Duration = Duration::from_secs(24 * 60 * 60);
        let sequence = newest.sequence;
        let newest = Key::Snapshot { sequence };
        self.store.remove_unfinished(&newest, AGE).await
    }

    /// Lists the segments of a partition that begin at or after `end_offset`, in offset order. If the
    /// partition ends there in the newest snapshot, no snapshot names them: an interrupted run left
    /// them. Once checked, they save the next run from reading their records again. Those that a prune deletes are left out.
    pub async fn unnamed_segments(
        &self,
        partition: &PartitionId,
        end_offset: i64,
        adoptable: &Adoptable,
    ) -> Result<Vec<FoundSegment>> {
        // Names are listed after the one given, and those of segments that begin there are longer.
        let folder = partition.segments();
        let before = format!("{folder}/{:020}", end_offset.max(0));
        let found = self.store.list_after(&folder, &before).await?;
        let unnamed = found
            .iter()
            .filter_map(|object| FoundSegment::unnamed(object, end_offset, adoptable));
        Ok(unnamed.collect())
    }
}

fn sequence(object: Listed) -> Option<u64> {
    object.key.sequence()
}
