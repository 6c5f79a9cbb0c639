//! Records in memory as columns: what a writer fills, an encoder reads and a decoder fills again.
//!
//! ```text
//! offsets     [ 7, 8, 9, 12 ]            one entry per record
//! timestamps  [ .. ]
//! controls    [ .. ]
//! keys        codes [ 4, 0, 4, 1 ]       0 null, otherwise length + 1
//!             ends  [ 3, 3, 6, 6 ]       into bytes
//!             bytes "k01k02"             one buffer for all records: a stream of the block
//! headers     ends  [ 0, 2, 2, 2 ]       into entries; entries into bytes
//! values      as keys
//! ```
//!
//! Clearing keeps every buffer, so a reused [`Columns`] allocates nothing.

use crate::batch::RecordSize as BatchRecordSize;
use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::limits;
use crate::record::{Header, Headers, Record};

/// Records of one block.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub(crate) offsets: Vec<i64>,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) controls: Vec<bool>,
    pub(crate) keys: ByteColumn,
    pub(crate) values: ByteColumn,
    pub(crate) headers: HeaderColumn,
}

/// Nullable byte strings, one per record.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteColumn {
    /// 0: null; otherwise length + 1.
    pub(crate) codes: Vec<u32>,
    /// The exclusive end of each in `bytes`.
    pub(crate) ends: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
}

/// Headers of all records, record by record.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderColumn {
    /// The exclusive end of each record's headers in `entries`.
    pub(crate) ends: Vec<u32>,
    pub(crate) entries: Vec<HeaderEntry>,
    /// Name and value of each, without bytes between them.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderEntry {
    pub(crate) start: u32,
    pub(crate) name_length: u32,
    /// 0: null; otherwise length + 1.
    pub(crate) value_code: u32,
}

/// Returns 0 for null, otherwise length + 1. Lengths are below 2^28: [`Columns::push`] bounds them.
pub(crate) fn code(bytes: Option<&[u8]>) -> u32 {
    bytes.map_or(0, |b| narrow(b.len()) + 1)
}

/// Converts a length of at most [`limits::BLOCK_RAW_BYTES`] to `u32`.
pub(crate) fn narrow(length: usize) -> u32 {
    debug_assert!(length <= limits::BLOCK_RAW_BYTES);
    length as u32
}

impl ByteColumn {
    fn buffer_bytes(&self) -> usize {
        size(&self.codes) + size(&self.ends) + size(&self.bytes)
    }

    fn push(&mut self, bytes: Option<&[u8]>) {
        self.codes.push(code(bytes));
        self.bytes.extend_from_slice(bytes.unwrap_or_default());
        self.ends.push(narrow(self.bytes.len()));
    }

    fn truncate(&mut self, count: usize) {
        self.codes.truncate(count);
        self.ends.truncate(count);
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.bytes.truncate(end);
    }

    fn clear(&mut self) {
        self.codes.clear();
        self.ends.clear();
        self.bytes.clear();
    }

    #[inline]
    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        let length = self.codes.get(i)?.checked_sub(1)? as usize;
        let end = *self.ends.get(i)? as usize;
        self.bytes.get(end.checked_sub(length)?..end)
    }
}

impl HeaderEntry {
    pub(crate) fn value_length(self) -> u32 {
        self.value_code.saturating_sub(1)
    }

    #[inline]
    pub(crate) fn view(self, bytes: &[u8]) -> Header<'_> {
        let start = self.start as usize;
        let name_end = start + self.name_length as usize;
        let end = name_end + self.value_length() as usize;
        Header {
            name: bytes.get(start..name_end).unwrap_or_default(),
            value: match self.value_code {
                0 => None,
                _ => bytes.get(name_end..end),
            },
        }
    }
}

/// Returns the size of a buffer.
fn size<T>(buffer: &Vec<T>) -> usize {
    buffer.capacity() * size_of::<T>()
}

impl HeaderColumn {
    fn buffer_bytes(&self) -> usize {
        size(&self.ends) + size(&self.entries) + size(&self.bytes)
    }

