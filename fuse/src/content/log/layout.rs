//! The files of a log: their names and sizes, and where in a `.log` which offsets are.

use std::sync::Arc;

use kbk_format::batch::HEADER_LENGTH;
use kbk_format::kafka_log::{
    BATCH_BYTES, BatchExtent, EndedSegment, LogMeasure, LogOptions, LogOutline,
};

use super::measure::MeasuredFor;
use crate::cache::budget::Lease;
use crate::cache::leased_bytes::LeasedBytes;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// A log has at most this many segments: there are no inode numbers for more.
pub(crate) const MAX_SEGMENTS: usize = (1 << 14) - 4;
/// A chunk ends with the batch that makes it at least this long. Most batches are longer, and a chunk of their own: a read renders little
/// more than it needs, and damage affects few other records.
const CHUNK_BYTES: u64 = BATCH_BYTES / 2;
/// At most about this many chunks of a partition are kept: those of a longer log are longer.
const MAX_CHUNKS: usize = 1 << 16;

/// Batches of one file that follow each other, and are rendered and cached as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The first offset of its first batch.
    pub(crate) base_offset: i64,
    /// The last offset that its last batch covers.
    pub(crate) last_offset: i64,
    /// Where it ends in the file.
    pub(crate) end: u64,
    /// Whether its last batch has no records, and only covers the last offset of the log.
    pub(crate) ends_empty: bool,
}

/// The files of one segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogSegment {
    /// The offset in their names.
    pub(crate) base_offset: i64,
    /// One past the last offset that it covers.
    pub(crate) end_offset: i64,
    /// The largest timestamp of its records, unless none has one.
    pub(crate) newest: Option<i64>,
    pub(crate) log_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) time_index_bytes: u64,
    chunks: Vec<Chunk>,
}

/// Kafka's log of a partition.
#[derive(Debug)]
pub(crate) struct LogLayout {
    segments: Vec<LogSegment>,
    _lease: Lease,
}

/// The two indexes of a segment.
pub(crate) type Indexes = (LeasedBytes, LeasedBytes);

impl LogSegment {
    /// The chunk that contains the byte at `position`.
    pub(super) fn chunk_at(&self, position: u64) -> Option<usize> {
        let chunk = self.chunks.partition_point(|chunk| chunk.end <= position);
        (chunk < self.chunks.len()).then_some(chunk)
    }

    pub(super) fn chunk(&self, chunk: usize) -> Option<Chunk> {
        self.chunks.get(chunk).copied()
    }

    /// Where a chunk begins in the file.
    pub(super) fn start(&self, chunk: usize) -> u64 {
        let before = chunk.checked_sub(1);
        let before = before.and_then(|before| self.chunks.get(before));
        before.map_or(0, |before| before.end)
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    fn halve(&mut self) {
        self.chunks = halved(&self.chunks);
    }
}

/// Joins each two neighbours.
fn halved(chunks: &[Chunk]) -> Vec<Chunk> {
    let pairs = chunks.chunks(2);
    pairs
        .filter_map(|pair| {
            let (first, last) = (pair.first()?, pair.last()?);
            Some(Chunk {
                base_offset: first.base_offset,
                ..*last
            })
        })
        .collect()
}

impl LogLayout {
    pub(crate) fn segments(&self) -> &[LogSegment] {
        &self.segments
    }

    /// The number of the segment whose files are named after an offset.
    pub(crate) fn find(&self, base_offset: i64) -> Option<usize> {
        let by_offset = |segment: &LogSegment| segment.base_offset;
        self.segments
            .binary_search_by_key(&base_offset, by_offset)
            .ok()
    }

    /// Bytes of all `.log` files.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.log_bytes).sum()
    }
}

/// Collects the files of a log while it is measured.
#[derive(Debug)]
pub(super) struct Outline {
    segments: Vec<LogSegment>,
    /// Whether there are more than [`MAX_SEGMENTS`], which are not kept.
    has_more: bool,
    /// Of the segment that is being measured.
    chunks: Vec<Chunk>,
    newest: Option<i64>,
    /// Chunks of all segments.
    count: usize,
    chunk_bytes: u64,
    max_chunks: usize,
}

impl Outline {
    fn new(max_chunks: usize) -> Outline {
        Outline {
            segments: Vec::new(),
            has_more: false,
            chunks: Vec::new(),
            newest: None,
            count: 0,
            chunk_bytes: CHUNK_BYTES,
            max_chunks,
        }
    }

