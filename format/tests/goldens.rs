//! Golden and broken segments under `fixtures/`, which another program wrote from SPEC.md alone.
//!
//! The JSON beside each states what a reader must find; `tests/spec_reader/make_goldens.py` describes its members. The
//! Python reader there reads the same files.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use kbk_format::batch::BatchHeader;
use kbk_format::layout::file_header;
use kbk_format::salvage::{Known, Salvage};
use kbk_format::{
    BlockDecoder, Columns, ErrorClass, FormatError, GapReason, Hours, MappedSegment, Open, Segment,
    Statistics, Streams, render, verify,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

mod records;
use records::{Owned, owned};

/// Returns every `.kseg` of a folder with the JSON beside it; neither may be missing.
fn fixtures(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().with_extension("kseg"))
        .collect();
    paths.sort();
    paths.dedup();
    assert!(!paths.is_empty(), "no fixtures in {}", folder.display());
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(path.with_extension("json")).unwrap();
            (path, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

/// Runs `check` on every fixture and reports all that fail, not only the first.
fn each_of(folder: &str, check: impl Fn(&Path, &[u8], &Value) + std::panic::RefUnwindSafe) {
    let failed: Vec<_> = fixtures(folder)
        .into_iter()
        .filter(|(path, expected)| {
            let bytes = fs::read(path).unwrap();
            std::panic::catch_unwind(|| check(path, &bytes, expected)).is_err()
        })
        .map(|(path, _)| path.file_stem().unwrap().to_owned())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn goldens_match_their_json() {
    each_of("golden/v1", |path, bytes, expected| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let segment = verify::verify_whole(bytes, true).unwrap();
        verify::verify_whole(bytes, false).unwrap();
        assert_eq!(
            MappedSegment::open(path).unwrap().segment(),
            &segment,
            "{name}: mapped"
        );
        assert_eq!(open_from_tail(bytes), segment, "{name}: from the tail");
        for (member, found) in [
            ("header", header(&segment, bytes)),
            ("blocks", blocks(&segment, bytes)),
            ("statistics", statistics(segment.statistics())),
            ("gaps", gaps(&segment)),
            ("rendered_sizes", rendered_sizes(&segment)),
            ("whole_lines", whole_lines(&segment)),
            ("hours", hours(&segment)),
            ("batch_bounds", batch_bounds(&segment)),
            ("key_filter", key_filter(&segment)),
        ] {
            let wanted = known_members(&known_reasons(&expected[member]));
            assert_eq!(found, wanted, "{name}: {member} (found, expected)");
        }
        let records = all(&segment, bytes);
        let wanted: Vec<_> = list(&expected["records"]).iter().map(record).collect();
        assert!(records == wanted, "{name}: records");
        for (view, title) in render::View::ALL.into_iter().zip(VIEWS) {
            let mut text = Vec::new();
            for record in &records {
                record.with(|record| segment.renderer().render(view, record, &mut text));
            }
            assert_eq!(
                HEXLOWER.encode(&Sha256::digest(text)),
                expected["rendered_sha256"][title],
                "{name}: {title}"
            );
        }
        queries(name, &segment, bytes, &expected["queries"]);
        look_ups(name, &segment, bytes, &records, &expected["look_ups"]);
        scans(name, &segment, bytes, &wanted);
    });
}

#[test]
fn broken_segments_fail_with_the_expected_error() {
    each_of("broken/v1", |path, bytes, expected| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (at, error) =
            first_error(bytes).unwrap_or_else(|| panic!("{name} reads without an error"));
        assert_eq!(
            (at, error.class.name()),
            (text(&expected["at"]), text(&expected["error_class"])),
            "{name}: {error}"
        );
        if let Some(offsets) = expected.get("scan_offsets") {
            assert_eq!(&json!(scanned_offsets(bytes)), offsets, "{name}: scan");
        }
    });
}

#[test]
fn every_class_of_error_has_a_broken_segment() {
    let fixtures = fixtures("broken/v1");
    for class in [
        ErrorClass::NotASegment,
        ErrorClass::Unsupported,
        ErrorClass::Truncated,
        ErrorClass::Checksum,
        ErrorClass::Misplaced,
        ErrorClass::Inconsistent,
        ErrorClass::Limit,
    ] {
        assert!(
            fixtures
                .iter()
                .any(|(_, expected)| expected["error_class"] == class.name()),
            "{class}"
        );
    }
}

const VIEWS: [&str; 3] = ["records.jsonl", "values", "keys"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    value
        .as_str()
        .map(|digits| HEXLOWER.decode(digits.as_bytes()).unwrap())
}

fn record(value: &Value) -> Owned {
    let repeat = value
        .get("value_repeat")
        .map_or(1, |repeat| repeat.as_u64().unwrap() as usize);
    Owned {
        offset: value["offset"].as_i64().unwrap(),
        timestamp: value["timestamp"].as_i64().unwrap(),
        control: value["control"].as_bool().unwrap(),
        key: hex(&value["key_hex"]),
        value: hex(&value["value_hex"]).map(|bytes| bytes.repeat(repeat)),
        headers: list(&value["headers"])
            .iter()
            .map(|header| (hex(&header[0]).unwrap(), hex(&header[1])))
            .collect(),
    }
}

fn header(segment: &Segment, bytes: &[u8]) -> Value {
    let header = segment.header();
    let minor = bytes[file_header::MINOR..].first_chunk().copied().unwrap();
    let features = bytes[file_header::COMPATIBLE_FEATURES..]
        .first_chunk()
        .copied()
        .unwrap();
    json!({
        "major": 1,
        "minor": u16::from_le_bytes(minor),
        "compatible_features": u64::from_le_bytes(features),
        "segment_id": HEXLOWER.encode(&header.segment_id),
        "topic_id": HEXLOWER.encode(&header.topic_id),
        "partition": header.partition,
        "timestamp_type": header.timestamp_type,
        "isolation_level": header.isolation_level,
        "base_offset": header.base_offset,
        "topic": header.topic,
        "cluster_id": header.cluster_id,
        "writer": header.writer,
        "created_at": header.created_at,
    })
}

fn blocks(segment: &Segment, bytes: &[u8]) -> Value {
    let all = 0..segment.index().entries().len();
    let first = segment.file_header_length() as usize;
    segment
        .blocks(all, &bytes[first..])
        .map(|block| {
            let block = block.unwrap();
            let header = block.header();
            let codec = |codec| ["none", "zstd", "lz4"][codec as usize];
            let codecs: Map<_, _> =
                header.directory.iter().map(|entry| (entry.id.name().to_owned(), json!(codec(entry.codec)))).collect();
            let is_computed = header.computed.is_some();
            let mut json = json!({"base": header.base_offset, "end": header.end_offset, "records": header.record_count, "codecs": codecs});
            if let Some(batches) = block.batches(&mut BlockDecoder::new()).unwrap() {
                json["batches"] = batches.map(|batch| of_batch(batch.unwrap().header())).collect();
            }
            if !is_computed {
                json["computed"] = json!(false);
            }
            json
        })
        .collect()
}

fn of_batch(batch: &BatchHeader) -> Value {
    json!({
        "base_offset": batch.base_offset,
        "last_offset": batch.last_offset,
        "records": batch.record_count,
        "codec": batch.attributes.codec().unwrap().name(),
        "leader_epoch": batch.leader_epoch,
        "producer_id": batch.producer.id,
        "producer_epoch": batch.producer.epoch,
        "base_sequence": batch.producer.base_sequence,
        "crc": batch.crc,
    })
}

fn statistics(statistics: &Statistics) -> Value {
    let digest = |digest: u128| HEXLOWER.encode(&digest.to_le_bytes());
    let computed = statistics.computed.as_ref();
    json!({
        "base_offset": statistics.base_offset,
        "end_offset": statistics.end_offset,
        "max_timestamp": statistics.max_timestamp,
        "record_count": statistics.record_count,
        "control_count": statistics.control_count,
        "raw_bytes": statistics.raw_bytes,
        "first_offset": computed.map(|it| it.first_offset),
        "last_offset": computed.map(|it| it.last_offset),
        "min_timestamp": computed.map(|it| it.min_timestamp),
        "tombstone_count": computed.map(|it| it.tombstone_count),
        "no_timestamp_count": computed.map(|it| it.no_timestamp_count),
        "zero_timestamp_count": computed.map(|it| it.zero_timestamp_count),
        "null_key_count": computed.map(|it| it.null_key_count),
        "header_count": computed.map(|it| it.header_count),
        "key_bytes": computed.map(|it| it.key_bytes),
        "value_bytes": computed.map(|it| it.value_bytes),
        "header_bytes": computed.map(|it| it.header_bytes),
        "max_record_bytes": computed.map(|it| it.max_record_bytes),
        "max_lateness_ms": computed.map(|it| it.max_lateness_ms),
        "min_known_timestamp": computed.map(|it| it.min_known_timestamp),
        "content_digest": computed.map(|it| digest(it.digests.content)),
        "restore_digest": computed.map(|it| digest(it.digests.restore)),
    })
}

/// Returns the gaps as a reader reports them: a reason that it does not know is *unknown* (SPEC 2.5).
fn known_reasons(expected: &Value) -> Value {
    let mut known = expected.clone();
    let entries = known.get_mut("entries").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        if entry[2].as_u64().unwrap() > GapReason::Unknown as u64 {
            entry[2] = json!(GapReason::Unknown as u64);
        }
    }
    known
}

