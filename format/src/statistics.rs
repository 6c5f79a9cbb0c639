//! Statistics over records (SPEC 2.5): of a block, and merged in order, of a segment.

use crate::columns::Columns;
use crate::digest::Digests;
use crate::error::{ErrorClass, Result};
use crate::layout::statistics as at;
use crate::record::TimestampType;
use crate::wire::{FieldReader, put};

/// What is stated of the records of a block or a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// First offset covered.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered.
    pub end_offset: i64,
    /// Number of records.
    pub record_count: u64,
    /// Control records.
    pub control_count: u64,
    /// Largest timestamp, `i64::MIN` where there is no record. Where the numbers of the records were not computed, it is only a bound: no
    /// timestamp is above it.
    pub max_timestamp: i64,
    /// Raw bytes of all streams.
    pub raw_bytes: u64,
    /// What only decoding the records tells; `None` where it was not computed (SPEC 2.11), and then none of it is known.
    pub computed: Option<RecordStatistics>,
}

/// Sums, extremes and digests over records, which are decoded to compute them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordStatistics {
    /// Offset of the first record; -1 where there is none.
    pub first_offset: i64,
    /// Offset of the last record; -1 where there is none.
    pub last_offset: i64,
    /// Smallest timestamp; `i64::MAX` where there is no record.
    pub min_timestamp: i64,
    /// Smallest timestamp but -1; `i64::MAX` where no record has one.
    pub min_known_timestamp: i64,
    /// Records with a null value.
    pub tombstone_count: u64,
    /// Records with timestamp -1.
    pub no_timestamp_count: u64,
    /// Records with timestamp 0, which some Kafka clients cannot produce.
    pub zero_timestamp_count: u64,
    /// Records with a null key, which a compacted topic rejects.
    pub null_key_count: u64,
    /// Number of headers.
    pub header_count: u64,
    /// Bytes of keys.
    pub key_bytes: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// Bytes of header names and values.
    pub header_bytes: u64,
    /// Largest sum of one record's key, value, header names and values.
    pub max_record_bytes: u64,
    /// The most by which a timestamp lags the largest one before it; 0 if they are in order.
    pub max_lateness_ms: u64,
    /// Digests over the records.
    pub digests: Digests,
}

impl RecordStatistics {
    /// The statistics of no records. They are also what is stored where none were computed.
    pub const NONE: RecordStatistics = RecordStatistics {
        first_offset: -1,
        last_offset: -1,
        min_timestamp: i64::MAX,
        min_known_timestamp: i64::MAX,
        tombstone_count: 0,
        no_timestamp_count: 0,
        zero_timestamp_count: 0,
        null_key_count: 0,
        header_count: 0,
        key_bytes: 0,
        value_bytes: 0,
        header_bytes: 0,
        max_record_bytes: 0,
        max_lateness_ms: 0,
        digests: Digests {
            content: 0,
            restore: 0,
        },
    };

    fn of(columns: &Columns, timestamp_type: TimestampType) -> RecordStatistics {
        let mut digests = Digests::default();
        let mut max_record_bytes = 0;
        for record in columns.iter() {
            digests.add(Digests::of(&record, timestamp_type));
            max_record_bytes = max_record_bytes.max(crate::columns::RecordSize::of(&record).bytes);
        }
        RecordStatistics {
            first_offset: columns.offsets.first().copied().unwrap_or(-1),
            last_offset: columns.offsets.last().copied().unwrap_or(-1),
            min_timestamp: columns.time_bounds().0,
            min_known_timestamp: columns.min_known_timestamp(),
            tombstone_count: count(&columns.values.codes, 0),
            no_timestamp_count: count(&columns.timestamps, -1),
            zero_timestamp_count: count(&columns.timestamps, 0),
            null_key_count: count(&columns.keys.codes, 0),
            header_count: columns.headers.entries.len() as u64,
            key_bytes: columns.keys.bytes.len() as u64,
            value_bytes: columns.values.bytes.len() as u64,
            header_bytes: columns.headers.bytes.len() as u64,
            max_record_bytes: max_record_bytes as u64,
            max_lateness_ms: max_lateness_ms(&columns.timestamps),
            digests,
        }
    }

