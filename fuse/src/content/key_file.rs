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

use crate::cache::budget::Lease;
use crate::cache::locked;
use crate::content::blocks::OpenSegment;
use crate::content::pages::{self, PartitionIndex};
use crate::content::pieces::read_pieces;
use crate::content::snapshot::Partition;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;

/// Where the records of a key are.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) partition: Partition,
    index: Arc<PartitionIndex>,
    key: Arc<[u8]>,
    pieces: Vec<Piece>,
    /// The newest timestamp of the records.
    pub(crate) newest: i64,
    /// The text of the piece that was read last: a program reads a file in many small parts.
    last: Mutex<Option<(usize, Bytes)>>,
    _lease: Lease,
}

/// The text that a block contributes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// The segment's ordinal in the partition.
    segment: u64,
    block: usize,
    /// Where its text ends in the file.
    end: u64,
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
        let (mut pieces, mut end, mut newest) = (Vec::new(), 0_u64, i64::MIN);
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
                    let Some(found) = self.records_with(partition, &segment, block, key).await?
                    else {
                        continue;
                    };
                    end = end.saturating_add(found.bytes);
                    newest = newest.max(found.newest);
                    pieces.push(Piece {
                        segment: segment_ordinal,
                        block,
                        end,
                    });
                }
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let lease = self.budget.take(size_of_val(&pieces[..]) as u64).await;
        Ok(Some(KeyFile {
            partition: partition.clone(),
            index: Arc::clone(index),
            key: Arc::clone(key),
            pieces,
            newest,
            last: Mutex::default(),
            _lease: lease.at_rest(),
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
    pub(crate) fn size(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end)
    }

    /// The bytes at `range`, cut at the end. If `partial` is set, an error after the first block cuts them, too.
    pub(crate) async fn read(
        &self,
        reader: &Arc<SnapshotReader>,
        range: Range<u64>,
        partial: bool,
    ) -> Result<Bytes, ViewError> {
        let range = range.start..range.end.min(self.size());
        read_pieces(range, partial, |at, end| self.piece(reader, at, end)).await
    }

    /// The text from `at` to the end of its block, or to `end` if that is earlier, and where it ends.
    async fn piece(
        &self,
        reader: &Arc<SnapshotReader>,
        at: u64,
        end: u64,
    ) -> Result<(Bytes, u64), ViewError> {
        let number = self.pieces.partition_point(|piece| piece.end <= at);
        let piece = *self.pieces.get(number).ok_or(ViewError::Stale)?;
        let before = number.checked_sub(1).and_then(|it| self.pieces.get(it));
        let start = before.map_or(0, |before| before.end);
        let text = self.text(reader, number, piece).await?;
        // The records of a sealed segment do not change.
        if text.len() as u64 != piece.end - start {
            return Err(ViewError::Stale);
        }
        let to = piece.end.min(end);
        // Both are within the text, which is in memory, so they fit a usize.
        let inside = (at - start) as usize..(to - start) as usize;
        Ok((text.slice(inside), to))
    }

    async fn text(
        &self,
        reader: &Arc<SnapshotReader>,
        number: usize,
        piece: Piece,
    ) -> Result<Bytes, ViewError> {
        if let Some((last, text)) = &*locked(&self.last)
            && *last == number
        {
            return Ok(text.clone());
        }
        let segment = self.segment(reader, piece.segment).await?;
        let (renderer, key) = (renderer(&segment), Arc::clone(&self.key));
        let render = move |columns: &Columns| {
            let mut text = Vec::new();
            for record in of_key(columns, &key) {
                renderer.render(View::Records, &record, &mut text);
            }
            Bytes::from(text)
        };
        let text = reader.look(&segment, piece.block, render).await;
        let text =
            text.map_err(|error| error.at(segment.location(piece.block, &self.partition)))?;
        *locked(&self.last) = Some((number, text.clone()));
        Ok(text)
    }

    async fn segment(
        &self,
        reader: &Arc<SnapshotReader>,
        ordinal: u64,
    ) -> Result<Arc<OpenSegment>, ViewError> {
        let (page, into) = self.index.page_of(ordinal).ok_or(ViewError::Stale)?;
        let table = reader.segment_table(&self.partition, page).await?;
        let entry = table.segments.get(into).ok_or(ViewError::Stale)?;
        reader.segment(&self.partition, entry).await
    }
}
