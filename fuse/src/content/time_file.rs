//! The records of a partition whose timestamps are in a range, in offset order, as a file.
//!
//! A block whose times are all in the range is read as a whole. Of any other block that may have such records, only their text is
//! kept. How much text each block has is known before it is read if the range consists of whole hours; for any other range, the
//! blocks at its edges are decoded when the file is opened.
//!
//! Where text cannot be read, and its times are not known either (SPEC 2.11), each range of time that may have some of it has what holds its place.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use kbk_format::IndexEntry;
use kbk_format::repo::SegmentEntry;

use crate::content::block_texts::{BlockTexts, FoundTexts, Piece};
use crate::content::blocks::{OpenSegment, Selection, Urgency};
use crate::content::pages::{self, PartitionIndex};
use crate::content::pieces::PARALLEL_TEXT;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::span::Span;
use crate::error::ViewError;

/// Where the records of a range of time are.
#[derive(Debug)]
pub(crate) struct TimeFile {
    pub(crate) texts: BlockTexts,
    span: Span,
}

impl SnapshotReader {
    /// The file with the records of a partition whose timestamps are in `span`.
    pub(crate) async fn time_file(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        span: Span,
    ) -> Result<TimeFile, ViewError> {
        let found = self.segments_within(partition, span).await?;
        let mut opened = std::pin::pin!(self.opened_texts(partition, found));
        let mut texts = FoundTexts::default();
        while let Some((ordinal, entry, segment)) = opened.next().await {
            let segment = match segment {
                Ok(segment) => segment,
                Err(error) => match self.stand_in_of_unopened(partition, &entry).await {
                    Some(bytes) => {
                        texts.push(ordinal, 0, bytes);
                        continue;
                    }
                    None => return Err(error),
                },
            };
            for (block, entry) in segment.entries().iter().enumerate() {
                if !entry.may_hold_times(span.first(), span.last()) {
                    continue;
                }
                let bytes = self.bytes_within(partition, &segment, block, span).await?;
                texts.push(ordinal, block, bytes);
            }
        }
        let texts = texts.finish(self, partition, index).await;
        Ok(TimeFile { texts, span })
    }

    /// The segments that may have records in a range of time, with their ordinals in the partition.
    async fn segments_within(
        self: &Arc<Self>,
        partition: &Partition,
        span: Span,
    ) -> Result<Vec<(u64, SegmentEntry)>, ViewError> {
        let mut found = Vec::new();
        let mut ordinal = 0;
        for page in 0..pages::pages(partition.state()) {
            let table = self.segment_table(partition, page).await?;
            for entry in &table.segments {
                if entry.may_hold_times(span.first(), span.last()) {
                    found.push((ordinal, entry.clone()));
                }
                ordinal += 1;
            }
        }
        Ok(found)
    }

    /// How much text of a block is of records in a range of time.
    async fn bytes_within(
        self: &Arc<Self>,
        partition: &Partition,
        segment: &Arc<OpenSegment>,
        block: usize,
        span: Span,
    ) -> Result<u64, ViewError> {
        let selection = selection(segment.entries().get(block), span);
        if selection.span.is_none() || segment.is_stand_in(block) {
            let text = segment.text_range(block, selection.view);
            return Ok(text.end - text.start);
        }
        if let Some((first, last)) = span.whole_hours() {
            let hours = self.block_hours(partition, segment, block).await?;
            let inside = hours
                .iter()
                .filter(|(hour, _)| (first..=last).contains(hour));
            return Ok(inside.map(|(_, bytes)| bytes).sum());
        }
        let text = self.block_text(segment, block, selection).await;
        let text = text.map_err(|error| error.at(segment.location(block, partition)))?;
        Ok(text.bytes.len() as u64)
    }
}

fn selection(entry: Option<&IndexEntry>, span: Span) -> Selection {
    let times = entry.map_or((i64::MIN, i64::MAX), |entry| {
        let min = entry.min_timestamps.map_or(i64::MIN, |min| min.all);
        (min, entry.max_timestamp)
    });
    Selection::within(span, times.0, times.1)
}

impl TimeFile {
    /// The bytes at `range`, cut at the end. If `partial` is set, an error after the first block cuts them, too.
    pub(crate) async fn read(
        &self,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
        partial: bool,
    ) -> Result<Bytes, ViewError> {
        let part = |at, end| self.part(reader, at, end);
        self.texts.read(range, partial, part).await
    }

    /// Begins to load a range that no reader waits for yet.
    pub(crate) async fn load_ahead(&self, reader: &Arc<SnapshotReader>, range: Range<u64>) {
        self.begin(reader, range, Urgency::Prefetch).await;
    }

    /// The text from `at` to the end of its block, or to `end` if that is earlier, and where it ends.
    async fn part(
        &self,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let piece = self.texts.piece_at(at)?;
        if piece.ends_before(end) {
            let end = end.min(at.saturating_add(PARALLEL_TEXT));
            self.begin(reader, at..end, Urgency::Now).await;
        }
        let segment = self.texts.segment(reader, &piece).await?;
        let selection = selection(segment.entries().get(piece.block), self.span);
        let text = reader.block_text(&segment, piece.block, selection).await;
        let partition = &self.texts.partition;
        let text = text.map_err(|error| error.at(segment.location(piece.block, partition)))?;
        piece.part(&text.bytes, at, end)
    }

    /// Begins to load the blocks of a range; those that follow each other at once.
    async fn begin(&self, reader: &Arc<SnapshotReader>, range: Range<u64>, urgency: Urgency) {
        let pieces = self.texts.pieces_in(range);
        for pieces in pieces.chunk_by(|a, b| a.segment == b.segment) {
            // One that cannot be opened is reported to the read that needs it.
            let Ok(segment) = self.texts.segment(reader, &pieces[0]).await else {
                continue;
            };
            let selection =
                |piece: &Piece| selection(segment.entries().get(piece.block), self.span);
            let joins =
                |a: &Piece, b: &Piece| a.block + 1 == b.block && selection(a) == selection(b);
            for run in pieces.chunk_by(joins) {
                let blocks = run[0].block..run[run.len() - 1].block + 1;
                reader.begin_blocks(&segment, blocks, selection(&run[0]), urgency);
            }
        }
    }
}
