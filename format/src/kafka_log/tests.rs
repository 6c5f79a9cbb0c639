//! Logs and their indexes, read back by their definition.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::PartitionNumber;
use crate::batch::{
    Adoption, BatchBuilder, BatchCodec, BatchDecoder, BatchOptions, Producer, RecordBatches,
    RecordSize,
};
use crate::columns::Columns;
use crate::error::FormatError;
use crate::record::{Header, Headers, Record, TimestampType};

/// The files of each segment, by its first offset.
#[derive(Default)]
struct Files {
    segments: BTreeMap<i64, [Vec<u8>; 3]>,
    open: i64,
}

impl LogSink for Files {
    type Error = FormatError;

    fn begin(&mut self, base_offset: i64) -> Result<(), FormatError> {
        self.open = base_offset;
        let before = self.segments.insert(base_offset, Default::default());
        assert!(before.is_none(), "a second segment at {base_offset}");
        Ok(())
    }

    fn append(&mut self, batches: &[u8]) -> Result<(), FormatError> {
        self.segments.get_mut(&self.open).unwrap()[0].extend_from_slice(batches);
        Ok(())
    }

    fn end(&mut self, index: &[u8], time_index: &[u8]) -> Result<(), FormatError> {
        let [_, offsets, times] = self.segments.get_mut(&self.open).unwrap();
        offsets.extend_from_slice(index);
        times.extend_from_slice(time_index);
        Ok(())
    }
}

impl Files {
    /// Returns every record, and one past the last offset; checks the indexes as `kafka-dump-log` does.
    fn read(&self) -> (Vec<(i64, i64)>, i64) {
        let (mut records, mut end) = (Vec::new(), *self.segments.keys().next().unwrap());
        for (base, [log, index, time_index]) in &self.segments {
            assert!(*base >= end);
            let batches: Vec<_> = RecordBatches::new(log, 0).map(Result::unwrap).collect();
            for batch in &batches {
                batch.check_crc().unwrap();
                let mut decoder = BatchDecoder::new();
                let of_batch = decoder.decode(batch).unwrap();
                records.extend(of_batch.map(|record| (record.offset, record.timestamp)));
                end = batch.header().last_offset + 1;
            }
            for entry in index.chunks(8) {
                let last = base + i64::from(i32::from_be_bytes(entry[..4].try_into().unwrap()));
                let position = i32::from_be_bytes(entry[4..].try_into().unwrap());
                let at = |it: &&crate::batch::RecordBatch<'_>| it.position() == position as u64;
                let batch = batches.iter().find(at).unwrap();
                assert_eq!(batch.header().last_offset, last);
            }
            let mut latest = -1;
            for entry in time_index.chunks(12) {
                let timestamp = i64::from_be_bytes(entry[..8].try_into().unwrap());
                let last = base + i64::from(i32::from_be_bytes(entry[8..].try_into().unwrap()));
                assert!(timestamp > latest);
                latest = timestamp;
                let has = |it: &&crate::batch::RecordBatch<'_>| it.header().last_offset >= last;
                let batch = batches.iter().find(has).unwrap().header();
                assert_eq!((batch.last_offset, batch.max_timestamp), (last, timestamp));
            }
            let largest = batches
                .iter()
                .map(|batch| batch.header().max_timestamp)
                .max();
            assert_eq!(latest, largest.unwrap_or(-1).max(-1));
        }
        (records, end)
    }
}

fn write(
    offsets: std::ops::Range<i64>,
    records: &[(i64, i64)],
    codec: BatchCodec,
    options: LogOptions,
) -> Files {
    let value = [7; 1000];
    let mut writer = LogWriter::new(Files::default(), offsets.start, codec, options).unwrap();
    for (offset, timestamp) in records {
        let record = Record {
            offset: *offset,
            timestamp: *timestamp,
            control: false,
            key: None,
            value: Some(&value),
            headers: Headers::EMPTY,
        };
        writer.push(TimestampType::CreateTime, &record).unwrap();
    }
    writer.finish(offsets.end).unwrap()
}

