//! Digests over records (SPEC 2.6): sums of XXH3-128, independent of how records are cut into blocks.

use xxhash_rust::xxh3::xxh3_128;

use crate::columns::code;
use crate::record::{Record, TimestampType};

/// Both digests of a set of records; [`Digests::add`] merges sets in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// The digest over everything that a record holds: offset, timestamp type, timestamp, key, value and headers.
    pub content: u128,
    /// The digest without offset and timestamp type, which a restored record does not keep.
    pub restore: u128,
}

impl Digests {
    /// Computes the digests of one record in a segment with `timestamp_type`.
    #[must_use]
    pub fn of(record: &Record<'_>, timestamp_type: TimestampType) -> Digests {
        let restore = restore_digest(record);
        // Offsets are never negative, so the top bit of the offset is free for the type.
        let offset_and_type = record.offset.cast_unsigned() | (timestamp_type as u64) << 63;
        let mut bytes = [0; 24];
        crate::wire::put(&mut bytes, 0, &offset_and_type.to_le_bytes());
        crate::wire::put(&mut bytes, 8, &restore.to_le_bytes());
        Digests {
            content: xxh3_128(&bytes),
            restore,
        }
    }

    /// Merges another, disjoint set of records into this one.
    pub fn add(&mut self, other: Digests) {
        self.content = self.content.wrapping_add(other.content);
        self.restore = self.restore.wrapping_add(other.restore);
    }
}

fn restore_digest(record: &Record<'_>) -> u128 {
    let (header_count, headers) = header_chain(record);
    let mut bytes = [0; 72];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        crate::wire::put(&mut bytes, at, field);
        at += field.len();
    };
    put(&record.timestamp.to_le_bytes());
    put(&code(record.key).to_le_bytes());
    put(&code(record.value).to_le_bytes());
    put(&header_count.to_le_bytes());
    put(&u32::from(record.control).to_le_bytes());
    put(&xxh3_128(record.key.unwrap_or_default()).to_le_bytes());
    put(&xxh3_128(record.value.unwrap_or_default()).to_le_bytes());
    put(&headers.to_le_bytes());
    xxh3_128(&bytes)
}

/// Returns the number of headers and the last link of their chain, 0 without headers.
fn header_chain(record: &Record<'_>) -> (u32, u128) {
    let mut count = 0;
    let mut chain = 0u128;
    for header in record.headers.clone() {
        let mut bytes = [0; 56];
        crate::wire::put(&mut bytes, 0, &chain.to_le_bytes());
        crate::wire::put(&mut bytes, 16, &(code(Some(header.name)) - 1).to_le_bytes());
        crate::wire::put(&mut bytes, 20, &code(header.value).to_le_bytes());
        crate::wire::put(&mut bytes, 24, &xxh3_128(header.name).to_le_bytes());
        let value = xxh3_128(header.value.unwrap_or_default());
        crate::wire::put(&mut bytes, 40, &value.to_le_bytes());
        chain = xxh3_128(&bytes);
        count += 1;
    }
    (count, chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Headers;

    #[test]
    fn the_timestamp_type_is_in_the_content_digest_and_not_in_the_restore_digest() {
        let record = Record {
            offset: 7,
            timestamp: 1,
            control: false,
            key: None,
            value: Some(b"v"),
            headers: Headers::EMPTY,
        };
        let created = Digests::of(&record, TimestampType::CreateTime);
        let appended = Digests::of(&record, TimestampType::LogAppendTime);
        assert_ne!(created.content, appended.content);
        assert_eq!(created.restore, appended.restore);
    }
}
