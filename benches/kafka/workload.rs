//! The workload: its size, and its records, identical in every process and every run.

use kbk_format::{Header, Record};

use crate::samples::{Payload, rows};
use crate::support::record::Message;

/// The size of the workload and the number of rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Bytes of keys, headers and values per topic.
    pub(crate) bytes: u64,
    /// The number of measured runs of each process.
    pub(crate) rounds: usize,
    /// The number of rounds before the measured ones.
    pub(crate) warm_ups: usize,
}

impl Settings {
    /// Reads the settings from the environment.
    pub(crate) fn from_env() -> Result<Settings, String> {
        let quick = std::env::var_os("KBK_BENCH_QUICK").is_some_and(|value| value != "0");
        let default_bytes = if quick { 100_000_000 } else { 1_000_000_000 };
        let bytes = match std::env::var("KBK_BENCH_BYTES") {
            Ok(text) => parse_size::parse_size(&text)
                .map_err(|error| format!("KBK_BENCH_BYTES is `{text}`: {error}"))?,
            Err(_) => default_bytes,
        };
        let (rounds, warm_ups) = if quick { (1, 0) } else { (3, 1) };
        Ok(Settings {
            bytes,
            rounds,
            warm_ups,
        })
    }
}

/// The number of distinct records: together they exceed the window of every compressor.
const DISTINCT: usize = 8 * 1024;

/// The records: shop orders as JSON of 1 KB, with a key and two headers, repeated.
pub(crate) struct Workload {
    distinct: Vec<(u64, Message)>,
}

impl Workload {
    /// Generates the distinct records.
    pub(crate) fn new() -> Workload {
        let rows = rows(Payload::Json, DISTINCT);
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
