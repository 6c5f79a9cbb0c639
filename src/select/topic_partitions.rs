//! Topics, or some of their partitions: `orders`, `orders-*`, `orders/0-3,7`, `/orders-.*/0`.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::str::FromStr;

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

/// Topics by name and id, each with its selected partitions; `None` for all.
type TopicSets<'a> = BTreeMap<(&'a TopicName, Id), (&'a TopicState, Option<PartitionSet>)>;

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
        let topics = TopicPartitions::topics(wanted, snapshot)?.into_values();
        let topics = topics.map(|(topic, partitions)| match partitions {
            Some(partitions) => Ok((topic, partitions.of(topic)?)),
            None => Ok((topic, topic.partitions.iter().collect())),
        });
        let topics = topics.collect::<Result<_, SelectError>>()?;
        let patterns = wanted.iter().filter(|one| !one.topics.is_exact());
        let mut left_out = BTreeSet::new();
        for pattern in patterns {
            left_out.extend(pattern.selection().select_saved(snapshot)?.left_out);
        }
        Ok(SelectedPartitions {
            topics,
            left_out: left_out.into_iter().collect(),
        })
    }

    /// Returns the partitions that `wanted` selects of each topic of a snapshot, without the topics of which it selects all.
    ///
    /// # Errors
    ///
    /// If one of `wanted` selects nothing.
    pub fn restricted(
        wanted: &[TopicPartitions],
        snapshot: &Snapshot,
    ) -> Result<BTreeMap<(TopicName, Id), PartitionSet>, SelectError> {
        let topics = TopicPartitions::topics(wanted, snapshot)?.into_iter();
        let restricted = topics
            .filter_map(|((name, id), (_, partitions))| Some(((name.clone(), id), partitions?)));
        Ok(restricted.collect())
    }

    /// Returns each selected topic with its partitions; `None` for all.
    fn topics<'a>(
        wanted: &[TopicPartitions],
        snapshot: &'a Snapshot,
    ) -> Result<TopicSets<'a>, SelectError> {
        let mut topics: TopicSets<'_> = BTreeMap::new();
        for one in wanted {
            for (_, topic) in one.selection().select_saved(snapshot)?.selected {
                let partitions = one.partitions.clone();
                match topics.entry((&topic.name, topic.topic_id)) {
                    Entry::Vacant(entry) => drop(entry.insert((topic, partitions))),
                    Entry::Occupied(mut entry) => {
                        let (_, known) = entry.get_mut();
                        *known = known.take().zip(partitions).map(|(a, b)| a.and(b));
                    }
                }
            }
        }
        Ok(topics)
    }

    /// Returns whether it stands for whole topics, however many: a glob or a regular expression without partitions.
    pub fn is_pattern(&self) -> bool {
        !self.topics.is_exact() && self.partitions.is_none()
    }

    /// Returns whether the topic of this name and id is among them.
    pub fn matches(&self, name: &str, id: Id) -> bool {
        self.topics.matches_topic(name, id)
    }

    fn selection(&self) -> TopicSelection {
        TopicSelection::new(vec![self.topics.clone()], Vec::new()).internal_too()
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
