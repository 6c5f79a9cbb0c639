//! What a restore will do: topics to create, partitions to read, records to write. Made without changing anything.

pub(crate) mod mapping;
pub(crate) mod preflight;
pub(crate) mod resume;
pub(crate) mod rights;
pub(crate) mod selection;

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use kbk_format::repo::{
    Digest, Digested, Id, PartitionId, PartitionState, RateLimit, RepoError, Repository, RestoreId,
    RestoreManifest, SegmentReader, Snapshot, TopicState,
};
use kbk_tools::{Needs, Selection};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::blocking::blocking;
use crate::kafka::{
    Admin, ClientSettings, ConfigEntry, KafkaError, PartitionOffsets, TopicDescription,
    TopicPartition,
};
use crate::restore::config;
use crate::restore::plan::mapping::{Shape, ShapeError};
use crate::restore::plan::preflight::Obstacle;
use crate::restore::plan::selection::{Choice, ChoiceError};

/// What to restore, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach the target cluster.
    pub kafka: ClientSettings,
    /// Target name of each topic of the snapshot that is to be restored.
    pub targets: BTreeMap<String, String>,
    /// What of these topics is meant.
    pub choice: Choice,
    /// How it lies in the targets.
    pub shape: Shape,
    /// Write into topics that hold records already.
    pub append: bool,
    /// Delete what targets hold before.
    pub purge: bool,
    /// Of topics that are created; as saved if `None`.
    pub replication_factor: Option<i32>,
    /// Read the records back when they are written, and compare.
    pub verify: bool,
    /// Consumer groups that are to be restored when the records are.
    pub groups: Vec<String>,
    /// Write in transactions: exactly once, and to be gone on with.
    pub transactions: bool,
    /// Keep in the repository where each record went. Transactions need it.
    pub offset_map: bool,
    /// Leave retention off in topics that are created.
    pub keep_retention_off: bool,
    /// How fast it may write.
    pub rate_limit: RateLimit,
    /// Count records exactly, where that means to decode the blocks that a bound in time cuts.
    pub count: bool,
}

impl Options {
    /// Replicas of a topic that is created; `None` is the cluster's default.
    pub(crate) fn replication_factor_of(&self, topic: &TopicState) -> Option<i32> {
        self.replication_factor
            .or(Some(topic.replication_factor))
            .filter(|factor| *factor > 0)
    }
}

/// All that a restore does.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The name of the restore, under which the repository keeps what it does.
    pub restore: RestoreId,
    /// The snapshot.
    pub snapshot: u64,
    /// What names it beside its number.
    #[serde(skip)]
    pub(crate) snapshot_sha256: Digest,
    /// Kafka's id of the target cluster.
    pub cluster_id: Option<String>,
    /// What of the topics is meant. Where a restore is gone on with, all of it but the times stands in the partitions only.
    pub choice: Choice,
    /// Whether records are written in transactions.
    pub transactions: bool,
    /// Whether the repository keeps where each record went.
    pub offset_map: bool,
    /// How fast they are written at most.
    pub rate_limit: RateLimit,
    /// What an earlier run has begun, and this goes on with.
    #[serde(skip)]
    pub(crate) begun: Option<RestoreManifest>,
    /// Topic by topic.
    pub topics: Vec<TopicPlan>,
    /// Whether the records are read back and compared.
    pub verify: bool,
    /// What is in the way. A plan with any is not applied.
    pub obstacles: Vec<Obstacle>,
}

impl RestorePlan {
    /// The topics that hold records which are deleted first, and about how many of each.
    pub fn purged(&self) -> impl Iterator<Item = (&TopicPlan, u64)> {
        let records = |topic: &TopicPlan| -> u64 {
            let targets = topic.targets.iter();
            targets.map(|target| target.purged_records).sum()
        };
        let topics = self.topics.iter();
        topics
            .map(move |topic| (topic, records(topic)))
            .filter(|(_, records)| *records > 0)
    }
}

/// One topic.
#[derive(Clone, Debug, Serialize)]
pub struct TopicPlan {
    /// Its name in the backup.
    pub source: String,
    /// Its id in the backup.
    pub source_topic_id: Id,
    /// How many partitions it has in the backup, of which [`partitions`](Self::partitions) are restored.
    pub source_partitions: usize,
    /// Its name in the cluster.
    pub target: String,
    /// How the target comes to be.
    pub action: Target,
    /// Whether its partitions are emptied before records are written.
    pub purge: bool,
    /// Changes to its configuration when all records are written; null takes an entry away.
    pub config_afterwards: BTreeMap<String, Option<String>>,
    /// Whether it is created with retention off, and keeps it so though it was on in the backup.
    pub retention_stays_off: bool,
    /// The largest record that the target takes, where that is set or told.
    pub max_message_bytes: Option<u64>,
    /// The partitions of the target that are written to.
    pub targets: Vec<TargetPartitionPlan>,
    /// Partition by partition.
    pub partitions: Vec<PartitionPlan>,
}

