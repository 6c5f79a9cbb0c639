//! Records, and a rendering of them that is independent of kbk.

use data_encoding::BASE64;
use jiff::Timestamp;
use kbk_format::{Header, Headers, Record};
use serde_json::Value;

const YEAR_0: i64 = -62_167_219_200_000;

/// An owned record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Rec {
    pub(crate) fn with_record<T>(&self, call: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        call(&Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }

    /// The line of `records.jsonl`, from SPEC section 10 alone.
    pub(crate) fn line(&self) -> String {
        self.line_of("orders")
    }

    /// The same of another topic. All are of partition 0.
    pub(crate) fn line_of(&self, topic: &str) -> String {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let (name, value) = (
                    member("name", Some(name)),
                    member("value", value.as_deref()),
                );
                format!("{{{name},{value}}}")
            })
            .collect();
        // The times of tests have years of four digits, but for those that another library cannot represent either.
        let time = Timestamp::from_millisecond(self.timestamp).ok();
        let time = time.filter(|_| self.timestamp != -1 && self.timestamp >= YEAR_0);
        format!(
            "{{\"topic\":\"{topic}\",\"partition\":0,\"offset\":{},\"timestamp\":{},\"time\":{},{},{},\"headers\":[{}]}}\n",
            self.offset,
            self.timestamp,
            time.map_or("null".to_owned(), |time| format!("\"{time:.3}\"")),
            member("key", self.key.as_deref()),
            member("value", self.value.as_deref()),
            headers.join(",")
        )
    }
}

fn member(name: &str, bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (str::from_utf8(bytes), bytes)) {
        None => format!("\"{name}\":null"),
        // serde_json escapes as SPEC does: the same letters, and lower-case hex.
        Some((Ok(text), _)) => format!("\"{name}\":{}", Value::String(text.to_owned())),
        Some((Err(_), bytes)) => format!("\"{name}_base64\":\"{}\"", BASE64.encode(bytes)),
    }
}

/// The `records.jsonl` of records.
pub(crate) fn records(records: &[Rec]) -> Vec<u8> {
    records.iter().map(Rec::line).collect::<String>().into()
}

/// The same of another topic.
pub(crate) fn records_of(topic: &str, records: &[Rec]) -> Vec<u8> {
    let lines = records.iter().map(|record| record.line_of(topic));
    lines.collect::<String>().into()
}

/// The `values` of records.
pub(crate) fn values(records: &[Rec]) -> Vec<u8> {
    lines(records.iter().map(|record| record.value.as_deref()))
}

/// The `keys` of records.
pub(crate) fn keys(records: &[Rec]) -> Vec<u8> {
    lines(records.iter().map(|record| record.key.as_deref()))
}

fn lines<'a>(all: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<u8> {
    let lines = all.map(|bytes| [bytes.unwrap_or_default(), b"\n"].concat());
    lines.collect::<Vec<_>>().concat()
}
