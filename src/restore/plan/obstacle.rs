//! What would prevent a restore.

use kbk_format::repo::RestoreId;
use kbk_format::{PartitionNumber, counted};
use serde::Serialize;

use crate::kafka::Permission;

/// Something that prevents a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum Obstacle {
    /// The snapshot lacks records of selected partitions.
    Partial {
        /// What it lacks.
        statement: String,
        /// How the repository gets it.
        #[serde(skip)]
        next_step: String,
    },
    /// The target holds records.
    NotEmpty {
        /// The target.
        topic: String,
        /// At most how many: offsets in use, which transaction markers have too.
        records: u64,
    },
    /// The target has records that an unfinished restore may have written, and that would be there twice.
    Unfinished {
        /// The target.
        topic: String,
        /// The restore that writes to it.
        restore: RestoreId,
        /// Whether that restore can be resumed.
        resumable: bool,
    },
    /// The target's records are to be deleted, and its `cleanup.policy` does not allow that.
    CannotPurge {
        /// The target.
        topic: String,
        /// Its `cleanup.policy`.
        policy: String,
    },
    /// The target has a different number of partitions.
    PartitionCount {
        /// The target.
        topic: String,
        /// Partitions in the backup.
        saved: usize,
        /// Partitions of the target.
        found: usize,
    },
    /// The target lacks a partition that a source partition is mapped to.
    NoTargetPartition {
        /// The target.
        topic: String,
        /// The partition that it lacks.
        partition: PartitionNumber,
        /// Partitions of the target.
        found: usize,
    },
    /// The target has a different number of partitions than `--repartition` asks for.
    OtherPartitionCount {
        /// The target.
        topic: String,
        /// The number asked for.
        wanted: i32,
        /// Partitions of the target.
        found: usize,
    },
    /// A record is larger than the target accepts, even if it compresses as well as its codec can.
    RecordTooLarge {
        /// The target.
        topic: String,
        /// Bytes of the largest record.
        bytes: u64,
        /// The target's `max.message.bytes`.
        limit: u64,
        /// The codec of its batches.
        codec: &'static str,
    },
    /// The target would replace every timestamp with its own time.
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
    /// Records have the timestamp 1970-01-01T00:00:00.000Z, which librdkafka takes for "now".
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
        /// The replication factor asked for.
        wanted: i32,
        /// Brokers that are available.
        brokers: usize,
    },
    /// The target would delete records that are this old.
    Retention {
        /// The target.
        topic: String,
        /// Its `retention.ms`.
        retention_ms: i64,
        /// The timestamp of the oldest record, or the newest one of the oldest batch, in milliseconds since the epoch.
        oldest_timestamp: i64,
        /// Whether a record has this timestamp; otherwise it is the newest of a batch.
        exact: bool,
    },
    /// The target would delete records because there are too many.
    RetentionBytes {
        /// The target.
        topic: String,
        /// Its `retention.bytes`.
        retention_bytes: u64,
        /// Bytes of the largest partition to restore, before compression.
        partition_bytes: u64,
    },
    /// The target refuses records that are this old, or this far in the future.
    TimestampLimit {
        /// The target.
        topic: String,
        /// The limit's key.
        key: &'static str,
        /// Its value, in milliseconds.
        limit_ms: i64,
        /// The timestamp that exceeds it, in milliseconds since the epoch.
        timestamp: i64,
        /// Whether a record has this timestamp; otherwise it is the newest of a batch.
        exact: bool,
    },
    /// This principal lacks a permission.
    MissingRight {
        /// The permission.
        #[serde(flatten)]
        permission: Permission,
    },
    /// Whether this principal has a permission is not known before a target exists. Reported only beside missing ones.
    UncheckedRight {
        /// The permission.
        #[serde(flatten)]
        permission: Permission,
    },
    /// The cluster refuses to create a target.
    CannotCreate {
        /// The target.
        topic: String,
        /// The reason it gave.
        cause: String,
    },
    /// Two topics to create have names that Kafka does not tell apart in metrics.
    NamesCollide {
        /// The second of them.
        topic: String,
        /// The first.
        other: String,
    },
    /// A group to restore has members.
    GroupInUse {
        /// The group.
        group: String,
        /// How many members it has.
        members: usize,
    },
    /// A target that is one of Kafka's own topics.
    InternalTarget {
        /// The topic.
        topic: String,
    },
    /// An internal topic of Kafka, which cannot be restored by writing records.
    Internal {
        /// The topic.
        topic: String,
    },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::Partial {
                statement,
                next_step,
            } => write!(
                f,
                "{statement}; restore an older or later snapshot that is whole, {next_step}, or restore what there is with --allow-partial"
            ),
            Obstacle::NotEmpty { topic, records } => write!(
                f,
                "{topic} is not empty (at most {}, by its offsets): restore under another name with --map, add to it with --append, or \
                 delete its records with --purge-target",
                crate::human::counted(*records, "record")
            ),
            Obstacle::Unfinished {
                topic,
                restore,
                resumable: true,
            } => write!(
                f,
                "{topic} is the target of restore {restore}, which has not finished: continue that one with `kbk restore --resume {restore}`, \
                 or start again with --purge-target; `kbk restores discard {restore}` gives it up, and leaves what it wrote"
            ),
            Obstacle::Unfinished { topic, restore, .. } => write!(
                f,
                "{topic} is the target of restore {restore}, which has not finished and cannot be resumed: start again with --purge-target; \
                 `kbk restores discard {restore}` gives it up, and leaves what it wrote"
            ),
            Obstacle::CannotPurge { topic, policy } => write!(
                f,
                "{topic} has cleanup.policy={policy}, which does not allow deleting records: set it to compact,delete or delete for the restore, \
                 or omit --purge-target"
            ),
            Obstacle::PartitionCount {
                topic,
                saved,
                found,
            } => write!(
                f,
                "{topic} has {} and the backup has {saved}: restore under another name with --map, or distribute its records by key \
                 over {0} with --repartition {found}",
                counted(*found, "partition")
            ),
            Obstacle::NoTargetPartition {
                topic,
                partition,
                found,
            } => write!(
                f,
                "{topic} has {}, numbered from 0, so it has no partition {partition} to write to: choose another one with \
                 --partition-map, or restore under another name with --map",
                counted(*found, "partition")
            ),
            Obstacle::OtherPartitionCount {
                topic,
                wanted,
                found,
            } => write!(
                f,
                "{topic} has {}, not {wanted}, and producers would distribute keys over all of them; use --repartition {found}, \
                 or restore under another name with --map",
                counted(*found, "partition")
            ),
            Obstacle::RecordTooLarge {
                topic,
                bytes,
                limit,
                codec,
            } => write!(
                f,
                "{topic} accepts batches of at most {limit} bytes, and the backup has a record of {bytes} bytes, {}: raise its max.message.bytes",
                match *codec {
                    "none" => "which would not be compressed".to_owned(),
                    codec => format!("which {codec} cannot compress so far"),
                }
            ),
            Obstacle::LogAppendTime { topic } => write!(
                f,
                "{topic} has message.timestamp.type=LogAppendTime and would replace every timestamp: set CreateTime for the restore"
            ),
            Obstacle::NullKeys { topic, records } => write!(
                f,
                "{topic} is compacted and refuses {} without a key: set cleanup.policy=delete for the restore",
                crate::human::counted(*records, "record")
            ),
            Obstacle::ZeroTimestamps { topic, records } => write!(
                f,
                "{topic} has {} with the timestamp 1970-01-01T00:00:00.000Z, which librdkafka would replace with the current time: \
                 use --client wire, or exclude them with --since @1ms",
                crate::human::counted(*records, "record")
            ),
            Obstacle::ReplicationFactor {
                topic,
                wanted,
                brokers,
            } => write!(
                f,
                "{topic} needs {}, and only {} available: set --replication-factor",
                counted(*wanted, "replica"),
                match brokers {
                    1 => "1 broker is".to_owned(),
                    some => format!("{some} brokers are"),
                }
            ),
            Obstacle::Retention {
                topic,
                retention_ms,
                oldest_timestamp,
                exact,
            } => write!(
                f,
                "{topic} deletes records older than {retention_ms} ms, and {}: raise its retention.ms",
                match *oldest_timestamp {
                    _ if !exact => format!(
                        "the newest record of a batch to restore is from {}",
                        crate::human::timestamp_ms(*oldest_timestamp)
                    ),
                    ..0 => "records to restore have no timestamp, or one before 1970".to_owned(),
                    _ => format!(
                        "the oldest record to restore is from {}",
                        crate::human::timestamp_ms(*oldest_timestamp)
                    ),
                }
            ),
            Obstacle::RetentionBytes {
                topic,
                retention_bytes,
                partition_bytes,
            } => write!(
                f,
                "{topic} deletes records beyond {retention_bytes} bytes a partition, and the largest partition to restore has about {partition_bytes}: \
                 raise its retention.bytes"
            ),
            Obstacle::TimestampLimit {
                topic,
                key,
                limit_ms,
                timestamp,
                exact,
            } => write!(
                f,
                "{topic} has {key}={limit_ms}, and refuses a record from {}{}: raise it for the restore, on the topic or on its brokers",
                crate::human::timestamp_ms(*timestamp),
                match exact {
                    true => "",
                    false => ", which a batch to restore states as its newest",
                }
            ),
            Obstacle::MissingRight { permission } => {
                write!(f, "this principal lacks {permission}")
            }
            Obstacle::UncheckedRight { permission } => write!(
                f,
                "it also needs {permission}, which cannot be checked yet: brokers do not report it for a topic that does not exist"
            ),
            // Such as that of a tiered topic, where brokers have no tiered storage: no other name would help.
            Obstacle::CannotCreate { topic, cause } if cause.contains("INVALID_CONFIG") => write!(
                f,
                "the cluster refuses to create {topic} with its configuration: {cause}; create it beforehand with one that the cluster accepts"
            ),
            Obstacle::CannotCreate { topic, cause } => write!(
                f,
                "the cluster refuses to create {topic}: {cause}; create it beforehand, or use another name with --map"
            ),
            Obstacle::NamesCollide { topic, other } => write!(
                f,
                "the cluster would refuse to create {topic} beside {other}: their names differ in . and _ only; use another name with --map"
            ),
            Obstacle::GroupInUse { group, members } => write!(
                f,
                "group {group} has {}, which would overwrite its restored offsets: stop its consumers first",
                counted(*members, "member")
            ),
            Obstacle::InternalTarget { topic } => write!(
                f,
                "{topic} is one of Kafka's own topics in the target cluster, and nothing but Kafka may write to it; --map gives another name"
            ),
            Obstacle::Internal { topic } => write!(
                f,
                "{topic} is internal to Kafka: writing its records back would not restore the state they describe; use --exclude"
            ),
        }
    }
}
