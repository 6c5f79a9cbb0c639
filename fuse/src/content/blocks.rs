//! The text of blocks: fetched in runs, rendered and cached one by one.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kbk_format::batch::{BatchCodec, RecordBatches};
use kbk_format::kafka_log::LentBlock;
use kbk_format::render::{View, ViewSizes};
use kbk_format::repo::{Key, SegmentHash, SegmentReader};
use kbk_format::{Columns, FormatError, IndexEntry};

use crate::cache::budget::Lease;
use crate::cache::disk::BlockName;
use crate::cache::leased_bytes::LeasedBytes;
use crate::cache::single_flight::LoadGuard;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::span::Span;
use crate::content::text_lengths::TextLengths;
use crate::error::{Location, ViewError};

/// At most this many stored bytes are fetched at a time, unless a single block is larger.
pub(crate) const RUN_BYTES: u64 = 4 << 20;
/// At most this much text is rendered from one fetch, unless that of a single block is longer.
const RUN_TEXT: u64 = 16 << 20;

/// No block within the limits of SPEC section 6 has more text: six bytes per stored byte and byte of the topic's name, plus the JSON
/// members of its records and headers. A footer that states more is found wrong when the block is rendered.
const MAX_TEXT: u64 = 1 << 32;

/// What decoding takes for each record besides its bytes: offset, timestamp, and where its parts end.
const COLUMN_BYTES: u64 = 48;

/// How much more batches that are compressed take once they are decompressed, where it is not known: as much as a backup assumes of them.
const BATCHES_EXPAND: u64 = 4;

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    segment: Arc<Key>,
    block: usize,
}

/// A text of one block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextKey {
    block: BlockKey,
    view: u8,
    span: Option<Span>,
}

/// Which text of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) view: View,
    /// Only of records whose timestamps are in it.
    pub(crate) span: Option<Span>,
}

impl Selection {
    /// A view of all records.
    pub(crate) fn all(view: View) -> Selection {
        Selection { view, span: None }
    }

    /// The records of a block whose timestamps are in `span`, of a block whose timestamps are `min` to `max`.
    pub(crate) fn within(span: Span, min: i64, max: i64) -> Selection {
        Selection {
            view: View::Records,
            span: (!span.covers(min, max)).then_some(span),
        }
    }
}

/// Whether a reader is waiting for the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A reader is waiting.
    Now,
    /// No reader yet: readers that wait come first.
    Prefetch,
}

/// Consecutive blocks of a segment that are neither cached nor being loaded.
struct Run {
    segment: Arc<OpenSegment>,
    selection: Selection,
    first: usize,
    guards: Vec<LoadGuard<TextKey, LeasedBytes>>,
}

/// A segment whose footer was read, and the lease on its memory.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) reader: SegmentReader,
    /// The object's name.
    key: Arc<Key>,
    name: String,
    /// Of the whole object, as its page states it.
    blake3: SegmentHash,
    /// The lengths of its text, once they were computed: of a segment that is not computed (SPEC 2.11).
    lengths: OnceLock<Arc<TextLengths>>,
    _lease: Lease,
}

impl OpenSegment {
    pub(crate) fn new(
        reader: SegmentReader,
        key: Arc<Key>,
        blake3: SegmentHash,
        lease: Lease,
    ) -> OpenSegment {
        OpenSegment {
            name: key.to_string(),
            reader,
            key,
            blake3,
            lengths: OnceLock::new(),
            _lease: lease,
        }
    }

    pub(crate) fn entries(&self) -> &[IndexEntry] {
        self.reader.segment().index().entries()
    }

    /// The name of the object.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the text of each block ends, if it is known.
    fn text_ends(&self) -> Option<&[ViewSizes]> {
        let stated = self.reader.segment().rendered_sizes();
        let stated = stated.map(|sizes| sizes.ends());
        stated.or(self.lengths.get().map(|lengths| lengths.ends()))
    }

    /// Whether it does not state the lengths of its text, and they were not set yet.
    pub(super) fn needs_lengths(&self) -> bool {
        !self.reader.segment().is_computed() && self.lengths.get().is_none()
    }

