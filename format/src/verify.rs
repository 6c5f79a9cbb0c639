//! What a verifier checks beyond what every reader does (SPEC section 4, rule 6).
//!
//! Bytes are brought block by block, so a segment of any size is verified in constant memory.

use crate::block::{BlockDecoder, Streams};
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError, Result};
use crate::render;
use crate::segment::{Block, Segment};
use crate::statistics::Statistics;
use crate::whole_lines::WholeLines;

/// Decodes a segment's blocks in order and compares what they hold with what the segment says they hold.
pub struct RecordVerifier<'a> {
    segment: &'a Segment,
    decoder: BlockDecoder,
    columns: Columns,
    statistics: Statistics,
    rendered: render::ViewSizes,
    whole_lines: WholeLines,
    blocks: usize,
    /// Whether a block was passed over, so that sums over all blocks say nothing.
    incomplete: bool,
}

impl<'a> RecordVerifier<'a> {
    /// A verifier of all of `segment`'s records.
    #[must_use]
    pub fn new(segment: &'a Segment) -> RecordVerifier<'a> {
        RecordVerifier {
            segment,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            statistics: Statistics::empty(segment.header().base_offset),
            rendered: render::ViewSizes::default(),
            whole_lines: WholeLines::ALL,
            blocks: 0,
            incomplete: false,
        }
    }

    /// Checks the next block's bytes and records.
    ///
    /// # Errors
    ///
    /// Any of SPEC section 7. To go on behind the block, [`skip`](Self::skip) it.
    pub fn block(&mut self, block: &Block<'_>) -> Result<()> {
        block.check()?;
        block.decode(&mut self.decoder, Streams::All, &mut self.columns)?;
        let header = block.header();
        let statistics = Statistics::of_block(
            &self.columns,
            self.segment.header().timestamp_type,
            header.base_offset,
            header.end_offset,
            u64::from(header.raw_length()),
        );
        let error = |detail: &str| {
            Err(FormatError::new(
                ErrorClass::Inconsistent,
                "block",
                header.position,
                detail,
            ))
        };
        if statistics.digests != header.digests {
            return error("the digests are not those of the records");
        }
        if self.holds_a_named_gap() {
            return error("a record lies in a range that the section gaps names");
        }
        for (sum, size) in self.rendered.iter_mut().zip(render::sizes(&self.columns)) {
            *sum += size;
        }
        if !self.rendered_sizes_agree() {
            return error("the rendered sizes are not those of the records");
        }
        self.whole_lines = self.whole_lines.and(WholeLines::of(&self.columns));
        if !self.incomplete {
            self.statistics.append(&statistics);
        }
        self.blocks += 1;
        Ok(())
    }

    /// Passes over the next block, which is damaged, so that those behind it can be checked.
    pub fn skip(&mut self) {
        let sizes = self.segment.rendered_sizes();
        if let Some(end) = sizes.and_then(|sizes| sizes.ends().get(self.blocks)) {
            self.rendered = *end;
        }
        self.blocks += 1;
        self.incomplete = true;
    }

    fn holds_a_named_gap(&self) -> bool {
        let offsets = self.columns.offsets();
        self.segment.gaps().entries.iter().any(|gap| {
            let first = offsets.partition_point(|offset| *offset < gap.from_offset);
            offsets
                .get(first)
                .is_some_and(|offset| *offset < gap.to_offset)
        })
    }

    fn rendered_sizes_agree(&self) -> bool {
        self.segment
            .rendered_sizes()
            .is_none_or(|sizes| sizes.ends().get(self.blocks) == Some(&self.rendered))
    }

    /// Compares what was seen of all blocks with what the segment says of itself, unless a block was passed over.
    ///
    /// # Errors
    ///
    /// *inconsistent* where they differ.
    pub fn finish(self) -> Result<()> {
        if self.incomplete {
            return Ok(());
        }
        let lines = self.segment.whole_lines();
        let wrong = if self.statistics != *self.segment.statistics() {
            "section statistics"
        } else if lines.is_some_and(|lines| lines != self.whole_lines) {
            "section whole_lines"
        } else {
            return Ok(());
        };
        Err(FormatError::new(
            ErrorClass::Inconsistent,
            wrong,
            self.segment.footer_position(),
            "it is not that of the records",
        ))
    }
}

/// Verifies a segment whose bytes are all at hand: every byte, and with `records` every record.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn verify_whole(bytes: &[u8], records: bool) -> Result<Segment> {
    let segment = Segment::open_whole(bytes)?;
    segment.check_file_header(bytes)?;
    let mut verifier = RecordVerifier::new(&segment);
    let blocks = 0..segment.index().entries().len();
    let first = usize::try_from(segment.file_header_length()).unwrap_or(usize::MAX);
    for block in segment.blocks(blocks, bytes.get(first..).unwrap_or_default()) {
        let block = block?;
        if records {
            verifier.block(&block)?;
        } else {
            block.check()?;
        }
    }
    if records {
        verifier.finish()?;
    }
    Ok(segment)
}
