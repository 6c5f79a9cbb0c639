//! What the target cluster has before a restore.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;

use crate::blocking::blocking;
use crate::kafka::{
    Admin, ClientSettings, ConfigEntry, ConfigSource, KafkaError, PartitionOffsets,
    TopicDescription, TopicPartition,
};

/// The target cluster, as far as a plan depends on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetCluster {
    pub(crate) id: Option<String>,
    pub(crate) brokers: usize,
    /// The groups to restore that have members, and how many.
    pub(crate) members: Vec<(String, usize)>,
    pub(crate) topics: BTreeMap<String, ExistingTopic>,
    /// What topics are configured with that have no values of their own, as far as the cluster reports it.
    pub(crate) defaults: BTreeMap<String, String>,
}

/// A target topic that already exists.
#[derive(Clone, Debug)]
pub(crate) struct ExistingTopic {
    /// Whether it is one of Kafka's own.
    pub(crate) internal: bool,
    pub(crate) partitions: usize,
    pub(crate) offsets: BTreeMap<PartitionNumber, PartitionOffsets>,
    /// `None` where the cluster does not report it.
    pub(crate) config: Option<BTreeMap<String, ConfigEntry>>,
}

impl ExistingTopic {
    /// Returns the bounds of a partition, if the topic has it.
    pub(crate) fn offsets(&self, partition: PartitionNumber) -> Option<&PartitionOffsets> {
        self.offsets.get(&partition)
    }

    /// Returns how many records a partition can hold at most, by its offsets: transaction markers, and records that were aborted or
    /// compacted away, have offsets too. A partition that the topic lacks holds none.
    pub(crate) fn records(&self, partition: PartitionNumber) -> u64 {
        self.offsets(partition).map_or(0, |offsets| {
            offsets.high_watermark.abs_diff(offsets.log_start_offset)
        })
    }

    /// Returns the end of a partition; one that the topic lacks, which is an obstacle of the plan, ends at 0.
    pub(crate) fn end(&self, partition: PartitionNumber) -> i64 {
        self.offsets(partition)
            .map_or(0, |offsets| offsets.high_watermark)
    }

    /// Returns a value of its configuration, if the cluster reports it.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.get(key)?.value.as_deref()
    }
}

impl TargetCluster {
    /// Describes the cluster, its topics among `targets` and its groups among `groups`.
    pub(crate) async fn describe(
        kafka: &ClientSettings,
        targets: Vec<String>,
        groups: Vec<String>,
    ) -> Result<TargetCluster, KafkaError> {
        let kafka = kafka.clone();
        blocking(move || describe(&kafka, &targets, &groups)).await
    }
}

fn describe(
    kafka: &ClientSettings,
    targets: &[String],
    groups: &[String],
) -> Result<TargetCluster, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let cluster = admin.cluster()?;
    let mut found = admin.describe_topics(None)?;
    let defaults = defaults(&admin, &found);
    found.retain(|topic| targets.contains(&topic.name));
    let names: Vec<String> = found.iter().map(|topic| topic.name.clone()).collect();
    let configs = match admin.topic_configs(&names) {
        Ok(configs) => Some(configs),
        // A missing permission is reported together with all others.
        Err(error) if error.is_unsupported() || error.is_denied() => None,
        Err(error) => return Err(error),
    };
    let partitions: Vec<_> = found.iter().flat_map(partitions_of).collect();
    let offsets = admin.offsets(&partitions)?;
    let existing = |topic: TopicDescription| {
        let of_topic = partitions_of(&topic).into_iter();
        let offsets = of_topic.map(|key| Ok((key.partition, *offsets.get(&key)?)));
        let existing = ExistingTopic {
            internal: topic.internal,
            partitions: topic.partitions.len(),
            offsets: offsets.collect::<Result<_, KafkaError>>()?,
            config: configs
                .as_ref()
                .and_then(|configs| configs.get(&topic.name).cloned()),
        };
        Ok((topic.name, existing))
    };
    Ok(TargetCluster {
        id: cluster.id,
        brokers: cluster.brokers,
        members: members(&admin, groups)?,
        defaults,
        topics: found
            .into_iter()
            .map(existing)
            .collect::<Result<_, KafkaError>>()?,
    })
}

/// Returns the values that some topics have from their brokers. Where there is no topic, or their configuration is not reported, nothing is
/// known.
fn defaults(admin: &Admin, topics: &[TopicDescription]) -> BTreeMap<String, String> {
    const SAMPLE: usize = 10;
    // Kafka sets some values of its own topics, and users may set others, such as retention, of all of theirs. They are asked about one after
    // the other, since this principal may be allowed to read the configuration of one kind alone.
    let (internal, others): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| topic.internal);
    let configs = [others, internal].map(|topics| {
        let names = topics.into_iter().take(SAMPLE);
        let names: Vec<String> = names.map(|topic| topic.name.clone()).collect();
        admin.topic_configs(&names).unwrap_or_else(|error| {
            tracing::debug!("defaults of the cluster are not known: {error}");
            BTreeMap::new()
        })
    });
    let entries = configs
        .into_iter()
        .flat_map(BTreeMap::into_values)
        .flatten();
    let inherited = entries
        .filter(|(_, entry)| matches!(entry.source, ConfigSource::Broker | ConfigSource::Default));
    inherited
        .filter_map(|(key, entry)| Some((key, entry.value?)))
        .collect()
}

/// Returns the groups that have members, and how many.
fn members(admin: &Admin, groups: &[String]) -> Result<Vec<(String, usize)>, KafkaError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let described = match admin.describe_groups(&names) {
        // As above.
        Err(error) if error.is_denied() => return Ok(Vec::new()),
        described => described?,
    };
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
