//! SPEC.md's tables against the constants of `layout` and the codes of the types, in both directions.
//!
//! A row that the code does not know fails, and so does a constant that no row states.

use std::fmt::Debug;

use kbk_format::batch::Attributes;
use kbk_format::block::{BlockKind, StreamId};
use kbk_format::layout::{self, Field, limits};
use kbk_format::{
    Codec, ErrorClass, GapReason, IsolationLevel, KeyFilterBits, TimestampType, render,
};

const SPEC: &str = include_str!("../../SPEC.md");
const LAYOUT: &str = include_str!("../src/layout.rs");

/// A table: its heading and its rows, cell by cell.
struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

/// Returns all tables of SPEC.md that begin with these columns, in order.
fn tables(columns: &[&str]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut in_table = false;
    for line in SPEC.lines() {
        if !line.starts_with('|') {
            in_table = false;
        } else if !in_table {
            in_table = true;
            let (heading, rows) = (cells(line), Vec::new());
            tables.push(Table { heading, rows });
        } else if !line.starts_with("|-") {
            tables.last_mut().unwrap().rows.push(cells(line));
        }
    }
    tables.retain(|table| table.heading.starts_with(columns));
    tables
}

fn table(columns: &[&str]) -> Table {
    let mut found = tables(columns);
    assert_eq!(found.len(), 1, "tables with the columns {columns:?}");
    found.remove(0)
}

fn cells(line: &'static str) -> Vec<&'static str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

fn same<T: PartialEq + Debug>(what: &str, spec: &[T], code: &[T]) {
    assert_eq!(
        spec, code,
        "{what}: SPEC.md on the left, the code on the right"
    );
}

/// Returns the rows of a layout whose position and size are numbers, and where the part of variable size begins.
fn fixed_part(table: &Table) -> (Vec<Field>, usize) {
    let mut fields = Vec::new();
    let mut end = 0;
    for row in &table.rows {
        let (Ok(at), Ok(size)) = (row[0].parse(), row[1].parse()) else {
            continue;
        };
        assert_eq!(at, end, "{} does not join the row above", row[3]);
        assert_eq!(size, size_of_type(row[2]).unwrap_or(size), "{row:?}");
        fields.push(Field {
            name: row[3],
            at,
            size,
        });
        end = at + size;
    }
    // The next row starts where the fixed part ends.
    if let Some(variable) = table.rows.get(fields.len()) {
        assert_eq!(variable[0].parse(), Ok(end), "{variable:?}");
    }
    (fields, end)
}

fn size_of_type(name: &str) -> Option<usize> {
    let bits: usize = name.trim_start_matches(['u', 'i']).parse().ok()?;
    Some(bits / 8)
}

#[test]
fn every_layout_matches_spec() {
    let code: [(&str, &[Field], usize); 18] = [
        (
            "file header",
            layout::file_header::FIELDS,
            layout::file_header::LENGTH,
        ),
        ("TLV", layout::tlv::FIELDS, layout::tlv::LENGTH),
        (
            "block header",
            layout::block_header::FIELDS,
            layout::block_header::LENGTH,
        ),
        (
            "directory entry",
            layout::stream_entry::FIELDS,
            layout::stream_entry::LENGTH,
        ),
        ("section", layout::section::FIELDS, layout::section::LENGTH),
        (
            "block_index entry",
            layout::index_entry::FIELDS,
            layout::index_entry::LENGTH,
        ),
        (
            "statistics",
            layout::statistics::FIELDS,
            layout::statistics::LENGTH,
        ),
        ("gaps", layout::gaps::FIELDS, layout::gaps::LENGTH),
        (
            "gaps entry",
            layout::gap_entry::FIELDS,
            layout::gap_entry::LENGTH,
        ),
        (
            "rendered_sizes",
            layout::rendered_sizes::FIELDS,
            layout::rendered_sizes::LENGTH,
        ),
        (
            "whole_lines",
            layout::whole_lines::FIELDS,
            layout::whole_lines::LENGTH,
        ),
        ("hours", layout::hours::FIELDS, layout::hours::LENGTH),
        (
            "hours entry",
            layout::hour_entry::FIELDS,
            layout::hour_entry::LENGTH,
        ),
        (
            "batch_bounds entry",
            layout::batch_bounds::FIELDS,
            layout::batch_bounds::LENGTH,
        ),
        ("trailer", layout::trailer::FIELDS, layout::trailer::LENGTH),
        (
            "key_filter",
            layout::key_filter::FIELDS,
            layout::key_filter::LENGTH,
        ),
        (
            "page of a key filter",
            layout::key_page::FIELDS,
            layout::key_page::LENGTH,
        ),
        (
            "record batch",
            layout::record_batch::FIELDS,
            layout::record_batch::LENGTH,
        ),
    ];
    let spec = tables(&["position", "size", "type", "name", "meaning"]);
    assert_eq!(spec.len(), code.len(), "layouts in SPEC.md");
    assert_eq!(
        LAYOUT.matches("\nfields! {").count(),
        code.len(),
        "layouts in the code"
    );
    for (table, (what, fields, length)) in spec.iter().zip(code) {
        let (rows, end) = fixed_part(table);
        same(what, &rows, fields);
        assert_eq!(end, length, "length of {what}");
    }
}

/// Returns the meaning of the field `name` in layout number `number`.
fn meaning(number: usize, name: &str) -> &'static str {
    let table = &tables(&["position", "size", "type", "name", "meaning"])[number];
    let row = table.rows.iter().find(|row| row[3] == name);
    row.unwrap_or_else(|| panic!("no field {name}"))[4]
}

