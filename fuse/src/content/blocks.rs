//! The text of single blocks: fetched in runs, rendered one by one, kept by block.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::IndexEntry;
use kbk_format::render::View;
use kbk_format::repo::Key;

use crate::cache::budget::Lease;
use crate::cache::disk::BlockName;
use crate::cache::kept::Kept;
use crate::cache::shelf::Claim;
use crate::content::library::{Library, OpenSegment};
use crate::error::{Location, ViewError};

/// Stored bytes that are fetched at a time, unless one block is larger.
pub(crate) const RUN_BYTES: u64 = 4 << 20;
/// Text that is made of one fetch, at most, unless that of one block is longer.
const RUN_TEXT: u64 = 16 << 20;

/// No block that SPEC section 6 allows has as much text: six bytes for each that it holds, and what its records' and headers'
/// members take beside. What a footer states beyond is found wrong when the block is rendered.
const MOST_TEXT: u64 = 1 << 31;

/// One block in one view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextKey {
    segment: Arc<Key>,
    block: usize,
    view: u8,
}

/// Whether somebody waits for the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A reader does.
    Now,
    /// Nobody yet: not at the cost of those who do.
    Ahead,
}

/// Consecutive blocks of a segment that nobody has or loads yet.
struct Run {
    segment: Arc<OpenSegment>,
    view: View,
    first: usize,
    claims: Vec<Claim<TextKey, Kept>>,
}

impl OpenSegment {
    pub(crate) fn entries(&self) -> &[IndexEntry] {
        self.reader.segment().index().entries()
    }

    /// Where a block's text begins and ends in the segment's.
    pub(crate) fn text_range(&self, block: usize, view: View) -> Range<u64> {
        let ends = self
            .reader
            .segment()
            .rendered_sizes()
            .map_or(&[][..], |sizes| sizes.ends());
        let end = |block: usize| ends.get(block).map_or(0, |ends| ends[view as usize]);
        let start = block.checked_sub(1).map_or(0, end);
        start..end(block).max(start)
    }

    /// The block that holds the byte at `position` of the segment's text.
    pub(crate) fn block_at(&self, position: u64, view: View) -> Option<usize> {
        let ends = self.reader.segment().rendered_sizes()?.ends();
        let block = ends.partition_point(|ends| ends[view as usize] <= position);
        (block < ends.len()).then_some(block)
    }

    fn block_name(&self, block: usize) -> BlockName {
        let segment = self.sha256;
        BlockName { segment, block }
    }

    fn text_key(&self, block: usize, view: View) -> TextKey {
        TextKey {
            segment: Arc::clone(&self.key),
            block,
            view: view as u8,
        }
    }
}

impl Library {
    /// The text of a block.
    pub(crate) async fn text(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        block: usize,
        view: View,
    ) -> Result<Kept, ViewError> {
        let (library, of) = (Arc::clone(self), Arc::clone(segment));
        let load = move || async move { library.load_text(&of, block, view).await };
        self.texts.get(segment.text_key(block, view), load).await
    }

    async fn load_text(
        &self,
        segment: &OpenSegment,
        block: usize,
        view: View,
    ) -> Result<Kept, ViewError> {
        let cost = Cost::of(segment, block, view);
        let mut lease = self.budget.take(cost.stored + cost.text + cost.raw).await;
        let stored = self.fetch(segment, block..block + 1).await?;
        let kept = lease.split(cost.text);
        let in_flight = Arc::new(lease);
        let stored = stored.into_iter().next().unwrap_or_default();
        self.render(segment, block, view, stored, kept, &in_flight)
            .await
    }