impl TopicPlan {
    /// Over how many partitions records are spread by their keys; `None` where each partition has one of its own.
    #[must_use]
    pub fn repartitioned(&self) -> Option<i32> {
        let by_key = |partition: &PartitionPlan| partition.target_partition.is_none();
        let count = || i32::try_from(self.targets.len()).unwrap_or(i32::MAX);
        self.partitions.iter().any(by_key).then(count)
    }
}

/// A partition of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TargetPartitionPlan {
    /// Its number.
    pub partition: i32,
    /// Where it ends before.
    pub offset: i64,
    /// About how many records are deleted in front of that first.
    pub purged_records: u64,
}

/// How a target topic comes to be.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// It is there.
    Existing,
    /// It is created.
    Create {
        /// Number of partitions.
        partitions: i32,
        /// Replicas of each; the cluster's default if not known.
        replication_factor: Option<i32>,
        /// Configuration while records are written.
        config: BTreeMap<String, String>,
    },
}

/// One partition.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionPlan {
    /// Its number in the backup.
    pub partition: i32,
    /// Its number in the cluster; null where the topic is repartitioned.
    pub target_partition: Option<i32>,
    /// First offset that is meant, in the backup.
    pub base_offset: i64,
    /// Behind the last offset that is meant.
    pub end_offset: i64,
    /// Records to write.
    pub records: u64,
    /// Whether `records` is exact, or the most it can be.
    pub records_exact: bool,
    /// Segments to read from.
    pub segments: usize,
    /// Bytes of these segments.
    pub stored_bytes: u64,
    /// Bytes of their records before compression.
    pub raw_bytes: u64,
    /// Blocks of these segments to read.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub read_bytes: u64,
    #[serde(skip)]
    pub(crate) facts: Facts,
    #[serde(skip)]
    pub(crate) needs: Needs,
    #[serde(skip)]
    pub(crate) read: kbk_tools::ReadPlan,
}

/// What the segments' statistics say that a target may not take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) max_record_bytes: u64,
    pub(crate) zero_timestamps: u64,
    pub(crate) null_keys: u64,
    pub(crate) min_timestamp: Option<i64>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The snapshot does not have what is chosen.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// What is chosen cannot lie so.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// The target cluster as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) id: Option<String>,
    pub(crate) brokers: usize,
    /// Groups to be restored that have members, and how many.
    pub(crate) members: Vec<(String, usize)>,
    pub(crate) topics: BTreeMap<String, ExistingTopic>,
}

/// A target topic that is there already.
#[derive(Clone, Debug)]
pub(crate) struct ExistingTopic {
    pub(crate) partitions: usize,
    pub(crate) offsets: Vec<PartitionOffsets>,
    /// `None` where the cluster does not tell.
    pub(crate) config: Option<BTreeMap<String, ConfigEntry>>,
}

impl ExistingTopic {
    /// The bounds of a partition, if it is there.
    pub(crate) fn offsets(&self, partition: i32) -> Option<&PartitionOffsets> {
        self.offsets.get(usize::try_from(partition).ok()?)
    }

    /// About how many records a partition holds.
    pub(crate) fn records(&self, partition: i32) -> u64 {
        self.offsets(partition).map_or(0, |offsets| {
            offsets.high_watermark.abs_diff(offsets.log_start_offset)
        })
    }

    /// Where a partition ends.
    fn end(&self, partition: i32) -> i64 {
        self.offsets(partition)
            .map_or(0, |offsets| offsets.high_watermark)
    }

    /// A value of its configuration, if the cluster tells it.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.get(key)?.value.as_deref()
    }
}

