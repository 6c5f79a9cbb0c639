//! Topics, or some of their partitions: `orders`, `orders-*`, `orders/0-3,7`, `/orders-.*/0`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, PartitionState, Snapshot, TopicName, TopicState};

use super::partitions::PartitionSet;
use super::pattern::{NamePattern, SelectError, TopicSelection};
use super::topic::TopicError;
use super::topic_ref::TopicRef;

/// Topics of a snapshot, or some of their partitions.
#[derive(Clone, Debug)]
pub struct TopicPartitions {
    /// The topics: a name, `NAME@ID`, a glob or a regular expression.
    pub topics: NamePattern,
    /// Their partitions; `None` for all.
    pub partitions: Option<PartitionSet>,
}

/// The partitions of a snapshot that are selected.
#[derive(Debug, Default)]
pub struct SelectedPartitions<'a> {
    /// Each topic with its selected partitions, ordered by topic and by number, each once.
    pub topics: Vec<(&'a TopicState, Vec<&'a PartitionState>)>,
    /// Deleted topics that a glob or a regular expression matches, and that are left out because a newer topic has their name.
    pub left_out: Vec<TopicRef>,
}

impl TopicPartitions {
    /// Selects from a snapshot what one of `wanted` selects. Kafka's internal topics count like all others.
    ///
    /// # Errors
    ///
    /// If one of them selects nothing, or a partition that a topic does not have.
    pub fn select<'a>(
        wanted: &[TopicPartitions],
        snapshot: &'a Snapshot,
    ) -> Result<SelectedPartitions<'a>, SelectError> {
        type Numbers<'a> = BTreeMap<PartitionNumber, &'a PartitionState>;
        let mut chosen: BTreeMap<(&TopicName, Id), (&TopicState, Numbers<'_>)> = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for one in wanted {
            let found = one.selection().select_saved(snapshot)?;
            for (_, topic) in found.selected {
                let key = (&topic.name, topic.topic_id);
                let (_, numbers) = chosen.entry(key).or_insert((topic, Numbers::new()));
                let states = one.of(topic)?.into_iter();
                numbers.extend(states.map(|state| (state.partition, state)));
            }
            if !one.topics.is_exact() {
                left_out.extend(found.left_out);
            }
        }
        let topics = chosen.into_values();
        let topics = topics.map(|(topic, numbers)| (topic, numbers.into_values().collect()));
        Ok(SelectedPartitions {
            topics: topics.collect(),
            left_out: left_out.into_iter().collect(),
        })
    }

    fn selection(&self) -> TopicSelection {
        TopicSelection::new(vec![self.topics.clone()], Vec::new()).internal_too()
    }

    /// Returns the selected partitions of a topic.
    fn of<'a>(&self, topic: &'a TopicState) -> Result<Vec<&'a PartitionState>, SelectError> {
        match &self.partitions {
            Some(partitions) => Ok(partitions.of(topic)?),
            None => Ok(topic.partitions.iter().collect()),
        }
    }
}

impl fmt::Display for TopicPartitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.partitions {
            Some(partitions) => write!(
                f,
                "{}/{partitions}",
                self.topics.to_string().trim_end_matches('/')
            ),
            None => write!(f, "{}", self.topics),
        }
    }
}

impl FromStr for TopicPartitions {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (topics, partitions) = split(text);
        let topics: NamePattern = topics.parse()?;
        if topics.is_exact() {
            topics.to_string().parse::<TopicRef>()?;
        }
        let partitions = partitions.map(str::parse).transpose()?;
        Ok(TopicPartitions { topics, partitions })
    }
}

/// Separates the topics from the list of partitions. The second slash of a regular expression, which ends it, also begins the list.
fn split(text: &str) -> (&str, Option<&str>) {
    let Some(expression) = text.strip_prefix('/') else {
        return match text.split_once('/') {
            Some((topics, partitions)) => (topics, Some(partitions)),
            None => (text, None),
        };
    };
    match expression.rsplit_once('/') {
        Some((_, "")) | None => (text, None),
        Some((expression, partitions)) => (&text[..expression.len() + 2], Some(partitions)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let parsed: TopicPartitions = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        let partitions = parsed.partitions.map(|set| set.to_string());
        (parsed.topics.to_string(), partitions)
    }

    #[test]
    fn topics_and_lists_of_partitions() {
        for (text, topics, partitions) in [
            ("orders", "orders", None),
            ("orders/12", "orders", Some("12")),
            ("orders/0-3,7", "orders", Some("0-3,7")),
            ("orders/0-2147483647", "orders", Some("0-2147483647")),
            ("orders-*/0", "orders-*", Some("0")),
            ("orders@1a2b3c4d/1", "orders@1a2b3c4d", Some("1")),
            ("/orders-.*/", "/orders-.*/", None),
            ("/orders-.*/0-3", "/orders-.*/", Some("0-3")),
        ] {
            let partitions = partitions.map(str::to_owned);
            assert_eq!(parsed(text), (topics.to_owned(), partitions), "{text}");
        }
        for text in [
            "",
            "/",
            "/orders",
            "orders/",
            "orders/x",
            "orders/-1",
            "orders/3-1",
            "orders/0/1",
            "orders/2147483648",
            "orders@1a2b",
            "a b",
            "..",
            "é",
        ] {
            assert!(text.parse::<TopicPartitions>().is_err(), "{text}");
        }
    }
}
