//! Reads from the repository, each of which must be answered within the deadline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kbk_format::repo::{
    Digested, Groups, Key, ListedSnapshot, Operation, PartitionId, RepoError, RepoErrorKind,
    Repository, SegmentEntry, SegmentReader, Snapshot, Store, StoredRange,
};

use crate::content::findings::Findings;
use crate::content::snapshot::Partition;
use crate::content::store_call::StoreCalls;
use crate::error::{Location, ViewError};

/// A repository, and how long it may take to answer. Errors carry no location yet: the same object may be read for several.
#[derive(Debug)]
pub(crate) struct Source {
    repository: Repository,
    reads: StoreCalls,
    /// Apart from reads: a listing that hangs must not take their places.
    lists: StoreCalls,
    findings: Arc<Findings>,
}

/// Reads that wait for the store at a time, enough for any store to be busy.
const MAX_READS: usize = 64;
const MAX_LISTS: usize = 2;

/// The folder of the snapshots, in messages.
const SNAPSHOTS: &str = "snapshots";

impl Source {
    pub(crate) async fn open(
        store: Store,
        deadline: Duration,
        findings: Arc<Findings>,
    ) -> Result<Source, ViewError> {
        let is_disk = store.folder().is_some();
        let reads = StoreCalls::new(MAX_READS, is_disk, deadline);
        let opened = reads.call("kbk.json", async move { Repository::open(store).await });
        Ok(Source {
            repository: opened.await?.map_err(unlocated)?,
            lists: StoreCalls::new(MAX_LISTS, is_disk, deadline),
            reads,
            findings,
        })
    }

    /// How many footers to read at a time.
    pub(crate) fn parallel_requests(&self) -> usize {
        self.repository.store().profile().parallel_requests
    }

    /// The snapshots that exist now, in ascending order. That one of `known` is gone is believed only if the repository is there.
    pub(crate) async fn listed_snapshots(
        &self,
        known: &[u64],
    ) -> Result<Vec<ListedSnapshot>, ViewError> {
        let (repository, known) = (self.repository.clone(), known.to_vec());
        let list = async move {
            let listed = repository.listed_snapshots().await?;
            let is_listed = |known: &u64| {
                let found = listed.binary_search_by_key(known, |listed| listed.sequence);
                found.is_ok()
            };
            if known.iter().all(is_listed) {
                return Ok(listed);
            }
            check_presence(&repository, SNAPSHOTS).await?;
            repository.listed_snapshots().await
        };
        self.lists.call(SNAPSHOTS, list).await?.map_err(unlocated)
    }

    /// Waits for memory or for other reads, as long as the store answers any read.
    pub(crate) async fn while_answering<T>(
        &self,
        key: &str,
        wait: impl Future<Output = T>,
    ) -> Result<T, ViewError> {
        self.reads.while_answering(key, wait).await
    }

    pub(crate) async fn snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>, ViewError> {
        let key = Key::Snapshot { sequence }.to_string();
        let read = move |repository: Repository| async move { repository.snapshot(sequence).await };
        self.read(&key, read).await
    }

    /// When a snapshot was created, in milliseconds since the epoch.
    pub(crate) async fn created_ms(&self, sequence: u64) -> Result<i64, ViewError> {
        let key = Key::Snapshot { sequence }.to_string();
        let repository = self.repository.clone();
        let read = async move { repository.manifest(sequence).await };
        let manifest = self.lists.call(&key, read).await?.map_err(unlocated)?;
        Ok(manifest.created_at.as_millisecond())
    }

    /// The consumer groups of a snapshot.
    pub(crate) async fn groups(
        &self,
        snapshot: &Digested<Snapshot>,
    ) -> Result<Option<Groups>, ViewError> {
        let Some(named) = &snapshot.groups else {
            return Ok(None);
        };
        let sha256 = named.object.sha256;
        let manifest = Arc::new(snapshot.manifest.clone());
        let read = move |repository: Repository| {
            let manifest = Arc::clone(&manifest);
            async move { repository.groups(&manifest).await }
        };
        self.read(&Key::Cluster { sha256 }.to_string(), read).await
    }

    /// The segments of a partition.
    pub(crate) async fn segments(
        &self,
        partition: &Partition,
    ) -> Result<Vec<SegmentEntry>, ViewError> {
        let key = partition.id().to_string();
        let partition = partition.clone();
        let read = move |repository: Repository| {
            let partition = partition.clone();
            async move {
                let snapshot = &partition.loaded.snapshot;
                let (id, state) = (partition.id(), partition.state());
                repository.segments(snapshot, &id, state).await
            }
        };
        self.read(&key, read).await
    }