    fn push(&mut self, headers: Headers<'_>) {
        for header in headers {
            self.entries.push(HeaderEntry {
                start: narrow(self.bytes.len()),
                name_length: narrow(header.name.len()),
                value_code: code(header.value),
            });
            self.bytes.extend_from_slice(header.name);
            self.bytes
                .extend_from_slice(header.value.unwrap_or_default());
        }
        self.ends.push(narrow(self.entries.len()));
    }

    fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        let end = self.ends.last().map_or(0, |end| *end as usize);
        let start = self.entries.get(end).map(|entry| entry.start as usize);
        self.entries.truncate(end);
        if let Some(start) = start {
            self.bytes.truncate(start);
        }
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.entries.clear();
        self.bytes.clear();
    }

    /// Returns where record `i`'s headers start in `entries`.
    pub(crate) fn start(&self, i: usize) -> usize {
        i.checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or(0, |end| *end as usize)
    }

    #[inline]
    pub(crate) fn get(&self, i: usize) -> ColumnHeaders<'_> {
        let end = self.ends.get(i).map_or(0, |end| *end as usize);
        ColumnHeaders {
            entries: self.entries.get(self.start(i)..end).unwrap_or_default(),
            bytes: &self.bytes,
        }
    }
}

/// The headers of one record in [`Columns`].
#[derive(Clone, Debug)]
pub struct ColumnHeaders<'a> {
    entries: &'a [HeaderEntry],
    bytes: &'a [u8],
}

impl ColumnHeaders<'_> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<'a> Iterator for ColumnHeaders<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        let (first, rest) = self.entries.split_first()?;
        self.entries = rest;
        Some(first.view(self.bytes))
    }
}

/// What pushing a record would add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordSize {
    pub(crate) bytes: usize,
    pub(crate) headers: usize,
}

impl RecordSize {
    pub(crate) fn of(record: &Record<'_>) -> RecordSize {
        RecordSize {
            bytes: record.payload_len(),
            headers: Headers::count(&record.headers),
        }
    }
}

/// The largest size of one record in META, without its headers: at most seven varints.
const META_BYTES_PER_RECORD: usize = 7 * crate::varint::MAX_LENGTH;
/// The largest size of one header in META: two lengths below 2^28.
const META_BYTES_PER_HEADER: usize = 2 * 5;

impl Columns {
    /// Creates empty columns.
    #[must_use]
    pub fn new() -> Columns {
        Columns::default()
    }

    pub(crate) fn reserve_values(&mut self, bytes: usize) {
        self.values.bytes.reserve(bytes);
    }

