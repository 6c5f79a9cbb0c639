//! What a restore of groups will commit: decided without changing anything.
//!
//! Each partition of the backup that went to one of the cluster as a whole hands its committed offset on to that one. In a
//! topic that was repartitioned ([`super::merge`]) the offsets of all its partitions decide together.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{
    GroupState, GroupTopic, Id, OffsetAndMetadata, PartitionId, RepoError, Repository, RestoreId,
    RestoredTopic, Snapshot,
};
use kbk_tools::restores::{FinishedRestore, OffsetMapError, Translated};
use serde::Serialize;

use super::merge::{self, Committed};

use crate::kafka::{Admin, ClientSettings, CommittedTopic, GroupDescription, KafkaError};
use crate::select::{NamePattern, SelectError, select_groups};

/// What becomes of the groups.
#[derive(Clone, Debug, Serialize)]
pub struct GroupsPlan {
    /// The restore whose offset map is used.
    pub restore: RestoreId,
    /// The snapshot that the groups are from.
    pub snapshot: u64,
    /// Kafka's id of the cluster; none where it was not asked.
    pub cluster_id: Option<String>,
    /// The groups.
    pub groups: Vec<GroupPlan>,
}

/// What becomes of one group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupPlan {
    /// Its id.
    pub group: String,
    /// Members that it has in the cluster now: with any it is not changed.
    pub members: usize,
    /// Whether the cluster has it.
    pub exists: bool,
    /// What is committed for it.
    pub offsets: Vec<OffsetPlan>,
    /// What it had committed that no target takes.
    pub left_out: Vec<SourcePartition>,
    /// Partitions of repartitioned topics for which it had committed nothing, though for others: they count as not read.
    pub unread: Vec<SourcePartition>,
}

/// One committed offset.
#[derive(Clone, Debug, Serialize)]
pub struct OffsetPlan {
    /// The topic in the backup.
    pub source_topic: String,
    /// The partition in the backup.
    pub source_partition: i32,
    /// What was committed when it was saved.
    pub source_offset: i64,
    /// Where that is in the cluster.
    pub target: Translated,
    /// What is kept beside it.
    pub metadata: String,
    /// Records behind it that the group had read already.
    pub read_again: u64,
    /// What the cluster's group has committed there now.
    pub before: Option<OffsetAndMetadata>,
}

/// A partition of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourcePartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum GroupsPlanError {
    /// The snapshot has none.
    #[error("snapshot {0} says nothing of consumer groups: no backup up to it has saved them")]
    NoGroups(u64),
    /// No group is meant.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The cluster is not the one that was restored into.
    #[error(
        "restore {restore} was into cluster {expected}, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// The restore.
        restore: RestoreId,
        /// Its cluster.
        expected: String,
        /// The one that was given.
        found: String,
    },
    /// The offset map.
    #[error(transparent)]
    Map(#[from] OffsetMapError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Translates the committed offsets of the chosen groups. Nothing is asked of a cluster.
///
/// # Errors
///
/// Where the snapshot has no such groups, or the offset map cannot be read.
pub async fn translate(
    repository: &Repository,
    snapshot: &Snapshot,
    restore: &FinishedRestore,
    patterns: &[NamePattern],
) -> Result<GroupsPlan, GroupsPlanError> {
    let Some(found) = &snapshot.groups else {
        return Err(GroupsPlanError::NoGroups(snapshot.sequence));
    };
    let names: Vec<&str> = found.groups.iter().map(|g| g.group.as_str()).collect();
    let chosen = select_groups(patterns, &names)?;
    let is_chosen = |group: &&GroupState| chosen.contains(group.group.as_str());
    let groups: Vec<&GroupState> = found.groups.iter().filter(is_chosen).collect();
    let targets = targets(repository, restore, &groups).await?;
    let mut plans: Vec<_> = groups
        .iter()
        .map(|group| GroupPlan::new(group, restore, &targets))
        .collect();
    merge::count_read_again(repository, restore, &groups, &mut plans).await?;
    Ok(GroupsPlan {
        restore: restore.restore.restore.clone(),
        snapshot: snapshot.sequence,
        cluster_id: None,
        groups: plans,
    })
}

/// Where each offset of each partition went that one of the groups stands at. Pages are read once for all groups.
type Targets = BTreeMap<PartitionId, BTreeMap<i64, Vec<Translated>>>;

async fn targets(
    repository: &Repository,
    restore: &FinishedRestore,
    groups: &[&GroupState],
) -> Result<Targets, RepoError> {
    let mut wanted: BTreeMap<PartitionId, BTreeSet<i64>> = BTreeMap::new();
    for topic in groups.iter().flat_map(|group| &group.topics) {
        let stands = restored_topic(restore, topic).map(|restored| Committed::all(topic, restored));
        for committed in stands.into_iter().flatten() {
            let offsets = wanted.entry(committed.place).or_default();
            offsets.insert(committed.offset);
        }
    }
    let mut targets = Targets::new();
    for (place, offsets) in wanted {
        let offsets: Vec<i64> = offsets.into_iter().collect();
        let translated = restore.translate(repository, &place, &offsets).await?;
        let translated = translated.unwrap_or_default();
        targets.insert(place, offsets.into_iter().zip(translated).collect());
    }
    Ok(targets)
}

impl GroupPlan {
    fn new(group: &GroupState, restore: &FinishedRestore, targets: &Targets) -> GroupPlan {
        let mut plan = GroupPlan {
            group: group.group.clone(),
            members: 0,
            exists: false,
            offsets: Vec::new(),
            left_out: Vec::new(),
            unread: Vec::new(),
        };
        for topic in &group.topics {
            plan.add(topic, restored_topic(restore, topic), targets);
        }
        plan
    }

    fn add(&mut self, topic: &GroupTopic, restored: Option<&RestoredTopic>, targets: &Targets) {
        let source = |partition| SourcePartition {
            topic: topic.topic.to_string(),
            partition,
        };
        let taken: Vec<i32> = restored
            .into_iter()
            .flat_map(|restored| &restored.partitions)
            .map(|restored| restored.partition)
            .collect();
        let committed = topic.partitions.iter().map(|committed| committed.partition);
        let left_out = committed.filter(|partition| !taken.contains(partition));
        self.left_out.extend(left_out.map(source));
        let Some(restored) = restored else {
            return;
        };
        let stands = Committed::all(topic, restored);
        let unread = stands
            .iter()
            .filter(|committed| committed.metadata.is_none());
        let unread = unread.map(|committed| source(committed.place.partition));
        self.unread.extend(unread);
        let mut found: Vec<(Committed, &[Translated])> = Vec::with_capacity(stands.len());
        for committed in stands {
            let at = targets.get(&committed.place);
            if let Some(translated) = at.and_then(|at| at.get(&committed.offset)) {
                found.push((committed, translated));
            }
        }
        self.offsets.extend(match restored.repartitioned() {
            Some(_) => merge::merged(&found),
            None => found.iter().filter_map(merge::handed_on).collect(),
        });
    }
}

/// What became of a topic. One of the same name and another id is another one, unless one of the ids is not known.
pub(super) fn restored_topic<'a>(
    restore: &'a FinishedRestore,
    topic: &GroupTopic,
) -> Option<&'a RestoredTopic> {
    let restored = restore.topic(&topic.topic)?;
    let unknown = topic.topic_id == Id::ZERO || restored.topic_id == Id::ZERO;
    (unknown || restored.topic_id == topic.topic_id).then_some(restored)
}

