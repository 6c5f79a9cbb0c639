//! A stored segment as a file: its bytes as they are, unchecked.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kbk_format::repo::{RepoError, SegmentEntry, SegmentReader};

use crate::error::{Location, ViewError};
use crate::library::Library;
use crate::snapshot::Partition;

/// The bytes of one segment.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) partition: Partition,
    pub(crate) entry: SegmentEntry,
    /// What the object was when it was first read through this handle.
    pub(crate) version: OnceLock<Option<String>>,
}

impl StoredFile {
    pub(crate) fn new(partition: Partition, entry: SegmentEntry) -> StoredFile {
        StoredFile {
            partition,
            entry,
            version: OnceLock::new(),
        }
    }

    /// The bytes at `range`, cut at the end.
    pub(crate) async fn read(
        &self,
        library: &Arc<Library>,
        range: Range<u64>,
    ) -> Result<Bytes, ViewError> {
        let range = range.start..range.end.min(self.entry.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let place = self.partition.place();
        let read = SegmentReader::stored(library.store(), &place, &self.entry, range);
        let read = library
            .timed(&self.entry.key, read)
            .await
            .map_err(|error| error.at(self.location()))?;
        if *self.version.get_or_init(|| read.version.clone()) != read.version {
            let (url, key) = (library.store().url().to_owned(), self.entry.key.clone());
            return Err(ViewError::repo(
                self.location(),
                RepoError::Changed { url, key },
            ));
        }
        Ok(read.bytes)
    }

    fn location(&self) -> Location {
        let offsets = Some(self.entry.base_offset..self.entry.end_offset);
        Location {
            offsets,
            ..self.partition.location()
        }
    }
}
