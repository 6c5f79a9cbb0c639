//! Changes as a backup commits them. A test states what matters to it, and takes the rest from here: `Change { groups, ..change(base, topics) }`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    Change, Digested, Id, PartitionChange, PartitionId, SegmentEntry, Snapshot, TopicChange,
};

/// Creates the change of a backup that resumed from `base`, and found nothing but these topics.
pub(crate) fn change(base: Option<Digested<Snapshot>>, topics: Vec<TopicChange>) -> Change {
    Change {
        read_after: base.as_ref().map_or(0, |base| base.sequence),
        base,
        ignored: BTreeSet::new(),
        nonce: Id::random(),
        started_at: Timestamp::UNIX_EPOCH,
        created_at: Timestamp::UNIX_EPOCH,
        writer: "test".to_owned(),
        cluster_id: None,
        topics,
        gone: Vec::new(),
        unseen: Vec::new(),
        groups: None,
        acls: None,
    }
}

/// Creates the topic of this partition, with these partitions: its configuration is not known, and Kafka gave its id.
pub(crate) fn topic_change(of: &PartitionId, partitions: Vec<PartitionChange>) -> TopicChange {
    TopicChange {
        name: of.topic.clone(),
        topic_id: of.topic_id,
        kafka_id: Some(of.topic_id),
        internal: false,
        replication_factor: 1,
        config: None,
        partitions,
    }
}

/// Creates a partition whose log has the offsets from 0 to `end_offset`, and of which these segments are new.
pub(crate) fn partition_change(
    partition: PartitionNumber,
    end_offset: i64,
    segments: Vec<SegmentEntry>,
) -> PartitionChange {
    PartitionChange {
        partition,
        log_start_offset: 0,
        high_watermark: end_offset,
        last_stable_offset: end_offset,
        incomplete: None,
        segments,
        lost: Vec::new(),
    }
}
