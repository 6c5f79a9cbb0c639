//! The writer over a cluster in memory: what a transaction that fails leaves, and what the offset map says, without a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    Hex, Id, Identity, Key, MapRun, ParentRef, PartitionId, RateLimit, Repository, RestoreId,
    RestoreManifest, RestoredPartition, RestoredTopic, SegmentEntry, SegmentUpload, Store,
    TargetPartition, TopicName,
};
use kbk_format::{
    FileHeader, GapReason, IsolationLevel, SegmentWriter, TimestampType, WriterOptions,
};
use kbk_tools::Selection;
use kbk_tools::list::Completeness;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::records::memory::{CommitFailure, MemoryCluster, OwnedRecord};
use crate::records::{BatchCodec, ClientChoice, StopRequest, TopicPartition};
use crate::restore::context::RestoreContext;
use crate::restore::error::RestoreError;
use crate::restore::plan::codec::TargetCodec;
use crate::restore::plan::reading::PartitionReading;
use crate::restore::plan::restore_plan::{RestorePlan, TopicDetails, committed_at};
use crate::restore::plan::selection::RecordSelection;
use crate::restore::plan::whole_segments::BatchRules;
use crate::restore::write::halt::Halt;
use crate::restore::write::offset_map::OffsetMap;
use crate::restore::write::producers::Producers;
use crate::restore::write::takeover::Run;
use crate::restore::write::work::{Job, Route, Work};
use crate::restore::write::writer::{self, Shared, Writer};
use crate::run::{Cancel, Events, Retry, RunEvents, Stage, Totals};
use crate::select::DropHeaders;
use crate::testing::change::{change, partition_change, topic_change};

const RECORDS: i64 = 300;

/// A repository with one partition of records at even offsets.
struct Backup {
    runtime: Runtime,
    repository: Repository,
    records: i64,
    heard: Arc<Heard>,
    _folder: TempDir,
}

/// The stages that a restore has reported, and what it has tried again.
#[derive(Default)]
struct Heard(Mutex<(BTreeSet<Stage>, Vec<Retry>)>);

impl Events for Heard {
    fn took(&self, stage: Stage, _: Duration) {
        self.0.lock().unwrap().0.insert(stage);
    }

    fn retried(&self, what: Retry) {
        self.0.lock().unwrap().1.push(what);
    }
}

fn partition_id() -> PartitionId {
    PartitionId {
        topic: "orders".parse().unwrap(),
        topic_id: Hex([7; 16]),
        partition: 0.into(),
    }
}

fn record(number: i64) -> OwnedRecord {
    record_with_header(number, None)
}

fn record_with_header(number: i64, header: Option<Vec<u8>>) -> OwnedRecord {
    OwnedRecord {
        timestamp: 1_763_800_000_000 + number,
        key: (number % 3 != 0).then(|| number.to_be_bytes().to_vec()),
        value: (number % 5 != 0).then(|| vec![b'v'; 100]),
        headers: vec![(b"trace".to_vec(), header)],
    }
}

/// The only partition of a plan, of which nothing is written.
fn job(plan: &RestorePlan) -> Job {
    let restore = &plan.manifest;
    let topic = plan.topics().next().unwrap();
    let partition = topic.partitions().next().unwrap();
    Job {
        number: 0,
        route: Route::One(0),
        committed_at: committed_at(restore, &restore.topics[0], 0),
        restored: restore.topics[0].partitions[0],
        reading: partition.reading.clone(),
        events: None,
        begun: None,
        position: 0,
        sent: 0,
        uncommitted: 0,
        uncommitted_bytes: 0,
        runs: Vec::new(),
        finished: false,
        map: OffsetMap::empty(restore.restore.clone(), partition_id()),
    }
}

impl Backup {
    fn new() -> Backup {
        Backup::with(RECORDS, record)
    }

    fn with(records: i64, record: impl Fn(i64) -> OwnedRecord) -> Backup {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let store = Store::open_or_create(folder.path().to_str().unwrap()).unwrap();
        let created = Repository::create(store, Identity::fresh());
        let repository = runtime.block_on(created).unwrap();
        let backup = Backup {
            runtime,
            repository,
            records,
            heard: Arc::default(),
            _folder: folder,
        };
        backup.commit(backup.segment(record));
        backup
    }

    fn segment(&self, record: impl Fn(i64) -> OwnedRecord) -> SegmentEntry {
        let segment_id = Id::random();
        let upload = SegmentUpload::start(
            self.repository.store(),
            Key::segment(&partition_id(), 0, &segment_id),
            self.runtime.handle().clone(),
            self.repository.store().profile().upload,
        );
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: partition_id().topic_id.0,
            topic: partition_id().topic.to_string(),
            partition: 0.into(),
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: 0,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let mut writer =
            SegmentWriter::new(upload.unwrap(), header, WriterOptions::default()).unwrap();
        for number in 0..self.records {
            record(number)
                .lend(2 * number, |record| writer.push(record))
                .unwrap();
        }
        let (upload, summary) = writer
            .seal(2 * self.records, GapReason::NotDelivered)
            .unwrap();
        let uploaded = self.runtime.block_on(upload.complete()).unwrap();
        SegmentEntry::new(&partition_id(), &summary, uploaded)
    }

