//! What an inspection reports, in the shape of the JSON of `kbk inspect`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbk_format::repo::{Hex, Id};
use kbk_format::salvage::Loss;
use kbk_format::{
    BlockHeader, ErrorClass, FileHeader, FormatError, Gap, GapReason, IsolationLevel, KeyFilter,
    OffsetSpan, PartitionNumber, RecordStatistics, Segment, TimestampType, counted,
};
use serde::Serialize;

use super::part::Part;
use crate::UnreadableBytes;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A segment.
    Segment,
    /// One JSON object that ends in its digest: kbk.json, a snapshot, a claim, an object of a restore.
    SealedJson,
    /// Lines of JSON in a zstd frame: a table, a list, the groups or the ACLs.
    Packed,
}

/// What one object holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file's path, or the object's key, as given.
    pub file: PathBuf,
    /// The object's length in bytes.
    pub size: u64,
    /// What kind of object it is.
    pub kind: ObjectKind,
    /// What sealed JSON or a packed object says that it is; null for a segment, and where that is damaged.
    pub format: Option<String>,
    /// The file header; null if both it and the footer's copy are damaged.
    pub header: Option<InspectedHeader>,
    /// The footer; null if it is damaged.
    pub footer: Option<InspectedFooter>,
    /// Sums over `blocks`.
    pub totals: BlockTotals,
    /// Sums over the streams of `blocks`, per stream and codec.
    pub streams: Vec<StreamTotals>,
    /// The blocks with a valid header, in file order, including those with damaged streams.
    pub blocks: Vec<InspectedBlock>,
    /// The parts in the order of their bytes; of a segment only with --layout.
    pub parts: Vec<Part>,
    /// Everything that is wrong with the object.
    pub problems: Vec<Problem>,
}

impl Inspection {
    pub(super) fn empty(file: &Path, size: u64) -> Inspection {
        Inspection {
            file: file.to_owned(),
            size,
            kind: ObjectKind::Segment,
            format: None,
            header: None,
            footer: None,
            totals: BlockTotals::default(),
            streams: Vec::new(),
            blocks: Vec::new(),
            parts: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// The file header.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedHeader {
    /// The segment's random id.
    pub segment_id: Id,
    /// The topic's name.
    pub topic: String,
    /// The topic id in its header: that of the topic's history in its repository.
    pub topic_id: Id,
    /// The partition.
    pub partition: PartitionNumber,
    /// First offset covered.
    pub base_offset: i64,
    /// The timestamp type of every record.
    pub timestamp_type: TimestampType,
    /// The isolation level at which the records were read.
    pub isolation_level: IsolationLevel,
    /// Kafka's id of the cluster.
    pub cluster_id: Option<String>,
    /// The program that wrote the segment, and its version.
    pub writer: Option<String>,
    /// When writing began; `None` if the segment does not state it, or no year from 0000 to 9999.
    pub created_at: Option<Timestamp>,
}

/// The footer, with the names of SPEC section 2.5.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedFooter {
    /// Position of the footer in the file, in bytes.
    pub position: u64,
    /// One past the last offset covered.
    pub end_offset: i64,
    /// Whether everything was computed that only decoding the records tells; what was not is null.
    pub computed: bool,
    /// Offset of the first record; -1 without records; null where it was not computed.
    pub first_offset: Option<i64>,
    /// Offset of the last record; -1 without records; null where it was not computed.
    pub last_offset: Option<i64>,
    /// Smallest timestamp of a record in milliseconds; null where it was not computed.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp of a record in milliseconds; where `computed` is false, a bound that none is above.
    pub max_timestamp: i64,
    /// Smallest timestamp but -1, the one of records that have none; `i64::MAX` where no record has one; null where it was not computed.
    pub min_known_timestamp: Option<i64>,
    /// Number of records.
    pub record_count: u64,
    /// Records with a null value; null where it was not computed.
    pub tombstone_count: Option<u64>,
    /// Control records.
    pub control_count: u64,
    /// Records without a timestamp; null where it was not computed.
    pub no_timestamp_count: Option<u64>,
    /// Records with the timestamp 0; null where it was not computed.
    pub zero_timestamp_count: Option<u64>,
    /// Records with a null key; null where it was not computed.
    pub null_key_count: Option<u64>,
    /// Number of headers; null where it was not computed.
    pub header_count: Option<u64>,
    /// Bytes of keys; null where it was not computed.
    pub key_bytes: Option<u64>,
    /// Bytes of values; null where it was not computed.
    pub value_bytes: Option<u64>,
    /// Bytes of headers; null where it was not computed.
    pub header_bytes: Option<u64>,
    /// Bytes of the largest record; null where it was not computed.
    pub max_record_bytes: Option<u64>,
    /// The most by which a record is older than one before it, in milliseconds; null where it was not computed.
    pub max_lateness_ms: Option<u64>,
    /// 32 hex digits, most significant first; null where it was not computed.
    pub content_digest: Option<String>,
    /// 32 hex digits, most significant first; null where it was not computed.
    pub restore_digest: Option<String>,
    /// Covered offsets without a record.
    pub missing_count: u64,
    /// Why these offsets have no record, unless `gaps` gives another reason.
    pub default_gap_reason: GapReason,
    /// The ranges of offsets without a record, where the segment lists them.
    pub gaps: Vec<InspectedGap>,
    /// Which blocks may have a key; null where the segment has no key filter.
    pub key_filter: Option<InspectedKeyFilter>,
}

/// The key filter, with the names of SPEC section 2.9.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InspectedKeyFilter {
    /// Position of its first page in the file, in bytes.
    pub position: u64,
    /// Stored bytes of its pages, with the padding after them.
    pub stored_bytes: u64,
    /// Number of entries: of distinct keys in each block.
    pub entries: u64,
    /// Number of pages, of which a look-up reads one.
    pub pages: u64,
    /// Bits of each key's hash that are stored.
    pub hash_bits: u8,
    /// What its writer aimed at: one block in two to the power of this is read in vain.
    pub target_bits: u8,
}

