//! A segment opened for reading, without I/O: the caller reads the bytes that it requests (SPEC section 5).
//!
//! ```text
//! last 128 KiB --open--> Open::Need(range) --read the range--> Open::Ready(Segment)
//! Segment: which blocks? -> range of bytes -> read them -> Segment::blocks -> BlockReader -> Columns
//! ```

use std::ops::Range;

use crate::batch::RecordBatches;
use crate::batch_bounds::BatchBounds;
use crate::block::decode::{self, check_stored_bytes};
use crate::block::{BlockDecoder, BlockHeader, BlockKind, StreamId, Streams};
use crate::columns::Columns;
use crate::counted::counted;
use crate::error::{ErrorClass, FormatError, Result};
use crate::footer::{Footer, RenderedSizes};
use crate::gaps::Gaps;
use crate::header::FileHeader;
use crate::hours::Hours;
use crate::index::{BlockIndex, IndexEntry};
use crate::key_filter::KeyFilter;
use crate::record::TimestampType;
use crate::render::Renderer;
use crate::statistics::Statistics;
use crate::trailer::Trailer;
use crate::whole_lines::WholeLines;
use crate::wire::length;

/// The outcome of opening a segment.
#[derive(Debug)]
pub enum Open {
    /// The opened segment.
    Ready(Box<Segment>),
    /// The footer starts before the given bytes: read this range, which ends where the segment ends, and open again.
    Need(Range<u64>),
}

/// A segment's footer, checked: everything but the blocks themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    footer: Footer,
    trailer: Trailer,
    renderer: Renderer,
}

impl Segment {
    /// Opens a segment of `file_length` bytes from its last bytes: [`TAIL_LENGTH`](crate::layout::TAIL_LENGTH) of
    /// them, or those from the footer's position where that is known.
    ///
    /// # Errors
    ///
    /// As in SPEC section 7; *not_a_segment* where the magic is missing at the end.
    pub fn open(tail: &[u8], file_length: u64) -> Result<Open> {
        let trailer = Trailer::decode(tail, file_length)?;
        let tail_position = file_length.saturating_sub(tail.len() as u64);
        let footer = trailer
            .footer_position
            .checked_sub(tail_position)
            .and_then(|start| tail.get(usize::try_from(start).ok()?..));
        let Some(footer) = footer else {
            return Ok(Open::Need(trailer.footer_position..file_length));
        };
        let footer = Footer::decode(footer, &trailer)?;
        Ok(Open::Ready(Box::new(Segment {
            renderer: footer.header.renderer(),
            footer,
            trailer,
        })))
    }

