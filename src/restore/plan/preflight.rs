//! Finds everything that would go wrong in a restore before anything is written.

use super::mapping::PartitionMapping;
use super::options::RestoreOptions;
use super::restore_plan::{RestorePlan, TopicPlan};
use super::target_cluster::{ExistingTopic, TargetCluster};
use crate::restore::plan::obstacle::Obstacle;

/// Returns all obstacles that the snapshot and the target cluster show. Permissions are checked in [`rights`](super::rights).
pub(crate) fn check(
    plan: &RestorePlan,
    cluster: &TargetCluster,
    options: &RestoreOptions,
) -> Vec<Obstacle> {
    let in_use = |(group, members): &(String, usize)| Obstacle::GroupInUse {
        group: group.clone(),
        members: *members,
    };
    let mut obstacles: Vec<Obstacle> = cluster.members.iter().map(in_use).collect();
    for topic in plan.topics() {
        check_source(topic, options, &mut obstacles);
        check_size(topic, &mut obstacles);
        if let Some(existing) = cluster.topics.get(topic.target()) {
            check_existing(topic, existing, options, &mut obstacles);
        }
        if let Some(create) = topic.create() {
            let factor = create.replication_factor;
            check_replicas(topic.target(), factor, cluster, &mut obstacles);
        }
    }
    obstacles
}

fn check_source(topic: TopicPlan<'_>, options: &RestoreOptions, obstacles: &mut Vec<Obstacle>) {
    check_internal(&topic.restored.topic, obstacles);
    let records = topic
        .partitions()
        .map(|partition| partition.reading.limits.zero_timestamps)
        .sum();
    if records > 0 && options.selection.times.contains(&0) {
        obstacles.push(Obstacle::ZeroTimestamps {
            topic: topic.restored.topic.to_string(),
            records,
        });
    }
}

pub(crate) fn check_internal(source: &str, obstacles: &mut Vec<Obstacle>) {
    if source.starts_with("__") {
        obstacles.push(Obstacle::Internal {
            topic: source.to_owned(),
        });
    }
}

pub(crate) fn check_replicas(
    target: &str,
    replication_factor: Option<i32>,
    cluster: &TargetCluster,
    obstacles: &mut Vec<Obstacle>,
) {
    if let Some(wanted) = replication_factor
        && usize::try_from(wanted).is_ok_and(|wanted| wanted > cluster.brokers)
    {
        obstacles.push(Obstacle::ReplicationFactor {
            topic: target.to_owned(),
            wanted,
            brokers: cluster.brokers,
        });
    }
}

fn check_existing(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let target = || topic.target().to_owned();
    let held = topic
        .restored
        .targets
        .iter()
        .map(|target| existing.records(target.partition));
    let records: u64 = held.sum();
    if records > 0 && !options.append && !options.purge {
        obstacles.push(Obstacle::NotEmpty {
            topic: target(),
            records,
        });
    }
    check_partitions(topic, existing, options, obstacles);
    if existing.value("message.timestamp.type") == Some("LogAppendTime") {
        obstacles.push(Obstacle::LogAppendTime { topic: target() });
    }
    let policies = existing.value("cleanup.policy").unwrap_or("delete");
    if records > 0 && options.purge && !policies.contains("delete") {
        obstacles.push(Obstacle::CannotPurge {
            topic: target(),
            policy: policies.to_owned(),
        });
    }
    let null_keys: u64 = topic
        .partitions()
        .map(|partition| partition.reading.limits.null_keys)
        .sum();
    if policies.contains("compact") && null_keys > 0 {
        obstacles.push(Obstacle::NullKeys {
            topic: target(),
            records: null_keys,
        });
    }
    if policies.contains("delete") {
        let retention = existing
            .value("retention.ms")
            .and_then(|retention| retention.parse().ok());
        check_retention(topic, retention.unwrap_or(-1), options, obstacles);
    }
}

/// Refuses a target with a different number of partitions, unless a mapping says where each goes.
fn check_partitions(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let (saved, found) = (topic.source_partitions(), existing.partitions);
    let name = || topic.target().to_owned();
    let targets = topic.restored.targets.iter().map(|target| target.partition);
    let mut missing = targets.filter(|target| existing.offsets(*target).is_none());
    obstacles.extend(match options.mapping {
        PartitionMapping::Kept => (saved != found).then(|| Obstacle::PartitionCount {
            topic: name(),
            saved,
            found,
        }),
        PartitionMapping::Mapped(_) => {
            missing.next().map(|partition| Obstacle::NoTargetPartition {
                topic: name(),
                partition,
                found,
            })
        }
        PartitionMapping::Repartitioned(wanted) => {
            let other = usize::try_from(wanted) != Ok(found);
            other.then(|| Obstacle::OtherPartitionCount {
                topic: name(),
                wanted,
                found,
            })
        }
    });
}

fn check_size(topic: TopicPlan<'_>, obstacles: &mut Vec<Obstacle>) {
    let largest = topic
        .partitions()
        .map(|partition| partition.reading.limits.max_record_bytes)
        .max();
    if let (Some(bytes), Some(limit)) = (largest, topic.details.max_message_bytes)
        && bytes > limit
    {
        obstacles.push(Obstacle::RecordTooLarge {
            topic: topic.target().to_owned(),
            bytes,
            limit,
        });
    }
}

fn check_retention(
    topic: TopicPlan<'_>,
    retention_ms: i64,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let oldest = topic
        .partitions()
        .filter_map(|partition| partition.reading.limits.min_timestamp)
        .min();
    let now = jiff::Timestamp::now().as_millisecond();
    if let Some(oldest) = oldest
        && retention_ms >= 0
        && oldest.max(*options.selection.times.start()) < now.saturating_sub(retention_ms)
    {
        obstacles.push(Obstacle::Retention {
            topic: topic.target().to_owned(),
            retention_ms,
            oldest_timestamp: oldest,
        });
    }
}
