//! Deletes what no snapshot needs, in two phases: what is listed first is deleted once a grace period has passed.
//!
//! Nothing that a snapshot needs is deleted, however long any process is suspended at any point. An object is deleted only after a
//! snapshot that lists it, and of a writer and that snapshot one commits first: if it is the writer, the prune takes what it names off
//! its list; if it is the prune, the writer finds the list, or that there was one. No name is used twice, so that a process that still
//! deletes by an old list harms nothing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Reach, Upkeep};
use crate::repo::claim::ClaimedTopic;
use crate::repo::error::{RepoErrorKind, Result};
use crate::repo::keys::{CLUSTER, Key, PartitionId, SEGMENTS, TABLES, TopicName};
use crate::repo::listing::Listed;
use crate::repo::manifest::{Manifest, Pruning};
use crate::repo::repository::{ListedObject, Repository};

/// The most objects that one prune lists: more would exceed the limit of a packed object.
const MAX_LISTED: usize = 500_000;
/// Attempts to commit a list while other writers commit.
const MAX_TRIES: u32 = 64;

/// What a prune may delete.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How long objects have been in the store at least before they are listed, and been listed before they are deleted.
    pub grace: Duration,
    /// The present time, by the clock of the store.
    pub now: Timestamp,
    /// What writers that run now have claimed; `None` is everything.
    pub claims: Vec<Option<Vec<ClaimedTopic>>>,
}

/// Some objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCount {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a prune would do.
#[derive(Debug, Default)]
pub struct PrunePlan {
    /// The newest snapshot that was considered; 0 where there is none.
    newest: u64,
    /// The last prune that had begun.
    pruned: u64,
    reach: Reach,
    grace: Duration,
    now: Timestamp,
    /// Forgotten snapshots whose objects are still there. They are removed.
    pub snapshots: Vec<u64>,
    /// What an earlier prune has listed.
    pub marked: Option<MarkedObjects>,
    /// What nothing needs, and no prune has listed yet. It is listed, unless an earlier prune waits.
    pub unneeded: Vec<ListedObject>,
    /// The same, beyond what one list can have. A later prune lists it.
    pub left: ObjectCount,
    /// What nothing names, and may belong to a writer: it has not been in the store for the grace period. It stays.
    pub young: ObjectCount,
    /// What nothing names, of partitions that a running writer has claimed. It stays.
    pub claimed: ObjectCount,
    /// Segments that an interrupted copy of another repository left, and the next one names. They stay.
    pub copied: ObjectCount,
    /// What snapshots need. It stays.
    pub needed: ObjectCount,
}

/// What an earlier prune has listed.
#[derive(Clone, Debug)]
pub struct MarkedObjects {
    pruning: Pruning,
    /// Those that have not been deleted yet.
    pub objects: Vec<ListedObject>,
    /// When they may be deleted.
    pub due_at: Timestamp,
    /// Whether that time has come.
    pub is_due: bool,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The forgotten snapshots whose objects it removed.
    pub snapshots: Vec<u64>,
    /// The objects that it deleted.
    pub deleted: ObjectCount,
    /// The objects that are listed, and that a later run deletes.
    pub marked: ObjectCount,
    /// When a later run may delete them.
    pub due_at: Option<Timestamp>,
}

impl FromIterator<u64> for ObjectCount {
    fn from_iter<T: IntoIterator<Item = u64>>(sizes: T) -> ObjectCount {
        let mut count = ObjectCount::default();
        sizes.into_iter().for_each(|bytes| count.add(bytes));
        count
    }
}

