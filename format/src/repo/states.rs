//! The states of topics and partitions: what their sources reported, and what is stored of them (SPEC section 11.4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::compacted::Compacted;
use super::error::Damage;
use super::expired::Expired;
use super::found_damaged::DamagedIn;
use super::id::Id;
use super::incomplete::Incomplete;
use super::keys::{PartitionId, TopicName};
use super::segment_entry::{SegmentEntry, check_joined};
use crate::{OffsetSpan, PartitionNumber, counted};

/// The replication factor of a topic whose records were imported from logs: no cluster has stated one.
pub const IMPORTED_REPLICATION: i32 = 0;

/// One history of a topic. A topic that was deleted and created again has two, and so has one whose log was truncated and written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The sighting of the snapshot that states `last_seen`; `None` where the topic's own row does.
    pub sighting: Option<u64>,
    /// Whether the cluster no longer has it, or has another topic under this name.
    pub deleted: bool,
    /// Whether it is one of Kafka's own topics.
    pub internal: bool,
    /// Replicas of each partition; -1 where it is not known, and [`IMPORTED_REPLICATION`] where the records were imported.
    pub replication_factor: i32,
    /// Every value that is not the broker's default; `None` where the cluster did not report them.
    pub config: Option<BTreeMap<String, String>>,
    /// Every partition of the topic: partition `i` is at index `i`.
    pub partitions: Vec<PartitionState>,
}

/// One partition: what the source reported, and what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What was expired before the first offset that is covered; `None` where nothing was.
    pub expired: Option<Box<Expired>>,
    /// What was removed since a later record has the same key; `None` where nothing was.
    pub compacted: Option<Box<Compacted>>,
    /// First offset that is covered.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered: where the next backup resumes.
    pub end_offset: i64,
    /// Number of segments.
    pub segments: u64,
    /// Number of records stored.
    pub records: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Bytes of all records before compression.
    pub raw_bytes: u64,
    /// Smallest timestamp in milliseconds; `None` without records, and where that of one of its segments was not computed.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds, or a bound that none is above where the smallest one is not known; `None` without records.
    pub max_timestamp: Option<i64>,
    /// The last snapshots whose commits changed its segments.
    pub changes: Changes,
    /// The last snapshot whose commit appended segments at its end; 0 where none did.
    pub appended: u64,
    /// The snapshots that name segments of it which a recovery found damaged or missing.
    pub damaged_in: DamagedIn,
    /// Ranges that the source had deleted before they were read, or that were stored and are damaged.
    pub lost: Vec<LostRange>,
    /// That the newest snapshot says so of this one; no row of the snapshot itself states it.
    pub found_damaged: Option<Box<Incomplete>>,
}

/// Offsets whose records are not stored, although the source had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LostRange {
    /// The first offset.
    pub from: i64,
    /// The exclusive end.
    pub to: i64,
    /// Why; `None`: the source had deleted them before they were read.
    pub cause: Option<LostCause>,
}

/// Why offsets are lost that the source had not deleted before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// They were stored, and their segments were damaged or missing when a recovery replaced them.
    Damaged,
}

impl LostRange {
    /// Creates a range that the source had deleted before it was read.
    #[must_use]
    pub fn deleted(from: i64, to: i64) -> LostRange {
        let cause = None;
        LostRange { from, to, cause }
    }

    /// Creates a range that was stored and is damaged.
    #[must_use]
    pub fn damaged(from: i64, to: i64) -> LostRange {
        let cause = Some(LostCause::Damaged);
        LostRange { from, to, cause }
    }

    /// Returns whether it was stored and is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.cause == Some(LostCause::Damaged)
    }

    /// Returns the number of its offsets.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        self.to.saturating_sub(self.from).max(0).unsigned_abs()
    }
}

impl From<LostRange> for OffsetSpan {
    fn from(lost: LostRange) -> OffsetSpan {
        (lost.from..lost.to).into()
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

    /// Returns whether the cluster keeps only the latest record per key of it, by its saved configuration.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        let config = self.config.as_ref();
        let policy = config.and_then(|config| config.get("cleanup.policy"));
        policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "compact"))
    }

    /// Returns the number of replicas of each partition; `None` where it is not known.
    #[must_use]
    pub fn known_replication_factor(&self) -> Option<i32> {
        Some(self.replication_factor).filter(|factor| *factor > 0)
    }

    /// Returns whether its logs were imported, and no backup has read it from a cluster since.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.replication_factor == IMPORTED_REPLICATION
    }

    /// Returns the sort key of the topics in a snapshot.
    pub(super) fn order(&self) -> (&TopicName, u64) {
        (&self.name, self.first_seen)
    }
}

impl PartitionState {
    /// Creates the state of a partition of which nothing is stored, and of which the source has stated nothing.
    #[must_use]
    pub fn empty(partition: PartitionNumber, start: i64) -> Self {
        PartitionState {
            partition,
            log_start_offset: -1,
            high_watermark: -1,
            last_stable_offset: -1,
            incomplete: None,
            expired: None,
            compacted: None,
            base_offset: start,
            end_offset: start,
            segments: 0,
            records: 0,
            stored_bytes: 0,
            raw_bytes: 0,
            min_timestamp: None,
            max_timestamp: None,
            changes: Changes::default(),
            appended: 0,
            damaged_in: DamagedIn::default(),
            lost: Vec::new(),
            found_damaged: None,
        }
    }

