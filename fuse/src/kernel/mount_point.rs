//! Checks that a folder can be a mount point, and reports what to do if not.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::mount_table::{MountEntry, mounted_at};

/// How long a mount may take to show that it is served.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// An empty folder that is not a mount point yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint(PathBuf);

/// Why a folder cannot be a mount point.
#[derive(Debug, thiserror::Error)]
pub enum MountPointError {
    /// The path does not exist or cannot be read.
    #[error("cannot use {path} as a mount point; it must be an empty folder that exists")]
    Unusable {
        /// The mount point.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The path is not a folder.
    #[error("{path} is not a folder; a mount point must be an empty folder")]
    NotAFolder {
        /// The mount point.
        path: PathBuf,
    },
    /// The path is a mount of kbk whose process was killed.
    #[error(
        "{path} is a dead mount: the program that served it was killed; `kbk umount {path}` clears it, then mount again"
    )]
    Dead {
        /// The mount point.
        path: PathBuf,
    },
    /// A file system is mounted there.
    #[error(
        "{path} is mounted already ({} of {}); unmount it first, or mount on another folder",
        .by.file_system, .by.source
    )]
    Mounted {
        /// The mount point.
        path: PathBuf,
        /// The mounted file system.
        by: MountEntry,
    },
    /// A file system is mounted there whose program does not answer.
    #[error(
        "{path} is mounted already ({} of {}), and what serves it does not answer; end that program, or mount on another folder",
        .by.file_system, .by.source
    )]
    Hung {
        /// The mount point.
        path: PathBuf,
        /// The mounted file system.
        by: MountEntry,
    },
    /// The folder contains files, which a mount would hide.
    #[error(
        "{path} is not empty: it contains {found:?}, which a mount would hide; choose an empty folder"
    )]
    NotEmpty {
        /// The mount point.
        path: PathBuf,
        /// One of its files.
        found: OsString,
    },
    /// The mount point is inside the repository, so reading the repository could wait for the mount itself.
    #[error("{path} is inside the repository {repository}; mount on a folder elsewhere")]
    InRepository {
        /// The mount point.
        path: PathBuf,
        /// The repository's folder.
        repository: PathBuf,
    },
}

impl MountPoint {
    /// Checks `path`, which must not be inside `repository`, if that is a local folder.
    ///
    /// # Errors
    ///
    /// As [`MountPointError`] says.
    pub fn check(path: &Path, repository: Option<&Path>) -> Result<MountPoint, MountPointError> {
        let unusable = |error| MountPointError::Unusable {
            path: path.to_owned(),
            error,
        };
        // The table first: whatever else asks the folder would wait for a mount that hangs.
        let place = resolved(path).map_err(unusable)?;
        check_unmounted(&place)?;
        let found = fs::metadata(&place).map_err(unusable)?;
        if !found.is_dir() {
            return Err(MountPointError::NotAFolder {
                path: path.to_owned(),
            });
        }
        let place = place.canonicalize().map_err(unusable)?;
        check_unmounted(&place)?;
        let repository = repository.and_then(|folder| folder.canonicalize().ok());
        if let Some(repository) = repository.filter(|folder| place.starts_with(folder)) {
            return Err(MountPointError::InRepository {
                path: place,
                repository,
            });
        }
        let mut entries = fs::read_dir(&place).map_err(unusable)?;
        match entries.next() {
            None => Ok(MountPoint(place)),
            Some(entry) => Err(MountPointError::NotEmpty {
                path: place,
                found: entry.map_err(unusable)?.file_name(),
            }),
        }
    }

    /// The folder, without links or dots.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Checks that nothing is mounted at exactly this path.
fn check_unmounted(place: &Path) -> Result<(), MountPointError> {
    let path = place.to_owned();
    let by = match mounted_at(place) {
        Ok(None) => return Ok(()),
        Ok(Some(by)) => by,
        Err(error) => return Err(MountPointError::Unusable { path, error }),
    };
    let (sender, answer) = mpsc::channel();
    let of = path.clone();
    // On a thread of its own, which a mount that hangs holds until the process ends.
    thread::spawn(move || sender.send(is_dead(&of)));
    Err(match answer.recv_timeout(PROBE_WAIT) {
        Ok(true) if by.is_kbk() => MountPointError::Dead { path },
        Err(RecvTimeoutError::Timeout) => MountPointError::Hung { path, by },
        Ok(_) | Err(RecvTimeoutError::Disconnected) => MountPointError::Mounted { path, by },
    })
}

/// Resolves links and dots in the path, except for a link at its end: nothing asks the folder itself, which may be a dead mount or
/// one that hangs.
///
/// # Errors
///
/// If the folder above it cannot be resolved.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            Ok(folder.canonicalize()?.join(name))
        }
        _ => path.canonicalize(),
    }
}

/// Whether the process behind a mount is gone. The folder is opened, because the kernel may answer `stat` from its cache.
fn is_dead(path: &Path) -> bool {
    let closed = [
        io::ErrorKind::NotConnected,
        io::ErrorKind::ConnectionAborted,
    ];
    fs::read_dir(path).is_err_and(|error| closed.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn refused(path: &Path, repository: Option<&Path>) -> String {
        MountPoint::check(path, repository).unwrap_err().to_string()
    }

    #[test]
    fn only_an_empty_folder_is_accepted() {
        let folder = TempDir::new().unwrap();
        let place = folder.path().join("mnt");
        let missing = refused(&place, None);
        assert!(missing.contains("must be an empty folder"), "{missing}");
        fs::create_dir(&place).unwrap();
        assert!(MountPoint::check(&place, Some(Path::new("/nowhere"))).is_ok());
        let inside = refused(&place, Some(folder.path()));
        assert!(inside.contains("inside the repository"), "{inside}");
        fs::write(place.join("precious"), "").unwrap();
        let occupied = refused(&place, None);
        assert!(occupied.contains("\"precious\""), "{occupied}");
        let file = refused(&place.join("precious"), None);
        assert!(file.contains("not a folder"), "{file}");
        let mounted = refused(Path::new("/proc"), None);
        assert!(mounted.contains("mounted already (proc"), "{mounted}");
    }
}
