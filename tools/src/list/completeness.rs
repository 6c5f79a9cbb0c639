//! What a snapshot itself says is missing from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kbk_format::repo::{IncompleteReason, Origin, PartitionState, Snapshot, TopicState};
use kbk_format::{PartitionNumber, counted};
use serde::Serialize;

use crate::original;

/// Whether partitions have every record that their source had, and which ones do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Whether no partition lacks records.
    pub complete: bool,
    /// Those that do.
    pub incomplete: Vec<IncompletePartition>,
    #[serde(skip)]
    snapshot: u64,
    #[serde(skip)]
    partitions: u64,
    #[serde(skip)]
    origin: Option<Origin>,
}

/// A partition that lacks records that its source had when it was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncompletePartition {
    /// The topic's name.
    pub topic: String,
    /// Kafka's id of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Why they are missing, as a word.
    pub reason: IncompleteReason,
    /// The same for people.
    pub detail: String,
    /// The exclusive end of what is stored.
    pub end_offset: i64,
    /// How many offsets are missing; null if that is not known.
    pub missing_offsets: Option<u64>,
    /// Whether only a later snapshot says so: it replaced segments that are damaged.
    #[serde(skip)]
    pub is_replaced_later: bool,
}

impl IncompletePartition {
    /// Returns the row of a partition; `None` if it lacks nothing.
    #[must_use]
    pub fn of(topic: &TopicState, state: &PartitionState) -> Option<IncompletePartition> {
        let incomplete = state.lacking()?;
        Some(IncompletePartition {
            topic: topic.name.to_string(),
            topic_id: topic.topic_id.to_string(),
            partition: state.partition,
            reason: incomplete.reason.clone(),
            detail: incomplete.detail.clone(),
            end_offset: state.end_offset,
            missing_offsets: state.missing_offsets(),
            is_replaced_later: state.incomplete.is_none(),
        })
    }
}

impl Completeness {
    /// Returns the completeness of a snapshot: of all topics that are not deleted, and of others that make it partial.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Completeness {
        let judged = Completeness::of_partitions(snapshot.sequence, snapshot.judged());
        judged.in_copy(snapshot.origin.as_ref())
    }

    /// Returns the completeness of some partitions of a snapshot.
    pub fn of_partitions<'a>(
        snapshot: u64,
        states: impl IntoIterator<Item = (&'a TopicState, &'a PartitionState)>,
    ) -> Completeness {
        let mut partitions = 0;
        let mut incomplete = Vec::new();
        for (topic, state) in states {
            partitions += 1;
            incomplete.extend(IncompletePartition::of(topic, state));
        }
        Completeness {
            complete: incomplete.is_empty(),
            incomplete,
            snapshot,
            partitions,
            origin: None,
        }
    }

    /// Makes it that of a copy, if there is an origin.
    #[must_use]
    pub fn in_copy(mut self, origin: Option<&Origin>) -> Completeness {
        self.origin = origin.cloned();
        self
    }

    /// Says how a copy gets what is missing; `None` if nothing is, or if it is no copy.
    #[must_use]
    pub fn copy_again(&self) -> Option<String> {
        let origin = self.origin.as_ref().filter(|_| !self.complete)?;
        Some(original::copy_again(origin))
    }

    /// Returns whether partitions lack records, and none of them anything but what was stored and is damaged: no backup reads it again.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let mut rows = self.incomplete.iter();
        !self.complete && rows.all(|row| row.reason == IncompleteReason::Damaged)
    }

    /// Returns whether partitions lack records, and a later snapshot has what is left of all of them.
    #[must_use]
    pub fn is_replaced_later(&self) -> bool {
        !self.complete && self.incomplete.iter().all(|row| row.is_replaced_later)
    }

    /// Returns how many offsets are known to be missing.
    #[must_use]
    pub fn missing_offsets(&self) -> u64 {
        let known = self.incomplete.iter().filter_map(|row| row.missing_offsets);
        known.fold(0, u64::saturating_add)
    }

    /// Says what is missing, in one line for people; `None` if nothing is.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        let first = self.incomplete.first()?;
        let mut causes: BTreeMap<&IncompleteReason, usize> = BTreeMap::new();
        for row in &self.incomplete {
            *causes.entry(&row.reason).or_default() += 1;
        }
        let causes = causes.into_iter();
        let causes: Vec<String> = causes
            .map(|(reason, count)| format!("{count} {}", reason.in_words()))
            .collect();
        let mut line = format!(
            "snapshot {} is partial: {} of {} {} records that the cluster had ({})",
            self.snapshot,
            self.incomplete.len(),
            counted(self.partitions, "partition"),
            if self.incomplete.len() == 1 {
                "lacks"
            } else {
                "lack"
            },
            causes.join(", "),
        );
        // A String takes everything.
        let _ = match self.incomplete.len() {
            1 => write!(
                line,
                ": {}/{}: {}",
                first.topic, first.partition, first.detail
            ),
            _ => write!(
                line,
                ", the first is {}/{}: {}",
                first.topic, first.partition, first.detail
            ),
        };
        Some(line)
    }
}
