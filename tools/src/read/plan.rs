//! Plans which segments of one partition have to be read to find the selected records.

use std::ops::RangeInclusive;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    PartitionId, PartitionState, RepoError, Repository, SegmentEntry, SegmentReader, Snapshot,
};
use kbk_format::{Gaps, Segment, Streams};
use tokio::runtime::Handle;

use super::blocks::BlockReader;
use super::fetch::{AfterDamage, Blocks};
use super::kept::KeptFooters;
use super::needs::Needs;
use super::options::ReadOptions;
use super::reader::PartitionReader;
use super::selection::Selection;
use super::source::Source;
use super::until_damage::BlocksUntilDamage;

/// The segments of one partition that may hold selected records, in offset order.
///
/// The index rules out segments by offsets and timestamps, and the footer of an open segment rules out blocks.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    repository: Repository,
    /// The snapshot.
    sequence: u64,
    partition: PartitionId,
    selection: Selection,
    segments: Vec<SegmentEntry>,
    kept: KeptFooters,
}

impl ReadPlan {
    /// Plans to read `selection` from `partition`, whose state in `snapshot` is `state`.
    ///
    /// # Errors
    ///
    /// As [`Repository::segments_of_times`]. Where the index cannot be read, none of the selected [records](RepoError::records) can.
    pub async fn new(
        repository: &Repository,
        snapshot: &Snapshot,
        partition: PartitionId,
        state: &PartitionState,
        selection: Selection,
    ) -> Result<ReadPlan, RepoError> {
        let mut segments = Vec::new();
        if selection.reaches(state.base_offset, state.end_offset) {
            let found = repository.segments_of_times(snapshot, &partition, state, &selection.times);
            let offsets = &selection.offsets;
            let start = offsets.start.max(state.base_offset);
            let end = offsets.end.min(state.end_offset).max(start);
            let named = |error: RepoError| error.in_records(&partition, start..end);
            segments = found.await.map_err(named)?;
        }
        segments.retain(|entry| selection.needs_segment(entry));
        Ok(ReadPlan {
            repository: repository.clone(),
            sequence: snapshot.sequence,
            partition,
            selection,
            segments,
            kept: KeptFooters::default(),
        })
    }

    /// Plans to read nothing of a partition.
    pub(crate) fn without_segments(
        repository: &Repository,
        snapshot: &Snapshot,
        partition: PartitionId,
        selection: Selection,
    ) -> ReadPlan {
        ReadPlan {
            repository: repository.clone(),
            sequence: snapshot.sequence,
            partition,
            selection,
            segments: Vec::new(),
            kept: KeptFooters::default(),
        }
    }

    /// Narrows the plan to offsets from `offset` on.
    #[must_use]
    pub fn from_offset(mut self, offset: i64) -> ReadPlan {
        let selection = &mut self.selection;
        selection.offsets.start = selection.offsets.start.max(offset);
        self.segments.retain(|entry| selection.needs_segment(entry));
        self
    }

    /// Narrows the plan to timestamps within `times`, both bounds inclusive.
    #[must_use]
    pub fn within_times(mut self, times: &RangeInclusive<i64>) -> ReadPlan {
        let selection = &mut self.selection;
        let (start, end) = selection.times.clone().into_inner();
        selection.times = start.max(*times.start())..=end.min(*times.end());
        self.segments.retain(|entry| selection.needs_segment(entry));
        self
    }

    /// Returns the partition that is read.
    #[must_use]
    pub fn partition_id(&self) -> &PartitionId {
        &self.partition
    }

    /// Returns the timestamps of the selected records, both bounds inclusive.
    #[must_use]
    pub fn times(&self) -> &RangeInclusive<i64> {
        &self.selection.times
    }

    /// Returns the segments that will be opened.
    #[must_use]
    pub fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// Opens all segments, with requests for several footers at a time, and hands over each. Reading does not request those again that the
    /// store has memory to keep.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`].
    pub async fn open_all(&mut self, mut each: impl FnMut(&Segment)) -> Result<(), RepoError> {
        let opened = self.open_each(|opened| {
            each(opened?);
            Ok(())
        });
        opened.await
    }