    /// Begins to load what nobody has or loads of these blocks, in as few fetches as can be. Answers at once.
    ///
    /// Who reads a block then waits for it, or loads it alone where there was no memory for it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        blocks: Range<usize>,
        view: View,
        urgency: Urgency,
    ) {
        for run in self.runs(segment, blocks, view) {
            let library = Arc::clone(self);
            tokio::spawn(async move { library.load_run(run, urgency).await });
        }
    }

    fn runs(
        self: &Arc<Self>,
        segment: &Arc<OpenSegment>,
        blocks: Range<usize>,
        view: View,
    ) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut stored, mut text) = (0, 0);
        let most_text = RUN_TEXT.min(self.budget.limit() / 8);
        for block in blocks {
            let cost = Cost::of(segment, block, view);
            if cost.text == 0 {
                continue;
            }
            let Some(claim) = self.texts.claim(segment.text_key(block, view)) else {
                continue;
            };
            stored += cost.stored;
            text += cost.text;
            match runs.last_mut() {
                Some(run)
                    if run.first + run.claims.len() == block
                        && stored <= RUN_BYTES
                        && text <= most_text =>
                {
                    run.claims.push(claim);
                }
                _ => {
                    (stored, text) = (cost.stored, cost.text);
                    runs.push(Run {
                        segment: Arc::clone(segment),
                        view,
                        first: block,
                        claims: vec![claim],
                    });
                }
            }
        }
        runs
    }

    /// Fetches a run and renders its blocks side by side. Where it cannot be fetched as a whole, its blocks are left to those
    /// who read them: only what is damaged must fail.
    async fn load_run(self: Arc<Self>, run: Run, urgency: Urgency) {
        let Run {
            segment,
            view,
            first,
            claims,
        } = run;
        let costs: Vec<_> = (first..first + claims.len())
            .map(|block| Cost::of(&segment, block, view))
            .collect();
        let kept: u64 = costs.iter().map(|cost| cost.stored + cost.text).sum();
        let raw: u64 =
            costs.iter().map(|cost| cost.raw).max().unwrap_or(0) * self.render.threads() as u64;
        let lease = match urgency {
            Urgency::Now => Some(self.budget.take(kept + raw).await),
            Urgency::Ahead => self.budget.take_ahead(kept + raw),
        };
        let Some(mut lease) = lease else {
            return;
        };
        let Ok(stored) = self.fetch(&segment, first..first + claims.len()).await else {
            return;
        };
        let leases: Vec<_> = costs.iter().map(|cost| lease.split(cost.text)).collect();
        let in_flight = Arc::new(lease);
        let blocks = claims.into_iter().zip(leases).zip(stored);
        for (block, ((claim, kept), stored)) in (first..).zip(blocks) {
            let (library, segment) = (Arc::clone(&self), Arc::clone(&segment));
            let in_flight = Arc::clone(&in_flight);
            tokio::spawn(async move {
                let text = library.render(&segment, block, view, stored, kept, &in_flight);
                claim.settle(text.await);
            });
        }
    }

    /// What `look` makes of the timestamps of a block's records, which are not kept.
    pub(crate) async fn timestamps<T: Send + 'static>(
        &self,
        segment: &OpenSegment,
        block: usize,
        look: impl FnOnce(&[i64]) -> T + Send + 'static,
    ) -> Result<T, ViewError> {
        let cost = Cost::of(segment, block, View::Records);
        let _lease = self.budget.take(cost.stored + cost.raw).await;
        let stored = self.fetch(segment, block..block + 1).await?;
        let stored = stored.into_iter().next().unwrap_or_default();
        let reader = segment.reader.clone();
        self.render
            .timestamps(reader, block, stored.bytes, look)
            .await
    }

    /// The stored bytes of each of these blocks. From the first that the folder of the cache does not have to the last, the
    /// store is asked for them at once.
    async fn fetch(
        &self,
        segment: &OpenSegment,
        blocks: Range<usize>,
    ) -> Result<Vec<Stored>, ViewError> {
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
                .map(Stored::from_disk)
                .collect());
        };
        let wanted = blocks.start + first..blocks.start + last + 1;
        let key = segment.reader.key().to_string();
        let (bytes, changed) = self
            .timed(&key, segment.reader.read_and_compare(wanted))
            .await?;
        let mut at = 0;
        let stored = blocks.zip(stored).enumerate().map(|(i, (block, on_disk))| {
            if !(first..=last).contains(&i) {
                return Stored::from_disk(on_disk.unwrap_or_default());
            }
            let start = at;
            at = bytes
                .len()
                .min(start + Cost::of(segment, block, View::Records).stored as usize);
            Stored {
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
        // A disk that hangs is as good as none.
        tokio::time::timeout(self.deadline, bytes).await.ok()?
    }

    /// The text of a block. Bytes from the folder of the cache that are not sound after all are read from the store instead.
    async fn render(
        &self,
        segment: &OpenSegment,
        block: usize,
        view: View,
        stored: Stored,
        kept: Lease,
        in_flight: &Arc<Lease>,
    ) -> Result<Kept, ViewError> {
        let range = segment.text_range(block, view);
        let render = |bytes| {
            let reader = segment.reader.clone();
            self.render
                .text(reader, block, bytes, view, range.end - range.start)
        };
        let mut stored = stored;
        let mut text = render(stored.bytes.clone()).await;
        if let (Some(disk), true, Err(_)) = (&self.disk, stored.from_disk, &text) {
            disk.remove(segment.block_name(block)).await;
            stored = self.fetch_again(segment, block).await?;
            text = render(stored.bytes.clone()).await;
        }
        if stored.changed && matches!(text, Err(ViewError::Damaged { .. })) {
            return Err(ViewError::repo(
                Location::default(),
                segment.reader.changed(),
            ));
        }
        let text = text?;
        if let (Some(disk), false) = (&self.disk, stored.on_disk) {
            disk.put(
                segment.block_name(block),
                stored.bytes,
                Arc::clone(in_flight),
            );
        }
        Ok(Kept::new(text, kept))
    }

    async fn fetch_again(&self, segment: &OpenSegment, block: usize) -> Result<Stored, ViewError> {
        let key = segment.reader.key().to_string();
        let read = segment.reader.read_and_compare(block..block + 1);
        let (bytes, changed) = self.timed(&key, read).await?;
        Ok(Stored {
            bytes,
            changed,
            ..Stored::default()
        })
    }
}

/// The stored bytes of a block.
#[derive(Default)]
struct Stored {
    bytes: Bytes,
    from_disk: bool,
    /// Whether the folder of the cache has them.
    on_disk: bool,
    /// They were read of another object than that which was opened. Sound ones are the same all the same.
    changed: bool,
}

impl Stored {
    fn from_disk(bytes: Bytes) -> Stored {
        Stored {
            bytes,
            from_disk: true,
            on_disk: true,
            changed: false,
        }
    }
}

/// Bytes that a block takes while its text is made.
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
            raw: entry.map_or(0, |entry| u64::from(entry.raw_length)),
            text: (range.end - range.start).min(MOST_TEXT),
        }
    }
}

/// The offsets of a block, for whoever is told that it cannot be read.
pub(crate) fn offsets_of(segment: &OpenSegment, block: usize, mut location: Location) -> Location {
    let entry = segment.entries().get(block);
    location.offsets = entry.map(|entry| entry.base_offset..entry.end_offset);
    location
}
