//! Batches of every format against records that are known, and bytes that are none.

use lz4_flex::block as lz4;
use proptest::prelude::*;
use xxhash_rust::xxh32::xxh32;

use super::deflate::Deflater;
use super::*;
use crate::record::{Header, Headers, Record, TimestampType};

pub(super) const CODECS: [BatchCodec; 5] = [
    BatchCodec::None,
    BatchCodec::Gzip,
    BatchCodec::Snappy,
    BatchCodec::Lz4,
    BatchCodec::Zstd,
];

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) control: bool,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    pub(super) fn copy(record: &Record<'_>) -> Owned {
        let headers = record.headers.clone();
        assert_eq!(headers.count(), record.headers.clone().count());
        Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            control: record.control,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .clone()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    pub(super) fn lend<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers = self.headers.iter();
        let headers: Vec<Header<'_>> = headers
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        use_it(&Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: self.control,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }
}

pub(super) fn record(offset: i64, timestamp: i64, value: &[u8]) -> Owned {
    Owned {
        offset,
        timestamp,
        control: false,
        key: None,
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }
}

/// Decodes a log with one decoder, checksums included.
pub(super) fn decode(log: &[u8]) -> Result<Vec<Owned>, FormatError> {
    decode_with(&mut BatchDecoder::new(), log)
}

fn decode_with(decoder: &mut BatchDecoder, log: &[u8]) -> Result<Vec<Owned>, FormatError> {
    let mut records = Vec::new();
    for batch in RecordBatches::new(log, 0) {
        let batch = batch?;
        batch.check_crc()?;
        records.extend(decoder.decode(&batch)?.map(|record| Owned::copy(&record)));
    }
    Ok(records)
}

fn class(log: &[u8]) -> Option<ErrorClass> {
    decode(log).err().map(|error| error.class)
}

pub(super) fn options(codec: BatchCodec) -> BatchOptions {
    BatchOptions {
        codec,
        ..BatchOptions::default()
    }
}

pub(super) fn encode(options: BatchOptions, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for record in records {
        record.lend(|record| builder.push(record)).unwrap();
    }
    let mut log = Vec::new();
    builder.finish(-1, &mut log).unwrap();
    log
}

