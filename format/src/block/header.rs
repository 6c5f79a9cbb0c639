//! The block header and its directory of streams (SPEC 2.3).

use crate::codec::Codec;
use crate::counted::counted;
use crate::digest::Digests;
use crate::error::{ErrorClass, Result};
use crate::layout::{
    ALIGNMENT, BLOCK_MAGIC, FLAG_NOT_COMPUTED, align, block_header as at, block_header_length,
    limits, stream_entry as entry_at,
};
use crate::offset_span::OffsetSpan;
use crate::wire::{FieldReader, length, put};

/// How the records of a block are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// As columns.
    Records = 1,
    /// As Kafka's own record batches.
    Batches = 2,
}

impl BlockKind {
    /// All kinds.
    pub const ALL: [BlockKind; 2] = [BlockKind::Records, BlockKind::Batches];

    pub(crate) fn from_code(code: u8) -> Option<BlockKind> {
        BlockKind::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Returns the name used in SPEC.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BlockKind::Records => "records",
            BlockKind::Batches => "batches",
        }
    }

    /// Returns the stream that every block of this kind with records has, which is its first one.
    pub(crate) fn first_stream(self) -> StreamId {
        match self {
            BlockKind::Records => StreamId::Meta,
            BlockKind::Batches => StreamId::Batches,
        }
    }
}

/// A stream of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum StreamId {
    /// Offsets, times, attributes, lengths.
    Meta = 1,
    /// Keys.
    Keys = 2,
    /// Header names and values.
    Headers = 3,
    /// Values.
    Values = 4,
    /// Record batches: the only stream of a block of kind 2.
    Batches = 5,
}

/// The streams that this version defines.
pub(crate) const STREAM_IDS: [StreamId; 5] = [
    StreamId::Meta,
    StreamId::Keys,
    StreamId::Headers,
    StreamId::Values,
    StreamId::Batches,
];

impl StreamId {
    fn from_code(code: u8) -> Option<StreamId> {
        STREAM_IDS.into_iter().find(|id| *id as u8 == code)
    }

    /// Returns the name used in SPEC.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StreamId::Meta => "META",
            StreamId::Keys => "KEYS",
            StreamId::Headers => "HEADERS",
            StreamId::Values => "VALUES",
            StreamId::Batches => "BATCHES",
        }
    }

    /// Returns the kind of the blocks that have it.
    #[must_use]
    pub fn block_kind(self) -> BlockKind {
        match self {
            StreamId::Meta | StreamId::Keys | StreamId::Headers | StreamId::Values => {
                BlockKind::Records
            }
            StreamId::Batches => BlockKind::Batches,
        }
    }
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Which stream.
    pub id: StreamId,
    /// How it is stored.
    pub codec: Codec,
    /// CRC-32C of the stored bytes.
    pub stored_crc: u32,
    /// Stored bytes.
    pub stored_length: u32,
    /// Bytes after decoding.
    pub raw_length: u32,
}

impl StreamEntry {
    /// Returns whether these are the stored bytes of the stream, by their checksum.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        crc32c::crc32c(stored) == self.stored_crc
    }
}

/// The directory: at most one entry for each stream, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: [Option<StreamEntry>; STREAM_IDS.len()],
}

impl Directory {
    /// Iterates over the entries in the order of their streams, which is the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = &StreamEntry> {
        self.entries.iter().flatten()
    }

    pub(crate) fn set(&mut self, entry: StreamEntry) {
        if let Some(slot) = self.entries.get_mut(entry.id as usize - 1) {
            *slot = Some(entry);
        }
    }

    /// Returns the stored bytes of all streams.
    #[must_use]
    pub fn stored_length(&self) -> usize {
        self.iter().map(|e| length(e.stored_length)).sum()
    }

    pub(super) fn raw_length(&self) -> u64 {
        self.iter().map(|e| u64::from(e.raw_length)).sum()
    }
}

/// What a block header states of the records that only decoding them tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNumbers {
    /// Smallest timestamp of all records.
    pub min_timestamp: i64,
    /// Smallest timestamp but -1; `i64::MAX` where no record has one.
    pub min_known_timestamp: i64,
    /// Records with a null value.
    pub tombstone_count: u32,
    /// Records with timestamp -1.
    pub no_timestamp_count: u32,
    /// Digests over the block's records.
    pub digests: Digests,
}

