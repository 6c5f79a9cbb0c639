//! Batches of damaged blocks that prove themselves (SPEC section 5, *Scan*).
//!
//! The checksum of a block covers everything in it, and that of a batch neither its offset nor which partition it is of. But checksums of parts add
//! up to that of the whole: where what all batches of a block state of themselves gives the checksum of the block, nothing is damaged but the bytes
//! of those that do not match their own.

use std::ops::Range;

use crate::batch::{BatchesCrc, RecordBatch, frame_length};
use crate::block::{BlockHeader, BlockKind};
use crate::codec::Codec;
use crate::layout::record_batch as at;
use crate::wire::length;

/// Copies of one block that are looked at, so that a file of nothing but headers is not read once for each.
const COPIES: usize = 8;

/// A block that is damaged, or that contradicts itself, where it was found.
#[derive(Clone, Debug)]
pub(super) struct DamagedBlock {
    /// The copy of the segment.
    pub(super) copy: usize,
    /// Where it begins in it.
    pub(super) position: u64,
    pub(super) header: BlockHeader,
    /// Whether its bytes are as they were written, and its records are not what they state.
    pub(super) is_inconsistent: bool,
}

impl DamagedBlock {
    pub(super) fn header_range(&self) -> Range<u64> {
        let length = self.header.header_length() as u64;
        self.position..self.position.saturating_add(length)
    }
}

/// Batches that follow each other in one copy, and that are proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) copy: usize,
    /// Where they are in it.
    pub(super) bytes: Range<u64>,
    /// The offsets that they cover.
    pub(super) offsets: Range<i64>,
}

/// Batches that follow each other in a block, and that no copy has intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LostRun {
    /// Where they were written in the segment.
    pub(super) written: Range<u64>,
    /// The offsets that they cover.
    pub(super) offsets: Range<i64>,
    /// Their number.
    pub(super) batches: u64,
}

/// What is proved of the batches of a block. Together, these cover all of its offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProvedBatches {
    pub(super) runs: Vec<Run>,
    pub(super) lost: Vec<LostRun>,
    /// Whether every byte of all batches is as it was written: what is lost are batches of which the records are malformed.
    pub(super) is_intact: bool,
}

/// What is there of the batches of a block in one copy.
struct Stream<'a> {
    copy: usize,
    /// Where it begins in it.
    position: u64,
    bytes: &'a [u8],
}

/// A batch of a block.
struct Framed {
    /// In the stream.
    bytes: Range<usize>,
    base_offset: i64,
    /// The first stream that has it intact.
    intact_in: Option<usize>,
}

/// Returns which batches are proved of one block, of which these are all copies that were found, and which are lost; `None` where it is not known.
/// Those are lost, too, that are intact and that `decodes` says do not decode.
pub(super) fn proved_batches(
    blocks: &[DamagedBlock],
    copies: &[&[u8]],
    mut decodes: impl FnMut(&[u8]) -> bool,
) -> Option<ProvedBatches> {
    let blocks = blocks.get(..COPIES).unwrap_or(blocks);
    let header = &blocks.first()?.header;
    let mut directory = header.directory.iter();
    let entry = directory
        .next()
        .filter(|entry| header.kind == BlockKind::Batches && entry.codec == Codec::None)?;
    let stored_length = length(entry.stored_length);
    let streams = blocks.iter().map(|block| {
        let position = block.header_range().end;
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let bytes = copies.get(block.copy).copied().unwrap_or_default();
        let bytes = bytes.get(start..).unwrap_or_default();
        Stream {
            copy: block.copy,
            position,
            bytes: bytes.get(..stored_length).unwrap_or(bytes),
        }
    });
    let streams: Vec<Stream<'_>> = streams.collect();
    let (number, mut framed) = streams.iter().enumerate().find_map(|(number, stream)| {
        let is_whole = stream.bytes.len() == stored_length;
        let framed = frame(number, stream.bytes, entry.stored_crc);
        Some(number).filter(|_| is_whole).zip(framed)
    })?;
    for batch in framed.iter_mut().filter(|it| it.intact_in.is_none()) {
        batch.intact_in = intact_elsewhere(batch, number, &streams);
    }
    let is_intact = framed.iter().all(|batch| batch.intact_in.is_some());
    for batch in &mut framed {
        let intact_in = batch.intact_in.and_then(|number| streams.get(number));
        let bytes = intact_in.and_then(|stream| stream.bytes.get(batch.bytes.clone()));
        batch.intact_in = batch.intact_in.filter(|_| bytes.is_some_and(&mut decodes));
    }
    let collected = collect(&framed, &streams, header);
    collected.map(|collected| ProvedBatches {
        is_intact,
        ..collected
    })
}

