//! Segments against a plain model: a `Vec` of records, searched and counted by brute force.
//!
//! Records are as hostile as Kafka allows: timestamps at the ends of `i64`, keys and headers that are not text,
//! offsets with gaps of any width. Blocks are tiny, so that every case has several.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::scan::{Found, FoundBlock};
use kbk_format::{
    BlockDecoder, Columns, Compression, Gap, GapReason, KeyFilter, KeyFilterBits, Open,
    RecordStatistics, Scanner, Segment, SegmentWriter, Statistics, StreamId, Streams,
    WriterOptions, render, verify,
};
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

mod header;
mod records;
use header::header;
use records::{Owned, owned};

/// The content of a segment.
#[derive(Clone, Debug)]
struct Model {
    base_offset: i64,
    records: Vec<Owned>,
    end_offset: i64,
    gaps: Vec<Gap>,
    options: WriterOptions,
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 1_763_800_000_000..1_763_800_000_100i64,
        2 => Just(-1),
        1 => Just(0),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => Just(253_402_300_800_000), // the year 10000
        1 => any::<i64>(),
    ]
}

/// The number of offsets skipped before a record.
fn skips() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0), 3 => 1..5i64, 1 => 0..1i64 << 40]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a-f\"\\\\\n\u{1}ä]{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 0..400usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let names = prop_oneof![
        Just(b"same".to_vec()),
        Just(Vec::new()),
        Just(b"\xff\xfe".to_vec()),
        bytes()
    ];
    let some = prop::collection::vec((names, prop::option::of(bytes())), 0..4);
    prop_oneof![2 => Just(Vec::new()), 1 => some]
}

/// Offsets skipped, the reason for them if one is known, and a record whose offset is still 0.
fn steps() -> impl Strategy<Value = (i64, Option<GapReason>, Owned)> {
    let reasons = prop::option::of(prop::sample::select(vec![
        GapReason::Compacted,
        GapReason::Transaction,
        GapReason::Lost,
        GapReason::Damaged,
    ]));
    let control = prop::bool::weighted(0.05);
    (
        skips(),
        reasons,
        timestamps(),
        control,
        prop::option::of(bytes()),
        prop::option::of(bytes()),
        headers(),
    )
        .prop_map(
            |(skipped, reason, timestamp, control, key, value, headers)| {
                (
                    skipped,
                    reason,
                    Owned {
                        offset: 0,
                        timestamp,
                        control,
                        key,
                        value,
                        headers,
                    },
                )
            },
        )
}

fn options() -> impl Strategy<Value = WriterOptions> {
    let compression = prop::sample::select(vec![
        Compression::None,
        Compression::Lz4,
        Compression::Zstd(1),
        Compression::Zstd(3),
        Compression::Zstd(19),
    ]);
    let block_bytes = prop_oneof![0..64usize, 64..2000usize, Just(1 << 20)];
    let key_filter = prop::option::of((0..=KeyFilterBits::MOST).prop_map(KeyFilterBits::new));
    (compression, block_bytes, key_filter).prop_map(|(compression, block_bytes, key_filter)| {
        WriterOptions {
            compression,
            block_bytes,
            key_filter: key_filter.flatten(),
        }
    })
}

fn models() -> impl Strategy<Value = Model> {
    let base_offset = prop_oneof![Just(0), 0..1000i64, Just(1i64 << 61)];
    (
        base_offset,
        prop::collection::vec(steps(), 0..40),
        skips(),
        options(),
    )
        .prop_map(|(base_offset, steps, tail, options)| {
            let mut model = Model {
                base_offset,
                records: Vec::new(),
                end_offset: base_offset,
                gaps: Vec::new(),
                options,
            };
            for (skipped, reason, mut record) in steps {
                record.offset = model.end_offset + skipped;
                if let (Some(reason), true) = (reason, skipped > 0) {
                    model.gaps.push(Gap {
                        from_offset: model.end_offset,
                        to_offset: record.offset,
                        reason,
                    });
                }
                model.end_offset = record.offset + 1;
                model.records.push(record);
            }
            model.end_offset += tail;
            model
        })
}

