//! The configurations of the surveyed topics: what is set, and what it says about their records.

use std::collections::BTreeMap;
use std::time::Duration;

use kbk_format::TimestampType;
use kbk_format::repo::{Hex, Id, Snapshot};

use super::notice::BackupNotice;
use super::survey::SurveyedTopic;
use crate::kafka::{Admin, ConfigSource, Configuration, KafkaError};

/// What is known of a topic's configuration.
#[derive(Clone, Debug)]
pub(super) struct TopicConfig {
    /// The values that are set on the topic itself, or why they are unknown.
    pub(super) values: Result<BTreeMap<String, String>, ConfigUnknown>,
    /// Whether `cleanup.policy` has `compact`, set on the topic or on its brokers; `None` if it is unknown.
    pub(super) compacted: Option<bool>,
    /// `delete.retention.ms`; `None` if it is unknown.
    pub(super) delete_retention: Option<Duration>,
    /// The type of new records; each record that is read has its own.
    pub(super) timestamp_type: TimestampType,
}

/// Why the cluster did not report a topic's configuration.
#[derive(Clone, Debug)]
pub(super) struct ConfigUnknown {
    pub(super) cause: String,
    /// Whether this principal lacks a permission; otherwise the cluster reports it to nobody.
    pub(super) denied: bool,
}

impl From<&KafkaError> for ConfigUnknown {
    fn from(error: &KafkaError) -> ConfigUnknown {
        ConfigUnknown {
            cause: error.to_string(),
            denied: error.is_denied(),
        }
    }
}

impl From<Result<Configuration, ConfigUnknown>> for TopicConfig {
    fn from(reported: Result<Configuration, ConfigUnknown>) -> TopicConfig {
        let config = reported.as_ref().ok();
        TopicConfig {
            compacted: config.and_then(compacted),
            delete_retention: config.and_then(delete_retention),
            timestamp_type: timestamp_type(config),
            values: reported.map(|config| values_of_the_topic(&config)),
        }
    }
}

/// Asks for the configuration of each topic. Records matter more than settings: whatever a topic's answer is, the backup continues, and the
/// report names what is missing.
pub(super) fn survey(
    admin: &Admin,
    names: &[String],
) -> Result<BTreeMap<String, TopicConfig>, KafkaError> {
    match admin.topic_configs_each(names) {
        Ok(configs) => {
            let config = |(name, reported): (String, Result<Configuration, KafkaError>)| {
                let reported = reported.map_err(|error| ConfigUnknown::from(&error));
                (name, TopicConfig::from(reported))
            };
            Ok(configs.into_iter().map(config).collect())
        }
        Err(error) if error.is_denied() || error.is_unsupported() => {
            let unknown = Err(ConfigUnknown::from(&error));
            let config = |name: &String| (name.clone(), TopicConfig::from(unknown.clone()));
            Ok(names.iter().map(config).collect())
        }
        Err(error) => Err(error),
    }
}

/// Reports the topics whose configuration is unknown.
pub(super) fn notice(topics: &[SurveyedTopic], newest: Option<&Snapshot>) -> Option<BackupNotice> {
    let unknown = topics
        .iter()
        .filter_map(|topic| Some((topic, topic.config.values.as_ref().err()?)));
    let (mut kept, mut missing, mut first) = (Vec::new(), Vec::new(), None);
    for (topic, why) in unknown {
        first.get_or_insert(why);
        let description = &topic.description;
        let kafka_id = Some(Hex(description.topic_id)).filter(|id| *id != Id::ZERO);
        let saved = newest
            .zip(description.name.parse().ok())
            .and_then(|(newest, name)| newest.history(&name, kafka_id))
            .is_some_and(|saved| saved.config.is_some());
        let list = if saved { &mut kept } else { &mut missing };
        list.push(description.name.clone());
    }
    first.map(|why| BackupNotice::ConfigUnknown {
        cause: why.cause.clone(),
        denied: why.denied,
        kept,
        missing,
    })
}

fn values_of_the_topic(config: &Configuration) -> BTreeMap<String, String> {
    config
        .iter()
        .filter(|(_, entry)| entry.source == ConfigSource::Topic && !entry.sensitive)
        .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
        .collect()
}

fn compacted(config: &Configuration) -> Option<bool> {
    let policy = config.get("cleanup.policy")?.value.as_deref()?;
    Some(policy.split(',').any(|word| word.trim() == "compact"))
}

fn delete_retention(config: &Configuration) -> Option<Duration> {
    let value = config.get("delete.retention.ms")?.value.as_deref()?;
    value.parse().ok().map(Duration::from_millis)
}

fn timestamp_type(config: Option<&Configuration>) -> TimestampType {
    let value = config.and_then(|config| config.get("message.timestamp.type")?.value.as_deref());
    match value {
        Some("LogAppendTime") => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    }
}
