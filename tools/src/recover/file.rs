//! Recovers a segment from files, without its repository.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use kbk_format::repo::{Hex, Id, TopicName};
use kbk_format::salvage::{Known, count_blocks};
use kbk_format::scan::Scanner;
use kbk_format::{
    FileHeader, IsolationLevel, PartitionNumber, Salvage, TimestampType, WriteError, verify,
};

use super::error::RecoverError;
use super::report::{FileRecovery, RecoveredSegment, SourceFile};
use crate::{FileBytes, FileBytesError};

/// Bytes that are written to the operating system at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What is recovered, and where to.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Copies of one segment, at least one.
    pub files: Vec<PathBuf>,
    /// The new segment's file.
    pub output: PathBuf,
    /// The topic and the partition, for where no copy of the header is left.
    pub partition: Option<(TopicName, PartitionNumber)>,
    /// Program and version.
    pub writer: String,
    /// Whether to write nothing.
    pub dry_run: bool,
}

/// Recovers what is proved. Blocks.
///
/// # Errors
///
/// If a file cannot be read or holds nothing of a segment, or the new one cannot be written. What is lost is reported in the result.
pub fn recover_files(options: &FileOptions) -> Result<FileRecovery, RecoverError> {
    if fs::symlink_metadata(&options.output).is_ok() {
        return Err(RecoverError::Exists {
            file: options.output.clone(),
        });
    }
    let read = options.files.iter().map(|file| FileBytes::read(file));
    let read = read.collect::<Result<Vec<FileBytes>, FileBytesError>>()?;
    let copies: Vec<&[u8]> = read.iter().map(|bytes| &**bytes).collect();
    let salvage = Salvage::of_copies(&copies, &Known::default());
    let Some((salt, identified_by)) = salvage.salt else {
        let file = options.first().to_owned();
        return Err(RecoverError::NotASegment { file });
    };
    let files = options.files.iter().zip(&read).enumerate();
    let files = files.map(|(copy, (file, bytes))| SourceFile {
        file: file.clone(),
        size: bytes.len() as u64,
        blocks: count_blocks(salvage.pieces.iter().filter(|it| it.copy == copy)),
        other_segment: other_segment(bytes, salt),
        unreadable: bytes.unreadable().to_vec(),
    });
    let mut report = FileRecovery::of(&salvage, identified_by, files.collect());
    report.dry_run = options.dry_run;
    // A segment without blocks, of which nothing is lost, is one.
    if salvage.pieces.is_empty() && !salvage.is_complete() {
        return Ok(report);
    }
    let header = options.header(&salvage)?;
    report.segment = Some(RecoveredSegment::of(&salvage, &header));
    if !options.dry_run {
        write(&salvage, &copies, header, &options.output)?;
        report.output = Some(options.output.clone());
    }
    Ok(report)
}

/// Returns the beginning of the id of the segment that a file is of, unless it is the one with this salt, or nothing tells.
fn other_segment(bytes: &[u8], salt: [u8; 8]) -> Option<String> {
    let (found, _) = Scanner::new(bytes).salt()?;
    (found != salt).then(|| Hex(found).to_string())
}

impl FileOptions {
    fn first(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Returns the header of the new segment.
    fn header(&self, salvage: &Salvage) -> Result<FileHeader, RecoverError> {
        let file = || self.first().to_owned();
        let known = match (&salvage.header, &self.partition) {
            (Some(header), Some((topic, partition)))
                if (&*header.topic, header.partition) != (&**topic, *partition) =>
            {
                return Err(RecoverError::OtherPartition {
                    file: file(),
                    found: format!("{}/{}", header.topic, header.partition),
                    expected: format!("{topic}/{partition}"),
                });
            }
            (Some(header), _) => header.clone(),
            (None, Some((topic, partition))) => unknown_header(topic, *partition),
            (None, None) => return Err(RecoverError::Unidentified { file: file() }),
        };
        Ok(FileHeader {
            segment_id: Id::random().0,
            base_offset: salvage.base.offset,
            timestamp_type: salvage.timestamp_type.unwrap_or(known.timestamp_type),
            writer: Some(self.writer.clone()),
            // A block that is cut at its coverage is compressed anew.
            compression: None,
            ..known
        })
    }
}

/// Returns a header that states no more than is known: that the source was read uncommitted promises nothing about its records.
fn unknown_header(topic: &TopicName, partition: PartitionNumber) -> FileHeader {
    FileHeader {
        segment_id: [0; 16],
        topic_id: [0; 16],
        topic: topic.to_string(),
        partition,
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadUncommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    }
}

/// A file that is removed unless it got its name.
struct Temporary {
    path: PathBuf,
    is_named: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes the new segment under a temporary name, reads it again, and gives it its own.
fn write(
    salvage: &Salvage,
    copies: &[&[u8]],
    header: FileHeader,
    output: &Path,
) -> Result<(), RecoverError> {
    let failed = |source: WriteError| RecoverError::Write {
        file: output.to_owned(),
        source,
    };
    let io = |error: io::Error| failed(error.into());
    let folder = output.parent().filter(|it| *it != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let path = folder.join(format!(".{name}.{}.recovering", Id::random()));
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let out = BufWriter::with_capacity(BUFFER_BYTES, created.map_err(io)?);
    let mut temporary = Temporary {
        path,
        is_named: false,
    };
    let (out, _) = salvage.write(copies, header, out).map_err(failed)?;
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    drop(file);
    let written = FileBytes::read(&temporary.path)?;
    check(salvage, &written).map_err(|detail| RecoverError::Unproved {
        file: output.to_owned(),
        detail,
    })?;
    drop(written);
    name_new(&temporary.path, output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RecoverError::Exists {
            file: output.to_owned(),
        },
        _ => io(error),
    })?;
    temporary.is_named = true;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

/// Gives a file a name that no other file has.
fn name_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Decodes all of a new segment, and compares it with what was proved. The error names the difference.
pub(super) fn check(salvage: &Salvage, written: &[u8]) -> Result<(), String> {
    let segment = verify::verify_whole(written, true).map_err(|error| error.to_string())?;
    let digests = Some(salvage.digests());
    let expected = (salvage.coverage(), salvage.records(), digests);
    let statistics = segment.statistics();
    let found = (
        segment.coverage(),
        statistics.record_count,
        statistics.digests(),
    );
    match found == expected {
        true => Ok(()),
        false => Err(format!("expected {expected:?}, found {found:?}")),
    }
}