    fn commit(&self, segment: SegmentEntry) {
        let partition = partition_change(0.into(), 2 * self.records, vec![segment]);
        let topic = topic_change(&partition_id(), vec![partition]);
        let change = change(None, vec![topic]);
        self.runtime
            .block_on(self.repository.commit(&change))
            .unwrap();
    }

    fn plan(&self, producers: usize) -> RestorePlan {
        let snapshot = self.runtime.block_on(self.repository.latest()).unwrap();
        let snapshot = snapshot.unwrap();
        let state = snapshot.partition(&partition_id()).unwrap();
        let rules = BatchRules::default();
        let reading = PartitionReading::plan(
            &self.repository,
            &snapshot,
            partition_id(),
            state,
            Selection::all(),
            &rules,
        );
        let reading = self.runtime.block_on(reading).unwrap();
        let target: TopicName = "copy".parse().unwrap();
        let details = TopicDetails {
            source_kafka_id: Some(partition_id().topic_id),
            source_partitions: 1,
            exists: true,
            config_saved: true,
            retention_off: BTreeMap::new(),
            max_message_bytes: None,
            codec: TargetCodec {
                codec: BatchCodec::None,
                is_asked: false,
            },
            purged_records: BTreeMap::new(),
            partitions: BTreeMap::from([(0.into(), reading)]),
        };
        let snapshot = ParentRef {
            sequence: snapshot.value.sequence,
            sha256: snapshot.sha256,
        };
        let topic = RestoredTopic {
            topic: partition_id().topic,
            topic_id: partition_id().topic_id,
            target: target.clone(),
            purge: false,
            create: None,
            config_afterwards: BTreeMap::new(),
            targets: vec![TargetPartition {
                partition: 0.into(),
                offset: 0,
            }],
            partitions: vec![RestoredPartition {
                partition: 0.into(),
                base_offset: 0,
                end_offset: 2 * self.records,
                target_partition: Some(0.into()),
            }],
        };
        let (restore, repository) = (
            RestoreId::fresh(Timestamp::now()),
            self.repository.identity().repository_id,
        );
        let manifest = RestoreManifest {
            producers,
            ..RestoreManifest::of_everything(restore, repository, snapshot, vec![topic])
        };
        RestorePlan {
            manifest,
            resumed: false,
            selection: RecordSelection::everything(),
            offset_map: true,
            client: ClientChoice::default(),
            rate_limit: RateLimit::default(),
            verify: false,
            saved: Completeness::of_partitions(1, []),
            lost_offsets: 0,
            expired_offsets: 0,
            groups_without_offsets: Vec::new(),
            obstacles: Vec::new(),
            details: BTreeMap::from([(target, details)]),
        }
    }

    /// Restores the partition with one writer; returns the runs of its offset map.
    fn restore(&self, cluster: &MemoryCluster, producers: usize) -> Vec<MapRun> {
        self.try_restore(cluster, producers, |_| ()).unwrap()
    }

    /// The same, after `before` was done to the cluster.
    fn try_restore(
        &self,
        cluster: &MemoryCluster,
        producers: usize,
        before: impl Fn(&RestoreManifest),
    ) -> Result<Vec<MapRun>, RestoreError> {
        let plan = self.plan(producers);
        let restore = &plan.manifest;
        before(restore);
        let work = Work::new(&plan);
        let opener = Producers {
            work: &work,
            manifest: restore,
            transport: cluster,
            count: producers.max(1),
            stop: StopRequest::default(),
            timeout: Duration::from_secs(60),
            run: Run::first(),
        };
        let cancel = Cancel::default();
        let events = RunEvents::start(self.heard.clone(), Totals::default());
        let shared = Shared {
            work: &work,
            context: RestoreContext {
                manifest: restore,
                repository: &self.repository,
                cancel: &cancel,
                runtime: self.runtime.handle(),
            },
            halt: Halt::by(&cancel),
            keep_map: true,
            claims: None,
            drop_headers: DropHeaders::default(),
            throttle: None,
            events: &events,
        };
        let committed_at = committed_at(restore, &restore.topics[0], 0);
        work.put_back(job(&plan));
        let sink = opener.replace(0).unwrap();
        Writer::new(&shared, &opener, 0, sink).run()?;
        let done = work.into_done();
        let page = done[0].page.expect("the map has a page");
        if producers > 0 {
            let position = cluster.position(&committed_at.group, &target());
            let position = position.expect("the position is committed");
            assert_eq!(position.offset, 2 * self.records);
            assert_eq!(writer::page_of(&position), Some(page));
        }
        let id = partition_id();
        let page = self.repository.map_page(&restore.restore, &id, &page);
        Ok(self.runtime.block_on(page).unwrap().value.runs)
    }
}

