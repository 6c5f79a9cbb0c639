//! Blocks of kind 2 whose numbers were not computed (SPEC 2.11): nothing is read that was not stated, no search misses a record, and what is
//! written of them anew has all numbers.

use super::*;

const NOT_COMPUTED: SegmentFeatures = SegmentFeatures {
    not_computed: true,
    ..FEATURES
};

fn block(base_offset: i64, end_offset: i64, batches: &[Batch]) -> BatchesBuilder {
    let block = BatchesBuilder::not_computed(base_offset, TimestampType::CreateTime);
    filled(block, end_offset, batches)
}

fn begin(base_offset: i64) -> Assembler {
    SegmentAssembler::with_features(Vec::new(), header(7, base_offset), NOT_COMPUTED).unwrap()
}

/// A block that is computed and one of records between two that are not.
fn segment() -> Vec<u8> {
    let mut assembler = begin(0);
    let of = |codec, base| {
        [
            of_codec(codec, base, 3),
            of_codec(BatchCodec::None, base + 3, 2),
        ]
    };
    append_batches(
        &mut assembler,
        block(0, 6, &of(BatchCodec::Zstd, 0)),
        Compression::Zstd(3),
    )
    .unwrap();
    append_batches(
        &mut assembler,
        block_of(6, 11, &of(BatchCodec::Lz4, 6)),
        Compression::None,
    )
    .unwrap();
    let mut records = BlockBuilder::new(11);
    record(11).with(|record| records.push(record)).unwrap();
    append_records(&mut assembler, records);
    let plain = [of_codec(BatchCodec::None, 12, 30)];
    append_batches(&mut assembler, block(12, 42, &plain), Compression::Zstd(1)).unwrap();
    assembler.seal(GapReason::NotDelivered).unwrap().0
}

fn block_records(bytes: &[u8], number: usize) -> Vec<Owned> {
    let segment = Segment::open_whole(bytes).unwrap();
    let position = segment.index().entries()[number].position as usize;
    let block = segment.block(number, &bytes[position..]).unwrap();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    block
        .decode(&mut decoder, Streams::All, &mut columns)
        .unwrap();
    owned(&columns)
}

proptest! {
    #[test]
    fn records_are_read_and_found_by_time_and_nothing_is_stated_that_was_not_computed(
        batches in any_batches(),
        split: prop::sample::Index,
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let records: Vec<Owned> = batches.iter().flat_map(|it| it.records.clone()).collect();
        let base = records[0].offset - 2;
        let mut assembler = begin(base);
        let mut computed = SegmentAssembler::with_features(Vec::new(), header(7, base), FEATURES).unwrap();
        let (first, second) = batches.split_at(split.index(batches.len()));
        for part in [first, second] {
            if !part.is_empty() {
                let from = assembler.end_offset();
                append_batches(&mut assembler, block(from, from, part), Compression::Zstd(1)).unwrap();
                append_batches(&mut computed, block_of(from, from, part), Compression::None).unwrap();
            }
        }
        let (bytes, summary) = assembler.seal(GapReason::NotDelivered).unwrap();
        let (_, computed) = computed.seal(GapReason::NotDelivered).unwrap();
        prop_assert!(summary.statistics.computed.is_none() && summary.rendered.is_none() && summary.whole_lines.is_none());
        let segment = verify::verify_whole(&bytes, true).unwrap();
        verify::verify_whole(&bytes, false).unwrap();
        prop_assert!(!segment.is_computed() && segment.rendered_sizes().is_none());
        prop_assert_eq!(segment.statistics(), &summary.statistics);
        prop_assert_eq!(summary.statistics.record_count, records.len() as u64);
        prop_assert_eq!(summary.statistics.max_timestamp, computed.statistics.max_timestamp);
        prop_assert_eq!(read(&bytes).unwrap(), records.clone());

        // Searches by time.
        let times: Vec<i64> = records.iter().flat_map(|it| [it.timestamp, it.timestamp.saturating_add(1)]).chain([i64::MIN, -1, 0]).collect();
        let index = segment.index();
        for pair in picks.chunks(2) {
            let (from, to) = (*pair[0].get(&times), *pair[1].get(&times));
            let inside = |record: &Owned| (from..to).contains(&record.timestamp);
            let found: Vec<Owned> = index.blocks_of_times(from, to).flat_map(|number| block_records(&bytes, number)).filter(inside).collect();
            let expected: Vec<Owned> = records.iter().filter(|it| inside(it)).cloned().collect();
            prop_assert_eq!(found, expected);
            let mut blocks = index.blocks_of_time(from).flat_map(|number| block_records(&bytes, number));
            let reaches = |record: &Owned| record.timestamp >= from;
            prop_assert_eq!(blocks.find(reaches), records.iter().find(|it| reaches(it)).cloned());
        }

        // What a recovery writes has the same batches, and all numbers.
        let (recovered, summary) = recover_from(&bytes, base);
        let mut statistics = summary.statistics;
        statistics.raw_bytes = computed.statistics.raw_bytes;
        prop_assert_eq!(statistics, computed.statistics);
        prop_assert_eq!(summary.rendered, computed.rendered);
        verify::verify_whole(&recovered, true).unwrap();
        for number in 0..index.entries().len() {
            prop_assert_eq!(batches_of(&recovered, number).unwrap(), batches_of(&bytes, number).unwrap());
        }
    }
}

