//! Which partition of a target each partition of the backup goes to.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::TopicState;

use crate::restore::plan::selection::Choice;
use crate::restore::plan::{PartitionPlan, TargetPartitionPlan};
use crate::select::PartitionMap;

/// How the partitions of every topic lie in its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As in the backup.
    #[default]
    Kept,
    /// Those that are named lie elsewhere; the others as in the backup.
    Mapped(PartitionMap),
    /// Each record goes, by its key, to one of so many.
    Repartitioned(i32),
}

/// A shape that the chosen partitions cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A partition is mapped that the topic does not have.
    #[error(
        "--partition-map names partition {partition}, and {topic} has {count}, counted from 0: it holds for every topic that is \
         chosen; restore topics of other sizes by themselves, with --topic"
    )]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many it has.
        count: usize,
    },
    /// A partition is mapped that no topic brings back.
    #[error("--partition-map names partition {0}, which is not among those that are chosen")]
    NotChosen(i32),
    /// Two partitions would be written to one.
    #[error(
        "{topic}/{first} and {topic}/{second} would both be written to partition {target}: map both, or choose one with --partition"
    )]
    Collision {
        /// The topic.
        topic: String,
        /// One of them.
        first: i32,
        /// The other.
        second: i32,
        /// Where both would go.
        target: i32,
    },
}

impl Shape {
    /// Where a partition of the backup goes; `None` where the key of each record decides.
    pub(crate) fn target(&self, partition: i32) -> Option<i32> {
        match self {
            Shape::Kept => Some(partition),
            Shape::Mapped(map) => Some(map.target(partition).unwrap_or(partition)),
            Shape::Repartitioned(_) => None,
        }
    }

    /// The partitions that a topic is written to, of which this is planned; ascending.
    pub(crate) fn targets(&self, planned: &[PartitionPlan]) -> impl Iterator<Item = i32> + use<> {
        let written: BTreeSet<i32> = match self {
            Shape::Repartitioned(count) => (0..*count).collect(),
            Shape::Kept | Shape::Mapped(_) => {
                let targets = planned.iter().filter_map(|plan| plan.target_partition);
                targets.collect()
            }
        };
        written.into_iter()
    }

    /// How many partitions a topic is created with: as many as were saved, or more where some are to lie behind them.
    pub(crate) fn size(&self, topic: &TopicState, targets: &[TargetPartitionPlan]) -> i32 {
        if let Shape::Repartitioned(count) = self {
            return *count;
        }
        let saved = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let last = targets
            .last()
            .map_or(0, |last| last.partition.saturating_add(1));
        last.max(saved)
    }

    /// Fails if the chosen partitions of these topics cannot lie so.
    pub(crate) fn check(&self, topics: &[&TopicState], choice: &Choice) -> Result<(), ShapeError> {
        let Shape::Mapped(map) = self else {
            return Ok(());
        };
        for topic in topics {
            check_map(map, topic)?;
            self.check_targets(topic, choice)?;
        }
        let is_chosen = |partition: &i32| {
            topics
                .iter()
                .any(|topic| choice.takes(&topic.name, *partition))
        };
        match map.sources().find(|partition| !is_chosen(partition)) {
            Some(partition) => Err(ShapeError::NotChosen(partition)),
            None => Ok(()),
        }
    }

    fn check_targets(&self, topic: &TopicState, choice: &Choice) -> Result<(), ShapeError> {
        let mut sources = BTreeMap::new();
        let partitions = topic.partitions.iter().map(|state| state.partition);
        for second in partitions.filter(|partition| choice.takes(&topic.name, *partition)) {
            let Some(target) = self.target(second) else {
                continue;
            };
            if let Some(first) = sources.insert(target, second) {
                return Err(ShapeError::Collision {
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

fn check_map(map: &PartitionMap, topic: &TopicState) -> Result<(), ShapeError> {
    let count = topic.partitions.len();
    let is_there = |partition: &i32| usize::try_from(*partition).is_ok_and(|index| index < count);
    match map.sources().find(|partition| !is_there(partition)) {
        Some(partition) => Err(ShapeError::NoPartition {
            topic: topic.name.to_string(),
            partition,
            count,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::{Id, PartitionState};

    use super::*;

    fn topic(name: &str, partitions: i32) -> TopicState {
        let state = |partition| PartitionState {
            partition,
            log_start_offset: 0,
            high_watermark: 0,
            last_stable_offset: 0,
            base_offset: 0,
            end_offset: 0,
            records: 0,
            stored_bytes: 0,
            raw_bytes: 0,
            lost: Vec::new(),
            pages: Vec::new(),
        };
        TopicState {
            name: name.parse().unwrap(),
            topic_id: Id::ZERO,
            first_seen: 1,
            last_seen: 1,
            deleted: false,
            internal: false,
            replication_factor: 1,
            config: None,
            partitions: (0..partitions).map(state).collect(),
        }
    }

    /// What is said of a map of `topics`, of which `partitions` are chosen.
    fn check(map: &str, topics: &[&TopicState], partitions: Option<&str>) -> Result<(), String> {
        let choice = Choice {
            partitions: partitions.map(|partitions| partitions.parse().unwrap()),
            ..Choice::everything()
        };
        let shape = Shape::Mapped(map.parse().unwrap());
        shape
            .check(topics, &choice)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_named_stays_where_it_is() {
        let shape = Shape::Mapped("0:3,3:7".parse().unwrap());
        assert_eq!(
            [0, 1, 2, 3].map(|source| shape.target(source)),
            [3, 1, 2, 7].map(Some)
        );
        assert_eq!(Shape::Kept.target(3), Some(3));
        assert_eq!(Shape::Repartitioned(2).target(3), None);
    }

    #[test]
    fn two_partitions_do_not_meet_in_one() {
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
        // The map holds for each of the topics.
        let payments = topic("payments", 5);
        let collision = check("0:4", &[&orders, &payments], None).unwrap_err();
        assert!(collision.starts_with("payments/0 and payments/4"));
    }

    #[test]
    fn what_is_mapped_is_there_and_chosen() {
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
