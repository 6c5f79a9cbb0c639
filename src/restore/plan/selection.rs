//! Which records of the selected topics to restore: their partitions, offsets and times.
//!
//! Every bound that is an offset, or the offset of a time, is resolved here to one range of offsets per partition. Times filter the
//! records of that range one by one.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use kbk_format::repo::{
    Id, PartitionId, PartitionState, RepoError, Repository, Snapshot, TopicName, TopicState,
};
use kbk_format::{OffsetSpan, PartitionNumber};
use kbk_tools::offset_for_time;
use serde::{Serialize, Serializer};

use crate::human::timestamp_ms;
use crate::select::{NoPartition, OffsetRange, OffsetRanges, PartitionSet};

/// The selected records: those that meet every criterion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSelection {
    /// Timestamps of the records, in milliseconds, both inclusive.
    pub times: RangeInclusive<i64>,
    /// Only these partitions of each topic.
    pub partitions: Option<PartitionSet>,
    /// Only these partitions of these topics.
    pub topics: BTreeMap<(TopicName, Id), PartitionSet>,
    /// From Kafka's offset for this time.
    pub since_offset_of: Option<i64>,
    /// Up to Kafka's offset for this time, exclusive.
    pub until_offset_of: Option<i64>,
    /// Only these offsets.
    pub offsets: Option<OffsetRanges>,
}

/// Why a selection does not fit the snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RecordSelectionError {
    /// It names a partition that the topic does not have.
    #[error(transparent)]
    NoPartition(#[from] NoPartition),
    /// A line of a file names a partition that the topic does not have.
    #[error("{file}, line {line}: {cause}")]
    NoPartitionOfLine {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// Which one.
        cause: NoPartition,
    },
    /// It names offsets that the snapshot does not cover.
    #[error(
        "{file}, line {line}: of {topic}/{partition}, {} are requested, and the snapshot covers {}; leave a side empty for everything",
        OffsetSpan::from(*.from..*.to), OffsetSpan::from(*.base..*.end)
    )]
    OutsideCoverage {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionNumber,
        /// The requested start.
        from: i64,
        /// The exclusive requested end.
        to: i64,
        /// The start of what is covered.
        base: i64,
        /// The exclusive end of what is covered.
        end: i64,
    },
}

impl RecordSelection {
    /// Selects every record.
    #[must_use]
    pub fn everything() -> RecordSelection {
        RecordSelection::of_times(i64::MIN..=i64::MAX)
    }

    /// Selects every record with a timestamp in `times`.
    #[must_use]
    pub fn of_times(times: RangeInclusive<i64>) -> RecordSelection {
        RecordSelection {
            times,
            partitions: None,
            topics: BTreeMap::new(),
            since_offset_of: None,
            until_offset_of: None,
            offsets: None,
        }
    }

    /// Returns whether everything up to the end of what the snapshot covers is selected.
    pub(crate) fn has_open_end(&self) -> bool {
        *self.times.end() == i64::MAX && self.until_offset_of.is_none() && self.offsets.is_none()
    }

    /// Returns whether the partition has selected records.
    pub(crate) fn takes(&self, topic: &TopicState, partition: PartitionNumber) -> bool {
        let in_set = |set: &PartitionSet| set.contains(partition);
        let in_file = |ranges: &OffsetRanges| {
            let range = ranges.of(&topic.name, topic.topic_id, partition);
            range.is_some()
        };
        self.sets(topic).all(in_set) && self.offsets.as_ref().is_none_or(in_file)
    }

    /// Returns the sets that restrict the partitions of a topic.
    fn sets(&self, topic: &TopicState) -> impl Iterator<Item = &PartitionSet> {
        let of_topic = self.topics.get(&(topic.name.clone(), topic.topic_id));
        self.partitions.iter().chain(of_topic)
    }

