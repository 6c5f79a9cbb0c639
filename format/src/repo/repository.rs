//! A repository: creating, opening, and reading it from its newest snapshot down.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::error::{Damage, RepoErrorKind, Result};
use super::identity::Identity;
use super::keys::{Key, PAGES, PartitionId, SEGMENTS, SNAPSHOTS};
use super::listing::{Listed, UnfinishedFiles};
use super::page::{Page, SegmentEntry};
use super::sealed::{Digested, seal};
use super::snapshot::{PageRef, PartitionState, Snapshot};
use super::store::{Put, Store};

/// A location with an identity. Clones share the repository.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    identity: Identity,
}

/// In the JSON of a snapshot, few short members precede `created_at`.
const BEGINNING_BYTES: u64 = 1024;

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

/// A segment or a page as a listing of its folder shows it.
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
            let identity = identity.value;
            return Ok(Repository { store, identity });
        }
        let found = match store.any_entry().await? {
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
        let already_exists = || Err(store.error_of_whole(RepoErrorKind::AlreadyExists));
        if store.read::<Identity>(&Key::Identity).await?.is_some() {
            return already_exists();
        }
        if let Some(found) = store.any_entry().await? {
            return Err(store.error_of_whole(RepoErrorKind::NotEmpty { found }));
        }
        let (bytes, _) = seal(&identity);
        match store.put_if_absent(&Key::Identity, bytes).await? {
            Put::Done => {
                store.sync_folders([Key::Identity.to_string()]).await?;
                Ok(Repository { store, identity })
            }
            Put::Exists => already_exists(),
        }
    }

    /// Opens the repository in `store`, or creates one where the store is empty.
    pub async fn open_or_create(store: Store, identity: Identity) -> Result<Self> {
        match Self::create(store.clone(), identity).await {
            Err(error) if *error.kind() == RepoErrorKind::AlreadyExists => Self::open(store).await,
            made => made,
        }
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
        let sequence = |object: Listed| match object.key {
            Key::Snapshot { sequence } => Some(sequence),
            _ => None,
        };
        Ok(found.into_iter().filter_map(sequence).collect())
    }

    /// Lists all snapshots with the metadata of their objects, without reading any.
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
        Ok(found.into_iter().filter_map(listed).collect())
    }

    /// Reads the snapshot with the highest sequence, which is the state of the repository.
    pub async fn latest(&self) -> Result<Option<Digested<Snapshot>>> {
        self.latest_but(&BTreeSet::new()).await
    }

    /// Reads the snapshot with the highest sequence that is not one of `ignored`.
    pub async fn latest_but(&self, ignored: &BTreeSet<u64>) -> Result<Option<Digested<Snapshot>>> {
        let sequences = self.sequences().await?;
        let mut others = sequences
            .iter()
            .filter(|sequence| !ignored.contains(sequence));
        match others.next_back() {
            Some(&sequence) => self.snapshot(sequence).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads the snapshot of this sequence.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NoSuchSnapshot`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>> {
        let key = Key::Snapshot { sequence };
        let Some(snapshot) = self.store.read::<Snapshot>(&key).await? else {
            let kind = RepoErrorKind::NoSuchSnapshot { sequence };
            return Err(self.store.error_of_whole(kind));
        };
        let damaged = |detail| self.store.damaged(&key, detail);
        if snapshot.sequence != sequence {
            return Err(damaged(format!("it is snapshot {}", snapshot.sequence)));
        }
        if snapshot.repository_id != self.identity.repository_id {
            let (theirs, ours) = (snapshot.repository_id, self.identity.repository_id);
            return Err(damaged(format!(
                "it is of repository {theirs}, and this is {ours}"
            )));
        }
        snapshot.check().map_err(damaged)?;
        Ok(snapshot)
    }

    /// Reads when a snapshot was created, for listings: from the beginning of its object, which only reading all of it would check.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot).
    pub async fn created_at(&self, sequence: u64) -> Result<Timestamp> {
        let key = Key::Snapshot { sequence };
        let beginning = self.store.beginning(&key, BEGINNING_BYTES).await?;
        match beginning.as_deref().and_then(created_at) {
            Some(time) => Ok(time),
            None => Ok(self.snapshot(sequence).await?.created_at),
        }
    }

    /// Reads a page that a snapshot names for `partition`.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn page(&self, partition: &PartitionId, named: &PageRef) -> Result<Page> {
        let key = Key::page(partition, named.base_offset, &named.sha256);
        let Some(page) = self.store.read::<Page>(&key).await? else {
            let named_by = "the snapshot".to_owned();
            return Err(self.store.error(&key, RepoErrorKind::Missing { named_by }));
        };
        let damaged = |detail: String| self.store.damaged(&key, detail);
        if page.sha256 != named.sha256 {
            let (found, expected) = (page.sha256, named.sha256);
            return Err(damaged(format!("its digest is {found}, not {expected}")));
        }
        if let Some((expected, found)) = page.break_in_coverage() {
            let damage = Damage::Coverage { expected, found };
            return Err(self.store.error(&key, RepoErrorKind::Damaged(damage)));
        }
        page.check().map_err(damaged)?;
        let found = (page.partition_id(), page.coverage(), page.segments.len());
        let coverage = Some((named.base_offset, named.end_offset));
        if found != (partition.clone(), coverage, named.segments) {
            let (partition, coverage, segments) = found;
            return Err(damaged(format!(
                "it lists {segments} segments of {partition} with the coverage {coverage:?}, \
                 and the snapshot says {named:?}"
            )));
        }
        Ok(page.value)
    }

    /// Reads the entries of all segments of a partition in a snapshot, in offset order.
    ///
    /// # Errors
    ///
    /// As [`Repository::page`]; also where the entries do not add up to what the snapshot states.
    pub async fn segments(
        &self,
        partition: &PartitionId,
        state: &PartitionState,
    ) -> Result<Vec<SegmentEntry>> {
        let pages: Vec<_> = state
            .pages
            .iter()
            .map(|page| self.page(partition, page))
            .collect();
        let pages = stream::iter(pages).buffered(self.store.profile().parallel_requests);
        let pages: Vec<Page> = pages.try_collect().await?;
        let segments: Vec<_> = pages.into_iter().flat_map(|page| page.segments).collect();
        let sum = |field: fn(&SegmentEntry) -> u64| -> u128 {
            segments.iter().map(|entry| u128::from(field(entry))).sum()
        };
        for (what, found, stated) in [
            ("records", sum(|entry| entry.records), state.records),
            ("stored bytes", sum(|entry| entry.size), state.stored_bytes),
            ("raw bytes", sum(|entry| entry.raw_bytes), state.raw_bytes),
        ] {
            if found != u128::from(stated) {
                let detail = format!("the snapshot states {stated} {what}, its pages {found}");
                return Err(self.store.damaged(partition, detail));
            }
        }
        Ok(segments)
    }

    /// Lists the folders of topics that are gone although the snapshot names objects in them.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::MissingFolder`] if all segments or all pages are gone: a part of the repository is not mounted, or was removed.
    pub async fn missing_folders(&self, snapshot: &Snapshot) -> Result<Vec<String>> {
        let has_pages = |state: &PartitionState| !state.pages.is_empty();
        let stored = snapshot.topics.iter();
        let stored = stored.filter(|topic| topic.partitions.iter().any(has_pages));
        let stored: BTreeSet<&str> = stored.map(|topic| &*topic.name).collect();
        let mut missing = Vec::new();
        for folder in [SEGMENTS, PAGES] {
            let names: HashSet<String> = self.store.names(folder).await?.into_iter().collect();
            let gone: Vec<&str> = stored
                .iter()
                .filter(|topic| !names.contains(**topic))
                .copied()
                .collect();
            if !stored.is_empty() && gone.len() == stored.len() {
                let snapshot = snapshot.sequence;
                let kind = RepoErrorKind::MissingFolder { snapshot };
                return Err(self.store.error(folder, kind));
            }
            missing.extend(gone.iter().map(|topic| format!("{folder}/{topic}")));
        }
        Ok(missing)
    }

    /// Lists all segments and pages, whether a snapshot names them or not.
    pub async fn segments_and_pages(&self) -> Result<Vec<ListedObject>> {
        let mut found = self.store.list(SEGMENTS).await?;
        found.extend(self.store.list(PAGES).await?);
        Ok(found.into_iter().map(ListedObject::from).collect())
    }

    /// Lists the segments and pages on a local disk whose writes were interrupted or are in progress, with the bytes that are there.
    pub async fn unfinished_segments_and_pages(&self) -> Result<Vec<ListedObject>> {
        let mut found = self.store.list_unfinished(SEGMENTS).await?;
        found.extend(self.store.list_unfinished(PAGES).await?);
        Ok(found.into_iter().map(ListedObject::from).collect())
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
    /// them. Once checked, they save the next run from reading their records again.
    pub async fn unnamed_segments(
        &self,
        partition: &PartitionId,
        end_offset: i64,
    ) -> Result<Vec<FoundSegment>> {
        let found = self.store.list(&partition.segments()).await?;
        let unnamed = found.into_iter().filter_map(|object| match object.key {
            Key::Segment { base_offset, .. } if base_offset >= end_offset => Some(FoundSegment {
                key: object.key,
                base_offset,
                size: object.bytes,
            }),
            _ => None,
        });
        Ok(unnamed.collect())
    }
}

/// Finds the time in the beginning of a snapshot's JSON. No string contains the member's name between bare quotes.
fn created_at(beginning: &[u8]) -> Option<Timestamp> {
    let (_, rest) = str::from_utf8(beginning)
        .ok()?
        .split_once(r#","created_at":""#)?;
    rest.split_once('"')?.0.parse().ok()
}
