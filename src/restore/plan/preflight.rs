//! Finds everything that would go wrong in a restore before anything is written.

use kbk_format::repo::TopicState;

use super::limits::TargetLimits;
use super::mapping::PartitionMapping;
use super::options::{Purpose, RestoreOptions};
use super::restore_plan::{RestorePlan, TopicPlan};
use super::restored_records;
use super::target_cluster::{ExistingTopic, TargetCluster};
use super::unfinished::UnfinishedRestores;
use crate::kafka::INTERNAL_TOPICS;
use crate::records::ClientChoice;
use crate::restore::plan::obstacle::Obstacle;

/// Returns all obstacles that the snapshot and the target cluster show. Permissions are checked in [`rights`](super::rights).
pub(crate) fn check(
    plan: &RestorePlan,
    cluster: &TargetCluster,
    unfinished: &UnfinishedRestores,
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
            check_contents(topic, existing, unfinished, options, &mut obstacles);
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
    // With this client, all records were decoded.
    let records = topic.limits().map(|limits| limits.zero_timestamps).sum();
    let is_changed = options.client == ClientChoice::Librdkafka;
    if is_changed && records > 0 && options.selection.times.contains(&0) {
        obstacles.push(Obstacle::ZeroTimestamps {
            topic: topic.restored.topic.to_string(),
            records,
        });
    }
}

