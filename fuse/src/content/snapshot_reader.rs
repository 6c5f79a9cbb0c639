//! What is read of snapshots: their states, the indexes of partitions and footers of segments.
//!
//! Each value is loaded once for all who ask ([`Caches`]), from a repository that must answer in time ([`Source`]), and errors
//! are located here: a cached error may have been found for another snapshot.
//!
//! | to read | see |
//! |---|---|
//! | the text of blocks | `blocks` |
//! | the lengths of text that no segment states | `text_lengths` |
//! | the hours of `by-time` | `hours` |
//! | ranges of offsets | `offsets` |

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use kbk_format::render::ViewSizes;
use kbk_format::repo::{Digest, Key, SegmentEntry, Store};

use crate::cache::budget::Budget;
use crate::cache::disk::DiskCache;
use crate::cache::locked;
use crate::content::blocks::OpenSegment;
use crate::content::caches::Caches;
use crate::content::findings::Findings;
use crate::content::hours::Hours;
use crate::content::pages::{PAGE_SEGMENTS, PartitionIndex, SegmentTable, SegmentText, pages};
use crate::content::render::RenderPool;
use crate::content::snapshot::{LoadedSnapshot, Partition};
use crate::content::source::Source;
use crate::error::{Location, ViewError};

/// Which lengths of text are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextNeeds {
    /// Those that rows state, if any.
    Stated,
    /// All.
    Computed,
}

/// Reads the snapshots of a repository.
#[derive(Debug)]
pub(crate) struct SnapshotReader {
    pub(crate) source: Source,
    pub(crate) caches: Caches,
    pub(crate) budget: Arc<Budget>,
    pub(crate) disk: Option<DiskCache>,
    pub(crate) render: RenderPool,
    pub(crate) deadline: Duration,
    /// What could not be read so far.
    pub(crate) findings: Arc<Findings>,
    /// Of each snapshot when it was first read: its files must not change, even if it is evicted and read again.
    first_digests: Mutex<HashMap<u64, Digest>>,
}

impl SnapshotReader {
    pub(crate) async fn open(
        store: Store,
        memory_bytes: u64,
        deadline: Duration,
        disk: Option<DiskCache>,
    ) -> Result<Arc<SnapshotReader>, ViewError> {
        let findings = Arc::<Findings>::default();
        let source = Source::open(store, deadline, Arc::clone(&findings)).await?;
        let budget = Budget::new(memory_bytes);
        Ok(Arc::new(SnapshotReader {
            source,
            caches: Caches::new(&budget),
            budget,
            disk,
            render: RenderPool::new(deadline),
            deadline,
            findings,
            first_digests: Mutex::default(),
        }))
    }

    /// Records what could not be read, and returns the error that says why.
    pub(crate) async fn noted(&self, error: ViewError) -> ViewError {
        let error = self.source.explain(error).await;
        self.findings.note(&error);
        error
    }

    /// A snapshot.
    pub(crate) async fn snapshot(
        self: &Arc<Self>,
        sequence: u64,
    ) -> Result<Arc<LoadedSnapshot>, ViewError> {
        let reader = Arc::clone(self);
        let load = || async move { reader.load_snapshot(sequence).await };
        let location = Location {
            snapshot: Some(sequence),
            ..Location::default()
        };
        let loaded = self.caches.snapshots.get(sequence, load).await;
        loaded.map_err(|error| error.at(location))
    }

    async fn load_snapshot(&self, sequence: u64) -> Result<Arc<LoadedSnapshot>, ViewError> {
        let snapshot = self.source.snapshot(sequence).await?;
        let first = *locked(&self.first_digests)
            .entry(sequence)
            .or_insert(snapshot.sha256);
        if first != snapshot.sha256 {
            return Err(self.source.changed(format!("snapshot {sequence}")));
        }
        let groups = self.source.groups(&snapshot).await?;
        let weight = LoadedSnapshot::weight(&snapshot, groups.as_ref());
        let lease = self.budget.take(weight).await;
        let loaded = LoadedSnapshot::new(snapshot, groups, lease.at_rest());
        Ok(Arc::new(loaded))
    }

    /// The segments of a page of a partition.
    pub(crate) async fn segment_table(
        self: &Arc<Self>,
        partition: &Partition,
        page: usize,
    ) -> Result<Arc<SegmentTable>, ViewError> {
        self.table(partition, page, TextNeeds::Computed).await
    }

    /// The same for whoever needs no text: no segment is decoded.
    pub(crate) async fn segment_rows(
        self: &Arc<Self>,
        partition: &Partition,
        page: usize,
    ) -> Result<Arc<SegmentTable>, ViewError> {
        self.table(partition, page, TextNeeds::Stated).await
    }

    async fn table(
        self: &Arc<Self>,
        partition: &Partition,
        page: usize,
        needs: TextNeeds,
    ) -> Result<Arc<SegmentTable>, ViewError> {
        if page >= pages(partition.state()) {
            return Err(ViewError::Stale);
        }
        let (reader, of) = (Arc::clone(self), partition.clone());
        let key = (
            partition.id(),
            partition.state().changes.newest(),
            page,
            needs,
        );
        let load = move || async move {
            let mut segments = reader.source.segments(&of).await?;
            segments.drain(..page * PAGE_SEGMENTS);
            segments.truncate(PAGE_SEGMENTS);
            let weight = SegmentTable::weight(segments.len());
            let lease = reader.budget.take(weight).await.at_rest();
            let texts = reader.texts(&of, &segments, needs).await?;
            Ok(Arc::new(SegmentTable::new(segments, &texts, lease)))
        };
        let loaded = self.caches.tables.get(key, load).await;
        loaded.map_err(|error| error.at(partition.location()))
    }