impl Model {
    fn write(&self) -> Vec<u8> {
        let mut writer =
            SegmentWriter::new(Vec::new(), header(7, self.base_offset), self.options).unwrap();
        for gap in &self.gaps {
            writer.name_gap(*gap).unwrap();
        }
        for record in &self.records {
            record.with(|record| writer.push(record)).unwrap();
        }
        let (bytes, sealed) = writer
            .seal(self.end_offset, GapReason::NotDelivered)
            .unwrap();
        assert_eq!(sealed.file_length, bytes.len() as u64);
        bytes
    }

    /// Returns the offset of the first record for which `holds` is true.
    fn first(&self, holds: impl Fn(&Owned) -> bool) -> Option<i64> {
        self.records
            .iter()
            .find(|record| holds(record))
            .map(|record| record.offset)
    }

    /// Returns the timestamps of all records and their neighbours.
    fn times(&self) -> BTreeSet<i64> {
        let mut times = BTreeSet::from([i64::MIN, -1, 0, i64::MAX]);
        for record in &self.records {
            times.extend([
                record.timestamp,
                record.timestamp.saturating_sub(1),
                record.timestamp.saturating_add(1),
            ]);
        }
        times
    }
}

/// Decodes one block that was found in the index.
fn block(segment: &Segment, bytes: &[u8], number: usize) -> Vec<Owned> {
    let range = segment.index().range(number..number + 1).unwrap();
    let stored = &bytes[range.start as usize..range.end as usize];
    let mut columns = Columns::new();
    segment
        .block(number, stored)
        .unwrap()
        .decode(&mut BlockDecoder::new(), Streams::All, &mut columns)
        .unwrap();
    owned(&columns)
}

fn all(segment: &Segment, bytes: &[u8]) -> Vec<Owned> {
    (0..segment.index().entries().len())
        .flat_map(|number| block(segment, bytes, number))
        .collect()
}

/// Opens a segment from its last `tail` bytes, and reads more where that is requested.
fn open_from(bytes: &[u8], tail: usize) -> Segment {
    let length = bytes.len() as u64;
    match Segment::open(&bytes[bytes.len() - tail..], length).unwrap() {
        Open::Ready(segment) => *segment,
        Open::Need(range) => {
            assert_eq!(range.end, length);
            assert!(
                range.start < length - tail as u64,
                "bytes that were given are not requested again"
            );
            match Segment::open(&bytes[range.start as usize..], length).unwrap() {
                Open::Ready(segment) => *segment,
                Open::Need(again) => panic!("{range:?} was supplied, now {again:?} is missing"),
            }
        }
    }
}

