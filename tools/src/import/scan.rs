//! The first walk over a log: which transactions were aborted, which are open or of no known end, where compaction was, and where the log ends.

use std::collections::HashMap;

use kbk_format::OffsetSpan;
use kbk_format::batch::{BatchDecoder, BatchHeader, ControlRecord, RecordBatch};

use super::ImportEvents;
use super::error::ImportError;
use super::folder::FoundLog;
use super::log_file::{Depth, LogReader, Next, out_of_place};

/// What the first walk found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of each producer, the first offsets of the transactions that it aborted, and the offsets of their markers, ascending.
    aborted: HashMap<i64, Vec<(i64, i64)>>,
    /// Of each producer, where records are whose marker may be lost: it is known of later ones only. Ascending.
    unproven: HashMap<i64, Vec<(i64, i64)>>,
    /// Of each producer with a transaction that has no marker, its records.
    open: HashMap<i64, Open>,
    /// One past the last offset that a batch states.
    pub(super) end_offset: i64,
    compaction: Compaction,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    first: i64,
    /// One past those whose marker may be in what was damaged or missing since.
    unproven_to: Option<i64>,
}

/// Where offsets are missing within a file: bytes do not vanish from the middle of one, so compaction removed them.
#[derive(Debug, Default)]
struct Compaction {
    /// One past the last offset that compaction has gone over: it always begins at the start of a log.
    to: i64,
    /// Whether it has gone over a file, by the file's number. It cleans whole files.
    files: Vec<bool>,
    /// Whether that is so without the offsets of the last batch, which nothing proves.
    is_shown_before_end: bool,
}

impl Scan {
    /// Walks over a log; `None` if it was stopped.
    pub(super) fn of(
        log: &FoundLog,
        events: &dyn ImportEvents,
    ) -> Result<Option<Scan>, ImportError> {
        let mut scan = Scan {
            end_offset: log.first_of_files(),
            ..Scan::default()
        };
        let mut is_transactional = false;
        let mut buffer = Vec::new();
        for (first, path) in &log.files {
            let mut reader = LogReader::open(path, Depth::Headers, buffer)?;
            scan.compaction.files.push(false);
            let mut end = Some(*first);
            loop {
                match reader.next()? {
                    Next::Batch => {
                        let Ok(header) = reader.header() else {
                            continue;
                        };
                        is_transactional |= header.attributes.is_transactional();
                        scan.compaction.look_at(&header, end);
                        end = Some(header.last_offset.saturating_add(1));
                        scan.end_offset = scan.end_offset.max(end.unwrap_or_default());
                    }
                    Next::Damaged(..) => end = None,
                    Next::Torn(_) | Next::End => break,
                }
            }
            scan.end_offset = scan.end_offset.max(*first);
            if events.is_stopped() {
                return Ok(None);
            }
            buffer = reader.into_buffer();
        }
        // The checkpoint has no checksum, and compaction never passes the end.
        if log.cleaned_to <= scan.end_offset {
            scan.compaction.to = scan.compaction.to.max(log.cleaned_to);
            scan.compaction.is_shown_before_end |= log.cleaned_to > 0;
        }
        // Markers count only if nothing between them and the records is damaged, for which everything is read.
        let is_done = !is_transactional || scan.transactions(log, events)?;
        Ok(is_done.then_some(scan))
    }

    /// Resolves the transactions; returns whether it was not stopped.
    fn transactions(
        &mut self,
        log: &FoundLog,
        events: &dyn ImportEvents,
    ) -> Result<bool, ImportError> {
        let mut decoder = BatchDecoder::new();
        let mut buffer = Vec::new();
        let mut end = log.first_of_files();
        let mut is_lost = false;
        for (number, (first, path)) in log.files.iter().enumerate() {
            if *first > end {
                if std::mem::take(&mut is_lost) || !self.explains(number, *first) {
                    self.doubt(*first);
                }
                end = *first;
            }
            let next_file = log.files.get(number + 1).map(|(offset, _)| *offset);
            let mut reader = LogReader::open(path, Depth::Whole, buffer)?;
            loop {
                match reader.next()? {
                    Next::Batch => {}
                    Next::Damaged(..) => {
                        is_lost = true;
                        continue;
                    }
                    Next::Torn(_) => {
                        is_lost = true;
                        break;
                    }
                    Next::End => break,
                }
                let checked = reader
                    .batch()
                    .and_then(|batch| batch.check_crc().map(|()| *batch.header()));
                let Ok(header) = checked else {
                    is_lost = true;
                    reader.distrust()?;
                    continue;
                };
                let next = reader.peek_base_offset()?.or(next_file);
                if out_of_place(&header, end, next).is_some() {
                    is_lost = true;
                    continue;
                }
                // Where no offset is missing, no marker is.
                if std::mem::take(&mut is_lost) && header.base_offset > end {
                    self.doubt(header.base_offset);
                }
                end = header.last_offset + 1;
                self.look_at(&header, &reader, &mut decoder);
            }
            if events.is_stopped() {
                return Ok(false);
            }
            buffer = reader.into_buffer();
        }
        Ok(true)
    }

