//! Blocks of kind 2: the same records, numbers and digests as blocks of kind 1, the batches byte for byte, and damage that is found.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use kbk_format::batch::{
    Attributes, BatchBuilder, BatchCodec, BatchOptions, Producer, RecordBatch, RecordBatches,
};
use kbk_format::block::BlockKind;
use kbk_format::error::Result;
use kbk_format::salvage::{Known, Salvage};
use kbk_format::{
    BatchesBuilder, BlockBuilder, BlockDecoder, Columns, Compression, Encoder, ErrorClass,
    FileHeader, GapReason, KeyFilterBits, NotStorable, PushBatch, Segment, SegmentAssembler,
    SegmentFeatures, Streams, TimestampType, WriteError, verify,
};
use proptest::prelude::*;

mod damaged_blocks;
#[path = "../header/mod.rs"]
mod header;
mod not_computed;
#[path = "../records/mod.rs"]
mod records;
use header::header;
use records::{Owned, owned};

const CODECS: [BatchCodec; 5] = [
    BatchCodec::None,
    BatchCodec::Gzip,
    BatchCodec::Snappy,
    BatchCodec::Lz4,
    BatchCodec::Zstd,
];
const FEATURES: SegmentFeatures = SegmentFeatures {
    key_filter: None,
    batches: true,
    not_computed: false,
};

/// A batch and its records.
#[derive(Clone, Debug)]
struct Batch {
    records: Vec<Owned>,
    bytes: Vec<u8>,
}

fn batch(records: Vec<Owned>, options: BatchOptions, last_offset: i64) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for record in &records {
        record.with(|record| builder.push(record)).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(last_offset, &mut bytes).unwrap();
    Batch { records, bytes }
}

fn record(offset: i64) -> Owned {
    Owned {
        offset,
        timestamp: 1_763_800_000_000 - offset * 7,
        control: false,
        key: Some(format!("key-{}", offset % 4).into_bytes()),
        value: (offset != 4)
            .then(|| format!("{{\"order\":{offset},\"note\":\"order order\"}}").into_bytes()),
        headers: vec![(b"h".to_vec(), Some(vec![0xff])), (b"h".to_vec(), None)],
    }
}

/// A batch of the records from `first` on.
fn of_codec(codec: BatchCodec, first: i64, count: i64) -> Batch {
    let options = BatchOptions {
        codec,
        leader_epoch: 5,
        producer: Producer {
            id: 77,
            epoch: 2,
            base_sequence: 9,
        },
        ..BatchOptions::default()
    };
    batch((first..first + count).map(record).collect(), options, -1)
}

fn block_of(base_offset: i64, end_offset: i64, batches: &[Batch]) -> BatchesBuilder {
    let block = BatchesBuilder::new(base_offset, TimestampType::CreateTime);
    filled(block, end_offset, batches)
}

fn filled(mut block: BatchesBuilder, end_offset: i64, batches: &[Batch]) -> BatchesBuilder {
    for batch in batches {
        let batch = RecordBatch::parse(&batch.bytes, 0)
            .unwrap()
            .check()
            .unwrap();
        assert_eq!(
            block.try_push(&batch, usize::MAX).unwrap(),
            PushBatch::Pushed
        );
    }
    block.cover(end_offset);
    block
}

type Assembler = SegmentAssembler<Vec<u8>>;

fn append_batches(
    assembler: &mut Assembler,
    block: BatchesBuilder,
    compression: Compression,
) -> std::result::Result<(), WriteError> {
    let encoded = block.encode(assembler.renderer(), &mut Encoder::new(compression));
    assembler.append(&encoded)
}

fn append_records(assembler: &mut Assembler, block: BlockBuilder) {
    let timestamp_type = assembler.header().timestamp_type;
    let mut encoder = Encoder::new(Compression::None);
    let encoded = block.encode(timestamp_type, assembler.renderer(), &mut encoder);
    assembler.append(&encoded).unwrap();
}

