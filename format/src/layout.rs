//! Every byte constant of the segment format, each position derived from the one before it.
//!
//! SPEC.md is the source. `tests/spec_tables.rs` parses its tables and compares them with the
//! lists that this module makes, so that neither can drift from the other.

/// A field of a fixed-width structure: its name, position and size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in SPEC's table.
    pub name: &'static str,
    /// Position from the start of the structure.
    pub at: usize,
    /// Size in bytes.
    pub size: usize,
}

/// Declares the fields of a structure in order: a position constant for each, the total length, and
/// the list of all fields.
macro_rules! fields {
    ($(#[$doc:meta])* $module:ident { $($name:ident : $size:expr => $spec:literal),+ $(,)? }) => {
        $(#[$doc])*
        pub mod $module {
            use super::Field;
            fields!(@position 0; $($name : $size),+);
            /// Every field, in order.
            pub const FIELDS: &[Field] = &[
                $(Field { name: $spec, at: $name, size: $size }),+
            ];
        }
    };
    (@position $at:expr; $name:ident : $size:expr $(, $rest:ident : $rest_size:expr)*) => {
        #[doc = concat!("Position of `", stringify!($name), "`.")]
        pub const $name: usize = $at;
        fields!(@position $name + $size; $($rest : $rest_size),*);
    };
    (@position $at:expr;) => {
        /// Length of the fixed part.
        pub const LENGTH: usize = $at;
    };
}

/// Parts of a segment start at multiples of this.
pub const ALIGNMENT: usize = 64;

/// First bytes of a segment.
pub const FILE_MAGIC: [u8; 8] = [0x89, b'K', b'S', b'G', 0x0D, 0x0A, 0x1A, 0x0A];
/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"KBLK";
/// Last bytes of a segment.
pub const TRAILER_MAGIC: [u8; 8] = [0x89, b'K', b'S', b'E', 0x0D, 0x0A, 0x1A, 0x0A];

/// The format's major version: any other is refused.
pub const MAJOR: u16 = 1;
/// The minor version that this crate writes; a higher one is accepted.
pub const MINOR: u16 = 0;

/// How many of its last bytes [`crate::segment::Segment::open`] needs of a segment whose footer position is not known.
pub const TAIL_LENGTH: u64 = 131_072;

fields! {
    /// The file header's fixed part (SPEC 2.1).
    file_header {
        MAGIC: 8 => "magic",
        MAJOR: 2 => "major",
        MINOR: 2 => "minor",
        HEADER_LENGTH: 4 => "header_length",
        INCOMPATIBLE_FEATURES: 8 => "incompatible_features",
        COMPATIBLE_FEATURES: 8 => "compatible_features",
        SEGMENT_ID: 16 => "segment_id",
        TOPIC_ID: 16 => "topic_id",
        PARTITION: 4 => "partition",
        TIMESTAMP_TYPE: 1 => "timestamp_type",
        ISOLATION_LEVEL: 1 => "isolation_level",
        RESERVED: 2 => "reserved",
        BASE_OFFSET: 8 => "base_offset",
        TLV_LENGTH: 4 => "tlv_length",
        RESERVED_2: 12 => "reserved",
    }
}

fields! {
    /// A TLV's fixed part (SPEC 2.2).
    tlv {
        TYPE: 2 => "type",
        RESERVED: 2 => "reserved",
        VALUE_LENGTH: 4 => "length",
    }
}

/// TLVs are padded to this.
pub const TLV_ALIGNMENT: usize = 8;
/// TLV type: the topic's name.
pub const TLV_TOPIC: u16 = 1;
/// TLV type: the Kafka cluster's id.
pub const TLV_CLUSTER_ID: u16 = 2;
/// TLV type: program and version.
pub const TLV_WRITER: u16 = 3;
/// TLV type: milliseconds since the epoch.
pub const TLV_CREATED_AT: u16 = 4;
/// TLV type: the setting that its streams were compressed with.
pub const TLV_COMPRESSION: u16 = 5;

fields! {
    /// A block header's fixed part (SPEC 2.3).
    block_header {
        MAGIC: 4 => "magic",
        HEADER_CRC: 4 => "header_crc",
        SALT: 8 => "salt",
        POSITION: 8 => "position",
        SEQUENCE: 4 => "sequence",
        KIND: 1 => "kind",
        STREAM_COUNT: 1 => "stream_count",
        FLAGS: 1 => "flags",
        RESERVED: 1 => "reserved",
        HEADER_LENGTH: 4 => "header_length",
        BLOCK_LENGTH: 4 => "block_length",
        BASE_OFFSET: 8 => "base_offset",
        END_OFFSET: 8 => "end_offset",
        MIN_TIMESTAMP: 8 => "min_timestamp",
        MAX_TIMESTAMP: 8 => "max_timestamp",
        RECORD_COUNT: 4 => "record_count",
        TOMBSTONE_COUNT: 4 => "tombstone_count",
        CONTROL_COUNT: 4 => "control_count",
        NO_TIMESTAMP_COUNT: 4 => "no_timestamp_count",
        RAW_LENGTH: 4 => "raw_length",
        RESERVED_2: 4 => "reserved",
        CONTENT_DIGEST: 16 => "content_digest",
        RESTORE_DIGEST: 16 => "restore_digest",
        MIN_KNOWN_TIMESTAMP: 8 => "min_known_timestamp",
        RESERVED_3: 24 => "reserved",
    }
}

fields! {
    /// An entry of a block's directory of streams (SPEC 2.3).
    stream_entry {
        STREAM: 1 => "stream",
        CODEC: 1 => "codec",
        RESERVED: 2 => "reserved",
        STORED_CRC: 4 => "stored_crc",
        STORED_LENGTH: 4 => "stored_length",
        RAW_LENGTH: 4 => "raw_length",
    }
}

fields! {
    /// The header of a record batch, big-endian (SPEC 2.10).
    record_batch {
        BASE_OFFSET: 8 => "base_offset",
        BATCH_LENGTH: 4 => "batch_length",
        LEADER_EPOCH: 4 => "leader_epoch",
        MAGIC: 1 => "magic",
        CRC: 4 => "crc",
        ATTRIBUTES: 2 => "attributes",
        LAST_OFFSET_DELTA: 4 => "last_offset_delta",
        BASE_TIMESTAMP: 8 => "base_timestamp",
        MAX_TIMESTAMP: 8 => "max_timestamp",
        PRODUCER_ID: 8 => "producer_id",
        PRODUCER_EPOCH: 2 => "producer_epoch",
        BASE_SEQUENCE: 4 => "base_sequence",
        RECORD_COUNT: 4 => "record_count",
    }
}

/// Attribute bit: a control record.
pub const ATTRIBUTE_CONTROL: u64 = 1;
/// Encoding of a META column: one entry, the value of all.
pub const COLUMN_CONSTANT: u8 = 0;
/// Encoding of a META column: every entry is written.
pub const COLUMN_PLAIN: u8 = 1;

fields! {
    /// A footer section's fixed part (SPEC 2.5).
    section {
        TYPE: 4 => "type",
        FLAGS: 4 => "flags",
        PAYLOAD_LENGTH: 8 => "length",
    }
}

/// Sections are padded to this.
pub const SECTION_ALIGNMENT: usize = 8;
/// Section flag: refuse the segment if the type is unknown.
pub const SECTION_CRITICAL: u32 = 1;
/// Section type: a copy of the file header.
pub const SECTION_HEADER_COPY: u32 = 1;
/// Section type: one entry per block.
pub const SECTION_BLOCK_INDEX: u32 = 2;
/// Section type: sums over all records.
pub const SECTION_STATISTICS: u32 = 3;
/// Section type: offsets without a record, and why.
pub const SECTION_GAPS: u32 = 4;
/// Section type: lengths of the rendered views.
pub const SECTION_RENDERED_SIZES: u32 = 5;
/// Section type: whether lines of the rendered views are whole values and keys.
pub const SECTION_WHOLE_LINES: u32 = 6;
/// Section type: how much text the records of each hour have.
pub const SECTION_HOURS: u32 = 7;
/// Section type: what the headers of batches say together.
pub const SECTION_BATCH_BOUNDS: u32 = 8;
/// Section type: where the pages of the key filter are.
pub const SECTION_KEY_FILTER: u32 = 10;

/// Flag of a block of batches: what needs their records was not computed.
pub const FLAG_NOT_COMPUTED: u8 = 1;

/// Bit of incompatible_features: the segment has blocks that are not computed.
pub const FEATURE_NOT_COMPUTED: u64 = 1 << 0;
/// Bit of incompatible_features: the segment has a key filter.
pub const FEATURE_KEY_FILTER: u64 = 1 << 2;
/// Bit of incompatible_features: the segment has blocks of kind 2.
pub const FEATURE_BATCHES: u64 = 1 << 3;
/// The bits of incompatible_features that this crate knows.
pub const KNOWN_FEATURES: u64 = FEATURE_NOT_COMPUTED | FEATURE_KEY_FILTER | FEATURE_BATCHES;

fields! {
    /// An entry of the block index (SPEC 2.5).
    index_entry {
        POSITION: 8 => "position",
        BASE_OFFSET: 8 => "base_offset",
        END_OFFSET: 8 => "end_offset",
        MIN_TIMESTAMP: 8 => "min_timestamp",
        MAX_TIMESTAMP: 8 => "max_timestamp",
        MIN_KNOWN_TIMESTAMP: 8 => "min_known_timestamp",
        BLOCK_LENGTH: 4 => "block_length",
        HEADER_LENGTH: 2 => "header_length",
        KIND: 1 => "kind",
        FLAGS: 1 => "flags",
        RECORD_COUNT: 4 => "record_count",
        HEADER_CRC: 4 => "header_crc",
        RAW_LENGTH: 4 => "raw_length",
        META_LENGTH: 4 => "meta_length",
    }
}

fields! {
    /// The statistics section (SPEC 2.5).
    statistics {
        BASE_OFFSET: 8 => "base_offset",
        END_OFFSET: 8 => "end_offset",
        FIRST_OFFSET: 8 => "first_offset",
        LAST_OFFSET: 8 => "last_offset",
        MIN_TIMESTAMP: 8 => "min_timestamp",
        MAX_TIMESTAMP: 8 => "max_timestamp",
        RECORD_COUNT: 8 => "record_count",
        TOMBSTONE_COUNT: 8 => "tombstone_count",
        CONTROL_COUNT: 8 => "control_count",
        NO_TIMESTAMP_COUNT: 8 => "no_timestamp_count",
        ZERO_TIMESTAMP_COUNT: 8 => "zero_timestamp_count",
        NULL_KEY_COUNT: 8 => "null_key_count",
        HEADER_COUNT: 8 => "header_count",
        KEY_BYTES: 8 => "key_bytes",
        VALUE_BYTES: 8 => "value_bytes",
        HEADER_BYTES: 8 => "header_bytes",
        MAX_RECORD_BYTES: 8 => "max_record_bytes",
        MAX_LATENESS_MS: 8 => "max_lateness_ms",
        RAW_BYTES: 8 => "raw_bytes",
        MIN_KNOWN_TIMESTAMP: 8 => "min_known_timestamp",
        CONTENT_DIGEST: 16 => "content_digest",
        RESTORE_DIGEST: 16 => "restore_digest",
    }
}

fields! {
    /// The gaps section's fixed part (SPEC 2.5).
    gaps {
        MISSING_COUNT: 8 => "missing_count",
        DEFAULT_REASON: 4 => "default_reason",
        ENTRY_COUNT: 4 => "entry_count",
    }
}

fields! {
    /// An entry of the gaps section (SPEC 2.5).
    gap_entry {
        FROM_OFFSET: 8 => "from_offset",
        TO_OFFSET: 8 => "to_offset",
        REASON: 4 => "reason",
        RESERVED: 4 => "reserved",
    }
}

fields! {
    /// The rendered-sizes section's fixed part (SPEC 2.5).
    rendered_sizes {
        RENDERING_VERSION: 4 => "rendering_version",
        VIEW_COUNT: 4 => "view_count",
    }
}

fields! {
    /// An entry of the batch-bounds section (SPEC 2.5).
    batch_bounds {
        SMALLEST_MAX_TIMESTAMP: 8 => "smallest_max_timestamp",
        LARGEST_BATCH_BYTES: 4 => "largest_batch_bytes",
        CODECS: 1 => "codecs",
        FLAGS: 1 => "flags",
        RESERVED: 2 => "reserved",
    }
}

fields! {
    /// The whole-lines section (SPEC 2.5).
    whole_lines {
        RENDERING_VERSION: 4 => "rendering_version",
        FLAGS: 4 => "flags",
    }
}

fields! {
    /// The hours section's fixed part (SPEC 2.5).
    hours {
        RENDERING_VERSION: 4 => "rendering_version",
        ENTRY_COUNT: 4 => "entry_count",
    }
}

fields! {
    /// An entry of the hours section (SPEC 2.5).
    hour_entry {
        HOUR: 4 => "hour",
        BYTES: 4 => "bytes",
    }
}

fields! {
    /// The key-filter section's fixed part (SPEC 2.9).
    key_filter {
        POSITION: 8 => "position",
        PAGES_LENGTH: 4 => "length",
        HASH_BITS: 1 => "hash_bits",
        PAGE_BITS: 1 => "page_bits",
        RICE_BITS: 1 => "rice_bits",
        TARGET_BITS: 1 => "target_bits",
    }
}

fields! {
    /// What the key-filter section states of a page (SPEC 2.9).
    key_page {
        END: 4 => "end",
        ENTRY_COUNT: 4 => "entry_count",
        CRC: 4 => "crc",
    }
}

fields! {
    /// The trailer (SPEC 2.7).
    trailer {
        FOOTER_POSITION: 8 => "footer_position",
        FILE_LENGTH: 8 => "file_length",
        FOOTER_LENGTH: 4 => "footer_length",
        FOOTER_CRC: 4 => "footer_crc",
        SEGMENT_ID: 16 => "segment_id",
        BLOCK_COUNT: 4 => "block_count",
        MAJOR: 2 => "major",
        MINOR: 2 => "minor",
        HEADER_CRC: 4 => "header_crc",
        TRAILER_CRC: 4 => "trailer_crc",
        MAGIC: 8 => "magic",
    }
}

/// Limits of SPEC section 6, checked before anything is allocated.
pub mod limits {
    /// Bytes of a file header.
    pub const FILE_HEADER_LENGTH: usize = 65_536;
    /// Bytes of a topic's name, as in Kafka.
    pub const TOPIC_NAME_LENGTH: usize = 249;
    /// Streams in a block.
    pub const STREAMS: usize = 16;
    /// Records in a block.
    pub const BLOCK_RECORDS: usize = 1_048_576;
    /// Headers in a block.
    pub const BLOCK_HEADERS: usize = 4_194_304;
    /// Raw bytes of a block.
    pub const BLOCK_RAW_BYTES: usize = 268_435_456;
    /// Bytes of the records of a block's batches, decompressed.
    pub const BLOCK_DECODED_BYTES: usize = 134_217_728;
    /// Stored bytes of a block.
    pub const BLOCK_STORED_BYTES: usize = 272_629_760;
    /// Blocks in a segment.
    pub const BLOCKS: usize = 1_048_576;
    /// Bytes of a footer.
    pub const FOOTER_LENGTH: usize = 134_217_728;
    /// Entries of the gaps section.
    pub const GAP_ENTRIES: usize = 65_536;
    /// Entries of the hours section.
    pub const HOUR_ENTRIES: usize = 1_048_576;
    /// Bytes of the pages of a key filter.
    pub const KEY_FILTER_LENGTH: usize = 67_108_864;
    /// Entries of a key filter.
    pub const KEY_FILTER_ENTRIES: usize = 8_388_608;
    /// Bytes of a zstd window.
    pub const ZSTD_WINDOW: u64 = 8_388_608;
    /// Bytes of a zstd window in a batch.
    pub const BATCH_ZSTD_WINDOW: u64 = 134_217_728;
    /// Bytes of a JSON object in a repository.
    pub const JSON_BYTES: u64 = 268_435_456;
    /// Bytes of a packed object as stored.
    pub const PACKED_BYTES: u64 = 67_108_864;
    /// Bytes of a packed object once decompressed.
    pub const PACKED_RAW_BYTES: u64 = 268_435_456;
    /// Bytes of a table, or of a list of tables, once decompressed.
    pub const TABLE_RAW_BYTES: u64 = 33_554_432;
    /// Bytes of a row.
    pub const ROW_BYTES: usize = 16_777_216;
    /// Rows of a table.
    pub const TABLE_ROWS: u64 = 1_048_576;
    /// Tables that a list names.
    pub const LISTED_TABLES: usize = 65_536;
    /// Runs of a snapshot.
    pub const RUNS: usize = 1024;
    /// Tables that a snapshot names for one run.
    pub const NAMED_TABLES: usize = 4;
    /// Commits that a partition row names.
    pub const CHANGES: usize = 16;
    /// Ranges of snapshots that a partition row names since segments of it were damaged.
    pub const DAMAGED_RANGES: usize = 16;
    /// Sightings of a snapshot.
    pub const SIGHTINGS: usize = 256;
    /// Ranges of forgotten snapshots.
    pub const FORGOTTEN_RANGES: usize = 4096;
    /// Bytes of a claim.
    pub const CLAIM_BYTES: u64 = 16_777_216;
    /// Topics that a claim names.
    pub const CLAIMED_TOPICS: usize = 10_000;
}

// The lengths that SPEC states: a slip above fails the build.
const _: () = {
    assert!(file_header::LENGTH == 96);
    assert!(tlv::LENGTH == 8);
    assert!(block_header::LENGTH == 160);
    assert!(stream_entry::LENGTH == 16);
    assert!(record_batch::LENGTH == 61);
    assert!(section::LENGTH == 16);
    assert!(index_entry::LENGTH == 72);
    assert!(statistics::LENGTH == 192);
    assert!(gaps::LENGTH == 16);
    assert!(gap_entry::LENGTH == 24);
    assert!(rendered_sizes::LENGTH == 8);
    assert!(whole_lines::LENGTH == 8);
    assert!(hours::LENGTH == 8);
    assert!(hour_entry::LENGTH == 8);
    assert!(key_filter::LENGTH == 16);
    assert!(key_page::LENGTH == 12);
    assert!(trailer::LENGTH == 64);
};

/// Rounds `n` up to a multiple of `alignment`, a power of two.
#[must_use]
pub const fn align(n: usize, alignment: usize) -> usize {
    (n + alignment - 1) & !(alignment - 1)
}

/// Returns the length of the header of a block with `stream_count` streams.
#[must_use]
pub const fn block_header_length(stream_count: usize) -> usize {
    align(
        block_header::LENGTH + stream_count * stream_entry::LENGTH,
        ALIGNMENT,
    )
}
