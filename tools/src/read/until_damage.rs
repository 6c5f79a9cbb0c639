//! The stored blocks that a selection needs, one at a time, up to the first one that is damaged.

use kbk_format::repo::RepoError;
use kbk_format::{BlockDecoder, Streams};
use tokio::runtime::Handle;

use super::blocks::{BlockReader, FetchedBlock};
use super::decode::DecodedBlock;
use super::fetch::{AfterDamage, Blocks};
use super::options::ReadOptions;
use super::selection::Selection;
use super::source::Source;
use super::stored::StoredBatches;

/// Reads blocks, and decodes the current one as often as it is asked to.
pub(super) struct BlocksUntilDamage {
    blocks: BlockReader,
    /// The block that was fetched last.
    current: Option<FetchedBlock>,
    /// Whether a block was damaged.
    failed: bool,
    selection: Selection,
    streams: Streams,
}

impl BlocksUntilDamage {
    pub(super) fn start(
        source: Source,
        selection: Selection,
        wanted: Blocks,
        options: ReadOptions,
        runtime: &Handle,
    ) -> Self {
        let after = AfterDamage::Ends;
        let selected = selection.clone();
        BlocksUntilDamage {
            blocks: BlockReader::start(source, selected, wanted, options, after, runtime),
            current: None,
            failed: false,
            selection,
            streams: options.streams,
        }
    }

    /// Fetches the next block, and returns whether there is one.
    ///
    /// # Errors
    ///
    /// As [`BlockReader::next`].
    pub(super) async fn fetch_next(&mut self) -> Result<bool, RepoError> {
        self.current = None;
        if self.failed {
            return Ok(false);
        }
        self.current = self.blocks.next().await?;
        Ok(self.current.is_some())
    }

    /// Returns the block that was fetched last.
    pub(super) fn current(&self) -> Option<&FetchedBlock> {
        self.current.as_ref()
    }

    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Decodes the block that was fetched last.
    pub(super) fn decode(
        &mut self,
        decoder: &mut BlockDecoder,
        decoded: &mut DecodedBlock,
    ) -> Result<(), RepoError> {
        let Some(block) = &self.current else {
            return Ok(());
        };
        let done = block.decode_with(decoder, decoded, &self.selection, self.streams);
        self.latch(done)
    }

    /// Lends the batches of the block that was fetched last, which has some.
    pub(super) fn batches<'a>(
        &'a mut self,
        decoder: &'a mut BlockDecoder,
    ) -> Result<Option<StoredBatches<'a>>, RepoError> {
        let Some(block) = &self.current else {
            return Ok(None);
        };
        match block.batches(decoder) {
            Ok(batches) => Ok(Some(StoredBatches::new(block, batches, &self.selection))),
            Err(error) => {
                self.failed = true;
                self.blocks.stop();
                Err(error)
            }
        }
    }

    /// Ends with the first error of a block: later calls must find the end, not the blocks after a damaged one, since a caller would
    /// take the gap for the data.
    pub(super) fn latch<T>(&mut self, done: Result<T, RepoError>) -> Result<T, RepoError> {
        if done.is_err() {
            self.failed = true;
            self.blocks.stop();
        }
        done
    }
}
