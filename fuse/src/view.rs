//! The door to the tree: files by their numbers, as a kernel asks for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::repo::Store;

use crate::attributes::{Attributes, Entry, Lifetime, Listed};
use crate::cache::disk::DiskCache;
use crate::content::library::Library;
use crate::error::ViewError;
use crate::open_file::OpenFile;
use crate::tree::catalogue::{Catalogue, Snapshots};
use crate::tree::damage::Damage;
use crate::tree::follow::Followed;
use crate::tree::inode::{Inode, Node, RootItem};
use crate::tree::named::Named;
use crate::tree::{TopicFilter, Tree};

/// What of a repository is shown, and what that may take.
#[derive(Clone)]
pub struct ViewOptions {
    /// Which snapshots.
    pub snapshots: Snapshots,
    /// Which topics; all, where there is no filter.
    pub topics: Option<TopicFilter>,
    /// Bytes of memory for all that is kept and all that is in flight.
    pub memory_bytes: u64,
    /// Bytes that are loaded ahead of who reads a file from one end to the other.
    pub prefetch_bytes: u64,
    /// How long the store may take for one answer.
    pub deadline: Duration,
    /// Whether snapshots that are made meanwhile are shown.
    pub growing: bool,
    /// A folder on disk that keeps stored blocks.
    pub cache_dir: Option<CacheDir>,
}

/// A folder for stored blocks, which may be shared by several mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir {
    /// The folder; made where it is missing.
    pub folder: PathBuf,
    /// Bytes that it may take.
    pub bytes: u64,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions {
            snapshots: Snapshots::All,
            topics: None,
            memory_bytes: 256 << 20,
            prefetch_bytes: 32 << 20,
            deadline: Duration::from_secs(30),
            growing: true,
            cache_dir: None,
        }
    }
}

/// How much there is, for `statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of all segments of the newest snapshot that is shown.
    pub stored_bytes: u64,
    /// Its partitions.
    pub partitions: u64,
}

/// What the cache did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Blocks that were there, or that somebody else was loading.
    pub hits: u64,
    /// Blocks that were loaded.
    pub loads: u64,
    /// Blocks that were read from the folder of the cache.
    pub disk_hits: u64,
    /// Bytes of memory that may be held.
    pub memory_bytes: u64,
    /// Bytes that are kept, or in flight.
    pub held_bytes: u64,
    /// The most bytes that ever were.
    pub most_held_bytes: u64,
}

/// A repository as a tree of files. Clones are handles of the same.
///
/// Every method must be called on a Tokio runtime that has its time and, for tasks that go on when a caller has gone away, some
/// thread of its own. None but [`open`](Self::open) blocks.
#[derive(Clone, Debug)]
pub struct View(Arc<Tree>);

impl View {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    ///
    /// If there is none, it cannot be read, or the one snapshot asked for is not there.
    pub async fn open(store: Store, options: ViewOptions) -> Result<View, ViewError> {
        let disk = options
            .cache_dir
            .map(|dir| DiskCache::open(&dir.folder, dir.bytes));
        let (memory, deadline) = (options.memory_bytes, options.deadline);
        let library = Library::open(store, memory, deadline, disk.transpose()?).await?;
        let catalogue = Catalogue::open(&library, options.snapshots, options.growing).await?;
        Ok(View(Arc::new(Tree {
            library,
            catalogue,
            topics: options.topics,
            damage: Damage::default(),
            // So that a few files that are read at once have room beside each other.
            prefetch_bytes: options.prefetch_bytes.min(memory / 4),
            named: Named::default(),
            followed: Followed::default(),
        })))
    }

    /// The file that stands under `name` in a folder. A kernel that is given it must [`forget`](Self::forget) it once for each
    /// time.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotFound`] where there is none, [`ViewError::NotFolder`], or why it cannot be told.
    pub async fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Entry, ViewError> {
        self.noted(self.0.lookup(Tree::node(parent)?, name).await)
    }

