//! Control records: what Kafka itself writes into a log.

use super::layout::field;
use crate::record::Record;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The transaction of the batch's producer is aborted: its records since the marker before are not to be shown.
    Abort,
    /// The transaction of the batch's producer is committed.
    Commit,
    /// Any other, such as those of KRaft, by its number.
    Other(i16),
}

impl ControlRecord {
    /// Reads the key of a record of a control batch: a version, which may be any since fields are only ever appended, and a type.
    /// `None` where it is none.
    #[must_use]
    pub fn read(record: &Record<'_>) -> Option<ControlRecord> {
        match i16::from_be_bytes(field(record.key?, 2)?) {
            0 => Some(ControlRecord::Abort),
            1 => Some(ControlRecord::Commit),
            other => Some(ControlRecord::Other(other)),
        }
    }
}
