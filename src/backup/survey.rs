//! Surveys the cluster at the start of a run: reads everything that the plan needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kbk_format::repo::TopicNameError;
use kbk_format::{PartitionNumber, TimestampType};

use super::acls::{self, SaveAcls, SurveyedAcls};
use super::groups::{self, SurveyedGroups};
use crate::kafka::{
    Admin, ConfigEntry, ConfigSource, KafkaError, PartitionOffsets, TopicDescription,
    TopicPartition,
};
use crate::run::Cancel;
use crate::select::{SelectError, TopicSelection};

/// How often open transactions are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The selected topics of a cluster, with its groups and ACLs.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub(super) cluster_id: Option<String>,
    pub(super) topics: Vec<SurveyedTopic>,
    /// Why the cluster did not return configurations.
    pub(super) config_unknown: Option<String>,
    pub(super) groups: SurveyedGroups,
    pub(super) acls: SurveyedAcls,
}

/// A topic with its configuration and the ends of its logs.
#[derive(Clone, Debug)]
pub(super) struct SurveyedTopic {
    pub(super) description: TopicDescription,
    /// The values that are set on the topic itself; `None` if they are unknown.
    pub(super) config: Option<BTreeMap<String, String>>,
    /// Whether `cleanup.policy` has `compact`, set on the topic or on its brokers; `None` if it is unknown.
    pub(super) compacted: Option<bool>,
    /// `delete.retention.ms`; `None` if it is unknown.
    pub(super) delete_retention: Option<Duration>,
    /// The type of new records; each record that is read has its own.
    pub(super) timestamp_type: TimestampType,
    /// By partition.
    pub(super) offsets: BTreeMap<PartitionNumber, PartitionOffsets>,
}

/// Why a survey failed.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The selection of topics.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A group has committed offsets of a topic with a name that Kafka does not allow.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// All ACLs were required, and the Kafka client cannot represent some.
    #[error(
        "the cluster has {} that the Kafka client cannot represent (on delegation tokens or users, or with an operation newer than \
         the client); without --acls all others are saved",
        crate::human::counted(*.acls as u64, "ACL")
    )]
    AclsLeftOut {
        /// How many.
        acls: usize,
    },
}

/// Reads everything about the topics that `selection` covers, and all consumer groups and ACLs unless they are disabled.
pub(super) fn survey(
    admin: &Admin,
    selection: &TopicSelection,
    with_groups: bool,
    save_acls: SaveAcls,
) -> Result<Survey, SurveyError> {
    let cluster = admin.cluster()?;
    let all = admin.describe_topics(None)?;
    // Sorted, which the search below relies on.
    let chosen = selection.select(
        all.iter()
            .map(|topic| (topic.name.as_str(), topic.internal)),
    )?;
    let groups = if with_groups {
        groups::survey(admin, &all)?
    } else {
        SurveyedGroups::default()
    };
    let acls = acls::survey(admin, save_acls)?;
    let (configs, config_unknown) = match admin.topic_configs(&chosen) {
        Ok(configs) => (Some(configs), None),
        // Records matter more than settings: the backup continues, and the report names what is missing.
        Err(error @ KafkaError::Authorization { .. }) => (None, Some(error.to_string())),
        Err(error) if error.is_unsupported() => (None, Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let chosen: Vec<TopicDescription> = all
        .into_iter()
        .filter(|topic| chosen.binary_search(&topic.name).is_ok())
        .collect();
    let offsets = admin.offsets(&partitions(&chosen))?;
    let topics = chosen
        .into_iter()
        .map(|description| {
            let of_topic = partitions(std::slice::from_ref(&description));
            let of_topic = of_topic
                .iter()
                .map(|name| Ok((name.partition, *offsets.get(name)?)));
            let config = configs
                .as_ref()
                .and_then(|configs| configs.get(&description.name));
            Ok(SurveyedTopic {
                config: config.map(values_of_the_topic),
                compacted: compacted(config),
                delete_retention: delete_retention(config),
                timestamp_type: timestamp_type(config),
                offsets: of_topic.collect::<Result<_, KafkaError>>()?,
                description,
            })
        })
        .collect::<Result<_, KafkaError>>()?;
    Ok(Survey {
        cluster_id: cluster.id,
        topics,
        config_unknown,
        groups,
        acls,
    })
}

fn partitions(topics: &[TopicDescription]) -> Vec<TopicPartition> {
    let of_topic = |topic: &TopicDescription| -> Vec<TopicPartition> {
        topic
            .partitions
            .iter()
            .map(|partition| TopicPartition::new(&topic.name, partition.id))
            .collect()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn values_of_the_topic(config: &BTreeMap<String, ConfigEntry>) -> BTreeMap<String, String> {
    config
        .iter()
        .filter(|(_, entry)| entry.source == ConfigSource::Topic && !entry.sensitive)
        .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
        .collect()
}

fn compacted(config: Option<&BTreeMap<String, ConfigEntry>>) -> Option<bool> {
    let policy = config?.get("cleanup.policy")?.value.as_deref()?;
    Some(policy.split(',').any(|word| word.trim() == "compact"))
}

fn delete_retention(config: Option<&BTreeMap<String, ConfigEntry>>) -> Option<Duration> {
    let value = config?.get("delete.retention.ms")?.value.as_deref()?;
    value.parse().ok().map(Duration::from_millis)
}

fn timestamp_type(config: Option<&BTreeMap<String, ConfigEntry>>) -> TimestampType {
    let value = config.and_then(|config| config.get("message.timestamp.type")?.value.as_deref());
    match value {
        Some("LogAppendTime") => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    }
}

impl Survey {
    /// Waits until the transactions that were open at the start have ended, for at most `wait`. A `read_committed` consumer
    /// reads up to the first open one. High watermarks stay those of the start.
    pub(super) fn wait_for_open_transactions(
        &mut self,
        admin: &Admin,
        wait: Duration,
        cancel: &Cancel,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + wait;
        let mut logged = false;
        while self.held_back().next().is_some() && Instant::now() < deadline && !cancel.is_set() {
            if !logged {
                tracing::info!("waiting up to {wait:?} for open transactions to end");
                logged = true;
            }
            std::thread::sleep(
                CHECK_INTERVAL.min(deadline.saturating_duration_since(Instant::now())),
            );
            self.update_stable_offsets(admin)?;
        }
        Ok(())
    }

    /// Returns the partitions whose last stable offset is below the high watermark.
    fn held_back(&self) -> impl Iterator<Item = TopicPartition> {
        self.topics.iter().flat_map(|topic| {
            topic
                .offsets
                .iter()
                .filter(|(_, offsets)| offsets.last_stable_offset < offsets.high_watermark)
                .map(|(partition, _)| TopicPartition::new(&topic.description.name, *partition))
        })
    }

    fn update_stable_offsets(&mut self, admin: &Admin) -> Result<(), KafkaError> {
        let held_back: Vec<_> = self.held_back().collect();
        let now = admin.offsets(&held_back)?;
        for SurveyedTopic {
            description,
            offsets,
            ..
        } in &mut self.topics
        {
            for (partition, before) in offsets {
                if before.last_stable_offset < before.high_watermark {
                    let name = TopicPartition::new(&description.name, *partition);
                    let stable = now.get(&name)?.last_stable_offset;
                    before.last_stable_offset = stable.min(before.high_watermark);
                }
            }
        }
        Ok(())
    }
}