/// Walks over the batches of a block in one copy; `None` unless what they state of themselves gives the checksum of the block.
fn frame(number: usize, stream: &[u8], stored_crc: u32) -> Option<Vec<Framed>> {
    let mut framed = Vec::new();
    let mut crc = BatchesCrc::new();
    let mut position = 0;
    while position < stream.len() {
        let rest = stream.get(position..)?;
        if rest.get(at::MAGIC) != Some(&2) {
            return None;
        }
        let length = frame_length(rest, position as u64).ok()??;
        let batch = rest.get(..length)?;
        crc.push_stated(batch);
        let end = position.checked_add(length)?;
        framed.push(Framed {
            bytes: position..end,
            base_offset: i64::from_be_bytes(*batch.first_chunk()?),
            intact_in: RecordBatch::check_crc_of(batch, 0)
                .is_ok()
                .then_some(number),
        });
        position = end;
    }
    (crc.get() == stored_crc).then_some(framed)
}

/// Returns which other stream has a batch intact that is damaged in the one with this number, which proves what the batch states of itself.
fn intact_elsewhere(batch: &Framed, number: usize, streams: &[Stream<'_>]) -> Option<usize> {
    let damaged = streams.get(number)?.bytes.get(batch.bytes.clone())?;
    let is_intact = |found: &[u8]| {
        found.get(..at::ATTRIBUTES) == damaged.get(..at::ATTRIBUTES)
            && RecordBatch::check_crc_of(found, 0).is_ok()
    };
    let mut found = streams.iter().map(|it| it.bytes.get(batch.bytes.clone()));
    found.position(|found| found.is_some_and(is_intact))
}

/// Joins batches that follow each other; `None` where their offsets contradict each other or the block.
fn collect(
    framed: &[Framed],
    streams: &[Stream<'_>],
    header: &BlockHeader,
) -> Option<ProvedBatches> {
    let mut proved = ProvedBatches::default();
    let written = header
        .position
        .saturating_add(header.header_length() as u64);
    let mut at = header.base_offset;
    for (number, batch) in framed.iter().enumerate() {
        let next = framed.get(number.saturating_add(1));
        let end = next.map_or(header.end_offset, |next| next.base_offset);
        if batch.base_offset < at || end <= batch.base_offset {
            return None;
        }
        // What is before the first batch has no record.
        let offsets = if number == 0 { at } else { batch.base_offset }..end;
        at = batch.base_offset;
        let within = |start: u64| place(start, batch.bytes.start)..place(start, batch.bytes.end);
        if let Some(intact_in) = batch.intact_in {
            let stream = streams.get(intact_in)?;
            let run = Run {
                copy: stream.copy,
                bytes: within(stream.position),
                offsets,
            };
            match proved.runs.last_mut().filter(|last| last.joins(&run)) {
                Some(last) => last.extend(run),
                None => proved.runs.push(run),
            }
        } else {
            let lost = LostRun {
                written: within(written),
                offsets,
                batches: 1,
            };
            match proved.lost.last_mut().filter(|last| last.joins(&lost)) {
                Some(last) => last.extend(lost),
                None => proved.lost.push(lost),
            }
        }
    }
    Some(proved)
}

fn place(start: u64, at: usize) -> u64 {
    start.saturating_add(at as u64)
}

impl Run {
    fn joins(&self, next: &Run) -> bool {
        (self.copy, self.bytes.end, self.offsets.end)
            == (next.copy, next.bytes.start, next.offsets.start)
    }

    fn extend(&mut self, next: Run) {
        self.bytes.end = next.bytes.end;
        self.offsets.end = next.offsets.end;
    }
}

impl LostRun {
    fn joins(&self, next: &LostRun) -> bool {
        self.written.end == next.written.start
    }

    fn extend(&mut self, next: LostRun) {
        self.written.end = next.written.end;
        self.offsets.end = next.offsets.end;
        self.batches = self.batches.saturating_add(next.batches);
    }
}
