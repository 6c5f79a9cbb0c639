//! Reads the records of one partition, block by block in offset order and in constant memory.
//!
//! ```text
//! task on the runtime:  open segment | read range 1 | read range 2 | ...
//! caller:                                 decode blocks of range 1 | decode blocks of range 2
//! ```
//!
//! At any time one range is being decoded and the next one is being read or queued: a few MiB whatever the size of the
//! partition, unless a single block is larger.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::repo::{Operation, RepoError, SegmentReader};
use kbk_format::{BlockDecoder, Columns, IndexEntry, Record, Segment, Streams};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::plan::ReadPlan;
use super::runs::runs;
use super::selection::Selection;
use crate::task::joined;

/// Reads the records that a [`ReadPlan`] selects.
///
/// Blocks are decoded on the thread that calls [`next`](Self::next), which takes about a millisecond for a block of 1 MiB.
/// Readers on separate threads use separate cores; a thread outside the runtime calls it inside [`Handle::block_on`].
pub struct PartitionReader {
    fetched: Receiver<Result<Fetched, RepoError>>,
    /// `None` once it has ended and its result has been taken.
    fetcher: Option<JoinHandle<()>>,
    current: Option<Fetched>,
    url: String,
    selection: Selection,
    streams: Streams,
    decoder: BlockDecoder,
    columns: Columns,
    stored_bytes: u64,
}

/// Decides whether a block of a segment is read.
pub(super) type BlockFilter = fn(&Selection, &Segment, &IndexEntry) -> bool;

/// Blocks whose bytes have been read but not yet decoded.
struct Fetched {
    segment: SegmentReader,
    blocks: Range<usize>,
    bytes: Bytes,
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
        plan: ReadPlan,
        wanted: BlockFilter,
        streams: Streams,
        runtime: &Handle,
    ) -> Self {
        // A capacity of one bounds memory: the fetcher reads the next range only once this one has been taken.
        let (sender, fetched) = mpsc::channel(1);
        let url = plan.store.url().to_owned();
        let selection = plan.selection.clone();
        let fetcher = runtime.spawn(async move {
            if let Err(error) = fetch(&plan, wanted, &sender).await {
                // The send fails only if the reader was dropped, and then nobody needs the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        PartitionReader {
            fetched,
            fetcher: Some(fetcher),
            current: None,
            url,
            selection,
            streams,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            stored_bytes: 0,
        }
    }

    /// Returns the next block with selected records; `None` after the last one, and after an error.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`] and [`SegmentReader::read`]; [`Damage::Segment`](kbk_format::repo::Damage::Segment) if a block is damaged, and then
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
        while self
            .current
            .as_ref()
            .is_none_or(|now| now.blocks.is_empty())
        {
            self.current = self.fetched.recv().await.transpose()?;
            if self.current.is_none() {
                return self.end().await.map(|()| false);
            }
        }
        let decoded = self.decode_block();
        if decoded.is_err() {
            // Later calls must find the end, not the blocks after a damaged one: a caller would take the gap for the data.
            self.current = None;
            self.fetched.close();
            while self.fetched.try_recv().is_ok() {}
        }
        decoded.map(|()| true)
    }

    /// Reports how the fetcher ended: one that panicked or was cancelled must not look like the end of the partition.
    async fn end(&mut self) -> Result<(), RepoError> {
        let Some(fetcher) = self.fetcher.take() else {
            return Ok(());
        };
        joined(fetcher.await).map_err(|cancelled| {
            RepoError::of_store(Operation::Read, &self.url, "the segments", cancelled)
        })
    }

    fn decode_block(&mut self) -> Result<(), RepoError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let Some(number) = current.blocks.next() else {
            return Ok(());
        };
        let segment = current.segment.segment();
        let decoded = segment.block(number, &current.bytes).and_then(|block| {
            block.decode(&mut self.decoder, self.streams, &mut self.columns)?;
            Ok(block.header().block_length())
        });
        let length = decoded.map_err(|error| current.segment.damaged(error))?;
        let _ = current.bytes.split_to(length);
        self.stored_bytes = length as u64;
        Ok(())
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.abort();
        }
    }
}

/// Opens segments and reads ranges, each once the channel has room for it. Returns early if the reader was dropped.
async fn fetch(
    plan: &ReadPlan,
    wanted: BlockFilter,
    sender: &Sender<Result<Fetched, RepoError>>,
) -> Result<(), RepoError> {
    let max_bytes = plan.store.profile().range_bytes;
    for entry in &plan.segments {
        let Ok(room) = sender.reserve().await else {
            return Ok(());
        };
        let segment = SegmentReader::open(&plan.store, &plan.partition, entry).await?;
        // Only reserved so that a segment is not opened long before it is needed; it may turn out to have no wanted block.
        drop(room);
        let entries = segment.segment().index().entries();
        let needed = (0..entries.len())
            .filter(|block| wanted(&plan.selection, segment.segment(), &entries[*block]));
        for blocks in runs(entries, needed, max_bytes) {
            let Ok(room) = sender.reserve().await else {
                return Ok(());
            };
            let bytes = segment.read(blocks.clone()).await?;
            room.send(Ok(Fetched {
                segment: segment.clone(),
                blocks,
                bytes,
            }));
        }
    }
    Ok(())
}

impl<'a> Batch<'a> {
    /// Returns every record of the block, selected or not.
    #[must_use]
    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// Returns the selected records, in offset order.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
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
