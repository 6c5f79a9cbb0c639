//! The names of a repository's objects, formatted and parsed (SPEC section 11.1).

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::{Digest, Hex, Id};
use super::restore_id::RestoreId;
use crate::PartitionNumber;
use crate::layout::limits::TOPIC_NAME_LENGTH;

/// The name of a Kafka topic, by Kafka's own rules: `a-z A-Z 0-9 . _ -`, 1 to 249 characters, not
/// `.` or `..`. So it is also safe as the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TopicName(String);

/// Text that Kafka does not allow as a topic's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid topic name: Kafka allows 1 to 249 characters of a-z A-Z 0-9 . _ - and neither \".\" nor \"..\""
)]
pub struct TopicNameError(String);

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;

    fn try_from(name: String) -> Result<Self, TopicNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length = (1..=TOPIC_NAME_LENGTH).contains(&name.len());
        if length && name.bytes().all(allowed) && name != "." && name != ".." {
            Ok(TopicName(name))
        } else {
            Err(TopicNameError(name))
        }
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, TopicNameError> {
        name.to_owned().try_into()
    }
}

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the folder of the segments of one history of a topic.
pub(super) fn segments_of_topic(topic: &TopicName, topic_id: Id) -> String {
    format!("{SEGMENTS}/{topic}/{topic_id}")
}

/// The partition that an object belongs to. A topic that was deleted and created again has
/// another id, so its objects never mix with the old ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic's name.
    pub topic: TopicName,
    /// Kafka's topic id; zeros where the cluster gave none.
    pub topic_id: Id,
    /// The partition, 0 or greater.
    pub partition: PartitionNumber,
}

impl PartitionId {
    /// Returns the folder of the partition's segments.
    pub(super) fn segments(&self) -> String {
        format!(
            "{}/{}",
            segments_of_topic(&self.topic, self.topic_id),
            self.partition
        )
    }

    fn parse(topic: &str, topic_id: &str, partition: &str) -> Option<Self> {
        Some(PartitionId {
            topic: topic.parse().ok()?,
            topic_id: topic_id.parse().ok()?,
            partition: parse_partition(partition)?,
        })
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The name of an object. Any other name is not an object of the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `kbk.json`
    Identity,
    /// `data/<topic>/<topic-id>/<partition>/<base>-<id>.kseg`
    Segment {
        /// The partition whose records it holds.
        partition: PartitionId,
        /// The first offset covered.
        base_offset: i64,
        /// The first half of the segment's id.
        id: Hex<8>,
    },
    /// `index/<sha256>.idx`: a table, or a list of tables
    Table {
        /// SHA-256 of the object.
        sha256: Digest,
    },
    /// `cluster/<sha256>.json.zst`: consumer groups, or ACLs
    Cluster {
        /// SHA-256 of the object.
        sha256: Digest,
    },
    /// `snapshots/latest.json`
    LatestSnapshot,
    /// `snapshots/<sequence>.json`
    Snapshot {
        /// From 1.
        sequence: u64,
    },
    /// `restores/<restore>/begun.json`
    RestoreBegun {
        /// The restore.
        restore: RestoreId,
    },
    /// `restores/<restore>/targets.json`
    RestoreTargets {
        /// The restore.
        restore: RestoreId,
    },
    /// `restores/<restore>/map/<digest>.json`
    MapPage {
        /// The restore.
        restore: RestoreId,
        /// The first 16 bytes of the page's SHA-256.
        digest: Hex<16>,
    },
    /// `restores/<restore>/done.json`
    RestoreDone {
        /// The restore.
        restore: RestoreId,
    },
    /// `restores/<restore>/discarded.json`
    RestoreDiscarded {
        /// The restore.
        restore: RestoreId,
    },
    /// `restores/<restore>/groups/<change>.json`
    GroupsChange {
        /// The restore.
        restore: RestoreId,
        /// The change of groups.
        change: RestoreId,
    },
    /// `claims/<claim>.json`
    WriteClaim {
        /// The claim.
        claim: Id,
    },
}

/// The folder of the segments.
pub(super) const SEGMENTS: &str = "data";
/// The folder of the tables.
pub(super) const TABLES: &str = "index";
/// The folder of groups and ACLs.
pub(super) const CLUSTER: &str = "cluster";
/// The folder of the snapshots.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// The folder of the restores.
pub(super) const RESTORES: &str = "restores";
/// The folder of the claims.
pub(super) const CLAIMS: &str = "claims";

impl Key {
    /// The folders at the root of a repository.
    pub(super) const FOLDERS: [&str; 6] = [SEGMENTS, TABLES, CLUSTER, SNAPSHOTS, RESTORES, CLAIMS];

