//! Extended attributes: what a program may want to know of a file without parsing its name.

use kbk_format::repo::{SegmentEntry, TopicState};

use crate::content::snapshot::Partition;
use crate::error::ViewError;
use crate::tree::Tree;
use crate::tree::inode::Node;
use crate::tree::names::Asked;

/// Names and values.
type Extended = Vec<(&'static str, String)>;

impl Tree {
    /// All extended attributes of a file. Those of a partition need its pages, and nothing needs a segment.
    pub(crate) async fn extended(&self, node: Node) -> Result<Extended, ViewError> {
        match node {
            Node::Root(_) => Ok(Vec::new()),
            Node::Named(number) => {
                let named = self.named.get(number)?;
                let partition = self.partition(named.sequence, named.partition).await?;
                let (first, last) = match named.asked {
                    Asked::One(offset) => (offset, offset),
                    Asked::Range(first, last) => (first, last),
                };
                let mut all = of_place(&partition);
                all.push(("user.kbk.base_offset", first.to_string()));
                all.push(("user.kbk.end_offset", last.saturating_add(1).to_string()));
                Ok(all)
            }
            Node::Snapshot(sequence, _) | Node::Group { sequence, .. } => {
                Ok(vec![snapshot(sequence)])
            }
            Node::Topic {
                sequence, topic, ..
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                let topic = loaded.topic(topic).ok_or(ViewError::Stale)?;
                Ok(of_topic(sequence, topic))
            }
            Node::Partition {
                sequence,
                partition,
                ..
            }
            | Node::Part {
                sequence,
                partition,
                ..
            }
            | Node::PartRecords {
                sequence,
                partition,
                ..
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                let partition = loaded.partition(partition).ok_or(ViewError::Stale)?;
                self.of_partition(&partition).await
            }
            Node::FollowedTopic(number) => {
                let newest = self.newest().await?.ok_or(ViewError::Stale)?;
                let topic = self.followed_topic(&newest, number)?;
                Ok(of_topic(newest.sequence(), &newest.snapshot.topics[topic]))
            }
            Node::Followed { number, .. } => self.of_partition(&self.follow(number).await?).await,
            Node::ByOffset { sequence, segment } | Node::Stored { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                Ok(of_segment(&segment.partition, segment.entry()))
            }
        }
    }

    async fn of_partition(&self, partition: &Partition) -> Result<Extended, ViewError> {
        let extent = self.library.extent(partition).await?;
        let state = partition.state();
        let mut all = of_place(partition);
        all.extend([
            ("user.kbk.base_offset", state.base_offset.to_string()),
            ("user.kbk.end_offset", state.end_offset.to_string()),
            ("user.kbk.records", state.records.to_string()),
            (
                "user.kbk.content_digest",
                format!("{:032x}", extent.content_digest),
            ),
        ]);
        Ok(all)
    }
}

fn snapshot(sequence: u64) -> (&'static str, String) {
    ("user.kbk.snapshot", sequence.to_string())
}

fn of_topic(sequence: u64, topic: &TopicState) -> Extended {
    vec![
        snapshot(sequence),
        ("user.kbk.topic", topic.name.to_string()),
        ("user.kbk.topic_id", topic.topic_id.to_string()),
    ]
}

fn of_place(partition: &Partition) -> Extended {
    let mut all = of_topic(partition.sequence(), partition.topic());
    let number = partition.state().partition;
    all.push(("user.kbk.partition", number.to_string()));
    all
}

fn of_segment(partition: &Partition, entry: &SegmentEntry) -> Extended {
    let mut all = of_place(partition);
    all.extend([
        ("user.kbk.base_offset", entry.base_offset.to_string()),
        ("user.kbk.end_offset", entry.end_offset.to_string()),
        ("user.kbk.records", entry.records.to_string()),
        ("user.kbk.content_digest", entry.content_digest.to_string()),
        ("user.kbk.segment_id", entry.segment_id.to_string()),
        ("user.kbk.sha256", entry.sha256.to_string()),
    ]);
    all
}