    /// Fails if the selection names partitions or offsets that the topic does not have.
    pub(crate) fn check(&self, topic: &TopicState) -> Result<(), RecordSelectionError> {
        self.sets(topic).try_for_each(|set| set.check(topic))?;
        let Some(ranges) = &self.offsets else {
            return Ok(());
        };
        let file = || ranges.path().display().to_string();
        for (partition, range) in ranges.partitions(&topic.name, topic.topic_id) {
            let state = topic.partitions.get(partition.index());
            let state = state.ok_or_else(|| RecordSelectionError::NoPartitionOfLine {
                file: file(),
                line: range.line,
                cause: NoPartition {
                    topic: topic.name.to_string(),
                    partition,
                    count: topic.partitions.len(),
                },
            })?;
            let Range { start, end } = bounds(range, state);
            if start < state.base_offset || end > state.end_offset || start > end {
                return Err(RecordSelectionError::OutsideCoverage {
                    file: file(),
                    line: range.line,
                    topic: topic.name.to_string(),
                    partition,
                    from: start,
                    to: end,
                    base: state.base_offset,
                    end: state.end_offset,
                });
            }
        }
        Ok(())
    }

    /// Returns the selected offsets of a partition.
    pub(crate) async fn offsets(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
        place: &PartitionId,
        state: &PartitionState,
    ) -> Result<Range<i64>, RepoError> {
        let named = self
            .offsets
            .as_ref()
            .and_then(|ranges| ranges.of(&place.topic, place.topic_id, place.partition));
        let Range { mut start, mut end } = match named {
            Some(range) => bounds(range, state),
            None => state.base_offset..state.end_offset,
        };
        // Kafka answers with the end of the partition where no record reaches the time.
        let at = async |time| {
            let found = offset_for_time(repository, snapshot, place, state, time).await?;
            Ok::<i64, RepoError>(found.unwrap_or(state.end_offset))
        };
        if let Some(since) = self.since_offset_of {
            start = start.max(at(since).await?);
        }
        if let Some(until) = self.until_offset_of {
            end = end.min(at(until).await?);
        }
        Ok(start.min(end)..end)
    }

    /// Returns the topics of which only some partitions are selected, as `orders/0-3,7`.
    fn restricted_topics(&self) -> Vec<String> {
        let topics = self.topics.iter();
        let topics = topics.map(|((name, _), partitions)| format!("{name}/{partitions}"));
        topics.collect()
    }

    /// Returns the criteria as command line options.
    fn options(&self) -> Vec<(&'static str, String)> {
        let (since, until) = (*self.times.start(), *self.times.end());
        let file = |ranges: &OffsetRanges| ranges.path().display().to_string();
        let topics = self.restricted_topics().into_iter();
        let topics = topics.map(|topic| ("topic", Some(topic)));
        let options = [
            (
                "partition",
                self.partitions.as_ref().map(ToString::to_string),
            ),
            ("offsets", self.offsets.as_ref().map(file)),
            ("since-offset-of", self.since_offset_of.map(timestamp_ms)),
            ("until-offset-of", self.until_offset_of.map(timestamp_ms)),
            ("since", (since != i64::MIN).then(|| timestamp_ms(since))),
            ("until", (until != i64::MAX).then(|| timestamp_ms(until))),
        ];
        topics
            .chain(options)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// Returns the offsets that a line of a file selects of a partition.
fn bounds(range: OffsetRange, state: &PartitionState) -> Range<i64> {
    range.from.unwrap_or(state.base_offset)..range.to.unwrap_or(state.end_offset)
}

impl std::fmt::Display for RecordSelection {
    /// Writes the options that make this selection; nothing where every record is selected.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = self.options();
        let options = options
            .iter()
            .map(|(name, value)| format!("--{name} {value}"));
        f.write_str(&options.collect::<Vec<_>>().join(" "))
    }
}

/// The selection as JSON: what is not given is null.
#[derive(Serialize)]
struct SelectionJson {
    /// Only records with this timestamp or a later one.
    since: Option<String>,
    /// Only records with this timestamp or an earlier one.
    until: Option<String>,
    /// From Kafka's offset for this time.
    since_offset_of: Option<String>,
    /// Up to Kafka's offset for this time, exclusive.
    until_offset_of: Option<String>,
    /// Only these partitions of each topic, as numbers and ranges.
    partitions: Option<String>,
    /// Topics of which only some partitions are selected, as in `orders/0-3,7`.
    topics: Vec<String>,
    /// The file that has the offsets.
    offsets: Option<String>,
}

impl Serialize for RecordSelection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (since, until) = (*self.times.start(), *self.times.end());
        let file = |ranges: &OffsetRanges| ranges.path().display().to_string();
        let selection = SelectionJson {
            since: (since != i64::MIN).then(|| timestamp_ms(since)),
            until: (until != i64::MAX).then(|| timestamp_ms(until)),
            since_offset_of: self.since_offset_of.map(timestamp_ms),
            until_offset_of: self.until_offset_of.map(timestamp_ms),
            partitions: self.partitions.as_ref().map(ToString::to_string),
            topics: self.restricted_topics(),
            offsets: self.offsets.as_ref().map(file),
        };
        selection.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topic_state::topic_state;

