//! Topics without their records: missing ones are created as they were saved, existing ones get the saved configuration.

use std::collections::BTreeMap;

use kbk_format::repo::{CreatedTopic, Digested, Repository, Snapshot, TopicState};
use serde::Serialize;

use crate::blocking::blocking;
use crate::kafka::{Admin, ClientSettings, ConfigSource, KafkaError};
use crate::restore::config;
use crate::restore::plan::leftover::Leftovers;
use crate::restore::plan::obstacle::Obstacle;
use crate::restore::plan::options::RestoreOptions;
use crate::restore::plan::partition_count::partition_count;
use crate::restore::plan::target_cluster::{ExistingTopic, TargetCluster};
use crate::restore::plan::{PlanError, preflight, rights};
use crate::run::Cancel;

/// Everything that will be done.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigPlan {
    /// The snapshot.
    pub snapshot: u64,
    /// Topic by topic.
    pub topics: Vec<TopicConfigPlan>,
    /// What prevents it. A plan with any obstacle is not applied.
    pub obstacles: Vec<Obstacle>,
}

/// One topic.
#[derive(Clone, Debug, Serialize)]
pub struct TopicConfigPlan {
    /// Its name in the backup.
    pub source: String,
    /// Its name in the cluster.
    pub target: String,
    /// The number of its partitions in the backup.
    pub source_partitions: usize,
    /// Whether the snapshot does not have its configuration, so that none is set.
    pub config_missing: bool,
    /// What is done with it.
    pub action: ConfigAction,
}

/// What is done with a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConfigAction {
    /// It is created.
    Create(CreatedTopic),
    /// It exists.
    Change {
        /// The number of its partitions in the cluster, which does not change.
        partitions: usize,
        /// Entries that change. All others stay.
        changes: BTreeMap<String, ConfigChange>,
    },
}

/// One entry that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigChange {
    /// The current value, whoever set it; null where the cluster does not report it.
    pub from: Option<String>,
    /// The saved value; null removes what an earlier restore left, so that the cluster's value applies.
    pub to: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigReport {
    /// The snapshot.
    pub snapshot: u64,
    /// Topics that were created.
    pub topics_created: usize,
    /// Existing topics that changed.
    pub topics_changed: usize,
    /// Topics whose configuration the snapshot does not have: they were created with the cluster's defaults, or not changed.
    pub config_missing: Vec<String>,
    /// Existing topics that needed no change.
    pub topics_unchanged: usize,
    /// A signal stopped the run early. Each topic was processed whole or not at all, and running again is harmless.
    pub interrupted: bool,
}

/// Plans a restore of topics without their records. Reads no record and changes nothing.
///
/// # Errors
///
/// If the cluster cannot be described.
pub async fn plan_config(
    repository: &Repository,
    snapshot: &Digested<Snapshot>,
    options: &RestoreOptions,
) -> Result<ConfigPlan, PlanError> {
    let targets = options.targets.values().cloned().collect();
    let cluster = TargetCluster::describe(&options.kafka, targets, Vec::new()).await?;
    let leftovers = Leftovers::find(repository, &cluster).await?;
    let sources = options.targets.iter();
    let topics: Vec<_> = sources
        .filter_map(|(source, target)| Some((source.find(snapshot)?, target)))
        .collect();
    let mut obstacles = Vec::new();
    for (topic, target) in &topics {
        preflight::check_internal(topic, target, &cluster, &mut obstacles);
    }
    let planned = |(topic, target): (&TopicState, &String)| {
        plan_topic(topic, target, options, (&cluster, &leftovers))
    };
    let topics: Vec<_> = topics.into_iter().map(planned).collect();
    for topic in &topics {
        check_replicas(topic, &cluster, &mut obstacles);
    }
    obstacles.extend(missing_rights(&topics, &options.kafka).await?);
    Ok(ConfigPlan {
        snapshot: snapshot.sequence,
        topics,
        obstacles,
    })
}

async fn missing_rights(
    topics: &[TopicConfigPlan],
    kafka: &ClientSettings,
) -> Result<Vec<Obstacle>, KafkaError> {
    let (mut created, mut changed) = (Vec::new(), Vec::new());
    for topic in topics {
        match &topic.action {
            ConfigAction::Create(create) => created.push((topic.target.clone(), create.clone())),
            ConfigAction::Change { changes, .. } if changes.is_empty() => {}
            ConfigAction::Change { .. } => changed.push(topic.target.clone()),
        }
    }
    let kafka = kafka.clone();
    blocking(move || rights::missing_to_configure(&kafka, &created, &changed)).await
}