    /// Sets the lengths of its text.
    pub(super) fn set_lengths(&self, lengths: Arc<TextLengths>) {
        // They are kept: whoever was faster has set the same.
        let _ = self.lengths.set(lengths);
    }

    /// Whether nothing but the length of a block's text is shown, which is not even its own: it could not be decoded when that was computed.
    pub(crate) fn is_stand_in(&self, block: usize) -> bool {
        let lengths = self.lengths.get();
        lengths.is_some_and(|lengths| lengths.is_stand_in(block))
    }

    /// Where a block's text begins and ends in the segment's text.
    pub(crate) fn text_range(&self, block: usize, view: View) -> Range<u64> {
        let ends = self.text_ends().unwrap_or_default();
        let end = |block: usize| ends.get(block).map_or(0, |ends| ends[view as usize]);
        let start = block.checked_sub(1).map_or(0, end);
        start..end(block).max(start)
    }

    /// The block that contains the byte at `position` of the segment's text.
    pub(crate) fn block_at(&self, position: u64, view: View) -> Option<usize> {
        let ends = self.text_ends()?;
        let block = ends.partition_point(|ends| ends[view as usize] <= position);
        (block < ends.len()).then_some(block)
    }

    /// How much text a selection has, if the segment states it.
    fn stated_bytes(&self, block: usize, selection: Selection) -> Option<u64> {
        let Some(span) = selection.span else {
            let range = self.text_range(block, selection.view);
            return Some(range.end - range.start);
        };
        let (first, last) = span.whole_hours()?;
        let hours = self.reader.segment().hours()?.of_block(block).iter();
        let inside = hours.filter(|size| (first..=last).contains(&size.hour));
        Some(inside.map(|size| u64::from(size.bytes)).sum())
    }

    pub(crate) fn block_key(&self, block: usize) -> BlockKey {
        let segment = Arc::clone(&self.key);
        BlockKey { segment, block }
    }

    /// The location of an error in a block.
    pub(crate) fn location(&self, block: usize, partition: &Partition) -> Location {
        let entry = self.entries().get(block);
        Location {
            offsets: entry.map(|entry| entry.base_offset..entry.end_offset),
            ..partition.location()
        }
    }

    /// The error for an object that is another one than when it was opened.
    pub(super) fn changed(&self) -> ViewError {
        ViewError::repo(Location::default(), self.reader.changed())
    }

    /// The stored bytes of a block, and those that it takes to put its records or batches into a log.
    pub(super) fn log_bytes(&self, block: usize) -> (u64, u64) {
        let cost = Cost::of(self, block, View::Records);
        let entry = self.entries().get(block);
        let raw = match entry.filter(|entry| LentBlock::of(entry).is_some()) {
            // They are not decompressed, unless the block is.
            Some(entry) => u64::from(entry.raw_length),
            None => cost.raw,
        };
        (cost.stored, raw)
    }

    /// About what the records of a block take while it is decoded.
    fn decoded_bytes(&self, block: usize, entry: &IndexEntry) -> u64 {
        let raw = u64::from(entry.raw_length);
        let Some(bounds) = self.reader.segment().batch_bounds(block) else {
            return raw;
        };
        let text = self.text_range(block, View::Records);
        let records = if bounds.codecs.are_only(BatchCodec::None) {
            raw
        } else if text.is_empty() {
            // Nothing states it before the block was decoded.
            BATCHES_EXPAND.saturating_mul(raw)
        } else {
            // It has every byte of every record.
            text.end - text.start
        };
        // The decompressed bytes of one batch are there beside the records of all.
        let largest =
            u128::from(records) * u128::from(bounds.largest_bytes) / u128::from(raw.max(1));
        records.saturating_add(u64::try_from(largest).unwrap_or(u64::MAX))
    }

    fn block_name(&self, block: usize) -> BlockName {
        let segment = self.blake3;
        BlockName { segment, block }
    }

    fn text_key(&self, block: usize, selection: Selection) -> TextKey {
        TextKey {
            block: self.block_key(block),
            view: selection.view as u8,
            span: selection.span,
        }
    }
}

