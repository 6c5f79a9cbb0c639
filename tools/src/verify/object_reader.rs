//! Reads an object from front to back, with few parts in memory at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use kbk_format::repo::{BoxedError, Store, StoreProfile};
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
    /// Any other object. The next parts are requested while the caller works on this one.
    Remote {
        objects: Arc<dyn ObjectStore>,
        path: Path,
        runtime: Handle,
        /// How many parts are requested ahead.
        depth: usize,
        readahead: VecDeque<Readahead>,
        bytes: Bytes,
    },
    /// An object that was read as a whole.
    Memory(Bytes),
}

/// A request for a part that has not been asked for yet.
pub(super) struct Readahead {
    range: Range<u64>,
    read: JoinHandle<object_store::Result<Bytes>>,
}

impl Drop for Readahead {
    fn drop(&mut self) {
        self.read.abort();
    }
}

/// Returns how many parts are requested ahead, if there is a reader on each core.
fn depth(profile: &StoreProfile) -> usize {
    let parts = profile.readahead.shared_bytes / profile.range_bytes.max(1);
    let parts = usize::try_from(parts).unwrap_or(usize::MAX);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (parts / cores).clamp(1, profile.parallel_requests.max(1))
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
                depth: depth(store.profile()),
                readahead: VecDeque::new(),
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

    /// Returns the bytes at `range`, which must lie within the object; `next` announces the ranges of the next calls.
    pub(super) fn read(
        &mut self,
        range: Range<u64>,
        next: impl Iterator<Item = Range<u64>>,
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
            // A key filter without entries has no bytes, which stores refuse to read.
            ObjectReader::Remote { .. } if range.is_empty() => Ok(&[]),
            ObjectReader::Remote {
                objects,
                path,
                runtime,
                depth,
                readahead,
                bytes,
            } => {
                let next = next.filter(|range| !range.is_empty());
                let start = |range: Range<u64>| {
                    let (objects, path) = (Arc::clone(objects), path.clone());
                    let part = range.clone();
                    let read = runtime.spawn(async move { objects.get_range(&path, part).await });
                    Readahead { range, read }
                };
                let mut current = match readahead.pop_front() {
                    Some(readahead) if readahead.range == range => readahead,
                    _ => {
                        readahead.clear();
                        start(range)
                    }
                };
                let known = readahead.len();
                readahead.extend(next.take(*depth).skip(known).map(start));
                *bytes = runtime.block_on(&mut current.read)??;
                Ok(bytes)
            }
            ObjectReader::Memory(bytes) => {
                let part = usize::try_from(range.start)?..usize::try_from(range.end)?;
                bytes.get(part).ok_or_else(|| "it ends before that".into())
            }
        }
    }
}