fn gaps(segment: &Segment) -> Value {
    let gaps = segment.gaps();
    let code = |reason: GapReason| reason as u32;
    let entries = gaps
        .entries
        .iter()
        .map(|gap| json!([gap.from_offset, gap.to_offset, code(gap.reason)]));
    json!({
        "missing_count": gaps.missing_count,
        "default_reason": code(gaps.default_reason),
        "entries": entries.collect::<Vec<_>>(),
    })
}

fn rendered_sizes(segment: &Segment) -> Value {
    segment.rendered_sizes().map_or(Value::Null, |sizes| {
        let view = |number: usize| {
            sizes
                .ends()
                .iter()
                .map(|ends| json!(ends[number]))
                .collect::<Value>()
        };
        (0..VIEWS.len())
            .map(|number| (VIEWS[number].to_owned(), view(number)))
            .collect::<Map<_, _>>()
            .into()
    })
}

fn whole_lines(segment: &Segment) -> Value {
    let lines = segment.whole_lines();
    lines.map_or(
        Value::Null,
        |lines| json!({"values": lines.values, "keys": lines.keys}),
    )
}

/// Returns the members of a key filter that the reader shows; anything else as it is.
fn known_members(expected: &Value) -> Value {
    if expected.get("rice_bits").is_none() {
        return expected.clone();
    }
    json!({
        "position": expected["position"],
        "hash_bits": expected["hash_bits"],
        "target_bits": expected["target_bits"],
        "pages": list(&expected["pages"]).len(),
    })
}

