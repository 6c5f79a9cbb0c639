//! The second walk over a log: from batches to records and gaps.

use std::path::Path;
use std::sync::Arc;

use kbk_format::batch::{BatchDecoder, BatchHeader};
use kbk_format::repo::{Id, Incomplete, IncompleteReason, PartitionChange, PartitionId, Store};
use kbk_format::{ErrorClass, FormatError, GapReason, OffsetSpan, WriteError};
use tokio::runtime::Handle;

use super::error::ImportError;
use super::folder::FoundLog;
use super::log_file::{Depth, LogReader, Next};
use super::output::Output;
use super::report::{ImportFinding, ImportFindingKind, ImportedPartition};
use super::scan::Scan;
use super::{ImportEvents, ImportOptions};

/// Where segments go.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) store: Store,
    pub(super) cluster_id: Option<String>,
    pub(super) runtime: Handle,
    pub(super) options: Arc<ImportOptions>,
    pub(super) events: Arc<dyn ImportEvents>,
}

/// A partition whose segments are durable.
pub(super) struct Imported {
    pub(super) row: ImportedPartition,
    pub(super) change: PartitionChange,
    pub(super) findings: Vec<ImportFinding>,
}

/// Stores a log; `None` if it was stopped. Blocks.
pub(super) fn import(
    log: &FoundLog,
    topic_id: Id,
    to: &Destination,
) -> Result<Option<Imported>, ImportError> {
    let Some(scan) = Scan::of(log, &*to.events)? else {
        return Ok(None);
    };
    let id = PartitionId {
        topic: log.topic.clone(),
        topic_id,
        partition: log.partition,
    };
    let start = log.first_offset();
    let output = Output::new(
        id,
        start,
        to.store.clone(),
        to.cluster_id.clone(),
        Arc::clone(&to.options),
        Arc::clone(&to.events),
        to.runtime.clone(),
    );
    let mut walk = Walk {
        log,
        stable_end: scan.first_open().map_or(i64::MAX, |open| open.max(start)),
        seen_end: log.files.first().map_or(0, |(offset, _)| *offset),
        scan,
        decoder: BatchDecoder::new(),
        output,
        events: &*to.events,
        records: 0,
        left_out: 0,
        lost: false,
        is_whole: true,
        findings: Vec::new(),
    };
    if !walk.walk()? {
        return Ok(None);
    }
    walk.finish(topic_id).map(Some)
}

struct Walk<'a> {
    log: &'a FoundLog,
    scan: Scan,
    /// Where the first open transaction begins: nothing from there on is stored. `i64::MAX` without one.
    stable_end: i64,
    /// One past the last offset of the batches so far.
    seen_end: i64,
    decoder: BatchDecoder,
    output: Output,
    events: &'a dyn ImportEvents,
    records: u64,
    left_out: u64,
    /// Whether what was damaged is between the last batch and the next.
    lost: bool,
    /// Whether every record was stored that could be.
    is_whole: bool,
    findings: Vec<ImportFinding>,
}

/// Whether a walk continues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Continue,
    /// The end of what can be stored was reached.
    End,
}