impl BlockNumbers {
    /// The numbers of no records, which are also stored where none were computed.
    pub(crate) const NONE: BlockNumbers = BlockNumbers {
        min_timestamp: i64::MAX,
        min_known_timestamp: i64::MAX,
        tombstone_count: 0,
        no_timestamp_count: 0,
        digests: Digests {
            content: 0,
            restore: 0,
        },
    };
}

/// A block header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The first 8 bytes of the segment's id.
    pub salt: [u8; 8],
    /// Position of the block in the segment.
    pub position: u64,
    /// Number of the block in the segment, from 0.
    pub sequence: u32,
    /// How the records are stored.
    pub kind: BlockKind,
    /// First offset covered.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered.
    pub end_offset: i64,
    /// The largest timestamp of all records; where the numbers of the records were not computed, one that none of them is above.
    pub max_timestamp: i64,
    /// Number of records.
    pub record_count: u32,
    /// Control records.
    pub control_count: u32,
    /// What is only known once the records are decoded; `None` where it was not computed, as of some blocks of batches.
    pub computed: Option<BlockNumbers>,
    /// Where the streams are and what they are.
    pub directory: Directory,
    /// CRC-32C of the header, as stored.
    pub header_crc: u32,
}

impl BlockHeader {
    /// Returns the length of the header with its directory and padding.
    #[must_use]
    pub fn header_length(&self) -> usize {
        block_header_length(self.directory.iter().count())
    }

    /// Returns the stored length of the first stream, which is META or BATCHES; 0 where there is no record.
    #[must_use]
    pub fn meta_length(&self) -> u32 {
        let first = self.directory.iter().next();
        first.map_or(0, |entry| entry.stored_length)
    }

    /// Returns the length of the whole block.
    #[must_use]
    pub fn block_length(&self) -> usize {
        align(
            self.header_length() + self.directory.stored_length(),
            ALIGNMENT,
        )
    }

    /// Returns the bytes of all streams after decoding.
    #[must_use]
    pub fn raw_length(&self) -> u32 {
        // At most `limits::BLOCK_RAW_BYTES`: bounded when encoded and when decoded.
        self.directory.raw_length() as u32
    }

    /// Encodes the header with its CRC, which is also stored in `header_crc`.
    pub(crate) fn encode(&mut self, bytes: &mut Vec<u8>) {
        let header_length = self.header_length();
        bytes.clear();
        bytes.resize(header_length, 0);
        put(bytes, at::MAGIC, &BLOCK_MAGIC);
        put(bytes, at::SALT, &self.salt);
        put(bytes, at::POSITION, &self.position.to_le_bytes());
        put(bytes, at::SEQUENCE, &self.sequence.to_le_bytes());
        put(bytes, at::KIND, &[self.kind as u8]);
        put(
            bytes,
            at::STREAM_COUNT,
            &[self.directory.iter().count() as u8],
        );
        put(
            bytes,
            at::HEADER_LENGTH,
            &(header_length as u32).to_le_bytes(),
        );
        put(
            bytes,
            at::BLOCK_LENGTH,
            &(self.block_length() as u32).to_le_bytes(),
        );
        put(bytes, at::FLAGS, &[self.flags()]);
        put(bytes, at::BASE_OFFSET, &self.base_offset.to_le_bytes());
        put(bytes, at::END_OFFSET, &self.end_offset.to_le_bytes());
        let numbers = self.computed.unwrap_or(BlockNumbers::NONE);
        let min = numbers.min_timestamp;
        put(bytes, at::MIN_TIMESTAMP, &min.to_le_bytes());
        let known = numbers.min_known_timestamp;
        put(bytes, at::MIN_KNOWN_TIMESTAMP, &known.to_le_bytes());
        put(bytes, at::MAX_TIMESTAMP, &self.max_timestamp.to_le_bytes());
        put(bytes, at::RECORD_COUNT, &self.record_count.to_le_bytes());
        put(
            bytes,
            at::TOMBSTONE_COUNT,
            &numbers.tombstone_count.to_le_bytes(),
        );
        put(bytes, at::CONTROL_COUNT, &self.control_count.to_le_bytes());
        put(
            bytes,
            at::NO_TIMESTAMP_COUNT,
            &numbers.no_timestamp_count.to_le_bytes(),
        );
        put(bytes, at::RAW_LENGTH, &self.raw_length().to_le_bytes());
        put(
            bytes,
            at::CONTENT_DIGEST,
            &numbers.digests.content.to_le_bytes(),
        );
        put(
            bytes,
            at::RESTORE_DIGEST,
            &numbers.digests.restore.to_le_bytes(),
        );
        for (i, entry) in self.directory.iter().enumerate() {
            let start = at::LENGTH + i * entry_at::LENGTH;
            put(bytes, start + entry_at::STREAM, &[entry.id as u8]);
            put(bytes, start + entry_at::CODEC, &[entry.codec as u8]);
            put(
                bytes,
                start + entry_at::STORED_CRC,
                &entry.stored_crc.to_le_bytes(),
            );
            put(
                bytes,
                start + entry_at::STORED_LENGTH,
                &entry.stored_length.to_le_bytes(),
            );
            put(
                bytes,
                start + entry_at::RAW_LENGTH,
                &entry.raw_length.to_le_bytes(),
            );
        }
        self.header_crc = crc32c::crc32c(bytes.get(at::SALT..).unwrap_or_default());
        put(bytes, at::HEADER_CRC, &self.header_crc.to_le_bytes());
    }

