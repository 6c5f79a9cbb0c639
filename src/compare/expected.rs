//! The records that a comparison expects, read from the backup.

use std::ops::Range;

use kbk_format::repo::RepoError;
use kbk_format::{Record, Streams};
use kbk_tools::restores::MapRuns;
use kbk_tools::{PartitionReader, ReadPlan};
use tokio::runtime::Handle;

/// The records of one partition of the backup, in order.
pub(crate) struct ExpectedRecords {
    reader: PartitionReader,
    /// Rows of the current block that are not yet consumed.
    rows: Range<usize>,
}

impl ExpectedRecords {
    /// Opens the records that `read` selects.
    pub(crate) fn new(read: ReadPlan, runtime: &Handle) -> ExpectedRecords {
        ExpectedRecords {
            reader: read.read(Streams::All, runtime),
            rows: 0..0,
        }
    }

    /// Returns the next record, and consumes it.
    pub(crate) fn next(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        let found = self.find(runtime)?;
        self.advance();
        Ok(found.and_then(|row| self.reader.batch().record(row)))
    }

    /// Returns the next record without consuming it.
    pub(crate) fn peek(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        let found = self.find(runtime)?;
        Ok(found.and_then(|row| self.reader.batch().record(row)))
    }

    /// Consumes the record that [`peek`](Self::peek) returned.
    pub(crate) fn advance(&mut self) {
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

/// Translates ascending offsets of the backup to those of the cluster.
pub(crate) enum Offsets {
    /// They are the same.
    Same,
    /// A restore assigned others.
    Mapped(Box<MapRuns>),
}

impl Offsets {
    /// Returns the offset in the cluster of the record at `source`, which must not be below that of the last call; `None` if no record
    /// was restored from there.
    pub(crate) fn translate(
        &mut self,
        source: i64,
        runtime: &Handle,
    ) -> Result<Option<i64>, RepoError> {
        let runs = match self {
            Offsets::Same => return Ok(Some(source)),
            Offsets::Mapped(runs) => runs,
        };
        loop {
            // Entering the runtime costs more than a record does, so it is entered once per page.
            let run = match runs.front() {
                Some(run) => Some(run),
                None => runtime.block_on(runs.peek())?,
            };
            match run {
                Some(run) if run.source_offset < source => runs.advance(),
                Some(run) if run.source_offset == source => return Ok(Some(run.target_offset)),
                _ => return Ok(None),
            }
        }
    }
}
