//! Arguments that select snapshots of the repository: one, all, or a range.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// One snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotArg {
    /// The newest one.
    #[default]
    Latest,
    /// The one with this number.
    Number(u64),
}

/// One snapshot, or every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotsArg {
    /// Every snapshot of the repository.
    All,
    /// This one.
    One(SnapshotArg),
}

/// A snapshot, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRange(pub RangeInclusive<u64>);

/// Text that is not a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a snapshot; give {forms} (`kbk snapshots` lists them)")]
pub struct SnapshotError {
    text: String,
    forms: &'static str,
}

impl FromStr for SnapshotArg {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        parse(text).ok_or_else(|| SnapshotError {
            text: text.to_owned(),
            forms: "its number or `latest`",
        })
    }
}

impl FromStr for SnapshotsArg {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        if text == "all" {
            return Ok(Self::All);
        }
        parse(text).map(Self::One).ok_or_else(|| SnapshotError {
            text: text.to_owned(),
            forms: "its number, `latest` or `all`",
        })
    }
}

impl FromStr for SnapshotRange {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text| match parse(text) {
            Some(SnapshotArg::Number(number @ 1..)) => Some(number),
            _ => None,
        };
        let range = number(first).zip(number(last));
        let range = range.filter(|(first, last)| first <= last);
        let range = range.map(|(first, last)| SnapshotRange(first..=last));
        range.ok_or_else(|| SnapshotError {
            text: text.to_owned(),
            forms: "its number, or the first and the last of several, such as 3-7",
        })
    }
}

fn parse(text: &str) -> Option<SnapshotArg> {
    if text == "latest" {
        return Some(SnapshotArg::Latest);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.map(SnapshotArg::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms() {
        assert_eq!(
            "latest".parse::<SnapshotArg>().unwrap(),
            SnapshotArg::Latest
        );
        assert_eq!(
            "00000000000000000012".parse::<SnapshotArg>().unwrap(),
            SnapshotArg::Number(12)
        );
        assert_eq!("all".parse::<SnapshotsArg>().unwrap(), SnapshotsArg::All);
        assert_eq!(
            "3".parse::<SnapshotsArg>().unwrap(),
            SnapshotsArg::One(SnapshotArg::Number(3))
        );
    }

    #[test]
    fn ranges_of_snapshots() {
        let range = |text: &str| text.parse::<SnapshotRange>().ok().map(|range| range.0);
        assert_eq!(range("3"), Some(3..=3));
        assert_eq!(range("3-7"), Some(3..=7));
        for text in [
            "", "0", "0-3", "7-3", "3-", "-3", "3-7-9", "latest", "3-latest", "+3",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn other_text_is_refused_with_the_valid_forms() {
        for text in [
            "",
            "all",
            "newest",
            "-1",
            "+1",
            "1.json",
            "18446744073709551616",
        ] {
            let error = text.parse::<SnapshotArg>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("kbk snapshots"),
                "{error}"
            );
        }
        assert!(
            "everything"
                .parse::<SnapshotsArg>()
                .unwrap_err()
                .to_string()
                .contains("`all`")
        );
    }
}
