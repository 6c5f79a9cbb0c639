//! Random damage, against a plain model: a salvage keeps exactly the records of the blocks whose bytes are all there, wherever they are, and of
//! the intact batches of blocks of which all that batches state of themselves is there; and it names exactly the rest as lost.
//!
//! `KBK_SOAK=1` damages segments of 64 MiB; `KBK_TEST_SEED` repeats one seed.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::ops::Range;

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::block::BlockHeader;
use kbk_format::layout::{BLOCK_MAGIC, TRAILER_MAGIC};
use kbk_format::salvage::{Known, Loss, LossReason, Salvage};
use kbk_format::scan::IdentifiedBy;
use kbk_format::{
    BatchesBuilder, BlockBuilder, BlockDecoder, Columns, Compression, Encoder, FileHeader, Gap,
    GapReason, PushBatch, Segment, SegmentAssembler, SegmentFeatures, Streams, TimestampType,
    verify,
};

mod header;
mod random;
mod records;
use header::header;
use random::Random;
use records::{Owned, owned};

const PAGE: usize = 4096;

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
    /// Of one that stores batches as they are.
    batches: Vec<Batch>,
}

#[derive(Clone)]
struct Batch {
    /// In the file.
    bytes: Range<usize>,
    /// The offsets that are lost with it.
    offsets: Range<i64>,
    records: Vec<Owned>,
}

/// What is left of the segment.
struct Kept<'a> {
    offsets: Range<i64>,
    records: &'a [Owned],
    is_batch: bool,
    /// The copies that have all of it.
    copies: Vec<usize>,
}

/// What a batch states of itself that its checksum does not cover, and the checksum.
const STATED: usize = 21;

