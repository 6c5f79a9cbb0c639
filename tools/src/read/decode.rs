//! Decodes a block as far as it takes to know which of its records are selected, and then what is wanted of those.
//!
//! ```text
//! META --any left?--> KEYS --any left?--> HEADERS --any left?--> VALUES --any selected?--> what else is wanted of them
//! ```
//!
//! Only the streams that conditions need are decoded, each only while a record may still be selected by it. A stream that is not needed is
//! neither decompressed nor checked.

use kbk_format::{BlockDecoder, Columns, FormatError, Record, Segment, StreamId, Streams};

use super::part::BlockPart;
use super::selection::Selection;

/// Decodes blocks, one at a time, and reuses its buffers.
pub(crate) struct DecodeScratch {
    decoder: BlockDecoder,
    block: DecodedBlock,
}

/// A decoded block, and which of its records are selected.
#[derive(Default)]
pub(crate) struct DecodedBlock {
    columns: Columns,
    /// Whether the block may hold records that are not selected, so that `selected` says which ones are.
    is_cut: bool,
    /// Row by row: by offset and time at first, and in the end.
    selected: Vec<bool>,
    /// Row by row: those of them that satisfy the conditions so far.
    passing: Vec<bool>,
}

/// Streams besides META.
const STREAMS: [StreamId; 3] = [StreamId::Keys, StreamId::Headers, StreamId::Values];

impl DecodeScratch {
    pub(crate) fn new() -> DecodeScratch {
        DecodeScratch {
            decoder: BlockDecoder::new(),
            block: DecodedBlock::default(),
        }
    }

    /// Returns the decoder, and where it decodes to.
    pub(super) fn parts(&mut self) -> (&mut BlockDecoder, &mut DecodedBlock) {
        (&mut self.decoder, &mut self.block)
    }

    /// Returns what decodes blocks, for whoever takes them as they are stored. No block is decoded then.
    pub(super) fn decoder(&mut self) -> &mut BlockDecoder {
        self.block.columns.clear();
        &mut self.decoder
    }

    /// Returns the block that was decoded last.
    pub(crate) fn block(&self) -> &DecodedBlock {
        &self.block
    }
}

impl DecodedBlock {
    /// Decodes block number `number` of a segment, of which `bytes` has `part`.
    pub(super) fn decode(
        &mut self,
        decoder: &mut BlockDecoder,
        (segment, number): (&Segment, usize),
        (bytes, part): (&[u8], BlockPart),
        selection: &Selection,
        streams: Streams,
    ) -> Result<(), FormatError> {
        let entry = segment.index().entries().get(number);
        self.is_cut = entry.is_none_or(|entry| selection.cuts_block(segment, entry));
        if part == BlockPart::Meta {
            segment.decode_meta(number, bytes, decoder, &mut self.columns)?;
            if self.is_cut {
                self.by_meta(selection);
                self.conclude(selection);
            }
            return Ok(());
        }
        self.columns.clear();
        let block = segment.block(number, bytes)?;
        if !self.is_cut {
            return block.decode(decoder, streams, &mut self.columns);
        }
        block.decode(decoder, Streams::Meta, &mut self.columns)?;
        self.by_meta(selection);
        let mut missing = STREAMS.map(Some);
        let mut take = |id: StreamId| {
            let mut slots = missing.iter_mut();
            slots.any(|slot| slot.take_if(|missing| *missing == id).is_some())
        };
        for id in selection.filter.streams() {
            if self.passing.contains(&true) && take(id) {
                block.decode_stream(decoder, id, &mut self.columns)?;
                self.by_stream(id, selection);
            }
        }
        self.conclude(selection);
        if self.selected.contains(&true) {
            for id in STREAMS {
                if streams.contains(id) && take(id) {
                    block.decode_stream(decoder, id, &mut self.columns)?;
                }
            }
        }
        Ok(())
    }

    /// Selects by offset, time, and what META says of keys, headers and values.
    fn by_meta(&mut self, selection: &Selection) {
        let (columns, rows) = (&self.columns, selection.rows(&self.columns));
        self.selected.clear();
        let timestamps = columns.timestamps().iter().enumerate();
        let selected = timestamps.map(|(row, time)| {
            rows.contains(&row) && selection.times.contains(time) && !columns.is_control(row)
        });
        self.selected.extend(selected);
        self.passing.clear();
        let selected = self.selected.iter().enumerate();
        let passing =
            selected.map(|(row, selected)| *selected && selection.filter.may_hold(columns, row));
        self.passing.extend(passing);
    }

    /// Selects by the conditions that need a stream.
    fn by_stream(&mut self, id: StreamId, selection: &Selection) {
        for (row, passing) in self.passing.iter_mut().enumerate() {
            if *passing {
                let record = self.columns.get(row);
                *passing = record.is_some_and(|record| selection.filter.holds(id, &record));
            }
        }
    }

    /// Ends the selection. A condition that was not asked is one that no record could satisfy any more.
    fn conclude(&mut self, selection: &Selection) {
        let inverted = selection.filter.is_inverted();
        for (selected, passing) in self.selected.iter_mut().zip(&self.passing) {
            *selected &= *passing != inverted;
        }
    }

    /// Returns every record of the block, selected or not.
    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns how many records are selected.
    pub(crate) fn count(&self) -> u64 {
        let selected = match self.is_cut {
            true => self.selected.iter().filter(|selected| **selected).count(),
            false => self.columns.len(),
        };
        selected as u64
    }

    /// Returns the record in a row, if it is selected.
    pub(crate) fn record(&self, row: usize, selection: &Selection) -> Option<Record<'_>> {
        let record = self.columns.get(row)?;
        let selected = match self.is_cut {
            true => self.selected.get(row).is_some_and(|selected| *selected),
            false => selection.selects(&record),
        };
        selected.then_some(record)
    }

    /// Returns the rows that may hold selected records.
    pub(crate) fn rows(&self, selection: &Selection) -> std::ops::Range<usize> {
        selection.rows(&self.columns)
    }

    /// Returns the size in bytes of its buffers.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.columns.buffer_bytes() + self.selected.capacity() + self.passing.capacity()
    }
}
