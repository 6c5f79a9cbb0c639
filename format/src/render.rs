//! Records as text (SPEC section 10), and the length of the text without building it.
//!
//! Lengths are computed while a block is encoded, so the scan runs over bytes that compression is about to read.

use std::sync::Arc;

use crate::columns::{ByteColumn, Columns, HeaderColumn};
use crate::partition::PartitionNumber;
use crate::record::{Header, Headers, Record};
use crate::render_time::{render_time, time_size, times_size};

/// The rendering's version: any change of the output raises it.
pub const RENDERING_VERSION: u32 = 2;

/// A view of a segment as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// One JSON object per line.
    Records,
    /// Each value and a line feed.
    Values,
    /// Each key and a line feed.
    Keys,
}

impl View {
    /// All views, in the order of the rendered-sizes section.
    pub const ALL: [View; 3] = [View::Records, View::Values, View::Keys];
}

/// Lengths of the views, in the order of [`View::ALL`].
pub type ViewSizes = [u64; View::ALL.len()];

/// Renders records of one partition. What all lines of `records.jsonl` begin with is rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renderer {
    line_start: Arc<[u8]>,
}

impl Renderer {
    /// Creates a renderer for the records of a partition.
    #[must_use]
    pub fn new(topic: &str, partition: PartitionNumber) -> Renderer {
        let mut start = b"{\"topic\":\"".to_vec();
        render_escaped(topic.as_bytes(), &mut start);
        start.extend_from_slice(b"\",\"partition\":");
        render_integer(partition.get().into(), &mut start);
        start.extend_from_slice(b",\"offset\":");
        Renderer {
            line_start: start.into(),
        }
    }

    /// Returns what each line of `records.jsonl` begins with, up to the digits of the offset.
    #[must_use]
    pub fn line_start(&self) -> &[u8] {
        &self.line_start
    }

    /// Appends the rendering of `record` in `view`. Control records render to nothing.
    pub fn render(&self, view: View, record: &Record<'_>, out: &mut Vec<u8>) {
        if record.control {
            return;
        }
        match view {
            View::Records => self.render_record(record, out),
            View::Values => render_line(record.value, out),
            View::Keys => render_line(record.key, out),
        }
    }

    /// Returns the length of what [`render`](Self::render) appends.
    #[must_use]
    pub fn size(&self, view: View, record: &Record<'_>) -> u64 {
        if record.control {
            return 0;
        }
        match view {
            View::Records => self.record_size(record),
            View::Values => line_size(record.value),
            View::Keys => line_size(record.key),
        }
    }

    /// Computes the lengths of the views of all records in `columns`.
    #[must_use]
    pub fn sizes(&self, columns: &Columns) -> ViewSizes {
        if columns.controls.contains(&true) {
            return self.sizes_by_record(columns);
        }
        let records = columns.len() as u64;
        let lines = self.fixed_size() * records
            + integers_size(&columns.offsets)
            + integers_size(&columns.timestamps)
            + times_size(&columns.timestamps)
            + column_size("key", &columns.keys)
            + column_size("value", &columns.values)
            + headers_size(&columns.headers);
        [
            lines,
            columns.values.bytes.len() as u64 + records,
            columns.keys.bytes.len() as u64 + records,
        ]
    }

    fn sizes_by_record(&self, columns: &Columns) -> ViewSizes {
        let mut sizes = ViewSizes::default();
        for record in columns.iter() {
            for (size, view) in sizes.iter_mut().zip(View::ALL) {
                *size += self.size(view, &record);
            }
        }
        sizes
    }

    fn render_record(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line_start);
        render_integer(record.offset, out);
        out.extend_from_slice(b",\"timestamp\":");
        render_integer(record.timestamp, out);
        out.extend_from_slice(b",\"time\":");
        render_time(record.timestamp, out);
        out.push(b',');
        render_bytes("key", record.key, out);
        out.push(b',');
        render_bytes("value", record.value, out);
        out.extend_from_slice(b",\"headers\":");
        render_headers(record.headers.clone(), out);
        out.extend_from_slice(b"}\n");
    }

    fn record_size(&self, record: &Record<'_>) -> u64 {
        let mut headers = 0;
        let mut count = 0;
        for header in record.headers.clone() {
            headers += header_size(&header);
            count += 1u64;
        }
        self.fixed_size()
            + integer_size(record.offset)
            + integer_size(record.timestamp)
            + time_size(record.timestamp)
            + bytes_size("key", record.key)
            + bytes_size("value", record.value)
            + headers
            + count.saturating_sub(1)
    }

    /// The bytes that the lines of all records have in common.
    fn fixed_size(&self) -> u64 {
        const AFTER_OFFSET: &str = ",\"timestamp\":,\"time\":,,,\"headers\":[]}\n";
        (self.line_start.len() + AFTER_OFFSET.len()) as u64
    }
}

fn integers_size(values: &[i64]) -> u64 {
    let (Some(min), Some(max)) = (values.iter().min(), values.iter().max()) else {
        return 0;
    };
    // The offsets or timestamps of a block mostly have the same number of digits.
    if *min >= 0 && integer_size(*min) == integer_size(*max) {
        return integer_size(*min) * values.len() as u64;
    }
    values.iter().map(|value| integer_size(*value)).sum()
}

