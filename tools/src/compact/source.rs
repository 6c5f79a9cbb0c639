//! The blocks of segments, in order, read ahead of whoever works on them.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kbk_format::repo::{PartitionId, RepoError, SegmentEntry, SegmentReader, Store};
use tokio::sync::mpsc;

use crate::read::{BlockPart, Order, Runs};

/// Segments that are opened ahead; small ones are read as a whole then.
const OPENED_AHEAD: usize = 4;
/// Ranges of a segment that are read ahead.
const READ_AHEAD: usize = 2;

/// What the reader of segments sends.
pub(crate) enum Part {
    /// The segment in this place follows.
    Segment(usize, SegmentReader),
    /// Some of its blocks, and their bytes.
    Blocks(Range<usize>, Bytes),
    /// All segments were sent.
    End,
}

/// A segment that could not be read, by its place.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) at: usize,
    pub(crate) error: RepoError,
}

/// Creates the channel that parts are sent through.
pub(crate) fn channel() -> (mpsc::Sender<Part>, mpsc::Receiver<Part>) {
    mpsc::channel(READ_AHEAD)
}

/// Sends all blocks of these segments in order. Ends early where nobody receives any more.
pub(crate) async fn send(
    store: &Store,
    id: &PartitionId,
    segments: &[SegmentEntry],
    sender: mpsc::Sender<Part>,
) -> Result<(), Unread> {
    let mut opened = stream::iter(segments.iter().enumerate())
        .map(|(at, entry)| async move { (at, open(store, id, entry).await) })
        .buffered(OPENED_AHEAD);
    while let Some((at, opened)) = opened.next().await {
        let (reader, whole) = opened.map_err(|error| Unread { at, error })?;
        if sender
            .send(Part::Segment(at, reader.clone()))
            .await
            .is_err()
        {
            return Ok(());
        }
        let mut ranges = stream::iter(runs(&reader, store.profile().range_bytes))
            .map(|range| read(&reader, whole.as_ref(), range))
            .buffered(READ_AHEAD);
        while let Some(read) = ranges.next().await {
            let (range, bytes) = read.map_err(|error| Unread { at, error })?;
            if sender.send(Part::Blocks(range, bytes)).await.is_err() {
                return Ok(());
            }
        }
    }
    // Where nobody receives it, the receiver says why.
    let _ = sender.send(Part::End).await;
    Ok(())
}

/// Opens a segment, and reads all of it where that takes one request.
async fn open(
    store: &Store,
    id: &PartitionId,
    entry: &SegmentEntry,
) -> Result<(SegmentReader, Option<Bytes>), RepoError> {
    if entry.size <= store.profile().range_bytes {
        let (reader, bytes) = SegmentReader::open_whole(store, id, entry).await?;
        return Ok((reader, Some(bytes)));
    }
    Ok((SegmentReader::open(store, id, entry).await?, None))
}

/// Returns the ranges of blocks that are read at a time.
pub(crate) fn runs(reader: &SegmentReader, range_bytes: u64) -> Vec<Range<usize>> {
    let entries = reader.segment().index().entries();
    let blocks = (0..entries.len()).collect();
    let mut runs = Runs::new(entries, blocks, Order::Ascending, BlockPart::Whole, 0);
    std::iter::from_fn(|| runs.next(entries, range_bytes).map(|run| run.range)).collect()
}

async fn read(
    reader: &SegmentReader,
    whole: Option<&Bytes>,
    range: Range<usize>,
) -> Result<(Range<usize>, Bytes), RepoError> {
    let Some(whole) = whole else {
        let bytes = reader.read(range.clone()).await?;
        return Ok((range, bytes));
    };
    let of_range = reader.segment().index().range(range.clone());
    let of_range = of_range.unwrap_or_default();
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
    let bytes = whole.slice(place(of_range.start)..place(of_range.end));
    Ok((range, bytes))
}