    /// Returns whether objects can be in the folder of this name, directly or further below.
    pub(super) fn is_folder(name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        match *parts.as_slice() {
            [root] => Self::FOLDERS.contains(&root),
            [SEGMENTS, topic] => topic.parse::<TopicName>().is_ok(),
            [SEGMENTS, topic, id] => PartitionId::parse(topic, id, "0").is_some(),
            [SEGMENTS, topic, id, partition] => PartitionId::parse(topic, id, partition).is_some(),
            [RESTORES, restore] => restore.parse::<RestoreId>().is_ok(),
            [RESTORES, restore, "map" | "groups"] => restore.parse::<RestoreId>().is_ok(),
            _ => false,
        }
    }

    /// Returns the partition of a segment; `None` of any other object.
    pub(super) fn partition(&self) -> Option<&PartitionId> {
        match self {
            Key::Segment { partition, .. } => Some(partition),
            _ => None,
        }
    }

    /// Returns the sequence of a snapshot; `None` of any other object.
    pub(super) fn sequence(&self) -> Option<u64> {
        match self {
            Key::Snapshot { sequence } => Some(*sequence),
            _ => None,
        }
    }

    /// Creates the name of a segment.
    #[must_use]
    pub fn segment(partition: &PartitionId, base_offset: i64, segment_id: &Id) -> Self {
        Key::Segment {
            partition: partition.clone(),
            base_offset,
            id: segment_id.prefix(),
        }
    }

    /// Creates the name of a page of an offset map.
    #[must_use]
    pub fn map_page(restore: &RestoreId, sha256: &Digest) -> Self {
        Key::MapPage {
            restore: restore.clone(),
            digest: sha256.prefix(),
        }
    }

