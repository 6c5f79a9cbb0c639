//! Which snapshots name segments that a later recovery found damaged or missing (SPEC section 11.4, `damaged_in`).
//!
//! A snapshot is never changed, so it cannot state this itself: the partitions' rows in the newest one do.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::incomplete::{Incomplete, IncompleteReason};
use super::keys::PartitionId;
use super::manifest::Manifest;
use super::ranges;
use super::repository::Repository;
use super::snapshot::Snapshot;
use crate::layout::limits;

/// The snapshots that name damaged segments of a partition: ranges of sequences, both ends included, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DamagedIn(Vec<(u64, u64)>);

impl DamagedIn {
    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last one; 0 where there is none.
    pub(super) fn newest(&self) -> u64 {
        self.0.last().map_or(0, |(_, last)| *last)
    }

    /// Returns the last snapshot of the range that has this one.
    fn range_end(&self, sequence: u64) -> Option<u64> {
        let range = self
            .0
            .iter()
            .find(|(first, last)| (*first..=*last).contains(&sequence));
        range.map(|(_, last)| *last)
    }

    /// Adds these snapshots, `last` included.
    pub(super) fn record(&mut self, first: u64, last: u64) {
        self.0 = ranges::union(&self.0, &[(first, last)]);
        // Rather too many than too few: none of them is called whole.
        while self.0.len() > limits::DAMAGED_RANGES {
            let (_, end) = self.0.remove(1);
            if let Some(oldest) = self.0.first_mut() {
                oldest.1 = end;
            }
        }
    }

    /// Checks the rules; the error names the one that is violated.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        if self.0.len() > limits::DAMAGED_RANGES {
            let (found, limit) = (self.0.len(), limits::DAMAGED_RANGES);
            return Err(format!(
                "it is damaged in {found} ranges of snapshots, and the limit is {limit}"
            ));
        }
        let mut least = 1;
        for (first, last) in &self.0 {
            if *first < least || first > last {
                return Err(format!(
                    "the snapshots {first} to {last}, in which it is damaged, are out of order"
                ));
            }
            // One snapshot at least is between two ranges.
            least = last.saturating_add(2);
        }
        Ok(())
    }
}

/// Which snapshots name damaged segments of which partitions, as the newest snapshot states it.
#[derive(Clone, Debug, Default)]
pub struct FoundDamaged {
    partitions: HashMap<PartitionId, DamagedIn>,
}

impl FoundDamaged {
    fn of(newest: &Snapshot) -> FoundDamaged {
        let mut partitions = HashMap::new();
        for topic in &newest.topics {
            for state in topic
                .partitions
                .iter()
                .filter(|it| !it.damaged_in.is_empty())
            {
                let id = topic.partition_id(state.partition);
                partitions.insert(id, state.damaged_in.clone());
            }
        }
        FoundDamaged { partitions }
    }

    /// Returns whether a snapshot names a damaged segment.
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        let mut partitions = self.partitions.values();
        partitions.any(|it| it.range_end(sequence).is_some())
    }

    /// Returns whether a snapshot names a damaged segment of this partition.
    #[must_use]
    pub fn has_of(&self, sequence: u64, partition: &PartitionId) -> bool {
        let found = self.partitions.get(partition);
        found.is_some_and(|it| it.range_end(sequence).is_some())
    }

    /// Returns whether a snapshot holds a backup, lacks no records, and names no damaged segment.
    #[must_use]
    pub fn is_whole_backup(&self, manifest: &Manifest) -> bool {
        manifest.has_backup() && manifest.is_complete() && !self.has(manifest.sequence)
    }

    /// Marks the partitions of a snapshot that have damaged segments.
    fn mark(&self, snapshot: &mut Snapshot) {
        let sequence = snapshot.sequence;
        for topic in &mut snapshot.topics {
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            for state in &mut topic.partitions {
                let id = PartitionId {
                    topic: name.clone(),
                    topic_id,
                    partition: state.partition,
                };
                let last = self.partitions.get(&id);
                let last = last.and_then(|it| it.range_end(sequence));
                state.found_damaged = last.map(|last| {
                    Box::new(Incomplete {
                        reason: IncompleteReason::Damaged,
                        detail: format!(
                            "segments of it were damaged or missing when a recovery replaced them, after snapshot {last}"
                        ),
                    })
                });
            }
        }
    }
}

impl Repository {
    /// Returns which snapshots name segments that a later recovery found damaged; none where the newest snapshot cannot be read.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn found_damaged(&self) -> Result<Arc<FoundDamaged>> {
        let newest = self.newest_sequence().await?;
        self.found_damaged_by(newest).await
    }

    async fn found_damaged_by(&self, newest: u64) -> Result<Arc<FoundDamaged>> {
        if let Some(found) = self.caches().found_damaged(newest) {
            return Ok(found);
        }
        let found = match newest {
            0 => FoundDamaged::default(),
            // It may have been forgotten meanwhile, by a newer one.
            _ => match self.latest().await {
                Ok(newest) => newest
                    .as_deref()
                    .map_or_else(FoundDamaged::default, FoundDamaged::of),
                // Whoever reads the newest snapshot reports this.
                Err(error) if error.kind().is_about_content() => return Ok(Arc::default()),
                Err(error) => return Err(error),
            },
        };
        let found = Arc::new(found);
        self.caches().keep_found_damaged(newest, &found);
        Ok(found)
    }

    /// Marks the partitions of a snapshot of which the newest one, `newest`, states that a recovery found segments damaged.
    pub(super) async fn mark_damaged(&self, snapshot: &mut Snapshot, newest: u64) -> Result<()> {
        if newest > snapshot.sequence {
            self.found_damaged_by(newest).await?.mark(snapshot);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_the_oldest_grow_together_where_there_are_too_many() {
        let mut damaged = DamagedIn::default();
        assert_eq!(damaged.check(), Ok(()));
        for (first, last) in [(3, 5), (6, 6), (9, 9), (4, 7)] {
            damaged.record(first, last);
        }
        assert_eq!(damaged, DamagedIn(vec![(3, 7), (9, 9)]));
        let found: Vec<u64> = (0..12)
            .filter(|it| damaged.range_end(*it).is_some())
            .collect();
        assert_eq!(found, [3, 4, 5, 6, 7, 9]);
        assert_eq!(damaged.newest(), 9);

        let mut damaged = DamagedIn::default();
        for at in 0..20_u64 {
            damaged.record(10 * at + 1, 10 * at + 2);
            assert_eq!(damaged.check(), Ok(()));
        }
        assert_eq!(damaged.0.len(), limits::DAMAGED_RANGES);
        assert_eq!(damaged.0.first(), Some(&(1, 42)));
        assert_eq!(damaged.newest(), 192);
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        for wrong in [
            &[(0, 1)][..],
            &[(2, 1)],
            &[(1, 3), (4, 5)],
            &[(5, 5), (1, 1)],
        ] {
            assert!(DamagedIn(wrong.to_vec()).check().is_err(), "{wrong:?}");
        }
        let many = (0..17).map(|at| (2 * at + 1, 2 * at + 1));
        assert!(DamagedIn(many.collect()).check().is_err());
    }
}
