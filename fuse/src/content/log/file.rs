//! A `.log` file: any range of it, from the chunks that it overlaps.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::layout::LogLayout;
use crate::content::blocks::Urgency;
use crate::content::pieces::{PARALLEL_TEXT, read_pieces};
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// The batches of one segment of a log.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) partition: Partition,
    pub(crate) layout: Arc<LogLayout>,
    /// The segment's number in the log.
    pub(crate) number: usize,
}

impl LogFile {
    pub(crate) fn size(&self) -> u64 {
        let segment = self.layout.segments().get(self.number);
        segment.map_or(0, |segment| segment.log_bytes)
    }

    /// The bytes at `range`, cut at the end. If `partial` is set, an error after the first chunk cuts them, too.
    pub(crate) async fn read(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
        partial: bool,
    ) -> Result<Bytes, ViewError> {
        let range = range.start..range.end.min(self.size());
        read_pieces(range, partial, |at, end| self.piece(reader, at, end)).await
    }

    /// Begins to load a range that no reader waits for yet.
    pub(crate) fn load_ahead(self: &Arc<Self>, reader: &Arc<SnapshotReader>, range: Range<u64>) {
        reader.begin_chunks(self, self.chunks(&range), Urgency::Prefetch);
    }

    /// The bytes from `at` to the end of their chunk, or to `end` if that is earlier, and where they end.
    async fn piece(
        self: &Arc<Self>,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let segment = self.layout.segments().get(self.number);
        let found = segment.and_then(|segment| Some((segment, segment.chunk_at(at)?)));
        let (segment, chunk) = found.ok_or(ViewError::Stale)?;
        let whole = segment.start(chunk)..segment.start(chunk + 1);
        if whole.end < end {
            let end = end.min(at.saturating_add(PARALLEL_TEXT));
            reader.begin_chunks(self, self.chunks(&(at..end)), Urgency::Now);
        }
        let rendered = reader.log_chunk(self, chunk).await?;
        let to = whole.end.min(end);
        // Both are within the chunk, which is in memory, so they fit a usize.
        let piece = (at - whole.start) as usize..(to - whole.start) as usize;
        Ok((rendered.bytes.slice(piece), to))
    }

    /// The chunks that a range overlaps.
    fn chunks(&self, range: &Range<u64>) -> Range<usize> {
        let segment = self.layout.segments().get(self.number);
        let first = segment.and_then(|segment| Some((segment, segment.chunk_at(range.start)?)));
        let Some((segment, first)) = first else {
            return 0..0;
        };
        let last = segment.chunk_at(range.end.saturating_sub(1));
        first..last.map_or(segment.chunks(), |last| last + 1)
    }
}