fn key_filter(segment: &Segment) -> Value {
    let Some(filter) = segment.key_filter() else {
        return Value::Null;
    };
    let start = filter.range().start;
    // The members that only decoding uses are proved by the look-ups.
    json!({
        "position": start,
        "hash_bits": filter.hash_bits(),
        "target_bits": filter.target().get(),
        "pages": filter.page_count(),
    })
}

/// Looks keys up in the key filter, and compares the blocks that may have them and their records.
fn look_ups(name: &str, segment: &Segment, bytes: &[u8], records: &[Owned], expected: &Value) {
    let Some(filter) = segment.key_filter() else {
        assert!(expected.is_null(), "{name}: look-ups without a filter");
        return;
    };
    for look_up in list(expected) {
        let key = hex(&look_up[0]);
        let hash = filter.hasher().hash(key.as_deref());
        let page = filter.page_of(hash);
        let range = filter.range_of(page..page + 1);
        let page_bytes = &bytes[range.start as usize..range.end as usize];
        let blocks = filter.blocks_of(page, page_bytes, &[hash]).unwrap();
        assert_eq!(json!(blocks), look_up[1], "{name}: blocks of {key:?}");
        let of_key = records.iter().filter(|record| !record.control);
        let of_key = of_key.filter(|record| record.key == key);
        let offsets: Vec<i64> = of_key.map(|record| record.offset).collect();
        assert_eq!(json!(offsets), look_up[2], "{name}: records of {key:?}");
    }
}

fn hours(segment: &Segment) -> Value {
    let of_block = |hours: &Hours, block: usize| -> Value {
        let entries = hours.of_block(block).iter();
        entries
            .map(|entry| json!([entry.hour.0, entry.bytes]))
            .collect()
    };
    segment.hours().map_or(Value::Null, |hours| {
        let blocks = 0..segment.index().entries().len();
        blocks.map(|block| of_block(hours, block)).collect()
    })
}

fn batch_bounds(segment: &Segment) -> Value {
    let blocks = 0..segment.index().entries().len();
    let bounds = blocks.filter_map(|block| segment.batch_bounds(block));
    let bounds: Vec<Value> = bounds
        .map(|bounds| {
            let smallest = bounds.smallest_max_timestamp.unwrap_or(i64::MAX);
            let codecs = bounds.codecs.bits();
            json!([smallest, bounds.largest_bytes, codecs, bounds.has_gaps])
        })
        .collect();
    match bounds.is_empty() {
        true => Value::Null,
        false => Value::Array(bounds),
    }
}

