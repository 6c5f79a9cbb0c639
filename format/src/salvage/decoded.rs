//! The last blocks that were decoded. Where parts of two segments take turns, each run of offsets is one of a block that was decoded before.

use std::ops::Range;

use crate::batch_bounds::BatchBounds;
use crate::block::BlockDecoder;
use crate::columns::Columns;
use crate::error::FormatError;
use crate::record::Record;

use super::Piece;

/// One of each of two segments, and the next one of either.
const KEPT: usize = 3;

/// Decodes the blocks of pieces, and keeps the last three.
#[derive(Default)]
pub struct DecodedBlocks<'a> {
    /// The one that was used last is first.
    kept: [DecodedBlock<'a>; KEPT],
}

/// A block that was decoded.
#[derive(Default)]
pub struct DecodedBlock<'a> {
    is_decoded: bool,
    bytes: &'a [u8],
    decoder: BlockDecoder,
    columns: Columns,
}

impl<'a> DecodedBlocks<'a> {
    /// Returns the block of a piece, which `bytes` are a copy of the file of.
    ///
    /// # Errors
    ///
    /// If the bytes have changed since it was proved.
    pub fn get(
        &mut self,
        piece: &Piece,
        bytes: &'a [u8],
    ) -> Result<&DecodedBlock<'a>, FormatError> {
        let stored = piece.stored(bytes)?;
        let found = self.kept.iter().position(|kept| kept.is(stored));
        let used = self.kept.get_mut(..=found.unwrap_or(KEPT - 1));
        used.unwrap_or_default().rotate_right(1);
        let [last, ..] = &mut self.kept;
        if found.is_none() {
            last.decode(piece, bytes, stored)?;
        }
        Ok(last)
    }
}

impl<'a> DecodedBlock<'a> {
    /// Returns whether it is the one at this place in memory.
    fn is(&self, block: &'a [u8]) -> bool {
        self.is_decoded && std::ptr::eq(self.bytes, block)
    }

    fn decode(
        &mut self,
        piece: &Piece,
        bytes: &'a [u8],
        stored: &'a [u8],
    ) -> Result<(), FormatError> {
        self.is_decoded = false;
        #[cfg(test)]
        tests::DECODED.set(tests::DECODED.get() + 1);
        piece.decode(bytes, &mut self.decoder, &mut self.columns)?;
        self.is_decoded = true;
        self.bytes = stored;
        Ok(())
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns its records.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns what the headers of its batches say together; `None` of a block of records.
    #[must_use]
    pub fn batch_bounds(&self) -> Option<BatchBounds> {
        self.decoder.batch_bounds()
    }

    /// Iterates over its records with these offsets.
    pub fn records(&self, within: &Range<i64>) -> impl Iterator<Item = Record<'_>> {
        let offsets = self.columns.offsets();
        let from = offsets.partition_point(|offset| *offset < within.start);
        let to = offsets.partition_point(|offset| *offset < within.end);
        (from..to).filter_map(|at| self.columns.get(at))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::salvage::{Known, Part, Salvage, sums, write_parts};
    use crate::writer::{SegmentWriter, WriterOptions};
    use crate::{Compression, Digests, FileHeader, GapReason, IsolationLevel, Segment};

    thread_local! {
        pub(super) static DECODED: Cell<u64> = const { Cell::new(0) };
    }

    const RECORDS: i64 = 4_000;

    fn header(segment_id: u8) -> FileHeader {
        FileHeader {
            segment_id: [segment_id; 16],
            topic_id: [7; 16],
            topic: "t".to_owned(),
            partition: 0.into(),
            timestamp_type: crate::TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: 0,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        }
    }

    fn segment(segment_id: u8, block_bytes: usize) -> Vec<u8> {
        let options = WriterOptions {
            compression: Compression::Zstd(1),
            block_bytes,
            key_filter: None,
        };
        let mut writer = SegmentWriter::new(Vec::new(), header(segment_id), options).unwrap();
        for offset in 0..RECORDS {
            let value = offset.to_be_bytes().repeat(4);
            let record = Record {
                offset,
                timestamp: offset,
                control: false,
                key: None,
                value: Some(&value),
                headers: crate::Headers::Slice(&[]),
            };
            writer.push(&record).unwrap();
        }
        writer.seal(RECORDS, GapReason::Unknown).unwrap().0
    }

    #[test]
    fn each_block_is_decoded_once_however_often_two_segments_take_turns() {
        let (ours, theirs) = (segment(1, 20_000), segment(2, 30_000));
        let known = Known::default();
        let (own, other) = (Salvage::of(&ours, &known), Salvage::of(&theirs, &known));
        let (copies, others) = ([&*ours], [&*theirs]);
        // Every third offset was lost here.
        let parts: Vec<Part<'_>> = (0..RECORDS)
            .map(|at| {
                let (salvage, copies) = match at % 3 {
                    0 => (&other, &others[..]),
                    _ => (&own, &copies[..]),
                };
                let offsets = at..at + 1;
                Part {
                    salvage,
                    copies,
                    offsets,
                }
            })
            .collect();
        let blocks = (own.pieces.len() + other.pieces.len()) as u64;
        assert!(blocks > 8, "{blocks}");
        let whole = Segment::open_whole(&ours).unwrap();
        let stated = whole.statistics();

        DECODED.set(0);
        let (records, digests) = sums(&parts, crate::TimestampType::CreateTime).unwrap();
        assert_eq!(DECODED.get(), blocks);
        assert_eq!((records, Some(digests)), (RECORDS as u64, stated.digests()));
        assert_ne!(digests, Digests::default());

        DECODED.set(0);
        let new = write_parts(&parts, RECORDS, GapReason::Damaged, header(3), Vec::new());
        let (new, _) = new.unwrap();
        assert_eq!(DECODED.get(), blocks);
        let new = Segment::open_whole(&new).unwrap();
        assert_eq!(new.statistics().digests(), stated.digests());
    }
}
