//! An object read from front to back, one part in memory at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::repo::{BoxedError, Store};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Where the bytes come from. A local file is read into one buffer that is reused: mapped pages
/// would count as memory of this process, and a fresh buffer for each part costs its page faults.
pub(super) enum Object {
    /// The system reads ahead by itself.
    Local { file: File, buffer: Vec<u8> },
    /// The next part is under way while one is being checked.
    Remote {
        objects: Arc<dyn ObjectStore>,
        path: Path,
        runtime: Handle,
        ahead: Option<Ahead>,
        bytes: Bytes,
    },
}

pub(super) struct Ahead {
    range: Range<u64>,
    read: JoinHandle<object_store::Result<Bytes>>,
}

impl Object {
    /// Must be called, as [`read`](Self::read), outside of asynchronous code.
    pub(super) fn open(store: &Store, key: &str, runtime: &Handle) -> Result<Object, BoxedError> {
        match store.folder() {
            Some(folder) => Ok(Object::Local {
                file: File::open(folder.join(key))?,
                buffer: Vec::new(),
            }),
            None => Ok(Object::Remote {
                objects: Arc::clone(store.objects()),
                path: Path::from(key),
                runtime: runtime.clone(),
                ahead: None,
                bytes: Bytes::new(),
            }),
        }
    }

    /// The bytes at `range`, of an object that has them; `next` will be asked for next.
    pub(super) fn read(
        &mut self,
        range: Range<u64>,
        next: Option<Range<u64>>,
    ) -> Result<&[u8], BoxedError> {
        match self {
            Object::Local { file, buffer } => {
                let length = usize::try_from(range.end.saturating_sub(range.start))?;
                if buffer.len() < length {
                    buffer.resize(length, 0);
                }
                let part = buffer.get_mut(..length).unwrap_or_default();
                read_exact_at(file, part, range.start)?;
                Ok(part)
            }
            Object::Remote {
                objects,
                path,
                runtime,
                ahead,
                bytes,
            } => {
                let start = |range: Range<u64>| {
                    let (objects, path) = (Arc::clone(objects), path.clone());
                    let part = range.clone();
                    let read = runtime.spawn(async move { objects.get_range(&path, part).await });
                    Ahead { range, read }
                };
                let now = match ahead.take() {
                    Some(ahead) if ahead.range == range => ahead,
                    _ => start(range.clone()),
                };
                *ahead = next.map(start);
                *bytes = runtime.block_on(now.read)??;
                Ok(bytes)
            }
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, part: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, part, position)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, part: &mut [u8], position: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(position))?;
    file.read_exact(part)
}
