//! Topics without their records: those that are missing are made as they were saved, those that are there get the saved values.

use std::collections::BTreeMap;

use kbk_format::repo::{Digested, Snapshot, TopicState};
use serde::Serialize;

use crate::kafka::{Admin, ClientSettings, ConfigSource, KafkaError};
use crate::restore::config;
use crate::restore::plan::preflight::{self, Obstacle};
use crate::restore::plan::{
    Cluster, ExistingTopic, Options, PlanError, ask_in_background, newest_of,
};
use crate::run::Cancel;

/// All that is done.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigPlan {
    /// The snapshot.
    pub snapshot: u64,
    /// Topic by topic.
    pub topics: Vec<TopicConfigPlan>,
    /// What is in the way. A plan with any is not applied.
    pub obstacles: Vec<Obstacle>,
}

/// One topic.
#[derive(Clone, Debug, Serialize)]
pub struct TopicConfigPlan {
    /// Its name in the backup.
    pub source: String,
    /// Its name in the cluster.
    pub target: String,
    /// Its partitions in the backup.
    pub source_partitions: usize,
    /// What is done with it.
    pub action: ConfigAction,
}

/// What is done with a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConfigAction {
    /// It is created.
    Create {
        /// Number of partitions.
        partitions: i32,
        /// Replicas of each; the cluster's default if not known.
        replication_factor: Option<i32>,
        /// Its configuration.
        config: BTreeMap<String, String>,
    },
    /// It is there.
    Change {
        /// Its partitions in the cluster, which stay as they are.
        partitions: usize,
        /// Entries that get another value. All others stay.
        changes: BTreeMap<String, ConfigChange>,
    },
}

/// One entry that gets another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigChange {
    /// What holds now, whoever set it; null where the cluster does not tell.
    pub from: Option<String>,
    /// What was saved.
    pub to: String,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigReport {
    /// The snapshot.
    pub snapshot: u64,
    /// Topics that were created.
    pub topics_created: usize,
    /// Topics that were there and got other values.
    pub topics_changed: usize,
    /// Topics that were as they should be.
    pub topics_unchanged: usize,
    /// A signal came before all was done. What was done is whole for each topic, and to be done again without harm.
    pub interrupted: bool,
}

/// Plans it: reads no record, and changes nothing.
///
/// # Errors
///
/// If the cluster cannot be asked.
pub async fn plan_config(
    snapshot: &Digested<Snapshot>,
    options: &Options,
) -> Result<ConfigPlan, PlanError> {
    let targets = options.targets.values().cloned().collect();
    let cluster = ask_in_background(&options.kafka, targets, Vec::new()).await?;
    let sources = options.targets.iter();
    let topics: Vec<_> = sources
        .filter_map(|(source, target)| Some((newest_of(snapshot, source)?, target)))
        .map(|(topic, target)| plan_topic(topic, target, options, &cluster))
        .collect();
    let obstacles = topics
        .iter()
        .flat_map(|topic| obstacles(topic, &cluster))
        .collect();
    Ok(ConfigPlan {
        snapshot: snapshot.sequence,
        topics,
        obstacles,
    })
}

fn plan_topic(
    topic: &TopicState,
    target: &str,
    options: &Options,
    cluster: &Cluster,
) -> TopicConfigPlan {
    let saved = config::own(topic.config.clone().unwrap_or_default());
    let action = match cluster.topics.get(target) {
        Some(existing) => ConfigAction::Change {
            partitions: existing.partitions,
            changes: changes(saved, existing),
        },
        None => ConfigAction::Create {
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: options.replication_factor_of(topic),
            config: saved,
        },
    };
    TopicConfigPlan {
        source: topic.name.to_string(),
        target: target.to_owned(),
        source_partitions: topic.partitions.len(),
        action,
    }
}

/// A value that the cluster's default gives today is set all the same: it was the topic's own, and defaults change.
fn changes(
    saved: BTreeMap<String, String>,
    existing: &ExistingTopic,
) -> BTreeMap<String, ConfigChange> {
    let entry = |key: &str| existing.config.as_ref()?.get(key);
    let is_set = |key: &str, value: &str| {
        entry(key).is_some_and(|entry| {
            entry.source == ConfigSource::Topic && entry.value.as_deref() == Some(value)
        })
    };
    saved
        .into_iter()
        .filter(|(key, value)| !is_set(key, value))
        .map(|(key, to)| {
            let from = entry(&key).and_then(|entry| entry.value.clone());
            (key, ConfigChange { from, to })
        })
        .collect()
}

fn obstacles(topic: &TopicConfigPlan, cluster: &Cluster) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    preflight::check_internal(&topic.source, &mut obstacles);
    if let ConfigAction::Create {
        replication_factor, ..
    } = &topic.action
    {
        preflight::check_replicas(&topic.target, *replication_factor, cluster, &mut obstacles);
    }
    obstacles
}

/// Applies `plan`. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// If the cluster refuses; the topics before that one are done.
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
        topics_unchanged: 0,
        interrupted: false,
    };
    for topic in &plan.topics {
        if cancel.is_set() {
            report.interrupted = true;
            break;
        }
        match &topic.action {
            ConfigAction::Create {
                partitions,
                replication_factor,
                config,
            } => {
                admin.create_topic(&topic.target, *partitions, *replication_factor, config)?;
                report.topics_created += 1;
            }
            ConfigAction::Change { changes, .. } if changes.is_empty() => {
                report.topics_unchanged += 1;
            }
            ConfigAction::Change { changes, .. } => {
                let changes = changes.iter();
                let values = changes.map(|(key, change)| (key.clone(), Some(change.to.clone())));
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
    fn only_what_the_topic_has_not_set_to_this_value_is_changed() {
        let config = [
            ("cleanup.policy", entry("compact", ConfigSource::Topic)),
            ("retention.ms", entry("1000", ConfigSource::Topic)),
            ("retention.bytes", entry("-1", ConfigSource::Default)),
            ("segment.ms", entry("5", ConfigSource::Topic)),
        ];
        let existing = ExistingTopic {
            partitions: 1,
            offsets: Vec::new(),
            config: Some(config.map(|(key, entry)| (key.to_owned(), entry)).into()),
        };
        let saved = [
            ("cleanup.policy", "compact"),
            ("retention.ms", "2000"),
            ("retention.bytes", "-1"),
        ];
        let saved = saved.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let changes = changes(saved.into(), &existing);
        let changes: Vec<_> = changes
            .iter()
            .map(|(key, change)| (key.as_str(), change.from.as_deref(), change.to.as_str()))
            .collect();
        assert_eq!(
            changes,
            [
                ("retention.bytes", Some("-1"), "-1"),
                ("retention.ms", Some("1000"), "2000"),
            ]
        );
    }
}