impl From<&KeyFilter> for InspectedKeyFilter {
    fn from(filter: &KeyFilter) -> InspectedKeyFilter {
        let range = filter.range();
        InspectedKeyFilter {
            position: range.start,
            stored_bytes: range.end.saturating_sub(range.start),
            entries: filter.entry_count(),
            pages: filter.page_count() as u64,
            hash_bits: filter.hash_bits(),
            target_bits: filter.target().get(),
        }
    }
}

/// A gap whose reason is known.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InspectedGap {
    /// Its offsets.
    #[serde(flatten)]
    pub offsets: OffsetSpan,
    /// Why they have no record.
    pub reason: GapReason,
}

impl From<&Gap> for InspectedGap {
    fn from(gap: &Gap) -> InspectedGap {
        InspectedGap {
            offsets: (gap.from_offset..gap.to_offset).into(),
            reason: gap.reason,
        }
    }
}

/// Sums over blocks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BlockTotals {
    /// Number of blocks.
    pub blocks: u64,
    /// Number of records.
    pub records: u64,
    /// Stored bytes of the blocks.
    pub stored_bytes: u64,
    /// Bytes of the streams after decoding.
    pub raw_bytes: u64,
}

/// Sums over all blocks for one stream with one codec.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StreamTotals {
    /// The stream's name in SPEC.
    pub stream: &'static str,
    /// `none`, `zstd` or `lz4`.
    pub codec: &'static str,
    /// Number of blocks that have it.
    pub blocks: u64,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Bytes after decoding.
    pub raw_bytes: u64,
}

/// One block.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InspectedBlock {
    /// Position in the file, in bytes.
    pub position: u64,
    /// First offset covered.
    pub base_offset: i64,
    /// One past the last offset covered.
    pub end_offset: i64,
    /// Number of records.
    pub records: u32,
    /// Smallest timestamp in milliseconds; null without records, and where it was not computed.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds; null without records.
    pub max_timestamp: Option<i64>,
    /// Stored bytes of the whole block.
    pub stored_bytes: u64,
    /// Bytes of the streams after decoding.
    pub raw_bytes: u32,
    /// Whether every byte of the block is intact.
    pub intact: bool,
}

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The error class of SPEC section 7.
    pub class: ErrorClass,
    /// The damaged structure.
    pub what: String,
    /// Position in the file, in bytes.
    pub position: u64,
    /// The offsets that cannot be relied on, if known.
    pub offsets: Option<OffsetSpan>,
    /// Expected and found.
    pub detail: String,
}

impl InspectedHeader {
    pub(super) fn of(header: &FileHeader) -> InspectedHeader {
        InspectedHeader {
            segment_id: Hex(header.segment_id),
            topic: header.topic.clone(),
            topic_id: Hex(header.topic_id),
            partition: header.partition,
            base_offset: header.base_offset,
            timestamp_type: header.timestamp_type,
            isolation_level: header.isolation_level,
            cluster_id: header.cluster_id.clone(),
            writer: header.writer.clone(),
            created_at: header
                .created_at
                .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        }
    }
}

