//! What must be read of one partition to find the records that are meant.

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    Page, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Store,
};
use kbk_format::{Segment, Streams};
use tokio::runtime::Handle;

use crate::needs::Needs;
use crate::reader::PartitionReader;
use crate::select::Selection;

/// The segments of one partition that may hold records that are meant, in offset order.
///
/// Pages and segments outside the offsets are left out by what the snapshot says, segments outside
/// the times by what their pages say; which blocks are read is decided when a segment is open.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    pub(crate) store: Store,
    pub(crate) place: PartitionId,
    pub(crate) selection: Selection,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl ReadPlan {
    /// Plans to read `selection` of the partition at `place`, as a snapshot has it in `state`.
    ///
    /// # Errors
    ///
    /// As [`Repository::page`].
    pub async fn new(
        repository: &Repository,
        place: PartitionId,
        state: &PartitionState,
        selection: Selection,
    ) -> Result<ReadPlan, RepoError> {
        let needed = state
            .pages
            .iter()
            .filter(|page| selection.reaches(page.base_offset, page.end_offset));
        let reads: Vec<_> = needed.map(|page| repository.page(&place, page)).collect();
        let reads = stream::iter(reads).buffered(repository.store().profile().parallel_requests);
        let pages: Vec<Page> = reads.try_collect().await?;
        let mut segments: Vec<_> = pages.into_iter().flat_map(|page| page.segments).collect();
        segments.retain(|entry| selection.needs_segment(entry));
        Ok(ReadPlan {
            store: repository.store().clone(),
            place,
            selection,
            segments,
        })
    }

    /// The same without what lies before `offset`.
    #[must_use]
    pub fn from_offset(mut self, offset: i64) -> ReadPlan {
        let selection = &mut self.selection;
        selection.offsets.start = selection.offsets.start.max(offset);
        self.segments.retain(|entry| selection.needs_segment(entry));
        self
    }

    /// Whose records they are.
    #[must_use]
    pub fn place(&self) -> &PartitionId {
        &self.place
    }

    /// The segments that will be opened.
    #[must_use]
    pub fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// What reading takes of one of these segments.
    #[must_use]
    pub fn needs(&self, segment: &Segment) -> Needs {
        Needs::of(&self.selection, segment)
    }

    /// The number of records that are meant in blocks that hold others too: decodes these blocks, and no other. With what
    /// [`Needs::whole_records`] says of all segments it is the exact number of records that are meant.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next`].
    pub async fn count_cut(self, runtime: &Handle) -> Result<u64, RepoError> {
        let cut = Selection::cuts_block;
        let mut reader = PartitionReader::start(self, cut, Streams::Meta, runtime);
        let mut records = 0;
        while let Some(batch) = reader.next().await? {
            records += batch.records().count() as u64;
        }
        Ok(records)
    }

    /// Starts reading, with the requests on `runtime`. With [`Streams::Meta`] the records have their
    /// offsets and timestamps only, which is all that counting needs and much faster.
    #[must_use]
    pub fn read(self, streams: Streams, runtime: &Handle) -> PartitionReader {
        let needed = |selection: &Selection, _: &_, entry: &_| selection.needs_block(entry);
        PartitionReader::start(self, needed, streams, runtime)
    }
}