/// A block of records between two of batches; of every codec, and of compressed streams.
fn segment() -> Vec<u8> {
    let features = SegmentFeatures {
        key_filter: Some(KeyFilterBits::default()),
        ..FEATURES
    };
    let mut assembler =
        SegmentAssembler::with_features(Vec::new(), header(7, 0), features).unwrap();
    let compressed: Vec<Batch> = (0..)
        .zip(CODECS)
        .map(|(at, codec)| of_codec(codec, 3 * at, 3))
        .collect();
    append_batches(
        &mut assembler,
        block_of(0, 16, &compressed),
        Compression::Zstd(3),
    )
    .unwrap();
    let mut records = BlockBuilder::new(16);
    record(16).with(|record| records.push(record)).unwrap();
    append_records(&mut assembler, records);
    for (base, compression) in [(17, Compression::Zstd(1)), (37, Compression::Lz4)] {
        let plain = [
            of_codec(BatchCodec::None, base, 8),
            of_codec(BatchCodec::None, base + 8, 12),
        ];
        append_batches(
            &mut assembler,
            block_of(base, base + 20, &plain),
            compression,
        )
        .unwrap();
    }
    assembler.seal(GapReason::NotDelivered).unwrap().0
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>> {
    let segment = Segment::open_whole(bytes)?;
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut records = Vec::new();
    for number in 0..segment.index().entries().len() {
        let position = segment.index().entries()[number].position as usize;
        let block = segment.block(number, bytes.get(position..).unwrap_or_default())?;
        block.decode(&mut decoder, Streams::All, &mut columns)?;
        records.extend(owned(&columns));
    }
    Ok(records)
}

fn batches_of(bytes: &[u8], number: usize) -> Result<Option<Vec<u8>>> {
    let segment = Segment::open_whole(bytes)?;
    let position = segment.index().entries()[number].position as usize;
    let block = segment.block(number, bytes.get(position..).unwrap_or_default())?;
    let mut decoder = BlockDecoder::new();
    let batches = block.batches(&mut decoder)?;
    let concat = |batches: RecordBatches<'_>| {
        batches
            .flat_map(|it| it.unwrap().bytes().to_vec())
            .collect()
    };
    Ok(batches.map(concat))
}

/// Batches of any records and codecs, with gaps between and inside.
fn any_batches() -> impl Strategy<Value = Vec<Batch>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let timestamp = prop_oneof![
        Just(-1),
        Just(0),
        any::<i64>(),
        1_700_000_000_000..1_700_010_000_000_i64
    ];
    let headers = proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..5), bytes()),
        0..4,
    );
    let one = (1..5_i64, timestamp, bytes(), bytes(), headers);
    let records = proptest::collection::vec(one, 1..20);
    let batch_of = (records, 0..5_usize, 0..3_i64, any::<bool>());
    proptest::collection::vec(batch_of, 1..6).prop_map(|all| {
        let mut offset = 5_000_000_000;
        let mut batches = Vec::new();
        for (records, codec, after, transactional) in all {
            let mut owned = Vec::new();
            for (skip, timestamp, key, value, headers) in records {
                offset += skip;
                owned.push(Owned {
                    offset,
                    timestamp,
                    control: false,
                    key,
                    value,
                    headers,
                });
            }
            offset += after;
            let options = BatchOptions {
                codec: CODECS[codec],
                transactional,
                ..BatchOptions::default()
            };
            batches.push(batch(owned, options, offset));
        }
        batches
    })
}

