//! Where offsets went: the offset map of a finished restore, read from its end (SPEC section 11.7).

use std::collections::BTreeMap;

use kbk_format::repo::{
    Digest, MapRun, Place, RepoError, Repository, Restore, RestoreDone, RestoreId, TopicName,
};
use serde::Serialize;

/// A restore that has ended, and so has a map of its own.
#[derive(Clone, Debug)]
pub struct FinishedRestore {
    /// What it was asked for.
    pub restore: Restore,
    partitions: BTreeMap<Place, Mapped>,
}

/// Where one partition went.
#[derive(Clone, Debug)]
struct Mapped {
    target: TopicName,
    target_partition: i32,
    /// Where the target ended before.
    target_offset: i64,
    page: Option<Digest>,
}

/// Where an offset of the backup is in the cluster: what a consumer that was to read it next has to read next there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Translated {
    /// The topic's name in the cluster.
    pub topic: TopicName,
    /// The partition there.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
    /// What is there.
    #[serde(flatten)]
    pub lands: Landing,
}

/// What an offset leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "lands", rename_all = "snake_case")]
pub enum Landing {
    /// Its own record.
    OnRecord,
    /// The first one behind it that was restored: itself it was a gap, or was not meant.
    OnNext {
        /// Of that record in the backup.
        source_offset: i64,
    },
    /// The end: no record from there on was restored.
    AtEnd,
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum OffsetMapError {
    /// There is no such restore.
    #[error("there is no restore {0} in this repository")]
    Unknown(RestoreId),
    /// It has not ended.
    #[error(
        "restore {0} is not finished, and its map may still grow: `kbk restore --resume {0}` goes on with it"
    )]
    Unfinished(RestoreId),
    /// None has ended.
    #[error("this repository has no finished restore, and so no offset map")]
    Nothing,
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

impl FinishedRestore {
    /// The restore of this name, or the last one that has ended.
    ///
    /// # Errors
    ///
    /// Where there is none, or it has not ended, or the repository cannot be read.
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
        for name in repository.restores().await?.iter().rev() {
            let done = repository.restore_done(name).await?;
            if let (Some(restore), Some(done)) = (repository.restore(name).await?, done) {
                return Ok(FinishedRestore::new(restore, done));
            }
        }
        Err(OffsetMapError::Nothing)
    }

    fn new(restore: Restore, done: RestoreDone) -> FinishedRestore {
        let pages: BTreeMap<Place, Option<Digest>> = done
            .partitions
            .iter()
            .map(|partition| (partition.place(), partition.page))
            .collect();
        let mut partitions = BTreeMap::new();
        for topic in &restore.topics {
            for restored in &topic.partitions {
                let place = Place {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    partition: restored.partition,
                };
                let mapped = Mapped {
                    target: topic.target.clone(),
                    target_partition: restored.target_partition,
                    target_offset: restored.target_offset,
                    page: pages.get(&place).copied().flatten(),
                };
                partitions.insert(place, mapped);
            }
        }
        FinishedRestore {
            restore,
            partitions,
        }
    }

    /// The partition of the backup that this restore took under this name and number.
    #[must_use]
    pub fn place(&self, topic: &str, partition: i32) -> Option<&Place> {
        self.partitions
            .keys()
            .find(|place| &*place.topic == topic && place.partition == partition)
    }

    /// Where these offsets of the partition at `place` went, in their order; `None` if the restore did not take it.
    ///
    /// # Errors
    ///
    /// As [`Repository::map_page`].
    pub async fn translate(
        &self,
        repository: &Repository,
        place: &Place,
        offsets: &[i64],
    ) -> Result<Option<Vec<Translated>>, RepoError> {
        let Some(mapped) = self.partitions.get(place) else {
            return Ok(None);
        };
        // From the end, so that each page is read once and one page is held at a time.
        let mut order: Vec<usize> = (0..offsets.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(offsets[*index]));
        let mut left = order.into_iter().peekable();
        let mut found: Vec<Option<Translated>> = vec![None; offsets.len()];
        let (mut next, mut following, mut end) = (mapped.page, None, None);
        while let Some(sha256) = next
            && (left.peek().is_some() || end.is_none())
        {
            let page = repository
                .map_page(&self.restore.restore, place, &sha256)
                .await?;
            end = end.or(page.runs.last().copied());
            while let Some(index) =
                left.next_if(|index| offsets[*index] >= page.base_offset || page.previous.is_none())
            {
                let first = page
                    .runs
                    .partition_point(|run| behind(run) <= offsets[index]);
                let run = page.runs.get(first).copied().or(following);
                found[index] = run.map(|run| mapped.in_run(&run, offsets[index]));
            }
            following = page.runs.first().copied().or(following);
            next = page.previous;
        }
        let at_end = || mapped.at_end(end.as_ref());
        let found = found.into_iter();
        Ok(Some(
            found.map(|found| found.unwrap_or_else(at_end)).collect(),
        ))
    }
}

/// Behind the last source offset of a run.
fn behind(run: &MapRun) -> i64 {
    run.source_offset.saturating_add_unsigned(run.records)
}

impl Mapped {
    /// In the run that ends behind `offset` and begins at it, before it, or behind it.
    fn in_run(&self, run: &MapRun, offset: i64) -> Translated {
        let into = offset.saturating_sub(run.source_offset).max(0);
        Translated {
            topic: self.target.clone(),
            partition: run.target_partition,
            offset: run.target_offset.saturating_add(into),
            lands: if offset >= run.source_offset {
                Landing::OnRecord
            } else {
                Landing::OnNext {
                    source_offset: run.source_offset,
                }
            },
        }
    }

    /// Behind the last run of all.
    fn at_end(&self, last: Option<&MapRun>) -> Translated {
        let (partition, offset) = match last {
            Some(run) => (
                run.target_partition,
                run.target_offset.saturating_add_unsigned(run.records),
            ),
            None => (self.target_partition, self.target_offset),
        };
        Translated {
            topic: self.target.clone(),
            partition,
            offset,
            lands: Landing::AtEnd,
        }
    }
}