impl SnapshotReader {
    /// The text of a block.
    pub(crate) async fn block_text(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        block: usize,
        selection: Selection,
    ) -> Result<LeasedBytes, ViewError> {
        let (reader, of) = (Arc::clone(self), Arc::clone(segment));
        let load = move || async move {
            let load = reader.load_text(&of, block, selection);
            reader.source.while_answering(of.name(), load).await?
        };
        self.caches
            .texts
            .get(segment.text_key(block, selection), load)
            .await
    }

    async fn load_text(
        &self,
        segment: &OpenSegment,
        block: usize,
        selection: Selection,
    ) -> Result<LeasedBytes, ViewError> {
        let cost = Cost::of(segment, block, selection.view);
        let mut lease = self.budget.take(cost.stored + cost.text + cost.raw).await;
        let stored = self.fetch(segment, block..block + 1).await?;
        let kept = lease.split(cost.text);
        let in_flight = Arc::new(lease);
        let stored = stored.into_iter().next().unwrap_or_default();
        self.render(segment, block, selection, stored, kept, &in_flight)
            .await
    }

    /// Begins to load those of the blocks that are neither cached nor being loaded, in as few fetches as possible, and returns
    /// at once.
    ///
    /// A reader of such a block waits for this load, or loads the block itself if there was no memory for the run.
    pub(crate) fn begin_blocks(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        blocks: Range<usize>,
        selection: Selection,
        urgency: Urgency,
    ) {
        for run in self.runs(segment, blocks, selection) {
            let reader = Arc::clone(self);
            tokio::spawn(async move { reader.load_run(run, urgency).await });
        }
    }

