//! A target that holds restored records which consumers cannot read yet.

use std::fmt;

use crate::kafka::TopicPartition;

/// A target whose restored records are not all readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// The target.
    pub target: TopicPartition,
    /// The last stable offset, at which a transaction is open.
    pub offset: i64,
}

impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, partition } = &self.target;
        let offset = self.offset;
        write!(
            f,
            "{topic}/{partition}: a transaction is open at offset {offset}; consumers that read committed records see nothing from there on \
             until it ends"
        )
    }
}
