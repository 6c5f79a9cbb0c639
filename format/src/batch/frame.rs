//! One batch in bytes, and the walk over many.

use super::error;
use super::header::BatchHeader;
use super::layout::{self as at, field, i32_at, message};
use crate::error::{ErrorClass, Result};

/// Returns how many bytes the batch takes that begins with `prefix`; `None` where there are fewer than [`PREFIX_LENGTH`](super::PREFIX_LENGTH)
/// bytes of it.
///
/// # Errors
///
/// *unsupported* where the format is none of Kafka's, *inconsistent* where the length is too small for it.
pub fn frame_length(prefix: &[u8], position: u64) -> Result<Option<usize>> {
    let (Some(length), Some([magic])) = (i32_at(prefix, at::LENGTH), field::<1>(prefix, at::MAGIC))
    else {
        return Ok(None);
    };
    let header = match magic {
        // A key and a value, of which at least the lengths are there.
        0 => message::KEY_V0 + 8,
        1 => message::KEY_V1 + 8,
        2 => at::HEADER_LENGTH,
        _ => {
            let detail = format!("magic {magic}; Kafka has 0, 1 and 2");
            return Err(error(ErrorClass::Unsupported, position, detail));
        }
    };
    match usize::try_from(length) {
        Ok(length) if length >= header - at::OVERHEAD => Ok(Some(at::OVERHEAD + length)),
        _ => {
            let detail = format!("length {length}, too small for format v{magic}");
            Err(error(ErrorClass::Inconsistent, position, detail))
        }
    }
}

/// One batch, or one message or message set of formats v0 and v1, borrowed from where its bytes are.
#[derive(Clone, Copy, Debug)]
pub struct RecordBatch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    position: u64,
}

impl<'a> RecordBatch<'a> {
    /// Parses the batch at the start of `bytes`, which are at `position` of what messages call a log. Its checksum is not looked at.
    ///
    /// # Errors
    ///
    /// *truncated* where `bytes` end within it, and the classes of [`frame_length`].
    pub fn parse(bytes: &'a [u8], position: u64) -> Result<RecordBatch<'a>> {
        let length = frame_length(bytes, position)?;
        let whole = length.and_then(|length| bytes.get(..length));
        let Some(bytes) = whole else {
            let needed = length.unwrap_or(at::PREFIX_LENGTH);
            let detail = format!("needs {needed} bytes, found {}", bytes.len());
            return Err(error(ErrorClass::Truncated, position, detail));
        };
        Ok(RecordBatch {
            header: BatchHeader::read(bytes, position)?,
            bytes,
            position,
        })
    }

    /// Returns what it says about itself.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Returns all of its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns where it begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Compares its checksum. It does not cover the first offset and the leader's epoch, which brokers set.
    ///
    /// # Errors
    ///
    /// *checksum*.
    pub fn check_crc(&self) -> Result<()> {
        match self.header.magic {
            2 => RecordBatch::check_crc_of(self.bytes, self.position),
            _ => compare_crc(
                "CRC-32",
                self.header.crc,
                crc32(self.after(at::MAGIC)),
                self.position,
            ),
        }
    }

    /// Compares the checksum of a batch of format v2 of which nothing but the length was looked at.
    pub(crate) fn check_crc_of(batch: &[u8], position: u64) -> Result<()> {
        let stored = field(batch, at::CRC).map_or(0, u32::from_be_bytes);
        let covered = batch.get(at::ATTRIBUTES..).unwrap_or_default();
        compare_crc("CRC-32C", stored, crc32c::crc32c(covered), position)
    }

    /// Returns the bytes from `start` on, which the length that was checked includes.
    pub(super) fn after(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..).unwrap_or_default()
    }
}

fn compare_crc(name: &str, stored: u32, computed: u32, position: u64) -> Result<()> {
    if stored == computed {
        return Ok(());
    }
    let detail = format!("states {stored:#010x}, the {name} of its bytes is {computed:#010x}");
    Err(error(ErrorClass::Checksum, position, detail))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Walks over batches that follow each other. Ends after the first that cannot be parsed.
#[derive(Clone, Debug)]
pub struct RecordBatches<'a> {
    rest: &'a [u8],
    position: u64,
}

impl<'a> RecordBatches<'a> {
    /// Begins with the batch at the start of `bytes`, which are at `position` of what messages call a log.
    #[must_use]
    pub fn new(bytes: &'a [u8], position: u64) -> RecordBatches<'a> {
        RecordBatches {
            rest: bytes,
            position,
        }
    }

    /// Returns where the next batch begins: after the end, how far the batches are whole.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl<'a> Iterator for RecordBatches<'a> {
    type Item = Result<RecordBatch<'a>>;

    fn next(&mut self) -> Option<Result<RecordBatch<'a>>> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = RecordBatch::parse(self.rest, self.position);
        match &parsed {
            Ok(batch) => {
                self.rest = self.rest.get(batch.bytes.len()..).unwrap_or_default();
                self.position += batch.bytes.len() as u64;
            }
            Err(_) => self.rest = &[],
        }
        Some(parsed)
    }
}
