//! Reads from the repository, each of which must be answered within the deadline.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use kbk_format::repo::{
    Digested, ListedSnapshot, Page, PageRef, PartitionId, RepoError, RepoErrorKind, Repository,
    SegmentEntry, SegmentReader, Snapshot, Store, StoredRange,
};

use crate::error::{Location, ViewError};

/// A repository, and how long it may take to answer. Errors carry no location yet: the same object may be read for several.
#[derive(Debug)]
pub(crate) struct Source {
    repository: Repository,
    deadline: Duration,
}

impl Source {
    pub(crate) async fn open(store: Store, deadline: Duration) -> Result<Source, ViewError> {
        let repository = bounded(deadline, "kbk.json", Repository::open(store)).await?;
        Ok(Source {
            repository,
            deadline,
        })
    }

    /// How many pages or footers to read at a time.
    pub(crate) fn parallel_requests(&self) -> usize {
        self.repository.store().profile().parallel_requests
    }

    /// The snapshots that exist now, in ascending order.
    pub(crate) async fn listed_snapshots(&self) -> Result<Vec<ListedSnapshot>, ViewError> {
        self.bounded("snapshots", self.repository.listed_snapshots())
            .await
    }

    pub(crate) async fn snapshot(&self, sequence: u64) -> Result<Digested<Snapshot>, ViewError> {
        let read = self.repository.snapshot(sequence);
        self.bounded(&format!("snapshot {sequence}"), read).await
    }

    pub(crate) async fn page(
        &self,
        partition: &PartitionId,
        page: &PageRef,
    ) -> Result<Page, ViewError> {
        let read = self.repository.page(partition, page);
        self.bounded(&page.key, read).await
    }

    /// Opens a segment by its footer.
    pub(crate) async fn segment(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<SegmentReader, ViewError> {
        let open = SegmentReader::open(self.repository.store(), partition, entry);
        self.bounded(&entry.key, open).await
    }

    /// The stored bytes of consecutive blocks, and whether the object is another one than when it was opened.
    pub(crate) async fn blocks(
        &self,
        segment: &SegmentReader,
        blocks: Range<usize>,
    ) -> Result<(Bytes, bool), ViewError> {
        let read = segment.read_and_compare(blocks);
        self.bounded(&segment.key().to_string(), read).await
    }

    /// Exactly the stored bytes of a segment at `range`, unchecked.
    pub(crate) async fn stored_bytes(
        &self,
        partition: &PartitionId,
        entry: &SegmentEntry,
        range: Range<u64>,
    ) -> Result<StoredRange, ViewError> {
        let expected = range.end - range.start;
        let read = SegmentReader::stored(self.repository.store(), partition, entry, range);
        let read = self.bounded(&entry.key, read).await?;
        if read.bytes.len() as u64 != expected {
            let detail = format!("the store gave {} bytes of {expected}", read.bytes.len());
            return Err(self.damaged(entry.key.clone(), detail));
        }
        Ok(read)
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

    async fn bounded<T>(
        &self,
        key: &str,
        call: impl Future<Output = Result<T, RepoError>>,
    ) -> Result<T, ViewError> {
        bounded(self.deadline, key, call).await
    }
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
