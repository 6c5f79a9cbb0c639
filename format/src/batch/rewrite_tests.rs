//! Adopted and merged batches against batches that are built from records, and damage that must stay visible.

use proptest::prelude::*;

use super::tests::{CODECS, Owned, decode, encode, options, record, records};
use super::*;
use crate::record::TimestampType;

fn adoption() -> impl Strategy<Value = Adoption> {
    let producer = (any::<i64>(), any::<i16>(), any::<i32>());
    let producer = producer.prop_map(|(id, epoch, base_sequence)| Producer {
        id,
        epoch,
        base_sequence,
    });
    (
        proptest::option::of(0..1_i64 << 60),
        any::<Option<i32>>(),
        proptest::option::of(producer),
        any::<Option<bool>>(),
        any::<bool>(),
    )
        .prop_map(
            |(base_offset, leader_epoch, producer, transactional, clear_delete_horizon)| Adoption {
                base_offset,
                leader_epoch,
                producer,
                transactional,
                clear_delete_horizon,
            },
        )
}

/// Sets the fields, and computes the checksum over all bytes.
fn model(adoption: &Adoption, batch: &mut [u8]) {
    let mut set = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    if let Some(base_offset) = adoption.base_offset {
        set(0, &base_offset.to_be_bytes());
    }
    if let Some(leader_epoch) = adoption.leader_epoch {
        set(12, &leader_epoch.to_be_bytes());
    }
    if let Some(producer) = adoption.producer {
        set(43, &producer.id.to_be_bytes());
        set(51, &producer.epoch.to_be_bytes());
        set(53, &producer.base_sequence.to_be_bytes());
    }
    match adoption.transactional {
        Some(true) => batch[22] |= 0x10,
        Some(false) => batch[22] &= !0x10,
        None => {}
    }
    if adoption.clear_delete_horizon {
        batch[22] &= !0x40;
    }
    recompute(batch);
}

