//! Where ranges of offsets stand in the text of a partition.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::render::View;
use kbk_format::repo::SegmentEntry;

use crate::content::library::Library;
use crate::content::lines;
use crate::content::pages::Extent;
use crate::content::snapshot::Partition;
use crate::content::text::{BlockSpot, TextFile};
use crate::error::ViewError;
use crate::tree::names::Asked;

impl Library {
    /// The segment that covers an offset, counted through the partition.
    pub(crate) async fn segment_at(
        self: &Arc<Self>,
        partition: &Partition,
        offset: i64,
    ) -> Result<Option<(u64, SegmentEntry)>, ViewError> {
        let pages = &partition.state().pages;
        let page = pages.partition_point(|page| page.end_offset <= offset);
        if pages.get(page).is_none_or(|page| offset < page.base_offset) {
            return Ok(None);
        }
        let before: u64 = pages
            .iter()
            .take(page)
            .map(|page| page.segments as u64)
            .sum();
        let table = self.table(partition, page).await?;
        let segments = &table.page.segments;
        let segment = segments.partition_point(|entry| entry.end_offset <= offset);
        Ok(segments
            .get(segment)
            .map(|entry| (before + segment as u64, entry.clone())))
    }

    /// Where what a name asks for stands in the partition's text.
    pub(crate) async fn asked(
        self: &Arc<Self>,
        partition: &Partition,
        extent: &Arc<Extent>,
        asked: Asked,
    ) -> Result<Option<Range<u64>>, ViewError> {
        let state = partition.state();
        match asked {
            Asked::One(offset) => self.record_at(partition, extent, offset).await,
            Asked::Range(first, last) if last < state.base_offset || first >= state.end_offset => {
                Ok(None)
            }
            Asked::Range(first, last) => {
                let start = self.text_from(partition, extent, first).await?;
                let end = self
                    .text_from(partition, extent, last.saturating_add(1))
                    .await?;
                Ok(Some(start..end.max(start)))
            }
        }
    }

    /// Where the first record of `offset` or behind it begins.
    async fn text_from(
        self: &Arc<Self>,
        partition: &Partition,
        extent: &Arc<Extent>,
        offset: i64,
    ) -> Result<u64, ViewError> {
        if offset <= partition.state().base_offset {
            return Ok(0);
        }
        let Some(found) = self.block_of(partition, extent, offset).await? else {
            return Ok(extent.size(View::Records));
        };
        let block = found.range(View::Records);
        let entry = found.segment.entries().get(found.block);
        if block.is_empty() || entry.is_some_and(|entry| entry.base_offset == offset) {
            return Ok(block.start);
        }
        let text = self.records_of(partition, extent, &found).await?;
        let into = self
            .render
            .scan(move || lines::from_offset(&text, offset))
            .await?;
        Ok(block.start + into as u64)
    }

    async fn record_at(
        self: &Arc<Self>,
        partition: &Partition,
        extent: &Arc<Extent>,
        offset: i64,
    ) -> Result<Option<Range<u64>>, ViewError> {
        let Some(found) = self.block_of(partition, extent, offset).await? else {
            return Ok(None);
        };
        let start = found.range(View::Records).start;
        let text = self.records_of(partition, extent, &found).await?;
        let line = self
            .render
            .scan(move || lines::of_offset(&text, offset))
            .await?;
        Ok(line.map(|line| start + line.start as u64..start + line.end as u64))
    }

    async fn records_of(
        self: &Arc<Self>,
        partition: &Partition,
        extent: &Arc<Extent>,
        block: &BlockSpot,
    ) -> Result<Bytes, ViewError> {
        let file = TextFile::whole(partition.clone(), Arc::clone(extent), View::Records);
        Ok(file.text(self, block).await?.bytes)
    }

    /// The block that covers an offset.
    async fn block_of(
        self: &Arc<Self>,
        partition: &Partition,
        extent: &Arc<Extent>,
        offset: i64,
    ) -> Result<Option<BlockSpot>, ViewError> {
        let Some((place, entry)) = self.segment_at(partition, offset).await? else {
            return Ok(None);
        };
        let (page, into) = extent.page_of(place).ok_or(ViewError::Stale)?;
        let table = self.table(partition, page).await?;
        let segment_start = extent.spot(page, &table, into, View::Records).text_start;
        let segment = self.segment(partition, &entry).await?;
        let block = segment.reader.segment().index().block_of_offset(offset);
        Ok(block.map(|block| BlockSpot {
            segment,
            block,
            segment_start,
        }))
    }
}
