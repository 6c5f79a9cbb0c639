//! The mounted repository: one partition in segments as large as those of a backup.

use std::path::Path;

use kbk_format::repo::{
    Change, Id, Identity, Key, PartitionChange, PartitionId, Repository, SegmentEntry,
    SegmentUpload, Store, TopicChange,
};
use kbk_format::{GapReason, SegmentWriter, WriterOptions};
use tokio::runtime::Runtime;

use crate::samples::{Payload, Row, header, rows};

/// The name of the topic.
pub(crate) const TOPIC: &str = "measured";
/// The path of its records in a mount.
pub(crate) const RECORDS: &str = "latest/topics/measured/0/records.jsonl";

/// Raw bytes per segment, about 128 MiB stored.
const SEGMENT_BYTES: u64 = 256 << 20;
/// The number of distinct records: together they exceed the window of every compressor.
const DISTINCT: usize = 8 * 1024;

/// Creates the repository with `bytes` of keys, headers and values.
pub(crate) fn make(folder: &Path, bytes: u64) {
    let runtime = Runtime::new().expect("a runtime");
    let store = Store::open_or_create(folder.to_str().expect("UTF-8")).expect("a folder");
    let made = Repository::create(store.clone(), Identity::fresh());
    let repository = runtime.block_on(made).expect("a repository");
    let partition = PartitionId {
        topic: TOPIC.parse().expect("a name"),
        topic_id: Id::ZERO,
        partition: 0,
    };
    let rows = rows(Payload::Json, DISTINCT);
    let mut segments: Vec<SegmentEntry> = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let base = segments.last().map_or(0, |entry| entry.end_offset);
        let (entry, written) = segment(
            &store,
            &runtime,
            &partition,
            base,
            &rows,
            left.min(SEGMENT_BYTES),
        );
        segments.push(entry);
        left = left.saturating_sub(written);
    }
    let end = segments.last().map_or(0, |entry| entry.end_offset);
    let change = Change {
        base: None,
        nonce: Id::random(),
        started_at: jiff::Timestamp::now(),
        created_at: jiff::Timestamp::now(),
        writer: "bench".to_owned(),
        cluster_id: None,
        topics: vec![TopicChange {
            name: partition.topic.clone(),
            topic_id: partition.topic_id,
            internal: false,
            replication_factor: 1,
            config: None,
            partitions: vec![PartitionChange {
                partition: 0,
                log_start_offset: 0,
                high_watermark: end,
                last_stable_offset: end,
                segments,
                lost: Vec::new(),
            }],
        }],
        gone: Vec::new(),
        groups: None,
        acls: None,
    };
    runtime
        .block_on(repository.commit(&change))
        .expect("committed");
}

/// Writes a segment of at least `bytes`, and returns it with its actual size.
fn segment(
    store: &Store,
    runtime: &Runtime,
    partition: &PartitionId,
    base_offset: i64,
    rows: &[Row],
    bytes: u64,
) -> (SegmentEntry, u64) {
    let segment_id = Id::random();
    let mut header = header();
    header.segment_id = segment_id.0;
    header.base_offset = base_offset;
    let key = Key::segment(partition, base_offset, &segment_id);
    let upload = SegmentUpload::start(store, key, runtime.handle().clone(), store.profile().upload);
    let upload = upload.expect("the upload begins");
    let mut writer =
        SegmentWriter::new(upload, header, WriterOptions::default()).expect("a header");
    let (mut written, mut offset) = (0, base_offset);
    for row in rows.iter().cycle() {
        if written >= bytes {
            break;
        }
        row.with(offset, |record| writer.push(record))
            .expect("in order");
        written += row.bytes();
        offset += 1;
    }
    let (upload, sealed) = writer
        .seal(offset, GapReason::NotDelivered)
        .expect("sealed");
    let uploaded = runtime.block_on(upload.complete()).expect("durable");
    let entry = SegmentEntry::new(partition, &sealed, uploaded);
    (entry, written)
}
