//! A copy of a segment that states what its writer did not compute: the same blocks, streams and batches, with all numbers (SPEC 2.11).
//!
//! Streams are copied as they are stored; block headers and the footer are new. The caller reads block by block, so a segment of any size is
//! copied in constant memory.

use std::io::Write;

use crate::assembler::{SegmentAssembler, SegmentFeatures, SegmentSummary, WriteError};
use crate::block::{BlockDecoder, Streams};
use crate::columns::Columns;
use crate::digest::Digests;
use crate::header::FileHeader;
use crate::segment::{Block, Segment};

/// Why a segment could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A block of the source is damaged.
    #[error(transparent)]
    Source(crate::error::FormatError),
    /// The copy could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes a copy.
pub struct ComputedCopy<'a, W> {
    source: &'a Segment,
    assembler: SegmentAssembler<W>,
    decoder: BlockDecoder,
    columns: Columns,
    digests: Digests,
}

impl<'a, W: Write> ComputedCopy<'a, W> {
    /// Begins a copy of `source`, whose header is that of the source but for what tells the two apart.
    ///
    /// # Errors
    ///
    /// If the header does not fit, or cannot be written.
    pub fn new(out: W, header: FileHeader, source: &'a Segment) -> Result<Self, WriteError> {
        let features = SegmentFeatures {
            key_filter: source.key_filter().map(crate::KeyFilter::target),
            batches: source.index().has_batches(),
            not_computed: false,
        };
        Ok(ComputedCopy {
            source,
            assembler: SegmentAssembler::with_features(out, header, features)?,
            decoder: BlockDecoder::new(),
            columns: Columns::new(),
            digests: Digests::default(),
        })
    }

    /// Copies the next block.
    ///
    /// # Errors
    ///
    /// [`CopyError::Source`] where it is damaged, or states anything of its records that they are not.
    pub fn block(&mut self, block: &Block<'_>) -> Result<(), CopyError> {
        block
            .decode(&mut self.decoder, Streams::All, &mut self.columns)
            .map_err(CopyError::Source)?;
        let (header, timestamp_type) = (block.header(), self.source.header().timestamp_type);
        let mut digests = Digests::default();
        for record in self.columns.iter() {
            digests.add(Digests::of(&record, timestamp_type));
        }
        if header.computed.is_some_and(|it| it.digests != digests) {
            let (class, at) = (crate::ErrorClass::Inconsistent, header.position);
            let detail = "the digests do not match the records";
            let error = crate::FormatError::new(class, "block", at, detail);
            return Err(CopyError::Source(error));
        }
        self.digests.add(digests);
        self.assembler.append_stored(
            header.clone(),
            block.bytes(),
            (&self.columns, self.decoder.batch_bounds()),
        )?;
        Ok(())
    }

    /// Names the gaps of the source, and seals the copy. Returns the digests over the records as well, as they were read.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn seal(mut self) -> Result<(W, SegmentSummary, Digests), WriteError> {
        let gaps = self.source.gaps();
        for gap in &gaps.entries {
            self.assembler.name_gap(*gap)?;
        }
        let (out, summary) = self.assembler.seal(gaps.default_reason)?;
        Ok((out, summary, self.digests))
    }
}
