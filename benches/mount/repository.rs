//! The mounted repository: one partition in segments as large as those of a backup.

use std::path::Path;

use crate::one_partition::OnePartition;
use crate::samples::{Payload, rows};

/// The name of the topic.
pub(crate) const TOPIC: &str = "measured";
/// The path of its records in a mount.
pub(crate) const RECORDS: &str = "latest/topics/measured/0/records.jsonl";

/// The path of the folder with its Kafka log in a mount.
pub(crate) const LOG_FOLDER: &str = "latest/topics/measured/0/log";

/// Raw bytes per segment, about 128 MiB stored.
const SEGMENT_BYTES: u64 = 256 << 20;
/// The number of distinct records: together they exceed the window of every compressor.
const DISTINCT: usize = 8 * 1024;

/// Creates the repository with `bytes` of keys, headers and values.
pub(crate) fn make(folder: &Path, bytes: u64) {
    let repository = OnePartition::create(folder, TOPIC);
    let rows = rows(Payload::Json, DISTINCT);
    let mut segments = Vec::new();
    let (mut left, mut offset) = (bytes, 0);
    while left > 0 {
        let wanted = left.min(SEGMENT_BYTES);
        let mut written = 0;
        segments.push(repository.segment(offset, |writer| {
            for row in rows.iter().cycle() {
                if written >= wanted {
                    break;
                }
                row.with(offset, |record| writer.push(record))
                    .expect("in order");
                written += row.bytes();
                offset += 1;
            }
            offset
        }));
        left = left.saturating_sub(written);
    }
    repository.commit(segments);
}
