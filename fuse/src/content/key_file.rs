//! The records of one key of a partition as a file.
//!
//! A look-up reads a page of the key filter of each segment, and the blocks that may have the key (SPEC 2.9). It is answered only where all
//! segments have a filter, so its cost does not depend on how much the partition holds.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::TryStreamExt;
use kbk_format::render::View;
use kbk_format::repo::SegmentEntry;
use kbk_format::{Columns, Record, Renderer};

use crate::cache::locked;
use crate::content::block_texts::{BlockTexts, FoundTexts, Piece};
use crate::content::blocks::OpenSegment;
use crate::content::pages::{self, PartitionIndex};
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// Where the records of a key are.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) texts: BlockTexts,
    key: Arc<[u8]>,
    /// The newest timestamp of the records.
    pub(crate) newest: i64,
    /// The text of the piece that was read last, by where it begins: a program reads a file in many small parts.
    last: Mutex<Option<(u64, Bytes)>>,
}

/// The records of the key in a block: the length of their text, and the newest timestamp.
#[derive(Clone, Copy, Debug)]
struct Found {
    bytes: u64,
    newest: i64,
}

impl SnapshotReader {
    /// Returns the records of a key, as lines of records.jsonl; `None` if there are none.
    pub(crate) async fn key_file(
        self: &Arc<Self>,
        partition: &Partition,
        index: &Arc<PartitionIndex>,
        key: &Arc<[u8]>,
    ) -> Result<Option<KeyFile>, ViewError> {
        let (mut found, mut newest) = (FoundTexts::default(), i64::MIN);
        let mut ordinal = 0;
        for page in 0..pages::pages(partition.state()) {
            let table = self.segment_table(partition, page).await?;
            let numbered = (ordinal..).zip(table.segments.iter().cloned());
            let entries = numbered.map(|(ordinal, entry)| ((ordinal, entry.clone()), entry));
            ordinal += table.segments.len() as u64;
            let looked_up = self.opened(partition, entries.collect());
            let looked_up = looked_up.map_ok(|((ordinal, entry), segment)| {
                let (reader, partition, key) =
                    (Arc::clone(self), partition.clone(), Arc::clone(key));
                async move {
                    let blocks = reader.blocks_of(&partition, &entry, &segment, &key).await?;
                    Ok((ordinal, segment, blocks))
                }
            });
            let parallel = self.source.parallel_requests();
            let mut looked_up = std::pin::pin!(looked_up.try_buffered(parallel));
            while let Some((segment_ordinal, segment, blocks)) = looked_up.try_next().await? {
                for block in blocks {
                    let records = self.records_with(partition, &segment, block, key).await?;
                    if let Some(records) = records {
                        newest = newest.max(records.newest);
                        found.push(segment_ordinal, block, records.bytes);
                    }
                }
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        Ok(Some(KeyFile {
            texts: found.finish(self, partition, index).await,
            key: Arc::clone(key),
            newest,
            last: Mutex::default(),
        }))
    }

    /// Returns the blocks of a segment that may have a key. A damaged page is an error: all blocks would have to be read otherwise.
    async fn blocks_of(
        &self,
        partition: &Partition,
        entry: &SegmentEntry,
        segment: &OpenSegment,
        key: &[u8],
    ) -> Result<Vec<usize>, ViewError> {
        let Some(filter) = segment.reader.segment().key_filter() else {
            // Its row states that it has one, or that it has no record.
            return match entry.records {
                0 => Ok(Vec::new()),
                _ => Err(ViewError::Stale),
            };
        };
        let hash = filter.hasher().hash(Some(key));
        let page = filter.page_of(hash);
        let range = filter.range_of(page..page + 1);
        let bytes = match range.is_empty() {
            true => Bytes::new(),
            false => {
                let id = partition.id();
                let read = self.source.stored_bytes(&id, entry, range);
                let read = read.await.map_err(|error| error.at(partition.location()))?;
                read.bytes
            }
        };
        filter
            .blocks_of(page, &bytes, &[hash])
            .map_err(|error| ViewError::repo(partition.location(), segment.reader.damaged(error)))
    }

    /// Returns the records of a key in a block, if it has any.
    async fn records_with(
        &self,
        partition: &Partition,
        segment: &Arc<OpenSegment>,
        block: usize,
        key: &Arc<[u8]>,
    ) -> Result<Option<Found>, ViewError> {
        let (renderer, key) = (renderer(segment), Arc::clone(key));
        let look = move |columns: &Columns| {
            let mut found = None;
            for record in of_key(columns, &key) {
                let size = renderer.size(View::Records, &record);
                let Found { bytes, newest } = found.unwrap_or(Found {
                    bytes: 0,
                    newest: i64::MIN,
                });
                found = Some(Found {
                    bytes: bytes.saturating_add(size),
                    newest: newest.max(record.timestamp),
                });
            }
            found
        };
        let found = self.look(segment, block, look).await;
        found.map_err(|error| error.at(segment.location(block, partition)))
    }
}

fn renderer(segment: &OpenSegment) -> Renderer {
    segment.reader.segment().renderer().clone()
}

/// Returns the records with a key, but for control records.
fn of_key<'a>(columns: &'a Columns, key: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
    let records = columns.iter();
    records.filter(move |record| record.key == Some(key) && !record.control)
}

impl KeyFile {
    /// The bytes at `range`, cut at the end. If `partial` is set, an error after the first block cuts them, too.
    pub(crate) async fn read(
        &self,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
        partial: bool,
    ) -> Result<Bytes, ViewError> {
        let part = |at, end| self.part(reader, at, end);
        self.texts.read(range, partial, part).await
    }

    /// The text from `at` to the end of its block, or to `end` if that is earlier, and where it ends.
    async fn part(
        &self,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let piece = self.texts.piece_at(at)?;
        let text = self.text(reader, &piece).await?;
        piece.part(&text, at, end)
    }

    async fn text(&self, reader: &Arc<SnapshotReader>, piece: &Piece) -> Result<Bytes, ViewError> {
        if let Some((last, text)) = &*locked(&self.last)
            && *last == piece.start
        {
            return Ok(text.clone());
        }
        let segment = self.texts.segment(reader, piece).await?;
        let (renderer, key) = (renderer(&segment), Arc::clone(&self.key));
        let render = move |columns: &Columns| {
            let mut text = Vec::new();
            for record in of_key(columns, &key) {
                renderer.render(View::Records, &record, &mut text);
            }
            Bytes::from(text)
        };
        let text = reader.look(&segment, piece.block, render).await;
        let partition = &self.texts.partition;
        let text = text.map_err(|error| error.at(segment.location(piece.block, partition)))?;
        *locked(&self.last) = Some((piece.start, text.clone()));
        Ok(text)
    }
}
