//! What a damaged segment still proves, and a new segment of it (SPEC section 5, *Scan*).
//!
//! ```text
//! bytes --Scanner--> blocks as found --decode, compare digests--> proved pieces --by offset--> Salvage --write--> a new segment
//! ```
//!
//! A piece is a block whose header, stored bytes, records and digests agree, or batches of a damaged block that prove themselves, or of one of which
//! others do not decode; nothing else is kept. Where records of two proved blocks claim the same offsets, the block index decides, and neither is kept where it cannot. Offsets of the
//! coverage that no piece has are *losses*: the new segment covers them with blocks without records, and names them as gaps with the reason
//! *damaged*.
//!
//! Nothing is written here but by [`Salvage::write`]; the bytes may be those of a mapped file of any size, and about a hundred bytes per block are
//! kept of it.

mod arrange;
mod batches;
mod decoded;
mod loss;
mod piece;
mod remains;
mod write;

use std::collections::HashSet;
use std::ops::Range;
use std::slice;

use crate::block::{BlockHeader, BlockKind};
use crate::digest::Digests;
use crate::error::{ErrorClass, FormatError};
use crate::gaps::{Gap, GapReason};
use crate::header::FileHeader;
use crate::record::TimestampType;
use crate::scan::{Found, IdentifiedBy, Scanner};

pub use decoded::{DecodedBlock, DecodedBlocks};
pub use loss::{Bound, Loss, LossReason};
pub use piece::Piece;
pub use write::{Part, sums, write_parts};

use batches::{DamagedBlock, ProvedBatches};
use loss::LostBlock;
use piece::Prover;
use remains::Remains;

/// What the caller knows of the segment from elsewhere, such as from its row in a repository.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The first 8 bytes of its id.
    pub salt: Option<[u8; 8]>,
    /// The timestamp type of its records.
    pub timestamp_type: Option<TimestampType>,
    /// The offsets that it covers.
    pub coverage: Option<Range<i64>>,
}

/// What a damaged segment still proves.
#[derive(Debug)]
pub struct Salvage {
    /// The first 8 bytes of the segment's id, and what named it; `None` where nothing did, and no block was looked for.
    pub salt: Option<([u8; 8], IdentifiedBy)>,
    /// The file header, if a copy of it is valid.
    pub header: Option<FileHeader>,
    /// The timestamp type that the digests prove, or that the header states.
    pub timestamp_type: Option<TimestampType>,
    /// Whether the footer was valid, so that the blocks and records that are lost are known.
    pub has_footer: bool,
    /// What is proved, in the order of offsets.
    pub pieces: Vec<Piece>,
    /// What is not, in the order of offsets.
    pub losses: Vec<Loss>,
    /// Where the coverage begins.
    pub base: Bound,
    /// Where the coverage ends, exclusive.
    pub end: Bound,
    /// Records of the whole segment, if the footer states them.
    pub stated_records: Option<u64>,
    /// Positions of the first copy that hold nothing of what is proved, nor a valid header, footer or trailer.
    pub unused: Vec<Range<u64>>,
    /// Valid block headers of other segments, outside of intact blocks.
    pub foreign_blocks: u64,
    /// Intact blocks that were there once more.
    pub repeated_blocks: u64,
    /// Gaps that the footer names, outside the losses.
    gaps: Vec<Gap>,
    /// The reason of all other gaps.
    default_reason: GapReason,
}

impl Salvage {
    /// Finds and proves all that is left of a segment in these bytes.
    #[must_use]
    pub fn of(bytes: &[u8], known: &Known) -> Salvage {
        Salvage::of_copies(&[bytes], known)
    }

