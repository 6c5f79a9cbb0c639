//! What one segment file says about itself, and whether its bytes are those that were written.
//!
//! Needs no repository. A file whose footer is lost is scanned for blocks, and what they say is shown
//! in its place. Every byte is checked, nothing is decompressed.

use std::io;
use std::path::{Path, PathBuf};

use kbk_format::mapped::map_file;
use kbk_format::repo::{Hex, Id};
use kbk_format::scan::Found;
use kbk_format::{
    BlockHeader, Codec, ErrorClass, FileHeader, FormatError, Gap, GapReason, IsolationLevel,
    Scanner, Segment, Statistics, TimestampType,
};
use serde::Serialize;

use crate::finding::Offsets;

/// One segment file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// As it was given.
    pub file: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// What it says first; null where that is damaged, and the footer's copy too.
    pub header: Option<Header>,
    /// What its footer says; null where that is damaged.
    pub footer: Option<Footer>,
    /// Sums over the blocks that are sound.
    pub totals: Totals,
    /// The streams of those blocks, each stream and codec apart.
    pub streams: Vec<Stream>,
    /// The sound blocks in order, those with damaged streams too.
    pub blocks: Vec<Block>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// The file header.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// Random.
    pub segment_id: Id,
    /// The topic's name.
    pub topic: String,
    /// Kafka's id of the topic.
    pub topic_id: Id,
    /// The partition.
    pub partition: i32,
    /// First offset covered.
    pub base_offset: i64,
    /// Of every record.
    pub timestamp_type: TimestampType,
    /// What the writer's source could see.
    pub isolation_level: IsolationLevel,
    /// Kafka's id of the cluster.
    pub cluster_id: Option<String>,
    /// Program and version.
    pub writer: Option<String>,
    /// When the segment was begun, in milliseconds since the epoch.
    pub created_at: Option<i64>,
}

/// The footer: SPEC section 2.5, in its names.
#[derive(Clone, Debug, Serialize)]
#[expect(
    missing_docs,
    reason = "the names are those of SPEC's table of statistics"
)]
pub struct Footer {
    pub position: u64,
    pub end_offset: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub min_timestamp: i64,
    pub max_timestamp: i64,
    pub record_count: u64,
    pub tombstone_count: u64,
    pub control_count: u64,
    pub no_timestamp_count: u64,
    pub zero_timestamp_count: u64,
    pub null_key_count: u64,
    pub header_count: u64,
    pub key_bytes: u64,
    pub value_bytes: u64,
    pub header_bytes: u64,
    pub max_record_bytes: u64,
    pub max_lateness_ms: u64,
    /// 32 hex digits, the highest first.
    pub content_digest: String,
    /// 32 hex digits, the highest first.
    pub restore_digest: String,
    /// Offsets covered without a record.
    pub missing_count: u64,
    /// Why, unless `gaps` says otherwise.
    pub default_gap_reason: GapReason,
    pub gaps: Vec<Gap>,
}

/// Sums over blocks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Totals {
    /// Blocks.
    pub blocks: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the blocks.
    pub stored_bytes: u64,
    /// Bytes of their streams after decoding.
    pub raw_bytes: u64,
}

/// One stream with one codec, over all blocks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stream {
    /// SPEC's name.
    pub stream: &'static str,
    /// `none`, `zstd` or `lz4`.
    pub codec: &'static str,
    /// Blocks that have it.
    pub blocks: u64,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// Bytes after decoding.
    pub raw_bytes: u64,
}

/// One block.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Block {
    /// In the file, in bytes.
    pub position: u64,
    /// First offset covered.
    pub base_offset: i64,
    /// Behind the last offset covered.
    pub end_offset: i64,
    /// Records.
    pub records: u32,
    /// Smallest timestamp in milliseconds; null where there is no record.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds; null where there is no record.
    pub max_timestamp: Option<i64>,
    /// Bytes of the whole block.
    pub stored_bytes: u64,
    /// Bytes of its streams after decoding.
    pub raw_bytes: u32,
    /// Whether all its bytes are sound.
    pub sound: bool,
}

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// SPEC section 7.
    pub class: ErrorClass,
    /// The structure.
    pub what: String,
    /// In the file, in bytes.
    pub position: u64,
    /// The offsets that cannot be relied on, where that is known.
    pub offsets: Option<Offsets>,
    /// Expected and found.
    pub detail: String,
}

/// Why a file cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither header, nor footer, nor any block of a segment is in it.
    #[error("{} is not a segment: it holds no header, footer or block of one", file.display())]
    NotASegment {
        /// The file.
        file: PathBuf,
    },
}

/// Looks at the segment in `file`.
///
/// # Errors
///
/// If it cannot be read or has nothing of a segment. Damage is not an error.
pub fn inspect(file: &Path) -> Result<Inspection, InspectError> {
    let bytes = map_file(file).map_err(|source| InspectError::Io {
        file: file.to_owned(),
        source,
    })?;
    let mut inspection = Inspection {
        file: file.to_owned(),
        size: bytes.len() as u64,
        header: None,
        footer: None,
        totals: Totals::default(),
        streams: Vec::new(),
        blocks: Vec::new(),
        problems: Vec::new(),
    };
    match Segment::open_whole(&bytes) {
        Ok(segment) => inspection.indexed(&segment, &bytes),
        Err(error) => inspection.scanned(error, &bytes),
    }
    if inspection.header.is_none() && inspection.blocks.is_empty() {
        let file = file.to_owned();
        return Err(InspectError::NotASegment { file });
    }
    Ok(inspection)
}

