//! How two snapshots differ.

use std::fmt;

use kbk_format::repo::{AclBinding, Id};
use kbk_format::{OffsetSpan, PartitionNumber, counted};
use serde::Serialize;

/// One of the two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// One difference, or something that could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SnapshotDifference {
    /// The snapshots are of different clusters. That one does not say of which is no difference: an import does not know it.
    Cluster {
        /// Kafka's id of the cluster of A.
        a: String,
        /// Kafka's id of the cluster of B.
        b: String,
    },
    /// Only one of the snapshots has a topic, or this history of it.
    TopicOnlyIn {
        /// Which one.
        side: Side,
        /// The topic and its history.
        #[serde(flatten)]
        topic: TopicHistory,
        /// Number of its partitions.
        partitions: u64,
        /// Number of its records.
        records: u64,
    },
    /// A property of a topic differs.
    TopicProperty {
        /// The topic and its history.
        #[serde(flatten)]
        topic: TopicHistory,
        /// Its name: `deleted`, `internal`, `replication_factor`, `partitions`, or `config` where only one of them has saved it.
        property: &'static str,
        /// Its value in A.
        a: String,
        /// Its value in B.
        b: String,
    },
    /// An entry of a topic's configuration differs.
    Config {
        /// The topic and its history.
        #[serde(flatten)]
        topic: TopicHistory,
        /// The entry.
        name: String,
        /// Its value in A; null where it has the broker's default.
        a: Option<String>,
        /// Its value in B; null where it has the broker's default.
        b: Option<String>,
    },
    /// Only one of the snapshots covers a range of offsets.
    CoveredOnlyIn {
        /// Which one.
        side: Side,
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// The offsets.
        #[serde(flatten)]
        offsets: OffsetSpan,
        /// Whether the other one expired them (`kbk expire`).
        expired: bool,
    },
    /// Only one of the snapshots says that a range of offsets was lost before it was read.
    LostOnlyIn {
        /// Which one.
        side: Side,
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// The offsets.
        #[serde(flatten)]
        offsets: OffsetSpan,
    },
    /// Only one of the snapshots says that a partition lacks records that its source had, or for another reason than the other.
    Incomplete {
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// Why A lacks records; null where it lacks none.
        a: Option<String>,
        /// Why B lacks records; null where it lacks none.
        b: Option<String>,
    },
    /// Records differ.
    Records {
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// The offsets that were compared record by record.
        #[serde(flatten)]
        offsets: OffsetSpan,
        /// Number of records that only A has.
        only_in_a: u64,
        /// Number of records that only B has.
        only_in_b: u64,
        /// Number of records that both have at the same offset, and that are not the same.
        changed: u64,
        /// The snapshot of which `kbk compact` has removed more records by key than of the other one; null where that is none.
        compacted: Option<Side>,
        /// The first of all these.
        first: Vec<RecordDifference>,
    },
    /// Every record that consumers see is the same, and the digests that the snapshots state are not: control records differ, or a digest is wrong.
    Digest {
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// The offsets that were compared record by record.
        #[serde(flatten)]
        offsets: OffsetSpan,
    },
    /// Only one of the snapshots has a consumer group.
    GroupOnlyIn {
        /// Which one.
        side: Side,
        /// The group.
        group: String,
        /// Number of its committed offsets.
        committed_offsets: u64,
    },
    /// A committed offset differs.
    CommittedOffset {
        /// The group.
        group: String,
        /// The partition.
        #[serde(flatten)]
        partition: PartitionOf,
        /// What was committed in A; null where nothing was.
        committed_in_a: Option<Committed>,
        /// What was committed in B; null where nothing was.
        committed_in_b: Option<Committed>,
    },
    /// Only one of the snapshots has an ACL.
    AclOnlyIn {
        /// Which one.
        side: Side,
        /// The ACL.
        acl: AclBinding,
    },
    /// Only one of the snapshots has saved something of its cluster.
    SavedOnlyIn {
        /// Which one.
        side: Side,
        /// What: `consumer groups` or `ACLs`.
        what: &'static str,
    },
    /// A listing shows that an object of a snapshot is missing, or has another size than the snapshot states.
    Object {
        /// The snapshot.
        side: Side,
        /// The object; null where it is about several.
        key: Option<String>,
        /// What is wrong with it.
        error: String,
    },
    /// Something could not be read, so it was not compared.
    NotCompared {
        /// Where it could not be read.
        side: Side,
        /// What: the partition, `consumer groups` or `ACLs`.
        what: String,
        /// The offsets that were not compared; null where that is none of a partition.
        offsets: Option<OffsetSpan>,
        /// Why.
        error: String,
    },
}

/// A topic, and which history of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicHistory {
    /// The name.
    pub topic: String,
    /// Identifies the history: 32 hex digits.
    pub topic_id: Id,
}

/// A partition of one history of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionOf {
    /// The topic.
    #[serde(flatten)]
    pub topic: TopicHistory,
    /// Its number.
    pub partition: PartitionNumber,
}

/// What a group committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// The leader epoch; null where none was committed.
    pub leader_epoch: Option<i32>,
    /// The text that the group added.
    pub metadata: String,
}

/// A record that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordDifference {
    /// Its offset.
    pub offset: i64,
    /// The snapshot that alone has it; null where both have one.
    pub only_in: Option<Side>,
    /// In what both differ: `key`, `value`, `headers`, `timestamp`, `timestamp type`.
    pub what: Vec<&'static str>,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::A => "A",
            Side::B => "B",
        })
    }
}