    /// Does the same of several copies of one segment, each of which may be damaged elsewhere. The first one counts where several have a block.
    #[must_use]
    pub fn of_copies(copies: &[&[u8]], known: &Known) -> Salvage {
        let salts = copies
            .iter()
            .filter_map(|bytes| Scanner::of(bytes, known.salt).salt());
        let salt = salts.min_by_key(|(_, by)| *by);
        let mut parts = FoundParts::default();
        let mut remains = Remains::default();
        for (copy, bytes) in copies.iter().enumerate() {
            let scanner = Scanner::of(bytes, salt.map(|(salt, _)| salt));
            let first = scanner.header().cloned();
            let blocks = parts.collect(copy, scanner);
            remains.add(Remains::find(copy, bytes, salt, first, &blocks));
            parts
                .blocks
                .extend(blocks.into_iter().map(|range| (copy, range)));
        }
        let footer = remains.footer.as_deref();
        let mut salvage = Salvage {
            salt,
            timestamp_type: known
                .timestamp_type
                .or(remains.header.as_ref().map(|header| header.timestamp_type)),
            header: remains.header.clone(),
            has_footer: footer.is_some(),
            pieces: Vec::new(),
            losses: Vec::new(),
            base: Bound::default(),
            end: Bound::default(),
            stated_records: footer.map(|footer| footer.statistics().record_count),
            unused: Vec::new(),
            foreign_blocks: parts.foreign,
            repeated_blocks: 0,
            gaps: Vec::new(),
            default_reason: footer.map_or(GapReason::Unknown, |it| it.gaps().default_reason),
        };
        let pieces = salvage.prove(&mut parts, copies);
        salvage.arrange(pieces, parts, &remains, known, copies);
        salvage
    }

    /// Decodes the blocks that were found intact, and compares their records with their digests.
    fn prove(&mut self, parts: &mut FoundParts, copies: &[&[u8]]) -> Vec<Piece> {
        let mut prover = Prover::new(self.timestamp_type);
        let mut pieces = Vec::with_capacity(parts.blocks.len());
        for (copy, block) in &parts.blocks {
            let range = usize::try_from(block.start)
                .ok()
                .zip(usize::try_from(block.end).ok());
            let stored = range.and_then(|(from, to)| copies.get(*copy)?.get(from..to));
            let Some((stored, header)) =
                stored.and_then(|it| Some((it, BlockHeader::decode_anywhere(it).ok()?)))
            else {
                continue;
            };
            match prover.prove(block.start, &header, stored) {
                Ok(piece) => pieces.push(Piece {
                    copy: *copy,
                    ..piece
                }),
                Err(error) => {
                    let claim = LostBlock::of(&header, LossReason::InconsistentBlock, &error);
                    parts.claims.push(claim);
                    if header.kind == BlockKind::Batches {
                        parts.damaged.push(DamagedBlock {
                            copy: *copy,
                            position: block.start,
                            header,
                            is_inconsistent: true,
                        });
                    }
                }
            }
        }
        self.prove_batches(parts, copies, &mut prover, &mut pieces);
        self.timestamp_type = prover.timestamp_type();
        pieces
    }

    /// Adds the batches that are proved of blocks that are damaged, or of which some batches do not decode, and that no copy has whole.
    fn prove_batches(
        &self,
        parts: &mut FoundParts,
        copies: &[&[u8]],
        prover: &mut Prover,
        pieces: &mut Vec<Piece>,
    ) {
        let whole: HashSet<(u64, u32)> = pieces.iter().map(Piece::block).collect();
        let identity = |block: &DamagedBlock| (block.header.position, block.header.header_crc);
        let mut damaged = std::mem::take(&mut parts.damaged);
        damaged.retain(|block| !whole.contains(&identity(block)));
        // Stable: the first copy stays the first.
        damaged.sort_by_key(identity);
        let (mut divided, mut lost) = (HashSet::new(), Vec::new());
        for blocks in damaged.chunk_by(|a, b| identity(a) == identity(b)) {
            let (Some(first), Some((batches, proved))) =
                (blocks.first(), divided_block(blocks, copies, prover))
            else {
                continue;
            };
            lost.extend(LostBlock::of_batches(&first.header, &batches, &proved));
            divided.insert(identity(first));
            let in_first = blocks.iter().filter(|block| block.copy == 0);
            parts
                .headers
                .extend(in_first.map(DamagedBlock::header_range));
            pieces.extend(proved);
        }
        // Instead of the whole block, only these are lost.
        let claims = &mut parts.claims;
        claims.retain(|claim| !divided.contains(&(claim.written_at, claim.header_crc)));
        claims.extend(lost);
    }

