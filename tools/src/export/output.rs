//! Temporary names, and how they become real ones.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::ExportError;

/// A file or folder that is not complete yet. Dropped, it is removed.
pub(super) struct Output {
    /// The folder of the name.
    folder: PathBuf,
    name: String,
    temporary: PathBuf,
    is_published: bool,
}

impl Output {
    /// Reserves the temporary name, and removes what an earlier export left there. Only the folders that the name begins with are created.
    pub(super) fn begin(out: &Path, name: &str) -> Result<Output, ExportError> {
        let mut folder = out.to_owned();
        let (folders, name) = name.rsplit_once('/').unwrap_or(("", name));
        for parent in folders.split('/').filter(|parent| !parent.is_empty()) {
            let above = folder.clone();
            folder.push(parent);
            if !exists(&folder)? {
                // Other partitions may create it at the same time.
                fs::create_dir_all(&folder).map_err(ExportError::io("create", &folder))?;
                sync_folder(&above)?;
            }
        }
        let temporary = folder.join(format!(".{name}.partial"));
        remove(&temporary).map_err(ExportError::io("remove", &temporary))?;
        Ok(Output {
            folder,
            name: name.to_owned(),
            temporary,
            is_published: false,
        })
    }

    /// Returns where it is until it is complete.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Returns whether anything has its name.
    pub(super) fn is_taken(&self) -> Result<bool, ExportError> {
        exists(&self.folder.join(&self.name))
    }

    /// Gives it its name, and returns what gave way to it. Its files are durable already; so is the name when this returns.
    pub(super) fn publish(mut self, overwrite: bool) -> Result<Replaced, ExportError> {
        let path = self.folder.join(&self.name);
        let aside = self.folder.join(format!(".{}.replaced", self.name));
        let mut replaced = Replaced::at(&path)?;
        if replaced.exists {
            if !overwrite {
                return Err(ExportError::Exists { path });
            }
            // A folder cannot be renamed onto one that has files. A crash between the two leaves the old one under the other name.
            remove(&aside).map_err(ExportError::io("remove", &aside))?;
            fs::rename(&path, &aside).map_err(ExportError::io("rename", &path))?;
        }
        fs::rename(&self.temporary, &path).map_err(ExportError::io("rename", &self.temporary))?;
        self.is_published = true;
        sync_folder(&self.folder)?;
        remove(&aside).map_err(ExportError::io("remove", &aside))?;
        let new = Replaced::at(&path)?.folders;
        replaced.folders.retain(|folder| !new.contains(folder));
        Ok(replaced)
    }
}

/// What gives way to an export.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaced {
    /// Whether anything of the name exists.
    pub(super) exists: bool,
    /// The folders in it, by their names.
    pub(super) folders: BTreeSet<String>,
}

impl Replaced {
    /// Finds what exists of this name.
    pub(super) fn at(path: &Path) -> Result<Replaced, ExportError> {
        let mut replaced = Replaced {
            exists: exists(path)?,
            folders: BTreeSet::new(),
        };
        if !path.is_dir() {
            return Ok(replaced);
        }
        let failed = || ExportError::io("look at", path);
        for entry in fs::read_dir(path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.file_type().map_err(failed())?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                replaced.folders.insert(name);
            }
        }
        Ok(replaced)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_published {
            // The next export of the same name removes it otherwise.
            let _ = remove(&self.temporary);
        }
    }
}

/// Locks a folder against other exports. The lock ends with the file, and so with the process.
pub(super) fn lock(out: &Path) -> Result<File, ExportError> {
    let folder = File::open(out).map_err(ExportError::io("open", out))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => {
            let out = out.to_owned();
            Err(ExportError::Busy { out })
        }
        Err(TryLockError::Error(error)) => Err(ExportError::io("lock", out)(error)),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), ExportError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(ExportError::io("flush", path))
}

/// Returns whether there is anything of this name.
pub(super) fn exists(path: &Path) -> Result<bool, ExportError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ExportError::io("look at", path)(error)),
    }
}

/// Removes a file or a folder with all that it holds, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
