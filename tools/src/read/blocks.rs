//! The stored blocks that a selection needs, in order, before anything of them is decoded.
//!
//! A task on the runtime fetches them: see `fetch`. Whoever asks for them decodes them, on whatever thread.

use bytes::Bytes;
use kbk_format::batch::RecordBatches;
use kbk_format::block::BlockKind;
use kbk_format::repo::{Operation, RepoError};
use kbk_format::{BlockDecoder, FormatError, IndexEntry, Streams, TimestampType};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::decode::{DecodeScratch, DecodedBlock};
use super::fetch::{AfterDamage, Blocks, Fetched, Fetcher, Told, Unread};
use super::options::ReadOptions;
use super::part::BlockPart;
use super::selection::Selection;
use super::source::{OpenSegment, Source};
use crate::segment_file::SegmentFile;
use crate::task::joined;

/// Returns the stored blocks of one partition or file, in order.
pub(crate) struct BlockReader {
    /// Bounded by what the fetcher has ahead.
    fetched: UnboundedReceiver<Result<Fetched, Unread>>,
    /// Tells the fetcher what was taken.
    told: UnboundedSender<Told>,
    is_asked: bool,
    /// `None` once it has ended and its result has been taken.
    fetcher: Option<JoinHandle<()>>,
    current: Option<Fetched>,
    /// The name of the source in messages.
    name: String,
}

/// One block that has been read and not decoded.
pub(crate) struct FetchedBlock {
    segment: OpenSegment,
    number: usize,
    bytes: Bytes,
    part: BlockPart,
}

impl BlockReader {
    pub(super) fn start(
        source: Source,
        selection: Selection,
        wanted: Blocks,
        options: ReadOptions,
        after_damage: AfterDamage,
        runtime: &Handle,
    ) -> Self {
        let (sender, fetched) = mpsc::unbounded_channel();
        let (told, was_told) = mpsc::unbounded_channel();
        let name = source.name();
        let fetcher = runtime.spawn(async move {
            let fetcher = Fetcher::new(&source, &selection, wanted, options, after_damage);
            if let Err(error) = fetcher.run(&sender, was_told).await {
                let error = source.explain(error).await;
                // The send fails only if the reader was dropped, and then nobody needs the error.
                let _ = sender.send(Err(Unread::last(error)));
            }
        });
        BlockReader {
            fetched,
            told,
            is_asked: false,
            fetcher: Some(fetcher),
            current: None,
            name,
        }
    }

    /// Starts reading the blocks of one file. Those that cannot be read are skipped.
    pub(crate) fn of_file(
        file: SegmentFile,
        selection: Selection,
        options: ReadOptions,
        runtime: &Handle,
    ) -> Self {
        let (source, after) = (Source::File(file), AfterDamage::Continues);
        Self::start(source, selection, Blocks::Needed, options, after, runtime)
    }

    /// Returns the next block; `None` after the last one. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`](kbk_format::repo::SegmentReader::open) and its `read`. After an error about what is stored, blocks follow only of a
    /// reader that continues after damage; after any other one none does.
    pub(crate) async fn next(&mut self) -> Result<Option<FetchedBlock>, RepoError> {
        loop {
            if let Some(block) = self.current.as_mut().and_then(Fetched::next_block) {
                return Ok(Some(block));
            }
            self.current = None;
            self.ask();
            match self.fetched.recv().await {
                Some(Ok(mut fetched)) => {
                    self.tell(Told::Taken(fetched.take()));
                    self.current = Some(fetched);
                }
                Some(Err(unread)) => {
                    self.tell(unread.taken());
                    return Err(unread.error);
                }
                None => return self.end().await.map(|()| None),
            }
        }
    }

    /// Ends early: nothing more is fetched.
    pub(super) fn stop(&mut self) {
        self.current = None;
        if let Some(fetcher) = &self.fetcher {
            fetcher.abort();
        }
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
        let Some(fetcher) = &mut self.fetcher else {
            return Ok(());
        };
        let ended = joined(fetcher.await);
        self.fetcher = None;
        ended.map_err(|cancelled| {
            RepoError::of_store(Operation::Read, &self.name, "the segments", cancelled)
        })
    }
}

impl Drop for BlockReader {
    fn drop(&mut self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.abort();
        }
    }
}

impl FetchedBlock {
    pub(super) fn new(
        segment: OpenSegment,
        number: usize,
        bytes: Bytes,
        part: BlockPart,
    ) -> FetchedBlock {
        FetchedBlock {
            segment,
            number,
            bytes,
            part,
        }
    }

    /// Returns what the index states about it.
    pub(crate) fn entry(&self) -> Option<&IndexEntry> {
        self.segment.segment().index().entries().get(self.number)
    }

    /// Returns the timestamp type of its records.
    pub(super) fn timestamp_type(&self) -> TimestampType {
        self.segment.segment().header().timestamp_type
    }

    /// Decodes what is needed to select records, and `streams` of those that are selected.
    ///
    /// # Errors
    ///
    /// [`Damage::Segment`](kbk_format::repo::Damage::Segment).
    pub(crate) fn decode(
        &self,
        scratch: &mut DecodeScratch,
        selection: &Selection,
        streams: Streams,
    ) -> Result<(), RepoError> {
        let (decoder, decoded) = scratch.parts();
        self.decode_with(decoder, decoded, selection, streams)
    }

    /// Does the same into `decoded`.
    pub(super) fn decode_with(
        &self,
        decoder: &mut BlockDecoder,
        decoded: &mut DecodedBlock,
        selection: &Selection,
        streams: Streams,
    ) -> Result<(), RepoError> {
        let block = (self.segment.segment(), self.number);
        let bytes = (&*self.bytes, self.part);
        let done = decoded.decode(decoder, block, bytes, selection, streams);
        done.map_err(|error| self.damaged(error))
    }

    /// Returns about how many bytes it takes once it is decoded.
    pub(crate) fn decoded_bytes(&self) -> usize {
        let segment = self.segment.segment();
        segment.decoded_bytes(self.number, &self.bytes)
    }

    /// Returns whether all of it was read, and it is one of batches.
    ///
    /// # Errors
    ///
    /// [`Damage::Segment`](kbk_format::repo::Damage::Segment) where its header is damaged.
    pub(super) fn is_of_batches(&self) -> Result<bool, RepoError> {
        let block = self.segment.segment().block(self.number, &self.bytes);
        let block = block.map_err(|error| self.damaged(error))?;
        Ok(self.part == BlockPart::Whole && block.header().kind == BlockKind::Batches)
    }

    /// Lends its batches, after the checks of their headers and checksums; none where it has records.
    ///
    /// # Errors
    ///
    /// [`Damage::Segment`](kbk_format::repo::Damage::Segment).
    pub(super) fn batches<'a>(
        &'a self,
        decoder: &'a mut BlockDecoder,
    ) -> Result<RecordBatches<'a>, RepoError> {
        let block = self.segment.segment().block(self.number, &self.bytes);
        let batches = block.and_then(|block| block.batches(decoder));
        let batches = batches.map_err(|error| self.damaged(error))?;
        Ok(batches.unwrap_or_else(|| RecordBatches::new(&[], 0)))
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns an error about its content as one about what is stored.
    pub(super) fn damaged(&self, error: FormatError) -> RepoError {
        let damaged = self.segment.damaged(error);
        self.segment
            .in_blocks(damaged, self.number..self.number + 1)
    }
}
