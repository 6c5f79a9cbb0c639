//! What a restore will do: topics to create, partitions to read, records to write. Planning changes nothing.
//!
//! | file | job |
//! |---|---|
//! | `options` | the arguments |
//! | `selection` | which records to restore |
//! | `mapping` | which partition of the target each goes to |
//! | `target_cluster` | what the target cluster has now |
//! | `codec` | how batches are compressed |
//! | `old_brokers` | settings that the target cluster is too old to know |
//! | `reading`, `limits` | what is read for a partition, and what of it a target may refuse |
//! | `whole_segments` | which segments need not be decoded to plan |
//! | `restore_plan`, `json` | the plan, around the manifest that begun.json will hold, and how it is printed |
//! | `partial` | what the snapshot itself lacks |
//! | `obstacle`, `preflight`, `rights` | what would prevent the restore, found before anything is written |
//! | `retention` | whether the saved retention would keep the restored records |
//! | `leftover` | temporary settings that earlier restores left |
//! | `unfinished` | restores that began to write to the same targets |
//! | `resume` | the plan of a restore that an earlier run began |
//! | `partition_count` | the number of a topic's partitions |

pub(crate) mod codec;
mod json;
pub(crate) mod leftover;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod obstacle;
mod old_brokers;
pub(crate) mod options;
pub(crate) mod partial;
pub(crate) mod partition_count;
pub(crate) mod preflight;
pub(crate) mod reading;
pub(crate) mod restore_plan;
pub(crate) mod resume;
pub(crate) mod retention;
pub(crate) mod rights;
pub(crate) mod selection;
pub(crate) mod target_cluster;
pub(crate) mod unfinished;
pub(crate) mod whole_segments;

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    CreatedTopic, Digested, ParentRef, PartitionState, RepoError, Repository, RestoreId,
    RestoreManifest, RestoredPartition, RestoredTopic, Snapshot, TargetPartition, TopicName,
    TopicNameError, TopicState,
};
use kbk_tools::{RecordFilter, Selection};

use self::leftover::Leftovers;
use self::mapping::{PartitionMapping, PartitionMappingError};
use self::options::{Purpose, RestoreOptions};
use self::reading::PartitionReading;
use self::restore_plan::{RestorePlan, TopicDetails};
use self::retention::RestoredRecords;
use self::rights::Needed;
use self::selection::RecordSelectionError;
use self::target_cluster::{ExistingTopic, TargetCluster};
use self::unfinished::UnfinishedRestores;
use self::whole_segments::BatchRules;
use super::config;
use crate::blocking::blocking;
use crate::groups::GroupWithoutOffsets;
use crate::kafka::{ClientSettings, KafkaError};
use crate::records::ClientChoice;

/// The most producers of a restore. A broker works on one request of a connection at a time, so more of them keep its cores busy: four took a
/// tenth less time than two.
const MOST_PRODUCERS: usize = 4;
/// The most of librdkafka's, which has several threads and queues for each.
const MOST_LIBRDKAFKA_PRODUCERS: usize = 2;

