//! Does what a plan says.
//!
//! Order of changes: the producers take over their transactional ids; begun.json is durable; topics are created with a
//! configuration that keeps every record as it is; permissions are looked at, and a commit is tried; targets are emptied, where
//! that is asked for, up to the offset that begun.json has, so that doing it again deletes nothing new; records are written,
//! acknowledged and committed, each transaction with its part of the offset map ([`writer`](crate::restore::write::writer)); where a proof is
//! asked for, they are read back and compared; only then do the topics get the configuration that was saved, which may delete
//! or compact at once; done.json is durable; the group that kept the progress is removed.
//!
//! A restore that stops in between, or finds a difference, leaves topics that hold too much rather than too little, and says
//! so. One in transactions is gone on with from its last commit.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kbk_format::repo::{
    CreatedTopic, DonePartition, OffsetAndMetadata, ParentRef, PartitionId, RepoError, Repository,
    RestoreDone, RestoreId, RestoreManifest, RestoredPartition, RestoredTopic, TargetPartition,
    TopicName, TopicNameError,
};
use kbk_tools::restores::sweep_map_pages;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::kafka::{
    Admin, ClientSettings, KafkaError, OffsetCommit, Positions, TopicPartition, committed,
};
use crate::memory;
use crate::records::{Librdkafka, RecordSink, Transport};
use crate::restore::plan::preflight::Obstacle;
use crate::restore::plan::rights;
use crate::restore::plan::{
    PartitionPlan, RestorePlan, Target as TargetTopic, TargetPartitionPlan, TopicPlan,
};
use crate::restore::verify::head;
use crate::restore::verify::one_to_one::{self, PartitionProof, ProofError};
use crate::restore::verify::quiescence::{self, HeldUp};
use crate::restore::verify::repartitioned::{self, Surroundings};
use crate::restore::write::offset_map::OffsetMap;
use crate::restore::write::producers::{self, Producers};
use crate::restore::write::rate::Throttle;
use crate::restore::write::work::Work;
use crate::restore::write::writer::{self, Shared, Writer};
use crate::run::{Cancel, Events, RunEvents, Totals};

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// Its name, under which the repository keeps its offset map.
    pub restore: RestoreId,
    /// The snapshot.
    pub snapshot: u64,
    /// It went on with what an earlier run had begun.
    pub resumed: bool,
    /// Whether it was done in transactions.
    pub transactions: bool,
    /// Whether the repository keeps where each record went.
    pub offset_map: bool,
    /// Topics that were created.
    pub topics_created: usize,
    /// Topics that were written to.
    pub topics: usize,
    /// Their partitions that were written to.
    pub partitions: usize,
    /// About how many records of the targets were deleted first, by this run.
    pub purged_records: u64,
    /// Records that all replicas have, those of earlier runs of this restore among them.
    pub records: u64,
    /// Topics that were created and keep `retention.ms` and `retention.bytes` at -1, as was asked for.
    pub retention_off: Vec<String>,
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
    /// The cluster has a topic of a name that Kafka does not allow.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// What showed only when the topics were there.
    #[error("{}; the topics that were created are still empty", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Lacking(Vec<Obstacle>),
    /// What is to be compared cannot be read.
    #[error(
        "everything is restored, and cannot be compared yet: {}; when it has ended, `kbk restore --resume --verify` does (Kafka's \
         `kafka-transactions.sh find-hanging` finds one that nobody will end)",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    HeldUp(Vec<HeldUp>),
    /// The group that keeps the progress is gone, and records are there.
    #[error(
        "group {group} has committed nothing for {source_place}, and {topic}/{partition} holds records from offset {offset} on: either \
         the group has expired (`offsets.retention.minutes` of the brokers), or somebody else writes there; what is missing cannot \
         be told, so delete the targets, and restore again from the start"
    )]
    ProgressLost {
        /// The group.
        group: String,
        /// The partition of the backup.
        source_place: String,
        /// The target topic.
        topic: String,
        /// The target partition.
        partition: i32,
        /// The first record that should not be there.
        offset: i64,
    },
    /// The group that keeps the progress says something else than a restore writes there.
    #[error(
        "{committed:?} is committed as the progress of restore {restore} with {partition}, which no page of its offset map \
         explains: somebody else uses its group; restore again from the start under other names"
    )]
    Progress {
        /// The restore.
        restore: RestoreId,
        /// The partition of the backup.
        partition: String,
        /// What is committed.
        committed: OffsetAndMetadata,
    },
}

