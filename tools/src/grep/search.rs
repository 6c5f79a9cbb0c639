//! The search: blocks are read in order, decoded on all cores, and returned in order.

use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kbk_format::repo::{Operation, RepoError};
use kbk_format::{Streams, TextRenderer};

use super::sources::{Next, SearchSource, Sources};
use crate::filter::RecordFilter;
use crate::large_blocks;
use crate::read::{DecodeScratch, FetchedBlock, Order, ReadOptions, Selection};
use crate::task::joined;

/// What is searched for, and what is wanted of it.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Timestamps in milliseconds since the epoch; both bounds are inclusive.
    pub times: RangeInclusive<i64>,
    /// What the records hold.
    pub filter: RecordFilter,
    /// What is decoded of the selected records.
    pub streams: Streams,
    /// The order of the sources, and of the offsets in each.
    pub order: Order,
    /// Whether the caller may stop early. What is read ahead then begins small.
    pub stops_early: bool,
    /// The renderer of each source; none where records are only counted.
    pub renderers: Vec<TextRenderer>,
}

/// What was found next.
#[derive(Debug)]
pub enum Found {
    /// Selected records of one block.
    Matches(Matches),
    /// Offsets that could not be searched.
    Unsearched(Unsearched),
}

/// Selected records of one block, in order; never none.
#[derive(Debug, Default)]
pub struct Matches {
    /// The number of the source.
    pub source: usize,
    /// How many there are.
    pub count: u64,
    /// The records, where they are rendered.
    pub records: Vec<FoundRecord>,
    /// What they are rendered as, one after the other.
    pub text: Vec<u8>,
}

/// A record in [`Matches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp; -1 if it has none.
    pub timestamp: i64,
    /// The exclusive end of its text.
    pub end: usize,
}

/// Offsets of a source that could not be searched.
#[derive(Debug)]
pub struct Unsearched {
    /// The number of the source.
    pub source: usize,
    /// The offsets; the end is exclusive.
    pub offsets: Range<i64>,
    /// Why.
    pub error: RepoError,
}

/// Stored and decoded bytes of the blocks that are being decoded, unless a single one has more. A block mostly has about 1 MiB.
const WINDOW_BYTES: u64 = 64 << 20;

/// Blocks per core that are being decoded or wait for the ones before them.
const BLOCKS_PER_CORE: usize = 4;

/// Blocks that are worked on before anything is found, where the caller may stop early.
const FIRST_BLOCKS: usize = 2;

fn most_blocks() -> usize {
    BLOCKS_PER_CORE * thread::available_parallelism().map_or(1, usize::from)
}

type Work = Pin<Box<dyn Future<Output = (Result<Option<Found>, RepoError>, usize, u64)> + Send>>;

/// A search in progress.
pub struct Search<'a> {
    sources: Sources<'a>,
    options: Arc<SearchOptions>,
    scratches: Arc<Mutex<Vec<DecodeScratch>>>,
    working: FuturesOrdered<Work>,
    working_bytes: u64,
    /// How many blocks are worked on at a time: few at first where the caller may stop early.
    most: usize,
    /// Whether nothing more is read: all is, or an error ended it.
    ended: bool,
    /// The source of which nothing more is returned.
    skipped: Option<usize>,
}

