//! Which blocks of a segment may have a key that is looked up, by the segment's key filter (SPEC 2.9).

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kbk_format::repo::RepoError;
use kbk_format::{KeyFilter, KeyHash};

use super::selection::Selection;
use super::source::OpenSegment;

/// Two pages that are nearer to each other are read by one request.
const GAP_BYTES: u64 = 32 << 10;
/// Bytes of pages of one request, unless a single page is larger.
const RUN_BYTES: u64 = 1 << 20;
/// Requests for pages at a time.
const REQUESTS: usize = 4;

/// The blocks that may have one of the keys; `None`: any may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyBlocks(Option<Vec<usize>>);

impl KeyBlocks {
    /// Any block may have them.
    pub(super) const ANY: KeyBlocks = KeyBlocks(None);

    /// Returns whether the block may have one of the keys.
    pub(super) fn may_have(&self, block: usize) -> bool {
        let blocks = self.0.as_ref();
        blocks.is_none_or(|blocks| blocks.binary_search(&block).is_ok())
    }

    /// Looks up the keys of a selection in a segment, whose first bytes `start` has, if it was read. A filter that is damaged says nothing: all
    /// blocks are read, and a verification finds it.
    ///
    /// # Errors
    ///
    /// The error of the store, if it is not about what is stored.
    pub(super) async fn look_up(
        selection: &Selection,
        segment: &OpenSegment,
        start: Option<&Bytes>,
    ) -> Result<KeyBlocks, RepoError> {
        let Some(filter) = segment.segment().key_filter() else {
            return Ok(KeyBlocks::ANY);
        };
        let Some(keys) = selection.filter.exact_keys() else {
            return Ok(KeyBlocks::ANY);
        };
        let hasher = filter.hasher();
        let mut hashes: Vec<KeyHash> = keys.map(|key| hasher.hash(key)).collect();
        // The pages are in the order of the hashes.
        hashes.sort_unstable();
        let runs = runs(filter, &hashes);
        let wanted: u64 = runs.iter().map(|run| length(&run.bytes)).sum();
        // Of many keys, most pages and most blocks are needed.
        if selection.stored_bytes(segment.segment()) < wanted.saturating_mul(4) {
            return Ok(KeyBlocks::ANY);
        }
        let mut found = Vec::new();
        let reads = runs
            .iter()
            .map(|run| read(segment, start, run.bytes.clone()));
        let reads: Vec<_> = reads.collect();
        let mut reads = stream::iter(reads).buffered(REQUESTS);
        for run in &runs {
            let Some(bytes) = reads.next().await else {
                return Ok(KeyBlocks::ANY);
            };
            let blocks = match bytes {
                Ok(bytes) => run.blocks(filter, &bytes),
                Err(error) if error.kind().is_about_content() => None,
                Err(error) => return Err(error),
            };
            match blocks {
                Some(blocks) => found.extend(blocks),
                None => return Ok(KeyBlocks::ANY),
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(KeyBlocks(Some(found)))
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

async fn read(
    segment: &OpenSegment,
    start: Option<&Bytes>,
    range: Range<u64>,
) -> Result<Bytes, RepoError> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    match start.filter(|start| start.len() as u64 >= range.end) {
        Some(start) => Ok(start.slice(place(range.start)..place(range.end))),
        None if range.is_empty() => Ok(Bytes::new()),
        None => segment.read(range).await,
    }
}

/// Pages that are read by one request, and the hashes that are looked up in each.
struct PageRun<'a> {
    bytes: Range<u64>,
    pages: Vec<(usize, &'a [KeyHash])>,
}

/// Returns the pages of the hashes, which are in order.
fn runs<'a>(filter: &KeyFilter, hashes: &'a [KeyHash]) -> Vec<PageRun<'a>> {
    let mut runs: Vec<PageRun<'a>> = Vec::new();
    for of_page in hashes.chunk_by(|a, b| filter.page_of(*a) == filter.page_of(*b)) {
        let Some(page) = of_page.first().map(|hash| filter.page_of(*hash)) else {
            continue;
        };
        let bytes = filter.range_of(page..page.saturating_add(1));
        let joins = runs.last_mut().filter(|run| {
            bytes.start.saturating_sub(run.bytes.end) <= GAP_BYTES
                && bytes.end.saturating_sub(run.bytes.start) <= RUN_BYTES
        });
        match joins {
            Some(run) => {
                run.bytes.end = bytes.end;
                run.pages.push((page, of_page));
            }
            None => runs.push(PageRun {
                bytes,
                pages: vec![(page, of_page)],
            }),
        }
    }
    runs
}

impl PageRun<'_> {
    /// Returns the blocks that may have the keys; `None` where a page is damaged.
    fn blocks(&self, filter: &KeyFilter, bytes: &[u8]) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        for (page, hashes) in &self.pages {
            let range = filter.range_of(*page..page.saturating_add(1));
            let at = |position: u64| usize::try_from(position.checked_sub(self.bytes.start)?).ok();
            let page_bytes = bytes.get(at(range.start)?..at(range.end)?)?;
            found.extend(filter.blocks_of(*page, page_bytes, hashes).ok()?);
        }
        Some(found)
    }
}
