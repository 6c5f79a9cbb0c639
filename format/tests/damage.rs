//! Damage: every bit flipped, every length truncated, blocks in the wrong position.
//!
//! A verifier finds all of it. A reader and a scan may not: they return an error, or records that were written, and
//! never others.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use kbk_format::error::Result;
use kbk_format::layout::{file_header, trailer};
use kbk_format::salvage::{Known, Salvage};
use kbk_format::{
    BlockBuilder, BlockDecoder, Codec, Columns, Compression, Encoder, ErrorClass, GapReason,
    KeyFilterBits, Renderer, Scanner, Segment, SegmentAssembler, Streams, TimestampType, verify,
};

mod header;
mod records;
use header::header;
use records::{Owned, owned};

const CODECS: [Compression; 3] = [Compression::Zstd(3), Compression::Lz4, Compression::None];
const RECORDS_PER_BLOCK: i64 = 3;
const BLOCKS: usize = CODECS.len();

fn record(offset: i64) -> Owned {
    Owned {
        offset,
        timestamp: 1_763_800_000_000 - offset * 7,
        control: false,
        key: Some(format!("key-{offset}").into_bytes()),
        value: (offset != 4).then(|| {
            format!(
                "{{\"order\":{offset},\"order\":{offset},\"order\":{offset},\"note\":\"order\"}}"
            )
            .into_bytes()
        }),
        headers: vec![(b"h".to_vec(), Some(vec![0xff])), (b"h".to_vec(), None)],
    }
}

fn all_records() -> Vec<Owned> {
    (0..RECORDS_PER_BLOCK * BLOCKS as i64).map(record).collect()
}

/// Writes [`all_records`] into a segment with one block for each of these codecs, and a key filter.
fn segment_of(salt: u8, codecs: [Compression; BLOCKS]) -> Vec<u8> {
    let filter = Some(KeyFilterBits::default());
    let mut assembler =
        SegmentAssembler::with_key_filter(Vec::new(), header(salt, 0), filter).unwrap();
    for (block, compression) in codecs.into_iter().enumerate() {
        let first = block as i64 * RECORDS_PER_BLOCK;
        let mut builder = BlockBuilder::new(first);
        for offset in first..first + RECORDS_PER_BLOCK {
            record(offset).with(|record| builder.push(record)).unwrap();
        }
        assembler
            .append(&builder.encode(
                TimestampType::CreateTime,
                assembler.renderer(),
                &mut Encoder::new(compression),
            ))
            .unwrap();
    }
    assembler.seal(GapReason::NotDelivered).unwrap().0
}

/// Writes a segment with a block of every codec.
fn segment() -> Vec<u8> {
    let bytes = segment_of(7, CODECS);
    let opened = Segment::open_whole(&bytes).unwrap();
    let codecs: BTreeSet<_> = (0..BLOCKS)
        .flat_map(|number| {
            let block = opened
                .block(number, block_bytes(&opened, &bytes, number))
                .unwrap();
            block
                .header()
                .directory
                .iter()
                .map(|entry| entry.codec as u8)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        codecs,
        [Codec::None, Codec::Zstd, Codec::Lz4]
            .map(|codec| codec as u8)
            .into(),
        "a codec is missing"
    );
    bytes
}

fn block_bytes<'a>(segment: &Segment, bytes: &'a [u8], number: usize) -> &'a [u8] {
    let entry = &segment.index().entries()[number];
    &bytes[entry.position as usize..entry.end() as usize]
}

fn read_block(segment: &Segment, bytes: &[u8], number: usize) -> Result<Vec<Owned>> {
    let mut columns = Columns::new();
    let position = segment.index().entries()[number].position as usize;
    let stored = bytes.get(position..).unwrap_or_default();
    segment
        .block(number, stored)?
        .decode(&mut BlockDecoder::new(), Streams::All, &mut columns)?;
    Ok(owned(&columns))
}

/// Opens and decodes everything, as a reader does.
fn read(bytes: &[u8]) -> Result<Vec<Owned>> {
    let segment = Segment::open_whole(bytes)?;
    let blocks =
        (0..segment.index().entries().len()).map(|number| read_block(&segment, bytes, number));
    Ok(blocks.collect::<Result<Vec<_>>>()?.concat())
}

