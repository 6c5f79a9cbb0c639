//! Reads the records of one partition or file, block by block in the order of offsets and in constant memory.
//!
//! ```text
//! task on the runtime:  open segment | read range 1 | read range 2 | ...
//! caller:                                 decode blocks of range 1 | decode blocks of range 2
//! ```
//!
//! At any time one range is being decoded and the next one is being read or queued: a few MiB whatever the size of the
//! partition, unless a single block is larger. Of a distant store, more ranges and segments are requested ahead: see `fetch` and `readahead`. A
//! reader that is not asked for anything yet has at most a small part of that, so several can be begun before they are needed.

use std::ops::Range;

use kbk_format::repo::{Operation, RepoError};
use kbk_format::{BlockDecoder, Columns, FormatError, Record, Segment, Streams};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::fetch::{Blocks, Fetched, Fetcher, Told};
use super::options::ReadOptions;
use super::selection::Selection;
use super::source::Source;
use crate::segment_file::SegmentFile;
use crate::task::joined;

/// Reads the selected records of a [`ReadPlan`](super::ReadPlan), or of one file.
///
/// Blocks are decoded on the thread that calls [`next`](Self::next), which takes about a millisecond for a block of 1 MiB.
/// Readers on separate threads use separate cores; a thread outside the runtime calls it inside [`Handle::block_on`].
pub struct PartitionReader {
    /// Bounded by what the fetcher has ahead.
    fetched: UnboundedReceiver<Result<Fetched, RepoError>>,
    /// Tells the fetcher what was taken.
    told: UnboundedSender<Told>,
    is_asked: bool,
    /// `None` once it has ended and its result has been taken.
    fetcher: Option<JoinHandle<()>>,
    current: Option<Fetched>,
    /// Whether a block was damaged.
    failed: bool,
    /// The name of the source in messages.
    name: String,
    selection: Selection,
    options: ReadOptions,
    decoder: BlockDecoder,
    columns: Columns,
    stored_bytes: u64,
}

/// One decoded block with at least one selected record.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    columns: &'a Columns,
    selection: &'a Selection,
    stored_bytes: u64,
}

impl PartitionReader {
    pub(super) fn start(
        source: Source,
        selection: Selection,
        wanted: Blocks,
        options: ReadOptions,
        runtime: &Handle,
    ) -> Self {
        let (sender, fetched) = mpsc::unbounded_channel();
        let (told, was_told) = mpsc::unbounded_channel();
        let name = source.name();
        let selected = selection.clone();
        let fetcher = runtime.spawn(async move {
            let fetcher = Fetcher::new(&source, &selected, wanted, options);
            if let Err(error) = fetcher.run(&sender, was_told).await {
                let error = source.explain(error).await;
                // The send fails only if the reader was dropped, and then nobody needs the error.
                let _ = sender.send(Err(error));
            }
        });
        PartitionReader {
            fetched,
            told,
            is_asked: false,
            fetcher: Some(fetcher),
            current: None,
            failed: false,
            name,
            selection,
            options,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            stored_bytes: 0,
        }
    }

    /// Starts reading the selected records of one file.
    #[must_use]
    pub fn of_file(
        file: SegmentFile,
        selection: Selection,
        options: ReadOptions,
        runtime: &Handle,
    ) -> Self {
        let source = Source::File(file);
        Self::start(source, selection, Blocks::Needed, options, runtime)
    }

