//! Positions of fields, all big-endian.

use crate::layout::record_batch;

/// Bytes that say how long a batch is and of which format: offset, length, and up to the magic.
pub const PREFIX_LENGTH: usize = MAGIC + 1;
/// Bytes of the offset and the length, which the length does not count.
pub(super) const OVERHEAD: usize = record_batch::LEADER_EPOCH;
/// The first offset, of formats v0 and v1 the last one.
pub(super) const BASE_OFFSET: usize = record_batch::BASE_OFFSET;
/// Bytes after this field.
pub(super) const LENGTH: usize = record_batch::BATCH_LENGTH;
/// The format, in the same place since v0.
pub(super) const MAGIC: usize = record_batch::MAGIC;

/// Epoch of the leader that appended it.
pub(super) const LEADER_EPOCH: usize = record_batch::LEADER_EPOCH;
/// CRC-32C of everything from the attributes on.
pub(super) const CRC: usize = record_batch::CRC;
/// [`Attributes`](super::Attributes).
pub(super) const ATTRIBUTES: usize = record_batch::ATTRIBUTES;
/// The last offset less the first, records that compaction removed included.
pub(super) const LAST_OFFSET_DELTA: usize = record_batch::LAST_OFFSET_DELTA;
/// What the timestamps of records are relative to.
pub(super) const BASE_TIMESTAMP: usize = record_batch::BASE_TIMESTAMP;
/// The largest timestamp; with LogAppendTime the one of every record.
pub(super) const MAX_TIMESTAMP: usize = record_batch::MAX_TIMESTAMP;
/// Id of the producer.
pub(super) const PRODUCER_ID: usize = record_batch::PRODUCER_ID;
/// Epoch of the producer.
pub(super) const PRODUCER_EPOCH: usize = record_batch::PRODUCER_EPOCH;
/// Sequence number of the first record.
pub(super) const BASE_SEQUENCE: usize = record_batch::BASE_SEQUENCE;
/// Number of records.
pub(super) const RECORD_COUNT: usize = record_batch::RECORD_COUNT;
/// Bytes of the header of a batch of format v2.
pub const HEADER_LENGTH: usize = record_batch::LENGTH;

/// Formats v0 and v1.
pub(super) mod message {
    /// CRC-32 of everything from the magic on.
    pub(crate) const CRC: usize = 12;
    /// The low byte of [`Attributes`](super::super::Attributes).
    pub(crate) const ATTRIBUTES: usize = 17;
    /// The timestamp, of v1 only.
    pub(crate) const TIMESTAMP: usize = 18;
    /// Where the key's length is in v0.
    pub(crate) const KEY_V0: usize = 18;
    /// Where the key's length is in v1.
    pub(crate) const KEY_V1: usize = 26;
}

const _: () = {
    assert!(PREFIX_LENGTH == 17);
    assert!(HEADER_LENGTH == 61);
};

/// Returns the `N` bytes at `at`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Returns the `i32` at `at`.
pub(super) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    field(bytes, at).map(i32::from_be_bytes)
}

/// Returns the `i64` at `at`.
pub(super) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    field(bytes, at).map(i64::from_be_bytes)
}
