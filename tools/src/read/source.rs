//! Where the segments of a reader come from: a repository, or a file.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::repo::{
    AheadReader, Hex, PartitionId, RepoError, Repository, SegmentEntry, SegmentReader, Store,
    StoreProfile,
};
use kbk_format::{FormatError, Segment};

use super::kept::KeptFooters;
use crate::segment_file::SegmentFile;

/// Segments of one partition, in offset order.
pub(super) enum Source {
    Repository {
        repository: Box<Repository>,
        /// The snapshot.
        sequence: u64,
        partition: PartitionId,
        segments: Vec<SegmentEntry>,
        kept: KeptFooters,
    },
    File(SegmentFile),
}

/// A segment whose footer is valid.
#[derive(Clone)]
pub(super) enum OpenSegment {
    Stored(SegmentReader),
    File(SegmentFile),
}

/// A segment, and its bytes from the first on if they were read with its footer.
pub(super) type Opened = (OpenSegment, Option<Bytes>);

/// What of a segment is read to open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstRead {
    /// The footer, or nothing where it was kept.
    Footer,
    /// The footer, and this many bytes from the first on, by two requests at a time.
    Start(u64),
    /// All of this many bytes, by one request.
    Whole(u64),
}

impl Source {
    pub(super) fn len(&self) -> usize {
        match self {
            Source::Repository { segments, .. } => segments.len(),
            Source::File(_) => 1,
        }
    }

    /// Returns the name of the place in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Source::Repository { repository, .. } => repository.store().url().to_owned(),
            Source::File(file) => file.path().display().to_string(),
        }
    }

    /// Returns how the store is to be read; `None` of a file.
    pub(super) fn profile(&self) -> Option<&StoreProfile> {
        match self {
            Source::Repository { repository, .. } => Some(repository.store().profile()),
            Source::File(_) => None,
        }
    }

    /// Adds a reader to those that share what the store has read ahead.
    pub(super) fn ahead_reader(&self) -> Option<AheadReader> {
        match self {
            Source::Repository { repository, .. } => Some(repository.store().ahead_reader()),
            Source::File(_) => None,
        }
    }

    /// Returns what the index states about segment number `number`, if there is an index.
    pub(super) fn entry(&self, number: usize) -> Option<&SegmentEntry> {
        match self {
            Source::Repository { segments, .. } => segments.get(number),
            Source::File(_) => None,
        }
    }

    /// Returns the error of reading: that the snapshot was forgotten, if that is why an object does not exist.
    pub(super) async fn explain(&self, error: RepoError) -> RepoError {
        match self {
            Source::Repository {
                repository,
                sequence,
                ..
            } => repository.explain(*sequence, error).await,
            Source::File(_) => error,
        }
    }

    /// Explains an error, and finds out whether it is about one object.
    pub(super) async fn judged(&self, error: RepoError) -> RepoError {
        match self {
            Source::Repository { repository, .. } => {
                let error = self.explain(error).await;
                repository.store().judged(error).await
            }
            Source::File(file) => file.judged(error),
        }
    }

    /// Returns whether the footer of segment number `number` was kept.
    pub(super) fn has_footer(&self, number: usize) -> bool {
        match self {
            Source::Repository { segments, kept, .. } => {
                let entry = segments.get(number);
                entry.is_some_and(|entry| kept.get(entry).is_some())
            }
            Source::File(_) => true,
        }
    }

    /// Opens segment number `number`, and reads what is asked for of its bytes; `None` if there is none.
    pub(super) async fn open(
        &self,
        number: usize,
        first_read: FirstRead,
    ) -> Result<Option<Opened>, RepoError> {
        match self {
            Source::Repository {
                repository,
                partition,
                segments,
                kept,
                ..
            } => {
                let Some(entry) = segments.get(number) else {
                    return Ok(None);
                };
                let opened = match kept.get(entry) {
                    Some(reader) => Ok((reader, None)),
                    None => open_past(repository.store(), partition, entry, first_read).await,
                };
                let (reader, bytes) = opened.map_err(|error| {
                    error.in_records(partition, entry.base_offset..entry.end_offset)
                })?;
                Ok(Some((OpenSegment::Stored(reader), bytes)))
            }
            Source::File(file) => {
                Ok((number == 0).then(|| (OpenSegment::File(file.clone()), None)))
            }
        }
    }
}

/// Opens a segment. Where more than its footer was to be read and cannot be, its footer alone: what has failed may be one place of its blocks, which
/// are read later.
async fn open_past(
    store: &Store,
    partition: &PartitionId,
    entry: &SegmentEntry,
    first_read: FirstRead,
) -> Result<(SegmentReader, Option<Bytes>), RepoError> {
    match open(store, partition, entry, first_read).await {
        Err(error) if first_read != FirstRead::Footer && error.kind().may_be_about_one_object() => {
            open(store, partition, entry, FirstRead::Footer).await
        }
        opened => opened,
    }
}

async fn open(
    store: &Store,
    partition: &PartitionId,
    entry: &SegmentEntry,
    first_read: FirstRead,
) -> Result<(SegmentReader, Option<Bytes>), RepoError> {
    let footer = SegmentReader::open(store, partition, entry);
    match first_read {
        FirstRead::Whole(_) => {
            let opened = SegmentReader::open_whole(store, partition, entry).await?;
            Ok((opened.0, Some(opened.1)))
        }
        FirstRead::Footer => Ok((footer.await?, None)),
        FirstRead::Start(bytes) => {
            let start = SegmentReader::stored(store, partition, entry, 0..bytes);
            // An error of the footer says more.
            let (opened, start) = tokio::join!(footer, start);
            Ok((opened?, Some(start?.bytes)))
        }
    }
}

impl OpenSegment {
    pub(super) fn segment(&self) -> &Segment {
        match self {
            OpenSegment::Stored(reader) => reader.segment(),
            OpenSegment::File(file) => file.segment(),
        }
    }

    /// Reads these bytes, which are of blocks.
    pub(super) async fn read(&self, bytes: Range<u64>) -> Result<Bytes, RepoError> {
        match self {
            OpenSegment::Stored(reader) => reader.read_range(bytes).await,
            OpenSegment::File(file) => file.read_range(bytes).await,
        }
    }

    /// Adds the offsets of these blocks to an error about their bytes.
    pub(super) fn in_blocks(&self, error: RepoError, blocks: Range<usize>) -> RepoError {
        let segment = self.segment();
        let entries = segment.index().entries();
        let (first, last) = match entries.get(blocks) {
            Some([first, .., last]) => (first, last),
            Some([one]) => (one, one),
            _ => return error,
        };
        let header = segment.header();
        match header.topic.parse() {
            Ok(topic) => {
                let partition = PartitionId {
                    topic,
                    topic_id: Hex(header.topic_id),
                    partition: header.partition,
                };
                error.in_records(&partition, first.base_offset..last.end_offset)
            }
            // No message can name it, and it cannot be read from a repository.
            Err(_) => error,
        }
    }

    /// Wraps an error of the segment's bytes in one that names the object.
    pub(super) fn damaged(&self, error: FormatError) -> RepoError {
        match self {
            OpenSegment::Stored(reader) => reader.damaged(error),
            OpenSegment::File(file) => file.damaged(error),
        }
    }
}
