//! A file that consists of the texts of selected records: which block of a partition contributes how many bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::budget::Lease;
use crate::content::blocks::OpenSegment;
use crate::content::pages::PartitionIndex;
use crate::content::pieces::read_pieces;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// The texts of blocks, in the order of the file.
#[derive(Debug)]
pub(crate) struct BlockTexts {
    pub(crate) partition: Partition,
    index: Arc<PartitionIndex>,
    pieces: Vec<Piece>,
    _lease: Lease,
}

/// The text that a block contributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The segment's ordinal in the partition.
    pub(crate) segment: u64,
    pub(crate) block: usize,
    /// Where its text begins and ends in the file.
    pub(crate) start: u64,
    end: u64,
}

/// Collects them.
#[derive(Debug, Default)]
pub(crate) struct FoundTexts {
    pieces: Vec<Piece>,
}

impl FoundTexts {
    /// Adds the text of a block, which follows the ones before; nothing where it has no selected record.
    pub(crate) fn push(&mut self, segment: u64, block: usize, bytes: u64) {
        let start = self.pieces.last().map_or(0, |piece| piece.end);
        if bytes > 0 {
            self.pieces.push(Piece {
                segment,
                block,
                start,
                end: start.saturating_add(bytes),
            });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Makes them a file, with memory for them.
    pub(crate) async fn finish(
        self,
        reader: &SnapshotReader,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
    ) -> BlockTexts {
        let bytes = size_of_val(&self.pieces[..]) as u64;
        let lease = reader.budget.take(bytes).await;
        BlockTexts {
            partition: partition.clone(),
            index: Arc::clone(index),
            pieces: self.pieces,
            _lease: lease.at_rest(),
        }
    }
}

impl Piece {
    /// Returns the part of the block's text from `at` in the file up to its end, or to `end` if that is earlier, and where that part ends.
    pub(crate) fn part(&self, text: &Bytes, at: u64, end: u64) -> Result<(Bytes, u64), ViewError> {
        // The records of a sealed segment do not change.
        if text.len() as u64 != self.end - self.start {
            return Err(ViewError::Stale);
        }
        let to = self.end.min(end);
        // Both are within the text, which is in memory, so they fit a usize.
        let inside = (at - self.start) as usize..(to - self.start) as usize;
        Ok((text.slice(inside), to))
    }

    /// Returns whether the file continues after it before `end`.
    pub(crate) fn ends_before(&self, end: u64) -> bool {
        self.end < end
    }
}

impl BlockTexts {
    /// The length of the file.
    pub(crate) fn size(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end)
    }

    /// Whether text of the partition cannot be read, as far as that was found when its length was computed.
    pub(crate) fn has_unreadable_text(&self) -> bool {
        self.index.has_unreadable_text()
    }

    /// The bytes at `range`, cut at the end. `part` is given a position and the end of the range, and returns what [`Piece::part`] does. If `partial`
    /// is set, an error after the first block cuts them, too.
    pub(crate) async fn read<F>(
        &self,
        range: Range<u64>,
        partial: bool,
        part: impl Fn(u64, u64) -> F,
    ) -> Result<Bytes, ViewError>
    where
        F: Future<Output = Result<(Bytes, u64), ViewError>>,
    {
        let range = range.start..range.end.min(self.size());
        read_pieces(range, partial, part).await
    }

    /// The piece that contains the byte at `at`.
    pub(crate) fn piece_at(&self, at: u64) -> Result<Piece, ViewError> {
        let pieces = self.pieces_in(at..at.saturating_add(1));
        pieces.first().copied().ok_or(ViewError::Stale)
    }

    /// The pieces that contain the bytes of a range, as far as there are any.
    pub(crate) fn pieces_in(&self, range: Range<u64>) -> &[Piece] {
        let first = self
            .pieces
            .partition_point(|piece| piece.end <= range.start);
        let end = self.pieces.partition_point(|piece| piece.start < range.end);
        self.pieces.get(first..end).unwrap_or_default()
    }

    /// Opens the segment of a piece.
    pub(crate) async fn segment(
        &self,
        reader: &Arc<SnapshotReader>,
        piece: &Piece,
    ) -> Result<Arc<OpenSegment>, ViewError> {
        let (page, into) = self.index.page_of(piece.segment).ok_or(ViewError::Stale)?;
        let table = reader.segment_table(&self.partition, page).await?;
        let entry = table.segments.get(into).ok_or(ViewError::Stale)?;
        reader.text_segment(&self.partition, entry).await
    }
}
