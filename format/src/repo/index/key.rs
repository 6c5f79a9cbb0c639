//! The keys of rows, in the order in which tables hold them (SPEC section 11.4).

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::PartitionNumber;
use crate::repo::id::Id;
use crate::repo::keys::{PartitionId, TopicName};

/// Identifies a row: the newest row with a key counts. The order of the fields is the order of rows in a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    area: Area,
    topic: TopicName,
    topic_id: Id,
    /// `None` only in the key of a topic.
    partition: Option<PartitionNumber>,
    /// `None` in the keys of topics and partitions.
    base_offset: Option<i64>,
}

/// The two halves of the order: a reader of all states reads no rows about segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Area {
    States,
    Segments,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RowKind {
    Topic,
    Partition,
    Lost,
    Segment,
}

impl RowKind {
    const ALL: [RowKind; 4] = [
        RowKind::Topic,
        RowKind::Partition,
        RowKind::Lost,
        RowKind::Segment,
    ];

    /// Returns the word that rows and keys have.
    pub(crate) fn word(self) -> &'static str {
        match self {
            RowKind::Topic => "topic",
            RowKind::Partition => "partition",
            RowKind::Lost => "lost",
            RowKind::Segment => "segment",
        }
    }

    /// Returns the kind of this word.
    pub(crate) fn parse(word: &str) -> Option<RowKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl RowKey {
    /// Creates the key of a topic's row.
    #[must_use]
    pub fn topic(topic: TopicName, topic_id: Id) -> RowKey {
        RowKey {
            area: Area::States,
            topic,
            topic_id,
            partition: None,
            base_offset: None,
        }
    }

    /// Creates the key of a partition's row.
    #[must_use]
    pub fn partition(id: PartitionId) -> RowKey {
        Self::of_partition(Area::States, id, None)
    }

    /// Creates the key of a lost range.
    #[must_use]
    pub fn lost(id: PartitionId, base_offset: i64) -> RowKey {
        Self::of_partition(Area::States, id, Some(base_offset))
    }

    /// Creates the key of a segment's row.
    #[must_use]
    pub fn segment(id: PartitionId, base_offset: i64) -> RowKey {
        Self::of_partition(Area::Segments, id, Some(base_offset))
    }

    fn of_partition(area: Area, id: PartitionId, base_offset: Option<i64>) -> RowKey {
        RowKey {
            area,
            topic: id.topic,
            topic_id: id.topic_id,
            partition: Some(id.partition),
            base_offset,
        }
    }

    /// Creates the key of a row of `kind` from the members of the row; the error names the one that is missing or invalid.
    pub(crate) fn from_members(
        kind: RowKind,
        topic: TopicName,
        topic_id: Id,
        partition: Option<PartitionNumber>,
        base_offset: Option<i64>,
    ) -> Result<RowKey, String> {
        if kind == RowKind::Topic {
            return Ok(Self::topic(topic, topic_id));
        }
        let id = PartitionId {
            topic,
            topic_id,
            partition: partition.ok_or("it has no partition")?,
        };
        if kind == RowKind::Partition {
            return Ok(Self::partition(id));
        }
        match base_offset {
            Some(base) if base >= 0 && kind == RowKind::Lost => Ok(Self::lost(id, base)),
            Some(base) if base >= 0 => Ok(Self::segment(id, base)),
            Some(base) => Err(format!("its base_offset is {base}")),
            None => Err("it has no base_offset".to_owned()),
        }
    }

    pub(crate) fn area(&self) -> Area {
        self.area
    }

    pub(crate) fn kind(&self) -> RowKind {
        match (self.area, self.partition, self.base_offset) {
            (Area::Segments, ..) => RowKind::Segment,
            (Area::States, None, _) => RowKind::Topic,
            (Area::States, Some(_), None) => RowKind::Partition,
            (Area::States, Some(_), Some(_)) => RowKind::Lost,
        }
    }

    pub(crate) fn topic_name(&self) -> &TopicName {
        &self.topic
    }

    pub(crate) fn topic_id(&self) -> Id {
        self.topic_id
    }

    /// Returns whether the row belongs to the same history of a topic as another.
    pub(crate) fn same_topic(&self, other: &RowKey) -> bool {
        (&self.topic, self.topic_id) == (&other.topic, other.topic_id)
    }

    /// Compares the partition of this key with another; the key of a topic is before all its partitions.
    pub(crate) fn compare_partition(&self, id: &PartitionId) -> Ordering {
        let order = (&self.topic, self.topic_id, self.partition);
        order.cmp(&(&id.topic, id.topic_id, Some(id.partition)))
    }

    /// Returns the partition; `None` in the key of a topic.
    pub(crate) fn partition_number(&self) -> Option<PartitionNumber> {
        self.partition
    }

    pub(crate) fn base_offset(&self) -> Option<i64> {
        self.base_offset
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind().word(), self.topic, self.topic_id)?;
        if let Some(partition) = self.partition {
            write!(f, "/{partition}")?;
        }
        match self.base_offset {
            Some(offset) => write!(f, " at offset {offset}"),
            None => Ok(()),
        }
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        array.serialize_element(self.kind().word())?;
        array.serialize_element(&self.topic)?;
        array.serialize_element(&self.topic_id)?;
        if let Some(partition) = self.partition {
            array.serialize_element(&partition)?;
        }
        if let Some(offset) = self.base_offset {
            array.serialize_element(&offset)?;
        }
        array.end()
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = RowKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of a row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<RowKey, A::Error> {
        let too_short = || A::Error::custom("the key of a row is too short");
        let word: String = array.next_element()?.ok_or_else(too_short)?;
        let kind = RowKind::parse(&word);
        let kind =
            kind.ok_or_else(|| A::Error::custom(format!("{word:?} is not a kind of row")))?;
        let topic = array.next_element()?.ok_or_else(too_short)?;
        let topic_id = array.next_element()?.ok_or_else(too_short)?;
        let partition = match kind {
            RowKind::Topic => None,
            _ => array.next_element()?,
        };
        let base_offset = match kind {
            RowKind::Topic | RowKind::Partition => None,
            _ => array.next_element()?,
        };
        if array.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("the key of a row is too long"));
        }
        RowKey::from_members(kind, topic, topic_id, partition, base_offset)
            .map_err(A::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::repo::id::Hex;

    pub(crate) fn partition_id(topic: &str, id: u8, partition: u16) -> PartitionId {
        PartitionId {
            topic: topic.parse().unwrap(),
            topic_id: Hex([id; 16]),
            partition: partition.into(),
        }
    }

    pub(crate) fn topic(topic: &str, id: u8) -> RowKey {
        RowKey::topic(topic.parse().unwrap(), Hex([id; 16]))
    }

    #[test]
    fn keys_are_ordered_as_specified() {
        let p = partition_id;
        let ascending = [
            topic("a", 1),
            RowKey::partition(p("a", 1, 0)),
            RowKey::lost(p("a", 1, 0), 0),
            RowKey::lost(p("a", 1, 0), 5),
            RowKey::partition(p("a", 1, 1)),
            RowKey::partition(p("a", 1, 10)),
            topic("a", 2),
            topic("a.b", 0),
            topic("aB", 0),
            topic("ab", 0),
            RowKey::segment(p("Z", 0, 0), 0),
            RowKey::segment(p("a", 1, 0), 0),
            RowKey::segment(p("a", 1, 0), i64::MAX),
            RowKey::segment(p("a", 1, 1), 0),
            RowKey::segment(p("a", 2, 0), 0),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn keys_are_written_as_arrays_and_read_back() {
        let id = "01".repeat(16);
        let p = partition_id("a", 1, 3);
        for (key, json) in [
            (topic("a", 1), format!(r#"["topic","a","{id}"]"#)),
            (
                RowKey::partition(p.clone()),
                format!(r#"["partition","a","{id}",3]"#),
            ),
            (
                RowKey::lost(p.clone(), 7),
                format!(r#"["lost","a","{id}",3,7]"#),
            ),
            (
                RowKey::segment(p, 7),
                format!(r#"["segment","a","{id}",3,7]"#),
            ),
        ] {
            assert_eq!(serde_json::to_string(&key).unwrap(), json);
            assert_eq!(serde_json::from_str::<RowKey>(&json).unwrap(), key);
        }
        for wrong in [
            "[]".to_owned(),
            r#"["topic","a"]"#.to_owned(),
            format!(r#"["table","a","{id}"]"#),
            format!(r#"["topic","..","{id}"]"#),
            format!(r#"["topic","a","{id}",3]"#),
            format!(r#"["partition","a","{id}"]"#),
            format!(r#"["partition","a","{id}",-1]"#),
            format!(r#"["segment","a","{id}",3]"#),
            format!(r#"["segment","a","{id}",3,-1]"#),
            format!(r#"["segment","a","{id}",3,7,8]"#),
        ] {
            assert!(serde_json::from_str::<RowKey>(&wrong).is_err(), "{wrong}");
        }
    }
}
