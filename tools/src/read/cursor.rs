//! Takes selected records one by one, for readers that walk over two sources at once.

use std::ops::Range;

use kbk_format::repo::RepoError;
use kbk_format::{Record, Streams};
use tokio::runtime::Handle;

use super::plan::ReadPlan;
use super::reader::PartitionReader;

/// The selected records of one partition, in offset order. Its calls block, so a thread outside the runtime makes them.
pub struct RecordCursor {
    reader: PartitionReader,
    /// Rows of the current block that are not yet consumed.
    rows: Range<usize>,
}

impl RecordCursor {
    /// Opens the records that `read` selects.
    #[must_use]
    pub fn new(read: ReadPlan, runtime: &Handle) -> RecordCursor {
        RecordCursor {
            reader: read.read(Streams::All, runtime),
            rows: 0..0,
        }
    }

    /// Returns the next record, and consumes it.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`].
    pub fn next(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        let found = self.find(runtime)?;
        self.advance();
        Ok(found.and_then(|row| self.reader.batch().record(row)))
    }

    /// Returns the next record without consuming it.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`].
    pub fn peek(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        let found = self.find(runtime)?;
        Ok(found.and_then(|row| self.reader.batch().record(row)))
    }

    /// Consumes the record that [`peek`](Self::peek) returned.
    pub fn advance(&mut self) {
        self.rows.next();
    }

    /// Moves to the next selected row, and returns it.
    fn find(&mut self, runtime: &Handle) -> Result<Option<usize>, RepoError> {
        loop {
            let batch = self.reader.batch();
            while let Some(row) = self.rows.clone().next() {
                if batch.record(row).is_some() {
                    return Ok(Some(row));
                }
                self.rows.next();
            }
            match runtime.block_on(self.reader.next())? {
                Some(batch) => self.rows = batch.rows(),
                None => return Ok(None),
            }
        }
    }
}
