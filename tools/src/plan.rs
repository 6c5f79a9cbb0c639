//! What must be read of one partition to find the records that are meant.

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::Streams;
use kbk_format::repo::{Page, PartitionState, Place, RepoError, Repository, SegmentEntry, Store};
use tokio::runtime::Handle;

use crate::reader::PartitionReader;
use crate::select::Selection;

/// So many pages are read at a time.
const PARALLEL_PAGES: usize = 8;

/// The segments of one partition that may hold records that are meant, in offset order.
///
/// Pages and segments outside the offsets are left out by what the snapshot says, segments outside
/// the times by what their pages say; which blocks are read is decided when a segment is open.
#[derive(Clone, Debug)]
pub struct PartitionPlan {
    pub(crate) store: Store,
    pub(crate) place: Place,
    pub(crate) selection: Selection,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl PartitionPlan {
    /// Plans to read `selection` of the partition at `place`, as a snapshot has it in `state`.
    ///
    /// # Errors
    ///
    /// As [`Repository::page`].
    pub async fn new(
        repository: &Repository,
        place: Place,
        state: &PartitionState,
        selection: Selection,
    ) -> Result<PartitionPlan, RepoError> {
        let needed = state
            .pages
            .iter()
            .filter(|page| selection.reaches(page.base_offset, page.end_offset));
        let reads: Vec<_> = needed.map(|page| repository.page(&place, page)).collect();
        let reads = stream::iter(reads).buffered(PARALLEL_PAGES);
        let pages: Vec<Page> = reads.try_collect().await?;
        let mut segments: Vec<_> = pages.into_iter().flat_map(|page| page.segments).collect();
        segments.retain(|entry| selection.needs_segment(entry));
        Ok(PartitionPlan {
            store: repository.store().clone(),
            place,
            selection,
            segments,
        })
    }

    /// The same without what lies before `offset`.
    #[must_use]
    pub fn from_offset(mut self, offset: i64) -> PartitionPlan {
        let selection = &mut self.selection;
        selection.offsets.start = selection.offsets.start.max(offset);
        self.segments.retain(|entry| selection.needs_segment(entry));
        self
    }

    /// Whose records they are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The segments that will be opened.
    #[must_use]
    pub fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// The number of records in these segments: at least as many as are meant.
    #[must_use]
    pub fn max_records(&self) -> u64 {
        self.segments.iter().map(|entry| entry.records).sum()
    }

    /// Starts reading, with the requests on `runtime`. With [`Streams::Meta`] the records have their
    /// offsets and timestamps only, which is all that counting needs and much faster.
    #[must_use]
    pub fn read(self, streams: Streams, runtime: &Handle) -> PartitionReader {
        PartitionReader::start(self, streams, runtime)
    }
}
