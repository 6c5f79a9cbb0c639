//! Topics by name: a `SOURCE=TARGET` mapping, and what is wrong with text that names topics.

use std::fmt;
use std::str::FromStr;

use kbk_format::repo::{TopicName, TopicNameError};

use super::partitions::PartitionsError;
use super::pattern::PatternError;
use super::topic_ref::TopicRef;

/// Text that is not a topic, partition or mapping.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A name that Kafka does not allow.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// Not a glob or a regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Not a list of partitions after the slash.
    #[error(transparent)]
    Partitions(#[from] PartitionsError),
    /// No id after the `@`.
    #[error(
        "`{0}` does not name a topic by its id; give 8 to 32 hex digits after the @, as `kbk ls` and the mount show them"
    )]
    Id(String),
    /// No `=` between the names.
    #[error("`{0}` is not a mapping; give SOURCE=TARGET as in `orders=orders-restored`")]
    Mapping(String),
}

/// Returns the name if Kafka allows it.
pub(super) fn topic_name(name: &str) -> Result<String, TopicError> {
    Ok(name.parse::<TopicName>()?.to_string())
}

/// One `--map SOURCE=TARGET`: a topic has another name in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMapping {
    /// The topic in the backup.
    pub source: TopicRef,
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
            source: source.parse()?,
            target: topic_name(target)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_length_that_kafka_allows() {
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