    /// Opens a segment whose bytes are all in memory.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_whole(bytes: &[u8]) -> Result<Segment> {
        match Segment::open(bytes, bytes.len() as u64)? {
            Open::Ready(segment) => Ok(*segment),
            Open::Need(range) => Err(FormatError::new(
                ErrorClass::Truncated,
                "footer",
                range.start,
                "the bytes before the trailer are missing",
            )),
        }
    }

    /// Returns the file header, as the footer repeats it.
    #[must_use]
    pub fn header(&self) -> &FileHeader {
        &self.footer.header
    }

    /// Returns the renderer of the segment's records.
    #[must_use]
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Returns the exclusive end of the offsets covered.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.footer.statistics.end_offset
    }

    /// Returns the offsets covered.
    #[must_use]
    pub fn coverage(&self) -> Range<i64> {
        self.footer.header.base_offset..self.end_offset()
    }

    /// Returns the block index.
    #[must_use]
    pub fn index(&self) -> &BlockIndex {
        &self.footer.index
    }

    /// Returns the statistics over all records.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.footer.statistics
    }

    /// Returns whether everything is stated that only decoding the records tells: digests, counts, sizes and smallest timestamps (SPEC 2.11).
    #[must_use]
    pub fn is_computed(&self) -> bool {
        self.footer.statistics.computed.is_some()
    }

    /// Returns the offsets without a record, and why they have none.
    #[must_use]
    pub fn gaps(&self) -> &Gaps {
        &self.footer.gaps
    }

    /// Returns the exact sizes of the rendered views, where the writer stated them in a version that this program knows.
    #[must_use]
    pub fn rendered_sizes(&self) -> Option<&RenderedSizes> {
        self.footer.rendered.as_ref()
    }

    /// Returns whether lines of the rendered views are whole values and keys, where the writer stated it.
    #[must_use]
    pub fn whole_lines(&self) -> Option<WholeLines> {
        self.footer.whole_lines
    }

    /// Returns the text of each hour, where the writer stated it in a version that this program knows.
    #[must_use]
    pub fn hours(&self) -> Option<&Hours> {
        self.footer.hours.as_ref()
    }

    /// Returns what the headers of a block's batches say together; `None` of a block of records.
    #[must_use]
    pub fn batch_bounds(&self, block: usize) -> Option<&BatchBounds> {
        self.footer.batch_bounds.of_block(block)
    }

    /// Returns the key filter, where the segment has one.
    #[must_use]
    pub fn key_filter(&self) -> Option<&KeyFilter> {
        self.footer.key_filter.as_ref()
    }

    /// Returns the length of the whole segment.
    #[must_use]
    pub fn file_length(&self) -> u64 {
        self.trailer.file_length
    }

    /// Returns the position of the footer.
    #[must_use]
    pub fn footer_position(&self) -> u64 {
        self.trailer.footer_position
    }

    /// Returns the CRC-32C of the footer, which identifies everything that the footer states.
    #[must_use]
    pub fn footer_crc(&self) -> u32 {
        self.trailer.footer_crc
    }

    /// Checks the segment's first bytes against the footer's copy of them.
    ///
    /// # Errors
    ///
    /// As [`FileHeader::decode`]; *misplaced* where the header is that of another segment, *inconsistent* where it differs otherwise.
    pub fn check_file_header(&self, bytes: &[u8]) -> Result<()> {
        let (header, header_length) = FileHeader::decode(bytes)?;
        if bytes.get(..header_length) == Some(&self.footer.header_bytes[..]) {
            return Ok(());
        }
        let class = if header.segment_id == self.footer.header.segment_id {
            ErrorClass::Inconsistent
        } else {
            ErrorClass::Misplaced
        };
        Err(FormatError::new(
            class,
            "file header",
            0,
            "it differs from the footer's copy",
        ))
    }

    /// Returns the length of the file header, which is the position of the first block.
    #[must_use]
    pub fn file_header_length(&self) -> u64 {
        self.footer.header_bytes.len() as u64
    }

    /// Iterates over the blocks of `range`; `bytes` are those at [`BlockIndex::range`].
    pub fn blocks<'a>(
        &'a self,
        range: Range<usize>,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<Block<'a>>> {
        let first = range.start;
        let entries = self.index().entries().get(range).unwrap_or_default();
        let start = entries.first().map_or(0, |entry| entry.position);
        entries.iter().enumerate().map(move |(i, entry)| {
            let at = usize::try_from(entry.position - start).unwrap_or(usize::MAX);
            self.block(first + i, bytes.get(at..).unwrap_or_default())
        })
    }

    /// Returns block number `number`, which starts at the first of `bytes`.
    ///
    /// # Errors
    ///
    /// Any of SPEC section 7 about its header, *inconsistent* where it is not the one in the index.
    pub fn block<'a>(&self, number: usize, bytes: &'a [u8]) -> Result<Block<'a>> {
        let entry = self.entry(number)?;
        let block_length = length(entry.block_length);
        let Some(bytes) = bytes.get(..block_length) else {
            let detail = format!("needs {block_length} bytes, found {}", bytes.len());
            return Err(FormatError::new(
                ErrorClass::Truncated,
                "block",
                entry.position,
                detail,
            ));
        };
        let header = self.block_header(number, entry, bytes)?;
        Ok(Block {
            header,
            bytes,
            timestamp_type: self.header().timestamp_type,
            batch_bounds: self.batch_bounds(number).copied(),
        })
    }

    /// Decodes META of block number `number`, of which `start` has the header and META; `columns` is replaced.
    ///
    /// # Errors
    ///
    /// As [`block`](Self::block) and [`BlockDecoder::decode_meta`].
    pub fn decode_meta(
        &self,
        number: usize,
        start: &[u8],
        decoder: &mut BlockDecoder,
        columns: &mut Columns,
    ) -> Result<()> {
        columns.clear();
        let header = self.block_header(number, self.entry(number)?, start)?;
        let timestamp_type = Some(self.header().timestamp_type);
        decoder.decode_meta_of(&header, start, timestamp_type, columns)
    }

    /// Returns how many bytes the records of block number `number` take once they are decoded, without decoding them: for whoever decides how many blocks
    /// are decoded at a time. `bytes` are those of the block, or the first ones up to the end of META. Of some codecs it is a little too much; of gzip,
    /// whose format states no bound, what the producer states. Nothing is checked, so what is damaged may have any; 0 where its header is.
    #[must_use]
    pub fn decoded_bytes(&self, number: usize, bytes: &[u8]) -> usize {
        let entry = self.entry(number);
        let header = entry.and_then(|entry| self.block_header(number, entry, bytes));
        header.map_or(0, |header| decode::decoded_bytes(&header, bytes))
    }

    fn entry(&self, number: usize) -> Result<&IndexEntry> {
        self.index().entries().get(number).ok_or_else(|| {
            let blocks = counted(self.index().entries().len(), "block");
            let detail = format!("the segment has {blocks}");
            FormatError::new(
                ErrorClass::Limit,
                "block index",
                self.footer_position(),
                detail,
            )
        })
    }

    /// Reads the header of a block, which must be the one that the index names.
    fn block_header(&self, number: usize, entry: &IndexEntry, bytes: &[u8]) -> Result<BlockHeader> {
        let header = BlockHeader::decode(bytes, entry.position, self.header().salt())?;
        if IndexEntry::of(&header) != *entry || header.sequence as usize != number {
            let detail = "the block is not the one that the block index names";
            return Err(FormatError::new(
                ErrorClass::Inconsistent,
                "block header",
                entry.position,
                detail,
            ));
        }
        Ok(header)
    }
}

