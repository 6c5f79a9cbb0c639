//! One segment of a repository, opened with one read and read with one more (SPEC section 5).
//!
//! ```text
//! entry of a page --open: GET [footer_position, size)--> checked footer
//! run of blocks   --read: GET [first block, last block]--> their bytes
//! ```
//!
//! Opening compares the footer with the entry, so a segment that belongs elsewhere, or that is not
//! the one that was committed, is never read as if it were.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{GetOptions, ObjectStoreExt};

use super::error::{Operation, RepoError, Result};
use super::id::Hex;
use super::keys::{Key, Place};
use super::page::SegmentEntry;
use super::store::{Store, path};
use crate::error::FormatError;
use crate::layout::{limits, trailer};
use crate::segment::{Open, Segment};

/// A segment whose footer is sound and is the one that its entry names. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    store: Store,
    key: Key,
    segment: Arc<Segment>,
}

impl SegmentReader {
    /// Opens the segment of `place` that `entry` names, with one read.
    ///
    /// # Errors
    ///
    /// [`RepoError::Missing`] only where the store says so, [`RepoError::WrongSize`],
    /// [`RepoError::DamagedSegment`], [`RepoError::OtherSegment`], or what the store said.
    pub async fn open(store: &Store, place: &Place, entry: &SegmentEntry) -> Result<Self> {
        let key = Key::segment(place, entry.base_offset, &entry.segment_id);
        let footer = entry.size.saturating_sub(entry.footer_position);
        if footer > (limits::FOOTER_LENGTH + trailer::LENGTH) as u64 {
            let detail = format!("its page states a footer of {footer} bytes");
            return Err(store.damaged(&key, detail));
        }
        let bytes = get_footer(store, &key, entry).await?;
        let segment = match Segment::open(&bytes, entry.size) {
            Ok(Open::Ready(segment)) => *segment,
            Ok(Open::Need(range)) => {
                let (found, expected) = (range.start, entry.footer_position);
                let detail = format!("its footer is at {found}, and its page says {expected}");
                return Err(other(store, &key, detail));
            }
            Err(error) => return Err(damaged(store, &key, error)),
        };
        if let Some(detail) = difference(&segment, place, entry) {
            return Err(other(store, &key, detail));
        }
        Ok(SegmentReader {
            store: store.clone(),
            key,
            segment: Arc::new(segment),
        })
    }

    /// The object's name.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The checked footer.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The bytes of these blocks, for [`Segment::blocks`], with one read. No blocks, no read.
    ///
    /// # Errors
    ///
    /// [`RepoError::Missing`], or what the store said.
    pub async fn read(&self, blocks: Range<usize>) -> Result<Bytes> {
        let Some(range) = self.segment.index().range(blocks) else {
            return Ok(Bytes::new());
        };
        let objects = self.store.objects();
        match objects.get_range(&path(&self.key), range).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(read_error(&self.store, &self.key, error)),
        }
    }

    /// What is wrong with this segment's bytes, as an error that names the object.
    #[must_use]
    pub fn damaged(&self, error: FormatError) -> RepoError {
        damaged(&self.store, &self.key, error)
    }
}

/// The bytes from the footer to the end, in an object of the expected size.
async fn get_footer(store: &Store, key: &Key, entry: &SegmentEntry) -> Result<Bytes> {
    let range = entry.footer_position..entry.size;
    let options = GetOptions::new().with_range(Some(range.clone()));
    let size = |found| {
        if found == entry.size {
            return Ok(());
        }
        Err(RepoError::WrongSize {
            url: store.url().to_owned(),
            key: key.to_string(),
            expected: entry.size,
            found,
        })
    };
    let object = match store.objects().get_opts(&path(key), options).await {
        Ok(object) => object,
        Err(error @ object_store::Error::NotFound { .. }) => {
            return Err(read_error(store, key, error));
        }
        Err(error) => {
            // An object that ends before the footer has no such range; what stores say then differs.
            if let Ok(found) = store.objects().head(&path(key)).await {
                size(found.size)?;
            }
            return Err(read_error(store, key, error));
        }
    };
    size(object.meta.size)?;
    let bytes = object.bytes().await;
    bytes.map_err(|error| read_error(store, key, error))
}

/// Only the store's own word makes an object missing.
fn read_error(store: &Store, key: &Key, error: object_store::Error) -> RepoError {
    if let object_store::Error::NotFound { .. } = error {
        return RepoError::Missing {
            url: store.url().to_owned(),
            key: key.to_string(),
            named_by: "a page of the snapshot".to_owned(),
        };
    }
    store.failed(Operation::Read, key, error)
}

fn damaged(store: &Store, key: &Key, error: FormatError) -> RepoError {
    RepoError::DamagedSegment {
        url: store.url().to_owned(),
        key: key.to_string(),
        error,
    }
}

fn other(store: &Store, key: &Key, detail: String) -> RepoError {
    RepoError::OtherSegment {
        url: store.url().to_owned(),
        key: key.to_string(),
        detail,
    }
}

/// What the segment says of itself that its entry does not, expected and found.
fn difference(segment: &Segment, place: &Place, entry: &SegmentEntry) -> Option<String> {
    let (header, statistics) = (segment.header(), segment.statistics());
    let says = |what: &str, expected: &dyn ToString, found: &dyn ToString| {
        let (expected, found) = (expected.to_string(), found.to_string());
        (expected != found)
            .then(|| format!("its {what} is {found}, and the repository expects {expected} there"))
    };
    says("segment id", &entry.segment_id, &Hex(header.segment_id))
        .or_else(|| says("topic", &place.topic, &header.topic))
        .or_else(|| says("topic id", &place.topic_id, &Hex(header.topic_id)))
        .or_else(|| says("partition", &place.partition, &header.partition))
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
            let (expected, found) = (entry.min_timestamp, statistics.min_timestamp);
            says("smallest timestamp", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.max_timestamp, statistics.max_timestamp);
            says("largest timestamp", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.footer_position, segment.footer_position());
            says("footer position", &expected, &found)
        })
        .or_else(|| {
            let (expected, found) = (entry.timestamp_type, header.timestamp_type);
            (expected != found).then(|| {
                format!(
                    "its timestamp type is {found:?}, and the repository expects {expected:?} there"
                )
            })
        })
}
