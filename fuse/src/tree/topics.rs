//! `topics/` of a snapshot: `TOPIC/` with `config.json` and a folder per partition.

use std::collections::BTreeMap;

use kbk_format::repo::{PartitionState, Snapshot, TopicState};
use serde::Serialize;

use super::document::json;
use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::PartitionNode;
use super::{Tree, names, snapshots};
use crate::attributes::{Attributes, Kind};
use crate::content::snapshot::LoadedSnapshot;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family. Topics are known by their position in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicNode {
    /// The folder `topics`.
    All { sequence: u64 },
    /// The folder of a topic.
    Folder { sequence: u64, topic: u64 },
    /// Its `config.json`.
    Config { sequence: u64, topic: u64 },
}

const FAMILY: u64 = 2;
const ALL_PLACE: u64 = 4;

const CONFIG: &str = "config.json";

impl Family for TopicNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Snapshot {
                sequence,
                family: snapshots::FAMILY,
                place: ALL_PLACE,
            } => Some(TopicNode::All { sequence }),
            Number::Snapshot {
                sequence,
                family: FAMILY,
                place,
            } => {
                let topic = place >> 1;
                Some(match place & 1 {
                    0 => TopicNode::Folder { sequence, topic },
                    _ => TopicNode::Config { sequence, topic },
                })
            }
            _ => None,
        }
    }

    fn number(self) -> Number {
        let (sequence, family, place) = match self {
            TopicNode::All { sequence } => (sequence, snapshots::FAMILY, ALL_PLACE),
            TopicNode::Folder { sequence, topic } => (sequence, FAMILY, topic << 1),
            TopicNode::Config { sequence, topic } => (sequence, FAMILY, topic << 1 | 1),
        };
        Number::Snapshot {
            sequence,
            family,
            place,
        }
    }

    fn kind(self) -> Kind {
        match self {
            TopicNode::All { .. } | TopicNode::Folder { .. } => Kind::Folder,
            TopicNode::Config { .. } => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            TopicNode::All { sequence } | TopicNode::Folder { sequence, .. } => {
                Ok(tree.reader.snapshot(sequence).await?.folder())
            }
            TopicNode::Config { sequence, topic } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let document = config_json(
                    &loaded.snapshot,
                    loaded.topic(topic).ok_or(ViewError::Stale)?,
                );
                Ok(loaded.file(document.len() as u64, 0, None))
            }
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        match self {
            TopicNode::All { sequence } => Ok(vec![extended::snapshot(sequence)]),
            TopicNode::Folder { sequence, topic } | TopicNode::Config { sequence, topic } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let topic = loaded.topic(topic).ok_or(ViewError::Stale)?;
                Ok(extended::of_topic(sequence, topic))
            }
        }
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        match self {
            TopicNode::All { sequence } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let topics = (0..).zip(&loaded.snapshot.topics).skip(window.start());
                let shown = topics.filter(|(_, state)| tree.shows(state));
                let child = |(topic, state): (u64, &TopicState)| {
                    let node = TopicNode::Folder { sequence, topic };
                    Child::new(topic + 1, names::topic(state), node)
                };
                Ok(shown.take(window.at_most).map(child).collect())
            }
            TopicNode::Folder { sequence, topic } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let partitions = loaded
                    .topic(topic)
                    .ok_or(ViewError::Stale)?
                    .partitions
                    .len();
                let config = TopicNode::Config { sequence, topic };
                let mut children = window.of_fixed(&[(CONFIG, config)], |_| true);
                let at = usize::try_from(topic).unwrap_or(usize::MAX);
                // Cookie 1 is the configuration, and partition 0 has cookie 2.
                let rest = window.start().saturating_sub(1)..partitions;
                for number in rest.take(window.at_most - children.len()) {
                    let partition = loaded.partition_of(at, number).ok_or(ViewError::Stale)?;
                    let node = PartitionNode::folder(sequence, partition.ordinal());
                    children.push(Child::new(number as u64 + 2, number.to_string(), node));
                }
                Ok(children)
            }
            TopicNode::Config { .. } => Err(ViewError::NotFolder),
        }
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        match self {
            TopicNode::All { sequence } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let topic = tree.topic_named(&loaded, name);
                Ok(topic.map(|topic| TopicNode::Folder { sequence, topic }.into()))
            }
            TopicNode::Folder { sequence, topic } if name == CONFIG => {
                Ok(Some(TopicNode::Config { sequence, topic }.into()))
            }
            TopicNode::Folder { sequence, topic } => {
                let loaded = tree.reader.snapshot(sequence).await?;
                let at = usize::try_from(topic).ok().zip(names::number(name));
                let partition = at.and_then(|(topic, number)| loaded.partition_of(topic, number));
                Ok(partition.map(|found| PartitionNode::folder(sequence, found.ordinal()).into()))
            }
            TopicNode::Config { .. } => Err(ViewError::NotFolder),
        }
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let TopicNode::Config { sequence, topic } = self else {
            return Err(ViewError::IsFolder);
        };
        let loaded = tree.reader.snapshot(sequence).await?;
        let topic = loaded.topic(topic).ok_or(ViewError::Stale)?;
        Ok(Body::Whole(config_json(&loaded.snapshot, topic).into()))
    }
}

impl Tree {
    /// The topic whose folder has this name.
    pub(super) fn topic_named(&self, loaded: &LoadedSnapshot, name: &str) -> Option<u64> {
        let begins = name.split(['@', '~']).next().unwrap_or_default();
        let topics = &loaded.snapshot.topics;
        let first = topics.partition_point(|topic| &*topic.name < begins);
        let candidates = topics.iter().enumerate().skip(first);
        let mut candidates = candidates.take_while(|(_, topic)| topic.name.starts_with(begins));
        let found = candidates.find(|(_, topic)| names::topic(topic) == name);
        found
            .filter(|(_, topic)| self.shows(topic))
            .map(|(topic, _)| topic as u64)
    }
}

#[derive(Serialize)]
struct ConfigJson<'a> {
    topic: &'a str,
    topic_id: String,
    /// Whether the cluster no longer had this history; one that was replaced is, too.
    deleted: bool,
    /// The snapshot from which on another history of the same topic counts, since it was read again in full; null where none does.
    replaced_in: Option<u64>,
    internal: bool,
    first_seen: u64,
    last_seen: u64,
    partitions: usize,
    /// Number of records that have expired: `meta.json` of a partition says which offsets.
    expired_records: u64,
    /// Null where it is not known.
    replication_factor: Option<i32>,
    config: &'a Option<BTreeMap<String, String>>,
}

fn config_json(snapshot: &Snapshot, topic: &TopicState) -> Vec<u8> {
    json(&ConfigJson {
        topic: &topic.name,
        topic_id: topic.topic_id.to_string(),
        deleted: topic.deleted,
        replaced_in: snapshot.replaced_in(topic),
        internal: topic.internal,
        first_seen: topic.first_seen,
        last_seen: topic.last_seen,
        partitions: topic.partitions.len(),
        expired_records: topic
            .partitions
            .iter()
            .map(PartitionState::expired_records)
            .sum(),
        replication_factor: topic.known_replication_factor(),
        config: &topic.config,
    })
}
