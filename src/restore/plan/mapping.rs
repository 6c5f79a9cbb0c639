//! Which partition of a target each partition of the backup goes to.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{RestoredPartition, TargetPartition, TopicState};
use kbk_format::{PartitionNumber, counted};

use super::partition_count::partition_count;
use super::selection::RecordSelection;

use crate::select::PartitionMap;

/// How the partitions of a topic map to those of its target; the same for every selected topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PartitionMapping {
    /// Each keeps its number.
    #[default]
    Kept,
    /// The named ones go elsewhere; the others keep their numbers.
    Mapped(PartitionMap),
    /// Each record goes to one of this many partitions, by its key.
    Repartitioned(i32),
}

/// Why the selected partitions cannot be mapped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionMappingError {
    /// The map names a partition that a topic does not have.
    #[error(
        "--partition-map names partition {partition}, and {topic} has {}, numbered from 0: the map applies to every selected \
         topic; restore topics of other sizes separately, with --topic",
        counted(*.count, "partition")
    )]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionNumber,
        /// How many it has.
        count: usize,
    },
    /// The map names a partition that is not restored.
    #[error("--partition-map names partition {0}, which is not among the selected ones")]
    NotSelected(PartitionNumber),
    /// Two partitions would be written to the same one.
    #[error(
        "{topic}/{first} and {topic}/{second} would both be written to partition {target}: map both, or select one with --partition"
    )]
    Collision {
        /// The topic.
        topic: String,
        /// One of them.
        first: PartitionNumber,
        /// The other.
        second: PartitionNumber,
        /// Where both would go.
        target: PartitionNumber,
    },
}

impl PartitionMapping {
    /// Returns where a source partition goes; `None` where the key of each record decides.
    pub(crate) fn target(&self, partition: PartitionNumber) -> Option<PartitionNumber> {
        match self {
            PartitionMapping::Kept => Some(partition),
            PartitionMapping::Mapped(map) => Some(map.target(partition).unwrap_or(partition)),
            PartitionMapping::Repartitioned(_) => None,
        }
    }

    /// Returns the target partitions that are written to when `planned` is restored, in ascending order.
    pub(crate) fn targets(
        &self,
        planned: &[RestoredPartition],
    ) -> impl Iterator<Item = PartitionNumber> + use<> {
        let written: BTreeSet<PartitionNumber> = match self {
            PartitionMapping::Repartitioned(count) => PartitionNumber::first(*count).collect(),
            PartitionMapping::Kept | PartitionMapping::Mapped(_) => {
                let targets = planned.iter().filter_map(|plan| plan.target_partition);
                targets.collect()
            }
        };
        written.into_iter()
    }

    /// Returns how many partitions to create a topic with: as many as were saved, or more where the map names higher ones.
    pub(crate) fn size(&self, topic: &TopicState, targets: &[TargetPartition]) -> i32 {
        if let PartitionMapping::Repartitioned(count) = self {
            return *count;
        }
        let saved = partition_count(topic);
        let last = targets
            .last()
            .map_or(0, |last| last.partition.get().saturating_add(1));
        last.max(saved)
    }

    /// Fails if the selected partitions of these topics cannot be mapped.
    pub(crate) fn check(
        &self,
        topics: &[&TopicState],
        selection: &RecordSelection,
    ) -> Result<(), PartitionMappingError> {
        let PartitionMapping::Mapped(map) = self else {
            return Ok(());
        };
        for topic in topics {
            check_map(map, topic)?;
            self.check_targets(topic, selection)?;
        }
        let is_selected = |partition: &PartitionNumber| {
            topics
                .iter()
                .any(|topic| selection.takes(topic, *partition))
        };
        match map.sources().find(|partition| !is_selected(partition)) {
            Some(partition) => Err(PartitionMappingError::NotSelected(partition)),
            None => Ok(()),
        }
    }

    fn check_targets(
        &self,
        topic: &TopicState,
        selection: &RecordSelection,
    ) -> Result<(), PartitionMappingError> {
        let mut sources = BTreeMap::new();
        let partitions = topic.partitions.iter().map(|state| state.partition);
        for second in partitions.filter(|partition| selection.takes(topic, *partition)) {
            let Some(target) = self.target(second) else {
                continue;
            };
            if let Some(first) = sources.insert(target, second) {
                return Err(PartitionMappingError::Collision {
                    topic: topic.name.to_string(),
                    first,
                    second,
                    target,
                });
            }
        }
        Ok(())
    }
}

fn check_map(map: &PartitionMap, topic: &TopicState) -> Result<(), PartitionMappingError> {
    let count = topic.partitions.len();
    let exists = |partition: &PartitionNumber| partition.index() < count;
    match map.sources().find(|partition| !exists(partition)) {
        Some(partition) => Err(PartitionMappingError::NoPartition {
            topic: topic.name.to_string(),
            partition,
            count,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::PartitionState;

    use super::*;
    use crate::testing::topic_state::topic_state;

    fn topic(name: &str, partitions: i32) -> TopicState {
        let state = |partition| PartitionState::empty(partition, 0);
        topic_state(
            name,
            PartitionNumber::first(partitions).map(state).collect(),
        )
    }

    /// Checks a map for `topics`, with `partitions` selected.
    fn check(map: &str, topics: &[&TopicState], partitions: Option<&str>) -> Result<(), String> {
        let selection = RecordSelection {
            partitions: partitions.map(|partitions| partitions.parse().unwrap()),
            ..RecordSelection::everything()
        };
        let mapping = PartitionMapping::Mapped(map.parse().unwrap());
        mapping
            .check(topics, &selection)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn partitions_that_the_map_does_not_name_keep_their_numbers() {
        let mapping = PartitionMapping::Mapped("0:3,3:7".parse().unwrap());
        assert_eq!(
            [0, 1, 2, 3].map(|source: u16| mapping.target(source.into())),
            [3, 1, 2, 7].map(|target: u16| Some(target.into()))
        );
        assert_eq!(PartitionMapping::Kept.target(3.into()), Some(3.into()));
        assert_eq!(PartitionMapping::Repartitioned(2).target(3.into()), None);
    }

    #[test]
    fn two_partitions_cannot_be_mapped_to_one() {
        let orders = topic("orders", 4);
        let collision = check("0:3", &[&orders], None).unwrap_err();
        assert!(
            collision.starts_with("orders/0 and orders/3 would both be written to partition 3"),
            "{collision}"
        );
        for (map, partitions) in [
            ("0:3,3:0", None),
            ("0:4", None),
            ("0:3,3:4", None),
            ("0:3", Some("0-2")),
        ] {
            assert_eq!(check(map, &[&orders], partitions), Ok(()), "{map}");
        }
        // The map applies to each of the topics.
        let payments = topic("payments", 5);
        let collision = check("0:4", &[&orders, &payments], None).unwrap_err();
        assert!(collision.starts_with("payments/0 and payments/4"));
    }

    #[test]
    fn mapped_partitions_must_exist_and_be_selected() {
        let (orders, small) = (topic("orders", 4), topic("small", 2));
        let beyond = check("2:3,3:2", &[&orders, &small], None).unwrap_err();
        assert!(
            beyond.contains("names partition 2, and small has 2"),
            "{beyond}"
        );
        let left_out = check("0:7,1:8", &[&orders], Some("1-3")).unwrap_err();
        assert!(
            left_out.contains("names partition 0, which is not"),
            "{left_out}"
        );
    }
}
