//! Writes the index of a commit: the run of its own rows, and the runs that are merged before (SPEC section 11.4).
//!
//! Merges do not depend on the rows of the commit, so that a commit that is tried again, since another writer was first, repeats only those
//! whose runs the other one has merged, too.

use std::collections::{HashMap, HashSet};

use super::error::{RepoError, Result};
use super::index::{
    FinishedTable, KeyRange, MergePlan, Row, Run, Step, TableRef, TableSizes, TableWriter,
    plan_merge, run_of,
};
use super::keys::{Key, TABLES};
use super::repository::Repository;

/// The objects that a commit has written so far.
pub(super) struct IndexWriter {
    repository: Repository,
    sizes: TableSizes,
    /// The merged run, by the runs that it is made of; `None` where no row is left.
    merged: HashMap<Vec<Run>, Option<Run>>,
    /// What cannot be read now and may be restored later. Until then it stays, with all older runs, and costs readers a table more.
    unreadable: HashSet<Run>,
    written: HashSet<Key>,
}

/// What became of runs that were to be merged.
enum Merge {
    Done(Box<Option<Run>>),
    /// The one in this place cannot be read.
    Unreadable(usize),
}

impl IndexWriter {
    pub(super) fn new(repository: Repository) -> IndexWriter {
        IndexWriter {
            repository,
            sizes: TableSizes::SPEC,
            merged: HashMap::new(),
            unreadable: HashSet::new(),
            written: HashSet::new(),
        }
    }

    /// Returns the objects that were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Key> {
        self.written.iter()
    }

    /// Merges the runs of the snapshot before this one as far as needed, writes the rows of this commit, and returns the runs of its snapshot.
    /// No row of a segment has the key of one in an older run.
    pub(super) async fn write(
        &mut self,
        runs: Vec<Run>,
        sequence: u64,
        rows: &[Row],
    ) -> Result<Vec<Run>> {
        self.write_run(runs, sequence, rows, false).await
    }

    /// Does the same with rows of segments that may have the keys of others in older runs.
    pub(super) async fn write_replacing(
        &mut self,
        runs: Vec<Run>,
        sequence: u64,
        rows: &[Row],
    ) -> Result<Vec<Run>> {
        let segments = rows.iter().any(|row| matches!(row, Row::Segment(..)));
        self.write_run(runs, sequence, rows, segments).await
    }

    async fn write_run(
        &mut self,
        mut runs: Vec<Run>,
        sequence: u64,
        rows: &[Row],
        replaces: bool,
    ) -> Result<Vec<Run>> {
        while let Some(plan) = plan_merge(&runs, self.readable(&runs)) {
            let parts: Vec<Run> = runs.get(plan.runs.clone()).unwrap_or_default().to_vec();
            match self.merge(&plan, &parts).await? {
                Merge::Done(merged) => plan.apply(&mut runs, *merged),
                Merge::Unreadable(at) => self.unreadable.extend(parts.into_iter().nth(at)),
            }
        }
        if let Some(run) = self.write_rows(sequence, rows, replaces).await? {
            runs.insert(0, run);
        }
        Ok(runs)
    }

    /// Returns the number of runs before the first that cannot be read.
    fn readable(&self, runs: &[Run]) -> usize {
        let unreadable = runs.iter().position(|run| self.unreadable.contains(run));
        unreadable.unwrap_or(runs.len())
    }

    async fn write_rows(
        &mut self,
        sequence: u64,
        rows: &[Row],
        replaces: bool,
    ) -> Result<Option<Run>> {
        let lines: Vec<Vec<u8>> = rows.iter().map(Row::to_line).collect();
        let total = lines.iter().map(|line| line.len() as u64 + 1).sum();
        let mut writer = self.writer(total, replaces);
        let mut tables = Vec::new();
        for (row, line) in rows.iter().zip(&lines) {
            let finished = writer.push(&row.head(), line);
            tables.extend(self.put_table(finished).await?);
        }
        tables.extend(self.put_table(writer.finish()).await?);
        self.run(0, (sequence, sequence), tables).await
    }

    async fn merge(&mut self, plan: &MergePlan, parts: &[Run]) -> Result<Merge> {
        if let Some(known) = self.merged.get(parts) {
            return Ok(Merge::Done(Box::new(known.clone())));
        }
        let bytes = parts.iter().map(Run::raw_bytes);
        let total = bytes.fold(0, u64::saturating_add);
        let hides = plan.keeps_removed && parts.iter().any(Run::hides);
        let mut writer = self.writer(total, hides);
        let mut tables = Vec::new();
        let repository = self.repository.clone();
        let all = KeyRange::All.at_any_time();
        let mut parts_tables = Vec::with_capacity(parts.len());
        for (at, run) in parts.iter().enumerate() {
            match repository.run_tables(run, &all).await {
                Ok(tables) => parts_tables.push(tables),
                Err(error) if error.kind().is_about_content() => return Ok(Merge::Unreadable(at)),
                Err(error) => return Err(error),
            }
        }
        let mut merged = repository
            .merge(parts_tables, all, plan.keeps_removed)
            .await;
        loop {
            match merged.step() {
                Step::End => break,
                Step::Row(row, _) => {
                    let finished = writer.push(&row.head, &row.line);
                    tables.extend(self.put_table(finished).await?);
                }
                Step::Read { source, tables } => {
                    match repository.supply(&mut merged, source, &tables).await {
                        Ok(()) => {}
                        Err(error) if error.kind().is_about_content() => {
                            return Ok(Merge::Unreadable(source));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        tables.extend(self.put_table(writer.finish()).await?);
        let from = parts.iter().map(|run| run.from).min().unwrap_or(0);
        let to = parts.iter().map(|run| run.to).max().unwrap_or(0);
        let run = self.run(plan.level, (from, to), tables).await?;
        self.merged.insert(parts.to_vec(), run.clone());
        Ok(Merge::Done(Box::new(run)))
    }

    fn writer(&self, total: u64, replaces: bool) -> TableWriter {
        let repository_id = self.repository.identity().repository_id;
        TableWriter::new(repository_id, self.sizes, total, replaces)
    }

    async fn run(
        &mut self,
        level: u8,
        commits: (u64, u64),
        tables: Vec<TableRef>,
    ) -> Result<Option<Run>> {
        if tables.is_empty() {
            return Ok(None);
        }
        let repository_id = self.repository.identity().repository_id;
        let run = run_of(level, commits, tables, repository_id);
        let (run, list) = run.map_err(|detail| self.refused(detail))?;
        self.put_table(Ok(list)).await?;
        Ok(Some(run))
    }

    async fn put_table(
        &mut self,
        finished: std::result::Result<Option<FinishedTable>, String>,
    ) -> Result<Option<TableRef>> {
        let Some(FinishedTable { bytes, named }) =
            finished.map_err(|detail| self.refused(detail))?
        else {
            return Ok(None);
        };
        let sha256 = named.sha256;
        let key = Key::Table { sha256 };
        self.repository
            .store()
            .put_content_named(&key, bytes)
            .await?;
        self.written.insert(key);
        Ok(Some(named))
    }

    fn refused(&self, detail: String) -> RepoError {
        self.repository.store().refused_at(TABLES, detail)
    }
}
