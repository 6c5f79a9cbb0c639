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
//! | create and flush folders of a local disk | `folder` |

mod folder;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use url::Url;

use self::folder::{create_folder, sync_folder};
use super::error::{Damage, Operation, RepoError, RepoErrorKind, Result};
use super::keys::Key;
use super::listing::{self, Listed, UnfinishedFiles};
use super::profile::StoreProfile;
use super::sealed::{self, Digested, Document, MAX_SEALED_BYTES, SealError};

/// A folder (later: a prefix in a bucket) and its name in messages.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    url: Arc<str>,
    /// The root on a local disk.
    folder: Option<Arc<Path>>,
    profile: StoreProfile,
}

/// The outcome of putting a sealed object.
pub(super) enum Put {
    /// The object exists with the given bytes.
    Done,
    /// Another object has its name.
    Exists,
}

impl Store {
    /// Opens a folder that exists, named by its path or a `file://` URL.
    pub fn open(location: &str) -> Result<Self> {
        let folder = local_folder(location)?;
        let not_a_repository = |found: &str| {
            let found = found.to_owned();
            RepoError::of_repository(location, RepoErrorKind::NotARepository { found })
        };
        match std::fs::metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => Self::local(location, &folder),
            Ok(_) => Err(not_a_repository("it is a file, not a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(not_a_repository("there is no such folder"))
            }
            Err(error) => Err(RepoError::of_store(
                Operation::Read,
                location,
                "the folder",
                error.into(),
            )),
        }
    }

    /// Opens a folder, which is created if it is missing. Only for a new repository: elsewhere a missing folder is a mistake.
    pub fn open_or_create(location: &str) -> Result<Self> {
        let folder = local_folder(location)?;
        create_folder(&folder).map_err(|error| {
            RepoError::of_store(Operation::Write, location, "the folder", error.into())
        })?;
        Self::open(location)
    }

