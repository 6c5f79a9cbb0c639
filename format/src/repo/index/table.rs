//! Tables and the references to them (SPEC section 11.4).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::key::RowKey;
use super::line::{LineHead, cover};
use super::range::{KeyRange, RowFilter};
use super::row::Row;
use crate::layout::limits;
use crate::repo::id::{Digest, Id};
use crate::repo::keys::{Key, PartitionId};
use crate::repo::packed::{PackedFormat, PackedRef, check_limits, unpack};
use crate::repo::sealed::SealError;

/// What a snapshot or a list states about a table, or a run about its list: enough to know whether it must be read, and to check it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableRef {
    /// SHA-256 of the object as stored.
    pub sha256: Digest,
    /// Its length.
    pub size: u64,
    /// Its length once decompressed.
    pub raw_size: u64,
    /// The number of rows.
    pub rows: u64,
    /// The key of the first row.
    pub first: RowKey,
    /// The key of the last row.
    pub last: RowKey,
    /// Smallest timestamp in milliseconds of its segments; `None` where none has records.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds of its segments; `None` where none has records.
    pub max_timestamp: Option<i64>,
    /// Whether it removes or replaces rows of older runs, so that no reader may leave it out by its times.
    pub hides: bool,
}

/// The rows of a table, checked against the reference that names it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) rows: Vec<TableRow>,
}

/// One row, as its table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRow {
    pub(crate) head: LineHead,
    pub(crate) line: Bytes,
}

impl TableRow {
    /// Reads all that the row states.
    pub(crate) fn read(&self) -> Result<Row, SealError> {
        Row::read(&self.head, &self.line)
    }
}

impl TableRef {
    /// Returns the object's name.
    #[must_use]
    pub fn key(&self) -> Key {
        let sha256 = self.sha256;
        Key::Table { sha256 }
    }

    /// Returns whether the table can hold rows of segments of a partition.
    #[must_use]
    pub fn may_hold_segments_of(&self, id: &PartitionId) -> bool {
        KeyRange::SegmentsOf(id.clone()).overlaps(&self.first, &self.last)
    }

    /// Returns whether it can have rows of segments.
    pub(crate) fn may_hold_segments(&self) -> bool {
        KeyRange::Segments.overlaps(&self.first, &self.last)
    }

    pub(crate) fn packed(&self) -> PackedRef {
        PackedRef {
            sha256: self.sha256,
            size: self.size,
            raw_size: self.raw_size,
        }
    }

    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        self.min_timestamp.zip(self.max_timestamp)
    }

    /// Returns whether the table must be read to find these rows.
    pub(crate) fn may_hold(&self, wanted: &RowFilter) -> bool {
        wanted.range.overlaps(&self.first, &self.last) && self.may_matter(wanted.times)
    }

    /// Returns whether the table holds segments of these times, or hides rows of older tables, which may.
    fn may_matter(&self, wanted: Option<(i64, i64)>) -> bool {
        match (wanted, self.times()) {
            (None, _) => true,
            (Some(_), _) if self.hides => true,
            (Some((from, to)), Some((min, max))) => min <= to && from <= max,
            (Some(_), None) => false,
        }
    }

    /// Checks the reference by itself.
    pub(in crate::repo) fn check(&self, format: PackedFormat) -> Result<(), String> {
        check_limits(format, &self.packed())?;
        if self.rows == 0 || self.first > self.last {
            let (rows, first, last) = (self.rows, &self.first, &self.last);
            return Err(format!("it has {rows} rows, from {first} to {last}"));
        }
        let (min, max) = (self.min_timestamp, self.max_timestamp);
        if min.is_some() != max.is_some() || min > max {
            return Err(format!("its timestamps are {min:?} to {max:?}"));
        }
        Ok(())
    }
}

impl Table {
    /// Reads the table that `named` names, and checks the head of each row.
    pub(crate) fn read(
        named: &TableRef,
        repository_id: Id,
        bytes: &[u8],
    ) -> Result<Table, SealError> {
        let lines = unpack(PackedFormat::Table, repository_id, &named.packed(), bytes)?;
        let count = lines.left();
        if count != named.rows || count > limits::TABLE_ROWS {
            let detail = format!("it has {count} rows, not {}", named.rows);
            return Err(SealError::Damaged(detail));
        }
        let mut rows: Vec<TableRow> = Vec::new();
        for line in lines {
            let head = LineHead::read(&line)?;
            if let Some(before) = rows.last()
                && before.head.key >= head.key
            {
                let (before, after) = (&before.head.key, &head.key);
                let detail = format!("its rows {before} and {after} are out of order");
                return Err(SealError::Damaged(detail));
            }
            rows.push(TableRow { head, line });
        }
        let table = Table { rows };
        table.check(named).map_err(SealError::Damaged)?;
        Ok(table)
    }

    fn check(&self, named: &TableRef) -> Result<(), String> {
        let key = |row: Option<&TableRow>| row.map(|row| row.head.key.clone());
        let (first, last) = (key(self.rows.first()), key(self.rows.last()));
        if first.as_ref() != Some(&named.first) || last.as_ref() != Some(&named.last) {
            return Err(format!(
                "its rows are not those from {} to {}",
                named.first, named.last
            ));
        }
        let times = self
            .rows
            .iter()
            .fold(None, |times, row| cover(times, row.head.times));
        if times != named.times() {
            let stated = named.times();
            return Err(format!("its timestamps are {times:?}, not {stated:?}"));
        }
        if !named.hides && self.rows.iter().any(|row| row.head.removed) {
            return Err("it removes rows, which its reference does not state".to_owned());
        }
        Ok(())
    }
}
