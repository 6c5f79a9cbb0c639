//! The writer over a cluster in memory: what a transaction that fails leaves, and what the offset map says, without a broker.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Hex, Id, Identity, Key, MapRun, ParentRef, PartitionChange, PartitionId, RateLimit,
    Repository, RestoreId, RestoreManifest, RestoredPartition, RestoredTopic, SegmentEntry,
    SegmentUpload, Store, TargetPartition, TopicChange,
};
use kbk_format::{
    FileHeader, GapReason, IsolationLevel, SegmentWriter, TimestampType, WriterOptions,
};
use kbk_tools::{Needs, ReadPlan, Selection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::records::TopicPartition;
use crate::records::memory::{CommitFailure, MemoryCluster, OwnedRecord};
use crate::restore::plan::{Facts, PartitionPlan, Target, TargetPartitionPlan, TopicPlan};
use crate::restore::write::offset_map::OffsetMap;
use crate::restore::write::producers::Producers;
use crate::restore::write::work::{Job, Route, Work};
use crate::restore::write::writer::{self, Shared, Writer};
use crate::run::Cancel;

const RECORDS: i64 = 300;

/// A repository with one partition of records at even offsets.
struct Backup {
    runtime: Runtime,
    repository: Repository,
    _folder: TempDir,
}

fn place() -> PartitionId {
    PartitionId {
        topic: "orders".parse().unwrap(),
        topic_id: Hex([7; 16]),
        partition: 0,
    }
}

fn record(number: i64) -> OwnedRecord {
    OwnedRecord {
        timestamp: 1_763_800_000_000 + number,
        key: (number % 3 != 0).then(|| number.to_be_bytes().to_vec()),
        value: (number % 5 != 0).then(|| vec![b'v'; 100]),
        headers: vec![(b"trace".to_vec(), None)],
    }
}

impl Backup {
    fn new() -> Backup {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let store = Store::open_or_create(folder.path().to_str().unwrap()).unwrap();
        let created = Repository::create(store, Identity::fresh());
        let repository = runtime.block_on(created).unwrap();
        let backup = Backup {
            runtime,
            repository,
            _folder: folder,
        };
        backup.commit(backup.segment());
        backup
    }

    fn segment(&self) -> SegmentEntry {
        let segment_id = Id::random();
        let upload = SegmentUpload::start(
            self.repository.store(),
            Key::segment(&place(), 0, &segment_id),
            self.runtime.handle().clone(),
            self.repository.store().profile().upload,
        );
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: place().topic_id.0,
            topic: place().topic.to_string(),
            partition: 0,
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: 0,
            cluster_id: None,
            writer: None,
            created_at: None,
        };
        let mut writer =
            SegmentWriter::new(upload.unwrap(), header, WriterOptions::default()).unwrap();
        for number in 0..RECORDS {
            record(number)
                .lend(2 * number, |record| writer.push(record))
                .unwrap();
        }
        let (upload, summary) = writer.seal(2 * RECORDS, GapReason::NotDelivered).unwrap();
        let uploaded = self.runtime.block_on(upload.complete()).unwrap();
        SegmentEntry::new(&place(), &summary, uploaded)
    }

    fn commit(&self, segment: SegmentEntry) {
        let partition = PartitionChange {
            partition: 0,
            log_start_offset: 0,
            high_watermark: 2 * RECORDS,
            last_stable_offset: 2 * RECORDS,
            segments: vec![segment],
            lost: Vec::new(),
        };
        let change = Change {
            base: None,
            nonce: Id::random(),
            started_at: Timestamp::now(),
            created_at: Timestamp::now(),
            writer: "test".to_owned(),
            cluster_id: None,
            topics: vec![TopicChange {
                name: place().topic,
                topic_id: place().topic_id,
                internal: false,
                replication_factor: 1,
                config: None,
                partitions: vec![partition],
            }],
            gone: Vec::new(),
            groups: None,
            acls: None,
        };
        self.runtime
            .block_on(self.repository.commit(&change))
            .unwrap();
    }

    fn plan(&self) -> TopicPlan {
        let snapshot = self.runtime.block_on(self.repository.latest()).unwrap();
        let snapshot = snapshot.unwrap().value;
        let state = snapshot.partition(&place()).unwrap();
        let read = ReadPlan::new(&self.repository, place(), state, Selection::all());
        let partition = PartitionPlan {
            partition: 0,
            target_partition: Some(0),
            base_offset: 0,
            end_offset: 2 * RECORDS,
            records: RECORDS.cast_unsigned(),
            records_exact: true,
            segments: 1,
            stored_bytes: 0,
            raw_bytes: 0,
            blocks: 1,
            read_bytes: 0,
            facts: Facts::default(),
            needs: Needs::default(),
            read: self.runtime.block_on(read).unwrap(),
        };
        TopicPlan {
            source: "orders".to_owned(),
            source_topic_id: place().topic_id,
            source_partitions: 1,
            target: "copy".to_owned(),
            action: Target::Existing,
            purge: false,
            config_afterwards: BTreeMap::new(),
            retention_stays_off: false,
            max_message_bytes: None,
            targets: vec![TargetPartitionPlan {
                partition: 0,
                offset: 0,
                purged_records: 0,
            }],
            partitions: vec![partition],
        }
    }

    fn manifest(&self, plan: &TopicPlan, producers: usize) -> RestoreManifest {
        let snapshot = self.runtime.block_on(self.repository.latest()).unwrap();
        let snapshot = snapshot.unwrap();
        RestoreManifest {
            restore: RestoreId::fresh(Timestamp::now()),
            repository_id: self.repository.identity().repository_id,
            started_at: Timestamp::now(),
            writer: "test".to_owned(),
            snapshot: ParentRef {
                sequence: snapshot.value.sequence,
                sha256: snapshot.sha256,
            },
            cluster_id: None,
            min_timestamp: i64::MIN,
            max_timestamp: i64::MAX,
            producers,
            rate_limit: RateLimit::default(),
            topics: vec![RestoredTopic {
                topic: place().topic,
                topic_id: place().topic_id,
                target: plan.target.parse().unwrap(),
                purge: false,
                create: None,
                targets: vec![TargetPartition {
                    partition: 0,
                    offset: 0,
                }],
                partitions: vec![RestoredPartition {
                    partition: 0,
                    base_offset: 0,
                    end_offset: 2 * RECORDS,
                    target_partition: Some(0),
                }],
            }],
        }
    }

    /// Restores the partition with one writer; returns the runs of its offset map.
    fn restore(&self, cluster: &MemoryCluster, producers: usize) -> Vec<MapRun> {
        let plan = self.plan();
        let restore = self.manifest(&plan, producers);
        let work = Work::new(std::slice::from_ref(&plan));
        let opener = Producers {
            work: &work,
            restore: &restore,
            transport: cluster,
        };
        let cancel = Cancel::default();
        let shared = Shared {
            work: &work,
            repository: &self.repository,
            restore: &restore,
            keep_map: true,
            throttle: None,
            cancel: &cancel,
            runtime: self.runtime.handle(),
        };
        let committed_at = restore.progress(&restore.topics[0], 0);
        work.put_back(Job {
            number: 0,
            route: Route::One(0),
            committed_at: committed_at.clone(),
            plan: plan.partitions[0].clone(),
            events: None,
            position: 0,
            sent: 0,
            uncommitted: 0,
            runs: Vec::new(),
            finished: false,
            map: OffsetMap::empty(restore.restore.clone(), place()),
        });
        let sink = opener.replace(0).unwrap();
        Writer::new(&shared, &opener, 0, sink).run().unwrap();
        let done = work.into_done();
        let page = done[0].page.expect("the map has a page");
        if producers > 0 {
            let position = cluster.committed(&committed_at.group, &target());
            let position = position.expect("the position is committed");
            assert_eq!(position.offset, 2 * RECORDS);
            assert_eq!(writer::page_of(&position), Some(page));
        }
        let place = place();
        let page = self.repository.map_page(&restore.restore, &place, &page);
        self.runtime.block_on(page).unwrap().value.runs
    }
}

