//! A backup written without a cluster: more records, with more gaps, than a test has time to produce.

use std::io::Write as _;

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Id, Identity, Key, PartitionChange, PartitionId, Repository, SegmentEntry,
    SegmentUpload, Store, TopicChange,
};
use kbk_format::{
    FileHeader, GapReason, Headers, IsolationLevel, Record, SegmentWriter, TimestampType,
    WriterOptions,
};
use tokio::runtime::Runtime;

use super::repo::Repo;
use super::samples;

/// Creates a repository with one topic of one partition: a record of a few bytes at each of the offsets.
pub(crate) fn make(repo: &Repo, topic: &str, offsets: impl Iterator<Item = i64>, end_offset: i64) {
    let runtime = Runtime::new().expect("a runtime");
    let location = repo.path();
    let store = Store::open_or_create(location.to_str().expect("UTF-8")).expect("a folder");
    let made = Repository::create(store.clone(), Identity::fresh());
    let repository = runtime.block_on(made).expect("a repository");
    let place = PartitionId {
        topic: topic.parse().expect("a topic's name"),
        topic_id: Id::random(),
        partition: 0,
    };
    let segment = segment(&store, &runtime, &place, offsets, end_offset);
    let change = Change {
        base: None,
        nonce: Id::random(),
        started_at: Timestamp::now(),
        created_at: Timestamp::now(),
        writer: "test".to_owned(),
        cluster_id: None,
        topics: vec![TopicChange {
            name: place.topic.clone(),
            topic_id: place.topic_id,
            internal: false,
            replication_factor: 1,
            config: None,
            partitions: vec![PartitionChange {
                partition: 0,
                log_start_offset: 0,
                high_watermark: end_offset,
                last_stable_offset: end_offset,
                segments: vec![segment],
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

fn segment(
    store: &Store,
    runtime: &Runtime,
    place: &PartitionId,
    offsets: impl Iterator<Item = i64>,
    end_offset: i64,
) -> SegmentEntry {
    let segment_id = Id::random();
    let header = FileHeader {
        segment_id: segment_id.0,
        topic_id: place.topic_id.0,
        topic: place.topic.to_string(),
        partition: 0,
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
    };
    let key = Key::segment(place, 0, &segment_id);
    let buffers = store.profile().upload;
    let upload = SegmentUpload::start(store, key, runtime.handle().clone(), buffers);
    let upload = upload.expect("the upload begins");
    let options = WriterOptions::default();
    let mut writer = SegmentWriter::new(upload, header, options).expect("a header");
    let now = samples::now_ms();
    let mut value = Vec::new();
    for offset in offsets {
        value.clear();
        write!(value, "{offset}").expect("a vector takes everything");
        let record = Record {
            offset,
            timestamp: now,
            control: false,
            key: None,
            value: Some(&value),
            headers: Headers::Slice(&[]),
        };
        writer.push(&record).expect("in order");
    }
    let (upload, sealed) = writer
        .seal(end_offset, GapReason::NotDelivered)
        .expect("sealed");
    let uploaded = runtime.block_on(upload.complete()).expect("durable");
    SegmentEntry::new(place, &sealed, uploaded)
}
