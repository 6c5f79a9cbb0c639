//! What a restore leaves in the repository: what it was asked for, where each record went, that it is done (SPEC section 11.7).
//!
//! ```text
//! restores/<restore>/begun.json          first, before anything is written to a cluster
//! restores/<restore>/map/<digest>.json   pages of the offset map, each durable before the records it names are committed
//! restores/<restore>/done.json           last: names the final page of each partition
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};

use super::error::{Operation, RepoError, Result};
use super::id::{Digest, Id};
use super::keys::{Key, Place, RESTORES, TopicName};
use super::repository::{PARALLEL_REQUESTS, Repository};
use super::sealed::{Document, Stored, seal};
use super::snapshot::ParentRef;
use super::store::{Put, path};

/// A page of the offset map with this many runs is full, and never written again.
pub const FULL_MAP_PAGE: usize = 4096;

/// The name of a restore: 1 to 64 characters of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RestoreId(String);

/// Text that is no name of a restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a restore: those have 1 to 64 characters of a-z 0-9 -")]
pub struct RestoreIdError(String);

impl RestoreId {
    /// A new name: the moment, so that names sort by it, and some digits that no other has.
    #[must_use]
    pub fn fresh(now: Timestamp) -> Self {
        let random = Id::random().prefix::<3>();
        RestoreId(format!("{}-{random}", now.strftime("%Y%m%d-%H%M%S")))
    }
}

impl TryFrom<String> for RestoreId {
    type Error = RestoreIdError;

    fn try_from(name: String) -> std::result::Result<Self, RestoreIdError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(RestoreId(name))
        } else {
            Err(RestoreIdError(name))
        }
    }
}

impl FromStr for RestoreId {
    type Err = RestoreIdError;

    fn from_str(name: &str) -> std::result::Result<Self, RestoreIdError> {
        name.to_owned().try_into()
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a restore was asked for: all that going on with it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// Its name.
    pub restore: RestoreId,
    /// The repository that it is of.
    pub repository_id: Id,
    /// When it began.
    pub started_at: Timestamp,
    /// Program and version.
    pub writer: String,
    /// The snapshot it restores from.
    pub snapshot: ParentRef,
    /// Kafka's id of the target cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// Smallest timestamp of the records that are meant, in milliseconds.
    pub min_timestamp: i64,
    /// Largest timestamp of the records that are meant, in milliseconds.
    pub max_timestamp: i64,
    /// How many transactional producers write; 0 where it is done without transactions, and cannot be gone on with.
    pub producers: usize,
    /// How fast it may write.
    pub rate_limit: RateLimit,
    /// What is restored.
    pub topics: Vec<RestoredTopic>,
}

/// How fast a restore may write, over all its producers; null for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Bytes of keys, values and headers a second, before compression.
    pub bytes: Option<u64>,
    /// Records a second.
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
    /// How the target is made, if the restore makes it.
    pub create: Option<CreatedTopic>,
    /// The partitions of the target that are written to; from 0 on without a gap where the topic is repartitioned.
    pub targets: Vec<TargetPartition>,
    /// The partitions that are restored.
    pub partitions: Vec<RestoredPartition>,
}

/// A topic that a restore makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each; the cluster's default if null.
    pub replication_factor: Option<i32>,
    /// Configuration while records are written.
    pub config: BTreeMap<String, String>,
    /// Changes to it when all are written; null takes an entry away.
    pub config_afterwards: BTreeMap<String, Option<String>>,
}

/// One partition of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredPartition {
    /// Its number in the backup.
    pub partition: i32,
    /// First offset that is meant, in the backup.
    pub base_offset: i64,
    /// Behind the last offset that is meant.
    pub end_offset: i64,
    /// Its number in the cluster; null where the topic is repartitioned, and each record goes where its key says.
    pub target_partition: Option<i32>,
}

