//! The records of one partition, block by block in offset order and in constant memory.
//!
//! ```text
//! task on the runtime:  open segment | read range 1 | read range 2 | ...
//! caller:                                 decode blocks of range 1 | decode blocks of range 2
//! ```
//!
//! At any time one range is being decoded and one is being read or waits: a few MiB, whatever the
//! size of the partition, unless one block alone is larger.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::repo::{Operation, RepoError, SegmentReader};
use kbk_format::{BlockDecoder, Columns, IndexEntry, Record, Segment, Streams};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinError, JoinHandle};

use crate::plan::ReadPlan;
use crate::runs::runs;
use crate::select::Selection;

/// Reads what a [`ReadPlan`] names.
///
/// Blocks are decoded where [`next`](Self::next) is called: about a millisecond of computing for a
/// block of 1 MiB. Several readers on threads of their own use as many cores; a plain thread calls
/// it inside [`Handle::block_on`].
pub struct PartitionReader {
    fetched: Receiver<Result<Fetched, RepoError>>,
    /// `None` when it has ended and was asked how.
    fetcher: Option<JoinHandle<()>>,
    current: Option<Fetched>,
    url: String,
    selection: Selection,
    streams: Streams,
    decoder: BlockDecoder,
    columns: Columns,
    stored_bytes: u64,
}

/// Which of a segment's blocks are read.
pub(crate) type Wanted = fn(&Selection, &Segment, &IndexEntry) -> bool;

/// Blocks whose bytes have been read and that are not decoded yet.
struct Fetched {
    segment: SegmentReader,
    blocks: Range<usize>,
    bytes: Bytes,
}

/// One decoded block that holds at least one record that is meant.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    columns: &'a Columns,
    selection: &'a Selection,
    stored_bytes: u64,
}

impl PartitionReader {
    pub(crate) fn start(
        plan: ReadPlan,
        wanted: Wanted,
        streams: Streams,
        runtime: &Handle,
    ) -> Self {
        // One range waits in the channel; the fetcher reads the next one only when it is taken.
        let (sender, fetched) = mpsc::channel(1);
        let url = plan.store.url().to_owned();
        let selection = plan.selection.clone();
        let fetcher = runtime.spawn(async move {
            if let Err(error) = fetch(&plan, wanted, &sender).await {
                // Nobody listens any more if this fails.
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

    /// The next block with records that are meant; `None` behind the last one, and after an error.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`] and [`SegmentReader::read`]; [`RepoError::DamagedSegment`] where a
    /// block is damaged, of which then no record is returned.
    pub async fn next(&mut self) -> Result<Option<Batch<'_>>, RepoError> {
        while self.decode_next().await? {
            if self.batch().records().next().is_some() {
                return Ok(Some(self.batch()));
            }
        }
        Ok(None)
    }

    /// The block that [`next`](Self::next) returned last, again: for callers that keep the reader and not the batch.
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
            self.current = None;
            self.fetched.close();
            while self.fetched.try_recv().is_ok() {}
        }
        decoded.map(|()| true)
    }

    /// A fetcher that did not reach its end must not look like the end of the partition.
    async fn end(&mut self) -> Result<(), RepoError> {
        let Some(fetcher) = self.fetcher.take() else {
            return Ok(());
        };
        let ended = fetcher.await.map_err(JoinError::try_into_panic);
        ended.map_err(|panic| match panic {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => RepoError::Store {
                operation: Operation::Read,
                url: self.url.clone(),
                key: "the segments".to_owned(),
                source: cancelled.into(),
            },
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

/// Opens segments and reads ranges, each when there is room for it. Ends early when nobody listens.
async fn fetch(
    plan: &ReadPlan,
    wanted: Wanted,
    sender: &Sender<Result<Fetched, RepoError>>,
) -> Result<(), RepoError> {
    let max_bytes = plan.store.profile().range_bytes;
    for entry in &plan.segments {
        let Ok(room) = sender.reserve().await else {
            return Ok(());
        };
        let segment = SegmentReader::open(&plan.store, &plan.place, entry).await?;
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
    /// All records of the block, those that are not meant too.
    #[must_use]
    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// The records that are meant, in offset order.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        self.rows().filter_map(move |row| batch.record(row))
    }

    /// Rows of [`columns`](Self::columns) among which the records are that are meant.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.selection.rows(self.columns)
    }

    /// The record of a row, if it is meant.
    #[must_use]
    pub fn record(&self, row: usize) -> Option<Record<'a>> {
        let record = self.columns.get(row);
        record.filter(|record| self.selection.takes(record))
    }

    /// Bytes of the block as it is stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }
}
