//! The plan of a restore: its manifest, and what each part of it amounts to on this cluster.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{
    CommittedPosition, CreatedTopic, Id, RateLimit, RestoreManifest, RestoredPartition,
    RestoredTopic, TargetPartition, TopicName,
};
use kbk_tools::list::Completeness;

use super::codec::TargetCodec;
use super::limits::TargetLimits;
use super::reading::PartitionReading;
use super::selection::RecordSelection;
use crate::groups::GroupWithoutOffsets;
use crate::kafka::BatchCodec;
use crate::records::ClientChoice;
use crate::restore::plan::obstacle::Obstacle;

/// Everything that a restore will do.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// What begun.json says, or will say once the restore begins.
    pub manifest: RestoreManifest,
    /// Whether an earlier run began this restore, so that begun.json exists.
    pub resumed: bool,
    /// Which records to restore. When a restore is resumed, only the times are known here; the manifest has the resulting offsets.
    pub selection: RecordSelection,
    /// Whether the repository keeps where each record went.
    pub offset_map: bool,
    /// Which client writes the records in this run.
    pub client: ClientChoice,
    /// The rate limit of this run; a resumed one may differ from the manifest.
    pub rate_limit: RateLimit,
    /// Whether the records are read back and compared.
    pub verify: bool,
    /// Whether the snapshot has every record that is to be restored.
    pub saved: Completeness,
    /// How many of the selected offsets the cluster had deleted before they were read.
    pub lost_offsets: u64,
    /// How many offsets had expired before those that are restored: `kbk expire` removed them by their age.
    pub expired_offsets: u64,
    /// The selected groups of which nothing will be committed. Unknown where a restore is resumed, whose end names them.
    pub groups_without_offsets: Vec<GroupWithoutOffsets>,
    /// What prevents the restore. A plan with any obstacle is not applied.
    pub obstacles: Vec<Obstacle>,
    /// What the manifest does not say about its topics, by target. Every topic of the manifest has an entry.
    pub(crate) details: BTreeMap<TopicName, TopicDetails>,
}

/// What a plan knows about a topic beyond its part of the manifest.
#[derive(Clone, Debug)]
pub(crate) struct TopicDetails {
    /// Kafka's id of the topic that was backed up, where the source cluster gave one.
    pub(crate) source_kafka_id: Option<Id>,
    pub(crate) source_partitions: usize,
    /// Whether the target exists now. A resumed restore may have created it earlier.
    pub(crate) exists: bool,
    /// Whether the snapshot has its configuration.
    pub(crate) config_saved: bool,
    /// The retention that it does not get back; empty where nothing stays off.
    pub(crate) retention_off: BTreeMap<String, Option<String>>,
    pub(crate) max_message_bytes: Option<u64>,
    /// How its batches are compressed.
    pub(crate) codec: TargetCodec,
    /// At most how many records are deleted first, by target partition; none where nothing is.
    pub(crate) purged_records: BTreeMap<PartitionNumber, u64>,
    /// By source partition. Every restored partition has an entry.
    pub(crate) partitions: BTreeMap<PartitionNumber, PartitionReading>,
}

/// One topic of a plan.
#[derive(Clone, Copy, Debug)]
pub struct TopicPlan<'a> {
    /// Its part of the manifest.
    pub restored: &'a RestoredTopic,
    pub(crate) details: &'a TopicDetails,
}

/// One partition of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PartitionPlan<'a> {
    /// Its part of the manifest.
    pub restored: &'a RestoredPartition,
    /// What is read for it.
    pub reading: &'a PartitionReading,
}

/// Returns where the position of `topic.partitions[index]` is committed.
///
/// # Panics
///
/// If the manifest was not checked: each listed partition of one that was has a position.
pub(crate) fn committed_at(
    manifest: &RestoreManifest,
    topic: &RestoredTopic,
    index: usize,
) -> CommittedPosition {
    match manifest.progress(topic, index) {
        Some(position) => position,
        None => panic!(
            "{} has no position for partition {index} of its list",
            topic.target
        ),
    }
}