    /// The sums over all pages of a partition.
    pub(crate) async fn partition_index(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<PartitionIndex>, ViewError> {
        self.index(partition, TextNeeds::Computed).await
    }

    /// The same for whoever needs no text: no segment is decoded.
    pub(crate) async fn partition_rows(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<PartitionIndex>, ViewError> {
        self.index(partition, TextNeeds::Stated).await
    }

    async fn index(
        self: &Arc<Self>,
        partition: &Partition,
        needs: TextNeeds,
    ) -> Result<Arc<PartitionIndex>, ViewError> {
        let key = (partition.sequence(), partition.ordinal(), needs);
        let (reader, of) = (Arc::clone(self), partition.clone());
        let load = move || async move { reader.load_index(&of, needs).await };
        let loaded = self.caches.indexes.get(key, load).await;
        loaded.map_err(|error| error.at(partition.location()))
    }

    async fn load_index(
        self: &Arc<Self>,
        partition: &Partition,
        needs: TextNeeds,
    ) -> Result<Arc<PartitionIndex>, ViewError> {
        let weight = PartitionIndex::weight(pages(partition.state()));
        let lease = self.budget.take(weight).await.at_rest();
        let segments = self.source.segments(partition).await?;
        let texts = self.texts(partition, &segments, needs).await?;
        Ok(Arc::new(PartitionIndex::sum(&segments, &texts, lease)))
    }

    /// The lengths of the text of segments: as their rows state them, or computed by decoding those that are not computed (SPEC 2.11). None of a
    /// segment whose writer rendered otherwise.
    async fn texts(
        self: &Arc<Self>,
        partition: &Partition,
        segments: &[SegmentEntry],
        needs: TextNeeds,
    ) -> Result<Vec<SegmentText>, ViewError> {
        let mut texts = Vec::with_capacity(segments.len());
        for entry in segments {
            texts.push(match (entry.is_computed(), entry.records) {
                (true, _) => entry
                    .rendered
                    .map_or(SegmentText::Unknown, SegmentText::Stated),
                (false, 0) => SegmentText::Stated(ViewSizes::default()),
                (false, _) if needs == TextNeeds::Stated => SegmentText::Unknown,
                (false, _) => SegmentText::Computed(self.text_lengths(partition, entry).await?),
            });
        }
        Ok(texts)
    }

    /// The hours of a partition.
    pub(crate) async fn hours(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<Hours>, ViewError> {
        let key = (partition.sequence(), partition.ordinal());
        let (reader, of) = (Arc::clone(self), partition.clone());
        let load = move || async move { reader.load_hours(&of).await };
        self.caches.hours.get(key, load).await
    }

    /// Segments in order, opened by their footers, several at a time. `T` is what the caller knows of each.
    pub(crate) fn opened<T: Send + 'static>(
        self: &Arc<Self>,
        partition: &Partition,
        entries: Vec<(T, SegmentEntry)>,
    ) -> impl Stream<Item = Result<(T, Arc<OpenSegment>), ViewError>> + use<T> {
        let (reader, partition) = (Arc::clone(self), partition.clone());
        let parallel = self.source.parallel_requests();
        let opened = stream::iter(entries).map(move |(known, entry)| {
            let (reader, partition) = (Arc::clone(&reader), partition.clone());
            async move { Ok((known, reader.segment(&partition, &entry).await?)) }
        });
        opened.buffered(parallel)
    }

    /// The same with the lengths of their texts. A segment that cannot be opened does not end the others.
    pub(crate) fn opened_texts<T: Send + 'static>(
        self: &Arc<Self>,
        partition: &Partition,
        entries: Vec<(T, SegmentEntry)>,
    ) -> impl Stream<Item = (T, SegmentEntry, Result<Arc<OpenSegment>, ViewError>)> + use<T> {
        let (reader, partition) = (Arc::clone(self), partition.clone());
        let parallel = self.source.parallel_requests();
        let opened = stream::iter(entries).map(move |(known, entry)| {
            let (reader, partition) = (Arc::clone(&reader), partition.clone());
            async move {
                let opened = reader.text_segment(&partition, &entry).await;
                (known, entry, opened)
            }
        });
        opened.buffered(parallel)
    }

    /// A segment, opened by its footer.
    pub(crate) async fn segment(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<OpenSegment>, ViewError> {
        let location = Location {
            offsets: Some(entry.base_offset..entry.end_offset),
            ..partition.location()
        };
        let (reader, id, entry) = (Arc::clone(self), partition.id(), entry.clone());
        let key = Arc::new(Key::segment(&id, entry.base_offset, &entry.segment_id));
        let object = Arc::clone(&key);
        let load = move || async move {
            // The footer's bytes, and about as much again for the index that is decoded from them.
            let footer = entry.size.saturating_sub(entry.footer_position);
            let open = async {
                let lease = reader.budget.take(2 * footer).await;
                let segment = reader.source.segment(&id, &entry).await?;
                Ok((lease, segment))
            };
            let (lease, segment) = reader.source.while_answering(&entry.key, open).await??;
            let (object, blake3) = (object, entry.blake3);
            let opened = OpenSegment::new(segment, object, blake3, lease.at_rest());
            Ok(Arc::new(opened))
        };
        let loaded = self.caches.segments.get(key, load).await;
        loaded.map_err(|error| error.at(location))
    }
}
