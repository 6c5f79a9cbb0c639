//! The comparison of one partition: takes the records of the cluster one by one, and the backup's beside them.

use std::cmp::Ordering;
use std::ops::{Range, RangeInclusive};

use kbk_format::Record;
use kbk_format::repo::RepoError;
use kbk_tools::ReadPlan;
use kbk_tools::read::{DecodedBlocks, RecordCursor};
use tokio::runtime::Handle;

use super::difference::{Difference, PairedBy, PartitionComparison};
use super::expected::{FormerRecords, Loss, Offsets};
use super::pairing::{Pairing, SharedOffsets};
use super::{CompareError, ExpectedPartition};
use crate::kafka::{PartitionOffsets, PartitionRange, TopicPartition};
use crate::select::DropHeaders;
use kbk_tools::diff::differing_parts;

/// A partition that is being compared.
pub(super) struct Comparing {
    expected: RecordCursor,
    drop_headers: DropHeaders,
    /// The timestamps of the selected records: on both sides, no others are compared.
    times: RangeInclusive<i64>,
    rule: Rule,
    former: Option<FormerRecords>,
    pub(super) result: PartitionComparison,
}

/// How the next record of the cluster finds its counterpart.
enum Rule {
    /// The counterpart is the next record of the backup.
    Next,
    /// As `Next`, in a copy.
    Copy {
        /// What to read from the backup to find the first record that the copy still has; `None` once that is decided.
        align: Option<Box<ReadPlan>>,
        /// The exclusive end of what is read from the cluster.
        end: i64,
    },
    /// The counterpart has the same offset.
    Offset {
        offsets: Offsets,
        /// What is read from the cluster. The start moves where retention overtakes the comparison.
        held: Range<i64>,
        compacted: bool,
    },
}

/// Returns the offsets to read from the cluster, which holds `bounds`.
pub(super) fn range_of(expected: &ExpectedPartition, bounds: &PartitionOffsets) -> PartitionRange {
    let TopicPartition { topic, partition } = expected.partition.clone();
    let (start, end) = (bounds.log_start_offset, bounds.last_stable_offset);
    let (start, end) = match &expected.pairing {
        Pairing::Restored { from } => (*from, end),
        Pairing::InOrder => (start, end),
        Pairing::ByOffset(shared) => {
            let SharedOffsets { covered, .. } = &**shared;
            (start.max(covered.start), end.min(covered.end))
        }
    };
    PartitionRange {
        topic,
        partition,
        start,
        end: end.max(start),
    }
}

impl Comparing {
    /// Begins the comparison of `range` in the cluster, which holds `bounds`.
    pub(super) fn new(
        expected: ExpectedPartition,
        range: &PartitionRange,
        bounds: &PartitionOffsets,
        runtime: &Handle,
    ) -> Result<Comparing, RepoError> {
        let TopicPartition { topic, partition } = expected.partition;
        let mut result = PartitionComparison::empty(topic, partition);
        let mut former = None;
        let rule = match &expected.pairing {
            Pairing::Restored { .. } => Rule::Next,
            Pairing::InOrder => Rule::Copy {
                align: (range.start > 0).then(|| Box::new(expected.read.clone())),
                end: range.end,
            },
            Pairing::ByOffset(shared) => {
                let paired_by = shared.map.as_ref().map(|_| PairedBy::OffsetMap);
                result.paired_by = paired_by.unwrap_or(PairedBy::Offset);
                if shared.open_end {
                    let newer = bounds.last_stable_offset - shared.covered.end.max(range.start);
                    result.newer_offsets = u64::try_from(newer).unwrap_or(0);
                }
                if !shared.former.is_empty() {
                    former = Some(FormerRecords {
                        offsets: offsets(shared, runtime)?,
                        former: shared.former.clone(),
                    });
                }
                Rule::by_offset(shared, range, runtime)?
            }
        };
        Ok(Comparing {
            times: expected.read.times().clone(),
            expected: RecordCursor::new(expected.read, runtime),
            drop_headers: expected.drop_headers,
            rule,
            former,
            result,
        })
    }

