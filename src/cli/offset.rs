//! Offsets on the command line: `first`, `last`, `end`, a number, or `-100` from the end; and ranges of them.

use std::ops::Range;
use std::str::FromStr;

use super::error::CliError;

/// A position in a partition, before its offsets are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetArg {
    /// The first offset that the backup covers.
    First,
    /// The last offset that the backup covers.
    Last,
    /// One past the last offset that the backup covers.
    End,
    /// This offset.
    At(i64),
    /// `n` before the end.
    FromEnd(i64),
}

impl OffsetArg {
    /// Returns the offset in a partition that covers `start` to `end`, exclusive.
    ///
    /// Relative positions are clamped to the partition; an absolute one is not.
    pub fn resolve(self, start: i64, end: i64) -> i64 {
        match self {
            Self::First => start,
            Self::Last => start.max(end.saturating_sub(1)),
            Self::End => end,
            Self::At(offset) => offset,
            Self::FromEnd(count) => start.max(end.saturating_sub(count)),
        }
    }

    /// Returns whether the offset is after `other` in every partition.
    fn is_after(self, other: OffsetArg) -> bool {
        match (self, other) {
            (Self::At(this), Self::At(other)) => this > other,
            (_, Self::First) => self.before_end().is_some(),
            _ => match (self.before_end(), other.before_end()) {
                (Some(this), Some(other)) => this < other,
                _ => false,
            },
        }
    }

    /// Returns the distance to the end of the partition, where it is the same in all.
    fn before_end(self) -> Option<i64> {
        match self {
            Self::End => Some(0),
            Self::Last => Some(1),
            Self::FromEnd(count) => Some(count),
            Self::First | Self::At(_) => None,
        }
    }
}

/// The offsets from `--from-offset` up to `--to-offset`, exclusive, before those of a partition are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRangeArg {
    from: OffsetArg,
    to: OffsetArg,
}

impl OffsetRangeArg {
    /// Returns the range.
    ///
    /// # Errors
    ///
    /// If it is empty in every partition because its ends are in the wrong order.
    pub fn new(from: OffsetArg, to: OffsetArg) -> Result<OffsetRangeArg, CliError> {
        if from.is_after(to) {
            let message = "--from-offset is after --to-offset, so no record can match";
            return Err(CliError::usage(message).hint("swap them"));
        }
        Ok(OffsetRangeArg { from, to })
    }

    /// Returns the offsets in a partition that covers `start` to `end`, exclusive.
    pub fn resolve(self, start: i64, end: i64) -> Range<i64> {
        self.from.resolve(start, end)..self.to.resolve(start, end)
    }

    /// Returns the first offset, where it is the same in every partition: a number was given.
    pub fn first_number(self) -> Option<i64> {
        match self.from {
            OffsetArg::At(offset) => Some(offset),
            _ => None,
        }
    }

    /// Returns whether the range continues where a partition that covers `start` to `end`, exclusive, ends.
    pub fn reaches_end(self, start: i64, end: i64) -> bool {
        self.to == OffsetArg::End || self.to.resolve(start, end) > end
    }
}

/// Text that is not an offset.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an offset; give `first`, `last`, `end`, a number from 0, or `-100` for 100 before the end"
)]
pub struct OffsetError(String);

impl FromStr for OffsetArg {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        match text {
            "first" => return Ok(Self::First),
            "last" => return Ok(Self::Last),
            "end" => return Ok(Self::End),
            _ => {}
        }
        let fail = || OffsetError(text.to_owned());
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(fail());
        }
        let number = digits.parse().map_err(|_| fail())?;
        match (text.starts_with('-'), number) {
            (false, offset) => Ok(Self::At(offset)),
            (true, 0) => Err(fail()),
            (true, count) => Ok(Self::FromEnd(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms() {
        let parse = |text: &str| text.parse::<OffsetArg>().unwrap();
        assert_eq!(parse("first"), OffsetArg::First);
        assert_eq!(parse("last"), OffsetArg::Last);
        assert_eq!(parse("end"), OffsetArg::End);
        assert_eq!(parse("0"), OffsetArg::At(0));
        assert_eq!(parse("9223372036854775807"), OffsetArg::At(i64::MAX));
        assert_eq!(parse("-100"), OffsetArg::FromEnd(100));
    }

    #[test]
    fn an_invalid_offset_is_refused_with_an_example() {
        for text in [
            "",
            "-",
            "-0",
            "--1",
            "+1",
            "-+1",
            "1.5",
            "End",
            "First",
            "9223372036854775808",
        ] {
            let error = text.parse::<OffsetArg>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("`first`"),
                "{error}"
            );
        }
    }

    #[test]
    fn relative_offsets_stay_in_the_partition() {
        assert_eq!(OffsetArg::First.resolve(10, 50), 10);
        assert_eq!(OffsetArg::Last.resolve(10, 50), 49);
        assert_eq!(OffsetArg::FromEnd(5).resolve(10, 50), 45);
        assert_eq!(OffsetArg::FromEnd(500).resolve(10, 50), 10);
        assert_eq!(OffsetArg::Last.resolve(10, 10), 10);
        assert_eq!(OffsetArg::At(7).resolve(10, 50), 7);
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let range = |from: &str, to: &str| {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            OffsetRangeArg::new(from, to)
        };
        for (from, to, expected) in [
            ("first", "end", 10..50),
            ("12", "15", 12..15),
            ("15", "15", 15..15),
            ("-5", "last", 45..49),
            ("last", "end", 49..50),
            ("first", "-30", 10..20),
            ("0", "-1", 0..49),
        ] {
            let resolved = range(from, to).unwrap().resolve(10, 50);
            assert_eq!(resolved, expected, "{from} {to}");
        }
        for (from, to) in [
            ("3", "1"),
            ("end", "last"),
            ("last", "-2"),
            ("-10", "-20"),
            ("end", "first"),
            ("-1", "first"),
        ] {
            let error = range(from, to).unwrap_err().to_string();
            assert!(
                error.starts_with("--from-offset is after --to-offset"),
                "{error}"
            );
        }
        let reaches = |to| range("first", to).unwrap().reaches_end(10, 50);
        assert!(reaches("end") && reaches("51"));
        assert!(!reaches("50") && !reaches("last") && !reaches("-1"));
    }
}