/// Looks a record up by its key, as a reader does: where the page of the filter cannot be used, in all blocks. `None` where a block cannot be read.
fn look_up(bytes: &[u8], offset: i64) -> Option<Vec<Owned>> {
    let segment = Segment::open_whole(bytes).ok()?;
    let key = record(offset).key;
    let filter = segment.key_filter()?;
    let hash = filter.hasher().hash(key.as_deref());
    let page = filter.page_of(hash);
    let range = filter.range_of(page..page + 1);
    let page_bytes = &bytes[range.start as usize..range.end as usize];
    let blocks = filter.blocks_of(page, page_bytes, &[hash]);
    let blocks = blocks.unwrap_or_else(|_| (0..BLOCKS).collect());
    let read = blocks
        .into_iter()
        .map(|block| read_block(&segment, bytes, block));
    let mut records = read.collect::<Result<Vec<_>>>().ok()?.concat();
    records.retain(|record| record.key == key);
    Some(records)
}

/// Returns what a scan finds, in the order of offsets: each block's records.
fn scan(bytes: &[u8]) -> Vec<Vec<Owned>> {
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let salvage = Salvage::of(bytes, &Known::default());
    let blocks = salvage.pieces.iter().map(|piece| {
        piece.decode(bytes, &mut decoder, &mut columns).unwrap();
        owned(&columns)
    });
    blocks.collect()
}

/// Returns the offsets of all records that a scan finds.
fn scanned_offsets(bytes: &[u8]) -> Vec<i64> {
    scan(bytes)
        .into_iter()
        .flatten()
        .map(|record| record.offset)
        .collect()
}

/// Checks what must hold for any damaged copy of [`segment`]; `what` states how it was damaged.
fn check_damaged(bytes: &[u8], what: &str) {
    let checked = catch_unwind(|| {
        assert!(
            verify::verify_whole(bytes, true).is_err(),
            "{what}: verify finds nothing"
        );
        assert!(
            verify::verify_whole(bytes, false).is_err(),
            "{what}: verify without records finds nothing"
        );
        for offset in 0..RECORDS_PER_BLOCK * BLOCKS as i64 {
            let found = look_up(bytes, offset);
            assert!(
                found.is_none_or(|found| found == [record(offset)]),
                "{what}: a look-up by key finds other records"
            );
        }
        if let Ok(records) = read(bytes) {
            assert!(
                records == all_records(),
                "{what}: a reader returns other records"
            );
        }
        let written = all_records();
        for block in scan(bytes) {
            let here = written.iter().position(|record| *record == block[0]);
            let here = here.unwrap_or_else(|| {
                panic!("{what}: a scan returns a record that was never written")
            });
            assert!(
                written[here..].starts_with(&block),
                "{what}: a scan returns other records"
            );
        }
    });
    assert!(checked.is_ok(), "{what}");
}

#[test]
fn intact_bytes_are_read_and_verified() {
    let bytes = segment();
    verify::verify_whole(&bytes, true).unwrap();
    verify::verify_whole(&bytes, false).unwrap();
    assert_eq!(read(&bytes).unwrap(), all_records());
    assert_eq!(scan(&bytes).concat(), all_records());
}

#[test]
fn every_flipped_bit_is_found_and_yields_no_other_record() {
    let mut bytes = segment();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            bytes[position] ^= 1 << bit;
            check_damaged(&bytes, &format!("byte {position}, bit {bit}"));
            bytes[position] ^= 1 << bit;
        }
    }
}

#[test]
fn every_truncation_is_found_and_yields_no_other_record() {
    let bytes = segment();
    for length in 0..bytes.len() {
        check_damaged(&bytes[..length], &format!("cut to {length} bytes"));
        check_damaged(
            &bytes[length + 1..],
            &format!("the first {} bytes cut off", length + 1),
        );
    }
}

#[test]
fn bytes_after_the_end_are_found() {
    for more in [1, 64, 100] {
        let mut bytes = segment();
        bytes.resize(bytes.len() + more, 0);
        check_damaged(&bytes, &format!("{more} zeros after the end"));
    }
    let mut twice = segment();
    twice.extend(segment());
    check_damaged(&twice, "the segment twice");
}

/// Writes a segment whose blocks all have the same length, so that one can replace another.
fn segment_of_equal_blocks(salt: u8) -> Vec<u8> {
    segment_of(salt, [Compression::None; BLOCKS])
}

/// Replaces block `number` by `block`; returns the bytes and the class of error of reading each block.
fn splice(number: usize, block: &[u8]) -> (Vec<u8>, Vec<Option<ErrorClass>>) {
    let mut bytes = segment_of_equal_blocks(7);
    let segment = Segment::open_whole(&bytes).unwrap();
    let at = segment.index().entries()[number].position as usize;
    bytes[at..at + block.len()].copy_from_slice(block);
    let segment = Segment::open_whole(&bytes).unwrap();
    let errors = (0..BLOCKS)
        .map(|number| {
            read_block(&segment, &bytes, number)
                .err()
                .map(|error| error.class)
        })
        .collect();
    (bytes, errors)
}