fn recompute(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

proptest! {
    #[test]
    fn an_adopted_batch_has_the_fields_and_the_checksum(
        all in records(),
        codec in 0..5_usize,
        flags: [bool; 2],
        adoption in adoption(),
    ) {
        let mut batch = encode(options(CODECS[codec]), &all);
        batch[22] |= u8::from(flags[0]) << 4 | u8::from(flags[1]) << 6;
        recompute(&mut batch);
        let mut expected = batch.clone();
        model(&adoption, &mut expected);
        // The header alone is enough: the records may be elsewhere.
        let mut header = batch[..HEADER_LENGTH].to_vec();
        adoption.apply(&mut header, 0).unwrap();
        prop_assert_eq!(&header[..], &expected[..HEADER_LENGTH]);
        adoption.apply(&mut batch, 0).unwrap();
        prop_assert_eq!(&batch, &expected);
        let parsed = RecordBatch::parse(&batch, 0).unwrap();
        parsed.check_crc().unwrap();
        prop_assert!(!(adoption.clear_delete_horizon && parsed.header().attributes.has_delete_horizon()));
    }

    #[test]
    fn a_flipped_bit_is_found_after_adoption(
        all in records(),
        codec in 0..5_usize,
        adoption in adoption(),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let intact = encode(options(CODECS[codec]), &all);
        // Bits of fields that are set are replaced with what they protect.
        let kept: Vec<usize> = (17..22).chain(27..43).chain(HEADER_LENGTH..intact.len()).collect();
        let at = kept[at.index(kept.len())];
        let mut damaged = intact.clone();
        damaged[at] ^= 1 << bit;
        adoption.apply(&mut damaged, 0).unwrap();
        let class = RecordBatch::parse(&damaged, 0).unwrap().check_crc().unwrap_err().class;
        prop_assert_eq!(class, ErrorClass::Checksum);
        // It is the same bit as before.
        let mut expected = intact;
        model(&adoption, &mut expected);
        expected[at] ^= 1 << bit;
        prop_assert_eq!(damaged, expected);
    }

    #[test]
    fn the_crc_of_batches_is_that_of_their_bytes(
        all in proptest::collection::vec(records(), 0..4),
        codec in 0..5_usize,
        damage: Option<prop::sample::Index>,
    ) {
        let mut log: Vec<u8> = all.iter().flat_map(|all| encode(options(CODECS[codec]), all)).collect();
        let mut crc = BatchesCrc::new();
        for batch in RecordBatches::new(&log, 0) {
            crc.push(&batch.unwrap());
        }
        prop_assert_eq!(crc.get(), crc32c::crc32c(&log));
        // Where a batch is not what its checksum says, the bytes are not what theirs says.
        let starts: Vec<usize> = RecordBatches::new(&log, 0).map(|it| it.unwrap().position() as usize).collect();
        if let (Some(damage), false) = (damage, starts.is_empty()) {
            let at = starts[damage.index(starts.len())] + 27 + damage.index(16);
            log[at] ^= 1;
            let mut crc = BatchesCrc::new();
            for batch in RecordBatches::new(&log, 0) {
                crc.push(&batch.unwrap());
            }
            prop_assert_ne!(crc.get(), crc32c::crc32c(&log));
        }
    }

    #[test]
    fn merged_batches_are_one_of_all_records(
        all in proptest::collection::vec(records(), 1..5),
        codec in 0..5_usize,
        adoption in adoption(),
    ) {
        let codec = CODECS[codec];
        let mut merger = BatchMerger::new(MergeOptions { codec, batch_bytes: 1 << 20, close_gaps: true });
        let base = all[0][0].offset;
        let numbered: Vec<Owned> = all.iter().flatten().zip(base..).map(|(one, offset)| Owned { offset, ..one.clone() }).collect();
        let mut log = Vec::new();
        // Buffers are reused: twice the same.
        for _ in 0..2 {
            for all in &all {
                let batch = encode(options(codec), all);
                prop_assert_eq!(merger.push(&RecordBatch::parse(&batch, 0).unwrap()).unwrap(), Merge::Merged);
            }
            prop_assert_eq!(merger.record_count() as usize, numbered.len());
            let raw_length = merger.raw_length();
            log.clear();
            merger.finish(&adoption, &mut log).unwrap();
            prop_assert_eq!(merger.raw_length(), 0);
            let mut expected = encode(options(codec), &numbered);
            if codec == BatchCodec::None {
                prop_assert_eq!(raw_length, expected.len());
            }
            model(&adoption, &mut expected);
            prop_assert_eq!(&log, &expected, "the same bytes as of the records");
        }
        let read = decode(&log).unwrap();
        let base = adoption.base_offset.unwrap_or(base);
        let offsets: Vec<i64> = (base..).take(numbered.len()).collect();
        prop_assert_eq!(read.iter().map(|it| it.offset).collect::<Vec<_>>(), offsets);
    }

    #[test]
    fn damage_is_refused_and_leaves_the_merged_batch(
        first in records(),
        second in records(),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let mut merger = BatchMerger::new(MergeOptions {
            codec: BatchCodec::None,
            batch_bytes: 1 << 20,
            close_gaps: true,
        });
        let intact = encode(options(BatchCodec::None), &first);
        let _ = merger.push(&RecordBatch::parse(&intact, 0).unwrap()).unwrap();
        let before = (merger.record_count(), merger.raw_length());
        let mut damaged = encode(options(BatchCodec::None), &second);
        let at = HEADER_LENGTH + at.index(damaged.len() - HEADER_LENGTH);
        damaged[at] ^= 1 << bit;
        let refused = merger.push(&RecordBatch::parse(&damaged, 9).unwrap()).unwrap_err();
        prop_assert_eq!((refused.class, refused.position), (ErrorClass::Checksum, 9));
        // With a checksum that matches, the records decide.
        recompute(&mut damaged);
        let is_valid = decode(&damaged).is_ok();
        let pushed = merger.push(&RecordBatch::parse(&damaged, 9).unwrap());
        prop_assert_eq!(pushed.is_ok(), is_valid);
        if !is_valid {
            prop_assert_eq!((merger.record_count(), merger.raw_length()), before);
            let mut log = Vec::new();
            merger.finish(&Adoption::default(), &mut log).unwrap();
            prop_assert_eq!(decode(&log).unwrap().len(), first.len());
        }
    }
}

fn merger(batch_bytes: usize, close_gaps: bool) -> BatchMerger {
    BatchMerger::new(MergeOptions {
        codec: BatchCodec::None,
        batch_bytes,
        close_gaps,
    })
}

#[test]
fn what_does_not_merge_is_named() {
    let plain = |offset| encode(options(BatchCodec::None), &[record(offset, 1, b"v")]);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut batch = plain(7);
        change(&mut batch);
        recompute(&mut batch);
        batch
    };
    let push = |merger: &mut BatchMerger, batch: &[u8]| {
        merger.push(&RecordBatch::parse(batch, 0).unwrap()).unwrap()
    };
    let control = with(&|batch| batch[22] |= 0x20);
    let by_broker = with(&|batch| batch[22] |= 0x08);
    let gap = with(&|batch| batch[26] = 1);
    let unknown = with(&|batch| batch[22] |= 0x07);
    let mut strict = merger(1 << 20, false);
    for (batch, reason) in [
        (&control, CannotMerge::Control),
        (&by_broker, CannotMerge::LogAppendTime),
        (&gap, CannotMerge::GapInside),
        (&unknown, CannotMerge::Codec(None)),
        (
            &encode(options(BatchCodec::Lz4), &[record(7, 1, b"v")]),
            CannotMerge::Codec(Some(BatchCodec::Lz4)),
        ),
    ] {
        assert_eq!(push(&mut strict, batch), Merge::Cannot(reason));
        assert_eq!(strict.record_count(), 0);
    }
    assert_eq!(push(&mut strict, &plain(7)), Merge::Merged);
    for apart in [plain(7), plain(9)] {
        let outcome = push(&mut strict, &apart);
        assert_eq!(outcome, Merge::Cannot(CannotMerge::GapBefore));
    }
    assert_eq!(push(&mut strict, &plain(8)), Merge::Merged);
    // The same gaps are closed where that is wanted, and a batch without records is one.
    let mut closing = merger(1 << 20, true);
    let mut empty = Vec::new();
    let builder = BatchBuilder::new(BatchOptions::default());
    builder.put_empty(9, 12, &mut empty).unwrap();
    for batch in [&gap, &empty, &plain(20)] {
        assert_eq!(push(&mut closing, batch), Merge::Merged);
    }
    let mut log = Vec::new();
    closing.finish(&Adoption::default(), &mut log).unwrap();
    assert_eq!(
        decode(&log).unwrap(),
        [record(7, 1, b"v"), record(8, 1, b"v")]
    );
    let header = *RecordBatch::parse(&log, 0).unwrap().header();
    assert_eq!(header.not_producible(), None);
    assert_eq!(header.producer, Producer::NONE);

    let obstacle = |batch: &[u8]| {
        RecordBatch::parse(batch, 0)
            .unwrap()
            .header()
            .not_producible()
    };
    assert_eq!(obstacle(&control), Some(NotProducible::Control));
    assert_eq!(obstacle(&by_broker), Some(NotProducible::LogAppendTime));
    assert_eq!(obstacle(&gap), Some(NotProducible::Gaps));
    assert_eq!(obstacle(&empty), Some(NotProducible::Empty));
}

