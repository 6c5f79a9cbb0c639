//! Sorts rendered records by their timestamps, in bounded memory.
//!
//! ```text
//! records --> memory --full--> sorted, and written to a temporary file: a run --> ... --> all runs and the rest of the memory are merged
//! ```
//!
//! Timestamps are set by producers: they are in no order, and may be -1 or anything else, so what has the smallest one is known only once everything
//! has been searched. With a limit, only that many records are kept, and [`SortedRecords::bound`] says which timestamps are still of interest, so that
//! the rest of the search can leave out blocks by their index.
//!
//! The file is an unnamed one in the folder for temporary files (`TMPDIR`), which the system removes whatever happens.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;

use crate::read::Order;
use crate::segment_file::read_exact_at;

/// What records are sorted by: the timestamp first, and among equal ones the order in which they would be printed without sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey {
    /// The timestamp.
    pub timestamp: i64,
    /// The number of the source.
    pub source: usize,
    /// The offset.
    pub offset: i64,
}

/// Bytes of records in memory.
const MEMORY_BYTES: usize = 64 << 20;

/// Records to be sorted.
pub struct SortedRecords {
    order: Order,
    limit: usize,
    memory_bytes: usize,
    entries: Vec<Entry>,
    /// The text of the entries.
    text: Vec<u8>,
    file: Option<BufWriter<File>>,
    runs: Vec<Range<u64>>,
    bound: Option<i64>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: SortKey,
    text: Range<usize>,
}

impl SortedRecords {
    /// Sorts in this order, and keeps only the first `limit` records, if there is a limit.
    #[must_use]
    pub fn new(order: Order, limit: Option<u64>) -> SortedRecords {
        Self::in_memory(order, limit, MEMORY_BYTES)
    }

    fn in_memory(order: Order, limit: Option<u64>, memory_bytes: usize) -> SortedRecords {
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        SortedRecords {
            order,
            limit: limit.unwrap_or(usize::MAX),
            memory_bytes,
            entries: Vec::new(),
            text: Vec::new(),
            file: None,
            runs: Vec::new(),
            bound: None,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be written.
    pub fn push(&mut self, key: SortKey, text: &[u8]) -> io::Result<()> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        let text = start..self.text.len();
        self.entries.push(Entry { key, text });
        let full = self.entries.len() >= self.limit;
        if full && (self.bound.is_none() || self.entries.len() / 2 >= self.limit) {
            self.keep_first();
        }
        if self.bytes() > self.memory_bytes {
            self.keep_first();
            // What remains of a limited number must leave room for more, or each record would sort all of them again.
            if self.bytes() > self.memory_bytes / 2 {
                self.spill()?;
            }
        }
        Ok(())
    }

    /// Returns the timestamp beyond which no record is of interest any more: the largest one in ascending order, the smallest one in descending
    /// order. `None` while there are fewer records than the limit.
    #[must_use]
    pub fn bound(&self) -> Option<i64> {
        self.bound
    }

    /// Returns whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.runs.is_empty()
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Sorts what is in memory, and removes what is beyond the limit.
    fn keep_first(&mut self) {
        let order = self.order;
        self.entries
            .sort_unstable_by(|left, right| compare(order, left.key, right.key));
        if self.entries.len() < self.limit {
            return;
        }
        if let Some(last) = self
            .limit
            .checked_sub(1)
            .and_then(|at| self.entries.get(at))
        {
            let last = last.key.timestamp;
            let tighter = |bound: i64| match order {
                Order::Ascending => bound.min(last),
                Order::Descending => bound.max(last),
            };
            self.bound = Some(self.bound.map_or(last, tighter));
        }
        self.entries.truncate(self.limit);
        let mut kept = Vec::new();
        for entry in &mut self.entries {
            let start = kept.len();
            kept.extend_from_slice(self.text.get(entry.text.clone()).unwrap_or_default());
            entry.text = start..kept.len();
        }
        self.text = kept;
    }

    /// Writes what is in memory, which is sorted, to the file.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        let start = self.runs.last().map_or(0, |run| run.end);
        let mut end = start;
        for entry in &self.entries {
            let text = self.text.get(entry.text.clone()).unwrap_or_default();
            let head = Head::of(entry.key, text.len()).to_bytes();
            file.write_all(&head)?;
            file.write_all(text)?;
            end += (head.len() + text.len()) as u64;
        }
        self.runs.push(start..end);
        self.entries.clear();
        self.text.clear();
        Ok(())
    }