    /// Decodes the header of a block at `position` in a segment with `salt`.
    ///
    /// # Errors
    ///
    /// *misplaced* where an intact header belongs elsewhere; otherwise as in SPEC section 7.
    pub fn decode(bytes: &[u8], position: u64, salt: [u8; 8]) -> Result<BlockHeader> {
        let fixed = FieldReader::new("block header", position, bytes, at::LENGTH)?;
        fixed.ensure(
            fixed.array(at::MAGIC)? == BLOCK_MAGIC,
            ErrorClass::Checksum,
            || "no block starts here".to_owned(),
        )?;
        // The checksum cannot be found without this field, so it is bounded before it is checked.
        let header_length = length(fixed.u32(at::HEADER_LENGTH)?);
        let most = block_header_length(limits::STREAMS);
        fixed.ensure(header_length <= most, ErrorClass::Limit, || {
            format!("header_length {header_length}; the limit is {most}")
        })?;
        fixed.ensure(
            header_length >= block_header_length(0) && header_length.is_multiple_of(ALIGNMENT),
            ErrorClass::Inconsistent,
            || format!("header_length {header_length}"),
        )?;
        let whole = FieldReader::new("block header", position, bytes, header_length)?;
        whole.crc(
            "header_crc",
            whole.u32(at::HEADER_CRC)?,
            whole.slice(at::SALT, header_length)?,
        )?;
        check_location(&whole, position, salt)?;
        let kind = whole.u8(at::KIND)?;
        let kind = BlockKind::from_code(kind).ok_or_else(|| {
            let detail = format!("unknown kind {kind}; a newer kbk may read it");
            whole.error(ErrorClass::Unsupported, detail)
        })?;
        let stream_count = usize::from(whole.u8(at::STREAM_COUNT)?);
        whole.ensure(stream_count <= limits::STREAMS, ErrorClass::Limit, || {
            format!(
                "{stream_count} streams; at most {} are allowed",
                limits::STREAMS
            )
        })?;
        whole.ensure(
            header_length == block_header_length(stream_count),
            ErrorClass::Inconsistent,
            || format!("header_length {header_length} does not match {stream_count} streams"),
        )?;
        let header = BlockHeader::decode_fields(&whole, kind, stream_count)?;
        header.check(&whole)?;
        Ok(header)
    }

    /// Decodes a header wherever it was found, and of whatever segment it is.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), but for *misplaced*.
    pub(crate) fn decode_anywhere(bytes: &[u8]) -> Result<BlockHeader> {
        let fixed = FieldReader::new("block header", 0, bytes, at::LENGTH)?;
        BlockHeader::decode(bytes, fixed.u64(at::POSITION)?, fixed.array(at::SALT)?)
    }