    /// Appends a segment that snapshot `sequence` adds.
    pub(super) fn append(&mut self, segment: &SegmentEntry, sequence: u64) {
        self.add(segment);
        self.changes.record(sequence);
        self.appended = sequence;
        if let Some(expired) = self.expired.as_mut().filter(|_| segment.records > 0) {
            expired.last_record = None;
        }
    }

    /// Appends segments that snapshot `sequence` adds, where they continue the coverage without a hole; the error names the rule that they break.
    pub(super) fn continue_with(
        &mut self,
        segments: &[SegmentEntry],
        sequence: u64,
    ) -> Result<(), String> {
        check_joined(segments, self.end_offset)?;
        for segment in segments {
            self.append(segment, sequence);
        }
        Ok(())
    }

    /// Adds a segment to the sums.
    pub(super) fn add(&mut self, segment: &SegmentEntry) {
        if segment.records > 0 {
            self.min_timestamp = match (self.min_timestamp, segment.min_timestamp) {
                (_, min) if self.records == 0 => min,
                // One that is not known makes the smallest of all unknown.
                (Some(min), Some(next)) => Some(min.min(next)),
                _ => None,
            };
            self.max_timestamp = self.max_timestamp.max(Some(segment.max_timestamp));
        }
        self.end_offset = segment.end_offset;
        self.segments = self.segments.saturating_add(1);
        self.records = self.records.saturating_add(segment.records);
        self.stored_bytes = self.stored_bytes.saturating_add(segment.size);
        self.raw_bytes = self.raw_bytes.saturating_add(segment.raw_bytes);
    }

    /// Returns timestamps that no stored record is below and above; `None` without records.
    #[must_use]
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        let min = self.min_timestamp.unwrap_or(i64::MIN);
        self.max_timestamp.map(|max| (min, max))
    }

    /// Takes the sums of these segments, which have the place of those that were there, since snapshot `sequence` replaces some.
    pub(super) fn replace(&mut self, segments: &[SegmentEntry], sequence: u64) {
        let mut sums = Self::empty(self.partition, self.base_offset);
        for segment in segments {
            sums.add(segment);
        }
        self.segments = sums.segments;
        self.records = sums.records;
        self.stored_bytes = sums.stored_bytes;
        self.raw_bytes = sums.raw_bytes;
        self.min_timestamp = sums.min_timestamp;
        self.max_timestamp = sums.max_timestamp;
        self.changes.record(sequence);
    }

    /// Checks what a partition's row alone must satisfy; the error names the rule that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        let (base, end) = (self.base_offset, self.end_offset);
        if base < 0 || base > end {
            return Err(format!("it covers {}", OffsetSpan::from(base..end)));
        }
        if (self.segments == 0) != (base == end) {
            let segments = counted(self.segments, "segment");
            return Err(format!(
                "it has {segments} of {}",
                OffsetSpan::from(base..end)
            ));
        }
        let (min, max) = (self.min_timestamp, self.max_timestamp);
        let timed = self.records > 0;
        if min.is_some() && !timed || max.is_some() != timed || min > max {
            let records = self.records;
            return Err(format!(
                "its {records} records have timestamps from {min:?} to {max:?}"
            ));
        }
        self.changes.check()?;
        if self.appended > self.changes.newest() {
            let (appended, changed) = (self.appended, self.changes.newest());
            return Err(format!(
                "snapshot {appended} appended segments, and {changed} was the last that changed any"
            ));
        }
        self.damaged_in.check()?;
        self.check_expired()?;
        self.compacted.as_ref().map_or(Ok(()), |it| it.check())?;
        self.incomplete.as_ref().map_or(Ok(()), Incomplete::check)
    }

    /// Checks its lost ranges: ascending, disjoint, inside the coverage; and that it is incomplete where some are damaged.
    pub(super) fn check_lost(&self) -> Result<(), String> {
        let (base, end) = (self.base_offset, self.end_offset);
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
        self.check_damage()
    }

    /// Returns the first difference between what the row states of the segments and what they add up to.
    pub(super) fn difference(&self, segments: &[SegmentEntry]) -> Option<Damage> {
        let mut sums = Self::empty(self.partition, self.base_offset);
        for segment in segments {
            if segment.base_offset != sums.end_offset {
                return Some(coverage(sums.end_offset, segment.base_offset));
            }
            sums.add(segment);
        }
        if sums.end_offset != self.end_offset {
            return Some(coverage(sums.end_offset, self.end_offset));
        }
        for (what, stated, found) in [
            ("segments", self.segments, sums.segments),
            ("records", self.records, sums.records),
            ("stored bytes", self.stored_bytes, sums.stored_bytes),
            ("raw bytes", self.raw_bytes, sums.raw_bytes),
        ] {
            if found != stated {
                let detail = format!("its row states {stated} {what}, its segments {found}");
                return Some(Damage::Object { detail });
            }
        }
        let times = |state: &Self| (state.min_timestamp, state.max_timestamp);
        let (stated, found) = (times(self), times(&sums));
        (stated != found).then(|| Damage::Object {
            detail: format!("its row states the timestamps {stated:?}, its segments {found:?}"),
        })
    }
}

impl PartitionState {
    /// Returns whether these can be some of the segments: in order, disjoint and within the coverage.
    pub(super) fn can_have(&self, segments: &[SegmentEntry]) -> bool {
        let mut at = self.base_offset;
        let in_order = segments.iter().all(|segment| {
            let follows = segment.base_offset >= at;
            at = segment.end_offset;
            follows
        });
        in_order && at <= self.end_offset && segments.len() as u64 <= self.segments
    }
}

fn coverage(expected: i64, found: i64) -> Damage {
    Damage::Coverage { expected, found }
}
