//! Where ranges of offsets are in the text of a partition.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::Columns;
use kbk_format::render::View;
use kbk_format::repo::SegmentEntry;

use crate::content::lines::Lines;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::text_file::{BlockLocation, TextFile};
use crate::error::ViewError;

/// Where queried records are in a partition's text; of a value, its own bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundText {
    pub(crate) range: Range<u64>,
    /// The timestamp of the record, if one record was queried.
    pub(crate) timestamp: Option<i64>,
}

/// What a name in `by-offset` asks for. Its hash is part of inode numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OffsetQuery {
    /// The record at an offset, which must exist.
    One(i64),
    /// The bytes of the value of the record at an offset, which must exist and must not be null.
    Value(i64),
    /// The records from the first offset through the last one, however many there are.
    Range(i64, i64),
}

impl SnapshotReader {
    /// The segment that covers an offset, and its ordinal in the partition.
    pub(crate) async fn segment_at(
        self: &Arc<Self>,
        partition: &Partition,
        offset: i64,
    ) -> Result<Option<(u64, SegmentEntry)>, ViewError> {
        let state = partition.state();
        if !(state.base_offset..state.end_offset).contains(&offset) {
            return Ok(None);
        }
        let index = self.partition_index(partition).await?;
        let Some((page, before)) = index.page_of_offset(offset) else {
            return Ok(None);
        };
        let table = self.segment_table(partition, page).await?;
        let segments = &table.segments;
        let segment = segments.partition_point(|entry| entry.end_offset <= offset);
        let entry = segments.get(segment).cloned();
        Ok(entry.map(|entry| (before + segment as u64, entry)))
    }

    /// Where the queried records are in the partition's text; none if the partition does not cover them.
    pub(crate) async fn offset_range(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        query: OffsetQuery,
    ) -> Result<Option<FoundText>, ViewError> {
        let state = partition.state();
        match query {
            OffsetQuery::One(offset) => self.record_at(partition, index, offset).await,
            OffsetQuery::Value(offset) => {
                let value = self.value_at(partition, index, offset).await?;
                Ok(value.map(|(value, timestamp)| FoundText {
                    range: 0..value.len() as u64,
                    timestamp: Some(timestamp),
                }))
            }
            OffsetQuery::Range(first, last)
                if last < state.base_offset || first >= state.end_offset =>
            {
                Ok(None)
            }
            OffsetQuery::Range(first, last) => {
                let start = self.text_from(partition, index, first).await?;
                let end = last.saturating_add(1);
                let end = self.text_from(partition, index, end).await?;
                Ok(Some(FoundText {
                    range: start..end.max(start),
                    timestamp: None,
                }))
            }
        }
    }

    /// Where the first record at or after an offset begins.
    async fn text_from(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        offset: i64,
    ) -> Result<u64, ViewError> {
        if offset <= partition.state().base_offset {
            return Ok(0);
        }
        // At a segment's front it need not be opened, which may not be possible.
        if let Some((segment, entry)) = self.segment_at(partition, offset).await?
            && entry.base_offset == offset
        {
            let (page, into) = index.page_of(segment).ok_or(ViewError::Stale)?;
            let table = self.segment_table(partition, page).await?;
            let location = index.location(page, &table, into, View::Records);
            return Ok(location.text_start);
        }
        let Some(found) = self.block_of(partition, index, offset).await? else {
            return Ok(index.size(View::Records));
        };
        let block = found.range(View::Records);
        let entry = found.segment.entries().get(found.block);
        // At a block's front nothing has to be decoded.
        if block.is_empty() || entry.is_some_and(|entry| entry.base_offset == offset) {
            return Ok(block.start);
        }
        let text = self.records_of(partition, index, &found).await?;
        let into = self
            .render
            .scan(move || {
                let renderer = found.segment.reader.segment().renderer();
                Lines::new(&text, renderer).start_of(offset)
            })
            .await?;
        Ok(block.start + into as u64)
    }

    async fn record_at(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        offset: i64,
    ) -> Result<Option<FoundText>, ViewError> {
        let Some(found) = self.block_of(partition, index, offset).await? else {
            return Ok(None);
        };
        let start = found.range(View::Records).start;
        let text = self.records_of(partition, index, &found).await?;
        let line = self
            .render
            .scan(move || {
                let renderer = found.segment.reader.segment().renderer();
                Lines::new(&text, renderer).of_offset(offset)
            })
            .await?;
        Ok(line.map(|(line, timestamp)| FoundText {
            range: start + line.start as u64..start + line.end as u64,
            timestamp,
        }))
    }

    /// The value of the record at an offset, and its timestamp; none if there is no such record, or its value is null.
    pub(crate) async fn value_at(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        offset: i64,
    ) -> Result<Option<(Bytes, i64)>, ViewError> {
        let Some(found) = self.block_of(partition, index, offset).await? else {
            return Ok(None);
        };
        let value = move |columns: &Columns| {
            let record = columns.get(columns.offsets().binary_search(&offset).ok()?)?;
            let value = record.value.filter(|_| !record.control)?;
            Some((Bytes::copy_from_slice(value), record.timestamp))
        };
        let value = self.look(&found.segment, found.block, value).await;
        value.map_err(|error| error.at(found.segment.location(found.block, partition)))
    }

    /// The text of the records of a block.
    async fn records_of(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        block: &BlockLocation,
    ) -> Result<Bytes, ViewError> {
        let file = TextFile::whole(partition.clone(), Arc::clone(index), View::Records);
        Ok(file.block_text(self, block).await?.bytes)
    }

    /// The block that covers an offset.
    async fn block_of(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        offset: i64,
    ) -> Result<Option<BlockLocation>, ViewError> {
        let Some((segment, entry)) = self.segment_at(partition, offset).await? else {
            return Ok(None);
        };
        let (page, into) = index.page_of(segment).ok_or(ViewError::Stale)?;
        let table = self.segment_table(partition, page).await?;
        let segment_start = index.location(page, &table, into, View::Records).text_start;
        let segment = self.text_segment(partition, &entry).await?;
        let block = segment.reader.segment().index().block_of_offset(offset);
        Ok(block.map(|block| BlockLocation {
            segment,
            block,
            segment_start,
        }))
    }
}
