//! How long the text of each block is, of a segment that does not state it (SPEC 2.11): computed once by decoding the blocks, and kept as long
//! as the mount.
//!
//! The length of a text that cannot be decoded is unknown. Its place is held by a *stand-in* as long as the block is stored, which cannot be
//! read: so the files are there, and everything else in them can be read. A stand-in stays one for as long as the mount, even if its block is
//! restored, since no file may change its length or move its text: a read of it is then an error that says that the object was replaced.

use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kbk_format::Columns;
use kbk_format::render::{View, ViewSizes};
use kbk_format::repo::{Key, SegmentEntry};

use crate::cache::budget::Lease;
use crate::content::blocks::OpenSegment;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::{Location, ViewError};

/// The lengths of the text of one segment.
#[derive(Debug)]
pub(crate) struct TextLengths {
    /// Through each block; a single one of a segment that cannot be opened.
    ends: Vec<ViewSizes>,
    /// In order.
    stand_ins: Vec<StandIn>,
    _lease: Lease,
}

/// A text that cannot be read, so that its length is unknown.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    /// The block; `None` of all of a segment that cannot be opened.
    block: Option<usize>,
    /// What it covers.
    pub(crate) offsets: Range<i64>,
    /// In the segment's text of each view.
    pub(crate) text: [Range<u64>; View::ALL.len()],
    /// Why, without a location.
    pub(crate) error: ViewError,
}

/// What a block contributes to the text of its segment.
enum BlockText {
    Known(ViewSizes),
    /// It cannot be decoded.
    Unknown(ViewError),
}

/// Collects the lengths of consecutive texts.
#[derive(Default)]
struct Collected {
    end: ViewSizes,
    ends: Vec<ViewSizes>,
    stand_ins: Vec<StandIn>,
}

impl Collected {
    fn push(&mut self, sizes: ViewSizes) -> [Range<u64>; View::ALL.len()] {
        let start = self.end;
        self.end = std::array::from_fn(|view| start[view].saturating_add(sizes[view]));
        self.ends.push(self.end);
        std::array::from_fn(|view| start[view]..self.end[view])
    }

    /// A stand-in of this length, in every view.
    fn push_unknown(
        &mut self,
        block: Option<usize>,
        offsets: Range<i64>,
        length: u64,
        error: ViewError,
    ) {
        let text = self.push([length; View::ALL.len()]);
        self.stand_ins.push(StandIn {
            block,
            offsets,
            text,
            // Kept for all snapshots that have the segment.
            error: error.at(Location::default()),
        });
    }

    async fn finish(self, reader: &SnapshotReader) -> Arc<TextLengths> {
        let ends = size_of_val(&self.ends[..]);
        let bytes = ends + self.stand_ins.len() * (size_of::<StandIn>() + STAND_IN_BYTES) + 200;
        let lease = reader.budget.take(bytes as u64).await;
        Arc::new(TextLengths {
            ends: self.ends,
            stand_ins: self.stand_ins,
            _lease: lease.at_rest(),
        })
    }
}

/// About what the error of a stand-in takes in memory.
const STAND_IN_BYTES: usize = 400;

impl TextLengths {
    /// Where the text of each block ends.
    pub(crate) fn ends(&self) -> &[ViewSizes] {
        &self.ends
    }

    /// The length of the whole text.
    pub(crate) fn whole(&self) -> ViewSizes {
        self.ends.last().copied().unwrap_or_default()
    }

    pub(crate) fn stand_ins(&self) -> &[StandIn] {
        &self.stand_ins
    }

    /// Whether a block's text is a stand-in.
    pub(crate) fn is_stand_in(&self, block: usize) -> bool {
        let by_block = |it: &StandIn| it.block;
        self.stand_ins
            .binary_search_by_key(&Some(block), by_block)
            .is_ok()
    }

    /// Whether the segment could not be opened when its text was measured.
    fn is_of_unopened(&self) -> bool {
        self.stand_ins.iter().any(|it| it.block.is_none())
    }
}

