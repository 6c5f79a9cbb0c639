//! The stored side of a comparison: digests of the records of a block.

use std::ops::Range;

use kbk_format::repo::{
    LastRecord, PartitionId, RepoError, Repository, SegmentEntry, SegmentReader, Snapshot,
};
use kbk_format::{BlockDecoder, Columns, Digests, FormatError, Streams, TimestampType};

use crate::backup::plan::{PlannedPartition, PlannedTopic};

/// Stored records, and the offsets at which the source must have these and no others.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) offsets: Range<i64>,
    pub(super) records: Vec<(i64, StoredRecord)>,
    /// That of the last batch, where batches are stored.
    pub(super) epoch: Option<StoredEpoch>,
}

/// How far a leader epoch is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredEpoch {
    pub(super) leader_epoch: i32,
    /// The exclusive end of its last batch.
    pub(super) end_offset: i64,
}

/// What is known of a stored record.
#[derive(Clone, Debug)]
pub(super) enum StoredRecord {
    /// Its restore digest, which leaves the timestamp type out: that belongs to the topic.
    Digest(u128),
    /// What remained when it expired.
    Expired(PartitionId, LastRecord),
}

impl StoredRecord {
    /// Returns whether it is the record of the source that has this restore digest.
    pub(super) fn is(&self, restore_digest: u128) -> bool {
        match self {
            StoredRecord::Digest(stored) => *stored == restore_digest,
            StoredRecord::Expired(id, last) => {
                LastRecord::new(id, last.offset, restore_digest) == *last
            }
        }
    }
}

impl Window {
    /// Covers what is stored of a partition without any record: the source must not have one there either, but for the last one that was
    /// expired.
    pub(super) fn without_segments(id: PartitionId, partition: &PlannedPartition) -> Window {
        let expired = partition.stored.as_ref().and_then(|it| it.expired.as_ref());
        match expired.and_then(|expired| expired.last_record) {
            Some(last) => Window {
                offsets: last.offset..partition.read.start,
                records: vec![(last.offset, StoredRecord::Expired(id, last))],
                epoch: None,
            },
            None => Window::empty(partition),
        }
    }

    fn empty(partition: &PlannedPartition) -> Window {
        let lost = partition.stored.iter().flat_map(|state| &state.lost);
        let lost = lost.chain(&partition.adopted.lost).map(|lost| lost.to);
        let first = match (&partition.stored, partition.adopted.segments.first()) {
            (Some(state), _) => state.base_offset,
            (None, Some(segment)) => segment.base_offset,
            (None, None) => partition.read.start,
        };
        Window {
            offsets: lost.fold(first, i64::max)..partition.read.start,
            records: Vec::new(),
            epoch: None,
        }
    }

    /// Keeps the last record only.
    pub(super) fn last_record(mut self) -> Window {
        if let Some(last) = self.records.pop() {
            self.offsets.start = last.0;
            self.records = vec![last];
        }
        self
    }

    /// Leaves out offsets at its end that are damaged: nothing is stored to compare with.
    pub(super) fn without_end(mut self, damaged: &[Range<i64>]) -> Window {
        let reaches = |end: i64| damaged.iter().find(|it| it.start < end && end <= it.end);
        while let Some(range) = reaches(self.offsets.end) {
            self.offsets.end = range.start;
        }
        self
    }

    /// Keeps what is within `offsets`. Returns it, and the first record after them, if there is one.
    pub(super) fn clip(mut self, offsets: &Range<i64>) -> (Window, Option<i64>) {
        let after = self.records.iter().map(|(offset, _)| *offset);
        let after = after.clone().find(|offset| *offset >= offsets.end);
        self.records.retain(|(offset, _)| offsets.contains(offset));
        let start = self.offsets.start.max(offsets.start);
        self.offsets = start..self.offsets.end.min(offsets.end).max(start);
        (self, after)
    }
}

/// What is stored of a partition: in the newest snapshot, and by an interrupted run.
pub(super) struct StoredPart<'a> {
    repository: &'a Repository,
    base: Option<&'a Snapshot>,
    id: PartitionId,
    partition: &'a PlannedPartition,
}

