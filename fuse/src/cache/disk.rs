//! A folder that keeps stored blocks, for stores that are far away.
//!
//! A file appears under its name when it is whole (written beside it, then renamed), ends in a CRC-32C over its name and its
//! bytes, and is given up where that does not match. So a cut-off write, a flipped bit or another program's file is a miss and
//! nothing worse, and several mounts may share the folder. It is a cache: nothing is flushed, and what cannot be written is not
//! kept.
//!
//! Files that were read least recently go first. What other mounts add is seen when the folder is looked through again, each time
//! that this one has written an eighth of the limit.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kbk_format::repo::Digest;
use tokio::sync::Semaphore;

use super::locked;
use crate::error::ViewError;

const CRC_BYTES: usize = 4;
const SUFFIX: &str = ".block";
/// A file that is being written, or that was when its program ended.
const UNFINISHED: &str = ".part";
/// An unfinished file that nobody has touched for so long is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);
/// So many files are written at a time.
const WRITERS: usize = 4;
/// So many wait for that; what comes while they do is not kept.
const WAITING: usize = 256;

/// One block of a segment. The folder may be shared by mounts of several repositories, so a segment is named by its bytes: not by
/// its id, which another may have, nor by the name that it has in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockName {
    pub(crate) segment: Digest,
    pub(crate) block: usize,
}

impl BlockName {
    fn name(self) -> String {
        format!("{}-{}{SUFFIX}", self.segment, self.block)
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct DiskCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit: u64,
    index: Mutex<Index>,
    writers: Semaphore,
    waiting: Arc<Semaphore>,
    written: AtomicU64,
    unfinished: AtomicU64,
    hits: AtomicU64,
}

/// Which files there are, those read least recently first.
#[derive(Debug, Default)]
struct Index {
    files: HashMap<String, (u64, u64)>,
    order: BTreeMap<u64, String>,
    bytes: u64,
    next: u64,
}

impl DiskCache {
    /// Uses a folder, which is made where it is missing, and looks through it.
    pub(crate) fn open(folder: &Path, limit: u64) -> Result<DiskCache, ViewError> {
        let cache = DiskCache(Arc::new(Inner {
            folder: folder.to_owned(),
            limit,
            index: Mutex::default(),
            writers: Semaphore::new(WRITERS),
            waiting: Arc::new(Semaphore::new(WAITING)),
            written: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }));
        let opened = create_private(folder).and_then(|()| cache.0.look_through());
        opened.map_err(|source| ViewError::CacheFolder {
            folder: folder.display().to_string(),
            source: Arc::new(source),
        })?;
        cache.0.evict();
        Ok(cache)
    }

    /// How often a block was there.
    pub(crate) fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// The bytes of a block, if they are there and whole.
    pub(crate) async fn get(&self, name: BlockName, length: u64) -> Option<Bytes> {
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || inner.read(&name.name(), length));
        read.await.ok().flatten()
    }

    /// Keeps a block whose bytes were found sound; `hold` is held until that is done.
    pub(crate) fn put(&self, name: BlockName, bytes: Bytes, hold: impl Send + 'static) {
        let Ok(waiting) = Arc::clone(&self.0.waiting).try_acquire_owned() else {
            return;
        };
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let writing = Arc::clone(&inner);
            let _writer = writing.writers.acquire().await;
            let written = tokio::task::spawn_blocking(move || {
                // A full disk, or one that is read-only: then nothing is kept.
                let _ = inner.write(&name.name(), &bytes);
                drop((bytes, hold, waiting));
            });
            let _ = written.await;
        });
    }

    /// Gives up a block.
    pub(crate) async fn remove(&self, name: BlockName) {
        let inner = Arc::clone(&self.0);
        let _ = tokio::task::spawn_blocking(move || inner.remove(&name.name())).await;
    }
}

impl Inner {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str, length: u64) -> Option<Bytes> {
        let path = self.path(name);
        // A length that is not the block's is not even read.
        let expected = length + CRC_BYTES as u64;
        let metadata = fs::symlink_metadata(&path).ok()?;
        let whole = metadata.is_file() && metadata.len() == expected;
        let bytes = if whole {
            fs::read(&path).ok()?
        } else {
            Vec::new()
        };
        let Some(bytes) = unsealed(name, bytes) else {
            self.remove(name);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        locked(&self.index).used(name, expected);
        // So that whoever looks through the folder later knows. A folder that is read-only serves all the same.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let size = (bytes.len() + CRC_BYTES) as u64;
        if size > self.limit {
            return Ok(());
        }
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path(&format!("{}-{number}{UNFINISHED}", std::process::id()));
        let written = create_file(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.write_all(&checksum(name, bytes).to_le_bytes())
        });
        let named = written.and_then(|()| fs::rename(&unfinished, self.path(name)));
        if named.is_err() {
            let _ = fs::remove_file(&unfinished);
            return named;
        }
        locked(&self.index).used(name, size);
        if self.written.fetch_add(size, Ordering::Relaxed) + size > self.limit / 8 {
            self.written.store(0, Ordering::Relaxed);
            self.look_through()?;
        }
        self.evict();
        Ok(())
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
        locked(&self.index).forget(name);
    }

    fn evict(&self) {
        loop {
            let oldest = {
                let index = locked(&self.index);
                let over = index.bytes > self.limit;
                over.then(|| index.order.values().next().cloned()).flatten()
            };
            match oldest {
                Some(name) => self.remove(&name),
                None => return,
            }
        }
    }

    /// Learns what is in the folder, and clears away what was never finished.
    fn look_through(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let Ok(file) = file else { continue };
            let (Ok(name), Ok(metadata)) = (file.file_name().into_string(), file.metadata()) else {
                continue;
            };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if metadata.is_file() && name.ends_with(SUFFIX) {
                found.push((modified, name, metadata.len()));
            } else if name.ends_with(UNFINISHED)
                && modified.elapsed().is_ok_and(|age| age > ABANDONED)
            {
                let _ = fs::remove_file(file.path());
            }
        }
        found.sort();
        let mut index = locked(&self.index);
        *index = Index {
            next: index.next,
            ..Index::default()
        };
        for (_, name, size) in found {
            index.used(&name, size);
        }
        Ok(())
    }
}

impl Index {
    fn used(&mut self, name: &str, size: u64) {
        self.forget(name);
        self.order.insert(self.next, name.to_owned());
        self.files.insert(name.to_owned(), (size, self.next));
        self.bytes += size;
        self.next += 1;
    }

    fn forget(&mut self, name: &str) {
        if let Some((size, at)) = self.files.remove(name) {
            self.order.remove(&at);
            self.bytes -= size;
        }
    }
}

/// The bytes before the checksum, if that is right.
fn unsealed(name: &str, file: Vec<u8>) -> Option<Bytes> {
    let (bytes, crc) = file.split_last_chunk::<CRC_BYTES>()?;
    let length = bytes.len();
    (checksum(name, bytes) == u32::from_le_bytes(*crc)).then(|| Bytes::from(file).slice(..length))
}

/// With the name, so that a file under another's name is not taken for it.
fn checksum(name: &str, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), bytes)
}

/// Makes a file that only this user may read, and that nobody has put there.
fn create_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a folder that only this user may look into: it holds what the topics hold.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