fn column_size(name: &str, column: &ByteColumn) -> u64 {
    let ends = column.ends.iter().map(|end| *end as usize);
    if !are_texts(&column.bytes, ends) {
        let all = 0..column.codes.len();
        return all.map(|i| bytes_size(name, column.get(i))).sum();
    }
    let all = column.codes.len() as u64;
    let nulls = column.codes.iter().filter(|code| **code == 0).count() as u64;
    nulls * bytes_size(name, None)
        + (all - nulls) * bytes_size(name, Some(b""))
        + text_size(&column.bytes)
}

/// Returns the length of the objects of all headers, with the commas between those of one record.
fn headers_size(column: &HeaderColumn) -> u64 {
    let commas: u64 = (0..column.ends.len())
        .map(|i| (column.get(i).len() as u64).saturating_sub(1))
        .sum();
    let entries = &column.entries;
    let starts = entries
        .iter()
        .flat_map(|entry| [entry.start, entry.start + entry.name_length])
        .map(|start| start as usize);
    if !are_texts(&column.bytes, starts) {
        let views = entries.iter().map(|entry| entry.view(&column.bytes));
        return commas + views.map(|header| header_size(&header)).sum::<u64>();
    }
    let nulls = entries.iter().filter(|entry| entry.value_code == 0).count() as u64;
    let empty = |value| header_size(&Header { name: b"", value });
    commas
        + nulls * empty(None)
        + (entries.len() as u64 - nulls) * empty(Some(b""))
        + text_size(&column.bytes)
}

/// Returns whether each piece of `bytes` is UTF-8: checking them as one text is many times faster than piece by piece.
///
/// A single piece that is not makes the result `false`.
fn are_texts(bytes: &[u8], mut boundaries: impl Iterator<Item = usize>) -> bool {
    let text = simdutf8::basic::from_utf8(bytes);
    text.is_ok_and(|text| boundaries.all(|boundary| text.is_char_boundary(boundary)))
}

/// Appends the array of the headers, as in `records.jsonl`.
pub(crate) fn render_headers(headers: Headers<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, header) in headers.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.push(b'{');
        render_bytes("name", Some(header.name), out);
        out.push(b',');
        render_bytes("value", header.value, out);
        out.push(b'}');
    }
    out.push(b']');
}

fn render_line(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(bytes.unwrap_or_default());
    out.push(b'\n');
}

fn line_size(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(0, <[u8]>::len) as u64 + 1
}

fn header_size(header: &Header<'_>) -> u64 {
    3 + bytes_size("name", Some(header.name)) + bytes_size("value", header.value)
}

pub(crate) fn render_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    // Digits are written from the last to the first, at the end of the buffer.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    for (i, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = i;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

fn integer_size(value: i64) -> u64 {
    let digits = value
        .unsigned_abs()
        .checked_ilog10()
        .map_or(1, |log| u64::from(log) + 1);
    digits + u64::from(value < 0)
}

/// `"name":null`, `"name":"text"` or `"name_base64":"..."`.
fn render_bytes(name: &str, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    match bytes {
        None => out.extend_from_slice(b"\":null"),
        Some(bytes) if is_utf8(bytes) => {
            out.extend_from_slice(b"\":\"");
            render_escaped(bytes, out);
            out.push(b'"');
        }
        Some(bytes) => {
            out.extend_from_slice(b"_base64\":\"");
            render_base64(bytes, out);
            out.push(b'"');
        }
    }
}

fn bytes_size(name: &str, bytes: Option<&[u8]>) -> u64 {
    let quoted_name = name.len() as u64 + 3;
    match bytes {
        None => quoted_name + 4,
        Some(bytes) if is_utf8(bytes) => quoted_name + 2 + text_size(bytes),
        Some(bytes) => quoted_name + 7 + 2 + 4 * bytes.len().div_ceil(3) as u64,
    }
}

pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Returns what escaping adds to the length of a byte: 1 for a backslash and a letter, 5 for `\u00` and two digits.
///
/// It has no branches, so that it is computed for a whole vector of bytes at once.
#[inline]
fn escape_cost(byte: u8) -> u8 {
    let quoted = (byte == b'"') | (byte == b'\\');
    let control = byte < 0x20;
    // 08 to 0D without the vertical tab have letters: \b \t \n \f \r.
    let lettered = (byte.wrapping_sub(0x08) < 6) & (byte != 0x0b);
    u8::from(quoted) + 5 * u8::from(control) - 4 * u8::from(lettered)
}

/// Returns the length of a text with its escapes, without quotes.
fn text_size(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + escapes_size(bytes)
}