#[test]
fn magics_and_version_match_spec() {
    let magic = |number| -> Vec<u8> {
        let hex = meaning(number, "magic").split('`').nth(1).unwrap();
        hex.split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    };
    same("file magic", &magic(0), &layout::FILE_MAGIC);
    same("block magic", &magic(2), &layout::BLOCK_MAGIC);
    same("trailer magic", &magic(14), &layout::TRAILER_MAGIC);
    assert_eq!(meaning(0, "major"), layout::MAJOR.to_string());
    assert_eq!(meaning(0, "minor"), layout::MINOR.to_string());
    for version in ["major", "minor"] {
        assert_eq!(meaning(14, version), "as in the file header");
    }
}

/// Parses a list such as "0 none, 1 zstd; of every stream" into pairs.
fn listed_codes(text: &'static str) -> Vec<(u64, &'static str)> {
    let list = text.split(';').next().unwrap();
    list.split(", ")
        .map(|entry| {
            let (code, name) = entry.split_once(' ').unwrap();
            (code.parse().unwrap(), name)
        })
        .collect()
}

#[test]
fn codes_inside_layouts_match_spec() {
    same(
        "timestamp_type",
        &listed_codes(meaning(0, "timestamp_type")),
        &[
            (TimestampType::CreateTime as u64, "CreateTime"),
            (TimestampType::LogAppendTime as u64, "LogAppendTime"),
        ],
    );
    let isolation = meaning(0, "isolation_level").split(':').next().unwrap();
    same(
        "isolation_level",
        &listed_codes(isolation),
        &[
            (IsolationLevel::ReadUncommitted as u64, "read_uncommitted"),
            (IsolationLevel::ReadCommitted as u64, "read_committed"),
        ],
    );
    same(
        "kind",
        &listed_codes(meaning(2, "kind")),
        &BlockKind::ALL.map(|kind| (kind as u64, kind.name())),
    );
    let streams = [
        StreamId::Meta,
        StreamId::Keys,
        StreamId::Headers,
        StreamId::Values,
        StreamId::Batches,
    ];
    same(
        "stream",
        &listed_codes(meaning(3, "stream")),
        &streams.map(|id| (id as u64, id.name())),
    );
    same(
        "codec",
        &listed_codes(meaning(3, "codec")),
        &[
            (Codec::None as u64, "none"),
            (Codec::Zstd as u64, "zstd"),
            (Codec::Lz4 as u64, "lz4"),
        ],
    );
    let features = meaning(0, "incompatible_features");
    assert!(features.starts_with(
        "bits; bit 0: the segment has blocks that are not computed (section 2.11); bit 2: it has a key filter (section 2.9); bit 3: it has blocks of kind 2"
    ));
    assert_eq!(layout::FEATURE_NOT_COMPUTED, 1 << 0);
    assert!(meaning(2, "flags").starts_with("of a block of kind 2: bit 0: it is not computed"));
    assert_eq!(layout::FLAG_NOT_COMPUTED, 1 << 0);
    assert_eq!(layout::FEATURE_KEY_FILTER, 1 << 2);
    assert_eq!(layout::FEATURE_BATCHES, 1 << 3);
    let known = layout::FEATURE_NOT_COMPUTED | layout::FEATURE_KEY_FILTER | layout::FEATURE_BATCHES;
    assert_eq!(layout::KNOWN_FEATURES, known);
    assert_eq!(meaning(17, "magic"), "2");
    let attributes = meaning(17, "attributes");
    assert!(attributes.contains("bit 3: timestamp type, 0 CreateTime, 1 LogAppendTime; bit 4: transactional; bit 5: control; bit 6: base_timestamp is a delete horizon"));
    let of = |bit: i16| Attributes(1 << bit);
    assert_eq!(of(3).timestamp_type(), TimestampType::LogAppendTime);
    assert!(of(4).is_transactional() && of(5).is_control() && of(6).has_delete_horizon());
    assert!(meaning(15, "target_bits").contains("at most 20"));
    assert_eq!(KeyFilterBits::MOST, 20);
    assert!(meaning(4, "flags").starts_with("bit 0 CRITICAL:"));
    assert_eq!(layout::SECTION_CRITICAL, 1 << 0);
    assert!(SPEC.contains("| attributes | n | varint | bit 0: control record;"));
    assert_eq!(layout::ATTRIBUTE_CONTROL, 1 << 0);
}

