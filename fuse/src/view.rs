//! The entry point to the tree: files by inode number, as a kernel asks for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kbk_format::repo::Store;

use crate::attributes::{Attributes, Entry, Lifetime, Listed};
use crate::cache::disk::DiskCache;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;
use crate::open_file::OpenFile;
use crate::tree::catalogue::{Catalogue, Snapshots};
use crate::tree::ephemeral::EphemeralInodes;
use crate::tree::followed::FollowedInodes;
use crate::tree::inode::Inode;
use crate::tree::node::Node;
use crate::tree::part::Part;
use crate::tree::{TopicFilter, Tree};

/// Which parts of a repository a view shows, and the resources it may use.
#[derive(Clone)]
pub struct ViewOptions {
    /// The snapshots to show.
    pub snapshots: Snapshots,
    /// The topics to show; `None` shows all.
    pub topics: Option<TopicFilter>,
    /// What the folder of a partition lists. The rest of it can be looked up by name.
    pub listed: Vec<Part>,
    /// The memory for everything that is cached or in flight, in bytes.
    pub memory_bytes: u64,
    /// At most this many bytes are loaded ahead of a sequential reader of a file.
    pub prefetch_bytes: u64,
    /// How long the store may take for one answer.
    pub deadline: Duration,
    /// Whether snapshots that are made after the view was opened are shown.
    pub growing: bool,
    /// A folder on disk that caches stored blocks.
    pub cache_dir: Option<CacheDir>,
}

/// A cache folder for stored blocks. Several mounts may share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir {
    /// The folder; created if it does not exist.
    pub folder: PathBuf,
    /// The maximum size of its files, in bytes.
    pub bytes: u64,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions {
            snapshots: Snapshots::All,
            topics: None,
            listed: Part::ALL.to_vec(),
            memory_bytes: 256 << 20,
            prefetch_bytes: 32 << 20,
            deadline: Duration::from_secs(30),
            growing: true,
            cache_dir: None,
        }
    }
}

/// The size of a repository, for `statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of all segments of the newest intact snapshot that is shown.
    pub stored_bytes: u64,
    /// The number of its partitions.
    pub partitions: u64,
}

/// Cache statistics since the view was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Blocks that were cached, or already being loaded.
    pub hits: u64,
    /// Blocks that were loaded.
    pub loads: u64,
    /// Blocks that were read from the cache folder.
    pub disk_hits: u64,
    /// Blocks that are still to be written to the cache folder.
    pub disk_pending: u64,
    /// The memory budget, in bytes.
    pub memory_bytes: u64,
    /// Bytes of the budget that are cached or in flight.
    pub held_bytes: u64,
    /// The maximum of `held_bytes` so far.
    pub most_held_bytes: u64,
}

/// A repository as a tree of files. Clones share it.
///
/// Every method must be called on a Tokio runtime with time enabled and worker threads of its own: loads continue as tasks when
/// their caller has gone away. Only [`open`](Self::open) may block.
#[derive(Clone, Debug)]
pub struct View(Arc<Tree>);

impl View {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    ///
    /// If there is no repository, it cannot be read, or the one snapshot that is to be shown does not exist.
    pub async fn open(store: Store, options: ViewOptions) -> Result<View, ViewError> {
        let disk = options
            .cache_dir
            .map(|dir| DiskCache::open(&dir.folder, dir.bytes));
        let (memory, deadline) = (options.memory_bytes, options.deadline);
        let reader = SnapshotReader::open(store, memory, deadline, disk.transpose()?).await?;
        let catalogue = Catalogue::open(&reader, options.snapshots, options.growing).await?;
        Ok(View(Arc::new(Tree {
            reader,
            catalogue,
            topics: options.topics,
            listed: options.listed,
            last_listed: AtomicU64::new(u64::MAX),
            // So that the windows of a few files fit into memory side by side.
            prefetch_bytes: options.prefetch_bytes.min(memory / 4),
            offsets: EphemeralInodes::default(),
            times: EphemeralInodes::default(),
            keys: EphemeralInodes::default(),
            followed: FollowedInodes::default(),
        })))
    }

    /// Looks up a name in a folder. A kernel that is given the entry must [`forget`](Self::forget) it once per lookup.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotFound`], [`ViewError::NotFolder`], or why the folder cannot be read.
    pub async fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Entry, ViewError> {
        self.noted(self.0.lookup(Tree::node(parent)?, name).await)
            .await
    }

