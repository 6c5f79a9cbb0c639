//! One segment: copied block by block with all numbers, read back from the store, and compared with the old one.

use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::computed_copy::{ComputedCopy, CopyError};
use kbk_format::repo::{
    Id, Key, PartitionId, RepoError, SegmentEntry, SegmentReader, SegmentUpload, Store,
};
use kbk_format::{Digests, FileHeader, FormatError, Gaps, SegmentSummary, WriteError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::compact::{Held, Keys, Part, channel, read_back, send};
use crate::maintenance::{MaintenanceError, MaintenanceEvents};
use crate::task::joined;

/// A new segment, and the content digest over its records as they were read from the old one.
pub(super) struct Computed {
    pub(super) added: SegmentEntry,
    pub(super) content: u128,
}

/// Why a segment was not computed.
pub(super) enum SegmentError {
    /// The old one is damaged, or cannot be read.
    Unread(RepoError),
    /// The run ends.
    Fatal(MaintenanceError),
}

impl<T: Into<MaintenanceError>> From<T> for SegmentError {
    fn from(error: T) -> SegmentError {
        SegmentError::Fatal(error.into())
    }
}

/// What was copied, whose bytes are with the store, and not durable yet.
struct Copied {
    upload: SegmentUpload,
    summary: SegmentSummary,
    digests: Digests,
    gaps: Gaps,
}

/// Why it was not copied.
enum Failure {
    /// Whoever reads the blocks has ended early, and says why.
    Ended,
    Damaged(RepoError),
    Store(RepoError),
    Write(String),
}

/// Copies a segment, and proves what the store returns.
pub(super) async fn compute(
    store: &Store,
    id: &PartitionId,
    old: &SegmentEntry,
    writer: &str,
    events: &Arc<dyn MaintenanceEvents>,
) -> Result<Computed, SegmentError> {
    let failed = |detail: String| MaintenanceError::Write {
        partition: id.to_string(),
        detail,
    };
    let copying = Copying {
        store: store.clone(),
        id: id.clone(),
        writer: writer.to_owned(),
        events: Arc::clone(events),
        runtime: Handle::current(),
    };
    let (sender, parts) = channel();
    let copied = tokio::task::spawn_blocking(move || copying.run(parts));
    let sent = send(store, id, std::slice::from_ref(old), sender).await;
    let copied = joined(copied.await).map_err(|error| failed(error.to_string()))?;
    // Why it could not be read says more than that it was not copied.
    sent.map_err(|unread| SegmentError::Unread(unread.error))?;
    let Copied {
        upload,
        summary,
        digests,
        gaps,
    } = copied.map_err(|failure| match failure {
        Failure::Damaged(error) => SegmentError::Unread(error),
        Failure::Store(error) => error.into(),
        Failure::Write(detail) => failed(detail).into(),
        Failure::Ended => failed("its blocks were not read to the end".to_owned()).into(),
    })?;
    let uploaded = upload.complete().await?;
    let added = SegmentEntry::new(id, &summary, uploaded);
    events.sealed(added.size);
    let not_proven = |detail: String| MaintenanceError::NotProven {
        key: added.key.clone(),
        detail,
    };
    let proved = read_back(store, id, &added, Keys::Ignored, Held::default()).await;
    proved.map_err(|error| match error.kind().is_about_content() {
        true => not_proven(error.to_string()),
        false => error.into(),
    })?;
    let reopened = SegmentReader::open(store, id, &added).await?;
    let of = |entry: &SegmentEntry| {
        let offsets = (entry.base_offset, entry.end_offset);
        (offsets, entry.records, entry.timestamp_type)
    };
    let is_same = of(&added) == of(old)
        && added.content() == Some(digests.content)
        && *reopened.segment().gaps() == gaps;
    match is_same {
        true => Ok(Computed {
            added,
            content: digests.content,
        }),
        false => {
            let detail = "its offsets, records or gaps are not those of the old one".to_owned();
            Err(not_proven(detail).into())
        }
    }
}

/// What a copy is written with.
struct Copying {
    store: Store,
    id: PartitionId,
    writer: String,
    events: Arc<dyn MaintenanceEvents>,
    runtime: Handle,
}

impl Copying {
    /// Copies the segment whose parts are received. Blocks.
    fn run(&self, mut parts: mpsc::Receiver<Part>) -> Result<Copied, Failure> {
        let Some(Part::Segment(_, reader)) = parts.blocking_recv() else {
            return Err(Failure::Ended);
        };
        let segment = reader.segment();
        let segment_id = Id::random();
        let header = FileHeader {
            segment_id: segment_id.0,
            writer: Some(self.writer.clone()),
            created_at: Some(Timestamp::now().as_millisecond()),
            ..segment.header().clone()
        };
        let key = Key::segment(&self.id, header.base_offset, &segment_id);
        let (store, runtime) = (&self.store, self.runtime.clone());
        let upload = SegmentUpload::start(store, key, runtime, store.profile().upload);
        let upload = upload.map_err(Failure::Store)?;
        let copy = ComputedCopy::new(upload, header, segment);
        let mut copy = copy.map_err(|error| self.failed(error))?;
        loop {
            match parts.blocking_recv() {
                Some(Part::Blocks(range, bytes)) => {
                    self.events.received(bytes.len() as u64);
                    for block in segment.blocks(range, &bytes) {
                        let damaged = |error: FormatError| Failure::Damaged(reader.damaged(error));
                        let block = block.map_err(damaged)?;
                        copy.block(&block).map_err(|error| match error {
                            CopyError::Source(error) => damaged(error),
                            CopyError::Write(error) => self.failed(error),
                        })?;
                        let header = block.header();
                        let records = u64::from(header.record_count);
                        self.events.replaced(records, header.block_length() as u64);
                    }
                }
                Some(Part::End) => break,
                Some(Part::Segment(..)) | None => return Err(Failure::Ended),
            }
        }
        let (upload, summary, digests) = copy.seal().map_err(|error| self.failed(error))?;
        Ok(Copied {
            upload,
            summary,
            digests,
            gaps: segment.gaps().clone(),
        })
    }

    fn failed(&self, error: WriteError) -> Failure {
        match error {
            WriteError::Io(error) => match error.downcast::<RepoError>() {
                Ok(error) => Failure::Store(error),
                Err(error) => Failure::Write(error.to_string()),
            },
            error => Failure::Write(error.to_string()),
        }
    }
}