/// Plans the restore of `snapshot`.
///
/// # Errors
///
/// If the repository or the cluster cannot be read. What merely stands in the way is in the plan.
pub async fn plan(
    repository: &Repository,
    snapshot: &Digested<Snapshot>,
    options: &Options,
) -> Result<RestorePlan, PlanError> {
    let sources = options.targets.iter();
    let sources: Vec<_> = sources
        .filter_map(|(source, target)| Some((newest_of(snapshot, source)?, target)))
        .collect();
    for (topic, _) in &sources {
        options.choice.check(topic)?;
    }
    let chosen: Vec<&TopicState> = sources.iter().map(|(topic, _)| *topic).collect();
    options.shape.check(&chosen, &options.choice)?;
    let targets = options.targets.values().cloned().collect();
    let cluster = ask_in_background(&options.kafka, targets, options.groups.clone()).await?;
    let mut topics = Vec::with_capacity(sources.len());
    for (topic, target) in sources {
        topics.push(plan_topic(repository, topic, target, options, &cluster).await?);
    }
    let obstacles = preflight::check(&topics, &cluster, options);
    let plan = RestorePlan {
        restore: RestoreId::fresh(jiff::Timestamp::now()),
        snapshot: snapshot.sequence,
        snapshot_sha256: snapshot.sha256,
        cluster_id: cluster.id,
        choice: options.choice.clone(),
        transactions: options.transactions && options.offset_map,
        offset_map: options.offset_map,
        rate_limit: options.rate_limit,
        begun: None,
        topics,
        verify: options.verify,
        obstacles,
    };
    let kafka = options.kafka.clone();
    let (plan, lacking) = blocking(move || {
        let lacking = rights::lacking(&kafka, &plan);
        (plan, lacking)
    })
    .await;
    let mut plan = plan;
    plan.obstacles.extend(lacking?);
    Ok(plan)
}

/// The topic of this name that the cluster had last.
pub(crate) fn newest_of<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a TopicState> {
    let named = snapshot.topics.iter().filter(|topic| &*topic.name == name);
    named.max_by_key(|topic| (!topic.deleted, topic.last_seen, topic.first_seen))
}

pub(crate) async fn ask_in_background(
    kafka: &ClientSettings,
    targets: Vec<String>,
    groups: Vec<String>,
) -> Result<Cluster, KafkaError> {
    let kafka = kafka.clone();
    blocking(move || ask(&kafka, &targets, &groups)).await
}

fn ask(
    kafka: &ClientSettings,
    targets: &[String],
    groups: &[String],
) -> Result<Cluster, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let cluster = admin.cluster()?;
    let mut there = admin.describe_topics(None)?;
    there.retain(|topic| targets.contains(&topic.name));
    let names: Vec<String> = there.iter().map(|topic| topic.name.clone()).collect();
    let configs = match admin.topic_configs(&names) {
        Ok(configs) => Some(configs),
        Err(error) if error.is_unsupported() => None,
        Err(error) => return Err(error),
    };
    let partitions: Vec<_> = there.iter().flat_map(partitions_of).collect();
    let offsets = admin.offsets(&partitions)?;
    let existing = |topic: TopicDescription| {
        let of_topic = partitions_of(&topic);
        let of_topic = of_topic.iter().map(|name| offsets.get(name).copied());
        let existing = ExistingTopic {
            partitions: topic.partitions.len(),
            offsets: of_topic.collect::<Result<_, _>>()?,
            config: configs
                .as_ref()
                .and_then(|configs| configs.get(&topic.name).cloned()),
        };
        Ok((topic.name, existing))
    };
    Ok(Cluster {
        id: cluster.id,
        brokers: cluster.brokers,
        members: members(&admin, groups)?,
        topics: there
            .into_iter()
            .map(existing)
            .collect::<Result<_, KafkaError>>()?,
    })
}

/// Groups that have members, and how many.
fn members(admin: &Admin, groups: &[String]) -> Result<Vec<(String, usize)>, KafkaError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let described = admin.describe_groups(&names)?;
    let mut in_use = Vec::new();
    for group in groups {
        let found = described.get(group.as_str())?.as_ref();
        let members = found.map_or(0, |found| found.members);
        if members > 0 {
            in_use.push((group.clone(), members));
        }
    }
    Ok(in_use)
}

fn partitions_of(topic: &TopicDescription) -> Vec<TopicPartition> {
    topic
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(&topic.name, partition.id))
        .collect()
}

