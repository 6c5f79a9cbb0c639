//! Records of batches of format v2 (Kafka's `DefaultRecord`).

use super::error;
use super::frame::RecordBatch;
use super::varint::{take_i32, take_i64};
use crate::error::{ErrorClass, Result};
use crate::record::Header;

/// A record as it is in a batch: relative to its header.
#[derive(Clone, Copy)]
pub(super) struct RawRecord<'a> {
    pub(super) attributes: u8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: BatchHeaders<'a>,
    /// Its bytes from the key's length on, which no delta changes.
    pub(super) payload: &'a [u8],
}

/// Passes every record of a batch of format v2 to `visit`, and checks them all; `bytes` are its records, not compressed.
pub(super) fn walk<'a>(
    batch: &RecordBatch<'_>,
    bytes: &'a [u8],
    mut visit: impl FnMut(RawRecord<'a>) -> Result<()>,
) -> Result<()> {
    let header = batch.header();
    let count = header.record_count.unwrap_or_default();
    let fault = |detail: String| error(ErrorClass::Inconsistent, batch.position(), detail);
    let mut rest = bytes;
    let (mut previous, last) = (-1, header.last_offset - header.base_offset);
    for number in 0..count {
        let record = take(&mut rest)
            .ok_or_else(|| fault(format!("record {number} of {count} is malformed")))?;
        let delta = i64::from(record.offset_delta);
        if delta <= previous || delta > last {
            let detail = format!(
                "record {number} has the offset delta {delta}, after {previous} and up to {last}"
            );
            return Err(fault(detail));
        }
        previous = delta;
        visit(record)?;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => {
            let detail = format!("{} bytes after the last of {count} records", rest.len());
            Err(fault(detail))
        }
    }
}

/// Takes the record at the front of `bytes`; `None` where its bytes are not one.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let mut rest = *bytes;
    let length = usize::try_from(take_i32(&mut rest)?).ok()?;
    let (mut record, rest) = rest.split_at_checked(length)?;
    // No bit of the attributes has a meaning so far.
    let (attributes, after) = record.split_first()?;
    record = after;
    let timestamp_delta = take_i64(&mut record)?;
    let offset_delta = take_i32(&mut record)?;
    let payload = record;
    let key = take_bytes(&mut record)?;
    let value = take_bytes(&mut record)?;
    let count = u32::try_from(take_i32(&mut record)?).ok()?;
    let headers = BatchHeaders {
        left: count,
        bytes: record,
    };
    if !headers.is_whole() {
        return None;
    }
    *bytes = rest;
    Some(RawRecord {
        attributes: *attributes,
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
        payload,
    })
}

/// Takes a length, of which a negative one is null, and as many bytes.
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_i32(bytes)?;
    let Ok(length) = usize::try_from(length) else {
        return Some(None);
    };
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(taken))
}

/// The headers of a record in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchHeaders<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> BatchHeaders<'a> {
    /// Returns how many are left.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.left as usize
    }

    fn take_header(&mut self) -> Option<Header<'a>> {
        let name = take_bytes(&mut self.bytes)??;
        let value = take_bytes(&mut self.bytes)?;
        Some(Header { name, value })
    }

    /// Returns whether as many are there as are stated, and nothing else.
    fn is_whole(mut self) -> bool {
        // A header takes two bytes at least, so the count is bounded before it is counted.
        self.len() <= self.bytes.len() / 2
            && (0..self.left).all(|_| self.take_header().is_some())
            && self.bytes.is_empty()
    }
}

impl<'a> Iterator for BatchHeaders<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.take_header()
    }
}
