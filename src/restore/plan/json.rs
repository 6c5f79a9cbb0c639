//! The JSON form of a plan, as `--dry-run --json` prints it.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, RateLimit, RestoreId};
use kbk_tools::list::Completeness;
use serde::{Serialize, Serializer};

use super::restore_plan::{PartitionPlan, RestorePlan, TopicPlan};
use super::selection::RecordSelection;
use crate::restore::plan::obstacle::Obstacle;

#[derive(Serialize)]
struct PlanJson<'a> {
    restore: &'a RestoreId,
    snapshot: u64,
    saved: &'a Completeness,
    lost_offsets: u64,
    cluster_id: Option<&'a str>,
    choice: &'a RecordSelection,
    transactions: bool,
    offset_map: bool,
    rate_limit: RateLimit,
    drop_headers: &'a [String],
    topics: Vec<TopicJson<'a>>,
    verify: bool,
    obstacles: &'a [Obstacle],
}

#[derive(Serialize)]
struct TopicJson<'a> {
    source: &'a str,
    source_topic_id: Id,
    source_partitions: usize,
    target: &'a str,
    action: ActionJson<'a>,
    purge: bool,
    config_afterwards: BTreeMap<&'a str, Option<&'a str>>,
    config_missing: bool,
    retention_stays_off: bool,
    max_message_bytes: Option<u64>,
    largest_record_bytes: Option<u64>,
    codec: &'static str,
    targets: Vec<TargetJson>,
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
    partition: PartitionNumber,
    offset: i64,
    purged_records: u64,
}

#[derive(Serialize)]
struct PartitionJson {
    partition: PartitionNumber,
    target_partition: Option<PartitionNumber>,
    base_offset: i64,
    end_offset: i64,
    records: u64,
    records_exact: bool,
    segments: usize,
    stored_bytes: u64,
    raw_bytes: u64,
    blocks: u64,
    read_bytes: u64,
}

impl Serialize for RestorePlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = PlanJson {
            restore: &self.manifest.restore,
            snapshot: self.manifest.snapshot.sequence,
            saved: &self.saved,
            lost_offsets: self.lost_offsets,
            cluster_id: self.manifest.cluster_id.as_deref(),
            choice: &self.selection,
            transactions: self.is_transactional(),
            offset_map: self.offset_map,
            rate_limit: self.rate_limit,
            drop_headers: &self.manifest.drop_headers,
            topics: self.topics().map(TopicJson::new).collect(),
            verify: self.verify,
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