impl ObjectCount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn plus(self, other: ObjectCount) -> ObjectCount {
        ObjectCount {
            objects: self.objects + other.objects,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl MarkedObjects {
    /// Counts those that have not been deleted yet.
    #[must_use]
    pub fn count(&self) -> ObjectCount {
        self.objects.iter().map(|object| object.bytes).collect()
    }
}

impl PruneOptions {
    fn claims(&self, partition: &PartitionId) -> bool {
        let covers = |topic: &ClaimedTopic| topic.covers(partition);
        let mut claims = self.claims.iter();
        claims.any(|claim| {
            claim
                .as_ref()
                .is_none_or(|topics| topics.iter().any(covers))
        })
    }

    fn is_old(&self, written_ms: i64) -> bool {
        // What the store received in the future, by this clock, is not old.
        let grace = i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX);
        written_ms.saturating_add(grace) <= self.now.as_millisecond()
    }
}

fn later(time: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

impl Repository {
    /// Plans what a prune would do. Reads all snapshots and tables, each once, and lists all objects.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NotPrunable`] where a snapshot cannot be read, so that nothing says what it needs; [`RepoErrorKind::NewestMissing`];
    /// or the error of the store.
    pub async fn plan_prune(&self, options: &PruneOptions) -> Result<PrunePlan> {
        let (reach, newest) = self.reach().await?;
        let mut plan = PrunePlan {
            newest,
            reach,
            grace: options.grace,
            now: options.now,
            ..PrunePlan::default()
        };
        if newest == 0 {
            // Without a snapshot, what is there belongs to a first backup, which may adopt it.
            return Ok(plan);
        }
        let (manifest, doomed) = self.newest_and_doomed(newest).await?;
        // Also before the first copy is committed: its reservation, and what is committed on top, has no origin and no backup.
        let ends = match manifest.origin.is_some() || manifest.backup() == 0 {
            true => Some(self.ends(newest).await?),
            false => None,
        };
        plan.pruned = manifest.pruned;
        plan.snapshots = self.forgotten_objects().await?;
        let mut sorter = Sorter {
            plan: &mut plan,
            options,
            doomed,
            ends,
            marked: Vec::new(),
            listed_ms: None,
            list: manifest.pruning.as_ref().map(Pruning::key),
        };
        for folder in self.prunable_folders().await? {
            for listed in self.store().list(&folder).await? {
                sorter.sort(listed);
            }
        }
        let (marked, listed_ms) = (sorter.marked, sorter.listed_ms);
        if let Some(pruning) = manifest.pruning {
            // The store's own time of the list, so that no other clock decides; without one, it was written now.
            let listed_ms = listed_ms.unwrap_or_else(|| options.now.as_millisecond());
            let written = Timestamp::from_millisecond(listed_ms).unwrap_or(options.now);
            plan.marked = Some(MarkedObjects {
                pruning,
                objects: marked,
                due_at: later(written, options.grace),
                is_due: options.is_old(listed_ms),
            });
        }
        plan.unneeded
            .sort_by_cached_key(|object| object.key.to_string());
        if plan.unneeded.len() > MAX_LISTED {
            let left = plan.unneeded.split_off(MAX_LISTED);
            plan.left = left.iter().map(|object| object.bytes).collect();
        }
        Ok(plan)
    }

    /// Reads the snapshot that was the newest a moment ago, and the keys that the prune in progress deletes.
    async fn newest_and_doomed(&self, sequence: u64) -> Result<(Manifest, HashSet<String>)> {
        let read = async {
            let manifest = self.manifest(sequence).await?.value;
            let doomed = match &manifest.pruning {
                Some(pruning) => self.doomed(pruning).await?,
                None => HashSet::new(),
            };
            Ok((manifest, doomed))
        };
        match self.explained(sequence, read.await).await {
            // A run that forgot it was faster.
            Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => {
                Err(self.store().error_of_whole(RepoErrorKind::Outdated))
            }
            read => read,
        }
    }

    /// Returns where the coverage of each partition ends in a snapshot.
    async fn ends(&self, sequence: u64) -> Result<HashMap<PartitionId, i64>> {
        let snapshot = self.read_snapshot(sequence).await?;
        let topics = snapshot.topics.iter();
        let ends = topics.flat_map(|topic| {
            let states = topic.partitions.iter();
            states.map(|state| (topic.partition_id(state.partition), state.end_offset))
        });
        Ok(ends.collect())
    }

    /// Returns the folders to list one after the other, so that the objects of one topic are in memory at a time.
    async fn prunable_folders(&self) -> Result<Vec<String>> {
        let names = self.store().names(SEGMENTS).await?;
        let topics = names
            .iter()
            .filter(|name| name.parse::<TopicName>().is_ok());
        let topics = topics.map(|name| format!("{SEGMENTS}/{name}"));
        let others = [TABLES, CLUSTER].map(str::to_owned);
        Ok(topics.chain(others).collect())
    }

    /// Does what was planned: removes the objects of forgotten snapshots, deletes what was listed if the grace period has passed, and
    /// lists what is not needed.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another prune has begun since, [`RepoErrorKind::NotPrunable`], or the error of the store. After any error,
    /// whoever prunes next continues.
    pub async fn prune(&self, mut plan: PrunePlan, upkeep: &Upkeep) -> Result<Pruned> {
        let mut pruned = Pruned {
            snapshots: self.remove_forgotten().await?,
            ..Pruned::default()
        };
        match plan.marked.take() {
            Some(marked) if !marked.is_due => {
                pruned.marked = marked.count();
                pruned.due_at = Some(marked.due_at);
                return Ok(pruned);
            }
            Some(marked) => pruned.deleted = self.finish_prune(&marked, upkeep).await?,
            None => {}
        }
        let (grace, now) = (plan.grace, plan.now);
        let Some(marked) = self.begin_prune(plan, upkeep).await? else {
            return Ok(pruned);
        };
        if grace.is_zero() {
            let deleted = self.finish_prune(&marked, upkeep).await?;
            pruned.deleted = pruned.deleted.plus(deleted);
        } else {
            pruned.marked = marked.count();
            pruned.due_at = Some(later(now, grace));
        }
        Ok(pruned)
    }

    /// Lists what is not needed, in a commit. `None` if there is nothing.
    async fn begin_prune(
        &self,
        mut plan: PrunePlan,
        upkeep: &Upkeep,
    ) -> Result<Option<MarkedObjects>> {
        let mut list: Option<(Vec<String>, Pruning)> = None;
        for _ in 0..MAX_TRIES {
            let sequences = self.sequences_from(plan.newest.saturating_add(1)).await?;
            for &sequence in &sequences {
                self.add_to(&mut plan.reach, sequence).await?;
            }
            plan.newest = sequences.last().copied().unwrap_or(plan.newest);
            // What was committed since may need some of it.
            let PrunePlan {
                reach, unneeded, ..
            } = &mut plan;
            unneeded.retain(|object| !reach.contains(&object.key));
            if unneeded.is_empty() {
                return Ok(None);
            }
            let keys: Vec<String> = unneeded.iter().map(|it| it.key.to_string()).collect();
            let pruning = match list.take() {
                Some((listed, pruning)) if listed == keys => pruning,
                _ => self.write_prune_list(&keys).await?,
            };
            let (newest, before) = (plan.newest, plan.pruned);
            let committed = self.commit_maintenance(upkeep, |found, next| {
                if found.pruning.is_some() || found.pruned != before {
                    return Err(RepoErrorKind::Outdated);
                }
                if found.sequence != newest {
                    // It may need some of the list: the next attempt considers it.
                    return Err(RepoErrorKind::Changed);
                }
                let sequence = next.sequence;
                next.pruning = Some(Pruning {
                    sequence,
                    ..pruning.clone()
                });
                next.pruned = sequence;
                Ok(())
            });
            match committed.await {
                Ok(committed) => {
                    let Some(pruning) = committed.value.pruning else {
                        return Ok(None);
                    };
                    return Ok(Some(MarkedObjects {
                        pruning,
                        objects: plan.unneeded,
                        due_at: later(plan.now, plan.grace),
                        is_due: plan.grace.is_zero(),
                    }));
                }
                Err(error) if *error.kind() == RepoErrorKind::Changed => {
                    list = Some((keys, pruning));
                }
                Err(error) => return Err(error),
            }
        }
        let tries = MAX_TRIES;
        Err(self
            .store()
            .error_of_whole(RepoErrorKind::Contended { tries }))
    }

    async fn write_prune_list(&self, keys: &[String]) -> Result<Pruning> {
        let packed = self.prune_list(keys)?;
        let named = packed.named;
        let sha256 = named.sha256;
        let key = Key::Table { sha256 };
        self.store().put_content_named(&key, packed.bytes).await?;
        self.store().sync_folders([key.to_string()]).await?;
        Ok(Pruning {
            sequence: 0,
            objects: keys.len() as u64,
            sha256,
            size: named.size,
            raw_size: named.raw_size,
        })
    }

    /// Deletes what was listed, and says so in a commit.
    async fn finish_prune(&self, marked: &MarkedObjects, upkeep: &Upkeep) -> Result<ObjectCount> {
        let keys: Vec<Key> = marked.objects.iter().map(|it| it.key.clone()).collect();
        self.store().remove_all(&keys).await?;
        let committed = self.commit_maintenance(upkeep, |newest, next| {
            if newest.pruning.as_ref() != Some(&marked.pruning) {
                return Err(RepoErrorKind::Outdated);
            }
            next.pruning = None;
            Ok(())
        });
        match committed.await {
            Ok(_) => Ok(marked.count()),
            // Another run has deleted the same, and said so.
            Err(error) if *error.kind() == RepoErrorKind::Outdated => Ok(marked.count()),
            Err(error) => Err(error),
        }
    }
}

/// Sorts objects by what becomes of them.
struct Sorter<'a> {
    plan: &'a mut PrunePlan,
    options: &'a PruneOptions,
    /// What a prune has listed.
    doomed: HashSet<String>,
    /// Where the next copy continues each partition; `None` where the repository is not a copy, and cannot become one. A copy names segments as its origin does,
    /// so one that it may name must never be on a list: whoever is suspended while it deletes would delete the segment that has the name by then.
    ends: Option<HashMap<PartitionId, i64>>,
    marked: Vec<ListedObject>,
    /// Its list, and when the store received that.
    list: Option<Key>,
    listed_ms: Option<i64>,
}

impl Sorter<'_> {
    /// Returns whether a later copy may name the segment.
    fn may_be_copied(&self, key: &Key) -> bool {
        match (&self.ends, key) {
            (
                Some(ends),
                Key::Segment {
                    partition,
                    base_offset,
                    ..
                },
            ) => ends.get(partition).is_none_or(|end| base_offset >= end),
            _ => false,
        }
    }

    fn sort(&mut self, listed: Listed) {
        let bytes = listed.bytes;
        if self.list.as_ref() == Some(&listed.key) {
            self.listed_ms = Some(listed.written_ms);
        }
        if self.plan.reach.contains(&listed.key) {
            // Also what a list names by mistake.
            self.plan.needed.add(bytes);
        } else if self.doomed.contains(&listed.key.to_string()) {
            self.marked.push(listed.into());
        } else if !self.options.is_old(listed.written_ms) {
            self.plan.young.add(bytes);
        } else if let Key::Segment { partition, .. } = &listed.key
            && self.options.claims(partition)
        {
            self.plan.claimed.add(bytes);
        } else if self.may_be_copied(&listed.key) {
            self.plan.copied.add(bytes);
        } else {
            self.plan.unneeded.push(listed.into());
        }
    }
}
