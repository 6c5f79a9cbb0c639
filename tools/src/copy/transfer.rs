//! The bytes of a segment, from one repository to the other in constant memory: compared with the digest of its row as they are read,
//! and again as the other store returns them.
//!
//! A row states more than the digest: offsets, counts, times. Its other members are compared with the footer that passes by, as whoever
//! opens a segment compares them: a row that says something else is damage of the origin, and is not copied.

use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use kbk_format::layout::{limits, trailer};
use kbk_format::repo::{
    Key, Operation, PartitionId, RepoError, Repository, SegmentEntry, SegmentHash, SegmentHasher,
    SegmentReader, SegmentUpload, Store,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::CopyEvents;
use super::error::CopyError;
use crate::task::joined;

/// The segments that are transferred at a time: the memory of a copy is theirs.
pub(super) const TRANSFERS: usize = 4;
/// The ranges of a segment that are requested at a time.
const RANGES: usize = 3;
/// How often a segment is sent of which the store returns something else.
const TRIES: u32 = 2;

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transferred {
    /// It was sent.
    Sent,
    /// It was there, and is intact.
    Adopted,
    /// Its bytes in the origin are not those of its row.
    Damaged(String),
}

/// Why a segment could not be transferred.
#[derive(Debug)]
pub(super) enum TransferError {
    /// The origin did not return it.
    Origin(RepoError),
    /// The destination did not take it.
    Destination(CopyError),
}

/// From where to where, and how.
pub(super) struct Transfer<'a> {
    pub(super) origin: &'a Store,
    pub(super) destination: &'a Repository,
    pub(super) read_back: bool,
    pub(super) events: &'a dyn CopyEvents,
}

impl Transfer<'_> {
    /// Makes a segment durable in the destination. `existing` is the size of the object that has its name there, if there is one.
    pub(super) async fn run(
        &self,
        id: &PartitionId,
        entry: &SegmentEntry,
        existing: Option<u64>,
    ) -> Result<Transferred, TransferError> {
        if existing == Some(entry.size)
            && let Some(footer) = self.intact(id, entry).await?
        {
            self.check_row(id, entry, &footer)?;
            return Ok(Transferred::Adopted);
        }
        for _ in 0..TRIES {
            if let Some(damage) = self.send(id, entry).await? {
                return Ok(Transferred::Damaged(damage));
            }
            if !self.read_back || self.intact(id, entry).await?.is_some() {
                return Ok(Transferred::Sent);
            }
        }
        Err(TransferError::Destination(CopyError::NotStored {
            url: self.destination.store().url().to_owned(),
            key: entry.key.clone(),
        }))
    }

    /// Sends a segment. Returns what is wrong with it in the origin, and then it has no object in the destination.
    async fn send(
        &self,
        id: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<Option<String>, TransferError> {
        let (sender, receiver) = mpsc::channel(1);
        let store = self.destination.store().clone();
        let key = Key::segment(id, entry.base_offset, &entry.segment_id);
        let runtime = Handle::current();
        let writing = tokio::task::spawn_blocking(move || write(&store, key, runtime, receiver));
        let mut parts = parts(self.origin, id, entry);
        let mut footer = Footer::of(entry);
        let mut failed = None;
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => {
                    self.events.received(part.len() as u64);
                    footer.add(&part);
                    if sender.send(part).await.is_err() {
                        // The upload has failed, and says why.
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(sender);
        let upload = joined(writing.await).map_err(|error| {
            let url = self.destination.store().url();
            let error = RepoError::of_store(Operation::Write, url, &entry.key, error);
            TransferError::Destination(error.into())
        })?;
        // An upload that is dropped leaves no object.
        if let Some(error) = failed {
            return Err(TransferError::Origin(error));
        }
        let upload = upload.map_err(|error| TransferError::Destination(error.into()))?;
        let (found, expected) = (upload.hash(), entry.blake3);
        if found != expected {
            return Ok(Some(format!(
                "the BLAKE3 hash of {} is {found}, and the index says {expected}",
                entry.key
            )));
        }
        self.check_row(id, entry, &footer.bytes)?;
        let complete = upload.complete().await;
        complete.map_err(|error| TransferError::Destination(error.into()))?;
        Ok(None)
    }

    /// Checks that the row states what the footer does: the bytes are those that the origin's index has the hash of.
    fn check_row(
        &self,
        id: &PartitionId,
        entry: &SegmentEntry,
        footer: &[u8],
    ) -> Result<(), TransferError> {
        let checked = SegmentReader::check_footer(self.origin, id, entry, footer);
        checked.map_err(TransferError::Origin)
    }

    /// Returns the footer if the destination returns the bytes of the row.
    async fn intact(
        &self,
        id: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        match read_all(self.destination.store(), id, entry).await {
            Ok((found, footer)) => Ok((found == entry.blake3).then_some(footer)),
            Err(error) if error.kind().is_about_content() => Ok(None),
            Err(error) => Err(TransferError::Destination(error.into())),
        }
    }
}

/// The bytes of a segment from its footer on, kept while all of them pass by.
struct Footer {
    /// How many bytes are before it.
    before: u64,
    bytes: Vec<u8>,
}

impl Footer {
    fn of(entry: &SegmentEntry) -> Footer {
        let length = entry.size.saturating_sub(entry.footer_position);
        // No check accepts a footer that is longer, so nothing of it is kept.
        let is_possible = length <= (limits::FOOTER_LENGTH + trailer::LENGTH) as u64;
        Footer {
            before: if is_possible {
                entry.footer_position
            } else {
                u64::MAX
            },
            bytes: Vec::new(),
        }
    }

    fn add(&mut self, part: &[u8]) {
        let length = part.len() as u64;
        let skipped = usize::try_from(self.before).unwrap_or(usize::MAX);
        self.before = self.before.saturating_sub(length);
        self.bytes
            .extend_from_slice(part.get(skipped..).unwrap_or_default());
    }
}

/// Writes what is received. Blocks.
fn write(
    store: &Store,
    key: Key,
    runtime: Handle,
    mut parts: mpsc::Receiver<Bytes>,
) -> Result<SegmentUpload, RepoError> {
    let (buffers, name) = (store.profile().upload, key.to_string());
    let mut upload = SegmentUpload::start(store, key, runtime, buffers)?;
    while let Some(part) = parts.blocking_recv() {
        let written = upload.write_all(&part);
        written.map_err(|error| match error.downcast::<RepoError>() {
            Ok(error) => error,
            Err(error) => RepoError::of_store(Operation::Write, store.url(), &name, error.into()),
        })?;
    }
    Ok(upload)
}

/// Reads an object of the size that its row states, in order.
fn parts<'a>(
    store: &'a Store,
    id: &'a PartitionId,
    entry: &'a SegmentEntry,
) -> impl Stream<Item = Result<Bytes, RepoError>> + Unpin + 'a {
    let read = move |range| {
        Box::pin(async move {
            let stored = SegmentReader::stored(store, id, entry, range).await?;
            Ok(stored.bytes)
        })
    };
    stream::iter(ranges(entry.size, store.profile().range_bytes))
        .map(read)
        .buffered(RANGES)
}

