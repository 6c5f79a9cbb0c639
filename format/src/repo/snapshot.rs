//! Snapshots: one committed view of everything a repository holds (SPEC section 11.5).

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::acls::Acls;
use super::groups::Groups;
use super::id::{Digest, Id};
use super::incomplete::Incomplete;
use super::keys::{Key, PartitionId, TopicName};
use super::members;
use super::page::FULL_PAGE;
use super::sealed::Document;
use crate::{OffsetSpan, PartitionNumber, counted};

/// The state of all topics, by reference to pages. Self-contained: no other snapshot is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The repository it belongs to.
    pub repository_id: Id,
    /// From 1, incremented by each commit.
    pub sequence: u64,
    /// The snapshot that this one is based on.
    pub parent: Option<ParentRef>,
    /// Random: lets the writer recognise its own commit.
    pub nonce: Id,
    /// When the offsets were read.
    pub started_at: Timestamp,
    /// When the snapshot was created.
    pub created_at: Timestamp,
    /// Program and version.
    pub writer: String,
    /// Kafka's id of the cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// Ordered by name, then by `first_seen`.
    pub topics: Vec<TopicState>,
    /// The cluster's consumer groups; `None` until a backup has read them.
    pub groups: Option<Groups>,
    /// The cluster's ACLs; `None` until a backup has read them.
    pub acls: Option<Acls>,
}

/// The name and digest of a snapshot's parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// Its number.
    pub sequence: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// One history of a topic. A topic that was deleted and created again has two, and so has one whose log was truncated and written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicState {
    /// Its name.
    pub name: TopicName,
    /// Identifies this history in the repository: Kafka's topic id, zeros where the cluster gave none, or a random id where a log
    /// turned out not to continue the stored one.
    pub topic_id: Id,
    /// Kafka's topic id; `None` where the cluster gave none.
    pub kafka_id: Option<Id>,
    /// Sequence of the first snapshot whose backup found the topic in the cluster.
    pub first_seen: u64,
    /// Sequence of the last snapshot whose backup found the topic in the cluster.
    pub last_seen: u64,
    /// Whether the cluster no longer has it, or has another topic under this name.
    pub deleted: bool,
    /// Whether it is one of Kafka's own topics.
    pub internal: bool,
    /// Replicas of each partition.
    pub replication_factor: i32,
    /// Every value that is not the broker's default; `None` where the cluster did not report them.
    #[serde(default, deserialize_with = "members::unique_or_null")]
    pub config: Option<BTreeMap<String, String>>,
    /// Every partition of the topic: partition `i` is at index `i`.
    pub partitions: Vec<PartitionState>,
}

/// One partition: what the source reported, and what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Its number.
    pub partition: PartitionNumber,
    /// The log start offset of the source when it was last backed up; -1 until it stated one.
    pub log_start_offset: i64,
    /// The high watermark of the source when it was last backed up; -1 until it stated one.
    pub high_watermark: i64,
    /// The last stable offset of the source when it was last backed up; -1 until it stated one.
    pub last_stable_offset: i64,
    /// Why records that the source had are missing; `None` if none is.
    pub incomplete: Option<Incomplete>,
    /// First offset that is covered.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered: where the next backup resumes.
    pub end_offset: i64,
    /// Number of records stored.
    pub records: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Bytes of all records before compression.
    pub raw_bytes: u64,
    /// Ranges that the source had deleted before they were read.
    pub lost: Vec<LostRange>,
    /// In offset order; each begins where the one before ends.
    pub pages: Vec<PageRef>,
}

/// Offsets that the source had deleted before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// The first offset.
    pub from: i64,
    /// The exclusive end.
    pub to: i64,
}

impl From<LostRange> for OffsetSpan {
    fn from(lost: LostRange) -> OffsetSpan {
        (lost.from..lost.to).into()
    }
}

/// A page, as a snapshot names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PageRef {
    /// The object's name.
    pub key: String,
    /// The page's digest.
    pub sha256: Digest,
    /// First offset that its segments cover.
    pub base_offset: i64,
    /// The exclusive end of the offsets that its segments cover.
    pub end_offset: i64,
    /// Number of its entries.
    pub segments: usize,
}

impl Document for Snapshot {
    const FORMAT: &'static str = "kbk-snapshot";
}

impl Snapshot {
    /// Returns the topic of this name and id.
    #[must_use]
    pub fn topic(&self, name: &TopicName, topic_id: Id) -> Option<&TopicState> {
        let mut named = self.named(name).iter();
        named.find(|topic| topic.topic_id == topic_id)
    }

    /// Returns the history that a topic of the cluster continues: of all with this name and Kafka id, the one first seen last.
    #[must_use]
    pub fn history(&self, name: &TopicName, kafka_id: Option<Id>) -> Option<&TopicState> {
        let mut latest_first = self.named(name).iter().rev();
        latest_first.find(|topic| topic.kafka_id == kafka_id)
    }