    /// Parses a name; `None` unless it has exactly one of the forms of SPEC section 11.1.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('/').collect();
        match *parts.as_slice() {
            ["kbk.json"] => Some(Key::Identity),
            [SEGMENTS, topic, topic_id, partition, file] => {
                let (base, id) = file.strip_suffix(".kseg")?.split_once('-')?;
                Some(Key::Segment {
                    partition: PartitionId::parse(topic, topic_id, partition)?,
                    base_offset: parse_offset(base)?,
                    id: id.parse().ok()?,
                })
            }
            [TABLES, file] => Some(Key::Table {
                sha256: file.strip_suffix(".idx")?.parse().ok()?,
            }),
            [CLUSTER, file] => Some(Key::Cluster {
                sha256: file.strip_suffix(".json.zst")?.parse().ok()?,
            }),
            [SNAPSHOTS, "latest.json"] => Some(Key::LatestSnapshot),
            [SNAPSHOTS, file] => {
                let sequence = parse_20_digits(file.strip_suffix(".json")?)?;
                (sequence > 0).then_some(Key::Snapshot { sequence })
            }
            [RESTORES, restore, "begun.json"] => Some(Key::RestoreBegun {
                restore: restore.parse().ok()?,
            }),
            [RESTORES, restore, "targets.json"] => Some(Key::RestoreTargets {
                restore: restore.parse().ok()?,
            }),
            [RESTORES, restore, "map", file] => Some(Key::MapPage {
                restore: restore.parse().ok()?,
                digest: file.strip_suffix(".json")?.parse().ok()?,
            }),
            [RESTORES, restore, "groups", file] => Some(Key::GroupsChange {
                restore: restore.parse().ok()?,
                change: file.strip_suffix(".json")?.parse().ok()?,
            }),
            [RESTORES, restore, "done.json"] => Some(Key::RestoreDone {
                restore: restore.parse().ok()?,
            }),
            [RESTORES, restore, "discarded.json"] => Some(Key::RestoreDiscarded {
                restore: restore.parse().ok()?,
            }),
            [CLAIMS, file] => Some(Key::WriteClaim {
                claim: file.strip_suffix(".json")?.parse().ok()?,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Identity => f.write_str("kbk.json"),
            Key::Segment {
                partition,
                base_offset,
                id,
            } => write!(f, "{}/{base_offset:020}-{id}.kseg", partition.segments()),
            Key::Table { sha256 } => write!(f, "{TABLES}/{sha256}.idx"),
            Key::Cluster { sha256 } => write!(f, "{CLUSTER}/{sha256}.json.zst"),
            Key::LatestSnapshot => write!(f, "{SNAPSHOTS}/latest.json"),
            Key::Snapshot { sequence } => write!(f, "{SNAPSHOTS}/{sequence:020}.json"),
            Key::RestoreBegun { restore } => write!(f, "{RESTORES}/{restore}/begun.json"),
            Key::RestoreTargets { restore } => write!(f, "{RESTORES}/{restore}/targets.json"),
            Key::MapPage { restore, digest } => write!(f, "{RESTORES}/{restore}/map/{digest}.json"),
            Key::GroupsChange { restore, change } => {
                write!(f, "{RESTORES}/{restore}/groups/{change}.json")
            }
            Key::RestoreDone { restore } => write!(f, "{RESTORES}/{restore}/done.json"),
            Key::RestoreDiscarded { restore } => {
                write!(f, "{RESTORES}/{restore}/discarded.json")
            }
            Key::WriteClaim { claim } => write!(f, "{CLAIMS}/{claim}.json"),
        }
    }
}

fn parse_offset(digits: &str) -> Option<i64> {
    parse_20_digits(digits)?.try_into().ok()
}

/// `str::parse` alone would also accept a plus sign.
fn parse_20_digits(digits: &str) -> Option<u64> {
    let exact = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    exact.then(|| digits.parse().ok()).flatten()
}

fn parse_partition(digits: &str) -> Option<PartitionNumber> {
    let partition = PartitionNumber::new(digits.parse().ok()?)?;
    (partition.to_string() == digits).then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> PartitionId {
        PartitionId {
            topic: "orders.v1_x-2".parse().unwrap(),
            topic_id: Hex([0xab; 16]),
            partition: 12.into(),
        }
    }

    #[test]
    fn names_match_the_specification_and_parse_back() {
        let id = Hex(std::array::from_fn(|i| i as u8));
        let digest = Hex([0xfe; 32]);
        let topic_id = "ab".repeat(16);
        let restore: RestoreId = "20261124-2145-3f9a".parse().unwrap();
        let cases = [
            (Key::Identity, "kbk.json".to_owned()),
            (
                Key::segment(&partition(), 7, &id),
                format!(
                    "data/orders.v1_x-2/{topic_id}/12/00000000000000000007-0001020304050607.kseg"
                ),
            ),
            (
                Key::Table { sha256: digest },
                format!("index/{}.idx", "fe".repeat(32)),
            ),
            (
                Key::Cluster { sha256: digest },
                format!("cluster/{}.json.zst", "fe".repeat(32)),
            ),
            (Key::LatestSnapshot, "snapshots/latest.json".to_owned()),
            (
                Key::Snapshot { sequence: u64::MAX },
                "snapshots/18446744073709551615.json".to_owned(),
            ),
            (
                Key::RestoreBegun {
                    restore: restore.clone(),
                },
                "restores/20261124-2145-3f9a/begun.json".to_owned(),
            ),
            (
                Key::map_page(&restore, &digest),
                format!("restores/20261124-2145-3f9a/map/{}.json", "fe".repeat(16)),
            ),
            (
                Key::GroupsChange {
                    restore: restore.clone(),
                    change: "c-1".parse().unwrap(),
                },
                "restores/20261124-2145-3f9a/groups/c-1.json".to_owned(),
            ),
            (
                Key::RestoreDone {
                    restore: restore.clone(),
                },
                "restores/20261124-2145-3f9a/done.json".to_owned(),
            ),
            (
                Key::RestoreDiscarded {
                    restore: restore.clone(),
                },
                "restores/20261124-2145-3f9a/discarded.json".to_owned(),
            ),
            (
                Key::WriteClaim { claim: id },
                "claims/000102030405060708090a0b0c0d0e0f.json".to_owned(),
            ),
        ];
        for (key, name) in cases {
            let folders = name.match_indices('/').map(|(at, _)| &name[..at]);
            assert!(folders.into_iter().all(Key::is_folder), "{name}");
            assert_eq!(key.to_string(), name);
            assert_eq!(Key::parse(&name), Some(key));
        }
    }

    #[test]
    fn other_folders_hold_no_objects() {
        let id = "ab".repeat(16);
        for other in [
            String::new(),
            "photos".to_owned(),
            "snapshots/loop".to_owned(),
            "data/a b".to_owned(),
            "data/orders/loop".to_owned(),
            format!("data/orders/{id}/01"),
            format!("data/orders/{id}/0/0"),
            "restores/r/other".to_owned(),
            "index/orders".to_owned(),
            "cluster/a".to_owned(),
            "restores/r/map/map".to_owned(),
        ] {
            assert!(!Key::is_folder(&other), "{other}");
        }
    }

    #[test]
    fn other_spellings_are_not_keys() {
        let segment = Key::segment(&partition(), 7, &Id::ZERO).to_string();
        let others = [
            segment.to_uppercase(),
            segment.replace("/12/", "/012/"),
            segment.replace("/12/", "/-1/"),
            segment.replace("/12/", "/+12/"),
            segment.replace("/12/", "/2147483648/"),
            segment.replace("orders.v1_x-2", ".."),
            segment.replace("orders.v1_x-2", ""),
            segment.replace("orders.v1_x-2", "a b"),
            segment.replace(".kseg", ".kseg#1"),
            segment.replace("00000000000000000007", "7"),
            segment.replace("00000000000000000007", "+0000000000000000007"),
            segment.replace("00000000000000000007", "09223372036854775808"),
            format!("{segment}/x"),
            format!("/{segment}"),
            "snapshots/00000000000000000000.json".into(),
            "snapshots/00000000000000000001.json#1".into(),
            "snapshots/99999999999999999999.json".into(),
            "snapshots/x/00000000000000000001.json".into(),
            "snapshots/Latest.json".into(),
            "index/00.idx".into(),
            format!("index/{}.idx", "FE".repeat(32)),
            format!("index/{}.json", "fe".repeat(32)),
            format!("cluster/{}.json", "fe".repeat(32)),
            "kbk.json#1".into(),
            "restores/A/begun.json".into(),
            "restores/../begun.json".into(),
            "restores//begun.json".into(),
            "restores/a/map/00.json".into(),
            "claims/00.json".into(),
            "claims/000102030405060708090A0B0C0D0E0F.json".into(),
            format!("restores/{}/done.json", "a".repeat(65)),
            String::new(),
        ];
        for other in others {
            assert_eq!(Key::parse(&other), None, "{other:?}");
        }
    }

    #[test]
    fn topic_names_follow_the_rules_of_kafka() {
        let longest = "x".repeat(249);
        for name in ["a", "...", "__consumer_offsets", longest.as_str()] {
            assert!(name.parse::<TopicName>().is_ok(), "{name}");
        }
        let too_long = "x".repeat(250);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "ä",
            "a b",
            "a#1",
            "a\0",
            too_long.as_str(),
        ] {
            assert!(name.parse::<TopicName>().is_err(), "{name}");
        }
    }
}
