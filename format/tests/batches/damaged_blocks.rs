//! Damaged blocks of kind 2, of which the batches are left that prove themselves (SPEC section 5).

use std::ops::Range;

use kbk_format::block::BlockHeader;
use kbk_format::salvage::{Loss, LossReason, damaged_batches};

use super::*;

/// Returns the offsets of the batch that has a byte of a block; none where it is in no batch.
pub(super) fn batch_at(bytes: &[u8], block: usize, at: usize) -> Range<i64> {
    let segment = Segment::open_whole(bytes).unwrap();
    let position = segment.index().entries()[block].position as usize;
    let salt = segment.header().salt();
    let header = BlockHeader::decode(&bytes[position..], position as u64, salt).unwrap();
    let raw = batches_of(bytes, block).unwrap().unwrap();
    let mut from = header.header_length();
    for batch in RecordBatches::new(&raw, 0) {
        let batch = batch.unwrap();
        let to = from + batch.bytes().len();
        if (from..to).contains(&at) {
            return batch.header().base_offset..batch.header().last_offset + 1;
        }
        from = to;
    }
    0..0
}

pub(super) fn salvaged(copies: &[&[u8]]) -> Vec<Owned> {
    let salvage = Salvage::of_copies(copies, &Known::default());
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut found = Vec::new();
    for piece in &salvage.pieces {
        let bytes = copies[piece.copy];
        piece.decode(bytes, &mut decoder, &mut columns).unwrap();
        found.extend(owned(&columns));
    }
    found
}

/// Wherever a byte is changed: what is left is what was there, and of a batch whose own checksum covers it, only that batch is lost.
#[test]
fn of_a_damaged_block_the_batches_that_prove_themselves_are_left() {
    let intact = segment();
    let records = read(&intact).unwrap();
    let opened = Segment::open_whole(&intact).unwrap();
    let entry = opened.index().entries()[0];
    let start = entry.position as usize;
    let salt = opened.header().salt();
    let header = BlockHeader::decode(&intact[start..], entry.position, salt).unwrap();
    let (mut alone, mut all) = (0, 0);
    for at in header.header_length()..header.block_length() {
        let mut damaged = intact.clone();
        damaged[start + at] ^= 0x10;
        let found = salvaged(&[&damaged]);
        let lost = batch_at(&intact, 0, at);
        let without = |lost: Range<i64>| {
            let left = records.iter().filter(|it| !lost.contains(&it.offset));
            left.cloned().collect::<Vec<_>>()
        };
        match found == without(lost) {
            true => alone += 1,
            false => {
                assert_eq!(found, without(0..16), "byte {at}");
                all += 1;
            }
        }
        let (new, summary) = recover(&damaged);
        verify::verify_whole(&new, true).unwrap();
        assert_eq!(read(&new).unwrap(), found, "byte {at}");
        assert_eq!(summary.statistics.end_offset, 57);
        // A second copy that is damaged elsewhere makes up for it.
        let mut other = intact.clone();
        other[start + header.header_length() + 40] ^= 1;
        let both = salvaged(&[&damaged, &other]);
        let is_first = batch_at(&intact, 0, at) == batch_at(&intact, 0, header.header_length());
        if !is_first {
            assert_eq!(both, records, "byte {at}");
        }
        assert!(both.iter().all(|it| records.contains(it)), "byte {at}");
    }
    // Five batches have 21 bytes each that no checksum of their own covers.
    assert!(alone > 200 && (1..=5 * 21).contains(&all), "{alone} {all}");
}

