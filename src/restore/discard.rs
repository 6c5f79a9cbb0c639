//! Discards a restore that has not finished.
//!
//! The order of changes; doing all of it again does no harm:
//!
//! 1. the cluster says that it was taken over, and its transactional ids are initialised, which aborts an open transaction and fences a run that
//!    still writes;
//! 2. discarded.json is durable: no run resumes it from here on;
//! 3. topics lose the settings that they had only while records were written;
//! 4. its claims on target partitions are released, and the groups that kept its progress are deleted.
//!
//! No record is deleted: what it wrote stays, and the report says where.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kbk_format::repo::{
    Hex, Id, RepoError, Repository, RestoreDiscarded, RestoreId, RestoreManifest, RestoreTargets,
    RestoredTopic,
};
use serde::Serialize;

use super::config;
use super::plan::leftover;
use super::plan::resume::{self, ResumeError};
use super::plan::target_cluster::{ExistingTopic, TargetCluster};
use super::records::delete_group;
use super::write::claims::Claims;
use super::write::takeover::Run;
use crate::blocking::blocking;
use crate::kafka::{Admin, ClientSettings, KafkaError, TopicPartition};
use crate::records::{ChosenTransport, Librdkafka, SinkOptions, Transport};

/// Producers whose ids are initialised at most: a manifest may name any number, and no restore has more.
const MOST_PRODUCERS: usize = 64;

/// Why a restore was not discarded, or not in full.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    /// There is none of this name, it is finished, or its cluster is another one.
    #[error(transparent)]
    Restore(#[from] ResumeError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// What was done to discard a restore.
#[derive(Debug, Serialize)]
pub struct DiscardReport {
    /// The restore.
    pub restore: RestoreId,
    /// Whether its topics and groups in the cluster were put right.
    pub cluster: bool,
    /// Its topics in the cluster; empty if the cluster was not asked.
    pub topics: Vec<DiscardedTopic>,
}

/// A topic of a restore that was discarded.
#[derive(Debug, Serialize)]
pub struct DiscardedTopic {
    /// Its name in the cluster.
    pub target: String,
    /// Whether the restore created it.
    pub created: bool,
    /// What the cluster has under this name.
    pub found: FoundTopic,
    /// Offsets in its target partitions at or above those where the restore began to write.
    pub offsets: u64,
    /// Settings of the restore that were changed, with their values now; null for the cluster's.
    pub config: BTreeMap<String, Option<String>>,
    /// Whether temporary settings may be left, since the principal may not read the configuration.
    pub config_unknown: bool,
}

/// What the cluster has under the name of a restore's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundTopic {
    /// The topic that the restore wrote to.
    Target,
    /// Another one, made since.
    Another,
    /// None.
    Nothing,
}

/// Discards the restore of this name; without `kafka` only in the repository, for a cluster that is gone.
///
/// # Errors
///
/// Where there is no such restore, it is finished, or the repository or cluster fails. Trying again does the rest.
pub async fn discard(
    repository: &Repository,
    restore: &RestoreId,
    kafka: Option<ClientSettings>,
) -> Result<DiscardReport, DiscardError> {
    let manifest = resume::not_finished(repository, restore).await?;
    let targets = repository.restore_targets(restore).await?;
    let mut report = DiscardReport {
        restore: restore.clone(),
        cluster: kafka.is_some(),
        topics: Vec::new(),
    };
    if let Some(kafka) = &kafka {
        // Before anything is changed: it must be the right cluster.
        describe(&manifest, kafka).await?;
        let (manifest, kafka) = (manifest.clone(), kafka.clone());
        blocking(move || fence(&manifest, &kafka)).await?;
    }
    let discarded = RestoreDiscarded {
        restore: restore.clone(),
        discarded_at: Timestamp::now(),
    };
    repository.discard_restore(&discarded).await?;
    if let Some(kafka) = kafka {
        // Nothing is written any more, so that the ends of the logs are final.
        let cluster = describe(&manifest, &kafka).await?;
        report.topics =
            blocking(move || put_right(&manifest, targets.as_ref(), &cluster, &kafka)).await?;
    }
    Ok(report)
}

