//! How far a snapshot lags behind its cluster, by the bounds of the logs. No record is read.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::PartitionNumber;
use kbk_format::repo::{Hex, Id, PartitionState, Snapshot};
use serde::Serialize;

use crate::kafka::{
    Admin, ClientSettings, KafkaError, PartitionOffsets, TopicDescription, TopicPartition,
};
use crate::select::{SelectError, TopicSelection};

/// Why the lag is not known.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The selection of topics.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The cluster is not the one that was backed up.
    #[error(
        "the snapshot is of cluster {backed_up}, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// Kafka's id of the cluster of the snapshot.
        backed_up: String,
        /// Kafka's id of the cluster that answered.
        found: String,
    },
}

/// What became of a topic since its backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicLagState {
    /// The snapshot has every offset.
    UpToDate,
    /// The cluster has newer offsets.
    Behind,
    /// No snapshot has it.
    NotBackedUp,
    /// The cluster has another topic of its name.
    Recreated,
    /// The log ends below what is stored: it lost records.
    Shorter,
    /// The cluster no longer has it.
    Gone,
    /// The principal may not describe it.
    Hidden,
    /// No partition of it can be compared.
    Unknown,
}

impl TopicLagState {
    /// Returns the state for people.
    pub fn in_words(self) -> &'static str {
        match self {
            TopicLagState::UpToDate => "up to date",
            TopicLagState::Behind => "behind",
            TopicLagState::NotBackedUp => "not backed up",
            TopicLagState::Recreated => "created again",
            TopicLagState::Shorter => "log is shorter",
            TopicLagState::Gone => "gone",
            TopicLagState::Hidden => "not visible",
            TopicLagState::Unknown => "no leader",
        }
    }
}

/// How far the backup of one topic lags behind the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicLag {
    /// The topic's name.
    pub topic: String,
    /// What became of it.
    pub state: TopicLagState,
    /// Partitions that the cluster has.
    pub partitions: u64,
    /// Partitions with offsets that the snapshot does not have.
    pub partitions_behind: u64,
    /// Offsets that the cluster has and the snapshot does not: records, and markers of transactions.
    pub new_offsets: u64,
    /// Offsets that the cluster has deleted and no backup has read.
    pub lost_offsets: u64,
    /// Offsets before those that are stored that the snapshot had, and that `kbk expire` removed by the age of their records.
    pub expired_offsets: u64,
    /// Partitions that have no leader, so that nothing is known of them.
    pub partitions_unknown: u64,
}

/// The bounds of a topic's logs; `None` for a partition without a leader.
type Bounds = BTreeMap<PartitionNumber, Option<PartitionOffsets>>;

/// Returns the lag of every selected topic that the snapshot or the cluster has, by name. Blocks.
///
/// # Errors
///
/// Where the cluster is another one or does not answer, or the selection matches nothing.
pub fn lag(
    kafka: &ClientSettings,
    snapshot: &Snapshot,
    selection: &TopicSelection,
) -> Result<Vec<TopicLag>, LagError> {
    let admin = Admin::connect(kafka)?;
    let found = admin.cluster()?.id;
    if let (Some(backed_up), Some(found)) = (&snapshot.cluster_id, found)
        && *backed_up != found
    {
        let backed_up = backed_up.clone();
        return Err(LagError::OtherCluster { backed_up, found });
    }
    let topics = admin.describe_topics(None)?;
    let saved = snapshot.topics.iter().filter(|topic| !topic.deleted);
    let saved = saved.map(|topic| (&*topic.name, topic.internal));
    let named = topics.iter().map(|topic| (&*topic.name, topic.internal));
    let chosen = selection.select(saved.chain(named))?;
    let chosen: BTreeSet<&str> = chosen.iter().map(String::as_str).collect();
    let topics: BTreeMap<&str, &TopicDescription> = topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic))
        .filter(|(name, _)| chosen.contains(name))
        .collect();
    let absent = chosen.iter().filter(|name| !topics.contains_key(**name));
    let absent: Vec<String> = absent.map(|name| (*name).to_owned()).collect();
    let hidden = match absent.is_empty() {
        true => BTreeSet::new(),
        false => admin.hidden_topics(&absent)?,
    };
    let bounds = bounds(&admin, topics.values().copied())?;
    let mut lags = Vec::with_capacity(chosen.len());
    for name in chosen {
        let lag = match (topics.get(name), bounds.get(name)) {
            (Some(topic), Some(bounds)) => of_topic(topic, bounds, snapshot),
            _ if hidden.contains(name) => TopicLag::absent(name, TopicLagState::Hidden),
            _ => TopicLag::absent(name, TopicLagState::Gone),
        };
        lags.push(lag);
    }
    Ok(lags)
}