fn ranges(size: u64, length: u64) -> impl Iterator<Item = Range<u64>> {
    let length = length.max(1);
    let count = size.div_ceil(length);
    (0..count).map(move |at| {
        let start = at.saturating_mul(length);
        start..size.min(start.saturating_add(length))
    })
}

/// Returns the hash of all bytes, and those from the footer on.
async fn read_all(
    store: &Store,
    id: &PartitionId,
    entry: &SegmentEntry,
) -> Result<(SegmentHash, Vec<u8>), RepoError> {
    let mut hasher = SegmentHasher::new();
    let mut footer = Footer::of(entry);
    let mut parts = parts(store, id, entry);
    while let Some(part) = parts.next().await {
        let part = part?;
        hasher.update(&part);
        footer.add(&part);
    }
    Ok((hasher.hash(), footer.bytes))
}

#[cfg(test)]
mod tests {
    use kbk_format::TimestampType;
    use kbk_format::repo::{Hex, Id};

    use super::*;

    #[test]
    fn a_footer_is_kept_whatever_parts_it_comes_in() {
        let mut entry = SegmentEntry {
            key: String::new(),
            segment_id: Id::ZERO,
            size: 10,
            footer_position: 6,
            blake3: SegmentHash(Hex([0; 32])),
            base_offset: 0,
            end_offset: 1,
            min_timestamp: Some(0),
            max_timestamp: 0,
            min_known_timestamp: None,
            records: 0,
            raw_bytes: 0,
            timestamp_type: TimestampType::CreateTime,
            content_digest: Some(Id::ZERO),
            rendered: None,
            whole_lines: None,
            key_filter: false,
            batches: false,
        };
        let kept = |entry: &SegmentEntry, length| {
            let mut footer = Footer::of(entry);
            for part in b"0123456789".chunks(length) {
                footer.add(part);
            }
            footer.bytes
        };
        for length in 1..=10 {
            assert_eq!(kept(&entry, length), b"6789", "{length}");
        }
        // Nobody could hold a footer of such a length in memory.
        (entry.size, entry.footer_position) = (1 << 40, 1);
        assert_eq!(kept(&entry, 3), b"");
    }

    #[test]
    fn ranges_cover_an_object_once() {
        for (size, length, expected) in [
            (0, 4, &[][..]),
            (4, 4, &[(0, 4)]),
            (9, 4, &[(0, 4), (4, 8), (8, 9)]),
        ] {
            let found = ranges(size, length).map(|range| (range.start, range.end));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{size} by {length}");
        }
    }
}
