//! The latest record per key is kept of a partition's first segments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kbk_format::repo::{PartitionId, RemovedRecords, Replacement, SegmentEntry};

use super::KeepLatest;
use super::group::GroupError;
use super::key_range::KeyRange;
use super::latest;
use super::partition_result::PartitionResult;
use super::plan::{Candidate, groups, within};
use super::run::Run;
use super::source;
use crate::maintenance::MaintenanceError;
use crate::unusable::Unusable;

impl Run<'_> {
    /// Keeps the latest record per key of a partition's first segments. All of it is committed or nothing: a tombstone must not go where
    /// what it deletes stays.
    pub(super) async fn keep_latest(
        &self,
        id: &PartitionId,
        (all, done): (&[SegmentEntry], &[bool]),
        keep: KeepLatest,
        damaged: &mut HashSet<String>,
        compacted: &mut PartitionResult,
    ) -> Result<Again, MaintenanceError> {
        let range = self.key_range(all, damaged);
        let is_prefix = range
            .iter()
            .map(|entry| &entry.key)
            .eq(all.iter().take(range.len()).map(|entry| &entry.key));
        let tombstones_from = keep.tombstones_from.filter(|_| is_prefix);
        let found = latest::find(
            self.repository.store(),
            latest::Range {
                id,
                segments: &range,
                key_memory: self.options.key_memory,
                tombstones_from,
            },
            &self.events,
        );
        let superseded = match found.await {
            Ok(superseded) => Arc::new(superseded),
            Err(latest::FindError::Ended(error)) => return Err(error.into()),
            Err(latest::FindError::Unread(source::Unread { at, error })) => {
                let found = self.unusable(error).await?;
                return Ok(Again::without(
                    compacted,
                    id,
                    range.get(at),
                    &found,
                    damaged,
                ));
            }
            Err(latest::FindError::Damaged(at, error)) => {
                let found = Unusable::damaged(error.to_string());
                return Ok(Again::without(
                    compacted,
                    id,
                    range.get(at),
                    &found,
                    damaged,
                ));
            }
        };
        compacted.row.key_passes = superseded.passes;
        let mut places = HashMap::new();
        let mut number = 0_u64;
        for (at, entry) in range.iter().enumerate() {
            places.insert(entry.key.clone(), (at, number));
            number = number.saturating_add(entry.records);
        }
        let keys = KeyRange {
            superseded,
            places,
            tombstones_from,
        };
        self.merge_kept(id, (all, done), &keys, damaged, compacted)
            .await
    }

    /// Returns the segments whose records are compared: the first ones that are old enough and intact.
    fn key_range(&self, all: &[SegmentEntry], damaged: &HashSet<String>) -> Vec<SegmentEntry> {
        let mut records = 0_u64;
        let first = all.iter().take_while(|entry| {
            records = records.saturating_add(entry.records);
            self.is_old(entry) && records <= latest::MOST_RECORDS
        });
        let intact = first.filter(|entry| !damaged.contains(&entry.key));
        intact.cloned().collect()
    }

    async fn merge_kept(
        &self,
        id: &PartitionId,
        (all, done): (&[SegmentEntry], &[bool]),
        keys: &KeyRange,
        damaged: &mut HashSet<String>,
        compacted: &mut PartitionResult,
    ) -> Result<Again, MaintenanceError> {
        let candidates: Vec<Candidate<'_>> = all
            .iter()
            .zip(done)
            .map(|(entry, done)| keys.candidate(entry, *done))
            .collect();
        let target = self.options.segment_bytes;
        let groups = groups(&candidates, target);
        let is_needed = !groups.is_empty() && !self.options.run.dry_run;
        let left = self.left_over(id, all, is_needed).await?;
        let (mut planned, mut proved) = (Vec::new(), Vec::new());
        let mut queue = VecDeque::from(groups);
        while let Some(group) = queue.pop_front() {
            if self.events.is_stopped() {
                compacted.interrupted = true;
                return Ok(Again::No);
            }
            let sources = all.get(group.clone()).unwrap_or_default();
            match self.group(id, sources, Some(keys), &left).await {
                Ok(Some(done)) => proved.push((group, done)),
                Ok(None) => planned.push(group),
                Err(GroupError::Fatal(error)) => return Err(error),
                Err(GroupError::Unusable(at, found)) => {
                    // What is there of it may have superseded others, which must stay then.
                    return Ok(Again::without(
                        compacted,
                        id,
                        sources.get(at),
                        &found,
                        damaged,
                    ));
                }
                Err(GroupError::OtherSource(at)) => {
                    let cut = group.start.saturating_add(at.max(1)).min(group.end);
                    let halves = [group.start..cut, cut..group.end];
                    let again = halves.map(|half| within(&candidates, half, target));
                    again
                        .into_iter()
                        .flatten()
                        .rev()
                        .for_each(|group| queue.push_front(group));
                }
            }
        }
        // Where a segment turned out to be damaged, all groups are planned anew: none is counted before.
        for group in planned {
            let sources = all.get(group).unwrap_or_default();
            compacted.row.plan(sources);
            let removed: u64 = sources.iter().map(|entry| keys.removed(entry)).sum();
            let tombstones = keys.old_tombstones(sources);
            compacted.row.without(removed, tombstones);
        }
        let (Some((first, _)), Some((last, _))) = (proved.first(), proved.last()) else {
            return Ok(Again::No);
        };
        // One replacement from the first group to the last, with what stays in between.
        let whole = first.start..last.end;
        let mut at = whole.start;
        let mut replacement = Replacement {
            id: id.clone(),
            removed: all.get(whole.clone()).unwrap_or_default().to_vec(),
            added: Vec::new(),
            removed_digest: Some(0),
            without: RemovedRecords::default(),
            recovered: None,
        };
        for (group, done) in &proved {
            let between = all.get(at..group.start).unwrap_or_default();
            replacement.added.extend(between.iter().cloned());
            replacement.added.extend(done.added.iter().cloned());
            let digest = replacement.removed_digest.unwrap_or_default();
            replacement.removed_digest = Some(digest.wrapping_add(done.removed_digest));
            let without = &mut replacement.without;
            without.records = without.records.saturating_add(done.without.records);
            without.content_digest = without
                .content_digest
                .wrapping_add(done.without.content_digest);
            let sources = all.get(group.clone()).unwrap_or_default();
            compacted.add(sources, done, keys.old_tombstones(sources));
            at = group.end;
        }
        compacted.replacements.push(replacement);
        Ok(Again::No)
    }
}

/// Whether a partition is looked at again, since one of its segments turned out to be damaged.
pub(super) enum Again {
    Yes,
    No,
}

impl Again {
    pub(super) fn is_again(&self) -> bool {
        matches!(self, Again::Yes)
    }
}

impl Again {
    /// Notes a damaged segment; the partition is looked at again without it.
    fn without(
        compacted: &mut PartitionResult,
        id: &PartitionId,
        entry: Option<&SegmentEntry>,
        found: &Unusable,
        damaged: &mut HashSet<String>,
    ) -> Again {
        match entry {
            Some(entry) => {
                compacted.note(id, entry, found, damaged);
                Again::Yes
            }
            None => Again::No,
        }
    }
}
