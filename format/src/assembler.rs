//! Writing a segment of encoded blocks: header, blocks, footer, trailer, in one pass (SPEC section 3).

use std::io::{self, Write};

use crate::batch_bounds::{BatchBounds, BatchBoundsOfBlocks};
use crate::block::encode::block_numbers;
use crate::block::{BlockBody, BlockHeader, BlockKind, BlockText, EncodedBlock};
use crate::columns::Columns;
use crate::error::{ErrorClass, FormatError};
use crate::footer::{Footer, RenderedSizes};
use crate::gaps::{Gap, GapReason, Gaps};
use crate::header::FileHeader;
use crate::hours::Hours;
use crate::index::{BlockIndex, IndexEntry};
use crate::key_filter::{KeyFilterBits, KeyFilterBuilder, KeyHasher};
use crate::layout::{
    FEATURE_BATCHES, FEATURE_KEY_FILTER, FEATURE_NOT_COMPUTED, MINOR, limits, trailer,
};
use crate::offset_span::OffsetSpan;
use crate::render::{Renderer, ViewSizes};
use crate::statistics::Statistics;
use crate::trailer::Trailer;
use crate::whole_lines::WholeLines;

/// Why a segment could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The record, block or gap does not fit into the segment.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The bytes could not be written.
    #[error("cannot write the segment: {0}")]
    Io(#[from] io::Error),
    /// An earlier write failed, so the bytes written so far may end in part of a block: the segment is abandoned.
    #[error("cannot append to the segment: an earlier write failed")]
    Latched,
}

/// A sealed segment, as the entry of a page describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The file header.
    pub header: FileHeader,
    /// Bytes of the whole segment.
    pub file_length: u64,
    /// Where the footer starts.
    pub footer_position: u64,
    /// Statistics over its records.
    pub statistics: Statistics,
    /// Lengths of the rendered views; `None` where they were not computed.
    pub rendered: Option<ViewSizes>,
    /// Whether lines of these views are whole values and keys; `None` where it was not computed.
    pub whole_lines: Option<WholeLines>,
    /// Whether it has a key filter.
    pub has_key_filter: bool,
    /// Whether it has blocks of batches.
    pub has_batches: bool,
}

/// What a segment has besides its blocks of records. Its header, which comes first, says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentFeatures {
    /// How selective its key filter is, if it has one.
    pub key_filter: Option<KeyFilterBits>,
    /// Whether it has at least one block of Kafka's own batches.
    pub batches: bool,
    /// Whether at least one of these is not computed. Such a segment has no key filter.
    pub not_computed: bool,
}

/// Appends encoded blocks to a segment.
#[derive(Debug)]
pub struct SegmentAssembler<W> {
    out: W,
    header: FileHeader,
    header_bytes: Vec<u8>,
    renderer: Renderer,
    position: u64,
    index: BlockIndex,
    statistics: Statistics,
    /// None where it is not computed, as the next.
    rendered: Option<RenderedSizes>,
    whole_lines: Option<WholeLines>,
    /// None where it is not computed, and once there was no room for a block: then the segment does not state its hours.
    hours: Option<Hours>,
    batch_bounds: BatchBoundsOfBlocks,
    key_filter: Option<KeyFilterBuilder>,
    /// Whether the header says that there are blocks of batches.
    batches: bool,
    /// Whether it says that some of these are not computed.
    not_computed: bool,
    gaps: Vec<Gap>,
    failed: bool,
    scratch: Vec<u8>,
}

/// Blocks that a segment has room for without growing its index: 24 KB, which is enough for most segments.
const EXPECTED_BLOCKS: usize = 256;

impl<W: Write> SegmentAssembler<W> {
    /// Begins a segment: writes its header.
    ///
    /// # Errors
    ///
    /// If the header does not fit or cannot be written.
    pub fn new(out: W, header: FileHeader) -> Result<Self, WriteError> {
        Self::with_key_filter(out, header, None)
    }

