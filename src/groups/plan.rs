//! Plans which offsets a restore of groups commits, without side effects.
//!
//! The committed offset of a partition that was restored as a whole is translated to its target. In a repartitioned topic, the offsets
//! of all partitions decide together ([`super::merge`]).

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{
    Digested, GroupState, GroupTopic, OffsetAndMetadata, PartitionId, RepoError, RepoErrorKind,
    Repository, RestoreId, RestoredTopic, Snapshot,
};
use kbk_format::{OffsetSpan, PartitionNumber};
use kbk_tools::original;
use kbk_tools::restores::{FinishedRestore, OffsetMapError, Translated};
use serde::Serialize;

use super::merge::{self, SourceOffset};
use super::without_offsets::{is_of, why_none};
use crate::kafka::{
    AclOperation, Admin, ClientSettings, CommittedTopic, GroupDescription, KafkaError, Permission,
};
use crate::select::{NamePattern, SelectError, select_groups};

/// What is committed for all groups.
#[derive(Clone, Debug, Serialize)]
pub struct GroupsPlan {
    /// The restore whose offset map is used.
    pub restore: RestoreId,
    /// The snapshot that the groups are from.
    pub snapshot: u64,
    /// Kafka's id of the cluster; `None` if no cluster was contacted.
    pub cluster_id: Option<String>,
    /// The groups.
    pub groups: Vec<GroupPlan>,
}

/// What is committed for one group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupPlan {
    /// The group's id.
    pub group: String,
    /// The number of members that it has in the cluster now. A group with members is not changed.
    pub members: usize,
    /// Whether the cluster has the group.
    pub exists: bool,
    /// The offsets to commit.
    pub offsets: Vec<OffsetPlan>,
    /// Partitions with a committed offset that were not restored.
    pub left_out: Vec<SourcePartition>,
    /// Partitions without a committed offset in repartitioned topics that have others: they count as unread.
    pub unread: Vec<SourcePartition>,
    /// Why no offset is committed of it; null where one is.
    pub no_offsets: Option<String>,
    /// Offsets that the group had not read, and that had expired before the restore: it resumes after them.
    pub expired: Vec<ExpiredUnread>,
}

/// Offsets of a partition that a group had not read, and that have expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiredUnread {
    /// The topic in the backup.
    pub topic: String,
    /// The partition in the backup.
    pub partition: PartitionNumber,
    /// The offsets.
    pub offsets: OffsetSpan,
}

impl ExpiredUnread {
    /// Returns what a group with this committed offset had not read of what expired; `None` where that is nothing.
    fn of(
        snapshot: &Snapshot,
        committed: &SourceOffset,
        restored: &RestoredTopic,
    ) -> Option<ExpiredUnread> {
        let id = &committed.id;
        let expired = snapshot.partition(id)?.expired_offsets()?;
        let mut partitions = restored.partitions.iter();
        let begins = partitions
            .find(|it| it.partition == id.partition)?
            .base_offset;
        let from = committed.offset.max(expired.base_offset);
        let offsets = from..expired.end_offset.min(begins);
        (committed.metadata.is_some() && !offsets.is_empty()).then(|| ExpiredUnread {
            topic: id.topic.to_string(),
            partition: id.partition,
            offsets: offsets.into(),
        })
    }
}

/// One offset to commit.
#[derive(Clone, Debug, Serialize)]
pub struct OffsetPlan {
    /// The topic in the backup.
    pub source_topic: String,
    /// The partition in the backup.
    pub source_partition: PartitionNumber,
    /// The committed offset in the backup.
    pub source_offset: i64,
    /// The same position in the cluster.
    pub target: Translated,
    /// The metadata that is committed with it.
    pub metadata: String,
    /// Records after it that the group had already read.
    pub read_again: u64,
    /// What the group has committed there in the cluster now.
    pub before: Option<OffsetAndMetadata>,
}

/// A partition of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourcePartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
}

/// Why groups cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum GroupsPlanError {
    /// The snapshot has no groups.
    #[error("snapshot {snapshot} has no consumer groups: {why}")]
    NoGroups {
        /// The snapshot.
        snapshot: u64,
        /// Why it has none.
        why: String,
    },
    /// The snapshot of the restore was forgotten.
    #[error(
        "snapshot {snapshot}, which has the groups of restore {restore}, was forgotten; `kbk groups map TOPIC OFFSET` translates offsets without it"
    )]
    Forgotten {
        /// The restore.
        restore: RestoreId,
        /// Its snapshot.
        snapshot: u64,
    },
    /// The patterns select no group.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The cluster is not the one that was restored to.
    #[error(
        "restore {restore} wrote to cluster {expected}, and this is cluster {found}; check --bootstrap-server"
    )]
    OtherCluster {
        /// The restore.
        restore: RestoreId,
        /// The cluster that it wrote to.
        expected: String,
        /// The one that was given.
        found: String,
    },
    /// The principal may not commit the offsets.
    #[error(
        "nothing was committed: this principal lacks {}",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  and ")
    )]
    MissingRights(Vec<Permission>),
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

