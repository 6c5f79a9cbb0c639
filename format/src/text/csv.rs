//! Records as comma-separated values (RFC 4180): a header line, and lines that end with CR LF.
//!
//! Keys and values have a column that says how they are written: `text` where the bytes are UTF-8 without a NUL, which many readers of CSV
//! cannot hold, `base64` for all others, and nothing for null. So null, empty and any bytes differ for every reader. A reader that distinguishes
//! quoted from unquoted, such as PostgreSQL, sees null in the other column, too. Headers are the JSON array of `records.jsonl`.

use crate::partition::PartitionNumber;
use crate::record::Record;
use crate::render::{is_utf8, render_base64, render_headers, render_integer};
use crate::render_time::render_bare_time;

pub(super) const HEADER_LINE: &[u8] =
    b"topic,partition,offset,timestamp,time,key,key_encoding,value,value_encoding,headers\r\n";

#[derive(Clone, Debug)]
pub(super) struct CsvRenderer {
    /// Topic and partition, with their commas.
    line_start: Vec<u8>,
}

impl CsvRenderer {
    pub(super) fn new(topic: &str, partition: PartitionNumber) -> CsvRenderer {
        let mut line_start = Vec::new();
        // Kafka's names need no quotes. A segment that something else wrote may state any name.
        match topic.contains(['"', ',', '\r', '\n']) || topic.is_empty() {
            true => quote(topic.as_bytes(), &mut line_start),
            false => line_start.extend_from_slice(topic.as_bytes()),
        }
        line_start.push(b',');
        render_integer(partition.get().into(), &mut line_start);
        line_start.push(b',');
        CsvRenderer { line_start }
    }

    pub(super) fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line_start);
        render_integer(record.offset, out);
        out.push(b',');
        render_integer(record.timestamp, out);
        out.push(b',');
        render_bare_time(record.timestamp, out);
        out.push(b',');
        field(record.key, out);
        field(record.value, out);
        let start = out.len();
        render_headers(record.headers.clone(), out);
        quote_from(start, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a field and the one that says how it is written, each with a comma.
fn field(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.extend_from_slice(b",,"),
        Some(text) if is_utf8(text) && !text.contains(&0) => {
            quote(text, out);
            out.extend_from_slice(b",text,");
        }
        Some(bytes) => {
            render_base64(bytes, out);
            out.extend_from_slice(b",base64,");
        }
    }
}

/// Appends a text between quotes, its own quotes doubled.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for (number, piece) in text.split(|byte| *byte == b'"').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece);
    }
    out.push(b'"');
}

/// Puts what was appended from `start` on between quotes, in place.
fn quote_from(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    let quotes = out.get(start..).unwrap_or_default();
    let quotes = quotes.iter().filter(|byte| **byte == b'"').count();
    out.resize(end + quotes + 2, b'"');
    // From the last byte to the first, so that none is overwritten before it has moved.
    let mut to = out.len() - 1;
    for from in (start..end).rev() {
        let byte = out.get(from).copied().unwrap_or_default();
        for _ in 0..=usize::from(byte == b'"') {
            to -= 1;
            if let Some(target) = out.get_mut(to) {
                *target = byte;
            }
        }
    }
    if let Some(first) = out.get_mut(start) {
        *first = b'"';
    }
}
