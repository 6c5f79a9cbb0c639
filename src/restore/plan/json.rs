//! The JSON form of a plan, as `--dry-run --json` prints it.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, RateLimit, RestoreId};
use kbk_tools::list::Completeness;
use serde::{Serialize, Serializer};

use super::restore_plan::{PartitionPlan, RestorePlan, TopicPlan};
use super::selection::RecordSelection;
use crate::groups::GroupWithoutOffsets;
use crate::restore::plan::obstacle::Obstacle;

#[derive(Serialize)]
struct PlanJson<'a> {
    /// The name that the restore would have.
    restore: &'a RestoreId,
    /// The snapshot that would be restored.
    snapshot: u64,
    /// Whether the snapshot has all records of what is selected.
    saved: &'a Completeness,
    /// Selected offsets that the source had deleted before any backup read them.
    lost_offsets: u64,
    /// Offsets before the selected ones that had expired: `kbk expire` removed them by their age.
    expired_offsets: u64,
    /// Kafka's id of the cluster; `None` if it reports none.
    cluster_id: Option<&'a str>,
    /// The records that are selected.
    choice: &'a RecordSelection,
    /// Whether records are written in transactions.
    transactions: bool,
    /// Whether the repository gets an offset map.
    offset_map: bool,
    /// The limits of the rate.
    rate_limit: RateLimit,
    /// Names of the headers that are left out.
    drop_headers: &'a [String],
    /// The topics.
    topics: Vec<TopicJson<'a>>,
    /// Whether everything is read back and compared.
    verify: bool,
    /// The selected groups of which no offset would be committed.
    groups_without_offsets: &'a [GroupWithoutOffsets],
    /// What would prevent the restore; empty if nothing would.
    obstacles: &'a [Obstacle],
}

#[derive(Serialize)]
struct TopicJson<'a> {
    /// Its name in the backup.
    source: &'a str,
    /// Its id in the backup.
    source_topic_id: Id,
    /// Its number of partitions in the backup.
    source_partitions: usize,
    /// Its name in the cluster.
    target: &'a str,
    /// Whether the target exists or is created.
    action: ActionJson<'a>,
    /// Whether records of the target are deleted first.
    purge: bool,
    /// What its configuration is set to once all records are written; null for what is removed.
    config_afterwards: BTreeMap<&'a str, Option<&'a str>>,
    /// Whether it gets the cluster's defaults, since the snapshot lacks its configuration.
    config_missing: bool,
    /// Whether retention stays off, since it would delete restored records.
    retention_stays_off: bool,
    /// The largest record batch that the target accepts; `None` if that is not known.
    max_message_bytes: Option<u64>,
    /// The size of the largest record that may be restored; `None` if no segment states it, as where batches are not decoded.
    largest_record_bytes: Option<u64>,
    /// The size of the largest of Kafka's own batches that may be restored, as it is stored; `None` if there are none.
    largest_batch_bytes: Option<u64>,
    /// How its batches are compressed.
    codec: &'static str,
    /// Partitions of the target that get records.
    targets: Vec<TargetJson>,
    /// Partitions of the backup, and what is selected in them.
    partitions: Vec<PartitionJson>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ActionJson<'a> {
    Existing,
    Create {
        partitions: i32,
        replication_factor: Option<i32>,
        config: &'a BTreeMap<String, String>,
    },
}

#[derive(Serialize)]
struct TargetJson {
    /// Its number.
    partition: PartitionNumber,
    /// Its end when the plan was made: the next record gets this offset or a higher one.
    offset: i64,
    /// At most how many records are deleted first.
    purged_records: u64,
}

#[derive(Serialize)]
struct PartitionJson {
    /// Its number in the backup.
    partition: PartitionNumber,
    /// Its number in the target; `None` where records are repartitioned.
    target_partition: Option<PartitionNumber>,
    /// First offset selected.
    base_offset: i64,
    /// One past the last offset selected.
    end_offset: i64,
    /// Records that are selected, or an upper bound.
    records: u64,
    /// Whether that count is exact.
    records_exact: bool,
    /// Segments that are read.
    segments: usize,
    /// Bytes of these segments.
    stored_bytes: u64,
    /// Bytes of their records, or of Kafka's own batches, before kbk compresses them.
    raw_bytes: u64,
    /// Blocks that are read.
    blocks: u64,
    /// Bytes that are read.
    read_bytes: u64,
}

impl Serialize for RestorePlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = PlanJson {
            restore: &self.manifest.restore,
            snapshot: self.manifest.snapshot.sequence,
            saved: &self.saved,
            lost_offsets: self.lost_offsets,
            expired_offsets: self.expired_offsets,
            cluster_id: self.manifest.cluster_id.as_deref(),
            choice: &self.selection,
            transactions: self.is_transactional(),
            offset_map: self.offset_map,
            rate_limit: self.rate_limit,
            drop_headers: &self.manifest.drop_headers,
            topics: self.topics().map(TopicJson::new).collect(),
            verify: self.verify,
            groups_without_offsets: &self.groups_without_offsets,
            obstacles: &self.obstacles,
        };
        plan.serialize(serializer)
    }
}

impl<'a> TopicJson<'a> {
    fn new(topic: TopicPlan<'a>) -> TopicJson<'a> {
        let action = topic
            .create()
            .map_or(ActionJson::Existing, |create| ActionJson::Create {
                partitions: create.partitions,
                replication_factor: create.replication_factor,
                config: &create.config,
            });
        let changes = topic.config_afterwards().into_iter().flatten();
        let targets = topic.restored.targets.iter();
        let targets = targets.map(|target| TargetJson {
            partition: target.partition,
            offset: target.offset,
            purged_records: topic.purged_records(target),
        });
        TopicJson {
            source: &topic.restored.topic,
            source_topic_id: topic.restored.topic_id,
            source_partitions: topic.details.source_partitions,
            target: topic.target(),
            action,
            purge: topic.restored.purge,
            config_afterwards: changes
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect(),
            config_missing: topic.config_missing(),
            retention_stays_off: topic.retention_stays_off(),
            max_message_bytes: topic.details.max_message_bytes,
            largest_record_bytes: topic.largest_record_bytes(),
            largest_batch_bytes: topic.largest_batch_bytes(),
            codec: topic.codec().name(),
            targets: targets.collect(),
            partitions: topic.partitions().map(PartitionJson::new).collect(),
        }
    }
}

impl PartitionJson {
    fn new(PartitionPlan { restored, reading }: PartitionPlan<'_>) -> PartitionJson {
        PartitionJson {
            partition: restored.partition,
            target_partition: restored.target_partition,
            base_offset: restored.base_offset,
            end_offset: restored.end_offset,
            records: reading.records,
            records_exact: reading.records_exact,
            segments: reading.segments,
            stored_bytes: reading.stored_bytes,
            raw_bytes: reading.raw_bytes,
            blocks: reading.blocks,
            read_bytes: reading.read_bytes,
        }
    }
}
