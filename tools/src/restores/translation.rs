//! Translates offsets of the backup into offsets of the cluster while an offset map is read.

use kbk_format::PartitionNumber;
use kbk_format::repo::{MapRun, TargetPartition, TopicName};
use serde::Serialize;

use super::finished::Mapped;
use super::source_end;

/// An offset of the backup in the cluster: a consumer whose next offset was the one in the backup resumes here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Translated {
    /// The topic in the cluster.
    pub topic: TopicName,
    /// The partition there.
    pub partition: PartitionNumber,
    /// The offset there.
    pub offset: i64,
    /// What the offset leads to.
    #[serde(flatten)]
    pub lands: Landing,
}

/// What a translated offset leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "lands", rename_all = "snake_case")]
pub enum Landing {
    /// The record with this offset in the backup.
    OnRecord,
    /// The next restored record: the offset had no record, or its record was not selected.
    OnNext {
        /// The offset of that record in the backup.
        source_offset: i64,
    },
    /// The end of the partition: no record from this offset on was restored.
    AtEnd,
}

/// Searches for offsets while runs pass from the last to the first.
pub(super) struct Search<'a> {
    mapped: &'a Mapped,
    offsets: &'a [i64],
    /// Indices into `offsets` that no run has reached yet, by ascending offset.
    left: Vec<usize>,
    /// Per target partition, the run that passed last, which is the earliest, and the one that passed first.
    passed: Vec<(Option<MapRun>, Option<MapRun>)>,
    /// Per offset, the run in each target partition that it leads to; `None` for the end of the partition.
    runs: Vec<Vec<Option<MapRun>>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(mapped: &'a Mapped, offsets: &'a [i64]) -> Search<'a> {
        let mut left: Vec<usize> = (0..offsets.len()).collect();
        left.sort_by_key(|index| offsets[*index]);
        Search {
            mapped,
            offsets,
            left,
            passed: vec![(None, None); mapped.targets.len()],
            runs: vec![Vec::new(); offsets.len()],
        }
    }

    pub(super) fn pass(&mut self, run: &MapRun) {
        // Offsets at or after the end of the run lead to what passed before; those within it lead to the run itself.
        self.reach(source_end(run));
        let targets = &self.mapped.targets;
        let index = targets.binary_search_by_key(&run.target_partition, |target| target.partition);
        if let Some((last, first)) = index.ok().and_then(|index| self.passed.get_mut(index)) {
            *last = Some(*run);
            first.get_or_insert(*run);
        }
        self.reach(run.source_offset);
    }

    /// Assigns the runs that have passed to all offsets from `offset` on.
    fn reach(&mut self, offset: i64) {
        while let Some(index) = self.left.pop_if(|index| self.offsets[*index] >= offset) {
            self.runs[index] = self.passed.iter().map(|(last, _)| *last).collect();
        }
    }

    /// Reports whether no earlier run can change the result.
    pub(super) fn is_done(&self) -> bool {
        // An offset that leads to the end of a partition needs that partition's last run, which is the first to pass.
        let ends = || self.passed.iter().all(|(_, first)| first.is_some());
        self.left.is_empty() && (self.runs.iter().flatten().all(Option::is_some) || ends())
    }

    /// Returns the translations, in the order of the offsets.
    pub(super) fn found(mut self) -> Vec<Vec<Translated>> {
        self.reach(i64::MIN);
        let found = self.runs.iter().zip(self.offsets);
        found
            .map(|(runs, offset)| {
                let targets = self.mapped.targets.iter().zip(&self.passed).zip(runs);
                targets
                    .map(|((target, (_, end)), run)| match run {
                        Some(run) => self.mapped.in_run(run, *offset),
                        None => self.mapped.at_end(target, end.as_ref()),
                    })
                    .collect()
            })
            .collect()
    }
}

impl Mapped {
    /// Translates an offset that leads to `run`: it lies within the run, or before it.
    fn in_run(&self, run: &MapRun, offset: i64) -> Translated {
        let into = offset.saturating_sub(run.source_offset).max(0);
        Translated {
            topic: self.target.clone(),
            partition: run.target_partition,
            offset: run.target_offset.saturating_add(into),
            lands: if offset >= run.source_offset {
                Landing::OnRecord
            } else {
                Landing::OnNext {
                    source_offset: run.source_offset,
                }
            },
        }
    }

    /// Translates an offset that leads to the end: one past the last run, or where the partition ended before the restore.
    fn at_end(&self, target: &TargetPartition, last: Option<&MapRun>) -> Translated {
        Translated {
            topic: self.target.clone(),
            partition: target.partition,
            offset: last.map_or(target.offset, |run| {
                run.target_offset.saturating_add_unsigned(run.records)
            }),
            lands: Landing::AtEnd,
        }
    }
}
