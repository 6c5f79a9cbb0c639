//! Writes the index of a commit: the run of its own rows, and the runs that are merged before (SPEC section 11.4).
//!
//! Merges do not depend on the rows of the commit, so that a commit that is tried again, since another writer was first, repeats only those
//! whose runs the other one has merged, too.

use std::collections::{HashMap, HashSet};

use super::error::{RepoError, Result};
use super::index::{
    FinishedTable, KeyRange, MergePlan, Row, Run, TableRef, TableSizes, TableWriter, plan_merge,
    run_of,
};
use super::keys::{Key, TABLES};
use super::repository::Repository;

/// The objects that a commit has written so far.
pub(super) struct IndexWriter {
    repository: Repository,
    sizes: TableSizes,
    /// The merged run, by the runs that it is made of; `None` where no row is left.
    merged: HashMap<Vec<Run>, Option<Run>>,
    written: HashSet<Key>,
}

impl IndexWriter {
    pub(super) fn new(repository: Repository) -> IndexWriter {
        IndexWriter {
            repository,
            sizes: TableSizes::SPEC,
            merged: HashMap::new(),
            written: HashSet::new(),
        }
    }

    /// Returns the objects that were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Key> {
        self.written.iter()
    }

    /// Merges the runs of the snapshot before this one as far as needed, writes the rows of this commit, and returns the runs of its snapshot.
    pub(super) async fn write(
        &mut self,
        mut runs: Vec<Run>,
        sequence: u64,
        rows: &[Row],
    ) -> Result<Vec<Run>> {
        while let Some(plan) = plan_merge(&runs) {
            let parts: Vec<Run> = runs.get(plan.runs.clone()).unwrap_or_default().to_vec();
            match self.merge(&plan, &parts).await {
                Ok(merged) => {
                    runs.splice(plan.runs, merged);
                }
                // What cannot be read now may be restored later. Until then its run stays, and costs readers a table more.
                Err(error) if error.kind().is_about_content() => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(run) = self.write_rows(sequence, rows).await? {
            runs.insert(0, run);
        }
        Ok(runs)
    }

    async fn write_rows(&mut self, sequence: u64, rows: &[Row]) -> Result<Option<Run>> {
        let lines: Vec<Vec<u8>> = rows.iter().map(Row::to_line).collect();
        let total = lines.iter().map(|line| line.len() as u64 + 1).sum();
        let mut writer = self.writer(total, false);
        let mut tables = Vec::new();
        for (row, line) in rows.iter().zip(&lines) {
            let finished = writer.push(&row.head(), line);
            tables.extend(self.put_table(finished).await?);
        }
        tables.extend(self.put_table(writer.finish()).await?);
        self.run(0, (sequence, sequence), tables).await
    }

    async fn merge(&mut self, plan: &MergePlan, parts: &[Run]) -> Result<Option<Run>> {
        if let Some(known) = self.merged.get(parts) {
            return Ok(known.clone());
        }
        let bytes = parts.iter().map(Run::raw_bytes);
        let total = bytes.fold(0, u64::saturating_add);
        let hides = plan.keeps_removed && parts.iter().any(Run::hides);
        let mut writer = self.writer(total, hides);
        let mut tables = Vec::new();
        let repository = self.repository.clone();
        let merged = repository.merged_rows(parts, KeyRange::All, plan.keeps_removed);
        let mut merged = merged.await?;
        while let Some((row, _)) = repository.next_row(&mut merged).await? {
            let finished = writer.push(&row.head, &row.line);
            tables.extend(self.put_table(finished).await?);
        }
        tables.extend(self.put_table(writer.finish()).await?);
        let from = parts.iter().map(|run| run.from).min().unwrap_or(0);
        let to = parts.iter().map(|run| run.to).max().unwrap_or(0);
        let run = self.run(plan.level, (from, to), tables).await?;
        self.merged.insert(parts.to_vec(), run.clone());
        Ok(run)
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
