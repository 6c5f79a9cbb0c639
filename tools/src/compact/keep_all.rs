//! All records are kept: segments are merged, group by group.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{PartitionId, Replacement, SegmentEntry, SegmentReader};

use super::group::GroupError;
use super::partition_result::PartitionResult;
use super::plan::{Candidate, within};
use super::run::Run;
use crate::maintenance::MaintenanceError;

impl Run<'_> {
    /// Returns by place which segments are as asked for, which takes a look at each where something was asked for.
    pub(super) async fn headers(
        &self,
        id: &PartitionId,
        all: &[SegmentEntry],
        damaged: &mut HashSet<String>,
        compacted: &mut PartitionResult,
    ) -> Result<Vec<bool>, MaintenanceError> {
        if self.rows_suffice() {
            return Ok(all.iter().map(|entry| self.is_done_by_row(entry)).collect());
        }
        let store = self.repository.store();
        let mut opened = stream::iter(all)
            .map(async |entry| match self.is_old(entry) {
                true => {
                    let opened = SegmentReader::open(store, id, entry).await;
                    let done = |it: SegmentReader| self.is_done(it.segment());
                    let by_row = self.is_done_by_row(entry);
                    (entry, opened.map(|it| by_row && done(it)))
                }
                false => (entry, Ok(true)),
            })
            .buffered(store.profile().parallel_requests);
        let mut done = Vec::with_capacity(all.len());
        while let Some((entry, opened)) = opened.next().await {
            done.push(match opened {
                Ok(done) => done,
                Err(error) => {
                    let found = self.unusable(error).await?;
                    compacted.note(id, entry, &found, damaged);
                    true
                }
            });
        }
        Ok(done)
    }

    /// Merges the groups of a partition one after the other. Around a damaged segment, groups are formed anew.
    pub(super) async fn merge_groups(
        &self,
        id: &PartitionId,
        all: &[SegmentEntry],
        done: &[bool],
        damaged: &mut HashSet<String>,
        compacted: &mut PartitionResult,
    ) -> Result<(), MaintenanceError> {
        let mut queue: VecDeque<Range<usize>> = self.plan(all, done, damaged, 0..all.len()).into();
        let is_needed = !queue.is_empty() && !self.options.run.dry_run;
        let left = self.left_over(id, all, is_needed).await?;
        while let Some(group) = queue.pop_front() {
            if self.events.is_stopped() {
                compacted.interrupted = true;
                return Ok(());
            }
            let sources = all.get(group.clone()).unwrap_or_default();
            let proved = match self.group(id, sources, None, &left).await {
                Ok(Some(proved)) => proved,
                Ok(None) => {
                    compacted.row.plan(sources);
                    continue;
                }
                Err(GroupError::Fatal(error)) => return Err(error),
                Err(GroupError::OtherSource(at)) => {
                    let cut = group.start.saturating_add(at.max(1)).min(group.end);
                    let after = self.plan(all, done, damaged, cut..group.end);
                    let before = self.plan(all, done, damaged, group.start..cut);
                    before
                        .into_iter()
                        .chain(after)
                        .rev()
                        .for_each(|group| queue.push_front(group));
                    continue;
                }
                Err(GroupError::Unusable(at, found)) => {
                    if let Some(entry) = sources.get(at) {
                        compacted.note(id, entry, &found, damaged);
                    }
                    let again = self.plan(all, done, damaged, group);
                    again
                        .into_iter()
                        .rev()
                        .for_each(|group| queue.push_front(group));
                    continue;
                }
            };
            // Gaps of many reasons may take as many segments as before; then nothing is gained.
            let has_batches = sources.iter().any(|it| it.batches);
            let is_gain = proved.added.len() < sources.len() || self.rewrites() || has_batches;
            if is_gain {
                compacted.add(sources, &proved, 0);
                compacted.replacements.push(Replacement {
                    id: id.clone(),
                    removed: sources.to_vec(),
                    added: proved.added,
                    removed_digest: Some(proved.removed_digest),
                    without: proved.without,
                    recovered: None,
                });
            }
        }
        Ok(())
    }

    /// Returns the groups of the segments in a range.
    fn plan(
        &self,
        all: &[SegmentEntry],
        done: &[bool],
        damaged: &HashSet<String>,
        range: Range<usize>,
    ) -> Vec<Range<usize>> {
        let candidates: Vec<Candidate<'_>> = all
            .iter()
            .zip(done)
            .map(|(entry, done)| Candidate {
                entry,
                eligible: self.is_old(entry) && !damaged.contains(&entry.key),
                done: *done,
                bytes: entry.size,
            })
            .collect();
        within(&candidates, range, self.options.segment_bytes)
    }
}
