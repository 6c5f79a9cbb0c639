//! A count with its noun, for messages.

use std::fmt;

/// Formats a count with its noun, as in `1 record` or `2 records`.
///
/// ```
/// assert_eq!(kbk_format::counted(1, "record"), "1 record");
/// assert_eq!(kbk_format::counted(0, "record"), "0 records");
/// ```
#[must_use]
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
