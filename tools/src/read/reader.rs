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

use kbk_format::repo::RepoError;
use kbk_format::{Columns, Record, TimestampType};
use tokio::runtime::Handle;

use super::blocks::{BlockReader, FetchedBlock};
use super::decode::DecodeScratch;
use super::fetch::{AfterDamage, Blocks};
use super::options::ReadOptions;
use super::selection::Selection;
use super::source::Source;
use super::stored::{StoredBatches, StoredBlock};
use crate::segment_file::SegmentFile;

/// Reads the selected records of a [`ReadPlan`](super::ReadPlan), or of one file.
///
/// Blocks are decoded on the thread that calls [`next`](Self::next), which takes about a millisecond for a block of 1 MiB.
/// Readers on separate threads use separate cores; a thread outside the runtime calls it inside [`Handle::block_on`].
pub struct PartitionReader {
    blocks: BlockReader,
    /// The block that was fetched last.
    current: Option<FetchedBlock>,
    /// Whether a block was damaged.
    failed: bool,
    selection: Selection,
    options: ReadOptions,
    scratch: DecodeScratch,
    timestamp_type: TimestampType,
    stored_bytes: u64,
}

/// One decoded block with at least one selected record.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    scratch: &'a DecodeScratch,
    selection: &'a Selection,
    timestamp_type: TimestampType,
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
        let after = AfterDamage::Ends;
        let selected = selection.clone();
        PartitionReader {
            blocks: BlockReader::start(source, selected, wanted, options, after, runtime),
            current: None,
            failed: false,
            selection,
            options,
            scratch: DecodeScratch::new(),
            timestamp_type: TimestampType::CreateTime,
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
            scratch: &self.scratch,
            selection: &self.selection,
            timestamp_type: self.timestamp_type,
            stored_bytes: self.stored_bytes,
        }
    }

    /// Returns the next block as it is stored: the batches of one of batches, of which some may be selected, and the selected records of any
    /// other. `None` after the last one, and after an error.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn next_stored(&mut self) -> Result<Option<StoredBlock<'_>>, RepoError> {
        // What a filter selects, only decoding tells.
        let lends = self.selection.filter.selects_all();
        loop {
            if !self.fetch_next().await? {
                return Ok(None);
            }
            let Some(block) = &self.current else {
                return Ok(None);
            };
            let is_of_batches = block.is_of_batches();
            if lends && self.latch(is_of_batches)? {
                break;
            }
            self.decode()?;
            if self.batch().records().next().is_some() {
                return Ok(Some(StoredBlock::Records(self.batch())));
            }
        }
        let Some(block) = &self.current else {
            return Ok(None);
        };
        let lent = block.batches(self.scratch.decoder());
        match lent {
            Ok(batches) => {
                let batches = StoredBatches::new(block, batches, &self.selection);
                Ok(Some(StoredBlock::Batches(batches)))
            }
            Err(error) => {
                self.failed = true;
                self.blocks.stop();
                Err(error)
            }
        }
    }

    async fn decode_next(&mut self) -> Result<bool, RepoError> {
        let is_fetched = self.fetch_next().await?;
        if is_fetched {
            self.decode()?;
        }
        Ok(is_fetched)
    }

    async fn fetch_next(&mut self) -> Result<bool, RepoError> {
        self.current = None;
        if self.failed {
            return Ok(false);
        }
        self.current = self.blocks.next().await?;
        Ok(self.current.is_some())
    }

    /// Decodes the block that was fetched last.
    fn decode(&mut self) -> Result<(), RepoError> {
        let Some(block) = &self.current else {
            return Ok(());
        };
        let streams = self.options.streams;
        let length = block.entry().map_or(0, |entry| entry.block_length);
        self.stored_bytes = u64::from(length);
        self.timestamp_type = block.timestamp_type();
        let decoded = block.decode(&mut self.scratch, &self.selection, streams);
        self.latch(decoded)
    }

    /// Ends the reader with the first error of a block: later calls must find the end, not the blocks after a damaged one, since a caller would
    /// take the gap for the data.
    fn latch<T>(&mut self, done: Result<T, RepoError>) -> Result<T, RepoError> {
        if done.is_err() {
            self.failed = true;
            self.blocks.stop();
        }
        done
    }
}

impl<'a> Batch<'a> {
    /// Returns every record of the block, selected or not.
    #[must_use]
    pub fn columns(&self) -> &'a Columns {
        self.scratch.columns()
    }

    /// Returns the selected records, in offset order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        self.rows().filter_map(move |row| batch.record(row))
    }

    /// Returns the rows of [`columns`](Self::columns) that may hold selected records: outside of them there is none.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.scratch.rows(self.selection)
    }

    /// Returns the record in a row, if it is selected.
    #[must_use]
    pub fn record(&self, row: usize) -> Option<Record<'a>> {
        self.scratch.record(row, self.selection)
    }

    /// Returns who set the timestamps of these records.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// Returns the stored size of the block in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }
}