    /// Forgets this many lookups of a file. Most numbers follow from the manifest and stay valid; only files that no listing
    /// shows are dropped when all of their lookups are forgotten.
    pub fn forget(&self, inode: Inode, lookups: u64) {
        if let Some(node) = Node::of(inode) {
            node.forget(&self.0, lookups);
        }
    }

    /// The attributes of a file.
    ///
    /// # Errors
    ///
    /// [`ViewError::Stale`] if no file has this number, or why the attributes cannot be read.
    pub async fn attributes(&self, inode: Inode) -> Result<Attributes, ViewError> {
        self.noted(Tree::node(inode)?.attributes(&self.0).await)
            .await
    }

    /// Lists names in a folder after the cookie `from`, which is 0 at first; fewer than `at_most` only at the end. `.` and `..` are
    /// not included. A listing that resumes at a cookie misses no name and repeats none.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotFolder`], or why the folder cannot be read.
    pub async fn list(
        &self,
        inode: Inode,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Listed>, ViewError> {
        self.noted(self.0.list(Tree::node(inode)?, from, at_most).await)
            .await
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotLink`], or [`ViewError::NotFound`] if there is no snapshot.
    pub async fn read_link(&self, inode: Inode) -> Result<String, ViewError> {
        Tree::node(inode)?.link_target(&self.0).await
    }

    /// The names of a file's extended attributes.
    ///
    /// # Errors
    ///
    /// As [`attributes`](Self::attributes).
    pub async fn attribute_names(&self, inode: Inode) -> Result<Vec<&'static str>, ViewError> {
        let all = Tree::node(inode)?.extended(&self.0).await?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }

    /// One extended attribute of a file.
    ///
    /// # Errors
    ///
    /// [`ViewError::NoAttribute`], or as [`attributes`](Self::attributes).
    pub async fn extended(&self, inode: Inode, name: &[u8]) -> Result<String, ViewError> {
        // `ls -l` asks every file for attributes of other namespaces, which must cost nothing.
        if !name.starts_with(b"user.kbk.") {
            return Err(ViewError::NoAttribute);
        }
        let all = Tree::node(inode)?.extended(&self.0).await?;
        let found = all.into_iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, value)| value).ok_or(ViewError::NoAttribute)
    }

    /// Opens a file for reading. Its contents stay the same while it is open; a followed file only grows.
    ///
    /// # Errors
    ///
    /// [`ViewError::IsFolder`], or why the file cannot be read.
    pub async fn open_file(&self, inode: Inode) -> Result<Arc<OpenFile>, ViewError> {
        let node = Tree::node(inode)?;
        let body = self.noted(node.open(&self.0).await).await?;
        let lifetime = if node.changes() {
            Lifetime::Growing
        } else {
            Lifetime::Sealed
        };
        Ok(Arc::new(OpenFile::new(Arc::clone(&self.0), body, lifetime)))
    }

    /// Records what could not be read, for `errors.jsonl` and `meta.json`.
    async fn noted<T>(&self, answer: Result<T, ViewError>) -> Result<T, ViewError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.0.reader.noted(error).await),
        }
    }

    /// The size of the newest snapshot that is not damaged.
    ///
    /// # Errors
    ///
    /// If the store does not answer.
    pub async fn totals(&self) -> Result<Totals, ViewError> {
        let Some(loaded) = self.0.newest().await? else {
            return Ok(Totals::default());
        };
        let topics = &loaded.snapshot.topics;
        let states = || topics.iter().flat_map(|topic| &topic.partitions);
        Ok(Totals {
            stored_bytes: states().map(|state| state.stored_bytes).sum(),
            partitions: states().count() as u64,
        })
    }

    /// Cache statistics.
    #[must_use]
    pub fn status(&self) -> Status {
        let reader = &self.0.reader;
        let (hits, loads) = reader.caches.texts.counts();
        Status {
            hits,
            loads,
            disk_hits: reader.disk.as_ref().map_or(0, DiskCache::hits),
            disk_pending: reader.disk.as_ref().map_or(0, DiskCache::pending),
            memory_bytes: reader.budget.limit(),
            held_bytes: reader.budget.held(),
            most_held_bytes: reader.budget.most_held(),
        }
    }
}
