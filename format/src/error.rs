//! The error classes of SPEC section 7: what can be wrong with bytes.

use std::fmt;

/// The class of a format error: what the caller can do about it (SPEC section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The magic is missing.
    NotASegment,
    /// A version, feature, kind, codec or critical section of a later writer.
    Unsupported,
    /// Bytes that a length field states are missing.
    Truncated,
    /// A checksum does not match its bytes.
    Checksum,
    /// An intact structure that belongs to another position or another segment.
    Misplaced,
    /// Checksums match, but fields contradict each other.
    Inconsistent,
    /// A length or count above SPEC section 6.
    Limit,
}

impl ErrorClass {
    /// Returns the name used in SPEC, in JSON output and in fixtures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::NotASegment => "not_a_segment",
            ErrorClass::Unsupported => "unsupported",
            ErrorClass::Truncated => "truncated",
            ErrorClass::Checksum => "checksum",
            ErrorClass::Misplaced => "misplaced",
            ErrorClass::Inconsistent => "inconsistent",
            ErrorClass::Limit => "limit",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that violate SPEC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at position {position}: {detail} ({class})")]
pub struct FormatError {
    /// What the caller can do about it.
    pub class: ErrorClass,
    /// The structure, in SPEC's words.
    pub what: &'static str,
    /// Where it starts in the segment, in bytes.
    pub position: u64,
    /// What was expected and what was found.
    pub detail: String,
}

impl FormatError {
    /// Creates an error of `class` about the structure `what` at `position`.
    pub fn new(
        class: ErrorClass,
        what: &'static str,
        position: u64,
        detail: impl Into<String>,
    ) -> Self {
        FormatError {
            class,
            what,
            position,
            detail: detail.into(),
        }
    }
}

/// The result of a parser.
pub type Result<T> = std::result::Result<T, FormatError>;