/// Of one block alone, the same is found as by a scan of the whole segment, whatever byte of it is changed.
#[test]
fn a_block_alone_tells_which_of_its_batches_are_damaged() {
    let intact = segment();
    let entry = Segment::open_whole(&intact).unwrap().index().entries()[0];
    let start = entry.position as usize;
    let end = start + entry.block_length as usize;
    let mut divided = 0;
    for at in start..end {
        let mut damaged = intact.clone();
        damaged[at] ^= 0x10;
        let found = damaged_batches(&damaged[start..end], Some(TimestampType::CreateTime));
        let losses = Salvage::of(&damaged, &Known::default()).losses;
        let is_of_batch = |loss: &&Loss| loss.reason == LossReason::DamagedBatch;
        let expected: Vec<Loss> = losses.iter().filter(is_of_batch).cloned().collect();
        assert_eq!(found, expected, "byte {at}");
        divided += usize::from(!found.is_empty());
        assert_eq!(
            damaged_batches(&damaged[start..at], None),
            [],
            "cut at {at}"
        );
    }
    assert!(divided > 200, "{divided}");
    assert_eq!(damaged_batches(&intact[start..end], None), []);
}

/// A page of another segment in the middle of a block may hold whole batches, at offsets that fit.
#[test]
fn batches_of_another_segment_in_a_block_prove_nothing() {
    let of = |value: u8| {
        let records = |base: i64| {
            (base..base + 4).map(move |offset| Owned {
                value: Some(vec![value; 20]),
                ..record(offset)
            })
        };
        let batches = (0..12).map(|at| {
            let options = BatchOptions {
                codec: BatchCodec::Snappy,
                ..BatchOptions::default()
            };
            batch(records(at * 4).collect(), options, -1)
        });
        let batches: Vec<Batch> = batches.collect();
        let mut assembler =
            SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
        append_batches(&mut assembler, block_of(0, 48, &batches), Compression::None).unwrap();
        assembler.seal(GapReason::Compacted).unwrap().0
    };
    let (ours, theirs) = (of(b'a'), of(b'b'));
    assert_eq!(ours.len(), theirs.len());
    let opened = Segment::open_whole(&ours).unwrap();
    let start = opened.index().entries()[0].position as usize;
    let records = read(&ours).unwrap();
    for from in (start + 300..start + 900).step_by(7) {
        let mut damaged = ours.clone();
        damaged[from..from + 400].copy_from_slice(&theirs[from..from + 400]);
        let found = salvaged(&[&damaged]);
        assert!(found.iter().all(|it| records.contains(it)), "from {from}");
    }
}

/// Where batches were written, and what they cover.
fn places(bytes: &[u8], block: usize) -> Vec<Range<usize>> {
    let segment = Segment::open_whole(bytes).unwrap();
    let entry = segment.index().entries()[block];
    let mut at = entry.position as usize + entry.header_length as usize;
    let raw = batches_of(bytes, block).unwrap().unwrap();
    let lengths = RecordBatches::new(&raw, 0).map(|it| it.unwrap().bytes().len());
    lengths
        .map(|length| {
            at += length;
            at - length..at
        })
        .collect()
}

fn plain_segment() -> Vec<u8> {
    let batches: Vec<Batch> = (0..6)
        .map(|at| of_codec(BatchCodec::Lz4, 4 * at, 4))
        .collect();
    let mut assembler =
        SegmentAssembler::with_features(Vec::new(), header(7, 0), FEATURES).unwrap();
    append_batches(&mut assembler, block_of(0, 24, &batches), Compression::None).unwrap();
    let mut records = BlockBuilder::new(24);
    record(24).with(|record| records.push(record)).unwrap();
    append_records(&mut assembler, records);
    assembler.seal(GapReason::Compacted).unwrap().0
}

