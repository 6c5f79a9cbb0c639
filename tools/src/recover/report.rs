//! What was recovered of files, and what was not, in the shape of the JSON of `kbk recover`.

use std::path::PathBuf;

use kbk_format::repo::{Hex, Id};
use kbk_format::salvage::{Bound, Loss};
use kbk_format::scan::IdentifiedBy;
use kbk_format::{FileHeader, OffsetSpan, PartitionNumber, Salvage, TimestampType};
use serde::Serialize;

use crate::UnreadableBytes;

/// What was recovered of a segment, and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct FileRecovery {
    /// The files that were searched: copies of one segment.
    pub files: Vec<SourceFile>,
    /// The new segment's file; null where nothing was written.
    pub output: Option<PathBuf>,
    /// Whether nothing is written because only the result was asked for.
    pub dry_run: bool,
    /// Whether all records of all files were recovered, and it is proved that there were no others.
    pub complete: bool,
    /// What told which segment it is.
    pub identified_by: IdentifiedBy,
    /// The new segment; null where nothing is proved.
    pub segment: Option<RecoveredSegment>,
    /// Number of records that were recovered.
    pub records: u64,
    /// Number of intact blocks that were recovered.
    pub blocks: u64,
    /// Number of damaged blocks of which the batches were recovered that are proved to be intact.
    pub partial_blocks: u64,
    /// Number of records that are lost; null where it is not known.
    pub lost_records: Option<u64>,
    /// Number of offsets of which nothing is proved, as far as they are known.
    pub lost_offsets: u64,
    /// Number of other offsets whose records were lost before: the segment itself was recovered, and names them as gaps.
    pub damaged_offsets: u64,
    /// Where the segment begins.
    pub base: Bound,
    /// Where it ends, exclusive.
    pub end: Bound,
    /// What is lost, in the order of offsets.
    pub losses: Vec<Loss>,
    /// Bytes of the first file that hold nothing of what was recovered, nor a valid header, footer or trailer.
    pub unused: Vec<UnusedBytes>,
    /// Valid block headers of other segments in the first file, outside of intact blocks.
    pub foreign_blocks: u64,
    /// Intact blocks that were there more than once.
    pub repeated_blocks: u64,
}

/// A file that was searched.
#[derive(Clone, Debug, Serialize)]
pub struct SourceFile {
    /// The path, as given.
    pub file: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Number of blocks that were taken from it, as a whole or in part.
    pub blocks: u64,
    /// The first 16 digits of the id of the segment that the file is of, where that is another one than the recovered one; null where it is not.
    pub other_segment: Option<String>,
    /// Bytes that the disk does not return: what they held is lost, unless another copy has it.
    pub unreadable: Vec<UnreadableBytes>,
}

/// The new segment.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveredSegment {
    /// Its id.
    pub segment_id: Id,
    /// The topic's name.
    pub topic: String,
    /// The topic's id; zeros where it is not known.
    pub topic_id: Id,
    /// The partition.
    pub partition: PartitionNumber,
    /// The offsets that it covers.
    #[serde(flatten)]
    pub offsets: OffsetSpan,
    /// The timestamp type of its records.
    pub timestamp_type: TimestampType,
    /// Content digest over its records: 32 hex digits.
    pub content_digest: String,
    /// Whether the topic and the partition are what the caller says, and nothing in the files proves them: no copy of the header is left.
    pub partition_unproved: bool,
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnusedBytes {
    /// Position of the first one.
    pub position: u64,
    /// Their number.
    pub bytes: u64,
}

impl RecoveredSegment {
    pub(super) fn of(salvage: &Salvage, header: &FileHeader) -> RecoveredSegment {
        RecoveredSegment {
            segment_id: Hex(header.segment_id),
            topic: header.topic.clone(),
            topic_id: Hex(header.topic_id),
            partition: header.partition,
            offsets: salvage.coverage().into(),
            timestamp_type: header.timestamp_type,
            content_digest: format!("{:032x}", salvage.digests().content),
            partition_unproved: salvage.header.is_none(),
        }
    }
}

impl FileRecovery {
    pub(super) fn of(
        salvage: &Salvage,
        identified_by: IdentifiedBy,
        files: Vec<SourceFile>,
    ) -> FileRecovery {
        let lost = salvage.losses.iter();
        let lost = lost.map(|loss| loss.offsets.end_offset.abs_diff(loss.offsets.base_offset));
        let unused = salvage.unused.iter().map(|range| UnusedBytes {
            position: range.start,
            bytes: range.end.saturating_sub(range.start),
        });
        let (blocks, partial_blocks) = salvage.blocks();
        let damaged_offsets = salvage.damaged_offsets();
        let is_of_one = files.iter().all(|file| file.other_segment.is_none());
        let complete = salvage.is_complete() && damaged_offsets == 0 && is_of_one;
        // How many records damaged offsets had is not known, nor whether a file of another segment has what this one lacks.
        let is_counted = |lost: &u64| damaged_offsets == 0 && (complete || *lost > 0);
        FileRecovery {
            files,
            output: None,
            dry_run: false,
            complete,
            identified_by,
            segment: None,
            records: salvage.records(),
            blocks,
            partial_blocks,
            lost_records: salvage.lost_records().filter(is_counted),
            lost_offsets: lost.fold(0, u64::saturating_add),
            damaged_offsets,
            base: salvage.base,
            end: salvage.end,
            losses: salvage.losses.clone(),
            unused: unused.collect(),
            foreign_blocks: salvage.foreign_blocks,
            repeated_blocks: salvage.repeated_blocks,
        }
    }
}
