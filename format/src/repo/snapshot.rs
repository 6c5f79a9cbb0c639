//! Snapshots: one committed view of everything a repository holds (SPEC section 11.5).

use std::ops::Deref;

use super::id::Id;
use super::incomplete::Incomplete;
use super::keys::{PartitionId, TopicName};
use super::manifest::{Manifest, Totals};
use super::states::{PartitionState, TopicState};

/// The states of all topics, and the manifest that names where the rest is. Self-contained: no other snapshot is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it states by itself.
    pub manifest: Manifest,
    /// Ordered by name, then by `first_seen`.
    pub topics: Vec<TopicState>,
}

impl Deref for Snapshot {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

impl Snapshot {
    /// Returns the topic of this name and id.
    #[must_use]
    pub fn topic(&self, name: &TopicName, topic_id: Id) -> Option<&TopicState> {
        let mut named = self.named(name).iter();
        named.find(|topic| topic.topic_id == topic_id)
    }

    /// Returns the history that a topic of the cluster continues: of all with this name and Kafka id, the one first seen last.
    #[must_use]
    pub fn history(&self, name: &TopicName, kafka_id: Option<Id>) -> Option<&TopicState> {
        let mut latest_first = self.named(name).iter().rev();
        latest_first.find(|topic| topic.kafka_id == kafka_id)
    }

    /// Returns the snapshot from which on another history of the same topic counts: the topic was read again in full, and the cluster may
    /// still have it. `None` for a topic that the cluster deleted, and for the history that counts.
    #[must_use]
    pub fn replaced_in(&self, topic: &TopicState) -> Option<u64> {
        // Without Kafka's ids, a topic that was deleted and created again is no different.
        topic.kafka_id.filter(|_| topic.deleted)?;
        let mut later = self.named(&topic.name).iter();
        let next = later
            .find(|other| other.kafka_id == topic.kafka_id && other.first_seen > topic.first_seen);
        next.map(|next| next.first_seen)
    }

    /// Returns the histories of the topics with this name, ordered by `first_seen`.
    fn named(&self, name: &TopicName) -> &[TopicState] {
        let first = self.topics.partition_point(|topic| topic.name < *name);
        let end = self.topics.partition_point(|topic| topic.name <= *name);
        self.topics.get(first..end).unwrap_or_default()
    }

    /// Returns the partition with this id.
    #[must_use]
    pub fn partition(&self, id: &PartitionId) -> Option<&PartitionState> {
        self.topic(&id.topic, id.topic_id)?
            .partitions
            .get(id.partition.index())
    }

    /// Returns whether no record is missing that the source had when it was last backed up, as [`Manifest::is_complete`] does, and no later
    /// snapshot says that segments of this one are damaged.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let mut states = self.topics.iter().flat_map(|topic| &topic.partitions);
        self.manifest.is_complete() && states.all(|state| state.found_damaged.is_none())
    }

    /// Returns why a partition lacks records, if that makes the snapshot partial.
    #[must_use]
    pub fn lacks<'a>(
        &self,
        topic: &TopicState,
        state: &'a PartitionState,
    ) -> Option<&'a Incomplete> {
        let incomplete = state.incomplete.as_ref();
        let counts = |it: &&Incomplete| it.counts(topic, self.origin.as_ref());
        incomplete.filter(counts).or(state.found_damaged.as_deref())
    }

    /// Returns the partitions by which the snapshot is to be judged: of topics that are not deleted, and others that make it partial.
    pub fn judged(&self) -> impl Iterator<Item = (&TopicState, &PartitionState)> {
        self.topics.iter().flat_map(|topic| {
            let states = topic.partitions.iter().map(move |state| (topic, state));
            states.filter(|(topic, state)| !topic.deleted || self.lacks(topic, state).is_some())
        })
    }

    /// Checks that the topics add up to what the manifest states.
    pub(super) fn check_totals(&self) -> Result<(), String> {
        self.check_sums()?;
        let (stated, found) = (
            &self.manifest.totals,
            Totals::of(&self.topics, self.origin.as_ref()),
        );
        match *stated == found {
            true => Ok(()),
            false => Err(format!(
                "it states {stated:?}, and its rows add up to {found:?}"
            )),
        }
    }

    /// Checks that nobody who adds up numbers of partitions gets one that does not fit.
    fn check_sums(&self) -> Result<(), String> {
        let check = |name: &str, field: fn(&PartitionState) -> u64| {
            let mut states = self.topics.iter().flat_map(|topic| &topic.partitions);
            let sum = states.try_fold(0, |sum: u64, state| sum.checked_add(field(state)));
            sum.ok_or_else(|| format!("its partitions state more {name} than 64 bits can count"))
        };
        check("segments", |state| state.segments)?;
        check("records", |state| state.records)?;
        check("expired records", PartitionState::expired_records)?;
        check("stored bytes", |state| state.stored_bytes)?;
        check("raw bytes", |state| state.raw_bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::repo::expired::Expired;
    use crate::repo::manifest::tests::manifest;
    use crate::repo::testing::topic_state::topic_state;

    #[test]
    fn sums_that_do_not_fit_are_refused() {
        let changes: [fn(&mut PartitionState, u64); 5] = [
            |state, number| state.segments = number,
            |state, number| state.records = number,
            |state, number| {
                state.expired = Some(Box::new(Expired {
                    base_offset: 0,
                    segments: 1,
                    records: number,
                    snapshot: 1,
                    at: Timestamp::UNIX_EPOCH,
                    policy: String::new(),
                    last_record: None,
                }));
            },
            |state, number| state.stored_bytes = number,
            |state, number| state.raw_bytes = number,
        ];
        for change in changes {
            for (most, fits) in [(u64::MAX - 1, true), (u64::MAX, false)] {
                let mut partitions = [0, 1].map(|it| PartitionState::empty(it.into(), 0));
                change(&mut partitions[0], most);
                change(&mut partitions[1], 1);
                let topic = topic_state("orders", partitions.into());
                let mut snapshot = Snapshot {
                    manifest: manifest(),
                    topics: vec![topic],
                };
                snapshot.manifest.totals = Totals::of(&snapshot.topics, None);
                assert_eq!(snapshot.check_totals().is_ok(), fits);
            }
        }
    }
}
