//! A block that proves itself, or batches of one.

use std::ops::Range;

use crate::block::{BlockDecoder, BlockHeader, Streams};
use crate::columns::Columns;
use crate::digest::Digests;
use crate::error::{ErrorClass, FormatError, Result};
use crate::record::TimestampType;
use crate::statistics::Statistics;

use super::batches::Run;
use super::inconsistent;

/// A block of which every byte, every record and both digests agree, or, where it states none, the checksums of its batches; or batches that follow
/// each other in a damaged block, which is proved to be damaged elsewhere only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The copy that it was found in, from 0.
    pub copy: usize,
    /// Where it was found in it.
    pub position: u64,
    /// Where its block was written, as the header of that states.
    pub written_at: u64,
    /// Bytes of the whole block, or of the batches.
    pub length: u64,
    /// First offset that is covered: that of the header, unless what is before it covers more.
    pub base_offset: i64,
    /// The exclusive end of the offsets covered: that of the header, unless a record of the next piece is below it.
    pub end_offset: i64,
    /// Number of records.
    pub records: u32,
    /// Digests over the records.
    pub digests: Digests,
    /// Offset of the first record, and of the last; `None` without records.
    pub(super) span: Option<(i64, i64)>,
    /// The offsets of the batches, the end exclusive; `None` of a block of records.
    pub(super) batches: Option<(i64, i64)>,
    /// Whether it is batches of a damaged block, and not a block.
    pub is_run: bool,
    /// First offset that the header covers.
    pub(super) header_base: i64,
    /// As stored, which tells the block of an index entry from others.
    pub(super) header_crc: u32,
}

impl Piece {
    /// Returns what tells its block from others: where that was written, and the checksum of its header.
    #[must_use]
    pub fn block(&self) -> (u64, u32) {
        (self.written_at, self.header_crc)
    }

    /// Returns where it is among the pieces: by its records, where it has any.
    pub(super) fn place(&self) -> i64 {
        self.span.map_or(self.base_offset, |(first, _)| first)
    }

    /// Returns whether the block is taken with these offsets as it is stored: streams of records count offsets from the first one that the
    /// block covers, and a batch cannot be cut.
    pub(super) fn is_kept(&self, within: &Range<i64>) -> bool {
        match self.batches {
            // There is no block to keep.
            Some(_) if self.is_run => false,
            Some((first, end)) => within.start <= first && end <= within.end,
            None => !self.is_cut(within) && self.header_base == within.start,
        }
    }

    /// Returns whether this is the same block once more.
    pub(super) fn repeats(&self, other: &Piece) -> bool {
        (self.written_at, self.header_crc, self.digests)
            == (other.written_at, other.header_crc, other.digests)
    }
}

/// Decodes blocks and compares their records with what their headers state.
pub(super) struct Prover {
    decoder: BlockDecoder,
    columns: Columns,
    timestamp_type: Option<TimestampType>,
}

impl Prover {
    /// Creates a prover of records of this type; where it is not known, the digests of the first block with records tell it.
    pub(super) fn new(timestamp_type: Option<TimestampType>) -> Prover {
        Prover {
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            timestamp_type,
        }
    }

    pub(super) fn timestamp_type(&self) -> Option<TimestampType> {
        self.timestamp_type
    }