proptest! {
    #[test]
    fn records_and_numbers_are_those_of_a_block_of_records(
        batches in any_batches(),
        split: prop::sample::Index,
        compression in 0..3_usize,
    ) {
        let compression = [Compression::None, Compression::Zstd(1), Compression::Lz4][compression];
        let records: Vec<Owned> = batches.iter().flat_map(|it| it.records.clone()).collect();
        let base = records[0].offset - 2;
        let key_filter = Some(KeyFilterBits::default());
        let mut of_batches = SegmentAssembler::with_features(
            Vec::new(), header(7, base), SegmentFeatures { key_filter, ..FEATURES }).unwrap();
        let mut of_records = SegmentAssembler::with_key_filter(Vec::new(), header(7, base), key_filter).unwrap();
        let (first, second) = batches.split_at(split.index(batches.len()));
        for part in [first, second] {
            if part.is_empty() {
                continue;
            }
            let from = of_batches.end_offset();
            let block = block_of(from, from, part);
            let mut of_the_same = BlockBuilder::new(from);
            for record in part.iter().flat_map(|it| &it.records) {
                record.with(|record| of_the_same.push(record)).unwrap();
            }
            of_the_same.cover(block.end_offset());
            append_batches(&mut of_batches, block, compression).unwrap();
            append_records(&mut of_records, of_the_same);
        }
        let (bytes, summary) = of_batches.seal(GapReason::NotDelivered).unwrap();
        let (model_bytes, model) = of_records.seal(GapReason::NotDelivered).unwrap();
        prop_assert!(summary.has_batches && !model.has_batches);
        let segment = verify::verify_whole(&bytes, true).unwrap();
        let model_segment = verify::verify_whole(&model_bytes, true).unwrap();
        prop_assert_eq!(read(&bytes).unwrap(), records.clone());
        prop_assert_eq!(read(&model_bytes).unwrap(), records);

        // Everything that is stated of records is the same.
        let raw_bytes = |mut it: kbk_format::Statistics| { it.raw_bytes = 0; it };
        prop_assert_eq!(raw_bytes(summary.statistics), raw_bytes(model.statistics));
        prop_assert_eq!(segment.rendered_sizes(), model_segment.rendered_sizes());
        prop_assert_eq!(segment.hours(), model_segment.hours());
        prop_assert_eq!(segment.whole_lines(), model_segment.whole_lines());
        prop_assert_eq!(segment.gaps(), model_segment.gaps());
        for (found, model) in segment.index().entries().iter().zip(model_segment.index().entries()) {
            prop_assert_eq!((found.kind, model.kind), (BlockKind::Batches, BlockKind::Records));
            let times = |it: &kbk_format::index::IndexEntry| (it.min_timestamps, it.max_timestamp, it.record_count);
            prop_assert_eq!(times(found), times(model));
        }

        // And the batches are lent as they were.
        let raw: Vec<u8> = (0..segment.index().entries().len())
            .flat_map(|number| batches_of(&bytes, number).unwrap().unwrap())
            .collect();
        let pushed: Vec<u8> = batches.iter().flat_map(|it| it.bytes.clone()).collect();
        prop_assert_eq!(raw, pushed);
        prop_assert_eq!(batches_of(&model_bytes, 0).unwrap(), None);
    }

    #[test]
    fn a_batch_that_is_damaged_is_not_stored(
        batches in any_batches(),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let [intact, damaged] = [0, batches.len() - 1].map(|it| batches[it].clone());
        prop_assume!(batches.len() > 1);
        let mut block = block_of(0, 0, &[intact]);
        let before = (block.end_offset(), block.raw_length());
        let mut bytes = damaged.bytes;
        // The length, the magic and what says how many records there are may be refused before.
        let at = 61 + at.index(bytes.len() - 61);
        bytes[at] ^= 1 << bit;
        let refused = RecordBatch::parse(&bytes, 3).unwrap().check().unwrap_err();
        prop_assert_eq!((refused.class, refused.position), (ErrorClass::Checksum, 3));
        // With a checksum that matches, either its records are stored or nothing is.
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let repaired = RecordBatch::parse(&bytes, 3).unwrap().check().unwrap();
        if block.try_push(&repaired, usize::MAX).is_err() {
            prop_assert_eq!((block.end_offset(), block.raw_length()), before);
        }
        let mut assembler = SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
        append_batches(&mut assembler, block, Compression::None).unwrap();
        let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
        verify::verify_whole(&bytes, true).unwrap();
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let intact = segment();
    verify::verify_whole(&intact, true).unwrap();
    let records = read(&intact).unwrap();
    assert_eq!(
        records,
        (0..15).chain(16..57).map(record).collect::<Vec<_>>()
    );
    let raw = batches_of(&intact, 0).unwrap();
    for at in 0..intact.len() {
        for bit in 0..8 {
            let mut damaged = intact.clone();
            damaged[at] ^= 1 << bit;
            let what = format!("bit {bit} of byte {at}");
            assert!(
                verify::verify_whole(&damaged, true).is_err(),
                "{what}: verify"
            );
            assert!(
                verify::verify_whole(&damaged, false).is_err(),
                "{what}: verify without records"
            );
            if let Ok(found) = read(&damaged) {
                assert_eq!(found, records, "{what}: read");
            }
            if let Ok(found) = batches_of(&damaged, 0) {
                assert_eq!(found, raw, "{what}: batches");
            }
        }
    }
}

#[test]
fn every_truncation_is_found_and_salvaged() {
    let intact = segment();
    let records = read(&intact).unwrap();
    for length in 0..intact.len() {
        let cut = &intact[..length];
        assert!(verify::verify_whole(cut, false).is_err(), "{length} bytes");
        let salvage = Salvage::of(cut, &Known::default());
        let mut found = Vec::new();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        for piece in &salvage.pieces {
            piece.decode(cut, &mut decoder, &mut columns).unwrap();
            found.extend(owned(&columns));
        }
        assert!(records.starts_with(&found), "{length} bytes");
    }
}

fn recover(damaged: &[u8]) -> (Vec<u8>, kbk_format::SegmentSummary) {
    let salvage = Salvage::of(damaged, &Known::default());
    salvage.write(&[damaged], header(9, 0), Vec::new()).unwrap()
}

#[test]
fn recovered_batches_are_the_same_bytes() {
    let intact = segment();
    let segment = Segment::open_whole(&intact).unwrap();
    let entries = segment.index().entries();
    // The second block of batches is damaged: the others are kept as they are.
    let mut damaged = intact.clone();
    damaged[entries[2].position as usize + 300] ^= 1;
    let (bytes, summary) = recover(&damaged);
    assert!(summary.has_batches);
    verify::verify_whole(&bytes, true).unwrap();
    let offsets: Vec<i64> = read(&bytes).unwrap().iter().map(|it| it.offset).collect();
    assert_eq!(
        offsets,
        (0..15).chain(16..17).chain(37..57).collect::<Vec<_>>()
    );
    for (number, kept) in [(0, 0), (3, 3)] {
        assert_eq!(
            batches_of(&bytes, kept).unwrap(),
            batches_of(&intact, number).unwrap()
        );
    }
    // Without any block of batches, there is no bit.
    for number in [0, 3] {
        damaged[entries[number].position as usize + 300] ^= 1;
    }
    let (bytes, summary) = recover(&damaged);
    assert!(!summary.has_batches);
    verify::verify_whole(&bytes, true).unwrap();
    // Of the first block, whose stream is not compressed as a whole, the other batches are left, as records.
    let found = read(&bytes).unwrap();
    let lost = damaged_blocks::batch_at(&intact, 0, 300);
    let left = (0..15).filter(|offset| !lost.contains(offset)).chain([16]);
    assert_eq!(found, left.map(record).collect::<Vec<_>>());
    // Without header and footer, the batches tell their type.
    let mut headless = intact[..segment.footer_position() as usize].to_vec();
    headless[..64].fill(0);
    let salvage = Salvage::of(&headless, &Known::default());
    assert_eq!(salvage.pieces.len(), 4);
}

#[test]
fn a_batch_that_reaches_into_the_next_block_is_recovered_as_records() {
    let compacted = batch(vec![record(0), record(1)], BatchOptions::default(), 8);
    let mut first = SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    append_batches(&mut first, block_of(0, 9, &[compacted]), Compression::None).unwrap();
    let (first, _) = first.seal(GapReason::Compacted).unwrap();
    // Another block of the same segment, whose records begin before the end of the first one.
    let mut second = SegmentAssembler::with_features(Vec::new(), header(7, 5), FEATURES).unwrap();
    append_batches(
        &mut second,
        block_of(5, 9, &[of_codec(BatchCodec::None, 5, 3)]),
        Compression::None,
    )
    .unwrap();
    let (second, _) = second.seal(GapReason::Compacted).unwrap();
    let block_of = |bytes: &[u8]| {
        let segment = Segment::open_whole(bytes).unwrap();
        let entry = segment.index().entries()[0];
        bytes[entry.position as usize..entry.end() as usize].to_vec()
    };
    let both = [block_of(&first), block_of(&second)].concat();
    let (bytes, summary) = recover(&both);
    assert!(summary.has_batches, "the second block is kept");
    let segment = verify::verify_whole(&bytes, true).unwrap();
    let kinds: Vec<BlockKind> = segment.index().entries().iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [BlockKind::Records, BlockKind::Batches]);
    let offsets: Vec<i64> = read(&bytes).unwrap().iter().map(|it| it.offset).collect();
    assert_eq!(offsets, [0, 1, 5, 6, 7]);
}