/// Returns what escaping adds to the length of `bytes`.
fn escapes_size(bytes: &[u8]) -> u64 {
    // One lane per byte of one or two vector registers, so that lanes are summed only once per chunk.
    const LANES: usize = 32;
    // A lane is one byte and the largest cost is 5: more rows could overflow it.
    const ROWS: usize = 255 / 5;
    let mut size = 0;
    // Most text has quotes and no control characters: counting those alone takes half as long. The first control character ends the attempt.
    let mut is_plain = true;
    for chunk in bytes.chunks(LANES * ROWS) {
        let (rows, rest) = chunk.as_chunks::<LANES>();
        let mut sums = [0u8; LANES];
        if is_plain {
            let mut controls = [false; LANES];
            for row in rows {
                for ((sum, control), byte) in sums.iter_mut().zip(&mut controls).zip(row) {
                    *sum += u8::from((*byte == b'"') | (*byte == b'\\'));
                    *control |= *byte < 0x20;
                }
            }
            is_plain = !controls.contains(&true);
        }
        if !is_plain {
            sums = [0; LANES];
            for row in rows {
                for (sum, byte) in sums.iter_mut().zip(row) {
                    *sum += escape_cost(*byte);
                }
            }
        }
        size += sums.iter().map(|sum| u64::from(*sum)).sum::<u64>();
        size += rest
            .iter()
            .map(|byte| u64::from(escape_cost(*byte)))
            .sum::<u64>();
    }
    size
}

/// Returns the position of the first byte that needs escaping.
fn first_escape(bytes: &[u8]) -> Option<usize> {
    // Chunks of a fixed length are tested as vectors, without a branch inside.
    let needs_escape = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
    let (chunks, _) = bytes.as_chunks::<32>();
    let has_escape = |chunk: &[u8; 32]| chunk.iter().fold(false, |any, b| any | needs_escape(b));
    let plain = 32 * chunks.iter().take_while(|chunk| !has_escape(chunk)).count();
    let first = bytes.get(plain..)?.iter().position(needs_escape)?;
    Some(plain + first)
}

fn render_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = bytes;
    while let Some(plain) = first_escape(rest) {
        let (before, escaped) = rest.split_at(plain);
        out.extend_from_slice(before);
        let Some((byte, after)) = escaped.split_first() else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                let digits = [control >> 4, control & 15].map(|digit| HEX.get(usize::from(digit)));
                out.extend(digits.into_iter().flatten());
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

pub(crate) fn render_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 4 * bytes.len().div_ceil(3), 0);
    if let Some(target) = out.get_mut(start..) {
        data_encoding::BASE64.encode_mut(bytes, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        render_bytes("value", value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_nulls_and_bytes_render_differently() {
        assert_eq!(text(None), r#""value":null"#);
        assert_eq!(text(Some(b"")), r#""value":"""#);
        assert_eq!(text(Some("ä\u{7f}".as_bytes())), "\"value\":\"ä\u{7f}\"");
        assert_eq!(text(Some(b"\xff\x00")), r#""value_base64":"/wA=""#);
        assert_eq!(
            text(Some(b"\xed\xa0\x80")),
            r#""value_base64":"7aCA""#,
            "a surrogate is not UTF-8"
        );
        assert_eq!(
            text(Some(b"a\"\\\n\x01\x1f")),
            r#""value":"a\"\\\n\u0001\u001f""#
        );
    }

    proptest! {
        /// Longer than what is counted at a time, so that it is plain before and after a control character.
        #[test]
        fn the_size_of_long_text_is_that_of_what_is_written(
            length in 0..6_000_usize,
            escaped in prop::collection::vec((0..6_000_usize, prop::sample::select(&b"\"\\\n\x01\x0b\x1f a"[..])), 0..4),
        ) {
            let mut text = vec![b'a'; length];
            for (at, byte) in escaped {
                if let Some(place) = text.get_mut(at) {
                    *place = byte;
                }
            }
            let mut written = Vec::new();
            render_escaped(&text, &mut written);
            prop_assert_eq!(text_size(&text), written.len() as u64);
        }

        #[test]
        fn sizes_match_the_text_and_json_parses_back(
            topic: String, partition in 0..=i32::MAX, offset in 0..=i64::MAX, timestamp: i64,
            key: Option<Vec<u8>>, value: Option<Vec<u8>>,
            text: String, header_value: Option<Vec<u8>>,
        ) {
            let headers = [
                Header { name: text.as_bytes(), value: header_value.as_deref() },
                Header { name: b"", value: None },
            ];
            let record = Record {
                offset, timestamp, control: false,
                key: key.as_deref(), value: value.as_deref(),
                headers: crate::record::Headers::Slice(&headers),
            };
            let renderer = Renderer::new(&topic, PartitionNumber::new(partition).unwrap());
            for view in View::ALL {
                let mut out = Vec::new();
                renderer.render(view, &record, &mut out);
                prop_assert_eq!(out.len() as u64, renderer.size(view, &record));
            }
            let mut line = Vec::new();
            renderer.render(View::Records, &record, &mut line);
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(json["topic"].as_str(), Some(topic.as_str()));
            prop_assert_eq!(json["partition"].as_i64(), Some(partition.into()));
            prop_assert_eq!(json["offset"].as_i64(), Some(offset));
            prop_assert_eq!(json["timestamp"].as_i64(), Some(timestamp));
            prop_assert_eq!(json["headers"][0]["name"].as_str(), Some(text.as_str()));
        }
    }
}