impl Original {
    /// Writes a segment of about `size` bytes with blocks of very different sizes, gaps between and in them, and records that hold segments; every
    /// second one with blocks of Kafka's own batches, too.
    fn new(seed: u64, size: usize) -> Original {
        let random = &mut Random::new(seed);
        let base = random.below(1000) as i64;
        let kind = match seed.is_multiple_of(3) {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        };
        let header = FileHeader {
            timestamp_type: kind,
            ..header(seed as u8, base)
        };
        let of_batches = seed % 2 == 1;
        let not_computed = of_batches && random.below(2) == 1;
        let features = SegmentFeatures {
            key_filter: None,
            batches: of_batches,
            not_computed,
        };
        let mut assembler = SegmentAssembler::with_features(Vec::new(), header, features).unwrap();
        let (mut blocks, mut at): (Vec<Block>, i64) = (Vec::new(), base);
        while (assembler.position() as usize) < size {
            let start = assembler.position() as usize;
            let from = at;
            let compression = [Compression::None, Compression::Zstd(1), Compression::Lz4];
            let mut encoder = Encoder::new(compression[random.below(3)]);
            let mut batches = Vec::new();
            // The first one is always there, since the file header announces blocks of batches.
            let records = if of_batches && (blocks.is_empty() || random.below(4) > 0) {
                let block = match not_computed {
                    true => BatchesBuilder::not_computed(at, kind),
                    false => BatchesBuilder::new(at, kind),
                };
                let (block, of_block) = block_of_batches(block, random, kind, size);
                at = block.end_offset();
                let encoded = block.encode(assembler.renderer(), &mut encoder);
                assembler.append(&encoded).unwrap();
                batches = of_block;
                batches.iter().flat_map(|it| it.records.clone()).collect()
            } else {
                let (block, records) = one_block(random, at, size);
                at = block.end_offset();
                let encoded = block.encode(kind, assembler.renderer(), &mut encoder);
                assembler.append(&encoded).unwrap();
                records
            };
            blocks.push(Block {
                bytes: start..assembler.position() as usize,
                offsets: from..at,
                records,
                batches,
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
        for block in &mut blocks {
            place(block, &bytes, segment.header().salt());
        }
        Original {
            bytes,
            segment,
            blocks,
        }
    }

    /// Returns what is left in copies: the blocks whose bytes are somewhere in one of them, and of others the batches, where all that batches state of
    /// themselves is in one.
    fn kept(&self, copies: &[&[u8]]) -> Vec<Kept<'_>> {
        let starts = copies.iter().enumerate().flat_map(|(copy, damaged)| {
            let windows = damaged.windows(BLOCK_MAGIC.len()).enumerate();
            let magics = windows.filter(|(_, window)| *window == BLOCK_MAGIC);
            magics.map(move |(start, _)| (copy, &damaged[start..]))
        });
        let starts: Vec<(usize, &[u8])> = starts.collect();
        self.blocks
            .iter()
            .flat_map(|block| self.kept_of(block, &starts))
            .collect()
    }

    fn kept_of<'a>(&'a self, block: &'a Block, starts: &[(usize, &[u8])]) -> Vec<Kept<'a>> {
        let whole = starts
            .iter()
            .filter(|(_, bytes)| bytes.starts_with(&self.bytes[block.bytes.clone()]));
        let whole: Vec<usize> = whole.map(|(copy, _)| *copy).collect();
        if !whole.is_empty() {
            return vec![Kept {
                offsets: block.offsets.clone(),
                records: &block.records,
                is_batch: false,
                copies: whole,
            }];
        }
        let Some(first) = block.batches.first() else {
            return Vec::new();
        };
        let header = &self.bytes[block.bytes.start..first.bytes.start];
        let places: Vec<_> = starts
            .iter()
            .filter(|(_, bytes)| bytes.starts_with(header))
            .collect();
        let has = |bytes: &[u8], range: Range<usize>| {
            let at = range.start - block.bytes.start;
            bytes.get(at..at + range.len()) == Some(&self.bytes[range])
        };
        let proof = places.iter().any(|(_, bytes)| {
            let stated = |batch: &Batch| batch.bytes.start..batch.bytes.start + STATED;
            bytes.len() >= block.bytes.len()
                && block.batches.iter().all(|it| has(bytes, stated(it)))
        });
        let batches = block.batches.iter().filter(|_| proof);
        let kept = batches.map(|batch| Kept {
            offsets: batch.offsets.clone(),
            records: &batch.records,
            is_batch: true,
            copies: places
                .iter()
                .filter(|(_, bytes)| has(bytes, batch.bytes.clone()))
                .map(|(copy, _)| *copy)
                .collect(),
        });
        kept.filter(|it| !it.copies.is_empty()).collect()
    }
}

/// Joins ranges that meet.
fn joined(ranges: impl IntoIterator<Item = Range<i64>>) -> Vec<Range<i64>> {
    let mut joined: Vec<Range<i64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// Fills a block with batches of every codec, with gaps between and in them; returns each with its length, and the offsets that it covers.
fn block_of_batches(
    mut builder: BatchesBuilder,
    random: &mut Random,
    kind: TimestampType,
    size: usize,
) -> (BatchesBuilder, Vec<Batch>) {
    let codecs = [
        BatchCodec::None,
        BatchCodec::Gzip,
        BatchCodec::Snappy,
        BatchCodec::Lz4,
        BatchCodec::Zstd,
    ];
    let mut batches: Vec<Batch> = Vec::new();
    let mut start = builder.end_offset();
    let is_dense = random.below(2) == 0;
    let mut offset = start + random.below(2) as i64;
    for _ in 0..1 + random.below(8) {
        let options = BatchOptions {
            codec: codecs[random.below(5)],
            timestamp_type: kind,
            leader_epoch: random.below(9) as i32,
            ..BatchOptions::default()
        };
        let append_time = random.below(1 << 40) as i64;
        let mut batch = BatchBuilder::new(options);
        let mut records = Vec::new();
        for _ in 0..1 + random.below(4) {
            let value = match random.below(12) {
                0 => inner_segment(random),
                1 => random.bytes(size / 100),
                _ => random.bytes(200),
            };
            let record = Owned {
                offset,
                timestamp: match kind {
                    TimestampType::LogAppendTime => append_time,
                    TimestampType::CreateTime => random.below(1 << 40) as i64,
                },
                control: false,
                key: (random.below(3) > 0).then(|| random.bytes(8)),
                value: Some(value),
                headers: Vec::new(),
            };
            record.with(|record| batch.push(record)).unwrap();
            records.push(record);
            offset += if is_dense {
                1
            } else {
                1 + random.below(3) as i64
            };
        }
        let mut bytes = Vec::new();
        batch.finish(offset - 1, &mut bytes).unwrap();
        let parsed = RecordBatch::parse(&bytes, 0)
            .and_then(RecordBatch::check)
            .unwrap();
        assert_eq!(
            builder.try_push(&parsed, usize::MAX).unwrap(),
            PushBatch::Pushed
        );
        let base = records[0].offset;
        if let Some(last) = batches.last_mut() {
            last.offsets.end = base;
            start = base;
        }
        batches.push(Batch {
            bytes: 0..bytes.len(),
            offsets: start..offset,
            records,
        });
        offset += if is_dense { 0 } else { random.below(3) as i64 };
    }
    builder.cover(offset);
    batches.last_mut().unwrap().offsets.end = offset;
    (builder, batches)
}

/// Finds where the batches of a block are; there are none of one that compressed them.
fn place(block: &mut Block, bytes: &[u8], salt: [u8; 8]) {
    let start = block.bytes.start;
    let header = BlockHeader::decode(&bytes[start..], start as u64, salt).unwrap();
    let length: usize = block.batches.iter().map(|it| it.bytes.len()).sum();
    if header.meta_length() as usize != length {
        block.batches.clear();
    }
    let mut at = start + header.header_length();
    for batch in &mut block.batches {
        batch.bytes = at..at + batch.bytes.len();
        at = batch.bytes.end;
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
    let left = original.kept(&[damaged]);
    let kept = joined(left.iter().map(|it| it.offsets.clone()));
    let pieces = salvage.pieces.iter();
    let pieces = joined(pieces.map(|it| it.base_offset..it.end_offset));
    assert_eq!(pieces, kept, "{what}: other blocks or batches");
    let blocks = left.iter().filter(|it| !it.is_batch).count() as u64;
    assert_eq!(salvage.blocks().0, blocks, "{what}");
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
            .eq(left.iter().flat_map(|it| it.records)),
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
        if loss.reason == LossReason::DamagedBatch {
            check_lost_batches(original, salvage, loss, what);
        } else if salvage.has_footer {
            let block = block.unwrap_or_else(|| panic!("{what}: no block has {offsets:?}"));
            assert_eq!(loss.records, Some(block.records.len() as u64), "{what}");
            assert_eq!(loss.position, Some(block.bytes.start as u64), "{what}");
        }
        assert!(
            matches!(
                loss.reason,
                LossReason::NoBlock | LossReason::DamagedBlock | LossReason::DamagedBatch
            ),
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
    let is_whole = kept == joined(original.blocks.iter().map(|it| it.offsets.clone()));
    assert!(
        is_whole || !salvage.is_complete(),
        "{what}: presented as whole"
    );
    if let Some(records) = salvage.lost_records() {
        let all = original.segment.statistics().record_count;
        assert_eq!(salvage.records() + records, all, "{what}");
    }
}

/// Checks that a loss is exactly of batches that follow each other.
fn check_lost_batches(original: &Original, salvage: &Salvage, loss: &Loss, what: &str) {
    let Range { start, end } = loss.offsets.base_offset..loss.offsets.end_offset;
    let is_of = |block: &&Block| block.offsets.contains(&start);
    let block = original.blocks.iter().find(is_of).unwrap();
    let is_lost = |batch: &&Batch| start <= batch.offsets.start && batch.offsets.end <= end;
    let lost: Vec<&Batch> = block.batches.iter().filter(is_lost).collect();
    let all = joined(lost.iter().map(|it| it.offsets.clone()));
    assert_eq!(all, std::slice::from_ref(&(start..end)), "{what}: {loss:?}");
    let bytes: usize = lost.iter().map(|it| it.bytes.len()).sum();
    assert_eq!(loss.position, Some(lost[0].bytes.start as u64), "{what}");
    assert_eq!(loss.bytes, Some(bytes as u64), "{what}");
    let records: usize = lost.iter().map(|it| it.records.len()).sum();
    let of_block = salvage.losses.iter();
    let of_block = of_block.filter(|it| block.offsets.contains(&it.offsets.base_offset));
    let is_alone = of_block.count() == 1;
    match loss.records {
        Some(found) => assert_eq!(found, records as u64, "{what}: {loss:?}"),
        None => assert!(!is_alone, "{what}: {loss:?}"),
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
    let (mut outcomes, mut in_part) = ([0_u32; 3], 0);
    for seed in seeds {
        if of_original(seed) == seed {
            original = Original::new(seed, size);
        }
        let random = &mut Random::new(seed ^ 0xdead);
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
        let (kept, parts) = salvage.blocks();
        let kept = kept as usize;
        let outcome = usize::from(kept > 0) + usize::from(kept == original.blocks.len());
        outcomes[outcome] += 1;
        in_part += parts;
    }
    println!(
        "nothing, some and all of the blocks were left {outcomes:?} times, and batches of {in_part}"
    );
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
        assert_eq!(segment.gaps(), original.segment.gaps(), "reasons are kept");
        if original.segment.is_computed() {
            assert_eq!(segment.hours(), original.segment.hours());
            assert_eq!(segment.statistics(), original.segment.statistics());
            assert_eq!(segment.rendered_sizes(), original.segment.rendered_sizes());
        }
        let all = original.blocks.iter().flat_map(|it| &it.records);
        assert!(all_records(&segment, &written).iter().eq(all));
    }
}

#[test]
fn copies_that_are_damaged_elsewhere_make_up_for_each_other() {
    for seed in 0..60 {
        let original = Original::new(seed, 96 << 10);
        let random = &mut Random::new(seed);
        let mut copies = [original.bytes.clone(), original.bytes.clone()];
        let what: Vec<&str> = copies.iter_mut().map(|copy| harm(copy, random)).collect();
        let what = format!("seed {seed}: {what:?}");
        let [first, second] = &copies;
        let known = Known {
            salt: Some(original.segment.header().salt()),
            ..Known::default()
        };
        let salvage = Salvage::of_copies(&[first, second], &known);
        let left = original.kept(&[first, second]);
        let pieces = salvage.pieces.iter();
        let found = joined(pieces.map(|it| it.base_offset..it.end_offset));
        let kept = joined(left.iter().map(|it| it.offsets.clone()));
        assert_eq!(found, kept, "{what}");
        for piece in &salvage.pieces {
            let offsets = piece.base_offset..piece.end_offset;
            let mut of_piece = left.iter().filter(|it| offsets.contains(&it.offsets.start));
            assert!(
                of_piece.clone().all(|it| it.copies.contains(&piece.copy)),
                "{what}"
            );
            let is_first = of_piece.any(|it| it.copies[0] == piece.copy);
            assert!(piece.is_run || is_first, "{what}: the first copy counts");
        }
        let header = FileHeader {
            segment_id: [9; 16],
            base_offset: salvage.base.offset,
            ..original.segment.header().clone()
        };
        let written = salvage.write(&[first, second], header, Vec::new());
        let (written, _) = written.unwrap();
        let segment = verify::verify_whole(&written, true).unwrap();
        let records = left.iter().flat_map(|it| it.records);
        assert!(all_records(&segment, &written).iter().eq(records), "{what}");
    }
}
