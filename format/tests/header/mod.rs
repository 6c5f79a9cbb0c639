//! The file header of a test segment.

use kbk_format::{FileHeader, IsolationLevel, TimestampType};

/// Returns a file header whose segment id repeats `salt`.
pub(crate) fn header(salt: u8, base_offset: i64) -> FileHeader {
    FileHeader {
        segment_id: [salt; 16],
        topic_id: [2; 16],
        topic: "orders".to_owned(),
        partition: 3.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadUncommitted,
        base_offset,
        cluster_id: Some("a cluster".to_owned()),
        writer: None,
        created_at: Some(1_763_800_000_000),
        compression: None,
    }
}
