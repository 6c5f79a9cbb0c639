//! One segment of a repository, opened with one read and read with one more (SPEC section 5).
//!
//! ```text
//! row of a table  --open: GET [footer_position, size)--> checked footer
//! row of a table  --open_whole: GET [0, size)--> checked footer, and all bytes
//! row of a table  --check_footer: bytes that were read otherwise--> whether the footer is what the row states
//! run of blocks   --read: GET [first block, last block]--> their bytes
//! ```
//!
//! Opening compares the footer with the entry, so a segment of another partition, or one that is not
//! the one that was committed, is never read in its place.

use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectStoreExt};

use super::error::{Damage, Operation, RepoError, RepoErrorKind, Result};
use super::id::Hex;
use super::keys::{Key, PartitionId};
use super::segment_entry::{SegmentEntry, flags, known};
use super::spare_buffers::SpareBuffers;
use super::store::{Store, is_missing, path, whole_answer};
use crate::error::FormatError;
use crate::footer::RenderedSizes;
use crate::layout::{limits, trailer};
use crate::segment::{Open, Segment};

/// Shorter ranges get a buffer of their own: the allocator has such.
const POOLED_BYTES: usize = 64 << 10;

/// A segment whose footer is valid and matches the entry that names it. Clones share the segment.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    store: Store,
    key: Key,
    segment: Arc<Segment>,
    /// The store's version of the object whose footer was read.
    version: Option<String>,
}

/// Stored bytes of an object.
#[derive(Clone, Debug)]
pub struct StoredRange {
    /// The bytes.
    pub bytes: Bytes,
    /// Distinguishes the object from one that replaces it, where the store has versions.
    pub version: Option<String>,
}

impl SegmentReader {
    /// Opens the segment of `partition` that `entry` names, with one read.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`] only where the store says so, [`RepoErrorKind::Damaged`] with [`Damage::Size`],
    /// [`Damage::Segment`] or [`Damage::OtherSegment`], or the error of the store.
    pub async fn open(
        store: &Store,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<Self> {
        let footer = entry.footer_position..entry.size;
        let (key, read) = Self::read_end(store, partition, entry, footer).await?;
        let read = (&*read.bytes, read.version);
        Self::of_footer(store, key, (partition, entry), read)
    }

    /// Opens the segment of `partition` that `entry` names, and reads all of its bytes, with one read.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_whole(
        store: &Store,
        partition: &PartitionId,
        entry: &SegmentEntry,
    ) -> Result<(Self, Bytes)> {
        let (key, read) = Self::read_end(store, partition, entry, 0..entry.size).await?;
        let footer = usize::try_from(entry.footer_position).ok();
        let footer = footer.and_then(|start| read.bytes.get(start..));
        let footer = (footer.unwrap_or_default(), read.version);
        let opened = Self::of_footer(store, key, (partition, entry), footer)?;
        Ok((opened, read.bytes))
    }

    /// Checks bytes that were read of the segment of `partition` that `entry` names: those from its footer on.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`] with [`Damage::Segment`] or [`Damage::OtherSegment`].
    pub fn check_footer(
        store: &Store,
        partition: &PartitionId,
        entry: &SegmentEntry,
        footer: &[u8],
    ) -> Result<()> {
        let key = Self::key_of(store, partition, entry)?;
        Self::of_footer(store, key, (partition, entry), (footer, None)).map(|_| ())
    }

    /// Reads a range of a segment that ends with its footer.
    async fn read_end(
        store: &Store,
        partition: &PartitionId,
        entry: &SegmentEntry,
        range: Range<u64>,
    ) -> Result<(Key, StoredRange)> {
        let key = Self::key_of(store, partition, entry)?;
        let read = get(store, &key, entry.size, range).await?;
        Ok((key, read))
    }

    /// Returns the name of a segment whose footer is not too long to be held in memory.
    fn key_of(store: &Store, partition: &PartitionId, entry: &SegmentEntry) -> Result<Key> {
        let key = Key::segment(partition, entry.base_offset, &entry.segment_id);
        let footer = entry.size.saturating_sub(entry.footer_position);
        if footer > (limits::FOOTER_LENGTH + trailer::LENGTH) as u64 {
            let detail = format!("its row states a footer of {footer} bytes");
            return Err(store.damaged(&key, detail));
        }
        Ok(key)
    }