/// What a batch states of itself is not covered by its own checksum, and its checksum is no proof where it was changed as well.
#[test]
fn damage_to_what_batches_state_of_themselves_leaves_none_of_them() {
    let intact = plain_segment();
    let batches = places(&intact, 0);
    let others = [record(24)];
    let none_of = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let mut damaged = intact.clone();
        change(&mut damaged);
        assert_ne!(damaged, intact, "{what}");
        assert_eq!(salvaged(&[&damaged]), others, "{what}");
    };
    let (second, last) = (batches[1].clone(), batches[4].clone());
    for at in 0..21 {
        for bit in 0..8 {
            none_of(
                &|it| it[second.start + at] ^= 1 << bit,
                &format!("bit {bit} of byte {at}"),
            );
        }
    }
    none_of(
        &|it| {
            it[second.start + 7] ^= 1;
            it[last.start + 7] ^= 1;
        },
        "the same bit of two base offsets",
    );
    none_of(
        &|it| {
            it[second.start + 80] ^= 1;
            let crc = crc32c::crc32c(&it[second.start + 21..second.end]);
            it[second.start + 17..second.start + 21].copy_from_slice(&crc.to_be_bytes());
        },
        "a record, and the checksum that covers it",
    );
    none_of(
        &|it| {
            let length = second.len().min(batches[2].len());
            let (a, b) = (second.start, batches[2].start);
            for at in 0..length {
                it.swap(a + at, b + at);
            }
        },
        "two batches in each other's place",
    );
    none_of(
        &|it| it[second.clone()].fill(0),
        "a batch that is all zeros",
    );
    none_of(
        &|it| drop(it.drain(second.start + 70..second.start + 71)),
        "a byte that is missing",
    );
    none_of(
        &|it| {
            let longer = i32::try_from(second.len() + batches[2].len() - 12).unwrap();
            it[second.start + 8..second.start + 12].copy_from_slice(&longer.to_be_bytes());
        },
        "a batch as long as two",
    );
}

#[test]
fn what_is_lost_is_named_by_batch() {
    let intact = plain_segment();
    let batches = places(&intact, 0);
    let mut damaged = intact.clone();
    for (from, to) in [(1, 3), (4, 5)] {
        for batch in &batches[from..to] {
            damaged[batch.end - 1] ^= 1;
        }
    }
    let salvage = Salvage::of(&damaged, &Known::default());
    assert_eq!(salvage.blocks(), (1, 1));
    let pieces = salvage.pieces.iter();
    let pieces: Vec<_> = pieces
        .map(|it| (it.base_offset, it.end_offset, it.is_run))
        .collect();
    assert_eq!(
        pieces,
        [
            (0, 4, true),
            (12, 16, true),
            (20, 24, true),
            (24, 25, false)
        ]
    );
    let lost = salvage.losses.iter();
    let lost: Vec<_> = lost
        .map(|it| {
            (
                it.offsets.base_offset,
                it.offsets.end_offset,
                it.records,
                it.position,
                it.bytes,
                it.reason,
            )
        })
        .collect();
    let bytes = |from: usize, to: usize| {
        (
            batches[from].start as u64,
            (batches[to].end - batches[from].start) as u64,
        )
    };
    let ((first, first_bytes), (second, second_bytes)) = (bytes(1, 2), bytes(4, 4));
    assert_eq!(
        lost,
        [
            (
                4,
                12,
                Some(8),
                Some(first),
                Some(first_bytes),
                LossReason::DamagedBatch
            ),
            (
                16,
                20,
                Some(4),
                Some(second),
                Some(second_bytes),
                LossReason::DamagedBatch
            ),
        ]
    );
    assert_eq!(salvage.lost_records(), Some(12));
    // Their bytes, and nothing else, hold nothing that is proved.
    let unused: Vec<u64> = salvage.unused.iter().map(|it| it.end - it.start).collect();
    assert_eq!(unused[..2], [first_bytes, second_bytes]);
}

/// A batch that matches its checksum is taken from another copy only if it states there what is proved.
#[test]
fn another_copy_gives_no_batch_that_states_something_else_of_itself() {
    let intact = plain_segment();
    let second = places(&intact, 0)[1].clone();
    let mut damaged = intact.clone();
    damaged[second.end - 1] ^= 1;
    let mut left = read(&intact).unwrap();
    assert_eq!(salvaged(&[&damaged, &intact]), left);
    left.retain(|record| !(4..8).contains(&record.offset));
    for at in [7, 15] {
        let mut other = intact.clone();
        other[second.start + at] ^= 1;
        assert_eq!(salvaged(&[&damaged, &other]), left, "byte {at}");
        assert_eq!(salvaged(&[&other, &damaged]), left, "byte {at}");
    }
}

