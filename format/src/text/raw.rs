//! Records as bytes with their lengths, for programs. Integers are big-endian, as in Kafka's protocol.
//!
//! | type | field |
//! |---|---|
//! | u32 | the length of the rest of the record |
//! | u32, bytes | the length of the topic's name, and the name |
//! | i32 | the partition |
//! | i64 | the offset |
//! | i64 | the timestamp in milliseconds since 1970; -1 if there is none |
//! | i32, bytes | the length of the key, and the key; -1 and no bytes for null |
//! | i32, bytes | the length of the value, and the value; -1 and no bytes for null |
//! | u32 | the number of headers, and for each of them: |
//! | u32, bytes | the length of its name, and the name |
//! | i32, bytes | the length of its value, and the value; -1 and no bytes for null |

use crate::partition::PartitionNumber;
use crate::record::{Headers, Record};

#[derive(Clone, Debug)]
pub(super) struct RawRenderer {
    /// Topic and partition.
    start: Vec<u8>,
}

impl RawRenderer {
    pub(super) fn new(topic: &str, partition: PartitionNumber) -> RawRenderer {
        let mut start = Vec::new();
        bytes(Some(topic.as_bytes()), &mut start);
        start.extend_from_slice(&partition.get().to_be_bytes());
        RawRenderer { start }
    }

    pub(super) fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        out.extend_from_slice(&self.start);
        out.extend_from_slice(&record.offset.to_be_bytes());
        out.extend_from_slice(&record.timestamp.to_be_bytes());
        bytes(record.key, out);
        bytes(record.value, out);
        out.extend_from_slice(&narrow(Headers::count(&record.headers)).to_be_bytes());
        for header in record.headers.clone() {
            bytes(Some(header.name), out);
            bytes(header.value, out);
        }
        let length = narrow(out.len() - at - LENGTH);
        if let Some(field) = out.get_mut(at..at + LENGTH) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

const LENGTH: usize = 4;

/// Appends a length and the bytes.
fn bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let length = bytes.map_or(-1, |bytes| narrow(bytes.len()) as i32);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Converts a length. A block has at most 256 MiB, so that none is cut off.
fn narrow(length: usize) -> u32 {
    length as u32
}
