//! Where a table ends and the next one begins (SPEC section 11.4, Merging).

use super::key::RowKey;
use super::line::{LineHead, cover};
use super::table::TableRef;
use crate::layout::limits;
use crate::repo::id::Id;
use crate::repo::packed::{PackedFormat, pack};

/// The sizes at which tables end, in raw bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableSizes {
    /// Where a table ends in any case.
    pub(crate) full: usize,
    /// Where one ends if the next row belongs to another topic.
    pub(crate) at_topic: usize,
    /// Where rows in total are too few to have states and segments apart.
    pub(crate) small: u64,
}

impl TableSizes {
    /// What SPEC recommends.
    pub(crate) const SPEC: TableSizes = TableSizes {
        full: 1 << 20,
        at_topic: 512 << 10,
        small: 256 << 10,
    };
}

/// A table that is ready to be stored.
#[derive(Debug)]
pub(crate) struct FinishedTable {
    pub(crate) bytes: Vec<u8>,
    pub(crate) named: TableRef,
}

/// Distributes rows, which come in the order of their keys, over tables.
#[derive(Debug)]
pub(crate) struct TableWriter {
    repository_id: Id,
    sizes: TableSizes,
    /// Whether states and segments are in tables of their own.
    apart: bool,
    /// Whether the rows may replace others.
    replaces: bool,
    open: Option<OpenTable>,
}

#[derive(Debug)]
struct OpenTable {
    lines: Vec<u8>,
    rows: u64,
    first: RowKey,
    last: RowKey,
    times: Option<(i64, i64)>,
    removes: bool,
}

impl TableWriter {
    /// Creates a writer of rows that have `total` raw bytes together; `replaces` states that they may take the place of older rows
    /// about segments.
    pub(crate) fn new(repository_id: Id, sizes: TableSizes, total: u64, replaces: bool) -> Self {
        TableWriter {
            repository_id,
            sizes,
            apart: total >= sizes.small,
            replaces,
            open: None,
        }
    }

    /// Appends a row, and returns the table that ended before it, if one did.
    ///
    /// # Errors
    ///
    /// The rule that the table or the row would violate.
    pub(crate) fn push(
        &mut self,
        head: &LineHead,
        line: &[u8],
    ) -> Result<Option<FinishedTable>, String> {
        if line.len() > limits::ROW_BYTES {
            let (key, bytes, limit) = (&head.key, line.len(), limits::ROW_BYTES);
            return Err(format!("{key} has {bytes} bytes, and the limit is {limit}"));
        }
        let finished = match self.open.take_if(|open| {
            assert!(open.last < head.key, "rows come in the order of their keys");
            ends(open, &self.sizes, self.apart, &head.key, line.len())
        }) {
            Some(open) => Some(self.pack(open)?),
            None => None,
        };
        let open = self.open.get_or_insert_with(|| OpenTable {
            lines: Vec::new(),
            rows: 0,
            first: head.key.clone(),
            last: head.key.clone(),
            times: None,
            removes: false,
        });
        open.lines.extend_from_slice(line);
        open.lines.push(b'\n');
        open.rows += 1;
        open.last = head.key.clone();
        open.times = cover(open.times, head.times);
        open.removes |= head.removed;
        Ok(finished)
    }

    /// Returns the last table, if there is one.
    ///
    /// # Errors
    ///
    /// The rule that the table would violate.
    pub(crate) fn finish(mut self) -> Result<Option<FinishedTable>, String> {
        match self.open.take() {
            Some(open) => self.pack(open).map(Some),
            None => Ok(None),
        }
    }

    fn pack(&self, open: OpenTable) -> Result<FinishedTable, String> {
        let packed = pack(
            PackedFormat::Table,
            self.repository_id,
            &open.lines,
            open.rows,
        )?;
        let named = TableRef {
            sha256: packed.named.sha256,
            size: packed.named.size,
            raw_size: packed.named.raw_size,
            rows: open.rows,
            first: open.first,
            last: open.last,
            min_timestamp: open.times.map(|(min, _)| min),
            max_timestamp: open.times.map(|(_, max)| max),
            hides: self.replaces || open.removes,
        };
        let bytes = packed.bytes;
        Ok(FinishedTable { bytes, named })
    }
}

/// Returns whether a table ends before the row of this key.
fn ends(open: &OpenTable, sizes: &TableSizes, apart: bool, next: &RowKey, length: usize) -> bool {
    let raw = open.lines.len();
    raw + length >= sizes.full
        || raw >= sizes.at_topic && !open.last.same_topic(next)
        || apart && open.last.area() != next.area()
        || open.rows >= limits::TABLE_ROWS
}
