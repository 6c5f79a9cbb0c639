//! Topic names: a name in full, a `TOPIC/PARTITION`, and a `SOURCE=TARGET` mapping.

use std::fmt;
use std::str::FromStr;

use super::partitions::number;

/// The longest name that Kafka allows.
const MAX_NAME: usize = 249;

/// Returns whether Kafka allows a topic of this name (org.apache.kafka.common.internals.Topic).
fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && name.bytes().all(legal)
}

/// Text that is not a topic, partition or mapping.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A name that Kafka does not allow.
    #[error("`{0}` is not a valid topic name: give 1 to 249 of a-z A-Z 0-9 `.` `_` `-`")]
    Name(String),
    /// Not a partition number after the slash.
    #[error("`{0}` is not a partition number; give a topic, or TOPIC/PARTITION as in `orders/0`")]
    Partition(String),
    /// No `=` between the names.
    #[error("`{0}` is not a mapping; give SOURCE=TARGET as in `orders=orders-restored`")]
    Mapping(String),
}

pub(super) fn topic_name(name: &str) -> Result<String, TopicError> {
    if is_topic_name(name) {
        Ok(name.to_owned())
    } else {
        Err(TopicError::Name(name.to_owned()))
    }
}

/// A topic, given by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName(pub String);

impl FromStr for TopicName {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        topic_name(text).map(Self)
    }
}

/// A topic, or one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlace {
    /// The topic's name.
    pub topic: String,
    /// The partition; `None` for all of them.
    pub partition: Option<i32>,
}

impl FromStr for TopicPlace {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (topic, partition) = match text.split_once('/') {
            Some((topic, number)) => (topic, Some(partition(number)?)),
            None => (text, None),
        };
        Ok(Self {
            topic: topic_name(topic)?,
            partition,
        })
    }
}

fn partition(text: &str) -> Result<i32, TopicError> {
    number(text).ok_or_else(|| TopicError::Partition(text.to_owned()))
}

/// One `--map SOURCE=TARGET`: a topic has another name in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMapping {
    /// The topic's name in the backup.
    pub source: String,
    /// The topic's name in the cluster.
    pub target: String,
}

impl fmt::Display for TopicMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.source, self.target)
    }
}

impl FromStr for TopicMapping {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (source, target) = text
            .split_once('=')
            .ok_or_else(|| TopicError::Mapping(text.to_owned()))?;
        Ok(Self {
            source: topic_name(source)?,
            target: topic_name(target)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_partitions() {
        let place: TopicPlace = "orders/12".parse().unwrap();
        assert_eq!(
            (place.topic.as_str(), place.partition),
            ("orders", Some(12))
        );
        let place: TopicPlace = "orders".parse().unwrap();
        assert_eq!((place.topic.as_str(), place.partition), ("orders", None));
        for text in [
            "",
            "/",
            "orders/",
            "orders/x",
            "orders/-1",
            "orders/ 1",
            "orders/0/1",
            "orders/2147483648",
            "a b",
            "..",
            "é",
        ] {
            assert!(text.parse::<TopicPlace>().is_err(), "{text}");
        }
        assert!("a".repeat(249).parse::<TopicName>().is_ok());
        assert!("a".repeat(250).parse::<TopicName>().is_err());
    }

    #[test]
    fn invalid_mappings_are_refused() {
        for text in ["", "a", "=b", "a=", "a=b=c", "a=b c"] {
            assert!(text.parse::<TopicMapping>().is_err(), "{text}");
        }
    }
}