fn recover_from(bytes: &[u8], base: i64) -> (Vec<u8>, kbk_format::SegmentSummary) {
    let salvage = Salvage::of(bytes, &Known::default());
    salvage
        .write(&[bytes], header(9, base), Vec::new())
        .unwrap()
}

#[test]
fn every_flipped_bit_of_a_segment_that_is_not_computed_is_found() {
    let intact = segment();
    verify::verify_whole(&intact, true).unwrap();
    let records = read(&intact).unwrap();
    let expected: Vec<Owned> = (0..5).chain(6..42).map(record).collect();
    assert_eq!(records, expected);
    for at in 0..intact.len() {
        for bit in 0..8 {
            let mut damaged = intact.clone();
            damaged[at] ^= 1 << bit;
            let what = format!("bit {bit} of byte {at}");
            let verified = verify::verify_whole(&damaged, true);
            assert!(verified.is_err(), "{what}: verify");
            let verified = verify::verify_whole(&damaged, false);
            assert!(verified.is_err(), "{what}: verify without records");
            if let Ok(found) = read(&damaged) {
                assert_eq!(found, records, "{what}: read");
            }
        }
    }
}

#[test]
fn what_is_left_without_header_and_footer_is_proved_by_its_batches() {
    let intact = segment();
    let segment = Segment::open_whole(&intact).unwrap();
    let mut headless = intact[..segment.footer_position() as usize].to_vec();
    headless[..64].fill(0);
    let salvage = Salvage::of(&headless, &Known::default());
    assert_eq!(salvage.pieces.len(), 4);
    // Of a block in which a batch was changed, the other batch is proved by what all of them state.
    let entry = segment.index().entries()[0];
    let at = entry.header_length as usize + 90;
    let mut damaged = intact.clone();
    damaged[entry.position as usize + at] ^= 1;
    let lost = damaged_blocks::batch_at(&intact, 0, at);
    assert_eq!(lost, 0..3);
    let mut left = read(&intact).unwrap();
    left.retain(|record| !lost.contains(&record.offset));
    assert_eq!(damaged_blocks::salvaged(&[&damaged]), left);
    let (written, summary) = recover_from(&damaged, 0);
    assert_eq!(read(&written).unwrap(), left);
    assert!(summary.statistics.computed.is_some());
}

#[test]
fn the_header_says_that_a_block_is_not_computed_exactly_where_one_is_not() {
    let plain = || [of_codec(BatchCodec::None, 0, 3)];
    let mut not_said = SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    let refused = append_batches(&mut not_said, block(0, 3, &plain()), Compression::None);
    assert!(
        matches!(refused, Err(WriteError::Format(error)) if error.class == ErrorClass::Inconsistent)
    );

    let mut in_vain = begin(0);
    append_batches(&mut in_vain, block_of(0, 3, &plain()), Compression::None).unwrap();
    let refused = in_vain.seal(GapReason::NotDelivered);
    assert!(
        matches!(refused, Err(WriteError::Format(error)) if error.class == ErrorClass::Inconsistent)
    );

    let filtered = SegmentFeatures {
        key_filter: Some(KeyFilterBits::default()),
        ..NOT_COMPUTED
    };
    let refused = SegmentAssembler::with_features(Vec::new(), header(7, 0), filtered);
    assert!(
        matches!(refused, Err(WriteError::Format(error)) if error.class == ErrorClass::Inconsistent)
    );
}

/// A batch whose records decompress to about this many bytes.
fn expanding(codec: BatchCodec, offset: i64, bytes: usize) -> Vec<u8> {
    let options = BatchOptions {
        codec,
        ..BatchOptions::default()
    };
    let large = Owned {
        value: Some(vec![b'x'; bytes]),
        ..record(offset)
    };
    batch(vec![large], options, -1).bytes
}

