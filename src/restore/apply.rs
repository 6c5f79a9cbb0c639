//! Does what a plan says.
//!
//! Order of changes: topics are created with a configuration that keeps every record as it is; all records are written and
//! acknowledged; where a proof is asked for, they are read back and compared; only then do the topics get the configuration
//! that was saved, which may delete or compact at once. A restore that stops in between, or finds a difference, leaves topics
//! that hold too much rather than too little, and says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::Streams;
use kbk_format::repo::RepoError;
use serde::Serialize;
use tokio::runtime::Handle;

use super::plan::{PartitionPlan, RestorePlan, Target as TargetTopic, TopicPlan};
use super::proof::{self, PartitionProof, ProofError};
use crate::cli::{Cancel, PartitionProgress, Progress};
use crate::kafka::{Admin, ClientSettings, KafkaError, Producer, ProducerOptions, Target};

/// Producers: each is one thread here and a few of librdkafka's, so two keep several cores busy.
const WRITERS: usize = 2;
/// For records that are written and not yet acknowledged, over all producers.
const QUEUE_BYTES: usize = 32 << 20;
/// What a queued record takes besides its bytes, generously.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;
/// How long the last records may take to be acknowledged.
const FLUSH_PATIENCE: Duration = Duration::from_secs(600);

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// The snapshot.
    pub snapshot: u64,
    /// Topics that were created.
    pub topics_created: usize,
    /// Topics that were written to.
    pub topics: usize,
    /// Their partitions.
    pub partitions: usize,
    /// Records that all replicas have acknowledged.
    pub records: u64,
    /// What reading them back found, partition by partition; null if that was not asked for, or not finished.
    pub proof: Option<Vec<PartitionProof>>,
    /// The run was stopped by a signal: the topics hold a part of the records.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