/// Returns the first two columns of a table of codes.
fn codes(table: &Table) -> Vec<(u64, &'static str)> {
    table
        .rows
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1]))
        .collect()
}

/// Counts the constants in the code whose name begins with `prefix`.
fn constants(prefix: &str) -> usize {
    LAYOUT
        .lines()
        .filter(|line| {
            line.trim_start()
                .starts_with(&format!("pub const {prefix}"))
        })
        .count()
}

#[test]
fn tables_of_codes_match_spec() {
    let sections = table(&["type", "name", "critical"]);
    let code = [
        (layout::SECTION_HEADER_COPY, "header_copy"),
        (layout::SECTION_BLOCK_INDEX, "block_index"),
        (layout::SECTION_STATISTICS, "statistics"),
        (layout::SECTION_GAPS, "gaps"),
        (layout::SECTION_RENDERED_SIZES, "rendered_sizes"),
        (layout::SECTION_WHOLE_LINES, "whole_lines"),
        (layout::SECTION_HOURS, "hours"),
        (layout::SECTION_BATCH_BOUNDS, "batch_bounds"),
        (layout::SECTION_KEY_FILTER, "key_filter"),
    ];
    same(
        "sections",
        &codes(&sections),
        &code.map(|(code, name)| (u64::from(code), name)),
    );
    // Besides the types: SECTION_ALIGNMENT and SECTION_CRITICAL.
    assert_eq!(constants("SECTION_"), code.len() + 2);

    let code = [
        (layout::TLV_TOPIC, "topic"),
        (layout::TLV_CLUSTER_ID, "cluster_id"),
        (layout::TLV_WRITER, "writer"),
        (layout::TLV_CREATED_AT, "created_at"),
        (layout::TLV_COMPRESSION, "compression"),
    ];
    same(
        "TLVs",
        &codes(&table(&["type", "name", "value"])),
        &code.map(|(code, name)| (u64::from(code), name)),
    );
    // Besides the types: TLV_ALIGNMENT.
    assert_eq!(constants("TLV_"), code.len() + 1);

    let code = [
        (u64::from(layout::COLUMN_CONSTANT), "constant"),
        (u64::from(layout::COLUMN_PLAIN), "plain"),
    ];
    same(
        "column encodings",
        &codes(&table(&["encoding", "name"])),
        &code,
    );
    assert_eq!(constants("COLUMN_"), code.len());

    let code: Vec<_> = (0..=7)
        .filter_map(|code| Some((code as u64, Attributes(code).codec()?.name())))
        .collect();
    let spec = codes(&table(&["codec of a batch", "name"]));
    same("codecs of batches", &spec, &code);
}

