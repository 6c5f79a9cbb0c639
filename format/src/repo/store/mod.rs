//! The objects of a repository by name, durable when a write returns.
//!
//! On a local disk `object_store` with `with_fsync` flushes a file before it gets its name, and the
//! folder after that. It also flushes folders that it creates on the way, but only those: a folder
//! that a crashed run created, or that another upload is creating at this moment, is used as found,
//! and its own name may not be on the disk yet. A put that returned an error and left its file may
//! not have flushed anything either. So [`Store::sync_folders`] flushes every folder of the objects
//! that a commit names, up to the root, before the commit, and those of the snapshot after it.
//!
//! | to | see |
//! |---|---|
//! | name a place | `location` |
//! | say how a bucket is reached and written | `options` |
//! | open a bucket | `s3`, `azure`, `gcs` |
//! | find keys in the files of the AWS command line, and in the environment | `aws_profile`, `variables` |
//! | limit the time of requests, and repeat them | `client` |
//! | wait between attempts of our own | `pause` |
//! | sign requests | `crypto` |
//! | find out whether two writers can create the same object | `probe` |
//! | find out whether other objects can be read where one cannot | `reach` |
//! | remove many objects | `removal` |
//! | list what there is | `list` |
//! | create and flush folders of a local disk | `folder` |

mod aws_profile;
mod azure;
mod client;
mod crypto;
mod folder;
mod gcs;
mod list;
mod location;
mod options;
mod pause;
mod probe;
mod reach;
mod removal;
mod s3;
mod variables;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    TagSet,
};
use tokio::sync::Semaphore;

pub use self::location::{Backend, Bucket, Location, LocationError, Root};
pub use self::options::{Encryption, StoreOptions};

use self::client::Clients;
use self::folder::{create_folder, sync_folder};
use self::pause::pause;
use super::answer::{Answer, Trouble};
use super::error::{Damage, Operation, RepoError, RepoErrorKind, Result};
use super::id::{Hex, Id};
use super::keys::{Key, SEGMENTS};
use super::listing::{self, UnfinishedFiles};
use super::observe::observed;
use super::profile::StoreProfile;
use super::readahead::{AheadBytes, AheadMemory, AheadReader};
use super::sealed::{self, Digested, Document, MAX_SEALED_BYTES, SealError};
use super::spare_buffers::SpareBuffers;

/// A folder, or a prefix in a bucket, and its name in messages.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The same objects, where one request removes many of them.
    bulk: Option<Arc<dyn ObjectStore>>,
    url: Arc<str>,
    /// The root on a local disk.
    folder: Option<Arc<Path>>,
    profile: Arc<StoreProfile>,
    /// The parts and whole segments that may be sent now.
    uploads: Arc<Semaphore>,
    /// The buffers of parts that were sent.
    spare_buffers: SpareBuffers,
    /// The buffers of ranges that were read, and are not used any more.
    read_buffers: SpareBuffers,
    /// What its readers may have read ahead.
    ahead: AheadMemory,
    labels: Arc<Labels>,
}

/// What is said of objects as they are written.
#[derive(Debug, Default)]
struct Labels {
    tags: TagSet,
    /// Of segments alone: the other objects are small, and are read by every run.
    storage_class: Option<String>,
}

/// How often a write is made that met others of the same object and left none, or a create whose answer was lost.
const CONFLICTS: u32 = 8;
/// How often a request is made whose answer ends early. The library repeats requests, and not all such answers.
const ANSWERS: u32 = 6;
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// What one request to put a sealed object came to.
enum Attempt {
    Put(Put),
    /// The object does not have these bytes, and nothing keeps a further request from giving it them; this is the error if there is
    /// none.
    Again(RepoError),
}

/// The outcome of putting a sealed object.
pub(super) enum Put {
    /// The object exists with the given bytes.
    Done,
    /// Another object has its name.
    Exists,
}