proptest! {
    #[test]
    fn written_records_are_read_back(model in models(), tail in 64..4096usize) {
        let bytes = model.write();
        let segment = open_from(&bytes, tail.min(bytes.len()));
        prop_assert_eq!(&segment, &open_from(&bytes, 64));
        prop_assert_eq!(&segment, &Segment::open_whole(&bytes).unwrap());
        prop_assert_eq!(segment.header(), &header(7, model.base_offset));
        prop_assert_eq!(segment.coverage(), model.base_offset..model.end_offset);
        prop_assert_eq!(all(&segment, &bytes), model.records.clone());
        prop_assert_eq!(&verify::verify_whole(&bytes, true).unwrap(), &segment);
        prop_assert_eq!(model.write(), bytes, "the same records encode to the same bytes");
    }

    #[test]
    fn keys_are_found(model in models()) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        prop_assert_eq!(segment.key_filter().map(KeyFilter::target), model.options.key_filter);
        let Some(filter) = segment.key_filter() else {
            return Ok(());
        };
        for number in 0..segment.index().entries().len() {
            for record in block(&segment, &bytes, number).iter().filter(|record| !record.control) {
                let hash = filter.hasher().hash(record.key.as_deref());
                let page = filter.page_of(hash);
                let range = filter.range_of(page..page + 1);
                let stored = &bytes[range.start as usize..range.end as usize];
                let blocks = filter.blocks_of(page, stored, &[hash]).unwrap();
                prop_assert!(blocks.contains(&number), "{:?} in block {}", record.key, number);
            }
        }
    }

    #[test]
    fn offsets_are_found(model in models()) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let index = segment.index();
        let mut offsets = BTreeSet::from([-1, 0, model.base_offset - 1, model.base_offset, model.end_offset - 1, model.end_offset, i64::MAX]);
        for record in &model.records {
            offsets.extend([record.offset - 1, record.offset, record.offset + 1]);
        }
        for from in &offsets {
            let covered = segment.coverage().contains(from);
            prop_assert_eq!(index.block_of_offset(*from).is_some(), covered, "offset {}", from);
            // SPEC 5: the record at the offset, or the first one above it in this or a later block.
            let found = index.block_of_offset(*from).and_then(|first| {
                (first..index.entries().len())
                    .flat_map(|number| block(&segment, &bytes, number))
                    .find(|record| record.offset >= *from)
            });
            let expected = covered.then(|| model.first(|record| record.offset >= *from)).flatten();
            prop_assert_eq!(found.map(|record| record.offset), expected, "offset {}", from);
            let to = from.saturating_add(3);
            let found: Vec<_> = index
                .blocks_of_offsets(*from, to)
                .flat_map(|number| block(&segment, &bytes, number))
                .filter(|record| (*from..to).contains(&record.offset))
                .collect();
            let expected: Vec<_> =
                model.records.iter().filter(|record| (*from..to).contains(&record.offset)).cloned().collect();
            prop_assert_eq!(found, expected, "offsets {} to {}", from, to);
        }
    }

    #[test]
    fn times_are_found(model in models(), picks in prop::collection::vec(any::<prop::sample::Index>(), 12)) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let index = segment.index();
        let times: Vec<_> = model.times().into_iter().collect();
        for time in &times {
            let found = index
                .blocks_of_time(*time)
                .find_map(|number| block(&segment, &bytes, number).into_iter().find(|record| record.timestamp >= *time));
            prop_assert_eq!(
                found.map(|record| record.offset),
                model.first(|record| record.timestamp >= *time),
                "offset_for_time({})", time
            );
        }
        for pair in picks.chunks(2) {
            let (from, to) = (*pair[0].get(&times), *pair[1].get(&times));
            let inside = |record: &Owned| (from..to).contains(&record.timestamp);
            let found: Vec<_> = index
                .blocks_of_times(from, to)
                .flat_map(|number| block(&segment, &bytes, number))
                .filter(inside)
                .collect();
            let expected: Vec<_> = model.records.iter().filter(|record| inside(record)).cloned().collect();
            prop_assert_eq!(found, expected, "select({}, {})", from, to);
        }
    }

    #[test]
    fn statistics_gaps_and_sizes_match_a_count_by_hand(model in models()) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let raw_bytes = segment.index().entries().iter().map(|entry| u64::from(entry.raw_length)).sum();
        prop_assert_eq!(segment.statistics(), &statistics(&model, raw_bytes));
        let gaps = segment.gaps();
        prop_assert_eq!(&gaps.entries, &model.gaps);
        prop_assert_eq!(i128::from(gaps.missing_count), i128::from(model.end_offset - model.base_offset) - model.records.len() as i128);
        for gap in &model.gaps {
            prop_assert_eq!(gaps.reason(gap.from_offset), gap.reason);
            prop_assert_eq!(gaps.reason(gap.to_offset - 1), gap.reason);
            prop_assert_eq!(gaps.reason(gap.to_offset), GapReason::NotDelivered);
        }
        let ends = segment.rendered_sizes().unwrap().ends();
        prop_assert_eq!(ends.len(), segment.index().entries().len());
        let mut end = [0; 3];
        for (number, stated) in ends.iter().enumerate() {
            for record in block(&segment, &bytes, number) {
                let texts = rendered(&record);
                for ((end, text), view) in end.iter_mut().zip(&texts).zip(render::View::ALL) {
                    let mut out = Vec::new();
                    record.with(|record| segment.renderer().render(view, record, &mut out));
                    prop_assert_eq!(&out, text);
                    *end += text.len() as u64;
                }
            }
            prop_assert_eq!(stated, &end, "block {}", number);
        }
        for number in 0..ends.len() {
            let mut hours = BTreeMap::new();
            let records = block(&segment, &bytes, number);
            let hour = |record: &Owned| record.timestamp.div_euclid(3_600_000).clamp(i32::MIN.into(), i32::MAX.into());
            for record in records.iter().filter(|record| !record.control) {
                *hours.entry(hour(record)).or_insert(0) += rendered(record)[0].len();
            }
            let all: BTreeSet<i64> = records.iter().map(hour).collect();
            let stated = segment.hours().unwrap().of_block(number).iter();
            let stated: Vec<_> = stated.map(|size| (i64::from(size.hour.0), size.bytes as usize)).collect();
            let expected: Vec<_> = hours.into_iter().collect();
            prop_assert_eq!(stated, if all.len() > 1 { expected } else { Vec::new() }, "block {}", number);
        }
    }

    #[test]
    fn digests_do_not_depend_on_block_size_and_compression(model in models(), other in options()) {
        let digests = |options| Segment::open_whole(&Model { options, ..model.clone() }.write()).unwrap().statistics().digests();
        prop_assert_eq!(digests(model.options), digests(other));
    }

    #[test]
    fn a_scan_finds_everything_without_the_footer(model in models()) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let mut scanner = Scanner::new(&bytes[..segment.footer_position() as usize]);
        prop_assert_eq!(scanner.header(), Some(segment.header()));
        let (mut decoder, mut columns, mut records) = (BlockDecoder::new(), Columns::new(), Vec::new());
        let mut end_offset = model.base_offset;
        for found in &mut scanner {
            match found {
                Found::Block(FoundBlock { header, bytes, .. }) => {
                    decoder.decode(&header, bytes, Streams::All, &mut columns).unwrap();
                    records.extend(owned(&columns));
                    end_offset = header.end_offset;
                }
                Found::Skipped(range) => {
                    prop_assert_eq!(Some(range), segment.key_filter().map(KeyFilter::range));
                }
                other => panic!("{other:?} in an intact segment"),
            }
        }
        prop_assert_eq!(records, model.records);
        prop_assert_eq!(end_offset, model.end_offset);
    }

    #[test]
    fn fewer_streams_give_the_same_columns(model in models()) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        let (mut offsets, mut timestamps, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let blocks = 0..segment.index().entries().len();
        for block in segment.blocks(blocks, &bytes[segment.file_header_length() as usize..]) {
            let block = block.unwrap();
            block.decode(&mut decoder, Streams::Meta, &mut columns).unwrap();
            offsets.extend_from_slice(columns.offsets());
            timestamps.extend_from_slice(columns.timestamps());
            block.decode(&mut decoder, Streams::Keys, &mut columns).unwrap();
            keys.extend(columns.iter().map(|record| record.key.map(<[u8]>::to_vec)));
        }
        prop_assert_eq!(offsets, model.records.iter().map(|record| record.offset).collect::<Vec<_>>());
        prop_assert_eq!(timestamps, model.records.iter().map(|record| record.timestamp).collect::<Vec<_>>());
        prop_assert_eq!(keys, model.records.iter().map(|record| record.key.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn streams_that_are_decoded_one_by_one_give_the_same_columns(
        model in models(),
        order in Just([StreamId::Keys, StreamId::Headers, StreamId::Values]).prop_shuffle(),
    ) {
        let bytes = model.write();
        let segment = Segment::open_whole(&bytes).unwrap();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        let mut records = Vec::new();
        for (number, entry) in segment.index().entries().iter().enumerate() {
            let stored = &bytes[entry.position as usize..entry.end() as usize];
            let block = segment.block(number, stored).unwrap();
            // Nothing after META is needed for it.
            let start = &stored[..(entry.meta_end() - entry.position) as usize];
            segment.decode_meta(number, start, &mut decoder, &mut columns).unwrap();
            let mut all = Columns::new();
            block.decode(&mut decoder, Streams::All, &mut all).unwrap();
            for (row, record) in all.iter().enumerate() {
                prop_assert_eq!(columns.has_key(row), record.key.is_some());
                prop_assert_eq!(columns.has_value(row), record.value.is_some());
                prop_assert_eq!(columns.has_headers(row), record.headers.clone().next().is_some());
                prop_assert_eq!(columns.is_control(row), record.control);
            }
            for id in order {
                block.decode_stream(&mut decoder, id, &mut columns).unwrap();
            }
            prop_assert!(columns.iter().eq(all.iter()));
            records.extend(owned(&columns));
            if !start.is_empty() && entry.record_count > 0 {
                let cut = segment.decode_meta(number, &start[..start.len() - 1], &mut decoder, &mut columns);
                prop_assert!(cut.is_err() && columns.is_empty());
            }
        }
        prop_assert_eq!(records, model.records);
    }

    #[test]
    fn descending_offsets_are_refused_and_change_nothing(model in models(), back in 1..5i64) {
        let Some(last) = model.records.last() else {
            return Ok(());
        };
        let mut writer = SegmentWriter::new(Vec::new(), header(7, model.base_offset), model.options).unwrap();
        for gap in &model.gaps {
            writer.name_gap(*gap).unwrap();
        }
        for record in &model.records {
            record.with(|record| writer.push(record)).unwrap();
        }
        for offset in [last.offset, last.offset - back, i64::MAX] {
            let refused = Owned { offset, ..last.clone() };
            prop_assert!(refused.with(|record| writer.push(record)).is_err(), "offset {}", offset);
        }
        let (bytes, _) = writer.seal(model.end_offset, GapReason::NotDelivered).unwrap();
        let segment = verify::verify_whole(&bytes, true).unwrap();
        prop_assert_eq!(all(&segment, &bytes), model.records);
    }
}

/// Computes the statistics straight from the table of SPEC 2.5.
fn statistics(model: &Model, raw_bytes: u64) -> Statistics {
    let records = &model.records;
    let count = |holds: &dyn Fn(&Owned) -> bool| {
        records.iter().filter(|record| holds(record)).count() as u64
    };
    let sum = |bytes: &dyn Fn(&Owned) -> usize| records.iter().map(bytes).sum::<usize>() as u64;
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let header_bytes = |record: &Owned| {
        record
            .headers
            .iter()
            .map(|(name, value)| name.len() + length(value))
            .sum::<usize>()
    };
    let record_bytes =
        |record: &Owned| length(&record.key) + length(&record.value) + header_bytes(record);
    let lateness = |i: usize| {
        let before = records[..i].iter().map(|record| record.timestamp).max()?;
        u64::try_from(i128::from(before) - i128::from(records[i].timestamp)).ok()
    };
    let mut computed = RecordStatistics {
        first_offset: records.first().map_or(-1, |record| record.offset),
        last_offset: records.last().map_or(-1, |record| record.offset),
        min_timestamp: records
            .iter()
            .map(|record| record.timestamp)
            .min()
            .unwrap_or(i64::MAX),
        min_known_timestamp: records
            .iter()
            .map(|record| record.timestamp)
            .filter(|timestamp| *timestamp != -1)
            .min()
            .unwrap_or(i64::MAX),
        tombstone_count: count(&|record| record.value.is_none()),
        no_timestamp_count: count(&|record| record.timestamp == -1),
        zero_timestamp_count: count(&|record| record.timestamp == 0),
        null_key_count: count(&|record| record.key.is_none()),
        header_count: sum(&|record| record.headers.len()),
        key_bytes: sum(&|record| length(&record.key)),
        value_bytes: sum(&|record| length(&record.value)),
        header_bytes: sum(&|record| header_bytes(record)),
        max_record_bytes: records.iter().map(record_bytes).max().unwrap_or(0) as u64,
        max_lateness_ms: (0..records.len()).filter_map(lateness).max().unwrap_or(0),
        digests: kbk_format::Digests::default(),
    };
    for record in records {
        let restore = restore_digest(record);
        let content = hash([&record.offset.to_le_bytes()[..], &restore.to_le_bytes()]);
        computed.digests.restore = computed.digests.restore.wrapping_add(restore);
        computed.digests.content = computed.digests.content.wrapping_add(content);
    }
    Statistics {
        base_offset: model.base_offset,
        end_offset: model.end_offset,
        record_count: records.len() as u64,
        control_count: count(&|record| record.control),
        max_timestamp: records
            .iter()
            .map(|record| record.timestamp)
            .max()
            .unwrap_or(i64::MIN),
        raw_bytes,
        computed: Some(computed),
    }
}

fn hash<const N: usize>(parts: [&[u8]; N]) -> u128 {
    xxh3_128(&parts.concat())
}

/// Computes the digest straight from the formulas of SPEC 2.6.
fn restore_digest(record: &Owned) -> u128 {
    let code = |bytes: &Option<Vec<u8>>| {
        bytes
            .as_ref()
            .map_or(0, |bytes| bytes.len() as u32 + 1)
            .to_le_bytes()
    };
    let digest =
        |bytes: &Option<Vec<u8>>| xxh3_128(bytes.as_deref().unwrap_or_default()).to_le_bytes();
    let chain = record.headers.iter().fold(0u128, |chain, (name, value)| {
        let name_length = name.len() as u32;
        hash([
            &chain.to_le_bytes(),
            &name_length.to_le_bytes(),
            &code(value),
            &xxh3_128(name).to_le_bytes(),
            &digest(value),
        ])
    });
    hash([
        &record.timestamp.to_le_bytes(),
        &code(&record.key),
        &code(&record.value),
        &(record.headers.len() as u32).to_le_bytes(),
        &u32::from(record.control).to_le_bytes(),
        &digest(&record.key),
        &digest(&record.value),
        &chain.to_le_bytes(),
    ])
}

/// The time of SPEC 10, by another library.
fn time(timestamp: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(timestamp).ok();
    let time = time.filter(|_| timestamp != -1 && timestamp >= -62_167_219_200_000);
    time.map_or("null".to_owned(), |time| format!("\"{time:.3}\""))
}

/// Renders a record by SPEC 10 with a JSON library, view by view.
fn rendered(record: &Owned) -> [Vec<u8>; 3] {
    if record.control {
        return Default::default();
    }
    let member = |name: &str, bytes: Option<&Vec<u8>>| match bytes
        .map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes))
    {
        None => format!("\"{name}\":null"),
        Some(Ok(text)) => format!("\"{name}\":{}", serde_json::to_string(text).unwrap()),
        Some(Err(bytes)) => format!(
            "\"{name}_base64\":\"{}\"",
            data_encoding::BASE64.encode(bytes)
        ),
    };
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{{{},{}}}",
                member("name", Some(name)),
                member("value", value.as_ref())
            )
        })
        .collect();
    let line = format!(
        "{{\"topic\":\"orders\",\"partition\":3,\"offset\":{},\"timestamp\":{},\"time\":{},{},{},\"headers\":[{}]}}\n",
        record.offset,
        record.timestamp,
        time(record.timestamp),
        member("key", record.key.as_ref()),
        member("value", record.value.as_ref()),
        headers.join(",")
    );
    let plain = |bytes: &Option<Vec<u8>>| [bytes.as_deref().unwrap_or_default(), b"\n"].concat();
    [line.into_bytes(), plain(&record.value), plain(&record.key)]
}

/// Three bytes render to some 150: without a bound, a block of 1 MiB would render to 50 MiB.
#[test]
fn blocks_of_tiny_records_render_to_little_text() {
    let options = WriterOptions::default();
    let mut writer = SegmentWriter::new(Vec::new(), header(7, 0), options).unwrap();
    for offset in 0..200_000 {
        let record = Owned {
            offset,
            timestamp: 1_763_800_000_000 + offset,
            control: false,
            key: None,
            value: Some(b"abc".to_vec()),
            headers: Vec::new(),
        };
        record.with(|record| writer.push(record)).unwrap();
    }
    let (bytes, _) = writer.seal(200_000, GapReason::NotDelivered).unwrap();
    let segment = verify::verify_whole(&bytes, true).unwrap();
    let mut before = 0;
    for ends in segment.rendered_sizes().unwrap().ends() {
        let text = ends[render::View::Records as usize] - before;
        before += text;
        assert!(text < 5 << 20, "{text}");
    }
    assert!(before > 20 << 20, "{before}");
}
