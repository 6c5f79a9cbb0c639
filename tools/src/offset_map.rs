//! Where offsets went: the offset map of a finished restore, read from its end (SPEC section 11.7).

use std::collections::BTreeMap;

use kbk_format::repo::{
    Digest, MapRun, PartitionId, RepoError, Repository, RestoreDone, RestoreId, RestoreManifest,
    RestoredTopic, TargetPartition, TopicName,
};
use serde::Serialize;

/// A restore that has ended, and so has a map of its own.
#[derive(Clone, Debug)]
pub struct FinishedRestore {
    /// What it was asked for.
    pub restore: RestoreManifest,
    partitions: BTreeMap<PartitionId, Mapped>,
}

/// Where one partition went.
#[derive(Clone, Debug)]
struct Mapped {
    target: TopicName,
    /// The partitions that its records may be in, ascending.
    targets: Vec<TargetPartition>,
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

/// Records of one partition of the backup in one of the cluster, from an offset there on and before an offset here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The partition in the cluster.
    pub partition: i32,
    /// First offset there.
    pub from_target_offset: i64,
    /// Behind the last offset here.
    pub before_source_offset: i64,
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

    fn new(restore: RestoreManifest, done: RestoreDone) -> FinishedRestore {
        let pages: BTreeMap<PartitionId, Option<Digest>> = done
            .partitions
            .iter()
            .map(|partition| (partition.place(), partition.page))
            .collect();
        let mut partitions = BTreeMap::new();
        for topic in &restore.topics {
            for restored in &topic.partitions {
                let place = PartitionId {
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
    pub fn place(&self, topic: &str, partition: i32) -> Option<&PartitionId> {
        self.partitions
            .keys()
            .find(|place| &*place.topic == topic && place.partition == partition)
    }

    /// What became of a topic, by its name in the backup.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<&RestoredTopic> {
        let mut topics = self.restore.topics.iter();
        topics.find(|restored| &*restored.topic == topic)
    }

    /// Where these offsets of the partition at `place` went, in their order: for each, a place in every partition of the
    /// cluster that its records may be in. `None` if the restore did not take it.
    ///
    /// # Errors
    ///
    /// As [`Repository::map_page`].
    pub async fn translate(
        &self,
        repository: &Repository,
        place: &PartitionId,
        offsets: &[i64],
    ) -> Result<Option<Vec<Vec<Translated>>>, RepoError> {
        let Some(mapped) = self.partitions.get(place) else {
            return Ok(None);
        };
        let mut search = Search::new(mapped, offsets);
        let mut pages = self.pages(repository, place, mapped);
        while !search.is_done()
            && let Some(runs) = pages.next().await?
        {
            runs.iter().rev().for_each(|run| search.pass(run));
        }
        Ok(Some(search.found()))
    }

    /// How many records of the partition at `place` each of these overlaps has; 0 for all if the restore did not take it.
    ///
    /// # Errors
    ///
    /// As [`Repository::map_page`].
    pub async fn count(
        &self,
        repository: &Repository,
        place: &PartitionId,
        overlaps: &[Overlap],
    ) -> Result<Vec<u64>, RepoError> {
        let mut counting = Counting::new(overlaps);
        if let Some(mapped) = self.partitions.get(place) {
            let mut pages = self.pages(repository, place, mapped);
            while !counting.is_done()
                && let Some(runs) = pages.next().await?
            {
                runs.iter().rev().for_each(|run| counting.pass(run));
            }
        }
        Ok(counting.records)
    }

    fn pages<'a>(
        &'a self,
        repository: &'a Repository,
        place: &'a PartitionId,
        mapped: &Mapped,
    ) -> Pages<'a> {
        Pages {
            repository,
            restore: &self.restore.restore,
            place,
            next: mapped.page,
        }
    }
}

/// The pages of one partition's map, from the last to the first: each is read once, and one is held at a time.
struct Pages<'a> {
    repository: &'a Repository,
    restore: &'a RestoreId,
    place: &'a PartitionId,
    next: Option<Digest>,
}

impl Pages<'_> {
    /// The runs of the next one.
    async fn next(&mut self) -> Result<Option<Vec<MapRun>>, RepoError> {
        let Some(sha256) = self.next else {
            return Ok(None);
        };
        let read = self.repository.map_page(self.restore, self.place, &sha256);
        let page = read.await?.value;
        self.next = page.previous;
        Ok(Some(page.runs))
    }
}

