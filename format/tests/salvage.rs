//! Random damage, against a plain model: a salvage keeps exactly the records of the blocks whose bytes are all there, wherever they are, and
//! names exactly the rest as lost.
//!
//! `KBK_SOAK=1` damages segments of 64 MiB; `KBK_TEST_SEED` repeats one seed.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::ops::Range;

use kbk_format::layout::{BLOCK_MAGIC, TRAILER_MAGIC};
use kbk_format::salvage::{Known, LossReason, Salvage};
use kbk_format::scan::IdentifiedBy;
use kbk_format::{
    BlockBuilder, BlockDecoder, Columns, Compression, Encoder, FileHeader, Gap, GapReason, Segment,
    SegmentAssembler, Streams, TimestampType, verify,
};

mod header;
mod records;
use header::header;
use records::{Owned, owned};

const PAGE: usize = 4096;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(length).collect()
    }

    /// Returns a range of at most `most` bytes of `length`.
    fn range(&mut self, length: usize, most: usize) -> Range<usize> {
        let start = self.below(length);
        start..length.min(start + 1 + self.below(most))
    }
}

/// A segment, and what each of its blocks holds.
struct Original {
    bytes: Vec<u8>,
    segment: Segment,
    blocks: Vec<Block>,
}

struct Block {
    bytes: Range<usize>,
    offsets: Range<i64>,
    records: Vec<Owned>,
}

impl Original {
    /// Writes a segment of about `size` bytes with blocks of very different sizes, gaps between and in them, and records that hold segments.
    fn new(seed: u64, size: usize) -> Original {
        let random = &mut Random(seed);
        let base = random.below(1000) as i64;
        let kind = match seed.is_multiple_of(3) {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        };
        let header = FileHeader {
            timestamp_type: kind,
            ..header(seed as u8, base)
        };
        let mut assembler = SegmentAssembler::new(Vec::new(), header).unwrap();
        let (mut blocks, mut at) = (Vec::new(), base);
        while (assembler.position() as usize) < size {
            let block = one_block(random, at, size);
            let start = assembler.position() as usize;
            at = block.0.end_offset();
            let compression = [Compression::None, Compression::Zstd(1), Compression::Lz4];
            let mut encoder = Encoder::new(compression[random.below(3)]);
            let encoded = block.0.encode(kind, assembler.renderer(), &mut encoder);
            let from = encoded.statistics().base_offset;
            assembler.append(&encoded).unwrap();
            blocks.push(Block {
                bytes: start..assembler.position() as usize,
                offsets: from..at,
                records: block.1,
            });
        }
        let named = blocks.iter().find(|block| block.records.is_empty());
        if let Some(block) = named {
            let gap = Gap {
                from_offset: block.offsets.start,
                to_offset: block.offsets.end,
                reason: GapReason::Transaction,
            };
            assembler.name_gap(gap).unwrap();
        }
        let (bytes, _) = assembler.seal(GapReason::Compacted).unwrap();
        let segment = Segment::open_whole(&bytes).unwrap();
        Original {
            bytes,
            segment,
            blocks,
        }
    }

    /// Returns the blocks whose bytes are somewhere in `damaged`.
    fn intact(&self, damaged: &[u8]) -> Vec<&Block> {
        let starts: Vec<usize> = damaged
            .windows(BLOCK_MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == BLOCK_MAGIC)
            .map(|(start, _)| start)
            .collect();
        let is_there = |block: &&Block| {
            let block = &self.bytes[block.bytes.clone()];
            starts
                .iter()
                .any(|start| damaged[*start..].starts_with(block))
        };
        self.blocks.iter().filter(is_there).collect()
    }
}

fn one_block(random: &mut Random, base: i64, size: usize) -> (BlockBuilder, Vec<Owned>) {
    let mut builder = BlockBuilder::new(base);
    let mut records = Vec::new();
    let mut offset = base + random.below(3) as i64;
    for _ in 0..random.below(12) {
        let value = match random.below(12) {
            0 => None,
            1 => Some(inner_segment(random)),
            2 => Some(random.bytes(size / 40)),
            _ => Some(random.bytes(300).repeat(1 + random.below(4))),
        };
        let record = Owned {
            offset,
            timestamp: random.below(1 << 40) as i64,
            control: false,
            key: (random.below(3) > 0).then(|| random.bytes(8)),
            value,
            headers: vec![(b"h".to_vec(), Some(random.bytes(3)))],
        };
        record.with(|record| builder.push(record)).unwrap();
        records.push(record);
        offset += 1 + random.below(3) as i64;
    }
    builder.cover(offset.max(base + 1));
    (builder, records)
}

