//! The number of a partition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a partition in its topic, 0 or greater. Kafka's protocol and kbk's formats store it as `i32`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct PartitionNumber(i32);

/// A number below 0, which no partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a partition number: it is negative")]
pub struct NegativePartition(pub i32);

impl PartitionNumber {
    /// The first partition of every topic.
    pub const ZERO: PartitionNumber = PartitionNumber(0);

    /// Returns the number; `None` if it is negative.
    #[must_use]
    pub const fn new(number: i32) -> Option<PartitionNumber> {
        if number < 0 {
            return None;
        }
        Some(PartitionNumber(number))
    }

    /// Returns the number of the partition at `index` in a list of all partitions; `None` above what Kafka can number.
    #[must_use]
    pub fn from_index(index: usize) -> Option<PartitionNumber> {
        i32::try_from(index).ok().map(PartitionNumber)
    }

    /// Returns all partition numbers, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = PartitionNumber> + Clone {
        (0..=i32::MAX).map(PartitionNumber)
    }

    /// Returns the numbers of a topic with `count` partitions; none for a negative count.
    pub fn first(count: i32) -> impl DoubleEndedIterator<Item = PartitionNumber> + Clone {
        (0..count).map(PartitionNumber)
    }

    /// Returns the number as Kafka's protocol has it.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// Returns the partition's position in a list of all partitions.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.unsigned_abs() as usize
    }
}

impl fmt::Display for PartitionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PartitionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<i32> for PartitionNumber {
    type Error = NegativePartition;

    fn try_from(number: i32) -> Result<PartitionNumber, NegativePartition> {
        PartitionNumber::new(number).ok_or(NegativePartition(number))
    }
}

impl From<u16> for PartitionNumber {
    fn from(number: u16) -> PartitionNumber {
        PartitionNumber(number.into())
    }
}

impl From<PartitionNumber> for i32 {
    fn from(number: PartitionNumber) -> i32 {
        number.0
    }
}

impl PartialEq<i32> for PartitionNumber {
    fn eq(&self, other: &i32) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_refused_everywhere() {
        assert_eq!(PartitionNumber::new(-1), None);
        assert_eq!(PartitionNumber::try_from(-7), Err(NegativePartition(-7)));
        let error = serde_json::from_str::<PartitionNumber>("-1").unwrap_err();
        assert!(error.to_string().contains("-1 is not a partition number"));
        assert!(serde_json::from_str::<PartitionNumber>("2147483648").is_err());
        assert_eq!(PartitionNumber::from_index(1 << 31), None);
        assert_eq!(PartitionNumber::first(-3).count(), 0);
    }

    #[test]
    fn numbers_convert_without_loss() {
        for number in [0, 1, 65_535, i32::MAX] {
            let partition = PartitionNumber::new(number).unwrap();
            assert_eq!(partition.get(), number);
            assert_eq!(
                PartitionNumber::from_index(partition.index()),
                Some(partition)
            );
            let json = serde_json::to_string(&partition).unwrap();
            assert_eq!(json, number.to_string());
            assert_eq!(
                serde_json::from_str::<PartitionNumber>(&json).unwrap(),
                partition
            );
            assert_eq!(
                format!("{partition} {partition:?}"),
                format!("{number} {number}")
            );
        }
    }
}