    /// Opens a segment by its footer.
    pub(crate) async fn segment(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<SegmentReader, ViewError> {
        let (partition, entry) = (partition.clone(), entry.clone());
        let key = entry.key.clone();
        let open = move |repository: Repository| {
            let (partition, entry) = (partition.clone(), entry.clone());
            async move { SegmentReader::open(repository.store(), &partition, &entry).await }
        };
        self.read(&key, open).await
    }

    /// The stored bytes of consecutive blocks, and whether the object is another one than when it was opened.
    pub(crate) async fn blocks(
        &self,
        segment: &SegmentReader,
        blocks: Range<usize>,
    ) -> Result<(Bytes, bool), ViewError> {
        let key = segment.key().to_string();
        let segment = segment.clone();
        let read = move |_| {
            let (segment, blocks) = (segment.clone(), blocks.clone());
            async move { segment.read_and_compare(blocks).await }
        };
        self.read(&key, read).await
    }

    /// Bytes of a segment, and whether the object is another one than when it was opened.
    pub(crate) async fn range(
        &self,
        segment: &SegmentReader,
        range: Range<u64>,
    ) -> Result<(Bytes, bool), ViewError> {
        let key = segment.key().to_string();
        let segment = segment.clone();
        let read = move |_| {
            let (segment, range) = (segment.clone(), range.clone());
            async move { segment.read_range_and_compare(range).await }
        };
        self.read(&key, read).await
    }

    /// Exactly the stored bytes of a segment at `range`, unchecked.
    pub(crate) async fn stored_bytes(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
        range: Range<u64>,
    ) -> Result<StoredRange, ViewError> {
        let (partition, entry) = (partition.clone(), entry.clone());
        let key = entry.key.clone();
        let read = move |repository: Repository| {
            let (partition, entry, range) = (partition.clone(), entry.clone(), range.clone());
            async move { SegmentReader::stored(repository.store(), &partition, &entry, range).await }
        };
        self.read(&key, read).await
    }

    /// The error, unless an object is missing because its snapshot was forgotten: then that.
    pub(crate) async fn explain(&self, error: ViewError) -> ViewError {
        let ViewError::Missing { location, .. } = &error else {
            return error;
        };
        let Some(sequence) = location.snapshot else {
            return error;
        };
        let (key, repository) = (Key::Snapshot { sequence }, self.repository.clone());
        let check = async move { repository.check_kept(sequence).await };
        match self.lists.call(&key.to_string(), check).await {
            Ok(Err(reason)) if matches!(reason.kind(), RepoErrorKind::Forgotten { .. }) => {
                ViewError::repo(location.clone(), reason)
            }
            _ => error,
        }
    }

    /// The error for an object that is another one than when it was first read.
    pub(crate) fn changed(&self, key: String) -> ViewError {
        let store = self.repository.store();
        let changed = store.error(&key, RepoErrorKind::Changed);
        ViewError::repo(Location::default(), changed)
    }

    /// Reads an object, within the deadline in any case.
    async fn read<T, F>(
        &self,
        key: &str,
        call: impl Fn(Repository) -> F + Send + Sync + 'static,
    ) -> Result<T, ViewError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RepoError>> + Send + 'static,
    {
        let (repository, name) = (self.repository.clone(), key.to_owned());
        let read = async move {
            match call(repository.clone()).await {
                Err(error) if is_absence(&error) => {
                    check_presence(&repository, &name).await?;
                    // It may have returned between the two reads, together with the repository.
                    call(repository).await
                }
                answer => answer,
            }
        };
        let read = self.reads.call(key, read).await?.map_err(unlocated)?;
        self.findings.was_read(key);
        Ok(read)
    }
}

/// Checks that the repository is there: a share that is not mounted looks like a folder in which every object is missing.
async fn check_presence(repository: &Repository, key: &str) -> Result<(), RepoError> {
    let store = repository.store();
    let found = match Repository::open(store.clone()).await {
        Ok(found) if found.identity() == repository.identity() => return Ok(()),
        Ok(_) => "another repository is there now".to_owned(),
        Err(error) => format!("the repository is not there at the moment: {error}"),
    };
    Err(RepoError::of_store(
        Operation::Read,
        store.url(),
        key,
        found.into(),
    ))
}

/// Whether the store says that there is no such object.
fn is_absence(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        RepoErrorKind::Missing { .. } | RepoErrorKind::NoSuchSnapshot { .. }
    )
}

fn unlocated(error: RepoError) -> ViewError {
    ViewError::repo(Location::default(), error)
}
