//! Lists segments of many partitions with few requests: folder by folder, or all segments of the repository at once.
//!
//! Of a bucket, an answer has 1,000 keys, and costs the same with one. All segments are listed at once where that takes at most half the requests, by the
//! number of segments that the snapshot states. Segments that it does not state may be there, too: as soon as the listing has taken as many requests
//! as the folders would, the folders are listed after all. On a local disk a folder costs nothing.
//!
//! Sums are kept, and not keys, so that memory depends on the partitions that are asked for and not on what is there. Segments that no snapshot
//! names are kept, up to a bound: beyond it, the folders are listed, of which each caller has a few in memory at a time.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::error::Result;
use super::keys::{Key, PartitionId, SEGMENTS};
use super::listing::Listed;
use super::manifest::Manifest;
use super::prunes::Adoptable;
use super::repository::{FoundSegment, Repository};
use super::snapshot::Snapshot;
use super::states::TopicState;

/// The keys in one answer.
const KEYS_PER_REQUEST: u64 = 1_000;
/// The segments that no snapshot names and that are kept in memory, at most. An interrupted run leaves one for each partition that it was reading, so
/// this covers one of as many partitions with a request for each thousand, where the folders would take one each. They are at most 24 MiB (8 MiB
/// with names of 30 bytes), at the start of a backup, which has no record in memory then.
const MOST_UNNAMED: usize = 1 << 16;

/// What a listing shows of the segments that a partition's row states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListedSum {
    /// Their number.
    pub segments: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl ListedSum {
    /// Adds a segment.
    pub fn add(&mut self, bytes: u64) {
        self.segments = self.segments.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Repository {
    /// Sums up the segments of these topics' partitions that begin before the partitions' ends, by listing all segments at once. `None` where
    /// listing each topic is cheaper.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn listed_sums(
        &self,
        snapshot: &Snapshot,
        topics: &[&TopicState],
    ) -> Result<Option<HashMap<PartitionId, ListedSum>>> {
        let folders = topics.iter().map(|topic| {
            let states = topic.partitions.iter();
            requests(states.map(|state| state.segments).sum())
        });
        let Some(limit) = self.limit(Some(&snapshot.manifest), folders.sum()) else {
            return Ok(None);
        };
        let partitions = topics.iter().flat_map(|topic| {
            let states = topic.partitions.iter();
            states.map(|state| (topic.partition_id(state.partition), state.end_offset))
        });
        let ends: HashMap<PartitionId, i64> = partitions.collect();
        let add = |sums: &mut HashMap<PartitionId, ListedSum>, listed: Listed| {
            if let Key::Segment {
                partition,
                base_offset,
                ..
            } = listed.key
                && ends.get(&partition).is_some_and(|end| base_offset < *end)
            {
                sums.entry(partition).or_default().add(listed.bytes);
            }
            ControlFlow::Continue(())
        };
        self.listed_at_once(limit, add).await
    }

    /// Finds what [`unnamed_segments`](Self::unnamed_segments) finds of each of these partitions, which end there, by listing all segments at
    /// once. `None` where listing each partition is cheaper.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn all_unnamed_segments(
        &self,
        newest: Option<&Manifest>,
        ends: &HashMap<PartitionId, i64>,
        adoptable: &Adoptable,
    ) -> Result<Option<HashMap<PartitionId, Vec<FoundSegment>>>> {
        let Some(limit) = self.limit(newest, ends.len() as u64) else {
            return Ok(None);
        };
        let mut left = MOST_UNNAMED;
        let add = |found: &mut HashMap<PartitionId, Vec<FoundSegment>>, listed: Listed| {
            if found.is_empty() {
                left = MOST_UNNAMED;
            }
            let partition = listed.key.partition();
            let Some((partition, end)) = partition.and_then(|it| ends.get_key_value(it)) else {
                return ControlFlow::Continue(());
            };
            if let Some(segment) = FoundSegment::unnamed(&listed, *end, adoptable) {
                left = left.saturating_sub(1);
                found.entry(partition.clone()).or_default().push(segment);
            }
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        let found = self.listed_at_once(limit, add).await?;
        Ok(found.map(|mut found| {
            for segments in found.values_mut() {
                segments.sort_by_cached_key(|segment| segment.key.to_string());
            }
            found
        }))
    }

    /// Returns how many keys all segments may be where they are listed at once; `None` where `folders`, the requests for all folders, is
    /// about as cheap.
    fn limit(&self, newest: Option<&Manifest>, folders: u64) -> Option<u64> {
        let stated = newest.map_or(0, |newest| newest.totals.segments);
        let is_cheaper = requests(stated).saturating_mul(2) <= folders;
        let is_remote = self.store().folder().is_none();
        (is_remote && is_cheaper).then(|| folders.saturating_mul(KEYS_PER_REQUEST))
    }

    /// Lists all segments; `None` as soon as there are more than `limit`, or `add` has enough.
    async fn listed_at_once<T: Default>(
        &self,
        limit: u64,
        mut add: impl FnMut(&mut T, Listed) -> ControlFlow<()>,
    ) -> Result<Option<T>> {
        let add = |(keys, sums): &mut (u64, T), listed| {
            *keys = keys.saturating_add(1);
            match *keys > limit {
                true => ControlFlow::Break(()),
                false => add(sums, listed),
            }
        };
        let listed = self.store().fold_listing(SEGMENTS, add).await?;
        Ok(listed.map(|(_, sums)| sums))
    }
}

/// Returns how many requests list this many keys of a folder.
fn requests(keys: u64) -> u64 {
    keys.div_ceil(KEYS_PER_REQUEST).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unnamed_segments_that_are_kept_fit_into_the_memory_that_is_stated() {
        const LONGEST_NAME: usize = 249;
        let each = |name: usize| size_of::<FoundSegment>() + name;
        assert!(MOST_UNNAMED * each(LONGEST_NAME) <= 24 << 20);
        assert!(MOST_UNNAMED * each(30) <= 8 << 20);
    }
}