impl Store {
    /// Opens the place that a text names: see [`Location::parse`] and [`open_at`](Self::open_at).
    pub fn open(location: &str) -> Result<Self> {
        Self::open_at(&parsed(location)?)
    }

    /// Opens the same place as [`open_or_create_at`](Self::open_or_create_at) does.
    pub fn open_or_create(location: &str) -> Result<Self> {
        Self::open_or_create_at(&parsed(location)?)
    }

    /// Opens a folder that exists, or a bucket, of which nothing is requested yet.
    pub fn open_at(location: &Location) -> Result<Self> {
        let options = location.options();
        let url = location.to_string();
        match location.root() {
            Root::Folder(folder) => Self::local(&url, &absolute(&url, folder)?),
            Root::Memory(name) => Ok(Self::new(memory(name), &url)),
            Root::Bucket(bucket) => {
                let opened = match bucket.backend {
                    Backend::S3 => s3::open(bucket, options),
                    Backend::Azure => azure::open(bucket, options).map(Clients::of),
                    Backend::Gcs => gcs::open(bucket, options).map(Clients::of),
                };
                let Clients { objects, bulk } = opened.map_err(|detail| {
                    RepoError::of_repository(&url, RepoErrorKind::InvalidLocation { detail })
                })?;
                let below = |objects| below(objects, &bucket.prefix);
                let profile = StoreProfile::of(bucket.backend).with_options(options);
                let store = Self::new(below(objects), &url).with_profile(profile);
                Ok(Store {
                    bulk: bulk.map(|bulk| observed(below(bulk))),
                    labels: Arc::new(Labels::of(options)),
                    ..store
                })
            }
        }
    }

    /// Opens a folder, which is created if it is missing, or a bucket, which is not. Only for a new repository: elsewhere a missing
    /// folder is a mistake.
    pub fn open_or_create_at(location: &Location) -> Result<Self> {
        if let Root::Folder(folder) = location.root() {
            let url = location.to_string();
            create_folder(&absolute(&url, folder)?).map_err(|error| {
                RepoError::of_store(Operation::Write, &url, "the folder", error.into())
            })?;
        }
        Self::open_at(location)
    }

