//! What would go wrong in a restore, all of it at once, before anything is written.

use serde::Serialize;

use crate::restore::plan::mapping::Shape;
use crate::restore::plan::{Cluster, ExistingTopic, Options, Target, TopicPlan};

/// Something that is in the way of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum Obstacle {
    /// The target holds records.
    NotEmpty {
        /// The target.
        topic: String,
        /// About how many.
        records: u64,
    },
    /// The target's records are to be deleted, and it is of the kind whose records nobody may delete.
    CannotPurge {
        /// The target.
        topic: String,
        /// Its `cleanup.policy`.
        policy: String,
    },
    /// The target has another number of partitions.
    PartitionCount {
        /// The target.
        topic: String,
        /// Partitions in the backup.
        saved: usize,
        /// Partitions of the target.
        found: usize,
    },
    /// The target lacks a partition that another one is mapped to.
    NoTargetPartition {
        /// The target.
        topic: String,
        /// What the target lacks.
        partition: i32,
        /// Partitions of the target.
        found: usize,
    },
    /// The target has another number of partitions than keys are to be spread over.
    OtherPartitionCount {
        /// The target.
        topic: String,
        /// What was asked for.
        wanted: i32,
        /// Partitions of the target.
        found: usize,
    },
    /// A record is larger than the target takes.
    RecordTooLarge {
        /// The target.
        topic: String,
        /// Bytes of the largest record.
        bytes: u64,
        /// The target's `max.message.bytes`.
        limit: u64,
    },
    /// The target would put its own time into every record.
    LogAppendTime {
        /// The target.
        topic: String,
    },
    /// The target is compacted, and refuses records without a key.
    NullKeys {
        /// The target.
        topic: String,
        /// Records without a key.
        records: u64,
    },
    /// Records have the timestamp 1970-01-01T00:00:00.000Z, which the Kafka client writes as now.
    ZeroTimestamps {
        /// The topic in the backup.
        topic: String,
        /// Such records.
        records: u64,
    },
    /// There are fewer brokers than replicas.
    ReplicationFactor {
        /// The target.
        topic: String,
        /// Replicas wanted.
        wanted: i32,
        /// Brokers that are up.
        brokers: usize,
    },
    /// The target would delete records that are this old.
    Retention {
        /// The target.
        topic: String,
        /// Its `retention.ms`.
        retention_ms: i64,
        /// Of the oldest record, in milliseconds since the epoch.
        oldest_timestamp: i64,
    },
    /// This principal lacks a permission on a target.
    MissingRight {
        /// Kafka's name of it.
        right: &'static str,
        /// The target.
        topic: String,
    },
    /// The cluster would not create a target.
    CannotCreate {
        /// The target.
        topic: String,
        /// What it says.
        cause: String,
    },
    /// A group that is to be restored is in use.
    GroupInUse {
        /// The group.
        group: String,
        /// Its members.
        members: usize,
    },
    /// Kafka's own topics are not restored by writing records.
    Internal {
        /// The topic.
        topic: String,
    },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::NotEmpty { topic, records } => write!(
                f,
                "{topic} is not empty (about {records} records): restore under another name with --map, add to it with --append, or \
                 delete them with --purge-target"
            ),
            Obstacle::CannotPurge { topic, policy } => write!(
                f,
                "{topic} has cleanup.policy={policy}, of which Kafka deletes no records: set compact,delete or delete for the restore, \
                 or leave out --purge-target"
            ),
            Obstacle::PartitionCount {
                topic,
                saved,
                found,
            } => write!(
                f,
                "{topic} has {found} partitions, the backup {saved}: restore under another name with --map, or by its records' keys into \
                 {found} with --repartition {found}"
            ),
            Obstacle::NoTargetPartition {
                topic,
                partition,
                found,
            } => write!(
                f,
                "{topic} has {found} partitions, counted from 0, and would be written to in partition {partition}: say another one with \
                 --partition-map, or restore under another name with --map"
            ),
            Obstacle::OtherPartitionCount {
                topic,
                wanted,
                found,
            } => write!(
                f,
                "{topic} has {found} partitions, not {wanted}, and producers would spread keys over all of them: give --repartition {found}, \
                 or restore under another name with --map"
            ),
            Obstacle::RecordTooLarge {
                topic,
                bytes,
                limit,
            } => write!(
                f,
                "{topic} takes records of at most {limit} bytes, and the backup has one of {bytes}: raise its max.message.bytes"
            ),
            Obstacle::LogAppendTime { topic } => write!(
                f,
                "{topic} has message.timestamp.type=LogAppendTime and would replace every timestamp: set CreateTime for the restore"
            ),
            Obstacle::NullKeys { topic, records } => write!(
                f,
                "{topic} is compacted and refuses the {records} records without a key: set cleanup.policy=delete for the restore"
            ),
            Obstacle::ZeroTimestamps { topic, records } => write!(
                f,
                "{topic} has {records} records with the timestamp 1970-01-01T00:00:00.000Z, which the Kafka client would write with the \
                 time of now: leave them out with --since @1ms"
            ),
            Obstacle::ReplicationFactor {
                topic,
                wanted,
                brokers,
            } => write!(
                f,
                "{topic} is to have {wanted} replicas, and {brokers} brokers are up: give --replication-factor"
            ),
            Obstacle::Retention {
                topic,
                retention_ms,
                oldest_timestamp,
            } => write!(
                f,
                "{topic} deletes records older than {retention_ms} ms, and the oldest to restore is of {}: raise its retention.ms",
                crate::human::timestamp_ms(*oldest_timestamp)
            ),
            Obstacle::MissingRight { right, topic } => write!(
                f,
                "this principal lacks {right} on topic {topic}: grant it, or use another principal"
            ),
            Obstacle::CannotCreate { topic, cause } => write!(
                f,
                "the cluster would not create {topic}: {cause}; create it beforehand as it is to be, or use --map"
            ),
            Obstacle::GroupInUse { group, members } => write!(
                f,
                "group {group} has {members} members and would commit over what is restored for it: stop its consumers first"
            ),
            Obstacle::Internal { topic } => write!(
                f,
                "{topic} is Kafka's own: writing its records back would not restore what they mean; --exclude it"
            ),
        }
    }
}