impl RestorePlan {
    /// Returns the topics, in the order of the manifest.
    pub fn topics(&self) -> impl Iterator<Item = TopicPlan<'_>> + Clone {
        self.manifest.topics.iter().map(|restored| TopicPlan {
            restored,
            // Indexing panics on a topic without details, which only a bug in the planner can cause.
            details: &self.details[&restored.target],
        })
    }

    /// Returns whether records are written in transactions.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.manifest.producers > 0
    }

    /// Returns the topics that hold records to be deleted first, and at most how many.
    pub fn purged(&self) -> impl Iterator<Item = (TopicPlan<'_>, u64)> {
        let purged = |topic: TopicPlan<'_>| topic.details.purged_records.values().sum();
        self.topics()
            .map(move |topic| (topic, purged(topic)))
            .filter(|(_, records)| *records > 0)
    }
}

impl<'a> TopicPlan<'a> {
    /// Returns how batches are compressed that are built from records.
    #[must_use]
    pub fn codec(&self) -> BatchCodec {
        self.details.codec.codec
    }

    /// Returns the name of the target.
    #[must_use]
    pub fn target(&self) -> &'a str {
        &self.restored.target
    }

    /// Returns how many partitions the topic has in the backup, restored or not.
    #[must_use]
    pub fn source_partitions(&self) -> usize {
        self.details.source_partitions
    }

    /// Returns how to create the target; `None` where it exists.
    #[must_use]
    pub fn create(&self) -> Option<&'a CreatedTopic> {
        self.restored
            .create
            .as_ref()
            .filter(|_| !self.details.exists)
    }

    /// Returns the payload of the largest record of its segments; `None` where none has records, or where batches were not decoded.
    pub(crate) fn largest_record_bytes(&self) -> Option<u64> {
        let limits = || self.limits();
        match limits().any(|limits| limits.is_partly_unread) {
            true => None,
            false => limits().map(|limits| limits.record_bytes).max(),
        }
    }

    /// Returns the size of the largest of Kafka's own batches in its segments; `None` where there are none.
    pub(crate) fn largest_batch_bytes(&self) -> Option<u64> {
        let largest = self.limits().map(|limits| limits.batch_bytes).max();
        largest.filter(|bytes| *bytes > 0)
    }

    /// Returns what its partitions may run into.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &'a TargetLimits> {
        let readings = self.details.partitions.values();
        readings.map(|reading| &reading.limits)
    }

    /// Returns the largest record and the largest batch that the target accepts, where only compression can make that record fit.
    ///
    /// Whether it does is known once the cluster has it, or has refused it.
    #[must_use]
    pub fn fits_only_compressed(&self) -> Option<(u64, u64)> {
        let (bytes, limit) = (
            self.largest_record_bytes()?,
            self.details.max_message_bytes?,
        );
        let most = limit.saturating_mul(self.codec().highest_ratio());
        (bytes > limit && bytes <= most).then_some((bytes, limit))
    }

    /// Returns whether the restore creates the target with the cluster's defaults, since the snapshot does not have its configuration.
    #[must_use]
    pub fn config_missing(&self) -> bool {
        self.restored.create.is_some() && !self.details.config_saved
    }

    /// Returns whether retention stays off in the target although it was on in the backup.
    #[must_use]
    pub fn retention_stays_off(&self) -> bool {
        !self.retention_off().is_empty()
    }

    /// Returns the saved retention that the target does not get back; null for a value of the cluster.
    #[must_use]
    pub fn retention_off(&self) -> &'a BTreeMap<String, Option<String>> {
        &self.details.retention_off
    }

    /// Returns the configuration changes to make once all records are written. They apply to a topic that an earlier run created, too.
    pub(crate) fn config_afterwards(&self) -> Option<&'a BTreeMap<String, Option<String>>> {
        Some(&self.restored.config_afterwards).filter(|changes| !changes.is_empty())
    }

    /// Returns the partitions, in the order of the manifest.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionPlan<'a>> + Clone + use<'a> {
        let readings = &self.details.partitions;
        self.restored
            .partitions
            .iter()
            .map(move |restored| PartitionPlan {
                restored,
                // As in `topics`.
                reading: &readings[&restored.partition],
            })
    }

    /// Returns at most how many records of a target partition are deleted first.
    pub(crate) fn purged_records(&self, target: &TargetPartition) -> u64 {
        let purged = self.details.purged_records.get(&target.partition);
        purged.copied().unwrap_or_default()
    }
}