/// A batch of which the checksum matches, and which does not decode.
fn malformed(first: i64) -> Batch {
    let mut bytes = of_codec(BatchCodec::None, first, 3).bytes;
    // The length of the first record.
    bytes[61] = 1;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let records = Vec::new();
    Batch { records, bytes }
}

/// Nothing is damaged of the block: a faulty producer has written a batch, and the writer of the segment did not decode it.
#[test]
fn of_an_intact_block_the_batches_that_decode_are_left() {
    let good = |first: i64| of_codec(BatchCodec::Zstd, first, 3);
    let features = SegmentFeatures {
        not_computed: true,
        ..FEATURES
    };
    let mut assembler =
        SegmentAssembler::with_features(Vec::new(), header(7, 0), features).unwrap();
    let batches = [
        good(0),
        malformed(3),
        malformed(6),
        good(9),
        malformed(12),
        good(15),
    ];
    let block = BatchesBuilder::not_computed(0, TimestampType::CreateTime);
    append_batches(
        &mut assembler,
        filled(block, 20, &batches),
        Compression::None,
    )
    .unwrap();
    let intact = assembler.seal(GapReason::NotDelivered).unwrap().0;
    verify::verify_whole(&intact, false).unwrap();
    verify::verify_whole(&intact, true).unwrap_err();
    let entry = Segment::open_whole(&intact).unwrap().index().entries()[0];
    let (start, end) = (
        entry.position as usize,
        entry.position as usize + entry.block_length as usize,
    );

    let salvage = Salvage::of(&intact, &Known::default());
    let losses = salvage.losses.iter().map(|loss| {
        (
            loss.offsets.base_offset,
            loss.offsets.end_offset,
            loss.reason,
        )
    });
    let losses: Vec<_> = losses.collect();
    let reason = LossReason::DamagedBatch;
    assert_eq!(losses, [(3, 9, reason), (12, 15, reason)]);
    assert_eq!(salvage.lost_records(), Some(9));
    let known = Some(TimestampType::CreateTime);
    assert_eq!(damaged_batches(&intact[start..end], known), salvage.losses);
    let left = [&batches[0], &batches[3], &batches[5]];
    let left: Vec<Owned> = left.iter().flat_map(|it| it.records.clone()).collect();
    assert_eq!(salvaged(&[&intact]), left);
    let (new, summary) = recover(&intact);
    verify::verify_whole(&new, true).unwrap();
    assert_eq!(read(&new).unwrap(), left);
    assert_eq!(summary.statistics.end_offset, 20);

    // With a byte changed elsewhere, what matches its checksum may do so by chance.
    let mut damaged = intact.clone();
    damaged[start + 192 + 100] ^= 1;
    assert_eq!(salvaged(&[&damaged]), []);
}

/// Every batch decodes, and the block states another digest: nothing says which of its records are not what was written.
#[test]
fn of_a_block_that_contradicts_its_records_nothing_is_left() {
    let mut bytes = segment();
    let opened = Segment::open_whole(&bytes).unwrap();
    let (entry, last) = (opened.index().entries()[0], opened.index().entries()[3]);
    let footer = last.position as usize + last.block_length as usize;
    let (start, length) = (entry.position as usize, entry.header_length as usize);
    // Of content_digest.
    bytes[start + 96] ^= 1;
    let crc = crc32c::crc32c(&bytes[start + 8..start + length]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    bytes.truncate(footer);
    let left = salvaged(&[&bytes]);
    assert!(!left.is_empty());
    assert!(
        left.iter().all(|it| it.offset >= entry.end_offset),
        "{left:?}"
    );
    let salvage = Salvage::of(&bytes, &Known::default());
    let reasons: Vec<_> = salvage.losses.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, [LossReason::InconsistentBlock]);
}