    /// Returns the number of records that are proved.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| u64::from(piece.records))
            .sum()
    }

    /// Returns the number of blocks that are proved, and that of damaged ones of which batches are.
    #[must_use]
    pub fn blocks(&self) -> (u64, u64) {
        let (runs, blocks): (Vec<&Piece>, Vec<&Piece>) =
            self.pieces.iter().partition(|it| it.is_run);
        (count_blocks(blocks), count_blocks(runs))
    }

    /// Returns the digests over the records that are proved.
    #[must_use]
    pub fn digests(&self) -> Digests {
        let mut sum = Digests::default();
        for piece in &self.pieces {
            sum.add(piece.digests);
        }
        sum
    }

    /// Returns the number of records that are lost; `None` where it is not known.
    #[must_use]
    pub fn lost_records(&self) -> Option<u64> {
        let lost = self.lost_of_its_blocks()?;
        // That none is lost of the segment that was found says nothing of another one that may have been there.
        (lost > 0 || self.is_alone()).then_some(lost)
    }

    fn lost_of_its_blocks(&self) -> Option<u64> {
        if let Some(stated) = self.stated_records {
            return Some(stated.saturating_sub(self.records()));
        }
        if !self.base.is_proved || !self.end.is_proved {
            return None;
        }
        self.losses.iter().map(|loss| loss.records).sum()
    }

    /// Returns whether the file was of this segment and no other: its beginning or its end says so, or nothing else is in it. Where only blocks
    /// tell the segment, bytes that hold nothing proved may have been the segment that the file was, and what was found one in a record of it.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let is_named = self.salt.is_some_and(|(_, by)| by <= IdentifiedBy::Trailer);
        is_named || self.unused.is_empty()
    }

    /// Returns whether all records of the segment are proved, and that there were no others.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.losses.is_empty() && self.base.is_proved && self.end.is_proved && self.is_alone()
    }

    /// Returns how many offsets, outside the losses, the footer names as damaged: their records had been lost when this segment was itself
    /// written of what was left of another one.
    #[must_use]
    pub fn damaged_offsets(&self) -> u64 {
        let gaps = self.gaps.iter();
        let damaged = gaps.filter(|gap| gap.reason == GapReason::Damaged);
        let damaged = damaged.map(|gap| gap.to_offset.abs_diff(gap.from_offset));
        damaged.fold(0, u64::saturating_add)
    }

    /// Returns the gaps that the footer names, outside the losses, in the order of offsets.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Returns the reason of the gap at an offset without a record, outside the losses.
    #[must_use]
    pub fn gap_reason(&self, offset: i64) -> GapReason {
        let next = self.gaps.partition_point(|gap| gap.to_offset <= offset);
        let gap = self.gaps.get(next);
        gap.filter(|gap| gap.from_offset <= offset)
            .map_or(self.default_reason, |gap| gap.reason)
    }

    /// Returns the reason of the gaps that have no name.
    #[must_use]
    pub fn default_reason(&self) -> GapReason {
        self.default_reason
    }

    /// Returns the offsets that the new segment covers.
    #[must_use]
    pub fn coverage(&self) -> Range<i64> {
        self.base.offset..self.end.offset
    }
}

/// Returns what is lost of a block of Kafka's own batches where the rest of it is proved: its batches that are damaged, or do not decode. Nothing of any other block, nor where
/// the whole block is lost. The timestamp type is that of the segment's records, if it is known.
#[must_use]
pub fn damaged_batches(block: &[u8], timestamp_type: Option<TimestampType>) -> Vec<Loss> {
    lost_batches(block, timestamp_type).unwrap_or_default()
}

fn lost_batches(block: &[u8], timestamp_type: Option<TimestampType>) -> Option<Vec<Loss>> {
    // Not by a scan: in a file of nothing but headers, each would search what the others state as their blocks.
    let header = BlockHeader::decode_anywhere(block).ok()?;
    let damaged = DamagedBlock {
        copy: 0,
        position: 0,
        header,
        is_inconsistent: false,
    };
    let mut prover = Prover::new(timestamp_type);
    let divided = divided_block(slice::from_ref(&damaged), &[block], &mut prover);
    let (batches, proved) = divided?;
    let lost = LostBlock::of_batches(&damaged.header, &batches, &proved);
    Some(lost.iter().map(LostBlock::whole).collect())
}