    /// Compares a record of the cluster.
    pub(super) fn found(
        &mut self,
        found: &Record<'_>,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        match self.rule {
            Rule::Next => self.found_next(found, decoded, runtime),
            Rule::Copy { .. } => self.found_in_copy(found, decoded, runtime),
            Rule::Offset { .. } => self.found_at_offset(found, decoded, runtime),
        }
    }

    /// Notes that the cluster no longer holds the offsets below `to`. Without common offsets they show up as missing records.
    pub(super) fn lost(&mut self, to: i64) {
        if let Rule::Offset { held, .. } = &mut self.rule {
            held.start = held.start.max(to);
        }
    }

    /// Ends the comparison: the remaining records of the backup are not in the cluster.
    pub(super) fn ended(
        &mut self,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        while let Some(expected) = self.expected.peek(decoded, runtime)? {
            let (source, has_key) = (expected.offset, expected.key.is_some());
            let at = self.rule.translate(source, runtime)?;
            self.expected.advance();
            self.absent(source, at, has_key);
        }
        Ok(())
    }

    fn found_next(
        &mut self,
        found: &Record<'_>,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        self.result.found += 1;
        match self.expected.next(decoded, runtime)? {
            Some(expected) => self.result.compare(&expected, found, &self.drop_headers),
            None => self.result.differ(Difference::extra(found.offset)),
        }
        Ok(())
    }

    fn found_in_copy(
        &mut self,
        found: &Record<'_>,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        if !self.times.contains(&found.timestamp) {
            return Ok(());
        }
        self.align(found, decoded, runtime)?;
        match self.expected.next(decoded, runtime)? {
            Some(expected) => {
                self.result.found += 1;
                self.result.compare(&expected, found, &self.drop_headers);
            }
            None if self.result.newer_offsets == 0 => {
                if let Rule::Copy { end, .. } = self.rule {
                    self.result.newer_offsets = end.abs_diff(found.offset);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Skips the records of the backup that a copy no longer has, where its log does not begin at 0: those before the one that equals
    /// its first record. Without such a record nothing is skipped, and everything differs.
    fn align(
        &mut self,
        first: &Record<'_>,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        let Rule::Copy { align, .. } = &mut self.rule else {
            return Ok(());
        };
        let Some(read) = align.take() else {
            return Ok(());
        };
        let mut search = RecordCursor::new(*read, runtime);
        let mut skipped = 0;
        while let Some(expected) = search.next(decoded, runtime)? {
            let same = |expected: &Record<'_>, _| differing_parts(expected, first).is_empty();
            if self.drop_headers.apply(&expected, same) {
                for _ in 0..skipped {
                    self.expected.next(decoded, runtime)?;
                }
                self.result.trimmed = skipped;
                return Ok(());
            }
            skipped += 1;
        }
        Ok(())
    }

    fn found_at_offset(
        &mut self,
        found: &Record<'_>,
        decoded: &mut DecodedBlocks,
        runtime: &Handle,
    ) -> Result<(), CompareError> {
        while let Some(expected) = self.expected.peek(decoded, runtime)? {
            let (source, has_key) = (expected.offset, expected.key.is_some());
            let at = self.rule.translate(source, runtime)?;
            match at.map(|at| at.cmp(&found.offset)) {
                Some(Ordering::Equal) => {
                    self.result.found += 1;
                    if let Some(expected) = self.expected.next(decoded, runtime)? {
                        self.result.compare(&expected, found, &self.drop_headers);
                    }
                    return Ok(());
                }
                Some(Ordering::Greater) => break,
                Some(Ordering::Less) | None => {
                    self.expected.advance();
                    self.absent(source, at, has_key);
                }
            }
        }
        // A record of another time was not selected, in the cluster as little as in the backup.
        if !self.times.contains(&found.timestamp) {
            return Ok(());
        }
        let loss = match &mut self.former {
            Some(former) => former.loss(found.offset, runtime)?,
            None => None,
        };
        match loss {
            Some(Loss::Removed) => self.result.removed_records += 1,
            Some(Loss::Damaged) => self.result.damaged_records += 1,
            None => {
                self.result.found += 1;
                self.result.differ(Difference::extra(found.offset));
            }
        }
        Ok(())
    }

    /// Notes a record of the backup that the cluster does not have. `at` is its offset there, if it ever was there.
    fn absent(&mut self, source: i64, at: Option<i64>, has_key: bool) {
        if let (
            Rule::Offset {
                held, compacted, ..
            },
            Some(at),
        ) = (&self.rule, at)
        {
            if at < held.start {
                self.result.trimmed += 1;
                return;
            }
            if *compacted && has_key && at < held.end {
                self.result.expected += 1;
                self.result.compacted += 1;
                return;
            }
        }
        self.result.expected += 1;
        self.result.differ(Difference::missing(source));
    }
}

fn offsets(shared: &SharedOffsets, runtime: &Handle) -> Result<Offsets, RepoError> {
    Ok(match &shared.map {
        None => Offsets::Same,
        Some(map) => Offsets::Mapped(Box::new(runtime.block_on(map.read().forward())?)),
    })
}

impl Rule {
    fn by_offset(
        shared: &SharedOffsets,
        range: &PartitionRange,
        runtime: &Handle,
    ) -> Result<Rule, RepoError> {
        Ok(Rule::Offset {
            offsets: offsets(shared, runtime)?,
            held: range.start..range.end,
            compacted: shared.compacted,
        })
    }

    /// Returns the offset in the cluster of a record of the backup, where offsets relate the two.
    fn translate(&mut self, source: i64, runtime: &Handle) -> Result<Option<i64>, RepoError> {
        match self {
            Rule::Next | Rule::Copy { .. } => Ok(None),
            Rule::Offset { offsets, .. } => offsets.translate(source, runtime),
        }
    }
}