    /// Wraps any store, under its name in messages, with the profile [`StoreProfile::remote`].
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, url: &str) -> Self {
        Store {
            objects,
            url: url.into(),
            folder: None,
            profile: StoreProfile::remote(),
        }
    }

    /// Returns the same store with another profile.
    #[must_use]
    pub fn with_profile(self, profile: StoreProfile) -> Self {
        Store { profile, ..self }
    }

    fn local(location: &str, folder: &Path) -> Result<Self> {
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
            RepoError::of_store(Operation::Read, location, "the folder", error.into())
        })?;
        Ok(Store {
            objects: Arc::new(objects.with_fsync(true)),
            url: location.into(),
            folder: Some(folder.into()),
            profile: StoreProfile::local(),
        })
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
        let object = match self.objects.get(&path(key)).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let size = object.meta.size;
        if size > limit {
            let detail = format!("it has {size} bytes, and the limit is {limit}");
            return Err(self.damaged(key, detail));
        }
        let bytes = object.bytes().await.map_err(failed)?;
        if bytes.len() as u64 != size {
            return Err(self.cut_short(key, bytes.len() as u64, size));
        }
        Ok(Some(bytes))
    }

    /// Returns whether an object exists.
    pub(super) async fn exists(&self, key: &str) -> Result<bool> {
        match self.objects.head(&ObjectPath::from(key)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
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
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(Operation::Remove, key, error)),
        }
    }

    async fn put_sealed(&self, key: &Key, bytes: Bytes, mode: PutMode) -> Result<Put> {
        let overwrite = matches!(mode, PutMode::Overwrite);
        let (path, payload) = (path(key), bytes.clone().into());
        let put = self.objects.put_opts(&path, payload, mode.into());
        let not_done = match put.await {
            Ok(_) => return Ok(Put::Done),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Put::Exists),
            Err(error) => Err(self.failed(Operation::Write, key, error)),
        };
        // An error does not say whether the write took effect; only the object does.
        match (self.read_bytes(key).await, not_done) {
            (Ok(Some(found)), _) if found == bytes => Ok(Put::Done),
            (Ok(Some(_)), _) if !overwrite => Ok(Put::Exists),
            (Err(read_error), Ok(_)) => Err(read_error),
            (_, not_done) => not_done,
        }
    }

    /// Lists the objects of a folder, ordered by name. Whatever else is there is ignored.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut found = match self.on_disk(folder, listing::objects).await? {
            Some(found) => found,
            None => self.list_remote(folder, None).await?,
        };
        found.sort_by_cached_key(|object| object.key.to_string());
        Ok(found)
    }

    /// Lists the objects of a folder whose names are above `after`, ordered by name.
    pub(super) async fn list_after(&self, folder: &str, after: &str) -> Result<Vec<Listed>> {
        let mut found = match self.on_disk(folder, listing::objects).await? {
            Some(found) => found,
            None => self.list_remote(folder, Some(after)).await?,
        };
        found.retain(|object| *object.key.to_string() > *after);
        found.sort_by_cached_key(|object| object.key.to_string());
        Ok(found)
    }

    /// Lists the objects of a folder whose writes were interrupted or are in progress. Only a local disk shows them.
    pub(super) async fn list_unfinished(&self, folder: &str) -> Result<Vec<Listed>> {
        let found = self.on_disk(folder, listing::unfinished_objects).await?;
        Ok(found.unwrap_or_default())
    }

    async fn list_remote(&self, folder: &str, after: Option<&str>) -> Result<Vec<Listed>> {
        let prefix = ObjectPath::from(folder);
        let found = match after {
            Some(after) => self
                .objects
                .list_with_offset(Some(&prefix), &ObjectPath::from(after)),
            None => self.objects.list(Some(&prefix)),
        };
        let listed = found.try_filter_map(async |object| {
            let key = Key::parse(object.location.as_ref());
            Ok(key.map(|key| Listed {
                key,
                bytes: object.size,
                written_ms: object.last_modified.timestamp_millis(),
            }))
        });
        let listed = listed.try_collect().await;
        listed.map_err(|error| self.failed_at(Operation::List, folder, error))
    }

    /// Lists the names in a folder, or in the root if it is empty: what is directly there, objects and folders.
    pub(super) async fn names(&self, folder: &str) -> Result<Vec<String>> {
        if let Some(names) = self.on_disk(folder, listing::names).await? {
            return Ok(names);
        }
        let prefix = (!folder.is_empty()).then(|| ObjectPath::from(folder));
        let found = self.objects.list_with_delimiter(prefix.as_ref()).await;
        let found = found.map_err(|error| self.failed_at(Operation::List, folder, error))?;
        let objects = found.objects.into_iter().map(|object| object.location);
        let all = found.common_prefixes.into_iter().chain(objects);
        Ok(all
            .filter_map(|path| Some(path.filename()?.to_owned()))
            .collect())
    }

    /// Returns one of the entries of the root, if any. `lost+found` belongs to the file system, and a file that an interrupted
    /// write left is not an object.
    pub(super) async fn any_entry(&self) -> Result<Option<String>> {
        let mut names = self.names("").await?;
        names.retain(|name| name != "lost+found" && !listing::is_unfinished(name));
        names.sort();
        Ok(names.into_iter().next())
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

/// Returns the path of an object in its store. Keys have no character that needs escaping.
pub(super) fn path(key: &Key) -> ObjectPath {
    ObjectPath::from(key.to_string())
}

/// Returns the folder that `location` names: a path, or a `file://` URL.
fn local_folder(location: &str) -> Result<PathBuf> {
    let invalid = |detail: &str| {
        let detail = detail.to_owned();
        RepoError::of_repository(location, RepoErrorKind::InvalidLocation { detail })
    };
    let folder = match location.split_once("://") {
        _ if location.is_empty() => return Err(invalid("it is empty")),
        Some(("file", _)) => Url::parse(location)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| {
                invalid("it is not the URL of a local folder, such as file:///var/backup")
            })?,
        Some((scheme, _)) if is_scheme(scheme) => {
            return Err(invalid(&format!("{scheme}:// is not supported")));
        }
        _ => PathBuf::from(location),
    };
    std::path::absolute(&folder).map_err(|error| invalid(&error.to_string()))
}

fn is_scheme(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(allowed)
}
