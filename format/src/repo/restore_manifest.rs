//! What a restore does (SPEC section 11.7): `restores/<restore>/begun.json`, first, durable before anything is written to a cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::id::Id;
use super::keys::{Key, PartitionId, TopicName};
use super::manifest::ParentRef;
use super::members;
use super::offset_map::{MapPage, MapRun};
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;
use crate::PartitionNumber;

/// What a restore was asked to do: everything that is needed to resume it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreManifest {
    /// Its name.
    pub restore: RestoreId,
    /// The repository that it restores from.
    pub repository_id: Id,
    /// When it began.
    pub started_at: Timestamp,
    /// Program and version.
    pub writer: String,
    /// The snapshot it restores from.
    pub snapshot: ParentRef,
    /// Kafka's id of the target cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// The smallest timestamp of the selected records, in milliseconds.
    pub min_timestamp: i64,
    /// The largest timestamp of the selected records, in milliseconds.
    pub max_timestamp: i64,
    /// The number of transactional producers; 0 where it writes without transactions and cannot be resumed.
    pub producers: usize,
    /// Whether others may write to the targets, too; otherwise the restore is to be the only one.
    pub append: bool,
    /// How fast it may write.
    pub rate_limit: RateLimit,
    /// Patterns of the consumer groups to restore once the records are; none for no groups.
    pub groups: Vec<String>,
    /// Whether missing ACLs are created after that.
    pub acls: bool,
    /// Names of headers that it leaves out of every record, in strictly ascending order.
    pub drop_headers: Vec<String>,
    /// The topics that are restored.
    pub topics: Vec<RestoredTopic>,
}

/// How fast a restore may write, over all its producers; null means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Bytes per second: of keys, values and headers before compression, and of batches that are written as they are.
    pub bytes: Option<u64>,
    /// Records per second.
    pub records: Option<u64>,
}

/// One topic of a restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoredTopic {
    /// Its name in the backup.
    pub topic: TopicName,
    /// Its id in the backup.
    pub topic_id: Id,
    /// Its name in the cluster.
    pub target: TopicName,
    /// Whether what the target's partitions held before is deleted first.
    pub purge: bool,
    /// How the target is created, if the restore creates it.
    pub create: Option<CreatedTopic>,
    /// Changes to the target's configuration once all records are written; null removes an entry.
    #[serde(deserialize_with = "members::unique")]
    pub config_afterwards: BTreeMap<String, Option<String>>,
    /// The partitions of the target that are written to; contiguous from 0 where the topic is repartitioned.
    pub targets: Vec<TargetPartition>,
    /// The partitions that are restored.
    pub partitions: Vec<RestoredPartition>,
}

/// A topic that a restore creates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each; the cluster's default if null.
    pub replication_factor: Option<i32>,
    /// The configuration that it is created with.
    #[serde(deserialize_with = "members::unique")]
    pub config: BTreeMap<String, String>,
}

/// One partition of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredPartition {
    /// Its number in the backup.
    pub partition: PartitionNumber,
    /// The first selected offset in the backup.
    pub base_offset: i64,
    /// The exclusive end of the selected offsets.
    pub end_offset: i64,
    /// Its number in the cluster; null where the topic is repartitioned and the key of each record selects its partition.
    pub target_partition: Option<PartitionNumber>,
}

/// A partition of the cluster that a restore writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPartition {
    /// Its number.
    pub partition: PartitionNumber,
    /// Its end offset before the restore.
    pub offset: i64,
}

impl Document for RestoreManifest {
    const FORMAT: &'static str = "kbk-restore";
}