fn plan_topic(
    topic: &TopicState,
    target: &str,
    options: &RestoreOptions,
    (cluster, leftovers): (&TargetCluster, &Leftovers),
) -> TopicConfigPlan {
    let saved = config::portable(topic.config.clone().unwrap_or_default());
    let action = match cluster.topics.get(target) {
        Some(existing) => ConfigAction::Change {
            partitions: existing.partitions,
            changes: changes(saved, existing, &leftovers.entries(target, existing)),
        },
        None => ConfigAction::Create(CreatedTopic {
            partitions: partition_count(topic),
            replication_factor: options.replication_factor_of(topic),
            config: saved,
        }),
    };
    TopicConfigPlan {
        source: topic.name.to_string(),
        target: target.to_owned(),
        source_partitions: topic.partitions.len(),
        config_missing: topic.config.is_none(),
        action,
    }
}

/// Returns the entries to set, and those of `left`, which earlier restores left, to remove. One whose value equals the cluster's default
/// is set too: it was the topic's own, and defaults change.
fn changes(
    saved: BTreeMap<String, String>,
    existing: &ExistingTopic,
    left: &[&str],
) -> BTreeMap<String, ConfigChange> {
    let entry = |key: &str| existing.config.as_ref()?.get(key);
    let is_set = |key: &str, value: &str| {
        entry(key).is_some_and(|entry| {
            entry.source == ConfigSource::Topic && entry.value.as_deref() == Some(value)
        })
    };
    let left = left.iter().filter(|key| !saved.contains_key(**key));
    let removed: Vec<(String, Option<String>)> =
        left.map(|key| ((*key).to_owned(), None)).collect();
    saved
        .into_iter()
        .filter(|(key, value)| !is_set(key, value))
        .map(|(key, value)| (key, Some(value)))
        .chain(removed)
        .map(|(key, to)| {
            let from = entry(&key).and_then(|entry| entry.value.clone());
            (key, ConfigChange { from, to })
        })
        .collect()
}

fn check_replicas(topic: &TopicConfigPlan, cluster: &TargetCluster, obstacles: &mut Vec<Obstacle>) {
    if let ConfigAction::Create(create) = &topic.action {
        let replicas = create.replication_factor;
        preflight::check_replicas(&topic.target, replicas, cluster, obstacles);
    }
}

/// Applies `plan`. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// If the cluster refuses a change; the topics before that one are done.
pub fn apply_config(
    plan: &ConfigPlan,
    kafka: &ClientSettings,
    cancel: &Cancel,
) -> Result<ConfigReport, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let mut report = ConfigReport {
        snapshot: plan.snapshot,
        topics_created: 0,
        topics_changed: 0,
        config_missing: Vec::new(),
        topics_unchanged: 0,
        interrupted: false,
    };
    for topic in &plan.topics {
        if cancel.is_set() {
            report.interrupted = true;
            break;
        }
        if topic.config_missing {
            report.config_missing.push(topic.target.clone());
        }
        match &topic.action {
            ConfigAction::Create(create) => {
                admin.create_topic(&topic.target, create)?;
                report.topics_created += 1;
            }
            ConfigAction::Change { changes, .. } if changes.is_empty() => {
                report.topics_unchanged += 1;
            }
            ConfigAction::Change { changes, .. } => {
                let changes = changes.iter();
                let values = changes.map(|(key, change)| (key.clone(), change.to.clone()));
                admin.alter_topic_config(&topic.target, &values.collect())?;
                report.topics_changed += 1;
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ConfigEntry;

    fn entry(value: &str, source: ConfigSource) -> ConfigEntry {
        ConfigEntry {
            value: Some(value.to_owned()),
            is_default: source == ConfigSource::Default,
            source,
            sensitive: false,
        }
    }

    #[test]
    fn only_entries_that_the_topic_has_not_set_to_the_saved_value_change() {
        let config = [
            ("cleanup.policy", entry("compact", ConfigSource::Topic)),
            ("retention.ms", entry("1000", ConfigSource::Topic)),
            ("retention.bytes", entry("-1", ConfigSource::Default)),
            ("segment.ms", entry("5", ConfigSource::Topic)),
        ];
        let existing = ExistingTopic {
            internal: false,
            partitions: 1,
            offsets: BTreeMap::new(),
            config: Some(config.map(|(key, entry)| (key.to_owned(), entry)).into()),
        };
        let saved = [
            ("cleanup.policy", "compact"),
            ("retention.ms", "2000"),
            ("retention.bytes", "-1"),
        ];
        let saved = saved.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let changes = changes(saved.into(), &existing, &["retention.ms", "segment.ms"]);
        let changes: Vec<_> = changes
            .iter()
            .map(|(key, change)| (key.as_str(), change.from.as_deref(), change.to.as_deref()))
            .collect();
        assert_eq!(
            changes,
            [
                ("retention.bytes", Some("-1"), Some("-1")),
                ("retention.ms", Some("1000"), Some("2000")),
                ("segment.ms", Some("5"), None),
            ]
        );
    }
}