    fn decode_fields(
        view: &FieldReader<'_>,
        kind: BlockKind,
        stream_count: usize,
    ) -> Result<BlockHeader> {
        let numbers = BlockNumbers {
            min_timestamp: view.i64(at::MIN_TIMESTAMP)?,
            min_known_timestamp: view.i64(at::MIN_KNOWN_TIMESTAMP)?,
            tombstone_count: view.u32(at::TOMBSTONE_COUNT)?,
            no_timestamp_count: view.u32(at::NO_TIMESTAMP_COUNT)?,
            digests: Digests {
                content: view.u128(at::CONTENT_DIGEST)?,
                restore: view.u128(at::RESTORE_DIGEST)?,
            },
        };
        let is_computed = is_computed(kind, view.u8(at::FLAGS)?);
        view.ensure(
            is_computed || numbers == BlockNumbers::NONE,
            ErrorClass::Inconsistent,
            || "it states numbers that its flags call not computed".to_owned(),
        )?;
        Ok(BlockHeader {
            salt: view.array(at::SALT)?,
            position: view.u64(at::POSITION)?,
            sequence: view.u32(at::SEQUENCE)?,
            kind,
            base_offset: view.i64(at::BASE_OFFSET)?,
            end_offset: view.i64(at::END_OFFSET)?,
            max_timestamp: view.i64(at::MAX_TIMESTAMP)?,
            record_count: view.u32(at::RECORD_COUNT)?,
            control_count: view.u32(at::CONTROL_COUNT)?,
            computed: is_computed.then_some(numbers),
            directory: decode_directory(view, kind, stream_count)?,
            header_crc: view.u32(at::HEADER_CRC)?,
        })
    }

    /// Checks the limits and the relations between the fields.
    fn check(&self, view: &FieldReader<'_>) -> Result<()> {
        let raw = self.directory.raw_length();
        view.ensure(
            raw <= limits::BLOCK_RAW_BYTES as u64,
            ErrorClass::Limit,
            || {
                format!(
                    "{raw} raw bytes; at most {} are allowed",
                    limits::BLOCK_RAW_BYTES
                )
            },
        )?;
        let records = length(self.record_count);
        view.ensure(records <= limits::BLOCK_RECORDS, ErrorClass::Limit, || {
            format!(
                "{records} records; at most {} are allowed",
                limits::BLOCK_RECORDS
            )
        })?;
        let block_length = self.block_length();
        view.ensure(
            block_length <= limits::BLOCK_STORED_BYTES,
            ErrorClass::Limit,
            || {
                format!(
                    "{block_length} stored bytes; at most {} are allowed",
                    limits::BLOCK_STORED_BYTES
                )
            },
        )?;
        view.ensure(
            length(view.u32(at::BLOCK_LENGTH)?) == block_length
                && u64::from(view.u32(at::RAW_LENGTH)?) == raw,
            ErrorClass::Inconsistent,
            || "block_length or raw_length does not match the directory".to_owned(),
        )?;
        let (base, end) = (self.base_offset, self.end_offset);
        view.ensure(
            base >= 0
                && end
                    .checked_sub(base)
                    .is_some_and(|covered| covered >= i64::from(self.record_count).max(1)),
            ErrorClass::Inconsistent,
            || {
                let records = counted(records, "record");
                format!("{records} cannot be in {}", OffsetSpan::from(base..end))
            },
        )?;
        let numbers = self.computed.unwrap_or(BlockNumbers::NONE);
        let counts = [
            numbers.tombstone_count,
            self.control_count,
            numbers.no_timestamp_count,
        ];
        view.ensure(
            counts.iter().all(|count| *count <= self.record_count),
            ErrorClass::Inconsistent,
            || format!("it counts {counts:?} tombstones, control records and records without timestamp of {records} records"),
        )?;
        if let Some(numbers) = &self.computed {
            self.check_numbers(numbers, view)?;
        }
        let first = self.directory.iter().next().map(|entry| entry.id);
        let is_whole = match records {
            0 => first.is_none() && self.kind == BlockKind::Records,
            _ => first == Some(self.kind.first_stream()),
        };
        view.ensure(is_whole, ErrorClass::Inconsistent, || {
            let kind = self.kind.name();
            format!("its streams are not those of {records} records, stored as {kind}")
        })
    }