impl RestoreManifest {
    /// A restore of every record of these topics, with one transactional producer and nothing else asked for.
    #[must_use]
    pub fn of_everything(
        restore: RestoreId,
        repository_id: Id,
        snapshot: ParentRef,
        topics: Vec<RestoredTopic>,
    ) -> RestoreManifest {
        RestoreManifest {
            restore,
            repository_id,
            started_at: Timestamp::UNIX_EPOCH,
            writer: String::new(),
            snapshot,
            cluster_id: None,
            min_timestamp: i64::MIN,
            max_timestamp: i64::MAX,
            producers: 1,
            append: false,
            rate_limit: RateLimit::default(),
            groups: Vec::new(),
            acls: false,
            drop_headers: Vec::new(),
            topics,
        }
    }

    /// Returns what is restored of one partition of the backup.
    #[must_use]
    pub fn partition(&self, id: &PartitionId) -> Option<(&RestoredTopic, &RestoredPartition)> {
        let mut topics = self.topics.iter();
        let topic =
            topics.find(|topic| (&topic.topic, topic.topic_id) == (&id.topic, id.topic_id))?;
        let mut partitions = topic.partitions.iter();
        let partition = partitions.find(|wanted| wanted.partition == id.partition)?;
        Some((topic, partition))
    }

    /// Returns the groups that keep the restore's progress in the target cluster: one, unless a topic gets fewer partitions than
    /// are restored of it.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let needed = self.topics.iter().map(RestoredTopic::groups);
        let count = needed.max().unwrap_or(0).max(1);
        (0..count).map(|number| self.group(number)).collect()
    }

    fn group(&self, number: usize) -> String {
        let name = format!("{}{}", Self::GROUP_PREFIX, self.restore);
        match number {
            0 => name,
            number => format!("{name}.{number}"),
        }
    }

    /// Returns the group in which a run that takes the restore over says who it is.
    #[must_use]
    pub fn run_group(&self) -> String {
        format!("{}.run", self.group(0))
    }

    /// Returns where the position of `topic.partitions[index]` is committed; `None` if the topic has no such partition.
    #[must_use]
    pub fn progress(&self, topic: &RestoredTopic, index: usize) -> Option<CommittedPosition> {
        let (group, partition) = match topic.partitions.get(index)?.target_partition {
            Some(target) => (0, target),
            // Brokers reject committed offsets for partitions that do not exist, and the target may have fewer than the backup.
            None => {
                let size = topic.targets.len();
                let target = topic.targets.get(index.checked_rem(size)?)?;
                (index / size, target.partition)
            }
        };
        Some(CommittedPosition {
            group: self.group(group),
            topic: topic.target.clone(),
            partition,
        })
    }

    /// Returns the transactional id of producer number `producer`.
    #[must_use]
    pub fn transactional_id(&self, producer: usize) -> String {
        format!("{}-{producer}", self.group(0))
    }

    /// The prefix of the names of these groups.
    pub const GROUP_PREFIX: &'static str = "kbk-restore-";

    /// The group in which all restores claim the partitions that they write to.
    pub const CLAIMS_GROUP: &'static str = "kbk-restore-claims";

    fn check(&self) -> std::result::Result<(), String> {
        if !self.drop_headers.is_sorted_by(|one, next| one < next) {
            return Err("drop_headers are not in strictly ascending order".to_owned());
        }
        let mut names = BTreeSet::new();
        for topic in &self.topics {
            if !names.insert(&topic.target) {
                return Err(format!("{} is the target of two topics", topic.target));
            }
            topic.check()?;
        }
        Ok(())
    }
}

/// Where the position of a restored partition is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPosition {
    /// The group.
    pub group: String,
    /// The topic in the cluster.
    pub topic: TopicName,
    /// A partition of that topic.
    pub partition: PartitionNumber,
}

impl RestoredTopic {
    /// Returns the number of partitions that keys are distributed over; `None` where each partition has a target of its own.
    #[must_use]
    pub fn repartitioned(&self) -> Option<usize> {
        let by_key = |partition: &RestoredPartition| partition.target_partition.is_none();
        self.partitions
            .iter()
            .any(by_key)
            .then_some(self.targets.len())
    }

