//! A range of a partition's text as a file: `records.jsonl`, `values`, `keys`, and every part of the first.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kbk_format::render::View;

use crate::cache::kept::Kept;
use crate::content::blocks::{Urgency, offsets_of};
use crate::content::library::{Library, OpenSegment};
use crate::content::pages::Extent;
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// Text of a long read whose blocks are fetched side by side.
const AT_ONCE: u64 = 4 << 20;

/// Bytes `range` of a view of all records of a partition.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    pub(crate) partition: Partition,
    pub(crate) extent: Arc<Extent>,
    pub(crate) view: View,
    pub(crate) range: Range<u64>,
}

/// A block whose text holds some byte.
#[derive(Clone, Debug)]
pub(crate) struct BlockSpot {
    pub(crate) segment: Arc<OpenSegment>,
    pub(crate) block: usize,
    /// Where the text of the whole segment begins in the partition's.
    pub(crate) segment_start: u64,
}

impl BlockSpot {
    /// Where the block's text is in the partition's.
    pub(crate) fn range(&self, view: View) -> Range<u64> {
        let range = self.segment.text_range(self.block, view);
        let at = |position| self.segment_start.saturating_add(position);
        at(range.start)..at(range.end)
    }
}

impl TextFile {
    /// All of it.
    pub(crate) fn whole(partition: Partition, extent: Arc<Extent>, view: View) -> TextFile {
        let range = 0..extent.size(view);
        TextFile {
            partition,
            extent,
            view,
            range,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes of the file at `range`, cut at its end; or where something is amiss behind the first of them, which only `part`
    /// allows.
    pub(crate) async fn read(
        &self,
        library: &Arc<Library>,
        range: Range<u64>,
        part: bool,
    ) -> Result<Bytes, ViewError> {
        let Range { start, end } = self.in_partition(&range);
        if start >= end {
            return Ok(Bytes::new());
        }
        let (piece, mut at) = self.piece(library, start, end).await?;
        if at >= end {
            return Ok(piece);
        }
        // Copied, so that no piece holds memory that the next one waits for.
        let mut all = BytesMut::from(&piece[..]);
        drop(piece);
        while at < end {
            let (piece, behind) = match self.piece(library, at, end).await {
                Err(_) if part => break,
                found => found?,
            };
            all.extend_from_slice(&piece);
            at = behind;
        }
        Ok(all.freeze())
    }

    /// Begins to load what nobody waits for yet.
    pub(crate) async fn load_ahead(
        &self,
        library: &Arc<Library>,
        range: Range<u64>,
    ) -> Result<(), ViewError> {
        let Range { start: mut at, end } = self.in_partition(&range);
        while at < end
            && let Some(spot) = self.spot_at(library, at).await?
        {
            self.begin_blocks(library, &spot, end, Urgency::Ahead);
            let segment = spot.segment.entries().len().saturating_sub(1);
            let behind = spot.segment.text_range(segment, self.view).end;
            at = spot.segment_start.saturating_add(behind);
        }
        Ok(())
    }

    /// Bytes of the file, cut at its end, in the partition's text.
    fn in_partition(&self, range: &Range<u64>) -> Range<u64> {
        let at = |position| {
            self.range
                .start
                .saturating_add(position)
                .min(self.range.end)
        };
        at(range.start)..at(range.end)
    }

    /// The text from `at` on that one block has, up to `end` at most, and where that ends.
    async fn piece(
        &self,
        library: &Arc<Library>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let Some(spot) = self.spot_at(library, at).await? else {
            return Err(ViewError::Stale);
        };
        let block = spot.range(self.view);
        if block.end < end {
            let end = end.min(at.saturating_add(AT_ONCE));
            self.begin_blocks(library, &spot, end, Urgency::Now);
        }
        let text = self.text(library, &spot).await?;
        let to = block.end.min(end);
        // Both are inside of the block's text, which is in memory.
        let piece = (at - block.start) as usize..(to - block.start) as usize;
        Ok((text.bytes.slice(piece), to))
    }

    /// Begins to load the blocks of the segment at `spot` up to `end` in the partition's text.
    pub(crate) fn begin_blocks(
        &self,
        library: &Arc<Library>,
        spot: &BlockSpot,
        end: u64,
        urgency: Urgency,
    ) {
        let last = spot
            .segment
            .block_at(end.saturating_sub(spot.segment_start + 1), self.view);
        let behind = last.map_or(spot.segment.entries().len(), |last| last + 1);
        library.begin(&spot.segment, spot.block..behind, self.view, urgency);
    }

    pub(crate) async fn text(
        &self,
        library: &Arc<Library>,
        spot: &BlockSpot,
    ) -> Result<Kept, ViewError> {
        let text = library.text(&spot.segment, spot.block, self.view).await;
        text.map_err(|error| {
            error.at(offsets_of(
                &spot.segment,
                spot.block,
                self.partition.location(),
            ))
        })
    }

    /// The block that holds the byte at `at` of the partition's text.
    pub(crate) async fn spot_at(
        &self,
        library: &Arc<Library>,
        at: u64,
    ) -> Result<Option<BlockSpot>, ViewError> {
        let Some(page) = self.extent.page_at(at, self.view) else {
            return Ok(None);
        };
        let table = library.table(&self.partition, page).await?;
        let spot = self.extent.spot_at(page, &table, at, self.view);
        let Some(entry) = table.page.segments.get(spot.segment) else {
            return Ok(None);
        };
        let segment = library.segment(&self.partition, entry).await?;
        let block = segment.block_at(at - spot.text_start, self.view);
        Ok(block.map(|block| BlockSpot {
            segment,
            block,
            segment_start: spot.text_start,
        }))
    }
}