#[test]
fn repeated_and_foreign_blocks_are_misplaced() {
    let own = segment_of_equal_blocks(7);
    let foreign = segment_of_equal_blocks(8);
    let opened = Segment::open_whole(&own).unwrap();
    let lengths: BTreeSet<_> = opened.index().entries()[..2]
        .iter()
        .map(|entry| entry.block_length)
        .collect();
    assert!(
        lengths.len() == 1,
        "the blocks differ in length: {lengths:?}"
    );
    for (what, block) in [
        ("repeated", block_bytes(&opened, &own, 0)),
        ("foreign", block_bytes(&opened, &foreign, 1)),
    ] {
        let (bytes, errors) = splice(1, block);
        assert_eq!(errors, [None, Some(ErrorClass::Misplaced), None], "{what}");
        assert_eq!(
            verify::verify_whole(&bytes, false).unwrap_err().class,
            ErrorClass::Misplaced,
            "{what}"
        );
        assert_eq!(scanned_offsets(&bytes), [0, 1, 2, 6, 7, 8], "{what}");
        check_damaged(&bytes, what);
    }
}

#[test]
fn missing_bytes_cost_only_the_blocks_they_were_part_of() {
    let intact = segment();
    let segment = Segment::open_whole(&intact).unwrap();
    let blocks: Vec<_> = segment
        .index()
        .entries()
        .iter()
        .map(|entry| entry.position as usize..entry.end() as usize)
        .collect();
    for (start, count) in (0..intact.len())
        .step_by(53)
        .flat_map(|start| [(start, 1), (start, 37), (start, 64), (start, 1000)])
    {
        let cut = start..intact.len().min(start + count);
        let bytes = [&intact[..cut.start], &intact[cut.end..]].concat();
        let left: Vec<_> = (0..)
            .zip(&blocks)
            .filter(|(_, block)| block.end <= cut.start || cut.end <= block.start)
            .flat_map(|(number, _)| number * RECORDS_PER_BLOCK..(number + 1) * RECORDS_PER_BLOCK)
            .collect();
        // A block that lost only padding may be found too: zeros took the place of zeros.
        let found = scanned_offsets(&bytes);
        let all_found = left.iter().all(|offset| found.contains(offset));
        assert!(all_found, "without {cut:?}: {found:?}");
        check_damaged(&bytes, "missing bytes");
    }
}

