//! A cache folder for stored blocks, for remote stores.
//!
//! A file is written under a temporary name and renamed when it is complete. It ends in a CRC-32C over its name and its bytes, and
//! is removed if that does not match. So a torn write, a flipped bit or a file of another program is merely a miss, and several
//! mounts may share the folder. Nothing is flushed, and what cannot be written is not cached.
//!
//! The least recently read files are removed first. Files that other mounts add are noticed when the folder is scanned again, each
//! time this mount has written an eighth of the limit.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kbk_format::repo::SegmentHash;
use tokio::sync::Semaphore;

use super::locked;
use crate::error::ViewError;

const CRC_BYTES: usize = 4;
const SUFFIX: &str = ".block";
/// A file that is being written, or whose writer was killed.
const UNFINISHED: &str = ".part";
/// An unfinished file that is older than this has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Files that are written at a time.
const WRITERS: usize = 4;
/// Blocks that wait to be written, or are written, at most; further ones are not cached.
const MAX_WAITING: usize = 256;

/// A block of a segment. Mounts of several repositories may share the folder, so segments are identified by their contents: an id
/// is not unique beyond doubt, and an object's name only within its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockName {
    pub(crate) segment: SegmentHash,
    pub(crate) block: usize,
}

impl BlockName {
    fn name(self) -> String {
        format!("{}-{}{SUFFIX}", self.segment, self.block)
    }
}

/// The cache folder. Clones share it.
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

/// The files, in the order of their last use.
#[derive(Debug, Default)]
struct Index {
    files: HashMap<String, (u64, u64)>,
    order: BTreeMap<u64, String>,
    bytes: u64,
    next: u64,
}

impl DiskCache {
    /// Opens a folder, which is created if it does not exist, and scans it.
    pub(crate) fn open(folder: &Path, limit: u64) -> Result<DiskCache, ViewError> {
        let cache = DiskCache(Arc::new(Inner {
            folder: folder.to_owned(),
            limit,
            index: Mutex::default(),
            writers: Semaphore::new(WRITERS),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            written: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }));
        let opened = create_private(folder).and_then(|()| cache.0.scan());
        opened.map_err(|source| ViewError::CacheFolder {
            folder: folder.display().to_string(),
            source: Arc::new(source),
        })?;
        cache.0.evict();
        Ok(cache)
    }

    /// The number of hits.
    pub(crate) fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// The number of blocks that wait to be written, or are being written.
    pub(crate) fn pending(&self) -> u64 {
        let free = self.0.waiting.available_permits();
        MAX_WAITING.saturating_sub(free) as u64
    }

    /// The bytes of a block, if they are cached and intact.
    pub(crate) async fn get(&self, name: BlockName, length: u64) -> Option<Bytes> {
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || inner.read(&name.name(), length));
        read.await.ok().flatten()
    }

    /// Caches a block whose bytes were verified. `hold` is dropped when they are written.
    pub(crate) fn put(&self, name: BlockName, bytes: Bytes, hold: impl Send + 'static) {
        let Ok(waiting) = Arc::clone(&self.0.waiting).try_acquire_owned() else {
            return;
        };
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let writing = Arc::clone(&inner);
            let _writer = writing.writers.acquire().await;
            let written = tokio::task::spawn_blocking(move || {
                // A full or read-only disk is no reason to fail a read.
                let _ = inner.write(&name.name(), &bytes);
                drop((bytes, hold, waiting));
            });
            let _ = written.await;
        });
    }

    /// Removes a block.
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
        // A file of any other length is not even read: its length is untrusted.
        let expected = length + CRC_BYTES as u64;
        let metadata = fs::symlink_metadata(&path).ok()?;
        let whole = metadata.is_file() && metadata.len() == expected;
        let bytes = if whole {
            fs::read(&path).ok()?
        } else {
            Vec::new()
        };
        let Some(bytes) = verified(name, bytes) else {
            self.remove(name);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        locked(&self.index).used(name, expected);
        // The modification time is the last use, for later scans. A read-only folder still serves reads.
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
            self.scan()?;
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

    /// Scans the folder, and removes files that were never completed.
    fn scan(&self) -> io::Result<()> {
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

/// The bytes before the checksum, if the checksum matches.
fn verified(name: &str, file: Vec<u8>) -> Option<Bytes> {
    let (bytes, crc) = file.split_last_chunk::<CRC_BYTES>()?;
    let length = bytes.len();
    (checksum(name, bytes) == u32::from_le_bytes(*crc)).then(|| Bytes::from(file).slice(..length))
}

/// A checksum that includes the name, so that a file under the name of another is detected.
fn checksum(name: &str, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), bytes)
}

/// Creates a new file that only this user may read.
fn create_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a folder that only this user may read: it contains what the topics contain.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