    fn state(partition: PartitionNumber, base_offset: i64, end_offset: i64) -> PartitionState {
        PartitionState {
            log_start_offset: base_offset,
            high_watermark: end_offset,
            last_stable_offset: end_offset,
            end_offset,
            ..PartitionState::empty(partition, base_offset)
        }
    }

    fn topic() -> TopicState {
        let partitions = vec![state(0.into(), 0, 100), state(1.into(), 50, 80)];
        topic_state("orders", partitions)
    }

    fn of_file(text: &str) -> RecordSelection {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RecordSelection {
            offsets: Some(OffsetRanges::load(file.path()).ok().unwrap()),
            ..RecordSelection::everything()
        }
    }

    #[test]
    fn a_partition_that_the_topic_lacks_is_an_error_that_names_it() {
        let selection = RecordSelection {
            partitions: Some("1-3".parse().unwrap()),
            ..RecordSelection::everything()
        };
        let takes = |partition: u16| selection.takes(&topic(), partition.into());
        assert!(takes(1) && !takes(0));
        let error = selection.check(&topic()).unwrap_err().to_string();
        let expected = "orders has no partition 2: it has 2 partitions, numbered from 0";
        assert_eq!(error, expected);
        let of_topic = RecordSelection {
            topics: BTreeMap::from([(
                (topic().name, topic().topic_id),
                "0,2".parse::<PartitionSet>().unwrap(),
            )]),
            ..RecordSelection::everything()
        };
        assert_eq!(of_topic.check(&topic()).unwrap_err().to_string(), expected);
        assert!(of_topic.takes(&topic(), 0.into()) && !of_topic.takes(&topic(), 1.into()));
        assert_eq!(of_topic.to_string(), "--topic orders/0,2");
        let error = of_file("orders,7,,").check(&topic()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 1: orders has no partition 7")
        );
    }

    #[test]
    fn offsets_that_the_snapshot_does_not_cover_are_refused() {
        for (line, says) in [
            ("orders,0,0,100", None),
            ("orders,1,,", None),
            ("orders,1,60,", None),
            (
                "orders,0,0,101",
                Some(
                    "offsets 0 to 101 (exclusive) are requested, and the snapshot covers offsets 0 to 100 (exclusive)",
                ),
            ),
            (
                "orders,1,49,60",
                Some(
                    "offsets 49 to 60 (exclusive) are requested, and the snapshot covers offsets 50 to 80 (exclusive)",
                ),
            ),
            ("orders,1,,10", Some("offsets 50 to 10")),
            ("orders,1,90,", Some("offsets 90 to 80")),
        ] {
            let found = of_file(line)
                .check(&topic())
                .map_err(|error| error.to_string());
            match (found, says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.contains(says), "{error}"),
                (found, _) => panic!("{line}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_selection_is_shown_as_its_options() {
        let selection = RecordSelection {
            times: i64::MIN..=1_763_800_000_000,
            partitions: Some("0,2-3".parse().unwrap()),
            ..RecordSelection::everything()
        };
        let words = "--partition 0,2-3 --until 2025-11-22T08:26:40.000Z";
        assert_eq!(selection.to_string(), words);
        assert_eq!(RecordSelection::everything().to_string(), "");
        let json = serde_json::to_value(&selection).unwrap();
        assert_eq!(json["until"], "2025-11-22T08:26:40.000Z");
        assert_eq!(json["partitions"], "0,2-3");
        assert!(json["since"].is_null() && json["offsets"].is_null());
    }
}
