//! A finished restore, and the questions that its offset map answers (SPEC section 11.7).

use std::collections::BTreeMap;

use kbk_format::repo::{
    DonePartition, PartitionId, RepoError, Repository, RestoreDone, RestoreId, RestoreManifest,
    RestoredTopic, TargetPartition, TopicName,
};

use super::map_reader::MapReader;
use super::overlap::{Counting, Overlap};
use super::translation::{Search, Translated};

/// A finished restore, whose offset map is complete.
#[derive(Clone, Debug)]
pub struct FinishedRestore {
    /// What the restore was asked for.
    pub restore: RestoreManifest,
    partitions: BTreeMap<PartitionId, Mapped>,
}

/// Where the records of one partition of the backup went.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    /// The topic in the cluster.
    pub(super) target: TopicName,
    /// The partitions there that may hold its records, ascending.
    pub(super) targets: Vec<TargetPartition>,
    /// What `done.json` states, where it names the partition.
    done: Option<DonePartition>,
}

/// Why there is no offset map.
#[derive(Debug, thiserror::Error)]
pub enum OffsetMapError {
    /// The repository has no restore of this name.
    #[error(
        "there is no restore {0} in this repository; `kbk restores` lists those that there are"
    )]
    Unknown(RestoreId),
    /// The restore has not finished.
    #[error(
        "restore {0} is not finished, and its offset map may still grow; resume it with `kbk restore --resume {0}`"
    )]
    Unfinished(RestoreId),
    /// No restore has finished.
    #[error("this repository has no finished restore, and therefore no offset map")]
    Nothing,
    /// The repository cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

impl FinishedRestore {
    /// Opens the restore with this name, or the one that finished last, which need not be the one that began last.
    ///
    /// # Errors
    ///
    /// If there is none, if it has not finished, or if the repository cannot be read.
    pub async fn open(
        repository: &Repository,
        name: Option<&RestoreId>,
    ) -> Result<FinishedRestore, OffsetMapError> {
        if let Some(name) = name {
            let restore = repository.restore(name).await?;
            let restore = restore.ok_or_else(|| OffsetMapError::Unknown(name.clone()))?;
            let done = repository.restore_done(name).await?;
            let done = done.ok_or_else(|| OffsetMapError::Unfinished(name.clone()))?;
            return Ok(FinishedRestore::new(restore, done));
        }
        let done = repository.last_restore_done().await?;
        let done = done.ok_or(OffsetMapError::Nothing)?;
        let restore = repository.restore(&done.restore).await?;
        let restore = restore.ok_or_else(|| OffsetMapError::Unknown(done.restore.clone()))?;
        Ok(FinishedRestore::new(restore, done))
    }

    /// Returns the restore with this manifest and result, which need not be recorded in the repository yet.
    #[must_use]
    pub fn new(restore: RestoreManifest, done: RestoreDone) -> FinishedRestore {
        let done = done.partitions.into_iter();
        let mut done: BTreeMap<PartitionId, DonePartition> = done
            .map(|partition| (partition.partition_id(), partition))
            .collect();
        let mut partitions = BTreeMap::new();
        for topic in &restore.topics {
            for restored in &topic.partitions {
                let source = PartitionId {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    partition: restored.partition,
                };
                let mapped = Mapped {
                    target: topic.target.clone(),
                    targets: match restored.target_partition {
                        Some(partition) => topic.target(partition).copied().into_iter().collect(),
                        None => topic.targets.clone(),
                    },
                    done: done.remove(&source),
                };
                partitions.insert(source, mapped);
            }
        }
        FinishedRestore {
            restore,
            partitions,
        }
    }

    /// Returns the restored partitions of the backup, ordered by topic and number.
    pub fn partition_ids(&self) -> impl Iterator<Item = &PartitionId> {
        self.partitions.keys()
    }

    /// Returns what became of the topics of a name in the backup: several, if it was deleted and created again.
    pub fn topics(&self, topic: &str) -> impl Iterator<Item = &RestoredTopic> {
        let topics = self.restore.topics.iter();
        topics.filter(move |restored| &*restored.topic == topic)
    }

    /// Returns what `done.json` states of a partition; `None` if it was not restored.
    #[must_use]
    pub fn done(&self, source: &PartitionId) -> Option<&DonePartition> {
        self.partitions.get(source)?.done.as_ref()
    }

    /// Translates offsets of `source` in the given order: each into one position in every partition of the cluster that may hold
    /// its records. `None` if the partition was not restored.
    ///
    /// # Errors
    ///
    /// As [`MapReader::next`].
    pub async fn translate(
        &self,
        repository: &Repository,
        source: &PartitionId,
        offsets: &[i64],
    ) -> Result<Option<Vec<Vec<Translated>>>, RepoError> {
        let Some(mapped) = self.partitions.get(source) else {
            return Ok(None);
        };
        let mut search = Search::new(mapped, offsets);
        if let Some(mut map) = self.map(repository, mapped) {
            while !search.is_done()
                && let Some(page) = map.next().await?
            {
                page.runs.iter().rev().for_each(|run| search.pass(run));
            }
        }
        Ok(Some(search.found()))
    }

    /// Counts the records of `source` in each overlap; all counts are 0 if the partition was not restored.
    ///
    /// # Errors
    ///
    /// As [`MapReader::next`].
    pub async fn count(
        &self,
        repository: &Repository,
        source: &PartitionId,
        overlaps: &[Overlap],
    ) -> Result<Vec<u64>, RepoError> {
        let mut counting = Counting::new(overlaps);
        let mapped = self.partitions.get(source);
        if let Some(mut map) = mapped.and_then(|mapped| self.map(repository, mapped)) {
            while !counting.is_done()
                && let Some(page) = map.next().await?
            {
                page.runs.iter().rev().for_each(|run| counting.pass(run));
            }
        }
        Ok(counting.found())
    }

    fn map(&self, repository: &Repository, mapped: &Mapped) -> Option<MapReader> {
        let done = mapped.done.as_ref()?;
        Some(MapReader::new(repository, &self.restore.restore, done))
    }
}