impl SnapshotReader {
    /// The lengths of the text of a segment that does not state them. What cannot be read is noted for this snapshot.
    ///
    /// An outage of the store is an error, and nothing is kept of it.
    pub(super) async fn text_lengths(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<TextLengths>, ViewError> {
        let lengths = self.kept_lengths(partition, entry).await?;
        for stand_in in lengths.stand_ins() {
            let location = Location {
                offsets: Some(stand_in.offsets.clone()),
                ..partition.location()
            };
            self.findings.note(&stand_in.error.clone().at(location));
        }
        Ok(lengths)
    }

    async fn kept_lengths(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<TextLengths>, ViewError> {
        let id = partition.id();
        let key = Arc::new(Key::segment(&id, entry.base_offset, &entry.segment_id));
        let (reader, of, entry) = (Arc::clone(self), partition.clone(), entry.clone());
        let load = move || async move { reader.load_lengths(&of, &entry).await };
        self.caches.text_lengths.get(key, load).await
    }

    async fn load_lengths(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<TextLengths>, ViewError> {
        let mut collected = Collected::default();
        match self.segment(partition, entry).await {
            Ok(segment) => {
                self.measure_blocks(&segment, partition, &mut collected)
                    .await?
            }
            Err(error) => {
                let error = self.unless_outage(error).await?;
                let offsets = entry.base_offset..entry.end_offset;
                collected.push_unknown(None, offsets, entry.size, error);
            }
        }
        Ok(collected.finish(self).await)
    }

    async fn measure_blocks(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        partition: &Partition,
        collected: &mut Collected,
    ) -> Result<(), ViewError> {
        let blocks = 0..segment.entries().len();
        let measured = blocks.map(|block| self.measure_block(segment, partition, block));
        let parallel = self.render.threads();
        let mut measured = std::pin::pin!(stream::iter(measured).buffered(parallel));
        let mut entries = segment.entries().iter().enumerate();
        while let (Some(text), Some((block, entry))) = (measured.next().await, entries.next()) {
            match text? {
                BlockText::Known(sizes) => drop(collected.push(sizes)),
                BlockText::Unknown(error) => {
                    let offsets = entry.base_offset..entry.end_offset;
                    let length = u64::from(entry.block_length);
                    collected.push_unknown(Some(block), offsets, length, error);
                }
            }
        }
        Ok(())
    }

    async fn measure_block(
        &self,
        segment: &OpenSegment,
        partition: &Partition,
        block: usize,
    ) -> Result<BlockText, ViewError> {
        let entry = segment.entries().get(block);
        if entry.is_none_or(|entry| entry.record_count == 0) {
            return Ok(BlockText::Known(ViewSizes::default()));
        }
        let renderer = segment.reader.segment().renderer().clone();
        let sizes = move |columns: &Columns| renderer.sizes(columns);
        match self.look(segment, block, sizes).await {
            Ok(sizes) => Ok(BlockText::Known(sizes)),
            Err(error) => {
                let error = error.at(segment.location(block, partition));
                Ok(BlockText::Unknown(self.unless_outage(error).await?))
            }
        }
    }

    /// Returns an error that says that stored bytes are damaged or missing; fails with any other: it says nothing about them.
    async fn unless_outage(&self, error: ViewError) -> Result<ViewError, ViewError> {
        match self.source.explain(error).await {
            error @ (ViewError::Damaged { .. } | ViewError::Missing { .. }) => Ok(error),
            error => Err(error),
        }
    }

    /// The length of what holds the place of a segment's whole text, if that could not be opened when its text was measured.
    pub(super) async fn stand_in_of_unopened(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Option<u64> {
        if entry.is_computed() {
            return None;
        }
        let lengths = self.kept_lengths(partition, entry).await.ok()?;
        let length = lengths.whole()[View::Records as usize];
        lengths.is_of_unopened().then_some(length)
    }

    /// A segment, opened, with the lengths of its text.
    pub(crate) async fn text_segment(
        self: &Arc<Self>,
        partition: &Partition,
        entry: &SegmentEntry,
    ) -> Result<Arc<OpenSegment>, ViewError> {
        let segment = self.segment(partition, entry).await?;
        if segment.needs_lengths() {
            let lengths = self.kept_lengths(partition, entry).await?;
            let is_of_these_blocks = lengths.ends().len() == segment.entries().len();
            if lengths.is_of_unopened() || !is_of_these_blocks {
                let location = Location {
                    offsets: Some(entry.base_offset..entry.end_offset),
                    ..partition.location()
                };
                return Err(segment.changed().at(location));
            }
            segment.set_lengths(lengths);
        }
        Ok(segment)
    }
}