impl fmt::Display for PartitionOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.topic, self.partition)
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.offset)?;
        if let Some(epoch) = self.leader_epoch {
            write!(f, ", leader epoch {epoch}")?;
        }
        match self.metadata.is_empty() {
            true => Ok(()),
            false => write!(f, ", metadata {:?}", self.metadata),
        }
    }
}

impl fmt::Display for RecordDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only_in {
            Some(side) => write!(f, "the record at offset {} is only in {side}", self.offset),
            None => {
                let what = self.what.join(" and another ");
                write!(f, "offset {} has another {what}", self.offset)
            }
        }
    }
}

impl fmt::Display for SnapshotDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotDifference::Cluster { a, b } => write!(f, "cluster: {a} in A, {b} in B"),
            SnapshotDifference::TopicOnlyIn {
                side,
                topic,
                partitions,
                records,
            } => write!(
                f,
                "{}: only in {side}, with {} and {} (topic id {})",
                topic.topic,
                counted(*partitions, "partition"),
                counted(*records, "record"),
                topic.topic_id
            ),
            SnapshotDifference::TopicProperty {
                topic,
                property,
                a,
                b,
            } => {
                let property = property.replace('_', " ");
                write!(f, "{}: {property}: {a} in A, {b} in B", topic.topic)
            }
            SnapshotDifference::Config { topic, name, a, b } => {
                let value =
                    |value: &Option<String>| value.clone().unwrap_or_else(|| "default".to_owned());
                let (a, b) = (value(a), value(b));
                write!(f, "{}: {name}: {a} in A, {b} in B", topic.topic)
            }
            SnapshotDifference::CoveredOnlyIn {
                side,
                partition,
                offsets,
                expired,
            } => {
                write!(f, "{partition}: {offsets} only in {side}")?;
                match (expired, side) {
                    (false, _) => Ok(()),
                    (true, Side::A) => f.write_str("; B expired them"),
                    (true, Side::B) => f.write_str("; A expired them"),
                }
            }
            SnapshotDifference::LostOnlyIn {
                side,
                partition,
                offsets,
            } => write!(f, "{partition}: {offsets} lost only in {side}"),
            SnapshotDifference::Incomplete { partition, a, b } => {
                let lacks = |detail: &Option<String>| match detail {
                    Some(detail) => format!("incomplete ({detail})"),
                    None => "complete".to_owned(),
                };
                write!(f, "{partition}: {} in A, {} in B", lacks(a), lacks(b))
            }
            SnapshotDifference::Records {
                partition,
                offsets,
                only_in_a,
                only_in_b,
                changed,
                compacted,
                first,
            } => {
                write!(f, "{partition}: of {offsets}, ")?;
                let only = |count, side| format!("{} only in {side}", counted(count, "record"));
                let parts = [
                    (*only_in_a, only(*only_in_a, Side::A)),
                    (*only_in_b, only(*only_in_b, Side::B)),
                    (*changed, format!("{} changed", counted(*changed, "record"))),
                ];
                let parts = parts.into_iter().filter(|(count, _)| *count > 0);
                let parts: Vec<String> = parts.map(|(_, text)| text).collect();
                f.write_str(&parts.join(", "))?;
                if let Some(first) = first.first() {
                    write!(f, "; the first: {first}")?;
                }
                match compacted {
                    Some(side) => {
                        write!(f, "; `kbk compact` has removed records of {side} by key")
                    }
                    None => Ok(()),
                }
            }
            SnapshotDifference::Digest { partition, offsets } => write!(
                f,
                "{partition}: every record of {offsets} that consumers see is the same, but not the digests that the snapshots state: control records \
                 differ, or a digest is wrong; `kbk verify --full` of each says which"
            ),
            SnapshotDifference::GroupOnlyIn {
                side,
                group,
                committed_offsets,
            } => write!(
                f,
                "group {group:?}: only in {side}, with {}",
                counted(*committed_offsets, "committed offset")
            ),
            SnapshotDifference::CommittedOffset {
                group,
                partition,
                committed_in_a,
                committed_in_b,
            } => {
                let committed = |it: &Option<Committed>| {
                    it.as_ref()
                        .map_or("nothing".to_owned(), ToString::to_string)
                };
                let (a, b) = (committed(committed_in_a), committed(committed_in_b));
                write!(f, "group {group:?}: {partition}: {a} in A, {b} in B")
            }
            SnapshotDifference::AclOnlyIn { side, acl } => write!(
                f,
                "ACL: {} {} {} on {} {:?} ({}) from host {:?}: only in {side}",
                acl.principal,
                acl.permission_type,
                acl.operation,
                acl.resource_type,
                acl.resource_name,
                acl.pattern_type,
                acl.host
            ),
            SnapshotDifference::SavedOnlyIn { side, what } => {
                write!(f, "{what}: saved only in {side}, so not compared")
            }
            SnapshotDifference::Object { side, key, error } => match key {
                Some(key) => write!(f, "in {side}: {key}: {error}"),
                None => write!(f, "in {side}: {error}"),
            },
            SnapshotDifference::NotCompared {
                side,
                what,
                offsets,
                error,
            } => {
                write!(f, "{what}: ")?;
                match offsets {
                    Some(offsets) => write!(f, "{offsets} not compared")?,
                    None => f.write_str("not compared")?,
                }
                write!(f, ": they cannot be read in {side}: {error}")
            }
        }
    }
}