#[test]
fn what_cannot_be_stored_is_named() {
    let plain = of_codec(BatchCodec::None, 7, 2);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = plain.bytes.clone();
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    let push = |block: &mut BatchesBuilder, bytes: &[u8]| {
        let batch = RecordBatch::parse(bytes, 0).unwrap().check().unwrap();
        block.try_push(&batch, usize::MAX)
    };
    let mut empty = Vec::new();
    BatchBuilder::new(BatchOptions::default())
        .put_empty(7, 9, &mut empty)
        .unwrap();
    let mut old = vec![0; 40];
    (old[11], old[16]) = (28, 1);
    let mut crc = flate2::Crc::new();
    crc.update(&old[16..]);
    old[12..16].copy_from_slice(&crc.sum().to_be_bytes());
    let mut block = BatchesBuilder::new(0, TimestampType::CreateTime);
    for (bytes, reason) in [
        (with(&|it| it[22] |= 0x20), NotStorable::Control),
        (
            with(&|it| it[22] |= 0x08),
            NotStorable::TimestampType(TimestampType::LogAppendTime),
        ),
        (empty, NotStorable::Empty),
        (old, NotStorable::Format(1)),
    ] {
        assert_eq!(push(&mut block, &bytes).unwrap(), PushBatch::Cannot(reason));
        assert!(block.is_empty());
    }
    let unknown = with(&|it| it[22] |= 5);
    assert_eq!(
        push(&mut block, &unknown).unwrap_err().class,
        ErrorClass::Unsupported
    );
    assert_eq!(push(&mut block, &plain.bytes).unwrap(), PushBatch::Pushed);
    assert_eq!(
        push(&mut block, &plain.bytes).unwrap_err().class,
        ErrorClass::Inconsistent
    );
    // A full block is finished first; an empty one never is.
    let next = of_codec(BatchCodec::None, 9, 2);
    let next = RecordBatch::parse(&next.bytes, 0).unwrap().check().unwrap();
    assert_eq!(
        block.try_push(&next, block.raw_length()).unwrap(),
        PushBatch::Full
    );
    let mut another = BatchesBuilder::new(9, TimestampType::CreateTime);
    assert_eq!(another.try_push(&next, 1).unwrap(), PushBatch::Pushed);
}