    /// Returns the number of groups that its positions need.
    fn groups(&self) -> usize {
        let size = self.repartitioned().unwrap_or(usize::MAX);
        self.partitions.len().div_ceil(size.max(1))
    }

    fn check(&self) -> std::result::Result<(), String> {
        let mut before = None;
        for target in &self.targets {
            if Some(target.partition) <= before || target.offset < 0 {
                let name = &self.target;
                return Err(format!("{name}: {target:?} is out of order"));
            }
            before = Some(target.partition);
        }
        let keyed = self.repartitioned().is_some();
        if keyed && !self.is_gapless() {
            let name = &self.target;
            return Err(format!(
                "{name} is repartitioned, but its target partitions are not contiguous from 0"
            ));
        }
        let (mut before, mut taken) = (None, BTreeSet::new());
        for partition in &self.partitions {
            let RestoredPartition {
                partition: number,
                base_offset,
                end_offset,
                target_partition,
            } = *partition;
            let bounds = base_offset >= 0 && base_offset <= end_offset;
            let target = match target_partition {
                Some(target) => !keyed && taken.insert(target) && self.target(target).is_some(),
                None => true,
            };
            if Some(number) <= before || !bounds || !target {
                let name = &self.topic;
                return Err(format!(
                    "{name}/{number} is not a valid selection: {partition:?}"
                ));
            }
            before = Some(number);
        }
        Ok(())
    }

    /// Returns a partition of the cluster that is written to.
    #[must_use]
    pub fn target(&self, partition: PartitionNumber) -> Option<&TargetPartition> {
        let targets = &self.targets;
        let found = targets.binary_search_by_key(&partition, |target| target.partition);
        targets.get(found.ok()?)
    }

    /// Returns whether `partition` covers a page of its offset map: every offset and target in it is one the restore may write.
    #[must_use]
    pub fn covers(&self, partition: &RestoredPartition, page: &MapPage) -> bool {
        let is_inside =
            partition.base_offset <= page.base_offset && page.end_offset <= partition.end_offset;
        let is_allowed = |run: &MapRun| {
            let selected = partition.target_partition.unwrap_or(run.target_partition);
            let target = self.target(run.target_partition);
            selected == run.target_partition
                && target.is_some_and(|target| target.offset <= run.target_offset)
        };
        is_inside && page.runs.iter().all(is_allowed)
    }

    fn is_gapless(&self) -> bool {
        let numbers = self.targets.iter().map(|target| target.partition);
        !self.targets.is_empty()
            && PartitionNumber::all()
                .zip(numbers)
                .all(|(number, found)| number == found)
    }
}

impl Repository {
    /// Records that a restore begins; durable when this returns, which must be before the first write to the cluster.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`](super::RepoErrorKind::Refused) if another one has this name, or the error of the store.
    pub async fn begin_restore(&self, restore: &RestoreManifest) -> Result<()> {
        let key = Key::RestoreBegun {
            restore: restore.restore.clone(),
        };
        let refused = |detail| self.store().refused(&key, detail);
        restore.check().map_err(refused)?;
        match self.store().put_if_absent(&key, seal(restore).0).await? {
            Put::Done => self.store().sync_folders([key.to_string()]).await,
            Put::Exists => Err(refused("another restore has this name".to_owned())),
        }
    }