    /// Passes the records to `take`, in order, until it returns `false`.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read or written, and the errors of `take`.
    pub fn finish<E: From<io::Error>>(
        mut self,
        mut take: impl FnMut(SortKey, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.keep_first();
        if self.file.is_none() {
            for entry in self.entries.iter().take(self.limit) {
                let text = self.text.get(entry.text.clone()).unwrap_or_default();
                if !take(entry.key, text)? {
                    break;
                }
            }
            return Ok(());
        }
        self.spill()?;
        let file = self.file.map(BufWriter::into_inner).transpose();
        match file.map_err(io::IntoInnerError::into_error)? {
            Some(file) => Merge::new(self.order, &file, &self.runs)?.each(self.limit, take),
            None => Ok(()),
        }
    }
}

fn compare(order: Order, left: SortKey, right: SortKey) -> Ordering {
    match order {
        Order::Ascending => left.cmp(&right),
        Order::Descending => right.cmp(&left),
    }
}

/// What is before the text of a record in the file.
#[derive(Clone, Copy)]
struct Head {
    key: SortKey,
    length: usize,
}

const HEAD_BYTES: usize = 32;

impl Head {
    fn of(key: SortKey, length: usize) -> Head {
        Head { key, length }
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let SortKey {
            timestamp,
            source,
            offset,
        } = self.key;
        let mut bytes = [0; HEAD_BYTES];
        let fields = [
            timestamp.to_le_bytes(),
            (source as u64).to_le_bytes(),
            offset.to_le_bytes(),
            (self.length as u64).to_le_bytes(),
        ];
        for (target, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *target = field;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Head {
        let mut fields = bytes.as_chunks::<8>().0.iter();
        let mut field = || fields.next().copied().unwrap_or_default();
        let key = SortKey {
            timestamp: i64::from_le_bytes(field()),
            source: usize::from_le_bytes(field()),
            offset: i64::from_le_bytes(field()),
        };
        Head {
            key,
            length: usize::from_le_bytes(field()),
        }
    }
}

/// A run that is being read.
struct Run<'a> {
    order: Order,
    reader: BufReader<Part<'a>>,
    head: Head,
}

/// A part of the file.
struct Part<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let part = buffer.get_mut(..length).unwrap_or_default();
        read_exact_at(self.file, part, self.left.start)?;
        self.left.start += length as u64;
        Ok(length)
    }
}

impl Run<'_> {
    /// Reads the head of the next record; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let mut bytes = [0; HEAD_BYTES];
        let is_end = self.reader.buffer().is_empty() && self.reader.get_ref().left.is_empty();
        if is_end {
            return Ok(false);
        }
        self.reader.read_exact(&mut bytes)?;
        self.head = Head::from_bytes(&bytes);
        Ok(true)
    }
}

impl PartialEq for Run<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Run<'_> {}

impl PartialOrd for Run<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Run<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.order, self.head.key, other.head.key)
    }
}

/// Merges runs.
struct Merge<'a>(BinaryHeap<Reverse<Run<'a>>>);

impl<'a> Merge<'a> {
    fn new(order: Order, file: &'a File, runs: &[Range<u64>]) -> io::Result<Merge<'a>> {
        let mut heap = BinaryHeap::new();
        for run in runs {
            let part = Part {
                file,
                left: run.clone(),
            };
            let mut run = Run {
                order,
                reader: BufReader::with_capacity(64 << 10, part),
                head: Head::from_bytes(&[0; HEAD_BYTES]),
            };
            if run.advance()? {
                heap.push(Reverse(run));
            }
        }
        Ok(Merge(heap))
    }

    fn each<E: From<io::Error>>(
        mut self,
        limit: usize,
        mut take: impl FnMut(SortKey, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut text = Vec::new();
        for _ in 0..limit {
            let Some(Reverse(mut run)) = self.0.pop() else {
                return Ok(());
            };
            text.resize(run.head.length, 0);
            run.reader.read_exact(&mut text)?;
            if !take(run.head.key, &text)? {
                return Ok(());
            }
            if run.advance()? {
                self.0.push(Reverse(run));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_come_in_order_whatever_the_memory(
            timestamps in prop::collection::vec(prop_oneof![Just(-1), -5..20_i64, any::<i64>()], 0..300),
            limit in prop_oneof![Just(None), (0..60_u64).prop_map(Some)],
            memory_bytes in prop_oneof![Just(0_usize), 100..6_000_usize, Just(1 << 20)],
            descending: bool,
        ) {
            let order = if descending { Order::Descending } else { Order::Ascending };
            let mut sorted = SortedRecords::in_memory(order, limit, memory_bytes);
            let mut expected = Vec::new();
            for (number, timestamp) in timestamps.iter().enumerate() {
                let key = SortKey { timestamp: *timestamp, source: number % 3, offset: number as i64 };
                let text = format!("{number}{}\n", "x".repeat(number % 40));
                if let Some(bound) = sorted.bound() {
                    let before = expected.iter().filter(|(known, _): &&(SortKey, String)| match order {
                        Order::Ascending => known.timestamp <= bound,
                        Order::Descending => known.timestamp >= bound,
                    });
                    prop_assert!(before.count() as u64 >= limit.unwrap_or(u64::MAX));
                }
                sorted.push(key, text.as_bytes()).unwrap();
                expected.push((key, text));
            }
            expected.sort_by(|left, right| compare(order, left.0, right.0));
            expected.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
            let mut found = Vec::new();
            let ended: io::Result<()> = sorted.finish(|_, text| {
                found.push(String::from_utf8(text.to_vec()).unwrap());
                Ok(true)
            });
            ended.unwrap();
            let expected: Vec<_> = expected.into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
