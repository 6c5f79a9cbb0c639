//! Topics of a snapshot, for tests of what only reads them.

use kbk_format::repo::{Id, PartitionState, TopicState};

/// Creates a topic that only the first snapshot saw, and of which no more is known than its partitions.
pub(crate) fn topic_state(name: &str, partitions: Vec<PartitionState>) -> TopicState {
    TopicState {
        name: name.parse().unwrap(),
        topic_id: Id::ZERO,
        kafka_id: None,
        first_seen: 1,
        last_seen: 1,
        sighting: None,
        deleted: false,
        internal: false,
        replication_factor: 1,
        config: None,
        partitions,
    }
}
