//! A plain model of a record, for comparison in tests.

use kbk_format::{Columns, Header, Headers, Record};

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) control: bool,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    /// Passes the record to `take` in the form that the crate accepts.
    pub(crate) fn with<T>(&self, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        take(&Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: self.control,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }

    fn of(record: &Record<'_>) -> Owned {
        let header = |header: Header<'_>| (header.name.to_vec(), header.value.map(<[u8]>::to_vec));
        Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            control: record.control,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.clone().map(header).collect(),
        }
    }
}

/// Returns every record of a decoded block.
pub(crate) fn owned(columns: &Columns) -> Vec<Owned> {
    columns.iter().map(|record| Owned::of(&record)).collect()
}