/// A partition of the cluster that a restore writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPartition {
    /// Its number.
    pub partition: i32,
    /// Where it ended before.
    pub offset: i64,
}

/// Consecutive records that went to consecutive places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i32, i64, u64)", into = "(i64, i32, i64, u64)")]
pub struct MapRun {
    /// Offset of the first record in the backup; each other has the next.
    pub source_offset: i64,
    /// Where they are.
    pub target_partition: i32,
    /// Offset of the first record there; each other has the next.
    pub target_offset: i64,
    /// Number of records, at least 1.
    pub records: u64,
}

impl From<(i64, i32, i64, u64)> for MapRun {
    fn from(
        (source_offset, target_partition, target_offset, records): (i64, i32, i64, u64),
    ) -> Self {
        MapRun {
            source_offset,
            target_partition,
            target_offset,
            records,
        }
    }
}

impl From<MapRun> for (i64, i32, i64, u64) {
    fn from(run: MapRun) -> Self {
        let MapRun {
            source_offset,
            target_partition,
            target_offset,
            records,
        } = run;
        (source_offset, target_partition, target_offset, records)
    }
}

/// Where the records of one partition went, for a range of its offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPage {
    /// The restore.
    pub restore: RestoreId,
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's id in the backup.
    pub topic_id: Id,
    /// The partition in the backup.
    pub partition: i32,
    /// First offset that the page answers for.
    pub base_offset: i64,
    /// Behind the last offset that the page answers for. Offsets in between without a run were not restored.
    pub end_offset: i64,
    /// The page that ends where this one begins; null where the restore of the partition began.
    pub previous: Option<Digest>,
    /// Records of this page and of all before it.
    pub records: u64,
    /// In offset order.
    pub runs: Vec<MapRun>,
}

/// That a restore is finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreDone {
    /// The restore.
    pub restore: RestoreId,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Records that were written.
    pub records: u64,
    /// Every partition of the restore, in its order.
    pub partitions: Vec<DonePartition>,
}

/// How a partition came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DonePartition {
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's id in the backup.
    pub topic_id: Id,
    /// The partition in the backup.
    pub partition: i32,
    /// Records that were written.
    pub records: u64,
    /// The last page of its offset map; null where nothing was written.
    pub page: Option<Digest>,
}

/// What consumer groups of the target had committed before a restore of groups changed it, and what it was changed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupsChange {
    /// The restore whose offset map was used.
    pub restore: RestoreId,
    /// The name of the change; names sort by time.
    pub change: RestoreId,
    /// When it was made.
    pub changed_at: Timestamp,
    /// Kafka's id of the cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// The groups.
    pub groups: Vec<ChangedGroup>,
}

/// A group that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedGroup {
    /// Its id.
    pub group: String,
    /// Whether the cluster had it before.
    pub existed: bool,
    /// What was changed of it.
    pub offsets: Vec<ChangedOffset>,
}

/// A committed offset that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedOffset {
    /// The topic in the cluster.
    pub topic: TopicName,
    /// The partition.
    pub partition: i32,
    /// What was committed before; null where nothing was.
    pub before: Option<CommittedPosition>,
    /// What is committed now.
    pub after: CommittedPosition,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedPosition {
    /// The next record to read.
    pub offset: i64,
    /// What is kept beside it.
    pub metadata: String,
}

impl DonePartition {
    /// Whose records they were.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partition: self.partition,
        }
    }
}

impl Document for Restore {
    const FORMAT: &'static str = "kbk-restore";
}

impl Document for MapPage {
    const FORMAT: &'static str = "kbk-offset-map";
}

impl Document for GroupsChange {
    const FORMAT: &'static str = "kbk-groups-change";
}

impl Document for RestoreDone {
    const FORMAT: &'static str = "kbk-restore-done";
}

impl Restore {
    /// The groups that keep the restore's progress in the target cluster, one unless a topic gets fewer partitions than are
    /// restored of it.
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

