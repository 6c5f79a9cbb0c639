//! Sizes on the command line: `64MiB`, `1GB`, `500k`, or plain bytes.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use parse_size::parse_size;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Text that is not a size, or is out of bounds.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error(
        "`{0}` is not a size; give a number with a unit, as in `64MiB` (binary), `1GB` (decimal) or `65536`"
    )]
    NotASize(String),
    /// A size that this option does not allow.
    #[error("{text} is out of bounds; give {min} to {max}", min = Iec(*.min), max = Iec(*.max))]
    OutOfBounds {
        /// As it was given.
        text: String,
        /// The smallest allowed size, in bytes.
        min: u64,
        /// The largest allowed size, in bytes.
        max: u64,
    },
}

/// Parses a size in bytes, which must be within `bounds`.
pub(super) fn parse(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, SizeError> {
    let bytes = parse_size(text).map_err(|_| SizeError::NotASize(text.to_owned()))?;
    if bounds.contains(&bytes) {
        return Ok(bytes);
    }
    Err(SizeError::OutOfBounds {
        text: text.to_owned(),
        min: *bounds.start(),
        max: *bounds.end(),
    })
}

/// Raw bytes per block, the unit of compression and of random access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize(u32);

impl BlockSize {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for BlockSize {
    fn default() -> Self {
        Self(MIB as u32)
    }
}

impl FromStr for BlockSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bytes = parse(text, 64 * KIB..=8 * MIB)?;
        Ok(Self(bytes as u32))
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Iec(self.0.into()).fmt(f)
    }
}

/// Stored bytes after which a segment is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for SegmentSize {
    fn default() -> Self {
        Self(128 * MIB)
    }
}

impl FromStr for SegmentSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, MIB..=4 * GIB).map(Self)
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Iec(self.0).fmt(f)
    }
}

/// Bytes after which a file of an export is ended, and another one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSize(u64);

impl FileSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for FileSize {
    fn default() -> Self {
        Self(GIB)
    }
}

impl FromStr for FileSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, MIB..=1024 * GIB).map(Self)
    }
}

/// Memory for the keys of a partition of which the latest records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMemory(u64);

impl KeyMemory {
    /// In bytes.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Default for KeyMemory {
    fn default() -> Self {
        Self(384 * MIB)
    }
}

impl FromStr for KeyMemory {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, MIB..=64 * GIB).map(Self)
    }
}

/// Memory for what a mount caches, prefetches and is reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySize(u64);

impl MemorySize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, 32 * MIB..=1024 * GIB).map(Self)
    }
}

/// How far a mount reads ahead of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefetchSize(u64);

impl PrefetchSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for PrefetchSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, 0..=GIB).map(Self)
    }
}

/// The largest size of a cache folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize(u64);

impl CacheSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for CacheSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, 64 * MIB..=1024 * 1024 * GIB).map(Self)
    }
}

/// Bytes to write per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(u64);

impl ByteRate {
    /// In bytes per second.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteRate {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse(text, KIB..=1024 * GIB).map(Self)
    }
}

/// Formats a size in the shortest exact form, so that a bound or a default can be typed as it is shown.
struct Iec(u64);

impl fmt::Display for Iec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
        match units
            .iter()
            .find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let parse = |text| parse(text, 0..=u64::MAX).unwrap();
        assert_eq!(parse("64MiB"), 64 * MIB);
        assert_eq!(parse("64 mib"), 64 * MIB);
        assert_eq!(parse("1GB"), 1_000_000_000);
        assert_eq!(parse("500k"), 500_000);
        assert_eq!(parse("1.5KiB"), 1_536);
        assert_eq!(parse("65536"), 65_536);
    }

    #[test]
    fn an_invalid_size_is_refused_with_an_example() {
        for text in ["", "MiB", "-1MiB", "1 XiB", "big", "99999999999EiB"] {
            let error = parse(text, 0..=u64::MAX).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("64MiB"),
                "{error}"
            );
        }
    }

    #[test]
    fn bounds_are_named_and_belong_to_the_range() {
        assert_eq!("64KiB".parse::<BlockSize>().unwrap().bytes(), 65_536);
        assert_eq!("8MiB".parse::<BlockSize>().unwrap().bytes(), 8 << 20);
        for text in ["65535", "8388609", "0", "1TiB"] {
            let error = text.parse::<BlockSize>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("{text} is out of bounds; give 64KiB to 8MiB")
            );
        }
        assert!("1023KiB".parse::<SegmentSize>().is_err());
        assert!("5GiB".parse::<SegmentSize>().is_err());
        assert_eq!("10MB".parse::<ByteRate>().unwrap().bytes(), 10_000_000);
        assert!("1023".parse::<ByteRate>().is_err());
    }

    #[test]
    fn defaults_can_be_typed_as_shown() {
        assert_eq!(BlockSize::default().to_string(), "1MiB");
        assert_eq!(SegmentSize::default().to_string(), "128MiB");
        assert_eq!("1MiB".parse::<BlockSize>().unwrap(), BlockSize::default());
        assert_eq!(
            "128MiB".parse::<SegmentSize>().unwrap(),
            SegmentSize::default()
        );
        assert_eq!(Iec(1_000).to_string(), "1000B");
    }
}
