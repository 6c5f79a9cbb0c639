//! One partition as a text file: its size is known without decoding, and a read decodes only the blocks it touches.

use std::ops::Range;

use kbk_format::render::View;
use kbk_format::repo::{Place, RepoError, SegmentEntry, SegmentReader, Store};
use kbk_format::{BlockDecoder, Columns, ErrorClass, FormatError, Streams};

/// A rendered view of all records of one partition, in offset order (SPEC section 10).
#[derive(Debug)]
pub struct PartitionFile {
    view: View,
    segments: Vec<SegmentReader>,
    /// Every block of every segment; ends ascend.
    blocks: Vec<BlockText>,
}

/// Where a block's text ends in the file.
#[derive(Clone, Copy, Debug)]
struct BlockText {
    segment: usize,
    block: usize,
    end: u64,
}

/// Why there is no such file, or no such range of it.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A segment does not state its rendered sizes, so no exact size can be given.
    #[error("{key} does not state its rendered sizes; `kbk cat` shows its records")]
    NoSizes {
        /// The segment.
        key: String,
    },
}

impl PartitionFile {
    /// Opens the segments of a partition, with one read each.
    ///
    /// # Errors
    ///
    /// [`ViewError::NoSizes`], or as [`SegmentReader::open`].
    pub async fn open(
        store: &Store,
        place: &Place,
        entries: &[SegmentEntry],
        view: View,
    ) -> Result<Self, ViewError> {
        let mut file = PartitionFile {
            view,
            segments: Vec::new(),
            blocks: Vec::new(),
        };
        for entry in entries {
            let reader = SegmentReader::open(store, place, entry).await?;
            file.add(reader)?;
        }
        Ok(file)
    }

    fn add(&mut self, reader: SegmentReader) -> Result<(), ViewError> {
        let start = self.size();
        let segment = self.segments.len();
        let Some(sizes) = reader.segment().rendered_sizes() else {
            return Err(ViewError::NoSizes {
                key: reader.key().to_string(),
            });
        };
        let blocks = sizes.ends().iter().enumerate();
        let view = self.view as usize;
        self.blocks.extend(blocks.map(|(block, ends)| BlockText {
            segment,
            block,
            end: start + ends[view],
        }));
        self.segments.push(reader);
        Ok(())
    }

    /// The file's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.end)
    }

    /// The bytes at `range`, cut at the end of the file.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::read`]; [`RepoError::DamagedSegment`] where a block is damaged, or does not render to the length
    /// that its segment states.
    pub async fn read_at(&self, range: Range<u64>) -> Result<Vec<u8>, ViewError> {
        let mut decoder = BlockDecoder::new();
        let mut columns = Columns::new();
        let mut text = Vec::new();
        let mut out = Vec::new();
        let first = self
            .blocks
            .partition_point(|block| block.end <= range.start);
        for (number, block) in self.blocks.iter().enumerate().skip(first) {
            let start = number
                .checked_sub(1)
                .map_or(0, |before| self.blocks[before].end);
            if start >= range.end {
                break;
            }
            self.render(
                block,
                block.end - start,
                &mut decoder,
                &mut columns,
                &mut text,
            )
            .await?;
            let from = range.start.max(start) - start;
            let to = range.end.min(block.end) - start;
            // Both are at most the length of `text`, which is in memory.
            out.extend_from_slice(&text[from as usize..to as usize]);
        }
        Ok(out)
    }

    async fn render(
        &self,
        block: &BlockText,
        expected: u64,
        decoder: &mut BlockDecoder,
        columns: &mut Columns,
        text: &mut Vec<u8>,
    ) -> Result<(), ViewError> {
        text.clear();
        let reader = &self.segments[block.segment];
        let bytes = reader.read(block.block..block.block + 1).await?;
        let damaged = |error: FormatError| reader.damaged(error);
        let stored = reader
            .segment()
            .block(block.block, &bytes)
            .map_err(damaged)?;
        stored
            .decode(decoder, Streams::All, columns)
            .map_err(damaged)?;
        for record in columns.iter() {
            self.view.render(&record, text);
        }
        if text.len() as u64 == expected {
            return Ok(());
        }
        let detail = format!(
            "it renders to {} bytes, its segment states {expected}",
            text.len()
        );
        let error = FormatError::new(
            ErrorClass::Inconsistent,
            "block",
            stored.header().position,
            detail,
        );
        Err(damaged(error).into())
    }
}