/// Looks for offsets while runs pass, from the last to the first.
struct Search<'a> {
    mapped: &'a Mapped,
    offsets: &'a [i64],
    /// Of the offsets not reached yet, ascending.
    left: Vec<usize>,
    /// Of each target partition, the run that passed last, and the one that passed first.
    passed: Vec<(Option<MapRun>, Option<MapRun>)>,
    /// By offset, the run in each target partition that it leads to; none for its end.
    runs: Vec<Vec<Option<MapRun>>>,
}

impl<'a> Search<'a> {
    fn new(mapped: &'a Mapped, offsets: &'a [i64]) -> Search<'a> {
        let mut left: Vec<usize> = (0..offsets.len()).collect();
        left.sort_by_key(|index| offsets[*index]);
        Search {
            mapped,
            offsets,
            left,
            passed: vec![(None, None); mapped.targets.len()],
            runs: vec![Vec::new(); offsets.len()],
        }
    }

    fn pass(&mut self, run: &MapRun) {
        self.reach(behind(run));
        let targets = &self.mapped.targets;
        let place = targets.binary_search_by_key(&run.target_partition, |target| target.partition);
        if let Some((last, first)) = place.ok().and_then(|place| self.passed.get_mut(place)) {
            *last = Some(*run);
            first.get_or_insert(*run);
        }
        self.reach(run.source_offset);
    }

    /// Offsets from here on lead to what has passed.
    fn reach(&mut self, offset: i64) {
        while let Some(index) = self.left.pop_if(|index| self.offsets[*index] >= offset) {
            self.runs[index] = self.passed.iter().map(|(last, _)| *last).collect();
        }
    }

    /// Whether nothing that is still to pass changes what is found.
    fn is_done(&self) -> bool {
        let ends = || self.passed.iter().all(|(_, first)| first.is_some());
        self.left.is_empty() && (self.runs.iter().flatten().all(Option::is_some) || ends())
    }

    fn found(mut self) -> Vec<Vec<Translated>> {
        self.reach(i64::MIN);
        let found = self.runs.iter().zip(self.offsets);
        found
            .map(|(runs, offset)| {
                let targets = self.mapped.targets.iter().zip(&self.passed).zip(runs);
                targets
                    .map(|((target, (_, end)), run)| match run {
                        Some(run) => self.mapped.in_run(run, *offset),
                        None => self.mapped.at_end(target, end.as_ref()),
                    })
                    .collect()
            })
            .collect()
    }
}

/// Counts records in overlaps while runs pass, from the last to the first.
struct Counting<'a> {
    overlaps: &'a [Overlap],
    /// Those that no run has reached yet, by their end here, ascending.
    left: Vec<usize>,
    /// Those that the next run may have records of.
    open: Vec<usize>,
    records: Vec<u64>,
}

impl<'a> Counting<'a> {
    fn new(overlaps: &'a [Overlap]) -> Counting<'a> {
        let mut left: Vec<usize> = (0..overlaps.len()).collect();
        left.sort_by_key(|index| overlaps[*index].before_source_offset);
        Counting {
            overlaps,
            left,
            open: Vec::new(),
            records: vec![0; overlaps.len()],
        }
    }

    fn pass(&mut self, run: &MapRun) {
        let reached =
            |index: &mut usize| self.overlaps[*index].before_source_offset > run.source_offset;
        while let Some(index) = self.left.pop_if(reached) {
            self.open.push(index);
        }
        let (overlaps, records) = (self.overlaps, &mut self.records);
        self.open.retain(|index| {
            let overlap = &overlaps[*index];
            if overlap.partition == run.target_partition {
                records[*index] += overlap.of(run);
            }
            // Later records here are later there, in each partition.
            overlap.partition != run.target_partition
                || overlap.from_target_offset < run.target_offset
        });
    }

    fn is_done(&self) -> bool {
        self.left.is_empty() && self.open.is_empty()
    }
}

impl Overlap {
    /// Records of a run that lie in it.
    fn of(&self, run: &MapRun) -> u64 {
        let before = self.before_source_offset.min(behind(run));
        let skipped = self
            .from_target_offset
            .saturating_sub(run.target_offset)
            .max(0);
        let first = run.source_offset.saturating_add(skipped);
        u64::try_from(before.saturating_sub(first)).unwrap_or(0)
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

    /// Behind the last run of a target partition, or where that ended before.
    fn at_end(&self, target: &TargetPartition, last: Option<&MapRun>) -> Translated {
        Translated {
            topic: self.target.clone(),
            partition: target.partition,
            offset: last.map_or(target.offset, |run| {
                run.target_offset.saturating_add_unsigned(run.records)
            }),
            lands: Landing::AtEnd,
        }
    }
}