/// Kafka says which topics are its own, in the backup and in the cluster. A cluster may not have created its own ones yet.
pub(crate) fn check_internal(
    source: &TopicState,
    target: &str,
    cluster: &TargetCluster,
    obstacles: &mut Vec<Obstacle>,
) {
    if source.internal {
        obstacles.push(Obstacle::Internal {
            topic: source.name.to_string(),
        });
    }
    let existing = cluster.topics.get(target);
    if existing.is_some_and(|topic| topic.internal) || INTERNAL_TOPICS.contains(&target) {
        obstacles.push(Obstacle::InternalTarget {
            topic: target.to_owned(),
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

/// Checks what is done about records that a target has.
fn check_contents(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    unfinished: &UnfinishedRestores,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let records = held(topic, existing);
    if records == 0 || !adds(options) {
        return;
    }
    let target = topic.target().to_owned();
    match unfinished.of(topic) {
        Some(unfinished) => obstacles.push(Obstacle::Unfinished {
            topic: target,
            restore: unfinished.restore.clone(),
            resumable: unfinished.resumable,
        }),
        None if options.append => {}
        None => obstacles.push(Obstacle::NotEmpty {
            topic: target,
            records,
        }),
    }
}

/// Returns whether records are written beside those that a target has: a comparison writes nothing.
fn adds(options: &RestoreOptions) -> bool {
    !options.purge && options.purpose != Purpose::Compare
}

/// Returns whether records would be written beside others.
pub(crate) fn adds_to_records(
    plan: &RestorePlan,
    cluster: &TargetCluster,
    options: &RestoreOptions,
) -> bool {
    let has_records = |topic: TopicPlan<'_>| {
        let existing = cluster.topics.get(topic.target());
        existing.is_some_and(|existing| held(topic, existing) > 0)
    };
    adds(options) && plan.topics().any(has_records)
}

/// Returns how many records the target partitions have at most.
fn held(topic: TopicPlan<'_>, existing: &ExistingTopic) -> u64 {
    let targets = topic.restored.targets.iter();
    targets
        .map(|target| existing.records(target.partition))
        .sum()
}

fn check_existing(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let target = || topic.target().to_owned();
    check_partitions(topic, existing, options, obstacles);
    if existing.value("message.timestamp.type") == Some("LogAppendTime") {
        obstacles.push(Obstacle::LogAppendTime { topic: target() });
    }
    let policies = existing.value("cleanup.policy").unwrap_or("delete");
    if options.purge && !policies.contains("delete") && held(topic, existing) > 0 {
        obstacles.push(Obstacle::CannotPurge {
            topic: target(),
            policy: policies.to_owned(),
        });
    }
    // Where a target is compacted, all records were decoded.
    let null_keys: u64 = topic.limits().map(|limits| limits.null_keys).sum();
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
        check_retention_bytes(topic, existing, options, obstacles);
    }
    check_timestamps(topic, existing, options, obstacles);
}

/// Refuses a target that would delete restored records because of their size.
fn check_retention_bytes(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let limit = existing.value("retention.bytes");
    let limit = limit.and_then(|limit| limit.parse::<u64>().ok());
    let records = restored_records(&topic.details.partitions, options);
    if let Some(retention_bytes) = limit
        && records.oldest_timestamp.is_some()
        && records.partition_bytes > retention_bytes
    {
        obstacles.push(Obstacle::RetentionBytes {
            topic: topic.target().to_owned(),
            retention_bytes,
            partition_bytes: records.partition_bytes,
        });
    }
}

/// Refuses a target whose brokers would refuse the timestamps of records. Records without a timestamp are accepted.
fn check_timestamps(
    topic: TopicPlan<'_>,
    existing: &ExistingTopic,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let times = &options.selection.times;
    let limit = |key: &str| {
        existing
            .value(key)
            .and_then(|limit| limit.parse::<i64>().ok())
    };
    // Where a target has the first limit, all records were decoded.
    let oldest = topic.limits().filter_map(|limits| limits.min_timestamp);
    let (oldest, exact) = (oldest.min(), true);
    let newest = topic.limits().filter_map(|limits| {
        // Of batches that were not decoded, the largest timestamp is what a header says.
        Some((limits.max_timestamp?, !limits.is_partly_unread))
    });
    let newest = newest.max();
    let now = jiff::Timestamp::now().as_millisecond();
    let mut refuse = |key: &'static str, limit_ms: i64, (timestamp, exact): (i64, bool)| {
        obstacles.push(Obstacle::TimestampLimit {
            topic: topic.target().to_owned(),
            key,
            limit_ms,
            timestamp,
            exact,
        });
    };
    const BEFORE: &str = "message.timestamp.before.max.ms";
    const AFTER: &str = "message.timestamp.after.max.ms";
    if let (Some(limit), Some(oldest)) = (limit(BEFORE), oldest.filter(|oldest| *oldest >= 0)) {
        let oldest = oldest.max(*times.start());
        if oldest < now.saturating_sub(limit) {
            refuse(BEFORE, limit, (oldest, exact));
        }
    }
    if let (Some(limit), Some((newest, exact))) = (limit(AFTER), newest) {
        let newest = newest.min(*times.end());
        if newest > now.saturating_add(limit) {
            refuse(AFTER, limit, (newest, exact));
        }
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

/// Refuses records that cannot fit, however well they compress: a broker compares the size of a compressed batch with its limit. Batches that were not
/// decoded fit as they are.
fn check_size(topic: TopicPlan<'_>, obstacles: &mut Vec<Obstacle>) {
    let (largest, codec) = (topic.largest_record_bytes(), topic.codec());
    if let (Some(bytes), Some(limit)) = (largest, topic.details.max_message_bytes)
        && bytes > limit.saturating_mul(codec.highest_ratio())
    {
        obstacles.push(Obstacle::RecordTooLarge {
            topic: topic.target().to_owned(),
            bytes,
            limit,
            codec: codec.name(),
        });
    }
}

fn check_retention(
    topic: TopicPlan<'_>,
    retention_ms: i64,
    options: &RestoreOptions,
    obstacles: &mut Vec<Obstacle>,
) {
    let oldest = topic.limits().filter_map(TargetLimits::oldest).min();
    let now = jiff::Timestamp::now().as_millisecond();
    if let Some(oldest) = oldest
        && retention_ms >= 0
        && oldest.timestamp.max(*options.selection.times.start()) < now.saturating_sub(retention_ms)
    {
        obstacles.push(Obstacle::Retention {
            topic: topic.target().to_owned(),
            retention_ms,
            oldest_timestamp: oldest.timestamp,
            exact: !oldest.is_of_batch,
        });
    }
}