impl InspectedFooter {
    pub(super) fn of(segment: &Segment) -> InspectedFooter {
        let statistics = segment.statistics();
        let gaps = segment.gaps();
        let computed = statistics.computed.as_ref();
        let number = |of: fn(&RecordStatistics) -> u64| computed.map(of);
        let signed = |of: fn(&RecordStatistics) -> i64| computed.map(of);
        let digest =
            |of: fn(&RecordStatistics) -> u128| computed.map(|it| format!("{:032x}", of(it)));
        InspectedFooter {
            position: segment.footer_position(),
            end_offset: statistics.end_offset,
            computed: computed.is_some(),
            first_offset: signed(|it| it.first_offset),
            last_offset: signed(|it| it.last_offset),
            min_timestamp: signed(|it| it.min_timestamp),
            max_timestamp: statistics.max_timestamp,
            min_known_timestamp: signed(|it| it.min_known_timestamp),
            record_count: statistics.record_count,
            tombstone_count: number(|it| it.tombstone_count),
            control_count: statistics.control_count,
            no_timestamp_count: number(|it| it.no_timestamp_count),
            zero_timestamp_count: number(|it| it.zero_timestamp_count),
            null_key_count: number(|it| it.null_key_count),
            header_count: number(|it| it.header_count),
            key_bytes: number(|it| it.key_bytes),
            value_bytes: number(|it| it.value_bytes),
            header_bytes: number(|it| it.header_bytes),
            max_record_bytes: number(|it| it.max_record_bytes),
            max_lateness_ms: number(|it| it.max_lateness_ms),
            content_digest: digest(|it| it.digests.content),
            restore_digest: digest(|it| it.digests.restore),
            missing_count: gaps.missing_count,
            default_gap_reason: gaps.default_reason,
            gaps: gaps.entries.iter().map(InspectedGap::from).collect(),
            key_filter: segment.key_filter().map(InspectedKeyFilter::from),
        }
    }
}

impl InspectedBlock {
    pub(super) fn of(header: &BlockHeader, intact: bool) -> InspectedBlock {
        let has_records = header.record_count > 0;
        let min = header.computed.map(|numbers| numbers.min_timestamp);
        InspectedBlock {
            position: header.position,
            base_offset: header.base_offset,
            end_offset: header.end_offset,
            records: header.record_count,
            min_timestamp: min.filter(|_| has_records),
            max_timestamp: has_records.then_some(header.max_timestamp),
            stored_bytes: header.block_length() as u64,
            raw_bytes: header.raw_length(),
            intact,
        }
    }
}

impl Problem {
    pub(super) fn misplaced(position: u64, detail: &str) -> Problem {
        Problem {
            class: ErrorClass::Misplaced,
            what: "block".to_owned(),
            position,
            offsets: None,
            detail: detail.to_owned(),
        }
    }

    pub(super) fn of(error: &FormatError) -> Problem {
        Problem {
            class: error.class,
            what: error.what.to_owned(),
            position: error.position,
            offsets: None,
            detail: error.detail.clone(),
        }
    }

    /// Damaged batches of a block of which the rest is proved.
    pub(super) fn of_batches(loss: &Loss) -> Problem {
        Problem {
            class: ErrorClass::Checksum,
            what: "batches of a block".to_owned(),
            position: loss.position.unwrap_or_default(),
            offsets: Some(loss.offsets),
            detail: format!("{}; the rest of the block is intact", loss.detail),
        }
    }

    /// Bytes that the disk does not return. Of SPEC's classes, it is as if they were missing.
    pub(super) fn of_unreadable(unread: &UnreadableBytes) -> Problem {
        let bytes = counted(unread.bytes, "byte");
        Problem {
            class: ErrorClass::Truncated,
            what: "bytes that cannot be read".to_owned(),
            position: unread.position,
            offsets: None,
            detail: format!(
                "{bytes}: {}, and zeros are shown in their place",
                unread.reason
            ),
        }
    }

    pub(super) fn of_object(kind: ObjectKind, position: u64, detail: String) -> Problem {
        let what = match kind {
            ObjectKind::Segment => "segment",
            ObjectKind::SealedJson => "sealed JSON",
            ObjectKind::Packed => "packed object",
        };
        Problem {
            class: match detail.contains("SHA-256") {
                true => ErrorClass::Checksum,
                false => ErrorClass::Inconsistent,
            },
            what: what.to_owned(),
            position,
            offsets: None,
            detail,
        }
    }

    /// Adds the offsets that the problem concerns.
    pub(super) fn at(mut self, from: i64, to: i64) -> Problem {
        self.offsets = Some((from..to).into());
        self
    }
}