fn target() -> TopicPartition {
    TopicPartition::new("copy", 0.into())
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
fn partitions_behind_the_next_one_are_begun_before_a_writer_asks_for_them() {
    let backup = Backup::new();
    let plan = backup.plan(1);
    let work = Work::new(&plan);
    for _ in 0..3 {
        work.put_back(job(&plan));
    }
    let runtime = backup.runtime.handle();
    let next = || work.next(runtime).unwrap();
    assert!(next().begun.is_none(), "nobody could know");
    for _ in 0..2 {
        let mut job = next();
        assert!(job.begun.is_some());
        let mut reader = job.reader(runtime);
        assert!(job.begun.is_none());
        let mut records = 0;
        while let Some(batch) = runtime.block_on(reader.next()).unwrap() {
            records += batch.records().count();
        }
        assert_eq!(records, 300);
    }
    assert!(work.next(runtime).is_none());
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
    let heard = backup.heard.0.lock().unwrap();
    assert_eq!(heard.0, [Stage::Read, Stage::Write, Stage::Commit].into());
    assert_eq!(heard.1, [Retry::Transaction; 2]);
}

#[test]
fn a_fenced_producer_is_replaced_and_what_was_committed_is_not_written_again() {
    for (failures, sinks) in [
        (&[CommitFailure::Fenced][..], 2),
        (&[CommitFailure::FencedAfterwards], 2),
        (&[CommitFailure::Again, CommitFailure::Fenced], 2),
    ] {
        let (backup, cluster) = (Backup::new(), MemoryCluster::default());
        cluster.fail_commits(failures.iter().copied());
        let runs = backup.restore(&cluster, 1);
        assert_restored(&cluster, &runs);
        assert_eq!(cluster.sinks_opened(), sinks);
    }
}

#[test]
fn a_fenced_producer_is_not_replaced_where_another_run_has_taken_over() {
    let (backup, cluster) = (Backup::new(), MemoryCluster::default());
    cluster.fail_commits([CommitFailure::Fenced]);
    let holder = "kbk restore --resume on far (process 12, since 2026-11-29T10:00:00Z)";
    let stopped = backup.try_restore(&cluster, 1, |manifest| {
        cluster.set_position(
            &manifest.run_group(),
            &target(),
            &format!("kbk1:{} {holder}", Id::random()),
        );
    });
    let said = stopped.unwrap_err().to_string();
    assert!(said.contains(holder), "{said}");
    assert_eq!(cluster.sinks_opened(), 1);
    assert_eq!(cluster.records(&target()), []);
}

#[test]
fn headers_count_towards_the_size_of_a_transaction() {
    const HEADER_BYTES: usize = 512 << 10;
    let large = |number| record_with_header(number, Some(vec![b'h'; HEADER_BYTES]));
    let (backup, cluster) = (Backup::with(RECORDS, large), MemoryCluster::default());
    let runs = backup.restore(&cluster, 1);
    // The marker after each transaction occupies an offset, and so begins a new run of the offset map, as a source gap does.
    let mut transactions = vec![0_usize];
    let mut next = None;
    for run in &runs {
        for index in 0..run.records.cast_signed() {
            let offset = run.target_offset + index;
            if next.is_some_and(|next| next != offset) {
                transactions.push(0);
            }
            next = Some(offset + 1);
            *transactions.last_mut().unwrap() += HEADER_BYTES;
        }
    }
    let largest = transactions.iter().max().copied().unwrap_or_default();
    assert!(
        largest <= (64 << 20) + HEADER_BYTES,
        "a transaction of {largest} bytes of headers"
    );
    assert!(transactions.len() > 1, "{transactions:?}");
}

#[test]
fn gaps_bound_a_transaction_as_bytes_do() {
    // The first transactions are small by their bytes, and the later ones by their runs.
    let records = 4 * i64::from(writer::TRANSACTION_RUNS);
    let (backup, cluster) = (Backup::with(records, record), MemoryCluster::default());
    backup.restore(&cluster, 1);
    let restored = cluster.records(&target());
    assert_eq!(restored.len(), usize::try_from(records).unwrap());
    // Each marker occupies the offset between two transactions.
    let transactions = restored.chunk_by(|before, after| before.0 + 1 == after.0);
    let largest = transactions.map(<[_]>::len).max();
    assert_eq!(largest, usize::try_from(writer::TRANSACTION_RUNS).ok());
}