    pub(super) fn prove(
        &mut self,
        position: u64,
        header: &BlockHeader,
        block: &[u8],
    ) -> Result<Piece> {
        let known = self.timestamp_type;
        self.decoder
            .decode_of(header, block, Streams::All, known, &mut self.columns)?;
        let batches = self.decoder.batches(header, block, known)?;
        let mut of_batches = batches
            .into_iter()
            .flatten()
            .filter_map(|batch| batch.ok().map(|batch| *batch.header()));
        let first = of_batches.next();
        let last = of_batches.last().or(first);
        let known = known.or(first.map(|first| first.attributes.timestamp_type()));
        let types = match known {
            Some(known) => vec![known],
            None => vec![TimestampType::CreateTime, TimestampType::LogAppendTime],
        };
        let matching = types
            .into_iter()
            .map(|known| (known, digests(&self.columns, known, header)))
            // Without digests, the checksums of the batches are the proof. They state their type.
            .find(|(_, found)| header.computed.is_none_or(|it| it.digests == *found));
        let Some((matching, found)) = matching else {
            let detail = "the digests do not match the records";
            return Err(inconsistent(header.position, detail));
        };
        let offsets = self.columns.offsets();
        let span = offsets.first().copied().zip(offsets.last().copied());
        if span.is_some() {
            self.timestamp_type = Some(matching);
        }
        Ok(Piece {
            copy: 0,
            position,
            written_at: header.position,
            length: block.len() as u64,
            base_offset: header.base_offset,
            end_offset: header.end_offset,
            records: header.record_count,
            digests: found,
            span,
            batches: first
                .zip(last)
                .map(|(first, last)| (first.base_offset, last.last_offset.saturating_add(1))),
            is_run: false,
            header_base: header.base_offset,
            header_crc: header.header_crc,
        })
    }

    /// Decodes the batches of a damaged block that are proved. One that contradicts itself makes all of them doubtful.
    pub(super) fn prove_runs(
        &mut self,
        runs: &[Run],
        header: &BlockHeader,
        copies: &[&[u8]],
    ) -> Result<Vec<Piece>> {
        let known = self.timestamp_type;
        let proved = runs.iter().map(|run| {
            let bytes = copies.get(run.copy).copied().unwrap_or_default();
            self.prove_run(run, header, bytes)
        });
        let proved: Result<Vec<Piece>> = proved.collect();
        if proved.is_err() {
            self.timestamp_type = known;
        }
        proved
    }

    /// Checks that a batch of a block decodes.
    pub(super) fn decodes(&mut self, batch: &[u8], header: &BlockHeader) -> Result<()> {
        let known = self.timestamp_type;
        let decoded = self
            .decoder
            .decode_run(header.position, batch, known, &mut self.columns);
        decoded.map(drop)
    }

    /// Decodes batches of a damaged block; `bytes` are the copy that they are in.
    fn prove_run(&mut self, run: &Run, header: &BlockHeader, bytes: &[u8]) -> Result<Piece> {
        let known = self.timestamp_type;
        let stored = slice(bytes, &run.bytes, header.position)?;
        let stated = self
            .decoder
            .decode_run(header.position, stored, known, &mut self.columns)?;
        let of_run = stated.base_offset..stated.end_offset;
        if of_run.start < run.offsets.start || of_run.end > run.offsets.end {
            let detail = "a batch has the offsets of another one";
            return Err(inconsistent(header.position, detail));
        }
        let offsets = self.columns.offsets();
        let timestamp_type = stated.timestamp_type;
        self.timestamp_type = Some(timestamp_type);
        let raw = stored.len() as u64;
        let statistics = Statistics::of_block(
            &self.columns,
            timestamp_type,
            run.offsets.start,
            run.offsets.end,
            raw,
        );
        Ok(Piece {
            copy: run.copy,
            position: run.bytes.start,
            written_at: header.position,
            length: raw,
            base_offset: run.offsets.start,
            end_offset: run.offsets.end,
            records: stated.records,
            digests: statistics.digests().unwrap_or_default(),
            span: offsets.first().copied().zip(offsets.last().copied()),
            batches: Some((of_run.start, of_run.end)),
            is_run: true,
            header_base: header.base_offset,
            header_crc: header.header_crc,
        })
    }
}

/// Returns bytes of a file that may have been cut since they were found.
pub(super) fn slice<'a>(bytes: &'a [u8], range: &Range<u64>, position: u64) -> Result<&'a [u8]> {
    let within = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let found = within.and_then(|(from, to)| bytes.get(from..to));
    found.ok_or_else(|| {
        let detail = "the file is shorter than when it was read";
        FormatError::new(ErrorClass::Truncated, "block", position, detail)
    })
}

fn digests(columns: &Columns, timestamp_type: TimestampType, header: &BlockHeader) -> Digests {
    let (base, end) = (header.base_offset, header.end_offset);
    let raw = u64::from(header.raw_length());
    let statistics = Statistics::of_block(columns, timestamp_type, base, end, raw);
    statistics.digests().unwrap_or_default()
}
