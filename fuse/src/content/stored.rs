//! A stored segment as a file: its bytes as they are, unchecked, in chunks that are kept.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use kbk_format::repo::{Key, RepoError, SegmentEntry, SegmentReader};

use crate::cache::kept::Kept;
use crate::cache::shelf::{Claim, Value};
use crate::content::blocks::RUN_BYTES;
use crate::content::library::Library;
use crate::content::snapshot::Partition;
use crate::error::{Location, ViewError};

/// Bytes of one chunk.
const CHUNK: u64 = 1 << 20;

/// A chunk of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChunkKey {
    segment: Arc<Key>,
    chunk: u64,
}

/// A chunk, and which version of the object it is of.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    kept: Kept,
    version: Option<Arc<str>>,
}

impl Value for Chunk {
    fn was_read(&self) {
        self.kept.was_read();
    }
}

/// The bytes of one segment.
#[derive(Debug)]
pub(crate) struct StoredFile {
    partition: Partition,
    pub(crate) entry: SegmentEntry,
    key: Arc<Key>,
    /// What the object was when it was first read through this handle.
    version: OnceLock<Option<Arc<str>>>,
}

impl StoredFile {
    pub(crate) fn new(partition: Partition, entry: SegmentEntry) -> StoredFile {
        let place = partition.place();
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
        library: &Arc<Library>,
        range: Range<u64>,
    ) -> Result<Bytes, ViewError> {
        let Range { mut start, end } = range.start..range.end.min(self.entry.size);
        if start >= end {
            return Ok(Bytes::new());
        }
        let (piece, behind) = self.piece(library, start, end).await?;
        if behind >= end {
            return Ok(piece);
        }
        let mut all = BytesMut::from(&piece[..]);
        drop(piece);
        start = behind;
        while start < end {
            let (piece, behind) = self.piece(library, start, end).await?;
            all.extend_from_slice(&piece);
            start = behind;
        }
        Ok(all.freeze())
    }

    async fn piece(
        self: &Arc<Self>,
        library: &Arc<Library>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let number = at / CHUNK;
        let chunk = self
            .chunk(library, number)
            .await
            .map_err(|error| error.at(self.location()))?;
        if *self.version.get_or_init(|| chunk.version.clone()) != chunk.version {
            let (url, key) = (library.store().url().to_owned(), self.entry.key.clone());
            return Err(ViewError::repo(
                self.location(),
                RepoError::Changed { url, key },
            ));
        }
        let range = self.range(number);
        let to = range.end.min(end);
        // Both are inside of the chunk, which is in memory.
        let piece = (at - range.start) as usize..(to - range.start) as usize;
        Ok((chunk.kept.bytes.slice(piece), to))
    }

    async fn chunk(
        self: &Arc<Self>,
        library: &Arc<Library>,
        number: u64,
    ) -> Result<Chunk, ViewError> {
        let load = || {
            let (library, of) = (Arc::clone(library), Arc::clone(self));
            async move {
                let range = of.range(number);
                let lease = library.budget.take(range.end - range.start).await;
                let (bytes, version) = of.fetch(&library, range).await?;
                Ok(Chunk {
                    kept: Kept::new(bytes, lease),
                    version,
                })
            }
        };
        library.chunks.get(self.key(number), load).await
    }

    /// Begins to load what nobody waits for yet.
    pub(crate) fn load_ahead(self: &Arc<Self>, library: &Arc<Library>, range: Range<u64>) {
        let end = range.end.min(self.entry.size);
        let mut run: Vec<Claim<ChunkKey, Chunk>> = Vec::new();
        let mut first = 0;
        for number in range.start / CHUNK..end.div_ceil(CHUNK) {
            let claim = library.chunks.claim(self.key(number));
            if claim.is_none() || run.len() as u64 * CHUNK >= RUN_BYTES {
                self.begin(library, first, std::mem::take(&mut run));
            }
            if let Some(claim) = claim {
                if run.is_empty() {
                    first = number;
                }
                run.push(claim);
            }
        }
        self.begin(library, first, run);
    }

    /// Fetches consecutive chunks at once, if there is memory for them. Otherwise they are left to those who read them.
    fn begin(
        self: &Arc<Self>,
        library: &Arc<Library>,
        first: u64,
        run: Vec<Claim<ChunkKey, Chunk>>,
    ) {
        let (library, of) = (Arc::clone(library), Arc::clone(self));
        let ranges: Vec<_> = (first..)
            .take(run.len())
            .map(|number| self.range(number))
            .collect();
        let (Some(start), Some(end)) = (ranges.first(), ranges.last()) else {
            return;
        };
        let whole = start.start..end.end;
        tokio::spawn(async move {
            let Some(mut lease) = library.budget.take_ahead(whole.end - whole.start) else {
                return;
            };
            let Ok((bytes, version)) = of.fetch(&library, whole.clone()).await else {
                return;
            };
            for (claim, range) in run.into_iter().zip(ranges) {
                // Copied, so that the memory of a chunk is its own.
                let at = |position: u64| (position - whole.start) as usize;
                let own = bytes.slice(at(range.start)..at(range.end)).to_vec();
                let kept = Kept::new(own, lease.split(range.end - range.start));
                claim.settle(Ok(Chunk {
                    kept,
                    version: version.clone(),
                }));
            }
        });
    }

    /// Exactly the bytes at `range`.
    async fn fetch(
        &self,
        library: &Library,
        range: Range<u64>,
    ) -> Result<(Bytes, Option<Arc<str>>), ViewError> {
        let place = self.partition.place();
        let expected = range.end - range.start;
        let read = SegmentReader::stored(library.store(), &place, &self.entry, range);
        let read = library.timed(&self.entry.key, read).await?;
        if read.bytes.len() as u64 != expected {
            let url = library.store().url().to_owned();
            let detail = format!("the store gave {} bytes of {expected}", read.bytes.len());
            let (key, location) = (self.entry.key.clone(), Location::default());
            return Err(ViewError::repo(
                location,
                RepoError::Damaged { url, key, detail },
            ));
        }
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