/// The same, with what the cluster says of these groups now. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Where the cluster cannot be asked, or is another one than that of the restore.
pub fn plan(
    mut plan: GroupsPlan,
    restore: &FinishedRestore,
    kafka: &ClientSettings,
) -> Result<GroupsPlan, GroupsPlanError> {
    let admin = Admin::connect(kafka)?;
    plan.cluster_id = admin.cluster()?.id;
    if let (Some(expected), Some(found)) = (&restore.restore.cluster_id, &plan.cluster_id)
        && expected != found
    {
        return Err(GroupsPlanError::OtherCluster {
            restore: plan.restore,
            expected: expected.clone(),
            found: found.clone(),
        });
    }
    let names: Vec<&str> = plan.groups.iter().map(|g| g.group.as_str()).collect();
    let mut described = admin.describe_groups(&names)?;
    let mut committed = admin.committed_offsets(&names)?;
    for group in &mut plan.groups {
        let described = described.take(group.group.as_str())?;
        let committed = committed.take(group.group.as_str())?;
        group.look_at(described, committed.unwrap_or_default());
    }
    Ok(plan)
}

impl GroupPlan {
    fn look_at(&mut self, described: Option<GroupDescription>, committed: Vec<CommittedTopic>) {
        self.members = described.as_ref().map_or(0, |found| found.members);
        let before: BTreeMap<(String, i32), OffsetAndMetadata> = committed
            .into_iter()
            .flat_map(|topic| {
                topic.partitions.into_iter().map(move |committed| {
                    let position = OffsetAndMetadata {
                        offset: committed.offset,
                        metadata: committed.metadata,
                    };
                    ((topic.topic.clone(), committed.partition), position)
                })
            })
            .collect();
        self.exists = described.is_some() || !before.is_empty();
        for offset in &mut self.offsets {
            let place = (offset.target.topic.to_string(), offset.target.partition);
            offset.before = before.get(&place).cloned();
        }
    }
}

impl GroupsPlan {
    /// Groups that somebody is a member of: they would commit over what is committed in their place.
    pub fn in_use(&self) -> impl Iterator<Item = &GroupPlan> {
        self.groups.iter().filter(|group| group.members > 0)
    }

    /// Topics of the backup that groups had read and the restore did not take.
    #[must_use]
    pub fn topics_left_out(&self) -> BTreeSet<&str> {
        let left_out = self.groups.iter().flat_map(|group| &group.left_out);
        left_out.map(|left_out| left_out.topic.as_str()).collect()
    }

    /// Records that groups had read and will read once more.
    #[must_use]
    pub fn read_again(&self) -> u64 {
        let offsets = self.groups.iter().flat_map(|group| &group.offsets);
        offsets.map(|offset| offset.read_again).sum()
    }
}