pub(super) fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let timestamp = prop_oneof![
        Just(-1),
        Just(0),
        any::<i64>(),
        1_700_000_000_000..1_700_000_100_000_i64
    ];
    let header = (proptest::collection::vec(any::<u8>(), 0..5), bytes());
    let headers = proptest::collection::vec(header, 0..4);
    let one = (1..1000_i64, timestamp, bytes(), bytes(), headers);
    proptest::collection::vec(one, 1..30).prop_map(|all| {
        let mut offset = 5_000_000_000;
        let number = |(skip, timestamp, key, value, headers)| {
            offset += skip;
            Owned {
                offset,
                timestamp,
                control: false,
                key,
                value,
                headers,
            }
        };
        all.into_iter().map(number).collect()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(all in records(), codec in 0..5_usize, after in 0..1000_i64) {
        let codec = CODECS[codec];
        let mut builder = BatchBuilder::new(options(codec));
        let mut log = Vec::new();
        // Buffers are reused: twice the same.
        for _ in 0..2 {
            for record in &all {
                record.lend(|record| builder.push(record)).unwrap();
            }
            let raw_length = builder.raw_length();
            let last = all.last().unwrap().offset + after;
            log.clear();
            builder.finish(last, &mut log).unwrap();
            prop_assert_eq!(builder.raw_length(), 0);
            if codec == BatchCodec::None {
                prop_assert_eq!(log.len(), raw_length);
            }
            let batch = RecordBatch::parse(&log, 7).unwrap();
            prop_assert_eq!(batch.bytes().len(), log.len());
            let header = batch.header();
            prop_assert_eq!((header.base_offset, header.last_offset), (all[0].offset, last));
            prop_assert_eq!(header.max_timestamp, all.iter().map(|it| it.timestamp).max().unwrap());
            prop_assert_eq!(header.record_count, Some(all.len() as u32));
            prop_assert_eq!(decode(&log).unwrap(), all.clone());
        }
    }

    #[test]
    fn sizes_are_known_without_bytes(all in records()) {
        let log = encode(options(BatchCodec::None), &all);
        let (offset, time) = (all[0].offset, all[0].timestamp);
        let size = |it: &Owned| {
            let size = it.lend(RecordSize::of);
            record_size(it.offset - offset, it.timestamp.wrapping_sub(time), &size)
        };
        let sum: u64 = all.iter().map(size).sum();
        prop_assert_eq!(log.len() as u64, HEADER_LENGTH as u64 + sum);
    }

    #[test]
    fn a_flipped_bit_is_found(all in records(), codec in 0..5_usize, at: prop::sample::Index, bit in 0..8_u8) {
        let mut log = encode(options(CODECS[codec]), &all);
        // The offset and the leader's epoch are not covered.
        let covered: Vec<usize> = (8..12).chain(16..log.len()).collect();
        let at = covered[at.index(covered.len())];
        log[at] ^= 1 << bit;
        prop_assert!(class(&log).is_some());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, codec in 0..8_i16, magic in 0..3_u8) {
        let _ = decode(&bytes);
        // A header that is valid, before bytes that are not.
        let mut log = vec![0; HEADER_LENGTH];
        log.extend_from_slice(&bytes);
        let length = (log.len() - 12) as i32;
        log[8..12].copy_from_slice(&length.to_be_bytes());
        log[16] = magic;
        log[17] = codec as u8;
        log[21..23].copy_from_slice(&codec.to_be_bytes());
        log[26] = 9;
        log[60] = 3;
        if let Ok(batch) = RecordBatch::parse(&log, 0) {
            let mut decoder = BatchDecoder::with_limit(1 << 20);
            if let Ok(records) = decoder.decode(&batch) {
                prop_assert!(records.count() <= bytes.len() + 1);
            }
        }
    }
}

/// These bytes were written by an encoder in Python that shares no code with this one, and its produce requests are accepted by Kafka.
#[test]
fn a_batch_is_laid_out_as_kafka_says() {
    let expected = concat!(
        "0000000000000064",                 // base offset
        "00000044",                         // length
        "00000000",                         // leader epoch: not covered by the checksum
        "0233591740",                       // magic, checksum
        "000000000001",                     // attributes, last offset delta
        "00000000000003e800000000000003e8", // base and maximum timestamp
        "ffffffffffffffffffffffffffff",     // no producer
        "00000002",                         // two records
        "16000000026b027602026801",
        "0c001302010100",
    );
    let mut expected = data_encoding::HEXLOWER.decode(expected.as_bytes()).unwrap();
    expected[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    let first = Owned {
        key: Some(b"k".to_vec()),
        headers: vec![(b"h".to_vec(), None)],
        ..record(100, 1_000, b"v")
    };
    let second = Owned {
        value: None,
        ..record(101, 990, b"")
    };
    let both = [first, second];
    assert_eq!(encode(options(BatchCodec::None), &both), expected);
    assert_eq!(decode(&expected).unwrap(), both);
}

#[test]
fn what_one_batch_cannot_hold_begins_another() {
    let mut builder = BatchBuilder::new(options(BatchCodec::None));
    let push = |builder: &mut BatchBuilder, offset, timestamp| {
        record(offset, timestamp, b"").lend(|record| builder.push(record))
    };
    push(&mut builder, 10, 5).unwrap();
    let furthest = 10 + i64::from(i32::MAX);
    assert!(builder.accepts(furthest, 9) && !builder.accepts(furthest + 1, 9));
    let before = builder.raw_length();
    for offset in [9, 10, furthest + 1, i64::MAX] {
        assert!(push(&mut builder, offset, 5).is_err(), "{offset}");
        assert_eq!(builder.raw_length(), before);
    }
    let log_append_time = BatchOptions {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(log_append_time);
    push(&mut builder, 0, 7).unwrap();
    assert!(push(&mut builder, 1, 8).is_err(), "one time per batch");
    push(&mut builder, 1, 7).unwrap();
    let mut log = Vec::new();
    builder.finish(i64::MAX, &mut log).unwrap();
    assert_eq!(
        decode(&log).unwrap(),
        [record(0, 7, b""), record(1, 7, b"")]
    );
    let header = *RecordBatch::parse(&log, 0).unwrap().header();
    assert_eq!(header.last_offset, i64::from(i32::MAX), "as far as it can");
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
}

#[test]
fn an_empty_batch_keeps_offsets() {
    let builder = BatchBuilder::new(options(BatchCodec::Zstd));
    let mut log = Vec::new();
    builder.put_empty(5, 5, &mut log).unwrap();
    assert!(builder.put_empty(6, 5, &mut log).is_err());
    assert!(builder.put_empty(0, 1 << 31, &mut log).is_err());
    assert_eq!(decode(&log).unwrap(), []);
    assert_eq!(RecordBatch::parse(&log, 0).unwrap().header().last_offset, 5);
}

#[test]
fn producers_are_numbered_from_batch_to_batch() {
    let producer = Producer {
        id: 4,
        epoch: 1,
        base_sequence: i32::MAX - 1,
    };
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        transactional: true,
        leader_epoch: 3,
        ..BatchOptions::default()
    });
    let mut log = Vec::new();
    for offset in 0..4 {
        record(offset, 0, b"")
            .lend(|record| builder.push(record))
            .unwrap();
        if offset % 2 == 1 {
            builder.finish(offset, &mut log).unwrap();
        }
    }
    let headers = RecordBatches::new(&log, 0).map(|batch| *batch.unwrap().header());
    let sequences: Vec<i32> = headers
        .inspect(|header| {
            assert!(header.attributes.is_transactional() && !header.attributes.is_control());
            assert_eq!((header.producer.id, header.leader_epoch), (4, 3));
        })
        .map(|header| header.producer.base_sequence)
        .collect();
    assert_eq!(sequences, [i32::MAX - 1, 0]);
}

#[test]
fn markers_are_read() {
    let marker = |kind: i16| {
        let key = [&0_i16.to_be_bytes()[..], &kind.to_be_bytes()].concat();
        let owned = Owned {
            key: Some(key),
            ..record(0, 0, b"\0\0\0\0\0\x05")
        };
        owned.lend(ControlRecord::read)
    };
    assert_eq!(marker(0), Some(ControlRecord::Abort));
    assert_eq!(marker(1), Some(ControlRecord::Commit));
    assert_eq!(marker(2), Some(ControlRecord::Other(2)));
    assert_eq!(record(0, 0, b"").lend(ControlRecord::read), None);
}

/// A message of format v0 or v1.
fn message(magic: u8, attributes: u8, one: &Owned) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend_from_slice(&one.timestamp.to_be_bytes());
    }
    for bytes in [&one.key, &one.value] {
        let length = bytes.as_ref().map_or(-1, |bytes| bytes.len() as i32);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(bytes.as_deref().unwrap_or_default());
    }
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut bytes = one.offset.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    bytes.extend_from_slice(&crc.sum().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn compress(codec: BatchCodec, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(codec).deflate(raw, &mut out).unwrap();
    out
}

/// A message that wraps `set`.
fn wrap(magic: u8, codec: u8, offset: i64, timestamp: i64, set: &[u8]) -> Vec<u8> {
    let stored = compress(CODECS[usize::from(codec & 7)], set);
    message(magic, codec, &record(offset, timestamp, &stored))
}

#[test]
fn old_messages_are_read_one_by_one() {
    let keyed = Owned {
        key: Some(b"k".to_vec()),
        ..record(7, 1_400_000_000_000, b"v")
    };
    let tombstone = Owned {
        value: None,
        ..keyed.clone()
    };
    for one in [&keyed, &tombstone] {
        let read = decode(&message(1, 0, one)).unwrap();
        assert_eq!(read, std::slice::from_ref(one));
        let without_time = Owned {
            timestamp: -1,
            ..one.clone()
        };
        assert_eq!(decode(&message(0, 0, one)).unwrap(), [without_time]);
    }
    let header = *RecordBatch::parse(&message(1, 8, &keyed), 0)
        .unwrap()
        .header();
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    let mut damaged = message(1, 0, &keyed);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(class(&damaged), Some(ErrorClass::Checksum));
}

#[test]
fn old_sets_are_unwrapped() {
    for codec in 1..=3 {
        // v1: offsets in the set are relative, and the wrapper has the last one.
        let relative: Vec<Owned> = [0, 1, 4].map(|it| record(it, 1_000 + it, b"inner")).into();
        let set: Vec<u8> = relative.iter().flat_map(|it| message(1, 0, it)).collect();
        let absolute = |by: i64| {
            relative.iter().map(move |it| Owned {
                offset: it.offset + by,
                ..it.clone()
            })
        };
        let expected: Vec<Owned> = absolute(100).collect();
        let wrapped = wrap(1, codec, 104, 5_000, &set);
        assert_eq!(
            RecordBatch::parse(&wrapped, 0)
                .unwrap()
                .header()
                .record_count,
            None
        );
        assert_eq!(decode(&wrapped).unwrap(), expected);
        // Sets of some clients were stored with offset 0.
        assert_eq!(decode(&wrap(1, codec, 0, 5_000, &set)).unwrap(), relative);
        // The broker's time is on the wrapper.
        let by_broker: Vec<Owned> = absolute(100)
            .map(|it| Owned {
                timestamp: 5_000,
                ..it
            })
            .collect();
        assert_eq!(
            decode(&wrap(1, codec | 8, 104, 5_000, &set)).unwrap(),
            by_broker
        );
        // v0: offsets in the set are Kafka's.
        let set: Vec<u8> = relative.iter().flat_map(|it| message(0, 0, it)).collect();
        let expected: Vec<Owned> = absolute(0)
            .map(|it| Owned {
                timestamp: -1,
                ..it
            })
            .collect();
        assert_eq!(decode(&wrap(0, codec, 4, 0, &set)).unwrap(), expected);
    }
}

#[test]
fn old_sets_that_contradict_themselves_are_refused() {
    let inner = message(1, 0, &record(5, 0, b""));
    let wrong = [
        wrap(1, 1, 3, 0, &inner),
        wrap(1, 1, 5, 0, b""),
        wrap(1, 1, 5, 0, &inner[..inner.len() - 1]),
        wrap(1, 1, 6, 0, &[inner.clone(), inner.clone()].concat()),
        wrap(1, 1, 5, 0, &wrap(1, 1, 5, 0, &inner)),
        wrap(
            1,
            1,
            5,
            0,
            &encode(options(BatchCodec::None), &[record(5, 0, b"")]),
        ),
        message(
            1,
            1,
            &Owned {
                value: None,
                ..record(5, 0, b"")
            },
        ),
    ];
    for log in wrong {
        assert_eq!(class(&log), Some(ErrorClass::Inconsistent));
    }
    // Zstandard came with v2.
    assert_eq!(
        class(&wrap(1, 4, 5, 0, &inner)),
        Some(ErrorClass::Unsupported)
    );
}

/// Clients of v0 computed the checksum of LZ4's frame header over the magic, too (KAFKA-3160).
#[test]
fn the_wrong_lz4_checksum_of_v0_is_ignored_there_only() {
    let inner = message(0, 0, &record(5, -1, b"x"));
    let mut frame = compress(BatchCodec::Lz4, &inner);
    frame[6] = (xxh32(&frame[..6], 0) >> 8) as u8;
    let log = message(0, 3, &record(5, -1, &frame));
    assert_eq!(decode(&log).unwrap(), [record(5, -1, b"x")]);
    let log = message(1, 3, &record(5, -1, &frame));
    assert_eq!(class(&log), Some(ErrorClass::Inconsistent));
}

fn inflate(codec: BatchCodec, stored: &[u8], limit: usize) -> Result<Vec<u8>, ErrorClass> {
    let mut raw = Vec::new();
    inflate::Inflater::new()
        .inflate(codec, 2, stored, limit, &mut raw)
        .map(|()| raw)
        .map_err(|(class, _)| class)
}

#[test]
fn what_is_compressed_is_bounded() {
    let raw: Vec<u8> = (0..300_000_u32).map(|it| (it % 251) as u8).collect();
    for codec in CODECS.into_iter().skip(1) {
        let stored = compress(codec, &raw);
        assert_eq!(
            inflate(codec, &stored, raw.len()).unwrap(),
            raw,
            "{codec:?}"
        );
        let less = inflate(codec, &stored, raw.len() - 1);
        assert_eq!(less, Err(ErrorClass::Limit), "{codec:?}");
        for cut in [1, stored.len() / 2, stored.len() - 1] {
            let cut = inflate(codec, &stored[..cut], raw.len());
            assert_eq!(cut, Err(ErrorClass::Inconsistent), "{codec:?}");
        }
        assert_eq!(
            inflate(codec, &compress(codec, b""), 0).unwrap(),
            b"",
            "{codec:?}"
        );
    }
}

#[test]
fn snappy_needs_no_frame_and_may_have_several() {
    let block = snap::raw::Encoder::new().compress_vec(b"hello").unwrap();
    assert_eq!(inflate(BatchCodec::Snappy, &block, 9).unwrap(), b"hello");
    let framed = compress(BatchCodec::Snappy, b"hello");
    let twice = [&framed[..], &framed[..]].concat();
    assert_eq!(
        inflate(BatchCodec::Snappy, &twice, 10).unwrap(),
        b"hellohello"
    );
    // It states 4 GiB in nine bytes.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0];
    assert_eq!(
        inflate(BatchCodec::Snappy, &lie, DECODED_BYTES),
        Err(ErrorClass::Inconsistent)
    );
}

#[test]
fn gzip_may_have_several_members() {
    let member = compress(BatchCodec::Gzip, b"hello");
    let twice = [&member[..], &member[..]].concat();
    assert_eq!(
        inflate(BatchCodec::Gzip, &twice, 10).unwrap(),
        b"hellohello"
    );
}

#[test]
fn zstd_needs_no_content_size_and_may_have_several_frames() {
    use std::io::Write;
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    let raw = vec![7; 60 << 20];
    encoder.write_all(&raw).unwrap();
    let frame = encoder.finish().unwrap();
    assert_eq!(
        zstd::zstd_safe::get_frame_content_size(&frame).unwrap(),
        None
    );
    assert!(frame.len() < 6_000);
    assert!(inflate(BatchCodec::Zstd, &frame, DECODED_BYTES).unwrap() == raw);
    let twice = [&frame[..], &frame[..]].concat();
    assert_eq!(
        inflate(BatchCodec::Zstd, &twice, raw.len() * 2)
            .unwrap()
            .len(),
        raw.len() * 2
    );
    assert_eq!(
        inflate(BatchCodec::Zstd, &twice, raw.len()),
        Err(ErrorClass::Limit)
    );
}

/// Kafka's own client writes none of these, but the frame format has them.
#[test]
fn lz4_frames_of_any_flags_are_read() {
    let first = b"The quick brown fox jumps over the lazy dog. ".repeat(20);
    let second = [&first[..100], b"And again."].concat();
    let content = [&first[..], &second[..]].concat();
    let linked = lz4::compress_with_dict(&second, &first);
    assert!(linked.len() < 30, "it refers to the first block");
    // Version 1, linked blocks, checksums of blocks and content, content size.
    let described = [
        &[0b0101_1100, 0x40][..],
        &(content.len() as u64).to_le_bytes(),
    ]
    .concat();
    let mut frame = 0x184D_2204_u32.to_le_bytes().to_vec();
    frame.extend_from_slice(&described);
    frame.push((xxh32(&described, 0) >> 8) as u8);
    for (length, block) in [
        (first.len() as u32 | 1 << 31, &first),
        (linked.len() as u32, &linked),
    ] {
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(block);
        frame.extend_from_slice(&xxh32(block, 0).to_le_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    let checksum = frame.len();
    frame.extend_from_slice(&xxh32(&content, 0).to_le_bytes());
    assert_eq!(inflate(BatchCodec::Lz4, &frame, 1 << 20).unwrap(), content);
    frame[checksum] ^= 1;
    assert_eq!(
        inflate(BatchCodec::Lz4, &frame, 1 << 20),
        Err(ErrorClass::Inconsistent)
    );
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    let log = encode(options(BatchCodec::None), &[record(100, 0, b"v")]);
    let with = |at: usize, bytes: &[u8]| {
        let mut log = log.clone();
        log[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&log[21..]);
        log[17..21].copy_from_slice(&crc.to_be_bytes());
        class(&log)
    };
    assert_eq!(with(0, &[]), None);
    assert_eq!(
        with(0, &(-1_i64).to_be_bytes()),
        Some(ErrorClass::Inconsistent)
    );
    assert_eq!(
        with(0, &i64::MAX.to_be_bytes()),
        Some(ErrorClass::Inconsistent)
    );
    assert_eq!(
        with(23, &(-1_i32).to_be_bytes()),
        Some(ErrorClass::Inconsistent)
    );
    for count in [-1, 2, i32::MAX] {
        let count: i32 = count;
        assert_eq!(
            with(57, &count.to_be_bytes()),
            Some(ErrorClass::Inconsistent)
        );
    }
    assert_eq!(
        with(57, &0_i32.to_be_bytes()),
        Some(ErrorClass::Inconsistent),
        "bytes of none"
    );
    assert_eq!(with(22, &[5]), Some(ErrorClass::Unsupported));
    assert_eq!(with(16, &[3]), Some(ErrorClass::Unsupported));
    assert_eq!(
        with(8, &48_i32.to_be_bytes()),
        Some(ErrorClass::Inconsistent)
    );
    assert_eq!(
        with(8, &(-1_i32).to_be_bytes()),
        Some(ErrorClass::Inconsistent)
    );
    assert_eq!(
        with(8, &i32::MAX.to_be_bytes()),
        Some(ErrorClass::Truncated)
    );
}

#[test]
fn the_length_is_known_from_the_prefix() {
    let log = encode(options(BatchCodec::None), &[record(100, 0, b"v")]);
    for have in 0..PREFIX_LENGTH {
        assert_eq!(frame_length(&log[..have], 0), Ok(None));
    }
    assert_eq!(frame_length(&log[..PREFIX_LENGTH], 0), Ok(Some(log.len())));
    let mut batches = RecordBatches::new(&log[..log.len() - 1], 40);
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!((error.class, error.position), (ErrorClass::Truncated, 40));
    assert!(batches.next().is_none());
    assert_eq!(batches.position(), 40);
}