    /// The same, past segments that cannot be opened: `each` gets their errors, and ends it by returning one. They come in any order.
    pub(crate) async fn open_each(
        &mut self,
        mut each: impl FnMut(Result<&Segment, RepoError>) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let (store, partition) = (self.repository.store(), &self.partition);
        let opened = self.segments.iter().map(async |entry| {
            let opened = SegmentReader::open(store, partition, entry).await;
            let opened = opened
                .map_err(|error| error.in_records(partition, entry.base_offset..entry.end_offset));
            (entry.segment_id, opened)
        });
        let opened: Vec<_> = opened.collect();
        let mut opened = stream::iter(opened).buffer_unordered(store.profile().parallel_requests);
        let mut kept = KeptFooters::default();
        while let Some((id, reader)) = opened.next().await {
            match reader {
                Ok(reader) => {
                    each(Ok(reader.segment()))?;
                    kept.keep(store, id, reader);
                }
                Err(error) => each(Err(error))?,
            }
        }
        drop(opened);
        self.kept = kept;
        Ok(())
    }

    /// Reads why offsets of segment number `number` have no record; `None` where there is no such segment.
    pub(crate) async fn gaps(&self, number: usize) -> Result<Option<Gaps>, RepoError> {
        let Some(entry) = self.segments.get(number) else {
            return Ok(None);
        };
        let store = self.repository.store();
        let reader = SegmentReader::open(store, &self.partition, entry).await?;
        Ok(Some(reader.segment().gaps().clone()))
    }

    /// Returns the error of reading one of these segments: that the snapshot was forgotten, if that is why it does not exist.
    pub async fn explain(&self, error: RepoError) -> RepoError {
        self.repository.explain(self.sequence, error).await
    }

    /// The same, and finds out whether others can be read: [`RepoError::is_of_one_object`].
    pub async fn judged(&self, error: RepoError) -> RepoError {
        let error = self.explain(error).await;
        self.repository.store().judged(error).await
    }

    /// Returns what reading takes from one of these segments.
    #[must_use]
    pub fn needs(&self, segment: &Segment) -> Needs {
        Needs::of(&self.selection, segment)
    }

    /// Counts the selected records in blocks that also hold others, decoding only those blocks. Added to
    /// [`Needs::whole_records`] over all segments, this is the exact number of selected records.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`].
    pub async fn count_cut(self, runtime: &Handle) -> Result<u64, RepoError> {
        let mut reader = self.read_cut(runtime);
        let mut records = 0;
        while let Some(batch) = reader.next().await? {
            records += batch.records().count() as u64;
        }
        Ok(records)
    }

    /// Starts reading the offsets and times of the selected records in blocks that also hold others.
    pub(crate) fn read_cut(self, runtime: &Handle) -> PartitionReader {
        self.start(Blocks::Cut, ReadOptions::new(Streams::Meta), runtime)
    }

    /// Starts reading in ascending order, with the store's requests on `runtime`.
    #[must_use]
    pub fn read(self, streams: Streams, runtime: &Handle) -> PartitionReader {
        self.read_with(ReadOptions::new(streams), runtime)
    }

    /// Starts reading as `options` say, with the store's requests on `runtime`.
    #[must_use]
    pub fn read_with(self, options: ReadOptions, runtime: &Handle) -> PartitionReader {
        self.start(Blocks::Needed, options, runtime)
    }

    /// Starts reading the stored blocks in ascending order, up to the first one that is damaged.
    pub(super) fn read_until_damage(self, streams: Streams, runtime: &Handle) -> BlocksUntilDamage {
        let (source, selection) = self.source();
        let options = ReadOptions::new(streams);
        BlocksUntilDamage::start(source, selection, Blocks::Needed, options, runtime)
    }

    fn start(self, wanted: Blocks, options: ReadOptions, runtime: &Handle) -> PartitionReader {
        let (source, selection) = self.source();
        PartitionReader::start(source, selection, wanted, options, runtime)
    }

    /// Starts reading the stored blocks, for whoever decodes them elsewhere. Those that cannot be read are skipped.
    pub(crate) fn blocks(self, options: ReadOptions, runtime: &Handle) -> BlockReader {
        let (source, selection) = self.source();
        let (wanted, after) = (Blocks::Needed, AfterDamage::Continues);
        BlockReader::start(source, selection, wanted, options, after, runtime)
    }

    fn source(self) -> (Source, Selection) {
        let source = Source::Repository {
            repository: Box::new(self.repository),
            sequence: self.sequence,
            partition: self.partition,
            segments: self.segments,
            kept: self.kept,
        };
        (source, self.selection)
    }
}
