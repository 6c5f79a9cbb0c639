//! Partitions that are restored to others: `0:3,1:4`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kbk_format::PartitionNumber;

use super::partitions::number;

/// The target partition of each of some source partitions. No two share a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMap {
    targets: BTreeMap<PartitionNumber, PartitionNumber>,
}

impl PartitionMap {
    /// Returns the target of partition `source`, if the map has one.
    pub fn target(&self, source: PartitionNumber) -> Option<PartitionNumber> {
        self.targets.get(&source).copied()
    }

    /// Returns the source partitions, in ascending order.
    pub fn sources(&self) -> impl Iterator<Item = PartitionNumber> {
        self.targets.keys().copied()
    }
}

impl fmt::Display for PartitionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.targets.iter();
        let pairs = pairs.map(|(source, target)| format!("{source}:{target}"));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}

/// Text that is not a partition map.
#[derive(Debug, thiserror::Error)]
pub enum PartitionMapError {
    /// Not a pair of numbers.
    #[error(
        "`{0}` is not a partition mapping; give SOURCE:TARGET pairs of numbers from 0, separated by commas, as in `0:3,1:4`"
    )]
    Form(String),
    /// One source with two targets.
    #[error("partition {0} is mapped twice")]
    Source(PartitionNumber),
    /// Two sources with one target.
    #[error("partitions {first} and {second} are both mapped to partition {target}")]
    Target {
        /// One of them.
        first: PartitionNumber,
        /// The other.
        second: PartitionNumber,
        /// The target of both.
        target: PartitionNumber,
    },
}

impl FromStr for PartitionMap {
    type Err = PartitionMapError;

    fn from_str(text: &str) -> Result<Self, PartitionMapError> {
        let (mut targets, mut sources) = (BTreeMap::new(), BTreeMap::new());
        for pair in text.split(',') {
            let (source, target) =
                numbers(pair).ok_or_else(|| PartitionMapError::Form(pair.to_owned()))?;
            if targets.insert(source, target).is_some() {
                return Err(PartitionMapError::Source(source));
            }
            if let Some(first) = sources.insert(target, source) {
                return Err(PartitionMapError::Target {
                    first,
                    second: source,
                    target,
                });
            }
        }
        Ok(Self { targets })
    }
}

/// Parses one pair. A topic has at most `i32::MAX` partitions, so that is not a partition number.
fn numbers(pair: &str) -> Option<(PartitionNumber, PartitionNumber)> {
    let (source, target) = pair.split_once(':')?;
    let (source, target) = (number(source.trim())?, number(target.trim())?);
    (source.max(target).get() < i32::MAX).then_some((source, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_numbers() {
        let map: PartitionMap = "1:4, 0 : 3".parse().unwrap();
        assert_eq!(
            (
                map.target(0.into()),
                map.target(1.into()),
                map.target(3.into())
            ),
            (Some(3.into()), Some(4.into()), None)
        );
        assert_eq!(map.sources().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(map.to_string(), "0:3,1:4");
        let swap: PartitionMap = "0:1,1:0".parse().unwrap();
        assert_eq!(
            (swap.target(0.into()), swap.target(1.into())),
            (Some(1.into()), Some(0.into()))
        );
    }

    #[test]
    fn an_invalid_map_is_refused_with_the_pair() {
        let error = |text: &str| text.parse::<PartitionMap>().unwrap_err().to_string();
        for text in ["", "1", "a:1", "1:", ":1", "1:-1", "+1:1", "1:2:3", "0=1"] {
            assert!(error(text).contains(&format!("`{text}`")), "{text}");
        }
        assert!(error("0:1,,2:3").contains("`` is not a partition mapping"));
        assert!(error("0:2147483647").contains("`0:2147483647`"));
        assert_eq!(error("0:1,0:2"), "partition 0 is mapped twice");
        assert_eq!(
            error("2:1,0:1"),
            "partitions 2 and 0 are both mapped to partition 1"
        );
    }
}
