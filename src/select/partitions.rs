//! A set of partitions: `0,3,5-7`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of partition numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSet {
    /// In the order in which they were given.
    ranges: Vec<RangeInclusive<i32>>,
}

impl PartitionSet {
    /// Returns whether the set has partition `number`.
    pub fn contains(&self, number: i32) -> bool {
        self.ranges.iter().any(|range| range.contains(&number))
    }

    /// Returns the smallest number in the set that is at least `from`.
    pub fn first_from(&self, from: i32) -> Option<i32> {
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

fn range(text: &str) -> Option<RangeInclusive<i32>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start.trim())?, number(end.trim())?);
    (start <= end).then_some(start..=end)
}

/// Parses digits only: neither a sign nor spaces.
pub(super) fn number(text: &str) -> Option<i32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        let set: PartitionSet = "0,3,5-7".parse().unwrap();
        let taken: Vec<i32> = (0..10).filter(|number| set.contains(*number)).collect();
        assert_eq!(taken, [0, 3, 5, 6, 7]);
        assert_eq!(set.first_from(0), Some(0));
        assert_eq!((set.first_from(4), set.first_from(6)), (Some(5), Some(6)));
        assert_eq!(set.first_from(8), None);
        assert_eq!(set.to_string(), "0,3,5-7");
        let set: PartitionSet = " 9 , 1 - 2 ".parse().unwrap();
        assert!(set.contains(9) && set.contains(2) && !set.contains(3));
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
