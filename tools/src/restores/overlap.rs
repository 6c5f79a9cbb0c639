//! Counts records of the backup in ranges of the cluster while an offset map is read.

use kbk_format::PartitionNumber;
use kbk_format::repo::MapRun;

use super::source_end;

/// Records of one partition of the backup in one partition of the cluster, from an offset in the cluster on, and before an offset
/// in the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The partition in the cluster.
    pub partition: PartitionNumber,
    /// First offset in the cluster.
    pub from_target_offset: i64,
    /// One past the last offset in the backup.
    pub before_source_offset: i64,
}

/// Counts records in overlaps while runs pass from the last to the first.
pub(super) struct Counting<'a> {
    overlaps: &'a [Overlap],
    /// Indices of the overlaps that no run has reached yet, by ascending end in the backup.
    left: Vec<usize>,
    /// Indices of the overlaps that the next run may have records of.
    open: Vec<usize>,
    records: Vec<u64>,
}

impl<'a> Counting<'a> {
    pub(super) fn new(overlaps: &'a [Overlap]) -> Counting<'a> {
        let mut left: Vec<usize> = (0..overlaps.len()).collect();
        left.sort_by_key(|index| overlaps[*index].before_source_offset);
        Counting {
            overlaps,
            left,
            open: Vec::new(),
            records: vec![0; overlaps.len()],
        }
    }

    pub(super) fn pass(&mut self, run: &MapRun) {
        let reached =
            |index: &mut usize| self.overlaps[*index].before_source_offset > run.source_offset;
        while let Some(index) = self.left.pop_if(reached) {
            self.open.push(index);
        }
        let (overlaps, records) = (self.overlaps, &mut self.records);
        self.open.retain(|index| {
            let overlap = &overlaps[*index];
            if overlap.partition == run.target_partition {
                records[*index] += overlap.of(run);
            }
            // A restore keeps the order per partition, so earlier runs in the backup have lower offsets in the cluster.
            overlap.partition != run.target_partition
                || overlap.from_target_offset < run.target_offset
        });
    }

    /// Reports whether no earlier run can change the counts.
    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty() && self.open.is_empty()
    }

    /// Returns the counts, in the order of the overlaps.
    pub(super) fn found(self) -> Vec<u64> {
        self.records
    }
}

impl Overlap {
    /// Counts the records of a run that are in the overlap.
    fn of(&self, run: &MapRun) -> u64 {
        let before = self.before_source_offset.min(source_end(run));
        let skipped = self
            .from_target_offset
            .saturating_sub(run.target_offset)
            .max(0);
        let first = run.source_offset.saturating_add(skipped);
        u64::try_from(before.saturating_sub(first)).unwrap_or(0)
    }
}