    fn halve(&mut self) {
        self.segments.iter_mut().for_each(LogSegment::halve);
        self.chunks = halved(&self.chunks);
        let kept = self.segments.iter().map(LogSegment::chunks);
        self.count = kept.sum::<usize>() + self.chunks.len();
        self.chunk_bytes = self.chunk_bytes.saturating_mul(2);
    }

    /// About what it takes in memory.
    fn weight(&self) -> u64 {
        let chunks = self.count * size_of::<Chunk>();
        (chunks + self.segments.len() * size_of::<LogSegment>()) as u64
    }
}

impl LogOutline for Outline {
    fn batch(&mut self, batch: &BatchExtent) {
        let end = self.chunks.last().map_or(0, |last| last.end);
        let before = self.chunks.len().checked_sub(2);
        let start = before.and_then(|before| self.chunks.get(before));
        let length = end - start.map_or(0, |before| before.end);
        let end = end.saturating_add(batch.bytes);
        let ends_empty = batch.bytes == HEADER_LENGTH as u64;
        match self.chunks.last_mut() {
            Some(open) if length < self.chunk_bytes => {
                (open.last_offset, open.end) = (batch.last_offset, end);
                open.ends_empty = ends_empty;
            }
            _ => {
                self.chunks.push(Chunk {
                    base_offset: batch.base_offset,
                    last_offset: batch.last_offset,
                    end,
                    ends_empty,
                });
                self.count += 1;
            }
        }
        // -1 is that of records without a time.
        let newest = Some(batch.max_timestamp).filter(|time| *time != -1);
        self.newest = self.newest.max(newest);
        if self.count > self.max_chunks && self.count > 2 * self.segments.len() {
            self.halve();
        }
    }

    fn end(&mut self, segment: EndedSegment) {
        let chunks = std::mem::take(&mut self.chunks);
        let newest = self.newest.take();
        if self.segments.len() == MAX_SEGMENTS {
            self.has_more = true;
            self.count -= chunks.len();
            return;
        }
        let last = chunks.last().map(|last| last.last_offset);
        self.segments.push(LogSegment {
            base_offset: segment.base_offset,
            end_offset: last.map_or(segment.base_offset, |last| last.saturating_add(1)),
            newest,
            log_bytes: segment.log_bytes,
            index_bytes: segment.index.len() as u64,
            time_index_bytes: segment.time_index.len() as u64,
            chunks,
        });
    }
}

/// Keeps the indexes of a segment that is measured again.
#[derive(Debug, Default)]
struct IndexesOnly(Option<EndedSegment>);

impl LogOutline for IndexesOnly {
    fn batch(&mut self, _: &BatchExtent) {}

    fn end(&mut self, segment: EndedSegment) {
        self.0.get_or_insert(segment);
    }
}

