//! Records as the tests compare them: owned copies of everything that Kafka stores.

/// A header: its name and its value, or null.
pub(crate) type Header = (Vec<u8>, Option<Vec<u8>>);

/// The part of a record that a producer sends, and that backup and restore must preserve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// The key, or null.
    pub(crate) key: Option<Vec<u8>>,
    /// The value, or null.
    pub(crate) value: Option<Vec<u8>>,
    /// The headers in their order.
    pub(crate) headers: Vec<Header>,
}

/// The timestamp type of a record, as reported by the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker.
    LogAppendTime,
}

/// A record of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    /// Its offset.
    pub(crate) offset: i64,
    /// Its timestamp type.
    pub(crate) timestamp_type: TimestampType,
    /// Everything else.
    pub(crate) message: Message,
}

/// Drops the offsets, which a restore does not keep.
pub(crate) fn messages(records: Vec<OwnedRecord>) -> Vec<Message> {
    records.into_iter().map(|record| record.message).collect()
}