    /// Wraps any store, under its name in messages, with the profile [`StoreProfile::remote`].
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, url: &str) -> Self {
        let profile = StoreProfile::remote();
        Store {
            objects: observed(objects),
            bulk: None,
            url: url.into(),
            folder: None,
            uploads: Arc::new(Semaphore::new(profile.max_concurrent_uploads)),
            spare_buffers: SpareBuffers::of_parts(&profile.upload),
            read_buffers: SpareBuffers::of_ranges(profile.range_bytes),
            ahead: AheadMemory::new(profile.readahead),
            profile: Arc::new(profile),
            labels: Arc::default(),
        }
    }

    /// Returns the same store with another profile.
    #[must_use]
    pub fn with_profile(self, profile: StoreProfile) -> Self {
        let uploads = Arc::new(Semaphore::new(profile.max_concurrent_uploads));
        Store {
            ahead: AheadMemory::new(profile.readahead),
            spare_buffers: SpareBuffers::of_parts(&profile.upload),
            read_buffers: SpareBuffers::of_ranges(profile.range_bytes),
            profile: Arc::new(profile),
            uploads,
            ..self
        }
    }

    fn local(location: &str, folder: &Path) -> Result<Self> {
        let not_a_repository = |found: &str| {
            let found = found.to_owned();
            RepoError::of_repository(location, RepoErrorKind::NotARepository { found })
        };
        match std::fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => (),
            Ok(_) => return Err(not_a_repository("it is a file, not a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_repository("there is no such folder"));
            }
            Err(error) => {
                let error = error.into();
                return Err(RepoError::of_store(
                    Operation::Read,
                    location,
                    "the folder",
                    error,
                ));
            }
        }
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
            RepoError::of_store(Operation::Read, location, "the folder", error.into())
        })?;
        let store = Self::new(Arc::new(objects.with_fsync(true)), location);
        Ok(Store {
            folder: Some(folder.into()),
            ..store.with_profile(StoreProfile::local())
        })
    }

    /// Returns what bounds the parts and whole segments that are sent at a time.
    pub(super) fn uploads(&self) -> &Arc<Semaphore> {
        &self.uploads
    }

    /// Returns the buffers of parts that were sent.
    pub(super) fn spare_buffers(&self) -> &SpareBuffers {
        &self.spare_buffers
    }

    /// Returns the buffers of ranges that were read.
    pub(super) fn read_buffers(&self) -> &SpareBuffers {
        &self.read_buffers
    }

    /// Adds a reader of segments, which shares what is read ahead with the others once it is asked for something.
    #[must_use]
    pub fn ahead_reader(&self) -> AheadReader {
        self.ahead.reader()
    }

    /// Takes memory to keep a footer of this many stored bytes for a later reader, if it is free at the moment.
    #[must_use]
    pub fn keep_footer(&self, bytes: u64) -> Option<AheadBytes> {
        self.ahead.keep_footer(bytes)
    }

    /// Returns how the object is to be put.
    pub(super) fn put_options(&self, key: &Key, mode: PutMode) -> PutOptions {
        PutOptions {
            mode,
            tags: self.labels.tags.clone(),
            attributes: self.labels.attributes(key),
            ..PutOptions::default()
        }
    }

    /// Returns how the object is to be put in parts.
    pub(super) fn multipart_options(&self, key: &Key) -> PutMultipartOptions {
        PutMultipartOptions {
            tags: self.labels.tags.clone(),
            attributes: self.labels.attributes(key),
            ..PutMultipartOptions::default()
        }
    }

    /// Returns the name of the location in messages.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the request sizes and parallelism that suit it.
    #[must_use]
    pub fn profile(&self) -> &StoreProfile {
        &self.profile
    }

    /// Returns the objects themselves, for readers of segments.
    #[must_use]
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Returns the root on a local disk, for programs that map segments into memory.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Reads a sealed object; `None` only where the store says that there is no such object.
    pub(super) async fn read<T: Document>(&self, key: &Key) -> Result<Option<Digested<T>>> {
        let Some(bytes) = self.read_bytes(key).await? else {
            return Ok(None);
        };
        let unsealed = sealed::unseal(&bytes).map(Some);
        unsealed.map_err(|error| self.refused_object(key, error, T::FORMAT, T::VERSION))
    }

    /// Creates the error of an object that is not the one expected.
    pub(super) fn refused_object(
        &self,
        key: &Key,
        error: SealError,
        format: &str,
        supported: u32,
    ) -> RepoError {
        match error {
            SealError::Damaged(detail) => self.damaged(key, detail),
            SealError::OtherFormat(found) if *key == Key::Identity => {
                let found = format!("its kbk.json is of the format {found:?}");
                self.error_of_whole(RepoErrorKind::NotARepository { found })
            }
            SealError::OtherFormat(found) => {
                self.damaged(key, format!("its format is {found:?}, not {format:?}"))
            }
            SealError::NewerVersion(found) => {
                self.error(key, RepoErrorKind::NewerVersion { found, supported })
            }
            SealError::OlderVersion(found) => {
                self.error(key, RepoErrorKind::OlderVersion { found, supported })
            }
            SealError::UnknownRow(kind) => self.error(key, RepoErrorKind::NewerRow { kind }),
        }
    }

    async fn read_bytes(&self, key: &Key) -> Result<Option<Bytes>> {
        self.read_at_most(key, MAX_SEALED_BYTES).await
    }

    /// Reads an object; one that is larger than `limit` is damaged.
    pub(super) async fn read_at_most(&self, key: &Key, limit: u64) -> Result<Option<Bytes>> {
        let failed = |error: object_store::Error| self.failed(Operation::Read, key, error);
        let path = &path(key);
        let read = whole_answer(move || async move {
            let object = self.objects.get(path).await?;
            let size = object.meta.size;
            // What is too large is not received.
            match size > limit {
                true => Ok((size, Bytes::new())),
                false => Ok((size, object.bytes().await?)),
            }
        });
        let (size, bytes) = match read.await {
            Ok(read) => read,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if size > limit {
            let detail = format!("it has {size} bytes, and the limit is {limit}");
            return Err(self.damaged(key, detail));
        }
        if bytes.len() as u64 != size {
            return Err(self.cut_short(key, bytes.len() as u64, size));
        }
        Ok(Some(bytes))
    }

    /// Returns whether an object exists.
    pub(super) async fn exists(&self, key: &str) -> Result<bool> {
        match self.objects.head(&ObjectPath::from(key)).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(self.failed_at(Operation::Read, key, error)),
        }
    }

    /// Puts a sealed object under a name that must be free. An existing object with the same bytes counts as
    /// written: a retried request finds its own object when the response to the first one was lost.
    pub(super) async fn put_if_absent(&self, key: &Key, bytes: Vec<u8>) -> Result<Put> {
        self.put_sealed(key, bytes.into(), PutMode::Create).await
    }

    /// Puts a sealed object whose name holds the digest of its bytes: an intact object of this name has the
    /// same bytes, so writing it again is harmless and repairs a damaged one.
    pub(super) async fn put_content_named(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        self.replace(key, bytes).await
    }

    /// Puts a sealed object in place of the one that has its name, if any.
    pub(super) async fn replace(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        let put = self.put_sealed(key, bytes.into(), PutMode::Overwrite);
        put.await.map(drop)
    }

    /// Removes an object; one that does not exist counts as removed.
    pub(super) async fn remove(&self, key: &Key) -> Result<()> {
        match self.objects.delete(&path(key)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.failed(Operation::Remove, key, error)),
        }
    }

    async fn put_sealed(&self, key: &Key, bytes: Bytes, mode: PutMode) -> Result<Put> {
        let mut again = None;
        for attempt in 0..CONFLICTS {
            match self.put_once(key, &bytes, mode.clone()).await? {
                Attempt::Put(put) => return Ok(put),
                Attempt::Again(why) => again = Some(why),
            }
            let Hex([jitter, ..]) = Id::random();
            let jitter = Duration::from_millis(jitter.into());
            pause(CONFLICT_PAUSE * (1 << attempt) + jitter).await;
        }
        Err(again.unwrap_or_else(|| self.error(key, RepoErrorKind::Busy)))
    }

    /// Puts an object once, and finds out from the object itself whether it was put.
    async fn put_once(&self, key: &Key, bytes: &Bytes, mode: PutMode) -> Result<Attempt> {
        let overwrite = matches!(mode, PutMode::Overwrite);
        let options = self.put_options(key, mode);
        let path = path(key);
        let put = self.objects.put_opts(&path, bytes.clone().into(), options);
        let error = match put.await {
            Ok(_) => return Ok(Attempt::Put(Put::Done)),
            Err(error) => error,
        };
        let lost = is_lost(&error);
        let refused = matches!(
            error,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
        );
        let failed = self.failed(Operation::Write, key, error);
        let exists = refused && !matches!(failed.kind(), RepoErrorKind::Locked { .. });
        // An error does not say whether the write took effect; only the object does.
        match self.read_bytes(key).await {
            Ok(Some(found)) if found == *bytes => Ok(Attempt::Put(Put::Done)),
            Ok(Some(_)) if !overwrite => Ok(Attempt::Put(Put::Exists)),
            // The other write left none, or was not the last one.
            Ok(_) if exists || *failed.kind() == RepoErrorKind::Busy => {
                Ok(Attempt::Again(self.error(key, RepoErrorKind::Busy)))
            }
            // The library repeats a lost request unless it creates: it does not know its own object when it meets it.
            Ok(None) if !overwrite && lost => Ok(Attempt::Again(failed)),
            Err(read_error) if exists => Err(read_error),
            _ => Err(failed),
        }
    }

    /// Removes the files on a local disk that interrupted writes left, if they were last written `age` or more before the object
    /// `newest`.
    pub(super) async fn remove_unfinished(
        &self,
        newest: &Key,
        age: Duration,
    ) -> Result<UnfinishedFiles> {
        let Some(root) = self.folder.clone() else {
            return Ok(UnfinishedFiles::default());
        };
        let key = newest.clone();
        let removed = move || listing::remove_unfinished(&root, &key, age);
        let removed = tokio::task::spawn_blocking(removed).await;
        let removed = removed.unwrap_or_else(|error| Err(error.into()));
        removed.map_err(|error| {
            RepoError::of_store(
                Operation::Remove,
                &self.url,
                "unfinished files",
                error.into(),
            )
        })
    }

    /// Calls `list` with the root and `folder` where blocking is allowed; `None` if the store is not a local disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        folder: &str,
        list: fn(&Path, &str) -> io::Result<T>,
    ) -> Result<Option<T>> {
        let Some(root) = self.folder.clone() else {
            return Ok(None);
        };
        let name = folder.to_owned();
        let listed = tokio::task::spawn_blocking(move || list(&root, &name)).await;
        let listed = listed.unwrap_or_else(|error| Err(error.into()));
        listed.map(Some).map_err(|error| {
            let named = if folder.is_empty() {
                "the folder"
            } else {
                folder
            };
            RepoError::of_store(Operation::List, &self.url, named, error.into())
        })
    }

    /// Makes the names of these objects durable: flushes each folder that holds one, and those
    /// above, up to the root. Only a local disk has folders.
    pub(super) async fn sync_folders(&self, keys: impl IntoIterator<Item = String>) -> Result<()> {
        let Some(root) = self.folder.clone() else {
            return Ok(());
        };
        let folders: BTreeSet<PathBuf> = keys
            .into_iter()
            .flat_map(|key| {
                let folders = Path::new(&key).ancestors().skip(1);
                folders.map(|folder| root.join(folder)).collect::<Vec<_>>()
            })
            .collect();
        tokio::task::spawn_blocking(move || {
            // Deepest first, so that a name becomes durable only after what it leads to.
            folders.iter().rev().try_for_each(|folder| {
                sync_folder(folder).map_err(|error| (folder.display().to_string(), error))
            })
        })
        .await
        .unwrap_or_else(|error| Err(("the folders".to_owned(), error.into())))
        .map_err(|(folder, error)| {
            RepoError::of_store(Operation::Write, &self.url, &folder, error.into())
        })
    }

    /// Creates an error about the object `key`, or about a folder.
    #[must_use]
    pub fn error(&self, key: &(impl ToString + ?Sized), kind: RepoErrorKind) -> RepoError {
        RepoError::of_object(&self.url, &key.to_string(), kind)
    }

    pub(super) fn error_of_whole(&self, kind: RepoErrorKind) -> RepoError {
        RepoError::of_repository(&self.url, kind)
    }

    /// Creates the error that a sealed object is damaged: expected and found.
    #[must_use]
    pub fn damaged(&self, key: &(impl ToString + ?Sized), detail: String) -> RepoError {
        self.error(key, RepoErrorKind::Damaged(Damage::Object { detail }))
    }

    /// Creates the error that a sealed object breaks a rule and was not written.
    pub(super) fn refused(&self, key: &Key, detail: String) -> RepoError {
        self.refused_at(&key.to_string(), detail)
    }

    /// Creates the same error of an object in a folder, whose name follows from its bytes.
    pub(super) fn refused_at(&self, folder: &str, detail: String) -> RepoError {
        self.error(folder, RepoErrorKind::Refused { detail })
    }

    pub(super) fn failed(
        &self,
        operation: Operation,
        key: &Key,
        error: object_store::Error,
    ) -> RepoError {
        self.failed_at(operation, &key.to_string(), error)
    }

    /// Creates the error of an answer that has fewer bytes than the object: a connection that ended early proves no damage.
    pub(super) fn cut_short(&self, key: &Key, found: u64, expected: u64) -> RepoError {
        let detail = format!("the answer has {found} of {expected} bytes");
        RepoError::of_store(Operation::Read, &self.url, &key.to_string(), detail.into())
    }

    fn failed_at(&self, operation: Operation, key: &str, error: object_store::Error) -> RepoError {
        RepoError::of_store(operation, &self.url, key, error.into())
    }
}

