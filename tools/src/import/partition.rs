//! The second walk over a log: from batches to records and gaps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kbk_format::batch::{BatchDecoder, BatchHeader};
use kbk_format::kafka_log::GAPS_FILE;
use kbk_format::repo::{Id, Incomplete, IncompleteReason, PartitionChange, PartitionId, Store};
use kbk_format::{ErrorClass, FormatError, GapReason, OffsetSpan, WriteError};
use tokio::runtime::Handle;

use super::error::ImportError;
use super::folder::FoundLog;
use super::known_gaps::KnownGaps;
use super::log_file::{Depth, LogReader, Next, out_of_place};
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
    let mut findings = Vec::new();
    let unchecked = beyond_end(log, scan.end_offset, &mut findings);
    let log = unchecked.as_ref().unwrap_or(log);
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
        seen_end: log.first_of_files(),
        scan,
        known: KnownGaps::open(&log.folder)?,
        lacking: BTreeMap::new(),
        decoder: BatchDecoder::new(),
        output,
        events: &*to.events,
        records: 0,
        left_out: 0,
        lost: false,
        is_whole: findings.is_empty(),
        findings,
    };
    walk.below_start();
    walk.look_at_known();
    if !walk.walk()? {
        return Ok(None);
    }
    walk.finish(topic_id).map(Some)
}

/// Looks at where a checkpoint, which has no checksum, says that a log begins: one that begins beyond its end, which is returned, begins with its
/// files instead. What is there counts more.
fn beyond_end(log: &FoundLog, end: i64, findings: &mut Vec<ImportFinding>) -> Option<FoundLog> {
    let start = log.start_offset.filter(|start| *start > end)?;
    let message = format!(
        "the checkpoint of the broker states that the log begins at offset {start}, and its files end at {end}: the checkpoint is damaged, or files \
         are missing; what they hold is stored"
    );
    let kind = ImportFindingKind::StartBeyondEnd;
    let finding = ImportFinding::new(kind, &log.topic, Some(log.partition), message);
    findings.push(finding.of_offsets(OffsetSpan::from(end..start)));
    Some(FoundLog {
        start_offset: None,
        ..log.clone()
    })
}

