//! Records as lines of hex, separated by tabs: topic, partition, offset, timestamp, key, value, headers.
//!
//! Keys, values, and the names and values of headers are two lower-case digits per byte, and null is `-`. Headers are `name=value,name=value`. So every
//! record is one line whatever it holds, and nothing is lost.

use crate::partition::PartitionNumber;
use crate::record::Record;
use crate::render::render_integer;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[derive(Clone, Debug)]
pub(super) struct HexRenderer {
    /// Topic and partition, with their tabs.
    line_start: Vec<u8>,
}

impl HexRenderer {
    pub(super) fn new(topic: &str, partition: PartitionNumber) -> HexRenderer {
        let mut line_start = Vec::new();
        for byte in topic.bytes() {
            // Kafka's names are of these. A segment that something else wrote may state any name.
            match byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                true => line_start.push(byte),
                false => {
                    line_start.push(b'%');
                    digits(&[byte], &mut line_start);
                }
            }
        }
        line_start.push(b'\t');
        render_integer(partition.get().into(), &mut line_start);
        line_start.push(b'\t');
        HexRenderer { line_start }
    }

    pub(super) fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line_start);
        render_integer(record.offset, out);
        out.push(b'\t');
        render_integer(record.timestamp, out);
        out.push(b'\t');
        field(record.key, out);
        out.push(b'\t');
        field(record.value, out);
        out.push(b'\t');
        for (number, header) in record.headers.clone().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            digits(header.name, out);
            out.push(b'=');
            field(header.value, out);
        }
        out.push(b'\n');
    }
}

fn field(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => digits(bytes, out),
        None => out.push(b'-'),
    }
}

fn digits(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        let both = [byte >> 4, byte & 15].map(|digit| DIGITS.get(usize::from(digit)));
        out.extend(both.into_iter().flatten());
    }
}