    /// Adds those of the records that directly follow these, which have timestamps up to `max_timestamp`.
    fn append(&mut self, max_timestamp: i64, next: &RecordStatistics) {
        // Across the boundary, the minimum of `next` lags the maximum of this side the most. Without records that is `i64::MIN`, and a minimum
        // `i64::MAX`.
        let across = lateness_ms(max_timestamp, next.min_timestamp);
        let lateness = self.max_lateness_ms.max(next.max_lateness_ms);
        self.max_lateness_ms = lateness.max(across);
        if self.first_offset < 0 {
            self.first_offset = next.first_offset;
        }
        self.last_offset = self.last_offset.max(next.last_offset);
        self.min_timestamp = self.min_timestamp.min(next.min_timestamp);
        self.min_known_timestamp = self.min_known_timestamp.min(next.min_known_timestamp);
        self.tombstone_count += next.tombstone_count;
        self.no_timestamp_count += next.no_timestamp_count;
        self.zero_timestamp_count += next.zero_timestamp_count;
        self.null_key_count += next.null_key_count;
        self.header_count += next.header_count;
        self.key_bytes += next.key_bytes;
        self.value_bytes += next.value_bytes;
        self.header_bytes += next.header_bytes;
        self.max_record_bytes = self.max_record_bytes.max(next.max_record_bytes);
        self.digests.add(next.digests);
    }
}

impl Statistics {
    /// Returns the statistics of no records, with an empty coverage at `base_offset`.
    #[must_use]
    pub fn empty(base_offset: i64) -> Statistics {
        Statistics {
            base_offset,
            end_offset: base_offset,
            record_count: 0,
            control_count: 0,
            max_timestamp: i64::MIN,
            raw_bytes: 0,
            computed: Some(RecordStatistics::NONE),
        }
    }

    /// Computes the statistics of a block's records; `raw_bytes` is the sum of its streams' raw lengths.
    #[must_use]
    pub fn of_block(
        columns: &Columns,
        timestamp_type: TimestampType,
        base_offset: i64,
        end_offset: i64,
        raw_bytes: u64,
    ) -> Statistics {
        Statistics {
            base_offset,
            end_offset,
            record_count: columns.len() as u64,
            control_count: count(&columns.controls, true),
            max_timestamp: columns.time_bounds().1,
            raw_bytes,
            computed: Some(RecordStatistics::of(columns, timestamp_type)),
        }
    }

    /// Adds the statistics of the records that directly follow these. Where one of both was not computed, the sums are not.
    pub fn append(&mut self, next: &Statistics) {
        debug_assert_eq!(self.end_offset, next.base_offset);
        self.computed = match (self.computed.take(), &next.computed) {
            (Some(mut computed), Some(next)) => {
                computed.append(self.max_timestamp, next);
                Some(computed)
            }
            _ => None,
        };
        self.end_offset = next.end_offset;
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
        self.record_count += next.record_count;
        self.control_count += next.control_count;
        self.raw_bytes += next.raw_bytes;
    }

    /// Returns the digests over the records; `None` where they were not computed.
    #[must_use]
    pub fn digests(&self) -> Option<Digests> {
        self.computed.as_ref().map(|computed| computed.digests)
    }

    /// Returns the number of covered offsets without a record.
    #[must_use]
    pub fn missing_count(&self) -> u64 {
        self.end_offset
            .abs_diff(self.base_offset)
            .saturating_sub(self.record_count)
    }