    /// Reads the manifest of a restore; `None` if none has this name.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn restore(&self, restore: &RestoreId) -> Result<Option<RestoreManifest>> {
        let key = Key::RestoreBegun {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<RestoreManifest>(&key).await? else {
            return Ok(None);
        };
        let ours = self.identity().repository_id;
        let checked = match found.check() {
            Ok(()) if found.restore != *restore => Err(format!("it is restore {}", found.restore)),
            Ok(()) if found.repository_id != ours => Err(format!(
                "it is of repository {}, and kbk.json states {ours}",
                found.repository_id
            )),
            checked => checked,
        };
        checked.map_err(|detail| self.store().damaged(&key, detail))?;
        Ok(Some(found.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest with one topic: the targets of its partitions, and the number of partitions of the cluster.
    fn restore(partitions: &[Option<u16>], targets: i32) -> RestoreManifest {
        let partition = |(number, target): (PartitionNumber, &Option<u16>)| RestoredPartition {
            partition: number,
            base_offset: 0,
            end_offset: 10,
            target_partition: target.map(PartitionNumber::from),
        };
        let target = |partition| TargetPartition {
            partition,
            offset: 0,
        };
        let snapshot = ParentRef {
            sequence: 1,
            sha256: "0".repeat(64).parse().unwrap(),
        };
        let topic = RestoredTopic {
            topic: "t".parse().unwrap(),
            topic_id: Id::ZERO,
            target: "copy".parse().unwrap(),
            purge: false,
            create: None,
            config_afterwards: BTreeMap::new(),
            targets: PartitionNumber::first(targets).map(target).collect(),
            partitions: PartitionNumber::all()
                .zip(partitions)
                .map(partition)
                .collect(),
        };
        RestoreManifest::of_everything("r".parse().unwrap(), Id::ZERO, snapshot, vec![topic])
    }

    #[test]
    fn no_two_partitions_commit_their_progress_to_the_same_position() {
        for (count, targets) in [(1, 1), (1, 4), (4, 4), (4, 3), (9, 3), (7, 1)] {
            let restore = restore(&vec![None; count], targets);
            assert_eq!(restore.check(), Ok(()));
            let topic = &restore.topics[0];
            assert_eq!(topic.repartitioned(), usize::try_from(targets).ok());
            let groups = restore.groups();
            assert_eq!(
                groups.len(),
                count.div_ceil(usize::try_from(targets).unwrap())
            );
            let mut positions = BTreeSet::new();
            for index in 0..count {
                let CommittedPosition {
                    group, partition, ..
                } = restore.progress(topic, index).unwrap();
                assert!(groups.contains(&group) && (0..targets).contains(&partition.get()));
                assert!(positions.insert((group, partition)));
            }
        }
        let more = restore(&[None; 4], 3);
        assert_eq!(more.groups(), ["kbk-restore-r", "kbk-restore-r.1"]);
        let mapped = restore(&[Some(2), Some(0)], 3);
        let progress = mapped.progress(&mapped.topics[0], 0).unwrap();
        assert_eq!(
            (&*progress.group, progress.partition.get()),
            ("kbk-restore-r", 2)
        );
        assert_eq!(mapped.progress(&mapped.topics[0], 2), None);
        assert_eq!(mapped.groups().len(), 1);
    }

    #[test]
    fn contradictory_manifests_are_refused() {
        let refused = |restore: RestoreManifest| restore.check().is_err();
        assert!(!refused(restore(&[Some(1), Some(0)], 2)));
        assert!(refused(restore(&[Some(1), Some(1)], 2)), "two in one");
        assert!(refused(restore(&[Some(2)], 2)), "no such target");
        assert!(refused(restore(&[Some(0), None], 2)), "half by key");
        assert!(refused(restore(&[None, Some(0)], 2)), "half by key");
        assert!(refused(restore(&[None], 0)), "by key to nowhere");
        let with = |change: &dyn Fn(&mut RestoreManifest)| {
            let mut restore = restore(&[None, None], 3);
            change(&mut restore);
            refused(restore)
        };
        assert!(with(&|restore| restore.topics[0].targets.swap(0, 1)));
        assert!(with(&|restore| restore.topics[0]
            .targets
            .retain(|target| target.partition != 1)));
        assert!(with(&|restore| restore.topics[0].targets[2].offset = -1));
        assert!(with(
            &|restore| restore.topics[0].partitions[1].partition = 0.into()
        ));
        assert!(with(&|restore| restore
            .topics
            .push(restore.topics[0].clone())));
    }
}