    /// Where the position of `topic.partitions[index]` is committed.
    #[must_use]
    pub fn progress(&self, topic: &RestoredTopic, index: usize) -> Progress {
        let fixed = topic.partitions.get(index).and_then(|p| p.target_partition);
        // Brokers take no position for a partition that they do not have.
        let size = topic.targets.len().max(1);
        Progress {
            group: self.group(if fixed.is_some() { 0 } else { index / size }),
            topic: topic.target.clone(),
            partition: fixed.unwrap_or_else(|| i32::try_from(index % size).unwrap_or(i32::MAX)),
        }
    }

    /// The id under which producer number `producer` writes its transactions.
    #[must_use]
    pub fn transactional_id(&self, producer: usize) -> String {
        format!("{}-{producer}", self.group(0))
    }

    /// What the names of such groups begin with.
    pub const GROUP_PREFIX: &'static str = "kbk-restore-";

    fn check(&self) -> std::result::Result<(), String> {
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
pub struct Progress {
    /// The group.
    pub group: String,
    /// The topic in the cluster.
    pub topic: TopicName,
    /// A partition that it has.
    pub partition: i32,
}

impl RestoredTopic {
    /// How many partitions records are spread over by their keys; `None` where each partition has one of its own.
    #[must_use]
    pub fn repartitioned(&self) -> Option<usize> {
        let by_key = |partition: &RestoredPartition| partition.target_partition.is_none();
        self.partitions
            .iter()
            .any(by_key)
            .then_some(self.targets.len())
    }

    /// How many groups its positions need.
    fn groups(&self) -> usize {
        let size = self.repartitioned().unwrap_or(usize::MAX);
        self.partitions.len().div_ceil(size.max(1))
    }

    fn check(&self) -> std::result::Result<(), String> {
        let mut before = -1;
        for target in &self.targets {
            if target.partition <= before || target.offset < 0 {
                let name = &self.target;
                return Err(format!("{name}: {target:?} is out of order"));
            }
            before = target.partition;
        }
        let keyed = self.repartitioned().is_some();
        if keyed && !self.is_gapless() {
            let name = &self.target;
            return Err(format!("{name} is not written to from partition 0 on"));
        }
        let (mut before, mut taken) = (-1, BTreeSet::new());
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
            if number <= before || !bounds || !target {
                let name = &self.topic;
                return Err(format!("{name}/{number} cannot be meant: {partition:?}"));
            }
            before = number;
        }
        Ok(())
    }

    /// A partition of the cluster that is written to.
    #[must_use]
    pub fn target(&self, partition: i32) -> Option<&TargetPartition> {
        let targets = &self.targets;
        let found = targets.binary_search_by_key(&partition, |target| target.partition);
        targets.get(found.ok()?)
    }

    fn is_gapless(&self) -> bool {
        let numbers = self.targets.iter().map(|target| target.partition);
        !self.targets.is_empty() && (0..).zip(numbers).all(|(number, found)| number == found)
    }
}

impl MapPage {
    /// Whose records it maps.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partition: self.partition,
        }
    }

    /// What the next page, and the target cluster, know it by.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        seal(self).1
    }

    /// The rules of SPEC section 11.7, or which one does not hold.
    fn check(&self) -> std::result::Result<(), String> {
        if self.partition < 0 || self.base_offset < 0 || self.base_offset > self.end_offset {
            return Err(format!(
                "it answers for the offsets {} to {} of partition {}",
                self.base_offset, self.end_offset, self.partition
            ));
        }
        if self.runs.len() > FULL_MAP_PAGE {
            let runs = self.runs.len();
            return Err(format!(
                "it has {runs} runs, and {FULL_MAP_PAGE} are allowed"
            ));
        }
        let (mut at, mut records) = (self.base_offset, 0_u64);
        for run in &self.runs {
            let behind = i64::try_from(run.records)
                .ok()
                .filter(|count| *count > 0 && run.target_partition >= 0 && run.target_offset >= 0)
                .filter(|count| run.target_offset.checked_add(*count).is_some())
                .and_then(|count| run.source_offset.checked_add(count));
            match behind {
                Some(behind) if run.source_offset >= at && behind <= self.end_offset => at = behind,
                _ => {
                    return Err(format!(
                        "{run:?} is out of order, or outside of what it answers for"
                    ));
                }
            }
            records = records.saturating_add(run.records);
        }
        let first = self.previous.is_none();
        if records > self.records || (first && records != self.records) {
            return Err(format!(
                "it states {} records, and its runs have {records}",
                self.records
            ));
        }
        Ok(())
    }
}

