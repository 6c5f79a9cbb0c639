//! A range of a partition's text as a file: `records.jsonl`, `values` and `keys`, and every part of the first.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use kbk_format::render::View;

use crate::cache::leased_bytes::LeasedBytes;
use crate::content::blocks::{OpenSegment, Selection, Urgency};
use crate::content::pages::PartitionIndex;
use crate::content::pieces::{PARALLEL_TEXT, read_pieces};
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// A range of the text that a view gives of all records of a partition.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    pub(crate) partition: Partition,
    pub(crate) index: Arc<PartitionIndex>,
    pub(crate) view: View,
    pub(crate) range: Range<u64>,
}

/// A block, and where its text is.
#[derive(Clone, Debug)]
pub(crate) struct BlockLocation {
    pub(crate) segment: Arc<OpenSegment>,
    pub(crate) block: usize,
    /// Where the text of the whole segment begins in the partition's text.
    pub(crate) segment_start: u64,
}

impl BlockLocation {
    /// Where the block's text is in the partition's text.
    pub(crate) fn range(&self, view: View) -> Range<u64> {
        let range = self.segment.text_range(self.block, view);
        let at = |position| self.segment_start.saturating_add(position);
        at(range.start)..at(range.end)
    }
}

impl TextFile {
    /// A part of the records.
    pub(crate) fn records(
        partition: Partition,
        index: Arc<PartitionIndex>,
        range: Range<u64>,
    ) -> TextFile {
        TextFile {
            partition,
            index,
            view: View::Records,
            range,
        }
    }

    /// All of a view.
    pub(crate) fn whole(partition: Partition, index: Arc<PartitionIndex>, view: View) -> TextFile {
        let range = 0..index.size(view);
        TextFile {
            partition,
            index,
            view,
            range,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes of the file at `range`, cut at its end. If `partial` is set, an error after the first block cuts them, too.
    pub(crate) async fn read(
        &self,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
        partial: bool,
    ) -> Result<Bytes, ViewError> {
        let range = self.in_partition(&range);
        read_pieces(range, partial, |at, end| self.piece(reader, at, end)).await
    }

    /// Begins to load a range that no reader waits for yet. Its segments are opened several at a time: where they are small, the store would
    /// otherwise be waited for once for each of them.
    pub(crate) async fn load_ahead(
        &self,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
    ) -> Result<(), ViewError> {
        let Range { start: mut at, end } = self.in_partition(&range);
        while at < end
            && let Some(page) = self.index.page_at(at, self.view)
        {
            let table = reader.segment_table(&self.partition, page).await?;
            let segments = self.index.between(page, &table, at..end, self.view);
            let mut opened = pin!(reader.opened_texts(&self.partition, segments));
            while let Some((segment_start, _, segment)) = opened.next().await {
                // One that cannot be opened is reported to the read that needs it.
                let Ok(segment) = segment else {
                    continue;
                };
                let into = at.saturating_sub(segment_start);
                let Some(block) = segment.block_at(into, self.view) else {
                    continue;
                };
                let location = BlockLocation {
                    segment,
                    block,
                    segment_start,
                };
                self.begin_blocks(reader, &location, end, Urgency::Prefetch);
            }
            at = self.index.page_end(page, self.view);
        }
        Ok(())
    }

    /// Where a range of the file, cut at its end, is in the partition's text.
    fn in_partition(&self, range: &Range<u64>) -> Range<u64> {
        let at = |position| {
            self.range
                .start
                .saturating_add(position)
                .min(self.range.end)
        };
        at(range.start)..at(range.end)
    }

    /// The text from `at` to the end of its block, or to `end` if that is earlier, and where it ends.
    async fn piece(
        &self,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let Some(location) = self.location_at(reader, at).await? else {
            return Err(ViewError::Stale);
        };
        let block = location.range(self.view);
        if block.end < end {
            let end = end.min(at.saturating_add(PARALLEL_TEXT));
            self.begin_blocks(reader, &location, end, Urgency::Now);
        }
        let text = self.block_text(reader, &location).await?;
        let to = block.end.min(end);
        // Both are within the block's text, which is in memory, so they fit a usize.
        let piece = (at - block.start) as usize..(to - block.start) as usize;
        Ok((text.bytes.slice(piece), to))
    }

    /// Begins to load the blocks of a segment from `location` up to `end` in the partition's text.
    pub(crate) fn begin_blocks(
        &self,
        reader: &Arc<SnapshotReader>,
        location: &BlockLocation,
        end: u64,
        urgency: Urgency,
    ) {
        let last = location
            .segment
            .block_at(end.saturating_sub(location.segment_start + 1), self.view);
        let after_last = last.map_or(location.segment.entries().len(), |last| last + 1);
        reader.begin_blocks(
            &location.segment,
            location.block..after_last,
            Selection::all(self.view),
            urgency,
        );
    }

    /// The text of a block.
    pub(crate) async fn block_text(
        &self,
        reader: &Arc<SnapshotReader>,
        location: &BlockLocation,
    ) -> Result<LeasedBytes, ViewError> {
        let text = reader
            .block_text(&location.segment, location.block, Selection::all(self.view))
            .await;
        text.map_err(|error| error.at(location.segment.location(location.block, &self.partition)))
    }

    /// The block that contains the byte at `at` of the partition's text.
    pub(crate) async fn location_at(
        &self,
        reader: &Arc<SnapshotReader>,
        at: u64,
    ) -> Result<Option<BlockLocation>, ViewError> {
        let Some(page) = self.index.page_at(at, self.view) else {
            return Ok(None);
        };
        let table = reader.segment_table(&self.partition, page).await?;
        let location = self.index.location_at(page, &table, at, self.view);
        let Some(entry) = table.segments.get(location.segment) else {
            return Ok(None);
        };
        let segment = reader.text_segment(&self.partition, entry).await?;
        let block = segment.block_at(at - location.text_start, self.view);
        Ok(block.map(|block| BlockLocation {
            segment,
            block,
            segment_start: location.text_start,
        }))
    }
}
