//! Finds where a log stops being the stored one: by the leader epoch that ends there, as far as that is known, and by bisection: over segments, then over the blocks of one, then record by record.
//!
//! The records before the first one that differs are taken to be the same, as they are after a truncation. Blocks that the source has
//! compacted away say nothing and are taken to be the same.

use std::ops::Range;

use kbk_format::repo::{PartitionId, SegmentEntry};

use super::comparison::Outcome;
use super::epochs::TruncatedEpoch;
use super::stored::{StoredPart, StoredSegment, Window};
use super::{ContinuityError, Prover};
use crate::backup::plan::PlannedTopic;
use crate::records::Transport;

/// Returns the offset of the first stored record that the log does not have, or of the first record that it has and that is not stored; where
/// records are the same again after `truncated` ends, the end of that.
pub(super) fn find<T: Transport>(
    prover: &Prover<'_, T>,
    topic: &PlannedTopic,
    partition: usize,
    truncated: Option<TruncatedEpoch>,
) -> Result<i64, ContinuityError> {
    let partition = &topic.partitions[partition];
    let search = Search {
        prover,
        stored: StoredPart::new((prover.repository, prover.base), topic, partition),
        partition: topic.partition_id(partition.partition),
        visible: partition.offsets.log_start_offset..partition.visible_end(),
        compacted: topic.may_be_compacted(),
    };
    let found = match search.first_difference() {
        Err(ContinuityError::Repo(error)) => {
            // A damaged copy ends the search, and must not keep the new history from being saved.
            super::unreadable_copy(error)?;
            None
        }
        found => found?,
    };
    // Otherwise the log ends before the first stored record that it lacks.
    let found = found.unwrap_or_else(|| partition.visible_end().min(partition.read.start));
    Ok(truncated.map_or(found, |epoch| found.min(epoch.end_offset)))
}

struct Search<'a, T> {
    prover: &'a Prover<'a, T>,
    stored: StoredPart<'a>,
    partition: PartitionId,
    /// The offsets that the source has.
    visible: Range<i64>,
    compacted: bool,
}

impl<T: Transport> Search<'_, T> {
    fn first_difference(&self) -> Result<Option<i64>, ContinuityError> {
        let runtime = self.prover.runtime;
        let mut segments = runtime.block_on(self.stored.segments())?;
        segments.retain(|segment| segment.end_offset > self.visible.start);
        let first = partition_point(segments.len(), |index| {
            let segment = self.open(&segments[index])?;
            Ok(self
                .difference(&segment, segment.blocks.len().checked_sub(1))?
                .is_none())
        })?;
        let Some(entry) = segments.get(first) else {
            return Ok(None);
        };
        let segment = self.open(entry)?;
        let block = partition_point(segment.blocks.len(), |index| {
            Ok(self.difference(&segment, Some(index))?.is_none())
        })?;
        self.difference(&segment, Some(block))
    }

    fn open(&self, entry: &SegmentEntry) -> Result<StoredSegment, ContinuityError> {
        let opened = self.stored.open(entry);
        Ok(self.prover.runtime.block_on(opened)?)
    }

    /// Returns the first offset in a block at which the log differs.
    fn difference(
        &self,
        segment: &StoredSegment,
        block: Option<usize>,
    ) -> Result<Option<i64>, ContinuityError> {
        let Some(block) = block.and_then(|block| segment.blocks.get(block)) else {
            return Ok(None);
        };
        let window = self.prover.runtime.block_on(segment.window(block))?;
        let (window, after) = window.clip(&self.visible);
        let found = match self.compare(window)? {
            Outcome::Different(offset) => Some(offset),
            Outcome::Missing(offset) if !self.compacted => Some(offset),
            Outcome::Unreadable(error) => return Err(error.into()),
            Outcome::Missing(_) | Outcome::Same => None,
        };
        Ok(found.or(after))
    }

    fn compare(&self, window: Window) -> Result<Outcome, ContinuityError> {
        let partition = std::slice::from_ref(&self.partition);
        let compared = self.prover.compare(partition, vec![window])?.pop();
        Ok(compared.map_or(Outcome::Same, |mut compared| compared.outcome()))
    }
}

/// Returns how many of `count` items are the same, if all of those that are precede the others.
fn partition_point(
    count: usize,
    mut is_same: impl FnMut(usize) -> Result<bool, ContinuityError>,
) -> Result<usize, ContinuityError> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_same(middle)? {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
