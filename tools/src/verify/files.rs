//! Verifies segment files without their repository.
//!
//! A segment proves that its own bytes are those that were written, and that it has every record of the offsets that it covers, but for those that
//! its footer names as lost. It cannot prove that it is the segment that a backup has committed, nor anything about other offsets: only the pages of
//! its repository say that.

use std::fmt;
use std::path::{Path, PathBuf};

use kbk_format::repo::{Hex, Id};
use kbk_format::salvage::{Known, Salvage};
use kbk_format::{FileHeader, Gap, GapReason, OffsetSpan, PartitionNumber, Segment, counted};
use serde::Serialize;

use super::VerifyEvents;
use super::finding::{Finding, FindingKind, Severity};
use super::object_reader::ObjectReader;
use super::segment::{self, Depth};
use crate::segment_file::{SegmentFile, SegmentFileError, open_file};
use crate::{FileBytes, UnreadableBytes};

/// What was verified, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesReport {
    /// The files, in the order in which they were given.
    pub files: Vec<VerifiedFile>,
    /// Whether every record was decoded.
    pub full: bool,
    /// Whether they were compared with the pages of a repository: never.
    pub compared_with_repository: bool,
    /// Number of records, according to the footers.
    pub records: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Everything that is wrong, file by file.
    pub findings: Vec<Finding>,
}

/// A file that was verified. What only its footer says is null if that cannot be used, and what its header says, if no copy of that is intact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// The file's path, as given.
    pub file: PathBuf,
    /// The file's length in bytes; 0 where it cannot be read.
    pub size: u64,
    /// Whether nothing is wrong with it, and it lacks no record but for losses that were accepted.
    pub intact: bool,
    /// The segment's random id.
    pub segment_id: Option<Id>,
    /// The topic's name.
    pub topic: Option<String>,
    /// Identifies the history of the topic.
    pub topic_id: Option<Id>,
    /// The partition.
    pub partition: Option<PartitionNumber>,
    /// First offset covered.
    pub base_offset: Option<i64>,
    /// One past the last offset covered.
    pub end_offset: Option<i64>,
    /// Number of records.
    pub records: Option<u64>,
    /// Whether it states digests and everything else that only decoding tells; null if that is not known.
    pub computed: Option<bool>,
    /// Number of its offsets whose records were lost to damage of the segment that it was recovered from: it names them as gaps.
    pub damaged_offsets: Option<u64>,
    /// What proves itself although the footer cannot be used; null where it can.
    pub proved: Option<ProvedRecords>,
}

/// What a scan for blocks finds intact in a segment without a footer: what `kbk recover` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvedRecords {
    /// Number of blocks that are intact.
    pub blocks: u64,
    /// Number of damaged blocks of which batches are intact.
    pub divided_blocks: u64,
    /// Number of records in them.
    pub records: u64,
    /// The offsets that they cover, in order; what is adjacent is one range.
    pub offsets: Vec<OffsetSpan>,
}

/// How many ranges of offsets a message has.
const NAMED_RANGES: usize = 5;

impl ProvedRecords {
    fn of(salvage: &Salvage) -> ProvedRecords {
        let (blocks, divided_blocks) = salvage.blocks();
        let mut offsets: Vec<OffsetSpan> = Vec::new();
        for piece in &salvage.pieces {
            match offsets.last_mut() {
                Some(last) if last.end_offset == piece.base_offset => {
                    last.end_offset = piece.end_offset;
                }
                _ => offsets.push((piece.base_offset..piece.end_offset).into()),
            }
        }
        ProvedRecords {
            blocks,
            divided_blocks,
            records: salvage.records(),
            offsets,
        }
    }
}

impl fmt::Display for ProvedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = counted(self.blocks, "intact block");
        write!(f, "a scan finds {blocks}")?;
        if self.divided_blocks > 0 {
            let divided = counted(self.divided_blocks, "damaged block");
            write!(f, ", and intact batches of {divided}")?;
        }
        write!(f, ", with {}: ", counted(self.records, "record"))?;
        let named = self.offsets.iter().take(NAMED_RANGES);
        for (number, span) in named.enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{span}")?;
        }
        match self.offsets.len().saturating_sub(NAMED_RANGES) {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// How thoroughly files are verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilesOptions {
    /// Whether every record is decoded.
    pub full: bool,
    /// Whether losses that segments name are reported as accepted.
    pub accept_lost: bool,
}

