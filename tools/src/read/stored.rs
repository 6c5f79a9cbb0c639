//! Blocks as they are stored: the batches of one of batches, for whoever can use them as they are, and the records of any other.

use bytes::Bytes;
use kbk_format::batch::{BatchDecoder, BatchHeader, RecordBatch, RecordBatches};
use kbk_format::kafka_log::LentBlock;
use kbk_format::repo::RepoError;
use kbk_format::{Record, TimestampType};

use super::blocks::FetchedBlock;
use super::reader::Batch;
use super::selection::Selection;

/// One block with records that may be selected.
pub enum StoredBlock<'a> {
    /// Its records, decoded.
    Records(Batch<'a>),
    /// Its batches, which are Kafka's own and not decoded.
    Batches(StoredBatches<'a>),
}

/// The batches of a block that have selected records.
#[derive(Clone)]
pub struct StoredBatches<'a> {
    block: &'a FetchedBlock,
    batches: RecordBatches<'a>,
    selection: &'a Selection,
    /// No timestamp of the block is smaller.
    min_timestamp: i64,
}

/// A batch as it is stored.
pub struct StoredBatch<'a> {
    block: &'a FetchedBlock,
    batch: RecordBatch<'a>,
    selection: &'a Selection,
    is_whole: bool,
}

impl<'a> StoredBatches<'a> {
    pub(super) fn new(
        block: &'a FetchedBlock,
        batches: RecordBatches<'a>,
        selection: &'a Selection,
    ) -> StoredBatches<'a> {
        let min = block.entry().and_then(|entry| entry.min_timestamps);
        StoredBatches {
            block,
            batches,
            selection,
            min_timestamp: min.map_or(i64::MIN, |min| min.all),
        }
    }

    /// Returns the block and all of its batches as Kafka's log can have them; `None` where not all records are selected, or they have to be encoded
    /// anew ([`LentBlock::of`]).
    #[must_use]
    pub fn lent(&self) -> Option<(LentBlock, RecordBatches<'a>)> {
        let entry = self.block.entry()?;
        let Selection { offsets, times, .. } = self.selection;
        let is_whole = offsets.start <= entry.base_offset
            && entry.end_offset <= offsets.end
            && *times.start() <= self.min_timestamp
            && entry.max_timestamp <= *times.end();
        let block = LentBlock::of(entry).filter(|_| is_whole)?;
        Some((block, self.batches.clone()))
    }

    /// Returns whether its segment states the digests of its records: whoever computed them has decoded all of its batches.
    #[must_use]
    pub fn is_computed(&self) -> bool {
        let entry = self.block.entry();
        entry.is_some_and(|entry| entry.min_timestamps.is_some())
    }

    /// Returns who set the timestamps.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.block.timestamp_type()
    }

    /// Returns the stored size of the block in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let length = self.block.entry().map_or(0, |entry| entry.block_length);
        u64::from(length)
    }

    /// Returns the next batch that may have a selected record; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Damage::Segment`](kbk_format::repo::Damage::Segment).
    #[expect(
        clippy::should_implement_trait,
        reason = "it fails, and a caller must not continue after an error"
    )]
    pub fn next(&mut self) -> Result<Option<StoredBatch<'a>>, RepoError> {
        while let Some(batch) = self.batches.next() {
            let batch = batch.map_err(|error| self.block.damaged(error))?;
            if self.may_be_selected(batch.header()) {
                return Ok(Some(StoredBatch {
                    block: self.block,
                    is_whole: self.is_whole(batch.header()),
                    batch,
                    selection: self.selection,
                }));
            }
        }
        Ok(None)
    }

    fn may_be_selected(&self, header: &BatchHeader) -> bool {
        let end = header.last_offset.saturating_add(1);
        self.selection.reaches(header.base_offset, end)
            && *self.selection.times.start() <= header.max_timestamp
    }

    /// Whether all records are selected: a batch states its largest timestamp, and no smallest one.
    fn is_whole(&self, header: &BatchHeader) -> bool {
        let Selection { offsets, times, .. } = self.selection;
        offsets.start <= header.base_offset
            && header.last_offset < offsets.end
            && *times.start() <= self.min_timestamp
            && header.max_timestamp <= *times.end()
    }
}

impl StoredBatch<'_> {
    /// Returns the batch. Its checksum was compared, and its records were not looked at.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch<'_> {
        &self.batch
    }

    /// Returns whether all of its records are selected.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns its bytes: those of the block that was read, which stay in memory as long as they are used, or a copy where the block is
    /// compressed.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let (block, batch) = (self.block.bytes(), self.batch.bytes());
        let (all, part) = (block.as_ptr_range(), batch.as_ptr_range());
        match all.start <= part.start && part.end <= all.end {
            true => block.slice_ref(batch),
            false => Bytes::copy_from_slice(batch),
        }
    }

    /// Decodes the batch, and returns its selected records.
    ///
    /// # Errors
    ///
    /// [`Damage::Segment`](kbk_format::repo::Damage::Segment) where its records are malformed; none is returned then.
    pub fn records<'d>(
        &'d self,
        decoder: &'d mut BatchDecoder,
    ) -> Result<impl Iterator<Item = Record<'d>>, RepoError> {
        let records = decoder.decode(&self.batch);
        let records = records.map_err(|error| self.block.damaged(error))?;
        let selection = self.selection;
        Ok(records.filter(|record| {
            selection.offsets.contains(&record.offset) && selection.selects(record)
        }))
    }
}