#[test]
fn segments_and_indexes_follow_the_options() {
    let records: Vec<(i64, i64)> = (0..5_000)
        .map(|it| (10 + 2 * it, 1_000 + it * 7 % 1_000))
        .collect();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let files = write(10..10_020, &records, BatchCodec::None, options);
    assert_eq!(files.read(), (records.clone(), 10_020));
    assert_eq!(files.segments.len(), 5);
    for [log, index, _] in files.segments.values() {
        assert!(log.len() <= 1 << 20 && index.len() >= 8);
    }
    // Compressed, all is in one segment, and its batches are cut at the same records.
    let zstd = write(10..10_020, &records, BatchCodec::Zstd, options);
    assert_eq!(zstd.read(), (records, 10_020));
    assert_eq!(zstd.segments.len(), 1);
    let batches = |files: &Files| {
        let logs = files.segments.values();
        logs.map(|[log, ..]| RecordBatches::new(log, 0).count())
            .sum::<usize>()
    };
    assert_eq!(batches(&files), batches(&zstd));
}

#[test]
fn gaps_of_any_size_keep_offsets() {
    let far = 5_000_000_000;
    for records in [
        &[][..],
        &[(far + 7, 5)],
        &[(0, -1), (far, -1), (far + 1, 3)],
        &[(far, 3), (3 * far, 2)],
    ] {
        for after in [0, 1, 3 * far] {
            let end = records.last().map_or(0, |(last, _)| last + 1) + after;
            let files = write(0..end, records, BatchCodec::None, LogOptions::default());
            assert_eq!(
                files.read(),
                (records.to_vec(), end),
                "{records:?} to {end}"
            );
            assert_eq!(files.segments.keys().next(), Some(&0));
        }
    }
}

#[test]
fn a_log_has_batches_of_one_timestamp_type_and_one_append_time() {
    let mut writer =
        LogWriter::new(Files::default(), 0, BatchCodec::None, LogOptions::default()).unwrap();
    use TimestampType::{CreateTime, LogAppendTime};
    let records = [
        (CreateTime, 5),
        (CreateTime, 6),
        (LogAppendTime, 6),
        (LogAppendTime, 7),
        (LogAppendTime, 7),
        (CreateTime, 7),
    ];
    for (offset, (timestamp_type, timestamp)) in (0..).zip(records) {
        let record = Record {
            offset,
            timestamp,
            control: false,
            key: None,
            value: None,
            headers: Headers::EMPTY,
        };
        writer.push(timestamp_type, &record).unwrap();
    }
    let files = writer.finish(6).unwrap();
    let times: Vec<i64> = records.iter().map(|(_, timestamp)| *timestamp).collect();
    let (read, end) = files.read();
    assert_eq!(read, (0..).zip(times).collect::<Vec<_>>());
    assert_eq!(end, 6);
    let [log, ..] = &files.segments[&0];
    let types =
        RecordBatches::new(log, 0).map(|batch| batch.unwrap().header().attributes.timestamp_type());
    assert_eq!(
        types.collect::<Vec<_>>(),
        [CreateTime, LogAppendTime, LogAppendTime, CreateTime]
    );
}

#[test]
fn names_and_side_files_round_trip() {
    for file in [
        LogFile::Log(0),
        LogFile::Index(7),
        LogFile::TimeIndex(i64::MAX),
        LogFile::TransactionIndex(1),
    ] {
        assert_eq!(LogFile::parse(&file.to_string()), Some(file));
    }
    let tiered = "00000000000000000009-ZNFy0IyNTqyDFVR7hpXCgg.log";
    assert_eq!(LogFile::parse(tiered), Some(LogFile::Log(9)));
    for name in [
        "9.log",
        "00000000000000000009.log.deleted",
        "00000000000000000009x.log",
        "+0000000000000000009.log",
        "99999999999999999999.log",
        "é0000000000000000000.log",
    ] {
        assert_eq!(LogFile::parse(name), None, "{name}");
    }
    let number = |number| PartitionNumber::new(number).unwrap();
    assert_eq!(
        partition_of_folder(&partition_folder("a-b-1", number(12))),
        Some(("a-b-1", number(12)))
    );
    for name in [
        "a",
        "a-",
        "-1",
        "a-01",
        "a--1",
        "a-0.3b5a-delete",
        "a-0-stray",
        "a-+1",
        "a-2147483648",
    ] {
        let found = partition_of_folder(name);
        assert!(found.is_none() || name == "a--1", "{name}: {found:?}");
    }
    let id = [9; 16];
    assert_eq!(read_topic_id(&encode_metadata(id)), Some(id));
    assert_eq!(read_topic_id(&encode_metadata([0; 16])), None);
    assert_eq!(read_topic_id("version: 0\n"), None);
    let epochs = [(0, 5), (3, 70)];
    assert_eq!(read_epochs(&encode_epochs(&epochs)), Some(epochs.to_vec()));
    assert_eq!(read_epochs("0\n2\n0 5\n"), None, "one is missing");
    let offsets = read_start_offsets("0\n1\norders 3 77\n").unwrap();
    assert_eq!(offsets, [("orders".to_owned(), number(3), 77)]);
    assert_eq!(read_start_offsets("1\n0\n"), None);
}