impl Walk<'_> {
    /// Walks over all files; returns whether it was not stopped.
    fn walk(&mut self) -> Result<bool, ImportError> {
        let log = self.log;
        if log.has_swap {
            let message = "a compaction was not finished: what files that end in .swap hold was not read; start the broker once, or remove \
                           those files if the others are complete";
            self.find(ImportFindingKind::UnfinishedCompaction, message.to_owned());
        }
        let mut buffer = Vec::new();
        for (number, (_, path)) in log.files.iter().enumerate() {
            let mut reader = LogReader::open(path, Depth::Whole, buffer)?;
            loop {
                let before = reader.next_position();
                let then = match reader.next()? {
                    Next::Batch => {
                        let after = log.files.get(number + 1).map(|(offset, _)| *offset);
                        self.batch(&mut reader, path, before, after)?
                    }
                    Next::Damaged(position, error) => {
                        self.damaged(path, position, None, &error);
                        Then::Continue
                    }
                    Next::Torn(position) => {
                        let is_last = number + 1 == log.files.len();
                        self.torn(path, position, is_last);
                        break;
                    }
                    Next::End => break,
                };
                if then == Then::End {
                    return Ok(true);
                }
                if self.events.is_stopped() {
                    return Ok(false);
                }
            }
            buffer = reader.into_buffer();
        }
        Ok(true)
    }

    fn batch(
        &mut self,
        reader: &mut LogReader,
        path: &Path,
        position: u64,
        next_file: Option<i64>,
    ) -> Result<Then, ImportError> {
        let bytes = reader.next_position() - position;
        let checked = reader
            .batch()
            .and_then(|batch| batch.check_crc().map(|()| *batch.header()));
        let header = match checked {
            Ok(header) => header,
            Err(error) => {
                let header = reader.header().ok();
                self.damaged(path, position, header.as_ref(), &error);
                reader.distrust()?;
                return Ok(Then::Continue);
            }
        };
        if header.base_offset >= self.stable_end {
            return Ok(Then::End);
        }
        let next = reader.peek_base_offset()?.or(next_file);
        if let Some(detail) = self.out_of_place(&header, next) {
            let error = FormatError::new(ErrorClass::Misplaced, "record batch", position, detail);
            self.damaged(path, position, None, &error);
            return Ok(Then::Continue);
        }
        self.seen_end = header.last_offset + 1;
        let records = self.records;
        let then = match header.attributes.is_control() || self.scan.is_aborted(&header) {
            true => self.hidden(&header)?,
            false => self.visible(reader, path, position)?,
        };
        self.events.advanced(self.records - records, bytes);
        Ok(then)
    }

    /// Says why the offsets of a batch are not its own, if so: no checksum covers them. `next` is the first offset of what follows. Where two
    /// neighbours contradict each other, the one is right that begins where the last one ended.
    fn out_of_place(&self, header: &BatchHeader, next: Option<i64>) -> Option<String> {
        let BatchHeader {
            base_offset,
            last_offset,
            ..
        } = *header;
        let offsets = OffsetSpan::from(base_offset..last_offset + 1);
        if base_offset < self.seen_end {
            let end = self.seen_end;
            return Some(format!(
                "it states the {offsets}, and those before it end at {end}"
            ));
        }
        // A message set states its last offset only.
        let is_contiguous = base_offset == self.seen_end || header.record_count.is_none();
        let next = next.filter(|next| *next <= last_offset && !is_contiguous)?;
        Some(format!(
            "it states the {offsets}, and what follows begins at {next}"
        ))
    }

    /// Leaves a marker or an aborted batch out.
    fn hidden(&mut self, header: &BatchHeader) -> Result<Then, ImportError> {
        self.cover(header.base_offset)?;
        self.left_out += u64::from(header.record_count.unwrap_or_default());
        let end = (header.last_offset + 1).min(self.stable_end);
        self.output.gap(end, GapReason::Transaction)?;
        Ok(Then::Continue)
    }

    fn visible(
        &mut self,
        reader: &LogReader,
        path: &Path,
        position: u64,
    ) -> Result<Then, ImportError> {
        let batch = reader.batch();
        // Taken out while its records are borrowed.
        let mut decoder = std::mem::take(&mut self.decoder);
        let decoded = batch.and_then(|batch| Ok((*batch.header(), decoder.decode(&batch)?)));
        let then = match decoded {
            Ok((header, records)) => self.records(&header, records),
            Err(error) => {
                let header = reader.header().ok();
                self.damaged(path, position, header.as_ref(), &error);
                Ok(Then::Continue)
            }
        };
        self.decoder = decoder;
        then
    }

    fn records<'r>(
        &mut self,
        header: &BatchHeader,
        records: impl Iterator<Item = kbk_format::Record<'r>>,
    ) -> Result<Then, ImportError> {
        let timestamp_type = header.attributes.timestamp_type();
        for record in records {
            // Those before the start were deleted, and those that were stored already are in two segments after a crash.
            if record.offset < self.output.end_offset() {
                continue;
            }
            self.cover(record.offset)?;
            match self.output.push(timestamp_type, &record) {
                Ok(()) => self.records += 1,
                Err(ImportError::Write {
                    source: WriteError::Format(error),
                    ..
                }) if error.class == ErrorClass::Limit => {
                    self.too_large(record.offset, &error);
                    return Ok(Then::End);
                }
                Err(error) => return Err(error),
            }
        }
        let end = header.last_offset.saturating_add(1).min(self.stable_end);
        self.output.gap(end, GapReason::Compacted)?;
        Ok(Then::Continue)
    }

    /// Covers the offsets up to `offset`, of which the log has no batch.
    fn cover(&mut self, offset: i64) -> Result<(), ImportError> {
        let lost = std::mem::take(&mut self.lost);
        let reason = match lost {
            true => GapReason::Unknown,
            false => GapReason::Compacted,
        };
        self.output.gap(offset.min(self.stable_end), reason)
    }

    fn find(&mut self, kind: ImportFindingKind, message: String) {
        let finding = self.finding(kind, message);
        self.findings.push(finding);
    }

    fn finding(&mut self, kind: ImportFindingKind, message: String) -> ImportFinding {
        self.is_whole = false;
        ImportFinding::new(kind, &self.log.topic, Some(self.log.partition), message)
    }

    fn damaged(
        &mut self,
        path: &Path,
        position: u64,
        header: Option<&BatchHeader>,
        error: &FormatError,
    ) {
        self.lost = true;
        let from = self.output.end_offset();
        // What a damaged header states is a hint at best.
        let stated = header.filter(|header| (from..self.stable_end).contains(&header.last_offset));
        let message = match stated {
            Some(header) => format!(
                "a batch at position {position} of {} is damaged and was skipped, by its header {}: {error}",
                path.display(),
                OffsetSpan::from(header.base_offset..header.last_offset + 1)
            ),
            None => format!(
                "bytes from position {position} of {} are no batch and were skipped: {error}",
                path.display()
            ),
        };
        let kind = ImportFindingKind::DamagedBatch;
        let finding = self.finding(kind, message).in_file(path, position);
        self.findings.push(match stated {
            Some(header) => {
                let base = header.base_offset.max(from);
                finding.of_offsets((base..header.last_offset + 1).into())
            }
            None => finding,
        });
    }

    fn torn(&mut self, path: &Path, position: u64, is_last: bool) {
        self.lost |= !is_last;
        let place = format!("position {position} of {}", path.display());
        let message = match is_last {
            true => format!(
                "the log ends within a batch, or in zeros, at {place}, as after a crash: a broker would cut it there, too"
            ),
            false => {
                format!("a file that others follow ends within a batch, or in zeros, at {place}")
            }
        };
        let finding = self.finding(ImportFindingKind::TornTail, message);
        self.findings.push(finding.in_file(path, position));
    }

    fn too_large(&mut self, offset: i64, error: &FormatError) {
        self.stable_end = offset;
        let message =
            format!("the record at offset {offset} is not stored, nor what follows it: {error}");
        self.find(ImportFindingKind::TooLarge, message);
    }

    /// Makes everything durable.
    fn finish(mut self, topic_id: Id) -> Result<Imported, ImportError> {
        let (topic, partition) = (self.log.topic.clone(), self.log.partition);
        let open = self.scan.first_open();
        let log_end = match open {
            // Only the first walk has seen what follows.
            Some(_) => self.scan.end_offset,
            None => self.seen_end,
        };
        let log_end = log_end.max(self.log.first_offset());
        let end = self.stable_end.min(log_end);
        self.cover(end)?;
        if let Some(open) = open {
            let offsets = OffsetSpan::from(open.max(self.log.first_offset())..log_end);
            let message = format!(
                "{offsets} are not stored: a transaction that begins there has neither been committed nor aborted"
            );
            let finding = self.finding(ImportFindingKind::OpenTransaction, message);
            self.findings.push(finding.of_offsets(offsets));
        }
        let incomplete = (!self.is_whole).then(|| incomplete(&self.findings));
        let end_offset = self.output.end_offset();
        let segments = self.output.finish()?;
        let row = ImportedPartition {
            topic: topic.to_string(),
            topic_id: topic_id.to_string(),
            partition,
            base_offset: self.log.first_offset(),
            end_offset,
            log_end_offset: log_end,
            records: self.records,
            left_out: self.left_out,
        };
        let change = PartitionChange {
            partition,
            log_start_offset: self.log.first_offset(),
            high_watermark: log_end,
            last_stable_offset: open.unwrap_or(log_end),
            incomplete,
            segments,
            lost: Vec::new(),
        };
        Ok(Imported {
            row,
            change,
            findings: self.findings,
        })
    }
}

/// Says in the snapshot why records are missing.
fn incomplete(findings: &[ImportFinding]) -> Incomplete {
    let is_open = |finding: &&ImportFinding| finding.kind == ImportFindingKind::OpenTransaction;
    let only_open = findings.iter().all(|finding| is_open(&finding));
    let worst = findings.iter().find(|finding| !is_open(finding));
    let said = worst.or(findings.first());
    Incomplete {
        reason: match only_open {
            true => IncompleteReason::OpenTransaction,
            false => IncompleteReason::Unreadable,
        },
        detail: said.map_or_else(String::new, |finding| finding.detail().to_owned()),
    }
}
