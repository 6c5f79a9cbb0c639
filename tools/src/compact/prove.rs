//! What segments hold, from the bytes that the store returns: every byte and every record is checked.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    Damage, Operation, PartitionId, RemovedRecords, RepoError, RepoErrorKind, SegmentEntry,
    SegmentHash, SegmentHasher, SegmentReader, Store,
};
use kbk_format::verify::RecordVerifier;
use kbk_format::{Columns, Segment};
use tokio::sync::mpsc;

use super::gaps::{GapChain, split};
use super::latest::KeySum;
use super::source::runs;
use crate::task::joined;

/// Ranges that are read ahead.
const READ_AHEAD: usize = 2;

/// What segments that follow each other hold besides what their rows state.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(super) gaps: GapChain,
    /// Keys and offsets of all records that have a key.
    pub(super) keys: KeySum,
}

/// The new segments of a group.
pub(super) struct Proved {
    pub(super) added: Vec<SegmentEntry>,
    pub(super) without: RemovedRecords,
    /// The content digest of what goes, as it was read.
    pub(super) removed_digest: u128,
    pub(super) adopted: u64,
}

/// Whether keys are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Summed,
    Ignored,
}

enum Part {
    Header(Bytes),
    Blocks(Range<usize>, Bytes),
    /// Pages of the key filter.
    KeyFilter(Range<usize>, Bytes),
    Footer(Bytes),
}

/// Which part is read.
enum PartToRead {
    Header,
    Blocks(Range<usize>),
    KeyFilter(Range<usize>),
    Footer,
}

/// Reads a segment back, checks every byte and every record of it, and adds what it holds.
///
/// # Errors
///
/// As [`SegmentReader::open`]; [`RepoErrorKind::Damaged`] where anything is not what its row and its footer state.
pub(crate) async fn read_back(
    store: &Store,
    id: &PartitionId,
    entry: &SegmentEntry,
    keys: Keys,
    held: Held,
) -> Result<Held, RepoError> {
    let reader = SegmentReader::open(store, id, entry).await?;
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let checking = reader.clone();
    let expected = entry.blake3;
    let check = tokio::task::spawn_blocking(move || check(&checking, receiver, keys, held));
    let sent = send(store, id, entry, &reader, sender).await;
    let checked = joined(check.await)
        .map_err(|error| RepoError::of_store(Operation::Read, store.url(), &entry.key, error))?;
    sent?;
    let (found, held) = checked?;
    if found != expected {
        let detail = format!("its BLAKE3 hash is {found}, expected {expected}");
        let damage = RepoErrorKind::Damaged(Damage::Object { detail });
        return Err(store.error(reader.key(), damage));
    }
    Ok(held)
}

async fn send(
    store: &Store,
    id: &PartitionId,
    entry: &SegmentEntry,
    reader: &SegmentReader,
    sender: mpsc::Sender<Part>,
) -> Result<(), RepoError> {
    let segment = reader.segment();
    let header = std::iter::once((PartToRead::Header, 0..segment.file_header_length()));
    let blocks = runs(reader, store.profile().range_bytes).into_iter();
    let blocks = blocks.map(|run| {
        let range = segment.index().range(run.clone()).unwrap_or_default();
        (PartToRead::Blocks(run), range)
    });
    let filter = segment.key_filter().map(|filter| {
        let runs = filter.runs(store.profile().range_bytes).into_iter();
        runs.map(|run| (PartToRead::KeyFilter(run.clone()), filter.range_of(run)))
    });
    let footer = std::iter::once((PartToRead::Footer, segment.footer_position()..entry.size));
    let mut parts = stream::iter(
        header
            .chain(blocks)
            .chain(filter.into_iter().flatten())
            .chain(footer),
    )
    .map(|(part, range)| async move {
        // A key filter without entries has no bytes, which stores refuse to read.
        let bytes = match range.is_empty() {
            true => Bytes::new(),
            false => SegmentReader::stored(store, id, entry, range).await?.bytes,
        };
        Ok::<_, RepoError>(match part {
            PartToRead::Header => Part::Header(bytes),
            PartToRead::Blocks(run) => Part::Blocks(run, bytes),
            PartToRead::KeyFilter(pages) => Part::KeyFilter(pages, bytes),
            PartToRead::Footer => Part::Footer(bytes),
        })
    })
    .buffered(READ_AHEAD);
    while let Some(part) = parts.next().await {
        if sender.send(part?).await.is_err() {
            // The check has ended, and says why.
            break;
        }
    }
    Ok(())
}

/// Checks what is received. Blocks.
fn check(
    reader: &SegmentReader,
    mut parts: mpsc::Receiver<Part>,
    keys: Keys,
    mut held: Held,
) -> Result<(SegmentHash, Held), RepoError> {
    let segment = reader.segment();
    let damaged = |error| reader.damaged(error);
    let mut hasher = SegmentHasher::new();
    let mut verifier = RecordVerifier::new(segment);
    let mut at = segment.header().base_offset;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Header(bytes) => {
                hasher.update(&bytes);
                segment.check_file_header(&bytes).map_err(damaged)?;
            }
            Part::Footer(bytes) => hasher.update(&bytes),
            Part::KeyFilter(pages, bytes) => {
                hasher.update(&bytes);
                verifier.key_filter(pages, &bytes).map_err(damaged)?;
            }
            Part::Blocks(range, bytes) => {
                hasher.update(&bytes);
                for block in segment.blocks(range, &bytes) {
                    verifier.block(&block.map_err(damaged)?).map_err(damaged)?;
                    at = held.add(segment, verifier.columns(), keys, at);
                }
            }
        }
    }
    verifier.finish().map_err(damaged)?;
    held.cover(segment, at, segment.end_offset());
    Ok((hasher.hash(), held))
}

impl Held {
    /// Adds the records of a block that follow offset `at`, and returns the offset after them.
    fn add(&mut self, segment: &Segment, columns: &Columns, keys: Keys, mut at: i64) -> i64 {
        for offset in columns.offsets() {
            self.cover(segment, at, *offset);
            at = offset.saturating_add(1);
        }
        if keys == Keys::Summed {
            for record in columns.iter().filter(|record| !record.control) {
                if let Some(key) = record.key {
                    self.keys.add(key, record.offset);
                }
            }
        }
        at
    }

    /// Adds the gaps of offsets without a record.
    fn cover(&mut self, segment: &Segment, from: i64, to: i64) {
        if from < to {
            split(segment.gaps(), from, to).for_each(|gap| self.gaps.add(gap));
        }
    }
}