/// Every batch and segment that was measured.
#[derive(Default)]
struct Measured {
    batches: Vec<BatchExtent>,
    segments: Vec<EndedSegment>,
}

impl LogOutline for Measured {
    fn batch(&mut self, batch: &BatchExtent) {
        self.batches.push(*batch);
    }

    fn end(&mut self, segment: EndedSegment) {
        self.segments.push(segment);
    }
}

/// A record whose offset and timestamp are relative to the one before.
#[derive(Clone, Debug)]
struct Step {
    skipped: i64,
    later: i64,
    timestamp_type: TimestampType,
    control: bool,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = |most: usize| prop::option::of(prop::collection::vec(any::<u8>(), 0..most));
    let far = i64::from(i32::MAX);
    let skipped = prop_oneof![20 => Just(0i64), 5 => 0i64..40, 1 => far - 2..far + 3];
    let later = prop_oneof![10 => Just(0i64), 5 => -3i64..9, 1 => any::<i32>().prop_map(i64::from)];
    let timestamp_type = prop_oneof![
        8 => Just(TimestampType::CreateTime),
        1 => Just(TimestampType::LogAppendTime)
    ];
    let control = prop::bool::weighted(0.05);
    let value = prop_oneof![
        9 => bytes(200),
        1 => (0usize..300_000).prop_map(|length| Some(vec![b'v'; length])),
    ];
    let headers = prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), bytes(9)), 0..3);
    let step = (
        skipped,
        later,
        timestamp_type,
        control,
        bytes(20),
        value,
        headers,
    );
    let step = step.prop_map(
        |(skipped, later, timestamp_type, control, key, value, headers)| Step {
            skipped,
            later,
            timestamp_type,
            control,
            key,
            value,
            headers,
        },
    );
    prop::collection::vec(step, 0..80)
}

