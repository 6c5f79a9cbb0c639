//! Shows what one object says about itself, and checks that its bytes are those that were written.
//!
//! No repository is needed: an object is recognised by its first or its last bytes. Of a segment, whose footer may be lost, the blocks are shown
//! that a scan finds; every byte of it is checked, and nothing is decompressed. Of everything else, and of a segment where asked for, the parts
//! are shown in the order of their bytes, those after the damage too.
//!
//! | file | holds |
//! |---|---|
//! | `report` | what is reported |
//! | `fetched` | an object of a store as a file |
//! | `part` | parts and their fields |
//! | `segment_parts`, `json_parts` | the parts of segments, and of sealed JSON and packed objects |

mod fetched;
mod json_parts;
mod part;
mod report;
mod segment_parts;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kbk_format::layout::{FILE_MAGIC, TRAILER_MAGIC};
use kbk_format::salvage::damaged_batches;
use kbk_format::scan::Found;
use kbk_format::{
    BlockDecoder, BlockHeader, Codec, ErrorClass, FileHeader, FormatError, Scanner, Segment,
    TimestampType,
};

pub use self::fetched::{FetchedObject, fetch};
pub use self::part::{Part, PartField};
pub use self::report::{
    BlockTotals, InspectedBlock, InspectedFooter, InspectedHeader, Inspection, ObjectKind, Problem,
    StreamTotals,
};

use crate::{FileBytes, FileBytesError, SegmentFileError};

/// Why a file cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] FileBytesError),
    /// The file holds neither a part of a segment, nor JSON, nor a packed object.
    #[error("{} is not an object of a repository: it holds no part of a segment, and is neither JSON nor a packed object", file.display())]
    NotAnObject {
        /// The file.
        file: PathBuf,
    },
}

/// Inspects the object in `file`. `name` is what its key states of it, its last component; with `parts`, a segment is shown part by part, too.
///
/// # Errors
///
/// If the file cannot be read or holds no part of an object. Damage is reported in the result, not as an error.
pub fn inspect(file: &Path, name: &str, parts: bool) -> Result<Inspection, InspectError> {
    let bytes = FileBytes::read(file)?;
    let unread = bytes.unreadable();
    let inspected = inspect_bytes(file, name, &bytes);
    let mut inspection = inspected.map_err(|error| match unread.first() {
        // What would tell the object may be there.
        Some(first) => FileBytesError::from(SegmentFileError::Io {
            path: file.to_owned(),
            source: io::Error::other(first.reason.clone()),
        })
        .into(),
        None => error,
    })?;
    if inspection.kind == ObjectKind::Segment {
        inspection.parts = Some(parts)
            .filter(|parts| *parts)
            .map_or_else(Vec::new, |_| segment_parts::parts(&bytes));
    }
    let unread = unread.iter().map(Problem::of_unreadable);
    inspection.problems.splice(0..0, unread);
    Ok(inspection)
}

/// Does the same of bytes, without the parts of a segment.
fn inspect_bytes(file: &Path, name: &str, bytes: &[u8]) -> Result<Inspection, InspectError> {
    let mut inspection = Inspection::empty(file, bytes.len() as u64);
    let object = if bytes.starts_with(b"{") {
        inspection.kind = ObjectKind::SealedJson;
        json_parts::sealed(bytes)
    } else if bytes.starts_with(&json_parts::ZSTD_MAGIC) {
        inspection.kind = ObjectKind::Packed;
        let digest = name.split('.').next().and_then(|it| it.parse().ok());
        json_parts::packed(bytes, digest)
    } else {
        match Segment::open_whole(bytes) {
            Ok(segment) => inspection.read_index(&segment, bytes),
            Err(error) => inspection.scan(error, bytes),
        }
        let is_segment = inspection.header.is_some() || !inspection.blocks.is_empty();
        let begins_or_ends = bytes.starts_with(&FILE_MAGIC) || bytes.ends_with(&TRAILER_MAGIC);
        return match is_segment || begins_or_ends {
            true => Ok(inspection),
            false => Err(InspectError::NotAnObject {
                file: file.to_owned(),
            }),
        };
    };
    inspection.format = object.format;
    inspection.parts = object.parts;
    let problems = object.problems.into_iter();
    inspection.problems = problems
        .map(|(position, detail)| Problem::of_object(inspection.kind, position, detail))
        .collect();
    Ok(inspection)
}

