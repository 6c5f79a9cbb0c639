//! A cluster in memory with one topic, and a repository that it is backed up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    Digested, Hex, Id, Identity, Key, PartitionId, Repository, SegmentReader, Snapshot, Store,
    TopicState, Upkeep,
};
use kbk_format::{
    BlockDecoder, Columns, Compression, FileHeader, Gap, GapReason, IsolationLevel, SegmentWriter,
    Streams, TimestampType, WriterOptions,
};
use kbk_tools::claims::LossSignal;
use kbk_tools::maintenance::MaintenanceOptions;
use kbk_tools::recover::{self, RecoverEvents};
use kbk_tools::retention::{Ages, plan_expiry};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::backup::config::TopicConfig;
use crate::backup::continuity::{ContinuityError, Prover};
use crate::backup::hidden::Hidden;
use crate::backup::notice::BackupNotice;
use crate::backup::partition::SegmentSettings;
use crate::backup::pipeline::{self, Finished, PipelineOptions};
use crate::backup::plan::{self, BackupPlan};
use crate::backup::recheck::AllStored;
use crate::backup::survey::{Survey, SurveyedTopic};
use crate::backup::{Encoding, adopt, change, refresh, run};
use crate::kafka::{PartitionDescription, PartitionOffsets, TopicDescription};
use crate::records::TopicPartition;
use crate::records::memory::{MemoryCluster, OwnedRecord};
use crate::run::{Cancel, RunEvents, Totals};

/// The topic, and Kafka's id of it.
pub(super) const TOPIC: &str = "orders";
pub(super) const KAFKA_ID: Id = Hex([7; 16]);
/// How long its tombstones are kept.
pub(super) const DELETE_RETENTION: Duration = Duration::from_hours(5);

/// A cluster with one topic of one partition, and its repository.
pub(super) struct World {
    pub(super) cluster: MemoryCluster,
    pub(super) compacted: bool,
    /// Whether nobody can read the partition now.
    pub(super) leaderless: bool,
    pub(super) kafka_id: Id,
    /// How records are stored.
    pub(super) encoding: Encoding,
    runtime: Runtime,
    repository: Repository,
    folder: TempDir,
}