/// Returns a segment with another id, whose blocks are stored as they are.
fn inner_segment(random: &mut Random) -> Vec<u8> {
    let mut assembler = SegmentAssembler::new(Vec::new(), header(0xee, 0)).unwrap();
    for offset in 0..2 {
        let mut builder = BlockBuilder::new(offset);
        let record = Owned {
            offset,
            timestamp: 1,
            control: false,
            key: None,
            value: Some(random.bytes(200)),
            headers: Vec::new(),
        };
        record.with(|record| builder.push(record)).unwrap();
        let mut encoder = Encoder::new(Compression::None);
        let encoded = builder.encode(
            TimestampType::CreateTime,
            assembler.renderer(),
            &mut encoder,
        );
        assembler.append(&encoded).unwrap();
    }
    assembler.seal(GapReason::NotDelivered).unwrap().0
}

/// Damages bytes in one of the ways that disks, transfers and file systems do; returns what was done.
fn harm(bytes: &mut Vec<u8>, random: &mut Random) -> &'static str {
    if bytes.is_empty() {
        return "nothing left";
    }
    let length = bytes.len();
    match random.below(10) {
        0 | 1 => {
            for _ in 0..1 + random.below(100) {
                bytes[random.below(length)] ^= 1 << random.below(8);
            }
            "flipped bits"
        }
        2 => {
            bytes.truncate(random.below(length));
            "cut at the end"
        }
        3 => {
            bytes.drain(..random.below(length / 2));
            "cut at the front"
        }
        4 => {
            for _ in 0..1 + random.below(3) {
                let range = random.range(bytes.len(), length / 8);
                bytes[range].fill(0);
            }
            "zeroed ranges"
        }
        5 => {
            let pages = length / PAGE;
            for _ in 0..1 + random.below(pages) {
                let (a, b) = (random.below(pages), random.below(pages));
                for i in 0..PAGE {
                    bytes.swap(a * PAGE + i, b * PAGE + i);
                }
            }
            "shuffled pages"
        }
        6 => {
            let range = random.range(length, length / 8);
            bytes.drain(range);
            "removed bytes"
        }
        7 => {
            let (at, count) = (random.below(length), 1 + random.below(5000));
            let added = random.bytes(count);
            bytes.splice(at..at, added);
            "added bytes"
        }
        8 => {
            let at = random.below(length);
            let range = random.range(length, length / 8);
            let added = bytes[range].to_vec();
            bytes.splice(at..at, added);
            "added a part of the file"
        }
        _ => {
            let at = [0, random.below(length), length][random.below(3)];
            let added = inner_segment(random);
            bytes.splice(at..at, added);
            "added another segment"
        }
    }
}

