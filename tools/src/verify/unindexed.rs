//! Checks a segment that no index page names, and makes the entry that a page would have for it.
//!
//! Nothing vouches for such an object: an interrupted upload may have left it. Its own footer is all there is to check it against,
//! and every byte is read before the entry is made.

use std::ops::Range;

use bytes::Bytes;
use kbk_format::layout::TAIL_LENGTH;
use kbk_format::repo::{
    BoxedError, FoundSegment, Operation, PartitionId, RepoError, SegmentEntry, SegmentHasher,
    Store, Uploaded,
};
use kbk_format::{FormatError, Open, Segment};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::runtime::Handle;

use super::object_reader::ObjectReader;
use super::segment::{self, Depth};
use crate::task::joined;

/// A segment with a valid footer that no index page names.
#[derive(Clone, Debug)]
pub struct UnindexedSegment {
    store: Store,
    key: String,
    segment: Segment,
}

/// Why a segment that no index page names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnindexedSegmentError {
    /// The store did not return its bytes, so nothing is known about the segment.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The segment is damaged or incomplete.
    #[error(transparent)]
    Damaged(#[from] FormatError),
    /// The object was replaced while its footer was being read.
    #[error("the object changed while it was being read")]
    Changed,
}

impl UnindexedSegment {
    /// Opens the segment by its trailer and footer, with one read or two.
    ///
    /// # Errors
    ///
    /// If the object cannot be read, or if its footer is damaged.
    pub async fn open(
        store: &Store,
        found: &FoundSegment,
    ) -> Result<UnindexedSegment, UnindexedSegmentError> {
        let (key, size) = (found.key.to_string(), found.size);
        let tail = match size {
            // A store refuses a range of an object without bytes, which a full disk leaves.
            0 => Bytes::new(),
            _ => read(store, &key, size.saturating_sub(TAIL_LENGTH)..size).await?,
        };
        let opened = match Segment::open(&tail, size)? {
            // The footer is longer than the tail.
            Open::Need(range) => Segment::open(&read(store, &key, range).await?, size)?,
            ready @ Open::Ready(_) => ready,
        };
        match opened {
            Open::Ready(segment) => Ok(UnindexedSegment {
                store: store.clone(),
                key,
                segment: *segment,
            }),
            Open::Need(_) => Err(UnindexedSegmentError::Changed),
        }
    }

    /// Returns the segment's header, footer and index.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Checks every byte of the segment, and returns its entry for an index page of `partition`.
    ///
    /// # Errors
    ///
    /// If the object cannot be read, or if any byte of it is damaged.
    pub async fn check(
        self,
        partition: PartitionId,
    ) -> Result<SegmentEntry, UnindexedSegmentError> {
        let runtime = Handle::current();
        let (store, key) = (self.store.clone(), self.key.clone());
        // The check computes and blocks, which a thread of the runtime must not do.
        let check = tokio::task::spawn_blocking(move || self.check_blocking(&partition, &runtime));
        joined(check.await)
            .unwrap_or_else(|cancelled| Err(unreadable(&store, &key, cancelled).into()))
    }

    fn check_blocking(
        &self,
        partition: &PartitionId,
        runtime: &Handle,
    ) -> Result<SegmentEntry, UnindexedSegmentError> {
        let unreadable = |source| unreadable(&self.store, &self.key, source);
        let mut object = ObjectReader::open(&self.store, &self.key, runtime).map_err(unreadable)?;
        let mut hasher = SegmentHasher::new();
        let depth = Depth {
            hasher: Some(&mut hasher),
            ..Depth::default()
        };
        let range_bytes = self.store.profile().range_bytes;
        let checked = segment::check(&self.segment, &mut object, range_bytes, depth, &|_| ());
        if let Some(source) = checked.unreadable {
            return Err(unreadable(source).into());
        }
        if let Some(first) = checked.damage.into_iter().next() {
            return Err(first.error.into());
        }
        let uploaded = Uploaded {
            blake3: hasher.hash(),
            size: self.segment.file_length(),
        };
        Ok(SegmentEntry::found(partition, &self.segment, uploaded))
    }
}

async fn read(store: &Store, key: &str, range: Range<u64>) -> Result<Bytes, RepoError> {
    let read = store.objects().get_range(&Path::from(key), range).await;
    read.map_err(|error| unreadable(store, key, error.into()))
}

fn unreadable(store: &Store, key: &str, source: BoxedError) -> RepoError {
    RepoError::of_store(Operation::Read, store.url(), key, source)
}
