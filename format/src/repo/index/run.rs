//! Runs, which snapshots name, and the lists of the tables of large ones (SPEC section 11.4).

use serde::{Deserialize, Serialize};

use super::line::cover;
use super::table::TableRef;
use super::table_writer::FinishedTable;
use crate::layout::limits;
use crate::repo::id::Id;
use crate::repo::packed::{PackedFormat, pack, unpack};
use crate::repo::sealed::SealError;

/// Tables with ascending keys: the rows of some successive commits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// How often its rows were merged.
    pub level: u8,
    /// The first commit whose rows it holds.
    pub from: u64,
    /// The last commit whose rows it holds.
    pub to: u64,
    /// Its tables, where they are few.
    pub tables: Option<Vec<TableRef>>,
    /// The list of its tables, where they are many.
    pub list: Option<TableRef>,
}

/// Where the tables of a run are named.
pub(crate) enum RunTables<'a> {
    Named(&'a [TableRef]),
    InList(&'a TableRef),
}

/// The highest level.
const MAX_LEVEL: u8 = 63;

impl Run {
    /// Returns where its tables are named.
    pub(crate) fn tables(&self) -> RunTables<'_> {
        match (&self.tables, &self.list) {
            (_, Some(list)) => RunTables::InList(list),
            (Some(tables), None) => RunTables::Named(tables),
            (None, None) => RunTables::Named(&[]),
        }
    }

    /// Returns the number of its rows.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.named().iter().map(|table| table.rows);
        rows.fold(0, u64::saturating_add)
    }

    /// Returns the references that the snapshot itself has.
    fn named(&self) -> &[TableRef] {
        match self.tables() {
            RunTables::Named(tables) => tables,
            RunTables::InList(list) => std::slice::from_ref(list),
        }
    }

    /// Returns the sum of the raw bytes of its tables, or of its list, in which each table takes a fraction of its bytes.
    pub(crate) fn raw_bytes(&self) -> u64 {
        let sizes = self.named().iter().map(|table| table.raw_size);
        match self.tables() {
            RunTables::Named(_) => sizes.fold(0, u64::saturating_add),
            // More than the few tables that a snapshot names.
            RunTables::InList(_) => u64::MAX,
        }
    }

    /// Returns whether one of its tables hides rows of older runs.
    pub(crate) fn hides(&self) -> bool {
        self.named().iter().any(|table| table.hides)
    }

    /// Checks the run by itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.level > MAX_LEVEL || self.from == 0 || self.from > self.to {
            let (level, from, to) = (self.level, self.from, self.to);
            return Err(format!(
                "a run of level {level} has the commits {from} to {to}"
            ));
        }
        match (&self.tables, &self.list) {
            (Some(tables), None) => {
                if !(1..=limits::NAMED_TABLES).contains(&tables.len()) {
                    let found = tables.len();
                    return Err(format!("a run names {found} tables"));
                }
                check_tables(tables)
            }
            (None, Some(list)) => list.check(PackedFormat::TableList),
            _ => Err("a run has tables and a list, or neither".to_owned()),
        }
    }
}

/// Checks the references to the tables of one run.
fn check_tables(tables: &[TableRef]) -> Result<(), String> {
    for table in tables {
        table
            .check(PackedFormat::Table)
            .map_err(|detail| format!("table {}: {detail}", table.sha256))?;
    }
    match tables.array_windows().find(|[a, b]| a.last >= b.first) {
        None => Ok(()),
        Some([before, after]) => {
            let (last, first) = (&before.last, &after.first);
            Err(format!(
                "a table ends with {last}, and the next one begins with {first}"
            ))
        }
    }
}

/// Creates the run of these tables, and the list that names them if they are many.
///
/// # Errors
///
/// The limit that is exceeded.
pub(crate) fn run_of(
    level: u8,
    (from, to): (u64, u64),
    tables: Vec<TableRef>,
    repository_id: Id,
) -> Result<(Run, Option<FinishedTable>), String> {
    if tables.len() <= limits::NAMED_TABLES {
        let tables = Some(tables);
        let list = None;
        return Ok((
            Run {
                level,
                from,
                to,
                tables,
                list,
            },
            None,
        ));
    }
    if tables.len() > limits::LISTED_TABLES {
        let (found, limit) = (tables.len(), limits::LISTED_TABLES);
        return Err(format!(
            "a run has {found} tables, and the limit is {limit}"
        ));
    }
    let mut lines = Vec::new();
    for table in &tables {
        let line = serde_json::to_vec(table).map_err(|error| error.to_string())?;
        lines.extend_from_slice(&line);
        lines.push(b'\n');
    }
    let count = tables.len() as u64;
    let packed = pack(PackedFormat::TableList, repository_id, &lines, count)?;
    let (Some(first), Some(last)) = (tables.first(), tables.last()) else {
        return Err("a run has no tables".to_owned());
    };
    let times = tables
        .iter()
        .fold(None, |times, table| cover(times, table.times()));
    let rows = tables.iter().map(|table| table.rows);
    let named = TableRef {
        sha256: packed.named.sha256,
        size: packed.named.size,
        raw_size: packed.named.raw_size,
        rows: rows.fold(0, u64::saturating_add),
        first: first.first.clone(),
        last: last.last.clone(),
        min_timestamp: times.map(|(min, _)| min),
        max_timestamp: times.map(|(_, max)| max),
        hides: tables.iter().any(|table| table.hides),
    };
    let run = Run {
        level,
        from,
        to,
        tables: None,
        list: Some(named.clone()),
    };
    let bytes = packed.bytes;
    Ok((run, Some(FinishedTable { bytes, named })))
}

/// Reads the list that `named` names, and checks it.
pub(crate) fn read_list(
    named: &TableRef,
    repository_id: Id,
    bytes: &[u8],
) -> Result<Vec<TableRef>, SealError> {
    let lines = unpack(
        PackedFormat::TableList,
        repository_id,
        &named.packed(),
        bytes,
    )?;
    let least = limits::NAMED_TABLES as u64 + 1;
    let count = lines.left();
    if !(least..=limits::LISTED_TABLES as u64).contains(&count) {
        return Err(SealError::Damaged(format!("it lists {count} tables")));
    }
    let mut tables: Vec<TableRef> = Vec::new();
    for line in lines {
        let json = |error| SealError::Damaged(format!("a reference is not valid: {error}"));
        tables.push(serde_json::from_slice(&line).map_err(json)?);
    }
    check_list(named, &tables).map_err(SealError::Damaged)?;
    Ok(tables)
}

fn check_list(named: &TableRef, tables: &[TableRef]) -> Result<(), String> {
    check_tables(tables)?;
    let rows = tables
        .iter()
        .fold(0u64, |sum, table| sum.saturating_add(table.rows));
    let times = tables
        .iter()
        .fold(None, |times, table| cover(times, table.times()));
    let first = tables.first().map(|table| &table.first);
    let last = tables.last().map(|table| &table.last);
    let hides = tables.iter().any(|table| table.hides);
    let same = (rows, first, last, times, hides)
        == (
            named.rows,
            Some(&named.first),
            Some(&named.last),
            named.times(),
            named.hides,
        );
    match same {
        true => Ok(()),
        false => Err("its tables are not those that its reference states".to_owned()),
    }
}