/// A block's checked header, and its bytes, which are checked when they are decoded.
#[derive(Debug)]
pub struct Block<'a> {
    header: BlockHeader,
    bytes: &'a [u8],
    /// That of the segment, which all batches must have.
    timestamp_type: TimestampType,
    /// What the segment states of its batches.
    batch_bounds: Option<BatchBounds>,
}

impl<'a> Block<'a> {
    /// Returns the block header.
    #[must_use]
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Returns the bytes of the whole block.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Decodes the block's records; `columns` is replaced.
    ///
    /// # Errors
    ///
    /// As [`BlockDecoder::decode`].
    pub fn decode(
        &self,
        decoder: &mut BlockDecoder,
        streams: Streams,
        columns: &mut Columns,
    ) -> Result<()> {
        let timestamp_type = Some(self.timestamp_type);
        decoder.decode_of(&self.header, self.bytes, streams, timestamp_type, columns)
    }

    /// As [`Segment::decoded_bytes`].
    #[must_use]
    pub fn decoded_bytes(&self) -> usize {
        decode::decoded_bytes(&self.header, self.bytes)
    }

    /// Lends the batches of a block of batches as they were in Kafka, without decoding their records; `None` of a block of records. Everything
    /// that their headers state is checked, and their checksums are.
    ///
    /// # Errors
    ///
    /// As [`BlockDecoder::batches`].
    pub fn batches<'b>(&self, decoder: &'b mut BlockDecoder) -> Result<Option<RecordBatches<'b>>>
    where
        'a: 'b,
    {
        decoder.batches(&self.header, self.bytes, Some(self.timestamp_type))
    }

    /// Decodes one more stream into `columns`, which has META of this block, and not this stream yet.
    ///
    /// # Errors
    ///
    /// As [`BlockDecoder::decode_stream`].
    pub fn decode_stream(
        &self,
        decoder: &mut BlockDecoder,
        id: StreamId,
        columns: &mut Columns,
    ) -> Result<()> {
        decoder.decode_stream(&self.header, self.bytes, id, columns)
    }

    /// Checks all bytes of the block without decompressing the records, and the checksums and headers of its batches, and that these say what the
    /// segment states of them.
    ///
    /// # Errors
    ///
    /// *checksum*, or *inconsistent*.
    pub fn check(&self, decoder: &mut BlockDecoder) -> Result<()> {
        if self.header.kind == BlockKind::Batches {
            self.batches(decoder)?;
            return self.check_batch_bounds(decoder);
        }
        check_stored_bytes(&self.header, self.bytes)
    }

    /// Compares what the segment states of the batches with those that `decoder` has read last, which are those of this block.
    pub(crate) fn check_batch_bounds(&self, decoder: &BlockDecoder) -> Result<()> {
        if self.batch_bounds == decoder.batch_bounds() {
            return Ok(());
        }
        let detail =
            "the section batch_bounds states other sizes, times or codecs than its batches have";
        let (class, position) = (ErrorClass::Inconsistent, self.header.position);
        Err(FormatError::new(class, "block", position, detail))
    }
}