/// Returns the objects below a prefix.
fn below(objects: Arc<dyn ObjectStore>, prefix: &str) -> Arc<dyn ObjectStore> {
    match prefix {
        "" => objects,
        prefix => Arc::new(PrefixStore::new(objects, prefix)),
    }
}

/// Returns the path of an object in its store. Keys have no character that needs escaping.
pub(super) fn path(key: &Key) -> ObjectPath {
    ObjectPath::from(key.to_string())
}

/// Makes a request that may be repeated, and makes it again where its answer ends early.
pub(super) async fn whole_answer<T, F>(request: impl Fn() -> F) -> object_store::Result<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    let mut time = CONFLICT_PAUSE;
    for _ in 1..ANSWERS {
        match request().await {
            Err(error) if is_cut(&error) => pause(time).await,
            answer => return answer,
        }
        time *= 2;
    }
    request().await
}

/// Returns whether a bucket answered, and the answer ended early.
fn is_cut(error: &object_store::Error) -> bool {
    Answer::of(error).is_some_and(|answer| answer.trouble == Trouble::Cut)
}

/// Returns whether a request has no answer, so that nobody knows whether it took effect.
fn is_lost(error: &object_store::Error) -> bool {
    let lost = |answer: Answer| matches!(answer.trouble, Trouble::Cut | Trouble::TimedOut);
    Answer::of(error).is_some_and(lost)
}

