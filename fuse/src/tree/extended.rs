//! Extended attributes: what a program may want to know of a file without parsing its name. None needs a segment to be read.

use kbk_format::repo::TopicState;

use super::{LocatedSegment, Tree};
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// Names and values.
pub(super) type Extended = Vec<(&'static str, String)>;

pub(super) fn snapshot(sequence: u64) -> (&'static str, String) {
    ("user.kbk.snapshot", sequence.to_string())
}

pub(super) fn of_topic(sequence: u64, topic: &TopicState) -> Extended {
    vec![
        snapshot(sequence),
        ("user.kbk.topic", topic.name.to_string()),
        ("user.kbk.topic_id", topic.topic_id.to_string()),
    ]
}

/// A range of offsets of a partition, its end exclusive.
pub(super) fn of_offsets(partition: &Partition, base_offset: i64, end_offset: i64) -> Extended {
    let mut all = of_topic(partition.sequence(), partition.topic());
    let number = partition.state().partition;
    all.extend([
        ("user.kbk.partition", number.to_string()),
        ("user.kbk.base_offset", base_offset.to_string()),
        ("user.kbk.end_offset", end_offset.to_string()),
    ]);
    all
}

pub(super) fn of_segment(segment: &LocatedSegment) -> Extended {
    let entry = segment.entry();
    let mut all = of_offsets(&segment.partition, entry.base_offset, entry.end_offset);
    all.extend([
        ("user.kbk.records", entry.records.to_string()),
        ("user.kbk.segment_id", entry.segment_id.to_string()),
        ("user.kbk.blake3", entry.blake3.to_string()),
    ]);
    let digest = entry.content_digest;
    all.extend(digest.map(|digest| ("user.kbk.content_digest", digest.to_string())));
    all
}

impl Tree {
    /// A partition as a whole. The digest needs its pages.
    pub(super) async fn extended_of_partition(
        &self,
        partition: &Partition,
    ) -> Result<Extended, ViewError> {
        let index = self.reader.partition_rows(partition).await?;
        let state = partition.state();
        let mut all = of_offsets(partition, state.base_offset, state.end_offset);
        all.push(("user.kbk.records", state.records.to_string()));
        // What a segment does not state is no attribute.
        let digest = index.content_digest.map(|digest| format!("{digest:032x}"));
        all.extend(digest.map(|digest| ("user.kbk.content_digest", digest)));
        Ok(all)
    }
}
