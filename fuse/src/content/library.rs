//! What is read of the repository: each thing once, with a deadline, and kept as long as the budget has room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    Digest, Key, ListedSnapshot, RepoError, Repository, SegmentEntry, SegmentReader, Store,
};

use crate::cache::budget::{Budget, Lease};
use crate::cache::disk::DiskCache;
use crate::cache::kept::Kept;
use crate::cache::locked;
use crate::cache::shelf::{Shelf, Value};
use crate::content::blocks::TextKey;
use crate::content::pages::{Extent, Table};
use crate::content::render::RenderPool;
use crate::content::snapshot::{Loaded, Partition};
use crate::content::stored::{Chunk, ChunkKey};
use crate::content::times::Times;
use crate::error::{Location, ViewError};

impl<T: Send + Sync + 'static> Value for Arc<T> {}

/// The repository, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Library {
    repository: Repository,
    pub(crate) deadline: Duration,
    pub(crate) budget: Arc<Budget>,
    /// What each snapshot was when it was first read.
    digests: Mutex<HashMap<u64, Digest>>,
    snapshots: Arc<Shelf<u64, Arc<Loaded>>>,
    // Objects are told apart by their names: by topic, topic id and partition, too, and not by an id or a digest alone.
    tables: Arc<Shelf<Key, Arc<Table>>>,
    extents: Arc<Shelf<(u64, u64), Arc<Extent>>>,
    times: Arc<Shelf<(u64, u64), Arc<Times>>>,
    segments: Arc<Shelf<Arc<Key>, Arc<OpenSegment>>>,
    pub(crate) texts: Arc<Shelf<TextKey, Kept>>,
    pub(crate) chunks: Arc<Shelf<ChunkKey, Chunk>>,
    pub(crate) disk: Option<DiskCache>,
    pub(crate) render: RenderPool,
}

/// A segment's footer and its memory.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) reader: SegmentReader,
    /// The object's name.
    pub(crate) key: Arc<Key>,
    /// Of the whole object, as its page states it.
    pub(crate) sha256: Digest,
    _lease: Lease,
}

impl Library {
    pub(crate) async fn open(
        store: Store,
        memory_bytes: u64,
        deadline: Duration,
        disk: Option<DiskCache>,
    ) -> Result<Arc<Library>, ViewError> {
        let opened = Repository::open(store);
        let repository = timed(deadline, "kbk.json", opened).await?;
        let budget = Budget::new(memory_bytes);
        Ok(Arc::new(Library {
            repository,
            deadline,
            digests: Mutex::default(),
            snapshots: Shelf::new(&budget),
            tables: Shelf::new(&budget),
            extents: Shelf::new(&budget),
            times: Shelf::new(&budget),
            segments: Shelf::new(&budget),
            texts: Shelf::new(&budget),
            chunks: Shelf::new(&budget),
            disk,
            render: RenderPool::new(deadline),
            budget,
        }))
    }

    pub(crate) fn store(&self) -> &Store {
        self.repository.store()
    }

    /// A call of the store that must be answered in time.
    pub(crate) async fn timed<T>(
        &self,
        key: &str,
        call: impl Future<Output = Result<T, RepoError>>,
    ) -> Result<T, ViewError> {
        timed(self.deadline, key, call).await
    }

    /// The snapshots that there are now, ascending.
    pub(crate) async fn listed_snapshots(&self) -> Result<Vec<ListedSnapshot>, ViewError> {
        self.timed("snapshots", self.repository.listed_snapshots())
            .await
    }

    pub(crate) async fn snapshot(
        self: &Arc<Self>,
        sequence: u64,
    ) -> Result<Arc<Loaded>, ViewError> {
        let library = Arc::clone(self);
        let load = || async move { library.load_snapshot(sequence).await };
        let location = Location {
            snapshot: Some(sequence),
            ..Location::default()
        };
        self.snapshots
            .get(sequence, load)
            .await
            .map_err(|error| error.at(location))
    }