    /// So many lookups of a file are forgotten. Numbers follow from the manifest and are valid without; only files that no
    /// listing shows are remembered by this count.
    pub fn forget(&self, inode: Inode, lookups: u64) {
        if let Some(Node::Named(number)) = Node::of(inode) {
            self.0.named.forget(number, lookups);
        }
    }

    /// What is said of a file.
    ///
    /// # Errors
    ///
    /// [`ViewError::Stale`] where there is none of this number, or why it cannot be told.
    pub async fn attributes(&self, inode: Inode) -> Result<Attributes, ViewError> {
        self.noted(self.0.attributes(Tree::node(inode)?).await)
    }

    /// Names in a folder, behind the one whose cookie is `from`, from 0; fewer than `at_most` only at the end. `.` and `..` are not
    /// among them. Who goes on at a cookie misses no name and sees none twice.
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
    }

    /// Where a link leads to.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotLink`], or that there is no snapshot.
    pub async fn read_link(&self, inode: Inode) -> Result<String, ViewError> {
        match Tree::node(inode)? {
            Node::Root(RootItem::Latest) => self.0.latest().await,
            _ => Err(ViewError::NotLink),
        }
    }

    /// The names of a file's extended attributes.
    ///
    /// # Errors
    ///
    /// As [`attributes`](Self::attributes).
    pub async fn attribute_names(&self, inode: Inode) -> Result<Vec<&'static str>, ViewError> {
        Ok(self
            .0
            .extended(Tree::node(inode)?)
            .await?
            .into_iter()
            .map(|(name, _)| name)
            .collect())
    }

    /// One extended attribute of a file.
    ///
    /// # Errors
    ///
    /// [`ViewError::NoAttribute`], or as [`attributes`](Self::attributes).
    pub async fn extended(&self, inode: Inode, name: &[u8]) -> Result<String, ViewError> {
        // `ls -l` asks for those of others, of every file.
        if !name.starts_with(b"user.kbk.") {
            return Err(ViewError::NoAttribute);
        }
        let all = self.0.extended(Tree::node(inode)?).await?;
        let found = all.into_iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, value)| value).ok_or(ViewError::NoAttribute)
    }

    /// Opens a file for reading. What it shows stays the same while it is open; of one that is followed, all that was read.
    ///
    /// # Errors
    ///
    /// [`ViewError::IsFolder`], or why it cannot be read.
    pub async fn open_file(&self, inode: Inode) -> Result<Arc<OpenFile>, ViewError> {
        let node = Tree::node(inode)?;
        let body = self.noted(self.0.body(node).await)?;
        let lifetime = if node.changes() {
            Lifetime::Growing
        } else {
            Lifetime::Sealed
        };
        Ok(Arc::new(OpenFile::new(Arc::clone(&self.0), body, lifetime)))
    }

    /// Damage that is come upon is listed from then on.
    fn noted<T>(&self, answer: Result<T, ViewError>) -> Result<T, ViewError> {
        answer.inspect_err(|error| self.0.damage.note(error))
    }

    /// How much there is.
    ///
    /// # Errors
    ///
    /// If the newest snapshot cannot be read.
    pub async fn totals(&self) -> Result<Totals, ViewError> {
        let Some(loaded) = self.0.newest().await? else {
            return Ok(Totals::default());
        };
        let states = || {
            loaded
                .snapshot
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
        };
        Ok(Totals {
            stored_bytes: states().map(|state| state.stored_bytes).sum(),
            partitions: states().count() as u64,
        })
    }

    /// What the cache did so far.
    #[must_use]
    pub fn status(&self) -> Status {
        let library = &self.0.library;
        let (hits, loads) = library.texts.counts();
        Status {
            hits,
            loads,
            disk_hits: library.disk.as_ref().map_or(0, DiskCache::hits),
            memory_bytes: library.budget.limit(),
            held_bytes: library.budget.held(),
            most_held_bytes: library.budget.most_held(),
        }
    }
}