    pub(crate) fn encode(&self) -> [u8; at::LENGTH] {
        let computed = self.computed.as_ref().unwrap_or(&RecordStatistics::NONE);
        let mut bytes = [0; at::LENGTH];
        for (position, value) in [
            (at::BASE_OFFSET, self.base_offset),
            (at::END_OFFSET, self.end_offset),
            (at::FIRST_OFFSET, computed.first_offset),
            (at::LAST_OFFSET, computed.last_offset),
            (at::MIN_TIMESTAMP, computed.min_timestamp),
            (at::MAX_TIMESTAMP, self.max_timestamp),
            (at::MIN_KNOWN_TIMESTAMP, computed.min_known_timestamp),
        ] {
            put(&mut bytes, position, &value.to_le_bytes());
        }
        for (position, value) in [
            (at::RECORD_COUNT, self.record_count),
            (at::TOMBSTONE_COUNT, computed.tombstone_count),
            (at::CONTROL_COUNT, self.control_count),
            (at::NO_TIMESTAMP_COUNT, computed.no_timestamp_count),
            (at::ZERO_TIMESTAMP_COUNT, computed.zero_timestamp_count),
            (at::NULL_KEY_COUNT, computed.null_key_count),
            (at::HEADER_COUNT, computed.header_count),
            (at::KEY_BYTES, computed.key_bytes),
            (at::VALUE_BYTES, computed.value_bytes),
            (at::HEADER_BYTES, computed.header_bytes),
            (at::MAX_RECORD_BYTES, computed.max_record_bytes),
            (at::MAX_LATENESS_MS, computed.max_lateness_ms),
            (at::RAW_BYTES, self.raw_bytes),
        ] {
            put(&mut bytes, position, &value.to_le_bytes());
        }
        let Digests { content, restore } = computed.digests;
        put(&mut bytes, at::CONTENT_DIGEST, &content.to_le_bytes());
        put(&mut bytes, at::RESTORE_DIGEST, &restore.to_le_bytes());
        bytes
    }

    /// Decodes the statistics of a segment, which were computed or not, as its header says.
    pub(crate) fn decode(payload: &[u8], position: u64, is_computed: bool) -> Result<Statistics> {
        let view = FieldReader::new("section statistics", position, payload, at::LENGTH)?;
        let computed = RecordStatistics {
            first_offset: view.i64(at::FIRST_OFFSET)?,
            last_offset: view.i64(at::LAST_OFFSET)?,
            min_timestamp: view.i64(at::MIN_TIMESTAMP)?,
            min_known_timestamp: view.i64(at::MIN_KNOWN_TIMESTAMP)?,
            tombstone_count: view.u64(at::TOMBSTONE_COUNT)?,
            no_timestamp_count: view.u64(at::NO_TIMESTAMP_COUNT)?,
            zero_timestamp_count: view.u64(at::ZERO_TIMESTAMP_COUNT)?,
            null_key_count: view.u64(at::NULL_KEY_COUNT)?,
            header_count: view.u64(at::HEADER_COUNT)?,
            key_bytes: view.u64(at::KEY_BYTES)?,
            value_bytes: view.u64(at::VALUE_BYTES)?,
            header_bytes: view.u64(at::HEADER_BYTES)?,
            max_record_bytes: view.u64(at::MAX_RECORD_BYTES)?,
            max_lateness_ms: view.u64(at::MAX_LATENESS_MS)?,
            digests: Digests {
                content: view.u128(at::CONTENT_DIGEST)?,
                restore: view.u128(at::RESTORE_DIGEST)?,
            },
        };
        view.ensure(
            is_computed || computed == RecordStatistics::NONE,
            ErrorClass::Inconsistent,
            || "it states numbers that its features call not computed".to_owned(),
        )?;
        Ok(Statistics {
            base_offset: view.i64(at::BASE_OFFSET)?,
            end_offset: view.i64(at::END_OFFSET)?,
            record_count: view.u64(at::RECORD_COUNT)?,
            control_count: view.u64(at::CONTROL_COUNT)?,
            max_timestamp: view.i64(at::MAX_TIMESTAMP)?,
            raw_bytes: view.u64(at::RAW_BYTES)?,
            computed: is_computed.then_some(computed),
        })
    }
}

fn count<T: PartialEq>(values: &[T], wanted: T) -> u64 {
    values.iter().filter(|value| **value == wanted).count() as u64
}

/// Returns by how much `timestamp` lags `latest`, at least 0.
fn lateness_ms(latest: i64, timestamp: i64) -> u64 {
    if timestamp < latest {
        latest.abs_diff(timestamp)
    } else {
        0
    }
}

fn max_lateness_ms(timestamps: &[i64]) -> u64 {
    let mut latest = i64::MIN;
    let mut max = 0;
    for timestamp in timestamps {
        max = max.max(lateness_ms(latest, *timestamp));
        latest = latest.max(*timestamp);
    }
    max
}
