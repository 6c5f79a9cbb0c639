//! The rows of several runs as one sequence, in the order of their keys: of those with one key, the row of the newest run.
//!
//! A few tables of each run are in memory at a time, however many rows there are. The caller brings the tables, so that nothing here
//! waits:
//!
//! ```text
//! step() --> Read { source, tables }  supply the first, and others that follow it if they are at hand, and step again
//!        --> Row(row)                 the next row
//!        --> End
//! ```

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::key::RowKey;
use super::range::{KeyRange, RowFilter};
use super::table::{Table, TableRef, TableRow};
use crate::repo::id::Digest;

/// What the caller must do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read the first of these tables and supply it; the others are needed soon.
    Read {
        source: usize,
        tables: Vec<TableRef>,
    },
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
    /// The first of those that are waiting, read ahead.
    ready: VecDeque<Arc<Table>>,
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
    /// Merges the rows that are wanted. `runs` has the tables of each run, that of the newest first; those that cannot hold such a row
    /// are not read. Removed rows are passed on if `keeps_removed`.
    pub(crate) fn new(
        runs: impl IntoIterator<Item = Vec<TableRef>>,
        wanted: RowFilter,
        keeps_removed: bool,
    ) -> MergedRows {
        let source = |tables: Vec<TableRef>| Source {
            waiting: tables
                .into_iter()
                .filter(|table| table.may_hold(&wanted))
                .collect(),
            ready: VecDeque::new(),
            table: None,
            at: 0,
        };
        let sources: Vec<Source> = runs.into_iter().map(source).collect();
        MergedRows {
            behind: (0..sources.len()).collect(),
            range: wanted.range,
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

    /// Supplies a table that [`Step::Read`] asked for: the first, or the one that follows the last supplied.
    pub(crate) fn supply(&mut self, source: usize, table: Arc<Table>) {
        if let Some(source) = self.sources.get_mut(source) {
            source.ready.push_back(table);
        }
    }

    /// Leaves out the first table that [`Step::Read`] asked for: what the rows of its keys are is then not known.
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
            } else if !source.waiting.is_empty() {
                let tables = source.ahead();
                self.behind.push(at);
                return Some(Step::Read { source: at, tables });
            }
        }
        None
    }
}

/// How much is read ahead of one run: requests to a bucket take longer than a table takes to merge.
const AHEAD_TABLES: usize = 8;
const AHEAD_RAW_BYTES: u64 = 8 << 20;

impl Source {
    /// Takes the next row of the range from the tables at hand, if they have one.
    fn head(&mut self, source: usize, range: &KeyRange) -> Option<Head> {
        loop {
            if let Some(head) = self.head_of_table(source, range) {
                return Some(head);
            }
            let table = self.ready.pop_front()?;
            let named = self.waiting.pop_front()?;
            self.table = Some((named.sha256, table));
            self.at = 0;
        }
    }

    /// Returns the tables to read next: one at least, and as many as may be in memory.
    fn ahead(&self) -> Vec<TableRef> {
        let mut bytes = 0u64;
        let fits = |table: &&TableRef| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(table.raw_size);
            is_first || bytes <= AHEAD_RAW_BYTES
        };
        let tables = self.waiting.iter().take(AHEAD_TABLES);
        tables.take_while(fits).cloned().collect()
    }

    fn head_of_table(&mut self, source: usize, range: &KeyRange) -> Option<Head> {
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