fn bounds<'a>(
    admin: &Admin,
    topics: impl Iterator<Item = &'a TopicDescription> + Clone,
) -> Result<BTreeMap<&'a str, Bounds>, KafkaError> {
    let led = topics.clone().flat_map(|topic| {
        let led = topic.partitions.iter().filter(|one| one.leader >= 0);
        led.map(|one| TopicPartition::new(&topic.name, one.id))
    });
    let found = admin.offsets(&led.collect::<Vec<_>>())?;
    let of_topic = |topic: &'a TopicDescription| {
        let partitions = topic.partitions.iter().map(|one| {
            let bounds = match one.leader >= 0 {
                true => Some(*found.get(&TopicPartition::new(&topic.name, one.id))?),
                false => None,
            };
            Ok((one.id, bounds))
        });
        Ok((
            topic.name.as_str(),
            partitions.collect::<Result<_, KafkaError>>()?,
        ))
    };
    topics.map(of_topic).collect()
}

fn of_topic(topic: &TopicDescription, bounds: &Bounds, snapshot: &Snapshot) -> TopicLag {
    let live = snapshot.topics.iter().filter(|saved| !saved.deleted);
    let namesake = live.clone().find(|saved| *saved.name == *topic.name);
    let kafka_id = Some(Hex(topic.topic_id)).filter(|id| *id != Id::ZERO);
    let saved = namesake.filter(|saved| saved.kafka_id == kafka_id);
    let mut lag = TopicLag {
        topic: topic.name.clone(),
        state: TopicLagState::UpToDate,
        partitions: bounds.len() as u64,
        partitions_behind: 0,
        new_offsets: 0,
        lost_offsets: 0,
        expired_offsets: 0,
        partitions_unknown: 0,
    };
    let mut shorter = false;
    for (partition, bounds) in bounds {
        let stored = saved.and_then(|saved| saved.partitions.get(partition.index()));
        let expired = stored.and_then(PartitionState::expired_offsets);
        let expired = expired.map_or(0, |it| it.end_offset.abs_diff(it.base_offset));
        lag.expired_offsets = lag.expired_offsets.saturating_add(expired);
        match bounds {
            Some(bounds) => shorter |= lag.add(bounds, stored),
            None => lag.partitions_unknown += 1,
        }
    }
    lag.state = match (saved, namesake) {
        (None, Some(_)) => TopicLagState::Recreated,
        (None, None) => TopicLagState::NotBackedUp,
        (Some(_), _) if shorter => TopicLagState::Shorter,
        (Some(_), _) if lag.partitions_behind > 0 => TopicLagState::Behind,
        (Some(_), _) if lag.partitions_unknown > 0 => TopicLagState::Unknown,
        (Some(_), _) => TopicLagState::UpToDate,
    };
    lag
}

impl TopicLag {
    fn absent(topic: &str, state: TopicLagState) -> TopicLag {
        TopicLag {
            topic: topic.to_owned(),
            state,
            partitions: 0,
            partitions_behind: 0,
            new_offsets: 0,
            lost_offsets: 0,
            expired_offsets: 0,
            partitions_unknown: 0,
        }
    }

    /// Adds a partition. Returns whether its log ends below what is stored.
    fn add(&mut self, bounds: &PartitionOffsets, stored: Option<&PartitionState>) -> bool {
        let end = bounds.high_watermark;
        let (stored_end, lost) = match stored {
            Some(stored) => {
                let lost = bounds.log_start_offset.saturating_sub(stored.end_offset);
                (stored.end_offset, lost.max(0))
            }
            // What the log held before its first backup was never expected.
            None => (bounds.log_start_offset, 0),
        };
        let behind = end
            .saturating_sub(stored_end.max(bounds.log_start_offset))
            .max(0);
        self.partitions_behind += u64::from(behind > 0 || lost > 0);
        self.new_offsets = self.new_offsets.saturating_add(behind.unsigned_abs());
        self.lost_offsets = self.lost_offsets.saturating_add(lost.unsigned_abs());
        end < stored_end
    }
}