impl FilesReport {
    /// Returns whether everything is there, but for what is accepted.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.severity == Severity::Accepted)
    }
}

/// Verifies these files. Damage is reported in the result, not as an error, and so is a file that cannot be read
/// beside others that can. Blocks.
///
/// # Errors
///
/// If no file can be read.
pub fn verify_files(
    files: &[PathBuf],
    options: FilesOptions,
    events: &dyn VerifyEvents,
) -> Result<FilesReport, SegmentFileError> {
    let mut readable = files.iter().map(|file| SegmentFile::check_readable(file));
    if let Some(Err(first)) = readable.next()
        && readable.all(|checked| checked.is_err())
    {
        return Err(first);
    }
    let mut report = FilesReport {
        full: options.full,
        ..FilesReport::default()
    };
    for path in files {
        let verified = verify_file(path, options, events);
        let (file, findings) = verified.unwrap_or_else(|error| unread(path, &error));
        report.records += file.records.unwrap_or_default();
        report.bytes += file.size;
        report.files.push(file);
        let key = path.display().to_string();
        let findings = findings.into_iter().map(|finding| finding.key(&key));
        report.findings.extend(findings);
    }
    Ok(report)
}

/// Reports a file that cannot be read.
fn unread(path: &Path, error: &SegmentFileError) -> (VerifiedFile, Vec<Finding>) {
    let finding = Finding::new(FindingKind::Unreadable, error.cause());
    (VerifiedFile::unknown(path, 0), vec![finding.of_file()])
}

fn verify_file(
    path: &Path,
    options: FilesOptions,
    events: &dyn VerifyEvents,
) -> Result<(VerifiedFile, Vec<Finding>), SegmentFileError> {
    let (handle, size) = open_file(path)?;
    let mut file = VerifiedFile::unknown(path, size);
    let findings = match SegmentFile::open(path) {
        Ok(opened) => {
            file.describe(&opened);
            let object = ObjectReader::of_file(handle);
            let damage = check(&opened, object, options.full, events);
            let losses = losses(opened.segment()).into_iter();
            let losses = losses.map(|it| it.accepted(options.accept_lost));
            damage.into_iter().chain(losses).collect()
        }
        Err(SegmentFileError::Damaged { error, .. }) => {
            let finding = Finding::of_format_error(&error, FindingKind::DamagedSegment);
            unopened(finding, path, &mut file)
        }
        Err(SegmentFileError::NotASegment { .. }) => {
            let message = "it neither begins nor ends as a segment";
            let finding = Finding::new(FindingKind::NotASegment, message);
            unopened(finding, path, &mut file)
        }
        Err(error) => return Err(error),
    };
    let findings: Vec<Finding> = findings.into_iter().map(|it| file.locate(it)).collect();
    let mut accepted = findings.iter();
    file.intact = accepted.all(|finding| finding.severity == Severity::Accepted);
    Ok((file, findings))
}

impl VerifiedFile {
    /// Returns what is known of a file before its footer is read.
    fn unknown(path: &Path, size: u64) -> VerifiedFile {
        VerifiedFile {
            file: path.to_owned(),
            size,
            intact: false,
            segment_id: None,
            topic: None,
            topic_id: None,
            partition: None,
            base_offset: None,
            end_offset: None,
            records: None,
            computed: None,
            damaged_offsets: None,
            proved: None,
        }
    }

    fn describe(&mut self, opened: &SegmentFile) {
        let segment = opened.segment();
        self.name(segment.header());
        self.end_offset = Some(segment.end_offset());
        self.records = Some(segment.statistics().record_count);
        self.computed = Some(segment.is_computed());
        self.damaged_offsets = Some(segment.gaps().offsets(GapReason::Damaged));
    }
}