#[test]
fn swapped_blocks_are_misplaced() {
    let mut bytes = segment_of_equal_blocks(7);
    let segment = Segment::open_whole(&bytes).unwrap();
    let [first, second] = [0, 1].map(|number| block_bytes(&segment, &bytes, number).to_vec());
    let at = segment.index().entries()[0].position as usize;
    bytes[at..at + first.len() + second.len()].copy_from_slice(&[second, first].concat());
    for number in [0, 1] {
        assert_eq!(
            read_block(&segment, &bytes, number).unwrap_err().class,
            ErrorClass::Misplaced
        );
    }
    assert_eq!(scanned_offsets(&bytes), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    check_damaged(&bytes, "swapped blocks");
}

#[test]
fn another_segments_footer_is_misplaced() {
    let (own, foreign) = (segment(), segment_of(8, CODECS));
    let position = Segment::open_whole(&own).unwrap().footer_position() as usize;
    let spliced = [&own[..position], &foreign[position..]].concat();
    assert_eq!(read(&spliced).unwrap_err().class, ErrorClass::Misplaced);
    check_damaged(&spliced, "another segment's footer");
}

#[test]
fn a_damaged_block_costs_that_block_alone() {
    let intact = segment();
    let segment = Segment::open_whole(&intact).unwrap();
    for number in 0..BLOCKS {
        let entry = segment.index().entries()[number];
        let in_header = entry.position as usize + 80;
        let in_stream = (entry.position + u64::from(entry.header_length)) as usize + 5;
        for position in [in_header, in_stream] {
            let mut bytes = intact.clone();
            bytes[position] ^= 0x10;
            let lost = number as i64 * RECORDS_PER_BLOCK..(number as i64 + 1) * RECORDS_PER_BLOCK;
            let left: Vec<_> = (0..RECORDS_PER_BLOCK * BLOCKS as i64)
                .filter(|offset| !lost.contains(offset))
                .collect();
            let by_index: Vec<_> = (0..BLOCKS)
                .filter_map(|number| read_block(&segment, &bytes, number).ok())
                .flatten()
                .map(|record| record.offset)
                .collect();
            assert_eq!(by_index, left, "by the index, byte {position}");
            assert_eq!(scanned_offsets(&bytes), left, "by a scan, byte {position}");
        }
    }
}

#[test]
fn a_scan_needs_neither_header_nor_footer() {
    let intact = segment();
    let opened = Segment::open_whole(&intact).unwrap();
    let (first_block, footer) = (
        opened.file_header_length() as usize,
        opened.footer_position() as usize,
    );
    let offsets: Vec<_> = (0..RECORDS_PER_BLOCK * BLOCKS as i64).collect();
    assert_eq!(scanned_offsets(&intact[..footer]), offsets, "no footer");
    let mut bytes = intact.clone();
    bytes[file_header::PARTITION] ^= 1;
    assert!(Scanner::new(&bytes).header().is_none());
    assert_eq!(scanned_offsets(&bytes), offsets, "a damaged header");
    assert_eq!(
        scanned_offsets(&bytes[..footer]),
        offsets,
        "a damaged header and no footer"
    );
    bytes[..first_block].fill(0);
    bytes[footer..].fill(0);
    assert_eq!(
        scanned_offsets(&bytes),
        offsets,
        "zeros for header and footer"
    );
}

#[test]
fn blocks_of_a_segment_inside_a_record_are_not_returned() {
    let inner = segment_of(8, [Compression::None; BLOCKS]);
    // Every distance from the alignment of blocks, so that the inner blocks are aligned once.
    for shift in 0..64 {
        let mut value = vec![0; shift];
        value.extend_from_slice(&inner);
        let mut assembler = SegmentAssembler::new(Vec::new(), header(7, 0)).unwrap();
        let mut encoder = Encoder::new(Compression::None);
        for offset in 0..3 {
            let mut builder = BlockBuilder::new(offset);
            let value = (offset == 1).then(|| value.clone());
            Owned {
                value,
                ..record(offset)
            }
            .with(|record| builder.push(record))
            .unwrap();
            assembler
                .append(&builder.encode(
                    TimestampType::CreateTime,
                    assembler.renderer(),
                    &mut encoder,
                ))
                .unwrap();
        }
        let (intact, _) = assembler.seal(GapReason::NotDelivered).unwrap();
        let opened = Segment::open_whole(&intact).unwrap();
        let (footer, outer) = (
            opened.footer_position() as usize,
            opened.index().entries()[1].position as usize,
        );
        assert_eq!(scanned_offsets(&intact), [0, 1, 2], "shift {shift}");
        // Without header and footer, the salt has to come from a block.
        let mut bytes = intact[..footer].to_vec();
        bytes[..file_header::LENGTH].fill(0);
        assert_eq!(
            scanned_offsets(&bytes),
            [0, 1, 2],
            "shift {shift}, no header and footer"
        );
        // With the outer block damaged, the scan steps through the record's bytes.
        bytes[outer + 80] ^= 1;
        assert_eq!(
            scanned_offsets(&bytes),
            [0, 2],
            "shift {shift}, no header and footer, a damaged block"
        );
    }
}

#[test]
fn a_segment_cut_after_an_inner_one_is_not_opened_as_the_inner_one() {
    let inner = segment_of(8, CODECS);
    let mut builder = BlockBuilder::new(0);
    Owned {
        value: Some(inner.clone()),
        ..record(0)
    }
    .with(|record| builder.push(record))
    .unwrap();
    let mut assembler = SegmentAssembler::new(Vec::new(), header(7, 0)).unwrap();
    assembler
        .append(&builder.encode(
            TimestampType::CreateTime,
            assembler.renderer(),
            &mut Encoder::new(Compression::None),
        ))
        .unwrap();
    let (bytes, _) = assembler.seal(GapReason::NotDelivered).unwrap();
    let start = bytes
        .windows(inner.len())
        .position(|window| window == inner)
        .unwrap();
    let cut = &bytes[..start + inner.len()];
    assert!(
        cut.ends_with(&inner[inner.len() - trailer::LENGTH..]),
        "the file ends in an intact trailer of another segment"
    );
    assert_eq!(
        Segment::open_whole(cut).unwrap_err().class,
        ErrorClass::Misplaced
    );
}

#[test]
fn a_block_whose_text_was_measured_for_another_partition_is_refused() {
    let mut assembler = SegmentAssembler::new(Vec::new(), header(7, 0)).unwrap();
    let mut builder = BlockBuilder::new(0);
    record(0).with(|record| builder.push(record)).unwrap();
    let mut encoder = Encoder::new(Compression::None);
    let other = Renderer::new("orders", 4.into());
    let block = builder.encode(TimestampType::CreateTime, &other, &mut encoder);
    let error = assembler.append(&block).unwrap_err().to_string();
    assert!(error.contains("another topic or partition"), "{error}");
}
