//! What a restore of groups will commit: decided without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{
    CommittedPosition, GroupState, GroupTopic, Id, Place, RepoError, Repository, RestoreId,
    Snapshot,
};
use kbk_tools::offset_map::{FinishedRestore, OffsetMapError, Translated};
use serde::Serialize;

use crate::cli::{NamePattern, SelectError, select_groups};
use crate::kafka::{Admin, ClientSettings, CommittedTopic, GroupDescription, KafkaError};

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
    pub left_out: Vec<LeftOut>,
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
    /// What the cluster's group has committed there now.
    pub before: Option<CommittedPosition>,
}

/// A committed offset of a partition that the restore did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The topic in the backup.
    pub topic: String,
    /// The partition in the backup.
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
    Ok(GroupsPlan {
        restore: restore.restore.restore.clone(),
        snapshot: snapshot.sequence,
        cluster_id: None,
        groups: groups
            .into_iter()
            .map(|group| GroupPlan::new(group, restore, &targets))
            .collect(),
    })
}

/// Where each offset of each partition went that one of the groups has committed. Pages are read once for all groups.
type Targets<'a> = BTreeMap<&'a Place, BTreeMap<i64, Translated>>;

async fn targets<'a>(
    repository: &Repository,
    restore: &'a FinishedRestore,
    groups: &[&GroupState],
) -> Result<Targets<'a>, RepoError> {
    let mut wanted: BTreeMap<&Place, BTreeSet<i64>> = BTreeMap::new();
    for topic in groups.iter().flat_map(|group| &group.topics) {
        for committed in &topic.partitions {
            if let Some(place) = restored_place(restore, topic, committed.partition) {
                wanted.entry(place).or_default().insert(committed.offset);
            }
        }
    }
    let mut targets = Targets::new();
    for (place, offsets) in wanted {
        let offsets: Vec<i64> = offsets.into_iter().collect();
        let translated = restore.translate(repository, place, &offsets).await?;
        let translated = translated.unwrap_or_default();
        targets.insert(place, offsets.into_iter().zip(translated).collect());
    }
    Ok(targets)
}

impl GroupPlan {
    fn new(group: &GroupState, restore: &FinishedRestore, targets: &Targets<'_>) -> GroupPlan {
        let (mut offsets, mut left_out) = (Vec::new(), Vec::new());
        for topic in &group.topics {
            for committed in &topic.partitions {
                let target = restored_place(restore, topic, committed.partition)
                    .and_then(|place| targets.get(place)?.get(&committed.offset));
                match target {
                    Some(target) => offsets.push(OffsetPlan {
                        source_topic: topic.topic.to_string(),
                        source_partition: committed.partition,
                        source_offset: committed.offset,
                        target: target.clone(),
                        metadata: committed.metadata.clone(),
                        before: None,
                    }),
                    None => left_out.push(LeftOut {
                        topic: topic.topic.to_string(),
                        partition: committed.partition,
                    }),
                }
            }
        }
        GroupPlan {
            group: group.group.clone(),
            members: 0,
            exists: false,
            offsets,
            left_out,
        }
    }
}

/// A topic of the same name and another id is another topic, unless one of the ids is not known.
fn restored_place<'a>(
    restore: &'a FinishedRestore,
    topic: &GroupTopic,
    partition: i32,
) -> Option<&'a Place> {
    let place = restore.place(&topic.topic, partition)?;
    let unknown = topic.topic_id == Id::ZERO || place.topic_id == Id::ZERO;
    (unknown || place.topic_id == topic.topic_id).then_some(place)
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
    let described = admin.describe_groups(&names)?;
    let committed = admin.committed_offsets(&names)?;
    for ((group, described), committed) in plan.groups.iter_mut().zip(described).zip(committed) {
        group.look_at(described, committed.unwrap_or_default());
    }
    Ok(plan)
}

impl GroupPlan {
    fn look_at(&mut self, described: Option<GroupDescription>, committed: Vec<CommittedTopic>) {
        self.members = described.as_ref().map_or(0, |found| found.members);
        let before: BTreeMap<(String, i32), CommittedPosition> = committed
            .into_iter()
            .flat_map(|topic| {
                topic.partitions.into_iter().map(move |committed| {
                    let position = CommittedPosition {
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
}
