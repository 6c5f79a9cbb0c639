//! A new segment of what is left of others: written, read back from the store, and compared with what was proved.

use std::ops::Range;

use kbk_format::repo::{Hex, Key, PartitionId, Repository, SegmentEntry, SegmentUpload};
use kbk_format::{FileHeader, SegmentSummary, WriteError};
use tokio::runtime::Handle;

use crate::compact::{Held, Keys, read_back};
use crate::maintenance::MaintenanceError;
use crate::task::joined;

/// What a new segment must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) offsets: Range<i64>,
    pub(super) records: u64,
    /// `None` only of what was written, which always states it.
    pub(super) content_digest: Option<u128>,
}

/// Writes a segment, all bytes of it by `write`, and returns its row once the store has returned what was written.
pub(super) async fn write_segment<F>(
    repository: &Repository,
    id: &PartitionId,
    header: FileHeader,
    expected: Expected,
    write: F,
) -> Result<SegmentEntry, MaintenanceError>
where
    F: FnOnce(FileHeader, SegmentUpload) -> Result<(SegmentUpload, SegmentSummary), WriteError>
        + Send
        + 'static,
{
    let failed = |detail: String| MaintenanceError::Write {
        partition: id.to_string(),
        detail,
    };
    let key = Key::segment(id, expected.offsets.start, &Hex(header.segment_id));
    let (store, runtime) = (repository.store().clone(), Handle::current());
    let written = tokio::task::spawn_blocking(move || {
        let upload = SegmentUpload::start(&store, key, runtime, store.profile().upload);
        let upload = upload.map_err(|error| error.to_string())?;
        write(header, upload).map_err(|error| error.to_string())
    });
    let written = joined(written.await).map_err(|error| failed(error.to_string()))?;
    let (upload, summary) = written.map_err(failed)?;
    let uploaded = upload.complete().await?;
    let added = SegmentEntry::new(id, &summary, uploaded);
    let proved = read_back(
        repository.store(),
        id,
        &added,
        Keys::Ignored,
        Held::default(),
    )
    .await;
    let not_proven = |detail: String| MaintenanceError::NotProven {
        key: added.key.clone(),
        detail,
    };
    proved.map_err(|error| match error.kind().is_about_content() {
        true => not_proven(error.to_string()),
        false => error.into(),
    })?;
    let found = Expected {
        offsets: added.base_offset..added.end_offset,
        records: added.records,
        content_digest: added.content(),
    };
    match found == expected {
        true => Ok(added),
        false => Err(not_proven(format!(
            "expected {expected:?}, found {found:?}"
        ))),
    }
}