#[test]
fn gap_reasons_match_spec() {
    let reasons = [
        GapReason::NotDelivered,
        GapReason::Compacted,
        GapReason::Transaction,
        GapReason::Lost,
        GapReason::Unknown,
        GapReason::Damaged,
    ];
    // A reason that is missing above does not compile here.
    let known = |reason| match reason {
        GapReason::NotDelivered
        | GapReason::Compacted
        | GapReason::Transaction
        | GapReason::Lost
        | GapReason::Unknown
        | GapReason::Damaged => reason as u64,
    };
    let names = reasons.map(|reason| serde_json::to_value(reason).unwrap());
    let code: Vec<_> = reasons
        .map(known)
        .into_iter()
        .zip(names.iter().map(|name| name.as_str().unwrap()))
        .collect();
    same(
        "reasons",
        &codes(&table(&["reason", "name", "meaning"])),
        &code,
    );
}

#[test]
fn error_classes_match_spec() {
    let classes = [
        ErrorClass::NotASegment,
        ErrorClass::Unsupported,
        ErrorClass::Truncated,
        ErrorClass::Checksum,
        ErrorClass::Misplaced,
        ErrorClass::Inconsistent,
        ErrorClass::Limit,
    ];
    // A class that is missing above does not compile here.
    let name = |class: ErrorClass| match class {
        ErrorClass::NotASegment
        | ErrorClass::Unsupported
        | ErrorClass::Truncated
        | ErrorClass::Checksum
        | ErrorClass::Misplaced
        | ErrorClass::Inconsistent
        | ErrorClass::Limit => class.name(),
    };
    let spec: Vec<_> = table(&["class", "meaning"])
        .rows
        .iter()
        .map(|row| row[0])
        .collect();
    same("error classes", &spec, &classes.map(name));
    for class in classes {
        assert_eq!(
            serde_json::to_value(class).unwrap(),
            class.name(),
            "in JSON"
        );
    }
}

