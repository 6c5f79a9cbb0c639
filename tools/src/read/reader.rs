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

use super::decode::{DecodeScratch, DecodedBlock};
use super::fetch::Blocks;
use super::options::ReadOptions;
use super::selection::Selection;
use super::source::Source;
use super::stored::StoredBlock;
use super::until_damage::BlocksUntilDamage;
use crate::large_blocks::{self, LargeBlock};
use crate::segment_file::SegmentFile;

/// Reads the selected records of a [`ReadPlan`](super::ReadPlan), or of one file.
///
/// Blocks are decoded on the thread that calls [`next`](Self::next), which takes about a millisecond for a block of 1 MiB.
/// Readers on separate threads use separate cores; a thread outside the runtime calls it inside [`Handle::block_on`].
pub struct PartitionReader {
    blocks: BlocksUntilDamage,
    scratch: DecodeScratch,
    /// Whether it waits for room before it decodes a large block, and the room of the current one.
    waits: bool,
    room: Option<LargeBlock<'static>>,
    timestamp_type: TimestampType,
    stored_bytes: u64,
}

/// One decoded block with at least one selected record.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    decoded: &'a DecodedBlock,
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
        PartitionReader {
            blocks: BlocksUntilDamage::start(source, selection, wanted, options, runtime),
            scratch: DecodeScratch::new(),
            waits: false,
            room: None,
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

    /// Makes [`next`](Self::next) wait for room for large blocks, of which many threads may have one each. It blocks then, and the thread must read no
    /// other partition in between.
    #[must_use]
    pub(crate) fn waiting_for_room(mut self) -> Self {
        self.waits = true;
        self
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
            decoded: self.scratch.block(),
            selection: self.blocks.selection(),
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
        let lends = self.blocks.selection().filter.selects_all();
        loop {
            if !self.blocks.fetch_next().await? {
                return Ok(None);
            }
            let Some(block) = self.blocks.current() else {
                return Ok(None);
            };
            let is_of_batches = block.is_of_batches();
            if lends && self.blocks.latch(is_of_batches)? {
                break;
            }
            self.decode()?;
            if self.batch().records().next().is_some() {
                return Ok(Some(StoredBlock::Records(self.batch())));
            }
        }
        let batches = self.blocks.batches(self.scratch.decoder())?;
        Ok(batches.map(StoredBlock::Batches))
    }

    async fn decode_next(&mut self) -> Result<bool, RepoError> {
        if self.room.is_some() {
            self.scratch = DecodeScratch::new();
            self.room = None;
        }
        let is_fetched = self.blocks.fetch_next().await?;
        if is_fetched {
            self.decode()?;
        }
        Ok(is_fetched)
    }

    /// Decodes the block that was fetched last.
    fn decode(&mut self) -> Result<(), RepoError> {
        let Some(block) = self.blocks.current() else {
            return Ok(());
        };
        let length = block.entry().map_or(0, |entry| entry.block_length);
        self.stored_bytes = u64::from(length);
        self.timestamp_type = block.timestamp_type();
        if self.waits {
            self.room = large_blocks::wait_for_room(block.decoded_bytes());
        }
        let (decoder, decoded) = self.scratch.parts();
        self.blocks.decode(decoder, decoded)
    }
}

impl<'a> Batch<'a> {
    /// Returns every record of the block, selected or not.
    #[must_use]
    pub fn columns(&self) -> &'a Columns {
        self.decoded.columns()
    }

    /// Returns the selected records, in offset order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        self.rows().filter_map(move |row| batch.record(row))
    }

    /// Returns the rows of [`columns`](Self::columns) that may hold selected records: outside of them there is none.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.decoded.rows(self.selection)
    }

    /// Returns the record in a row, if it is selected.
    #[must_use]
    pub fn record(&self, row: usize) -> Option<Record<'a>> {
        self.decoded.record(row, self.selection)
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