/// Everything that is in the way of these topics.
pub(crate) fn check(topics: &[TopicPlan], cluster: &Cluster, options: &Options) -> Vec<Obstacle> {
    let in_use = |(group, members): &(String, usize)| Obstacle::GroupInUse {
        group: group.clone(),
        members: *members,
    };
    let mut obstacles: Vec<Obstacle> = cluster.members.iter().map(in_use).collect();
    for topic in topics {
        check_source(topic, options, &mut obstacles);
        check_size(topic, &mut obstacles);
        match (&topic.action, cluster.topics.get(&topic.target)) {
            (Target::Existing, Some(existing)) => {
                check_existing(topic, existing, options, &mut obstacles)
            }
            (action, _) => check_created(topic, action, cluster, &mut obstacles),
        }
    }
    obstacles
}

fn check_source(topic: &TopicPlan, options: &Options, obstacles: &mut Vec<Obstacle>) {
    check_internal(&topic.source, obstacles);
    let records = topic
        .partitions
        .iter()
        .map(|partition| partition.facts.zero_timestamps)
        .sum();
    if records > 0 && options.choice.times.contains(&0) {
        obstacles.push(Obstacle::ZeroTimestamps {
            topic: topic.source.clone(),
            records,
        });
    }
}

fn check_created(
    topic: &TopicPlan,
    action: &Target,
    cluster: &Cluster,
    obstacles: &mut Vec<Obstacle>,
) {
    if let Target::Create {
        replication_factor, ..
    } = action
    {
        check_replicas(&topic.target, *replication_factor, cluster, obstacles);
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
    cluster: &Cluster,
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
    topic: &TopicPlan,
    existing: &ExistingTopic,
    options: &Options,
    obstacles: &mut Vec<Obstacle>,
) {
    let target = || topic.target.clone();
    let held = topic
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
        .partitions
        .iter()
        .map(|partition| partition.facts.null_keys)
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

/// A target of another size is not taken by mistake; where partitions are mapped, it is meant.
fn check_partitions(
    topic: &TopicPlan,
    existing: &ExistingTopic,
    options: &Options,
    obstacles: &mut Vec<Obstacle>,
) {
    let (saved, found) = (topic.source_partitions, existing.partitions);
    let name = || topic.target.clone();
    let targets = topic.targets.iter().map(|target| target.partition);
    let mut missing = targets.filter(|target| existing.offsets(*target).is_none());
    obstacles.extend(match options.shape {
        Shape::Kept => (saved != found).then(|| Obstacle::PartitionCount {
            topic: name(),
            saved,
            found,
        }),
        Shape::Mapped(_) => missing.next().map(|partition| Obstacle::NoTargetPartition {
            topic: name(),
            partition,
            found,
        }),
        Shape::Repartitioned(wanted) => {
            let other = usize::try_from(wanted) != Ok(found);
            other.then(|| Obstacle::OtherPartitionCount {
                topic: name(),
                wanted,
                found,
            })
        }
    });
}

fn check_size(topic: &TopicPlan, obstacles: &mut Vec<Obstacle>) {
    let largest = topic
        .partitions
        .iter()
        .map(|partition| partition.facts.max_record_bytes)
        .max();
    if let (Some(bytes), Some(limit)) = (largest, topic.max_message_bytes)
        && bytes > limit
    {
        obstacles.push(Obstacle::RecordTooLarge {
            topic: topic.target.clone(),
            bytes,
            limit,
        });
    }
}

fn check_retention(
    topic: &TopicPlan,
    retention_ms: i64,
    options: &Options,
    obstacles: &mut Vec<Obstacle>,
) {
    let oldest = topic
        .partitions
        .iter()
        .filter_map(|partition| partition.facts.min_timestamp)
        .min();
    let now = jiff::Timestamp::now().as_millisecond();
    if let Some(oldest) = oldest
        && retention_ms >= 0
        && oldest.max(*options.choice.times.start()) < now.saturating_sub(retention_ms)
    {
        obstacles.push(Obstacle::Retention {
            topic: topic.target.clone(),
            retention_ms,
            oldest_timestamp: oldest,
        });
    }
}