/// A batch of one record whose value has this many bytes, compressed to a few.
fn large(offset: i64, bytes: usize) -> Batch {
    let one = Owned {
        key: None,
        value: Some(vec![0; bytes]),
        headers: Vec::new(),
        ..record(offset)
    };
    let options = BatchOptions {
        codec: BatchCodec::Zstd,
        ..BatchOptions::default()
    };
    batch(vec![one], options, -1)
}

#[test]
fn what_decompresses_to_more_than_a_block_may_hold_is_not_stored() {
    const MOST: usize = kbk_format::layout::limits::BLOCK_DECODED_BYTES;
    let mut block = BatchesBuilder::new(0, TimestampType::CreateTime);
    let push = |block: &mut BatchesBuilder, batch: &Batch| {
        let batch = RecordBatch::parse(&batch.bytes, 0)
            .unwrap()
            .check()
            .unwrap();
        block.try_push(&batch, usize::MAX).unwrap()
    };
    let too_large = large(0, MOST);
    assert_eq!(
        push(&mut block, &too_large),
        PushBatch::Cannot(NotStorable::TooLarge)
    );
    let largest = large(0, MOST - 100);
    assert_eq!(push(&mut block, &largest), PushBatch::Pushed);
    assert_eq!(push(&mut block, &large(1, 200)), PushBatch::Full);
    let mut assembler =
        SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    append_batches(&mut assembler, block, Compression::None).unwrap();
    let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
    assert_eq!(
        read(&bytes).unwrap()[0].value.as_ref().unwrap().len(),
        MOST - 100
    );
}

