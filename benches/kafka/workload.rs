//! The records, identical in every process and every run.

use kbk_format::{Header, Record};

use crate::samples::{Payload, rows};
use crate::support::record::Message;

/// Bytes of distinct records, about: together they exceed the window of every compressor at the levels that are measured.
const DISTINCT_BYTES: usize = 8 << 20;

/// The records of a payload, repeated.
pub(crate) struct Workload {
    distinct: Vec<(u64, Message)>,
}

impl Workload {
    /// Generates the distinct records.
    pub(crate) fn new(payload: Payload) -> Workload {
        let record_bytes = match payload {
            Payload::Json | Payload::Commits => 1024,
            Payload::Telemetry => 54,
        };
        let rows = rows(payload, DISTINCT_BYTES / record_bytes);
        Workload {
            distinct: rows
                .iter()
                .map(|row| (row.bytes(), row.with(0, message)))
                .collect(),
        }
    }

    /// Yields records of `bytes` in total.
    pub(crate) fn messages(&self, bytes: u64) -> impl Iterator<Item = &Message> {
        let mut left = bytes;
        self.distinct
            .iter()
            .cycle()
            .map_while(move |(size, message)| {
                let wanted = left > 0;
                left = left.saturating_sub(*size);
                wanted.then_some(message)
            })
    }

    /// Concatenates the bytes of all distinct records.
    pub(crate) fn distinct_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (_, message) in &self.distinct {
            bytes.extend_from_slice(message.key.as_deref().unwrap_or_default());
            for (name, value) in &message.headers {
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            bytes.extend_from_slice(message.value.as_deref().unwrap_or_default());
        }
        bytes
    }
}

fn message(record: &Record<'_>) -> Message {
    let header = |header: Header<'_>| (header.name.to_vec(), header.value.map(<[u8]>::to_vec));
    Message {
        timestamp: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.clone().map(header).collect(),
    }
}