/// Applies `plan`. Blocks; must not be called from asynchronous code.
pub fn apply(
    plan: RestorePlan,
    repository: &Repository,
    kafka: &ClientSettings,
    cancel: &Cancel,
    events: Arc<dyn Events>,
    runtime: &Handle,
) -> Result<RestoreReport, RestoreError> {
    let began = Instant::now();
    let records = plan_partitions(&plan.topics).map(|(_, partition)| partition.records);
    let totals = Totals {
        records: Some(records.sum()),
        bytes: None,
    };
    let events = RunEvents::start(events, totals);
    let admin = Admin::connect(kafka)?;
    let work = Work::new(&plan.topics);
    let restore = match &plan.begun {
        Some(restore) => restore.clone(),
        None => new_restore(&plan, repository, &work)?,
    };
    let transport = Librdkafka::new(kafka.clone());
    let opener = Producers {
        work: &work,
        restore: &restore,
        transport: &transport,
    };
    let (producers, topics_created) = prepare(&plan, &opener, &admin, repository, runtime)?;
    let keep_map = plan.offset_map;
    let afterwards = afterwards(&plan.topics);
    let topics = plan.topics.len();
    let resumed = plan.begun.is_some();
    let retention_off = plan
        .topics
        .iter()
        .filter(|topic| topic.retention_stays_off)
        .map(|topic| topic.target.clone())
        .collect();
    let purged_records = plan.purged().map(|(_, records)| records).sum();
    let shared = Shared {
        work: &work,
        repository,
        restore: &restore,
        keep_map,
        throttle: Throttle::new(plan.rate_limit, Instant::now()),
        cancel,
        runtime,
    };
    start(&shared, &plan, kafka, &events)?;
    write_all(&shared, &opener, producers)?;
    // The queues of the producers, before those of a proof are filled.
    memory::give_back();
    if restore.producers > 0 {
        let held_up = quiescence::wait(&admin, &work, cancel)?;
        if plan.verify && !cancel.is_set() && !held_up.is_empty() {
            return Err(RestoreError::HeldUp(held_up));
        }
        for held_up in held_up {
            tracing::warn!("{held_up}");
        }
    }
    let partitions = work.targets.len();
    let records = work.records();
    // A run that was killed, and a transaction that was taken back, leave pages of the offset map that do not count.
    let leftovers = resumed || work.has_repeated();
    let done = work.into_done();
    let proof = if plan.verify && !cancel.is_set() {
        tracing::info!("reading the records back");
        let surroundings = Surroundings {
            restore: &restore.restore,
            repository,
            kafka,
            cancel,
            runtime,
        };
        prove(&plan.topics, &done, &surroundings)?
    } else {
        None
    };
    let interrupted = cancel.is_set();
    let differs = |proof: &Vec<PartitionProof>| !proof.iter().all(PartitionProof::is_equal);
    if !interrupted && !proof.as_ref().is_some_and(differs) {
        for topic in &afterwards {
            admin.alter_topic_config(&topic.target, &topic.config_afterwards)?;
        }
        if keep_map {
            let done = RestoreDone {
                restore: restore.restore.clone(),
                finished_at: Timestamp::now(),
                records,
                partitions: done,
            };
            runtime.block_on(finish(repository, &done, leftovers))?;
        }
        remove_groups(&admin, &restore);
    }
    Ok(RestoreReport {
        snapshot: restore.snapshot.sequence,
        restore: restore.restore,
        resumed,
        transactions: restore.producers > 0,
        offset_map: keep_map,
        topics_created,
        topics,
        partitions,
        purged_records,
        records,
        retention_off,
        proof,
        interrupted,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// All that comes before the first record, with what may be refused first and what deletes last.
fn prepare<T: Transport>(
    plan: &RestorePlan,
    opener: &Producers<'_, T>,
    admin: &Admin,
    repository: &Repository,
    runtime: &Handle,
) -> Result<(Vec<T::Sink>, usize), RestoreError> {
    let mut producers = opener.open_all()?;
    if plan.begun.is_none() && plan.offset_map {
        runtime.block_on(repository.begin_restore(opener.restore))?;
    }
    let created = create_topics(admin, &plan.topics)?;
    check_rights(admin, plan)?;
    for producer in &mut producers {
        producer.set_targets(opener.work.targets.clone())?;
    }
    if plan.transactions
        && let [producer, ..] = producers.as_mut_slice()
    {
        producer.try_commit(&first_positions(opener.restore))?;
    }
    purge(admin, &plan.topics)?;
    Ok((producers, created))
}

/// From here on the offset map counts without the cluster.
async fn finish(
    repository: &Repository,
    done: &RestoreDone,
    leftovers: bool,
) -> Result<(), RepoError> {
    repository.finish_restore(done).await?;
    if leftovers && let Err(error) = sweep_map_pages(repository, done).await {
        tracing::debug!("pages of transactions that were not committed stay: {error}");
    }
    Ok(())
}

/// What begun.json says of a plan.
fn new_restore(
    plan: &RestorePlan,
    repository: &Repository,
    work: &Work,
) -> Result<RestoreManifest, RestoreError> {
    let topics = plan.topics.iter().map(restored_topic);
    let now = Timestamp::now();
    Ok(RestoreManifest {
        restore: plan.restore.clone(),
        repository_id: repository.identity().repository_id,
        started_at: now,
        writer: concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned(),
        snapshot: ParentRef {
            sequence: plan.snapshot,
            sha256: plan.snapshot_sha256,
        },
        cluster_id: plan.cluster_id.clone(),
        min_timestamp: *plan.choice.times.start(),
        max_timestamp: *plan.choice.times.end(),
        producers: if plan.transactions {
            producers::count(work)
        } else {
            0
        },
        rate_limit: plan.rate_limit,
        topics: topics.collect::<Result<_, _>>()?,
    })
}

fn restored_topic(topic: &TopicPlan) -> Result<RestoredTopic, TopicNameError> {
    let create = match &topic.action {
        TargetTopic::Existing => None,
        TargetTopic::Create {
            partitions,
            replication_factor,
            config,
        } => Some(CreatedTopic {
            partitions: *partitions,
            replication_factor: *replication_factor,
            config: config.clone(),
            config_afterwards: topic.config_afterwards.clone(),
        }),
    };
    let partition = |plan: &PartitionPlan| RestoredPartition {
        partition: plan.partition,
        base_offset: plan.base_offset,
        end_offset: plan.end_offset,
        target_partition: plan.target_partition,
    };
    let target = |plan: &TargetPartitionPlan| TargetPartition {
        partition: plan.partition,
        offset: plan.offset,
    };
    Ok(RestoredTopic {
        topic: TopicName::try_from(topic.source.clone())?,
        topic_id: topic.source_topic_id,
        target: TopicName::try_from(topic.target.clone())?,
        purge: topic.purge,
        create,
        targets: topic.targets.iter().map(target).collect(),
        partitions: topic.partitions.iter().map(partition).collect(),
    })
}

/// Deletes what the targets held when the restore was planned.
fn purge(admin: &Admin, topics: &[TopicPlan]) -> Result<(), KafkaError> {
    let mut before = Vec::new();
    for topic in topics.iter().filter(|topic| topic.purge) {
        let held = topic.targets.iter().filter(|target| target.offset > 0);
        before.extend(held.map(|target| {
            let partition = TopicPartition::new(&topic.target, target.partition);
            (partition, target.offset)
        }));
    }
    admin.delete_records(&before)
}

fn create_topics(admin: &Admin, topics: &[TopicPlan]) -> Result<usize, KafkaError> {
    let mut created = 0;
    for topic in topics {
        if let TargetTopic::Create {
            partitions,
            replication_factor,
            config,
        } = &topic.action
        {
            admin.create_topic(&topic.target, *partitions, *replication_factor, config)?;
            created += 1;
        }
    }
    Ok(created)
}

/// Of topics that were just created nobody could tell before. It takes a moment until each broker knows them.
fn check_rights(admin: &Admin, plan: &RestorePlan) -> Result<(), RestoreError> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_millis(100);
    let topics: Vec<&TopicPlan> = plan.topics.iter().collect();
    let started = Instant::now();
    loop {
        match rights::lacking_on(admin, &topics, plan.transactions) {
            Ok(lacking) if lacking.is_empty() => return Ok(()),
            Ok(lacking) => return Err(RestoreError::Lacking(lacking)),
            Err(KafkaError::UnknownTopic { .. }) if started.elapsed() < PATIENCE => {
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One for each topic and each group, to see whether positions may be committed at all.
fn first_positions(restore: &RestoreManifest) -> Positions {
    let mut positions = Positions::new();
    for topic in &restore.topics {
        let mut before = None;
        for index in 0..topic.partitions.len() {
            let at = restore.progress(topic, index);
            if before.as_ref() == Some(&at.group) {
                continue;
            }
            before = Some(at.group.clone());
            positions.entry(at.group).or_default().push(OffsetCommit {
                topic: at.topic.to_string(),
                partition: at.partition,
                committed: OffsetAndMetadata {
                    offset: 0,
                    metadata: String::new(),
                },
            });
        }
    }
    positions
}

fn afterwards(topics: &[TopicPlan]) -> Vec<TopicPlan> {
    let mut changed: Vec<TopicPlan> = topics.to_vec();
    changed.retain(|topic| !topic.config_afterwards.is_empty());
    changed
}

/// Lets every partition begin, or go on where the cluster says that it was left.
fn start(
    shared: &Shared<'_>,
    plan: &RestorePlan,
    kafka: &ClientSettings,
    events: &RunEvents,
) -> Result<(), RestoreError> {
    let Shared { work, restore, .. } = *shared;
    let places: Vec<PartitionId> = plan_partitions(&plan.topics)
        .map(|(_, partition)| partition.read.place().clone())
        .collect();
    let positions = match plan.begun {
        None => vec![None; places.len()],
        Some(_) => {
            let positions = positions(restore, kafka)?;
            let is_unknown = positions.iter().map(Option::is_none);
            let unknown: Vec<bool> = is_unknown.collect();
            head::check(shared, &plan.topics, &unknown, kafka)?;
            positions
        }
    };
    work.start(&plan.topics, restore, events, |number, empty| {
        let Some(committed) = &positions[number] else {
            return Ok((0, empty));
        };
        let map = continued(shared, &places[number], committed, empty)?;
        match map {
            Some(map) => Ok((committed.offset, map)),
            None => Err(RestoreError::Progress {
                restore: restore.restore.clone(),
                partition: places[number].to_string(),
                committed: committed.clone(),
            }),
        }
    })
}

/// How far each partition of a restore has come, as the cluster says, in the order of begun.json.
fn positions(
    restore: &RestoreManifest,
    kafka: &ClientSettings,
) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
    let progress = restore.topics.iter().flat_map(|topic| {
        (0..topic.partitions.len()).map(move |index| restore.progress(topic, index))
    });
    let progress: Vec<_> = progress.collect();
    let mut positions = vec![None; progress.len()];
    for group in restore.groups() {
        let of_group = progress.iter().enumerate();
        let (numbers, partitions): (Vec<_>, Vec<_>) = of_group
            .filter(|(_, at)| at.group == group)
            .map(|(number, at)| {
                let partition = TopicPartition::new(at.topic.to_string(), at.partition);
                (number, partition)
            })
            .unzip();
        let mut found = committed(kafka, &group, &partitions)?;
        for (number, partition) in numbers.into_iter().zip(&partitions) {
            positions[number] = found.take(partition)?;
        }
    }
    Ok(positions)
}

fn plan_partitions(topics: &[TopicPlan]) -> impl Iterator<Item = (&TopicPlan, &PartitionPlan)> {
    topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(move |partition| (topic, partition))
    })
}

/// The offset map that a committed position names; `None` if that cannot be.
fn continued(
    shared: &Shared<'_>,
    place: &PartitionId,
    committed: &OffsetAndMetadata,
    empty: OffsetMap,
) -> Result<Option<OffsetMap>, RepoError> {
    let Shared {
        repository,
        restore,
        runtime,
        ..
    } = *shared;
    let Some(sha256) = writer::page_of(committed) else {
        return Ok(None);
    };
    let page = runtime.block_on(repository.map_page(&restore.restore, place, &sha256))?;
    let explains = page.end_offset == committed.offset;
    Ok(explains.then(|| empty.continued(sha256, page.value)))
}

/// All threads are joined before the first error is returned.
fn write_all<T: Transport>(
    shared: &Shared<'_>,
    opener: &Producers<'_, T>,
    producers: Vec<T::Sink>,
) -> Result<(), RestoreError> {
    thread::scope(|scope| {
        let write = |(number, producer)| {
            scope.spawn(move || {
                let written = Writer::new(shared, opener, number, producer).run();
                if written.is_err() {
                    shared.work.stop();
                }
                written
            })
        };
        let threads: Vec<_> = producers.into_iter().enumerate().map(write).collect();
        let written: Vec<_> = threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect();
        written.into_iter().collect()
    })
}

/// `None` if a signal came before everything was compared.
fn prove(
    topics: &[TopicPlan],
    done: &[DonePartition],
    surroundings: &Surroundings<'_>,
) -> Result<Option<Vec<PartitionProof>>, RestoreError> {
    let Surroundings {
        kafka,
        cancel,
        runtime,
        ..
    } = *surroundings;
    let maps = done.iter().map(|done| (done.place(), done)).collect();
    let whole = one_to_one::prove(one_to_one::claims(topics), kafka, cancel, runtime);
    let mut scattered = topics
        .iter()
        .filter(|topic| topic.repartitioned().is_some());
    let all = whole.and_then(|whole| {
        scattered.try_fold(whole, |mut all, topic| {
            all.extend(repartitioned::prove(topic, &maps, surroundings)?);
            Ok(all)
        })
    });
    match all {
        Ok(proof) => Ok(Some(proof)),
        Err(ProofError::Cancelled) => Ok(None),
        Err(ProofError::Kafka(error)) => Err(error.into()),
        Err(ProofError::Repo(error)) => Err(error.into()),
    }
}

/// They have done their work; where they stay, they do no harm.
fn remove_groups(admin: &Admin, restore: &RestoreManifest) {
    if restore.producers > 0 {
        restore
            .groups()
            .iter()
            .for_each(|group| remove_group(admin, group));
    }
}

fn remove_group(admin: &Admin, group: &str) {
    const TRIES: u32 = 5;
    for attempt in 1..=TRIES {
        match admin.delete_groups(&[group]) {
            Ok(()) => return,
            Err(error) if attempt == TRIES => {
                tracing::info!("group {group} stays in the cluster and is not needed: {error}");
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