impl<'a> Search<'a> {
    /// Begins to search. Work is done while [`next`](Self::next) is awaited, on the threads for blocking work of the runtime.
    #[must_use]
    pub fn new(sources: Vec<SearchSource<'a>>, options: SearchOptions) -> Search<'a> {
        let reading = ReadOptions {
            streams: options.streams,
            order: options.order,
            limit: None,
            stops_early: options.stops_early,
        };
        let (filter, times) = (options.filter.clone(), options.times.clone());
        let most = match options.stops_early {
            true => FIRST_BLOCKS,
            false => most_blocks(),
        };
        Search {
            sources: Sources::new(sources, filter, times, reading),
            options: Arc::new(options),
            scratches: Arc::default(),
            working: FuturesOrdered::new(),
            working_bytes: 0,
            most,
            ended: false,
            skipped: None,
        }
    }

    /// Leaves out the rest of a source, of which something was found.
    pub fn skip(&mut self, source: usize) {
        self.skipped = Some(source);
        self.sources.skip(source);
    }

    /// Narrows the timestamps to select from what has not been read yet. Others may still be returned of what has been.
    pub fn narrow(&mut self, times: RangeInclusive<i64>) {
        self.sources.narrow(times);
    }

    /// Returns what is found next; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The error of the store, if it is not about one object: what was found before it has been returned, and nothing follows.
    pub async fn next(&mut self) -> Result<Option<Found>, RepoError> {
        loop {
            let has_room = self.working.len() < self.most && self.working_bytes < WINDOW_BYTES;
            let reads = !self.ended && has_room;
            if self.working.is_empty() && !reads {
                return Ok(None);
            }
            tokio::select! {
                biased;
                Some((found, source, bytes)) = self.working.next() => {
                    self.working_bytes = self.working_bytes.saturating_sub(bytes);
                    self.most = (2 * self.most).min(most_blocks().max(FIRST_BLOCKS));
                    match found {
                        Ok(Some(found)) if self.skipped != Some(source) => return Ok(Some(found)),
                        Ok(_) => {}
                        Err(error) => {
                            self.working = FuturesOrdered::new();
                            self.ended = true;
                            return Err(error);
                        }
                    }
                }
                next = self.sources.next(), if reads => self.work(next),
            }
        }
    }

    /// Begins to work on a block.
    fn work(&mut self, next: Option<Next>) {
        let Some(Next {
            source,
            selection,
            block,
        }) = next
        else {
            self.ended = true;
            return;
        };
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                let found = self.unsearched(source, &selection, error);
                self.ended |= found.is_err();
                let ready = (found, source, 0);
                self.working.push_back(Box::pin(async move { ready }));
                return;
            }
        };
        let stored = block
            .entry()
            .map_or(0, |entry| u64::from(entry.block_length));
        let bytes = stored + block.decoded_bytes() as u64;
        self.working_bytes += bytes;
        let (options, scratches) = (Arc::clone(&self.options), Arc::clone(&self.scratches));
        let task = tokio::task::spawn_blocking(move || {
            let lock = || scratches.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scratch = lock().pop().unwrap_or_else(DecodeScratch::new);
            let found = search_block(&mut scratch, &block, source, &selection, &options);
            if !large_blocks::are_large(scratch.block().buffer_bytes()) {
                lock().push(scratch);
            }
            found
        });
        self.working.push_back(Box::pin(async move {
            let found = joined(task.await).unwrap_or_else(|cancelled| {
                let error =
                    RepoError::of_store(Operation::Read, "the repository", "a block", cancelled);
                Err(error)
            });
            (found, source, bytes)
        }));
    }

    /// Returns which offsets could not be searched; the error itself, if it is not about one object.
    fn unsearched(
        &self,
        source: usize,
        selection: &Selection,
        error: RepoError,
    ) -> Result<Option<Found>, RepoError> {
        unsearched(source, selection, self.sources.offsets(source), error)
    }
}

fn unsearched(
    source: usize,
    selection: &Selection,
    all: Range<i64>,
    error: RepoError,
) -> Result<Option<Found>, RepoError> {
    if !error.is_of_one_object() {
        return Err(error);
    }
    // Where the error does not say, nothing that was selected is known to have been searched.
    let damaged = error.records().map(|(_, offsets)| offsets);
    let damaged = damaged.map_or(all, |span| span.base_offset..span.end_offset);
    let start = damaged.start.max(selection.offsets.start);
    let end = damaged.end.min(selection.offsets.end);
    let found = Found::Unsearched(Unsearched {
        source,
        offsets: start..end.max(start),
        error,
    });
    Ok(Some(found))
}

fn search_block(
    scratch: &mut DecodeScratch,
    block: &FetchedBlock,
    source: usize,
    selection: &Selection,
    options: &SearchOptions,
) -> Result<Option<Found>, RepoError> {
    if let Err(error) = block.decode(scratch, selection, options.streams) {
        let covered = block.entry().map_or(selection.offsets.clone(), |entry| {
            entry.base_offset..entry.end_offset
        });
        return unsearched(source, selection, covered, error);
    }
    let decoded = scratch.block();
    let mut found = Matches {
        source,
        count: decoded.count(),
        ..Matches::default()
    };
    if let Some(renderer) = options.renderers.get(source) {
        let mut rows = decoded.rows(selection);
        while let Some(row) = options.order.next(&mut rows) {
            let Some(record) = decoded.record(row, selection) else {
                continue;
            };
            renderer.render(&record, &mut found.text);
            found.records.push(FoundRecord {
                offset: record.offset,
                timestamp: record.timestamp,
                end: found.text.len(),
            });
        }
    }
    Ok((found.count > 0).then_some(Found::Matches(found)))
}

impl Matches {
    /// Returns each record with its text.
    pub fn each(&self) -> impl Iterator<Item = (FoundRecord, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |record| {
            let text = self.text.get(start..record.end).unwrap_or_default();
            start = record.end;
            (*record, text)
        })
    }

    /// Returns the text of the first `most` records, and how many they are.
    #[must_use]
    pub fn first(&self, most: u64) -> (&[u8], u64) {
        let number = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.records.len());
        let last = number
            .checked_sub(1)
            .and_then(|last| self.records.get(last));
        let end = last.map_or(0, |record| record.end);
        (self.text.get(..end).unwrap_or_default(), number as u64)
    }
}
