//! What a verifier checks beyond what every reader does (SPEC section 4, rule 6).
//!
//! The caller reads block by block, so a segment of any size is verified in constant memory.

use std::ops::Range;

use crate::block::{BlockDecoder, Streams};
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError, Result};
use crate::gaps::Gap;
use crate::hours::HourSize;
use crate::key_filter::KeyFilterCheck;
use crate::render::ViewSizes;
use crate::segment::{Block, Segment};
use crate::statistics::Statistics;
use crate::whole_lines::WholeLines;

/// Decodes a segment's blocks in order and compares what they hold with what the segment states.
pub struct RecordVerifier<'a> {
    segment: &'a Segment,
    decoder: BlockDecoder,
    columns: Columns,
    statistics: Statistics,
    rendered: ViewSizes,
    whole_lines: WholeLines,
    gaps: GapCursor<'a>,
    key_filter: Option<KeyFilterCheck>,
    blocks: usize,
    /// Whether a block was skipped: sums over all blocks cannot be compared then.
    incomplete: bool,
}

impl<'a> RecordVerifier<'a> {
    /// Creates a verifier for all records of `segment`.
    #[must_use]
    pub fn new(segment: &'a Segment) -> RecordVerifier<'a> {
        RecordVerifier {
            segment,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            statistics: Statistics::empty(segment.header().base_offset),
            rendered: ViewSizes::default(),
            whole_lines: WholeLines::ALL,
            gaps: GapCursor::new(&segment.gaps().entries),
            key_filter: segment
                .key_filter()
                .map(|_| KeyFilterCheck::new(segment.index().entries().len())),
            blocks: 0,
            incomplete: false,
        }
    }

    /// Checks the next block's bytes and records.
    ///
    /// # Errors
    ///
    /// Any of SPEC section 7. To resume after the block, [`skip`](Self::skip) it.
    pub fn block(&mut self, block: &Block<'_>) -> Result<()> {
        // That decodes every stream, and checks the padding.
        block.decode(&mut self.decoder, Streams::All, &mut self.columns)?;
        block.check_batch_bounds(&self.decoder)?;
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
        match (&header.computed, statistics.digests()) {
            (Some(stated), digests) if digests != Some(stated.digests) => {
                return error("the digests do not match the records");
            }
            (None, _) if statistics.max_timestamp > header.max_timestamp => {
                return error(
                    "a record has a timestamp above max_timestamp, so searches by time miss it",
                );
            }
            _ => {}
        }
        let offsets = self.columns.offsets();
        if self.gaps.contains_any(offsets, header.end_offset) {
            return error("a record is inside a range that the section gaps names");
        }
        let sizes = self.segment.renderer().sizes(&self.columns);
        for (sum, size) in self.rendered.iter_mut().zip(sizes) {
            *sum += size;
        }
        if !self.rendered_sizes_agree() {
            return error("the rendered sizes do not match the records");
        }
        if !self.hours_agree() {
            return error("the hours do not match the records");
        }
        self.whole_lines = self.whole_lines.and(WholeLines::of(&self.columns));
        if !self.incomplete {
            self.statistics.append(&statistics);
        }
        if let (Some(check), Some(filter)) = (&mut self.key_filter, self.segment.key_filter()) {
            check.block(filter, Some(&self.columns));
        }
        self.blocks += 1;
        Ok(())
    }

    /// Checks the next pages of the key filter, which follow the blocks; `bytes` are those at
    /// [`KeyFilter::range_of`](crate::KeyFilter::range_of).
    ///
    /// # Errors
    ///
    /// *truncated*, *checksum* or *inconsistent*.
    pub fn key_filter(&mut self, pages: Range<usize>, bytes: &[u8]) -> Result<()> {
        match (&mut self.key_filter, self.segment.key_filter()) {
            (Some(check), Some(filter)) => check.pages(filter, pages, bytes),
            _ => Ok(()),
        }
    }

    /// Compares the key filter with the blocks that were checked; after that, [`finish`](Self::finish) does not.
    ///
    /// # Errors
    ///
    /// *inconsistent* where it lacks the key of a record, or has one that no record has: a search by key may miss records.
    pub fn finish_key_filter(&mut self) -> Result<()> {
        match (self.key_filter.take(), self.segment.key_filter()) {
            (Some(check), Some(filter)) => check.finish(filter),
            _ => Ok(()),
        }
    }

    /// Returns the records of the block that was checked last.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Frees the buffers of the block that was checked last, which a verifier otherwise keeps for the next one.
    pub fn free_buffers(&mut self) {
        self.decoder = BlockDecoder::new();
        self.columns = Columns::new();
    }

    /// Skips the next block, which is damaged, so that the blocks after it can be checked.
    pub fn skip(&mut self) {
        // The sizes are cumulative: those of the blocks after this one are compared from the end that the footer states.
        let sizes = self.segment.rendered_sizes();
        if let Some(end) = sizes.and_then(|sizes| sizes.ends().get(self.blocks)) {
            self.rendered = *end;
        }
        if let (Some(check), Some(filter)) = (&mut self.key_filter, self.segment.key_filter()) {
            check.block(filter, None);
        }
        self.blocks += 1;
        self.incomplete = true;
    }

    fn rendered_sizes_agree(&self) -> bool {
        self.segment
            .rendered_sizes()
            .is_none_or(|sizes| sizes.ends().get(self.blocks) == Some(&self.rendered))
    }

    fn hours_agree(&self) -> bool {
        let found = || HourSize::of(&self.columns, self.segment.renderer());
        let stated = self.segment.hours();
        stated.is_none_or(|hours| hours.of_block(self.blocks) == found())
    }

    /// Compares the key filter with the blocks that were checked, and the sums over all blocks with what the segment states, unless a block was
    /// skipped.
    ///
    /// # Errors
    ///
    /// *inconsistent* where they differ.
    pub fn finish(mut self) -> Result<()> {
        self.finish_key_filter()?;
        if self.incomplete {
            return Ok(());
        }
        let lines = self.segment.whole_lines();
        let stated = self.segment.statistics();
        if stated.computed.is_none() {
            // What it does state was compared with the block index, and that with the blocks: its largest timestamp is a bound.
            self.statistics.computed = None;
            self.statistics.max_timestamp = stated.max_timestamp;
        }
        let wrong = if self.statistics != *stated {
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
            "it does not match the records",
        ))
    }
}

