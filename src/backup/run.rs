//! A backup from the first question to the committed snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kbk_format::Compression;
use kbk_format::repo::{
    Change, Digested, FoundAcls, Id, Identity, PartitionChange, PartitionId, RepoError, Repository,
    Snapshot, Store, TopicChange, TopicName, TopicNameError,
};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::acls::SaveAcls;
use super::adopt::{self, Adopted};
use super::partition::{SegmentSettings, StoredPartition};
use super::pipeline::{self, Finished, PipelineError, PipelineOptions, Reading};
use super::plan::{self, Finding, Plan};
use super::survey::{self, Survey, SurveyError};
use crate::blocking::blocking;
use crate::kafka::{Admin, ClientSettings, KafkaError};
use crate::records::Librdkafka;
use crate::run::{Cancel, Events, RunEvents, Totals};
use crate::select::TopicSelection;

/// For records that librdkafka has fetched and nobody has read yet.
const FETCH_BYTES: usize = 16 << 20;
/// Segments that are flushed to the disk at a time.
const SEALING: usize = 16;

/// What to back up, where to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the repository is, or is to be made.
    pub location: String,
    /// How to reach the cluster.
    pub kafka: ClientSettings,
    /// Which of its topics.
    pub selection: TopicSelection,
    /// What blocks are compressed with.
    pub compression: Compression,
    /// Raw bytes of a block.
    pub block_bytes: usize,
    /// Stored bytes after which a segment is sealed.
    pub segment_bytes: u64,
    /// How long to wait for transactions that are open at the start.
    pub open_transactions_wait: Duration,
    /// Whether to save the consumer groups; if not, those of the last snapshot stay.
    pub groups: bool,
    /// Whether to save the ACLs.
    pub acls: SaveAcls,
}

/// What a backup did. Counts are of this run alone.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// The snapshot that was committed.
    pub snapshot: u64,
    /// The repository.
    pub repository: String,
    /// Topics that were looked at.
    pub topics: usize,
    /// Their partitions.
    pub partitions: usize,
    /// Consumer groups that were saved; null where they were not asked for or not told.
    pub groups: Option<usize>,
    /// ACLs that were saved; null where they were not asked for or not told.
    pub acls: Option<SavedAcls>,
    /// Records that were added.
    pub records: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Bytes of the segments that were added.
    pub stored_bytes: u64,
    /// Segments that were added.
    pub segments: usize,
    /// What the user should know.
    pub findings: Vec<Finding>,
    /// The run was stopped by a signal: what was read until then is in the snapshot.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// The ACLs that a backup saved.
#[derive(Clone, Debug, Serialize)]
pub struct SavedAcls {
    /// How many.
    pub saved: usize,
    /// How many the Kafka client had no words for.
    pub left_out: u64,
    /// Whether the cluster has an authorizer. Without one it has no ACLs.
    pub authorizer: bool,
}

impl From<&FoundAcls> for SavedAcls {
    fn from(found: &FoundAcls) -> SavedAcls {
        SavedAcls {
            saved: found.acls.len(),
            left_out: found.left_out,
            authorizer: found.authorizer,
        }
    }
}

/// Why a backup failed. No snapshot was made; the previous one stands.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Asking the cluster, or choosing the topics.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// The cluster has a topic of a name that Kafka does not allow.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Reading or storing records.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl From<KafkaError> for BackupError {
    fn from(error: KafkaError) -> BackupError {
        SurveyError::Kafka(error).into()
    }
}