    /// Returns the next block with selected records; `None` after the last one, and after an error.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`](kbk_format::repo::SegmentReader::open) and its `read`; [`Damage::Segment`](kbk_format::repo::Damage::Segment) if a block is damaged, and then
    /// none of its records is returned.
    pub async fn next(&mut self) -> Result<Option<Batch<'_>>, RepoError> {
        while self.decode_next().await? {
            if self.batch().records().next().is_some() {
                return Ok(Some(self.batch()));
            }
        }
        Ok(None)
    }

    /// Returns the block that [`next`](Self::next) returned last, for callers that keep the reader rather than the batch.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            columns: &self.columns,
            selection: &self.selection,
            stored_bytes: self.stored_bytes,
        }
    }

    async fn decode_next(&mut self) -> Result<bool, RepoError> {
        if self.failed {
            return Ok(false);
        }
        while self
            .current
            .as_ref()
            .is_none_or(|now| now.blocks.is_empty())
        {
            self.current = None;
            self.ask();
            let Some(mut fetched) = self.fetched.recv().await.transpose()? else {
                return self.end().await.map(|()| false);
            };
            self.tell(Told::Taken(fetched.take()));
            self.current = Some(fetched);
        }
        let decoded = self.decode_block();
        if decoded.is_err() {
            // Later calls must find the end, not the blocks after a damaged one: a caller would take the gap for the data.
            self.current = None;
            self.failed = true;
            if let Some(fetcher) = &self.fetcher {
                fetcher.abort();
            }
        }
        decoded.map(|()| true)
    }

    /// Says that the caller waits, at its first call. A reader that was begun before has only read what was easily had.
    fn ask(&mut self) {
        if !std::mem::replace(&mut self.is_asked, true) {
            self.tell(Told::Waits);
        }
    }

    fn tell(&self, told: Told) {
        // A fetcher that has ended needs to know no more.
        let _ = self.told.send(told);
    }

    /// Reports how the fetcher ended: one that panicked or was cancelled must not look like the end of the partition.
    async fn end(&mut self) -> Result<(), RepoError> {
        let Some(fetcher) = self.fetcher.take() else {
            return Ok(());
        };
        joined(fetcher.await).map_err(|cancelled| {
            RepoError::of_store(Operation::Read, &self.name, "the segments", cancelled)
        })
    }

    fn decode_block(&mut self) -> Result<(), RepoError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let Some(number) = current.blocks.pop_front() else {
            return Ok(());
        };
        let segment = current.segment.segment();
        let bytes = block_bytes(segment, number, current.position, &current.bytes);
        let decode = Decode {
            decoder: &mut self.decoder,
            columns: &mut self.columns,
            selection: &self.selection,
            streams: self.options.streams,
        };
        let decoded = decode.block(segment, number, bytes);
        let length = decoded.map_err(|error| {
            let damaged = current.segment.damaged(error);
            current.segment.in_blocks(damaged, number..number + 1)
        })?;
        self.stored_bytes = length as u64;
        Ok(())
    }
}

/// Returns the bytes from the start of a block on, of those that were read from `position` on.
fn block_bytes<'a>(segment: &Segment, number: usize, position: u64, bytes: &'a [u8]) -> &'a [u8] {
    let entry = segment.index().entries().get(number);
    let start = entry.and_then(|entry| entry.position.checked_sub(position));
    let start = start.and_then(|start| usize::try_from(start).ok());
    start
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default()
}

/// Decodes a block into columns.
struct Decode<'a> {
    decoder: &'a mut BlockDecoder,
    columns: &'a mut Columns,
    selection: &'a Selection,
    streams: Streams,
}

impl Decode<'_> {
    /// Decodes what is needed of a block, and returns its stored length. Without a record of a selected key, its values are not needed.
    fn block(self, segment: &Segment, number: usize, bytes: &[u8]) -> Result<usize, FormatError> {
        let block = segment.block(number, bytes)?;
        let length = block.header().block_length();
        let first = match self.selection.keys {
            Some(_) => Streams::Keys,
            None => self.streams,
        };
        block.decode(self.decoder, first, self.columns)?;
        let needs_all = self.streams == Streams::All && first != Streams::All;
        if needs_all && self.selection.selects_any(self.columns) {
            block.decode(self.decoder, Streams::All, self.columns)?;
        }
        Ok(length)
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.abort();
        }
    }
}

impl<'a> Batch<'a> {
    /// Returns every record of the block, selected or not.
    #[must_use]
    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// Returns the selected records, in offset order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        self.rows().filter_map(move |row| batch.record(row))
    }

    /// Returns the rows of [`columns`](Self::columns) that may hold selected records: outside of them there is none.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.selection.rows(self.columns)
    }

    /// Returns the record in a row, if it is selected.
    #[must_use]
    pub fn record(&self, row: usize) -> Option<Record<'a>> {
        let record = self.columns.get(row);
        record.filter(|record| self.selection.selects(record))
    }

    /// Returns the stored size of the block in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }
}