#[test]
fn no_block_decompresses_to_more_than_a_reader_accepts() {
    for codec in [
        BatchCodec::Gzip,
        BatchCodec::Lz4,
        BatchCodec::Zstd,
        BatchCodec::Snappy,
    ] {
        let mut block = BatchesBuilder::not_computed(0, TimestampType::CreateTime);
        let mut push = |bytes: &[u8]| {
            let batch = RecordBatch::parse(bytes, 0).unwrap().check().unwrap();
            block.try_push(&batch, usize::MAX).unwrap()
        };
        // A few MiB fit together, more than 4 MiB do not.
        assert_eq!(push(&expanding(codec, 0, 1 << 20)), PushBatch::Pushed);
        assert_eq!(push(&expanding(codec, 1, 2 << 20)), PushBatch::Pushed);
        assert_eq!(push(&expanding(codec, 2, 2 << 20)), PushBatch::Full);
        assert_eq!(push(&expanding(codec, 2, 1 << 19)), PushBatch::Pushed);

        // Alone, a batch of more is stored, and read.
        let mut block = BatchesBuilder::not_computed(0, TimestampType::CreateTime);
        let large = expanding(codec, 0, 12 << 20);
        let large = RecordBatch::parse(&large, 0).unwrap().check().unwrap();
        assert_eq!(
            block.try_push(&large, usize::MAX).unwrap(),
            PushBatch::Pushed
        );
        let next = expanding(codec, 1, 10);
        let next = RecordBatch::parse(&next, 0).unwrap().check().unwrap();
        assert_eq!(block.try_push(&next, usize::MAX).unwrap(), PushBatch::Full);
        let mut assembler = begin(0);
        append_batches(&mut assembler, block, Compression::None).unwrap();
        let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
        assert_eq!(read(&bytes).unwrap().len(), 1);
    }
    // More than any block may have is for columns, or for nothing.
    let bomb = expanding(BatchCodec::Zstd, 0, 129 << 20);
    let bomb = RecordBatch::parse(&bomb, 0).unwrap().check().unwrap();
    let mut block = BatchesBuilder::not_computed(0, TimestampType::CreateTime);
    let pushed = block.try_push(&bomb, usize::MAX).unwrap();
    assert_eq!(pushed, PushBatch::Cannot(NotStorable::TooLarge));
}

#[test]
fn a_block_is_computed_as_long_as_that_needs_no_decompression() {
    use BatchCodec::{Gzip, Lz4, None, Snappy, Zstd};
    let mut block = BatchesBuilder::computed_where_cheap(0, TimestampType::CreateTime);
    let mut encoder = Encoder::new(Compression::None);
    // The same buffers each time: a block does not depend on the one before it.
    let cases: [(&[BatchCodec], bool); 9] = [
        (&[Zstd], false),
        (&[None], true),
        (&[None, Lz4], false),
        (&[None, Gzip, None], true),
        (&[Gzip], true),
        (&[Gzip, Snappy, None, Gzip], false),
        (&[Lz4, None], false),
        (&[Snappy, Zstd], false),
        (&[None, None], true),
    ];
    for (codecs, is_computed) in cases {
        let batches: Vec<Batch> = (0..)
            .zip(codecs)
            .map(|(at, codec)| of_codec(*codec, 3 * at, 3))
            .collect();
        block = filled(block, 0, &batches);
        let features = SegmentFeatures {
            not_computed: !is_computed,
            ..FEATURES
        };
        let begun = SegmentAssembler::with_features(Vec::new(), header(7, 0), features);
        let mut assembler = begun.unwrap();
        let encoded = block.encode(assembler.renderer(), &mut encoder);
        let expected = match is_computed {
            true => BatchesBuilder::new(0, TimestampType::CreateTime),
            false => BatchesBuilder::not_computed(0, TimestampType::CreateTime),
        };
        let expected = filled(expected, 0, &batches).encode(assembler.renderer(), &mut encoder);
        assert_eq!(encoded.statistics(), expected.statistics(), "{codecs:?}");
        assert_eq!(encoded.text(), expected.text(), "{codecs:?}");
        assembler.append(&encoded).unwrap();
        let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
        let segment = verify::verify_whole(&bytes, true).unwrap();
        assert_eq!(segment.is_computed(), is_computed, "{codecs:?}");
        let all: Vec<Owned> = batches.into_iter().flat_map(|it| it.records).collect();
        assert_eq!(read(&bytes).unwrap(), all, "{codecs:?}");
        block = encoded.recycle(0);
    }

    // One that may decompress to more: its records are counted, and that is all.
    let large = expanding(Zstd, 0, 12 << 20);
    let large = RecordBatch::parse(&large, 0).unwrap().check().unwrap();
    assert_eq!(
        block.try_push(&large, usize::MAX).unwrap(),
        PushBatch::Pushed
    );
    let next = of_codec(Lz4, 1, 3);
    let next = RecordBatch::parse(&next.bytes, 0).unwrap().check().unwrap();
    assert_eq!(block.try_push(&next, usize::MAX).unwrap(), PushBatch::Full);
    let mut assembler = begin(0);
    append_batches(&mut assembler, block, Compression::None).unwrap();
    let (bytes, summary) = assembler.seal(GapReason::NotDelivered).unwrap();
    assert!(summary.statistics.computed.is_none());
    verify::verify_whole(&bytes, true).unwrap();
}

#[test]
fn what_cannot_be_bounded_is_decoded_and_what_cannot_be_decoded_is_refused() {
    for codec in [BatchCodec::Gzip, BatchCodec::Zstd] {
        let mut bytes = of_codec(codec, 0, 3).bytes;
        // The magic of the codec, and a checksum that matches all the same.
        bytes[61] ^= 1;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let batch = RecordBatch::parse(&bytes, 0).unwrap().check().unwrap();
        let mut block = BatchesBuilder::computed_where_cheap(0, TimestampType::CreateTime);
        let refused = block.try_push(&batch, usize::MAX).unwrap_err();
        assert_eq!(refused.class, ErrorClass::Inconsistent, "{codec:?}");
        assert!(block.is_empty());
    }
}