/// Checks a salvage of the damaged bytes, and the segment that is written of it.
fn check(original: &Original, damaged: &[u8], known: &Known, what: &str) {
    let salvage = Salvage::of(damaged, known);
    let own = original.segment.header().salt();
    if salvage.salt.map(|(salt, _)| salt) != Some(own) {
        // Neither header nor trailer told which segment it is, and what is left may be a segment in a record.
        let by = salvage.salt.map(|(_, by)| by);
        let is_guess = [
            None,
            Some(IdentifiedBy::Blocks),
            Some(IdentifiedBy::DisplacedTrailer),
        ];
        let is_another =
            by == Some(IdentifiedBy::FileHeader) && !damaged.starts_with(&original.bytes[..8 * 16]);
        let ends_as_another =
            by == Some(IdentifiedBy::Trailer) && damaged.ends_with(&TRAILER_MAGIC);
        assert!(
            is_guess.contains(&by) || is_another || ends_as_another,
            "{what}: by {by:?}"
        );
        assert!(known.salt.is_none(), "{what}");
        return;
    }
    let intact = original.intact(damaged);
    let kept: Vec<Range<i64>> = intact.iter().map(|block| block.offsets.clone()).collect();
    let pieces = salvage.pieces.iter();
    let pieces: Vec<Range<i64>> = pieces.map(|it| it.base_offset..it.end_offset).collect();
    assert_eq!(pieces, kept, "{what}: other blocks");
    check_losses(original, &salvage, &kept, what);

    let header = FileHeader {
        segment_id: [9; 16],
        base_offset: salvage.base.offset,
        ..original.segment.header().clone()
    };
    let (written, _) = salvage.write(&[damaged], header, Vec::new()).unwrap();
    let segment = verify::verify_whole(&written, true).unwrap();
    assert_eq!(segment.coverage(), salvage.coverage(), "{what}");
    assert!(
        all_records(&segment, &written)
            .iter()
            .eq(intact.iter().flat_map(|block| &block.records)),
        "{what}: other records"
    );
    for loss in &salvage.losses {
        let reason = segment.gaps().reason(loss.offsets.base_offset);
        assert_eq!(reason, GapReason::Damaged, "{what}");
    }
    let again = Salvage::of(&written, &Known::default());
    assert!(again.is_complete() && again.losses.is_empty(), "{what}");
}

fn check_losses(original: &Original, salvage: &Salvage, kept: &[Range<i64>], what: &str) {
    let coverage = salvage.coverage();
    let mut at = coverage.start;
    let mut lost = Vec::new();
    let end = std::iter::once(coverage.end..coverage.end);
    for block in kept.iter().cloned().chain(end) {
        lost.extend(Some(at..block.start).filter(|lost| !lost.is_empty()));
        at = block.end;
    }
    let mut found: Vec<Range<i64>> = Vec::new();
    for loss in &salvage.losses {
        let offsets = loss.offsets.base_offset..loss.offsets.end_offset;
        assert!(!offsets.is_empty(), "{what}");
        match found.last_mut() {
            Some(last) if last.end == offsets.start => last.end = offsets.end,
            _ => found.push(offsets.clone()),
        }
        let block = original.blocks.iter().find(|it| it.offsets == offsets);
        if salvage.has_footer {
            let block = block.unwrap_or_else(|| panic!("{what}: no block has {offsets:?}"));
            assert_eq!(loss.records, Some(block.records.len() as u64), "{what}");
            assert_eq!(loss.position, Some(block.bytes.start as u64), "{what}");
        }
        assert!(
            matches!(loss.reason, LossReason::NoBlock | LossReason::DamagedBlock),
            "{what}: {loss:?}"
        );
    }
    assert_eq!(found, lost, "{what}: other losses");
    let whole = original.segment.coverage();
    if salvage.base.is_proved {
        assert_eq!(coverage.start, whole.start, "{what}");
    }
    if salvage.end.is_proved {
        assert_eq!(coverage.end, whole.end, "{what}");
    }
    // Where no block is left, nothing is covered, wherever that is.
    assert!(
        coverage.is_empty() || whole.start <= coverage.start && coverage.end <= whole.end,
        "{what}: {coverage:?} of {whole:?}"
    );
    let is_whole = kept.len() == original.blocks.len();
    assert!(
        is_whole || !salvage.is_complete(),
        "{what}: presented as whole"
    );
    if let Some(records) = salvage.lost_records() {
        let all = original.segment.statistics().record_count;
        assert_eq!(salvage.records() + records, all, "{what}");
    }
}

fn all_records(segment: &Segment, bytes: &[u8]) -> Vec<Owned> {
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let blocks = 0..segment.index().entries().len();
    let first = segment.file_header_length() as usize;
    let mut records = Vec::new();
    for block in segment.blocks(blocks, &bytes[first..]) {
        block
            .unwrap()
            .decode(&mut decoder, Streams::All, &mut columns)
            .unwrap();
        records.extend(owned(&columns));
    }
    records
}