async fn describe(
    manifest: &RestoreManifest,
    kafka: &ClientSettings,
) -> Result<TargetCluster, DiscardError> {
    let targets = manifest.topics.iter().map(|topic| topic.target.to_string());
    let cluster = TargetCluster::describe(kafka, targets.collect(), Vec::new()).await?;
    resume::check_cluster(manifest, cluster.id.as_deref())?;
    Ok(cluster)
}

/// Aborts what the restore left open, and keeps a run that still writes from committing.
fn fence(manifest: &RestoreManifest, kafka: &ClientSettings) -> Result<(), KafkaError> {
    // A run that is fenced continues unless it finds another one named.
    Run::take_over(manifest, "restores discard", &Admin::connect(kafka)?)?;
    let transport = Librdkafka::new(kafka.clone());
    for producer in 0..manifest.producers.min(MOST_PRODUCERS) {
        transport.open_sink(SinkOptions {
            transactional_id: Some(manifest.transactional_id(producer)),
            ..SinkOptions::default()
        })?;
    }
    Ok(())
}

fn put_right(
    manifest: &RestoreManifest,
    targets: Option<&RestoreTargets>,
    cluster: &TargetCluster,
    kafka: &ClientSettings,
) -> Result<Vec<DiscardedTopic>, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let names: Vec<String> = cluster.topics.keys().cloned().collect();
    let ids: BTreeMap<String, Id> = admin
        .find_topics(&names)?
        .into_iter()
        .map(|topic| (topic.name, Hex(topic.topic_id)))
        .collect();
    let mut topics = Vec::with_capacity(manifest.topics.len());
    for topic in &manifest.topics {
        let existing = cluster.topics.get(&*topic.target);
        let recorded = targets.and_then(|targets| id_of(targets, topic));
        let found = match (existing, recorded, ids.get(&*topic.target)) {
            (None, ..) => FoundTopic::Nothing,
            (Some(_), Some(recorded), Some(id)) if recorded != *id => FoundTopic::Another,
            (Some(_), ..) => FoundTopic::Target,
        };
        let ours = existing.filter(|_| found == FoundTopic::Target);
        let config = ours.map_or_else(BTreeMap::new, |existing| settings(topic, existing));
        if !config.is_empty() {
            admin.alter_topic_config(&topic.target, &config)?;
        }
        topics.push(DiscardedTopic {
            target: topic.target.to_string(),
            created: topic.create.is_some(),
            found,
            offsets: ours.map_or(0, |existing| offsets(topic, existing)),
            config,
            config_unknown: ours.is_some_and(|existing| existing.config.is_none())
                && !topic.config_afterwards.is_empty(),
        });
    }
    let partitions = manifest.topics.iter().flat_map(|topic| {
        let partitions = topic.targets.iter();
        partitions.map(|target| TopicPartition::new(&*topic.target, target.partition))
    });
    let partitions: Vec<_> = partitions
        .filter(|partition| cluster.topics.contains_key(&partition.topic))
        .collect();
    let transport = ChosenTransport::Librdkafka(Librdkafka::new(kafka.clone()));
    Claims::new(&transport, &manifest.restore, &partitions).release_held(&admin);
    for group in manifest.groups() {
        delete_group(&admin, &group);
    }
    // Whoever was taken over finds discarded.json instead.
    delete_group(&admin, &manifest.run_group());
    Ok(topics)
}

fn id_of(targets: &RestoreTargets, topic: &RestoredTopic) -> Option<Id> {
    let mut named = targets.topics.iter();
    let recorded = named.find(|target| target.target == topic.target)?;
    Some(recorded.topic_id)
}

/// Returns the changes of the configuration at the end of the restore, without entries that somebody has changed meanwhile.
fn settings(topic: &RestoredTopic, existing: &ExistingTopic) -> BTreeMap<String, Option<String>> {
    let filling = match &topic.create {
        Some(create) => create.config.clone(),
        None => config::while_filling(&BTreeMap::new(), 0),
    };
    let changes = topic.config_afterwards.iter();
    let still = changes.filter(|(key, _)| leftover::is_as_in(existing, &filling, key));
    still
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn offsets(topic: &RestoredTopic, existing: &ExistingTopic) -> u64 {
    let held = topic.targets.iter().map(|target| {
        let end = existing.end(target.partition);
        end.saturating_sub(target.offset).max(0).unsigned_abs()
    });
    held.fold(0, u64::saturating_add)
}