impl Inspection {
    /// Checks the blocks that the footer's index lists.
    fn read_index(&mut self, segment: &Segment, bytes: &[u8]) {
        self.header = Some(InspectedHeader::of(segment.header()));
        self.footer = Some(InspectedFooter::of(segment));
        if let Err(error) = segment.check_file_header(bytes) {
            self.problems.push(Problem::of(&error));
        }
        let timestamp_type = Some(segment.header().timestamp_type);
        let mut decoder = BlockDecoder::new();
        for (number, entry) in segment.index().entries().iter().enumerate() {
            let rest = tail(bytes, entry.position);
            let block = segment.block(number, rest);
            let checked = block.and_then(|block| {
                let checked = block.check(&mut decoder);
                self.add_block(block.header(), checked.is_ok());
                checked
            });
            if let Err(error) = checked {
                let length = entry.block_length as usize;
                let block = rest.get(..length).unwrap_or(rest);
                self.add_damage(
                    &error,
                    entry.base_offset..entry.end_offset,
                    block,
                    timestamp_type,
                );
            }
        }
        if let Some(filter) = segment.key_filter() {
            let rest = tail(bytes, filter.range().start);
            let checked = filter.check(0..filter.page_count(), rest);
            self.problems
                .extend(checked.err().map(|it| Problem::of(&it)));
        }
    }

    /// Searches the file for blocks, because its footer cannot be read.
    fn scan(&mut self, error: FormatError, bytes: &[u8]) {
        self.problems.push(Problem::of(&error));
        let scanner = Scanner::new(bytes);
        match FileHeader::decode(bytes) {
            Ok((header, _)) => self.header = Some(InspectedHeader::of(&header)),
            Err(error) => self.problems.push(Problem::of(&error)),
        }
        let timestamp_type = scanner.header().map(|header| header.timestamp_type);
        let mut end_offset = i64::MIN;
        for found in scanner {
            match found {
                Found::Block(block) => {
                    let (base, end) = (block.header.base_offset, block.header.end_offset);
                    if base < end_offset {
                        let detail = "a block before it covers these offsets, too";
                        let problem = Problem::misplaced(block.position, detail);
                        self.problems.push(problem.at(base, end));
                    }
                    end_offset = end_offset.max(end);
                    self.add_block(&block.header, true);
                }
                Found::Damaged {
                    position,
                    header,
                    error,
                } => {
                    self.add_block(&header, false);
                    let rest = tail(bytes, position);
                    let block = rest.get(..header.block_length()).unwrap_or(rest);
                    let offsets = header.base_offset..header.end_offset;
                    self.add_damage(&error, offsets, block, timestamp_type);
                }
                Found::Foreign { position, header } => {
                    let detail = "it belongs to another segment";
                    let problem = Problem::misplaced(position, detail);
                    self.problems
                        .push(problem.at(header.base_offset, header.end_offset));
                }
                Found::Skipped(range) => self.problems.push(Problem {
                    class: ErrorClass::Checksum,
                    what: "range without a valid block".to_owned(),
                    position: range.start,
                    offsets: None,
                    detail: format!(
                        "{} bytes; after the last block, this is the footer",
                        range.end - range.start
                    ),
                }),
            }
        }
    }

    /// Adds the problem of a damaged block: its batches that are damaged, where the rest of it is proved.
    fn add_damage(
        &mut self,
        error: &FormatError,
        offsets: Range<i64>,
        block: &[u8],
        timestamp_type: Option<TimestampType>,
    ) {
        let batches = damaged_batches(block, timestamp_type);
        if batches.is_empty() {
            let problem = Problem::of(error);
            self.problems.push(problem.at(offsets.start, offsets.end));
        }
        let problems = batches.iter().map(Problem::of_batches);
        self.problems.extend(problems);
    }

    fn add_block(&mut self, header: &BlockHeader, intact: bool) {
        let block = InspectedBlock::of(header, intact);
        self.totals.blocks += 1;
        self.totals.records += u64::from(block.records);
        self.totals.stored_bytes += block.stored_bytes;
        self.totals.raw_bytes += u64::from(block.raw_bytes);
        self.blocks.push(block);
        for entry in header.directory.iter() {
            let (stream, codec) = (entry.id.name(), codec_name(entry.codec));
            let stored_bytes = u64::from(entry.stored_length);
            let raw_bytes = u64::from(entry.raw_length);
            let mut known = self.streams.iter_mut();
            match known.find(|known| (known.stream, known.codec) == (stream, codec)) {
                Some(known) => {
                    known.blocks += 1;
                    known.stored_bytes += stored_bytes;
                    known.raw_bytes += raw_bytes;
                }
                None => self.streams.push(StreamTotals {
                    stream,
                    codec,
                    blocks: 1,
                    stored_bytes,
                    raw_bytes,
                }),
            }
        }
    }
}

/// Returns the bytes from `position` to the end; none if it is beyond the end.
fn tail(bytes: &[u8], position: u64) -> &[u8] {
    let start = usize::try_from(position).unwrap_or(usize::MAX);
    bytes.get(start..).unwrap_or_default()
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Zstd => "zstd",
        Codec::Lz4 => "lz4",
    }
}
