//! What a recovery in a repository did, or would do, in the shape of the JSON of `kbk recover`.

use std::collections::BTreeSet;

use kbk_format::repo::{Id, PartitionId, SegmentEntry, Snapshot, TopicName};
use kbk_format::salvage::Loss;
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

use super::salvaged::{Salvaged, Taken};
use crate::verify::Finding;

/// What a recovery in a repository did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    /// The snapshot in which the damaged segments are replaced; null where nothing was changed.
    pub snapshot: Option<u64>,
    /// Number of segments that were verified.
    pub segments: u64,
    /// Number of their records that are there.
    pub records: u64,
    /// Number of their records that are lost; null where it is not known.
    pub lost_records: Option<u64>,
    /// Number of offsets of which nothing is proved.
    pub lost_offsets: u64,
    /// Number of offsets of the selected topics that are lost once this is done: those, and those that earlier recoveries had lost.
    pub damaged_offsets: u64,
    /// Number of segments that another run has expired or replaced meanwhile, so that nothing was done with them.
    pub outdated_segments: u64,
    /// The segments that were replaced, or would be.
    pub recovered: Vec<RecoveredRow>,
    /// Of which partitions nothing was taken from the other repository, and why, for people.
    pub not_taken: Vec<String>,
    /// What is wrong and was left as it is.
    pub findings: Vec<Finding>,
    /// Whether a signal ended the recovery: nothing was changed.
    pub interrupted: bool,
}

/// Offsets that a snapshot states as lost to damage, by whichever recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The offsets.
    #[serde(flatten)]
    pub offsets: OffsetSpan,
}

impl LostRow {
    /// Returns everything that a snapshot states of these topics, in the order of partitions and offsets.
    #[must_use]
    pub fn all(snapshot: &Snapshot, topics: &BTreeSet<(TopicName, Id)>) -> Vec<LostRow> {
        let selected = snapshot.topics.iter();
        let selected = selected.filter(|it| topics.contains(&(it.name.clone(), it.topic_id)));
        let states = selected.flat_map(|topic| topic.partitions.iter().map(move |it| (topic, it)));
        let rows = states.flat_map(|(topic, state)| {
            state.damaged_ranges().map(|lost| LostRow {
                topic: topic.name.to_string(),
                topic_id: topic.topic_id.to_string(),
                partition: state.partition,
                offsets: lost.into(),
            })
        });
        rows.collect()
    }
}

/// A segment that was replaced.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveredRow {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The damaged object, which stays as it is.
    pub key: String,
    /// The offsets that it covers.
    #[serde(flatten)]
    pub offsets: OffsetSpan,
    /// What is wrong with it, for people; empty where it is intact and lacks what an earlier recovery had lost.
    pub damage: Vec<String>,
    /// Whether the object is gone.
    pub missing: bool,
    /// The object that takes its place; null in a dry run.
    pub new_key: Option<String>,
    /// Number of records in it.
    pub records: u64,
    /// Number of records that the damaged one had and that are lost; null where it is not known.
    pub lost_records: Option<u64>,
    /// Number of offsets of which nothing is proved, without those that an earlier recovery had lost.
    pub lost_offsets: u64,
    /// What is lost, in the order of offsets; what an earlier recovery had lost is not among them.
    pub losses: Vec<Loss>,
    /// Offsets that an earlier recovery had lost, and that are still lost.
    pub lost_before: Vec<OffsetSpan>,
    /// The objects that blocks were taken from.
    pub sources: Vec<RecoverySource>,
    /// Objects of the other repository that were not used, and why, for people.
    pub refused: Vec<String>,
}

/// An object that blocks were taken from.
#[derive(Clone, Debug, Serialize)]
pub struct RecoverySource {
    /// The other repository; null for the one that is recovered.
    pub repository: Option<String>,
    /// The object.
    pub key: String,
    /// Number of blocks, of which all or some batches were taken.
    pub blocks: u64,
}

impl From<Taken> for RecoverySource {
    fn from(taken: Taken) -> RecoverySource {
        RecoverySource {
            repository: taken.repository,
            key: taken.key,
            blocks: taken.blocks,
        }
    }
}

impl RecoveredRow {
    pub(super) fn of(
        id: &PartitionId,
        entry: &SegmentEntry,
        damage: &[String],
        salvaged: &Salvaged,
    ) -> RecoveredRow {
        let new = salvaged.lost.without(&salvaged.lost_before);
        // How many records an earlier recovery lost is not stated any more.
        let lost_records = match (salvaged.is_whole, salvaged.lost_before.is_empty()) {
            (true, _) => Some(0),
            (false, true) => Some(entry.records.saturating_sub(salvaged.records)),
            (false, false) => None,
        };
        RecoveredRow {
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            key: entry.key.clone(),
            offsets: (entry.base_offset..entry.end_offset).into(),
            damage: damage.to_vec(),
            missing: salvaged.is_missing,
            new_key: None,
            records: salvaged.records,
            lost_records,
            lost_offsets: new.count(),
            losses: salvaged.losses(),
            lost_before: salvaged.lost.and(&salvaged.lost_before).spans(),
            sources: salvaged.taken().into_iter().map(Into::into).collect(),
            refused: salvaged.refused.clone(),
        }
    }
}

impl Recovery {
    /// Returns whether nothing is damaged any more, and nothing of the selected topics is lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged_offsets == 0
            && self.findings.is_empty()
            && self.outdated_segments == 0
            && !self.interrupted
    }

    pub(super) fn add(&mut self, row: RecoveredRow) {
        self.records = self.records.saturating_add(row.records);
        self.lost_offsets = self.lost_offsets.saturating_add(row.lost_offsets);
        self.lost_records = match (self.lost_records, row.lost_records) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            _ => None,
        };
        self.recovered.push(row);
    }
}
