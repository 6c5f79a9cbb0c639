//! Takes selected records one by one, for readers that walk over several sources at once.

use std::ops::Range;

use kbk_format::repo::RepoError;
use kbk_format::{Record, Streams};
use tokio::runtime::Handle;

use super::decoded::{BlockOf, DecodedBlocks};
use super::plan::ReadPlan;
use super::until_damage::BlocksUntilDamage;

/// The selected records of one partition, in offset order. Its calls block, so a thread outside the runtime makes them.
///
/// It has the current block as it is stored. Decoded, that is in the [`DecodedBlocks`] that each call is given, if there is room for it.
pub struct RecordCursor {
    blocks: BlocksUntilDamage,
    /// Identifies the current block.
    block: BlockOf,
    /// Rows of the current block that are not yet consumed.
    rows: Range<usize>,
}

impl RecordCursor {
    /// Opens the records that `read` selects.
    #[must_use]
    pub fn new(read: ReadPlan, runtime: &Handle) -> RecordCursor {
        RecordCursor {
            blocks: read.read_until_damage(Streams::All, runtime),
            block: BlockOf::new_cursor(),
            rows: 0..0,
        }
    }

    /// Returns the next record, and consumes it.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`](super::PartitionReader::next).
    pub fn next<'a>(
        &'a mut self,
        decoded: &'a mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<Option<Record<'a>>, RepoError> {
        let found = self.find(decoded, runtime)?;
        self.advance();
        Ok(found.and_then(|row| self.record(decoded, row)))
    }

    /// Returns the next record without consuming it.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`](super::PartitionReader::next).
    pub fn peek<'a>(
        &'a mut self,
        decoded: &'a mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<Option<Record<'a>>, RepoError> {
        let found = self.find(decoded, runtime)?;
        Ok(found.and_then(|row| self.record(decoded, row)))
    }

    /// Consumes the record that [`peek`](Self::peek) returned.
    pub fn advance(&mut self) {
        self.rows.next();
    }

    /// Returns the record in a row of the current block, which is the current one of `decoded`.
    fn record<'a>(&'a self, decoded: &'a DecodedBlocks, row: usize) -> Option<Record<'a>> {
        decoded.current().record(row, self.blocks.selection())
    }

    /// Moves to the next selected row, whose block is the current one of `decoded` then, and returns it.
    fn find(
        &mut self,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<Option<usize>, RepoError> {
        loop {
            if !self.rows.is_empty() {
                self.decode(decoded)?;
                while let Some(row) = self.rows.clone().next() {
                    if self.record(decoded, row).is_some() {
                        return Ok(Some(row));
                    }
                    self.rows.next();
                }
            }
            if !runtime.block_on(self.blocks.fetch_next())? {
                decoded.remove(self.block);
                return Ok(None);
            }
            self.block = self.block.next();
            self.decode(decoded)?;
            self.rows = decoded.current().rows(self.blocks.selection());
        }
    }

    /// Makes the current block the current one of `decoded`.
    fn decode(&mut self, decoded: &mut DecodedBlocks) -> Result<(), RepoError> {
        let made = decoded.make_current(self.block, &mut self.blocks);
        // Nothing follows an error.
        made.inspect_err(|_| self.rows = 0..0)
    }
}