    /// Begins a segment, with a key filter if `filter` says how selective it is. It takes 8 bytes of memory per key and block until the segment is
    /// sealed, and at most 64 MiB.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_key_filter(
        out: W,
        header: FileHeader,
        filter: Option<KeyFilterBits>,
    ) -> Result<Self, WriteError> {
        let features = SegmentFeatures {
            key_filter: filter,
            ..SegmentFeatures::default()
        };
        Self::with_features(out, header, features)
    }

    /// Begins a segment with these features. One that is said to have blocks of batches, or such that are not computed, must have one when it is
    /// sealed.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); *inconsistent* where it would have a key filter, and is not computed.
    pub fn with_features(
        mut out: W,
        header: FileHeader,
        features: SegmentFeatures,
    ) -> Result<Self, WriteError> {
        let SegmentFeatures {
            key_filter: filter,
            batches,
            not_computed,
        } = features;
        if not_computed && filter.is_some() {
            let detail = "a segment that is not computed cannot have a key filter";
            let class = ErrorClass::Inconsistent;
            return Err(FormatError::new(class, "file header", 0, detail).into());
        }
        let features = filter.map_or(0, |_| FEATURE_KEY_FILTER)
            | if batches { FEATURE_BATCHES } else { 0 }
            | if not_computed {
                FEATURE_NOT_COMPUTED
            } else {
                0
            };
        let header_bytes = header.encode_with(features)?;
        let hasher = KeyHasher::new(header.salt());
        out.write_all(&header_bytes)?;
        Ok(SegmentAssembler {
            out,
            position: header_bytes.len() as u64,
            statistics: Statistics::empty(header.base_offset),
            header_bytes,
            renderer: header.renderer(),
            header,
            index: BlockIndex::with_capacity(EXPECTED_BLOCKS),
            rendered: (!not_computed).then(|| RenderedSizes::with_capacity(EXPECTED_BLOCKS)),
            whole_lines: (!not_computed).then_some(WholeLines::ALL),
            hours: (!not_computed).then(Hours::default),
            batch_bounds: BatchBoundsOfBlocks::default(),
            key_filter: filter.map(|bits| KeyFilterBuilder::new(hasher, bits)),
            batches,
            not_computed,
            gaps: Vec::new(),
            failed: false,
            scratch: Vec::new(),
        })
    }

    /// Returns the bytes written so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the exclusive end of the offsets covered so far.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.statistics.end_offset
    }

    /// Returns the statistics of the blocks appended so far.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns the file header.
    #[must_use]
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Returns the renderer of the segment's records, which blocks are encoded with.
    #[must_use]
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Returns whether the limits leave room for another block.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let filter = self.key_filter.as_ref();
        self.index.entries().len() < limits::BLOCKS
            && self.gaps.len() < limits::GAP_ENTRIES
            && filter.is_none_or(KeyFilterBuilder::has_room)
    }

    /// Returns what hashes the keys of its blocks, if it has a key filter.
    #[must_use]
    pub fn key_hasher(&self) -> Option<KeyHasher> {
        self.key_filter.as_ref().map(KeyFilterBuilder::hasher)
    }

    /// Returns how many more gaps can be named.
    #[must_use]
    pub fn gap_room(&self) -> usize {
        limits::GAP_ENTRIES.saturating_sub(self.gaps.len())
    }

    /// Appends a block, which must begin where the coverage ends.
    ///
    /// # Errors
    ///
    /// After any error the segment is abandoned: every later call returns [`WriteError::Latched`].
    pub fn append<B: BlockBody>(&mut self, block: &EncodedBlock<B>) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Latched);
        }
        // A failed write may have left part of a block behind, so nothing may follow it (SPEC section 3, rule 8).
        let written = self.append_unlatched(block);
        self.failed = written.is_err();
        written
    }

    fn append_unlatched<B: BlockBody>(
        &mut self,
        block: &EncodedBlock<B>,
    ) -> Result<(), WriteError> {
        let header = self.header_of(block)?;
        self.add_keys(block)?;
        self.write_block(header, |out| block.write_streams(out))?;
        self.state(block.statistics(), block.text(), block.batch_bounds());
        Ok(())
    }

    /// Appends a block as [`append`](Self::append) does. The buffers of Kafka's own batches are handed over to `take`, which writes their bytes
    /// to the output, and may leave another buffer in their place. What the block states stays, and it can be recycled.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_handing_over<B: BlockBody>(
        &mut self,
        block: &mut EncodedBlock<B>,
        take: impl FnMut(&mut W, &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Latched);
        }
        let written = self.hand_over_unlatched(block, take);
        self.failed = written.is_err();
        written
    }

    fn hand_over_unlatched<B: BlockBody>(
        &mut self,
        block: &mut EncodedBlock<B>,
        take: impl FnMut(&mut W, &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let header = self.header_of(block)?;
        self.add_keys(block)?;
        self.write_block(header, |out| block.hand_streams_over(out, take))?;
        self.state(block.statistics(), block.text(), block.batch_bounds());
        Ok(())
    }

    /// Returns the header of a block that can be appended.
    fn header_of<B: BlockBody>(&self, block: &EncodedBlock<B>) -> Result<BlockHeader, WriteError> {
        if block.statistics().base_offset != self.end_offset() {
            return Err(self.refuse(
                ErrorClass::Inconsistent,
                format!(
                    "it begins at offset {}, the segment's coverage ends at {}",
                    block.statistics().base_offset,
                    self.end_offset()
                ),
            ));
        }
        // An empty coverage would make the block unfindable by offset (SPEC 2.3).
        if block.statistics().base_offset == block.statistics().end_offset {
            return Err(self.refuse(ErrorClass::Inconsistent, "it covers no offset".to_owned()));
        }
        // The digests depend on the type, so the header must state the one they were computed with.
        if block.timestamp_type() != self.header.timestamp_type {
            let detail = format!(
                "its timestamp type is {:?}, the segment's is {:?}",
                block.timestamp_type(),
                self.header.timestamp_type
            );
            return Err(self.refuse(ErrorClass::Inconsistent, detail));
        }
        // So do the lengths of the text.
        if block.renderer() != &self.renderer {
            let detail = "its text was measured for another topic or partition".to_owned();
            return Err(self.refuse(ErrorClass::Inconsistent, detail));
        }
        Ok(block.header(self.header.salt(), self.position, self.next_sequence()?))
    }

    fn add_keys<B: BlockBody>(&mut self, block: &EncodedBlock<B>) -> Result<(), WriteError> {
        let Some(hasher) = self.key_hasher() else {
            return Ok(());
        };
        match block.key_hashes(hasher)? {
            Some(hashes) => self.add_hashes(&hashes),
            None => Ok(()),
        }
    }

    /// Appends a block of another segment without compressing it again. `columns` and `bounds` are what decoding it gave, and `header` is its own, but
    /// that end_offset may be another one above the last record. If its numbers were not computed, they are now.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub(crate) fn append_stored(
        &mut self,
        header: BlockHeader,
        block: &[u8],
        (columns, bounds): (&Columns, Option<BatchBounds>),
    ) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Latched);
        }
        let written = self.append_stored_unlatched(header, block, (columns, bounds));
        self.failed = written.is_err();
        written
    }

    fn append_stored_unlatched(
        &mut self,
        header: BlockHeader,
        block: &[u8],
        (columns, bounds): (&Columns, Option<BatchBounds>),
    ) -> Result<(), WriteError> {
        let (base, end) = (header.base_offset, header.end_offset);
        let timestamp_type = self.header.timestamp_type;
        let raw = u64::from(header.raw_length());
        let statistics = Statistics::of_block(columns, timestamp_type, base, end, raw);
        let computed = statistics.computed.as_ref();
        let numbers = computed.map(block_numbers);
        let last = columns.offsets().last().copied();
        let ends_below = last.is_some_and(|last| last >= end) || base >= end;
        let is_other = header.computed.is_some() && header.computed != numbers;
        if base != self.end_offset() || ends_below || is_other {
            let detail = format!(
                "its {} or its digests are not those of its records at offset {}",
                OffsetSpan::from(base..end),
                self.end_offset()
            );
            return Err(self.refuse(ErrorClass::Inconsistent, detail));
        }
        let placed = BlockHeader {
            salt: self.header.salt(),
            position: self.position,
            sequence: self.next_sequence()?,
            // What another writer did not compute is computed here: the records are at hand.
            max_timestamp: statistics.max_timestamp,
            computed: numbers,
            ..header
        };
        let text = BlockText::of(columns, &self.renderer);
        if let Some(hasher) = self.key_hasher() {
            self.add_hashes(&hasher.of_block(columns))?;
        }
        let streams = block.get(placed.header_length()..).unwrap_or_default();
        self.write_block(placed, |out| out.write_all(streams))?;
        self.state(&statistics, Some(&text), bounds);
        Ok(())
    }

    fn next_sequence(&self) -> Result<u32, WriteError> {
        u32::try_from(self.index.entries().len())
            .ok()
            .filter(|sequence| (*sequence as usize) < limits::BLOCKS)
            .ok_or_else(|| {
                self.refuse(
                    ErrorClass::Limit,
                    format!("at most {} blocks are allowed", limits::BLOCKS),
                )
            })
    }

    /// Adds the keys of the next block to the key filter, which there is.
    fn add_hashes(&mut self, hashes: &[u64]) -> Result<(), WriteError> {
        if let Some(filter) = &mut self.key_filter
            && !filter.push(hashes)
        {
            let most = limits::KEY_FILTER_ENTRIES;
            let detail = format!("its key filter may have at most {most} entries");
            return Err(self.refuse(ErrorClass::Limit, detail));
        }
        Ok(())
    }

    /// Writes a block, and adds it to the index.
    fn write_block(
        &mut self,
        mut header: BlockHeader,
        write_streams: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        if header.kind == BlockKind::Batches && (!self.batches || header.record_count == 0) {
            let detail = match self.batches {
                true => "it has no batches",
                false => "it holds batches, and the file header does not say that a block does",
            };
            return Err(self.refuse(ErrorClass::Inconsistent, detail.to_owned()));
        }
        if header.computed.is_none() && !self.not_computed {
            let detail = "it is not computed, and the file header does not say that a block is not";
            return Err(self.refuse(ErrorClass::Inconsistent, detail.to_owned()));
        }
        header.encode(&mut self.scratch);
        self.out.write_all(&self.scratch)?;
        write_streams(&mut self.out)?;
        self.position += header.block_length() as u64;
        self.index.push(IndexEntry::of(&header));
        Ok(())
    }

    /// Adds a block that was written to everything else that the footer states. `text` is `None` where the block is not computed.
    fn state(
        &mut self,
        statistics: &Statistics,
        text: Option<&BlockText>,
        bounds: Option<BatchBounds>,
    ) {
        self.statistics.append(statistics);
        if let (Some(bounds), Some(block)) = (bounds, self.index.entries().len().checked_sub(1)) {
            self.batch_bounds.push(block, bounds);
        }
        // Where a block may be without them, none of these is stated.
        if let Some(text) = text {
            if let Some(rendered) = &mut self.rendered {
                rendered.push(text.view_sizes);
            }
            self.whole_lines = self.whole_lines.map(|lines| lines.and(text.whole_lines));
            self.hours = self
                .hours
                .take()
                .and_then(|mut hours| hours.push(&text.hours).then_some(hours));
        }
    }

    fn refuse(&self, class: ErrorClass, detail: String) -> WriteError {
        FormatError::new(class, "block to be written", self.position, detail).into()
    }

    /// States the reason of a gap in the offsets that are covered now or will be when the segment is sealed.
    ///
    /// # Errors
    ///
    /// *inconsistent* where gaps are not given in ascending order, *limit* where there are too many.
    pub fn name_gap(&mut self, gap: Gap) -> Result<(), WriteError> {
        let before = self
            .gaps
            .last()
            .map_or(self.header.base_offset, |last| last.to_offset);
        if gap.from_offset < before || gap.to_offset <= gap.from_offset {
            let detail = format!(
                "the gap from {} to {} is out of order: the one before it ends at {before}",
                gap.from_offset, gap.to_offset
            );
            return Err(self.refuse(ErrorClass::Inconsistent, detail));
        }
        if self.gaps.len() == limits::GAP_ENTRIES {
            let detail = format!("at most {} named gaps are allowed", limits::GAP_ENTRIES);
            return Err(self.refuse(ErrorClass::Limit, detail));
        }
        self.gaps.push(gap);
        Ok(())
    }

    /// Writes footer and trailer. The segment is complete when this returns; the caller makes it durable.
    ///
    /// `default_reason` is the reason of every gap that was not named.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or a named gap is outside the coverage.
    pub fn seal(mut self, default_reason: GapReason) -> Result<(W, SegmentSummary), WriteError> {
        if self.failed {
            return Err(WriteError::Latched);
        }
        if self
            .gaps
            .last()
            .is_some_and(|gap| gap.to_offset > self.statistics.end_offset)
        {
            let detail = "a named gap ends after the coverage".to_owned();
            return Err(self.refuse(ErrorClass::Inconsistent, detail));
        }
        if self.batches && !self.index.has_batches() {
            let detail = "the file header says that a block holds batches, and none does";
            return Err(self.refuse(ErrorClass::Inconsistent, detail.to_owned()));
        }
        if self.not_computed && self.index.is_computed() {
            let detail = "the file header says that a block is not computed, and all are";
            return Err(self.refuse(ErrorClass::Inconsistent, detail.to_owned()));
        }
        let (key_filter, pages) = match self.key_filter {
            Some(filter) => {
                let (filter, pages) = filter.finish(self.position);
                (Some(filter), pages)
            }
            None => (None, Vec::new()),
        };
        let footer = Footer {
            header: self.header,
            header_bytes: self.header_bytes,
            gaps: Gaps {
                missing_count: self.statistics.missing_count(),
                default_reason,
                entries: self.gaps,
            },
            statistics: self.statistics,
            index: self.index,
            rendered: self.rendered,
            whole_lines: self.whole_lines,
            hours: self.hours,
            batch_bounds: self.batch_bounds,
            key_filter,
        };
        let footer_bytes = footer.encode();
        let footer_position = self.position + pages.len() as u64;
        let trailer = trailer_of(&footer, &footer_bytes, footer_position)?;
        self.out.write_all(&pages)?;
        self.out.write_all(&footer_bytes)?;
        self.out.write_all(&trailer.encode())?;
        self.out.flush()?;
        let summary = SegmentSummary {
            header: footer.header,
            file_length: trailer.file_length,
            footer_position,
            statistics: footer.statistics,
            rendered: footer.rendered.as_ref().map(RenderedSizes::totals),
            whole_lines: self.whole_lines,
            has_key_filter: footer.key_filter.is_some(),
            has_batches: self.batches,
        };
        Ok((self.out, summary))
    }
}

fn trailer_of(footer: &Footer, bytes: &[u8], footer_position: u64) -> Result<Trailer, FormatError> {
    if bytes.len() > limits::FOOTER_LENGTH {
        let detail = format!(
            "{} bytes; at most {} are allowed",
            bytes.len(),
            limits::FOOTER_LENGTH
        );
        return Err(FormatError::new(
            ErrorClass::Limit,
            "footer",
            footer_position,
            detail,
        ));
    }
    let header_crc = footer
        .header_bytes
        .last_chunk()
        .copied()
        .unwrap_or_default();
    Ok(Trailer {
        footer_position,
        file_length: footer_position + bytes.len() as u64 + trailer::LENGTH as u64,
        footer_length: bytes.len() as u32,
        footer_crc: crc32c::crc32c(bytes),
        segment_id: footer.header.segment_id,
        block_count: footer.index.entries().len() as u32,
        minor: MINOR,
        header_crc: u32::from_le_bytes(header_crc),
    })
}
