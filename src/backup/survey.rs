//! Surveys the cluster at the start of a run: reads everything that the plan needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kbk_format::PartitionNumber;
use kbk_format::repo::TopicNameError;

use super::acls::{self, SaveAcls, SurveyedAcls};
use super::config::{self, ConfigUnknown, TopicConfig};
use super::groups::{self, SurveyedGroups};
use super::{hidden, leaders};
use crate::kafka::{
    Admin, Answers, KafkaError, PartitionDescription, PartitionOffsets, TopicDescription,
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
    /// The names of all topics that the cluster listed.
    pub(super) listed: BTreeSet<String>,
    /// Topics that are selected by name, and that this principal may not describe, each with the cause.
    pub(super) hidden: BTreeMap<String, String>,
    /// Whether the selection may cover more topics, which the cluster hides from this principal.
    pub(super) may_lack_some: bool,
    pub(super) groups: SurveyedGroups,
    pub(super) acls: SurveyedAcls,
}

/// A topic with its configuration and the ends of its logs.
#[derive(Clone, Debug)]
pub(super) struct SurveyedTopic {
    pub(super) description: TopicDescription,
    pub(super) config: TopicConfig,
    /// By partition; those without a leader have none.
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
    /// The selection of topics, where the cluster may hide some.
    #[error(
        "{0}; brokers do not list topics that this principal may not describe, which DESCRIBE on TOPIC permits (kafka-acls --operation \
         Describe --topic NAME)"
    )]
    SelectAmongSome(SelectError),
    /// This principal may not describe any of the selected topics.
    #[error("none of the selected topics can be backed up: {cause}")]
    Hidden {
        /// The cause, of one of them.
        cause: String,
    },
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
    cancel: &Cancel,
) -> Result<Survey, SurveyError> {
    let cluster = admin.cluster()?;
    let mut all = admin.describe_topics(None)?;
    let listed: BTreeSet<String> = all.iter().map(|topic| topic.name.clone()).collect();
    let hidden = hidden_by_name(admin, selection, &listed)?;
    // Sorted, which the searches below rely on.
    let chosen = match choose(selection, &all, &hidden) {
        Err(SurveyError::Select(error)) if hidden::may_lack_some(admin, &all)? => {
            return Err(SurveyError::SelectAmongSome(error));
        }
        chosen => chosen?,
    };
    let is_chosen = |topic: &TopicDescription| chosen.binary_search(&topic.name).is_ok();
    let matters = |topic: &TopicDescription| {
        is_chosen(topic) || with_groups && topic.name == groups::OFFSETS_TOPIC
    };
    leaders::wait(admin, &mut all, matters, cancel)?;
    let groups = if with_groups {
        groups::survey(admin, &all)?
    } else {
        SurveyedGroups::default()
    };
    let acls = acls::survey(admin, save_acls)?;
    let mut configs = config::survey(admin, &chosen)?;
    let may_lack_some = !selection.is_by_name() && hidden::may_lack_some(admin, &all)?;
    let mut described: Vec<TopicDescription> = all.into_iter().filter(is_chosen).collect();
    let offsets = leaders::offsets(admin, &mut described)?;
    let topics = described
        .into_iter()
        .map(|description| {
            let config = configs.remove(&description.name);
            surveyed(description, config, &offsets)
        })
        .collect();
    Ok(Survey {
        cluster_id: cluster.id,
        topics,
        listed,
        hidden,
        may_lack_some,
        groups,
        acls,
    })
}

/// Returns the topics that are selected by name, and that this principal may not describe, each with the cause.
fn hidden_by_name(
    admin: &Admin,
    selection: &TopicSelection,
    listed: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, KafkaError> {
    let names = selection.names().filter(|name| selection.matches(name));
    let unlisted = names.filter(|name| !listed.contains(*name));
    let unlisted: Vec<String> = unlisted.map(str::to_owned).collect();
    hidden::among(admin, &unlisted)
}

/// Returns the names of the selected topics that the cluster shows, sorted.
fn choose(
    selection: &TopicSelection,
    all: &[TopicDescription],
    hidden: &BTreeMap<String, String>,
) -> Result<Vec<String>, SurveyError> {
    let shown = all
        .iter()
        .map(|topic| (topic.name.as_str(), topic.internal));
    let hidden_names = hidden.keys().map(|name| (name.as_str(), false));
    let mut chosen = selection.select(shown.chain(hidden_names))?;
    chosen.retain(|name| !hidden.contains_key(name));
    match hidden.values().next() {
        Some(cause) if chosen.is_empty() => Err(SurveyError::Hidden {
            cause: cause.clone(),
        }),
        _ => Ok(chosen),
    }
}

fn surveyed(
    description: TopicDescription,
    config: Option<TopicConfig>,
    offsets: &Answers<TopicPartition, PartitionOffsets>,
) -> SurveyedTopic {
    let config = config.unwrap_or_else(|| {
        TopicConfig::from(Err(ConfigUnknown {
            cause: format!("the answer lacks topic {}", description.name),
            denied: true,
        }))
    });
    let of_partition = |partition: &PartitionDescription| {
        let found = offsets.get(&TopicPartition::new(&description.name, partition.id));
        // A partition without a leader was not asked about.
        Some((partition.id, *found.ok()?))
    };
    SurveyedTopic {
        config,
        offsets: description
            .partitions
            .iter()
            .filter_map(of_partition)
            .collect(),
        description,
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
            match self.update_stable_offsets(admin) {
                // A leader was lost: what it hides is left to the next run, as if its transaction had stayed open.
                Err(error @ KafkaError::Timeout { .. }) => {
                    tracing::warn!("no longer waiting for open transactions: {error}");
                    return Ok(());
                }
                updated => updated?,
            }
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