    fn of_footer(
        store: &Store,
        key: Key,
        (partition, entry): (&PartitionId, &SegmentEntry),
        (footer, version): (&[u8], Option<String>),
    ) -> Result<Self> {
        let segment = match Segment::open(footer, entry.size) {
            Ok(Open::Ready(segment)) => *segment,
            Ok(Open::Need(range)) => {
                let (found, expected) = (range.start, entry.footer_position);
                let detail = format!("its footer is at {found}, and its row states {expected}");
                return Err(other(store, &key, detail));
            }
            Err(error) => return Err(damaged(store, &key, error)),
        };
        if let Some(detail) = difference(&segment, partition, entry) {
            return Err(other(store, &key, detail));
        }
        Ok(SegmentReader {
            store: store.clone(),
            key,
            segment: Arc::new(segment),
            version,
        })
    }

    /// Reads the bytes at `range` of the segment that `entry` names, stored and unchecked.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`] with [`Damage::Size`], or the error of the store.
    pub async fn stored(
        store: &Store,
        partition: &PartitionId,
        entry: &SegmentEntry,
        range: Range<u64>,
    ) -> Result<StoredRange> {
        let key = Key::segment(partition, entry.base_offset, &entry.segment_id);
        get(store, &key, entry.size, range).await
    }

    /// Returns the store that has its bytes.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the object's name.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the checked footer.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Reads the bytes of these blocks, for [`Segment::blocks`], with one request, or none where there are no blocks.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`] with [`Damage::Size`], or the error of the store.
    pub async fn read(&self, blocks: Range<usize>) -> Result<Bytes> {
        match self.segment.index().range(blocks) {
            Some(range) => Ok(self.get(range).await?.bytes),
            None => Ok(Bytes::new()),
        }
    }

    /// Reads bytes of the segment, with one request.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_range(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.get(range).await?.bytes)
    }

    /// Reads the bytes of these blocks, and returns whether the object was replaced since it was opened. That alone is not an error: the
    /// checksums of the blocks prove their content, whichever object they were read from.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`RepoErrorKind::Changed`] where its size has changed.
    pub async fn read_and_compare(&self, blocks: Range<usize>) -> Result<(Bytes, bool)> {
        match self.segment.index().range(blocks) {
            Some(range) => self.read_range_and_compare(range).await,
            None => Ok((Bytes::new(), false)),
        }
    }

    /// Reads bytes of the segment, and returns whether the object was replaced since it was opened.
    ///
    /// # Errors
    ///
    /// As [`read_and_compare`](Self::read_and_compare).
    pub async fn read_range_and_compare(&self, range: Range<u64>) -> Result<(Bytes, bool)> {
        match self.get(range).await {
            Ok(read) => Ok((read.bytes, read.version != self.version)),
            Err(error) => match error.kind() {
                RepoErrorKind::Damaged(Damage::Size { .. }) => Err(self.changed()),
                _ => Err(error),
            },
        }
    }

    async fn get(&self, range: Range<u64>) -> Result<StoredRange> {
        get(&self.store, &self.key, self.segment.file_length(), range).await
    }

    /// Creates the error that the object was replaced since it was opened.
    #[must_use]
    pub fn changed(&self) -> RepoError {
        self.store.error(&self.key, RepoErrorKind::Changed)
    }

    /// Wraps an error of this segment's bytes in one that names the object.
    #[must_use]
    pub fn damaged(&self, error: FormatError) -> RepoError {
        damaged(&self.store, &self.key, error)
    }
}

/// Reads the bytes at `range` of an object that must have the size `expected`.
async fn get(store: &Store, key: &Key, expected: u64, range: Range<u64>) -> Result<StoredRange> {
    let options = &GetOptions::new().with_range(Some(range.clone()));
    let size = |found| {
        if found == expected {
            return Ok(());
        }
        let damage = Damage::Size { expected, found };
        Err(store.error(key, RepoErrorKind::Damaged(damage)))
    };
    let path = &path(key);
    let read = whole_answer(move || async move {
        let object = store.objects().get_opts(path, options.clone()).await?;
        let meta = object.meta.clone();
        // Of an object of another size nothing is received.
        match meta.size == expected {
            true => Ok((meta, received(object, store.read_buffers()).await?)),
            false => Ok((meta, Bytes::new())),
        }
    });
    let (meta, bytes) = match read.await {
        Ok(read) => read,
        Err(error) if is_missing(&error) => return Err(read_error(store, key, error)),
        Err(error) => {
            // Stores answer differently when an object ends before the range, so its size is requested separately.
            if let Ok(found) = store.objects().head(path).await {
                size(found.size)?;
            }
            return Err(read_error(store, key, error));
        }
    };
    size(meta.size)?;
    if bytes.len() as u64 != range.end - range.start {
        // The object has its size, so the answer is at fault and not what is stored.
        return Err(store.cut_short(key, bytes.len() as u64, range.end - range.start));
    }
    let version = meta.e_tag;
    Ok(StoredRange { bytes, version })
}

