//! A set of partitions: `0,3,5-7`. It is kept as its ranges, so that `0-2147483647` takes no more memory than `0`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use kbk_format::repo::{PartitionState, TopicState};
use kbk_format::{PartitionNumber, counted};

/// A set of partition numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSet {
    /// In the order in which they were given.
    ranges: Vec<RangeInclusive<PartitionNumber>>,
}

impl PartitionSet {
    /// Returns whether the set has partition `number`.
    pub fn contains(&self, number: PartitionNumber) -> bool {
        self.ranges.iter().any(|range| range.contains(&number))
    }

    /// Returns the numbers of all of these sets; `None` without a set.
    pub fn union(sets: &[PartitionSet]) -> Option<PartitionSet> {
        sets.iter().cloned().reduce(PartitionSet::and)
    }

    /// Returns the numbers of both sets.
    #[must_use]
    pub fn and(mut self, other: PartitionSet) -> PartitionSet {
        self.ranges.extend(other.ranges);
        self
    }

    /// Returns the smallest number in the set that is not among `present`.
    pub fn first_missing(&self, present: &BTreeSet<PartitionNumber>) -> Option<PartitionNumber> {
        let mut from = PartitionNumber::default();
        loop {
            let number = self.first_from(from)?;
            if !present.contains(&number) {
                return Some(number);
            }
            from = PartitionNumber::new(number.get().checked_add(1)?)?;
        }
    }

    /// Returns the topic's partitions in the set, in ascending order.
    ///
    /// # Errors
    ///
    /// If the topic lacks one that is in the set.
    pub fn of<'a>(&self, topic: &'a TopicState) -> Result<Vec<&'a PartitionState>, NoPartition> {
        self.check(topic)?;
        let partitions = topic.partitions.iter();
        Ok(partitions
            .filter(|state| self.contains(state.partition))
            .collect())
    }

    /// Fails if the topic lacks a partition that is in the set.
    pub fn check(&self, topic: &TopicState) -> Result<(), NoPartition> {
        let count = topic.partitions.len();
        let absent = PartitionNumber::from_index(count).and_then(|beyond| self.first_from(beyond));
        match absent {
            Some(partition) => Err(NoPartition {
                topic: topic.name.to_string(),
                partition,
                count,
            }),
            None => Ok(()),
        }
    }

    /// Returns the smallest number in the set that is at least `from`.
    pub fn first_from(&self, from: PartitionNumber) -> Option<PartitionNumber> {
        let reaching = self.ranges.iter().filter(|range| *range.end() >= from);
        reaching.map(|range| from.max(*range.start())).min()
    }
}

impl fmt::Display for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges.iter().enumerate() {
            let (start, end) = (range.start(), range.end());
            let comma = if number == 0 { "" } else { "," };
            match start == end {
                true => write!(f, "{comma}{start}")?,
                false => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

/// A selected partition that the topic does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topic} has no partition {partition}: it has {}, numbered from 0",
    counted(*.count, "partition")
)]
pub struct NoPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// How many it has.
    pub count: usize,
}

/// Text that is not a list of partitions.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a list of partitions; give numbers from 0 and ranges, as in `0,3,5-7`")]
pub struct PartitionsError(String);

impl FromStr for PartitionSet {
    type Err = PartitionsError;

    fn from_str(text: &str) -> Result<Self, PartitionsError> {
        let ranges = text.split(',').map(range).collect::<Option<Vec<_>>>();
        let ranges = ranges.ok_or_else(|| PartitionsError(text.to_owned()))?;
        Ok(Self { ranges })
    }
}

fn range(text: &str) -> Option<RangeInclusive<PartitionNumber>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start.trim())?, number(end.trim())?);
    (start <= end).then_some(start..=end)
}

/// Parses digits only: neither a sign nor spaces.
pub(super) fn number(text: &str) -> Option<PartitionNumber> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    PartitionNumber::new(text.parse().ok().filter(|_| digits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        let set: PartitionSet = "0,3,5-7".parse().unwrap();
        let taken: Vec<u16> = (0..10)
            .filter(|number| set.contains((*number).into()))
            .collect();
        assert_eq!(taken, [0, 3, 5, 6, 7]);
        assert_eq!(set.first_from(0.into()), Some(0.into()));
        assert_eq!(
            (set.first_from(4.into()), set.first_from(6.into())),
            (Some(5.into()), Some(6.into()))
        );
        assert_eq!(set.first_from(8.into()), None);
        assert_eq!(set.to_string(), "0,3,5-7");
        let set: PartitionSet = "0-2147483647".parse().unwrap();
        assert_eq!(set.first_from(5.into()), Some(5.into()));
        let present = BTreeSet::from([0, 1, 3].map(PartitionNumber::from));
        assert_eq!(set.first_missing(&present), Some(2.into()));
        let set: PartitionSet = "3,0-1".parse().unwrap();
        assert_eq!(set.first_missing(&present), None);
        let set: PartitionSet = " 9 , 1 - 2 ".parse().unwrap();
        assert!(set.contains(9.into()) && set.contains(2.into()) && !set.contains(3.into()));
    }

    #[test]
    fn an_invalid_list_is_refused_with_an_example() {
        for text in [
            "",
            ",",
            "1,",
            "a",
            "-1",
            "1-",
            "3-2",
            "1--2",
            "+1",
            "1;2",
            "2147483648",
        ] {
            let error = text.parse::<PartitionSet>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("`0,3,5-7`"), "{error}");
        }
    }
}