impl Repository {
    /// Records that a restore begins; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`RepoError::Refused`] if there is one of this name, or what the store said.
    pub async fn begin_restore(&self, restore: &Restore) -> Result<()> {
        let key = Key::RestoreBegun {
            restore: restore.restore.clone(),
        };
        let refused = |detail| RepoError::Refused {
            key: key.to_string(),
            detail,
        };
        restore.check().map_err(refused)?;
        match self.store().put_if_absent(&key, seal(restore).0).await? {
            Put::Done => self.store().sync_folders([key.to_string()]).await,
            Put::Exists => Err(refused("there is a restore of this name".to_owned())),
        }
    }

    /// The names of the restores there are, ascending.
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn restores(&self) -> Result<Vec<RestoreId>> {
        let found = self.store().list(RESTORES).await?;
        let begun = |(key, _)| match key {
            Key::RestoreBegun { restore } => Some(restore),
            _ => None,
        };
        Ok(found.into_iter().filter_map(begun).collect())
    }

    /// What a restore was asked for; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`RepoError::Damaged`], or what the store said.
    pub async fn restore(&self, restore: &RestoreId) -> Result<Option<Restore>> {
        let key = Key::RestoreBegun {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<Restore>(&key).await? else {
            return Ok(None);
        };
        let ours = self.identity().repository_id;
        let checked = match found.check() {
            Ok(()) if found.restore != *restore => Err(format!("it is restore {}", found.restore)),
            Ok(()) if found.repository_id != ours => Err(format!(
                "it is of repository {}, and this is {ours}",
                found.repository_id
            )),
            checked => checked,
        };
        checked.map_err(|detail| self.store().damaged(&key, detail))?;
        Ok(Some(found.value))
    }

    /// How a restore ended; `None` if it has not.
    ///
    /// # Errors
    ///
    /// [`RepoError::Damaged`], or what the store said.
    pub async fn restore_done(&self, restore: &RestoreId) -> Result<Option<RestoreDone>> {
        let key = Key::RestoreDone {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<RestoreDone>(&key).await? else {
            return Ok(None);
        };
        if found.restore != *restore {
            let detail = format!("it is of restore {}", found.restore);
            return Err(self.store().damaged(&key, detail));
        }
        Ok(Some(found.value))
    }

    /// Records that a restore has ended, whose pages are durable already.
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn finish_restore(&self, done: &RestoreDone) -> Result<()> {
        let key = Key::RestoreDone {
            restore: done.restore.clone(),
        };
        self.store().put_again(&key, seal(done).0).await?;
        self.store().sync_folders([key.to_string()]).await
    }

    /// Records a change of groups before it is made; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`RepoError::Refused`] if there is one of this name, or what the store said.
    pub async fn record_groups_change(&self, change: &GroupsChange) -> Result<()> {
        let key = Key::GroupsChange {
            restore: change.restore.clone(),
            change: change.change.clone(),
        };
        match self.store().put_if_absent(&key, seal(change).0).await? {
            Put::Done => self.store().sync_folders([key.to_string()]).await,
            Put::Exists => Err(RepoError::Refused {
                key: key.to_string(),
                detail: "there is a change of this name".to_owned(),
            }),
        }
    }

    /// The changes of groups that were made by the map of a restore, in the order of time.
    ///
    /// # Errors
    ///
    /// [`RepoError::Damaged`], or what the store said.
    pub async fn groups_changes(&self, restore: &RestoreId) -> Result<Vec<GroupsChange>> {
        let folder = format!("{RESTORES}/{restore}/groups");
        let mut changes = Vec::new();
        for (key, _) in self.store().list(&folder).await? {
            if let Some(found) = self.store().read::<GroupsChange>(&key).await? {
                let name = Key::GroupsChange {
                    restore: found.restore.clone(),
                    change: found.change.clone(),
                };
                if name != key {
                    return Err(self.store().damaged(&key, format!("it is {name}")));
                }
                changes.push(found.value);
            }
        }
        Ok(changes)
    }

    /// Stores pages of an offset map, durable when this returns, and gives their digests in the same order.
    ///
    /// # Errors
    ///
    /// [`RepoError::Refused`], or what the store said.
    pub async fn write_map_pages(&self, pages: &[MapPage]) -> Result<Vec<Digest>> {
        let writes: Vec<_> = pages.iter().map(|page| self.write_map_page(page)).collect();
        let written = stream::iter(writes).buffered(PARALLEL_REQUESTS);
        let (keys, digests): (Vec<_>, Vec<_>) =
            written.try_collect::<Vec<_>>().await?.into_iter().unzip();
        self.store().sync_folders(keys).await?;
        Ok(digests)
    }

    async fn write_map_page(&self, page: &MapPage) -> Result<(String, Digest)> {
        let (bytes, sha256) = seal(page);
        let key = Key::map_page(&page.restore, &sha256);
        page.check().map_err(|detail| RepoError::Refused {
            key: key.to_string(),
            detail,
        })?;
        self.store().put_again(&key, bytes).await?;
        Ok((key.to_string(), sha256))
    }

    /// A page of the offset map of the partition at `place`, by its digest.
    ///
    /// # Errors
    ///
    /// [`RepoError::Missing`], [`RepoError::Damaged`], or what the store said.
    pub async fn map_page(
        &self,
        restore: &RestoreId,
        place: &Place,
        sha256: &Digest,
    ) -> Result<Stored<MapPage>> {
        let key = Key::map_page(restore, sha256);
        let page = self.listed_map_page(&key).await?;
        let damaged = |detail| Err(self.store().damaged(&key, detail));
        if page.sha256 != *sha256 {
            return damaged(format!("its digest is {}, not {sha256}", page.sha256));
        }
        if page.restore != *restore || page.place() != *place {
            let (theirs, found) = (&page.restore, page.place());
            return damaged(format!(
                "it maps {found} for restore {theirs}, not {place} for {restore}"
            ));
        }
        Ok(page)
    }

    /// The names of all pages of a restore, those that do not count too.
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn map_page_keys(&self, restore: &RestoreId) -> Result<BTreeSet<Key>> {
        let folder = format!("{RESTORES}/{restore}/map");
        let found = self.store().list(&folder).await?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    /// A page of which nothing but its name is known.
    ///
    /// # Errors
    ///
    /// As [`map_page`](Self::map_page).
    pub async fn listed_map_page(&self, key: &Key) -> Result<Stored<MapPage>> {
        let Some(page) = self.store().read::<MapPage>(key).await? else {
            return Err(RepoError::Missing {
                url: self.store().url().to_owned(),
                key: key.to_string(),
                named_by: "an offset map".to_owned(),
            });
        };
        let name = Key::map_page(&page.restore, &page.sha256);
        let checked = match page.check() {
            Ok(()) if name != *key => Err(format!("its bytes are those of {name}")),
            checked => checked,
        };
        checked.map_err(|detail| self.store().damaged(key, detail))?;
        Ok(page)
    }

    /// Removes the pages of a finished restore that do not count: what runs of it left that were killed.
    ///
    /// # Errors
    ///
    /// As [`map_page`](Self::map_page); nothing is removed then.
    pub async fn sweep_map_pages(&self, done: &RestoreDone) -> Result<()> {
        let mut unneeded: BTreeSet<Key> = self.map_page_keys(&done.restore).await?;
        for partition in &done.partitions {
            let place = partition.place();
            let mut next = partition.page;
            while let Some(sha256) = next {
                unneeded.remove(&Key::map_page(&done.restore, &sha256));
                next = self
                    .map_page(&done.restore, &place, &sha256)
                    .await?
                    .previous;
            }
        }
        for key in unneeded {
            self.remove(&key).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        match self.store().objects().delete(&path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.store().failed(Operation::Remove, key, error)),
        }
    }

    /// Removes pages that nothing names any more. One that is gone already is as good.
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn remove_map_pages(&self, restore: &RestoreId, pages: &[Digest]) -> Result<()> {
        for sha256 in pages {
            self.remove(&Key::map_page(restore, sha256)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partitions of the backup with their targets, and how many partitions of the cluster are written to.
    fn restore(partitions: &[Option<i32>], targets: i32) -> Restore {
        let partition = |(number, target_partition): (i32, &Option<i32>)| RestoredPartition {
            partition: number,
            base_offset: 0,
            end_offset: 10,
            target_partition: *target_partition,
        };
        let target = |partition| TargetPartition {
            partition,
            offset: 0,
        };
        Restore {
            restore: RestoreId("r".to_owned()),
            repository_id: Id::ZERO,
            started_at: Timestamp::UNIX_EPOCH,
            writer: String::new(),
            snapshot: ParentRef {
                sequence: 1,
                sha256: "0".repeat(64).parse().unwrap(),
            },
            cluster_id: None,
            min_timestamp: 0,
            max_timestamp: 0,
            producers: 1,
            rate_limit: RateLimit::default(),
            topics: vec![RestoredTopic {
                topic: "t".parse().unwrap(),
                topic_id: Id::ZERO,
                target: "copy".parse().unwrap(),
                purge: false,
                create: None,
                targets: (0..targets).map(target).collect(),
                partitions: (0..).zip(partitions).map(partition).collect(),
            }],
        }
    }

    #[test]
    fn each_partition_keeps_its_progress_where_no_other_does() {
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
            let mut places = BTreeSet::new();
            for index in 0..count {
                let Progress {
                    group, partition, ..
                } = restore.progress(topic, index);
                assert!(groups.contains(&group) && (0..targets).contains(&partition));
                assert!(places.insert((group, partition)));
            }
        }
        let more = restore(&[None; 4], 3);
        assert_eq!(more.groups(), ["kbk-restore-r", "kbk-restore-r.1"]);
        let mapped = restore(&[Some(2), Some(0)], 3);
        let progress = mapped.progress(&mapped.topics[0], 0);
        assert_eq!((&*progress.group, progress.partition), ("kbk-restore-r", 2));
        assert_eq!(mapped.groups().len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_no_restore() {
        let refused = |restore: Restore| restore.check().is_err();
        assert!(!refused(restore(&[Some(1), Some(0)], 2)));
        assert!(refused(restore(&[Some(1), Some(1)], 2)), "two in one");
        assert!(refused(restore(&[Some(2)], 2)), "no such target");
        assert!(refused(restore(&[Some(0), None], 2)), "half by key");
        assert!(refused(restore(&[None, Some(0)], 2)), "half by key");
        assert!(refused(restore(&[None], 0)), "by key to nowhere");
        let with = |change: &dyn Fn(&mut Restore)| {
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
            &|restore| restore.topics[0].partitions[1].partition = 0
        ));
        assert!(with(&|restore| restore
            .topics
            .push(restore.topics[0].clone())));
    }
}