/// Calls `take` with each record, at offsets from `base` on; returns one past the last.
fn each(base: i64, steps: &[Step], mut take: impl FnMut(TimestampType, &Record<'_>)) -> i64 {
    let (mut offset, mut timestamp) = (base, 1_000);
    for step in steps {
        offset += step.skipped;
        timestamp += step.later;
        let headers = step.headers.iter().map(|(name, value)| Header {
            name,
            value: value.as_deref(),
        });
        let headers: Vec<_> = headers.collect();
        let record = Record {
            offset,
            timestamp,
            control: step.control,
            key: step.key.as_deref(),
            value: step.value.as_deref(),
            headers: Headers::Slice(&headers),
        };
        take(step.timestamp_type, &record);
        offset += 1;
    }
    offset
}

proptest! {
    /// Sizes that META alone gives are those of the files that are written, and any part of a log is encoded without what precedes it.
    #[test]
    fn a_log_is_measured_by_lengths_and_encoded_in_parts(
        steps in steps(),
        base in 0i64..1 << 40,
        after in prop_oneof![Just(0i64), 0i64..9, Just(5_000_000_000)],
        segment_bytes in 61u64..1 << 20,
        index_interval_bytes in 0u64..9_000,
        part in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let options = LogOptions { segment_bytes, index_interval_bytes };
        let mut writer = LogWriter::new(Files::default(), base, BatchCodec::None, options).unwrap();
        let measure = || LogMeasure::new(Measured::default(), base, options);
        let (mut by_columns, mut by_record) = (measure(), measure());
        let end = after + each(base, &steps, |timestamp_type, record| {
            // As META says it, one record per block.
            let mut columns = Columns::new();
            columns.push(record).unwrap();
            columns.keys.bytes.clear();
            columns.values.bytes.clear();
            columns.headers.bytes.clear();
            by_columns.push_columns(timestamp_type, &columns, i64::MAX);
            if !record.control {
                writer.push(timestamp_type, record).unwrap();
                let size = RecordSize::of(record);
                by_record.push(timestamp_type, record.offset, record.timestamp, &size);
            }
        });
        let files = writer.finish(end).unwrap();
        let measured = by_columns.finish(end);
        prop_assert_eq!(&measured.segments, &by_record.finish(end).segments);
        prop_assert_eq!(measured.segments.len(), files.segments.len());
        for (measured, (base, [log, index, time_index])) in measured.segments.iter().zip(&files.segments) {
            prop_assert_eq!(measured.base_offset, *base);
            prop_assert_eq!(measured.log_bytes, log.len() as u64);
            prop_assert!(&measured.index == index && &measured.time_index == time_index);
        }
        let logs: Vec<u8> = files.segments.values().flat_map(|[log, ..]| log.clone()).collect();
        let mut at = 0;
        for (batch, measured) in RecordBatches::new(&logs, 0).zip(&measured.batches) {
            let header = *batch.unwrap().header();
            prop_assert_eq!(header.base_offset, measured.base_offset);
            prop_assert_eq!(header.last_offset, measured.last_offset);
            prop_assert_eq!(header.max_timestamp, measured.max_timestamp);
            at += measured.bytes;
        }
        prop_assert_eq!(at, logs.len() as u64);

        if measured.batches.is_empty() {
            return Ok(());
        }
        let (from, to) = (part.0.index(measured.batches.len()), part.1.index(measured.batches.len()));
        let (from, to) = (from.min(to), from.max(to));
        let length = |batches: &[BatchExtent]| batches.iter().map(|batch| batch.bytes as usize).sum::<usize>();
        let range = length(&measured.batches[..from])..length(&measured.batches[..=to]);
        let (first, last) = (measured.batches[from].base_offset, measured.batches[to].last_offset);
        let (mut batches, mut encoded) = (LogBatches::new(BatchCodec::None), Vec::new());
        each(base, &steps, |timestamp_type, record| {
            if !record.control && (first..=last).contains(&record.offset) {
                batches.push(timestamp_type, record, &mut encoded).unwrap();
            }
        });
        batches.finish(first, last, &mut encoded).unwrap();
        prop_assert!(encoded == logs[range]);
    }
}

/// A part of a log: records, or the batches of a block, each a number of records after a number of offsets without any.
#[derive(Clone, Debug)]
struct Part {
    is_block: bool,
    batches: Vec<(i64, i64)>,
    /// Offsets without a record at its end.
    after: i64,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let batches = prop::collection::vec((0i64..3, 1i64..40), 1..6);
    let part = (
        any::<bool>(),
        batches,
        prop_oneof![3 => Just(0i64), 1 => 1i64..9],
    );
    let part = part.prop_map(|(is_block, batches, after)| Part {
        is_block,
        batches,
        after,
    });
    prop::collection::vec(part, 0..8)
}

/// The batches of a block from `base` on: as a broker has them, of a transaction.
fn block(part: &Part, base: i64) -> (LentBlock, Vec<u8>, Vec<(i64, i64)>) {
    let (mut offset, mut bytes, mut records) = (base, Vec::new(), Vec::new());
    let value = [5; 300];
    for (number, (skipped, count)) in part.batches.iter().enumerate() {
        offset += skipped;
        let codecs = [BatchCodec::Zstd, BatchCodec::None, BatchCodec::Gzip];
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: codecs[number % 3],
            leader_epoch: 7,
            ..BatchOptions::default()
        });
        for _ in 0..*count {
            let timestamp = 1_000 + offset * 7 % 50;
            builder
                .push(&Record {
                    offset,
                    timestamp,
                    control: false,
                    key: None,
                    value: Some(&value),
                    headers: Headers::EMPTY,
                })
                .unwrap();
            records.push((offset, timestamp));
            offset += 1;
        }
        let start = bytes.len();
        builder.finish(offset - 1, &mut bytes).unwrap();
        let adoption = Adoption {
            producer: Some(Producer {
                id: 1_000,
                epoch: 3,
                base_sequence: 70,
            }),
            transactional: Some(true),
            ..Adoption::default()
        };
        adoption.apply(&mut bytes[start..], 0).unwrap();
    }
    let block = LentBlock {
        base_offset: base,
        end_offset: offset + part.after,
        max_timestamp: records
            .iter()
            .map(|(_, timestamp)| *timestamp)
            .max()
            .unwrap(),
        records: records.len() as u32,
        bytes: bytes.len() as u64,
    };
    (block, bytes, records)
}

