//! Records as the tests compare them: everything that Kafka keeps, owned.

/// A header: its name and its value, or null.
pub(crate) type Header = (Vec<u8>, Option<Vec<u8>>);

/// What a producer sends, and what must be the same after backup and restore.
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

/// Who set a record's timestamp, as the broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
}

/// A record of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    /// Its offset.
    pub(crate) offset: i64,
    /// Who set its timestamp.
    pub(crate) timestamp_type: TimestampType,
    /// All the rest.
    pub(crate) message: Message,
}

/// The records without their offsets, which a restore does not keep.
pub(crate) fn messages(records: Vec<OwnedRecord>) -> Vec<Message> {
    records.into_iter().map(|record| record.message).collect()
}
