//! The records that a comparison expects, read from the backup.

use std::ops::Range;

use kbk_format::repo::RepoError;
use kbk_format::{Record, Streams};
use kbk_tools::{PartitionReader, ReadPlan};
use tokio::runtime::Handle;

/// The records of one partition of the backup, in order.
pub(crate) struct ExpectedRecords {
    reader: PartitionReader,
    /// Rows of the current block that are not yet returned.
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

    /// Returns the next record.
    pub(crate) fn next(&mut self, runtime: &Handle) -> Result<Option<Record<'_>>, RepoError> {
        loop {
            let row = {
                let batch = self.reader.batch();
                self.rows.find(|row| batch.record(*row).is_some())
            };
            if let Some(row) = row {
                return Ok(self.reader.batch().record(row));
            }
            match runtime.block_on(self.reader.next())? {
                Some(batch) => self.rows = batch.rows(),
                None => return Ok(None),
            }
        }
    }
}