/// Applies `plan`. Blocks; must not be called from asynchronous code.
pub fn apply(
    plan: RestorePlan,
    kafka: &ClientSettings,
    cancel: &Cancel,
    progress: &Progress,
    runtime: &Handle,
) -> Result<RestoreReport, RestoreError> {
    let began = Instant::now();
    let admin = Admin::connect(kafka)?;
    let topics_created = create_topics(&admin, &plan.topics)?;
    let afterwards = afterwards(&plan.topics);
    let claims = plan.verify.then(|| proof::claims(&plan.topics));
    let (snapshot, topics) = (plan.snapshot, plan.topics.len());
    let work = Work::new(plan.topics, progress);
    let partitions = work.targets.len();
    let records = write_all(&work, kafka, cancel, runtime)?;
    let proof = match claims {
        Some(claims) if !cancel.is_set() => {
            tracing::info!("reading the records back");
            prove(claims, kafka, cancel, runtime)?
        }
        _ => None,
    };
    let interrupted = cancel.is_set();
    let differs = |proof: &Vec<PartitionProof>| !proof.iter().all(PartitionProof::is_equal);
    if !interrupted && !proof.as_ref().is_some_and(differs) {
        for (topic, changes) in &afterwards {
            admin.alter_topic_config(topic, changes)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(RestoreReport {
        snapshot,
        topics_created,
        topics,
        partitions,
        records,
        proof,
        interrupted,
        seconds,
    })
}

/// `None` if a signal came before everything was compared.
fn prove(
    claims: Vec<proof::Claim>,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Option<Vec<PartitionProof>>, RestoreError> {
    match proof::prove(claims, kafka, cancel, runtime) {
        Ok(proof) => Ok(Some(proof)),
        Err(ProofError::Cancelled) => Ok(None),
        Err(ProofError::Kafka(error)) => Err(error.into()),
        Err(ProofError::Repo(error)) => Err(error.into()),
    }
}

fn create_topics(admin: &Admin, topics: &[TopicPlan]) -> Result<usize, KafkaError> {
    let mut created = 0;
    for topic in topics {
        if let TargetTopic::Create {
            partitions,
            replication_factor,
            config,
            ..
        } = &topic.action
        {
            admin.create_topic(&topic.target, *partitions, *replication_factor, config)?;
            created += 1;
        }
    }
    Ok(created)
}

fn afterwards(topics: &[TopicPlan]) -> Vec<(String, BTreeMap<String, Option<String>>)> {
    let changes = |topic: &TopicPlan| match &topic.action {
        TargetTopic::Create {
            config_afterwards, ..
        } if !config_afterwards.is_empty() => {
            Some((topic.target.clone(), config_afterwards.clone()))
        }
        _ => None,
    };
    topics.iter().filter_map(changes).collect()
}

/// Partitions that nobody writes yet.
struct Work {
    targets: Vec<Target>,
    /// A batch of records must not be larger than the smallest limit of a target.
    batch_bytes: usize,
    /// A queue must hold the largest record.
    largest_record_bytes: usize,
    waiting: Mutex<VecDeque<Job>>,
}

/// A partition to write: `target` is its index in the targets.
struct Job {
    target: usize,
    plan: PartitionPlan,
    progress: PartitionProgress,
}

impl Work {
    fn new(topics: Vec<TopicPlan>, progress: &Progress) -> Work {
        let default = ProducerOptions::default().batch_bytes;
        let limits = topics
            .iter()
            .filter_map(|topic| usize::try_from(topic.max_message_bytes?).ok());
        let batch_bytes = limits.min().map_or(default, |limit| limit.min(default));
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let largest = partitions
            .map(|partition| partition.facts.max_record_bytes)
            .max();
        let mut targets = Vec::new();
        let mut jobs = Vec::new();
        for topic in topics {
            for plan in topic.partitions {
                let name = format!("{}/{}", topic.target, plan.partition);
                targets.push(Target {
                    topic: topic.target.clone(),
                    partition: plan.partition,
                });
                if plan.records > 0 {
                    let progress = progress.partition(name, Some(plan.records));
                    jobs.push(Job {
                        target: targets.len() - 1,
                        plan,
                        progress,
                    });
                }
            }
        }
        // The largest first, so that none of them is left alone at the end.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.plan.raw_bytes));
        Work {
            targets,
            batch_bytes,
            largest_record_bytes: largest
                .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            waiting: Mutex::new(jobs.into()),
        }
    }

    fn next(&self) -> Option<Job> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn stop(&self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Writes everything, and returns how many records are acknowledged.
fn write_all(
    work: &Work,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<u64, RestoreError> {
    let writers = WRITERS
        .min(work.waiting.lock().map_or(1, |waiting| waiting.len()))
        .max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|_| {
                scope.spawn(move || {
                    let written = write_some(work, kafka, QUEUE_BYTES / writers, cancel, runtime);
                    if written.is_err() {
                        work.stop();
                    }
                    written
                })
            })
            .collect();
        let written = threads.into_iter().map(|thread| match thread.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All threads are joined before the first error is returned.
        written
            .collect::<Vec<_>>()
            .into_iter()
            .sum::<Result<u64, RestoreError>>()
    })
}

fn write_some(
    work: &Work,
    kafka: &ClientSettings,
    queue_bytes: usize,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<u64, RestoreError> {
    let Some(mut job) = work.next() else {
        return Ok(0);
    };
    let options = ProducerOptions {
        queue_bytes: queue_bytes.max(
            work.largest_record_bytes
                .saturating_add(RECORD_OVERHEAD_BYTES),
        ),
        batch_bytes: work.batch_bytes,
        ..ProducerOptions::default()
    };
    let mut producer = Producer::open(kafka, options, work.targets.clone())?;
    loop {
        write_partition(&mut producer, job, cancel, runtime)?;
        match work.next() {
            Some(next) if !cancel.is_set() => job = next,
            _ => break,
        }
    }
    producer.flush(FLUSH_PATIENCE)?;
    let delivered = (0..work.targets.len()).map(|target| producer.delivered(target).records);
    Ok(delivered.sum())
}

fn write_partition(
    producer: &mut Producer,
    job: Job,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<(), RestoreError> {
    let mut reader = job.plan.read.read(Streams::All, runtime);
    while let Some(batch) = runtime.block_on(reader.next())? {
        let (mut records, mut bytes) = (0, 0);
        for record in batch.records() {
            producer.send(job.target, &record)?;
            records += 1;
            bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        }
        job.progress.add(records, bytes as u64);
        if cancel.is_set() {
            break;
        }
    }
    Ok(())
}
