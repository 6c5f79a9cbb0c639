//! Reads the offset map of one partition, page by page (SPEC section 11.7).
//!
//! ```text
//! done.json --> last page --previous--> page --previous--> first page       MapReader
//!                             first page --> page --> last page --> runs    MapRuns
//! ```
//!
//! Each page names the one before it, so a map is read from its end. The next page is requested while the caller works on the
//! current one; two pages are in memory at a time, whatever the size of the map.

use std::collections::{BTreeMap, VecDeque};

use kbk_format::repo::{
    Digest, Digested, DonePartition, Key, MapPage, MapRun, Operation, PartitionId, RepoError,
    Repository, RestoreId,
};
use kbk_format::{PartitionNumber, counted};
use tokio::task::JoinHandle;

use crate::task::joined;

/// Reads the pages of one partition's offset map from the last to the first, and checks that they follow one another.
///
/// Must be used on a thread of a runtime, or inside of its `block_on`.
pub struct MapReader {
    source: PageSource,
    /// The next page to return.
    next: Option<Digest>,
    /// Records that the pages still to be returned must map.
    records: u64,
    /// Where the next page must end; unknown for the last page of the map.
    end_offset: Option<i64>,
    /// By target partition, the lowest offset of the records in the pages returned so far: those of the next page are below it.
    target_starts: BTreeMap<PartitionNumber, i64>,
    readahead: Option<Readahead>,
}

/// Reads the runs of one partition's offset map from the first to the last.
///
/// Must be used on a thread of a runtime, or inside of its `block_on`.
pub struct MapRuns {
    source: PageSource,
    /// The pages that are not read yet, the first one last: 32 bytes per page of up to 4096 runs.
    pages: Vec<Digest>,
    /// Runs of the current page that are not consumed yet.
    runs: VecDeque<MapRun>,
    readahead: Option<Readahead>,
}

/// Where the pages of one partition's map come from.
#[derive(Clone)]
struct PageSource {
    repository: Repository,
    restore: RestoreId,
    partition: PartitionId,
}

/// A page that has been requested but not asked for yet. Dropping it cancels the request.
struct Readahead(JoinHandle<Result<Digested<MapPage>, RepoError>>);

impl MapReader {
    /// Reads the map of `partition` as a finished restore left it.
    #[must_use]
    pub fn new(
        repository: &Repository,
        restore: &RestoreId,
        partition: &DonePartition,
    ) -> MapReader {
        MapReader {
            source: PageSource {
                repository: repository.clone(),
                restore: restore.clone(),
                partition: partition.partition_id(),
            },
            next: partition.page,
            records: partition.records,
            end_offset: None,
            target_starts: BTreeMap::new(),
            readahead: None,
        }
    }

    /// Returns the page before the one returned last, beginning with the last page of the map; `None` after the first page, and
    /// after an error.
    ///
    /// # Errors
    ///
    /// As [`Repository::map_page`]; [`RepoErrorKind::Damaged`](kbk_format::repo::RepoErrorKind::Damaged) if a page does not continue where the one after it begins, if the
    /// map has fewer records than the restore wrote, or if its offsets in a target descend.
    pub async fn next(&mut self) -> Result<Option<Digested<MapPage>>, RepoError> {
        let read = self.read_next().await;
        if read.is_err() {
            self.next = None;
            self.records = 0;
        }
        read
    }