#[test]
fn a_full_batch_is_finished_first() {
    let batch = |offset| encode(options(BatchCodec::None), &[record(offset, 1, &[7; 100])]);
    let length = batch(0).len();
    // Room for two: the second record takes as many bytes as the first.
    let mut merger = merger(2 * length - HEADER_LENGTH, true);
    let push = |merger: &mut BatchMerger, offset| {
        let bytes = batch(offset);
        merger
            .push(&RecordBatch::parse(&bytes, 0).unwrap())
            .unwrap()
    };
    assert_eq!(push(&mut merger, 0), Merge::Merged);
    assert_eq!(push(&mut merger, 1), Merge::Merged);
    assert_eq!(push(&mut merger, 2), Merge::Full);
    assert_eq!(merger.record_count(), 2);
    let mut log = Vec::new();
    merger.finish(&Adoption::default(), &mut log).unwrap();
    assert_eq!(log.len(), 2 * length - HEADER_LENGTH);
    assert_eq!(push(&mut merger, 2), Merge::Merged);
    merger.finish(&Adoption::default(), &mut log).unwrap();
    let offsets: Vec<i64> = decode(&log).unwrap().iter().map(|it| it.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
    // One that is larger than the limit is a batch of its own.
    let mut small = self::merger(10, true);
    assert_eq!(push(&mut small, 5), Merge::Merged);
    assert_eq!(push(&mut small, 6), Merge::Full);
    merger.finish(&Adoption::default(), &mut log).unwrap();
    assert_eq!(decode(&log).unwrap().len(), 3, "nothing of no records");
}

#[test]
fn what_cannot_be_adopted_is_unchanged() {
    let far = Adoption {
        base_offset: Some(i64::MAX - 1),
        leader_epoch: Some(9),
        ..Adoption::default()
    };
    let intact = encode(
        options(BatchCodec::None),
        &[record(3, 1, b""), record(4, 1, b"")],
    );
    for base_offset in [-1, i64::MAX - 1, i64::MAX] {
        let mut batch = intact.clone();
        let adoption = Adoption {
            base_offset: Some(base_offset),
            ..far
        };
        let refused = adoption.apply(&mut batch, 5).unwrap_err();
        assert_eq!(
            (refused.class, refused.position),
            (ErrorClass::Inconsistent, 5)
        );
        assert_eq!(batch, intact);
    }
    for length in 0..HEADER_LENGTH {
        let mut cut = intact[..length].to_vec();
        let refused = Adoption::default().apply(&mut cut, 0).unwrap_err();
        assert_eq!(refused.class, ErrorClass::Truncated, "{length}");
    }
    let mut old = vec![0; 40];
    old[11] = 28;
    let refused = Adoption::default().apply(&mut old, 0).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Unsupported);
}

#[test]
fn tombstones_keep_their_time_without_a_horizon() {
    let mut batch = encode(options(BatchCodec::None), &[record(3, 1_000, b"")]);
    batch[22] |= 0x40;
    recompute(&mut batch);
    let before = decode(&batch).unwrap();
    let adoption = Adoption {
        clear_delete_horizon: true,
        ..Adoption::default()
    };
    adoption.apply(&mut batch, 0).unwrap();
    assert_eq!(decode(&batch).unwrap(), before);
    let attributes = RecordBatch::parse(&batch, 0).unwrap().header().attributes;
    assert!(!attributes.has_delete_horizon());
    assert_eq!(attributes.timestamp_type(), TimestampType::CreateTime);
}