/// Returns the batches of a block that are proved, of which these are all copies that were found, and those that are lost; `None` where none is proved.
fn divided_block(
    blocks: &[DamagedBlock],
    copies: &[&[u8]],
    prover: &mut Prover,
) -> Option<(ProvedBatches, Vec<Piece>)> {
    let header = &blocks.first()?.header;
    let batches = batches::proved_batches(blocks, copies, |_| true)?;
    let divided = match prover.prove_runs(&batches.runs, header, copies) {
        // Nothing says which of its batches contradicts what the block states.
        Ok(_) if blocks.iter().any(|it| it.is_inconsistent) => return None,
        Ok(proved) => (batches, proved),
        // Where a byte of it is damaged, what matches its checksum and does not decode may match by chance, and others, too.
        Err(_) if !batches.is_intact => return None,
        Err(_) => {
            let mut is_later = false;
            let decodes = |batch: &[u8]| {
                let error = prover.decodes(batch, header).err();
                is_later |= error
                    .as_ref()
                    .is_some_and(|it| it.class == ErrorClass::Unsupported);
                error.is_none()
            };
            let batches = batches::proved_batches(blocks, copies, decodes)?;
            if is_later {
                return None;
            }
            let proved = prover.prove_runs(&batches.runs, header, copies).ok()?;
            (batches, proved)
        }
    };
    Some(divided).filter(|(_, proved)| !proved.is_empty())
}

/// Returns the number of blocks that pieces are of, each once, however many batches of it are pieces.
pub fn count_blocks<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> u64 {
    let blocks: HashSet<(u64, u32)> = pieces.into_iter().map(Piece::block).collect();
    blocks.len() as u64
}

/// Everything that a scan found.
#[derive(Default)]
struct FoundParts {
    /// The copies and the positions of the intact blocks.
    blocks: Vec<(usize, Range<u64>)>,
    /// What damaged ones state.
    claims: Vec<LostBlock>,
    /// Damaged ones of batches.
    damaged: Vec<DamagedBlock>,
    /// Positions in the first copy of the headers of damaged ones of which batches are proved.
    headers: Vec<Range<u64>>,
    /// The number of blocks of other segments in the first copy.
    foreign: u64,
    /// The highest sequence, and the highest end, that valid block headers of the segment state.
    last: Option<(u32, i64)>,
    /// The lowest of both.
    first: Option<(u32, i64)>,
}

impl FoundParts {
    /// Adds what is in a copy, and returns the positions of the intact blocks in it.
    fn collect(&mut self, copy: usize, scanner: Scanner<'_>) -> Vec<Range<u64>> {
        let mut blocks = Vec::new();
        for found in scanner {
            match found {
                Found::Block(block) => {
                    self.see(&block.header);
                    let end = block.position.saturating_add(block.bytes.len() as u64);
                    blocks.push(block.position..end);
                }
                Found::Damaged {
                    position,
                    header,
                    error,
                } => {
                    self.see(&header);
                    let claim = LostBlock::of(&header, LossReason::DamagedBlock, &error);
                    self.claims.push(claim);
                    if header.kind == BlockKind::Batches {
                        self.damaged.push(DamagedBlock {
                            copy,
                            position,
                            header: *header,
                            is_inconsistent: false,
                        });
                    }
                }
                Found::Foreign { .. } if copy == 0 => self.foreign = self.foreign.saturating_add(1),
                Found::Foreign { .. } | Found::Skipped(_) => {}
            }
        }
        blocks
    }

    fn see(&mut self, header: &BlockHeader) {
        let (sequence, end) = self.last.unwrap_or_default();
        self.last = Some((sequence.max(header.sequence), end.max(header.end_offset)));
        let this = (header.sequence, header.base_offset);
        let (sequence, base) = self.first.unwrap_or(this);
        self.first = Some((sequence.min(this.0), base.min(this.1)));
    }
}

/// Reports a contradiction between valid parts.
fn inconsistent(position: u64, detail: impl Into<String>) -> FormatError {
    FormatError::new(ErrorClass::Inconsistent, "block", position, detail)
}
