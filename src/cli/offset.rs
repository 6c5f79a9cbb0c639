//! Offsets on the command line: `first`, `last`, a number, or `-100` from the end.

use std::str::FromStr;

/// A position in a partition, before its offsets are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetArg {
    /// The first offset that the backup covers.
    First,
    /// The last offset that the backup covers.
    Last,
    /// This offset.
    At(i64),
    /// The last `n` offsets.
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
            Self::At(offset) => offset,
            Self::FromEnd(count) => start.max(end.saturating_sub(count)),
        }
    }
}

/// Text that is not an offset.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an offset; give `first`, `last`, a number from 0, or `-100` for the last 100"
)]
pub struct OffsetError(String);

impl FromStr for OffsetArg {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        match text {
            "first" => return Ok(Self::First),
            "last" => return Ok(Self::Last),
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
            "end",
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
}