fn open_from_tail(bytes: &[u8]) -> Segment {
    let length = bytes.len() as u64;
    let tail = length.saturating_sub(kbk_format::layout::TAIL_LENGTH) as usize;
    match Segment::open(&bytes[tail..], length).unwrap() {
        Open::Ready(segment) => *segment,
        Open::Need(range) => match Segment::open(&bytes[range.start as usize..], length).unwrap() {
            Open::Ready(segment) => *segment,
            Open::Need(_) => panic!("the requested range was supplied"),
        },
    }
}

fn read_block(segment: &Segment, bytes: &[u8], number: usize) -> Result<Vec<Owned>, FormatError> {
    let mut columns = Columns::new();
    let position = segment.index().entries()[number].position as usize;
    segment.block(number, &bytes[position..])?.decode(
        &mut BlockDecoder::new(),
        Streams::All,
        &mut columns,
    )?;
    Ok(owned(&columns))
}

fn all(segment: &Segment, bytes: &[u8]) -> Vec<Owned> {
    (0..segment.index().entries().len())
        .flat_map(|number| read_block(segment, bytes, number).unwrap())
        .collect()
}

fn queries(name: &str, segment: &Segment, bytes: &[u8], queries: &Value) {
    let index = segment.index();
    let from_block = |first: Option<usize>, holds: &dyn Fn(&Owned) -> bool| {
        (first.unwrap_or(usize::MAX)..index.entries().len())
            .flat_map(|number| read_block(segment, bytes, number).unwrap())
            .find(|record| holds(record))
            .map(|record| record.offset)
    };
    for query in list(&queries["find_by_offset"]) {
        let offset = query[0].as_i64().unwrap();
        let found = from_block(index.block_of_offset(offset), &|record| {
            record.offset >= offset
        });
        assert_eq!(json!(found), query[1], "{name}: find_by_offset({offset})");
    }
    for query in list(&queries["offset_for_time"]) {
        let time = query[0].as_i64().unwrap();
        let mut blocks = index.blocks_of_time(time);
        let found = blocks.find_map(|number| {
            let mut records = read_block(segment, bytes, number).unwrap().into_iter();
            records.find(|record| record.timestamp >= time)
        });
        let found = found.map(|record| record.offset);
        assert_eq!(json!(found), query[1], "{name}: offset_for_time({time})");
    }
    for query in list(&queries["select"]) {
        let (from, to) = (query[0].as_i64().unwrap(), query[1].as_i64().unwrap());
        let found: Vec<_> = index
            .blocks_of_times(from, to)
            .flat_map(|number| read_block(segment, bytes, number).unwrap())
            .filter(|record| (from..to).contains(&record.timestamp))
            .map(|record| record.offset)
            .collect();
        assert_eq!(json!(found), query[2], "{name}: select({from}, {to})");
    }
}

/// Returns the offsets of all records that a scan takes.
fn scanned_offsets(bytes: &[u8]) -> Vec<i64> {
    let salvage = Salvage::of(bytes, &Known::default());
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut offsets = Vec::new();
    for piece in &salvage.pieces {
        piece.decode(bytes, &mut decoder, &mut columns).unwrap();
        offsets.extend_from_slice(columns.offsets());
    }
    offsets
}

fn scans(name: &str, segment: &Segment, bytes: &[u8], records: &[Owned]) {
    let offsets: Vec<_> = records.iter().map(|record| record.offset).collect();
    let footer = segment.footer_position() as usize;
    let mut headless = bytes.to_vec();
    headless[..64].fill(0);
    for (what, image) in [
        ("everything", bytes),
        ("no footer", &bytes[..footer]),
        ("no header", &headless),
        ("no header and no footer", &headless[..footer]),
    ] {
        assert_eq!(scanned_offsets(image), offsets, "{name}: scan with {what}");
    }
}

/// Returns the first step of reading that fails, and its error.
fn first_error(bytes: &[u8]) -> Option<(&'static str, FormatError)> {
    let segment = match Segment::open_whole(bytes) {
        Ok(segment) => segment,
        Err(error) => return Some(("open", error)),
    };
    let decoded = (0..segment.index().entries().len())
        .find_map(|number| read_block(&segment, bytes, number).err());
    decoded.map(|error| ("decode", error)).or_else(|| {
        verify::verify_whole(bytes, true)
            .err()
            .map(|error| ("verify", error))
    })
}