    async fn load_snapshot(&self, sequence: u64) -> Result<Arc<Loaded>, ViewError> {
        let key = format!("snapshot {sequence}");
        let snapshot = self.timed(&key, self.repository.snapshot(sequence)).await?;
        let first = *locked(&self.digests)
            .entry(sequence)
            .or_insert(snapshot.sha256);
        if first != snapshot.sha256 {
            let url = self.store().url().to_owned();
            return Err(ViewError::repo(
                Location::default(),
                RepoError::Changed { url, key },
            ));
        }
        let lease = self.budget.take(Loaded::weight(&snapshot)).await;
        Ok(Arc::new(Loaded::new(snapshot, lease.at_rest())))
    }

    /// Page number `page` of a partition.
    pub(crate) async fn table(
        self: &Arc<Self>,
        partition: &Partition,
        page: usize,
    ) -> Result<Arc<Table>, ViewError> {
        let Some(named) = partition.state().pages.get(page).cloned() else {
            return Err(ViewError::Stale);
        };
        let mut location = partition.location();
        location.offsets = Some(named.base_offset..named.end_offset);
        let (library, place) = (Arc::clone(self), partition.place());
        let key = Key::page(&place, named.base_offset, &named.sha256);
        let load = move || async move {
            let read = library.repository.page(&place, &named);
            let page = library.timed(&named.key, read).await?;
            let lease = library
                .budget
                .take(Table::weight(page.segments.len()))
                .await;
            Ok(Arc::new(Table::new(page, lease.at_rest())))
        };
        self.tables
            .get(key, load)
            .await
            .map_err(|error| error.at(location))
    }

    /// The sums over the pages of a partition.
    pub(crate) async fn extent(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Extent>, ViewError> {
        let key = (partition.sequence(), partition.ordinal());
        let (library, of) = (Arc::clone(self), partition.clone());
        let load = move || async move { library.load_extent(&of).await };
        self.extents
            .get(key, load)
            .await
            .map_err(|error| error.at(partition.location()))
    }

    async fn load_extent(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Extent>, ViewError> {
        let pages = partition.state().pages.len();
        let reads = (0..pages).map(|page| self.table(partition, page));
        let tables: Vec<_> = stream::iter(reads)
            .buffered(self.store().profile().parallel_requests)
            .try_collect()
            .await?;
        let lease = self.budget.take(Extent::weight(pages)).await;
        let extent = Extent::sum(tables.iter().map(|table| &table.page), lease.at_rest());
        if let Some(detail) = extent.difference(partition.state()) {
            let (url, key) = (self.store().url().to_owned(), partition.place().to_string());
            let damaged = RepoError::Damaged { url, key, detail };
            return Err(ViewError::repo(Location::default(), damaged));
        }
        Ok(Arc::new(extent))
    }

    /// The parts of a partition by time.
    pub(crate) async fn times(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Times>, ViewError> {
        let key = (partition.sequence(), partition.ordinal());
        let (library, of) = (Arc::clone(self), partition.clone());
        let load = move || async move { library.load_times(&of).await };
        self.times.get(key, load).await
    }

    /// The footer of a segment.
    pub(crate) async fn segment(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<OpenSegment>, ViewError> {
        let mut location = partition.location();
        location.offsets = Some(entry.base_offset..entry.end_offset);
        let (library, place, named) = (Arc::clone(self), partition.place(), entry.clone());
        let key = Arc::new(Key::segment(&place, named.base_offset, &named.segment_id));
        let of = Arc::clone(&key);
        let load = move || async move {
            // Its index takes as much again when it is read.
            let lease = library
                .budget
                .take(2 * named.size.saturating_sub(named.footer_position))
                .await;
            let opened = SegmentReader::open(library.store(), &place, &named);
            let reader = library.timed(&named.key, opened).await?;
            Ok(Arc::new(OpenSegment {
                reader,
                key: of,
                sha256: named.sha256,
                _lease: lease.at_rest(),
            }))
        };
        self.segments
            .get(key, load)
            .await
            .map_err(|error| error.at(location))
    }
}

async fn timed<T>(
    deadline: Duration,
    key: &str,
    call: impl Future<Output = Result<T, RepoError>>,
) -> Result<T, ViewError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|error| ViewError::repo(Location::default(), error)),
        Err(_) => Err(ViewError::Deadline {
            location: Location::default(),
            key: key.to_owned(),
            waited: deadline,
        }),
    }
}
