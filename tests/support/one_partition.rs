//! A repository with one topic of one partition, written without a cluster. Shared by the tests against a broker and the mount
//! bench.

use std::path::Path;

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Id, Identity, Key, PartitionId, Repository, SegmentEntry, SegmentUpload, Store,
};
use kbk_format::{
    FileHeader, GapReason, IsolationLevel, SegmentWriter, TimestampType, WriterOptions,
};
use tokio::runtime::Runtime;

use super::change::{change, partition_change, topic_change};

/// The repository and its only partition.
pub(crate) struct OnePartition {
    runtime: Runtime,
    store: Store,
    repository: Repository,
    partition: PartitionId,
}

impl OnePartition {
    /// Creates the repository in a folder.
    pub(crate) fn create(folder: &Path, topic: &str) -> OnePartition {
        let runtime = Runtime::new().expect("a runtime");
        let store = Store::open_or_create(folder.to_str().expect("UTF-8")).expect("a folder");
        let created = Repository::create(store.clone(), Identity::fresh());
        let repository = runtime.block_on(created).expect("a repository");
        let partition = PartitionId {
            topic: topic.parse().expect("a valid topic name"),
            topic_id: Id::random(),
            partition: 0.into(),
        };
        OnePartition {
            runtime,
            store,
            repository,
            partition,
        }
    }

    /// Writes a segment that starts at `base_offset`. `push` writes its records and returns the exclusive end offset.
    pub(crate) fn segment(
        &self,
        base_offset: i64,
        push: impl FnOnce(&mut SegmentWriter<SegmentUpload>) -> i64,
    ) -> SegmentEntry {
        self.segment_of(TimestampType::CreateTime, base_offset, push)
    }

    /// Writes a segment whose records have timestamps of this type.
    pub(crate) fn segment_of(
        &self,
        timestamp_type: TimestampType,
        base_offset: i64,
        push: impl FnOnce(&mut SegmentWriter<SegmentUpload>) -> i64,
    ) -> SegmentEntry {
        let segment_id = Id::random();
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: self.partition.topic_id.0,
            topic: self.partition.topic.to_string(),
            partition: 0.into(),
            timestamp_type,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let key = Key::segment(&self.partition, base_offset, &segment_id);
        let buffers = self.store.profile().upload;
        let upload = SegmentUpload::start(&self.store, key, self.runtime.handle().clone(), buffers)
            .expect("the upload starts");
        let mut writer =
            SegmentWriter::new(upload, header, WriterOptions::default()).expect("a header");
        let end_offset = push(&mut writer);
        let (upload, summary) = writer
            .seal(end_offset, GapReason::NotDelivered)
            .expect("sealed");
        let uploaded = self.runtime.block_on(upload.complete()).expect("durable");
        SegmentEntry::new(&self.partition, &summary, uploaded)
    }

    /// Commits a snapshot with these segments.
    pub(crate) fn commit(&self, segments: Vec<SegmentEntry>) {
        let end_offset = segments.last().map_or(0, |entry| entry.end_offset);
        let partition = partition_change(0.into(), end_offset, segments);
        let change = Change {
            started_at: Timestamp::now(),
            created_at: Timestamp::now(),
            ..change(None, vec![topic_change(&self.partition, vec![partition])])
        };
        self.runtime
            .block_on(self.repository.commit(&change))
            .expect("committed");
    }
}