/// Backs up. Returns `None` if a stop was requested before the cluster had answered: nothing was read, and nothing is committed.
pub async fn run(
    options: &Options,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Result<Option<BackupReport>, BackupError> {
    let began = Instant::now();
    let started_at = Timestamp::now();
    let asked = blocking({
        let (options, cancel) = (options.clone(), cancel.clone());
        move || ask(&options, &cancel)
    });
    // A cluster that is silent takes seconds to be given up; the thread that waits for it holds nothing.
    let survey = tokio::select! {
        survey = asked => survey?,
        () = cancel.cancelled() => return Ok(None),
    };
    let repository = open_repository(&options.location).await?;
    let newest = repository.latest().await?;
    let looked_for = looked_for(&options.selection, newest.as_deref());
    let cluster_id = survey.cluster_id.clone();
    let mut plan = plan::plan(survey, newest.as_deref(), &looked_for)?;
    adopt::adopt(&repository, &mut plan).await?;

    let finished = read(
        options,
        &repository,
        &plan,
        cluster_id.clone(),
        cancel,
        events,
    )
    .await;
    if let Some(error) = finished.error {
        return Err(error.into());
    }
    let interrupted = finished.interrupted;
    let (change, findings) = change(plan, finished.stored, newest, cluster_id, started_at);
    let snapshot = repository.commit(&change).await?;
    Ok(Some(report(
        &change,
        findings,
        &snapshot,
        options,
        interrupted,
        began.elapsed(),
    )))
}

fn ask(options: &Options, cancel: &Cancel) -> Result<Survey, SurveyError> {
    let admin = Admin::connect(&options.kafka)?;
    let mut survey = survey::survey(&admin, &options.selection, options.groups, options.acls)?;
    survey.wait_for_open_transactions(&admin, options.open_transactions_wait, cancel)?;
    Ok(survey)
}

async fn open_repository(location: &str) -> Result<Repository, RepoError> {
    let store = Store::open_or_create(location)?;
    Repository::open_or_create(store, Identity::fresh()).await
}

/// Names in the newest snapshot that the user's choice covers; none where it covers nothing there.
fn looked_for(selection: &TopicSelection, newest: Option<&Snapshot>) -> Vec<String> {
    let topics = newest.map_or(&[][..], |snapshot| &snapshot.topics);
    selection
        .select(topics.iter().map(|topic| (&*topic.name, topic.internal)))
        .unwrap_or_default()
}

async fn read(
    options: &Options,
    repository: &Repository,
    plan: &Plan,
    cluster_id: Option<String>,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Finished {
    let readings = readings(plan);
    // Offsets, not records: how many of them have a record is known only when they are read.
    let totals = Totals {
        records: Some(readings.iter().map(Reading::offsets).sum()),
        bytes: None,
    };
    let pipeline_options = PipelineOptions {
        segments: SegmentSettings {
            store: repository.store().clone(),
            runtime: Handle::current(),
            cluster_id,
            writer: writer(),
            segment_bytes: options.segment_bytes,
            sealing: Arc::new(Semaphore::new(SEALING)),
        },
        compression: options.compression,
        block_bytes: options.block_bytes,
        encoders: std::thread::available_parallelism().map_or(1, usize::from),
        fetch_bytes: FETCH_BYTES,
    };
    let transport = Librdkafka::new(options.kafka.clone());
    let cancel = cancel.clone();
    blocking(move || {
        let events = RunEvents::start(events, totals);
        pipeline::run(&pipeline_options, &transport, readings, &cancel, &events)
    })
    .await
}

/// The partitions of the plan that have something to read.
fn readings(plan: &Plan) -> Vec<Reading> {
    let of_topic = |topic: &plan::TopicPlan| -> Vec<Reading> {
        let reading = |partition: &plan::PartitionPlan| Reading {
            place: place(&topic.name, topic.topic_id, partition.partition),
            range: partition.read.clone(),
            timestamp_type: topic.timestamp_type(),
        };
        topic
            .partitions
            .iter()
            .filter(|partition| !partition.read.is_empty())
            .map(reading)
            .collect()
    };
    plan.topics.iter().flat_map(of_topic).collect()
}

fn place(topic: &TopicName, topic_id: Id, partition: i32) -> PartitionId {
    PartitionId {
        topic: topic.clone(),
        topic_id,
        partition,
    }
}

/// What is to be committed, and everything that was found.
fn change(
    plan: Plan,
    mut stored: BTreeMap<PartitionId, StoredPartition>,
    base: Option<Digested<Snapshot>>,
    cluster_id: Option<String>,
    started_at: Timestamp,
) -> (Change, Vec<Finding>) {
    let mut findings = plan.findings;
    let mut topics = Vec::with_capacity(plan.topics.len());
    for topic in plan.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let read = if partition.read.is_empty() {
                StoredPartition::default()
            } else {
                let id = place(&topic.name, topic.topic_id, partition.partition);
                let read = stored.remove(&id);
                read.expect("the pipeline answers for every reading, or fails")
            };
            let Adopted {
                mut segments,
                mut lost,
            } = partition.adopted;
            segments.extend(read.segments);
            lost.extend(read.lost);
            findings.extend(lost.iter().map(|lost| Finding::Lost {
                topic: topic.name.clone(),
                partition: partition.partition,
                from_offset: lost.from,
                to_offset: lost.to,
            }));
            partitions.push(PartitionChange {
                partition: partition.partition,
                log_start_offset: partition.offsets.log_start_offset,
                high_watermark: partition.offsets.high_watermark,
                last_stable_offset: partition.offsets.last_stable_offset,
                segments,
                lost,
            });
        }
        let description = topic.topic.description;
        topics.push(TopicChange {
            name: topic.name,
            topic_id: topic.topic_id,
            internal: description.internal,
            replication_factor: i32::try_from(description.replication_factor).unwrap_or(i32::MAX),
            config: topic.topic.config,
            partitions,
        });
    }
    let change = Change {
        base,
        nonce: Id::random(),
        started_at,
        created_at: Timestamp::now(),
        writer: writer(),
        cluster_id,
        topics,
        gone: plan.gone,
        groups: plan.groups,
        acls: plan.acls,
    };
    (change, findings)
}

fn writer() -> String {
    concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned()
}

fn report(
    change: &Change,
    findings: Vec<Finding>,
    snapshot: &Snapshot,
    options: &Options,
    interrupted: bool,
    elapsed: Duration,
) -> BackupReport {
    let partitions = || change.topics.iter().flat_map(|topic| &topic.partitions);
    let segments = || partitions().flat_map(|partition| &partition.segments);
    BackupReport {
        snapshot: snapshot.sequence,
        repository: options.location.clone(),
        topics: change.topics.len(),
        partitions: partitions().count(),
        groups: change.groups.as_ref().map(|found| found.groups.len()),
        acls: change.acls.as_ref().map(SavedAcls::from),
        records: segments().map(|segment| segment.records).sum(),
        raw_bytes: segments().map(|segment| segment.raw_bytes).sum(),
        stored_bytes: segments().map(|segment| segment.size).sum(),
        segments: segments().count(),
        findings,
        interrupted,
        seconds: elapsed.as_secs_f64(),
    }
}