    fn check_numbers(&self, numbers: &BlockNumbers, view: &FieldReader<'_>) -> Result<()> {
        let records = self.record_count;
        let (min, max) = (numbers.min_timestamp, self.max_timestamp);
        view.ensure(
            if records == 0 {
                (min, max) == (i64::MAX, i64::MIN) && numbers.digests == Digests::default()
            } else {
                min <= max
            },
            ErrorClass::Inconsistent,
            || format!("its timestamps or digests are not those of {records} records"),
        )?;
        let (known, unknown) = (numbers.min_known_timestamp, numbers.no_timestamp_count);
        view.ensure(
            if unknown == records {
                known == i64::MAX
            } else {
                known != -1 && (min..=max).contains(&known) && (unknown > 0 || known == min)
            },
            ErrorClass::Inconsistent,
            || format!("its min_known_timestamp is {known}, and {unknown} of {records} records have no timestamp"),
        )
    }

    fn flags(&self) -> u8 {
        match self.computed {
            Some(_) => 0,
            None => FLAG_NOT_COMPUTED,
        }
    }
}

/// Returns whether the flags of a block or an index entry say that the numbers of its records were computed. Other kinds have no flags: their
/// byte is reserved.
pub(crate) fn is_computed(kind: BlockKind, flags: u8) -> bool {
    kind != BlockKind::Batches || flags & FLAG_NOT_COMPUTED == 0
}

/// Checks that an intact header belongs to this segment and position.
fn check_location(view: &FieldReader<'_>, position: u64, salt: [u8; 8]) -> Result<()> {
    view.ensure(view.array(at::SALT)? == salt, ErrorClass::Misplaced, || {
        "the block belongs to another segment".to_owned()
    })?;
    let own = view.u64(at::POSITION)?;
    view.ensure(own == position, ErrorClass::Misplaced, || {
        format!("the block belongs at position {own}")
    })
}

fn decode_directory(
    view: &FieldReader<'_>,
    kind: BlockKind,
    stream_count: usize,
) -> Result<Directory> {
    let mut directory = Directory::default();
    let mut previous = None;
    for i in 0..stream_count {
        let entry = decode_entry(view, at::LENGTH + i * entry_at::LENGTH)?;
        view.ensure(
            entry.id.block_kind() == kind,
            ErrorClass::Unsupported,
            || {
                let (stream, kind) = (entry.id.name(), kind.name());
                format!("stream {stream} in a block of {kind}; a newer kbk may read it")
            },
        )?;
        view.ensure(Some(entry.id) > previous, ErrorClass::Inconsistent, || {
            format!("stream {} is repeated or out of order", entry.id.name())
        })?;
        previous = Some(entry.id);
        directory.set(entry);
    }
    let end = at::LENGTH + stream_count * entry_at::LENGTH;
    view.padding(end, block_header_length(stream_count))?;
    Ok(directory)
}

fn decode_entry(view: &FieldReader<'_>, start: usize) -> Result<StreamEntry> {
    let id = view.u8(start + entry_at::STREAM)?;
    let codec = view.u8(start + entry_at::CODEC)?;
    let entry = StreamEntry {
        id: StreamId::from_code(id)
            .ok_or_else(|| view.error(ErrorClass::Unsupported, format!("unknown stream {id}")))?,
        codec: Codec::from_code(codec)
            .ok_or_else(|| view.error(ErrorClass::Unsupported, format!("unknown codec {codec}")))?,
        stored_crc: view.u32(start + entry_at::STORED_CRC)?,
        stored_length: view.u32(start + entry_at::STORED_LENGTH)?,
        raw_length: view.u32(start + entry_at::RAW_LENGTH)?,
    };
    view.ensure(entry.raw_length > 0, ErrorClass::Inconsistent, || {
        format!("stream {} is present but empty", entry.id.name())
    })?;
    view.ensure(
        entry.codec != Codec::None || entry.stored_length == entry.raw_length,
        ErrorClass::Inconsistent,
        || {
            format!(
                "stream {} is stored uncompressed, but its lengths differ",
                entry.id.name()
            )
        },
    )?;
    Ok(entry)
}