    /// Takes the markers of all transactions that are open before `offset` to be lost.
    fn doubt(&mut self, offset: i64) {
        for open in self.open.values_mut() {
            open.unproven_to = Some(offset);
        }
    }

    fn look_at(&mut self, header: &BatchHeader, reader: &LogReader, decoder: &mut BatchDecoder) {
        if !header.attributes.is_transactional() {
            return;
        }
        let producer = header.producer.id;
        if !header.attributes.is_control() {
            self.open.entry(producer).or_insert(Open {
                first: header.base_offset,
                unproven_to: None,
            });
            return;
        }
        // A marker that cannot be read ends nothing: what it committed is then taken to be open.
        let Some(marker) = reader
            .batch()
            .ok()
            .and_then(|batch| marker(&batch, decoder))
        else {
            if let Some(open) = self.open.get_mut(&producer) {
                open.unproven_to = Some(header.base_offset);
            }
            return;
        };
        let Some(open) = self.open.remove(&producer) else {
            return;
        };
        if let Some(to) = open.unproven_to {
            let unproven = self.unproven.entry(producer).or_default();
            unproven.push((open.first, to));
        }
        if marker == ControlRecord::Abort {
            let first = open.unproven_to.unwrap_or(open.first);
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

    /// Returns whether nothing proves that a batch of a transaction was committed, or aborted.
    pub(super) fn is_unproven(&self, header: &BatchHeader) -> bool {
        let Some(unproven) = self.unproven.get(&header.producer.id) else {
            return false;
        };
        let next = unproven.partition_point(|(_, to)| *to <= header.base_offset);
        let first = unproven.get(next).map(|(first, _)| *first);
        header.attributes.is_transactional()
            && first.is_some_and(|first| first <= header.base_offset)
    }

    /// Returns where records are that nothing proves to be committed or aborted, with their producers, ascending.
    pub(super) fn unproven(&self) -> Vec<(OffsetSpan, i64)> {
        let of = |(producer, ranges): (&i64, &Vec<(i64, i64)>)| {
            let spans = ranges.iter().map(|(from, to)| OffsetSpan::from(*from..*to));
            let producer = *producer;
            spans.map(move |span| (span, producer)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.unproven.iter().flat_map(of).collect();
        all.sort();
        all
    }

    /// Returns where the first open transaction begins; `None` where none is open.
    pub(super) fn first_open(&self) -> Option<i64> {
        self.open.values().map(|open| open.first).min()
    }

    /// Returns whether compaction has gone over the log, as far as others than the last batch show.
    pub(super) fn shows_compaction_before_end(&self) -> bool {
        self.compaction.is_shown_before_end
    }

    /// Returns whether compaction explains that offsets are missing before a file, given its number and its first offset.
    pub(super) fn explains(&self, file: usize, first_offset: i64) -> bool {
        let before = file.checked_sub(1);
        let before = before.and_then(|before| self.compaction.files.get(before));
        first_offset <= self.compaction.to || before.is_some_and(|was| *was)
    }
}

impl Compaction {
    /// Looks at a batch of the newest file. `end` is where the one before it ended, or where the file begins; `None` behind what is damaged.
    fn look_at(&mut self, header: &BatchHeader, end: Option<i64>) {
        // A message set states its last offset only.
        let is_set = header.record_count.is_none()
            && header.attributes.codec() != Some(kbk_format::batch::BatchCodec::None);
        let between = !is_set && end.is_some_and(|end| end < header.base_offset);
        // Within a batch, its checksum proves what is missing.
        self.is_shown_before_end = self.to > 0;
        let covered = header.last_offset.saturating_sub(header.base_offset);
        let within = header
            .record_count
            .is_some_and(|count| i64::from(count) <= covered);
        self.is_shown_before_end |= within;
        if between || within {
            self.to = self.to.max(header.last_offset);
            if let Some(last) = self.files.last_mut() {
                *last = true;
            }
        }
    }
}

/// Returns what a control batch says; `None` where it cannot be read, or says something else.
fn marker(batch: &RecordBatch<'_>, decoder: &mut BatchDecoder) -> Option<ControlRecord> {
    let mut records = decoder.decode(batch).ok()?;
    let marker = records.find_map(|record| ControlRecord::read(&record))?;
    matches!(marker, ControlRecord::Abort | ControlRecord::Commit).then_some(marker)
}