    /// Returns the histories of the topics with this name, ordered by `first_seen`.
    fn named(&self, name: &TopicName) -> &[TopicState] {
        let first = self.topics.partition_point(|topic| topic.name < *name);
        let end = self.topics.partition_point(|topic| topic.name <= *name);
        self.topics.get(first..end).unwrap_or_default()
    }

    /// Returns whether no record is missing that the source had when it was last backed up. Topics that the source has deleted do
    /// not count: no later backup can complete them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let live = self.topics.iter().filter(|topic| !topic.deleted);
        let mut partitions = live.flat_map(|topic| &topic.partitions);
        partitions.all(|state| state.incomplete.is_none())
    }

    /// Returns the partition with this id.
    #[must_use]
    pub fn partition(&self, id: &PartitionId) -> Option<&PartitionState> {
        self.topic(&id.topic, id.topic_id)?
            .partitions
            .get(id.partition.index())
    }

    /// Checks the rules of SPEC section 11.5; the error names the one that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(parent) = &self.parent
            && parent.sequence >= self.sequence
        {
            return Err(format!("its parent is snapshot {}", parent.sequence));
        }
        for [before, after] in self.topics.array_windows() {
            if before.order() >= after.order() {
                let (before, after) = (&before.name, &after.name);
                return Err(format!("its topics {before} and {after} are out of order"));
            }
        }
        let mut ids = HashSet::new();
        let mut live = HashSet::new();
        for topic in &self.topics {
            if !ids.insert((&topic.name, topic.topic_id)) {
                return Err(format!("{} {} is listed twice", topic.name, topic.topic_id));
            }
            if !topic.deleted && !live.insert(&topic.name) {
                return Err(format!("two topics {} are not deleted", topic.name));
            }
            topic.check(self.sequence)?;
        }
        if let Some(groups) = &self.groups {
            groups.check(self.sequence)?;
        }
        match &self.acls {
            Some(acls) => acls.check(self.sequence),
            None => Ok(()),
        }
    }
}

impl TopicState {
    /// Returns the id of one of its partitions.
    #[must_use]
    pub fn partition_id(&self, partition: PartitionNumber) -> PartitionId {
        PartitionId {
            topic: self.name.clone(),
            topic_id: self.topic_id,
            partition,
        }
    }

    /// Returns the sort key of the topics in a snapshot.
    pub(super) fn order(&self) -> (&TopicName, u64) {
        (&self.name, self.first_seen)
    }

    fn check(&self, sequence: u64) -> Result<(), String> {
        let (name, first, last) = (&self.name, self.first_seen, self.last_seen);
        if first == 0 || first > last || last > sequence {
            return Err(format!("{name} was seen from snapshot {first} to {last}"));
        }
        for (expected, state) in PartitionNumber::all().zip(&self.partitions) {
            if state.partition != expected {
                let found = state.partition;
                return Err(format!(
                    "{name} lists partition {found} in place of {expected}"
                ));
            }
            let partition = self.partition_id(expected);
            state
                .check(&partition)
                .map_err(|detail| format!("{partition}: {detail}"))?;
        }
        Ok(())
    }
}

impl PartitionState {
    fn check(&self, partition: &PartitionId) -> Result<(), String> {
        let (base, end) = (self.base_offset, self.end_offset);
        if base < 0 || base > end {
            return Err(format!("it covers {}", OffsetSpan::from(base..end)));
        }
        let mut at = base;
        for page in &self.pages {
            page.check(partition)?;
            if page.base_offset != at {
                let found = page.base_offset;
                return Err(format!("a page begins at offset {found}, not at {at}"));
            }
            at = page.end_offset;
        }
        if at != end {
            return Err(format!("its pages end at offset {at}, not at {end}"));
        }
        let mut at = base;
        for lost in &self.lost {
            if lost.from < at || lost.from >= lost.to || lost.to > end {
                return Err(format!(
                    "the lost {} are out of order, or outside {}",
                    OffsetSpan::from(*lost),
                    OffsetSpan::from(base..end)
                ));
            }
            at = lost.to;
        }
        self.incomplete.as_ref().map_or(Ok(()), Incomplete::check)
    }
}

impl PageRef {
    fn check(&self, partition: &PartitionId) -> Result<(), String> {
        let key = Key::page(partition, self.base_offset, &self.sha256).to_string();
        if self.key != key {
            return Err(format!("a page's key is {}, not {key}", self.key));
        }
        if self.base_offset >= self.end_offset || !(1..=FULL_PAGE).contains(&self.segments) {
            return Err(format!(
                "{} lists {} of {}",
                self.key,
                counted(self.segments, "segment"),
                OffsetSpan::from(self.base_offset..self.end_offset)
            ));
        }
        Ok(())
    }
}