/// Returns whether the store says that there is no such object, and not that there is no such bucket.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    let no_bucket = || Answer::of(error).is_some_and(|answer| answer.trouble == Trouble::NoBucket);
    matches!(error, object_store::Error::NotFound { .. }) && !no_bucket()
}

impl Labels {
    fn of(options: &StoreOptions) -> Self {
        let mut tags = TagSet::default();
        for (key, value) in &options.tags {
            tags.push(key, value);
        }
        Labels {
            tags,
            storage_class: options.storage_class.clone(),
        }
    }

    fn attributes(&self, key: &Key) -> Attributes {
        let mut attributes = Attributes::new();
        let is_segment = key.to_string().starts_with(SEGMENTS);
        if let Some(class) = self.storage_class.as_ref().filter(|_| is_segment) {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        attributes
    }
}

fn parsed(location: &str) -> Result<Location> {
    Location::parse(location).map_err(|error| {
        // What follows a user or begins a query may be a secret.
        let shown = match location.contains(['@', '?']) {
            true => "the location given",
            false => location,
        };
        let detail = format!(
            "{error}; name a folder, or a bucket as s3://BUCKET/PREFIX, az://... or gs://..."
        );
        RepoError::of_repository(shown, RepoErrorKind::InvalidLocation { detail })
    })
}

fn absolute(location: &str, folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).map_err(|error| {
        let detail = error.to_string();
        RepoError::of_repository(location, RepoErrorKind::InvalidLocation { detail })
    })
}

/// Returns the objects in the memory of this process that have this name.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static NAMED: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(named.entry(name.to_owned()).or_default()) as Arc<dyn ObjectStore>
}