impl SnapshotReader {
    /// The files of a partition's log. The first call reads META of all of its blocks of records.
    pub(crate) async fn log_layout(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<LogLayout>, ViewError> {
        let key = (partition.sequence(), partition.ordinal());
        let (reader, of) = (Arc::clone(self), partition.clone());
        let load = move || async move { reader.load_log_layout(&of).await };
        let loaded = self.caches.log_layouts.get(key, load).await;
        loaded.map_err(|error| error.or_at(partition.location()))
    }

    async fn load_log_layout(
        self: &Arc<Self>,
        partition: &Partition,
    ) -> Result<Arc<LogLayout>, ViewError> {
        let state = partition.state();
        let outline = Outline::new(MAX_CHUNKS);
        let measure = LogMeasure::new(outline, state.base_offset, LogOptions::default());
        let offsets = state.base_offset..state.end_offset;
        let purpose = MeasuredFor::Lengths;
        let measured = self.measure(partition, offsets, purpose, measure).await?;
        let outline = measured.finish(state.end_offset);
        if outline.has_more {
            return Err(ViewError::TooManyFiles {
                location: partition.location(),
                most: MAX_SEGMENTS,
            });
        }
        let lease = self.budget.take(outline.weight()).await;
        Ok(Arc::new(LogLayout {
            segments: outline.segments,
            _lease: lease.at_rest(),
        }))
    }

    /// The indexes of a segment of a log. META of its blocks is read, and blocks whose batches are in it as they are, which are not decoded.
    pub(crate) async fn log_indexes(
        self: &Arc<Self>,
        partition: &Partition,
        layout: &Arc<LogLayout>,
        number: usize,
    ) -> Result<Indexes, ViewError> {
        let key = (partition.sequence(), partition.ordinal(), number);
        let (reader, of, layout) = (Arc::clone(self), partition.clone(), Arc::clone(layout));
        let load = move || async move {
            let segment = layout.segments.get(number).ok_or(ViewError::Stale)?;
            let indexes = reader.load_log_indexes(&of, segment).await?;
            Ok(Arc::new(indexes))
        };
        let loaded = self.caches.log_indexes.get(key, load).await;
        let loaded = loaded.map_err(|error| error.or_at(partition.location()))?;
        Ok(Indexes::clone(&loaded))
    }

    async fn load_log_indexes(
        self: &Arc<Self>,
        partition: &Partition,
        segment: &LogSegment,
    ) -> Result<Indexes, ViewError> {
        let LogSegment {
            base_offset,
            end_offset,
            ..
        } = *segment;
        let only = IndexesOnly::default();
        let measure = LogMeasure::new(only, base_offset, LogOptions::default());
        let (offsets, purpose) = (base_offset..end_offset, MeasuredFor::Indexes);
        let measured = self.measure(partition, offsets, purpose, measure).await?;
        let IndexesOnly(ended) = measured.finish(end_offset);
        let ended = ended.ok_or(ViewError::Stale)?;
        let lengths = (ended.index.len() as u64, ended.time_index.len() as u64);
        let found = (ended.log_bytes, lengths);
        if found
            != (
                segment.log_bytes,
                (segment.index_bytes, segment.time_index_bytes),
            )
        {
            // The blocks prove that they are the same as before, so this is a bug.
            return Err(ViewError::Internal {
                location: partition.location(),
            });
        }
        let mut lease = self.budget.take(lengths.0 + lengths.1).await;
        let of_index = lease.split(lengths.0);
        Ok((
            LeasedBytes::new(ended.index, of_index),
            LeasedBytes::new(ended.time_index, lease),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offset: i64, bytes: u64) -> BatchExtent {
        BatchExtent::single(offset, offset + 9, -1, bytes)
    }

    /// Outlines two segments of batches of this length.
    fn outlined(batches: i64, bytes: u64, max_chunks: usize) -> Outline {
        let mut outline = Outline::new(max_chunks);
        for base in [0, 10 * batches] {
            for number in 0..batches {
                outline.batch(&batch(base + 10 * number, bytes));
            }
            outline.end(EndedSegment {
                base_offset: base,
                log_bytes: batches as u64 * bytes,
                index: Vec::new(),
                time_index: Vec::new(),
            });
        }
        outline
    }

    #[test]
    fn chunks_cover_the_log_in_order_however_many_batches_there_are() {
        for (batches, bytes, max_chunks, expected) in [
            (7, BATCH_BYTES, 100, 7),
            (1_000, 61, 100, 1),
            (5_000, CHUNK_BYTES / 2, 100_000, 2_500),
            (5_000, CHUNK_BYTES / 2, 100, 40),
        ] {
            let outline = outlined(batches, bytes, max_chunks);
            assert!(outline.count <= max_chunks.max(2 * expected));
            for segment in &outline.segments {
                assert!(
                    segment.chunks.len().abs_diff(expected) <= expected,
                    "{} chunks of {batches} batches",
                    segment.chunks.len()
                );
                let (mut offset, mut end) = (segment.base_offset, 0);
                for chunk in &segment.chunks {
                    assert_eq!(chunk.base_offset, offset);
                    let batches = chunk.last_offset + 1 - offset;
                    assert_eq!(chunk.end - end, batches as u64 / 10 * bytes);
                    (offset, end) = (chunk.last_offset + 1, chunk.end);
                }
                assert_eq!((offset, end), (segment.end_offset, segment.log_bytes));
            }
        }
    }

    #[test]
    fn more_segments_than_there_are_numbers_for_are_not_kept() {
        let mut outline = Outline::new(MAX_CHUNKS);
        for number in 0..=MAX_SEGMENTS as i64 {
            assert!(!outline.has_more);
            outline.batch(&batch(10 * number, 61));
            outline.end(EndedSegment {
                base_offset: 10 * number,
                log_bytes: 61,
                index: Vec::new(),
                time_index: Vec::new(),
            });
        }
        assert!(outline.has_more);
        assert_eq!(outline.segments.len(), MAX_SEGMENTS);
    }
}