#[test]
fn limits_match_spec() {
    let code = [
        ("file header length", limits::FILE_HEADER_LENGTH as u64),
        ("topic name in bytes", limits::TOPIC_NAME_LENGTH as u64),
        ("streams in a block", limits::STREAMS as u64),
        ("records in a block", limits::BLOCK_RECORDS as u64),
        ("headers in a block", limits::BLOCK_HEADERS as u64),
        ("raw bytes of a block", limits::BLOCK_RAW_BYTES as u64),
        (
            "decoded bytes of a block of kind 2",
            limits::BLOCK_DECODED_BYTES as u64,
        ),
        ("block_length", limits::BLOCK_STORED_BYTES as u64),
        ("blocks in a segment", limits::BLOCKS as u64),
        ("footer length", limits::FOOTER_LENGTH as u64),
        ("gap entries", limits::GAP_ENTRIES as u64),
        ("hour entries", limits::HOUR_ENTRIES as u64),
        ("key filter length", limits::KEY_FILTER_LENGTH as u64),
        ("key filter entries", limits::KEY_FILTER_ENTRIES as u64),
        ("zstd window", limits::ZSTD_WINDOW),
        ("zstd window in a batch", limits::BATCH_ZSTD_WINDOW),
        ("JSON object of a repository", limits::JSON_BYTES),
        ("packed object, stored", limits::PACKED_BYTES),
        ("packed object, raw", limits::PACKED_RAW_BYTES),
        ("table or list, raw", limits::TABLE_RAW_BYTES),
        ("row", limits::ROW_BYTES as u64),
        ("rows of a table", limits::TABLE_ROWS),
        ("tables of a list", limits::LISTED_TABLES as u64),
        ("runs of a snapshot", limits::RUNS as u64),
        (
            "tables named in a snapshot for one run",
            limits::NAMED_TABLES as u64,
        ),
        ("changes of a partition", limits::CHANGES as u64),
        ("pairs of damaged_in", limits::DAMAGED_RANGES as u64),
        ("sightings", limits::SIGHTINGS as u64),
        (
            "ranges of forgotten snapshots",
            limits::FORGOTTEN_RANGES as u64,
        ),
        ("claim", limits::CLAIM_BYTES),
        ("topics of a claim", limits::CLAIMED_TOPICS as u64),
    ];
    let spec: Vec<_> = table(&["name", "limit"])
        .rows
        .iter()
        .map(|row| (row[0], row[1].parse().unwrap()))
        .collect();
    same("limits", &spec, &code);
    let (_, module) = LAYOUT.split_once("pub mod limits {").unwrap();
    let (module, _) = module.split_once("\n}").unwrap();
    assert_eq!(
        module.matches("pub const ").count(),
        code.len(),
        "limits in the code"
    );
}

#[test]
fn numbers_in_the_text_match_the_code() {
    for text in [
        "the CRC of the nine ASCII bytes `123456789` is 0xE3069283".to_owned(),
        format!(
            "Each part starts at a position that is a multiple of {},",
            layout::ALIGNMENT
        ),
        format!("padding | to a multiple of {} |", layout::TLV_ALIGNMENT),
        format!(
            "A section starts at a multiple of {}:",
            layout::SECTION_ALIGNMENT
        ),
        format!("read the last min(size, {}) bytes", layout::TAIL_LENGTH),
        format!("Rendering version {}.", render::RENDERING_VERSION),
        format!("| rendering_version | {} |", render::RENDERING_VERSION),
        format!("| view_count | {} |", render::View::ALL.len()),
        "Views: first records.jsonl, then values, then keys.".to_owned(),
    ] {
        assert!(SPEC.contains(&text), "SPEC.md does not state: {text}");
    }
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(
        render::View::ALL,
        [
            render::View::Records,
            render::View::Values,
            render::View::Keys
        ]
    );
    for streams in 0..=4usize {
        let length = (160 + 16 * streams).next_multiple_of(64);
        assert_eq!(layout::block_header_length(streams), length);
    }
}

/// Parses the position and the bytes of a line of the annotated segment; `None` for its headings.
fn hexdump_line(line: &str) -> Option<(usize, Vec<u8>)> {
    let (position, rest) = line.split_once("  ")?;
    let position = usize::from_str_radix(position, 16).ok()?;
    let bytes = rest.split("  ").next()?.split(' ');
    let bytes: Result<_, _> = bytes.map(|byte| u8::from_str_radix(byte, 16)).collect();
    Some((position, bytes.ok()?))
}

#[test]
fn the_annotated_segment_is_the_fixture_byte_for_byte() {
    let (_, annotated) = SPEC.split_once("<!-- hexdump:begin -->").unwrap();
    let (annotated, _) = annotated.split_once("<!-- hexdump:end -->").unwrap();
    let mut bytes = Vec::new();
    for (position, stated) in annotated.lines().filter_map(hexdump_line) {
        assert_eq!(position, bytes.len(), "a line does not join the one above");
        bytes.extend(stated);
    }
    let fixture = include_bytes!("../../fixtures/golden/v1/minimal.kseg");
    assert!(
        bytes == fixture,
        "section 12 is not fixtures/golden/v1/minimal.kseg"
    );
}