impl World {
    pub(super) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let store = Store::open_or_create(folder.path().to_str().unwrap()).unwrap();
        let created = Repository::create(store, Identity::fresh());
        World {
            cluster: MemoryCluster::default(),
            compacted: false,
            leaderless: false,
            kafka_id: KAFKA_ID,
            encoding: Encoding::Auto,
            repository: runtime.block_on(created).unwrap(),
            runtime,
            folder,
        }
    }

    /// Puts a segment where an interrupted run would have left it, which covers `offsets` of the log without the records of `missing`, and returns
    /// its path. Its footer names `gaps`.
    pub(super) fn leave_segment(
        &self,
        offsets: Range<i64>,
        missing: Range<i64>,
        gaps: &[Gap],
        default: GapReason,
    ) -> PathBuf {
        let header = FileHeader {
            segment_id: Id::random().0,
            topic_id: self.kafka_id.0,
            topic: TOPIC.to_owned(),
            partition: 0.into(),
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: offsets.start,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let segment_id = Hex(header.segment_id);
        let key = Key::segment(&id(self.kafka_id), offsets.start, &segment_id);
        let mut writer = SegmentWriter::new(Vec::new(), header, WriterOptions::default()).unwrap();
        for offset in offsets.clone().filter(|it| !missing.contains(it)) {
            let pushed = record(offset).lend(offset, |record| writer.push(record));
            pushed.unwrap();
        }
        for gap in gaps {
            writer.name_gap(*gap).unwrap();
        }
        let (bytes, _) = writer.seal(offsets.end, default).unwrap();
        let path = self.folder.path().join(key.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Backs up, in small blocks and segments, and commits. Returns what the run reports.
    pub(super) fn backup(&self) -> Vec<BackupNotice> {
        let plan = self.plan();
        let stored = self.read(&plan);
        self.commit(plan, stored)
    }

    /// Plans a backup, and proves that the log continues what is stored.
    pub(super) fn plan(&self) -> BackupPlan {
        self.plan_at(Timestamp::now(), false)
    }

    /// Plans a backup at some time, which reads everything again if that is necessary or `forced`.
    pub(super) fn plan_at(&self, now: Timestamp, forced: bool) -> BackupPlan {
        let newest = self.newest();
        let selected = [TOPIC.to_owned()];
        let mut plan = plan::plan(
            self.survey(),
            (newest.as_deref(), None),
            &selected,
            &Hidden::default(),
        )
        .unwrap();
        let times = refresh::backup_times(&self.repository, newest.as_deref());
        let times = self.runtime.block_on(times).unwrap();
        refresh::refresh(&mut plan, &times, now, forced);
        let ignored = BTreeSet::new();
        let adopted = adopt::adopt(&self.repository, newest.as_deref(), &ignored, &mut plan);
        self.runtime.block_on(adopted).unwrap();
        self.prove(&mut plan).unwrap();
        plan
    }

    fn prove(&self, plan: &mut BackupPlan) -> Result<(), ContinuityError> {
        let newest = self.newest();
        let prover = Prover {
            repository: &self.repository,
            base: newest.as_deref(),
            runtime: self.runtime.handle(),
            transport: &self.cluster,
            cancel: &Cancel::default(),
        };
        prover.prove(plan)
    }

    /// Reads and stores what is planned.
    pub(super) fn read(&self, plan: &BackupPlan) -> AllStored {
        let options = PipelineOptions {
            segments: SegmentSettings {
                store: self.repository.store().clone(),
                runtime: self.runtime.handle().clone(),
                cluster_id: None,
                writer: "test".to_owned(),
                segment_bytes: 4 << 10,
                sealing: Arc::new(Semaphore::new(2)),
                events: Arc::new(()),
            },
            compression: Compression::None,
            block_bytes: 1 << 10,
            encoding: self.encoding,
            encoders: 2,
            fetch_bytes: 1 << 20,
            lost: LossSignal::default(),
        };
        let events = RunEvents::start(Arc::new(()), Totals::default());
        let readings = run::readings(plan);
        let cancel = Cancel::default();
        let finished = pipeline::run(&options, &self.cluster, readings, &cancel, &events);
        assert!(finished.error.is_none(), "{:?}", finished.error);
        finished.stored
    }

    pub(super) fn commit(&self, plan: BackupPlan, stored: AllStored) -> Vec<BackupNotice> {
        let now = Timestamp::now();
        let newest = self.newest();
        let read_after = newest.as_ref().map_or(0, |newest| newest.sequence);
        let finished = Finished {
            stored,
            interrupted: false,
            error: None,
        };
        let (change, notices) = change::change(plan, finished, newest, read_after, None, now);
        let committed = self.repository.commit(&change);
        self.runtime.block_on(committed).unwrap();
        notices
    }

    /// Expires everything that is stored.
    pub(super) fn expire(&self) {
        let newest = self.newest().unwrap();
        let upkeep = Upkeep {
            command: "expire".into(),
            detail: "everything".into(),
            writer: "test".into(),
            now: Timestamp::now(),
        };
        self.runtime.block_on(async {
            let topics = newest.topics.iter();
            let ages = Ages {
                older_than: i64::MAX,
                now: i64::MAX,
            };
            let plan = plan_expiry(&self.repository, &newest, topics, ages, true).await;
            let plan = plan.unwrap();
            let expired = self.repository.expire(&plan.partitions, &upkeep);
            assert!(expired.await.unwrap().is_some());
        });
    }

    /// Loses the segments from this place on, and recovers what is left. Returns the first offset that is lost.
    pub(super) fn recover_without(&self, from: usize) -> i64 {
        let newest = self.newest().unwrap();
        let options = MaintenanceOptions {
            dry_run: false,
            writer: "test".into(),
            policy: String::new(),
            now: Timestamp::now(),
        };
        let topic = newest.topics.last().unwrap();
        let id = topic.partition_id(0.into());
        let topics = [(topic.name.clone(), topic.topic_id)].into();
        let events: Arc<dyn RecoverEvents> = Arc::new(|_: u64| ());
        let repository = &self.repository;
        self.runtime.block_on(async {
            let segments = repository.segments(&newest, &id, &topic.partitions[0]);
            let segments = segments.await.unwrap();
            for entry in &segments[from..] {
                fs::remove_file(self.folder.path().join(&entry.key)).unwrap();
            }
            let plan = recover::plan(repository, &newest, &topics, false, &events);
            let plan = plan.await.unwrap();
            let done = recover::recover(repository, &newest, &plan, None, &options, events);
            assert!(done.await.unwrap().lost_offsets > 0);
            segments[from].base_offset
        })
    }

    /// The newest snapshot.
    pub(super) fn newest(&self) -> Option<Digested<Snapshot>> {
        self.runtime.block_on(self.repository.latest()).unwrap()
    }

    /// The topic's histories, the oldest first.
    pub(super) fn histories(&self) -> Vec<TopicState> {
        self.newest().map_or_else(Vec::new, |it| it.topics.clone())
    }

    /// The stored records of a history, by offset.
    pub(super) fn records(&self, history: &TopicState) -> Vec<(i64, OwnedRecord)> {
        let id = history.partition_id(0.into());
        let newest = self.newest().unwrap();
        let segments = self
            .repository
            .segments(&newest, &id, &history.partitions[0]);
        let mut records = Vec::new();
        for entry in self.runtime.block_on(segments).unwrap() {
            let opened = SegmentReader::open(self.repository.store(), &id, &entry);
            let reader = self.runtime.block_on(opened).unwrap();
            for block in 0..reader.segment().index().entries().len() {
                let read = reader.read(block..block + 1);
                let bytes = self.runtime.block_on(read).unwrap();
                let mut columns = Columns::new();
                let block = reader.segment().block(block, &bytes).unwrap();
                let decoded = block.decode(&mut BlockDecoder::new(), Streams::All, &mut columns);
                decoded.unwrap();
                let owned = columns.iter().map(|it| (it.offset, OwnedRecord::copy(&it)));
                records.extend(owned);
            }
        }
        records
    }

    fn survey(&self) -> Survey {
        let bounds = self.cluster.bounds(&log());
        let offsets = PartitionOffsets {
            log_start_offset: bounds.start,
            high_watermark: bounds.end,
            last_stable_offset: bounds.end,
        };
        let topic = SurveyedTopic {
            description: TopicDescription {
                name: TOPIC.to_owned(),
                topic_id: self.kafka_id.0,
                internal: false,
                partitions: vec![PartitionDescription {
                    id: 0.into(),
                    leader: 1,
                    replicas: vec![1],
                }],
                replication_factor: 1,
            },
            config: TopicConfig {
                values: Ok(BTreeMap::new()),
                compacted: Some(self.compacted),
                delete_retention: Some(DELETE_RETENTION),
                timestamp_type: TimestampType::CreateTime,
            },
            offsets: match self.leaderless {
                true => BTreeMap::new(),
                false => BTreeMap::from([(0.into(), offsets)]),
            },
        };
        Survey {
            topics: vec![topic],
            ..Survey::default()
        }
    }
}

/// The log of the topic's partition.
pub(super) fn log() -> TopicPartition {
    TopicPartition::new(TOPIC, 0.into())
}

pub(super) fn id(topic_id: Id) -> PartitionId {
    PartitionId {
        topic: TOPIC.parse().unwrap(),
        topic_id,
        partition: 0.into(),
    }
}

/// Creates different records for different numbers.
pub(super) fn record(number: i64) -> OwnedRecord {
    OwnedRecord {
        timestamp: 1_763_800_000_000 + number,
        key: Some(number.to_be_bytes().to_vec()),
        value: Some(vec![b'v'; 100]),
        headers: Vec::new(),
    }
}