/// A cursor over the named gaps of a segment that advances with its blocks. Both ascend, so one pass over each finds the
/// records inside a gap: comparing every gap with every block would be quadratic, and a segment may have 65,536 gaps.
struct GapCursor<'a> {
    /// The gaps that do not end before the block that was examined last.
    rest: &'a [Gap],
    #[cfg(test)]
    examined: usize,
}

impl<'a> GapCursor<'a> {
    fn new(gaps: &'a [Gap]) -> GapCursor<'a> {
        GapCursor {
            rest: gaps,
            #[cfg(test)]
            examined: 0,
        }
    }

    /// Returns whether a gap contains one of the offsets of the next block, which covers offsets below `end_offset`.
    fn contains_any(&mut self, offsets: &[i64], end_offset: i64) -> bool {
        while let Some((gap, rest)) = self.rest.split_first()
            && gap.from_offset < end_offset
        {
            #[cfg(test)]
            {
                self.examined += 1;
            }
            let first = offsets.partition_point(|offset| *offset < gap.from_offset);
            let inside = |offset: &i64| *offset < gap.to_offset;
            if offsets.get(first).is_some_and(inside) {
                return true;
            }
            // A gap that reaches beyond this block may hold a record of the next one.
            if gap.to_offset > end_offset {
                return false;
            }
            self.rest = rest;
        }
        false
    }
}

/// Verifies a segment whose bytes are all in memory: every byte, and with `records` every record.
///
/// # Errors
///
/// The first defect found.
pub fn verify_whole(bytes: &[u8], records: bool) -> Result<Segment> {
    let segment = Segment::open_whole(bytes)?;
    segment.check_file_header(bytes)?;
    let mut verifier = RecordVerifier::new(&segment);
    let mut decoder = BlockDecoder::new();
    let blocks = 0..segment.index().entries().len();
    let first = usize::try_from(segment.file_header_length()).unwrap_or(usize::MAX);
    for block in segment.blocks(blocks, bytes.get(first..).unwrap_or_default()) {
        let block = block?;
        if records {
            verifier.block(&block)?;
        } else {
            block.check(&mut decoder)?;
        }
    }
    if let Some(filter) = segment.key_filter() {
        let (pages, range) = (0..filter.page_count(), filter.range());
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let pages_bytes = bytes.get(place(range.start)..place(range.end));
        let pages_bytes = pages_bytes.unwrap_or_default();
        match records {
            true => verifier.key_filter(pages, pages_bytes)?,
            false => filter.check(pages, pages_bytes)?,
        }
    }
    if records {
        verifier.finish()?;
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::GapReason;
    use crate::layout::limits;

    fn gap(from_offset: i64, to_offset: i64) -> Gap {
        Gap {
            from_offset,
            to_offset,
            reason: GapReason::Compacted,
        }
    }

    #[test]
    fn each_gap_is_examined_once_per_block_that_it_reaches_into() {
        let blocks = limits::GAP_ENTRIES as i64;
        let gaps: Vec<Gap> = (0..blocks).map(|i| gap(4 * i + 1, 4 * i + 3)).collect();
        let mut cursor = GapCursor::new(&gaps);
        for block in 0..blocks {
            let offsets = [4 * block, 4 * block + 3];
            assert!(!cursor.contains_any(&offsets, 4 * block + 4));
        }
        assert_eq!(cursor.examined, gaps.len());

        // One gap over all blocks is examined for each.
        let wide = [gap(0, 4 * blocks)];
        let mut cursor = GapCursor::new(&wide);
        for block in 0..blocks {
            assert!(!cursor.contains_any(&[], 4 * block + 4));
        }
        assert_eq!(cursor.examined as i64, blocks);
    }

    #[test]
    fn a_record_in_a_gap_is_found_wherever_blocks_and_gaps_begin() {
        let gap_sets = [
            vec![],
            vec![gap(0, 1)],
            vec![gap(2, 7)],
            vec![gap(0, 3), gap(3, 5), gap(9, 12)],
            vec![gap(1, 2), gap(4, 8), gap(8, 9), gap(11, 12)],
        ];
        for gaps in &gap_sets {
            for present in 0_u32..1 << 12 {
                let mut cursor = GapCursor::new(gaps);
                for (from, to) in [(0, 4), (4, 5), (5, 9), (9, 12)] {
                    let is_present = |offset: &i64| present & (1 << offset) != 0;
                    let offsets: Vec<i64> = (from..to).filter(is_present).collect();
                    let expected = offsets.iter().any(|offset| {
                        let inside = |gap: &Gap| (gap.from_offset..gap.to_offset).contains(offset);
                        gaps.iter().any(inside)
                    });
                    let found = cursor.contains_any(&offsets, to);
                    assert_eq!(found, expected, "{gaps:?} {offsets:?}");
                }
            }
        }
    }
}