/// Kafka's default of `max.message.bytes`, for a target whose limit nobody may know.
pub(crate) const USUAL_MESSAGE_BYTES: u64 = 1_048_588;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A target has a name that Kafka does not allow.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// The snapshot does not have what is selected.
    #[error(transparent)]
    Selection(#[from] RecordSelectionError),
    /// The selected partitions cannot be mapped as asked.
    #[error(transparent)]
    Mapping(#[from] PartitionMappingError),
}

/// Plans the restore of `snapshot`.
///
/// # Errors
///
/// If the repository or the cluster cannot be read. Obstacles are no errors; the plan lists them.
pub async fn plan(
    repository: &Repository,
    snapshot: &Digested<Snapshot>,
    options: &RestoreOptions,
) -> Result<RestorePlan, PlanError> {
    let sources = options.targets.iter();
    let sources: Vec<_> = sources
        .filter_map(|(source, target)| Some((source.find(snapshot)?, target)))
        .collect();
    for (topic, _) in &sources {
        options.selection.check(topic)?;
    }
    let states: Vec<&TopicState> = sources.iter().map(|(topic, _)| *topic).collect();
    options.mapping.check(&states, &options.selection)?;
    let selected = sources.clone();
    let targets = options.targets.values().cloned().collect();
    let cluster = TargetCluster::describe(&options.kafka, targets, options.groups.clone()).await?;
    let leftovers = Leftovers::find(repository, &cluster).await?;
    let (mut topics, mut details) = (Vec::with_capacity(sources.len()), BTreeMap::new());
    for (topic, target) in sources {
        let target = TopicName::try_from(target.clone())?;
        let surroundings = (&cluster, &leftovers);
        let source = (&**snapshot, topic);
        let (restored, more) =
            plan_topic(repository, source, target, options, surroundings).await?;
        details.insert(restored.target.clone(), more);
        topics.push(restored);
    }
    let manifest = manifest(repository, snapshot, options, &cluster, topics);
    let groups_without_offsets =
        groups_without_offsets(repository, snapshot, &options.groups, &manifest).await?;
    let mut plan = RestorePlan {
        saved: partial::saved(snapshot, &manifest),
        lost_offsets: partial::lost_offsets(snapshot, &manifest),
        expired_offsets: partial::expired_offsets(snapshot, &manifest),
        manifest,
        resumed: false,
        selection: options.selection.clone(),
        offset_map: options.offset_map,
        client: options.client,
        rate_limit: options.rate_limit,
        verify: options.verify,
        groups_without_offsets,
        obstacles: Vec::new(),
        details,
    };
    for (topic, target) in &selected {
        preflight::check_internal(topic, target, &cluster, &mut plan.obstacles);
    }
    let unfinished = match preflight::adds_to_records(&plan, &cluster, options) {
        true => UnfinishedRestores::find(repository, &cluster).await?,
        false => UnfinishedRestores::default(),
    };
    plan.obstacles
        .extend(preflight::check(&plan, &cluster, &unfinished, options));
    let partial = partial::check(&plan.saved, options.allow_partial);
    plan.obstacles.extend(partial);
    let needed = Needed {
        purpose: options.purpose,
        groups: options.groups.clone(),
    };
    Ok(with_rights(plan, options.kafka.clone(), needed).await?)
}

/// Returns those of the selected groups that the restore commits no offset of.
async fn groups_without_offsets(
    repository: &Repository,
    snapshot: &Snapshot,
    selected: &[String],
    manifest: &RestoreManifest,
) -> Result<Vec<GroupWithoutOffsets>, RepoError> {
    if selected.is_empty() {
        return Ok(Vec::new());
    }
    let saved = repository.groups(snapshot).await?;
    let saved = saved.iter().flat_map(|saved| saved.groups.iter());
    let groups = saved.filter(|it| selected.contains(&it.group));
    Ok(GroupWithoutOffsets::find(groups, &manifest.topics))
}

/// Adds the permissions that are missing to the obstacles of a plan.
async fn with_rights(
    mut plan: RestorePlan,
    kafka: ClientSettings,
    needed: Needed,
) -> Result<RestorePlan, KafkaError> {
    let (mut plan, missing) = blocking(move || {
        let adapted = match plan.resumed || needed.purpose == Purpose::Compare {
            true => Ok(()),
            false => old_brokers::adapt(&kafka, &mut plan),
        };
        let missing = adapted.and_then(|()| rights::missing(&kafka, &plan, &needed));
        (plan, missing)
    })
    .await;
    plan.obstacles.extend(missing?);
    Ok(plan)
}

/// Builds the manifest. Its start time is set again when the restore begins: a plan may wait for a confirmation.
fn manifest(
    repository: &Repository,
    snapshot: &Digested<Snapshot>,
    options: &RestoreOptions,
    cluster: &TargetCluster,
    topics: Vec<RestoredTopic>,
) -> RestoreManifest {
    let now = Timestamp::now();
    let targets = topics.iter().map(|topic| topic.targets.len()).sum();
    RestoreManifest {
        restore: RestoreId::fresh(now),
        repository_id: repository.identity().repository_id,
        started_at: now,
        writer: concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned(),
        snapshot: ParentRef {
            sequence: snapshot.sequence,
            sha256: snapshot.sha256,
        },
        cluster_id: cluster.id.clone(),
        min_timestamp: *options.selection.times.start(),
        max_timestamp: *options.selection.times.end(),
        // Without an offset map a resumed run could not tell what was written, so there are no transactions to resume.
        producers: match options.transactions && options.offset_map {
            true => producer_count(targets, options.client),
            false => 0,
        },
        append: options.append,
        rate_limit: options.rate_limit,
        groups: options
            .group_patterns
            .iter()
            .map(ToString::to_string)
            .collect(),
        acls: options.acls,
        drop_headers: options.drop_headers.names().map(str::to_owned).collect(),
        topics,
    }
}

/// Returns how many producers of a client write to this many target partitions.
pub(crate) fn producer_count(targets: usize, client: ClientChoice) -> usize {
    let most = match client {
        ClientChoice::Wire => MOST_PRODUCERS,
        ClientChoice::Librdkafka => MOST_LIBRDKAFKA_PRODUCERS,
    };
    targets.clamp(1, most)
}

async fn plan_topic(
    repository: &Repository,
    (snapshot, topic): (&Snapshot, &TopicState),
    target: TopicName,
    options: &RestoreOptions,
    (cluster, leftovers): (&TargetCluster, &Leftovers),
) -> Result<(RestoredTopic, TopicDetails), PlanError> {
    let existing = cluster.topics.get(&*target);
    // A topic that an earlier restore created, and did not finish, has the same temporary settings.
    let is_filling = existing.is_none_or(|existing| leftovers.is_filling(&target, existing));
    let saved = topic.config.clone().unwrap_or_default();
    let compression_type = compression(existing.filter(|_| !is_filling), &saved);
    let now_ms = Timestamp::now().as_millisecond();
    let rules = BatchRules::new(options, existing, compression_type, now_ms);
    let source = (snapshot, topic);
    let (partitions, readings) = plan_partitions(repository, source, options, &rules).await?;
    let written = options.mapping.targets(&partitions);
    let targets: Vec<_> = written
        .map(|partition| TargetPartition {
            partition,
            offset: existing.map_or(0, |existing| existing.end(partition)),
        })
        .collect();
    let limits = readings.values().map(|reading| reading.limits);
    let largest = limits.clone().map(|limits| limits.largest()).max();
    let filling = config::while_filling(&saved, largest.unwrap_or(0));
    let largest_record = limits.map(|limits| limits.record_bytes).max();
    let max_message_bytes = max_message_bytes(existing, &filling);
    let create = existing.is_none().then(|| CreatedTopic {
        partitions: options.mapping.size(topic, &targets),
        replication_factor: options.replication_factor_of(topic),
        config: filling.clone(),
    });
    let config_afterwards = match is_filling {
        true => {
            let records = restored_records(&readings, options);
            let (choice, defaults) = (options.retention, &cluster.defaults);
            let off = retention::stays_off(choice, &saved, defaults, records, now_ms);
            config::afterwards(&saved, &filling, off)
        }
        false => BTreeMap::new(),
    };
    let details = TopicDetails {
        source_kafka_id: topic.kafka_id,
        source_partitions: topic.partitions.len(),
        exists: existing.is_some(),
        config_saved: topic.config.is_some(),
        retention_off: match is_filling {
            true => config::retention_left_off(&saved, &config_afterwards),
            false => BTreeMap::new(),
        },
        max_message_bytes,
        codec: codec::for_target(
            &options.kafka,
            compression_type,
            max_message_bytes.is_some_and(|limit| largest_record > Some(limit)),
        ),
        purged_records: purged_records(existing.filter(|_| options.purge), &targets),
        partitions: readings,
    };
    let restored = RestoredTopic {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        target,
        purge: options.purge && existing.is_some(),
        create,
        config_afterwards,
        targets,
        partitions,
    };
    Ok((restored, details))
}

pub(crate) fn restored_records(
    readings: &BTreeMap<PartitionNumber, PartitionReading>,
    options: &RestoreOptions,
) -> RestoredRecords {
    let is_spread = matches!(options.mapping, PartitionMapping::Repartitioned(_));
    RestoredRecords::of(
        readings.values(),
        is_spread,
        *options.selection.times.start(),
    )
}

async fn plan_partitions(
    repository: &Repository,
    (snapshot, topic): (&Snapshot, &TopicState),
    options: &RestoreOptions,
    rules: &BatchRules,
) -> Result<
    (
        Vec<RestoredPartition>,
        BTreeMap<PartitionNumber, PartitionReading>,
    ),
    PlanError,
> {
    let states = topic.partitions.iter();
    let states = states.filter(|state| options.selection.takes(topic, state.partition));
    let plans: Vec<_> = states
        .map(|state| plan_partition(repository, snapshot, (topic, state), options, rules))
        .collect();
    let parallel = repository.store().profile().parallel_partitions;
    let mut plans = stream::iter(plans).buffered(parallel);
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    let mut readings = BTreeMap::new();
    while let Some((restored, reading)) = plans.try_next().await? {
        readings.insert(restored.partition, reading);
        partitions.push(restored);
    }
    Ok((partitions, readings))
}

async fn plan_partition(
    repository: &Repository,
    snapshot: &Snapshot,
    (topic, state): (&TopicState, &PartitionState),
    options: &RestoreOptions,
    rules: &BatchRules,
) -> Result<(RestoredPartition, PartitionReading), PlanError> {
    let (id, selection) = (topic.partition_id(state.partition), &options.selection);
    let offsets = selection.offsets(repository, snapshot, &id, state).await?;
    let restored = RestoredPartition {
        partition: state.partition,
        base_offset: offsets.start,
        end_offset: offsets.end,
        target_partition: options.mapping.target(state.partition),
    };
    let selection = Selection {
        offsets,
        times: selection.times.clone(),
        filter: RecordFilter::all(),
    };
    let reading = PartitionReading::plan(repository, snapshot, id, state, selection, rules);
    let mut reading = reading.await?;
    if options.purpose == Purpose::DryRun {
        reading.count().await?;
    }
    Ok((restored, reading))
}

fn purged_records(
    purged: Option<&ExistingTopic>,
    targets: &[TargetPartition],
) -> BTreeMap<PartitionNumber, u64> {
    let Some(existing) = purged else {
        return BTreeMap::new();
    };
    let targets = targets.iter().map(|target| target.partition);
    targets
        .map(|partition| (partition, existing.records(partition)))
        .collect()
}

/// Returns the `compression.type` of a target, or the one that a topic to create had.
fn compression<'a>(
    existing: Option<&'a ExistingTopic>,
    saved: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    const KEY: &str = "compression.type";
    match existing {
        Some(existing) => existing.value(KEY),
        None => saved.get(KEY).map(String::as_str),
    }
}

/// Returns the largest record that a target accepts, or will accept once it is created.
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