    /// Reads the map to its first page, and returns its runs from there on.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn forward(mut self) -> Result<MapRuns, RepoError> {
        let (mut pages, mut first) = (Vec::new(), Vec::new());
        while let Some(page) = self.next().await? {
            pages.push(page.sha256);
            first = page.value.runs;
        }
        // The first page has just been read, and is not read again.
        pages.pop();
        let mut runs = MapRuns {
            source: self.source,
            pages,
            runs: first.into(),
            readahead: None,
        };
        runs.request_next();
        Ok(runs)
    }

    async fn read_next(&mut self) -> Result<Option<Digested<MapPage>>, RepoError> {
        let Some(sha256) = self.next else {
            return self.check_end().map(|()| None);
        };
        let page = match self.readahead.take() {
            Some(mut readahead) => readahead.wait(&self.source).await?,
            None => self.source.read(sha256).await?,
        };
        self.check(&page)?;
        self.check_ascent(&page)?;
        let mapped: u64 = page.runs.iter().map(|run| run.records).sum();
        self.records = self.records.saturating_sub(mapped);
        // The last page alone answers most lookups, so reading ahead begins with the second page.
        if self.end_offset.is_some() {
            self.readahead = page.previous.map(|previous| self.source.request(previous));
        }
        self.end_offset = Some(page.base_offset);
        self.next = page.previous;
        Ok(Some(page))
    }

    /// Checks that a page continues the map, according to what names it.
    fn check(&self, page: &Digested<MapPage>) -> Result<(), RepoError> {
        let end = self.end_offset.filter(|end| page.end_offset != *end);
        if page.records == self.records && end.is_none() {
            return Ok(());
        }
        let end = end.map_or_else(String::new, |end| format!(" up to offset {end}"));
        let detail = format!(
            "it ends at offset {} with {}, and what names it states {}{end}",
            page.end_offset,
            counted(page.records, "record"),
            counted(self.records, "record")
        );
        let key = Key::map_page(&self.source.restore, &page.sha256);
        Err(self.source.damaged(&key, detail))
    }

    /// Checks that the records of a page are below those of later pages in each target: a log that was emptied, cut or created again
    /// while it was written to gives lower offsets to later records.
    fn check_ascent(&mut self, page: &Digested<MapPage>) -> Result<(), RepoError> {
        for run in page.runs.iter().rev() {
            let start = self.target_starts.entry(run.target_partition);
            let start = start.or_insert(i64::MAX);
            if run.target_end() > *start {
                let detail = format!(
                    "{run:?} ends at {} in the target, where a later record is at {start}",
                    run.target_end()
                );
                let key = Key::map_page(&self.source.restore, &page.sha256);
                return Err(self.source.damaged(&key, detail));
            }
            *start = run.target_offset;
        }
        Ok(())
    }

    /// Checks that no record is left when no page is. A page without a predecessor has all of its records itself, so this can
    /// only fail for a partition without a page.
    fn check_end(&self) -> Result<(), RepoError> {
        if self.records == 0 {
            return Ok(());
        }
        let detail = format!(
            "it states {} of {}, which the offset map lacks",
            counted(self.records, "record"),
            self.source.partition
        );
        let restore = self.source.restore.clone();
        Err(self.source.damaged(&Key::RestoreDone { restore }, detail))
    }
}

impl MapRuns {
    /// Returns what is left of the run at hand: the next record, and those that follow it both here and there. `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Repository::map_page`].
    pub async fn peek(&mut self) -> Result<Option<MapRun>, RepoError> {
        while self.runs.is_empty() {
            let Some(mut readahead) = self.readahead.take() else {
                return Ok(None);
            };
            let page = readahead.wait(&self.source).await?;
            self.runs = page.value.runs.into();
            self.request_next();
        }
        Ok(self.front())
    }

    /// Returns what [`peek`](Self::peek) would, without waiting; `None` also if the next page has to be read first.
    #[must_use]
    pub fn front(&self) -> Option<MapRun> {
        self.runs.front().copied()
    }

    /// Consumes one record of the run that [`peek`](Self::peek) returned.
    pub fn advance(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            run.source_offset += 1;
            run.target_offset += 1;
            run.records -= 1;
            if run.records == 0 {
                self.runs.pop_front();
            }
        }
    }

    fn request_next(&mut self) {
        self.readahead = self.pages.pop().map(|sha256| self.source.request(sha256));
    }
}

impl PageSource {
    async fn read(&self, sha256: Digest) -> Result<Digested<MapPage>, RepoError> {
        let PageSource {
            repository,
            restore,
            partition,
        } = self;
        repository.map_page(restore, partition, &sha256).await
    }

    fn request(&self, sha256: Digest) -> Readahead {
        let source = self.clone();
        Readahead(tokio::spawn(async move { source.read(sha256).await }))
    }

    fn damaged(&self, key: &Key, detail: String) -> RepoError {
        self.repository.store().damaged(key, detail)
    }
}

impl Readahead {
    async fn wait(&mut self, source: &PageSource) -> Result<Digested<MapPage>, RepoError> {
        joined((&mut self.0).await).unwrap_or_else(|cancelled| {
            let map = format!("the offset map of {}", source.partition);
            let url = source.repository.store().url();
            Err(RepoError::of_store(Operation::Read, url, &map, cancelled))
        })
    }
}

impl Drop for Readahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}