    /// Returns the size in bytes of all buffers, which stay when the records are removed.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        size(&self.offsets)
            + size(&self.timestamps)
            + size(&self.controls)
            + self.keys.buffer_bytes()
            + self.headers.buffer_bytes()
            + self.values.buffer_bytes()
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns the bytes of keys, headers and values.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.keys.bytes.len() + self.headers.bytes.len() + self.values.bytes.len()
    }

    /// Removes all records but the first `count`.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.offsets.truncate(count);
        self.timestamps.truncate(count);
        self.controls.truncate(count);
        self.keys.truncate(count);
        self.values.truncate(count);
        self.headers.truncate(count);
    }

    /// Removes all records but keeps the buffers.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.timestamps.clear();
        self.controls.clear();
        self.keys.clear();
        self.values.clear();
        self.headers.clear();
    }

    /// Appends a copy of `record`: the one copy between a network buffer and the segment.
    ///
    /// # Errors
    ///
    /// *limit* where the block would exceed the limits of SPEC section 6; it is then unchanged.
    pub fn push(&mut self, record: &Record<'_>) -> Result<()> {
        self.check_room(record.offset, RecordSize::of(record))?;
        self.push_checked(record);
        Ok(())
    }

    /// Appends a copy of a record that has passed [`check_room`](Self::check_room).
    pub(crate) fn push_checked(&mut self, record: &Record<'_>) {
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.controls.push(record.control);
        self.keys.push(record.key);
        self.values.push(record.value);
        self.headers.push(record.headers.clone());
    }

    /// Checks that a record of `size` at `offset` fits into one block with the others; otherwise *limit*.
    pub(crate) fn check_room(&self, offset: i64, size: RecordSize) -> Result<()> {
        let records = self.len() + 1;
        let headers = self.headers.entries.len() + size.headers;
        let raw = size
            .bytes
            .saturating_add(self.payload_bytes())
            .saturating_add(records * META_BYTES_PER_RECORD)
            .saturating_add(headers * META_BYTES_PER_HEADER);
        let over = |what: &str, found: usize, limit: usize| {
            Err(FormatError::new(
                ErrorClass::Limit,
                "record",
                0,
                format!(
                    "offset {offset} would make a block of {found} {what}; at most {limit} are allowed"
                ),
            ))
        };
        if records > limits::BLOCK_RECORDS {
            return over("records", records, limits::BLOCK_RECORDS);
        }
        if headers > limits::BLOCK_HEADERS {
            return over("headers", headers, limits::BLOCK_HEADERS);
        }
        if raw > limits::BLOCK_RAW_BYTES {
            return over("bytes", raw, limits::BLOCK_RAW_BYTES);
        }
        Ok(())
    }

    /// Returns record `i`, borrowed.
    #[must_use]
    #[inline]
    pub fn get(&self, i: usize) -> Option<Record<'_>> {
        Some(Record {
            offset: *self.offsets.get(i)?,
            timestamp: *self.timestamps.get(i)?,
            control: *self.controls.get(i)?,
            key: self.keys.get(i),
            value: self.values.get(i),
            headers: Headers::Columns(self.headers.get(i)),
        })
    }

    /// Iterates over all records in offset order, borrowed.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        Records {
            columns: self,
            range: 0..self.len(),
        }
    }

    /// Returns the offsets, in ascending order.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Returns the timestamps, record by record.
    #[must_use]
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Returns whether record `i` has a key, which may be empty: META alone says so.
    #[must_use]
    pub fn has_key(&self, i: usize) -> bool {
        self.keys.codes.get(i).is_some_and(|code| *code > 0)
    }

    /// Returns whether record `i` has a value, which may be empty: META alone says so.
    #[must_use]
    pub fn has_value(&self, i: usize) -> bool {
        self.values.codes.get(i).is_some_and(|code| *code > 0)
    }

    /// Returns whether record `i` has a header: META alone says so.
    #[must_use]
    pub fn has_headers(&self, i: usize) -> bool {
        self.headers.get(i).len() > 0
    }

    /// Returns the lengths of record `i`: META alone says them. Where there is no such record, they are those of an empty one.
    #[must_use]
    pub fn size(&self, i: usize) -> BatchRecordSize {
        let length = |code: u32| code.checked_sub(1).map(|length| length as usize);
        let of = |codes: &[u32]| codes.get(i).and_then(|code| length(*code));
        let headers = self.headers.get(i).entries;
        let header = |entry: &HeaderEntry| {
            BatchRecordSize::header(entry.name_length as usize, length(entry.value_code))
        };
        BatchRecordSize {
            key: of(&self.keys.codes),
            value: of(&self.values.codes),
            headers: headers.len(),
            header_bytes: headers.iter().map(header).sum(),
        }
    }

    /// Returns whether record `i` is a control record.
    #[must_use]
    pub fn is_control(&self, i: usize) -> bool {
        self.controls.get(i).is_some_and(|control| *control)
    }

    /// Returns the smallest timestamp but -1, which means that a record has none; `i64::MAX` where no record has one.
    pub(crate) fn min_known_timestamp(&self) -> i64 {
        let known = self.timestamps.iter().filter(|timestamp| **timestamp != -1);
        known.min().copied().unwrap_or(i64::MAX)
    }

    /// Returns the smallest and the largest timestamp; (`i64::MAX`, `i64::MIN`) where there is no record.
    pub(crate) fn time_bounds(&self) -> (i64, i64) {
        self.timestamps
            .iter()
            .fold((i64::MAX, i64::MIN), |(min, max), t| {
                (min.min(*t), max.max(*t))
            })
    }
}

struct Records<'a> {
    columns: &'a Columns,
    range: std::ops::Range<usize>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        self.columns.get(self.range.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl DoubleEndedIterator for Records<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.columns.get(self.range.next_back()?)
    }
}

impl ExactSizeIterator for Records<'_> {}