proptest! {
    /// Batches that are in a log as they are, between records: their lengths follow from the headers of their blocks, and the indexes name batches that
    /// are there.
    #[test]
    fn stored_batches_are_lent_between_records(
        parts in parts(),
        base in 0i64..1 << 40,
        segment_bytes in 61u64..40_000,
        index_interval_bytes in 0u64..9_000,
    ) {
        let options = LogOptions { segment_bytes, index_interval_bytes };
        let mut writer = LogWriter::new(Files::default(), base, BatchCodec::None, options).unwrap();
        let measure = || LogMeasure::new(Measured::default(), base, options);
        let (mut lengths, mut indexes) = (measure(), measure());
        let (mut expected, mut lent, mut end, mut last) = (Vec::new(), Vec::new(), base, None);
        for part in &parts {
            if part.is_block {
                let (block, bytes, records) = block(part, end);
                let batches = RecordBatches::new(&bytes, 0);
                let offsets = LentOffsets::of(batches.clone()).unwrap().unwrap();
                prop_assert_eq!(offsets.last, records.last().unwrap().0);
                writer.push_block(&block, batches).unwrap();
                lengths.push_block(&block, None);
                indexes.push_block(&block, Some(&offsets));
                last = (!block.is_dense()).then_some(offsets.last);
                expected.extend(records);
                lent.push(bytes);
                end = block.end_offset;
                continue;
            }
            let value = [7; 100];
            for (skipped, count) in &part.batches {
                end += skipped;
                for _ in 0..*count {
                    let record = Record {
                        offset: end,
                        timestamp: 1_000 + end * 7 % 50,
                        control: false,
                        key: None,
                        value: Some(&value),
                        headers: Headers::EMPTY,
                    };
                    expected.push((record.offset, record.timestamp));
                    writer.push(TimestampType::CreateTime, &record).unwrap();
                    let size = RecordSize::of(&record);
                    for measure in [&mut lengths, &mut indexes] {
                        measure.push(TimestampType::CreateTime, record.offset, record.timestamp, &size);
                    }
                    end += 1;
                }
            }
            end += part.after;
            last = None;
        }
        if let Some(last) = last {
            lengths.ended_at(last);
            indexes.ended_at(last);
        }
        let files = writer.finish(end).unwrap();
        prop_assert_eq!(files.read(), (expected, end));
        let (lengths, indexes) = (lengths.finish(end), indexes.finish(end));
        prop_assert_eq!(indexes.segments.len(), files.segments.len());
        let written = lengths.segments.iter().zip(&indexes.segments).zip(&files.segments);
        for ((lengths, measured), (base, [log, index, time_index])) in written {
            prop_assert_eq!((lengths.base_offset, measured.base_offset), (*base, *base));
            prop_assert_eq!((lengths.log_bytes, measured.log_bytes), (log.len() as u64, log.len() as u64));
            prop_assert_eq!((lengths.index.len(), lengths.time_index.len()), (index.len(), time_index.len()));
            prop_assert!(&measured.index == index && &measured.time_index == time_index);
        }
        // Their records are byte for byte what they were, and nothing else of the source is left.
        let logs: Vec<u8> = files.segments.values().flat_map(|[log, ..]| log.clone()).collect();
        let originals: Vec<_> = lent.iter().flat_map(|bytes| RecordBatches::new(bytes, 0)).map(Result::unwrap).collect();
        let mut found = RecordBatches::new(&logs, 0).map(Result::unwrap);
        for original in originals {
            let same = found.find(|it| it.header().base_offset == original.header().base_offset).unwrap();
            prop_assert_eq!(&same.bytes()[61..], &original.bytes()[61..]);
            let (header, before) = (same.header(), original.header());
            prop_assert_eq!((header.producer, header.leader_epoch), (Producer::NONE, 0));
            prop_assert_eq!((before.producer.id, before.leader_epoch), (1_000, 7));
            prop_assert!(!header.attributes.is_transactional() && before.attributes.is_transactional());
        }
    }
}
