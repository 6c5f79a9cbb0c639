//! What a batch says about itself without being decoded.

use super::codec::BatchCodec;
use super::error;
use super::layout::{self as at, field, i32_at, i64_at, message};
use crate::error::{ErrorClass, Result};
use crate::record::TimestampType;

/// The attributes of a batch, or of a message, of which only the lower byte exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// Combines what is set.
    #[must_use]
    pub fn new(codec: BatchCodec, timestamp_type: TimestampType, transactional: bool) -> Self {
        let time = match timestamp_type {
            TimestampType::CreateTime => 0,
            TimestampType::LogAppendTime => Self::LOG_APPEND_TIME,
        };
        let transactional = if transactional {
            Self::TRANSACTIONAL
        } else {
            0
        };
        Attributes(codec.code() | time | transactional)
    }

    /// Returns how the records are compressed; `None` if Kafka has no such codec.
    #[must_use]
    pub fn codec(self) -> Option<BatchCodec> {
        BatchCodec::from_code(self.0 & Self::CODEC)
    }

    /// Returns who set the timestamps.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & Self::LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Returns whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Returns whether the records are markers that no consumer shows.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Returns whether the base timestamp is the time from which on Kafka's cleaner may remove tombstones. Timestamps are relative to it all
    /// the same.
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// Returns these attributes, of a transaction or not.
    #[must_use]
    pub fn with_transactional(self, transactional: bool) -> Self {
        match transactional {
            true => Attributes(self.0 | Self::TRANSACTIONAL),
            false => Attributes(self.0 & !Self::TRANSACTIONAL),
        }
    }

    /// Returns these attributes with a base timestamp that is one.
    #[must_use]
    pub fn without_delete_horizon(self) -> Self {
        Attributes(self.0 & !Self::DELETE_HORIZON)
    }
}

/// The producer's part of a header. Kafka writes -1 for each number that there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Id of the producer.
    pub id: i64,
    /// Epoch of the producer.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

impl Producer {
    /// No idempotent producer.
    pub const NONE: Producer = Producer {
        id: -1,
        epoch: -1,
        base_sequence: -1,
    };
}

/// The header of a batch of any format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The format: 0, 1 or 2.
    pub magic: u8,
    /// The first offset that the batch covers. A message set (v0, v1, compressed) states its last one only, which is then here, too.
    pub base_offset: i64,
    /// The last offset that the batch covers: above that of its last record where compaction removed later ones.
    pub last_offset: i64,
    /// Epoch of the leader that appended it; -1 where none is stated.
    pub leader_epoch: i32,
    /// The checksum: CRC-32C, of v0 and v1 CRC-32.
    pub crc: u32,
    /// Codec, timestamp type, transactional or not, control or not.
    pub attributes: Attributes,
    /// What timestamps are relative to: once the first record's, but a time of deletion after compaction. Never a lower bound.
    pub base_timestamp: i64,
    /// The largest timestamp, -1 where there is none.
    pub max_timestamp: i64,
    /// Who produced it.
    pub producer: Producer,
    /// Number of records; `None` of a message set, which does not say.
    pub record_count: Option<u32>,
}

impl BatchHeader {
    /// Parses the header of the batch that begins with `prefix`, of which [`HEADER_LENGTH`](super::HEADER_LENGTH) bytes are enough.
    ///
    /// # Errors
    ///
    /// *truncated* where `prefix` is too short, and the classes of [`frame_length`](super::frame_length).
    pub fn parse(prefix: &[u8], position: u64) -> Result<BatchHeader> {
        match super::frame_length(prefix, position)? {
            Some(_) => BatchHeader::read(prefix, position),
            None => Err(error(
                ErrorClass::Truncated,
                position,
                "no room for its length",
            )),
        }
    }

    /// Reads the header of a batch, whose length [`frame_length`](super::frame_length) has accepted.
    pub(super) fn read(bytes: &[u8], position: u64) -> Result<BatchHeader> {
        let short = || error(ErrorClass::Truncated, position, "no room for its header");
        let [magic] = field::<1>(bytes, at::MAGIC).ok_or_else(short)?;
        let read = match magic {
            2 => read_v2(bytes).ok_or_else(short)?,
            _ => read_message(bytes, magic).ok_or_else(short)?,
        };
        read.map_err(|detail| error(ErrorClass::Inconsistent, position, detail))
    }
}

/// `None` where bytes are missing; the text of what is wrong where they contradict each other.
fn read_v2(bytes: &[u8]) -> Option<std::result::Result<BatchHeader, String>> {
    let base_offset = i64_at(bytes, at::BASE_OFFSET)?;
    let delta = i32_at(bytes, at::LAST_OFFSET_DELTA)?;
    let count = i32_at(bytes, at::RECORD_COUNT)?;
    let last_offset = match base_offset.checked_add(i64::from(delta)) {
        // One past the last must be an offset, too.
        Some(last) if base_offset >= 0 && delta >= 0 && last < i64::MAX => last,
        _ => {
            return Some(Err(format!(
                "base offset {base_offset} and last offset delta {delta}"
            )));
        }
    };
    let record_count = match u32::try_from(count) {
        Ok(count) if i64::from(count) <= i64::from(delta) + 1 => count,
        _ => {
            return Some(Err(format!(
                "{count} records within a last offset delta of {delta}"
            )));
        }
    };
    Some(Ok(BatchHeader {
        magic: 2,
        base_offset,
        last_offset,
        leader_epoch: i32_at(bytes, at::LEADER_EPOCH)?,
        crc: field(bytes, at::CRC).map(u32::from_be_bytes)?,
        attributes: Attributes(field(bytes, at::ATTRIBUTES).map(i16::from_be_bytes)?),
        base_timestamp: i64_at(bytes, at::BASE_TIMESTAMP)?,
        max_timestamp: i64_at(bytes, at::MAX_TIMESTAMP)?,
        producer: Producer {
            id: i64_at(bytes, at::PRODUCER_ID)?,
            epoch: field(bytes, at::PRODUCER_EPOCH).map(i16::from_be_bytes)?,
            base_sequence: i32_at(bytes, at::BASE_SEQUENCE)?,
        },
        record_count: Some(record_count),
    }))
}

fn read_message(bytes: &[u8], magic: u8) -> Option<std::result::Result<BatchHeader, String>> {
    let offset = i64_at(bytes, at::BASE_OFFSET)?;
    if !(0..i64::MAX).contains(&offset) {
        return Some(Err(format!("offset {offset}")));
    }
    let [low] = field::<1>(bytes, message::ATTRIBUTES)?;
    // Only these bits had a meaning: the others are no transaction and no marker.
    let known = Attributes::CODEC
        | if magic == 1 {
            Attributes::LOG_APPEND_TIME
        } else {
            0
        };
    let attributes = Attributes(i16::from(low) & known);
    let timestamp = match magic {
        1 => i64_at(bytes, message::TIMESTAMP)?,
        _ => -1,
    };
    Some(Ok(BatchHeader {
        magic,
        base_offset: offset,
        last_offset: offset,
        leader_epoch: -1,
        crc: field(bytes, message::CRC).map(u32::from_be_bytes)?,
        attributes,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer: Producer::NONE,
        record_count: (attributes.codec() == Some(BatchCodec::None)).then_some(1),
    }))
}
