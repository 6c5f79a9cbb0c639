//! The text of single blocks: fetched in runs, rendered one by one, kept by block.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::IndexEntry;
use kbk_format::render::View;
use kbk_format::repo::{Hex, Id};

use crate::cache::budget::Lease;
use crate::cache::shelf::{Claim, Value};
use crate::error::{Location, ViewError};
use crate::library::{Library, OpenSegment};

/// Stored bytes that are fetched at a time, unless one block is larger.
const RUN_BYTES: u64 = 4 << 20;

/// One block in one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextKey {
    segment: Id,
    block: usize,
    view: u8,
}

/// The text of a block. Its memory is given back when nobody reads it any more.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) bytes: Bytes,
    lease: Arc<Lease>,
}

struct Owned {
    bytes: Vec<u8>,
    _lease: Arc<Lease>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Text {
    pub(crate) fn new(bytes: Vec<u8>, lease: Lease) -> Text {
        let lease = Arc::new(lease);
        let owned = Owned {
            bytes,
            _lease: Arc::clone(&lease),
        };
        Text {
            bytes: Bytes::from_owner(owned),
            lease,
        }
    }
}

impl Value for Text {
    fn was_read(&self) {
        self.lease.read();
    }
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
    claims: Vec<Claim<TextKey, Text>>,
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

    fn text_key(&self, block: usize, view: View) -> TextKey {
        let segment = Hex(self.reader.segment().header().segment_id);
        TextKey {
            segment,
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
    ) -> Result<Text, ViewError> {
        let (library, of) = (Arc::clone(self), Arc::clone(segment));
        let load = move || async move { library.load_text(&of, block, view).await };
        self.texts.get(segment.text_key(block, view), load).await
    }

    async fn load_text(
        &self,
        segment: &OpenSegment,
        block: usize,
        view: View,
    ) -> Result<Text, ViewError> {
        let cost = Cost::of(segment, block, view);
        let mut lease = self.budget.take(cost.stored + cost.text + cost.raw).await;
        let stored = self.fetch(segment, block..block + 1).await?;
        let kept = lease.split(cost.text);
        self.render(segment, block, view, stored, kept).await
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
        let mut bytes = 0;
        for block in blocks {
            let range = segment.text_range(block, view);
            let Some(claim) = (!range.is_empty())
                .then(|| self.texts.claim(segment.text_key(block, view)))
                .flatten()
            else {
                continue;
            };
            let stored = Cost::of(segment, block, view).stored;
            match runs.last_mut() {
                Some(run)
                    if run.first + run.claims.len() == block && bytes + stored <= RUN_BYTES =>
                {
                    run.claims.push(claim);
                    bytes += stored;
                }
                _ => {
                    let segment = Arc::clone(segment);
                    runs.push(Run {
                        segment,
                        view,
                        first: block,
                        claims: vec![claim],
                    });
                    bytes = stored;
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
        let Ok(bytes) = self.fetch(&segment, first..first + claims.len()).await else {
            return;
        };
        let leases: Vec<_> = costs.iter().map(|cost| lease.split(cost.text)).collect();
        let in_flight = Arc::new(lease);
        let mut at = 0;
        for (block, ((claim, cost), kept)) in claims.into_iter().zip(costs).zip(leases).enumerate()
        {
            let end = (at + cost.stored as usize).min(bytes.len());
            let stored = bytes.slice(at.min(end)..end);
            at = end;
            let (library, segment) = (Arc::clone(&self), Arc::clone(&segment));
            let in_flight = Arc::clone(&in_flight);
            tokio::spawn(async move {
                let text = library
                    .render(&segment, first + block, view, stored, kept)
                    .await;
                drop(in_flight);
                claim.settle(text);
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
        self.render
            .timestamps(segment.reader.clone(), block, stored, look)
            .await
    }

    async fn fetch(&self, segment: &OpenSegment, blocks: Range<usize>) -> Result<Bytes, ViewError> {
        let key = segment.reader.key().to_string();
        self.timed(&key, segment.reader.read(blocks)).await
    }

    async fn render(
        &self,
        segment: &OpenSegment,
        block: usize,
        view: View,
        stored: Bytes,
        kept: Lease,
    ) -> Result<Text, ViewError> {
        let range = segment.text_range(block, view);
        let reader = segment.reader.clone();
        let text = self
            .render
            .text(reader, block, stored, view, range.end - range.start)
            .await?;
        Ok(Text::new(text, kept))
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
            text: range.end - range.start,
        }
    }
}

/// The offsets of a block, for whoever is told that it cannot be read.
pub(crate) fn offsets_of(segment: &OpenSegment, block: usize, mut location: Location) -> Location {
    let entry = segment.entries().get(block);
    location.offsets = entry.map(|entry| entry.base_offset..entry.end_offset);
    location
}
