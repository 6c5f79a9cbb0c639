//! A stored segment as a file: its bytes, unchecked, in chunks that are kept.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use kbk_format::repo::{Key, SegmentEntry};

use crate::cache::leased_bytes::LeasedBytes;
use crate::cache::single_flight::{LoadGuard, Value};
use crate::content::blocks::RUN_BYTES;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::{Location, ViewError};

/// The size of a chunk in bytes.
const CHUNK: u64 = 1 << 20;

/// A chunk of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChunkKey {
    segment: Arc<Key>,
    chunk: u64,
}

/// A chunk, and the version of the object that it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    kept: LeasedBytes,
    version: Option<Arc<str>>,
}

impl Value for Chunk {
    fn was_read(&self) {
        self.kept.was_read();
    }
}

/// The bytes of a segment.
#[derive(Debug)]
pub(crate) struct StoredFile {
    partition: Partition,
    pub(crate) entry: SegmentEntry,
    key: Arc<Key>,
    /// Of the object when it was first read through this handle: a replaced object must not be read as one file with the old one.
    version: OnceLock<Option<Arc<str>>>,
}

impl StoredFile {
    pub(crate) fn new(partition: Partition, entry: SegmentEntry) -> StoredFile {
        let place = partition.id();
        StoredFile {
            key: Arc::new(Key::segment(&place, entry.base_offset, &entry.segment_id)),
            partition,
            entry,
            version: OnceLock::new(),
        }
    }

    /// The bytes at `range`, cut at the end.
    pub(crate) async fn read(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
    ) -> Result<Bytes, ViewError> {
        let Range { mut start, end } = range.start..range.end.min(self.entry.size);
        if start >= end {
            return Ok(Bytes::new());
        }
        let (piece, next) = self.piece(reader, start, end).await?;
        if next >= end {
            return Ok(piece);
        }
        let mut all = BytesMut::from(&piece[..]);
        drop(piece);
        start = next;
        while start < end {
            let (piece, next) = self.piece(reader, start, end).await?;
            all.extend_from_slice(&piece);
            start = next;
        }
        Ok(all.freeze())
    }

    async fn piece(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let number = at / CHUNK;
        let chunk = self
            .chunk(reader, number)
            .await
            .map_err(|error| error.at(self.location()))?;
        if *self.version.get_or_init(|| chunk.version.clone()) != chunk.version {
            let changed = reader.source.changed(self.entry.key.clone());
            return Err(changed.at(self.location()));
        }
        let range = self.range(number);
        let to = range.end.min(end);
        // Both are within the chunk, which is in memory, so they fit a usize.
        let piece = (at - range.start) as usize..(to - range.start) as usize;
        Ok((chunk.kept.bytes.slice(piece), to))
    }

    async fn chunk(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        number: u64,
    ) -> Result<Chunk, ViewError> {
        let load = || {
            let (reader, of) = (Arc::clone(reader), Arc::clone(self));
            async move {
                let range = of.range(number);
                let lease = reader.budget.take(range.end - range.start).await;
                let (bytes, version) = of.fetch(&reader, range).await?;
                Ok(Chunk {
                    kept: LeasedBytes::new(bytes, lease),
                    version,
                })
            }
        };
        reader.caches.chunks.get(self.key(number), load).await
    }

    /// Begins to load a range that no reader waits for yet.
    pub(crate) fn load_ahead(self: &Arc<Self>, reader: &Arc<SnapshotReader>, range: Range<u64>) {
        let end = range.end.min(self.entry.size);
        let mut run: Vec<LoadGuard<ChunkKey, Chunk>> = Vec::new();
        let mut first = 0;
        for number in range.start / CHUNK..end.div_ceil(CHUNK) {
            let guard = reader.caches.chunks.reserve(self.key(number));
            if guard.is_none() || run.len() as u64 * CHUNK >= RUN_BYTES {
                self.begin(reader, first, std::mem::take(&mut run));
            }
            if let Some(guard) = guard {
                if run.is_empty() {
                    first = number;
                }
                run.push(guard);
            }
        }
        self.begin(reader, first, run);
    }

    /// Fetches consecutive chunks with one read, if there is memory for them. Otherwise they are left to their readers.
    fn begin(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        first: u64,
        run: Vec<LoadGuard<ChunkKey, Chunk>>,
    ) {
        let (reader, of) = (Arc::clone(reader), Arc::clone(self));
        let ranges: Vec<_> = (first..)
            .take(run.len())
            .map(|number| self.range(number))
            .collect();
        let (Some(start), Some(end)) = (ranges.first(), ranges.last()) else {
            return;
        };
        let whole = start.start..end.end;
        tokio::spawn(async move {
            let Some(mut lease) = reader.budget.take_ahead(whole.end - whole.start) else {
                return;
            };
            let Ok((bytes, version)) = of.fetch(&reader, whole.clone()).await else {
                return;
            };
            for (guard, range) in run.into_iter().zip(ranges) {
                // Copied, so that each chunk can be evicted by itself.
                let at = |position: u64| (position - whole.start) as usize;
                let own = bytes.slice(at(range.start)..at(range.end)).to_vec();
                let kept = LeasedBytes::new(own, lease.split(range.end - range.start));
                guard.settle(Ok(Chunk {
                    kept,
                    version: version.clone(),
                }));
            }
        });
    }

    async fn fetch(
        &self,
        reader: &SnapshotReader,
        range: Range<u64>,
    ) -> Result<(Bytes, Option<Arc<str>>), ViewError> {
        let id = self.partition.id();
        let read = reader.source.stored_bytes(&id, &self.entry, range).await?;
        Ok((read.bytes, read.version.map(Into::into)))
    }

    fn key(&self, chunk: u64) -> ChunkKey {
        ChunkKey {
            segment: Arc::clone(&self.key),
            chunk,
        }
    }

    fn range(&self, chunk: u64) -> Range<u64> {
        let start = chunk * CHUNK;
        start..(start + CHUNK).min(self.entry.size)
    }

    fn location(&self) -> Location {
        let offsets = Some(self.entry.base_offset..self.entry.end_offset);
        Location {
            offsets,
            ..self.partition.location()
        }
    }
}