/// Receives the bytes of an answer, into a buffer of an earlier one where that saves something.
async fn received(object: GetResult, buffers: &SpareBuffers) -> object_store::Result<Bytes> {
    let length = object.range.end.saturating_sub(object.range.start);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length < POOLED_BYTES {
        return object.bytes().await;
    }
    let GetResultPayload::File(mut file, path) = object.payload else {
        return object.bytes().await;
    };
    let (start, buffers) = (object.range.start, buffers.clone());
    let reading = move || {
        let mut bytes = buffers.take_filled(length);
        let read = file.seek(SeekFrom::Start(start));
        let read = read.and_then(|_| file.read_exact(&mut bytes));
        let bytes = Bytes::from_owner(buffers.lend(bytes));
        (file, read.is_ok().then_some(bytes))
    };
    let (file, read) = tokio::task::spawn_blocking(reading).await?;
    match read {
        Some(bytes) => Ok(bytes),
        // The library tries once more, and names what is wrong, and where.
        None => {
            let payload = GetResultPayload::File(file, path);
            GetResult { payload, ..object }.bytes().await
        }
    }
}

/// Converts an error of the store; an object is missing only where the store says so itself.
fn read_error(store: &Store, key: &Key, error: object_store::Error) -> RepoError {
    if is_missing(&error) {
        let named_by = "the index of the snapshot".to_owned();
        return store.error(key, RepoErrorKind::Missing { named_by });
    }
    store.failed(Operation::Read, key, error)
}

fn damaged(store: &Store, key: &Key, error: FormatError) -> RepoError {
    store.error(key, RepoErrorKind::Damaged(Damage::Segment(error)))
}

fn other(store: &Store, key: &Key, detail: String) -> RepoError {
    let damage = Damage::OtherSegment { detail };
    store.error(key, RepoErrorKind::Damaged(damage))
}

/// Returns the first difference between the segment and its entry.
fn difference(segment: &Segment, partition: &PartitionId, entry: &SegmentEntry) -> Option<String> {
    let (header, statistics) = (segment.header(), segment.statistics());
    let differs = |what: &str, expected: String, found: String| {
        (expected != found)
            .then(|| format!("its {what} is {found}, and the repository expects {expected} there"))
    };
    let says = |what: &str, expected: &dyn ToString, found: &dyn ToString| {
        differs(what, expected.to_string(), found.to_string())
    };
    let shows = |what: &str, expected: &dyn Debug, found: &dyn Debug| {
        differs(what, format!("{expected:?}"), format!("{found:?}"))
    };
    says("segment id", &entry.segment_id, &Hex(header.segment_id))
        .or_else(|| says("topic", &partition.topic, &header.topic))
        .or_else(|| says("topic id", &partition.topic_id, &Hex(header.topic_id)))
        .or_else(|| says("partition", &partition.partition, &header.partition))
        .or_else(|| says("first offset", &entry.base_offset, &header.base_offset))
        .or_else(|| says("end offset", &entry.end_offset, &segment.end_offset()))
        .or_else(|| {
            says(
                "number of records",
                &entry.records,
                &statistics.record_count,
            )
        })
        .or_else(|| {
            says(
                "number of raw bytes",
                &entry.raw_bytes,
                &statistics.raw_bytes,
            )
        })
        .or_else(|| {
            let found = statistics.computed.as_ref().map(|it| it.min_timestamp);
            let expected = entry.min_timestamp;
            shows("smallest timestamp", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.max_timestamp, statistics.max_timestamp);
            says("largest timestamp", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.min_known_timestamp, known(statistics));
            shows("smallest known timestamp", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.footer_position, segment.footer_position());
            says("footer position", &expected, &found)
        })
        .or_else(|| {
            let found = statistics.digests().map(|it| Hex(it.content.to_be_bytes()));
            let text = |digest: Option<Hex<16>>| {
                digest.map_or("not computed".to_owned(), |it| it.to_string())
            };
            differs("content digest", text(entry.content_digest), text(found))
        })
        .or_else(|| {
            let (expected, found) = (entry.timestamp_type, header.timestamp_type);
            shows("timestamp type", &expected, &found)
        })
        .or_else(|| {
            let found = segment.rendered_sizes().map(RenderedSizes::totals);
            shows("rendered sizes", &entry.rendered, &found)
        })
        .or_else(|| {
            let found = segment.whole_lines().map(flags);
            shows("whole lines", &entry.whole_lines, &found)
        })
        .or_else(|| {
            let found = segment.key_filter().is_some();
            shows("key filter", &entry.key_filter, &found)
        })
}
