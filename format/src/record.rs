//! One Kafka record, borrowed from wherever its bytes are.

use crate::batch::BatchHeaders;
use crate::columns::ColumnHeaders;

/// A Kafka record whose bytes are borrowed: from a network buffer, a decoded block or a test.
///
/// Null and empty differ everywhere: `None` is null, `Some(b"")` is empty.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Kafka's offset, never negative.
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00:00Z; -1 means that the record has none.
    pub timestamp: i64,
    /// Whether it is a control record (a transaction marker), which consumers do not return to their application.
    pub control: bool,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value; null makes the record a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in their order, duplicates kept.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// Returns the bytes of the key, the value, and the names and values of the headers: the unit of block sizes, rate limits
    /// and transaction limits.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        let headers: usize = self
            .headers
            .clone()
            .map(|header| header.payload_len())
            .sum();
        length(self.key) + length(self.value) + headers
    }
}

fn length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}

/// One header. A name is bytes: Kafka calls it a string, but clients may send any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; may be empty, is never null.
    pub name: &'a [u8],
    /// The value, or null.
    pub value: Option<&'a [u8]>,
}

impl Header<'_> {
    /// Returns the bytes of the name and the value.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.name.len() + length(self.value)
    }
}

/// The headers of one record, as an iterator over them that can be cloned.
#[derive(Clone, Debug)]
pub enum Headers<'a> {
    /// Headers in a slice.
    Slice(&'a [Header<'a>]),
    /// Headers of a record in a decoded block.
    Columns(ColumnHeaders<'a>),
    /// Headers of a record in one of Kafka's batches.
    Batch(BatchHeaders<'a>),
}

impl Headers<'_> {
    /// No headers.
    pub const EMPTY: Headers<'static> = Headers::Slice(&[]);

    /// Returns the number of headers left.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Headers::Slice(slice) => slice.len(),
            Headers::Columns(columns) => columns.len(),
            Headers::Batch(batch) => batch.len(),
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        match self {
            Headers::Slice(slice) => {
                let (first, rest) = slice.split_first()?;
                *slice = rest;
                Some(*first)
            }
            Headers::Columns(columns) => columns.next(),
            Headers::Batch(batch) => batch.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = Headers::count(self);
        (count, Some(count))
    }
}

impl PartialEq for Record<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
            && self.timestamp == other.timestamp
            && self.control == other.control
            && self.key == other.key
            && self.value == other.value
            && self.headers.clone().eq(other.headers.clone())
    }
}

/// Who set the timestamps of a segment's records (Kafka's `message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker, when it appended the record's batch.
    LogAppendTime,
}

/// What the reader of the source could see (Kafka's `isolation.level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// Every record, those of aborted and open transactions included.
    ReadUncommitted,
    /// Committed records only.
    ReadCommitted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_key_the_value_and_the_headers() {
        let headers = [
            Header {
                name: b"trace",
                value: Some(b"12"),
            },
            Header {
                name: b"n",
                value: None,
            },
        ];
        let mut record = Record {
            offset: 0,
            timestamp: -1,
            control: false,
            key: Some(b"key"),
            value: Some(b"value"),
            headers: Headers::Slice(&headers),
        };
        assert_eq!(record.payload_len(), 3 + 5 + 7 + 1);
        record.headers = Headers::EMPTY;
        assert_eq!(record.payload_len(), 3 + 5);
        record.key = None;
        record.value = Some(b"");
        assert_eq!(record.payload_len(), 0);
    }
}
