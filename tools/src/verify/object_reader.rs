//! Reads an object from front to back, with one part in memory at a time.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::repo::{BoxedError, Store};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::segment_file::read_exact_at;

/// Reads parts of one object. Blocks; must not be used on a thread that runs asynchronous code.
pub(super) enum ObjectReader {
    /// A local file, read into one buffer that is reused: mapped pages would count as memory of this process, and a fresh
    /// buffer per part would cost its page faults. The operating system reads ahead by itself.
    Local { file: File, buffer: Vec<u8> },
    /// Any other object. The next part is requested while the caller works on this one.
    Remote {
        objects: Arc<dyn ObjectStore>,
        path: Path,
        runtime: Handle,
        readahead: Option<Readahead>,
        bytes: Bytes,
    },
}

/// A request for a part that has not been asked for yet.
pub(super) struct Readahead {
    range: Range<u64>,
    read: JoinHandle<object_store::Result<Bytes>>,
}

impl ObjectReader {
    pub(super) fn open(
        store: &Store,
        key: &str,
        runtime: &Handle,
    ) -> Result<ObjectReader, BoxedError> {
        match store.folder() {
            Some(folder) => Ok(ObjectReader::of_file(File::open(folder.join(key))?)),
            None => Ok(ObjectReader::Remote {
                objects: Arc::clone(store.objects()),
                path: Path::from(key),
                runtime: runtime.clone(),
                readahead: None,
                bytes: Bytes::new(),
            }),
        }
    }

    /// Reads a local file.
    pub(super) fn of_file(file: File) -> ObjectReader {
        ObjectReader::Local {
            file,
            buffer: Vec::new(),
        }
    }

    /// Returns the bytes at `range`, which must lie within the object; `next` announces the range of the next call.
    pub(super) fn read(
        &mut self,
        range: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<&[u8], BoxedError> {
        match self {
            ObjectReader::Local { file, buffer } => {
                let length = usize::try_from(range.end.saturating_sub(range.start))?;
                if buffer.len() < length {
                    buffer.resize(length, 0);
                }
                let part = buffer.get_mut(..length).unwrap_or_default();
                read_exact_at(file, part, range.start)?;
                Ok(part)
            }
            ObjectReader::Remote {
                objects,
                path,
                runtime,
                readahead,
                bytes,
            } => {
                let start = |range: Range<u64>| {
                    let (objects, path) = (Arc::clone(objects), path.clone());
                    let part = range.clone();
                    let read = runtime.spawn(async move { objects.get_range(&path, part).await });
                    Readahead { range, read }
                };
                let current = match readahead.take() {
                    Some(readahead) if readahead.range == range => readahead,
                    _ => start(range.clone()),
                };
                *readahead = next.map(start);
                *bytes = runtime.block_on(current.read)??;
                Ok(bytes)
            }
        }
    }
}
