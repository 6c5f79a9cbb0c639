//! All bytes of an object, however damaged it is, without holding a large one in memory.

use std::fs;
use std::io::{self, Write};
use std::ops::Deref;

use futures_util::StreamExt;
use kbk_format::mapped::map_file;
use kbk_format::repo::{BoxedError, Operation, RepoError, Store};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tempfile::NamedTempFile;

use crate::task::joined;
use crate::{FileBytes, FileBytesError, SegmentFileError};

/// Objects of a distant store are in memory up to this size, and in a temporary file beyond it.
const IN_MEMORY: u64 = if cfg!(test) { 1 << 10 } else { 32 << 20 };

type Bytes = dyn Deref<Target = [u8]> + Send + Sync;

/// The bytes of an object.
pub(super) struct ObjectBytes {
    bytes: Box<Bytes>,
    /// Removed with this value.
    _file: Option<NamedTempFile>,
}

impl Deref for ObjectBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ObjectBytes {
    fn new(bytes: impl Deref<Target = [u8]> + Send + Sync + 'static) -> ObjectBytes {
        ObjectBytes {
            bytes: Box::new(bytes),
            _file: None,
        }
    }
}

/// Returns the error of the operating system, by which errors of stores are told apart.
fn boxed(error: FileBytesError) -> BoxedError {
    match error {
        FileBytesError::File(SegmentFileError::Io { source, .. })
        | FileBytesError::Copy { source, .. } => source.into(),
        error => error.into(),
    }
}

/// Reads an object, at most `limit` bytes of it; `None` where the store does not have it.
///
/// # Errors
///
/// The error of the store, or of the temporary file.
pub(super) async fn fetch(
    store: &Store,
    key: &str,
    limit: u64,
) -> Result<Option<ObjectBytes>, RepoError> {
    let failed =
        |source: BoxedError| RepoError::of_store(Operation::Read, store.url(), key, source);
    if let Some(folder) = store.folder() {
        let file = folder.join(key);
        // A folder is no object.
        match fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(found) if !found.is_file() => return Ok(None),
            _ => {}
        }
        let read = tokio::task::spawn_blocking(move || FileBytes::read(&file)).await;
        let bytes = joined(read).and_then(|read| read.map_err(boxed));
        let bytes = bytes.map_err(failed)?;
        // What a disk does not return may come back, so it is not known to be lost.
        return match bytes.unreadable().first() {
            None => Ok(Some(ObjectBytes::new(bytes))),
            Some(first) => Err(failed(io::Error::other(first.reason.clone()).into())),
        };
    }
    let found = match store.objects().get(&Path::from(key)).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    if found.meta.size <= IN_MEMORY.min(limit) {
        let bytes = found.bytes().await.map_err(|error| failed(error.into()))?;
        return Ok(Some(ObjectBytes::new(bytes)));
    }
    let mut file = NamedTempFile::new().map_err(|error| failed(error.into()))?;
    let mut parts = found.into_stream();
    let mut left = limit;
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| failed(error.into()))?;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        let taken = part.get(..taken).unwrap_or_default();
        file.write_all(taken)
            .map_err(|error| failed(error.into()))?;
        left = left.saturating_sub(taken.len() as u64);
        if left == 0 {
            break;
        }
    }
    let map = map_file(file.path()).map_err(|error| failed(error.into()))?;
    Ok(Some(ObjectBytes {
        bytes: Box::new(map),
        _file: Some(file),
    }))
}
