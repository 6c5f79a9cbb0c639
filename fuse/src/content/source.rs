//! Reads from the repository, each of which must be answered within the deadline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kbk_format::repo::{
    Digested, Key, ListedSnapshot, Operation, Page, PageRef, PartitionId, RepoError, RepoErrorKind,
    Repository, SegmentEntry, SegmentReader, Snapshot, Store, StoredRange,
};

use crate::content::findings::Findings;
use crate::error::{Location, ViewError};

/// A repository, and how long it may take to answer. Errors carry no location yet: the same object may be read for several.
#[derive(Debug)]
pub(crate) struct Source {
    repository: Repository,
    deadline: Duration,
    findings: Arc<Findings>,
}

/// The folder of the snapshots, in messages.
const SNAPSHOTS: &str = "snapshots";

impl Source {
    pub(crate) async fn open(
        store: Store,
        deadline: Duration,
        findings: Arc<Findings>,
    ) -> Result<Source, ViewError> {
        let repository = bounded(deadline, "kbk.json", Repository::open(store)).await?;
        Ok(Source {
            repository,
            deadline,
            findings,
        })
    }

    /// How many pages or footers to read at a time.
    pub(crate) fn parallel_requests(&self) -> usize {
        self.repository.store().profile().parallel_requests
    }

    /// The snapshots that exist now, in ascending order. That one of `known` is gone is believed only if the repository is there.
    pub(crate) async fn listed_snapshots(
        &self,
        known: &[u64],
    ) -> Result<Vec<ListedSnapshot>, ViewError> {
        let list = async {
            let listed = self.repository.listed_snapshots().await?;
            let is_listed = |known: &u64| {
                let found = listed.binary_search_by_key(known, |listed| listed.sequence);
                found.is_ok()
            };
            if known.iter().all(is_listed) {
                return Ok(listed);
            }
            self.check_presence(SNAPSHOTS).await?;
            self.repository.listed_snapshots().await
        };
        bounded(self.deadline, SNAPSHOTS, list).await
    }

    pub(crate) async fn snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>, ViewError> {
        let key = Key::Snapshot { sequence }.to_string();
        self.read(&key, || self.repository.snapshot(sequence)).await
    }

    /// When a snapshot was created, in milliseconds since the epoch.
    pub(crate) async fn created_ms(&self, sequence: u64) -> Result<i64, ViewError> {
        let key = Key::Snapshot { sequence }.to_string();
        let read = self.repository.created_at(sequence);
        Ok(bounded(self.deadline, &key, read).await?.as_millisecond())
    }

    pub(crate) async fn page(
        &self,
        partition: &PartitionId,
        page: &PageRef,
    ) -> Result<Page, ViewError> {
        self.read(&page.key, || self.repository.page(partition, page))
            .await
    }

    /// Opens a segment by its footer.
    pub(crate) async fn segment(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<SegmentReader, ViewError> {
        let store = self.repository.store();
        let open = || SegmentReader::open(store, partition, entry);
        self.read(&entry.key, open).await
    }

    /// The stored bytes of consecutive blocks, and whether the object is another one than when it was opened.
    pub(crate) async fn blocks(
        &self,
        segment: &SegmentReader,
        blocks: Range<usize>,
    ) -> Result<(Bytes, bool), ViewError> {
        let read = || segment.read_and_compare(blocks.clone());
        self.read(&segment.key().to_string(), read).await
    }

    /// Exactly the stored bytes of a segment at `range`, unchecked.
    pub(crate) async fn stored_bytes(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
        range: Range<u64>,
    ) -> Result<StoredRange, ViewError> {
        let store = self.repository.store();
        let read = || SegmentReader::stored(store, partition, entry, range.clone());
        self.read(&entry.key, read).await
    }

    /// The error for an object that does not contain what it must.
    pub(crate) fn damaged(&self, key: String, detail: String) -> ViewError {
        let damaged = self.repository.store().damaged(&key, detail);
        ViewError::repo(Location::default(), damaged)
    }

    /// The error for an object that is another one than when it was first read.
    pub(crate) fn changed(&self, key: String) -> ViewError {
        let store = self.repository.store();
        let changed = store.error(&key, RepoErrorKind::Changed);
        ViewError::repo(Location::default(), changed)
    }

    /// Reads an object, within the deadline in any case.
    async fn read<T, F>(&self, key: &str, call: impl Fn() -> F) -> Result<T, ViewError>
    where
        F: Future<Output = Result<T, RepoError>>,
    {
        let read = async {
            match call().await {
                Err(error) if is_absence(&error) => {
                    self.check_presence(key).await?;
                    // It may have returned between the two reads, together with the repository.
                    call().await
                }
                answer => answer,
            }
        };
        let read = bounded(self.deadline, key, read).await?;
        self.findings.was_read(key);
        Ok(read)
    }

    /// Checks that the repository is there: a share that is not mounted looks like a folder in which every object is missing.
    async fn check_presence(&self, key: &str) -> Result<(), RepoError> {
        let store = self.repository.store();
        let found = match Repository::open(store.clone()).await {
            Ok(found) if found.identity() == self.repository.identity() => return Ok(()),
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
}

/// Whether the store says that there is no such object.
fn is_absence(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        RepoErrorKind::Missing { .. } | RepoErrorKind::NoSuchSnapshot { .. }
    )
}

async fn bounded<T>(
    deadline: Duration,
    key: &str,
    call: impl Future<Output = Result<T, RepoError>>,
) -> Result<T, ViewError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|error| ViewError::repo(Location::default(), error)),
        Err(_) => Err(ViewError::Deadline {
            location: Location::default(),
            key: key.into(),
            waited: deadline,
        }),
    }
}
