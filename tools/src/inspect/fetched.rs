//! An object of a repository as a file: that of a folder itself, or a copy of that of a bucket.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use kbk_format::repo::{Id, Operation, RepoError, Store};
use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;

/// The file that has an object's bytes. A copy is removed once it is dropped.
#[derive(Debug)]
pub struct FetchedObject {
    path: PathBuf,
    is_copy: bool,
}

impl FetchedObject {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FetchedObject {
    fn drop(&mut self) {
        if self.is_copy {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes an object a file: that of a bucket is copied to the folder of temporary files.
///
/// # Errors
///
/// If the store does not return it, or the copy cannot be written.
pub async fn fetch(store: &Store, key: &str) -> Result<FetchedObject, RepoError> {
    let failed = |error| RepoError::of_store(Operation::Read, store.url(), key, error);
    if let Some(folder) = store.folder() {
        let path = folder.join(key);
        File::open(&path).map_err(|error| failed(error.into()))?;
        return Ok(FetchedObject {
            path,
            is_copy: false,
        });
    }
    let object = ObjectPath::from(key);
    let found = store.objects().get(&object);
    let found = found.await.map_err(|error| failed(error.into()))?;
    let path = std::env::temp_dir().join(format!("kbk-{}.object", Id::random()));
    let mut file = private(&path).map_err(|error| failed(error.into()))?;
    let fetched = FetchedObject {
        path,
        is_copy: true,
    };
    let mut parts = found.into_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| failed(error.into()))?;
        file.write_all(&part)
            .map_err(|error| failed(error.into()))?;
    }
    Ok(fetched)
}

/// Creates a file that nobody else may read: it holds records.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
