//! The number of a topic's partitions, as Kafka's protocol has it.

use kbk_format::repo::TopicState;

/// Returns the number of partitions of a saved topic.
///
/// # Panics
///
/// On more partitions than Kafka can number, which no snapshot lists: each of them names its partition.
pub(crate) fn partition_count(topic: &TopicState) -> i32 {
    let count = topic.partitions.len();
    match i32::try_from(count) {
        Ok(count) => count,
        Err(_) => panic!("{count} partitions passed validation"),
    }
}
