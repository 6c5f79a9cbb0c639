//! Records of batches of format v2 (Kafka's `DefaultRecord`).

use super::varint::{take_i32, take_i64};
use crate::record::Header;

/// A record as it is in a batch: relative to its header.
#[derive(Clone, Copy)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: BatchHeaders<'a>,
}

/// Takes the record at the front of `bytes`; `None` where its bytes are not one.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let mut rest = *bytes;
    let length = usize::try_from(take_i32(&mut rest)?).ok()?;
    let (mut record, rest) = rest.split_at_checked(length)?;
    // The attributes: no bit has a meaning so far.
    record = record.split_first()?.1;
    let timestamp_delta = take_i64(&mut record)?;
    let offset_delta = take_i32(&mut record)?;
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
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
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