impl GroupsPlanError {
    /// Creates the error of a snapshot without groups.
    pub(crate) fn no_groups(snapshot: &Snapshot) -> GroupsPlanError {
        GroupsPlanError::NoGroups {
            snapshot: snapshot.sequence,
            why: original::never_saved(snapshot),
        }
    }
}

/// Reads the snapshot of a finished restore, which may have been forgotten since.
///
/// # Errors
///
/// If it was, or cannot be read.
pub async fn snapshot_of(
    repository: &Repository,
    restore: &FinishedRestore,
) -> Result<Digested<Snapshot>, GroupsPlanError> {
    let snapshot = restore.restore.snapshot.sequence;
    let read = repository.snapshot(snapshot).await;
    read.map_err(|error| match error.kind() {
        RepoErrorKind::Forgotten { .. } => GroupsPlanError::Forgotten {
            restore: restore.restore.restore.clone(),
            snapshot,
        },
        _ => error.into(),
    })
}

/// Translates the committed offsets of the selected groups. Does not connect to a cluster.
///
/// # Errors
///
/// Fails if the snapshot has no such groups, or if the offset map cannot be read.
pub async fn translate(
    repository: &Repository,
    snapshot: &Snapshot,
    restore: &FinishedRestore,
    patterns: &[NamePattern],
) -> Result<GroupsPlan, GroupsPlanError> {
    let Some(found) = repository.groups(snapshot).await? else {
        return Err(GroupsPlanError::no_groups(snapshot));
    };
    let names: Vec<&str> = found.groups.iter().map(|g| g.group.as_str()).collect();
    let chosen = select_groups(patterns, &names)?;
    let is_chosen = |group: &&GroupState| chosen.contains(group.group.as_str());
    let groups: Vec<&GroupState> = found.groups.iter().filter(is_chosen).collect();
    let targets = targets(repository, restore, &groups).await?;
    let mut plans: Vec<_> = groups
        .iter()
        .map(|group| (*group, GroupPlan::new(group, snapshot, restore, &targets)))
        .collect();
    merge::count_read_again(repository, restore, &mut plans).await?;
    Ok(GroupsPlan {
        restore: restore.restore.restore.clone(),
        snapshot: snapshot.sequence,
        cluster_id: None,
        groups: plans.into_iter().map(|(_, plan)| plan).collect(),
    })
}

/// The target offsets of every committed offset of every partition, read once for all groups.
type Targets = BTreeMap<PartitionId, BTreeMap<i64, Vec<Translated>>>;

async fn targets(
    repository: &Repository,
    restore: &FinishedRestore,
    groups: &[&GroupState],
) -> Result<Targets, RepoError> {
    let mut wanted: BTreeMap<PartitionId, BTreeSet<i64>> = BTreeMap::new();
    for topic in groups.iter().flat_map(|group| &group.topics) {
        let source_offsets =
            restored_topic(restore, topic).map(|restored| SourceOffset::all(topic, restored));
        for committed in source_offsets.into_iter().flatten() {
            let offsets = wanted.entry(committed.id).or_default();
            offsets.insert(committed.offset);
        }
    }
    let mut targets = Targets::new();
    for (id, offsets) in wanted {
        let offsets: Vec<i64> = offsets.into_iter().collect();
        let translated = restore.translate(repository, &id, &offsets).await?;
        // Only partitions of restored topics are translated, so each is in the map.
        let translated = translated.expect("a restored partition has an offset map");
        assert_eq!(
            translated.len(),
            offsets.len(),
            "one translation per offset"
        );
        targets.insert(id, offsets.into_iter().zip(translated).collect());
    }
    Ok(targets)
}

impl GroupPlan {
    fn new(
        group: &GroupState,
        snapshot: &Snapshot,
        restore: &FinishedRestore,
        targets: &Targets,
    ) -> GroupPlan {
        let mut plan = GroupPlan {
            group: group.group.clone(),
            members: 0,
            exists: false,
            offsets: Vec::new(),
            left_out: Vec::new(),
            unread: Vec::new(),
            no_offsets: why_none(group, &restore.restore.topics),
            expired: Vec::new(),
        };
        for topic in &group.topics {
            plan.add(snapshot, topic, restored_topic(restore, topic), targets);
        }
        plan
    }

