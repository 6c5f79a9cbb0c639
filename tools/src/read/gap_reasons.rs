//! Says why a partition has no record at an offset, for whoever walks over another copy of it and finds one there.

use kbk_format::repo::{
    PartitionId, PartitionState, RepoError, Repository, SegmentEntry, SegmentReader, Snapshot,
};
use kbk_format::{GapReason, Gaps};
use tokio::runtime::Handle;

/// The reasons of the gaps of one partition. It reads the footer of a segment when it is first asked about one of its offsets, and keeps that of
/// the last one. Its calls block, so a thread outside the runtime makes them.
#[derive(Clone, Debug)]
pub struct GapReasons {
    repository: Repository,
    sequence: u64,
    partition: PartitionId,
    segments: Vec<SegmentEntry>,
    /// The place of the segment that was asked about last, and its gaps.
    last: Option<(usize, Gaps)>,
}

impl GapReasons {
    /// Reads which segments the partition has, whose state in `snapshot` is `state`.
    ///
    /// # Errors
    ///
    /// As [`Repository::segments`].
    pub async fn open(
        repository: &Repository,
        snapshot: &Snapshot,
        partition: PartitionId,
        state: &PartitionState,
    ) -> Result<GapReasons, RepoError> {
        let segments = repository.segments(snapshot, &partition, state).await?;
        Ok(GapReasons {
            repository: repository.clone(),
            sequence: snapshot.sequence,
            partition,
            segments,
            last: None,
        })
    }

    /// Returns why there is no record at `offset`; the caller knows that there is none. `None` where no segment covers it.
    ///
    /// # Errors
    ///
    /// If the footer of its segment cannot be read.
    pub fn reason(
        &mut self,
        offset: i64,
        runtime: &Handle,
    ) -> Result<Option<GapReason>, RepoError> {
        let at = self
            .segments
            .partition_point(|entry| entry.end_offset <= offset);
        let entry = self.segments.get(at);
        let Some(entry) = entry.filter(|entry| entry.base_offset <= offset) else {
            return Ok(None);
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != at) {
            let store = self.repository.store();
            let opened = SegmentReader::open(store, &self.partition, entry);
            let gaps = match runtime.block_on(opened) {
                Ok(reader) => reader.segment().gaps().clone(),
                Err(error) => {
                    let offsets = entry.base_offset..entry.end_offset;
                    let error = error.in_records(&self.partition, offsets);
                    let explained = self.repository.explain(self.sequence, error);
                    return Err(runtime.block_on(explained));
                }
            };
            self.last = Some((at, gaps));
        }
        Ok(self.last.as_ref().map(|(_, gaps)| gaps.reason(offset)))
    }
}