struct Walk<'a> {
    log: &'a FoundLog,
    scan: Scan,
    /// Where the first open transaction begins: nothing from there on is stored. `i64::MAX` without one.
    stable_end: i64,
    /// What an export of kbk has noted.
    known: KnownGaps,
    /// Offsets whose records it lacked, by reason: the first of them, and how many there are.
    lacking: BTreeMap<&'static str, (OffsetSpan, i64)>,
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
        for (number, (first, path)) in log.files.iter().enumerate() {
            self.begin_file(number, *first, path)?;
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

    /// Says which offsets are left out because the broker has noted that the log begins behind them.
    fn below_start(&mut self) {
        let log = self.log;
        let (from, to) = (log.first_of_files(), log.first_offset());
        if from < to {
            let offsets = OffsetSpan::from(from..to);
            let message = format!(
                "{offsets}, {} of them, are not stored: the broker has noted in log-start-offset-checkpoint that they were deleted",
                to - from
            );
            let kind = ImportFindingKind::DeletedRecords;
            let finding = ImportFinding::new(kind, &log.topic, Some(log.partition), message);
            self.findings.push(finding.of_offsets(offsets));
        }
    }

    /// Looks at the offsets between what was read and the next file, which is named after its first one.
    fn begin_file(&mut self, number: usize, first: i64, path: &Path) -> Result<(), ImportError> {
        let from = self.seen_end;
        let missing = OffsetSpan::from(from..first);
        let counts = from < first && first > self.log.first_offset() && from < self.stable_end;
        let is_explained = self.lost || !counts || self.scan.explains(number, first);
        if !is_explained && !self.known.cover(from..first)? {
            self.lost = true;
            let message = format!(
                "{missing} are in no file: what is before ends at {from}, and {} begins at {first}; nothing shows that compaction removed them",
                path.display()
            );
            let finding = self.finding(ImportFindingKind::GapBetweenFiles, message);
            self.findings
                .push(finding.in_file(path, 0).of_offsets(missing));
        }
        self.seen_end = from.max(first);
        Ok(())
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
        if let Some(detail) = out_of_place(&header, self.seen_end, next) {
            let error = FormatError::new(ErrorClass::Misplaced, "record batch", position, detail);
            self.damaged(path, position, None, &error);
            return Ok(Then::Continue);
        }
        if next.is_none() {
            self.last_batch(&header, path, position)?;
        }
        let before = std::mem::replace(&mut self.seen_end, header.last_offset + 1);
        let records = self.records;
        let then = if header.attributes.is_control() || self.scan.is_aborted(&header) {
            self.hidden(&header)?
        } else if self.scan.is_unproven(&header) {
            self.unproven(&header)?
        } else {
            self.visible(reader, path, position, before)?
        };
        self.events.advanced(self.records - records, bytes);
        Ok(then)
    }

    /// Looks at the offsets of a batch that nothing follows: where others are missing before it, nothing contradicts a base offset that is damaged.
    fn last_batch(
        &mut self,
        header: &BatchHeader,
        path: &Path,
        position: u64,
    ) -> Result<(), ImportError> {
        let missing = self.seen_end..header.base_offset;
        // A message set states its last offset only.
        let counts = header.record_count.is_some() && !missing.is_empty() && !self.lost;
        if !counts
            || missing.end <= self.log.first_offset()
            || self.scan.shows_compaction_before_end()
            || self.known.cover(missing.clone())?
        {
            return Ok(());
        }
        self.lost = true;
        let missing = OffsetSpan::from(missing);
        let message = format!(
            "the last batch, at position {position} of {}, states that it begins at {}, and what is before ends at {}: no checksum covers that, and nothing \
             shows that compaction removed the {missing}; its records are stored at the offsets that it states",
            path.display(),
            missing.end_offset,
            missing.base_offset
        );
        let finding = self.finding(ImportFindingKind::UnprovenOffsets, message);
        self.findings
            .push(finding.in_file(path, position).of_offsets(missing));
        Ok(())
    }

    /// Says that what an export has noted cannot be believed, where it is so.
    fn look_at_known(&mut self) {
        if self.known.is_damaged {
            let message = format!(
                "{} is damaged: why offsets have no record is not known; remove it, or export the partition again",
                self.log.folder.join(GAPS_FILE).display()
            );
            self.find(ImportFindingKind::DamagedGapFile, message);
        }
    }

    /// Leaves a marker or an aborted batch out.
    fn hidden(&mut self, header: &BatchHeader) -> Result<Then, ImportError> {
        self.cover(header.base_offset)?;
        self.left_out += u64::from(header.record_count.unwrap_or_default());
        let end = (header.last_offset + 1).min(self.stable_end);
        self.output.gap(end, GapReason::Transaction)?;
        Ok(Then::Continue)
    }

    /// Leaves a batch out of which nothing proves that it was committed.
    fn unproven(&mut self, header: &BatchHeader) -> Result<Then, ImportError> {
        self.cover(header.base_offset)?;
        let end = (header.last_offset + 1).min(self.stable_end);
        self.output.gap(end, GapReason::Unknown)?;
        Ok(Then::Continue)
    }

    /// Stores a batch. Those before it end at `before`.
    fn visible(
        &mut self,
        reader: &LogReader,
        path: &Path,
        position: u64,
        before: i64,
    ) -> Result<Then, ImportError> {
        let batch = reader.batch();
        // Taken out while its records are borrowed.
        let mut decoder = std::mem::take(&mut self.decoder);
        let decoded = batch.and_then(|batch| Ok((*batch.header(), decoder.decode(&batch)?)));
        let then = match decoded {
            Ok((header, records)) => self.records(path, position, before, &header, records),
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
        path: &Path,
        position: u64,
        before: i64,
        header: &BatchHeader,
        records: impl Iterator<Item = kbk_format::Record<'r>>,
    ) -> Result<Then, ImportError> {
        let timestamp_type = header.attributes.timestamp_type();
        let first_offset = self.log.first_offset();
        let mut overlap: Option<OffsetSpan> = None;
        for record in records {
            // Only a message set gets here that overlaps what is before it: it does not state its first offset.
            if record.offset < before.max(self.output.end_offset()) {
                // Those before the start were deleted.
                if record.offset >= first_offset || record.offset < before {
                    let base_offset = overlap.map_or(record.offset, |it| it.base_offset);
                    overlap = Some(OffsetSpan::from(base_offset..record.offset + 1));
                }
                continue;
            }
            // Offsets of v1 are relative to one that no checksum covers: where the first are wrong, all are.
            if overlap.is_some() && header.magic != 0 {
                break;
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
        if let Some(overlap) = overlap {
            self.overlaps(path, position, overlap, header.magic != 0);
            if header.magic != 0 {
                return Ok(Then::Continue);
            }
        }
        let end = header.last_offset.saturating_add(1).min(self.stable_end);
        self.gap_to(end, GapReason::Compacted)?;
        Ok(Then::Continue)
    }

    /// Reports that records have the offsets of others before them.
    fn overlaps(&mut self, path: &Path, position: u64, overlap: OffsetSpan, is_all: bool) {
        self.lost |= is_all;
        let what = match is_all {
            true => {
                "none of its records is stored, since their offsets cannot be right; those of its neighbours may be wrong, too"
            }
            false => "its records with these offsets are not stored",
        };
        let message = format!(
            "a message set at position {position} of {} repeats the {overlap}, which others before it have: {what}",
            path.display()
        );
        let finding = self.finding(ImportFindingKind::DamagedBatch, message);
        self.findings
            .push(finding.in_file(path, position).of_offsets(overlap));
    }

    /// Covers the offsets up to `offset`, of which the log has no batch.
    fn cover(&mut self, offset: i64) -> Result<(), ImportError> {
        let lost = std::mem::take(&mut self.lost);
        let reason = match lost {
            true => GapReason::Unknown,
            false => GapReason::Compacted,
        };
        self.gap_to(offset.min(self.stable_end), reason)
    }

    /// Covers the offsets up to `end` for the reasons that are noted, or else for this one.
    fn gap_to(&mut self, end: i64, other: GapReason) -> Result<(), ImportError> {
        loop {
            let from = self.output.end_offset();
            if from >= end {
                return Ok(());
            }
            let (to, reason, is_noted) = self.known.first(from..end, other)?;
            // A file that is damaged was there for a reason.
            let reason = match self.known.is_damaged {
                true => GapReason::Unknown,
                false => reason,
            };
            let lacks = match reason {
                GapReason::Damaged => Some("damaged"),
                GapReason::Lost => Some("deleted before they were read"),
                GapReason::Unknown => {
                    Some("missing for a reason that was not recorded, or not selected")
                }
                _ => None,
            };
            if let Some(why) = lacks.filter(|_| is_noted) {
                let first = OffsetSpan::from(from..to);
                let (_, count) = self.lacking.entry(why).or_insert((first, 0));
                *count = count.saturating_add(to - from);
            }
            self.output.gap(to, reason)?;
        }
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
                "{offsets} are not stored: no marker says whether a transaction that begins there was committed or aborted"
            );
            let finding = self.finding(ImportFindingKind::OpenTransaction, message);
            self.findings.push(finding.of_offsets(offsets));
        }
        for (why, (first, count)) in std::mem::take(&mut self.lacking) {
            let message = format!(
                "the log is an export, and what it was exported from lacks {count} offsets, which are {why}; the first are {first}"
            );
            let finding = self.finding(ImportFindingKind::MissingInExport, message);
            self.findings.push(finding.of_offsets(first));
        }
        let stored_to = self.output.end_offset();
        for (offsets, producer) in self.scan.unproven() {
            let from = offsets.base_offset.max(self.log.first_offset());
            let offsets = OffsetSpan::from(from..offsets.end_offset.min(stored_to));
            if offsets.base_offset >= offsets.end_offset {
                continue;
            }
            let message = format!(
                "the records of producer {producer} in the {offsets} are not stored: the marker that committed or aborted their transaction may be in \
                 what is damaged or missing behind them"
            );
            let finding = self.finding(ImportFindingKind::UnprovenTransaction, message);
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
    let mut losses = findings.iter().filter(|finding| finding.is_loss());
    let only_open = losses.clone().all(|finding| is_open(&finding));
    let worst = losses.clone().find(|finding| !is_open(finding));
    let said = worst.or(losses.next());
    Incomplete {
        reason: match only_open {
            true => IncompleteReason::OpenTransaction,
            false => IncompleteReason::Unreadable,
        },
        detail: said.map_or_else(String::new, |finding| finding.detail().to_owned()),
    }
}