    fn runs(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        blocks: Range<usize>,
        selection: Selection,
    ) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut stored, mut text) = (0, 0);
        let max_text = RUN_TEXT.min(self.budget.limit() / 8);
        for block in blocks {
            let cost = Cost::of(segment, block, selection.view);
            if cost.text == 0 {
                continue;
            }
            let Some(guard) = self
                .caches
                .texts
                .reserve(segment.text_key(block, selection))
            else {
                continue;
            };
            stored += cost.stored;
            text += cost.text;
            match runs.last_mut() {
                Some(run)
                    if run.first + run.guards.len() == block
                        && stored <= RUN_BYTES
                        && text <= max_text =>
                {
                    run.guards.push(guard);
                }
                _ => {
                    (stored, text) = (cost.stored, cost.text);
                    runs.push(Run {
                        segment: Arc::clone(segment),
                        selection,
                        first: block,
                        guards: vec![guard],
                    });
                }
            }
        }
        runs
    }

    /// Fetches a run and renders its blocks in parallel. If it cannot be fetched as a whole, dropping the guards leaves each block
    /// to its readers: only reads of damaged bytes may fail.
    async fn load_run(self: Arc<Self>, run: Run, urgency: Urgency) {
        let Run {
            segment,
            selection,
            first,
            guards,
        } = run;
        let costs: Vec<_> = (first..first + guards.len())
            .map(|block| Cost::of(&segment, block, selection.view))
            .collect();
        let kept: u64 = costs.iter().map(|cost| cost.stored + cost.text).sum();
        let raw: u64 =
            costs.iter().map(|cost| cost.raw).max().unwrap_or(0) * self.render.threads() as u64;
        let lease = match urgency {
            Urgency::Now => {
                let lease = self.budget.take(kept + raw);
                self.source.while_answering(segment.name(), lease).await
            }
            Urgency::Prefetch => match self.budget.take_ahead(kept + raw) {
                Some(lease) => Ok(lease),
                None => return,
            },
        };
        let fetched = match lease {
            Ok(lease) => {
                let stored = self.fetch(&segment, first..first + guards.len()).await;
                stored.map(|stored| (lease, stored))
            }
            Err(error) => Err(error),
        };
        let (mut lease, stored) = match fetched {
            Ok(fetched) => fetched,
            // Readers of the blocks have waited for as long as they may.
            Err(error @ ViewError::Deadline { .. }) if urgency == Urgency::Now => {
                for guard in guards {
                    guard.settle(Err(error.clone()));
                }
                return;
            }
            Err(_) => return,
        };
        let leases: Vec<_> = costs.iter().map(|cost| lease.split(cost.text)).collect();
        let in_flight = Arc::new(lease);
        let blocks = guards.into_iter().zip(leases).zip(stored);
        for (block, ((guard, kept), stored)) in (first..).zip(blocks) {
            let (reader, segment) = (Arc::clone(&self), Arc::clone(&segment));
            let in_flight = Arc::clone(&in_flight);
            tokio::spawn(async move {
                let text = reader.render(&segment, block, selection, stored, kept, &in_flight);
                guard.settle(text.await);
            });
        }
    }

    /// Applies `look` to the records of a block. They are not cached.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        segment: &OpenSegment,
        block: usize,
        look: impl Fn(&Columns) -> T + Clone + Send + 'static,
    ) -> Result<T, ViewError> {
        let cost = Cost::of(segment, block, View::Records);
        let lease = self.budget.take(cost.stored + cost.raw);
        let lease = self.source.while_answering(segment.name(), lease).await?;
        let in_flight = Arc::new(lease);
        let stored = self.fetch(segment, block..block + 1).await?;
        let stored = stored.into_iter().next().unwrap_or_default();
        let look = |bytes| {
            let reader = segment.reader.clone();
            self.render.look(reader, block, bytes, look.clone())
        };
        self.decoded(segment, block, stored, &in_flight, look).await
    }

    /// Applies `look` to the batches of a block of batches, which are not decoded. They are not cached.
    pub(super) async fn lend<T: Send + 'static>(
        &self,
        segment: &OpenSegment,
        block: usize,
        look: impl Fn(RecordBatches<'_>) -> Result<T, FormatError> + Clone + Send + 'static,
    ) -> Result<T, ViewError> {
        let (stored, raw) = segment.log_bytes(block);
        let lease = self.budget.take(stored + raw);
        let lease = self.source.while_answering(segment.name(), lease).await?;
        let in_flight = Arc::new(lease);
        let stored = self.fetch(segment, block..block + 1).await?;
        let stored = stored.into_iter().next().unwrap_or_default();
        let lend = |bytes| {
            let reader = segment.reader.clone();
            self.render.lend(reader, block, bytes, look.clone())
        };
        self.decoded(segment, block, stored, &in_flight, lend).await
    }

    /// The stored bytes of each block. One read of the store covers everything from the first block that the disk cache lacks
    /// through the last one.
    pub(super) async fn fetch(
        &self,
        segment: &OpenSegment,
        blocks: Range<usize>,
    ) -> Result<Vec<StoredBlock>, ViewError> {
        let mut stored = Vec::with_capacity(blocks.len());
        for block in blocks.clone() {
            stored.push(self.stored_on_disk(segment, block).await);
        }
        let missing = |bytes: &Option<Bytes>| bytes.is_none();
        let (Some(first), Some(last)) = (
            stored.iter().position(missing),
            stored.iter().rposition(missing),
        ) else {
            return Ok(stored
                .into_iter()
                .flatten()
                .map(StoredBlock::from_disk)
                .collect());
        };
        let wanted = blocks.start + first..blocks.start + last + 1;
        let (bytes, changed) = self.source.blocks(&segment.reader, wanted).await?;
        let mut at = 0;
        let stored = blocks.zip(stored).enumerate().map(|(i, (block, on_disk))| {
            if !(first..=last).contains(&i) {
                return StoredBlock::from_disk(on_disk.unwrap_or_default());
            }
            let start = at;
            at = bytes
                .len()
                .min(start + Cost::of(segment, block, View::Records).stored as usize);
            StoredBlock {
                bytes: bytes.slice(start..at),
                from_disk: false,
                on_disk: on_disk.is_some(),
                changed,
            }
        });
        Ok(stored.collect())
    }

    async fn stored_on_disk(&self, segment: &OpenSegment, block: usize) -> Option<Bytes> {
        let length = Cost::of(segment, block, View::Records).stored;
        let bytes = self.disk.as_ref()?.get(segment.block_name(block), length);
        // A disk that hangs is treated like one that has nothing.
        tokio::time::timeout(self.deadline, bytes).await.ok()?
    }

    /// Renders a block.
    async fn render(
        &self,
        segment: &OpenSegment,
        block: usize,
        selection: Selection,
        stored: StoredBlock,
        mut kept: Lease,
        in_flight: &Arc<Lease>,
    ) -> Result<LeasedBytes, ViewError> {
        if segment.is_stand_in(block) {
            let decode = |bytes| {
                let reader = segment.reader.clone();
                self.render.look(reader, block, bytes, |_| ())
            };
            let decoded = self.decoded(segment, block, stored, in_flight, decode);
            decoded.await?;
            // It can be decoded now. Its text has no place in the files, whose lengths stay as they are.
            return Err(segment.changed());
        }
        let stated = segment.stated_bytes(block, selection);
        let render = |bytes| {
            let reader = segment.reader.clone();
            self.render.text(reader, block, bytes, selection, stated)
        };
        let text = self.decoded(segment, block, stored, in_flight, render);
        let text = text.await?;
        // A selection may be a small part of the block's text, for which the lease was taken.
        let kept = kept.split(text.len() as u64);
        Ok(LeasedBytes::new(text, kept))
    }

    /// Passes the stored bytes of a block to `decode`. If bytes from the disk cache turn out to be damaged, they are read from the store
    /// instead.
    pub(super) async fn decoded<T, F>(
        &self,
        segment: &OpenSegment,
        block: usize,
        mut stored: StoredBlock,
        in_flight: &Arc<Lease>,
        decode: impl Fn(Bytes) -> F,
    ) -> Result<T, ViewError>
    where
        F: Future<Output = Result<T, ViewError>>,
    {
        let mut decoded = decode(stored.bytes.clone()).await;
        if let (Some(disk), true, Err(_)) = (&self.disk, stored.from_disk, &decoded) {
            disk.remove(segment.block_name(block)).await;
            stored = self.fetch_again(segment, block).await?;
            decoded = decode(stored.bytes.clone()).await;
        }
        if stored.changed && matches!(decoded, Err(ViewError::Damaged { .. })) {
            return Err(segment.changed());
        }
        let decoded = decoded?;
        if let (Some(disk), false) = (&self.disk, stored.on_disk) {
            disk.put(
                segment.block_name(block),
                stored.bytes,
                Arc::clone(in_flight),
            );
        }
        Ok(decoded)
    }

    async fn fetch_again(
        &self,
        segment: &OpenSegment,
        block: usize,
    ) -> Result<StoredBlock, ViewError> {
        let blocks = block..block + 1;
        let (bytes, changed) = self.source.blocks(&segment.reader, blocks).await?;
        Ok(StoredBlock {
            bytes,
            changed,
            ..StoredBlock::default()
        })
    }
}

/// The stored bytes of a block, and where they came from.
#[derive(Default)]
pub(super) struct StoredBlock {
    bytes: Bytes,
    from_disk: bool,
    /// Whether the disk cache has them already.
    on_disk: bool,
    /// Whether the object is another one than when it was opened. If the checksums match, its blocks are the same nevertheless.
    changed: bool,
}

impl StoredBlock {
    fn from_disk(bytes: Bytes) -> StoredBlock {
        StoredBlock {
            bytes,
            from_disk: true,
            on_disk: true,
            changed: false,
        }
    }
}

/// The memory that a block takes while it is rendered, in bytes.
#[derive(Clone, Copy)]
struct Cost {
    stored: u64,
    raw: u64,
    text: u64,
}

impl Cost {
    fn of(segment: &OpenSegment, block: usize, view: View) -> Cost {
        let entry = segment.entries().get(block);
        let range = segment.text_range(block, view);
        Cost {
            stored: entry.map_or(0, |entry| u64::from(entry.block_length)),
            raw: entry.map_or(0, |entry| {
                segment.decoded_bytes(block, entry) + COLUMN_BYTES * u64::from(entry.record_count)
            }),
            text: (range.end - range.start).min(MAX_TEXT),
        }
    }
}