fn target() -> TopicPartition {
    TopicPartition::new("copy", 0)
}

/// Checks that the cluster holds every record once, in order, where the offset map says.
fn assert_restored(cluster: &MemoryCluster, runs: &[MapRun]) {
    let restored = cluster.records(&target());
    let records: Vec<_> = restored.iter().map(|(_, record)| record.clone()).collect();
    let expected: Vec<_> = (0..RECORDS).map(record).collect();
    assert_eq!(records, expected);
    let mapped = runs.iter().flat_map(|run| {
        let records = run.records.cast_signed();
        (0..records).map(|index| (run.source_offset + index, run.target_offset + index))
    });
    let expected = (0..)
        .step_by(2)
        .zip(restored.iter().map(|(offset, _)| *offset));
    assert!(mapped.eq(expected), "{runs:?}");
}

#[test]
fn records_are_restored_without_transactions() {
    let (backup, cluster) = (Backup::new(), MemoryCluster::default());
    let runs = backup.restore(&cluster, 0);
    assert_restored(&cluster, &runs);
}

#[test]
fn failed_transactions_are_repeated_and_leave_nothing_behind() {
    let (backup, cluster) = (Backup::new(), MemoryCluster::default());
    cluster.fail_commits([CommitFailure::Again, CommitFailure::Lost]);
    let runs = backup.restore(&cluster, 1);
    assert_restored(&cluster, &runs);
    let first = runs.first().expect("a run").target_offset;
    assert_eq!(
        first,
        2 * (RECORDS + 1),
        "two aborted transactions with their markers precede the records"
    );
    assert_eq!(cluster.sinks_opened(), 2, "the lost sink was replaced once");
}