#[test]
fn a_salvage_keeps_exactly_the_intact_blocks_and_names_the_rest() {
    let soak = std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0");
    let size = if soak { 64 << 20 } else { 160 << 10 };
    let seeds = match std::env::var("KBK_TEST_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..500,
    };
    // Writing large segments is most of the time, so that several seeds damage the same one.
    let of_original = |seed: u64| if soak { seed - seed % 50 } else { seed };
    let mut original = Original::new(of_original(seeds.start), size);
    let mut outcomes = [0_u32; 3];
    for seed in seeds {
        if of_original(seed) == seed {
            original = Original::new(seed, size);
        }
        let random = &mut Random(seed ^ 0xdead);
        let mut damaged = original.bytes.clone();
        let times = 1 + random.below(3);
        let harms: Vec<&str> = (0..times).map(|_| harm(&mut damaged, random)).collect();
        let what = format!("seed {seed}: {}", harms.join(", "));
        let header = original.segment.header();
        check(&original, &damaged, &Known::default(), &what);
        let salt = Known {
            salt: Some(header.salt()),
            ..Known::default()
        };
        check(&original, &damaged, &salt, &format!("{what}, known id"));
        let all = Known {
            timestamp_type: Some(header.timestamp_type),
            coverage: Some(original.segment.coverage()),
            ..salt
        };
        check(&original, &damaged, &all, &format!("{what}, known row"));
        let salvage = Salvage::of(&damaged, &all);
        let kept = salvage.pieces.len();
        let outcome = usize::from(kept > 0) + usize::from(kept == original.blocks.len());
        outcomes[outcome] += 1;
    }
    println!("nothing, some and all of the blocks were left {outcomes:?} times");
}

#[test]
fn nothing_is_lost_of_an_intact_segment() {
    for seed in 0..20 {
        let original = Original::new(seed, 64 << 10);
        let salvage = Salvage::of(&original.bytes, &Known::default());
        assert!(salvage.is_complete());
        assert_eq!(salvage.lost_records(), Some(0));
        assert_eq!(salvage.unused, Vec::<Range<u64>>::new());
        let header = FileHeader {
            segment_id: [9; 16],
            ..original.segment.header().clone()
        };
        let (written, _) = salvage
            .write(&[&original.bytes], header, Vec::new())
            .unwrap();
        let segment = verify::verify_whole(&written, true).unwrap();
        assert_eq!(segment.statistics(), original.segment.statistics());
        assert_eq!(segment.gaps(), original.segment.gaps(), "reasons are kept");
        assert_eq!(segment.hours(), original.segment.hours());
        assert_eq!(segment.rendered_sizes(), original.segment.rendered_sizes());
    }
}

#[test]
fn copies_that_are_damaged_elsewhere_make_up_for_each_other() {
    for seed in 0..60 {
        let original = Original::new(seed, 96 << 10);
        let random = &mut Random(seed);
        let mut copies = [original.bytes.clone(), original.bytes.clone()];
        let what: Vec<&str> = copies.iter_mut().map(|copy| harm(copy, random)).collect();
        let what = format!("seed {seed}: {what:?}");
        let [first, second] = &copies;
        let known = Known {
            salt: Some(original.segment.header().salt()),
            ..Known::default()
        };
        let salvage = Salvage::of_copies(&[first, second], &known);
        let [of_first, of_second] = [first, second].map(|copy| original.intact(copy));
        let is_in = |block: &&Block, of: &[&Block]| of.iter().any(|it| it.offsets == block.offsets);
        let blocks = original.blocks.iter();
        let left = blocks.filter(|block| is_in(block, &of_first) || is_in(block, &of_second));
        let left: Vec<Range<i64>> = left.map(|block| block.offsets.clone()).collect();
        let pieces = salvage.pieces.iter();
        let found: Vec<Range<i64>> = pieces.map(|it| it.base_offset..it.end_offset).collect();
        assert_eq!(found, left, "{what}");
        for piece in &salvage.pieces {
            let is_there = of_first
                .iter()
                .any(|it| it.offsets == (piece.base_offset..piece.end_offset));
            assert_eq!(piece.copy == 0, is_there, "{what}: the first copy counts");
        }
        let header = FileHeader {
            segment_id: [9; 16],
            base_offset: salvage.base.offset,
            ..original.segment.header().clone()
        };
        let written = salvage.write(&[first, second], header, Vec::new());
        verify::verify_whole(&written.unwrap().0, true).unwrap();
    }
}
