//! The rows of several runs as one sequence, in the order of their keys: of those with one key, the row of the newest run.
//!
//! One table of each run is in memory at a time, however many rows there are. The caller brings the tables, so that nothing here
//! waits:
//!
//! ```text
//! step() --> Read { source, table }   supply(source, table) and step again
//!        --> Row(row)                 the next row
//!        --> End
//! ```

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::key::RowKey;
use super::range::KeyRange;
use super::table::{Table, TableRef, TableRow};
use crate::repo::id::Digest;

/// What the caller must do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read this table and supply it.
    Read { source: usize, table: TableRef },
    /// Take this row, which is of the table of this digest.
    Row(TableRow, Digest),
    /// There are no more rows.
    End,
}

/// A merge in progress.
#[derive(Debug)]
pub(crate) struct MergedRows {
    range: KeyRange,
    keeps_removed: bool,
    /// The newest first.
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<Head>>,
    /// Sources without a row among `heads`.
    behind: Vec<usize>,
    /// The key of the last row that was passed on or left out; older rows of this key do not count.
    last: Option<RowKey>,
}

/// The rows of one run that follow.
#[derive(Debug)]
struct Source {
    waiting: VecDeque<TableRef>,
    table: Option<(Digest, Arc<Table>)>,
    /// The place in `table` of the row that follows.
    at: usize,
}

/// The next row of a source.
#[derive(Debug)]
struct Head {
    /// The newest is 0.
    source: usize,
    digest: Digest,
    table: Arc<Table>,
    at: usize,
}

impl Head {
    fn row(&self) -> Option<&TableRow> {
        self.table.rows.get(self.at)
    }

    fn order(&self) -> (Option<&RowKey>, usize) {
        (self.row().map(|row| &row.head.key), self.source)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl MergedRows {
    /// Merges the rows of a range. `runs` has the tables of each run, that of the newest first; those that cannot hold a row of the range
    /// are not read. Removed rows are passed on if `keeps_removed`.
    pub(crate) fn new(
        runs: impl IntoIterator<Item = Vec<TableRef>>,
        range: KeyRange,
        keeps_removed: bool,
    ) -> MergedRows {
        let source = |tables: Vec<TableRef>| Source {
            waiting: tables
                .into_iter()
                .filter(|table| table.overlaps(&range))
                .collect(),
            table: None,
            at: 0,
        };
        let sources: Vec<Source> = runs.into_iter().map(source).collect();
        MergedRows {
            behind: (0..sources.len()).collect(),
            range,
            keeps_removed,
            sources,
            heads: BinaryHeap::new(),
            last: None,
        }
    }

    /// Returns the first table of each run: all of them are needed before the first row.
    pub(crate) fn first_tables(&self) -> impl Iterator<Item = &TableRef> {
        self.sources
            .iter()
            .filter_map(|source| source.waiting.front())
    }

    /// Supplies the table that [`Step::Read`] asked for.
    pub(crate) fn supply(&mut self, source: usize, table: Arc<Table>) {
        if let Some(source) = self.sources.get_mut(source) {
            let named = source.waiting.pop_front();
            source.table = named.map(|named| (named.sha256, table));
            source.at = 0;
        }
    }

    /// Leaves out the table that [`Step::Read`] asked for: what the rows of its keys are is then not known.
    pub(crate) fn skip(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.waiting.pop_front();
        }
    }

    /// Returns what to do next.
    pub(crate) fn step(&mut self) -> Step {
        loop {
            if let Some(read) = self.advance() {
                return read;
            }
            let Some(Reverse(head)) = self.heads.pop() else {
                return Step::End;
            };
            self.behind.push(head.source);
            let Some(row) = head.row() else {
                continue;
            };
            let key = &row.head.key;
            if self.last.as_ref() == Some(key) {
                continue;
            }
            self.last = Some(key.clone());
            if !row.head.removed || self.keeps_removed {
                return Step::Row(row.clone(), head.digest);
            }
        }
    }

    /// Brings every source that has rows left into `heads`; returns the table that is needed first, if one is.
    fn advance(&mut self) -> Option<Step> {
        while let Some(at) = self.behind.pop() {
            let Some(source) = self.sources.get_mut(at) else {
                continue;
            };
            if let Some(head) = source.head(at, &self.range) {
                self.heads.push(Reverse(head));
            } else if let Some(table) = source.waiting.front() {
                let table = table.clone();
                self.behind.push(at);
                return Some(Step::Read { source: at, table });
            }
        }
        None
    }
}

impl Source {
    /// Takes the next row of the range from the table at hand, if it has one.
    fn head(&mut self, source: usize, range: &KeyRange) -> Option<Head> {
        let (digest, table) = self.table.as_ref()?;
        let rest = table.rows.get(self.at..)?;
        let before = |row: &TableRow| range.place(&row.head.key).is_lt();
        // One step in most cases, since the range is left only once.
        let skipped = match rest.first().is_some_and(before) {
            true => rest.partition_point(before),
            false => 0,
        };
        let at = self.at + skipped;
        let next = table.rows.get(at);
        if !next.is_some_and(|row| range.place(&row.head.key).is_eq()) {
            self.table = None;
            return None;
        }
        self.at = at + 1;
        Some(Head {
            source,
            digest: *digest,
            table: Arc::clone(table),
            at,
        })
    }
}