async fn plan_topic(
    repository: &Repository,
    topic: &TopicState,
    target: &str,
    options: &Options,
    cluster: &Cluster,
) -> Result<TopicPlan, PlanError> {
    let existing = cluster.topics.get(target);
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    let choice = &options.choice;
    let chosen = topic
        .partitions
        .iter()
        .filter(|state| choice.takes(&topic.name, state.partition));
    for state in chosen {
        let place = topic.place(state.partition);
        let selection = Selection {
            offsets: choice.offsets(repository, &place, state).await?,
            times: choice.times.clone(),
        };
        let mut planned = plan_partition(repository, place, state, selection).await?;
        planned.target_partition = options.shape.target(state.partition);
        if options.count {
            planned.count().await?;
        }
        partitions.push(planned);
    }
    let written = options.shape.targets(&partitions);
    let targets = written.map(|partition| TargetPartitionPlan {
        partition,
        offset: existing.map_or(0, |existing| existing.end(partition)),
        purged_records: existing
            .filter(|_| options.purge)
            .map_or(0, |existing| existing.records(partition)),
    });
    let targets: Vec<_> = targets.collect();
    let saved = topic.config.clone().unwrap_or_default();
    let (action, config_afterwards) = match existing {
        Some(_) => (Target::Existing, BTreeMap::new()),
        None => {
            let create = Target::Create {
                partitions: options.shape.size(topic, &targets),
                replication_factor: options.replication_factor_of(topic),
                config: config::while_filling(&saved),
            };
            (
                create,
                config::afterwards(&saved, options.keep_retention_off),
            )
        }
    };
    Ok(TopicPlan {
        source: topic.name.to_string(),
        source_topic_id: topic.topic_id,
        source_partitions: topic.partitions.len(),
        target: target.to_owned(),
        max_message_bytes: max_message_bytes(existing, &saved),
        purge: options.purge && existing.is_some(),
        retention_stays_off: existing.is_none()
            && config::keeps_retention_off(&saved, &config_afterwards),
        action,
        config_afterwards,
        targets,
        partitions,
    })
}

/// The largest record that a target takes, or will when it is made.
pub(crate) fn max_message_bytes(
    existing: Option<&ExistingTopic>,
    config: &BTreeMap<String, String>,
) -> Option<u64> {
    const KEY: &str = "max.message.bytes";
    let limit = match existing {
        Some(existing) => existing.value(KEY),
        None => config.get(KEY).map(String::as_str),
    };
    limit.and_then(|limit| limit.parse().ok())
}

/// What is meant of a partition, for a target of the same number.
pub(crate) async fn plan_partition(
    repository: &Repository,
    place: PartitionId,
    state: &PartitionState,
    selection: Selection,
) -> Result<PartitionPlan, PlanError> {
    let partition = place.partition;
    let (base_offset, end_offset) = (selection.offsets.start, selection.offsets.end);
    let read = kbk_tools::ReadPlan::new(repository, place, state, selection).await?;
    let (needs, facts) = look(repository, &read).await?;
    Ok(PartitionPlan {
        partition,
        target_partition: Some(partition),
        base_offset,
        end_offset,
        records: needs.records,
        records_exact: needs.cut_blocks == 0,
        segments: read.segments().len(),
        stored_bytes: read.segments().iter().map(|entry| entry.size).sum(),
        raw_bytes: read.segments().iter().map(|entry| entry.raw_bytes).sum(),
        blocks: needs.blocks,
        read_bytes: needs.stored_bytes,
        facts,
        needs,
        read,
    })
}

impl PartitionPlan {
    /// Makes the number of records exact: decodes the blocks that a bound cuts.
    async fn count(&mut self) -> Result<(), RepoError> {
        if !self.records_exact {
            let cut = self.read.clone().count_cut(&Handle::current()).await?;
            self.records = self.needs.whole_records + cut;
            self.records_exact = true;
        }
        Ok(())
    }
}

/// Reads the footer of every segment: a read each, no blocks.
async fn look(
    repository: &Repository,
    read: &kbk_tools::ReadPlan,
) -> Result<(Needs, Facts), RepoError> {
    let opened = read
        .segments()
        .iter()
        .map(|entry| SegmentReader::open(repository.store(), read.place(), entry));
    let opened: Vec<_> = opened.collect();
    stream::iter(opened)
        .buffer_unordered(repository.store().profile().parallel_requests)
        .try_fold(
            Default::default(),
            |(sum, facts): (Needs, Facts), opened| {
                let needs = read.needs(opened.segment());
                let facts = facts.with(opened.segment().statistics(), &needs);
                async move { Ok((sum + needs, facts)) }
            },
        )
        .await
}

impl Facts {
    /// What concerns blocks that are not read does not matter, as far as the index tells blocks apart.
    fn with(self, statistics: &kbk_format::Statistics, needs: &Needs) -> Facts {
        let zero = needs.may_have_zero_timestamps;
        Facts {
            max_record_bytes: self.max_record_bytes.max(statistics.max_record_bytes),
            zero_timestamps: self.zero_timestamps
                + if zero {
                    statistics.zero_timestamp_count
                } else {
                    0
                },
            null_keys: self.null_keys + statistics.null_key_count,
            min_timestamp: self
                .min_timestamp
                .into_iter()
                .chain(needs.min_timestamp)
                .min(),
        }
    }
}
