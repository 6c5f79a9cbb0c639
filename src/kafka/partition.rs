//! Partitions by name, and ranges of their offsets: what callers address a cluster with.

use std::fmt;

use kbk_format::PartitionNumber;

/// A partition of a topic, by the topic's name. A topic that is deleted and created again keeps its name; where that matters, the
/// topic id goes along (`kbk_format::repo::PartitionId`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<String>, partition: PartitionNumber) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Offsets `[start, end)` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// The first offset to read.
    pub start: i64,
    /// The exclusive end: the log's end when the range was planned.
    pub end: i64,
}