impl<'a> StoredPart<'a> {
    pub(super) fn new(
        (repository, base): (&'a Repository, Option<&'a Snapshot>),
        topic: &PlannedTopic,
        partition: &'a PlannedPartition,
    ) -> StoredPart<'a> {
        StoredPart {
            repository,
            base,
            id: topic.partition_id(partition.partition),
            partition,
        }
    }

    /// Reads the last blocks that have records, at most `most`, the last one first; its window extends to the end of what is stored.
    pub(super) async fn last_blocks(&self, most: usize) -> Result<Vec<Window>, RepoError> {
        let mut windows = Vec::new();
        for entry in self.last_segments(most).await? {
            let segment = self.open(&entry).await?;
            let blocks = segment.blocks.iter().rev();
            for block in blocks.take(most - windows.len()) {
                windows.push(segment.window(block).await?);
            }
        }
        if let Some(last) = windows.first_mut() {
            last.offsets.end = self.partition.read.start;
        }
        Ok(windows)
    }

    /// Lists the committed segments that have records.
    pub(super) async fn segments(&self) -> Result<Vec<SegmentEntry>, RepoError> {
        let mut segments = match (self.base, &self.partition.stored) {
            (Some(base), Some(state)) => self.repository.segments(base, &self.id, state).await?,
            _ => Vec::new(),
        };
        segments.retain(|entry| entry.records > 0);
        Ok(segments)
    }

    pub(super) async fn open(&self, entry: &SegmentEntry) -> Result<StoredSegment, RepoError> {
        let reader = SegmentReader::open(self.repository.store(), &self.id, entry).await?;
        let blocks = reader.segment().index().entries().iter().enumerate();
        let blocks = blocks
            .filter(|(_, block)| block.record_count > 0)
            .map(|(number, block)| StoredBlock {
                number,
                offsets: block.base_offset..block.end_offset,
            })
            .collect();
        Ok(StoredSegment { reader, blocks })
    }

    /// Lists the last segments that have records, at most `most`, the last one first.
    async fn last_segments(&self, most: usize) -> Result<Vec<SegmentEntry>, RepoError> {
        let has_records = |entry: &SegmentEntry| entry.records > 0;
        let mut last: Vec<SegmentEntry> = self.partition.adopted.segments.clone();
        last.reverse();
        last.retain(has_records);
        if last.len() < most {
            last.extend(self.segments().await?.into_iter().rev());
        }
        last.truncate(most);
        Ok(last)
    }
}

/// A segment, and its blocks that have records.
pub(super) struct StoredSegment {
    reader: SegmentReader,
    pub(super) blocks: Vec<StoredBlock>,
}

/// A block that has records.
#[derive(Clone, Debug)]
pub(super) struct StoredBlock {
    number: usize,
    pub(super) offsets: Range<i64>,
}

impl StoredSegment {
    /// Reads a block.
    pub(super) async fn window(&self, block: &StoredBlock) -> Result<Window, RepoError> {
        let bytes = self.reader.read(block.number..block.number + 1).await?;
        let records = self.digests(block.number, &bytes);
        let epoch = self.epoch(block.number, &bytes);
        Ok(Window {
            offsets: block.offsets.clone(),
            records: records.map_err(|error| self.reader.damaged(error))?,
            epoch: epoch.map_err(|error| self.reader.damaged(error))?,
        })
    }

    /// Returns the leader epoch of the last batch of a block; `None` of a block of records, and where none is stated.
    fn epoch(&self, block: usize, bytes: &[u8]) -> Result<Option<StoredEpoch>, FormatError> {
        let mut decoder = BlockDecoder::new();
        let block = self.reader.segment().block(block, bytes)?;
        let batches = block.batches(&mut decoder)?;
        let last = batches.and_then(Iterator::last).transpose()?;
        Ok(last.and_then(|last| {
            let header = last.header();
            let stored = StoredEpoch {
                leader_epoch: header.leader_epoch,
                end_offset: header.last_offset + 1,
            };
            (header.leader_epoch >= 0).then_some(stored)
        }))
    }

    fn digests(&self, block: usize, bytes: &[u8]) -> Result<Vec<(i64, StoredRecord)>, FormatError> {
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        let block = self.reader.segment().block(block, bytes)?;
        block.decode(&mut decoder, Streams::All, &mut columns)?;
        let digest = |record: kbk_format::Record<'_>| {
            let digests = Digests::of(&record, TimestampType::CreateTime);
            (record.offset, StoredRecord::Digest(digests.restore))
        };
        Ok(columns.iter().map(digest).collect())
    }
}