impl VerifiedFile {
    /// Notes what a header says: that of the segment, or a copy of it that is intact.
    fn name(&mut self, header: &FileHeader) {
        self.segment_id = Some(Hex(header.segment_id));
        self.topic = Some(header.topic.clone());
        self.topic_id = Some(Hex(header.topic_id));
        self.partition = Some(header.partition);
        self.base_offset = Some(header.base_offset);
    }

    /// Names the partition in a finding, if it is known.
    fn locate(&self, mut finding: Finding) -> Finding {
        finding.topic.clone_from(&self.topic);
        finding.topic_id = self.topic_id.map(|id| id.to_string());
        finding.partition = self.partition;
        finding
    }
}

/// Reports what a segment states that it lacks: an intact one that lacks records is not the whole of its offsets.
fn losses(segment: &Segment) -> Vec<Finding> {
    let gaps = segment.gaps();
    let named = gaps.entries.iter();
    let mut losses: Vec<Finding> = named.filter_map(Finding::lost_gap).collect();
    let unnamed = gaps.unnamed();
    let all = Gap {
        from_offset: segment.header().base_offset,
        to_offset: segment.end_offset(),
        reason: gaps.default_reason,
    };
    // Which offsets have the default reason is known to whoever reads every record.
    let of_default = Finding::lost_gap(&all).filter(|_| unnamed > 0);
    losses.extend(of_default.map(|mut finding| {
        let reason = gaps.default_reason.words();
        finding.message =
            format!("{unnamed} of these offsets have no record, for the reason {reason}");
        finding
    }));
    losses
}

fn check(
    opened: &SegmentFile,
    mut object: ObjectReader,
    full: bool,
    events: &dyn VerifyEvents,
) -> Vec<Finding> {
    let depth = Depth {
        records: full,
        hasher: None,
    };
    let range_bytes = SegmentFile::RANGE_BYTES;
    let checked = segment::check(opened.segment(), &mut object, range_bytes, depth, events);
    let mut findings: Vec<Finding> = checked.damage.iter().flat_map(Finding::damage).collect();
    findings.extend(checked.unreadable.map(unreadable));
    findings
}

fn unreadable(error: kbk_format::repo::BoxedError) -> Finding {
    Finding::new(FindingKind::Unreadable, error.to_string())
}

/// Reports why the segment cannot be opened, which of its blocks prove themselves and which are damaged, and which offsets between them are lost.
/// How far it reached is not known without its footer.
fn unopened(mut finding: Finding, path: &Path, file: &mut VerifiedFile) -> Vec<Finding> {
    let bytes = match FileBytes::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let unread = Finding::new(FindingKind::Unreadable, error.to_string());
            return vec![finding, unread];
        }
    };
    let salvage = Salvage::of(&bytes, &Known::default());
    let unread = bytes.unreadable().iter().map(|unread| {
        let UnreadableBytes {
            position,
            bytes,
            reason,
        } = unread;
        let end = position.saturating_add(*bytes);
        let message =
            format!("the bytes from position {position} to {end} cannot be read: {reason}");
        Finding::new(FindingKind::Unreadable, message)
    });
    let is_of_segment = salvage.header.is_some() || !salvage.pieces.is_empty();
    if !is_of_segment && salvage.losses.is_empty() && finding.kind == FindingKind::NotASegment {
        return std::iter::once(finding).chain(unread).collect();
    }
    if finding.kind == FindingKind::NotASegment {
        finding = Finding::new(FindingKind::DamagedSegment, finding.message);
    }
    if let Some(header) = &salvage.header {
        file.name(header);
    }
    let proved = ProvedRecords::of(&salvage);
    finding.message += &match proved.offsets.is_empty() {
        true => "; no block of it is left".to_owned(),
        false if salvage.end.is_proved => {
            format!(
                "; {proved}; its blocks reach to offset {}, where it ended",
                salvage.end.offset
            )
        }
        false => format!(
            "; {proved}; its blocks reach to offset {}, and more may be lost",
            salvage.end.offset
        ),
    };
    file.proved = Some(proved);
    let lost = salvage.losses.iter().map(Finding::loss);
    std::iter::once(finding).chain(unread).chain(lost).collect()
}
