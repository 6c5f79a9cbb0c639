//! Regular expressions over bytes: keys and values need not be text.

use std::str::FromStr;

use regex::bytes::Regex;

/// A regular expression that is searched for anywhere in some bytes; `^` and `$` anchor it.
///
/// `.`, `\w` and so on are for characters of UTF-8, as everywhere; `(?-u:\xff)` is a byte.
#[derive(Clone, Debug)]
pub struct BytePattern(Regex);

/// Text that is not a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a regular expression: {reason}")]
pub struct BytePatternError {
    text: String,
    reason: String,
}

impl BytePattern {
    /// Returns whether there is a match anywhere in the bytes.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

impl FromStr for BytePattern {
    type Err = BytePatternError;

    fn from_str(text: &str) -> Result<BytePattern, BytePatternError> {
        Regex::new(text).map(BytePattern).map_err(|error| {
            // The library draws where the mistake is, in several lines.
            let drawn = error.to_string();
            let last = drawn.lines().last().unwrap_or_default();
            BytePatternError {
                text: text.to_owned(),
                reason: last.trim_start_matches("error: ").to_owned(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(pattern: &str, bytes: &[u8]) -> bool {
        pattern.parse::<BytePattern>().unwrap().is_in(bytes)
    }

    #[test]
    fn it_is_searched_for_anywhere_in_any_bytes() {
        assert!(is_in("b+", b"abbc") && !is_in("^b", b"abbc"));
        assert!(is_in("", b"") && is_in("(?i)ÄB", "xäb".as_bytes()));
        assert!(is_in(r"(?-u)\xff\x00", b"a\xff\0") && !is_in("a.b", b"a\xffb"));
        assert!(is_in("(?s)a.b", b"a\nb") && !is_in("a.b", b"a\nb"));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let error = "a(b".parse::<BytePattern>().unwrap_err().to_string();
        assert_eq!(error, "`a(b` is not a regular expression: unclosed group");
    }
}
