//! The first walk over a log: which transactions were aborted, which are open, and where the log ends.

use std::collections::HashMap;

use kbk_format::batch::{BatchDecoder, BatchHeader, ControlRecord, RecordBatch};

use super::ImportEvents;
use super::error::ImportError;
use super::folder::FoundLog;
use super::log_file::{Depth, LogReader, Next};

/// What the first walk found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of each producer, the first offsets of the transactions that it aborted, and the offsets of their markers, ascending.
    aborted: HashMap<i64, Vec<(i64, i64)>>,
    /// Of each producer with a transaction that has no marker, its first offset.
    open: HashMap<i64, i64>,
    /// One past the last offset.
    pub(super) end_offset: i64,
}

impl Scan {
    /// Walks over a log; `None` if it was stopped.
    pub(super) fn of(
        log: &FoundLog,
        events: &dyn ImportEvents,
    ) -> Result<Option<Scan>, ImportError> {
        let mut scan = Scan {
            end_offset: log.first_offset(),
            ..Scan::default()
        };
        let mut decoder = BatchDecoder::new();
        let mut buffer = Vec::new();
        for (_, path) in &log.files {
            let mut reader = LogReader::open(path, Depth::Headers, buffer)?;
            loop {
                match reader.next()? {
                    Next::Batch => scan.look_at(&reader, &mut decoder),
                    Next::Damaged(..) => {}
                    Next::Torn(_) | Next::End => break,
                }
            }
            if events.is_stopped() {
                return Ok(None);
            }
            buffer = reader.into_buffer();
        }
        Ok(Some(scan))
    }

    fn look_at(&mut self, reader: &LogReader, decoder: &mut BatchDecoder) {
        let Ok(header) = reader.header() else {
            return;
        };
        self.end_offset = self.end_offset.max(header.last_offset.saturating_add(1));
        if !header.attributes.is_transactional() {
            return;
        }
        let producer = header.producer.id;
        if !header.attributes.is_control() {
            self.open.entry(producer).or_insert(header.base_offset);
            return;
        }
        // A marker that is damaged ends nothing: what it committed is then taken to be open.
        let Some(marker) = reader
            .batch()
            .ok()
            .and_then(|batch| marker(&batch, decoder))
        else {
            return;
        };
        let begun = self.open.remove(&producer);
        if let (ControlRecord::Abort, Some(first)) = (marker, begun) {
            let aborted = self.aborted.entry(producer).or_default();
            aborted.push((first, header.last_offset));
        }
    }

    /// Returns whether a batch of a transaction was aborted.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        let Some(aborted) = self.aborted.get(&header.producer.id) else {
            return false;
        };
        let next = aborted.partition_point(|(_, marker)| *marker < header.base_offset);
        let first = aborted.get(next).map(|(first, _)| *first);
        header.attributes.is_transactional()
            && first.is_some_and(|first| first <= header.base_offset)
    }

    /// Returns where the first open transaction begins; `None` where none is open.
    pub(super) fn first_open(&self) -> Option<i64> {
        self.open.values().copied().min()
    }
}

/// Returns what a control batch says; `None` where it is damaged, or says something else.
fn marker(batch: &RecordBatch<'_>, decoder: &mut BatchDecoder) -> Option<ControlRecord> {
    batch.check_crc().ok()?;
    let mut records = decoder.decode(batch).ok()?;
    let marker = records.find_map(|record| ControlRecord::read(&record))?;
    matches!(marker, ControlRecord::Abort | ControlRecord::Commit).then_some(marker)
}
