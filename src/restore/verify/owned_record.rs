//! A record of the backup that is kept while its counterpart in a target is looked for.

use kbk_format::{Header, Headers, Record};

use kbk_tools::diff::differing_parts;

/// A record that owns its bytes, and so outlives the block it was decoded from.
pub(crate) struct OwnedRecord {
    pub(crate) offset: i64,
    timestamp: i64,
    pub(crate) key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Vec<OwnedHeader>,
}

struct OwnedHeader {
    name: Box<[u8]>,
    value: Option<Box<[u8]>>,
}

impl OwnedRecord {
    pub(crate) fn new(record: &Record<'_>) -> OwnedRecord {
        let headers = record.headers.clone();
        OwnedRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers: headers
                .map(|header| OwnedHeader {
                    name: Box::from(header.name),
                    value: header.value.map(Box::from),
                })
                .collect(),
        }
    }

    /// Returns the bytes of key, value and headers.
    pub(crate) fn payload_len(&self) -> usize {
        self.with_record(|record| record.payload_len())
    }

    /// Returns the names of the parts in which `found` differs.
    pub(crate) fn differing_parts(&self, found: &Record<'_>) -> Vec<&'static str> {
        self.with_record(|record| differing_parts(record, found))
    }

    fn with_record<T>(&self, call: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers = self.headers.iter();
        let headers: Vec<Header<'_>> = headers
            .map(|header| Header {
                name: &header.name,
                value: header.value.as_deref(),
            })
            .collect();
        let record = Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        };
        call(&record)
    }
}