    fn add(
        &mut self,
        snapshot: &Snapshot,
        topic: &GroupTopic,
        restored: Option<&RestoredTopic>,
        targets: &Targets,
    ) {
        let source = |partition| SourcePartition {
            topic: topic.topic.to_string(),
            partition,
        };
        let taken: Vec<PartitionNumber> = restored
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
        let source_offsets = SourceOffset::all(topic, restored);
        let unread = source_offsets
            .iter()
            .filter(|committed| committed.metadata.is_none());
        let unread = unread.map(|committed| source(committed.id.partition));
        self.unread.extend(unread);
        let expired = source_offsets.iter();
        self.expired
            .extend(expired.filter_map(|it| ExpiredUnread::of(snapshot, it, restored)));
        let mut found: Vec<(SourceOffset, &[Translated])> =
            Vec::with_capacity(source_offsets.len());
        for committed in source_offsets {
            let at = targets.get(&committed.id);
            if let Some(translated) = at.and_then(|at| at.get(&committed.offset)) {
                found.push((committed, translated));
            }
        }
        self.offsets.extend(match restored.repartitioned() {
            Some(_) => merge::merged(&found),
            None => found.iter().filter_map(merge::translated).collect(),
        });
    }
}

/// Returns how a topic was restored.
pub(super) fn restored_topic<'a>(
    restore: &'a FinishedRestore,
    topic: &GroupTopic,
) -> Option<&'a RestoredTopic> {
    let mut topics = restore.topics(&topic.topic);
    topics.find(|restored| is_of(topic, restored))
}

/// Completes a plan with what the cluster reports about its groups now. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// Fails if the cluster does not answer, or is not the one that was restored to.
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
    let missing = missing_rights(&admin, &plan)?;
    if !missing.is_empty() {
        return Err(GroupsPlanError::MissingRights(missing));
    }
    let names: Vec<&str> = plan.groups.iter().map(|g| g.group.as_str()).collect();
    let mut described = admin.describe_groups(&names)?;
    let mut committed = admin.committed_offsets(&names)?;
    for group in &mut plan.groups {
        let described = described.take(group.group.as_str())?;
        let committed = committed.take(group.group.as_str())?;
        group.compare_with(described, committed.unwrap_or_default());
    }
    Ok(plan)
}

/// Returns what committing the offsets lacks. It is checked before anything is read: brokers omit the committed offsets of topics that
/// this principal may not describe, and a rollback would take them for absent.
fn missing_rights(admin: &Admin, plan: &GroupsPlan) -> Result<Vec<Permission>, KafkaError> {
    let groups: Vec<&str> = plan.groups.iter().map(|g| g.group.as_str()).collect();
    let offsets = plan.groups.iter().flat_map(|group| &group.offsets);
    let topics: BTreeSet<String> = offsets
        .map(|offset| offset.target.topic.to_string())
        .collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let read = AclOperation::Read;
    let on_groups = admin.group_rights(&groups)?.into_iter();
    let on_groups = on_groups
        .filter(|(_, rights)| !rights.allow(read))
        .map(|(group, _)| Permission::group(read, &group));
    let on_topics = admin.topic_rights(&topics)?.into_iter();
    let on_topics = on_topics
        .filter(|(_, rights)| !rights.allow(read))
        .map(|(topic, _)| Permission::topic(read, &topic));
    Ok(on_groups.chain(on_topics).collect())
}

impl GroupPlan {
    fn compare_with(
        &mut self,
        described: Option<GroupDescription>,
        committed: Vec<CommittedTopic>,
    ) {
        self.members = described.as_ref().map_or(0, |found| found.members);
        let before: BTreeMap<(String, PartitionNumber), OffsetAndMetadata> = committed
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
            let target = (offset.target.topic.to_string(), offset.target.partition);
            offset.before = before.get(&target).cloned();
        }
    }
}

impl GroupsPlan {
    /// Returns the groups that have members, which would overwrite the restored offsets.
    pub fn in_use(&self) -> impl Iterator<Item = &GroupPlan> {
        self.groups.iter().filter(|group| group.members > 0)
    }

    /// Returns the groups that have no members, and of which an offset is committed.
    pub fn changed(&self) -> impl Iterator<Item = &GroupPlan> {
        let changed = |group: &&GroupPlan| group.members == 0 && !group.offsets.is_empty();
        self.groups.iter().filter(changed)
    }

    /// Returns the topics with committed offsets that were not restored.
    #[must_use]
    pub fn topics_left_out(&self) -> BTreeSet<&str> {
        let left_out = self.groups.iter().flat_map(|group| &group.left_out);
        left_out.map(|left_out| left_out.topic.as_str()).collect()
    }

    /// Returns how many records the groups that are changed had read and will read again.
    #[must_use]
    pub fn read_again(&self) -> u64 {
        let offsets = self.changed().flat_map(|group| &group.offsets);
        offsets.map(|offset| offset.read_again).sum()
    }
}