#[test]
fn the_header_says_exactly_whether_there_are_batches() {
    let mut without = SegmentAssembler::new(Vec::new(), header(7, 0)).unwrap();
    let batches = [of_codec(BatchCodec::None, 0, 2)];
    let refused = append_batches(&mut without, block_of(0, 2, &batches), Compression::None);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("the file header does not say")
    );
    let mut with = SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    append_records(&mut with, {
        let mut block = BlockBuilder::new(0);
        block.cover(2);
        block
    });
    let refused = with.seal(GapReason::NotDelivered).map(drop);
    assert!(refused.unwrap_err().to_string().contains("none does"));
    let mut empty = SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    let refused = append_batches(&mut empty, block_of(0, 2, &[]), Compression::None);
    assert!(refused.unwrap_err().to_string().contains("no batches"));
    let by_broker = FileHeader {
        timestamp_type: TimestampType::LogAppendTime,
        ..header(7, 0)
    };
    let mut other = SegmentAssembler::with_features(Vec::new(), by_broker, FEATURES).unwrap();
    let refused = append_batches(&mut other, block_of(0, 2, &batches), Compression::None);
    assert!(refused.unwrap_err().to_string().contains("timestamp type"));
}

#[test]
fn everything_is_read_with_the_first_stream() {
    let bytes = segment();
    let segment = Segment::open_whole(&bytes).unwrap();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    for (number, entry) in segment.index().entries().iter().enumerate() {
        let start = &bytes[entry.position as usize..entry.meta_end() as usize];
        segment
            .decode_meta(number, start, &mut decoder, &mut columns)
            .unwrap();
        let offsets: Vec<i64> = columns.offsets().to_vec();
        let position = entry.position as usize;
        let block = segment.block(number, &bytes[position..]).unwrap();
        block
            .decode(&mut decoder, Streams::Meta, &mut columns)
            .unwrap();
        for id in [
            kbk_format::StreamId::Keys,
            kbk_format::StreamId::Headers,
            kbk_format::StreamId::Values,
        ] {
            block.decode_stream(&mut decoder, id, &mut columns).unwrap();
        }
        assert_eq!(columns.offsets(), offsets);
        let all = owned(&columns);
        assert_eq!(all, offsets.into_iter().map(record).collect::<Vec<_>>());
    }
    assert_eq!(Attributes::default().codec(), Some(BatchCodec::None));
}