impl Inspection {
    /// The footer says where everything is.
    fn indexed(&mut self, segment: &Segment, bytes: &[u8]) {
        self.header = Some(Header::of(segment.header()));
        self.footer = Some(Footer::of(segment));
        if let Err(error) = segment.check_file_header(bytes) {
            self.problems.push(Problem::of(&error));
        }
        for (number, entry) in segment.index().entries().iter().enumerate() {
            let rest = tail(bytes, entry.position);
            let block = segment.block(number, rest);
            let checked = block.and_then(|block| {
                let checked = block.check();
                self.block(block.header(), checked.is_ok());
                checked
            });
            if let Err(error) = checked {
                let offsets = (entry.base_offset, entry.end_offset);
                self.problems.push(Problem::of(&error).offsets(offsets));
            }
        }
    }

    /// Blocks are looked for.
    fn scanned(&mut self, error: FormatError, bytes: &[u8]) {
        self.problems.push(Problem::of(&error));
        let scanner = Scanner::new(bytes);
        match FileHeader::decode(bytes) {
            Ok((header, _)) => self.header = Some(Header::of(&header)),
            Err(error) => self.problems.push(Problem::of(&error)),
        }
        for found in scanner {
            match found {
                Found::Block { header, bytes } => self.found(&header, bytes),
                Found::OutOfOrder(header) => self.problems.push(Problem {
                    class: ErrorClass::Misplaced,
                    what: "block".to_owned(),
                    position: header.position,
                    offsets: Some(offsets(header.base_offset, header.end_offset)),
                    detail: "its offsets were covered before".to_owned(),
                }),
                Found::Skipped(range) => self.problems.push(Problem {
                    class: ErrorClass::Checksum,
                    what: "stretch without a sound block".to_owned(),
                    position: range.start,
                    offsets: None,
                    detail: format!(
                        "{} bytes; behind the last block that is the footer",
                        range.end - range.start
                    ),
                }),
            }
        }
    }

    fn found(&mut self, header: &BlockHeader, bytes: &[u8]) {
        let checked = kbk_format::block::decode::check_stored_bytes(header, bytes);
        self.block(header, checked.is_ok());
        if let Err(error) = checked {
            let offsets = (header.base_offset, header.end_offset);
            self.problems.push(Problem::of(&error).offsets(offsets));
        }
    }

    fn block(&mut self, header: &BlockHeader, sound: bool) {
        let block = Block::of(header, sound);
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
                None => self.streams.push(Stream {
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

fn offsets(from: i64, to: i64) -> Offsets {
    Offsets { from, to }
}

impl Header {
    fn of(header: &FileHeader) -> Header {
        Header {
            segment_id: Hex(header.segment_id),
            topic: header.topic.clone(),
            topic_id: Hex(header.topic_id),
            partition: header.partition,
            base_offset: header.base_offset,
            timestamp_type: header.timestamp_type,
            isolation_level: header.isolation_level,
            cluster_id: header.cluster_id.clone(),
            writer: header.writer.clone(),
            created_at: header.created_at,
        }
    }
}

impl Footer {
    fn of(segment: &Segment) -> Footer {
        let Statistics {
            base_offset: _,
            end_offset,
            first_offset,
            last_offset,
            min_timestamp,
            max_timestamp,
            record_count,
            tombstone_count,
            control_count,
            no_timestamp_count,
            zero_timestamp_count,
            null_key_count,
            header_count,
            key_bytes,
            value_bytes,
            header_bytes,
            max_record_bytes,
            max_lateness_ms,
            raw_bytes: _,
            digests,
        } = segment.statistics().clone();
        let gaps = segment.gaps();
        Footer {
            position: segment.footer_position(),
            end_offset,
            first_offset,
            last_offset,
            min_timestamp,
            max_timestamp,
            record_count,
            tombstone_count,
            control_count,
            no_timestamp_count,
            zero_timestamp_count,
            null_key_count,
            header_count,
            key_bytes,
            value_bytes,
            header_bytes,
            max_record_bytes,
            max_lateness_ms,
            content_digest: format!("{:032x}", digests.content),
            restore_digest: format!("{:032x}", digests.restore),
            missing_count: gaps.missing_count,
            default_gap_reason: gaps.default_reason,
            gaps: gaps.entries.clone(),
        }
    }
}

impl Block {
    fn of(header: &BlockHeader, sound: bool) -> Block {
        let times =
            (header.record_count > 0).then_some((header.min_timestamp, header.max_timestamp));
        Block {
            position: header.position,
            base_offset: header.base_offset,
            end_offset: header.end_offset,
            records: header.record_count,
            min_timestamp: times.map(|(min, _)| min),
            max_timestamp: times.map(|(_, max)| max),
            stored_bytes: header.block_length() as u64,
            raw_bytes: header.raw_length(),
            sound,
        }
    }
}

impl Problem {
    fn of(error: &FormatError) -> Problem {
        Problem {
            class: error.class,
            what: error.what.to_owned(),
            position: error.position,
            offsets: None,
            detail: error.detail.clone(),
        }
    }

    fn offsets(mut self, (from, to): (i64, i64)) -> Problem {
        self.offsets = Some(offsets(from, to));
        self
    }
}
